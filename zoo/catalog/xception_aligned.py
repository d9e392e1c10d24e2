"""Rows of aligned Xception (DeepLab v3+, arXiv:1802.02611, and its code for 41 and 71 layers); 'p' normalise before they
convolve.

Rows only; the network is zoo/models/xception_aligned.py.
"""
from ..spec import HALF, Family

ENTRY = (dict(in_chs=64, out_chs=128, stride=2), dict(in_chs=128, out_chs=256, stride=2),
         dict(in_chs=256, out_chs=728, stride=2))
LONG_ENTRY = (dict(in_chs=64, out_chs=128, stride=2), dict(in_chs=128, out_chs=256, stride=1),
              dict(in_chs=256, out_chs=256, stride=2), dict(in_chs=256, out_chs=728, stride=1),
              dict(in_chs=728, out_chs=728, stride=2))
MIDDLE = (dict(in_chs=728, out_chs=728, stride=1),)
DOWN = dict(in_chs=728, out_chs=(728, 1024, 1024), stride=2)
LAST = dict(in_chs=1024, out_chs=(1536, 1536, 2048), stride=1, no_skip=True)
EXIT = (DOWN, LAST | dict(start_with_relu=False))
PREACT_EXIT = (DOWN, LAST)

RA3 = dict(crop_pct=0.94)

FAMILIES = (Family(
    model='xception_aligned.XceptionAligned',
    data=dict(size=299, crop_pct=0.903, mean=HALF, std=HALF, pool=32, first_conv='stem.0.conv', classifier='head.fc',
              license='apache-2.0'),
    variants={
        'xception41': dict(block_cfg=ENTRY + 8 * MIDDLE + EXIT),
        'xception41p': dict(block_cfg=ENTRY + 8 * MIDDLE + PREACT_EXIT, preact=True, bn_eps=1e-5),
        'xception65': dict(block_cfg=ENTRY + 16 * MIDDLE + EXIT),
        'xception65p': dict(block_cfg=ENTRY + 16 * MIDDLE + PREACT_EXIT, preact=True),
        'xception71': dict(block_cfg=LONG_ENTRY + 16 * MIDDLE + EXIT),
    },
    weights={
        'xception41.tf_in1k': dict(),
        'xception41p.ra3_in1k': RA3,
        'xception65.ra3_in1k': RA3,
        'xception65.tf_in1k': dict(),
        'xception65p.ra3_in1k': RA3,
        'xception71.tf_in1k': dict(),
    },
),)
