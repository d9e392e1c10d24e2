"""RegNet beside timm's: every option, blocks, widths, the rules of its formula."""
from __future__ import annotations

from functools import partial

import pytest
import timm.layers
import timm.models.regnet as theirs_module
import torch
from beside_timm import compare_options
from conftest import randomize, relative_error

import zoo
from zoo.models import regnet

SMALL = dict(depth=6, w0=16, wa=16.0, wm=2.0, group_size=8)                 # stages of 16, 32, 64 and 96 channels
OPTIONS = [
    dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(in_chans=5), dict(global_pool='max'),
    dict(global_pool='catavgmax'), dict(output_stride=8), dict(output_stride=16), dict(output_stride=8, downsample='avg'),
    dict(se_ratio=0.25), dict(bottle_ratio=4.0, group_size=4), dict(bottle_ratio=0.5, group_min_ratio=0.9),
    dict(linear_out=True), dict(downsample=None), dict(downsample='avg'), dict(downsample=''), dict(preact=True),
    dict(preact=True, se_ratio=0.25, output_stride=8), dict(preact=True, downsample='avg'), dict(preact=True, downsample=None),
    dict(num_features=48), dict(preact=True, num_features=48), dict(stem_width=24), dict(act_layer='silu', se_ratio=0.5),
    dict(drop_rate=0.1, drop_path_rate=0.2), dict(zero_init_last=False), dict(group_size=12, group_min_ratio=0.9),
]


@pytest.mark.in_turn
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_options_equal_timms(options):
    ours, theirs = compare_options('regnetx_002', **SMALL | options)
    rates = [[getattr(block.drop_path, 'drop_prob', 0) for name in ('s1', 's2', 's3', 's4') for block in
              getattr(m, name).children()] for m in (ours, theirs)]
    assert rates[0] == pytest.approx(rates[1])
    image = torch.rand(1, options.get('in_chans', 3), 93, 70, dtype=torch.float64)
    maps = [m.eval().forward_intermediates(image, intermediates_only=True) for m in (ours, theirs)]
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(*maps, strict=True))


def test_normalisation_of_groups_equals_timms():
    theirs = partial(timm.layers.GroupNormAct, group_size=8)
    compare_options('regnety_002', timms=SMALL | dict(norm_layer=theirs), norm_layer='groupnorm',
                    norm_kwargs=dict(group_size=8), **SMALL)


@pytest.mark.in_turn
@pytest.mark.parametrize('name', ['Bottleneck', 'PreBottleneck', 'RegStage'])
@pytest.mark.parametrize('options', [{}, dict(stride=2), dict(stride=2, downsample='avg'), dict(linear_out=True)], ids=str)
def test_blocks_are_built_as_timms(name, options):
    given = dict(in_chs=32, out_chs=48, group_size=8, bottle_ratio=1) | options
    if name == 'RegStage':
        given = dict(stride=1, dilation=2, depth=2) | given
    ours, theirs = (getattr(module, name)(**given).double() for module in (regnet, theirs_module))
    ours.load_state_dict(randomize(theirs).state_dict())
    x = torch.rand(2, 32, 11, 9, dtype=torch.float64) - 0.5
    assert relative_error(ours(x.clone()), theirs(x.clone())) < 1e-5


@pytest.mark.parametrize('depth, w0, wa, wm', [(13, 24, 36.44, 2.49), (27, 640, 230.83, 2.53), (8, 8, 8.0, 1.5)])
def test_widths_are_timms(depth, w0, wa, wm):
    widths, depths = regnet.generate_regnet(wa, w0, wm, depth)
    theirs, stages, _ = theirs_module.generate_regnet(wa, w0, wm, depth, 8)
    assert len(widths) == stages and [w for w, n in zip(widths, depths) for _ in range(n)] == list(theirs)


def test_what_makes_no_such_network_is_said():
    with pytest.raises(ValueError, match=r'stages of \[24\] channels, 1 of them and not 4'):
        zoo.create_model('regnetx_002', depth=1)
    with pytest.raises(ValueError, match='wm more than 1, not 36.44, 24 and 0.5'):
        zoo.create_model('regnetx_002', wm=0.5)
    with pytest.raises(ValueError, match='w0 a positive multiple of 8'):
        zoo.create_model('regnetx_002', w0=20)
    with pytest.raises(ValueError, match="downsample 'avgpool'.*avg"):
        zoo.create_model('regnetx_002', downsample='avgpool')
    with pytest.raises(ValueError, match='output_stride is 8, 16 or 32, not 4'):
        zoo.create_model('regnetx_002', output_stride=4)


def test_a_fresh_block_begins_as_its_shortcut():
    for options in ({}, dict(preact=True)):
        model = zoo.create_model('regnety_002', **options).eval()
        x = torch.rand(1, 368, 5, 5)
        with torch.no_grad():
            block = model.s4.b2
            start = block.act1(block.norm1(x)) if options else x
            assert torch.equal(block(x), start)
