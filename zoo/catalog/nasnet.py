"""The row of NASNet (arXiv:1707.07012), with weights converted from TensorFlow.

The row only; the network is zoo/models/nasnet.py.
"""
from ..spec import HALF, Family

FAMILIES = (Family(
    model='nasnet.NASNetALarge',
    args=dict(pad_type='same'),
    data=dict(size=331, crop_pct=0.911, mean=HALF, std=HALF, pool=32, first_conv='conv0.conv', classifier='last_linear',
              license='apache-2.0'),
    variants={
        'nasnetalarge': dict(),
    },
    weights={
        'nasnetalarge.tf_in1k': dict(),
    },
),)
