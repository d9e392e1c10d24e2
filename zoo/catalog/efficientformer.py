"""Rows of EfficientFormer, arXiv:2206.01191, Table 3. The network is zoo/models/efficientformer.py."""
from ..spec import Family

FAMILIES = (Family(
    model='efficientformer.EfficientFormer',
    data=dict(crop_pct=0.95, fixed_input_size=True, pool_size=None, first_conv='stem.conv1',
              classifier=('head', 'head_dist'), license='apache-2.0'),
    variants={
        'efficientformer_l1': dict(depths=(3, 2, 6, 4), embed_dims=(48, 96, 224, 448), num_vit=1),
        'efficientformer_l3': dict(depths=(4, 4, 12, 6), embed_dims=(64, 128, 320, 512), num_vit=4),
        'efficientformer_l7': dict(depths=(6, 6, 18, 8), embed_dims=(96, 192, 384, 768), num_vit=8),
    },
    weights={
        'efficientformer_l1.snap_dist_in1k': {},
        'efficientformer_l3.snap_dist_in1k': {},
        'efficientformer_l7.snap_dist_in1k': {},
    },
),)
