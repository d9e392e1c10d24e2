"""Block strings: strict reading, writing back, scaling; and networks of a user's own blocks."""
from __future__ import annotations

import random
import re

import pytest
import timm.models._efficientnet_builder as peer_builder
import torch
from timm.models.efficientnet import EfficientNet as PeerEfficientNet

import zoo
from conftest import randomize, relative_error
from zoo.blocks import BLOCK_KINDS, compound, parse, parse_stages, round_channels, scale, text
from zoo.catalog import families
from zoo.layers.mbconv import BLOCK_CLASSES
from zoo.models.efficientnet import EfficientNet


def catalog_stages(kinds=BLOCK_CLASSES):
    """The different networks of the catalog, as tuples of stages, whose first block is of one of these kinds."""
    return sorted({tuple(family.model_args(name)['blocks']) for family in families() for name in family.variants
                   if 'blocks' in family.model_args(name)
                   and parse(family.model_args(name)['blocks'][0].split()[0]).kind in kinds})


@pytest.mark.parametrize('stages', catalog_stages(BLOCK_KINDS), ids=lambda s: s[-1])
def test_strings_are_written_back(stages):
    for stage in stages:
        for string in stage.split():
            assert text(parse(string)) == string


@pytest.mark.parametrize('string', [
    'ds_r1_k3_s1_e1_c16_se0.25', 'dsa_r2_k3_s2_c128', 'ir_r3_k3.5.7.9_a1.1_p1.1_s1_e6_c80_se0.25_nsw',
    'er_r1_k3_s1_e4_c24_fc24_noskip', 'cn_r4_k3_s1_e1_c32_skip', 'ir_r4_k5_s2_e6_c192_se0.25_cc4', 'er_r1_k3_s1_e4_gs64_c48',
    'uir_r1_a3_k5_s2_e4_c96', 'uir_r1_a0_k0_s1_e4_c256_p5', 'mqa_r1_k3_h8_s1_v2_d48_c192', 'mha_r1_k3_h4_s1_d16_c64',
    'ir_r1_k3_s1_e2.50_c80', 'ir_r1_k3_s2_m48_c12_rd4', 'c16_k3'.join(['ir_r1_', '_s1_e6']), 'ds_r1_k3_s1_c16_nre_noskip',
    'ds_r1_k3_s1_e1_c16_d1_nhs', 'ir_r1_k3_s1_e6_c8_nmi', 'ir_r1_k3_s1_e6_c8_nr6',
])
def test_every_kind_and_field_is_written_back(string):
    assert text(parse(string)) == string


def test_changed_fields_are_written_where_they_stood():
    block = parse('ir_r2_se0.25_k3_s2_e6_c24_nre')
    assert text(block.replace(channels=32, act='')) == 'ir_r2_se0.25_k3_s2_e6_c32'
    assert text(block.replace(skip=False, se_ratio=0.5)) == 'ir_r2_se0.5_k3_s2_e6_c24_nre_noskip'
    assert parse(text(block.replace(channels=32))) == block.replace(channels=32)


@pytest.mark.parametrize('string, said', [
    ('xx_r1_k3_s1_c16', "kind 'xx'"), ('ir_r1_k3_s1_c16', "needs the field 'e|m'"), ('ir_k3_s1_e6_c16', "needs the field 'r'"),
    ('ir_r1_k3_s1_e6_c16_zz3', "field 'zz3'"), ('ir_r1_k3_s1_e6_cx', "'cx': 'x' is no positive whole number"),
    ('ir_r1_k4_s1_e6_c16', 'kernel of 4'), ('ir_r1_k3.6_s1_e6_c16', 'kernel of 6'), ('ir_r1_k3_s3_e6_c16', "'3' is no stride"),
    ('ir_r0_k3_s1_e6_c16', "'r0'"), ('ir_r1_k3_s1_e0_c16', "'e0'"), ('ir_r1_k3._s1_e6_c16', "'k3.'"),
    ('ds_r1_k3_s1_e2_c16', 'does not expand'), ('ir_r1_k3_s1_e6_c16_h4', "takes no field 'h'"),
    ('ir_r1_k3_s1_e6_c16_c24', 'second time'), ('ir_r1_k3_s1_e6_m48_c16', "'e' and 'm'"), ('ir_r1_k3_s1_e-6_c16', "'e-6'"),
    ('ir_r1_k3_s1_e6_c16_nxx', "activation 'xx'"), ('cn_r1_k3_s1_c16_se0.25', "takes no field 'se'"),
    ('ir_r1_k0_s1_e6_c16', 'kernel of 0'), ('ir_r1_k3_s1_e6_c16_skip_noskip', 'second time'), ('ir_r1_k3_s1.5_e6_c16', "'s1.5'"),
    ('', "kind ''"), ('ir__r1_k3_s1_e6_c16', "field ''"),
])
def test_bad_strings_name_string_and_field(string, said):
    with pytest.raises(ValueError) as error:
        parse(string)
    assert said in str(error.value) and repr(string) in str(error.value)


def test_bad_networks():
    with pytest.raises(ValueError, match="Stage 1: Block string 'ir_r1'"):
        parse_stages(['ds_r1_k3_s1_c16', 'ir_r1'])
    with pytest.raises(ValueError, match='Stage 0 has no block'):
        parse_stages([''])
    with pytest.raises(TypeError, match='list of stages'):
        parse_stages('ds_r1_k3_s1_c16')
    with pytest.raises(TypeError, match='Stage 0: a block string'):
        parse_stages([[3]])
    with pytest.raises(ValueError, match='Stage 0, block 0 .*groups of 48'):
        EfficientNet(['er_r1_k3_s1_e4_gs48_c24'])
    with pytest.raises(ValueError, match='stride can only be 1'):
        EfficientNet(['mqa_r1_k3_h4_s2_d16_c24'])
    with pytest.raises(ValueError, match='d must be 32/4'):
        EfficientNet(['mha_r1_k3_h4_s1_d16_c24'])


@pytest.mark.parametrize('channels', [3, 8, 11, 12, 16, 27.2, 100, 1280.5, 4096])
@pytest.mark.parametrize('divisor, limit', [(8, 0.9), (16, 0.9), (8, 0.0), (1, 0.9)])
def test_round_channels_equals_the_published_rounding(channels, divisor, limit):
    assert round_channels(channels, divisor, limit) == peer_builder.round_channels(channels, 1.0, divisor, round_limit=limit)


@pytest.mark.parametrize('rounding', ['ceil', 'round'])
@pytest.mark.parametrize('depth', [0.4, 0.695, 1.0, 1.1, 1.4, 2.2, 3.1])
@pytest.mark.parametrize('stages', catalog_stages()[::3], ids=lambda s: s[-1])
def test_depth_scaling_equals_the_published_one(stages, depth, rounding):
    plain = [stage for stage in stages if '_m' not in stage.replace('_mqa', '')]      # m is this project's own field
    theirs = peer_builder.decode_arch_def([stage.split() for stage in plain], depth, depth_trunc=rounding)
    ours = scale(parse_stages(plain), depth=depth, depth_rounding=rounding)
    assert [len(stage) for stage in ours] == [len(stage) for stage in theirs]
    if not any('_d1' in stage for stage in plain):                  # there, ours has the width that is really built
        assert [[b.channels for b in s] for s in ours] == [[round_channels(b['out_chs']) for b in s] for s in theirs]


def test_compound_coefficient():
    width, depth, resolution = compound(1.0)
    assert (width, depth) == (1.1, 1.2) and resolution == 256        # 224 * 1.15 = 257.6, to a multiple of 8
    model, size = zoo.scale_model('efficientnet_b0', 1.0, num_classes=7)
    assert size == 256 and model.pretrained_cfg['input_size'] == (3, 256, 256)
    same_size = EfficientNet(zoo.registry.resolve('efficientnet_b0')[0].args['blocks'], width=1.1, depth=1.2, head_size=1408,
                             num_classes=7, act_layer='silu')
    assert sum(p.numel() for p in model.parameters()) == sum(p.numel() for p in same_size.parameters())
    assert model.pretrained_cfg.get('hf_hub_id') is None            # nothing was ever trained for it


OWN = ['ds_r1_k3_s1_e1_c16_se0.25', 'ir_r2_k3_s2_e4_c24_nhs', 'uir_r1_a3_k5_s2_e4_c48 uir_r1_a3_k3_s1_e2_c48_p3',
       'er_r2_k3_s2_e4_c64 mqa_r1_k3_h4_s1_v2_d16_c64', 'ir_r2_k3.5_s1_e3_c96_se0.25', 'cn_r1_k1_s1_c128']


@pytest.mark.parametrize('options', [{}, dict(aa_layer='blurpc'), dict(aa_layer='blur'), dict(pad_type='same'),
                                     dict(se_layer='gc')], ids=str)
def test_own_blocks_equal_the_peers_network(options, image):
    theirs = PeerEfficientNet(peer_builder.decode_arch_def([stage.split() for stage in OWN]), num_classes=5, **options)
    ours = EfficientNet(OWN, num_classes=5, **options)
    ours.load_state_dict(randomize(theirs).state_dict())
    assert relative_error(ours.eval()(image), theirs.eval()(image)) < 1e-5
    assert relative_error(ours.train()(image), theirs.train()(image)) < 1e-5


@pytest.mark.parametrize('stage', ['mha_r2_k3_h4_s1_d8_c32 ir_r1_k3_s1_e2_c48', 'mqa_r1_k3_h2_s1_d24_c48 ir_r1_k3_s1_e2_c48'])
def test_attention_blocks_equal_the_peers(stage, image):
    theirs = PeerEfficientNet(peer_builder.decode_arch_def([stage.split()]), num_classes=5)
    ours = EfficientNet([stage], num_classes=5)
    ours.load_state_dict(randomize(theirs).state_dict())
    assert relative_error(ours.eval()(image), theirs.eval()(image)) < 1e-5


def test_build_model_from_python_and_yaml(tmp_path, image):
    from_list = zoo.build_model(OWN, num_classes=4, stem_size=16)
    file = tmp_path / 'mine.yaml'
    file.write_text('model: efficientnet.EfficientNet\nstem_size: 16\nnum_classes: 4\ndata: {input_size: [3, 64, 56], mean: '
                    '[0.5, 0.5, 0.5]}\nblocks:\n' + ''.join(f'  - {stage}\n' for stage in OWN))
    from_yaml = zoo.build_model(file)
    from_yaml.load_state_dict(from_list.state_dict())
    assert torch.equal(from_yaml.eval()(image), from_list.eval()(image))
    assert tuple(from_yaml.pretrained_cfg['input_size']) == (3, 64, 56)
    backbone = zoo.build_model(file, features_only=True, out_indices=(1, -1))
    assert [f.shape[1] for f in backbone(image)] == backbone.feature_info.channels() == [24, 128]
    logits = from_list.train()(image)
    logits.square().mean().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in from_list.parameters())


def test_build_model_refuses(tmp_path):
    with pytest.raises(TypeError, match="stem_sise.*'stem_size'"):
        zoo.build_model(dict(blocks=OWN, stem_sise=16))
    with pytest.raises(ValueError, match="needs the key 'blocks'"):
        zoo.build_model(dict(width=2))
    with pytest.raises(ValueError, match="Pretrained config field 'mena'"):
        zoo.build_model(dict(blocks=OWN, data=dict(mena=1)))
    with pytest.raises(FileNotFoundError, match='nowhere.yaml'):
        zoo.build_model(tmp_path / 'nowhere.yaml')
    (tmp_path / 'list.yaml').write_text('- 1\n')
    with pytest.raises(ValueError, match='list.yaml.*mapping'):
        zoo.build_model(tmp_path / 'list.yaml')
    with pytest.raises(ValueError, match="Network module 'efficientnett'"):
        zoo.build_model(dict(blocks=OWN, model='efficientnett.EfficientNet'))


@pytest.mark.parametrize(('string', 'field'), [
    ('ir_r99999999_k3_s1_e2_c16', "'r99999999'"),
    ('ir_r1_k3_s1_e999999999_c16', "'e999999999'"), ('ir_r1_k3_s1_e2_c16_p99999999', "'p99999999'"),
    ('ir_r1_k' + '9' * 100 + '_s1_e2_c16', 'characters'), ('ir_r1_k3_s1_e2_c' + '9' * 5000, 'characters'),
    ('ir_r1_k3_s1_e' + '9' * 400 + '_c16', 'characters'), ('ir_r1_k3_s1_m99999999_c16', "'m99999999'"),
    ('ir_r1_k3_s1_e2_c16_cc9999', "'cc9999'"), ('ir_r1_k3.3.3.3.3.3.3.3.3.3_s1_e2_c16', '10 kernel sizes'),
    ('mqa_r1_h99999_d16_c16', "'h99999'"), ('mqa_r1_h4_d99999_c16', "'d99999'"), ('mqa_r1_h4_d9_c16_v999', "'v999'")])
def test_numbers_that_no_network_has_are_refused_on_reading(string, field):
    with pytest.raises(ValueError, match='at most') as caught:
        parse(string)
    assert field in str(caught.value) and string[:20] in str(caught.value) and len(str(caught.value)) < 300


@pytest.mark.parametrize(('spec', 'options', 'words'), [
    (['ir_r999_k3_s1_e2_c16'] * 9, {}, 'Stages 0 to 2 have 2997 blocks'),
    (['ir_r9_k3_s1_e2_c16'], dict(depth=1e9), 'Stage 0: 9 blocks times 1e[+]09'),
    (['ir_r9_k3_s1_e2_c16'], dict(depth=float('nan')), 'depth multiplier'),
    (['ir_r9_k3_s1_e2_c16'], dict(width=1e9), 'Stage 0: 16 channels times 1e[+]09'),
    (['ir_r9_k3_s1_e2_c16'], dict(width=float('inf')), '16 channels times inf'),
    (['er_r9_k127_s1_e100_c99999'], {}, r'[.\d]+e[+]\d+ parameters takes [\d,]+.\d GB; the memory there is has'),
    (['ir_r1_k3_s1_e2_c16'], dict(head_size=10 ** 8, num_classes=10 ** 8), 'parameters takes'),
    (['ir_r1_k3_s1_e2_c16'], dict(head_size=10 ** 25), 'head_size=1(0)* is more than any network'),
    (['ir_r1_k3_s1_e2_c16'], dict(stem_size=10 ** 8, in_chans=10 ** 8, width=5000, stem_kernel_size=127),
     'cannot be built of these arguments')])
def test_networks_that_no_memory_holds_are_refused_before_anything_is_drawn(spec, options, words, monkeypatch):
    monkeypatch.setattr(EfficientNet, 'init_weights', None)
    with pytest.raises(ValueError, match=words):
        zoo.build_model(spec, **options)


def mutated(stages: list[str], generator: random.Random) -> list[str]:
    """A list of stages with one to three places of it changed, as typing and programs go wrong."""
    stages = list(stages)
    for _ in range(generator.randint(1, 3)):
        number = generator.randrange(len(stages))
        tokens = stages[number].split('_')
        place = generator.randrange(len(tokens))
        digits = generator.choice(['0', '1', '2', '7', '64', '9999', '99999999', '9' * 100, '0.5', '-1', '', '1e9',
                                   '3.5', 'x'])
        tokens[place] = generator.choice([tokens[place].rstrip('0123456789.') + digits, '', tokens[place] * 2, digits,
                                          generator.choice('gs cc d h p a m rd se fc v'.split()) + digits])
        stages[number] = '_'.join(tokens)
        if generator.random() < 0.1:
            stages.insert(number, generator.choice(['', ' ', stages[-1]]))
    return stages


@pytest.mark.parametrize('seed', range(20))
def test_mutated_lists_are_built_or_refused_with_the_stage(seed):
    generator, built = random.Random(seed), 0
    for _ in range(20):
        spec = mutated(OWN, generator)
        try:
            zoo.build_model(spec, device='meta', num_classes=3)
            built += 1
        except ValueError as error:
            assert re.match(r'Stages? \d', str(error)), (spec, error)
    assert built < 20
