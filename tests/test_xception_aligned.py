"""Aligned Xception beside timm's: every option, blocks, maps inside of blocks."""
from __future__ import annotations

import pytest
import timm.models.xception_aligned as theirs_module
import torch
from beside_timm import compare_options
from conftest import randomize, relative_error

import zoo
from zoo.models import xception_aligned

CFG = (dict(in_chs=64, out_chs=16, stride=2), dict(in_chs=16, out_chs=16, stride=1), dict(in_chs=16, out_chs=24, stride=2),
       dict(in_chs=24, out_chs=(24, 32, 32), stride=2), dict(in_chs=32, out_chs=(32, 40, 48), stride=2),
       dict(in_chs=48, out_chs=48, stride=1, no_skip=True))
OPTIONS = [
    {}, dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(in_chans=5), dict(global_pool='max'),
    dict(global_pool='catavgmax'), dict(act_layer='silu'), dict(output_stride=16), dict(output_stride=8),
    dict(drop_rate=0.1, drop_path_rate=0.2),
]


@pytest.mark.in_turn
@pytest.mark.parametrize('options', OPTIONS, ids=str)
@pytest.mark.parametrize('name', ['xception41', 'xception65p'])
def test_options_equal_timms(name, options):
    given = dict(block_cfg=CFG) | options
    timms = given | {'block_cfg': [dict(one) for one in CFG]} | (dict(act_layer=torch.nn.SiLU) if 'act_layer' in options else {})
    ours, theirs = compare_options(name, timms=timms, **given)
    rates = [[getattr(block.drop_path, 'drop_prob', 0) for block in m.blocks] for m in (ours, theirs)]
    assert rates[0] == pytest.approx(rates[1])
    image = torch.rand(1, options.get('in_chans', 3), 93, 70, dtype=torch.float64)
    maps = [m.eval().forward_intermediates(image, intermediates_only=True) for m in (ours, theirs)]
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(*maps, strict=True))


@pytest.mark.parametrize('name, options', [
    ('XceptionModule', dict(stride=2)), ('XceptionModule', dict(no_skip=True, start_with_relu=False)), ('XceptionModule', {}),
    ('PreXceptionModule', dict(stride=2)), ('PreXceptionModule', dict(no_skip=True, out_chs=(12, 16, 16)))])
def test_blocks_are_built_as_timms(name, options):
    options = dict(in_chs=12, out_chs=12, norm_layer=torch.nn.BatchNorm2d) | options
    ours, theirs = (getattr(module, name)(**options).double() for module in (xception_aligned, theirs_module))
    ours.load_state_dict(randomize(theirs).state_dict())
    x = torch.rand(2, 12, 11, 9, dtype=torch.float64) - 0.5
    assert relative_error(ours(x.clone()), theirs(x.clone())) < 1e-5


@pytest.mark.parametrize('name', ['xception41', 'xception65p'])
def test_a_pruned_network_ends_with_its_map_and_has_nothing_after_it(name):
    model = zoo.create_model(name, block_cfg=CFG, num_classes=3).eval()
    x = torch.rand(1, 3, 64, 64)
    maps = model.forward_intermediates(x, intermediates_only=True)
    assert model.prune_intermediate_layers([1]) == [1]
    assert relative_error(model.forward_features(x), maps[1]) < 1e-6
    model.train()(x).sum().backward()
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_what_makes_no_such_network_is_said():
    with pytest.raises(ValueError, match='output_stride is 8, 16 or 32, not 4'):
        zoo.create_model('xception41', output_stride=4)
    with pytest.raises(ValueError, match="Field of block_cfg 'strides' is not known.*'stride'"):
        zoo.create_model('xception41', block_cfg=[dict(in_chs=64, out_chs=8, strides=2)])
    with pytest.raises(ValueError, match='the 64 channels of what comes before it.*in_chs=32'):
        zoo.create_model('xception41', block_cfg=[dict(in_chs=32, out_chs=8, stride=2)])
