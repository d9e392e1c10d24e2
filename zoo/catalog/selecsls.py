"""Rows of SelecSLS (arXiv:1907.00837); 'b' swap the widths of the last two convolutions.

Rows only; the network is zoo/models/selecsls.py.
"""
from ..spec import Family

S42 = dict(block_num=(2, 2, 2), mid_chs=(64, 144, 304), out_chs=(128, 288, 480))
S60 = dict(block_num=(2, 3, 4), mid_chs=(64, 128, 288), out_chs=(128, 288, 416))

FAMILIES = (Family(
    model='selecsls.SelecSls',
    data=dict(pool=64, first_conv='stem.0', classifier='fc', license='cc-by-4.0'),
    variants={
        'selecsls42': S42 | dict(head_chs=(960, 1024, 1024, 1280)),
        'selecsls42b': S42 | dict(head_chs=(960, 1024, 1280, 1024)),
        'selecsls60': S60 | dict(head_chs=(756, 1024, 1024, 1280)),
        'selecsls60b': S60 | dict(head_chs=(756, 1024, 1280, 1024)),
        'selecsls84': dict(block_num=(2, 5, 6), mid_chs=(64, 144, 304), out_chs=(144, 304, 512),
                           head_chs=(960, 1024, 1024, 1280), head_kernel=3),
    },
    weights={
        'selecsls42.untrained': dict(),
        'selecsls42b.in1k': dict(),
        'selecsls60.in1k': dict(),
        'selecsls60b.in1k': dict(),
        'selecsls84.untrained': dict(),
    },
),)
