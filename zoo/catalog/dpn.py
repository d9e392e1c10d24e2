"""Rows of dual path networks (arXiv:1707.01629, Table 1); 'b' have convolutions of their own for the two paths.

Rows only; the network is zoo/models/dpn.py.
"""
from ..spec import IMAGENET_MEAN, IMAGENET_STD, Family

SMALL = dict(small=True, num_init_features=10, k_r=128, groups=32, inc_sec=(16, 32, 32, 64))
LARGE = dict(inc_sec=(16, 32, 32, 128))

IMAGENET = dict(mean=IMAGENET_MEAN, std=IMAGENET_STD)

FAMILIES = (Family(
    model='dpn.DPN',
    data=dict(mean=(124 / 255, 117 / 255, 104 / 255), std=(1 / (255 * 0.0167),) * 3, pool=32,
              first_conv='features.conv1_1.conv', classifier='classifier', license='apache-2.0'),
    variants={
        'dpn48b': SMALL | dict(b=True, k_sec=(3, 4, 6, 3), act_layer='silu'),
        'dpn68': SMALL | dict(k_sec=(3, 4, 12, 3)),
        'dpn68b': SMALL | dict(b=True, k_sec=(3, 4, 12, 3)),
        'dpn92': dict(num_init_features=64, k_r=96, groups=32, k_sec=(3, 4, 20, 3), inc_sec=(16, 32, 24, 128)),
        'dpn98': LARGE | dict(num_init_features=96, k_r=160, groups=40, k_sec=(3, 6, 20, 3)),
        'dpn107': LARGE | dict(num_init_features=128, k_r=200, groups=50, k_sec=(4, 8, 20, 3), inc_sec=(20, 64, 64, 128)),
        'dpn131': LARGE | dict(num_init_features=128, k_r=160, groups=40, k_sec=(4, 8, 28, 3)),
    },
    weights={
        'dpn48b.untrained': IMAGENET,
        'dpn68.mx_in1k': dict(),
        'dpn68b.ra_in1k': IMAGENET | dict(test_size=288, crop_pct=0.95, test_crop_pct=1.0),
        'dpn68b.mx_in1k': dict(),
        'dpn92.mx_in1k': dict(),
        'dpn98.mx_in1k': dict(),
        'dpn107.mx_in1k': dict(),
        'dpn131.mx_in1k': dict(),
    },
),)
