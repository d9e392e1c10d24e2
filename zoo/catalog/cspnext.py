"""Rows of CSPNeXt (RTMDet, arXiv:2212.07784, Table 1).

Rows only; the network is zoo/models/cspnext.py.
"""
from ..spec import Family


def from_mmdet(size: str, file: str) -> dict[str, object]:
    """Fields of a set of weights that was published with MMDetection."""
    return dict(hf_hub_id=f'munehiro-k/cspnext_{size}.rsb_a1_in1k', notes=(
        f'Converted from https://download.openmmlab.com/mmdetection/v3.0/rtmdet/cspnext_rsb_pretrain/{file}',
        "CSPNeXt as in RTMDet / MMDetection; not the EAAI 2024 'token hybrid backbone' of the same name."))


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
        'cspnext_l.rsb_a1_in1k': from_mmdet('l', 'cspnext-l_8xb256-rsb-a1-600e_in1k-6a760974.pth'),
        'cspnext_m.rsb_a1_in1k': from_mmdet('m', 'cspnext-m_8xb256-rsb-a1-600e_in1k-ecb3bbd9.pth'),
        'cspnext_s.rsb_a1_in1k': from_mmdet('s', 'cspnext-s_imagenet_600e-ea671761.pth'),
        'cspnext_tiny.rsb_a1_in1k': from_mmdet('tiny', 'cspnext-tiny_imagenet_600e-3a2dd350.pth'),
        'cspnext_x.rsb_a1_in1k': from_mmdet('x', 'cspnext-x_8xb256-rsb-a1-600e_in1k-b3f78edd.pth'),
    },
),)
