"""The row of PNASNet (arXiv:1712.00559), with weights converted from TensorFlow.

The row only; the network is zoo/models/pnasnet.py.
"""
from ..spec import HALF, Family

FAMILIES = (Family(
    model='pnasnet.PNASNet5Large',
    args=dict(pad_type='same'),
    data=dict(size=331, crop_pct=0.911, mean=HALF, std=HALF, pool=32, first_conv='conv_0.conv', classifier='last_linear',
              license='apache-2.0'),
    variants={
        'pnasnet5large': dict(),
    },
    weights={
        'pnasnet5large.tf_in1k': dict(),
    },
),)
