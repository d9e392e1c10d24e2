"""Rows of Res2Net (arXiv:1904.01169): the width of a convolution where a block has 64 channels, and how many shares a block
has; d has the deep stem and shortcuts that pool (arXiv:1812.01187), v1b in its authors' code.

Rows only; the network is zoo/models/res2net.py.
"""
from ..spec import Family

DEEP = dict(stem_type='deep', stem_width=32, avg_down=True)
SHARES_2, SHARES_4, SHARES_6, SHARES_8 = (dict(block_args=dict(scale=count)) for count in (2, 4, 6, 8))

FAMILIES = (Family(
    model='res2net.Res2Net',
    args=dict(block='bottle2neck'),
    data=dict(pool=32, interpolation='bilinear', first_conv='conv1', classifier='fc', license='unknown'),
    variants={
        'res2net50_14w_8s': dict(layers=(3, 4, 6, 3), base_width=14) | SHARES_8,
        'res2net50_26w_4s': dict(layers=(3, 4, 6, 3), base_width=26) | SHARES_4,
        'res2net50_26w_6s': dict(layers=(3, 4, 6, 3), base_width=26) | SHARES_6,
        'res2net50_26w_8s': dict(layers=(3, 4, 6, 3), base_width=26) | SHARES_8,
        'res2net50_48w_2s': dict(layers=(3, 4, 6, 3), base_width=48) | SHARES_2,
        'res2net50d': dict(layers=(3, 4, 6, 3), base_width=26) | SHARES_4 | DEEP,
        'res2net101_26w_4s': dict(layers=(3, 4, 23, 3), base_width=26) | SHARES_4,
        'res2net101d': dict(layers=(3, 4, 23, 3), base_width=26) | SHARES_4 | DEEP,
        'res2next50': dict(layers=(3, 4, 6, 3), base_width=4, cardinality=8) | SHARES_4,
    },
    weights={
        'res2net50_14w_8s.in1k': dict(),
        'res2net50_26w_4s.in1k': dict(),
        'res2net50_26w_6s.in1k': dict(),
        'res2net50_26w_8s.in1k': dict(),
        'res2net50_48w_2s.in1k': dict(),
        'res2net50d.in1k': dict(first_conv='conv1.0'),
        'res2net101_26w_4s.in1k': dict(),
        'res2net101d.in1k': dict(first_conv='conv1.0'),
        'res2next50.in1k': dict(),
    },
),)
