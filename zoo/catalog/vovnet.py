"""Rows of VoVNet (arXiv:1904.09730, Table 1) and VoVNetV2 (arXiv:1911.06667): 'ese' and 'eca' are V2 with those gates.

Rows only; the network is zoo/models/vovnet.py. The number is that of convolutions in blocks; 'slim' is narrow, 'dw' has
depthwise convolutions.
"""
from ..spec import HALF, Family

V1 = dict(residual=False, attn='')
ESE = dict(attn='ese')
SLIM = dict(stage_conv_chs=(64, 80, 96, 112), stage_out_chs=(112, 256, 384, 512))
DW = dict(stem_chs=(64, 64, 64), depthwise=True)
D19 = dict(block_per_stage=(1, 1, 1, 1), layer_per_block=3)
D39 = dict(block_per_stage=(1, 1, 2, 2))
D57 = dict(block_per_stage=(1, 1, 4, 3))

RA = dict(test_size=288, test_crop_pct=0.95)

FAMILIES = (Family(
    model='vovnet.VovNet',
    data=dict(pool=32, first_conv='stem.0.conv', classifier='head.fc', license='apache-2.0'),
    variants={
        'eca_vovnet39b': D39 | dict(attn='eca'),
        'ese_vovnet19b_dw': D19 | DW | ESE,
        'ese_vovnet19b_slim': D19 | SLIM | ESE,
        'ese_vovnet19b_slim_dw': D19 | SLIM | DW | ESE,
        'ese_vovnet39b': D39 | ESE,
        'ese_vovnet39b_evos': D39 | ESE | dict(norm_layer='evonorms0'),
        'ese_vovnet57b': D57 | ESE,
        'ese_vovnet99b': dict(block_per_stage=(1, 3, 9, 3)) | ESE,
        'vovnet39a': D39 | V1,
        'vovnet57a': D57 | V1,
    },
    weights={
        'eca_vovnet39b.untrained': dict(),
        'ese_vovnet19b_dw.ra_in1k': RA,
        'ese_vovnet19b_slim.untrained': dict(),
        'ese_vovnet19b_slim_dw.untrained': dict(),
        'ese_vovnet39b.ra_in1k': RA,
        'ese_vovnet39b_evos.untrained': dict(),
        'ese_vovnet57b.ra4_e3600_r256_in1k': dict(size=256, test_size=320, crop_pct=0.95, test_crop_pct=1.0, mean=HALF,
                                                  std=HALF),
        'ese_vovnet99b.untrained': dict(),
        'vovnet39a.untrained': dict(),
        'vovnet57a.untrained': dict(),
    },
),)
