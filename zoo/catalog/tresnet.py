"""Rows of TResNet (arXiv:2003.13630, Table 2).

Rows only; the network is zoo/models/tresnet.py.
"""
from ..spec import Family

IN21K = dict(num_classes=11221)
LARGE = dict(size=448)

FAMILIES = (Family(
    model='tresnet.TResNet',
    data=dict(interpolation='bilinear', mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), pool=32, first_conv='body.conv1.conv',
              classifier='head.fc', license='apache-2.0'),
    variants={
        'tresnet_l': dict(layers=(4, 5, 18, 3), width_factor=1.2),
        'tresnet_m': dict(layers=(3, 4, 11, 3)),
        'tresnet_v2_l': dict(layers=(3, 4, 23, 3), v2=True),
        'tresnet_xl': dict(layers=(4, 5, 24, 3), width_factor=1.3),
    },
    weights={
        'tresnet_l.miil_in1k': dict(),
        'tresnet_l.miil_in1k_448': LARGE,
        'tresnet_m.miil_in21k_ft_in1k': dict(),
        'tresnet_m.miil_in21k': IN21K,
        'tresnet_m.miil_in1k': dict(),
        'tresnet_m.miil_in1k_448': LARGE,
        'tresnet_v2_l.miil_in21k_ft_in1k': dict(),
        'tresnet_v2_l.miil_in21k': IN21K,
        'tresnet_xl.miil_in1k': dict(),
        'tresnet_xl.miil_in1k_448': LARGE,
    },
    former={
        'tresnet_l_448': 'tresnet_l.miil_in1k_448',
        'tresnet_m_448': 'tresnet_m.miil_in1k_448',
        'tresnet_m_miil_in21k': 'tresnet_m.miil_in21k',
        'tresnet_xl_448': 'tresnet_xl.miil_in1k_448',
    },
),)
