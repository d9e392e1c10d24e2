"""Rows of FocalNet (arXiv:2203.11926, Tables 1, 5 and 6): small and large receptive fields (`srf`, `lrf`), and the largest
with 3 or 4 levels (`fl3`, `fl4`).

Rows only; the network is zoo/models/focalnet.py.
"""
from ..spec import Family

IN22K = dict(num_classes=21842)
IN22K_384 = dict(size=384, crop_pct=1.0, **IN22K)
LARGE = dict(use_post_norm=True, use_overlap_down=True, layerscale_value=1e-4)
HUGE = dict(embed_dim=352, use_post_norm_in_modulation=True, **LARGE)
THREE, FOUR = dict(focal_levels=(3, 3, 3, 3)), dict(focal_levels=(4, 4, 4, 4))

FAMILIES = (Family(
    model='focalnet.FocalNet',
    args=dict(depths=(2, 2, 18, 2)),
    data=dict(crop_pct=0.9, pool=32, first_conv='stem.proj', classifier='head.fc', license='mit'),
    variants={
        'focalnet_base_lrf': dict(embed_dim=128, **THREE),
        'focalnet_base_srf': dict(embed_dim=128),
        'focalnet_huge_fl3': dict(focal_windows=(3, 3, 3, 3), **THREE, **HUGE),
        'focalnet_huge_fl4': dict(**FOUR, **HUGE),
        'focalnet_large_fl3': dict(embed_dim=192, focal_windows=(5, 5, 5, 5), **THREE, **LARGE),
        'focalnet_large_fl4': dict(embed_dim=192, **FOUR, **LARGE),
        'focalnet_small_lrf': dict(embed_dim=96, **THREE),
        'focalnet_small_srf': dict(embed_dim=96),
        'focalnet_tiny_lrf': dict(depths=(2, 2, 6, 2), embed_dim=96, **THREE),
        'focalnet_tiny_srf': dict(depths=(2, 2, 6, 2), embed_dim=96),
        'focalnet_xlarge_fl3': dict(embed_dim=256, focal_windows=(5, 5, 5, 5), **THREE, **LARGE),
        'focalnet_xlarge_fl4': dict(embed_dim=256, **FOUR, **LARGE),
    },
    weights={
        'focalnet_base_lrf.ms_in1k': dict(),
        'focalnet_base_srf.ms_in1k': dict(),
        'focalnet_huge_fl3.ms_in22k': IN22K,
        'focalnet_huge_fl4.ms_in22k': dict(num_classes=0),
        'focalnet_large_fl3.ms_in22k': IN22K_384,
        'focalnet_large_fl4.ms_in22k': IN22K_384,
        'focalnet_small_lrf.ms_in1k': dict(),
        'focalnet_small_srf.ms_in1k': dict(),
        'focalnet_tiny_lrf.ms_in1k': dict(),
        'focalnet_tiny_srf.ms_in1k': dict(),
        'focalnet_xlarge_fl3.ms_in22k': IN22K_384,
        'focalnet_xlarge_fl4.ms_in22k': IN22K_384,
    },
),)
