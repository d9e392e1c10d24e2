"""Rows of Swin Transformer V2 (arXiv:2111.09883).

Rows only; the network is zoo/models/swin_transformer_v2.py.
"""
from ..spec import Family

TINY = dict(embed_dim=96, depths=(2, 2, 6, 2), num_heads=(3, 6, 12, 24))
SMALL = TINY | dict(depths=(2, 2, 18, 2))
BASE = SMALL | dict(embed_dim=128, num_heads=(4, 8, 16, 32))
LARGE = SMALL | dict(embed_dim=192, num_heads=(6, 12, 24, 48))
TRAINED_192 = dict(pretrained_window_sizes=(12, 12, 12, 6))           # at 192 pixels, the last stage's map is 6x6

IN22K = dict(size=192, num_classes=21841)
PIXELS_384 = dict(size=384, crop_pct=1.0)

FAMILIES = (Family(
    model='swin_transformer_v2.SwinTransformerV2',
    data=dict(size=256, fixed_input_size=True, crop_pct=0.9, pool=32, first_conv='patch_embed.proj',
              classifier='head.fc', license='mit'),
    variants={
        'swinv2_base_window8_256': BASE | dict(window_size=8),
        'swinv2_base_window12_192': BASE | dict(window_size=12),
        'swinv2_base_window12to16_192to256': BASE | TRAINED_192 | dict(window_size=16),
        'swinv2_base_window12to24_192to384': BASE | TRAINED_192 | dict(window_size=24),
        'swinv2_base_window16_256': BASE | dict(window_size=16),
        'swinv2_large_window12_192': LARGE | dict(window_size=12),
        'swinv2_large_window12to16_192to256': LARGE | TRAINED_192 | dict(window_size=16),
        'swinv2_large_window12to24_192to384': LARGE | TRAINED_192 | dict(window_size=24),
        'swinv2_small_window8_256': SMALL | dict(window_size=8),
        'swinv2_small_window16_256': SMALL | dict(window_size=16),
        'swinv2_tiny_window8_256': TINY | dict(window_size=8),
        'swinv2_tiny_window16_256': TINY | dict(window_size=16),
    },
    weights={
        'swinv2_base_window8_256.ms_in1k': dict(),
        'swinv2_base_window12_192.ms_in22k': IN22K,
        'swinv2_base_window12to16_192to256.ms_in22k_ft_in1k': dict(),
        'swinv2_base_window12to24_192to384.ms_in22k_ft_in1k': PIXELS_384,
        'swinv2_base_window16_256.ms_in1k': dict(),
        'swinv2_large_window12_192.ms_in22k': IN22K,
        'swinv2_large_window12to16_192to256.ms_in22k_ft_in1k': dict(),
        'swinv2_large_window12to24_192to384.ms_in22k_ft_in1k': PIXELS_384,
        'swinv2_small_window8_256.ms_in1k': dict(),
        'swinv2_small_window16_256.ms_in1k': dict(),
        'swinv2_tiny_window8_256.ms_in1k': dict(),
        'swinv2_tiny_window16_256.ms_in1k': dict(),
    },
    former={
        **{f'swinv2_{size}_window12_192_22k': f'swinv2_{size}_window12_192.ms_in22k' for size in ('base', 'large')},
        **{f'swinv2_{size}_window{windows}_22kft1k': f'swinv2_{size}_window{windows}.ms_in22k_ft_in1k'
           for size in ('base', 'large') for windows in ('12to16_192to256', '12to24_192to384')},
    },
),)
