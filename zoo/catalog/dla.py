"""Rows of DLA (arXiv:1707.06484, Table 1): C are compact, X grouped, and Res2Net's two are of arXiv:1904.01169.

Rows only; the network is zoo/models/dla.py.
"""
from ..spec import Family

COMPACT = dict(levels=(1, 1, 1, 2, 2, 1), channels=(16, 32, 64, 64, 128, 256), block='bottleneck')
WIDE = dict(channels=(16, 32, 128, 256, 512, 1024), block='bottleneck')
D60 = WIDE | dict(levels=(1, 1, 1, 2, 3, 1))
D102 = WIDE | dict(levels=(1, 1, 1, 3, 4, 1), shortcut_root=True)
X = dict(cardinality=32, base_width=4)

FAMILIES = (Family(
    model='dla.DLA',
    data=dict(interpolation='bilinear', pool=32, first_conv='base_layer.0', classifier='fc', license='bsd-3-clause'),
    variants={
        'dla34': dict(levels=(1, 1, 1, 2, 2, 1), channels=(16, 32, 64, 128, 256, 512), block='basic'),
        'dla46_c': COMPACT,
        'dla46x_c': COMPACT | X,
        'dla60': D60,
        'dla60_res2net': D60 | dict(block='bottle2neck', cardinality=1, base_width=28),
        'dla60_res2next': D60 | dict(block='bottle2neck', cardinality=8, base_width=4),
        'dla60x': D60 | X,
        'dla60x_c': COMPACT | X | dict(levels=(1, 1, 1, 2, 3, 1)),
        'dla102': D102,
        'dla102x': D102 | X,
        'dla102x2': D102 | X | dict(cardinality=64),
        'dla169': WIDE | dict(levels=(1, 1, 2, 3, 5, 1), shortcut_root=True),
    },
    weights={
        'dla34.in1k': dict(),
        'dla46_c.in1k': dict(),
        'dla46x_c.in1k': dict(),
        'dla60.in1k': dict(),
        'dla60_res2net.in1k': dict(license='unknown'),
        'dla60_res2next.in1k': dict(license='unknown'),
        'dla60x.in1k': dict(),
        'dla60x_c.in1k': dict(),
        'dla102.in1k': dict(),
        'dla102x.in1k': dict(),
        'dla102x2.in1k': dict(),
        'dla169.in1k': dict(),
    },
),)
