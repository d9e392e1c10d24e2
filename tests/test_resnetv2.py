"""ResNet V2 and BiT beside timm's: every option, blocks, the weights that Google published, any size of image."""
from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import timm.layers
import timm.models.resnetv2 as theirs_module
import torch
from beside_timm import compare_options, of_timm, on_meta
from conftest import randomize, relative_error
from torch.export import Dim

import zoo
from zoo.layers.std_conv import StdConv2d, StdConv2dSame
from zoo.models import resnetv2

SMALL = dict(layers=(1, 2, 1, 1), channels=(128, 128, 256, 256), stem_chs=64)
BN = dict(norm_layer='batchnorm2d')
OPTIONS = [
    dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(in_chans=5), dict(global_pool='max'),
    dict(global_pool='avgmax'), dict(global_pool='catavgmax'), dict(output_stride=8), dict(output_stride=16),
    dict(output_stride=8, avg_down=True), dict(width_factor=2), dict(stem_type='fixed'), dict(stem_type='same'),
    dict(stem_type='deep'), dict(stem_type='deep_fixed'), dict(stem_type='deep_same'), dict(stem_type='tiered', **BN),
    dict(avg_down=True), dict(preact=False), dict(preact=False, stem_type='same', avg_down=True),
    dict(preact=False, output_stride=16), dict(basic=True, bottle_ratio=1.0), dict(basic=True, output_stride=8),
    dict(bottle_ratio=0.5), dict(drop_rate=0.1, drop_path_rate=0.2), dict(layers=(1, 2, 1), channels=(128, 256, 384)), BN,
    dict(norm_layer='evonorms0'), dict(preact=False, norm_layer='evonorms0'), dict(norm_layer='frntlu'),
    dict(preact=False, norm_layer='frntlu'), dict(zero_init_last=True), dict(act_layer='silu', **BN),
]
TIMMS = {'norm_layer': {'batchnorm2d': timm.layers.BatchNormAct2d, 'evonorms0': timm.layers.EvoNorm2dS0,
                        'frntlu': timm.layers.FilterResponseNormTlu2d},
         'act_layer': {'silu': torch.nn.SiLU}}


@pytest.mark.in_turn
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_options_equal_timms(options):
    given = {key: TIMMS.get(key, {}).get(value, value) if isinstance(value, str) else value
             for key, value in options.items()}
    common = dict(conv_eps=1e-6, stem_type='', conv_layer='std_conv2d')
    ours, theirs = compare_options('resnetv2_50x1_bit', timms={'stem_type': ''} | SMALL | given | {
        'conv_layer': timm.layers.StdConv2d}, **common | SMALL | options)
    rates = [[getattr(block.drop_path, 'drop_prob', 0) for stage in m.stages for block in stage.blocks]
             for m in (ours, theirs)]
    assert rates[0] == pytest.approx(rates[1])
    image = torch.rand(1, options.get('in_chans', 3), 93, 70, dtype=torch.float64)
    maps = [m.eval().forward_intermediates(image, intermediates_only=True) for m in (ours, theirs)]
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(*maps, strict=True))


@pytest.mark.parametrize('name', ['PreActBasic', 'PreActBottleneck', 'Bottleneck', 'ResNetStage', 'DownsampleConv',
                                  'DownsampleAvg'])
def test_blocks_are_built_as_timms(name):
    for options in ({}, dict(stride=2), dict(stride=1, dilation=2)):
        given = dict(in_chs=32, out_chs=128, **options)
        if name.startswith('Down'):
            given |= dict(conv_layer=timm.layers.StdConv2d, norm_layer=timm.layers.GroupNormAct)
        if name == 'ResNetStage':
            given |= dict(stride=options.get('stride', 2), dilation=options.get('dilation', 1), depth=2)
            given |= dict(conv_layer=timm.layers.StdConv2d, act_layer=torch.nn.ReLU, norm_layer=timm.layers.GroupNormAct)
        pair = []
        for module in (resnetv2, theirs_module):
            proj = {} if name.startswith(('Res', 'Down')) else dict(proj_layer=module.DownsampleConv)
            pair.append(getattr(module, name)(**given, **proj).double())
        ours, theirs = pair
        ours.load_state_dict(randomize(theirs).state_dict())
        x = torch.rand(2, 32, 11, 9, dtype=torch.float64) - 0.5
        assert relative_error(ours(x.clone()), theirs(x.clone())) < 1e-5


def test_the_stem_is_timms():
    for kind in resnetv2.STEMS:
        for preact in (True, False):
            if 'tiered' in kind:
                continue                                               # 24 channels in 32 groups
            ours = resnetv2.create_resnetv2_stem(3, 64, kind, preact)
            theirs = theirs_module.create_resnetv2_stem(3, 64, kind, preact)
            ours.load_state_dict(randomize(theirs).state_dict())
            x = torch.rand(1, 3, 37, 64) - 0.5
            assert relative_error(ours(x), theirs(x)) < 1e-5
            assert resnetv2.is_stem_deep(kind) == theirs_module.is_stem_deep(kind)


@pytest.mark.parametrize('kind, options', [
    (StdConv2d, {}), (StdConv2d, dict(stride=2, groups=4, bias=True)), (StdConv2d, dict(dilation=2, eps=1e-2)),
    (StdConv2d, dict(padding=0)), (StdConv2dSame, {}), (StdConv2dSame, dict(stride=2)), (StdConv2dSame, dict(padding='VALID'))],
    ids=str)
def test_weight_standardisation_equals_timms(kind, options):
    ours = kind(8, 12, 3, **options).double()
    theirs = getattr(timm.layers, kind.__name__)(8, 12, 3, **options).double()
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(2, 8, 10, 13, dtype=torch.float64, requires_grad=True)
    gradients = []
    for layer in (ours, theirs):
        out = layer(x)
        gradients.append((out, *torch.autograd.grad(out.square().sum(), [x, *layer.parameters()])))
    assert all(relative_error(a, b) < 1e-6 for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize('kernel, stride', [(1, 2), (1, 3), (2, 3), (7, 2)])
def test_same_padding_of_any_kernel_equals_timms(kernel, stride):
    ours, theirs = StdConv2dSame(4, 6, kernel, stride), timm.layers.StdConv2dSame(4, 6, kernel, stride)
    ours.load_state_dict(theirs.state_dict())
    for size in ((8, 9), (10, 11), (7, 12)):
        x = torch.rand(1, 4, *size)
        assert relative_error(ours(x), theirs(x)) < 1e-5


@pytest.mark.parametrize('make', [StdConv2d, partial(StdConv2d, eps=1e-8)])
def test_layers_may_be_given_as_classes(make):
    ours = on_meta('resnetv2_50', conv_layer=make, norm_layer=timm.layers.GroupNormAct)
    assert isinstance(ours.stages[0].blocks[0].norm1, timm.layers.GroupNormAct) and isinstance(ours.stem.conv, StdConv2d)
    assert isinstance(ours.stages[0].blocks[0].act1, torch.nn.Identity)         # it is in the normalisation


def test_the_final_normalisation_has_its_activation():
    model = randomize(zoo.create_model('resnetv2_18', num_classes=3)).eval()
    x = torch.rand(1, 3, 64, 64)
    last, maps = model.forward_intermediates(x, norm=True)
    assert torch.equal(maps[-1], last) and last.min() == 0 and maps[0].min() < 0
    head = model.head
    with torch.no_grad():                                        # the classifier is a convolution, and takes maps too
        assert torch.allclose(head.fc(last).mean((2, 3)), model(x), atol=1e-5) and torch.allclose(head(last), model(x))
    assert model.prune_intermediate_layers([2], prune_norm=True) == [2]
    assert torch.equal(model.forward_features(x), maps[2])


def archive(model: torch.nn.Module, path: Path) -> None:
    """Writes weights under Google's names, as timm's reader of them spells out."""
    state, arrays = model.state_dict(), {}
    letters = dict(zip('123', 'abc'))

    def kernel(key: str) -> np.ndarray:
        return state[key].permute(2, 3, 1, 0).numpy()

    arrays['resnet/root_block/standardized_conv2d/kernel'] = kernel('stem.conv.weight')
    arrays['resnet/head/conv2d/kernel'] = kernel('head.fc.weight')
    arrays['resnet/head/conv2d/bias'] = state['head.fc.bias'].numpy()
    arrays |= {f'resnet/group_norm/{word}': state[f'norm.{kind}'].numpy() for word, kind in (('gamma', 'weight'),
                                                                                            ('beta', 'bias'))}
    for key in state:
        if key.startswith('stages.'):
            _, stage, _, block, *rest = key.split('.')
            start = f'resnet/block{int(stage) + 1}/unit{int(block) + 1:02d}/'
            if rest[0] == 'downsample':
                arrays[f'{start}a/proj/standardized_conv2d/kernel'] = kernel(key)
            elif rest[0].startswith('conv'):
                arrays[f'{start}{letters[rest[0][-1]]}/standardized_conv2d/kernel'] = kernel(key)
            else:
                word = 'gamma' if rest[1] == 'weight' else 'beta'
                arrays[f'{start}{letters[rest[0][-1]]}/group_norm/{word}'] = state[key].numpy()
    np.savez(path, **arrays)


def test_googles_archives_load_as_in_timm_and_can_be_written(tmp_path):
    theirs = randomize(of_timm('resnetv2_50x1_bit', num_classes=10)).eval()
    archive(theirs, tmp_path / 'bit.npz')
    again = of_timm('resnetv2_50x1_bit', num_classes=10).eval()
    again.load_pretrained(str(tmp_path / 'bit.npz'))                       # its reader knows the names that are written
    found = zoo.convert(tmp_path / 'bit.npz')
    assert (found.source, found.architecture, found.arguments) == ('google BiT', 'resnetv2_50x1_bit', {})
    ours = zoo.create_model('resnetv2_50x1_bit', num_classes=10, checkpoint_path=tmp_path / 'bit.npz').eval()
    x = torch.rand(1, 3, 64, 96, dtype=torch.float64)
    assert relative_error(ours.double()(x), again.double()(x)) < 1e-5 and torch.equal(again(x), theirs.double()(x))
    back = zoo.convert(ours.float().state_dict(), 'google')
    with np.load(tmp_path / 'bit.npz') as file:
        assert {*file.files} == {*back.state} and all(np.array_equal(file[key], back.state[key]) for key in file.files)


@pytest.mark.sweep
def test_compiles_and_exports_with_any_height_and_width():
    for name in ('resnetv2_50x1_bit', 'resnetv2_50d_evos'):
        model, x = randomize(zoo.create_model(name, num_classes=3, layers=(1, 1, 1, 1))).eval(), torch.rand(2, 3, 64, 96)
        torch._dynamo.reset()
        assert torch.allclose(torch.compile(model, fullgraph=True, backend='eager')(x), model(x))
        sides = {0: Dim('batch'), 2: Dim('height', min=64, max=1024), 3: Dim('width', min=64, max=1024)}
        program = torch.export.export(model, (x,), dynamic_shapes=(sides,)).module()
        for size in ((1, 3, 227, 301), (3, 3, 75, 90)):
            other = torch.rand(size)
            assert relative_error(program(other), model(other)) < 1e-5


@pytest.mark.parametrize('basic, preact', [(True, True), (False, True), (False, False)])
def test_blocks_may_begin_as_their_shortcut(basic, preact):
    model = zoo.create_model('resnetv2_50', zero_init_last=True, basic=basic, preact=preact, layers=(1, 1, 1, 2)).eval()
    x = torch.rand(1, 2048, 8, 8)
    assert torch.equal(model.stages[3].blocks[1](x), x)
    assert model.head.fc.weight.std().item() == pytest.approx(0.01, rel=0.1) and not model.head.fc.bias.any()


def test_what_does_not_fit_is_said():
    for options, words in ((dict(stem_type='deap'), "stem_type 'deap'.*'deep'"), (dict(output_stride=4), '8, 16 or 32'),
                           (dict(layers=(1, 1, 1, 1, 1)), 'one entry a stage'), (dict(norm_layer='grupnorm'), "'groupnorm'"),
                           (dict(conv_layer='std_conv'), "'std_conv2d'"), (dict(basic=True, preact=False), 'basic=True')):
        with pytest.raises(ValueError, match=words):
            on_meta('resnetv2_50', **options)


LAST = dict(layers=(2, 2, 2, 2), channels=(32, 64, 64, 96), stem_type='fixed', stride_last=True, conv_bias=True, **BN)


@pytest.mark.parametrize('output_stride', [8, 16, 32])
def test_strides_may_lie_in_the_last_blocks_of_stages(output_stride):
    """As in Keras, see test_foreign_keras.py; dilation in place of a stride leaves every pixel that the stride has."""
    model = zoo.create_model('resnetv2_50', features_only=True, **LAST).eval()
    dilated = zoo.create_model('resnetv2_50', features_only=True, output_stride=output_stride, **LAST).eval()
    dilated.load_state_dict(randomize(model).state_dict())
    assert dilated.feature_info.reduction() == [min(reduction, output_stride) for reduction in (2, 8, 16, 32, 32)]
    with torch.no_grad():
        for ours, other, reduction in zip(model(image := torch.rand(1, 3, 64, 96)), dilated(image), (2, 8, 16, 32, 32)):
            step = max(reduction // output_stride, 1)
            assert torch.allclose(other[..., ::step, ::step], ours, atol=1e-5)
    sizes = [tuple(each.shape[2:]) for each in dilated(torch.rand(1, 3, 75, 98))]
    assert sizes == dilated.feature_info.map_sizes((75, 98))


@pytest.mark.parametrize('options', [dict(basic=True), dict(preact=False)])
def test_the_last_block_has_the_stride_where_blocks_normalise_first(options):
    with pytest.raises(ValueError, match='preact=True'):
        zoo.create_model('resnetv2_50', **LAST | options)
