"""The row of Inception-v4 (arXiv:1602.07261).

The row only; the network is zoo/models/inception_v4.py.
"""
from ..spec import HALF, Family

FAMILIES = (Family(
    model='inception_v4.InceptionV4',
    data=dict(size=299, mean=HALF, std=HALF, pool_size=(8, 8), first_conv='features.0.conv', classifier='last_linear',
              license='apache-2.0'),
    variants={
        'inception_v4': dict(),
    },
    weights={
        'inception_v4.tf_in1k': dict(),
    },
),)
