"""PP-HGNet beside timm's: every option, blocks, stems."""
from __future__ import annotations

import pytest
import timm.models.hgnet as theirs_module
import torch
from beside_timm import compare_options
from conftest import randomize, relative_error

import zoo
from zoo.models import hgnet

OPTIONS = [
    dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(in_chans=5), dict(global_pool='max'),
    dict(use_lab=False), dict(head_hidden_size=None), dict(head_hidden_size=64),
    dict(drop_rate=0.1, drop_path_rate=0.2),
]


@pytest.mark.in_turn
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_options_equal_timms(options):
    ours, theirs = compare_options('hgnetv2_b0', **options)
    rates = [[getattr(block.drop_path, 'drop_prob', 0) for stage in m.stages for block in stage.blocks] for m in (ours, theirs)]
    assert rates[0] == pytest.approx(rates[1])
    image = torch.rand(1, options.get('in_chans', 3), 93, 70, dtype=torch.float64)
    maps = [m.eval().forward_intermediates(image, intermediates_only=True) for m in (ours, theirs)]
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(*maps, strict=True))


@pytest.mark.parametrize('name, options', [
    ('HighPerfGpuBlock', dict(in_chs=12, mid_chs=8, out_chs=12, layer_num=2, residual=True)),
    ('HighPerfGpuBlock', dict(in_chs=12, mid_chs=8, out_chs=16, layer_num=2, agg='se', use_lab=True)),
    ('HighPerfGpuBlock', dict(in_chs=12, mid_chs=8, out_chs=16, layer_num=2, light_block=True, kernel_size=5)),
    ('HighPerfGpuStage', dict(in_chs=12, mid_chs=8, out_chs=16, block_num=2, layer_num=2)),
    ('HighPerfGpuStage', dict(in_chs=12, mid_chs=8, out_chs=16, block_num=2, layer_num=2, downsample=False)),
    ('StemV1', dict(stem_chs=[12, 8, 8, 16])), ('StemV2', dict(in_chs=12, mid_chs=8, out_chs=16, use_lab=True)),
    ('ConvBNAct', dict(in_chs=12, out_chs=8, kernel_size=3, use_act=False, use_lab=True))])
def test_blocks_are_built_as_timms(name, options):
    ours, theirs = (getattr(module, name)(**options).double() for module in (hgnet, theirs_module))
    ours.load_state_dict(randomize(theirs).state_dict())
    x = torch.rand(2, 12, 11, 9, dtype=torch.float64) - 0.5
    assert relative_error(ours(x.clone()), theirs(x.clone())) < 1e-5


def test_pooling_that_the_last_convolution_does_not_take_is_said():
    model = zoo.create_model('hgnetv2_b0')
    with pytest.raises(ValueError, match="other pooling than global_pool='catavgmax'"):
        model.reset_classifier(5, 'catavgmax')
    model.reset_classifier(5, 'max')
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 5)
    model = zoo.create_model('hgnetv2_b0', num_classes=5, global_pool='catavgmax')          # timm's takes no such pooling
    assert model.head.last_conv[0].in_channels == 2 * model.num_features
    assert model(torch.rand(2, 3, 64, 64)).shape == (2, 5)


def test_what_makes_no_such_network_is_said():
    with pytest.raises(ValueError, match="stem_type 'v3' is not known"):
        zoo.create_model('hgnetv2_b0', stem_type='v3')
    with pytest.raises(ValueError, match=r"The stem 'v1' has 3 stem_chs, not \[16, 16\]"):
        zoo.create_model('hgnetv2_b0', stem_type='v1')
    with pytest.raises(ValueError, match='block_num 3'):
        zoo.create_model('hgnetv2_b0', block_num=(1, 1, 1))
