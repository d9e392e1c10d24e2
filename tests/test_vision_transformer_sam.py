"""SAM's image encoder beside timm's: every option, windows that maps do not fill, relative positions at other sizes."""
from __future__ import annotations

import pytest
import torch
from beside_timm import check_compiled, compare_options, on_meta, pair
from conftest import randomize, relative_error

import zoo
from zoo.export.graphs import capture
from zoo.layers.decomposed import DecomposedRelPos

NAME = 'samvit_base_patch16'
SMALL = dict(img_size=128, embed_dim=48, depth=3, num_heads=4, window_size=3, global_attn_indexes=(1,), num_classes=5)


def image(*size: int, batch: int = 2, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(5), dtype=dtype) * 2 - 1


@pytest.mark.in_turn
@pytest.mark.parametrize('options', [
    dict(), dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(global_pool='max'),
    dict(global_pool='catavgmax'), dict(img_size=(96, 128)), dict(patch_size=32), dict(patch_size=(16, 8)),
    dict(use_rel_pos=False), dict(use_abs_pos=False), dict(neck_chans=24), dict(neck_chans=0), dict(head_hidden_size=7),
    dict(head_hidden_size=7, neck_chans=0), dict(qk_norm=True),
    dict(qkv_bias=False), dict(pre_norm=True, init_values=0.1), dict(mlp_ratio=2.0), dict(norm_layer=torch.nn.LayerNorm),
    dict(drop_rate=0.1, drop_path_rate=0.3, proj_drop_rate=0.1, attn_drop_rate=0.1, pos_drop_rate=0.1),
    dict(act_layer=torch.nn.ReLU), dict(window_size=14), dict(global_attn_indexes=())], ids=str)
def test_options_equal_timms(options):
    options = {**SMALL, **options}
    size = options['img_size'] if isinstance(options['img_size'], tuple) else (options['img_size'],) * 2
    ours, theirs = compare_options(NAME, size, **options)
    rates = [[(getattr(b.drop_path1, 'drop_prob', 0), b.attn.attn_drop.p, b.mlp.drop1.p) for b in m.blocks]
             for m in (ours.eval(), theirs.eval())]
    assert rates[0] == [pytest.approx(rate) for rate in rates[1]] and ours.pos_drop.p == theirs.pos_drop.p
    x = torch.rand(1, options.get('in_chans', 3), *size, dtype=torch.float64)
    for norm in (False, True):
        maps = [m.forward_intermediates(x, norm=norm, intermediates_only=True) for m in (ours, theirs)]
        assert all(relative_error(a, b) < 1e-5 for a, b in zip(*maps, strict=True))


def test_any_size_equals_timms_where_patches_divide():
    ours, theirs = pair(NAME, torch.float64, **SMALL)
    for size in ((128, 128), (96, 160), (256, 32)):
        assert relative_error(ours.eval()(image(*size)), theirs.eval()(image(*size))) < 1e-5


def test_sizes_that_patches_do_not_divide_are_padded():
    model = randomize(zoo.create_model(NAME, **SMALL)).double().eval()
    x = image(115, 101)
    assert torch.allclose(model(x), model(torch.nn.functional.pad(x, (0, 11, 0, 13))))
    backbone = zoo.create_model(NAME, features_only=True, **SMALL).eval()
    assert [tuple(m.shape[2:]) for m in backbone(image(115, 101, dtype=torch.float32))] == \
        backbone.feature_info.map_sizes((115, 101)) == [(8, 7)] * 3


@pytest.mark.parametrize('change', [dict(img_size=(96, 160)), dict(patch_size=8), dict(window_size=(2, 4)),
                                    dict(img_size=64, patch_size=(8, 16), window_size=5)], ids=str)
def test_weights_of_another_size_are_fitted(change):
    """timm's fail to load. What was fitted computes what the network would for such images by itself."""
    source = randomize(zoo.create_model(NAME, **SMALL)).eval()
    options = {**SMALL, **change}
    if isinstance(options['window_size'], tuple):                              # the constructor takes a side
        options['window_size'] = 3
    built = zoo.create_model(NAME, **options, pretrained=source.state_dict()).eval()
    size = (change['img_size'],) * 2 if isinstance(change.get('img_size', ()), int) else change.get('img_size', (128, 128))
    x = image(*size, dtype=torch.float32)
    if list(change) == ['img_size']:
        assert relative_error(built(x), source(x)) < 1e-5
    source.set_input_size(**change)
    if isinstance(change.get('window_size'), tuple):
        built.set_input_size(window_size=change['window_size'])
    assert relative_error(built(x), source(x)) < 1e-5 and source.grid_size == built.grid_size
    assert all(torch.allclose(value, source.state_dict()[key], atol=1e-6) for key, value in built.state_dict().items())
    assert source.feature_info == built.feature_info


@pytest.mark.parametrize('queries, keys', [(14, 14), (20, 20), (9, 9), (16, 8), (8, 16)])
def test_offsets_are_resampled_as_timms(queries, keys):
    from timm.models.vision_transformer_sam import get_rel_pos
    layer = DecomposedRelPos()
    layer.build_rel_pos((14, 14), 8)
    randomize(layer)
    with torch.no_grad():
        layer.rel_pos_w.zero_()
    q = torch.rand(1, 2, queries, 8)                                                       # of a map of one column
    wanted = torch.einsum('nhyd,ykd->nhyk', q, get_rel_pos(queries, keys, layer.rel_pos_h))
    assert torch.allclose(layer.rel_pos_bias(q, (queries, 1), (keys, 1)), wanted, atol=1e-5)


def test_the_neck_is_the_final_normalisation():
    model = randomize(zoo.create_model(NAME, **SMALL)).eval()
    x = image(128, 128, dtype=torch.float32)
    features, maps = model.forward_intermediates(x, norm=True)
    assert torch.allclose(features, maps[-1]) and features.shape == (2, 256, 8, 8)
    assert model.prune_intermediate_layers(1) == [2] and model.num_features == 256
    assert torch.allclose(model.forward_features(x), features)
    model.prune_intermediate_layers(1, prune_norm=True)
    assert model.forward_features(x).shape[1] == model.num_features == 48


def test_attention_of_every_window_sums_to_one():
    model = randomize(zoo.create_model(NAME, **SMALL)).eval()
    weights = model.forward_attentions(image(128, 128, dtype=torch.float32))
    assert [tuple(w.shape) for w in weights] == [(18, 4, 9, 9), (2, 4, 64, 64), (18, 4, 9, 9)]
    assert all(torch.allclose(w.sum(-1), torch.ones(())) for w in weights)


def test_what_does_not_fit_is_said():
    for options, words in ((dict(num_heads=5), '5 heads do not divide'), (dict(weight_init='jax'), "'skip'"),
                           (dict(window_size=-1), 'window_size')):
        with pytest.raises(ValueError, match=words):
            on_meta(NAME, **{**SMALL, **options})
    with pytest.raises(ValueError, match='needs input_size'):
        zoo.models.vision_transformer_sam.Attention(8, 2, use_rel_pos=True)


def test_compiles():
    model = randomize(zoo.create_model(NAME, **SMALL)).eval()
    x = image(96, 144, dtype=torch.float32)
    check_compiled(model, x)


@pytest.mark.sweep
def test_exports_with_any_height_and_width():
    model = randomize(zoo.create_model(NAME, **SMALL)).eval()
    program = capture(model, image(96, 144, dtype=torch.float32), ('batch', 'height', 'width')).module()
    for size in ((128, 128), (75, 190)):
        other = image(*size, batch=3, dtype=torch.float32)
        assert relative_error(program(other), model(other)) < 1e-5


def test_blocks_are_built_as_timms():
    from timm.models.vision_transformer_sam import Attention as TheirAttention
    from timm.models.vision_transformer_sam import Block as TheirBlock

    from zoo.models.vision_transformer_sam import Attention, Block
    for ours, theirs in ((Attention(16, 4, use_rel_pos=True, input_size=(5, 3)),
                          TheirAttention(16, 4, use_rel_pos=True, input_size=(5, 3))),
                         (Block(16, 4, use_rel_pos=True, window_size=2), TheirBlock(16, 4, use_rel_pos=True, window_size=2))):
        ours.load_state_dict(randomize(theirs).state_dict())
        x = torch.rand(2, 5, 3, 16)
        assert torch.allclose(ours(x), theirs(x), atol=1e-6)
