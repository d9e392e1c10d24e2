"""CSPNet and DarkNet beside timm's: every option, blocks, stages, stems, maps of odd sizes."""
from __future__ import annotations

import pytest
import timm.layers
import timm.models.cspnet as theirs_module
import torch
from beside_timm import compare_options, pair
from conftest import randomize, relative_error

import zoo
from zoo.models import cspnet

NETWORKS = {'cspresnet50': dict(depth=(2, 1, 1, 2)), 'cs3darknet_s': dict(depth=(1, 2, 1, 1)),
            'darknet17': dict(depth=(1, 1, 1, 2, 1)), 'cspdarknet53': dict(depth=(1, 1, 2, 1, 1))}
OPTIONS = [
    dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(in_chans=5), dict(global_pool='max'),
    dict(global_pool='catavgmax'), dict(output_stride=16), dict(output_stride=8), dict(act_layer='silu'),
    dict(drop_rate=0.1, drop_path_rate=0.2), dict(zero_init_last=False),
]
STAGE = dict(in_chs=16, out_chs=24, stride=2, dilation=1, depth=2)


@pytest.mark.in_turn
@pytest.mark.parametrize('options', OPTIONS, ids=str)
@pytest.mark.parametrize('name', NETWORKS)
def test_options_equal_timms(name, options):
    ours, theirs = compare_options(name, **NETWORKS[name] | options)
    rates = [[getattr(block.drop_path, 'drop_prob', 0) for stage in m.stages for block in stage.blocks] for m in (ours, theirs)]
    assert rates[0] == pytest.approx(rates[1])


@pytest.mark.in_turn
@pytest.mark.parametrize('name', ['cspresnet50d', 'darknet53', 'cs3sedarknet_xdw', 'darknetaa53'])
def test_filters_in_place_of_strides_equal_timms(name):
    compare_options(name, timms=dict(aa_layer=timm.layers.BlurPool2d), aa_layer='blur')


@pytest.mark.in_turn
@pytest.mark.parametrize('name', ['cspresnet50', 'darknetaa53', 'cs3se_edgenet_x', 'darknet17'])
def test_maps_of_odd_sizes_equal_timms(name):
    image = torch.rand(1, 3, 93, 70, dtype=torch.float64)
    maps = [m.eval().forward_intermediates(image, intermediates_only=True) for m in pair(name, torch.float64)]
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(*maps, strict=True))


def test_a_stem_of_even_kernels_rounds_sizes_up():
    ours, theirs = pair('cs3darknet_focus_s', torch.float64)
    image = torch.rand(1, 3, 94, 70, dtype=torch.float64)
    maps = [m.eval().forward_intermediates(image[..., :93, :], intermediates_only=True) for m in (ours, theirs)]
    assert [m.shape[2] for m in maps[0]] == [47, 24, 12, 6, 3] and maps[1][0].shape[2] == 46       # timm's drops a row
    with torch.no_grad():                                          # as of an image with a row of zeros
        image[..., 93:, :] = 0
        assert relative_error(maps[0][0], theirs.forward_intermediates(image, indices=[0], intermediates_only=True)[0]) < 1e-6


@pytest.mark.parametrize('name, options', [
    ('BottleneckBlock', {}), ('BottleneckBlock', dict(attn_layer='se', attn_last=True, groups=2)),
    ('BottleneckBlock', dict(attn_layer='eca', dilation=2)),
    ('DarkBlock', {}), ('DarkBlock', dict(attn_layer='se', groups=2, dilation=2)),
    ('EdgeBlock', {}), ('EdgeBlock', dict(attn_layer='se', groups=2, dilation=2))])
def test_blocks_are_built_as_timms(name, options):
    compare_parts(name, dict(in_chs=16, out_chs=16, bottle_ratio=0.5) | options)


@pytest.mark.in_turn
@pytest.mark.parametrize('name', ['DarkStage', 'CrossStage', 'CrossStage3'])
@pytest.mark.parametrize('options', [{}, dict(stride=1), dict(dilation=2, stride=1, first_dilation=1), dict(avg_down=True, down_growth=True),
                                     dict(down_growth=True, cross_linear=True, expand_ratio=2.0, block_ratio=1.0)], ids=str)
def test_stages_are_built_as_timms(name, options):
    if name == 'CrossStage3' and options == dict(stride=1):
        options = dict(stride=2)                                                              # timm's fails without a stride
    if name == 'DarkStage':
        options = {key: value for key, value in options.items() if key in ('stride', 'dilation', 'avg_down', 'first_dilation')}
    compare_parts(name, STAGE | (dict(block_ratio=0.5) if name != 'DarkStage' else {}) | options)


def compare_parts(name, options):
    layers = dict(act_layer=torch.nn.ReLU, norm_layer=torch.nn.BatchNorm2d)
    attn = timm.layers.get_attn(options.get('attn_layer'))                                   # timm's takes classes alone
    ours = getattr(cspnet, name)(**options, **layers).double()
    theirs = getattr(theirs_module, name)(**options | (dict(attn_layer=attn) if attn else {}), **layers).double()
    ours.load_state_dict(randomize(theirs).state_dict())
    x = torch.rand(2, 16, 11, 9, dtype=torch.float64) - 0.5
    assert relative_error(ours(x.clone()), theirs(x.clone())) < 1e-5


def test_a_stem_without_pooling_strides_in_its_last_convolution():
    model = zoo.create_model('cspresnet50d', stem_pool=False, depth=(1, 1, 1, 1)).eval()
    assert model.feature_info[0] == dict(num_chs=32, reduction=2, module='stem.conv2', stage=0)
    assert [m.shape[-1] for m in model.forward_intermediates(torch.rand(1, 3, 64, 64), intermediates_only=True)] == [32, 16, 8, 4, 2]


def test_what_makes_no_such_network_is_said():
    with pytest.raises(ValueError, match="stage_type 'cs4' is not known.*'cs3'"):
        zoo.create_model('cspresnet50', stage_type='cs4')
    with pytest.raises(ValueError, match="block_type 'darks' is not known.*'dark'"):
        zoo.create_model('cspresnet50', block_type='darks')
    with pytest.raises(ValueError, match='stem_stride is 1, 2 or 4, not 3'):
        zoo.create_model('cspresnet50', stem_stride=3)
    with pytest.raises(ValueError, match='output_stride is 8, 16 or 32, not 4'):
        zoo.create_model('cspresnet50', output_stride=4)
    with pytest.raises(ValueError, match='groups 3'):
        zoo.create_model('cspresnet50', groups=(1, 1, 1))
    with pytest.raises(ValueError, match='expand_ratio is twice block_ratio, not 2.0 and 0.5'):
        zoo.create_model('cspresnet50', block_ratio=0.5)
    with pytest.raises(ValueError, match='block_ratio is 1, not 0.5'):
        zoo.create_model('darknet17', block_ratio=0.5)


def test_a_fresh_block_begins_as_its_shortcut():
    for name in ('darknet17', 'cspresnet50'):
        model = zoo.create_model(name).eval()
        block = model.stages[0].blocks[0]
        x = torch.rand(1, 64 if name == 'darknet17' else 128, 5, 5)
        with torch.no_grad():
            assert torch.equal(block(x), x)
