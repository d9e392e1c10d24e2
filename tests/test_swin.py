"""Swin Transformer beside timm's: every option, sizes that patches and windows do not divide, tables resampled."""
from __future__ import annotations

import pytest
import timm
import torch
from beside_timm import check_compiled, check_exported, compare_options, on_meta, pair
from conftest import randomize, relative_error

import zoo
from zoo.layers.relative import resize_rel_pos_bias_table
from zoo.models.swin_transformer import SwinTransformer, WindowAttention

NAME = 'swin_tiny_patch4_window7_224'
SHORT = dict(depths=(2, 2, 1, 2), embed_dim=24, drop_path_rate=0.0)
SMALL = dict(img_size=112, **SHORT)


def image(*size: int, batch: int = 2, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(5), dtype=dtype) * 2 - 1


@pytest.mark.in_turn
@pytest.mark.parametrize('options', [
    dict(), dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(global_pool='max'),
    dict(global_pool='avgmax'), dict(img_size=(128, 96)), dict(img_size=(256, 192)), dict(window_size=4),
    dict(window_size=(4, 7)), dict(window_size=[7, 7, 4, 2]), dict(always_partition=True), dict(head_dim=16),
    dict(mlp_ratio=2.0), dict(qkv_bias=False), dict(patch_size=2), dict(embed_dim=48), dict(num_heads=(2, 2, 4, 8)),
    dict(drop_rate=0.1, drop_path_rate=0.3, proj_drop_rate=0.1, attn_drop_rate=0.1), dict(norm_layer=torch.nn.LayerNorm),
], ids=str)
def test_options_equal_timms(options):
    options = {**SMALL, **options}
    size = options['img_size'] if isinstance(options['img_size'], tuple) else (options['img_size'],) * 2
    ours, theirs = compare_options(NAME, size, **options)
    for rate in (lambda b: getattr(b.drop_path1, 'drop_prob', 0), lambda b: b.attn.attn_drop.p, lambda b: b.mlp.drop1.p):
        rates = [[rate(block) for stage in m.layers for block in stage.blocks] for m in (ours.eval(), theirs.eval())]
        assert rates[0] == pytest.approx(rates[1])
    x = torch.rand(1, options.get('in_chans', 3), *size, dtype=torch.float64)
    for norm in (False, True):
        maps = [m.forward_intermediates(x, norm=norm, intermediates_only=True) for m in (ours, theirs)]
        assert all(relative_error(a, b) < 1e-5 for a, b in zip(*maps, strict=True))


def test_any_size_equals_timms_where_patches_divide():
    ours, theirs = pair(NAME, torch.float64, dynamic_img_size=True, **SMALL)
    for size in ((112, 112), (140, 96), (64, 200)):
        x = image(*size)
        assert relative_error(ours.eval()(x), theirs.eval()(x)) < 1e-5


def test_sizes_that_nothing_divides():
    model = randomize(zoo.create_model(NAME, **SMALL, dynamic_img_size=True)).double().eval()
    x = image(227, 101)
    padded = torch.nn.functional.pad(x, (0, 3, 0, 1))
    assert torch.allclose(model(x), model(padded))
    with pytest.raises(ValueError, match='fitted to images of 112x112 .*dynamic_img_size=True'):
        zoo.create_model(NAME, **SMALL)(image(227, 101).float())
    fixed = zoo.create_model(NAME, **{**SMALL, 'img_size': (227, 101)}, pretrained=model.float().state_dict()).eval()
    maps = fixed.forward_intermediates(x.float(), intermediates_only=True)
    assert [tuple(m.shape[2:]) for m in maps] == [(57, 26), (29, 13), (15, 7), (8, 4)]


def test_backbones_take_any_size_and_can_be_fitted():
    backbone = zoo.create_model(NAME, features_only=True, out_indices=(3, 1), **SMALL).eval()
    assert backbone.output_fmt == 'NCHW' and backbone.network.output_fmt == 'NHWC'
    for size in ((112, 112), (227, 301)):
        assert [tuple(m.shape[2:]) for m in backbone(image(*size, dtype=torch.float32))] == backbone.feature_info.map_sizes(size)
    backbone.set_input_size((64, 128), window_size=4)
    assert backbone.network.layers[0].blocks[0].window_size == (4, 4)
    last = zoo.create_model(NAME, features_only=True, output_fmt='NHWC', **SMALL)(image(112, 112, dtype=torch.float32))[-1]
    assert last.shape == (2, 4, 4, 192)


@pytest.mark.parametrize('change', [dict(img_size=(256, 192)), dict(window_size=4), dict(img_size=(64, 96), window_size=(2, 3)),
                                    dict(img_size=192, window_ratio=16), dict(always_partition=True, img_size=64),
                                    dict(patch_size=8), dict(img_size=128, patch_size=2)], ids=str)
def test_set_input_size_equals_timms(change):
    ours, theirs = pair(NAME, torch.float64, **SMALL)
    ours.set_input_size(**change)
    given = {key: (value, value) if isinstance(value, int) and key in ('img_size', 'patch_size') else value
             for key, value in change.items()}
    theirs.set_input_size(**given)
    size = given.get('img_size', (112, 112))
    tables = [[b.attn.relative_position_bias_table for stage in m.layers for b in stage.blocks] for m in (ours, theirs)]
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(*tables, strict=True))
    theirs.load_state_dict(ours.state_dict())
    assert relative_error(ours.eval()(image(*size)), theirs.eval()(image(*size))) < 1e-5
    assert ours.img_size == tuple(size) and 'window_ratio' in change or ours.state_dict().keys() == theirs.state_dict().keys()


@pytest.mark.parametrize('options', [dict(img_size=(256, 160)), dict(window_size=8, img_size=128), dict(window_size=(3, 5)),
                                     dict(patch_size=2)], ids=str)
def test_weights_of_another_size_are_fitted(options):
    source = randomize(zoo.create_model(NAME, **SMALL))
    built = zoo.create_model(NAME, **{**SMALL, **options}, pretrained=source.state_dict(),
                             pretrained_cfg_overlay=dict(input_size=(3, 112, 112)))
    source.set_input_size(**{'window_size': 7, **options})
    for key, value in source.state_dict().items():
        assert torch.allclose(built.state_dict()[key], value, atol=1e-6), key


def test_tables_are_resampled_as_timms():
    from timm.layers import resize_rel_pos_bias_table as theirs
    for old, new in (((7, 7), (12, 12)), ((12, 12), (7, 7)), ((4, 4), (5, 9)), ((7, 7), (24, 24))):
        table = torch.randn((2 * old[0] - 1) ** 2, 3, generator=torch.Generator().manual_seed(0))
        shape = ((2 * new[0] - 1) * (2 * new[1] - 1), 3)
        assert torch.allclose(resize_rel_pos_bias_table(table, new, shape), theirs(table, new, shape), atol=5e-6)
    with pytest.raises(ValueError, match='window_size it was trained with'):
        resize_rel_pos_bias_table(torch.zeros(15, 2), (3, 3), (25, 2))
    kept = resize_rel_pos_bias_table(torch.arange(12.)[:, None], (3, 3), (28, 1))
    assert kept[-3:, 0].tolist() == [9, 10, 11] and kept[12] == 4


def test_attention_of_every_window_sums_to_one():
    model = randomize(zoo.create_model(NAME, **SMALL)).eval()
    x = image(112, 112, dtype=torch.float32)
    weights = model.forward_attentions(x)
    assert [tuple(w.shape) for w in weights] == [
        (32, 3, 49, 49)] * 2 + [(8, 6, 49, 49)] * 2 + [(2, 12, 49, 49)] + [(2, 24, 16, 16)] * 2
    assert all(torch.allclose(w.sum(-1), torch.ones(())) for w in weights)
    seen = []
    for module in model.modules():
        if isinstance(module, WindowAttention):
            module.register_forward_hook(lambda m, i, o: seen.append(o))
    model(x)
    assert len(seen) == len(weights)
    outputs = zoo.forward_outputs(model, x, output_hidden_states=True, output_attentions=True)
    assert len(outputs.hidden_states) == 5 and torch.allclose(outputs.logits, model(x), atol=1e-6)


def test_window_attention_is_built_as_timms():
    from timm.models.swin_transformer import WindowAttention as Theirs
    ours, theirs = WindowAttention(16, 4, window_size=(3, 5)), Theirs(16, 4, window_size=(3, 5))
    ours.load_state_dict(randomize(theirs).state_dict())
    x = torch.rand(6, 15, 16)
    mask = torch.where(torch.rand(3, 15, 15) > 0.5, -100.0, 0.0)
    assert torch.allclose(ours(x), theirs(x), atol=1e-6) and torch.allclose(ours(x, mask), theirs(x, mask), atol=1e-6)


def test_what_does_not_fit_is_said():
    for options, words in ((dict(num_heads=(1, 2)), 'one entry a stage'), (dict(weight_init='jaxx'), "'skip'"),
                           (dict(num_heads=(5, 6, 12, 24)), '5 heads do not divide'), (dict(window_size=0), 'window_size')):
        with pytest.raises(ValueError, match=words):
            on_meta(NAME, **{**SMALL, **options})
    with pytest.raises(ValueError, match='side of a square'):
        on_meta(NAME, **SMALL).set_input_size(patch_size=(4, 8))


@pytest.mark.sweep
def test_compiles_and_exports_with_any_height_and_width():
    model = randomize(zoo.create_model(NAME, **SMALL, dynamic_img_size=True, num_classes=3)).eval()
    x = image(96, 128, dtype=torch.float32)
    check_compiled(model, x)
    check_exported(model, x, ((227, 301), (75, 90), (224, 224)), one_window=True)


def test_the_class_serves_other_depths():
    model = SwinTransformer(img_size=64, embed_dim=8, depths=(1, 1), num_heads=(1, 2), num_classes=2)
    assert model(torch.rand(1, 3, 64, 64)).shape == (1, 2)
    assert timm.models.swin_transformer.SwinTransformer(img_size=64, embed_dim=8, depths=(1, 1), num_heads=(1, 2),
                                                        num_classes=2).state_dict().keys() == model.state_dict().keys()
