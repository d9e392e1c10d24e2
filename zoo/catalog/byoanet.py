"""Rows of ResNets with self-attention in some of their blocks: BotNet (arXiv:2101.11605), HaloNet (arXiv:2103.12731),
LambdaNetworks (arXiv:2102.08602), most of them of timm's author.

Rows only; the network is zoo/models/byobnet.py, the block strings are zoo/blocks.py.
"""
from collections.abc import Sequence

from ..spec import HALF, Family


def stage(kinds: Sequence[str], width: int, first: int = 2, ratio: str = '0.25') -> str:
    """A stage of single blocks, each a kind with its fields; the first has stride `first`."""
    return ' '.join('_'.join([kind.split('_')[0], 'r1', f's{1 if number else first}', f'c{width}',
                              *kind.split('_')[1:], f'br{ratio}']) for number, kind in enumerate(kinds))


def resnet26(attention: str, plain: str = 'bottle') -> tuple[str, ...]:
    """ResNet-26 with self-attention in the second half."""
    return (stage([plain] * 2, 256, 1), stage([plain] * 2, 512), stage([plain, attention], 1024),
            stage([attention] * 2, 2048))


def resnet33(attention: str) -> tuple[str, ...]:
    """ResNet-33 with self-attention at the end of its stages."""
    return (stage(['bottle'] * 2, 256, 1), stage(['bottle', 'bottle', attention], 512),
            stage(['bottle', 'bottle', attention], 1024), stage([attention] * 2, 1536, ratio='0.333'))


def resnet50(second: Sequence[str], third: str, fourth: str) -> tuple[str, ...]:
    """ResNet-50 with self-attention in some of its blocks."""
    return (stage(['bottle'] * 3, 256, 1), stage(second, 512), stage(['bottle', third] * 3, 1024),
            stage(['bottle', fourth, 'bottle'], 2048))


# how networks are built
T = dict(stem_type='tiered', stem_chs=64)
TS = T | dict(act_layer='silu')
WIDE = TS | dict(stem_pool='')
NEXT = TS | dict(attn_layer='eca', self_attn_kwargs=dict(dim_head=16))
R33 = WIDE | dict(attn_layer='se', num_features=1280)
Z, HALO_Z = 'bottle_gs16', 'halo_w7_o2'

# what sets of weights share
FIXED = dict(fixed_input_size=True)
LARGE = dict(min_input_size=(3, 256, 256))
SMALL = dict(min_input_size=(3, 128, 128))
CROP_94 = dict(crop_pct=0.94)

FAMILIES = (Family(
    model='byoanet.ByobNet',
    data=dict(size=256, min_input_size=(3, 224, 224), crop_pct=0.95, pool=32, first_conv='stem.conv1.conv',
              classifier='head.fc', license='apache-2.0'),
    variants={
        'botnet26t_256': T | dict(blocks=resnet26('bot')),
        'botnet50ts_256': TS | dict(blocks=resnet50(['bottle'] * 3 + ['bot'], 'bot', 'bot')),
        'eca_botnext26ts_256': NEXT | dict(blocks=resnet26('bot', 'bottle_gs16')),
        'eca_halonext26ts': NEXT | dict(blocks=resnet26('halo_w8_o2', 'bottle_gs16')),
        'halo2botnet50ts_256': WIDE | dict(blocks=resnet50(['bottle', 'halo_o3'] * 2, 'halo_o3', 'bot')),
        'halonet26t': T | dict(blocks=resnet26('halo_w8_o2')),
        'halonet50ts': TS | dict(blocks=resnet50(['bottle'] * 3 + ['halo_w8_o3_h4'], 'halo_w8_o3', 'halo_w8_o3')),
        'halonet_h1': dict(blocks=('halo_r3_s1_c64_w8_o3', 'halo_r3_s2_c128_w8_o3', 'halo_r10_s2_c256_w8_o3',
                                   'halo_r3_s2_c512_w8_o3'), stem_type='7x7', stem_chs=64),
        'haloregnetz_b': dict(
            blocks=(stage([Z] * 2, 48, ratio='3'), stage([Z] * 6, 96, ratio='3'),
                    stage(([Z] * 3 + [HALO_Z]) * 3, 192, ratio='3'), stage([HALO_Z] * 2, 288, ratio='3')),
            stem_chs=32, stem_pool='', downsample='', num_features=1536, act_layer='silu', attn_layer='se',
            attn_kwargs=dict(rd_ratio=0.25), self_attn_kwargs=dict(qk_ratio=0.33),
            block_kwargs=dict(bottle_in=True, linear_out=True)),
        'lambda_resnet26rpt_256': T | dict(blocks=resnet26('lambda')),
        'lambda_resnet26t': T | dict(blocks=resnet26('lambda_w9')),
        'lambda_resnet50ts': TS | dict(blocks=resnet50(['bottle'] * 3 + ['lambda_w9'], 'lambda_w9', 'lambda_w9')),
        'lamhalobotnet50ts_256': WIDE | dict(blocks=resnet50(['bottle', 'lambda_w13'] * 2, 'halo_o3', 'bot')),
        'sebotnet33ts_256': R33 | dict(blocks=resnet33('bot')),
        'sehalonet33ts': R33 | dict(blocks=resnet33('halo_w8_o3')),
    },
    weights={
        'botnet26t_256.c1_in1k': FIXED,
        'botnet50ts_256.untrained': FIXED,
        'eca_botnext26ts_256.c1_in1k': FIXED,
        'eca_halonext26ts.c1_in1k': LARGE | CROP_94,
        'halo2botnet50ts_256.a1h_in1k': FIXED,
        'halonet26t.a1h_in1k': LARGE,
        'halonet50ts.a1h_in1k': LARGE | CROP_94,
        'halonet_h1.untrained': LARGE,
        'haloregnetz_b.ra3_in1k': CROP_94 | dict(size=224, mean=HALF, std=HALF, first_conv='stem.conv'),
        'lambda_resnet26rpt_256.c1_in1k': FIXED | CROP_94,
        'lambda_resnet26t.c1_in1k': SMALL | CROP_94,
        'lambda_resnet50ts.a1h_in1k': SMALL,
        'lamhalobotnet50ts_256.a1h_in1k': FIXED,
        'sebotnet33ts_256.a1h_in1k': FIXED | CROP_94,
        'sehalonet33ts.ra2_in1k': LARGE | CROP_94,
    },
),)
