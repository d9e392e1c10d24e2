"""Swin Transformer V2, by its authors and as Christoph Reich wrote it, beside timm's: every option, other sizes."""
from __future__ import annotations

import math

import pytest
import timm
import torch
from beside_timm import check_compiled, check_exported, compare_options, on_meta, pair
from conftest import randomize, relative_error

import zoo
from zoo.models.swin_transformer_v2 import WindowAttention
from zoo.models.swin_transformer_v2_cr import WindowMultiHeadAttention

V2, CR = 'swinv2_tiny_window8_256', 'swinv2_cr_tiny_224'
BOTH = pytest.mark.parametrize('name', [V2, CR])
SHORT = dict(depths=(2, 2, 1, 2), embed_dim=24, drop_path_rate=0.0)
SMALL = dict(img_size=64, window_size=4, **SHORT)


def image(*size: int, batch: int = 2, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(5), dtype=dtype) * 2 - 1


def blocks(model: torch.nn.Module) -> list[torch.nn.Module]:
    return [block for stage in (model.layers if hasattr(model, 'layers') else model.stages) for block in stage.blocks]


SHARED = [dict(), dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(global_pool='max'),
          dict(img_size=(96, 64)), dict(img_size=(72, 100)), dict(window_size=(2, 4)), dict(window_size=[4, 4, 2, 1]),
          dict(always_partition=True), dict(mlp_ratio=2.0), dict(patch_size=2), dict(num_heads=(2, 2, 4, 8)),
          dict(drop_rate=0.1, drop_path_rate=0.3, proj_drop_rate=0.1, attn_drop_rate=0.1)]
OWN = {
    V2: [dict(global_pool='avgmax'), dict(qkv_bias=False), dict(act_layer='relu'), dict(pretrained_window_sizes=(8, 8, 2, 1)),
         dict(window_size=2, pretrained_window_sizes=(4, 4, 4, 4))],
    CR: [dict(window_size=None), dict(window_size=None, window_ratio=4), dict(window_size=None, window_ratio=(8, 4, 4, 2)),
         dict(extra_norm_period=2), dict(extra_norm_stage=True), dict(extra_norm_period=2, extra_norm_stage=True),
         dict(init_values=0.1), dict(sequential_attn=True), dict(global_pool='catavgmax')],
}


@pytest.mark.in_turn
@pytest.mark.parametrize(('name', 'options'), [(name, given) for name in (V2, CR) for given in SHARED + OWN[name]], ids=str)
def test_options_equal_timms(name, options):
    options = {key: value for key, value in {**SMALL, **options}.items() if value is not None}
    size = options['img_size'] if isinstance(options['img_size'], tuple) else (options['img_size'],) * 2
    ours, theirs = compare_options(name, size, **options)
    for rate in (lambda b: getattr(b.drop_path1, 'drop_prob', 0), lambda b: b.attn.attn_drop.p, lambda b: b.mlp.drop1.p):
        assert [rate(b) for b in blocks(ours)] == pytest.approx([rate(b) for b in blocks(theirs)])
    x = torch.rand(1, options.get('in_chans', 3), *size, dtype=torch.float64)
    maps = [m.eval().forward_intermediates(x, intermediates_only=True) for m in (ours, theirs)]
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(*maps, strict=True))


CHANGES = [dict(img_size=(96, 64)), dict(window_size=2), dict(img_size=(32, 48), window_size=(2, 3)), dict(window_ratio=2),
           dict(img_size=128, window_ratio=(8, 4, 4, 2)), dict(always_partition=True, img_size=32)]


@pytest.mark.in_turn
@pytest.mark.parametrize(('name', 'change'), [*((name, change) for name in (V2, CR) for change in CHANGES),
                                              (V2, dict(patch_size=8))], ids=str)           # which timm's CR does not take
def test_set_input_size_equals_timms(name, change):
    ours, theirs = pair(name, torch.float64, **SMALL)
    ours.set_input_size(**change)
    given = {key: (value, value) if isinstance(value, int) and key in ('img_size', 'patch_size') else value
             for key, value in change.items()}
    theirs.set_input_size(**given)
    assert [b.window_size for b in blocks(ours)] == [b.window_size for b in blocks(theirs)]
    x = image(*given.get('img_size', (64, 64)))
    theirs.load_state_dict(ours.state_dict())
    assert relative_error(ours.eval()(x), theirs.eval()(x)) < 1e-5


@BOTH
def test_any_size_equals_timms_where_patches_divide(name):
    ours, theirs = pair(name, torch.float64, dynamic_img_size=True, **SMALL)
    for size in ((64, 64), (76, 52), (32, 100)):
        assert relative_error(ours.eval()(image(*size)), theirs.eval()(image(*size))) < 1e-5


@BOTH
def test_sizes_that_nothing_divides(name):
    model = randomize(zoo.create_model(name, **SMALL, dynamic_img_size=True)).double().eval()
    x = image(67, 101)
    assert torch.allclose(model(x), model(torch.nn.functional.pad(x, (0, 3, 0, 1))))
    maps = model.forward_intermediates(x, intermediates_only=True)
    assert [tuple(m.shape[2:]) for m in maps] == [(17, 26), (9, 13), (5, 7), (3, 4)]
    backbone = zoo.create_model(name, features_only=True, out_indices=(3, 1), **SMALL).eval()
    for size in ((64, 64), (67, 101)):
        assert [tuple(m.shape[2:]) for m in backbone(image(*size, dtype=torch.float32))] == backbone.feature_info.map_sizes(size)
    with pytest.raises(ValueError, match='fitted to images of 64x64 .*dynamic_img_size=True'):
        zoo.create_model(name, **SMALL)(x.float())


@BOTH
@pytest.mark.parametrize('options', [dict(img_size=(96, 128)), dict(window_size=(3, 2)), dict(img_size=128, patch_size=8)],
                         ids=str)
def test_weights_of_another_size_are_fitted(name, options):
    source = randomize(zoo.create_model(name, **SMALL)).eval()
    built = zoo.create_model(name, **{**SMALL, **options}, pretrained=source.state_dict()).eval()
    source.set_input_size(**{'window_size': 4, **options})
    x = image(*source.img_size, dtype=torch.float32)
    assert torch.allclose(built(x), source(x), atol=1e-5)


def test_offsets_go_on_being_counted_in_the_trained_window():
    small, large = WindowAttention(8, (4, 4), 2), WindowAttention(8, (8, 6), 2, pretrained_window_size=(4, 4))
    randomize(small)
    large.load_state_dict(small.state_dict())
    inside = [row * 6 + column for row in range(4) for column in range(4)]
    assert torch.allclose(large.bias()[:, inside][:, :, inside], small.bias(), atol=1e-6)
    stretched = WindowAttention(8, (8, 6), 2)
    stretched.load_state_dict(small.state_dict())
    corners = [0, 47]
    assert torch.allclose(stretched.bias()[:, corners][:, :, corners], small.bias()[:, [0, 15]][:, :, [0, 15]], atol=1e-6)


@pytest.mark.parametrize(('name', 'attention'), [(V2, WindowAttention), (CR, WindowMultiHeadAttention)])
def test_attention_is_built_as_timms(name, attention):
    module = timm.create_model(name, **SMALL).stages if name == CR else timm.create_model(name, **SMALL).layers
    kind = type(module[0].blocks[0].attn)
    given = dict(dim=16, num_heads=4, window_size=(3, 5))
    ours, theirs = attention(**given).eval(), kind(**given).eval()
    ours.load_state_dict(randomize(theirs).state_dict())
    x, mask = torch.rand(6, 15, 16), torch.where(torch.rand(3, 15, 15) > 0.5, -100.0, 0.0)
    for scale in (0.5, 6.0):                                           # beyond the least temperature, too
        for layer in (ours, theirs):
            torch.nn.init.constant_(layer.logit_scale, scale)
        assert torch.allclose(ours(x), theirs(x), atol=1e-5) and torch.allclose(ours(x, mask), theirs(x, mask), atol=1e-5)
    if name == V2:
        separate = attention(**given, qkv_bias_separate=True)
        separate.load_state_dict(ours.state_dict())
        assert torch.allclose(separate(x, mask), ours(x, mask), atol=1e-6)


@BOTH
def test_attention_of_every_window_sums_to_one(name):
    model = randomize(zoo.create_model(name, **SMALL)).eval()
    x = image(64, 64, dtype=torch.float32)
    weights = model.forward_attentions(x)
    assert [tuple(w.shape) for w in weights] == [
        (32, 3, 16, 16)] * 2 + [(8, 6, 16, 16)] * 2 + [(2, 12, 16, 16)] + [(2, 24, 4, 4)] * 2
    assert all(torch.allclose(w.sum(-1), torch.ones(())) for w in weights)
    outputs = zoo.forward_outputs(model, x, output_hidden_states=True, output_attentions=True)
    assert len(outputs.hidden_states) == 5 and relative_error(outputs.logits, model(x)) < 1e-5


def test_sequential_attention_holds_one_head_at_a_time():
    whole, parts = (WindowMultiHeadAttention(16, 4, (3, 5), sequential_attn=given).eval() for given in (False, True))
    parts.load_state_dict(randomize(whole).state_dict())
    x, seen = torch.rand(2, 15, 16), []
    from zoo.models import swin_transformer_v2_cr as module
    attend = module.attend_by_cosine
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, 'attend_by_cosine', lambda q, *rest: (seen.append(q.shape[1]), attend(q, *rest))[1])
        assert torch.allclose(parts(x), whole(x), atol=1e-6)
    assert seen == [1, 1, 1, 1, 4]


@BOTH
def test_fresh_blocks_are_the_identity(name):
    model = zoo.create_model(name, **SMALL).eval()
    block = blocks(model)[0]
    x = torch.rand(1, 16, 16, 24)
    assert torch.equal(block(x), x) and torch.all(block.attn.logit_scale == math.log(10))
    model.init_weights()
    assert torch.equal(block(x), x)
    assert model.no_weight_decay() == (timm.create_model(name, **SMALL).no_weight_decay() if name == V2 else set())


def test_what_fresh_branches_are_scaled_by():
    from zoo.models.swin_transformer_v2_cr import SwinTransformerV2Cr
    for given, expected in ((0.0, 0.0), (0.1, 0.1), (None, 1.0)):
        model = SwinTransformerV2Cr(**SMALL, init_values=given)
        assert all(torch.all(norm.weight == expected) and torch.all(norm.bias == 0)
                   for block in blocks(model) for norm in (block.norm1, block.norm2))
        assert torch.all(blocks(model)[-1].norm3.weight == 1)


@BOTH
def test_autocast_stays_near(name):
    model, x = randomize(zoo.create_model(name, **SMALL)).eval(), image(64, 64, dtype=torch.float32)
    with torch.autocast('cpu', torch.bfloat16):
        near = model(x)
    assert near.dtype == torch.bfloat16 and relative_error(near.float(), model(x)) < 0.1
    assert torch.isfinite(model.bfloat16()(x.bfloat16())).all()


def test_what_does_not_fit_is_said():
    for name, options, words in (
            (V2, dict(num_heads=(1, 2)), 'one entry a stage'), (V2, dict(num_heads=(5, 6, 12, 24)), '5 heads do not divide'),
            (V2, dict(window_size=0), 'window_size'), (V2, dict(pretrained_window_sizes=(4, 4)), 'one entry a stage'),
            (V2, dict(pretrained_window_sizes=(4, 4, 4, -1)), 'pretrained_window_size'),
            (CR, dict(num_heads=(5, 6, 12, 24)), '5 heads do not divide'), (CR, dict(weight_init='jaxx'), "'skip'"),
            (CR, dict(window_size=None, window_ratio=(8, 4)), 'window_ratio')):
        with pytest.raises(ValueError, match=words):
            on_meta(name, **{key: value for key, value in {**SMALL, **options}.items() if value is not None})
    with pytest.raises(ValueError, match='side of a square'):
        on_meta(CR, **SMALL).set_input_size(patch_size=(4, 8))


@pytest.mark.sweep
@BOTH
def test_compiles_and_exports_with_any_height_and_width(name):
    few = dict(depths=(2, 1), num_heads=(2, 4))
    model = randomize(zoo.create_model(name, **{**SMALL, **few}, dynamic_img_size=True, num_classes=3)).eval()
    x = image(96, 64, dtype=torch.float32)
    check_compiled(model, x)
    check_exported(model, x, ((127, 201), (75, 50), (64, 64)), one_window=True)


# --- checkpoints of other libraries

@pytest.mark.parametrize('name', [name for name in zoo.list_models('swinv2_*') if '_cr_' not in name])
def test_microsofts_checkpoints_say_which_network_they_are_of(name):
    """By the coordinates of offsets, which they hold beside the weights."""
    model = on_meta(name)
    there = zoo.convert(model.state_dict(), 'microsoft SwinV2').state
    for stage, blocks_there in enumerate(model.layers):
        attention = blocks_there.blocks[0].attn
        attention.to_empty(device='cpu').reset_constants()
        for number in range(len(blocks_there.blocks)):
            start = f'layers.{stage}.blocks.{number}.attn.'
            there |= {f'{start}relative_coords_table': attention.rel_coords_log[None],
                      f'{start}relative_position_index': attention.relative_position_index}
    found = zoo.convert(there)
    assert (found.source, found.architecture, found.arguments) == ('microsoft SwinV2', name, {})
    assert found.state.keys() == model.state_dict().keys()


@pytest.mark.parametrize('layout', ['microsoft SwinV2', 'transformers Swinv2'])
def test_other_libraries_names_are_converted_both_ways(layout):
    source = randomize(zoo.create_model(V2, **SMALL)).eval()
    there = zoo.convert(source.state_dict(), layout).state
    assert not set(there) & {'layers.3.downsample.reduction.weight', 'head.fc.weight'}
    x = image(64, 64, dtype=torch.float32)
    assert torch.equal(zoo.create_model(V2, **SMALL, pretrained=there).eval()(x), source(x))
