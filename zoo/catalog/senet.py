"""Rows of SENet (arXiv:1709.01507) as its authors' code has them; the ResNets with the same gate, without 'legacy' in their
names, are in zoo/catalog/resnet.py.

Rows only; the network is zoo/models/senet.py.
"""
from ..spec import Family

X = dict(block='se_resnext', groups=32)
BICUBIC = dict(interpolation='bicubic')
WEIGHTS, CADENE = 'v0.1-weights', 'v0.1-cadene'

FAMILIES = (Family(
    model='senet.SENet',
    args=dict(block='se_resnet', groups=1, reduction=16),
    data=dict(pool=32, interpolation='bilinear', first_conv='layer0.conv1', classifier='last_linear', hf_hub_id=None,
              license='apache-2.0'),
    variants={
        'legacy_senet154': dict(block='senet', layers=(3, 8, 36, 3), groups=64, inplanes=128, input_3x3=True,
            downsample_kernel_size=3, downsample_padding=1),
        'legacy_seresnet18': dict(block='se_resnet_block', layers=(2, 2, 2, 2)),
        'legacy_seresnet34': dict(block='se_resnet_block', layers=(3, 4, 6, 3)),
        'legacy_seresnet50': dict(layers=(3, 4, 6, 3)),
        'legacy_seresnet101': dict(layers=(3, 4, 23, 3)),
        'legacy_seresnet152': dict(layers=(3, 8, 36, 3)),
        'legacy_seresnext26_32x4d': dict(layers=(2, 2, 2, 2)) | X,
        'legacy_seresnext50_32x4d': dict(layers=(3, 4, 6, 3)) | X,
        'legacy_seresnext101_32x4d': dict(layers=(3, 4, 23, 3)) | X,
    },
    weights={
        'legacy_senet154.in1k': dict(url=f'{WEIGHTS}/legacy_senet154-e9eb9fe6.pth'),
        'legacy_seresnet18.in1k': BICUBIC | dict(url=f'{WEIGHTS}/seresnet18-4bb0ce65.pth'),
        'legacy_seresnet34.in1k': dict(url=f'{WEIGHTS}/seresnet34-a4004e63.pth'),
        'legacy_seresnet50.in1k': dict(url=f'{CADENE}/se_resnet50-ce0d4300.pth'),
        'legacy_seresnet101.in1k': dict(url=f'{CADENE}/se_resnet101-7e38fcc6.pth'),
        'legacy_seresnet152.in1k': dict(url=f'{CADENE}/se_resnet152-d17c99b7.pth'),
        'legacy_seresnext26_32x4d.in1k': BICUBIC | dict(url=f'{WEIGHTS}/seresnext26_32x4d-65ebdb501.pth'),
        'legacy_seresnext50_32x4d.in1k': dict(url=f'{WEIGHTS}/legacy_se_resnext50_32x4d-f3651bad.pth'),
        'legacy_seresnext101_32x4d.in1k': dict(url=f'{WEIGHTS}/legacy_se_resnext101_32x4d-37725eac.pth'),
    },
),)
