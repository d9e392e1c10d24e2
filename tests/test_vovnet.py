"""VoVNet beside timm's: every option, blocks, maps of odd sizes."""
from __future__ import annotations

from functools import partial

import pytest
import timm.layers
import timm.models.vovnet as theirs_module
import torch
from beside_timm import compare_options
from conftest import randomize, relative_error

import zoo
from zoo.models import vovnet

SMALL = dict(stem_chs=(8, 8, 12), stage_conv_chs=(8, 10, 12, 14), stage_out_chs=(16, 24, 32, 40), layer_per_block=2)
OPTIONS = [
    {}, dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(in_chans=5), dict(global_pool='max'),
    dict(global_pool='catavgmax'), dict(residual=False), dict(attn=''), dict(attn='eca'), dict(attn='se'),
    dict(depthwise=True, block_per_stage=(1,) * 4), dict(depthwise=True, residual=False, stage_conv_chs=(12, 16, 24, 32)),
    dict(block_per_stage=(1, 2, 1, 3)),
    dict(act_layer='silu'), dict(norm_layer='evonorms0', stem_chs=(32, 32, 32), stage_conv_chs=(32,) * 4,
                                 stage_out_chs=(32, 64, 64, 96)),
    dict(drop_rate=0.1, drop_path_rate=0.2),
]
TIMMS = {'evonorms0': timm.layers.EvoNorm2dS0, 'silu': torch.nn.SiLU}


@pytest.mark.in_turn
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_options_equal_timms(options):
    given = SMALL | {key: TIMMS.get(value, value) if isinstance(value, str) else value for key, value in options.items()}
    ours, theirs = compare_options('ese_vovnet39b', timms=given, **SMALL | options)
    rates = [[getattr(block.drop_path, 'drop_prob', 0) for stage in m.stages for block in stage.blocks] for m in (ours, theirs)]
    assert rates[0] == pytest.approx(rates[1])
    image = torch.rand(1, options.get('in_chans', 3), 93, 70, dtype=torch.float64)
    maps = [m.eval().forward_intermediates(image, intermediates_only=True) for m in (ours, theirs)]
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(*maps, strict=True))


@pytest.mark.parametrize('name, options', [
    ('OsaBlock', dict(in_chs=12, mid_chs=8, out_chs=12, layer_per_block=2, residual=True)),
    ('OsaBlock', dict(in_chs=12, mid_chs=8, out_chs=16, layer_per_block=2, depthwise=True, attn='ese')),
    ('OsaStage', dict(in_chs=12, mid_chs=8, out_chs=16, block_per_stage=2, layer_per_block=2)),
    ('OsaStage', dict(in_chs=12, mid_chs=8, out_chs=16, block_per_stage=2, layer_per_block=2, downsample=False))])
def test_blocks_are_built_as_timms(name, options):
    ours, theirs = (partial(getattr(module, name), **options)().double() for module in (vovnet, theirs_module))
    ours.load_state_dict(randomize(theirs).state_dict())
    x = torch.rand(2, 12, 11, 9, dtype=torch.float64) - 0.5
    assert relative_error(ours(x.clone()), theirs(x.clone())) < 1e-5


def test_what_makes_no_such_network_is_said():
    with pytest.raises(ValueError, match='output_stride is 32, since VoVNet pools .* not 16'):
        zoo.create_model('vovnet39a', output_stride=16)
    with pytest.raises(ValueError, match='block_per_stage 3'):
        zoo.create_model('vovnet39a', block_per_stage=(1, 1, 1))
