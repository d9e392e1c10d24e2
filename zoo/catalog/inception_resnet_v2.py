"""The row of Inception-ResNet-v2 (arXiv:1602.07261); 'ens_adv' is trained against adversaries (arXiv:1705.07204).

The row only; the network is zoo/models/inception_resnet_v2.py.
"""
from ..spec import HALF, Family

FAMILIES = (Family(
    model='inception_resnet_v2.InceptionResnetV2',
    data=dict(size=299, crop_pct=0.8975, mean=HALF, std=HALF, pool_size=(8, 8), first_conv='conv2d_1a.conv',
              classifier='classif', license='apache-2.0'),
    variants={
        'inception_resnet_v2': dict(),
    },
    weights={
        'inception_resnet_v2.tf_in1k': dict(),
        'inception_resnet_v2.tf_ens_adv_in1k': dict(),
    },
    former={
        'ens_adv_inception_resnet_v2': 'inception_resnet_v2.tf_ens_adv_in1k',
    },
),)
