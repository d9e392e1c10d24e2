"""Rows of VGG (arXiv:1409.1556, Table 1: configurations A, B, D and E); 'bn' has batch normalisation.

Rows only; the network is zoo/models/vgg.py.
"""
from ..spec import Family

A = dict(cfg=(64, 'M', 128, 'M', 256, 256, 'M', 512, 512, 'M', 512, 512, 'M'))
B = dict(cfg=(64, 64, 'M', 128, 128, 'M', 256, 256, 'M', 512, 512, 'M', 512, 512, 'M'))
D = dict(cfg=(64, 64, 'M', 128, 128, 'M', *[256] * 3, 'M', *[512] * 3, 'M', *[512] * 3, 'M'))
E = dict(cfg=(64, 64, 'M', 128, 128, 'M', *[256] * 4, 'M', *[512] * 4, 'M', *[512] * 4, 'M'))
BN = dict(norm_layer='batchnorm2d')

FAMILIES = (Family(
    model='vgg.VGG',
    data=dict(interpolation='bilinear', pool=32, first_conv='features.0', classifier='head.fc', license='bsd-3-clause'),
    variants={
        'vgg11': A,
        'vgg11_bn': A | BN,
        'vgg13': B,
        'vgg13_bn': B | BN,
        'vgg16': D,
        'vgg16_bn': D | BN,
        'vgg19': E,
        'vgg19_bn': E | BN,
    },
    weights={
        'vgg11.tv_in1k': dict(),
        'vgg11_bn.tv_in1k': dict(),
        'vgg13.tv_in1k': dict(),
        'vgg13_bn.tv_in1k': dict(),
        'vgg16.tv_in1k': dict(),
        'vgg16_bn.tv_in1k': dict(),
        'vgg19.tv_in1k': dict(),
        'vgg19_bn.tv_in1k': dict(),
    },
),)
