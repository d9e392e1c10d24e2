"""ConvNeXt beside timm's: every option, maps at sizes that patches do not divide, weights of either form."""
from __future__ import annotations

import pytest
import torch
from beside_timm import compare_options, on_meta, pair
from conftest import randomize, relative_error
from torch.export import Dim

import zoo
from zoo.models.convnext import ConvNeXtBlock, ConvNeXtStage

SMALL = 'test_convnext'
OPTIONS = [
    dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(in_chans=5),
    dict(global_pool='max'), dict(global_pool='avgmax'), dict(output_stride=8), dict(output_stride=16),
    dict(kernel_sizes=(3, 5, 7, 9)), dict(kernel_sizes=5), dict(ls_init_value=None), dict(ls_init_value=0.5),
    dict(stem_type='overlap'), dict(stem_type='overlap_tiered'), dict(stem_type='overlap_act'), dict(patch_size=2),
    dict(head_norm_first=True), dict(head_norm_first=True, global_pool='catavgmax'), dict(head_hidden_size=20),
    dict(head_hidden_size=20, num_classes=0), dict(conv_mlp=True), dict(conv_mlp=True, use_grn=True), dict(use_grn=True),
    dict(conv_bias=False), dict(act_layer='silu'), dict(norm_layer='rmsnorm'), dict(norm_layer='simplenorm'),
    dict(norm_layer='rmsnorm2d', conv_mlp=True), dict(norm_eps=0.1), dict(depths=(1, 1, 1, 1)), dict(dims=(8, 16, 24, 32)),
    dict(drop_rate=0.1, drop_path_rate=0.2), dict(head_init_scale=0.1),
]


@pytest.mark.in_turn
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_options_equal_timms(options):
    ours, theirs = compare_options(SMALL, **options)
    rates = [[getattr(block.drop_path, 'drop_prob', 0) for stage in m.stages for block in stage.blocks]
             for m in (ours, theirs)]
    assert rates[0] == pytest.approx(rates[1])
    image = torch.rand(1, options.get('in_chans', 3), 93, 70, dtype=torch.float64)
    maps = [m.eval().forward_intermediates(image, intermediates_only=True) for m in (ours, theirs)]
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(*maps, strict=True))


@pytest.mark.parametrize('stem_type', ['patch', 'overlap', 'overlap_tiered', 'overlap_act'])
def test_maps_have_the_sizes_that_feature_info_says(stem_type):
    backbone = zoo.create_model(SMALL, features_only=True, stem_type=stem_type, out_indices=(3, 0, 2, 1)).eval()
    assert backbone.feature_info.get('rounding') == (
        ['floor'] * 4 if stem_type == 'patch' else ['ceil to 4, then floor', 'ceil'] + ['ceil to 4, then floor'] * 2)
    for size in ((64, 64), (93, 70), (95, 33), (227, 301)):
        maps = backbone(torch.rand(1, 3, *size))
        assert [tuple(m.shape[2:]) for m in maps] == backbone.feature_info.map_sizes(size)


def test_pooling_that_doubles_the_width():
    model = randomize(zoo.create_model(SMALL, global_pool='catavgmax', num_classes=3)).eval()
    features = model.forward_features(torch.rand(2, 3, 64, 64))
    both = torch.cat([model.head.norm(features.mean((2, 3), keepdim=True)).flatten(1),
                      model.head.norm(features.amax((2, 3), keepdim=True)).flatten(1)], 1)
    assert torch.allclose(model.forward_head(features, pre_logits=True), both, atol=1e-6)
    with pytest.raises(ValueError, match="built for other pooling than global_pool='catavgmax'"):
        on_meta(SMALL, head_hidden_size=20).reset_classifier(3, 'catavgmax')


def test_weights_of_linear_layers_and_of_convolutions_serve_both():
    image = torch.rand(1, 3, 64, 64)
    for grn in (False, True):
        linear = randomize(zoo.create_model(SMALL, use_grn=grn)).eval()
        convs = zoo.create_model(SMALL, use_grn=grn, conv_mlp=True, pretrained=linear.state_dict()).eval()
        again = zoo.create_model(SMALL, use_grn=grn, pretrained=convs.state_dict()).eval()
        assert convs.stages[0].blocks[0].mlp.fc1.weight.ndim == 4
        assert relative_error(convs(image), linear(image)) < 1e-5 and torch.equal(again(image), linear(image))


@pytest.mark.parametrize('options', [dict(), dict(out_chs=16), dict(out_chs=16, stride=2), dict(dilation=2), dict(use_grn=True)],
                         ids=str)
def test_blocks_and_stages_are_built_as_timms(options):
    import timm.models.convnext as theirs
    ours, other = ConvNeXtBlock(8, conv_mlp=True, **options), theirs.ConvNeXtBlock(8, conv_mlp=True, **options)
    assert ConvNeXtStage(8, 16, depth=1)(torch.rand(1, 8, 8, 8)).shape == (1, 16, 4, 4)
    x = torch.rand(2, 8, 8, 8)
    if 'out_chs' not in options:
        ours.load_state_dict(randomize(other).state_dict())
        assert relative_error(ours(x), other(x)) < 1e-5
    assert ours(x).shape == other(x).shape


def test_what_does_not_fit_is_said():
    for options, words in ((dict(stem_type='patches'), "stem_type 'patches'.*'patch'"), (dict(output_stride=4), '8, 16 or 32'),
                           (dict(depths=(1, 1)), 'one entry a stage'), (dict(norm_layer='layernorms'), "'layernorm'")):
        with pytest.raises(ValueError, match=words):
            on_meta(SMALL, **options)


@pytest.mark.sweep
def test_compiles_and_exports_with_any_height_and_width():
    model, x = randomize(zoo.create_model(SMALL, num_classes=3)).eval(), torch.rand(2, 3, 64, 96)
    torch._dynamo.reset()
    assert torch.allclose(torch.compile(model, fullgraph=True, backend='eager')(x), model(x))
    sides = {0: Dim('batch'), 2: Dim('height', min=64, max=1024), 3: Dim('width', min=64, max=1024)}
    program = torch.export.export(model, (x,), dynamic_shapes=(sides,)).module()
    for size in ((1, 3, 227, 301), (3, 3, 75, 90)):
        other = torch.rand(size)
        assert relative_error(program(other), model(other)) < 1e-5


def test_gradients_of_hidden_head_equal_timms():
    ours, theirs = pair(SMALL, torch.float64, head_hidden_size=20, num_classes=4)
    x = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    gradients = []
    for model in (ours, theirs):
        model.eval()(x).square().sum().backward()
        gradients.append({key: p.grad.clone() for key, p in model.named_parameters()})
        for p in ours.parameters():
            p.grad = None
    assert gradients[0].keys() == gradients[1].keys()
    assert all(relative_error(gradients[0][key], gradients[1][key]) < 1e-5 for key in gradients[0])
