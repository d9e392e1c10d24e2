"""Rows of SKNet (arXiv:1903.06586), most with kernels that share the channels; d has the deep stem and shortcuts that pool
(arXiv:1812.01187).

Rows only; the network is zoo/models/sknet.py.
"""
from ..spec import Family

BASIC = dict(block='basic', block_args=dict(sk_kwargs=dict(rd_ratio=1 / 8, rd_divisor=16)))
WHOLE = dict(block_args=dict(sk_kwargs=dict(rd_ratio=1 / 16, rd_divisor=32, split_input=False)))

FAMILIES = (Family(
    model='sknet.SKNet',
    args=dict(block='bottleneck', zero_init_last=False),
    data=dict(pool=32, first_conv='conv1', classifier='fc', license='apache-2.0'),
    variants={
        'skresnet18': dict(layers=(2, 2, 2, 2)) | BASIC,
        'skresnet34': dict(layers=(3, 4, 6, 3)) | BASIC,
        'skresnet50': dict(layers=(3, 4, 6, 3)),
        'skresnet50d': dict(layers=(3, 4, 6, 3), stem_type='deep', stem_width=32, avg_down=True),
        'skresnext50_32x4d': dict(layers=(3, 4, 6, 3), cardinality=32, base_width=4) | WHOLE,
    },
    weights={
        'skresnet18.ra_in1k': dict(),
        'skresnet34.ra_in1k': dict(),
        'skresnet50.untrained': dict(),
        'skresnet50d.untrained': dict(first_conv='conv1.0'),
        'skresnext50_32x4d.ra_in1k': dict(),
    },
),)
