"""EfficientFormer V1 and V2: any image size, biases that do not go stale, two heads, attention maps, options."""
from __future__ import annotations

import copy
import math

import pytest
import timm
import torch
from torch import nn
from torch.export import Dim

import zoo
from conftest import randomize, relative_error
from zoo.layers.attention_bias import OffsetBias, resize_table
from zoo.layers.sizes import pair_of
from zoo.layers.stages import drop_path_rates

V1, V2 = 'efficientformer_l1', 'efficientformerv2_s0'
SHALLOW = dict(depths=(1, 1, 1, 2), num_classes=5)
SMALL = {V1: SHALLOW, V2: SHALLOW | dict(mlp_ratios=(4, 4, (3,), (3, 4)), num_vit=1)}
SIZES = [(192, 192), (256, 256), (320, 320), (256, 192), (227, 301)]
both = pytest.mark.parametrize('name', [V1, V2])


def small(name: str, **options) -> nn.Module:
    """The network with few blocks, of which some have attention, and random weights."""
    return randomize(zoo.create_model(name, **{**SMALL[name], **options})).eval()


def image(size: tuple[int, int] = (224, 224), batch: int = 2, channels: int = 3) -> torch.Tensor:
    return torch.rand(batch, channels, *size, generator=torch.Generator().manual_seed(3)) * 2 - 1


def attentions(model: nn.Module) -> list[OffsetBias]:
    return [layer for layer in model.modules() if isinstance(layer, OffsetBias)]


# --- options, beside timm's


OPTIONS = [
    (V1, dict()), (V1, dict(num_vit=2)), (V1, dict(pool_size=5)), (V1, dict(mlp_ratios=3)), (V1, dict(in_chans=1)),
    (V1, dict(act_layer=nn.SiLU)), (V1, dict(num_classes=0)), (V1, dict(num_classes=0, global_pool='')),
    (V1, dict(embed_dims=(16, 32, 48, 64))), (V1, dict(layer_scale_init_value=0.3)),
    (V2, dict()), (V2, dict(num_vit=2)), (V2, dict(mlp_ratios=3)), (V2, dict(in_chans=5)), (V2, dict(act_layer='relu')),
    (V2, dict(norm_eps=0.1)), (V2, dict(num_classes=0)),
    (V2, dict(num_classes=0, global_pool='')), (V2, dict(distillation=False)), (V2, dict(img_size=(256, 192))),
    (V2, dict(embed_dims=(16, 32, 48, 48), downsamples=(False, True, True, False))),
]


@pytest.mark.in_turn
@pytest.mark.parametrize(('name', 'options'), OPTIONS, ids=str)
def test_options_equal_timms(name, options):
    options = {**SMALL[name], **options}
    theirs = timm.create_model(name, **options).eval()
    ours = zoo.create_model(name, **options).eval()
    if 'layer_scale_init_value' in options:
        assert {value.mean().item() for key, value in ours.named_parameters() if key.endswith('gamma')} == {
            value.mean().item() for key, value in theirs.named_parameters() if key.endswith('gamma')}
    if 'norm_eps' in options:                                   # timm forgets it inside the attention
        for layer in theirs.modules():
            if isinstance(layer, nn.BatchNorm2d):
                layer.eps = options['norm_eps']
    ours.load_state_dict(randomize(theirs).state_dict())
    x = image(options.get('img_size', (224, 224)), channels=options.get('in_chans', 3))
    assert relative_error(ours(x), theirs(x)) < 1e-5
    features = [model.forward_features(x) for model in (ours, theirs)]
    assert relative_error(*features) < 1e-5
    assert relative_error(*(m.forward_head(f, pre_logits=True) for m, f in zip((ours, theirs), features))) < 1e-5
    maps = [m.forward_intermediates(x, intermediates_only=True, norm=norm) for m, norm in (
        (ours, True), (ours, False), (theirs, True), (theirs, False))]
    for normed, plain, last, of_timm in zip(*maps, strict=True):
        assert relative_error(plain, of_timm) < 1e-5
        fits = plain.shape[1] == ours.num_features                   # timm's normalises the last map alone
        assert torch.equal(normed, ours.normalise(plain) if fits else plain)
    assert relative_error(normed, last) < 1e-5
    for ours_map, described in zip(maps[0], ours.feature_info, strict=True):
        assert ours_map.shape[1] == described['num_chs']
        assert ours_map.shape[2] == math.ceil(x.shape[2] / described['reduction'])


@both
def test_dropout_and_drop_path_equal_timms(name):
    rates = dict(drop_rate=0.3, proj_drop_rate=0.2, drop_path_rate=0.4)
    theirs = randomize(timm.create_model(name, **SMALL[name], **rates)).train()
    ours = zoo.create_model(name, **SMALL[name], **rates).train()
    ours.load_state_dict(theirs.state_dict())
    outputs = []
    for model in (ours, theirs):
        torch.manual_seed(5)
        outputs.append(model(image()))
    assert relative_error(*outputs) < 1e-5                      # the same samples and elements are dropped
    assert drop_path_rates(0.1, 27)[::26] == [0, 0.1] and drop_path_rates(0.1, 1) == [0]


@both
def test_drop_path_stays_finite_in_training(name):
    model = zoo.create_model(name, num_classes=5, drop_path_rate=0.1).train()
    logits = model(image(batch=3))
    logits.square().sum().backward()
    assert logits.isfinite().all()
    assert all(p.grad.isfinite().all() for p in model.parameters() if p.grad is not None)
    assert [block.drop_path.drop_prob for stage in model.stages for block in stage.blocks
            if hasattr(block, 'drop_path')][-1] == pytest.approx(0.1)


@both
def test_initial_weights(name):
    model = zoo.create_model(name, layer_scale_init_value=0.5)
    for key, layer in model.named_modules():
        if isinstance(layer, nn.Linear):
            assert layer.weight.std().item() == pytest.approx(0.02, rel=0.1) and not layer.bias.any(), key
        if isinstance(layer, OffsetBias):
            assert not layer.attention_biases.any()
        if hasattr(layer, 'gamma'):
            assert layer.gamma.eq(0.5).all()
    assert not torch.equal(model.head.weight, model.head_dist.weight)
    assert model.no_weight_decay() == {key for key, _ in model.named_parameters() if key.endswith('attention_biases')}


def test_normalisation_is_an_option():
    plain = small(V2, norm_layer='layernorm2d')
    assert not any(isinstance(layer, nn.BatchNorm2d) for layer in plain.modules())
    assert plain(image()).shape == (2, 5)
    tokens = zoo.create_model(V1, layer_norm_eps=1e-12, num_vit=2)
    assert {layer.eps for layer in tokens.modules() if isinstance(layer, nn.LayerNorm)} == {1e-12}
    assert {layer.eps for layer in tokens.modules() if isinstance(layer, nn.BatchNorm2d)} == {1e-5}


@pytest.mark.parametrize(('name', 'options', 'message'), [
    (V1, dict(depths=(1, 1, 1)), r'one entry a stage; they have \[3, 4, 4\]'),
    (V1, dict(downsamples=(False, True, True, False)), 'from 224 to 448 channels without downsampling'),
    (V1, dict(pool_size=2), 'pool_size is odd'),
    (V1, dict(num_vit=-1), 'num_vit .* not -1'),
    (V1, dict(img_size=(224, 224, 3)), 'img_size is a side'),
    (V2, dict(attention_strides=(2, 1)), r'\[4, 4, 4, 2, 4\]'),
    (V2, dict(mlp_ratios=(4, 4, (4, 3), 4)), 'mlp_ratios'),
    (V2, dict(img_size=0), 'img_size is a side'),
])
def test_what_does_not_fit_is_refused(name, options, message):
    with pytest.raises(ValueError, match=message):
        zoo.create_model(name, **options)


def test_without_attention_the_network_takes_any_size():
    model = small(V1, num_vit=0)
    assert model(image((96, 70))).shape == (2, 5) and not attentions(model)


# --- image sizes


def test_biases_are_looked_up_by_distance():
    for stride, queries in ((1, (3, 5)), (2, (2, 3))):
        layer = OffsetBias(2, reduction=8, img_size=(24, 40), query_stride=stride)
        nn.init.normal_(layer.attention_biases)
        bias = layer.bias(queries, (3, 5)).unflatten(1, queries).unflatten(3, (3, 5))
        table = layer.attention_biases.unflatten(1, (3, 5))
        for y in range(queries[0]):
            for x in range(queries[1]):
                for v in range(3):
                    for u in range(5):
                        assert torch.equal(bias[:, y, x, v, u], table[:, abs(y * stride - v), abs(x * stride - u)])


def test_stretching_keeps_the_ends_and_straight_lines():
    rows, columns = torch.meshgrid(torch.arange(7.0), torch.arange(7.0), indexing='ij')
    table = torch.stack([rows, columns, torch.rand(7, 7)]).flatten(1)
    assert torch.equal(resize_table(table, (7, 7), (7, 7)), table)
    for height, width in ((9, 13), (5, 4)):
        other = resize_table(table, (7, 7), (height, width)).unflatten(1, (height, width))
        corners = other[:, ::height - 1, ::width - 1]
        assert torch.allclose(corners, table.unflatten(1, (7, 7))[:, ::6, ::6], atol=1e-6)
        assert torch.allclose(other[0], torch.linspace(0, 6, height)[:, None].expand(height, width), atol=1e-5)
        assert torch.allclose(other[1], torch.linspace(0, 6, width).expand(height, width), atol=1e-5)
    one = resize_table(table, (7, 7), (1, 1))
    assert torch.equal(one, table[:, :1])
    assert pair_of(5) == (5, 5) and pair_of([3, 4]) == (3, 4)


@pytest.mark.in_turn
@both
@pytest.mark.parametrize('size', SIZES, ids=str)
def test_three_ways_to_another_size_agree(name, size):
    fixed = small(name)
    state, x = fixed.state_dict(), image(size)
    dynamic = zoo.create_model(name, **SMALL[name], dynamic_img_size=True, pretrained=state).eval()
    built = zoo.create_model(name, **SMALL[name], img_size=size, pretrained=state).eval()
    with pytest.raises(ValueError, match=r'fitted to images of 224x224 .*img_size=.*set_input_size.*dynamic_img_size'):
        fixed(x)
    fixed.set_input_size(size)
    logits = dynamic(x)
    assert logits.isfinite().all() and torch.equal(built(x), logits) and torch.equal(fixed(x), logits)
    for feature, described in zip(dynamic.forward_intermediates(x, intermediates_only=True), dynamic.feature_info):
        assert feature.shape[2:] == tuple(math.ceil(side / described['reduction']) for side in size)
    assert built.pretrained_cfg['input_size'] == (3, *size) and built.pretrained_cfg['fixed_input_size']
    assert not dynamic.pretrained_cfg.get('fixed_input_size')
    assert built.img_size == fixed.img_size == size and dynamic.img_size == (224, 224)
    assert dict(built.state_dict()).keys() == state.keys()


@pytest.mark.in_turn
@both
@pytest.mark.parametrize('dtype', [torch.float32, torch.float64, torch.bfloat16], ids=str)
def test_any_size_changes_nothing_at_the_own_size(name, dtype):
    fixed = small(name).to(dtype)
    dynamic = copy.deepcopy(fixed)
    dynamic.set_input_size(dynamic_img_size=True)
    x = image().to(dtype)
    expected = fixed(x)
    assert expected.isfinite().all() and torch.equal(dynamic(x), expected)
    assert all(torch.equal(a, b) for a, b in zip(dynamic.forward_intermediates(x)[1], fixed.forward_intermediates(x)[1]))
    dynamic.set_input_size(dynamic_img_size=False)
    with pytest.raises(ValueError, match='dynamic_img_size'):
        dynamic(image((256, 256)).to(dtype))


@both
def test_sizes_with_the_same_maps_are_taken(name):
    model, theirs = small(name), timm.create_model(name, **SMALL[name]).eval()
    theirs.load_state_dict(model.state_dict())
    x = image((213, 222))                                       # 14 and 7 pixels remain of either
    assert relative_error(model(x), theirs(x)) < 1e-5


@both
def test_backbones_take_other_sizes(name):
    x = image((227, 301))
    backbone = zoo.create_model(name, **SMALL[name], features_only=True, dynamic_img_size=False).eval()
    with pytest.raises(ValueError, match='set_input_size'):
        backbone(x)
    backbone.set_input_size((227, 301))
    assert [feature.shape[2:] for feature in backbone(x)] == [(57, 76), (29, 38), (15, 19), (8, 10)]
    early = zoo.create_model(name, **SMALL[name], features_only=True, out_indices=(0, 1), dynamic_img_size=False).eval()
    assert [feature.shape[2:] for feature in early(x)] == [(57, 76), (29, 38)]          # no attention is left
    dynamic = zoo.create_model(name, **SMALL[name], features_only=True, out_indices=(-1,)).eval()
    assert dynamic(x)[0].shape[2:] == (8, 10)                                           # as nothing else is said


@both
def test_gradients_reach_the_table_at_any_size(name):
    model = small(name, dynamic_img_size=True)
    model(image((256, 192))).square().sum().backward()
    for layer in attentions(model):
        assert layer.attention_biases.grad.abs().sum() > 0


@both
def test_a_state_dict_of_the_same_size_passes_untouched(name):
    model = small(name)
    state = model.state_dict()
    adapted = model.adapt_state(state)
    assert all(adapted[key] is state[key] for key in state) and adapted.keys() == state.keys()
    model.set_input_size(256)
    adapted = model.adapt_state({key: value.half() if value.is_floating_point() else value for key, value in state.items()})
    assert {key for key in state if adapted[key].shape != state[key].shape} == {
        key for key in state if 'attention_bias' in key}
    assert all(value.dtype == torch.float16 for value in adapted.values() if value.is_floating_point())
    model.load_state_dict(adapted)
    oblong = small(name, img_size=(224, 192))
    with pytest.raises(ValueError, match='42 distances are of no square image|168 distances are of no square image'):
        model.adapt_state(oblong.state_dict())
    before = oblong(image((224, 192)))
    oblong.set_input_size((224, 192))
    assert torch.equal(oblong(image((224, 192))), before)


@both
def test_set_input_size_keeps_device_and_frozen_parameters(name):
    model = small(name).double().requires_grad_(False)
    table = attentions(model)[0].attention_biases
    model.set_input_size(220)
    assert attentions(model)[0].attention_biases is table                               # the same maps
    model.set_input_size(256)
    for layer in attentions(model):
        assert layer.attention_biases.dtype == torch.float64 and not layer.attention_biases.requires_grad
    with torch.device('meta'):
        shapes = zoo.create_model(name, **SMALL[name])
    shapes.set_input_size((96, 64))
    assert shapes(torch.empty(2, 3, 96, 64, device='meta')).shape == (2, 5)


@both
def test_biases_are_never_stale(name):
    model, other, x = small(name), small(name), image()
    randomize(other, seed=7)
    before = model(x)
    model.load_state_dict(other.state_dict())                   # in evaluation mode, after a forward pass
    assert torch.equal(model(x), other(x)) and not torch.equal(model(x), before)
    with torch.no_grad():
        for layer in attentions(model):
            layer.attention_biases.add_(torch.randn(layer.attention_biases.shape))
    fresh = zoo.create_model(name, **SMALL[name]).eval()
    fresh.load_state_dict(model.state_dict())
    assert torch.equal(model(x), fresh(x)) and not torch.equal(model(x), other(x))
    assert model.double()(x.double()).dtype == torch.float64
    assert relative_error(model.float()(x), fresh(x)) < 1e-5


# --- two heads


@both
def test_both_heads_are_at_hand(name):
    model, x = small(name), image()
    logits, of_class, of_teacher = model.forward_distilled(x)
    assert torch.equal(model(x), logits) and not torch.allclose(of_class, of_teacher)
    assert torch.allclose(logits, (of_class + of_teacher) / 2)
    embedding = model.forward_head(model.forward_features(x), pre_logits=True)
    assert torch.equal(model.head(embedding), of_class) and torch.equal(model.head_dist(embedding), of_teacher)
    assert model.get_classifier() == (model.head, model.head_dist)

    theirs = timm.create_model(name, **SMALL[name]).train()
    theirs.load_state_dict(model.train().state_dict())
    assert relative_error(model(x), theirs(x)) < 1e-5           # their mean in training too, unless asked
    for either in (model, theirs):
        either.set_distilled_training(True)
    pairs = list(zip(model(x), theirs(x), strict=True))
    assert len(pairs) == 2 and all(relative_error(*pair) < 1e-5 for pair in pairs)
    assert isinstance(model.eval()(x), torch.Tensor)
    model.set_distilled_training(False)
    assert isinstance(model.train()(x), torch.Tensor)


@both
def test_new_classifiers(name):
    model, x = small(name), image()
    model.double().reset_classifier(9, 'max')
    assert model(x.double()).shape == (2, 9) and model.head.weight.dtype == torch.float64
    assert not torch.equal(model.head.weight, model.head_dist.weight)
    model.reset_classifier(0)
    assert model(x.double()).shape == (2, model.embedding_size)
    assert [type(layer) for layer in model.get_classifier()] == [nn.Identity] * 2
    anew = zoo.create_model(name, **{**SMALL[name], 'num_classes': 3}, pretrained=small(name).state_dict(),
                            pretrained_cfg_overlay=dict(num_classes=5))
    assert anew.eval()(x).shape == (2, 3)
    assert max(anew.head.weight.abs().max(), anew.head_dist.weight.abs().max()) < 0.2


@both
def test_one_head_alone(name):
    distilled, x = small(name), image()
    model = zoo.create_model(name, **SMALL[name], distillation=False, pretrained=distilled.state_dict()).eval()
    assert torch.equal(model(x), distilled.forward_distilled(x).class_logits)
    assert model.get_classifier() is model.head
    assert not any(key.startswith('head_dist') for key in model.state_dict())
    model.reset_classifier(4)
    assert model(x).shape == (2, 4)
    for refused in (lambda: model.forward_distilled(x), model.set_distilled_training):
        with pytest.raises(ValueError, match='distillation=True'):
            refused()
    model.set_distilled_training(False)


def test_parameters_without_the_distillation_head():
    with torch.device('meta'):
        model = zoo.create_model(V1, distillation=False)
    assert sum(p.numel() for p in model.parameters()) == 11_840_928


# --- attention maps


@pytest.mark.parametrize(('name', 'sides'), [(V1, [7]), ('efficientformer_l3', [7] * 4), (V2, [7] * 4),
                                             ('efficientformerv2_s2', [7] * 8)])
def test_attention_maps_have_one_row_a_pixel(name, sides):
    with torch.device('meta'):
        maps = zoo.create_model(name).forward_attentions(torch.empty(2, 3, 224, 224, device='meta'))
    assert [tuple(attention.shape) for attention in maps] == [(2, 8, n * n, n * n) for n in sides]


@both
def test_attention_maps_are_those_that_are_used(name):
    model, x = small(name, dynamic_img_size=True), image((160, 96))
    maps = model.forward_attentions(x)
    assert all(attention.shape == (2, 8, 15, 15) for attention in maps)
    assert all(torch.allclose(attention.sum(-1), torch.ones(())) for attention in maps)
    layer = [layer for layer in attentions(model) if hasattr(layer, 'qkv') or hasattr(layer, 'talking_head1')][-1]
    seen = {}
    for part in ('qkv', 'proj') if name == V1 else ('v', 'v_local', 'act'):
        getattr(layer, part).register_forward_hook(lambda m, i, o, part=part: seen.__setitem__(part, (i[0], o)))
    model(x)
    if name == V1:
        values = seen['qkv'][1].unflatten(-1, (8, 192))[..., 64:]                       # (B, N, heads, 128)
        mixed = torch.einsum('bhqk,bkhd->bqhd', maps[-1], values).flatten(2)
        assert relative_error(mixed, seen['proj'][0]) < 1e-5
    else:
        talked = torch.einsum('oh,bhqk->boqk', layer.talking_head2.weight[:, :, 0, 0], maps[-1])
        talked = talked + layer.talking_head2.bias[:, None, None]
        mixed = torch.einsum('bhqk,bhdk->bhdq', talked, seen['v'][1].flatten(2).unflatten(1, (8, 128)))
        mixed = mixed.flatten(1, 2).unflatten(-1, (5, 3)) + seen['v_local'][1]
        assert relative_error(mixed, seen['act'][0]) < 1e-5


# --- export


@pytest.mark.sweep
@both
def test_backbones_and_attentions_export_with_any_height_and_width(name):
    sizes = {2: Dim.DYNAMIC(min=64, max=1024), 3: Dim.DYNAMIC(min=64, max=1024)}
    backbone = randomize(zoo.create_model(name, **SMALL[name], features_only=True, dynamic_img_size=True)).eval()
    program = torch.export.export(backbone, (image((96, 128)),), dynamic_shapes=(sizes,))
    for size in ((224, 224), (227, 301)):
        x = image(size)
        for ours, exported in zip(backbone(x), program.module()(x), strict=True):
            assert relative_error(exported, ours) < 1e-5


@pytest.mark.sweep
@both
def test_attention_maps_and_both_heads_compile(name):
    torch._dynamo.reset()
    model, x = small(name), image()
    with torch.no_grad():
        for method in (model.forward_attentions, model.forward_distilled):
            for ours, compiled in zip(method(x), torch.compile(method, fullgraph=True, backend='eager')(x), strict=True):
                assert torch.equal(ours, compiled)
