"""Xception beside timm's: every option, blocks, maps of any size."""
from __future__ import annotations

import importlib

import pytest
import torch
from beside_timm import compare_options
from conftest import randomize, relative_error

import zoo
from zoo.models import xception

theirs_module = importlib.import_module('timm.models.xception')           # timm.models has a function of that name

OPTIONS = [{}, dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(in_chans=5),
           dict(global_pool='max'), dict(global_pool='catavgmax'), dict(drop_rate=0.1)]


@pytest.mark.in_turn
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_options_equal_timms(options):
    ours, theirs = compare_options('legacy_xception', **options)
    image = torch.rand(1, options.get('in_chans', 3), 93, 70, dtype=torch.float64)
    maps = [m.eval().forward_intermediates(image, intermediates_only=True) for m in (ours, theirs)]
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(*maps, strict=True))


@pytest.mark.parametrize('options', [{}, dict(strides=2), dict(grow_first=False), dict(start_with_relu=False, out_channels=12)],
                         ids=str)
def test_blocks_are_built_as_timms(options):
    options = dict(in_channels=12, out_channels=16, reps=3) | options
    ours, theirs = (module.Block(**options).double() for module in (xception, theirs_module))
    ours.load_state_dict(randomize(theirs).state_dict())
    x = torch.rand(2, 12, 11, 9, dtype=torch.float64) - 0.5
    assert relative_error(ours(x.clone()), theirs(x.clone())) < 1e-5


def test_sizes_are_those_of_images_less_what_the_stem_leaves_out():
    model = zoo.create_model('legacy_xception', features_only=True).eval()
    for size in ((93, 70), (64, 65), (299, 96)):
        maps = model(torch.rand(1, 3, *size))
        assert [m.shape[2:] for m in maps] == model.feature_info.map_sizes(size)
    assert model.feature_info.get_dicts()[1]['rounding'] == 'ceil of 6 pixels less'


def test_a_pruned_network_ends_with_its_map():
    model = zoo.create_model('legacy_xception', num_classes=3).eval()
    x = torch.rand(1, 3, 64, 64)
    maps = model.forward_intermediates(x, intermediates_only=True)
    assert model.prune_intermediate_layers([2]) == [2]
    assert torch.equal(model.forward_features(x), maps[2])


@pytest.mark.parametrize('sizes', [(10, 11), (9, 12)])
def test_blocks_may_pool_as_in_tensorflow(sizes):
    block = randomize(xception.Block(8, 12, 2, 2, pad_type='same', norm_eps=1e-3)).eval()
    plain = xception.Block(8, 12, 2, 2, norm_eps=1e-3).eval()
    plain.load_state_dict(block.state_dict())
    plain.rep[-1] = torch.nn.Identity()
    x, skips = torch.rand(2, 8, *sizes), plain.skip.stride
    plain.skip.stride = (1, 1)
    with torch.no_grad():
        shortcut = plain.skipbn(plain.skip(x))[..., ::2, ::2]
        branch = plain(x) - plain.skipbn(plain.skip(x))
        branch = torch.nn.functional.pad(branch, (sizes[1] % 2, 1, sizes[0] % 2, 1), value=-9e9)
        assert skips == (2, 2)
        assert torch.allclose(block(x), torch.nn.functional.max_pool2d(branch, 3, 2) + shortcut, atol=1e-5)
    with pytest.raises(ValueError, match="'same'"):
        xception.Block(8, 12, 2, 2, pad_type='sane')
