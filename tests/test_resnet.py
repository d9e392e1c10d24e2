"""ResNet beside timm's: every option, gates by name, filters at odd sizes, DropBlock, pruned rows, own blocks."""
from __future__ import annotations

import copy
import inspect
from functools import partial

import pytest
import timm
import timm.models.resnet as theirs
import torch
from beside_timm import compare_options, on_meta, pair
from conftest import randomize, relative_error
from timm.layers import BlurPool2d, EcaModule, SEModule
from timm.layers import create_attn as timms_create_attn
from torch import nn
from torch.export import Dim

import zoo
from zoo.layers.channel_attention import ATTENTIONS, create_attn
from zoo.layers.drop import DropBlock2d
from zoo.models.resnet import BasicBlock, Bottleneck, ResNet

NARROW = dict(channels=(32, 32, 64, 64))
EVEN = (64, 96)
BOTTLENECK, BASIC, MIXED = 'resnet14t', 'resnet10t', 'test_resnet'
OPTIONS = [
    dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(in_chans=5),
    dict(global_pool='max'), dict(global_pool='avgmax'), dict(global_pool='catavgmax'), dict(output_stride=8),
    dict(output_stride=16), dict(avg_down=False, output_stride=8), dict(stem_type=''), dict(stem_type='deep'),
    dict(stem_width=24), dict(replace_stem_pool=True), dict(block_reduce_first=2), dict(avg_down=False),
    dict(avg_down=False, down_kernel_size=3), dict(avg_down=False, down_kernel_size=3, output_stride=8),
    dict(layers=(2, 1, 2, 1)), dict(act_layer='silu'), dict(act_layer='gelu'),
    dict(act_layer=nn.Hardswish), dict(norm_layer='groupnorm', stem_type=''),
    dict(norm_layer='groupnorm1', stem_type=''), dict(norm_layer=nn.BatchNorm2d),
    dict(norm_layer=partial(nn.BatchNorm2d, eps=0.1)), dict(drop_rate=0.1, drop_path_rate=0.2),
    dict(drop_block_rate=0.1), dict(zero_init_last=False), dict(block_args=dict(attn_layer='eca')),
    dict(block_args=dict(attn_layer=partial(SEModule, rd_ratio=0.25))),
]
GROUPED = [dict(cardinality=4, base_width=16), dict(base_width=128),
           dict(cardinality=2, base_width=32, block_reduce_first=2)]
FILTERS = [dict(aa_layer='avg'), dict(aa_layer='avg', output_stride=8), dict(aa_layer='avg', replace_stem_pool=True),
           dict(aa_layer='blur', output_stride=16), dict(aa_layer='blur', output_stride=8, replace_stem_pool=True),
           dict(aa_layer='blurpc')]
TIMMS_FILTERS = {'avg': nn.AvgPool2d, 'blur': BlurPool2d, 'blurpc': partial(BlurPool2d, pad_mode='constant')}
CASES = [(name, options) for name in (BASIC, BOTTLENECK) for options in OPTIONS] + [(BOTTLENECK, o) for o in GROUPED]


def compare_maps(ours: nn.Module, theirs: nn.Module, image: torch.Tensor) -> None:
    maps = [m.eval().forward_intermediates(image, intermediates_only=True) for m in (ours, theirs)]
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(*maps, strict=True))


@pytest.mark.in_turn
@pytest.mark.parametrize('name, options', CASES, ids=str)
def test_options_equal_timms(name, options):
    ours, theirs = compare_options(name, **NARROW, **options)
    blocks = [[block for number in range(1, 5) for block in m.get_submodule(f'layer{number}')] for m in (ours, theirs)]
    rates = [[getattr(block.drop_path, 'drop_prob', 0) for block in each] for each in blocks]
    assert rates[0] == pytest.approx(rates[1])
    squares = [[(d.drop_prob, d.block_size, d.gamma_scale) for d in (block.drop_block for block in each)
                if not isinstance(d, nn.Identity)] for each in blocks]
    assert squares[0] == squares[1] and bool(squares[0]) == ('drop_block_rate' in options)
    compare_maps(ours, theirs, torch.rand(1, options.get('in_chans', 3), 93, 70, dtype=torch.float64))


@pytest.mark.in_turn
@pytest.mark.parametrize('name', [BASIC, BOTTLENECK, MIXED])
@pytest.mark.parametrize('options', FILTERS, ids=str)
def test_filters_by_name_equal_timms_classes(name, options, monkeypatch):
    if options['aa_layer'] == 'blurpc':                  # timm asks whether it is a subclass, which a partial is not
        monkeypatch.setattr(theirs, 'issubclass', lambda layer, of: isinstance(layer, type) and issubclass(layer, of),
                            raising=False)
    timms = options | dict(aa_layer=TIMMS_FILTERS[options['aa_layer']])
    ours, other = compare_options(name, EVEN, timms, **options)
    compare_maps(ours, other, torch.rand(1, 3, *EVEN, dtype=torch.float64))


@pytest.mark.parametrize('aa_layer', ['avg', nn.AvgPool2d, 'blur', 'blurpc', BlurPool2d], ids=str)
@pytest.mark.parametrize('name', [BASIC, BOTTLENECK])
def test_maps_with_filters_have_the_sizes_that_feature_info_says(name, aa_layer):
    backbone = zoo.create_model(name, features_only=True, aa_layer=aa_layer, **NARROW).eval()
    for size in (EVEN, (93, 70), (95, 33), (127, 131)):
        maps = backbone(torch.rand(1, 3, *size))
        assert all(m.isfinite().all() for m in maps)
        assert [tuple(m.shape[2:]) for m in maps] == backbone.feature_info.map_sizes(size)
        assert [m.shape[2] for m in maps] == [-(-size[0] // r) for r in backbone.feature_info.reduction()]


@pytest.mark.in_turn
@pytest.mark.parametrize(('kind', 'options'), [(kind, dict(drop_rate=0.0) if kind == 'bat' else {}) for kind in ATTENTIONS] + [
    ('se', dict(rd_ratio=0.25, rd_divisor=1)), ('se', dict(add_maxpool=True, bias=False, norm_layer=nn.BatchNorm2d)),
    ('se', dict(rd_channels=5, gate_layer='hard_sigmoid')), ('ese', dict(add_maxpool=True)),
    ('eca', dict(gamma=1, beta=2)),
    ('cbam', dict(spatial_kernel_size=3, mlp_bias=True)), ('gc', dict(rd_ratio=0.3)), ('gc', dict(fuse_add=True)),
    ('lcbam', dict(rd_divisor=8))], ids=str)
@pytest.mark.parametrize('channels', [24, 100, 300])
def test_gates_equal_timms(kind, options, channels):
    ours, other = create_attn(kind, channels, **options), randomize(timms_create_attn(kind, channels, **options))
    ours.load_state_dict(other.state_dict(), strict=True)
    ours.double(), other.double()
    for train in (True, False):
        x = torch.randn(3, channels, 14, 7, dtype=torch.float64, requires_grad=True)           # of 7x7 pixels each in 'bat'
        y = x.detach().clone().requires_grad_()
        results = ours.train(train)(x), other.train(train)(y)
        assert relative_error(*results) < 1e-9
        for result in results:
            result.square().sum().backward()
        assert relative_error(x.grad, y.grad) < 1e-9
    largest = max(b.grad.norm() for b in other.parameters())
    for a, b in zip(ours.parameters(), other.parameters(), strict=True):   # that of a bias before a softmax is rounding alone
        assert (a.grad - b.grad).norm() < 1e-9 * b.grad.norm() + 1e-13 * largest


def test_gates_are_chosen_by_name_class_or_switch():
    assert isinstance(create_attn(None, 8), nn.Identity) and isinstance(create_attn(False, 8), nn.Identity)
    assert create_attn(True, 64).fc1.out_channels == create_attn('se', 64).fc1.out_channels == 8
    assert isinstance(create_attn(EcaModule, 64), EcaModule)
    assert create_attn('eca', 26, kernel_size=7).conv.kernel_size == (7,)
    for wrong, error, words in ((lambda: create_attn('see', 8), ValueError, "attn_layer 'see'.*Did you mean 'se'"),
                                (lambda: create_attn(3, 8), TypeError, 'a name or a module class, not 3'),
                                (lambda: create_attn('eca', 8, kernel_size=4), ValueError, 'odd size, not 4'),
                                (lambda: create_attn('se', 8, rd_ration=1), TypeError, 'rd_ration')):
        with pytest.raises(error, match=words):
            wrong()


@pytest.mark.parametrize(('mine', 'other'), [(BasicBlock, theirs.BasicBlock), (Bottleneck, theirs.Bottleneck),
                                             (ResNet, theirs.ResNet)])
def test_arguments_are_timms_in_timms_order(mine, other):
    names, known = [[*inspect.signature(cls).parameters] for cls in (mine, other)]
    known = [name for name in known if name not in ('device', 'dtype')]       # create_model's
    assert names[:len(known)] == known
    assert mine is ResNet or mine.expansion == other.expansion


@pytest.mark.in_turn
@pytest.mark.parametrize('options', [dict(), dict(dilation=2), dict(dilation=2, first_dilation=1), dict(reduce_first=2),
                                     dict(norm_layer=nn.InstanceNorm2d, act_layer=nn.SiLU), dict(attn_layer=SEModule),
                                     dict(aa_layer=BlurPool2d, dilation=2, first_dilation=1)], ids=str)
@pytest.mark.parametrize(('mine', 'other'), [(BasicBlock, theirs.BasicBlock), (Bottleneck, theirs.Bottleneck)])
def test_blocks_equal_timms(mine, other, options):
    other = randomize(other(32, 32 // other.expansion, **options))
    ours = mine(32, 32 // mine.expansion, **options)
    ours.load_state_dict(other.state_dict())
    x = torch.rand(2, 32, 9, 8)
    for train in (False, True):
        assert relative_error(ours.train(train)(x), other.train(train)(x)) < 1e-5


def test_a_block_of_ones_own_takes_what_the_network_gives():
    class Tripled(Bottleneck):
        expansion = 3

        def __init__(self, *args, power: float, **options) -> None:
            super().__init__(*args, **options)
            self.power = power

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return super().forward(x) * self.power

    class Own(ResNet):
        blocks = {'tripled': Tripled}

    by_name = Own('tripled', (1, 2, 1, 1), channels=(8, 8, 16, 16), block_args=dict(power=2.0))
    assert by_name.num_features == 48 and by_name.layer2[1].power == 2
    assert by_name(torch.rand(2, 3, 64, 64)).shape == (2, 1000)
    mixed = ResNet((BasicBlock, 'basic', Tripled, 'bottleneck'), (1, 1, 1, 1), channels=(8, 8, 16, 16), num_classes=3,
                   block_args=({}, {}, dict(power=0.5), dict(attn_layer='se')))
    assert [f['num_chs'] for f in mixed.feature_info] == [64, 8, 8, 48, 64]
    assert mixed(torch.rand(2, 3, 64, 64)).shape == (2, 3)
    with pytest.raises(ValueError, match="block 'bottleneck'.*Known: tripled"):
        Own('bottleneck', (1, 1, 1, 1))


def test_hidden_states_are_transformers_embedding_and_stages(image):
    for name in (MIXED, 'resnetblur18'):
        model = randomize(zoo.create_model(name, num_classes=3)).eval()
        outputs = zoo.forward_outputs(model, image, output_hidden_states=True)
        maps = model.forward_intermediates(image, intermediates_only=True)
        assert len(outputs.hidden_states) == 5 and torch.equal(outputs.hidden_states[0], model.maxpool(maps[0]))
        assert all(torch.equal(a, b) for a, b in zip(outputs.hidden_states[1:], maps[1:], strict=True))
        assert torch.equal(outputs.logits, model(image)) and torch.equal(outputs.last_hidden_state, maps[-1])


def test_torchvisions_weights_are_ours():
    torchvision = pytest.importorskip('torchvision')
    for name in ('resnet18', 'resnext50_32x4d'):
        other = randomize(torchvision.models.get_model(name)).eval()
        ours, x = zoo.create_model(name, pretrained=other.state_dict()).eval(), torch.rand(1, 3, 75, 64)
        assert relative_error(ours(x), other(x)) < 1e-5


def test_a_fresh_block_begins_as_its_shortcut():
    x = torch.rand(2, 64, 8, 8)
    model = zoo.create_model('resnet26', num_classes=3)
    for norm in (block.bn3 for number in range(1, 5) for block in getattr(model, f'layer{number}')):
        assert not norm.weight.any() and not norm.bias.any()
    assert torch.equal(model.layer1[1](model.layer1[0](x)), model.layer1[0](x))
    other = zoo.create_model('resnet26', num_classes=3, zero_init_last=False)
    assert other.layer1[1].bn3.weight.eq(1).all()
    weight = other.layer3[0].conv2.weight
    assert weight.std().item() == pytest.approx((2 / (9 * weight.shape[0])) ** 0.5, rel=0.02)
    frozen = zoo.create_model(BASIC, norm_layer='evonorms0', stem_type='', **NARROW)
    assert not frozen.layer4[0].bn2.weight.any() and frozen(torch.rand(1, 3, 64, 64)).isfinite().all()


def test_dropblock_drops_whole_squares_and_keeps_the_mean():
    torch.manual_seed(0)
    layer, x = DropBlock2d(0.2, block_size=5), torch.ones(400, 3, 20, 16)
    assert layer.eval()(x) is x
    dropped = layer.train()(x)
    assert torch.equal(dropped[:, 0], dropped[:, 2]) and dropped.mean() == pytest.approx(1)
    gone = (dropped[:, 0] == 0).float().unsqueeze(1)
    assert gone.mean() == pytest.approx(0.185, abs=0.02)                         # squares overlap: below 0.2
    inside = 1 - nn.functional.max_pool2d(1 - gone, 5, 1)                        # where a square of 5 pixels begins
    whole = nn.functional.max_pool2d(nn.functional.pad(inside, (4,) * 4), 5, 1)
    assert torch.equal(whole, gone)
    for size in ((2, 3), (1, 1)):
        assert layer(torch.ones(50, 2, *size)).isfinite().all()
    with pytest.raises(ValueError, match=r'probability in \[0, 1\), not 1'):
        DropBlock2d(1)


def test_dropblock_acts_in_training_only(image):
    model = zoo.create_model(BASIC, drop_block_rate=0.3, zero_init_last=False, **NARROW)
    assert not torch.equal(model.train()(image), model.train()(image))
    assert torch.equal(model.eval()(image), model.eval()(image))


def test_pruned_networks_are_rows_of_widths(image):
    model = on_meta('ecaresnet50d_pruned')
    assert [block.conv2.out_channels for block in model.layer2] == [37, 80, 85, 87]
    assert [block.se.conv.kernel_size for block in (model.layer1[0], model.layer4[0])] == [(5,), (7,)]
    ours, other = pair('ecaresnet101d_pruned', torch.float64, layers=(1, 2, 2, 1), num_classes=3)
    assert relative_error(ours.eval()(image.double()), other.eval()(image.double())) < 1e-5
    with pytest.raises(ValueError, match='layer2 are of 4 blocks, fewer than its 5'):
        on_meta('ecaresnet50d_pruned', layers=(3, 5, 6, 3))


@pytest.mark.parametrize('name', ['resnetrs50', 'resnetblur18', 'resnet18'])
def test_the_stems_pooling_goes_with_the_first_block(name):
    model = on_meta(name)
    layers = model.layer_names()
    assert layers[0] == ['conv1', 'bn1', 'act1'] and layers[1] == ['maxpool', 'layer1.0'] and layers[2] == ['layer1.1']
    assert len(layers) == 1 + sum(len(getattr(model, f'layer{number}')) for number in range(1, 5))
    assert model.layer_names(coarse=True)[1] == ['maxpool', 'layer1']


def test_what_does_not_fit_is_said():
    for name, options, words in (
            (BASIC, dict(cardinality=4), 'one group .*not 4 and 64'), (BASIC, dict(block='bottelneck'), "'bottleneck'"),
            (BASIC, dict(stem_type='deeper'), "stem_type 'deeper'.*'deep'"),
            (BASIC, dict(output_stride=4), '8, 16 or 32, not 4'),
            (BASIC, dict(layers=(1, 1, 1)), r'four entries; they have \[3, 4, 4, 4, 4\]'),
            (BASIC, dict(aa_layer='blurr'), "aa_layer 'blurr'.*'blur'"),
            (BASIC, dict(down_kernel_size=3), 'avg_down.*kernel 1'),
            (BASIC, dict(block_args=dict(attn_layer='eco')), "attn_layer 'eco'.*'eca'"),
            (BOTTLENECK, dict(aa_layer='blur', block_args=dict(stride_first=True)), 'stride_first=True'),
            (BASIC, dict(norm_layer='groupnorms'), "'groupnorm'"),
            (BASIC, dict(drop_block_rate=1.5), 'drop_block .*not 1.5'),
            (BASIC, dict(block_args=[{}] * 3), r'four entries; they have \[4, 4, 4, 3, 4\]')):
        with pytest.raises(ValueError, match=words):
            on_meta(name, **options)
    with pytest.raises(TypeError, match='attn_lyer'):
        on_meta(BASIC, block_args=dict(attn_lyer='se'))


KINDS = [(MIXED, {}), (BASIC, dict(aa_layer='avg', **NARROW)),
         (BOTTLENECK, dict(aa_layer='blur', replace_stem_pool=True, **NARROW)),
         (BOTTLENECK, dict(output_stride=8, block_args=dict(attn_layer='ceca'), **NARROW)),
         (BOTTLENECK, dict(norm_layer='groupnorm', stem_type='', block_args=dict(attn_layer='cbam'), **NARROW)),
         (BASIC, dict(block_args=dict(attn_layer='gca'), **NARROW))]


@pytest.mark.sweep
@pytest.mark.parametrize(('name', 'options'), KINDS, ids=str)
def test_compiles_exports_and_traces_at_any_size(name, options):
    model, x = randomize(zoo.create_model(name, num_classes=3, **options)).eval(), torch.rand(2, 3, 64, 96)
    torch._dynamo.reset()
    assert torch.allclose(torch.compile(model, fullgraph=True, backend='eager')(x), model(x))
    sides = {0: Dim('batch'), 2: Dim('height', min=64, max=1024), 3: Dim('width', min=64, max=1024)}
    program = torch.export.export(model, (x,), dynamic_shapes=(sides,)).module()
    traced = torch.fx.symbolic_trace(model)
    for size in ((1, 3, 127, 201), (3, 3, 75, 90)):
        other = torch.rand(size)
        expected = model(other)
        assert relative_error(program(other), expected) < 1e-5 and torch.equal(traced(other), expected)


@pytest.mark.parametrize('name', [BASIC, MIXED, 'resnetblur18'])
def test_gradient_checkpointing_changes_nothing(name, image):
    model = randomize(zoo.create_model(name, num_classes=3)).train()
    state, gradients = copy.deepcopy(model.state_dict()), []
    for enable in (False, True):
        model.load_state_dict(state)
        model.zero_grad()
        model.set_grad_checkpointing(enable)
        model(image).square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(*gradients, strict=True))


def test_former_names_of_networks_by_their_groups():
    """timm takes ig_resnext101_32x16d for the network of 32x8d."""
    assert timm.models._registry._deprecated_models['ig_resnext101_32x16d'].startswith('resnext101_32x8d')
    with pytest.warns(DeprecationWarning, match='resnext101_32x16d.fb_wsl_ig1b_ft_in1k'):
        assert zoo.get_pretrained_cfg('ig_resnext101_32x16d').architecture == 'resnext101_32x16d'
