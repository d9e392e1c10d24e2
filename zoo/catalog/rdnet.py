"""Rows of RDNet (arXiv:2403.19588, Table 8).

Rows only; the network is zoo/models/rdnet.py.
"""
from ..spec import Family

HUB = 'naver-ai/rdnet_'

ELEVEN = dict(num_blocks_list=(3,) * 11, block_type=('Block',) * 2 + ('BlockESE',) * 9,
              is_downsample_block=(None, True, True, *[False] * 6, True, False))

FAMILIES = (Family(
    model='rdnet.RDNet',
    data=dict(crop_pct=0.9, pool=32, first_conv='stem.0', classifier='head.fc', license='apache-2.0',
              paper_ids='arXiv:2403.19588', paper_name='DenseNets Reloaded: Paradigm Shift Beyond ResNets and ViTs',
              origin_url='https://github.com/naver-ai/rdnet'),
    variants={
        'rdnet_base': ELEVEN | dict(num_init_features=120, growth_rates=(96, 128, *[168] * 7, 336, 336)),
        'rdnet_large': dict(num_init_features=144, growth_rates=(128, 192, *[256] * 8, 360, 360), num_blocks_list=(3,) * 12,
                            block_type=('Block',) * 2 + ('BlockESE',) * 10,
                            is_downsample_block=(None, True, True, *[False] * 7, True, False)),
        'rdnet_small': ELEVEN | dict(num_init_features=72, growth_rates=(64, *[128] * 8, 240, 240)),
        'rdnet_tiny': dict(),
    },
    weights={
        'rdnet_base.nv_in1k': dict(hf_hub_id=HUB + 'base.nv_in1k'),
        'rdnet_large.nv_in1k': dict(hf_hub_id=HUB + 'large.nv_in1k'),
        'rdnet_large.nv_in1k_ft_in1k_384': dict(size=384, crop_pct=1.0, hf_hub_id=HUB + 'large.nv_in1k_ft_in1k_384'),
        'rdnet_small.nv_in1k': dict(hf_hub_id=HUB + 'small.nv_in1k'),
        'rdnet_tiny.nv_in1k': dict(hf_hub_id=HUB + 'tiny.nv_in1k'),
    },
),)
