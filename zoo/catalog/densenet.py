"""Rows of DenseNet (arXiv:1608.06993, Table 1); d has the deep stem of ResNet-C (arXiv:1812.01187).

Rows only; the network is zoo/models/densenet.py.
"""
from ..spec import Family

RA = dict(test_size=288, test_crop_pct=0.95)

FAMILIES = (Family(
    model='densenet.DenseNet',
    data=dict(pool=32, first_conv='features.conv0', classifier='classifier', license='apache-2.0'),
    variants={
        'densenet121': dict(block_config=(6, 12, 24, 16)),
        'densenet161': dict(growth_rate=48, block_config=(6, 12, 36, 24)),
        'densenet169': dict(block_config=(6, 12, 32, 32)),
        'densenet201': dict(block_config=(6, 12, 48, 32)),
        'densenet264d': dict(growth_rate=48, block_config=(6, 12, 64, 48), stem_type='deep'),
        'densenetblur121d': dict(block_config=(6, 12, 24, 16), stem_type='deep', aa_layer='blur'),
    },
    former={'tv_densenet121': 'densenet121.tv_in1k'},
    weights={
        'densenet121.ra_in1k': RA,
        'densenet121.tv_in1k': dict(),
        'densenet161.tv_in1k': dict(),
        'densenet169.tv_in1k': dict(),
        'densenet201.tv_in1k': dict(),
        'densenet264d.untrained': dict(),
        'densenetblur121d.ra_in1k': RA,
    },
),)
