"""Res2Net, ResNeSt, SKNet and SENet beside timm's: every option, their blocks and layers, what they do not take."""
from __future__ import annotations

import importlib

import pytest
import timm.layers
import torch
from beside_timm import compare_options, on_meta
from conftest import randomize, relative_error
from torch import nn
from torch.export import Dim

import zoo
from zoo.layers import pool, selective_kernel, split_attn
from zoo.models import res2net, resnest, senet, sknet

NARROW = dict(layers=(1, 1, 2, 1), channels=(32, 32, 64, 64))
COMMON = [                                                      # those of the stem and the head are ResNet's
    dict(num_classes=0, global_pool=''), dict(in_chans=1, stem_type='deep', stem_width=24), dict(output_stride=16),
    dict(output_stride=8, avg_down=True), dict(output_stride=8, avg_down=False, down_kernel_size=3),
    dict(act_layer='silu'), dict(norm_layer='groupnorm1', stem_type=''), dict(drop_rate=0.1, drop_path_rate=0.2),
    dict(drop_block_rate=0.1), dict(cardinality=2, base_width=64),
]
GATED = [dict(block_args=dict(attn_layer=timm.layers.EcaModule)), dict(aa_layer='blur')]
TIMMS = {'blur': timm.layers.BlurPool2d, 'groupnorm1': timm.layers.GroupNorm1}
SHARES = [dict(block_args=dict(scale=count)) for count in (1, 2, 8)]
MAPS = [dict(block_args=dict(radix=radix, **pools)) for radix in (0, 1, 4) for pools in (
    {}, dict(avd=True), dict(avd=True, avd_first=True))]
KERNELS = [dict(block_args=dict(sk_kwargs=options)) for options in (
    {}, dict(kernel_size=5), dict(kernel_size=[3, 7], keep_3x3=False), dict(split_input=False), dict(rd_channels=12))]
SK = [*COMMON, *GATED, *KERNELS, dict(block_reduce_first=2), dict(aa_layer='blur', output_stride=16)]
CASES = [
    *(('res2net50_26w_4s', options) for options in [*COMMON, *GATED, *SHARES]),
    *(('resnest14d', options) for options in [*COMMON, *MAPS]),
    *(('skresnet50', options) for options in SK),
    *(('skresnet18', options) for options in SK if 'cardinality' not in options),
]


@pytest.mark.parametrize('name, options', CASES, ids=str)
def test_options_equal_timms(name, options):
    timms = {key: TIMMS.get(value, value) if isinstance(value, str) else value for key, value in options.items()}
    ours, theirs = compare_options(name, (40, 33), timms=NARROW | timms, **NARROW | options)
    compare_maps(ours, theirs, options.get('in_chans', 3))
    if 'drop_path_rate' in options:
        rates = [[getattr(m.get_submodule(f'layer{number}')[0].drop_path, 'drop_prob', 0) for number in range(1, 5)]
                 for m in (ours, theirs)]
        assert rates[0] == pytest.approx(rates[1])
    if 'drop_block_rate' in options:
        squares = [[(d.drop_prob, d.block_size, d.gamma_scale) for d in m.modules()
                    if type(d).__name__ == 'DropBlock2d'] for m in (ours, theirs)]
        assert squares[0] == squares[1] and squares[0]


def compare_maps(ours: nn.Module, theirs: nn.Module, in_chans: int = 3) -> None:
    for size in ((61, 38), (34, 35)):
        image = torch.rand(1, in_chans, *size, dtype=torch.float64)
        maps = [m.eval().forward_intermediates(image, intermediates_only=True) for m in (ours, theirs)]
        assert all(relative_error(a, b) < 1e-5 for a, b in zip(*maps, strict=True))


@pytest.mark.parametrize('kind, options', [
    *(('SEResNetBlock', options) for options in (
        {}, dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(in_chans=5),
        dict(global_pool='max'), dict(global_pool='catavgmax'), dict(input_3x3=True, inplanes=96), dict(reduction=8),
        dict(groups=4), dict(downsample_kernel_size=3, downsample_padding=1), dict(drop_rate=0.5))),
    ('SEResNetBottleneck', dict(inplanes=32)), ('SEBottleneck', dict(groups=64)),
    ('SEResNeXtBottleneck', dict(groups=8)),
], ids=str)
def test_senets_options_equal_timms(kind, options):
    ours, theirs = (module.SENet(getattr(module, kind), **dict(layers=(1, 1, 2, 1), groups=1, reduction=16) | options)
                    for module in (senet, importlib.import_module('timm.models.senet')))
    ours, theirs = ours.double(), theirs.double()
    ours.load_state_dict(randomize(theirs).state_dict())
    image = torch.rand(2, options.get('in_chans', 3), 43, 34, dtype=torch.float64)
    assert ours.drop_rate == theirs.drop_rate == options.get('drop_rate', 0.2)
    assert relative_error(ours.eval()(image), theirs.eval()(image)) < 1e-5
    features = theirs.forward_features(image)
    assert relative_error(ours.forward_head(features, True), theirs.forward_head(features, True)) < 1e-5
    compare_maps(ours, theirs, options.get('in_chans', 3))


def test_senets_maps_are_as_large_as_it_says():
    backbone = zoo.create_model('legacy_seresnet18', features_only=True).eval()
    for size in ((64, 65), (66, 67), (68, 69), (70, 71), (93, 120), (101, 9)):
        with torch.no_grad():
            maps = backbone(torch.rand(1, 3, *size))
        assert [tuple(one.shape[2:]) for one in maps] == backbone.feature_info.map_sizes(size)
    assert backbone.feature_info.get('rounding') == [
        'ceil', 'ceil to 2, then floor', *['ceil to 2, then floor to 4, then ceil'] * 3]


@pytest.mark.parametrize('kernel, stride', [(3, 2), (2, 2), (3, 3), (5, 2), (3, 1)])
def test_pooling_by_windows_that_begin_in_the_map_can_be_exported(kernel, stride):
    ours, torchs = pool.CeilMaxPool2d(kernel, stride), nn.MaxPool2d(kernel, stride, ceil_mode=True)
    sides = {2: Dim('height', min=8, max=64), 3: Dim('width', min=8, max=64)}
    exported = torch.export.export(ours, (torch.rand(1, 2, 12, 16),), dynamic_shapes=(sides,)).module()
    for size in ((8, 9), (10, 11), (12, 13)):
        x = torch.rand(1, 2, *size) - 2
        assert torch.equal(ours(x), torchs(x)) and torch.equal(exported(x), torchs(x))


@pytest.mark.parametrize('kind, options', [
    *(('SplitAttn', options) for options in (
        {}, dict(radix=1), dict(radix=4), dict(radix=2, groups=4), dict(norm_layer=nn.BatchNorm2d, bias=True),
        dict(rd_channels=20), dict(out_channels=32, stride=2, kernel_size=5, padding=1),
        dict(rd_ratio=0.7, rd_divisor=16), dict(dilation=2))),
    *(('SelectiveKernel', options) for options in (
        {}, dict(kernel_size=5), dict(kernel_size=[3, 5, 7], split_input=False), dict(keep_3x3=False, stride=2),
        dict(dilation=2, groups=4), dict(out_channels=32, rd_ratio=0.7), dict(rd_channels=5), dict(rd_divisor=16),
        dict(aa_layer=timm.layers.BlurPool2d, stride=2))),
], ids=str)
def test_layers_equal_timms(kind, options):
    module = split_attn if kind == 'SplitAttn' else selective_kernel
    ours, theirs = (getattr(place, kind)(16, **options).double() for place in (module, timm.layers))
    ours.load_state_dict(randomize(theirs).state_dict())
    x = torch.rand(3, 16, 11, 10, dtype=torch.float64) - 0.5
    for mode in (True, False):
        assert relative_error(ours.train(mode)(x), theirs.train(mode)(x)) < 1e-5


BLOCKS = [
    ('res2net', 'Bottle2neck', (64, 16), dict(base_width=32, norm_layer=nn.BatchNorm2d)),
    ('res2net', 'Bottle2neck', (64, 16, 1, None, 2, 16, 3), dict(norm_layer=nn.BatchNorm2d)),
    ('resnest', 'ResNestBottleneck', (64, 16), {}), ('resnest', 'ResNestBottleneck', (64, 16, 1, None, 2, 2, 32), {}),
    ('resnest', 'ResNestBottleneck', (64, 16), dict(radix=2, avd=True, is_first=True)),
    ('sknet', 'SelectiveKernelBasic', (64, 64), dict(reduce_first=2)),
    ('sknet', 'SelectiveKernelBottleneck', (64, 16), {}),
    ('sknet', 'SelectiveKernelBottleneck', (64, 16, 1, None, 4, 16, dict(split_input=False)), dict(dilation=2)),
    ('senet', 'SEBottleneck', (64, 16, 4, 8), {}), ('senet', 'SEResNetBlock', (64, 64, 4, 8), {}),
    ('senet', 'SEResNeXtBottleneck', (64, 16, 8, 8), dict(base_width=8)), ('senet', 'SEModule', (64, 8), {}),
]


@pytest.mark.parametrize('module, kind, given, options', BLOCKS, ids=str)
def test_blocks_are_built_as_timms(module, kind, given, options):
    theirs_module = importlib.import_module(f'timm.models.{module}')
    modules = dict(res2net=res2net, resnest=resnest, sknet=sknet, senet=senet)
    ours, theirs = (getattr(place, kind)(*given, **options).double() for place in (modules[module], theirs_module))
    ours.load_state_dict(randomize(theirs).state_dict())
    x = torch.rand(3, 64, 9, 8, dtype=torch.float64)
    before = x.clone()
    for mode in (True, False):
        assert relative_error(ours.train(mode)(x), theirs.train(mode)(before.clone())) < 1e-5
    assert torch.equal(x, before)


@pytest.mark.parametrize('name', ['res2net50_26w_4s', 'resnest14d', 'skresnet18', 'skresnet50'])
def test_a_fresh_block_begins_as_its_shortcut_if_that_is_asked_for(name):
    model = zoo.create_model(name, zero_init_last=True, **NARROW).eval()
    x = torch.rand(1, model.feature_info[3]['num_chs'], 5, 5)
    with torch.no_grad():
        assert torch.equal(model.layer3[1](x), x)


@pytest.mark.parametrize('name, options, words', [
    ('resnest14d', dict(aa_layer='blur'), 'ResNeSt blocks have no aa_layer'),
    ('resnest14d', dict(block_reduce_first=2), 'ResNeSt blocks have no reduce_first'),
    ('resnest14d', dict(block_args=dict(attn_layer='se')), 'ResNeSt blocks have no attn_layer'),
    ('res2net50_26w_4s', dict(block_reduce_first=2), 'Res2Net blocks have no reduce_first'),
    ('res2net50_26w_4s', dict(block_args=dict(scale=0)), 'scale is .* 1 or more, not 0'),
    ('skresnet18', dict(cardinality=2), 'Basic blocks have no cardinality'),
    ('skresnet50', dict(block_args=dict(sk_kwargs=dict(kernel_size=4))), 'Selective kernels are odd'),
    ('skresnet50', dict(block_args=dict(sk_kwargs=dict(kernel_size=(3, 5, 7)))), '3 paths cannot share 64 channels'),
    ('skresnet50', dict(block='bottle2neck'), "block 'bottle2neck'.*'bottleneck'"),
    ('legacy_seresnet18', dict(block='se_resnt'), "block 'se_resnt'.*'se_resnet'"),
    ('legacy_seresnet18', dict(layers=(1, 1)), 'four stages, not 2'),
])
def test_what_they_do_not_take_is_said(name, options, words):
    with pytest.raises(ValueError, match=words):
        on_meta(name, **options)
