"""Rows of NFNet (arXiv:2102.06171, Table 1), and of ResNets and RegNets without normalisation (arXiv:2101.08692).

Rows only; the network is zoo/models/nfnet.py. 'dm' are as the authors' code has them, with TensorFlow's padding and
scaled activations; 'l' are light ones, narrower inside their blocks; 'eca' and 'se' say what the gate is.
"""
from typing import Any

from ..spec import HALF, Family

# gates
SE_2 = dict(attn_layer='se', attn_kwargs=dict(rd_ratio=0.5))
SE_4 = dict(attn_layer='se', attn_kwargs=dict(rd_ratio=0.25, rd_divisor=8))
SE_16 = dict(attn_layer='se', attn_kwargs=dict(rd_ratio=1 / 16))
ECA = dict(attn_layer='eca', attn_kwargs=dict())

# networks
NFNET = dict(channels=(256, 512, 1536, 1536), stem_type='deep_quad', stem_chs=128, extra_conv=True)
F = NFNET | SE_2 | dict(group_size=128, bottle_ratio=0.5, num_features=3072, act_layer='gelu')
DM = F | dict(gamma_in_act=True, same_padding=True, skipinit=True)
LIGHT = NFNET | dict(group_size=64, bottle_ratio=0.25, num_features=3072, act_layer='silu')
RESNET = dict(channels=(256, 512, 1024, 2048), stem_type='7x7_pool', stem_chs=64, bottle_ratio=0.25, act_layer='relu')
REGNET = SE_2 | dict(stem_type='3x3', group_size=8, width_factor=0.75, bottle_ratio=2.25, reg=True, act_layer='silu')

# what sets of weights share
SQUASH = dict(crop_mode='squash')
WHOLE = dict(test_crop_pct=1.0)
CONV = dict(first_conv='stem.conv')
UNPUBLISHED: dict[str, dict[str, Any]] = {
    **dict.fromkeys(('nf_ecaresnet26', 'nf_ecaresnet50', 'nf_ecaresnet101', 'nf_resnet26', 'nf_resnet101', 'nf_seresnet26',
                     'nf_seresnet50', 'nf_seresnet101'), CONV),
    'eca_nfnet_l3': WHOLE | dict(size=352, test_size=448),
    'nf_regnet_b0': CONV | dict(size=192, test_size=256),
    'nf_regnet_b2': CONV | dict(size=240, test_size=272),
    'nf_regnet_b3': CONV | dict(size=288, test_size=320),
    'nf_regnet_b4': CONV | dict(size=320, test_size=384),
    'nf_regnet_b5': CONV | dict(size=384, test_size=456),
    'nfnet_f0': dict(size=192, test_size=256),
    'nfnet_f1': dict(test_size=320),
    'nfnet_f2': dict(size=256, test_size=352),
    'nfnet_f3': dict(size=320, test_size=416),
    'nfnet_f4': dict(size=384, test_size=512),
    'nfnet_f5': dict(size=416, test_size=544),
    'nfnet_f6': dict(size=448, test_size=576),
    'nfnet_f7': dict(size=480, test_size=608),
}

FAMILIES = (Family(
    model='nfnet.NormFreeNet',
    data=dict(pool=32, crop_pct=0.9, first_conv='stem.conv1', classifier='head.fc', license='apache-2.0'),
    variants={
        'dm_nfnet_f0': DM | dict(depths=(1, 2, 6, 3)),
        'dm_nfnet_f1': DM | dict(depths=(2, 4, 12, 6)),
        'dm_nfnet_f2': DM | dict(depths=(3, 6, 18, 9)),
        'dm_nfnet_f3': DM | dict(depths=(4, 8, 24, 12)),
        'dm_nfnet_f4': DM | dict(depths=(5, 10, 30, 15)),
        'dm_nfnet_f5': DM | dict(depths=(6, 12, 36, 18)),
        'dm_nfnet_f6': DM | dict(depths=(7, 14, 42, 21)),
        'eca_nfnet_l0': LIGHT | ECA | dict(depths=(1, 2, 6, 3), num_features=2304),
        'eca_nfnet_l1': LIGHT | ECA | dict(depths=(2, 4, 12, 6)),
        'eca_nfnet_l2': LIGHT | ECA | dict(depths=(3, 6, 18, 9)),
        'eca_nfnet_l3': LIGHT | ECA | dict(depths=(4, 8, 24, 12)),
        'nf_ecaresnet26': RESNET | ECA | dict(depths=(2, 2, 2, 2)),
        'nf_ecaresnet50': RESNET | ECA | dict(depths=(3, 4, 6, 3)),
        'nf_ecaresnet101': RESNET | ECA | dict(depths=(3, 4, 23, 3)),
        'nf_regnet_b0': REGNET | dict(depths=(1, 3, 6, 6), channels=(48, 104, 208, 440), num_features=1280),
        'nf_regnet_b1': REGNET | dict(depths=(2, 4, 7, 7), channels=(48, 104, 208, 440), num_features=1280),
        'nf_regnet_b2': REGNET | dict(depths=(2, 4, 8, 8), channels=(56, 112, 232, 488), num_features=1419),
        'nf_regnet_b3': REGNET | dict(depths=(2, 5, 9, 9), channels=(56, 128, 248, 528), num_features=1536),
        'nf_regnet_b4': REGNET | dict(depths=(2, 6, 11, 11), channels=(64, 144, 288, 616), num_features=1792),
        'nf_regnet_b5': REGNET | dict(depths=(3, 7, 14, 14), channels=(80, 168, 336, 704), num_features=2048),
        'nf_resnet26': RESNET | dict(depths=(2, 2, 2, 2)),
        'nf_resnet50': RESNET | dict(depths=(3, 4, 6, 3)),
        'nf_resnet101': RESNET | dict(depths=(3, 4, 23, 3)),
        'nf_seresnet26': RESNET | SE_16 | dict(depths=(2, 2, 2, 2)),
        'nf_seresnet50': RESNET | SE_16 | dict(depths=(3, 4, 6, 3)),
        'nf_seresnet101': RESNET | SE_16 | dict(depths=(3, 4, 23, 3)),
        'nfnet_f0': F | dict(depths=(1, 2, 6, 3)),
        'nfnet_f1': F | dict(depths=(2, 4, 12, 6)),
        'nfnet_f2': F | dict(depths=(3, 6, 18, 9)),
        'nfnet_f3': F | dict(depths=(4, 8, 24, 12)),
        'nfnet_f4': F | dict(depths=(5, 10, 30, 15)),
        'nfnet_f5': F | dict(depths=(6, 12, 36, 18)),
        'nfnet_f6': F | dict(depths=(7, 14, 42, 21)),
        'nfnet_f7': F | dict(depths=(8, 16, 48, 24)),
        'nfnet_l0': LIGHT | SE_4 | dict(depths=(1, 2, 6, 3), num_features=2304),
        'test_nfnet': LIGHT | SE_4 | dict(depths=(1, 1, 1, 1), channels=(32, 64, 96, 128), group_size=8,
            num_features=192),
    },
    weights={
        **{name: row | dict(hf_hub_id=None) for name, row in UNPUBLISHED.items()},
        'dm_nfnet_f0.dm_in1k': SQUASH | dict(size=192, test_size=256),
        'dm_nfnet_f1.dm_in1k': SQUASH | dict(test_size=320, crop_pct=0.91),
        'dm_nfnet_f2.dm_in1k': SQUASH | dict(size=256, test_size=352, crop_pct=0.92),
        'dm_nfnet_f3.dm_in1k': SQUASH | dict(size=320, test_size=416, crop_pct=0.94),
        'dm_nfnet_f4.dm_in1k': SQUASH | dict(size=384, test_size=512, crop_pct=0.951),
        'dm_nfnet_f5.dm_in1k': SQUASH | dict(size=416, test_size=544, crop_pct=0.954),
        'dm_nfnet_f6.dm_in1k': SQUASH | dict(size=448, test_size=576, crop_pct=0.956),
        'eca_nfnet_l0.ra2_in1k': WHOLE | dict(test_size=288),
        'eca_nfnet_l1.ra2_in1k': WHOLE | dict(size=256, test_size=320),
        'eca_nfnet_l2.ra3_in1k': WHOLE | dict(size=320, test_size=384),
        'nf_regnet_b1.ra2_in1k': CONV | dict(size=256, test_size=288),
        'nf_resnet50.ra2_in1k': CONV | dict(size=256, test_size=288, crop_pct=0.94),
        'nfnet_l0.ra2_in1k': WHOLE | dict(test_size=288),
        'test_nfnet.r160_in1k': dict(size=160, crop_pct=0.95, mean=HALF, std=HALF),
    },
),)
