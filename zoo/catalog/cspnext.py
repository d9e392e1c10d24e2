"""Rows of CSPNeXt (RTMDet, arXiv:2212.07784, Table 1).

Rows only; the network is zoo/models/cspnext.py.
"""
from ..spec import Family

HUB = 'munehiro-k/cspnext_'

FAMILIES = (Family(
    model='cspnext.CspNext',
    data=dict(crop_pct=0.949, pool=32, first_conv='stem.0.conv', classifier='head.fc', license='apache-2.0',
              paper_ids='arXiv:2212.07784',
              paper_name='RTMDet: An Empirical Study of Designing Real-Time Object Detectors',
              origin_url='https://github.com/open-mmlab/mmdetection/tree/main/configs/rtmdet'),
    variants={
        'cspnext_l': dict(deepen_factor=1.0, widen_factor=1.0),
        'cspnext_m': dict(deepen_factor=0.67, widen_factor=0.75),
        'cspnext_s': dict(deepen_factor=0.33, widen_factor=0.5),
        'cspnext_tiny': dict(deepen_factor=0.167, widen_factor=0.375),
        'cspnext_x': dict(deepen_factor=1.33, widen_factor=1.25),
    },
    weights={
        'cspnext_l.rsb_a1_in1k': dict(hf_hub_id=HUB + 'l.rsb_a1_in1k'),
        'cspnext_m.rsb_a1_in1k': dict(hf_hub_id=HUB + 'm.rsb_a1_in1k'),
        'cspnext_s.rsb_a1_in1k': dict(hf_hub_id=HUB + 's.rsb_a1_in1k'),
        'cspnext_tiny.rsb_a1_in1k': dict(hf_hub_id=HUB + 'tiny.rsb_a1_in1k'),
        'cspnext_x.rsb_a1_in1k': dict(hf_hub_id=HUB + 'x.rsb_a1_in1k'),
    },
),)
