"""The row of Xception (arXiv:1610.02357), with weights converted from Keras.

The row only; the network is zoo/models/xception.py.
"""
from ..spec import HALF, Family

FAMILIES = (Family(
    model='xception.Xception',
    data=dict(size=299, crop_pct=0.8975, mean=HALF, std=HALF, pool=32, first_conv='conv1', classifier='fc',
              license='apache-2.0'),
    variants={
        'legacy_xception': dict(),
    },
    weights={
        'legacy_xception.tf_in1k': dict(hf_hub_id=None, url='v0.1-cadene/xception-43020ad28.pth'),
    },
    former={
        'xception': 'legacy_xception',
    },
),)
