"""The row of Inception-v3 (arXiv:1512.00567); 'adv' is trained against adversaries (arXiv:1611.01236).

The row only; the network is zoo/models/inception_v3.py.
"""
from ..spec import HALF, IMAGENET_MEAN, IMAGENET_STD, Family

FAMILIES = (Family(
    model='inception_v3.InceptionV3',
    data=dict(size=299, mean=HALF, std=HALF, pool_size=(8, 8), first_conv='Conv2d_1a_3x3.conv', classifier='fc',
              license='apache-2.0'),
    variants={
        'inception_v3': dict(),
    },
    weights={
        'inception_v3.tv_in1k': dict(),
        'inception_v3.tf_in1k': dict(),
        'inception_v3.tf_adv_in1k': dict(),
        'inception_v3.gluon_in1k': dict(mean=IMAGENET_MEAN, std=IMAGENET_STD),
    },
    former={
        'adv_inception_v3': 'inception_v3.tf_adv_in1k',
        'gluon_inception_v3': 'inception_v3.gluon_in1k',
        'tf_inception_v3': 'inception_v3.tf_in1k',
    },
),)
