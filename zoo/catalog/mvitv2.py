"""Rows of MViTv2 (arXiv:2112.01526, Table 1), and with 'cls' those that have a class token.

Rows only; the network is zoo/models/mvitv2.py.
"""
from ..spec import Family

CLS = dict(use_cls_token=True)
SMALL = dict(depths=(1, 2, 11, 2), embed_dim=(96, 192, 384, 768), num_heads=(1, 2, 4, 8))
BASE = SMALL | dict(depths=(2, 3, 16, 3))
LARGE = dict(depths=(2, 6, 36, 4), embed_dim=(144, 288, 576, 1152), num_heads=(2, 4, 8, 16))
HUGE = dict(depths=(4, 8, 60, 8), embed_dim=(192, 384, 768, 1536), num_heads=(3, 6, 12, 24))
INW21K = dict(num_classes=19168)

FAMILIES = (Family(
    model='mvitv2.MultiScaleVit',
    data=dict(fixed_input_size=True, crop_pct=0.9, first_conv='patch_embed.proj', classifier='head.fc',
              license='apache-2.0'),
    variants={
        'mvitv2_base': BASE,
        'mvitv2_base_cls': BASE | CLS,
        'mvitv2_huge_cls': HUGE | CLS,
        'mvitv2_large': LARGE | dict(expand_attn=False),
        'mvitv2_large_cls': LARGE | CLS,
        'mvitv2_small': SMALL,
        'mvitv2_small_cls': SMALL | CLS,
        'mvitv2_tiny': SMALL | dict(depths=(1, 2, 5, 2)),
    },
    weights={
        'mvitv2_base.fb_in1k': dict(),
        'mvitv2_base_cls.fb_inw21k': INW21K,
        'mvitv2_huge_cls.fb_inw21k': INW21K,
        'mvitv2_large.fb_in1k': dict(),
        'mvitv2_large_cls.fb_inw21k': INW21K,
        'mvitv2_small.fb_in1k': dict(),
        'mvitv2_tiny.fb_in1k': dict(),
        **{'mvitv2_small_cls': dict(hf_hub_id=None)},
    },
),)
