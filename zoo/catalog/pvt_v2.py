"""Rows of Pyramid Vision Transformer V2 (arXiv:2106.13797, Table 1).

Rows only; the network is zoo/models/pvt_v2.py.
"""
from ..spec import Family

FAMILIES = (Family(
    model='pvt_v2.PyramidVisionTransformerV2',
    args=dict(embed_dims=(64, 128, 320, 512), num_heads=(1, 2, 5, 8)),
    data=dict(crop_pct=0.9, pool=32, first_conv='patch_embed.proj', classifier='head', license='apache-2.0'),
    variants={
        'pvt_v2_b0': dict(depths=(2, 2, 2, 2), embed_dims=(32, 64, 160, 256)),
        'pvt_v2_b1': dict(depths=(2, 2, 2, 2)),
        'pvt_v2_b2': dict(depths=(3, 4, 6, 3)),
        'pvt_v2_b2_li': dict(depths=(3, 4, 6, 3), linear=True),
        'pvt_v2_b3': dict(depths=(3, 4, 18, 3)),
        'pvt_v2_b4': dict(depths=(3, 8, 27, 3)),
        'pvt_v2_b5': dict(depths=(3, 6, 40, 3), mlp_ratios=(4, 4, 4, 4)),
    },
    weights={
        'pvt_v2_b0.in1k': dict(),
        'pvt_v2_b1.in1k': dict(),
        'pvt_v2_b2.in1k': dict(),
        'pvt_v2_b2_li.in1k': dict(),
        'pvt_v2_b3.in1k': dict(),
        'pvt_v2_b4.in1k': dict(),
        'pvt_v2_b5.in1k': dict(),
    },
),)
