"""Every network beside timm's of the same name: the same state dict, the same numbers, the same gradients."""
from __future__ import annotations

import hashlib

import pytest
import timm
import torch
from torch import nn

import zoo
from conftest import architectures, randomize
from beside_timm import compare_options, compare_with_timm, named_here, on_meta
from structures import FORTNIGHT, MODEST, NAMES, STRUCTURES, few_patches, in_turn, share, short
from zoo.layers.attention_map import BottleneckAttn, HaloAttn, LambdaLayer
from zoo.layers.non_local import BilinearAttnTransform

ARCHITECTURES = architectures()


@pytest.mark.in_turn
@pytest.mark.parametrize('name', NAMES)
def test_architecture_equals_the_reference(name):
    facts = ARCHITECTURES[name]
    model = on_meta(name)
    lines = sorted(f'{key}:{tuple(value.shape)}' for key, value in model.state_dict().items())
    assert hashlib.sha256('\n'.join(lines).encode()).hexdigest() == facts['state_sha256']
    assert sum(p.numel() for p in model.parameters()) == int(facts['params'])
    assert model.num_features == int(facts['num_features'])
    assert model.head_hidden_size == int(facts['head_hidden_size'])
    stated = zip(*(named_here(facts[f'feature_{column}']).split(' ') for column in ('channels', 'reductions', 'modules')))
    for f, (channels, reduction, module) in zip(model.feature_info, stated, strict=True):
        assert str(f['num_chs']) == channels
        assert not module or (str(f['reduction']), f['module']) == (reduction, module)          # timm has no such map
    cfg = zoo.get_pretrained_cfg(name)
    assert (str(cfg.classifier or ''), str(cfg.first_conv)) == (facts['classifier'], facts['first_conv'])


# layers whose products are fewer than in timm's, which multiplies by offsets of pixels that do not occur, or by zeros
LESS = (BottleneckAttn, HaloAttn, LambdaLayer, BilinearAttnTransform)


@pytest.mark.slow
@pytest.mark.parametrize('name', share(NAMES))          # test_cli looks at the table with those of all
def test_gmacs_equal_the_reference(name):
    facts = ARCHITECTURES[name]
    if not facts['gmacs']:
        pytest.skip('the reference has no figure for it')
    size = tuple(int(n) for n in facts['input_size'].split('x'))
    model, known = on_meta(name), float(facts['gmacs'])
    gmacs = zoo.profile(model, size).gmacs
    if any(isinstance(layer, LESS) for layer in model.modules()):
        assert 0.94 * known < gmacs < known
    else:
        assert gmacs == pytest.approx(known, abs=6e-5)


@pytest.mark.parametrize('name', in_turn([*STRUCTURES]))
def test_outputs_and_gradients_equal_timms(name):
    compare_with_timm(name, **short(name))


@pytest.mark.slow
@pytest.mark.parametrize('name', share(MODEST, 2 * FORTNIGHT))
def test_whole_networks_equal_timms(name):
    compare_with_timm(name, **few_patches(name))


OPTIONS = [
    dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(in_chans=5), dict(global_pool='max'),
    dict(global_pool='avgmax'), dict(global_pool='catavgmax'), dict(act_layer='gelu'), dict(act_layer=nn.Hardswish),
    dict(norm_layer='layernorm2d'), dict(norm_layer=nn.BatchNorm2d), dict(pad_type='same'), dict(pad_type=''),
    dict(bn_eps=0.1), dict(output_stride=8), dict(output_stride=16), dict(pad_type='same', output_stride=8),
]


# timm's tf_ variants crash when they are given a normalisation: see the test after this one
CASES = [(name, options) for name in ('efficientnet_b0', 'tf_efficientnetv2_b0', 'mobilenetv2_050', 'mixnet_s')
         for options in OPTIONS if not ('norm_layer' in options and name.startswith('tf_'))]


@pytest.mark.in_turn
@pytest.mark.parametrize('name, options', CASES, ids=str)
def test_options_equal_timms(name, options):
    compare_options(name, **options)


def test_a_given_normalisation_keeps_the_variants_eps():
    for norm_layer in ('batchnorm2d', 'layernorm2d', nn.BatchNorm2d):
        model = on_meta('tf_efficientnet_b0', norm_layer=norm_layer)
        assert {module.eps for module in model.modules() if hasattr(module, 'eps')} == {1e-3}
    assert on_meta('tf_efficientnet_b0', norm_layer='layernorm2d', bn_eps=0.1).bn1.eps == 0.1


def test_rates_and_momentum_equal_timms():
    options = dict(drop_rate=0.3, drop_path_rate=0.2, bn_momentum=0.4)
    ours, theirs = zoo.create_model('efficientnet_b0', **options), timm.create_model('efficientnet_b0', **options)
    rates = [[getattr(block.drop_path, 'drop_prob', 0) for stage in m.blocks for block in stage] for m in (ours, theirs)]
    assert rates[0] == pytest.approx(rates[1]) and rates[0][-1] > 0.18
    assert ours.drop_rate == theirs.drop_rate == 0.3
    assert {m.momentum for m in ours.modules() if isinstance(m, nn.BatchNorm2d)} == {0.4}


class Scaled(nn.Module):
    """A caller's own layer, which only its constructor fills."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.full((channels,), 3.0))
        self.register_buffer('shift', torch.full((channels,), 0.5), persistent=False)

    def forward(self, x):
        return x * self.factor.view(1, -1, 1, 1) + self.shift.view(1, -1, 1, 1)


@pytest.mark.parametrize('name', ['efficientnet_b0', 'resnet18', 'resnet10t'])
def test_layers_of_the_callers_own_keep_what_their_constructors_give_them(name, image):
    model = zoo.create_model(name, norm_layer=Scaled, num_classes=3)
    assert model.bn1.factor.eq(3).all() and model.bn1.shift.eq(0.5).all() and not model.bn1.factor.is_meta
    state = {key: value + 1 for key, value in model.state_dict().items()}
    again = zoo.create_model(name, norm_layer=Scaled, num_classes=3, pretrained=state)
    assert again.bn1.factor.eq(4).all() and again.bn1.shift.eq(0.5).all()
    backbone = zoo.create_model(name, norm_layer=Scaled, features_only=True, out_indices=(0, 1), pretrained=state)
    assert backbone.bn1.factor.eq(4).all() and backbone.bn1.shift.eq(0.5).all() and len(backbone(image)) == 2
    assert on_meta(name, norm_layer=Scaled).bn1.factor.is_meta


def test_dropout_and_drop_path_act_in_training_only(image):
    model = zoo.create_model('test_efficientnet', drop_rate=0.5, drop_path_rate=0.5, bn_momentum=0.0)
    torch.manual_seed(0)
    assert not torch.equal(model.train()(image), model.train()(image))
    assert torch.equal(model.eval()(image), model.eval()(image))
    from zoo.layers import DropPath
    branch = torch.ones(4000, 2, 1, 1)
    dropped = DropPath(0.25).train()(branch)
    assert dropped.unique().tolist() == pytest.approx([0, 1 / 0.75])
    assert torch.equal(dropped[:, 0], dropped[:, 1]) and dropped.mean() == pytest.approx(1, abs=0.05)


def test_sync_batchnorm_conversion_keeps_the_logits(image):
    model = randomize(zoo.create_model('efficientnet_b0', num_classes=5)).eval()
    before = model(image)
    assert torch.equal(nn.SyncBatchNorm.convert_sync_batchnorm(model).eval()(image), before)


@pytest.mark.parametrize(('call', 'error', 'words'), [
    (lambda: zoo.create_model(None), TypeError, "'efficientnet_b0', not None"),
    (lambda: zoo.create_model('mobilenetv2_035', pretrained=1), TypeError, 'True or False, a path or a state dict'),
    (lambda: zoo.create_model('mobilenetv2_035', pretrained=[1]), TypeError, 'not list'),
    (lambda: zoo.create_model('mobilenetv2_035', pretrained_cfg=5), TypeError, 'not 5'),
    (lambda: zoo.create_model('mobilenetv2_035', pretrained_cfg_overlay={'input_size': 128}), ValueError, 'not 128'),
    (lambda: zoo.create_model('mobilenetv2_035', num_classes='10'), ValueError, "num_classes .* 0 or more, not '10'"),
    (lambda: zoo.create_model('efficientformer_l1', num_classes=2.5), ValueError, 'num_classes .* not 2.5'),
    (lambda: zoo.create_model('mobilenetv2_035', in_chans=0), ValueError, 'in_chans .* 1 or more, not 0'),
    (lambda: zoo.create_model('efficientformerv2_s0', in_chans='3'), ValueError, "in_chans .* not '3'"),
    (lambda: zoo.create_model('mobilenetv2_035', drop_rate=2), ValueError, 'drop_rate .* not 2'),
    (lambda: zoo.create_model('efficientformer_l1', proj_drop_rate=-0.1), ValueError, 'proj_drop_rate .* not -0.1'),
    (lambda: zoo.create_model('mobilenetv2_035', drop_path_rate=1.5), ValueError, 'drop_path_rate .* not 1.5'),
    (lambda: zoo.create_model('mobilenetv2_035', bn_eps='1e-3'), ValueError, "bn_eps .* not '1e-3'"),
    (lambda: on_meta('mobilenetv2_035').reset_classifier('10'), ValueError, "num_classes .* not '10'"),
    (lambda: zoo.create_model('mobilenetv2_035', features_only=True, out_indices=1.5), ValueError, '0 to 4 .* not 1.5'),
    (lambda: zoo.scale_model('efficientnet_b0', phi='2'), ValueError, "phi .* not '2'"),
    (lambda: zoo.profile(on_meta('mobilenetv2_035'), '224'), ValueError, "got '224'"),
    (lambda: zoo.data.resolve_model_data_config('efficientnet_b4'), TypeError, "'efficientnet_b4'.*get_pretrained_cfg"),
    (lambda: zoo.dense.create_segmenter('mobilenetv2_035', classes='road'), ValueError, "different names; got 'road'"),
    (lambda: zoo.dense.create_detector('mobilenetv2_035', num_classes='3'), ValueError, "background.* not '3'"),
])
def test_values_of_the_wrong_kind_are_named(call, error, words):
    with pytest.raises(error, match=words):
        call()


@pytest.mark.parametrize(('text', 'words'), [
    (b'blocks: [ir_r1_k3_s1_e1_c16', 'no YAML file: .*line 1'),
    (b'\xff\xd8\xff', 'not UTF-8'),
    (b'blocks: [ir_r1_k3_s1_e1_c16]\ndata: [1]', r"'data' .* not \[1\]"),
    (b'blocks: [ir_r1_k3_s1_e1_c16]\nstem_size: big', "stem_size .* not 'big'"),
])
def test_mistakes_in_a_yaml_file_are_named(text, words, tmp_path):
    (tmp_path / 'network.yaml').write_bytes(text)
    with pytest.raises(ValueError, match=words):
        zoo.build_model(tmp_path / 'network.yaml')
