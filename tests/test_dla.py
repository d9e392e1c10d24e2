"""DLA beside timm's: every option, blocks, trees, images of odd sizes, which timm's cannot take."""
from __future__ import annotations

import pytest
import timm.models.dla as theirs_module
import torch
from beside_timm import compare_options
from conftest import randomize, relative_error

import zoo
from zoo.models import dla

SMALL = dict(levels=(1, 1, 1, 2, 3, 1), channels=(4, 8, 16, 16, 32, 64))
OPTIONS = [
    {}, dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(in_chans=5), dict(global_pool='max'),
    dict(global_pool='catavgmax'), dict(drop_rate=0.1), dict(shortcut_root=True), dict(cardinality=4, base_width=16),
    dict(block='basic'), dict(block='bottle2neck', base_width=28), dict(levels=(2, 2, 2, 1, 1, 2)),
]
BLOCKS = {'basic': theirs_module.DlaBasic, 'bottle2neck': theirs_module.DlaBottle2neck}


@pytest.mark.in_turn
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_options_equal_timms(options):
    given = SMALL | options | ({'block': BLOCKS[options['block']]} if 'block' in options else {})
    compare_options('dla60', size=(64, 96), timms=given, **SMALL | options)


@pytest.mark.parametrize('name', ['DlaBasic', 'DlaBottleneck', 'DlaBottle2neck'])
@pytest.mark.parametrize('stride', [1, 2])
def test_blocks_are_built_as_timms(name, stride):
    options = dict(inplanes=16, planes=16) if name == 'DlaBasic' else dict(inplanes=16, outplanes=16)
    if name == 'DlaBottle2neck':
        options |= dict(cardinality=1, base_width=28)
    ours, theirs = (getattr(module, name)(stride=stride, **options).double() for module in (dla, theirs_module))
    ours.load_state_dict(randomize(theirs).state_dict())
    x = torch.rand(2, 16, 12, 10, dtype=torch.float64) - 0.5
    shortcut = torch.rand(2, 16, 12 // stride, 10 // stride, dtype=torch.float64)
    assert relative_error(ours(x.clone(), shortcut), theirs(x.clone(), shortcut)) < 1e-5


def test_odd_sizes_are_taken_as_images_with_a_border_that_is_less_than_all_else():
    model = zoo.create_model('dla60', **SMALL).eval()
    maps = model.forward_intermediates(torch.rand(1, 3, 93, 70), intermediates_only=True)
    assert [m.shape[2:] for m in maps] == [(-(-93 // r), -(-70 // r)) for r in (1, 2, 4, 8, 16, 32)]


def test_projections_that_no_tree_uses_are_left_out_of_published_weights(tmp_path):
    model = zoo.create_model('dla60', **SMALL)
    state = model.state_dict()
    state |= {'level3.project.0.weight': torch.rand(16, 16, 1, 1), 'level4.tree2.project.1.bias': torch.rand(32)}
    torch.save(state, tmp_path / 'published.pth')
    other = zoo.create_model('dla60', checkpoint_path=tmp_path / 'published.pth', **SMALL)
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), other.state_dict().values(), strict=True))
    torch.save(state | {'nonsense.weight': torch.rand(1)}, tmp_path / 'other.pth')
    with pytest.raises(ValueError, match='nonsense'):
        zoo.create_model('dla60', checkpoint_path=tmp_path / 'other.pth', **SMALL)


def test_what_makes_no_such_network_is_said():
    with pytest.raises(ValueError, match='output_stride is 32, which .* not 16'):
        zoo.create_model('dla34', output_stride=16)
    with pytest.raises(ValueError, match='six entries each, not 5 and 6'):
        zoo.create_model('dla34', levels=(1, 1, 1, 1, 1))
    with pytest.raises(ValueError, match="block 'bottle' is not known.*'bottleneck'"):
        zoo.create_model('dla34', block='bottle')
    with pytest.raises(ValueError, match='A basic block has one group'):
        zoo.create_model('dla34', cardinality=4)
