"""CSPNeXt beside timm's: every option, blocks."""
from __future__ import annotations

import pytest
import timm.models.cspnext as theirs_module
import torch
from beside_timm import compare_options
from conftest import randomize, relative_error

import zoo
from zoo.models import cspnext

OPTIONS = [
    {}, dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(in_chans=5), dict(global_pool='max'),
    dict(global_pool='catavgmax'), dict(output_stride=8), dict(output_stride=16), dict(expand_ratio=0.25),
    dict(channel_attention=False), dict(act_layer='relu'), dict(drop_rate=0.1, drop_path_rate=0.2),
    dict(depths=(1, 2, 2, 1), channels=(32, 48, 64, 96)), dict(deepen_factor=0.5, widen_factor=0.25),
]


@pytest.mark.in_turn
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_options_equal_timms(options):
    ours, theirs = compare_options('cspnext_tiny', **options)
    rates = [[getattr(block.drop_path, 'drop_prob', 0) for stage in m.stages for block in stage[-1].blocks] for m in (ours, theirs)]
    assert rates[0] == pytest.approx(rates[1])
    image = torch.rand(1, options.get('in_chans', 3), 93, 70, dtype=torch.float64)
    maps = [m.eval().forward_intermediates(image, intermediates_only=True) for m in (ours, theirs)]
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(*maps, strict=True))


@pytest.mark.parametrize('name, options', [
    ('CspNextBlock', dict(dilation=2)), ('CspNextBlock', dict(add_identity=False, kernel_size=3)),
    ('CspNextLayer', dict(num_blocks=2, channel_attention=True)), ('SPPBottleneck', dict(kernel_sizes=(3, 5)))])
def test_blocks_are_built_as_timms(name, options):
    options = dict(in_channels=12, out_channels=12) | options
    ours, theirs = (getattr(module, name)(**options).double() for module in (cspnext, theirs_module))
    ours.load_state_dict(randomize(theirs).state_dict())
    x = torch.rand(2, 12, 11, 9, dtype=torch.float64) - 0.5
    assert relative_error(ours(x.clone()), theirs(x.clone())) < 1e-5


def test_what_makes_no_such_network_is_said():
    with pytest.raises(ValueError, match='output_stride is 8, 16 or 32, not 4'):
        zoo.create_model('cspnext_s', output_stride=4)
    with pytest.raises(ValueError, match='channels 4'):
        zoo.create_model('cspnext_s', depths=(1, 1, 1))
