"""VGG beside timm's: every option, its layers that were fully connected, any size of image."""
from __future__ import annotations

import pytest
import timm.layers
import timm.models.vgg as theirs_module
import torch
from beside_timm import compare_options
from conftest import randomize, relative_error

import zoo
from zoo.layers.std_conv import StdConv2d
from zoo.models import vgg

SMALL = dict(cfg=(8, 'M', 12, 12, 'M', 16, 'M', 16, 'M', 24, 'M'), mlp_ratio=1 / 32)
OPTIONS = [
    {}, dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(in_chans=5),
    dict(global_pool='max'), dict(global_pool='catavgmax'), dict(mlp_ratio=1 / 16), dict(drop_rate=0.5),
    dict(act_layer='silu'),
    dict(norm_layer='batchnorm2d'), dict(conv_layer=StdConv2d),
]
TIMMS = {'batchnorm2d': torch.nn.BatchNorm2d, StdConv2d: timm.layers.StdConv2d, 'silu': torch.nn.SiLU}


@pytest.mark.in_turn
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_options_equal_timms(options):
    given = SMALL | {key: TIMMS.get(value, value) for key, value in options.items()}
    ours, theirs = compare_options('vgg11', timms=given, **SMALL | options)
    image = torch.rand(1, options.get('in_chans', 3), 93, 70, dtype=torch.float64)
    maps = [m.eval().forward_intermediates(image, intermediates_only=True) for m in (ours, theirs)]
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(*maps, strict=True))


@pytest.mark.parametrize('size', [(5, 9), (7, 7), (3, 4), (8, 12)])
def test_small_maps_are_brought_to_the_kernel_as_timms_are(size):
    ours, theirs = (module.ConvMlp(6, 10, mlp_ratio=0.5, drop_rate=0.0).double() for module in (vgg, theirs_module))
    ours.load_state_dict(randomize(theirs).state_dict())
    x = torch.rand(2, 6, *size, dtype=torch.float64)
    assert relative_error(ours(x), theirs(x)) < 1e-6


def test_a_pruned_network_ends_with_its_map():
    model = zoo.create_model('vgg11', num_classes=3, **SMALL).eval()
    x = torch.rand(1, 3, 64, 64)
    maps = model.forward_intermediates(x, intermediates_only=True)
    assert model.prune_intermediate_layers([2]) == [2]
    assert torch.equal(model.forward_features(x), maps[2]) and torch.equal(model(x), maps[2])
    assert {name.split('.')[0] for name, _ in model.named_parameters()} == {'features'}


@pytest.mark.parametrize('cfg', [('M', 8, 'M'), (8, 8), (8, 'A', 'M'), (), (8, 0, 'M')], ids=str)
def test_what_is_no_such_network_is_said(cfg):
    with pytest.raises(ValueError, match="a number first and 'M' last"):
        zoo.create_model('vgg11', cfg=cfg)
