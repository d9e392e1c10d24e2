"""EVA and what else rotates queries and keys: rotary embeddings, attention, every option, sizes, beside timm's."""
from __future__ import annotations

import inspect

import pytest
import timm
import torch
from timm.layers import pos_embed_sincos
from timm.models import eva as theirs_module
from torch import nn
from torch.export import Dim

import zoo
from conftest import randomize, relative_error
from structures import short
from test_vision_transformer import TINY, images, pair, same
from zoo.layers import attention_rope, places, rotary
from zoo.models import eva

NAME = 'eva_giant_patch14_224'
BASE = dict(patch_size=16, mlp_ratio=8 / 3, swiglu_mlp=True, use_rot_pos_emb=True)
SHAPE = (4, 6)
AUGMENTED = [dict(shift_coords=0.5), dict(jitter_coords=2.0), dict(rescale_coords=2.0),
             dict(shift_coords=0.5, jitter_coords=1.5, rescale_coords=2.0)]

# --- rotary embedding

AXIAL = [dict(), dict(in_pixels=False), dict(in_pixels=False, temperature=100.0), dict(linear_bands=True, max_res=100),
         dict(in_pixels=False, ref_feat_shape=(16, 12), grid_offset=1.0, grid_indexing='xy'), dict(ref_feat_shape=(16, 12)),
         dict(in_pixels=False, rotate_half=True), dict(grid_type='index'), dict(grid_type='pixel', in_pixels=False),
         dict(grid_type='centered', in_pixels=False, normalize_coords='max', grid_indexing='xy'),
         dict(grid_type='centered', normalize_coords='min', grid_offset=0.2), dict(grid_type='centered')]
KINDS = [
    *(('RotaryEmbeddingCat', dict(dim=16, **options)) for options in AXIAL),
    *(('RotaryEmbedding', dict(dim=16, **options)) for options in AXIAL),
    ('RotaryEmbeddingDinoV3', dict(dim=16)), ('RotaryEmbeddingDinoV3', dict(dim=16, rotate_half=False, temperature=10.0)),
    ('RotaryEmbeddingDinoV3', dict(dim=16, temperature=None, min_period=0.5, max_period=30.0)),
    ('RotaryEmbeddingDinoV3', dict(dim=16, normalize_coords='max', grid_offset=0.3, grid_indexing='xy')),
    ('RotaryEmbeddingMixed', dict(dim=48, depth=2, num_heads=3)),
    ('RotaryEmbeddingMixed', dict(dim=48, depth=2, num_heads=3, grid_indexing='ij')),
    ('RotaryEmbeddingMRope', dict(dim=64)), ('RotaryEmbeddingMRope', dict(dim=64, mrope_section=(12, 10, 10))),
]


def both(name: str, **options) -> tuple[nn.Module, nn.Module]:
    ours, theirs = (getattr(module, name)(**options) for module in (rotary, pos_embed_sincos))
    ours.load_state_dict(theirs.state_dict())
    return ours, theirs


@pytest.mark.in_turn
@pytest.mark.parametrize(('name', 'options'), KINDS, ids=str)
@torch.no_grad()
def test_embeddings_equal_timms(name, options):
    ours, theirs = both(name, **options)
    assert same(ours.eval().get_embed(SHAPE), theirs.eval().get_embed(SHAPE))
    if name != 'RotaryEmbeddingMRope':
        ours.update_feat_shape(SHAPE)
        assert same(ours.get_embed(), theirs.get_embed(SHAPE))
    if name in ('RotaryEmbeddingCat', 'RotaryEmbedding', 'RotaryEmbeddingDinoV3'):
        x = torch.randn(2, 16, *SHAPE)
        turned = ours(x)
        assert torch.allclose(turned.norm(dim=1), x.norm(dim=1), atol=1e-5)
        if not options.get('rotate_half', name == 'RotaryEmbeddingDinoV3'):      # timm's turns neighbours in any case
            assert relative_error(turned, theirs(x)) < 1e-6
    if name not in ('RotaryEmbedding', 'RotaryEmbeddingMRope') and options.get('in_pixels', True) is False:
        shapes = [SHAPE, (2, 3), (1, 1)]
        assert same(ours.get_batch_embeds(shapes), theirs.get_batch_embeds(shapes))
        assert same(ours.get_batch_embeds(shapes, 30), theirs.get_batch_embeds(shapes, 30))
        with pytest.raises(ValueError, match='24 patches, more than seq_len=20'):
            ours.get_batch_embeds(shapes, 20)


@pytest.mark.parametrize('name, options', [
    ('RotaryEmbeddingDinoV3', dict(dim=16)), ('RotaryEmbeddingCat', dict(dim=16, in_pixels=False)),
    ('RotaryEmbeddingMixed', dict(dim=48, depth=2, num_heads=3)), ('RotaryEmbeddingMRope', dict(dim=64))])
@pytest.mark.parametrize('augmented', AUGMENTED, ids=str)
@torch.no_grad()
def test_places_are_moved_and_scaled_in_training_as_timm_does(name, options, augmented):
    ours, theirs = both(name, **options, **augmented)
    found = []
    for module in (ours.train(), theirs.train()):
        torch.manual_seed(0)
        found += [module.get_embed(SHAPE), module.get_embed(SHAPE)]
    assert same(found[:2], found[2:]) and not same(*found[:2])
    assert same(ours.eval().get_embed(SHAPE), theirs.eval().get_embed(SHAPE))


def test_products_depend_on_how_far_apart_tokens_are():
    embed = rotary.RotaryEmbeddingCat(32, in_pixels=False, rotate_half=True).get_embed((5, 5), torch.float64)
    q, k = torch.randn(2, 32, dtype=torch.float64).unbind()
    turned_q, turned_k = (rotary.apply_rot_embed_cat(part.expand(25, -1), embed, half=True) for part in (q, k))
    products = (turned_q @ turned_k.T).view(5, 5, 5, 5)
    assert torch.allclose(products[1, 2, 2, 4], products[2, 0, 3, 2]) and not torch.allclose(products[1, 2], products[1, 3])


def test_functions_equal_timms():
    x, embed = torch.randn(2, 3, 24, 16), torch.randn(24, 32)
    sin, cos = embed.chunk(2, -1)
    for half in (False, True):
        assert same(rotary.apply_rot_embed_cat(x, embed, half), pos_embed_sincos.apply_rot_embed_cat(x, embed, half))
        assert same(rotary.apply_rot_embed(x, sin, cos, half), pos_embed_sincos.apply_rot_embed(x, sin, cos, half))
        assert same(rotary.apply_rot_embed_list([x, -x], sin, cos, half), pos_embed_sincos.apply_rot_embed_list([x, -x], sin, cos, half))
    assert same(rotary.build_rotary_pos_embed([4, 6], dim=16), pos_embed_sincos.build_rotary_pos_embed([4, 6], dim=16))
    own = torch.rand(4)
    assert same(rotary.build_rotary_pos_embed([4, 6], own, grid_type='index'), pos_embed_sincos.build_rotary_pos_embed([4, 6], own, grid_type='index'))
    assert same(places.freq_bands(8), pos_embed_sincos.freq_bands(8))
    for kind, options in (('cat', {}), ('dinov3', {}), ('mixed', dict(depth=2)), ('mrope', dict(mrope_section=(2, 3, 3))), ('base', {})):
        ours, theirs = (m.create_rope_embed(kind, dim=48, num_heads=3, **options) for m in (rotary, pos_embed_sincos))
        assert type(ours).__name__ == type(theirs).__name__
    assert rotary.apply_rot_embed_cat(x.bfloat16(), embed).dtype == torch.bfloat16


@pytest.mark.parametrize(('call', 'words'), [
    (lambda: rotary.RotaryEmbeddingCat(18), '18 features'), (lambda: rotary.RotaryEmbeddingCat(16, grid_type='centred'), "'centered'"),
    (lambda: rotary.RotaryEmbeddingCat(16, grid_indexing='yx'), 'grid_indexing'), (lambda: rotary.RotaryEmbeddingCat(16).get_embed(), 'rows and columns'),
    (lambda: rotary.RotaryEmbeddingDinoV3(16, normalize_coords='mx').get_embed((2, 2)), "'max'"),
    (lambda: rotary.RotaryEmbeddingDinoV3(16, min_period=1.0, max_period=2.0), 'temperature=None'),
    (lambda: rotary.RotaryEmbeddingDinoV3(16, jitter_coords=0.5), 'jitter_coords is a number from 1'),
    (lambda: rotary.RotaryEmbeddingMRope(64, (1, 1, 1)), '32 together'), (lambda: rotary.create_rope_embed('dino'), "'dinov3'"),
    (lambda: rotary.RotaryEmbeddingMRope(64, grid_indexing='xy'), "'ij' alone"),
    (lambda: rotary.create_rope_embed('mixed', depth=1, rotate_half=True), 'rotate_half=False')])
def test_mistakes_in_embeddings_are_named(call, words):
    with pytest.raises(ValueError, match=words):
        call()


# --- attention

ATTENTIONS = [
    ('EvaAttention', dict(norm_layer=nn.LayerNorm)), ('EvaAttention', dict(scale_norm=False, qkv_bias=False)),
    ('EvaAttention', dict(qkv_fused=False, scale_norm=False)), ('EvaAttention', dict(qkv_bias_separate=True, scale_norm=False)),
    ('EvaAttention', dict(qk_norm=True, norm_layer=nn.LayerNorm, attn_head_dim=16, rotate_half=True)),
    ('EvaAttention', dict(gated=True, scale_norm=False, num_prefix_tokens=0)), ('EvaAttention', dict(gated=True, qkv_fused=False, scale_norm=False)),
    ('AttentionRope', {}), ('AttentionRope', dict(qkv_fused=False, qkv_bias=False, proj_bias=False, num_prefix_tokens=3)),
    ('AttentionRope', dict(qk_norm=True, scale_norm=True, norm_layer=nn.LayerNorm, dim_out=32, gated=True)),
    ('AttentionRope', dict(num_kv_heads=2, qkv_fused=False)), ('AttentionRope', dict(num_kv_heads=1, qkv_fused=False, qk_norm=True, norm_layer=nn.LayerNorm)),
]


def layers(name: str, **options) -> tuple[nn.Module, nn.Module]:
    theirs = getattr(theirs_module if name == 'EvaAttention' else timm.layers, name)
    theirs = randomize(theirs(64, 4, **options).double())
    ours = getattr(attention_rope, name)(64, 4, **options).double()
    ours.load_state_dict(theirs.state_dict())
    return ours.eval(), theirs.eval()


@pytest.mark.in_turn
@pytest.mark.parametrize(('name', 'options'), ATTENTIONS, ids=str)
@pytest.mark.parametrize('fused', [True, False])
def test_attention_equals_timms(name, options, fused):
    ours, theirs = layers(name, **options)
    ours.fused_attn = theirs.fused_attn = fused
    prefix = options.get('num_prefix_tokens', 1)
    x = torch.randn(2, prefix + 24, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    shared = torch.randn(24, 2 * ours.head_dim, dtype=torch.float64)
    of_heads = [] if ours.num_kv_heads < 4 else [torch.randn(4, 24, 2 * ours.head_dim, dtype=torch.float64)]   # timm fails
    for rope in (None, shared, *of_heads):
        assert same(ours(x, rope=rope), theirs(x, rope=rope))
    mask = torch.randn(2, 1, prefix + 24, prefix + 24, dtype=torch.float64)
    assert same(ours(x, shared, attn_mask=mask), theirs(x, shared, attn_mask=mask))
    assert same(ours(x, shared, is_causal=True), theirs(x, shared, is_causal=True))


@pytest.mark.parametrize('kv_heads', [1, 2, 4])
def test_grouped_queries_are_heads_that_share_keys(kv_heads):
    """Fused, which timm refuses, and with angles of each head, which it fails at, beside ungrouped attention."""
    grouped = randomize(attention_rope.AttentionRope(64, 4, num_kv_heads=kv_heads).double())
    whole = attention_rope.AttentionRope(64, 4, qkv_fused=False).double()
    state = grouped.state_dict()
    for name in ('weight', 'bias'):
        parts = state.pop(f'qkv.{name}').split(grouped.widths)
        for kind, part in zip('qkv', parts):
            heads = part.unflatten(0, (-1, 16))
            state[f'{kind}_proj.{name}'] = heads.repeat_interleave(4 // len(heads), 0).flatten(0, 1)
    whole.load_state_dict(state)
    x, rope = torch.randn(2, 7, 64, dtype=torch.float64), torch.randn(4, 6, 32, dtype=torch.float64)
    assert same(grouped(x, rope), whole(x, rope))


def test_heads_may_be_narrow():
    assert attention_rope.EvaAttention(64, 4, attn_head_dim=8, scale_norm=False)(torch.randn(2, 7, 64), torch.randn(6, 16)).shape == (2, 7, 64)


def test_a_layer_in_place_of_the_fused_one_is_called():
    class Own(nn.Linear):
        pass

    attention = attention_rope.EvaAttention(64, 4, scale_norm=False)
    randomize(attention)
    x = torch.randn(2, 25, 64)
    before = attention(x)
    own = Own(64, 192, bias=False)
    own.load_state_dict(attention.qkv.state_dict())
    attention.qkv, called = own, []
    own.register_forward_hook(lambda *_: called.append(1))
    assert relative_error(attention(x), before) < 1e-5 and called


def test_every_argument_of_timms_is_ours():
    for module, names in ((eva, ('Eva', 'EvaBlock', 'EvaBlockPostNorm', 'EvaAttention')), (rotary, sorted({name for name, _ in KINDS})),
                          (attention_rope, ('AttentionRope',))):
        for name in names:
            theirs = getattr(theirs_module, name, None) or getattr(timm.layers, name)
            ours, theirs = (inspect.signature(network).parameters for network in (getattr(module, name), theirs))
            wanted = [key for key in theirs if key not in ('device', 'dtype', 'kwargs')]
            assert list(ours)[:len(wanted)] == wanted, name
            assert all(ours[key].default == theirs[key].default or callable(theirs[key].default) for key in wanted), name


# --- options

OPTIONS = [
    dict(), dict(num_classes=0), dict(in_chans=1), dict(img_size=64), dict(patch_size=8), dict(patch_size=(16, 8)),
    dict(global_pool='token'), dict(global_pool='max'), dict(global_pool='avgmax'), dict(global_pool='map'),
    dict(global_pool='map', attn_pool_num_heads=4, attn_pool_mlp_ratio=2.0), dict(global_pool='', num_classes=0),
    dict(qkv_bias=False), dict(qkv_fused=False), dict(qkv_fused=False, qkv_bias=False), dict(qk_norm=True),
    dict(mlp_ratio=2.5, swiglu_mlp=False), dict(swiglu_mlp=False, scale_mlp=True), dict(swiglu_align_to=20), dict(scale_mlp=True),
    dict(scale_attn_inner=True), dict(attn_type='rope'), dict(attn_type='rope', qkv_fused=False, num_kv_heads=1),
    dict(attn_type='rope', qkv_fused=False, num_kv_heads=(3, 1, 3), qk_norm=True), dict(init_values=0.1),
    dict(init_values=0.1, attn_only_layer_scale=True), dict(class_token=False), dict(num_reg_tokens=2),
    dict(num_reg_tokens=2, class_token=False), dict(no_embed_class=True), dict(no_embed_class=True, num_reg_tokens=2),
    dict(use_abs_pos_emb=False), dict(use_rot_pos_emb=False), dict(rope_grid_offset=0.5, rope_grid_indexing='xy'),
    dict(rope_temperature=100.0, rope_rotate_half=True), dict(ref_feat_shape=4), dict(ref_feat_shape=(8, 5)),
    *(dict(rope_type='dinov3', rope_temperature=100.0, **more) for more in (
        {}, dict(rope_rotate_half=True), dict(rope_grid_indexing='xy', rope_grid_offset=0.1))),
    dict(rope_type='mixed', rope_temperature=10.0), dict(rope_type='mixed', attn_type='rope', num_reg_tokens=1),
    dict(rope_type='mrope', rope_rotate_half=True, rope_mrope_section=(2, 3, 3)),
    dict(use_post_norm=True), dict(use_post_norm=True, scale_mlp=True, qkv_fused=False, scale_attn_inner=True), dict(use_pre_transformer_norm=True),
    dict(use_post_transformer_norm=False), dict(use_fc_norm=False), dict(use_fc_norm=True, global_pool='token'),
    dict(use_post_transformer_norm=True, use_fc_norm=True), dict(use_post_transformer_norm=False, use_fc_norm=False), dict(norm_layer=nn.LayerNorm),
    dict(dynamic_img_size=True), dict(dynamic_img_size=True, dynamic_img_pad=True),
]


@pytest.mark.in_turn
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_options_equal_timms(options):
    ours, theirs = pair(NAME, **BASE | options)
    x = images(*ours.img_size, chans=ours.in_chans)
    features, expected = ours.forward_features(x), theirs.forward_features(x)
    assert same(features, expected) and same(ours.pool(features), theirs.pool(expected))
    assert same(ours.forward_head(features, pre_logits=True), theirs.forward_head(expected, pre_logits=True))
    for norm in (False, True):
        words = dict(return_prefix_tokens=bool(ours.num_prefix_tokens), norm=norm, intermediates_only=True)
        assert same(ours.forward_intermediates(x, **words), theirs.forward_intermediates(x, **words))
    for key in ('num_features', 'head_hidden_size', 'embed_dim', 'num_prefix_tokens', 'global_pool', 'num_classes',
                'dynamic_img_size'):
        assert getattr(ours, key) == getattr(theirs, key), key
    assert ours.no_weight_decay() - {'attn_pool.latent'} == {key for key in theirs.no_weight_decay() if key in dict(theirs.named_parameters())}
    outputs = [model.train()(x) for model in (ours, theirs)]
    assert same(*outputs)
    for model, output in zip((ours, theirs), outputs):
        (output.square().sum() + 0 * sum(p.sum() for p in model.parameters())).backward()
    theirs_grads = dict(theirs.named_parameters())
    for key, parameter in ours.named_parameters():
        grad = theirs_grads.pop(key).grad
        assert (parameter.grad - grad).norm() <= 1e-5 * grad.norm() + 1e-9, key
    assert not theirs_grads


@pytest.mark.parametrize('block', ['EvaBlock', 'EvaBlockPostNorm'])
def test_blocks_equal_timms(block):
    options = dict(dim=48, num_heads=3, gated_attn=True, act_layer=nn.SiLU, attn_head_dim=16)
    ours, theirs = getattr(eva, block)(**options).double(), randomize(getattr(theirs_module, block)(**options).double())
    ours.load_state_dict(theirs.state_dict())
    x, rope = torch.randn(2, 7, 48, dtype=torch.float64), torch.randn(6, 32, dtype=torch.float64)
    assert same(ours(x, rope), theirs(x, rope)) and same(ours(x, rope, is_causal=True), theirs(x, rope, is_causal=True))


@pytest.mark.parametrize('options', [dict(), dict(rope_type='mixed')])
def test_masks_equal_timms(options):
    ours, theirs = pair(NAME, **BASE | options)
    mask = torch.randn(2, 1, 7, 7, dtype=torch.float64)
    for words in (dict(attn_mask=mask), dict(is_causal=True)):
        assert same(ours(images(), **words), theirs(images(), **words))


@pytest.mark.parametrize(('options', 'words'), [
    (dict(global_pool='prr'), "global_pool 'prr'"), (dict(class_token=False, global_pool='token'), 'class_token=False'),
    (dict(rope_type='dino'), "'dinov3'"), (dict(attn_type='rop'), "'rope'"), (dict(num_kv_heads=1), "attn_type='rope'"),
    (dict(num_kv_heads=(1, 1), attn_type='rope'), 'each of 3 blocks, not 2'), (dict(num_kv_heads=2, attn_type='rope'), '3 heads of queries'),
    (dict(use_post_norm=True, init_values=0.1), 'use_post_norm.*init_values'), (dict(embed_dim=50), '3 heads'),
    (dict(rope_type='mixed', ref_feat_shape=4), 'ref_feat_shape'), (dict(rope_type='mrope'), 'rotate_half=True'),
    (dict(rope_mrope_section=(2, 3, 3)), 'rope_mrope_section'), (dict(global_pool='', num_classes=3), "global_pool=''")])
def test_mistakes_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        zoo.create_model(NAME, **TINY | BASE | options)


@pytest.mark.parametrize('options', [dict(), dict(rope_type='mixed'), dict(num_reg_tokens=2)], ids=str)
def test_patches_that_are_kept_keep_their_places(options):
    model = randomize(zoo.create_model(NAME, **TINY | BASE | dict(img_size=64, patch_drop_rate=0.5, global_pool='token') | options))
    x = images(64, 64).float()
    torch.manual_seed(0)
    dropped = model.train()(x)
    torch.manual_seed(0)
    prefix = model.num_prefix_tokens
    kept = model.patch_drop.choose(torch.empty(2, prefix + 16, 48))
    seen = torch.cat([torch.ones(2, prefix), torch.zeros(2, 16).scatter(1, kept, 1)], 1).bool()
    assert seen.sum().item() == 2 * (prefix + 8)
    assert relative_error(dropped, model.eval()(x, attn_mask=seen[:, None, None])) < 1e-5


def test_rates_equal_timms():
    options = dict(drop_rate=0.1, pos_drop_rate=0.2, patch_drop_rate=0.3, proj_drop_rate=0.4, attn_drop_rate=0.5, drop_path_rate=0.6)
    ours, theirs = (create(NAME, **TINY, **BASE, **options).train() for create in (zoo.create_model, timm.create_model))
    for model in (ours, theirs):
        model.rates = {name: module.p for name, module in model.named_modules() if isinstance(module, nn.Dropout)}
        model.paths = [getattr(block.drop_path2, 'drop_prob', 0) for block in model.blocks]
    assert ours.rates == theirs.rates and ours.paths == pytest.approx(theirs.paths)
    assert ours.forward_features(images().float()).shape == theirs.forward_features(images().float()).shape


# --- the head


@pytest.mark.in_turn
@pytest.mark.parametrize('options', [dict(), dict(use_fc_norm=True, use_post_transformer_norm=True), dict(use_post_transformer_norm=True)], ids=str)
@pytest.mark.parametrize('then', ['token', 'avg', 'map', 'max', ''])
@pytest.mark.parametrize('first', ['token', 'avg', 'map'])
def test_the_same_words_later_give_the_same_network(first, then, options):
    model = zoo.create_model(NAME, **TINY, **BASE, **options, global_pool=first, num_classes=4)
    model.reset_classifier(4 if then else 0, then)
    built = zoo.create_model(NAME, **TINY, **BASE, **options, global_pool=then, num_classes=4 if then else 0)
    assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in built.state_dict().items()}
    assert repr(model) == repr(built) and model(images().float()).isfinite().all()


def test_fresh_weights_are_as_large_as_timms():
    options = BASE | dict(depth=4, embed_dim=192, num_heads=3, init_values=0.1, num_classes=100)
    ours, theirs = zoo.create_model(NAME, **options), timm.create_model(NAME, **options)
    for (key, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        if b.numel() > 1000:
            assert a.std().item() == pytest.approx(b.std().item(), rel=0.1), key
        elif key not in ('cls_token', 'reg_token', 'patch_embed.proj.bias'):
            assert torch.allclose(a, b, atol=1e-4), key
    assert ours.cls_token.std() < 0.03


# --- sizes


@pytest.mark.in_turn
@pytest.mark.parametrize('size', [(48, 32), (64, 96), (50, 43)])
@pytest.mark.parametrize('options', [dict(), dict(rope_type='mixed'), dict(rope_type='dinov3'),
                                     dict(use_abs_pos_emb=False)], ids=str)
def test_any_size_equals_timms(size, options):
    ours, theirs = pair(NAME, **BASE | options, dynamic_img_size=True, dynamic_img_pad=True)
    x = images(*size)
    assert same(ours(x), theirs(x))
    assert same(ours.forward_intermediates(x, intermediates_only=True), theirs.forward_intermediates(x, intermediates_only=True))


@pytest.mark.in_turn
@pytest.mark.parametrize('options', [dict(), dict(rope_type='mixed'), dict(rope_type='dinov3')], ids=str)
@pytest.mark.parametrize('size, patch', [((64, 64), 16), ((48, 48), 8), ((96, 48), (16, 8))])
def test_another_size_equals_timms(size, patch, options):
    ours, theirs = pair(NAME, **BASE | options)
    published = {key: value.clone() for key, value in ours.state_dict().items()}
    for model in (ours, theirs):
        model.set_input_size(size, patch if isinstance(patch, tuple) else (patch, patch))
    x = images(*size)
    assert relative_error(ours(x), theirs(x)) < 1e-5 and ours.rope.feat_shape == ours.patch_embed.grid_size
    opened = zoo.create_model(NAME, pretrained=published, pretrained_cfg_overlay=dict(num_classes=5, input_size=(3, 48, 32)),
                              **TINY | BASE | dict(num_classes=5, img_size=size, patch_size=patch) | options).eval()
    assert relative_error(opened(x.float()), ours(x)) < 1e-4


SHOWN = ['eva02_tiny_patch14_224', 'vit_small_patch16_dinov3', 'vit_pe_core_tiny_patch16_384', 'vit_small_patch16_rope_mixed_ape_224',
         'vit_large_patch16_sapiens2']


@pytest.mark.sweep
@pytest.mark.parametrize('name', SHOWN)
def test_compiles_and_exports_for_any_size(name):
    model = randomize(zoo.create_model(name, **short(name) | dict(dynamic_img_size=True, dynamic_img_pad=True))).eval()
    x, other = torch.rand(2, 3, 70, 55), torch.rand(3, 3, 33, 90)
    compiled = torch.compile(model, backend='eager', fullgraph=True)
    assert relative_error(compiled(x), model(x)) < 1e-4
    sizes = {0: Dim('batch', max=64), 2: Dim('height', min=32, max=512), 3: Dim('width', min=32, max=512)}
    exported = torch.export.export(model, (x,), dynamic_shapes={'x': sizes}).module()
    assert relative_error(exported(other), model(other)) < 1e-4


@pytest.mark.parametrize('name', SHOWN)
def test_half_precision_is_near(name):
    model = randomize(zoo.create_model(name, **short(name), num_classes=9)).eval()
    x = torch.rand(2, 3, *model.img_size) * 2 - 1
    expected = model(x)
    with torch.autocast('cpu', torch.bfloat16):
        assert relative_error(model(x).float(), expected) < 0.1
    assert relative_error(model.bfloat16()(x.bfloat16()).float(), expected) < 0.1
