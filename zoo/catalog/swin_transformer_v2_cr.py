"""Rows of Swin Transformer V2 (arXiv:2111.09883, Table 1 and Appendix A1) as Christoph Reich wrote it from the paper.

Rows only; the network is zoo/models/swin_transformer_v2_cr.py.
"""
from ..spec import Family

TINY = dict(embed_dim=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24))
SMALL = TINY | dict(depths=(2, 2, 18, 2))
BASE = SMALL | dict(embed_dim=128, num_heads=(4, 8, 16, 32))
LARGE = SMALL | dict(embed_dim=192, num_heads=(6, 12, 24, 48))
HUGE = SMALL | dict(embed_dim=352, num_heads=(11, 22, 44, 88), extra_norm_period=6)
GIANT = dict(embed_dim=512, depths=(2, 2, 42, 2), num_heads=(16, 32, 64, 128), extra_norm_period=6)
NORM_STAGE = dict(extra_norm_stage=True)

UNTRAINED = dict(hf_hub_id=None)
UNTRAINED_384 = UNTRAINED | dict(size=384, crop_pct=1.0)

FAMILIES = (Family(
    model='swin_transformer_v2_cr.SwinTransformerV2Cr',
    data=dict(fixed_input_size=True, crop_pct=0.9, pool=32, first_conv='patch_embed.proj', classifier='head.fc',
              license='apache-2.0'),
    variants={
        'swinv2_cr_base_224': BASE,
        'swinv2_cr_base_384': BASE,
        'swinv2_cr_base_ns_224': BASE | NORM_STAGE,
        'swinv2_cr_giant_224': GIANT,
        'swinv2_cr_giant_384': GIANT,
        'swinv2_cr_huge_224': HUGE | dict(num_heads=(8, 16, 32, 64)),
        'swinv2_cr_huge_384': HUGE,
        'swinv2_cr_large_224': LARGE,
        'swinv2_cr_large_384': LARGE,
        'swinv2_cr_small_224': SMALL,
        'swinv2_cr_small_384': SMALL,
        'swinv2_cr_small_ns_224': SMALL | NORM_STAGE,
        'swinv2_cr_small_ns_256': SMALL | NORM_STAGE,
        'swinv2_cr_tiny_224': TINY,
        'swinv2_cr_tiny_384': TINY,
        'swinv2_cr_tiny_ns_224': TINY | NORM_STAGE,
    },
    weights={
        'swinv2_cr_base_224.untrained': UNTRAINED,
        'swinv2_cr_base_384.untrained': UNTRAINED_384,
        'swinv2_cr_base_ns_224.untrained': UNTRAINED,
        'swinv2_cr_giant_224.untrained': UNTRAINED,
        'swinv2_cr_giant_384.untrained': UNTRAINED_384,
        'swinv2_cr_huge_224.untrained': UNTRAINED,
        'swinv2_cr_huge_384.untrained': UNTRAINED_384,
        'swinv2_cr_large_224.untrained': UNTRAINED,
        'swinv2_cr_large_384.untrained': UNTRAINED_384,
        'swinv2_cr_small_224.sw_in1k': dict(),
        'swinv2_cr_small_384.untrained': UNTRAINED_384,
        'swinv2_cr_small_ns_224.sw_in1k': dict(),
        'swinv2_cr_small_ns_256.untrained': UNTRAINED_384 | dict(size=256),
        'swinv2_cr_tiny_224.untrained': UNTRAINED,
        'swinv2_cr_tiny_384.untrained': UNTRAINED_384,
        'swinv2_cr_tiny_ns_224.sw_in1k': dict(),
    },
),)
