"""TResNet beside timm's: every option, blocks, images of odd sizes, which timm's cannot take."""
from __future__ import annotations

import pytest
import timm.models.tresnet as theirs_module
import torch
from beside_timm import compare_options
from conftest import randomize, relative_error

import zoo
from zoo.models import tresnet

SMALL = dict(layers=(2, 1, 2, 1), width_factor=0.25)
OPTIONS = [
    {}, dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(in_chans=5), dict(global_pool='max'),
    dict(global_pool='catavgmax'), dict(v2=True), dict(width_factor=0.3), dict(v2=True, width_factor=0.3),
    dict(drop_rate=0.1, drop_path_rate=0.2),
]


@pytest.mark.in_turn
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_options_equal_timms(options):
    ours, theirs = compare_options('tresnet_m', size=(64, 96), **SMALL | options)
    rates = [[getattr(block.drop_path, 'drop_prob', 0) for number in range(1, 5) for block in
              m.body.get_submodule(f'layer{number}')] for m in (ours, theirs)]
    assert rates[0] == pytest.approx(rates[1])


@pytest.mark.parametrize('name, options', [
    ('BasicBlock', {}), ('BasicBlock', dict(use_se=False)), ('Bottleneck', dict(planes=3)),
    ('Bottleneck', dict(planes=3, use_se=False))])
def test_blocks_are_built_as_timms(name, options):
    options = dict(inplanes=12, planes=12) | options
    ours = getattr(tresnet, name)(**options).double()
    theirs = getattr(theirs_module, name)(**options).double()
    ours.load_state_dict(randomize(theirs).state_dict())
    x = torch.rand(2, 12, 11, 9, dtype=torch.float64) - 0.5
    assert relative_error(ours(x.clone()), theirs(x.clone())) < 1e-5


def test_odd_sizes_are_taken():
    model = zoo.create_model('tresnet_m', **SMALL).eval()
    maps = model.forward_intermediates(torch.rand(1, 3, 93, 70), intermediates_only=True)
    assert [m.shape[2:] for m in maps] == [(-(-93 // r), -(-70 // r)) for r in (4, 4, 8, 16, 32)]


def test_what_makes_no_such_network_is_said():
    with pytest.raises(ValueError, match=r'four stages, not \[1, 1\]'):
        zoo.create_model('tresnet_m', layers=(1, 1))
