"""HRNet beside timm's: its options, maps from one stage, sizes that timm's takes none of, and what a backbone keeps."""
from __future__ import annotations

import copy

import pytest
import timm
import torch
from beside_timm import compare_options, on_meta, pair
from conftest import randomize, relative_error
from torch import nn
from torch.export import Dim

import zoo
from zoo.models.hrnet import HighResolutionModule

SMALL = 'hrnet_w18_small'
NARROW = dict(width=4, first_width=4, num_modules=(1, 2, 1), num_blocks=(1, 1, 1, 1))
OPTIONS = [
    dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(in_chans=5),
    dict(global_pool='max'), dict(global_pool='avgmax'), dict(global_pool='catavgmax'),
    dict(head_conv_bias=False), dict(output_stride=32, head='classification'), dict(drop_rate=0.3),
]


def narrow_stages() -> dict[str, object]:
    """`NARROW` as timm spells it."""
    return {f'stage{n}': dict(
        num_modules=(1, 1, 2, 1)[n - 1], num_branches=n, block_type='BASIC' if n > 1 else 'BOTTLENECK',
        num_blocks=(1,) * n, num_channels=tuple(4 * 2 ** i for i in range(n)), fuse_method='SUM') for n in (1, 2, 3, 4)}


@pytest.fixture(scope='module')
def narrow() -> nn.Module:
    return randomize(zoo.create_model(SMALL, num_classes=3, **NARROW)).eval()


@pytest.mark.in_turn
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_options_equal_timms(options):
    ours, theirs = compare_options(SMALL, (64, 96), {**narrow_stages(), **options}, **NARROW, **options)
    assert ours.drop_rate == theirs.head_drop.p


@torch.inference_mode()
def test_stem_width_equals_timms():
    ours, theirs = pair(SMALL, timms=dict(stem_width=24, **narrow_stages()), stem_width=24, **NARROW)
    x = torch.rand(1, 3, 64, 64)
    assert relative_error(ours.eval()(x), theirs.eval()(x)) < 1e-5
    stem, = ours.forward_intermediates(x, [0], intermediates_only=True)
    assert ours.feature_info[0]['num_chs'] == stem.shape[1] == 24


def test_gradients_and_statistics_equal_timms():
    ours, theirs = pair(SMALL, torch.float64, dict(num_classes=4, **narrow_stages()), num_classes=4, **NARROW)
    x, gradients = torch.rand(3, 3, 64, 96, dtype=torch.float64), []
    for model in (ours, theirs):
        model.train()(x).square().sum().backward()
        gradients.append({key: p.grad.clone() for key, p in model.named_parameters()})
        for p in model.parameters():
            p.grad = None
    assert gradients[0].keys() == gradients[1].keys()
    assert all(relative_error(gradients[0][key], gradients[1][key]) < 1e-5 for key in gradients[0])
    buffers = dict(theirs.named_buffers())
    assert all(torch.allclose(value, buffers[key]) for key, value in ours.named_buffers())


@pytest.mark.parametrize('feature_location', ['incre', ''])
@torch.inference_mode()
def test_backbones_equal_timms(feature_location):
    options = dict(features_only=True, feature_location=feature_location)
    theirs = randomize(timm.create_model(SMALL, **options, **narrow_stages())).eval()
    ours = zoo.create_model(SMALL, **options, **NARROW).eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(2, 3, 64, 96)
    assert all(torch.equal(a, b) for a, b in zip(ours(x), theirs(x), strict=True))
    for method in ('channels', 'reduction', 'module_name'):
        assert getattr(ours.feature_info, method)() == getattr(theirs.feature_info, method)()
    assert timm.create_model(SMALL, **options, out_indices=(3, 1)).feature_info.out_indices == (3, 1)
    assert ours.state_dict().keys() <= on_meta(SMALL, **NARROW).state_dict().keys()


@torch.inference_mode()
def test_maps_of_either_place_come_out_of_one_network(narrow):
    x = torch.rand(1, 3, 64, 64)
    raw = zoo.create_model(SMALL, num_classes=3, feature_location='', **NARROW).eval()
    raw.load_state_dict(narrow.state_dict())
    assert torch.equal(raw(x), narrow(x))
    features, maps = raw.forward_intermediates(x)
    assert [m.shape[1] for m in maps] == [64, 4, 8, 16, 32] and torch.equal(raw.forward_head(features), raw(x))
    widened = [module(m) for module, m in zip(raw.incre_modules, maps[1:], strict=True)]
    assert all(torch.equal(a, b) for a, b in zip(widened, narrow.forward_intermediates(x, 4, intermediates_only=True)))


@torch.inference_mode()
def test_maps_of_any_size(narrow):
    for size in ((65, 97), (227, 301), (33, 70), (1, 1)):
        features, maps = narrow.forward_intermediates(torch.rand(1, 3, *size))
        assert [tuple(m.shape[2:]) for m in maps] == [
            tuple(-(-side // reduction) for side in size) for reduction in (2, 4, 8, 16, 32)]
        assert features.shape[2:] == maps[-1].shape[2:] and narrow(torch.rand(2, 3, *size)).isfinite().all()


@torch.inference_mode()
def test_coarse_maps_lie_over_the_pixels_that_they_come_from():
    module = HighResolutionModule(4, 'basic', (1,) * 4, (2, 4, 8, 16), (2, 4, 8, 16))
    randomize(module).eval()
    whole = [torch.zeros(1, 2 * 2 ** n, 64 // 2 ** n, 64 // 2 ** n) for n in range(4)]
    for x in whole:
        x.normal_(generator=torch.Generator().manual_seed(1))
    cut = [x[:, :, :-(-57 // 2 ** n), :-(-50 // 2 ** n)] for n, x in enumerate(whole)]
    module.branches = nn.Identity()                                          # the exchange alone
    finest = [module(maps)[0] for maps in (whole, cut)]
    assert torch.equal(finest[0][:, :, :57, :50], finest[1])


@pytest.mark.parametrize('out_indices', [(0,), (1,), (4, 1), (2, 3), (-1, 0), (0, 1, 2, 3, 4)], ids=str)
def test_backbones_keep_what_their_maps_are_made_of(narrow, out_indices):
    backbone = zoo.create_model(SMALL, features_only=True, out_indices=out_indices, **NARROW)
    state, x = narrow.state_dict(), torch.rand(1, 3, 65, 50)
    backbone.load_state_dict({key: state[key] for key in backbone.state_dict()})
    maps = backbone.eval()(x)
    expected = narrow.forward_intermediates(x, list(out_indices), intermediates_only=True)
    assert all(torch.equal(a, b) for a, b in zip(maps, expected, strict=True))
    sum(m.square().sum() for m in maps).backward()
    assert all(p.grad is not None for p in backbone.parameters())
    stem_only = out_indices == (0,)
    assert stem_only == (not any(key.startswith('conv2') for key in backbone.state_dict()))
    parts = {index % 5 - 1 for index in out_indices} - {-1}
    assert {int(key.split('.')[1]) for key in backbone.state_dict() if key.startswith('incre')} == parts
    backbone.return_layers = {'stage4': 'coarse', 'stage1': 'fine', 'stem': 'first'}
    left = [name for name, index in (('coarse', 4), ('fine', 1), ('first', 0)) if index in {0, *(p + 1 for p in parts)}]
    assert backbone.names == left and len(backbone(x)) == len(left)


def test_pruned_networks_are_as_they_say(narrow):
    x = torch.rand(1, 3, 64, 50)
    expected = narrow.forward_intermediates(x, intermediates_only=True)
    for indices in ([0], [2, 1], [3], 1):
        pruned = copy.deepcopy(narrow)
        last = max(pruned.prune_intermediate_layers(indices))
        maps = pruned.forward_intermediates(x, intermediates_only=True)
        assert len(maps) == last + 1 and all(torch.equal(a, b) for a, b in zip(maps, expected))
        assert torch.equal(pruned(x), maps[-1]) and pruned.num_features == maps[-1].shape[1]
        with pytest.raises(ValueError, match=f'0 to {last} '):
            pruned.forward_intermediates(x, [last + 1])
        pruned.reset_classifier(3, 'avg')
        assert pruned(x).shape == (1, 3)
    whole = copy.deepcopy(narrow)
    whole.prune_intermediate_layers(1, prune_head=False)
    assert torch.equal(whole(x), narrow(x))


@pytest.mark.parametrize('kind', ['basic', 'bottleneck'])
@torch.inference_mode()
def test_modules_equal_timms(kind):
    from timm.models import hrnet, resnet
    block = {'basic': resnet.BasicBlock, 'bottleneck': resnet.Bottleneck}[kind]
    x = [torch.rand(1, 8 * 2 ** n, 32 // 2 ** n, 16 // 2 ** n) for n in range(3)]
    for branches, several in ((3, True), (3, False), (1, True)):
        given = (branches, (1, 2, 1)[:branches], [8, 16, 32][:branches], (8, 4, 8)[:branches], 'SUM', several)
        ours = HighResolutionModule(given[0], kind, *given[1:]).eval()
        theirs = randomize(hrnet.HighResolutionModule(given[0], block, *given[1:])).eval()    # it changes the list
        ours.load_state_dict(theirs.state_dict())
        maps = [module([m.clone() for m in x[:branches]]) for module in (ours, theirs)]
        assert all(torch.equal(a, b) for a, b in zip(*maps, strict=True))


def test_hidden_states_are_maps_of_four_resolutions(narrow):
    x = torch.rand(1, 3, 64, 64)
    outputs = zoo.forward_outputs(narrow, x, output_hidden_states=True)
    maps = narrow.forward_intermediates(x, intermediates_only=True)
    assert all(torch.equal(a, b) for a, b in zip(outputs.hidden_states, maps, strict=True))
    assert torch.equal(outputs.logits, narrow(x))


@pytest.mark.parametrize(('options', 'words'), [
    (dict(output_stride=16), 'output_stride is 32, .*not 16'), (dict(num_modules=(1, 1)), 'not 2 and 4'),
    (dict(num_blocks=(1, 1)), 'not 3 and 2'), (dict(feature_location='inrce'), "feature_location 'inrce'.*'incre'"),
    (dict(head='incre'), "head is 'classification', not 'incre'.*features_only=True"),
], ids=str)
def test_what_does_not_fit_is_said(options, words):
    with pytest.raises(ValueError, match=words):
        on_meta(SMALL, **options)
    with pytest.raises(ValueError, match="fuse_method is 'SUM'"):
        HighResolutionModule(1, 'basic', (1,), (8,), (8,), 'CAT')
    with pytest.raises(ValueError, match='one entry for each of 2 branches, not 1, 2 and 2'):
        HighResolutionModule(2, 'basic', (1,), (8, 16), (8, 16))


@pytest.mark.sweep
def test_compiles_and_traces(narrow):
    x, other = torch.rand(2, 3, 64, 96), torch.rand(1, 3, 75, 90)
    torch._dynamo.reset()
    assert torch.allclose(torch.compile(narrow, fullgraph=True, backend='eager')(x), narrow(x))
    assert torch.equal(torch.fx.symbolic_trace(narrow)(other), narrow(other))


@pytest.mark.sweep
def test_exports_with_any_height_and_width(narrow):
    sides = {0: Dim('batch'), 2: Dim('height', min=33, max=1024), 3: Dim('width', min=33, max=1024)}
    program = torch.export.export(narrow, (torch.rand(2, 3, 64, 96),), dynamic_shapes=(sides,)).module()
    for size in ((1, 3, 227, 301), (3, 3, 75, 90)):
        x = torch.rand(size)
        assert relative_error(program(x), narrow(x)) < 1e-5


def test_gradient_checkpointing_changes_nothing(narrow):
    x, gradients = torch.rand(2, 3, 64, 50), []
    model = copy.deepcopy(narrow).train()
    for enable in (False, True):
        model.zero_grad()
        model.set_grad_checkpointing(enable)
        model(x).square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.allclose(a, b, rtol=1e-4, atol=1e-6) for a, b in zip(*gradients, strict=True))
