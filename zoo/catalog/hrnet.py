"""Rows of HRNet (arXiv:1908.07919).

Rows only; the network is zoo/models/hrnet.py. Names give the channels of the finest branch, `width`.
"""
from ..spec import Family

SSLD = dict(test_size=288, crop_pct=0.95, test_crop_pct=1.0)                 # distilled, arXiv:2103.05959
GLUON = dict(interpolation='bicubic', license='apache-2.0')

HRNET = Family(
    model='hrnet.HighResolutionNet',
    args=dict(num_modules=(1, 4, 3), num_blocks=(4, 4, 4, 4)),
    data=dict(interpolation='bilinear', pool=32, first_conv='conv1', classifier='classifier', license='mit'),
    variants={
        'hrnet_w18': dict(width=18),
        'hrnet_w18_small': dict(width=16, first_width=32, num_modules=(1, 1, 1), num_blocks=(1, 2, 2, 2)),
        'hrnet_w18_small_v2': dict(width=18, num_modules=(1, 3, 2), num_blocks=(2, 2, 2, 2)),
        'hrnet_w18_ssld': dict(width=18, head_conv_bias=False),
        'hrnet_w30': dict(width=30),
        'hrnet_w32': dict(width=32),
        'hrnet_w40': dict(width=40),
        'hrnet_w44': dict(width=44),
        'hrnet_w48': dict(width=48),
        'hrnet_w48_ssld': dict(width=48, head_conv_bias=False),
        'hrnet_w64': dict(width=64),
    },
    weights={
        'hrnet_w18.ms_aug_in1k': dict(crop_pct=0.95),
        'hrnet_w18.ms_in1k': dict(),
        'hrnet_w18_small.gluon_in1k': GLUON,
        'hrnet_w18_small.ms_in1k': dict(),
        'hrnet_w18_small_v2.gluon_in1k': GLUON,
        'hrnet_w18_small_v2.ms_in1k': dict(),
        'hrnet_w18_ssld.paddle_in1k': SSLD,
        'hrnet_w30.ms_in1k': dict(),
        'hrnet_w32.ms_in1k': dict(),
        'hrnet_w40.ms_in1k': dict(),
        'hrnet_w44.ms_in1k': dict(),
        'hrnet_w48.ms_in1k': dict(),
        'hrnet_w48_ssld.paddle_in1k': SSLD,
        'hrnet_w64.ms_in1k': dict(),
    },
)

FAMILIES = (HRNET,)
