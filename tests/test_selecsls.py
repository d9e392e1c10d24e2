"""SelecSLS beside timm's: every option, blocks, states of two maps."""
from __future__ import annotations

import pytest
import timm.models.selecsls as theirs_module
import torch
from beside_timm import compare_options
from conftest import randomize, relative_error

import zoo
from zoo.models import selecsls

OPTIONS = [{}, dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(in_chans=5),
           dict(global_pool='max'), dict(global_pool='catavgmax'), dict(drop_rate=0.1)]


@pytest.mark.in_turn
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_options_equal_timms(options):
    ours, theirs = compare_options('selecsls60b', **options)
    image = torch.rand(1, options.get('in_chans', 3), 93, 70, dtype=torch.float64)
    maps = [m.eval().forward_intermediates(image, intermediates_only=True) for m in (ours, theirs)]
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(*maps, strict=True))


@pytest.mark.parametrize('first', [True, False])
def test_blocks_are_built_as_timms(first):
    options = dict(in_chs=12, skip_chs=0 if first else 6, mid_chs=8, out_chs=10, is_first=first, stride=2 if first else 1)
    ours, theirs = (module.SelecSlsBlock(**options).double() for module in (selecsls, theirs_module))
    ours.load_state_dict(randomize(theirs).state_dict())
    given = [torch.rand(2, chans, 11, 9, dtype=torch.float64) for chans in (12, 6)]
    for mine, other in zip(ours(given), theirs(given), strict=True):
        assert relative_error(mine, other) < 1e-5


def test_a_pruned_network_ends_with_its_map():
    model = zoo.create_model('selecsls42b', num_classes=3).eval()
    x = torch.rand(1, 3, 64, 64)
    maps = model.forward_intermediates(x, intermediates_only=True)
    assert model.prune_intermediate_layers([2]) == [2]
    assert torch.equal(model.forward_features(x), maps[2])
    assert not any(name.startswith('head') for name, _ in model.named_parameters())


def test_what_makes_no_such_network_is_said():
    with pytest.raises(ValueError, match='mid_chs 3'):
        zoo.create_model('selecsls42', block_num=(1, 1))
    with pytest.raises(ValueError, match=r'four convolutions, not \[960, 1024\]'):
        zoo.create_model('selecsls42', head_chs=(960, 1024))
