"""Rows of Swin Transformer (arXiv:2103.14030, Table 7) and of those found by a search, S3 (arXiv:2111.14725).

Rows only; the network is zoo/models/swin_transformer.py.
"""
from ..spec import Family

IN22K = dict(num_classes=21841)
PIXELS_384 = dict(size=384, crop_pct=1.0)

FAMILIES = (Family(
    model='swin_transformer.SwinTransformer',
    data=dict(fixed_input_size=True, crop_pct=0.9, pool=32, first_conv='patch_embed.proj', classifier='head.fc',
              license='mit'),
    variants={
        'swin_base_patch4_window7_224': dict(window_size=7, embed_dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8, 16,
            32)),
        'swin_base_patch4_window12_384': dict(window_size=12, embed_dim=128, depths=(2, 2, 18, 2), num_heads=(4, 8,
            16, 32)),
        'swin_large_patch4_window7_224': dict(window_size=7, embed_dim=192, depths=(2, 2, 18, 2), num_heads=(6, 12,
            24, 48)),
        'swin_large_patch4_window12_384': dict(window_size=12, embed_dim=192, depths=(2, 2, 18, 2), num_heads=(6, 12,
            24, 48)),
        'swin_s3_base_224': dict(window_size=(7, 7, 14, 7), embed_dim=96, depths=(2, 2, 30, 2), num_heads=(3, 6, 12,
            24)),
        'swin_s3_small_224': dict(window_size=(14, 14, 14, 7), embed_dim=96, depths=(2, 2, 18, 2), num_heads=(3, 6,
            12, 24)),
        'swin_s3_tiny_224': dict(window_size=(7, 7, 14, 7), embed_dim=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12,
            24)),
        'swin_small_patch4_window7_224': dict(window_size=7, embed_dim=96, depths=(2, 2, 18, 2), num_heads=(3, 6, 12,
            24)),
        'swin_tiny_patch4_window7_224': dict(window_size=7, embed_dim=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12,
            24)),
    },
    weights={
        'swin_base_patch4_window7_224.ms_in22k_ft_in1k': dict(),
        'swin_base_patch4_window7_224.ms_in1k': dict(),
        'swin_base_patch4_window7_224.ms_in22k': IN22K,
        'swin_base_patch4_window12_384.ms_in22k_ft_in1k': PIXELS_384,
        'swin_base_patch4_window12_384.ms_in1k': PIXELS_384,
        'swin_base_patch4_window12_384.ms_in22k': PIXELS_384 | IN22K,
        'swin_large_patch4_window7_224.ms_in22k_ft_in1k': dict(),
        'swin_large_patch4_window7_224.ms_in22k': IN22K,
        'swin_large_patch4_window12_384.ms_in22k_ft_in1k': PIXELS_384,
        'swin_large_patch4_window12_384.ms_in22k': PIXELS_384 | IN22K,
        'swin_s3_base_224.ms_in1k': dict(),
        'swin_s3_small_224.ms_in1k': dict(),
        'swin_s3_tiny_224.ms_in1k': dict(),
        'swin_small_patch4_window7_224.ms_in22k_ft_in1k': dict(),
        'swin_small_patch4_window7_224.ms_in1k': dict(),
        'swin_small_patch4_window7_224.ms_in22k': IN22K,
        'swin_tiny_patch4_window7_224.ms_in1k': dict(),
        'swin_tiny_patch4_window7_224.ms_in22k_ft_in1k': dict(),
        'swin_tiny_patch4_window7_224.ms_in22k': IN22K,
    },
    former={
        **{f'swin_{size}_in22k': f'swin_{size}.ms_in22k' for size in (
            'base_patch4_window7_224', 'base_patch4_window12_384', 'large_patch4_window7_224',
            'large_patch4_window12_384')},
    },
),)
