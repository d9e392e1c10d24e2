"""Rows of EfficientFormerV2, arXiv:2212.08059, Table 1. The network is zoo/models/efficientformer_v2.py."""
from ..spec import Family

FAMILIES = (Family(
    model='efficientformer_v2.EfficientFormerV2',
    # attention in the last two stages, in stage 2 at half the resolution, and in the last downsampling
    args=dict(attention_strides=(0, 0, 2, 1), attention_downsamples=(False, False, False, True)),
    data=dict(crop_pct=0.95, fixed_input_size=True, pool_size=None, first_conv='stem.conv1.conv',
              classifier=('head', 'head_dist'), license='apache-2.0'),
    variants={
        'efficientformerv2_s0': dict(
            depths=(2, 2, 6, 4), embed_dims=(32, 48, 96, 176), num_vit=2,
            mlp_ratios=(4, 4, (4, 3, 3, 3, 4, 4), (4, 3, 3, 4))),
        'efficientformerv2_s1': dict(
            depths=(3, 3, 9, 6), embed_dims=(32, 48, 120, 224), num_vit=2,
            mlp_ratios=(4, 4, (4, 4, 3, 3, 3, 3, 4, 4, 4), (4, 4, 3, 3, 4, 4))),
        'efficientformerv2_s2': dict(
            depths=(4, 4, 12, 8), embed_dims=(32, 64, 144, 288), num_vit=4,
            mlp_ratios=(4, 4, (4, 4, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4), (4, 4, 3, 3, 3, 3, 4, 4)), drop_path_rate=0.02),
        'efficientformerv2_l': dict(
            depths=(5, 5, 15, 10), embed_dims=(40, 80, 192, 384), num_vit=6,
            mlp_ratios=(4, 4, (4, 4, 4, 4, 3, 3, 3, 3, 3, 3, 3, 4, 4, 4, 4), (4, 4, 4, 3, 3, 3, 3, 4, 4, 4)),
            drop_path_rate=0.1),
    },
    weights={
        'efficientformerv2_l.snap_dist_in1k': {},
        'efficientformerv2_s0.snap_dist_in1k': {},
        'efficientformerv2_s1.snap_dist_in1k': {},
        'efficientformerv2_s2.snap_dist_in1k': {},
    },
),)
