"""Rows of BEiT (arXiv:2106.08254) and BEiT v2 (arXiv:2208.06366). The network is zoo/models/beit.py."""
from ..spec import HALF, IMAGENET_MEAN, IMAGENET_STD, Family

MODEL = 'beit.Beit'
RELATIVE = dict(use_abs_pos_emb=False, use_rel_pos_bias=True)
LAYERS = dict(fixed_input_size=True, first_conv='patch_embed.proj', classifier='head', crop_pct=0.9,
              license='apache-2.0')
IN22K = dict(num_classes=21841)
WHOLE = dict(crop_pct=1.0)

LARGE = dict(embed_dim=1024, depth=24, num_heads=16, init_values=1e-5)

FAMILIES = (Family(
    model=MODEL,
    args=RELATIVE | dict(init_values=0.1),
    data=LAYERS | dict(mean=HALF, std=HALF),
    variants={
        'beit_base_patch16_224': {},
        'beit_base_patch16_384': {},
        'beit_large_patch16_224': LARGE,
        'beit_large_patch16_384': LARGE,
        'beit_large_patch16_512': LARGE,
    },
    weights={
        'beit_base_patch16_224.in22k_ft_in22k_in1k': {},
        'beit_base_patch16_224.in22k_ft_in22k': IN22K,
        'beit_base_patch16_384.in22k_ft_in22k_in1k': WHOLE | dict(size=384),
        'beit_large_patch16_224.in22k_ft_in22k_in1k': {},
        'beit_large_patch16_224.in22k_ft_in22k': IN22K,
        'beit_large_patch16_384.in22k_ft_in22k_in1k': WHOLE | dict(size=384),
        'beit_large_patch16_512.in22k_ft_in22k_in1k': WHOLE | dict(size=512),
    },
), Family(
    model=MODEL,
    args=RELATIVE | dict(init_values=1e-5),
    data=LAYERS | dict(mean=IMAGENET_MEAN, std=IMAGENET_STD),
    variants={
        'beitv2_base_patch16_224': {},
        'beitv2_large_patch16_224': LARGE,
    },
    weights={
        'beitv2_base_patch16_224.in1k_ft_in22k_in1k': {},
        'beitv2_base_patch16_224.in1k_ft_in1k': {},
        'beitv2_base_patch16_224.in1k_ft_in22k': IN22K,
        'beitv2_large_patch16_224.in1k_ft_in22k_in1k': dict(crop_pct=0.95),
        'beitv2_large_patch16_224.in1k_ft_in1k': dict(crop_pct=0.95),
        'beitv2_large_patch16_224.in1k_ft_in22k': IN22K,
    },
))
