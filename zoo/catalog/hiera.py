"""Rows of Hiera (arXiv:2306.00989, Table 1), and of those with positions of windows and of the image apart
(arXiv:2311.05613).

Rows only; the network is zoo/models/hiera.py.
"""
from ..spec import Family

TINY, SMALL, BASE, LARGE = ((1, 2, 7, 2), (1, 2, 11, 2), (2, 3, 16, 3), (2, 6, 36, 4))       # blocks of each stage
ABSOLUTE_WIN = dict(abs_win_pos_embed=True, init_values=1e-5, weight_init='jax')
ENCODER = dict(num_classes=0)
PIXELS_256 = dict(size=256, crop_pct=0.95, license='apache-2.0')
IN12K = dict(num_classes=11821)

FAMILIES = (Family(
    model='hiera.Hiera',
    data=dict(fixed_input_size=True, crop_pct=0.9, first_conv='patch_embed.proj', classifier='head.fc',
              license='cc-by-nc-4.0'),
    variants={
        'hiera_base_224': dict(embed_dim=96, num_heads=1, stages=BASE),
        'hiera_base_abswin_256': dict(embed_dim=96, num_heads=1, stages=BASE, **ABSOLUTE_WIN),
        'hiera_base_plus_224': dict(embed_dim=112, num_heads=2, stages=BASE),
        'hiera_huge_224': dict(embed_dim=256, num_heads=4, stages=LARGE),
        'hiera_large_224': dict(embed_dim=144, num_heads=2, stages=LARGE),
        'hiera_small_224': dict(embed_dim=96, num_heads=1, stages=SMALL),
        'hiera_small_abswin_256': dict(embed_dim=96, num_heads=1, stages=SMALL, global_pos_size=16,
                                       use_expand_proj=False, **ABSOLUTE_WIN),
        'hiera_tiny_224': dict(embed_dim=96, num_heads=1, stages=TINY),
    },
    weights={
        'hiera_base_224.mae_in1k_ft_in1k': dict(),
        'hiera_base_224.mae': ENCODER,
        'hiera_base_abswin_256.untrained': PIXELS_256,
        'hiera_base_plus_224.mae_in1k_ft_in1k': dict(),
        'hiera_base_plus_224.mae': ENCODER,
        'hiera_huge_224.mae_in1k_ft_in1k': dict(),
        'hiera_huge_224.mae': ENCODER,
        'hiera_large_224.mae_in1k_ft_in1k': dict(),
        'hiera_large_224.mae': ENCODER,
        'hiera_small_224.mae_in1k_ft_in1k': dict(),
        'hiera_small_224.mae': ENCODER,
        'hiera_small_abswin_256.sbb2_e200_in12k_ft_in1k': PIXELS_256,
        'hiera_small_abswin_256.sbb2_pd_e200_in12k_ft_in1k': PIXELS_256,
        'hiera_small_abswin_256.sbb2_e200_in12k': PIXELS_256 | IN12K,
        'hiera_small_abswin_256.sbb2_pd_e200_in12k': PIXELS_256 | IN12K,
        'hiera_tiny_224.mae_in1k_ft_in1k': dict(),
        'hiera_tiny_224.mae': ENCODER,
    },
),)
