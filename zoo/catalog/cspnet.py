"""Rows of CSPNet (arXiv:1911.11929), and of DarkNet (YOLOv3, arXiv:1804.02767).

Rows only; the network is zoo/models/cspnet.py. 'cs3' are of YOLOv5's kind, of its widths s, m, l and x, 'focus' with its
6x6 stem; 'se' gate their blocks.
"""
from ..spec import HALF, Family

# stems
DEEP = dict(stem_chs=(32, 32, 64), stem_pool=True)
SEVEN = dict(stem_chs=(64,), stem_kernel=7, stem_pool=True)
FOCUS = dict(stem_kernel=6)
PLAIN = dict(stem_chs=(32,), stem_stride=1, out_chs=(64, 128, 256, 512, 1024), stride=(2,) * 5)

# stages
RESNET = dict(depth=(3, 3, 5, 2), cross_linear=True)
NARROW = dict(out_chs=(128, 256, 512, 1024), bottle_ratio=0.5, expand_ratio=2.0)
WIDE = dict(out_chs=(256, 512, 1024, 2048), block_ratio=0.5)
DARK = PLAIN | dict(stage_type='dark', block_type='dark', bottle_ratio=0.5)
D21 = DARK | dict(depth=(1, 1, 1, 2, 2))
D53 = DARK | dict(depth=(1, 2, 8, 8, 4))
CS3 = dict(stage_type='cs3', block_type='dark', stem_stride=2, stride=(2,) * 4, block_ratio=0.5, act_layer='silu')
S = CS3 | dict(stem_chs=(16, 32), depth=(1, 3, 4, 1), out_chs=(64, 128, 256, 512))
M = CS3 | dict(stem_chs=(24, 48), depth=(2, 4, 6, 2), out_chs=(96, 192, 384, 768))
L = CS3 | dict(stem_chs=(32, 64), depth=(3, 6, 9, 3), out_chs=(128, 256, 512, 1024))
X = CS3 | dict(stem_chs=(40, 80), depth=(3, 7, 11, 3), out_chs=(160, 320, 640, 1280))
EDGE = dict(block_type='edge', bottle_ratio=1.5)
SE = dict(attn_layer='se')
SE_4 = SE | dict(attn_kwargs=dict(rd_ratio=0.25))

# what sets of weights share
RA = dict(interpolation='bilinear')
C2NS = dict(test_size=288, test_crop_pct=0.95)
X_DATA = dict(test_size=288, test_crop_pct=1.0)

FAMILIES = (Family(
    model='cspnet.CspNet',
    data=dict(size=256, crop_pct=0.887, pool=32, first_conv='stem.conv1.conv', classifier='head.fc', license='apache-2.0'),
    variants={
        'cs3darknet_focus_l': L | FOCUS | dict(stem_chs=(64,)),
        'cs3darknet_focus_m': M | FOCUS | dict(stem_chs=(48,)),
        'cs3darknet_focus_s': S | FOCUS | dict(stem_chs=(32,)),
        'cs3darknet_focus_x': X | FOCUS | dict(stem_chs=(80,)),
        'cs3darknet_l': L,
        'cs3darknet_m': M,
        'cs3darknet_s': S,
        'cs3darknet_x': X,
        'cs3edgenet_x': X | EDGE,
        'cs3se_edgenet_x': X | EDGE | SE_4,
        'cs3sedarknet_l': L | SE_4,
        'cs3sedarknet_x': X | SE,
        'cs3sedarknet_xdw': CS3 | WIDE | SE | dict(stage_type='csp', block_type='bottle', stem_chs=(32, 64),
                                                   depth=(3, 6, 12, 4), bottle_ratio=0.5, groups=(1, 1, 256, 512)),
        'cspdarknet53': PLAIN | dict(block_type='dark', depth=(1, 2, 8, 8, 4), block_ratio=(1.0, 0.5, 0.5, 0.5, 0.5),
                                     bottle_ratio=(0.5, 1.0, 1.0, 1.0, 1.0), expand_ratio=(2.0, 1.0, 1.0, 1.0, 1.0),
                                     down_growth=True),
        'cspresnet50': RESNET | SEVEN | NARROW,
        'cspresnet50d': RESNET | DEEP | NARROW,
        'cspresnet50w': RESNET | DEEP | WIDE | dict(bottle_ratio=0.25),
        'cspresnext50': RESNET | SEVEN | WIDE | dict(groups=32),
        'darknet17': DARK | dict(depth=(1, 1, 1, 1, 1)),
        'darknet21': D21,
        'darknet53': D53,
        'darknetaa53': D53 | dict(avg_down=True),
        'sedarknet21': D21 | SE,
    },
    weights={
        'cs3darknet_focus_l.c2ns_in1k': C2NS,
        'cs3darknet_focus_m.c2ns_in1k': C2NS,
        'cs3darknet_focus_s.ra4_e3600_r256_in1k': dict(test_size=320, test_crop_pct=1.0, mean=HALF, std=HALF),
        'cs3darknet_focus_x.untrained': dict(),
        'cs3darknet_l.c2ns_in1k': C2NS,
        'cs3darknet_m.c2ns_in1k': C2NS,
        'cs3darknet_s.untrained': dict(),
        'cs3darknet_x.c2ns_in1k': X_DATA | dict(crop_pct=0.95),
        'cs3edgenet_x.c2_in1k': X_DATA,
        'cs3se_edgenet_x.c2ns_in1k': X_DATA | dict(test_size=320, crop_pct=0.95),
        'cs3sedarknet_l.c2ns_in1k': C2NS,
        'cs3sedarknet_x.c2ns_in1k': X_DATA,
        'cs3sedarknet_xdw.untrained': dict(),
        'cspdarknet53.ra_in1k': RA,
        'cspresnet50.ra_in1k': RA,
        'cspresnet50d.untrained': RA,
        'cspresnet50w.untrained': RA,
        'cspresnext50.ra_in1k': RA,
        'darknet17.untrained': RA,
        'darknet21.untrained': RA,
        'darknet53.c2ns_in1k': X_DATA,
        'darknetaa53.c2ns_in1k': X_DATA | RA,
        'sedarknet21.untrained': RA,
    },
),)
