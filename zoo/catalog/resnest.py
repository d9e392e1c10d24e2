"""Rows of ResNeSt (arXiv:2004.08955); '4s2x40d' are four maps of two groups of 40 channels, weighed.

Rows only; the network is zoo/models/resnest.py. The letters: d has a deep stem 32 channels wide, e one of 64.
"""
from ..spec import Family

D, E = dict(stem_width=32), dict(stem_width=64)
TWO = dict(block_args=dict(radix=2, avd=True))
FAST_1, FAST_4 = (dict(block_args=dict(radix=radix, avd=True, avd_first=True)) for radix in (1, 4))
BICUBIC = dict(interpolation='bicubic')

FAMILIES = (Family(
    model='resnest.ResNeSt',
    args=dict(block='split_attn', stem_type='deep', avg_down=True),
    data=dict(pool=32, interpolation='bilinear', first_conv='conv1.0', classifier='fc', license='apache-2.0'),
    variants={
        'resnest14d': dict(layers=(1, 1, 1, 1)) | D | TWO,
        'resnest26d': dict(layers=(2, 2, 2, 2)) | D | TWO,
        'resnest50d': dict(layers=(3, 4, 6, 3)) | D | TWO,
        'resnest50d_1s4x24d': dict(layers=(3, 4, 6, 3), cardinality=4, base_width=24) | D | FAST_1,
        'resnest50d_4s2x40d': dict(layers=(3, 4, 6, 3), cardinality=2, base_width=40) | D | FAST_4,
        'resnest101e': dict(layers=(3, 4, 23, 3)) | E | TWO,
        'resnest200e': dict(layers=(3, 24, 36, 3)) | E | TWO,
        'resnest269e': dict(layers=(3, 30, 48, 8)) | E | TWO,
    },
    weights={
        'resnest14d.gluon_in1k': dict(),
        'resnest26d.gluon_in1k': dict(),
        'resnest50d.in1k': dict(),
        'resnest50d_1s4x24d.in1k': BICUBIC,
        'resnest50d_4s2x40d.in1k': BICUBIC,
        'resnest101e.in1k': dict(size=256),
        'resnest200e.in1k': BICUBIC | dict(size=320, crop_pct=0.909),
        'resnest269e.in1k': BICUBIC | dict(size=416, crop_pct=0.928),
    },
),)
