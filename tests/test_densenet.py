"""DenseNet beside timm's: every option, its parts, the layers that save memory."""
from __future__ import annotations

import pytest
import timm.layers
import timm.models.densenet as theirs_module
import torch
from beside_timm import compare_options
from conftest import randomize, relative_error

import zoo
from zoo.models import densenet

SMALL = dict(growth_rate=8, block_config=(2, 1, 3, 2))
BLUR = dict(stem_type='deep', aa_layer='blur')
OPTIONS = [
    {}, dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(in_chans=5), dict(bn_size=2),
    dict(global_pool='max'), dict(global_pool='catavgmax'), dict(stem_type='deep'), dict(stem_type='deep_tiered'), BLUR,
    BLUR | dict(aa_stem_only=False), dict(act_layer='silu'), dict(drop_rate=0.1, proj_drop_rate=0.2),
    dict(memory_efficient=True), dict(block_config=(2, 2, 2)),
]


@pytest.mark.in_turn
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_options_equal_timms(options):
    given = SMALL | options | (dict(aa_layer=timm.layers.BlurPool2d) if 'aa_layer' in options else {})
    ours, theirs = compare_options('densenet121', timms=given, **SMALL | options)
    image = torch.rand(1, options.get('in_chans', 3), 93, 70, dtype=torch.float64)
    maps = [m.eval().forward_intermediates(image, intermediates_only=True) for m in (ours, theirs)]
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(*maps, strict=True))


@pytest.mark.parametrize('name, options', [
    ('DenseLayer', dict(num_input_features=12, growth_rate=4, bn_size=2)),
    ('DenseBlock', dict(num_layers=3, num_input_features=12, growth_rate=4, bn_size=2)),
    ('DenseTransition', dict(num_input_features=12, num_output_features=6))])
def test_parts_are_built_as_timms(name, options):
    ours, theirs = (getattr(module, name)(**options).double() for module in (densenet, theirs_module))
    ours.load_state_dict(randomize(theirs).state_dict())
    x = torch.rand(2, 12, 11, 9, dtype=torch.float64)
    assert relative_error(ours(x.clone()), theirs(x.clone())) < 1e-6


def test_layers_that_save_memory_give_the_same_gradients():
    plain, saving = (zoo.create_model('densenet121', memory_efficient=saves, growth_rate=8, block_config=(6, 8))
                     for saves in (False, True))
    saving.load_state_dict(randomize(plain).state_dict())
    x, kept = torch.rand(2, 3, 48, 48), []
    for model in (plain, saving):
        count = []
        with torch.autograd.graph.saved_tensors_hooks(lambda t: count.append(t.numel()) or t, lambda t: t):
            loss = model.train()(x).square().mean()
        loss.backward()
        kept.append(sum(count))
    assert kept[1] < 0.8 * kept[0]
    for a, b in zip(plain.parameters(), saving.parameters(), strict=True):
        assert relative_error(a.grad, b.grad) < 1e-4


def test_a_stem_that_is_not_known_is_said():
    with pytest.raises(ValueError, match="stem_type 'deeep'.*'deep'"):
        zoo.create_model('densenet121', stem_type='deeep')
