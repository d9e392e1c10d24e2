"""Rows of DaViT (arXiv:2204.03645, Table 1), and of the image encoders of Florence-2 (arXiv:2311.06242), `_fl`.

Rows only; the network is zoo/models/davit.py.
"""
from ..spec import Family

UNPUBLISHED = dict(hf_hub_id=None)
FLORENCE = dict(window_size=12, down_kernel_size=3, channel_attn_v2=True, named_blocks=True)
FLORENCE_768 = dict(size=768, num_classes=0, pool_size=(7, 7))

FAMILIES = (Family(
    model='davit.DaVit',
    args=dict(depths=(1, 1, 9, 1)),
    data=dict(crop_pct=0.95, pool=32, first_conv='stem.conv', classifier='head.fc', license='apache-2.0'),
    variants={
        'davit_base': dict(embed_dims=(128, 256, 512, 1024), num_heads=(4, 8, 16, 32)),
        'davit_base_fl': dict(embed_dims=(128, 256, 512, 1024), num_heads=(4, 8, 16, 32), **FLORENCE),
        'davit_giant': dict(depths=(1, 1, 12, 3), embed_dims=(384, 768, 1536, 3072), num_heads=(12, 24, 48, 96)),
        'davit_huge': dict(embed_dims=(256, 512, 1024, 2048), num_heads=(8, 16, 32, 64)),
        'davit_huge_fl': dict(embed_dims=(256, 512, 1024, 2048), num_heads=(8, 16, 32, 64), **FLORENCE),
        'davit_large': dict(embed_dims=(192, 384, 768, 1536), num_heads=(6, 12, 24, 48)),
        'davit_small': dict(embed_dims=(96, 192, 384, 768), num_heads=(3, 6, 12, 24)),
        'davit_tiny': dict(depths=(1, 1, 3, 1), embed_dims=(96, 192, 384, 768), num_heads=(3, 6, 12, 24)),
    },
    weights={
        'davit_base.msft_in1k': dict(),
        'davit_base_fl.msft_florence2': dict(hf_hub_id='microsoft/Florence-2-base', **FLORENCE_768),
        'davit_huge_fl.msft_florence2': dict(hf_hub_id='microsoft/Florence-2-large', **FLORENCE_768),
        'davit_small.msft_in1k': dict(),
        'davit_tiny.msft_in1k': dict(),
        **dict.fromkeys(('davit_giant', 'davit_huge', 'davit_large'), UNPUBLISHED),
    },
),)
