"""Rows of MobileViT (arXiv:2110.02178, Table 4) and MobileViTv2 (arXiv:2206.02680), whose weights are those of CVNets.

Rows only; the network is zoo/models/byobnet.py, the block strings are zoo/blocks.py.
"""
from collections.abc import Sequence

from ..spec import Family

LAYERS = (2, 4, 3)                                       # of the transformers, which the last three stages end with


def version1(ratio: int, widths: Sequence[int], dims: Sequence[int]) -> tuple[str, ...]:
    """MobileViT's stages: bottlenecks `ratio` times as wide inside, and transformers of the widths `dims`."""
    first, second, *rest = widths
    plain = f'bottle_r1_s1_c{first}_gs1_br{ratio}', f'bottle_r3_s2_c{second}_gs1_br{ratio}'
    return (*plain, *(f'bottle_r1_s2_c{width}_gs1_br{ratio} mobilevit_r1_s1_c{width}_d{dim}_l{count}_ps2'
                      for width, dim, count in zip(rest, dims, LAYERS)))


def version2(factor: float) -> tuple[str, ...]:
    """MobileViTv2's stages, `factor` times as wide as the middle one's."""
    first, second, *rest = (int(factor * width) for width in (64, 128, 256, 384, 512))
    plain = f'bottle_r1_s1_c{first}_gs1_br2', f'bottle_r2_s2_c{second}_gs1_br2'
    return (*plain, *(f'bottle_r1_s2_c{width}_gs1_br2 mobilevit2_r1_s1_c{width}_gs1_br0.5_l{count}_ps2'
                      for width, count in zip(rest, LAYERS)))


LARGE = dict(size=384, crop_pct=1.0)                      # of weights for larger images

FAMILIES = (Family(
    model='mobilevit.ByobNet',
    args=dict(stem_pool='', downsample='', act_layer='silu',
              block_kwargs=dict(bottle_in=True, linear_out=True)),
    data=dict(size=256, crop_pct=0.888, mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0), pool=32, first_conv='stem.conv',
              classifier='head.fc', license='cvnets-license'),
    variants={
        'mobilevit_s': dict(blocks=version1(4, (32, 64, 96, 128, 160), (144, 192, 240)), stem_chs=16, num_features=640),
        'mobilevit_xs': dict(blocks=version1(4, (32, 48, 64, 80, 96), (96, 120, 144)), stem_chs=16, num_features=384),
        'mobilevit_xxs': dict(blocks=version1(2, (16, 24, 48, 64, 80), (64, 80, 96)), stem_chs=16, num_features=320),
        'mobilevitv2_050': dict(blocks=version2(0.5), stem_chs=16),
        'mobilevitv2_075': dict(blocks=version2(0.75), stem_chs=24),
        'mobilevitv2_100': dict(blocks=version2(1.0), stem_chs=32),
        'mobilevitv2_125': dict(blocks=version2(1.25), stem_chs=40),
        'mobilevitv2_150': dict(blocks=version2(1.5), stem_chs=48),
        'mobilevitv2_175': dict(blocks=version2(1.75), stem_chs=56),
        'mobilevitv2_200': dict(blocks=version2(2.0), stem_chs=64),
    },
    weights={
        'mobilevit_s.cvnets_in1k': dict(crop_pct=0.9),
        'mobilevit_xs.cvnets_in1k': dict(crop_pct=0.9),
        'mobilevit_xxs.cvnets_in1k': dict(crop_pct=0.9),
        'mobilevitv2_050.cvnets_in1k': {},
        'mobilevitv2_075.cvnets_in1k': {},
        'mobilevitv2_100.cvnets_in1k': {},
        'mobilevitv2_125.cvnets_in1k': {},
        'mobilevitv2_150.cvnets_in1k': {},
        'mobilevitv2_150.cvnets_in22k_ft_in1k': {},
        'mobilevitv2_150.cvnets_in22k_ft_in1k_384': LARGE,
        'mobilevitv2_175.cvnets_in1k': {},
        'mobilevitv2_175.cvnets_in22k_ft_in1k': {},
        'mobilevitv2_175.cvnets_in22k_ft_in1k_384': LARGE,
        'mobilevitv2_200.cvnets_in1k': {},
        'mobilevitv2_200.cvnets_in22k_ft_in1k': {},
        'mobilevitv2_200.cvnets_in22k_ft_in1k_384': LARGE,
    },
    former={
        **{f'mobilevitv2_{factor}_in22ft1k': f'mobilevitv2_{factor}.cvnets_in22k_ft_in1k' for factor in (150, 175, 200)},
        **{f'mobilevitv2_{factor}_384_in22ft1k': f'mobilevitv2_{factor}.cvnets_in22k_ft_in1k_384'
           for factor in (150, 175, 200)},
    },
),)
