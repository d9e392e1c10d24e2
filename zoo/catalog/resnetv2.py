"""Rows of ResNet V2 (arXiv:1603.05027), and of BiT (arXiv:1912.11370), which is a wide one with group normalisation.

Rows only; the network is zoo/models/resnetv2.py. The letters: d has the deep stem and shortcuts that pool
(arXiv:1812.01187), t a stem that widens step by step; x and a number is how many times as wide.
"""
from ..spec import HALF, Family

MODEL = 'resnetv2.ResNetV2'
DATA = dict(mean=HALF, std=HALF, pool=32, first_conv='stem.conv', classifier='head.fc', license='apache-2.0')
BASIC = dict(basic=True, bottle_ratio=1.0, channels=(64, 128, 256, 512))
DEEP = dict(stem_type='deep', avg_down=True)

# what sets of weights share
CONV1 = dict(first_conv='stem.conv1')
RA4 = dict(test_size=288, crop_pct=0.9, test_crop_pct=1.0)
STRIKES_BACK = dict(test_size=288, crop_pct=0.95, test_crop_pct=1.0)
FINE_TUNED = dict(size=448, interpolation='bilinear', crop_pct=1.0)
IN21K = dict(interpolation='bilinear', num_classes=21843)

PLAIN = Family(
    model=MODEL,
    args=dict(conv_layer='conv2d', norm_layer='batchnorm2d'),
    data=DATA,
    variants={
        'resnetv2_18': dict(layers=(2, 2, 2, 2)) | BASIC,
        'resnetv2_18d': dict(layers=(2, 2, 2, 2)) | BASIC | DEEP,
        'resnetv2_34': dict(layers=(3, 4, 6, 3)) | BASIC,
        'resnetv2_34d': dict(layers=(3, 4, 6, 3)) | BASIC | DEEP,
        'resnetv2_50': dict(layers=(3, 4, 6, 3)),
        'resnetv2_50d': dict(layers=(3, 4, 6, 3)) | DEEP,
        'resnetv2_50d_evos': dict(layers=(3, 4, 6, 3), norm_layer='evonorms0') | DEEP,
        'resnetv2_50d_frn': dict(layers=(3, 4, 6, 3), norm_layer='frntlu') | DEEP,
        'resnetv2_50d_gn': dict(layers=(3, 4, 6, 3), norm_layer='groupnorm') | DEEP,
        'resnetv2_50t': dict(layers=(3, 4, 6, 3), stem_type='tiered', avg_down=True),
        'resnetv2_101': dict(layers=(3, 4, 23, 3)),
        'resnetv2_101d': dict(layers=(3, 4, 23, 3)) | DEEP,
        'resnetv2_152': dict(layers=(3, 8, 36, 3)),
        'resnetv2_152d': dict(layers=(3, 8, 36, 3)) | DEEP,
    },
    weights={
        'resnetv2_18.ra4_e3600_r224_in1k': RA4,
        'resnetv2_18d.ra4_e3600_r224_in1k': RA4 | CONV1,
        'resnetv2_34.ra4_e3600_r224_in1k': RA4,
        'resnetv2_34d.ra4_e3600_r224_in1k': RA4 | CONV1,
        'resnetv2_34d.ra4_e3600_r384_in1k': CONV1 | dict(size=384, test_size=448, crop_pct=1.0),
        'resnetv2_50.a1h_in1k': STRIKES_BACK,
        'resnetv2_50d.untrained': CONV1,
        'resnetv2_50d_evos.ah_in1k': STRIKES_BACK | CONV1,
        'resnetv2_50d_frn.untrained': CONV1,
        'resnetv2_50d_gn.ah_in1k': STRIKES_BACK | CONV1,
        'resnetv2_50t.untrained': CONV1,
        'resnetv2_101.a1h_in1k': STRIKES_BACK,
        'resnetv2_101d.untrained': CONV1,
        'resnetv2_152.untrained': dict(),
        'resnetv2_152d.untrained': CONV1,
    },
)

BIT = Family(
    model=MODEL,
    args=dict(stem_type='fixed', conv_eps=1e-8),
    data=DATA,
    variants={
        'resnetv2_50x1_bit': dict(layers=(3, 4, 6, 3)),
        'resnetv2_50x3_bit': dict(layers=(3, 4, 6, 3), width_factor=3),
        'resnetv2_101x1_bit': dict(layers=(3, 4, 23, 3)),
        'resnetv2_101x3_bit': dict(layers=(3, 4, 23, 3), width_factor=3),
        'resnetv2_152x2_bit': dict(layers=(3, 8, 36, 3), width_factor=2),
        'resnetv2_152x4_bit': dict(layers=(3, 8, 36, 3), width_factor=4),
    },
    weights={
        'resnetv2_50x1_bit.goog_distilled_in1k': dict(),
        'resnetv2_50x1_bit.goog_in21k_ft_in1k': FINE_TUNED,
        'resnetv2_50x1_bit.goog_in21k': IN21K,
        'resnetv2_50x3_bit.goog_in21k_ft_in1k': FINE_TUNED,
        'resnetv2_50x3_bit.goog_in21k': IN21K,
        'resnetv2_101x1_bit.goog_in21k_ft_in1k': FINE_TUNED,
        'resnetv2_101x1_bit.goog_in21k': IN21K,
        'resnetv2_101x3_bit.goog_in21k_ft_in1k': FINE_TUNED,
        'resnetv2_101x3_bit.goog_in21k': IN21K,
        'resnetv2_152x2_bit.goog_teacher_in21k_ft_in1k': dict(),
        'resnetv2_152x2_bit.goog_teacher_in21k_ft_in1k_384': dict(size=384, crop_pct=1.0),
        'resnetv2_152x2_bit.goog_in21k_ft_in1k': FINE_TUNED,
        'resnetv2_152x2_bit.goog_in21k': IN21K,
        'resnetv2_152x4_bit.goog_in21k_ft_in1k': FINE_TUNED | dict(size=480),
        'resnetv2_152x4_bit.goog_in21k': IN21K,
    },
    former={
        **{f'resnetv2_{size}_bitm': f'resnetv2_{size}_bit.goog_in21k_ft_in1k' for size in (
            '50x1', '50x3', '101x1', '101x3', '152x2', '152x4')},
        **{f'resnetv2_{size}_bitm_in21k': f'resnetv2_{size}_bit.goog_in21k' for size in (
            '50x1', '50x3', '101x1', '101x3', '152x2', '152x4')},
        'resnetv2_50x1_bit_distilled': 'resnetv2_50x1_bit.goog_distilled_in1k',
        'resnetv2_152x2_bit_teacher': 'resnetv2_152x2_bit.goog_teacher_in21k_ft_in1k',
        'resnetv2_152x2_bit_teacher_384': 'resnetv2_152x2_bit.goog_teacher_in21k_ft_in1k_384',
    },
)

FAMILIES = (PLAIN, BIT)
