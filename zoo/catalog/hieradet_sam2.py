"""Rows of the image encoders of SAM 2 (arXiv:2408.00714, appendix C).

Rows only; the network is zoo/models/hieradet_sam2.py.
"""
from ..spec import Family

PIXELS_1024 = dict(size=1024, min_input_size=(3, 256, 256))

FAMILIES = (Family(
    model='hieradet_sam2.HieraDet',
    data=dict(size=896, min_input_size=(3, 224, 224), crop_pct=1.0, num_classes=0, pool=32,
              first_conv='patch_embed.proj', classifier='head.fc', license='apache-2.0'),
    variants={
        'hieradet_small': dict(stages=(1, 2, 11, 2), global_att_blocks=(7, 10, 13), window_spec=(8, 4, 16, 8),
                               init_values=1e-5),
        'sam2_hiera_base_plus': dict(embed_dim=112, num_heads=2, global_pos_size=14),
        'sam2_hiera_large': dict(embed_dim=144, num_heads=2, stages=(2, 6, 36, 4), global_att_blocks=(23, 33, 43),
                                 window_spec=(8, 4, 16, 8)),
        'sam2_hiera_small': dict(stages=(1, 2, 11, 2), global_att_blocks=(7, 10, 13)),
        'sam2_hiera_tiny': dict(stages=(1, 2, 7, 2), global_att_blocks=(5, 7, 9)),
    },
    weights={
        'hieradet_small.untrained': dict(size=256, num_classes=1000),
        'sam2_hiera_base_plus.fb_r896': dict(),
        'sam2_hiera_base_plus.fb_r896_2pt1': dict(),
        'sam2_hiera_large.fb_r1024': PIXELS_1024,
        'sam2_hiera_large.fb_r1024_2pt1': PIXELS_1024,
        'sam2_hiera_small.fb_r896': dict(),
        'sam2_hiera_small.fb_r896_2pt1': dict(),
        'sam2_hiera_tiny.fb_r896': dict(),
        'sam2_hiera_tiny.fb_r896_2pt1': dict(),
    },
),)
