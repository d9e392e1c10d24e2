"""Dual path networks beside timm's: every option, blocks."""
from __future__ import annotations

import pytest
import timm.models.dpn as theirs_module
import torch
from beside_timm import compare_options
from conftest import randomize, relative_error

import zoo
from zoo.models import dpn

SMALL = dict(k_sec=(2, 1, 2, 1), inc_sec=(4, 8, 8, 16), k_r=16, groups=4, num_init_features=6)
OPTIONS = [
    {}, dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(in_chans=5), dict(global_pool='max'),
    dict(global_pool='catavgmax'), dict(drop_rate=0.1), dict(b=True), dict(small=False), dict(act_layer='silu'),
]


@pytest.mark.in_turn
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_options_equal_timms(options):
    ours, theirs = compare_options('dpn68', **SMALL | options)
    image = torch.rand(1, options.get('in_chans', 3), 93, 70, dtype=torch.float64)
    maps = [m.eval().forward_intermediates(image, intermediates_only=True) for m in (ours, theirs)]
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(*maps, strict=True))


@pytest.mark.parametrize('kind', ['normal', 'proj', 'down'])
@pytest.mark.parametrize('b', [True, False])
def test_blocks_are_built_as_timms(kind, b):
    options = dict(in_chs=20, num_1x1_a=8, num_3x3_b=8, num_1x1_c=16, inc=4, groups=2, block_type=kind, b=b)
    ours, theirs = (module.DualPathBlock(**options).double() for module in (dpn, theirs_module))
    ours.load_state_dict(randomize(theirs).state_dict())
    x = torch.rand(2, 20, 11, 9, dtype=torch.float64) - 0.5
    assert relative_error(ours(x), theirs(x)) < 1e-5


def test_a_pruned_network_ends_with_its_map():
    model = zoo.create_model('dpn68', num_classes=3, **SMALL).eval()
    x = torch.rand(1, 3, 64, 64)
    maps = model.forward_intermediates(x, intermediates_only=True)
    assert model.prune_intermediate_layers([2]) == [2]
    assert torch.equal(model.forward_features(x), maps[2])


def test_what_makes_no_such_network_is_said():
    with pytest.raises(ValueError, match='output_stride is 32, since .* not 16'):
        zoo.create_model('dpn68', output_stride=16)
    with pytest.raises(ValueError, match='inc_sec 4'):
        zoo.create_model('dpn68', k_sec=(1, 1, 1))
    with pytest.raises(ValueError, match="block_type 'up' is not known"):
        dpn.DualPathBlock(4, 4, 4, 4, 2, 1, 'up')
