"""Rows of DeiT (arXiv:2012.12877) and DeiT III (arXiv:2204.07118). The networks are zoo/models/deit.py."""
from ..spec import Family

LAYERS = dict(fixed_input_size=True, first_conv='patch_embed.proj', classifier='head', license='apache-2.0')

TINY = dict(embed_dim=192, depth=12, num_heads=3)
SMALL = dict(embed_dim=384, depth=12, num_heads=6)
MEDIUM = dict(embed_dim=512, depth=12, num_heads=8)
LARGE = dict(embed_dim=1024, depth=24, num_heads=16)
HUGE = dict(embed_dim=1280, depth=32, num_heads=16)

FAMILIES = (Family(
    # DeiT, Table 1
    model='deit.VisionTransformer',
    data=LAYERS | dict(crop_pct=0.9),
    variants={
        'deit_base_patch16_224': {},
        'deit_base_patch16_384': {},
        'deit_small_patch16_224': SMALL,
        'deit_tiny_patch16_224': TINY,
    },
    weights={
        'deit_base_patch16_224.fb_in1k': {},
        'deit_base_patch16_384.fb_in1k': dict(crop_pct=1.0, size=384),
        'deit_small_patch16_224.fb_in1k': {},
        'deit_tiny_patch16_224.fb_in1k': {},
    },
), Family(
    # DeiT with a distillation token, section 3
    model='deit.VisionTransformerDistilled',
    data=LAYERS | dict(crop_pct=0.9, classifier=('head', 'head_dist')),
    variants={
        'deit_base_distilled_patch16_224': {},
        'deit_base_distilled_patch16_384': {},
        'deit_small_distilled_patch16_224': SMALL,
        'deit_tiny_distilled_patch16_224': TINY,
    },
    weights={
        'deit_base_distilled_patch16_224.fb_in1k': {},
        'deit_base_distilled_patch16_384.fb_in1k': dict(crop_pct=1.0, size=384),
        'deit_small_distilled_patch16_224.fb_in1k': {},
        'deit_tiny_distilled_patch16_224.fb_in1k': {},
    },
), Family(
    # DeiT III
    model='deit.VisionTransformer',
    args=dict(init_values=1e-6, no_embed_class=True),
    data=LAYERS | dict(crop_pct=1.0),
    variants={
        'deit3_base_patch16_224': {},
        'deit3_base_patch16_384': {},
        'deit3_huge_patch14_224': HUGE | dict(patch_size=14),
        'deit3_large_patch16_224': LARGE,
        'deit3_large_patch16_384': LARGE,
        'deit3_medium_patch16_224': MEDIUM,
        'deit3_small_patch16_224': SMALL,
        'deit3_small_patch16_384': SMALL,
    },
    weights={
        'deit3_base_patch16_224.fb_in1k': dict(crop_pct=0.9),
        'deit3_base_patch16_224.fb_in22k_ft_in1k': {},
        'deit3_base_patch16_384.fb_in1k': dict(size=384),
        'deit3_base_patch16_384.fb_in22k_ft_in1k': dict(size=384),
        'deit3_huge_patch14_224.fb_in1k': dict(crop_pct=0.9),
        'deit3_huge_patch14_224.fb_in22k_ft_in1k': {},
        'deit3_large_patch16_224.fb_in1k': dict(crop_pct=0.9),
        'deit3_large_patch16_224.fb_in22k_ft_in1k': {},
        'deit3_large_patch16_384.fb_in1k': dict(size=384),
        'deit3_large_patch16_384.fb_in22k_ft_in1k': dict(size=384),
        'deit3_medium_patch16_224.fb_in1k': dict(crop_pct=0.9),
        'deit3_medium_patch16_224.fb_in22k_ft_in1k': {},
        'deit3_small_patch16_224.fb_in1k': dict(crop_pct=0.9),
        'deit3_small_patch16_224.fb_in22k_ft_in1k': {},
        'deit3_small_patch16_384.fb_in1k': dict(size=384),
        'deit3_small_patch16_384.fb_in22k_ft_in1k': dict(size=384),
    },
    former={
        f'deit3_{size}_in21ft1k': f'deit3_{size}.fb_in22k_ft_in1k' for size in (
            'small_patch16_224', 'small_patch16_384', 'medium_patch16_224', 'base_patch16_224', 'base_patch16_384',
            'large_patch16_224', 'large_patch16_384', 'huge_patch14_224')
    },
),)
