"""Rows of networks of few kinds of blocks: GENet (arXiv:2006.14090), RepVGG (arXiv:2101.03697), MobileOne
(arXiv:2206.04040), RegNetZ (arXiv:2103.06877), CLIP's ResNets (arXiv:2103.00020), and relatives of ResNet that timm's author
trained: t has a stem that widens step by step, s SiLU, q a stem of four convolutions.

Rows only; the network is zoo/models/byobnet.py, the block strings are zoo/blocks.py.
"""
from collections.abc import Sequence

from ..spec import CLIP_MEAN, CLIP_STD, HALF, Family


def stages(kind: str, depths: Sequence[int], widths: Sequence[int], first: int = 2, fields: str = '') -> tuple[str, ...]:
    """Stages of blocks of one kind with the same further fields; the first has stride `first`, the others 2."""
    return tuple(f'{kind}_r{depth}_s{2 if number else first}_c{width}{fields}'
                 for number, (depth, width) in enumerate(zip(depths, widths)))


def bottles(depths: Sequence[int], widths: Sequence[int] = (256, 512, 1024, 2048), fields: str = '') -> tuple[str, ...]:
    """ResNet's bottlenecks, a quarter as wide inside."""
    return stages('bottle', depths, widths, 1, f'{fields}_br0.25')


def rep_grouped(depths: Sequence[int], widths: Sequence[int]) -> tuple[str, ...]:
    """RepVGG's blocks, every second with four groups."""
    return tuple(' '.join(f'rep_r1_s{1 if number else 2}_c{width}' + (f'_gs{width // 4}' if number % 2 else '')
                          for number in range(depth)) for depth, width in zip(depths, widths))


def one(first: int, widths: Sequence[int], fields: str = '', gated: Sequence[int] = (0, 0, 0, 0)) -> tuple[str, ...]:
    """MobileOne's pairs of a depthwise and a pointwise block, the last `gated` of each stage with a gate."""
    found, before = [], first
    for width, depth, gates in zip(widths, (2, 8, 10, 1), gated):
        blocks = []
        for number in range(depth):
            more = fields + ('_atse' if number >= depth - gates else '')
            blocks += [f'one_r1_s{1 if number else 2}_c{before}_gs1{more}', f'one_r1_k1_s1_c{width}{more}']
            before = width
        found.append(' '.join(blocks))
    return tuple(found)


# how networks are built
TIERED = dict(stem_type='tiered', stem_chs=64)
TS = TIERED | dict(act_layer='silu')
NEXT26 = TS | dict(blocks=bottles((2, 2, 2, 2), fields='_gs32'))
R32 = TS | dict(blocks=bottles((2, 3, 3, 2), (256, 512, 1536, 1536)), stem_pool='')
R33 = R32 | dict(num_features=1280)
DEPTHS_A, DEPTHS_B = (2, 4, 14, 1), (4, 6, 16, 1)
REP = dict(stem_type='rep', stem_chs=64)
ONE = dict(stem_type='one', stem_chs=64)
Z = dict(downsample='', stem_pool='', act_layer='silu', attn_layer='se', attn_kwargs=dict(rd_ratio=0.25),
         block_kwargs=dict(bottle_in=True, linear_out=True))
Z16 = Z | dict(stem_chs=32, num_features=1536)
Z8 = Z | TIERED | dict(num_features=1792)
EVOS = dict(norm_layer='evonorms0a', norm_kwargs=dict(group_size=16))
WIDTHS_C, DEPTHS_C = (48, 96, 192, 288), (2, 6, 12, 2)
WIDTHS_D, DEPTHS_D = (64, 128, 256, 384), (3, 6, 12, 3)
B16 = Z16 | dict(blocks=stages('bottle', DEPTHS_C, WIDTHS_C, fields='_gs16_br3'))
C16 = Z16 | dict(blocks=stages('bottle', DEPTHS_C, WIDTHS_C, fields='_gs16_br4'))
D8 = Z8 | dict(blocks=stages('bottle', DEPTHS_D, WIDTHS_D, 1, '_gs8_br4'))
CLIP = dict(downsample='avg', stem_type='', stem_pool='avg2', stem_chs=(32, 32, 64), aa_layer='avg')
CLIP_50 = CLIP | dict(blocks=bottles((3, 4, 6, 3)))
CLIP_101 = CLIP | dict(blocks=bottles((3, 4, 23, 3)))
CLIP_X4 = CLIP | dict(blocks=bottles((4, 6, 10, 6)), width_factor=1.25)
CLIP_X16 = CLIP | dict(blocks=bottles((6, 8, 18, 8)), width_factor=1.5)
CLIP_X64 = CLIP | dict(blocks=bottles((3, 15, 36, 10)), width_factor=2.0)
ATTENTION = dict(head_type='attn_abs')

# what sets of weights share
RA = dict(size=256, test_size=288, test_crop_pct=1.0)
IDST = dict(interpolation='bilinear', crop_pct=0.875, first_conv='stem.conv')
APPLE = dict(interpolation='bilinear', first_conv=('stem.conv_kxk.0.conv', 'stem.conv_scale.conv'),
             license='mobileone-license')
RVGG = dict(interpolation='bilinear', crop_pct=0.875, first_conv=('stem.conv_kxk.conv', 'stem.conv_1x1.conv'),
            license='mit')
Z_DATA = dict(size=256, test_size=320, crop_pct=0.94, test_crop_pct=1.0, mean=HALF, std=HALF)
Z_EVOS = dict(size=256, test_size=320, crop_pct=0.95, mean=HALF, std=HALF)
GAP = dict(mean=CLIP_MEAN, std=CLIP_STD, num_classes=0, license='mit')
OPENAI = GAP | dict(fixed_input_size=True, num_classes=1024, classifier='head.proj')

FAMILIES = (Family(
    model='byobnet.ByobNet',
    data=dict(crop_pct=0.9, pool=32, first_conv='stem.conv1.conv', classifier='head.fc', license='apache-2.0'),
    variants={
        'bat_resnext26ts': NEXT26 | dict(attn_layer='bat', attn_kwargs=dict(block_size=8)),
        'eca_resnet33ts': R33 | dict(attn_layer='eca'),
        'eca_resnext26ts': NEXT26 | dict(attn_layer='eca'),
        'gcresnet33ts': R33 | dict(attn_layer='gca'),
        'gcresnet50t': TIERED | dict(blocks=bottles((3, 4, 6, 3)), stem_pool='', attn_layer='gca'),
        'gcresnext26ts': NEXT26 | dict(attn_layer='gca'),
        'gcresnext50ts': TS | dict(blocks=bottles((3, 4, 6, 3), fields='_gs32'), attn_layer='gca'),
        'gernet_l': dict(blocks=('basic_r1_s2_c128', 'basic_r2_s2_c192', 'bottle_r6_s2_c640_br0.25',
                                 'bottle_r5_s2_c640_gs1_br3', 'bottle_r4_s1_c640_gs1_br3'),
                         stem_pool='', num_features=2560),
        'gernet_m': dict(blocks=('basic_r1_s2_c128', 'basic_r2_s2_c192', 'bottle_r6_s2_c640_br0.25',
                                 'bottle_r4_s2_c640_gs1_br3', 'bottle_r1_s1_c640_gs1_br3'),
                         stem_pool='', num_features=2560),
        'gernet_s': dict(blocks=('basic_r1_s2_c48', 'basic_r3_s2_c48', 'bottle_r7_s2_c384_br0.25',
                                 'bottle_r2_s2_c560_gs1_br3', 'bottle_r1_s1_c256_gs1_br3'),
                         stem_chs=13, stem_pool='', num_features=1920),
        'mobileone_s0': ONE | dict(blocks=one(48, (48, 128, 256, 1024), '_nb4'), stem_chs=48),
        'mobileone_s1': ONE | dict(blocks=one(64, (96, 192, 512, 1280))),
        'mobileone_s2': ONE | dict(blocks=one(64, (96, 256, 640, 2048))),
        'mobileone_s3': ONE | dict(blocks=one(64, (128, 320, 768, 2048))),
        'mobileone_s4': ONE | dict(blocks=one(64, (192, 448, 896, 2048), gated=(0, 0, 5, 1))),
        'regnetz_b16': B16,
        'regnetz_b16_evos': B16 | EVOS,
        'regnetz_c16': C16,
        'regnetz_c16_evos': C16 | EVOS,
        'regnetz_d8': D8,
        'regnetz_d8_evos': D8 | EVOS | dict(stem_type='deep'),
        'regnetz_d32': Z8 | dict(blocks=stages('bottle', DEPTHS_D, WIDTHS_D, 1, '_gs32_br4')),
        'regnetz_e8': Z8 | dict(blocks=stages('bottle', (3, 8, 16, 3), (96, 192, 384, 512), 1, '_gs8_br4'),
                                num_features=2048),
        'repvgg_a0': REP | dict(blocks=stages('rep', DEPTHS_A, (48, 96, 192, 1280)), stem_chs=48),
        'repvgg_a1': REP | dict(blocks=stages('rep', DEPTHS_A, (64, 128, 256, 1280))),
        'repvgg_a2': REP | dict(blocks=stages('rep', DEPTHS_A, (96, 192, 384, 1408))),
        'repvgg_b0': REP | dict(blocks=stages('rep', DEPTHS_B, (64, 128, 256, 1280))),
        'repvgg_b1': REP | dict(blocks=stages('rep', DEPTHS_B, (128, 256, 512, 2048))),
        'repvgg_b1g4': REP | dict(blocks=rep_grouped(DEPTHS_B, (128, 256, 512, 2048))),
        'repvgg_b2': REP | dict(blocks=stages('rep', DEPTHS_B, (160, 320, 640, 2560))),
        'repvgg_b2g4': REP | dict(blocks=rep_grouped(DEPTHS_B, (160, 320, 640, 2560))),
        'repvgg_b3': REP | dict(blocks=stages('rep', DEPTHS_B, (192, 384, 768, 2560))),
        'repvgg_b3g4': REP | dict(blocks=rep_grouped(DEPTHS_B, (192, 384, 768, 2560))),
        'repvgg_d2se': REP | dict(blocks=stages('rep', (8, 14, 24, 1), (160, 320, 640, 2560)), attn_layer='se',
                                  attn_kwargs=dict(rd_ratio=0.0625, rd_divisor=1)),
        'resnet32ts': R32,
        'resnet33ts': R33,
        'resnet50_clip': CLIP_50 | ATTENTION,
        'resnet50_clip_gap': CLIP_50,
        'resnet50_mlp': CLIP_50 | dict(head_type='mlp', head_hidden_size=1024),
        'resnet50x4_clip': CLIP_X4 | ATTENTION,
        'resnet50x4_clip_gap': CLIP_X4,
        'resnet50x16_clip': CLIP_X16 | ATTENTION,
        'resnet50x16_clip_gap': CLIP_X16,
        'resnet50x64_clip': CLIP_X64 | ATTENTION,
        'resnet50x64_clip_gap': CLIP_X64,
        'resnet51q': dict(blocks=(*bottles((2, 4, 6), (256, 512, 1536), '_gs32'), 'bottle_r4_s2_c1536_gs1'),
                          stem_type='quad2', stem_chs=128, stem_pool='', num_features=2048, act_layer='silu'),
        'resnet61q': dict(blocks=('edge_r1_s1_c256', 'bottle_r4_s2_c512_gs32_br0.25', 'bottle_r6_s2_c1536_gs32_br0.25',
                                  'bottle_r4_s2_c1536_gs1'),
                          stem_type='quad', stem_chs=128, stem_pool='', num_features=2048, act_layer='silu',
                          block_kwargs=dict(extra_conv=True)),
        'resnet101_clip': CLIP_101 | ATTENTION,
        'resnet101_clip_gap': CLIP_101,
        'resnext26ts': NEXT26,
        'seresnet33ts': R33 | dict(attn_layer='se'),
        'seresnext26ts': NEXT26 | dict(attn_layer='se'),
        'test_byobnet': dict(blocks=('edge_r1_s2_c32_br0.5', 'dark_r1_s2_c64_br0.5', 'basic_r1_s2_c128_gs32_br0.25',
                                     'bottle_r1_s2_c256_gs64_br0.25'),
                             stem_chs=24, stem_pool='', downsample='avg', attn_layer='se', attn_kwargs=dict(rd_ratio=0.25)),
    },
    weights={
        'bat_resnext26ts.ch_in1k': dict(size=256, min_input_size=(3, 256, 256)),
        'eca_resnet33ts.ra2_in1k': RA,
        'eca_resnext26ts.ch_in1k': RA,
        'gcresnet33ts.ra2_in1k': RA,
        'gcresnet50t.ra2_in1k': RA,
        'gcresnext26ts.ch_in1k': RA,
        'gcresnext50ts.ch_in1k': RA,
        'gernet_l.idstcv_in1k': IDST | dict(size=256),
        'gernet_m.idstcv_in1k': IDST,
        'gernet_s.idstcv_in1k': IDST,
        'mobileone_s0.apple_in1k': APPLE | dict(crop_pct=0.875),
        'mobileone_s1.apple_in1k': APPLE,
        'mobileone_s2.apple_in1k': APPLE,
        'mobileone_s3.apple_in1k': APPLE,
        'mobileone_s4.apple_in1k': APPLE,
        'regnetz_b16.ra3_in1k': Z_DATA | dict(size=224, test_size=288, first_conv='stem.conv'),
        'regnetz_b16_evos.untrained': Z_EVOS | dict(size=224, test_size=288, first_conv='stem.conv'),
        'regnetz_c16.ra3_in1k': Z_DATA | dict(first_conv='stem.conv'),
        'regnetz_c16_evos.ch_in1k': Z_EVOS | dict(first_conv='stem.conv'),
        'regnetz_d8.ra3_in1k': Z_DATA,
        'regnetz_d8_evos.ch_in1k': Z_EVOS | dict(test_crop_pct=1.0),
        'regnetz_d32.ra3_in1k': Z_EVOS,
        'regnetz_e8.ra3_in1k': Z_DATA,
        'repvgg_a0.rvgg_in1k': RVGG,
        'repvgg_a1.rvgg_in1k': RVGG,
        'repvgg_a2.rvgg_in1k': RVGG,
        'repvgg_b0.rvgg_in1k': RVGG,
        'repvgg_b1.rvgg_in1k': RVGG,
        'repvgg_b1g4.rvgg_in1k': RVGG,
        'repvgg_b2.rvgg_in1k': RVGG,
        'repvgg_b2g4.rvgg_in1k': RVGG,
        'repvgg_b3.rvgg_in1k': RVGG,
        'repvgg_b3g4.rvgg_in1k': RVGG,
        'repvgg_d2se.rvgg_in1k': RVGG | dict(size=320, crop_pct=1.0),
        'resnet32ts.ra2_in1k': RA,
        'resnet33ts.ra2_in1k': RA,
        'resnet50_clip.openai': OPENAI,
        'resnet50_clip.cc12m': OPENAI,
        'resnet50_clip.yfcc15m': OPENAI,
        'resnet50_clip_gap.openai': GAP,
        'resnet50_clip_gap.cc12m': GAP,
        'resnet50_clip_gap.yfcc15m': GAP,
        'resnet50_mlp.untrained': dict(size=256),
        'resnet50x4_clip.openai': OPENAI | dict(size=288, num_classes=640),
        'resnet50x4_clip_gap.openai': GAP | dict(size=288),
        'resnet50x16_clip.openai': OPENAI | dict(size=384, num_classes=768),
        'resnet50x16_clip_gap.openai': GAP | dict(size=384),
        'resnet50x64_clip.openai': OPENAI | dict(size=448),
        'resnet50x64_clip_gap.openai': GAP | dict(size=448),
        'resnet51q.ra2_in1k': RA | dict(interpolation='bilinear', crop_pct=0.875, first_conv='stem.conv1'),
        'resnet61q.ra2_in1k': RA,
        'resnet101_clip.openai': OPENAI | dict(num_classes=512),
        'resnet101_clip.yfcc15m': OPENAI | dict(num_classes=512),
        'resnet101_clip_gap.openai': GAP,
        'resnet101_clip_gap.yfcc15m': GAP,
        'resnext26ts.ra2_in1k': RA,
        'seresnet33ts.ra2_in1k': RA,
        'seresnext26ts.ch_in1k': RA,
        'test_byobnet.r160_in1k': dict(size=160, crop_pct=0.95, first_conv='stem.conv'),
    },
),)
