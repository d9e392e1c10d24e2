"""Vision transformers and DeiT: every option, sizes, pooling, tokens and attention, beside timm's where it has them."""
from __future__ import annotations

import inspect
import itertools
import logging

import pytest
import timm
import torch
from timm.models import vision_transformer as theirs_module
from torch import nn
from torch.export import Dim
from torch.nn import functional as F

import zoo
from conftest import randomize, relative_error
from structures import STRUCTURES, of_tokens, short
from zoo.layers import attention_pool, attention_tokens, glu
from zoo.layers.positions import resize_weights
from zoo.layers.tokens import TOKEN_POOLS, PatchDropout
from zoo.models import deit, vision_transformer
from zoo.models.vision_transformer import VisionTransformer
from zoo.registry import resolve

TINY = dict(img_size=(48, 32), embed_dim=48, depth=3, num_heads=3)
BLOCKS = ['Block', 'ResPostBlock', 'ParallelThingsBlock', 'ParallelScalingBlock', 'DiffParallelScalingBlock']


def options_of_timm(options: dict) -> dict:
    """timm takes some classes where zoo takes names too."""
    words = dict(options)
    if isinstance(words.get('block_fn'), str):
        words['block_fn'] = getattr(theirs_module, words['block_fn'])
    if isinstance(words.get('mlp_layer'), str):
        words['mlp_layer'] = {'swiglu': timm.layers.SwiGLU, 'swiglu_packed': timm.layers.SwiGLUPacked,
                              'glu': timm.layers.GluMlp, 'mlp': timm.layers.Mlp}[words['mlp_layer']]
    return words


def pair(name: str = 'vit_tiny_patch16_224', **options) -> tuple[nn.Module, nn.Module]:
    """Ours and timm's with one set of random weights, in float64."""
    options = TINY | dict(num_classes=5) | options
    ours = zoo.create_model(name, **options).double()
    theirs = randomize(timm.create_model(name, **options_of_timm(options)).double())
    ours.load_state_dict(theirs.state_dict())
    return ours.eval(), theirs.eval()


def images(*size: int, batch: int = 2, chans: int = 3) -> torch.Tensor:
    generator = torch.Generator().manual_seed(3)
    return torch.rand(batch, chans, *(size or (48, 32)), generator=generator, dtype=torch.float64) * 2 - 1


def same(ours: object, theirs: object) -> bool:
    """Equal up to rounding, tensor by tensor."""
    if isinstance(ours, torch.Tensor):
        return relative_error(ours, theirs) < 1e-6
    return len(ours) == len(theirs) and all(same(a, b) for a, b in zip(ours, theirs))


# --- options


OPTIONS = [
    dict(num_classes=0), dict(in_chans=1), dict(in_chans=4), dict(img_size=64), dict(patch_size=8), dict(patch_size=(16, 8)),
    dict(mlp_ratio=2.5), dict(qkv_bias=False), dict(qk_norm=True), dict(scale_attn_norm=True), dict(scale_mlp_norm=True),
    dict(proj_bias=False), dict(init_values=0.1), dict(class_token=False, global_pool='avg'), dict(pos_embed='none'),
    dict(pos_embed='', reg_tokens=2), dict(no_embed_class=True), dict(reg_tokens=3), dict(pre_norm=True),
    dict(reg_tokens=3, no_embed_class=True, global_pool='avg'), dict(final_norm=False), dict(fc_norm=True),
    dict(final_norm=False, global_pool='avg'), dict(fc_norm=False, global_pool='avg'), dict(global_pool='max'),
    dict(global_pool='avg'), dict(global_pool='avgmax'), dict(global_pool='map'), dict(global_pool='prr'),
    dict(global_pool='prr', class_token=False), dict(global_pool='map', pool_include_prefix=True, reg_tokens=1),
    dict(global_pool='avg', pool_include_prefix=True), dict(global_pool='map', fc_norm=True, act_layer='silu'),
    dict(global_pool='', num_classes=0), dict(dynamic_img_size=True), dict(dynamic_img_size=True, dynamic_img_pad=True),
    dict(norm_layer='rmsnorm'), dict(norm_layer=nn.LayerNorm), dict(act_layer='quick_gelu'), dict(act_layer=nn.SiLU),
    dict(embed_norm_layer='layernorm'), dict(mlp_layer='swiglu'), dict(mlp_layer='swiglu_packed'), dict(mlp_layer='glu'),
    dict(mlp_layer='swiglu', scale_mlp_norm=True), dict(mlp_layer='swiglu_packed', scale_mlp_norm=True, proj_bias=False),
    dict(attn_layer='diff'), dict(attn_layer='diff', qk_norm=True, scale_attn_norm=True),
    *(dict(block_fn=block, init_values=0.1) for block in BLOCKS), *(dict(block_fn=block, qk_norm=True) for block in BLOCKS),
    *(dict(block_fn=block, qkv_bias=False) for block in BLOCKS[3:]),
    dict(drop_rate=0.1, pos_drop_rate=0.1, proj_drop_rate=0.1, attn_drop_rate=0.1, drop_path_rate=0.1),
]


@pytest.mark.in_turn
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_options_equal_timms(options):
    ours, theirs = pair(**options)
    x = images(*ours.img_size, chans=ours.in_chans)
    features, expected = ours.forward_features(x), theirs.forward_features(x)
    assert same(features, expected)
    assert same(ours(x), theirs(x)) and same(ours.pool(features), theirs.pool(expected))
    assert same(ours.forward_head(features, pre_logits=True), theirs.forward_head(expected, pre_logits=True))
    for norm in (False, True):
        words = dict(return_prefix_tokens=bool(ours.num_prefix_tokens), norm=norm, intermediates_only=True)
        assert same(ours.forward_intermediates(x, **words), theirs.forward_intermediates(x, **words))
        words = dict(n=2, reshape=not norm, return_prefix_tokens=bool(ours.num_prefix_tokens), norm=norm)
        assert same(ours.get_intermediate_layers(x, **words), theirs.get_intermediate_layers(x, **words))
    for key in ('num_features', 'head_hidden_size', 'embed_dim', 'num_prefix_tokens', 'num_reg_tokens', 'has_class_token',
                'no_embed_class', 'global_pool', 'num_classes', 'dynamic_img_size'):
        assert getattr(ours, key) == getattr(theirs, key), key
    for key in ('grid_size', 'num_patches', 'patch_size', 'img_size'):
        assert getattr(ours.patch_embed, key) == getattr(theirs.patch_embed, key), key
    outputs = [(model(x).square().sum() + 0 * sum(p.sum() for p in model.parameters())) for model in (ours, theirs)]
    for output in outputs:
        output.backward()
    theirs_grads = dict(theirs.named_parameters())
    for key, parameter in ours.named_parameters():
        grad = theirs_grads.pop(key).grad
        assert (parameter.grad - grad).norm() <= 1e-5 * grad.norm() + 1e-9, key            # timm has lambda in float32
    assert not theirs_grads


def test_every_argument_of_timms_is_ours():
    for name in ('VisionTransformer', *BLOCKS, 'Attention', 'Mlp', 'PatchEmbed', 'LayerScale'):
        ours, theirs = (inspect.signature(getattr(module, name)).parameters for module in (vision_transformer, theirs_module))
        wanted = [key for key in theirs if key not in ('device', 'dtype')]
        assert list(ours)[:len(wanted)] == wanted, name
    for module, names in ((attention_tokens, ('DiffAttention',)), (attention_pool, ('AttentionPoolLatent', 'AttentionPoolPrr')),
                          (glu, ('GluMlp', 'SwiGLU'))):
        for name in names:
            ours, theirs = (inspect.signature(getattr(m, name)).parameters for m in (module, timm.layers))
            assert list(ours) == [key for key in theirs if key not in ('device', 'dtype')], name


def test_rates_equal_timms():
    options = dict(drop_rate=0.1, pos_drop_rate=0.2, patch_drop_rate=0.3, proj_drop_rate=0.4, attn_drop_rate=0.5,
                   drop_path_rate=0.6, init_values=0.1)
    ours, theirs = (create('vit_tiny_patch16_224', **TINY, **options).train() for create in (zoo.create_model, timm.create_model))
    for model in (ours, theirs):
        model.rates = [(name, module.p) for name, module in model.named_modules() if isinstance(module, nn.Dropout)]
        model.paths = [getattr(block.drop_path2, 'drop_prob', 0) for block in model.blocks]
    assert ours.rates == theirs.rates and ours.paths == pytest.approx(theirs.paths)
    assert ours.drop_rate == 0.1 and ours.patch_drop.prob == theirs.patch_drop.prob == 0.3
    x = images().float()
    assert ours.forward_features(x).shape == theirs.forward_features(x).shape == (2, 1 + 4, 48)
    with pytest.raises(ValueError, match='patch_drop_rate.*in evaluation'):
        ours.forward_intermediates(x)


def test_patch_dropout_keeps_the_prefix_and_different_patches_of_each_image():
    tokens = torch.arange(20.0).view(1, 20, 1).expand(8, -1, 1)
    kept = PatchDropout(0.5, num_prefix_tokens=2, ordered=True).train()(tokens)[..., 0]
    assert kept.shape == (8, 2 + 9) and kept[:, :2].eq(torch.tensor([0.0, 1.0])).all()
    assert kept.diff(dim=1).gt(0).all() and len({tuple(row) for row in kept.tolist()}) > 1
    assert torch.equal(PatchDropout(0.5).eval()(tokens), tokens)


@pytest.mark.parametrize(('options', 'words'), [
    (dict(global_pool='tokn'), "VisionTransformer has '', 'avg', .*'token', 'map' or 'prr' pooling, not 'tokn'"),
    (dict(class_token=False), "class_token=False.*'avg' pools the patches"),
    (dict(global_pool='catavgmax', fc_norm=True), 'fc_norm=True'),
    (dict(pos_embed='lern'), "'learn'"), (dict(weight_init='jaks'), "'jax'"), (dict(block_fn='Blok'), "'Block'"),
    (dict(mlp_layer='swigul'), "'swiglu'"), (dict(attn_layer='dif'), "'diff'"), (dict(norm_layer='rmsnrm'), "'rmsnorm'"),
    (dict(embed_dim=50), '3 heads'), (dict(embed_dim=51, attn_layer='diff'), '3 heads'),
    (dict(block_fn='ParallelScalingBlock', scale_attn_norm=True), 'scale_attn_norm'),
    (dict(block_fn='ParallelScalingBlock', attn_layer='diff'), 'no attn_layer'),
    (dict(mlp_layer='glu', mlp_ratio=1.02083334), 'halved, which 49'), (dict(patch_drop_rate=1.0), 'patch_drop_rate'),
    (dict(global_pool=''), "global_pool=''"), (dict(img_size='224'), 'img_size'),
])
def test_mistakes_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        zoo.create_model('vit_tiny_patch16_224', **TINY | options)


def test_a_class_of_ones_own_takes_each_place():
    class Half(nn.Linear):
        def __init__(self, in_features: int, hidden_features: int, **options: object) -> None:
            super().__init__(in_features, in_features)

    class OwnBlock(vision_transformer.Block):
        pass

    model = zoo.create_model('vit_tiny_patch16_224', **TINY, mlp_layer=Half, block_fn=OwnBlock, norm_layer=nn.LayerNorm,
                             attn_layer=attention_tokens.Attention, embed_layer=vision_transformer.PatchEmbed)
    assert isinstance(model.blocks[0].mlp, Half) and isinstance(model.blocks[2], OwnBlock) and model.norm.eps == 1e-5
    assert model(images().float()).shape == (2, 1000)


# --- masks, layers


@pytest.mark.in_turn
@pytest.mark.parametrize('block', BLOCKS)
@pytest.mark.parametrize('fused', [True, False])
def test_masks_equal_timms(block, fused):
    ours, theirs = pair(block_fn=block)
    for model in (ours, theirs):
        for module in model.modules():
            if hasattr(module, 'fused_attn'):
                module.fused_attn = fused
    mask = torch.randn(2, 1, 7, 7, dtype=torch.float64)
    for words in (dict(attn_mask=mask), dict(is_causal=True)):
        assert same(ours(images(), **words), theirs(images(), **words))
    keep = torch.ones(7, 7, dtype=torch.bool).tril()
    assert same(ours(images(), attn_mask=keep), ours(images(), is_causal=True))


ATTENTIONS = [('Attention', {}), ('Attention', dict(gated=True, qkv_bias=True)), ('Attention', dict(attn_head_dim=8, dim_out=32)),
              ('Attention', dict(qk_norm=True, scale_norm=True, norm_layer=nn.LayerNorm)), ('DiffAttention', dict(depth=4)),
              ('DiffAttention', dict(dual_lambda=True)), ('AttentionPoolPrr', dict(num_heads=2, pool_type='avg')),
              ('AttentionPoolPrr', dict(pre_norm=True, post_norm=True, norm_layer=nn.LayerNorm)),
              ('AttentionPoolLatent', dict(latent_len=3, pool_type='avg', feat_size=9, pos_embed='abs')),
              ('AttentionPoolLatent', dict(qk_norm=True, norm_layer=nn.LayerNorm, out_features=32, qkv_bias=False)),
              ('GluMlp', dict(hidden_features=32, out_features=8)), ('SwiGLU', dict(hidden_features=30, align_to=16)),
              ('SwiGLUPacked', dict(bias=False))]


@pytest.mark.in_turn
@pytest.mark.parametrize(('name', 'options'), ATTENTIONS, ids=str)
def test_layers_equal_timms(name, options):
    module = next(m for m in (attention_tokens, attention_pool, glu) if hasattr(m, name))
    ours = getattr(module, name)(64, **options).double()
    theirs = randomize(getattr(timm.layers, name)(64, **options).double())
    ours.load_state_dict(theirs.state_dict())
    x = torch.randn(2, 9, 64, dtype=torch.float64, generator=torch.Generator().manual_seed(0))
    assert same(ours(x), theirs(x))


@pytest.mark.in_turn
@pytest.mark.parametrize('name', [name for name in STRUCTURES if of_tokens(resolve(name)[0].model)])
def test_attention_maps_are_those_that_are_computed(name):
    model = randomize(zoo.create_model(name, **short(name))).eval()
    x = torch.rand(2, 3, *model.img_size) * 2 - 1
    maps = model.forward_attentions(x)
    tokens = 12 + model.num_prefix_tokens
    assert len(maps) % len(model.blocks) == 0 and all(m.shape[0] == 2 and m.shape[2:] == (tokens, tokens) for m in maps)
    assert all(torch.allclose(m.sum(-1), torch.ones(())) for m in maps)
    before = model(x)
    for module in model.modules():
        if hasattr(module, 'fused_attn'):
            module.fused_attn = False
    assert relative_error(model(x), before) < 1e-4                   # float32
    outputs = zoo.forward_outputs(model, x, output_hidden_states=True, output_attentions=True)
    assert len(outputs.hidden_states) == len(model.blocks) + 1 and len(outputs.attentions) >= len(model.blocks)
    assert all(state.shape == (2, tokens, model.embed_dim) for state in outputs.hidden_states)
    if model.num_classes:
        assert relative_error(outputs.logits, before) < 1e-4


# --- the head


@pytest.mark.in_turn
@pytest.mark.parametrize('first, then', list(itertools.permutations(['token', 'avg', 'map', 'catavgmax', ''], 2)), ids=str)
def test_the_same_words_later_give_the_same_network(first, then):
    classes = [4 if kind else 0 for kind in (first, then)]
    model = zoo.create_model('vit_tiny_patch16_224', **TINY, global_pool=first, num_classes=classes[0]).double()
    randomize(model)
    norm = {k.partition('norm.')[2]: v.clone() for k, v in model.state_dict().items() if k.startswith(('norm.', 'fc_norm.'))}
    model.reset_classifier(classes[1], then)
    built = zoo.create_model('vit_tiny_patch16_224', **TINY, global_pool=then, num_classes=classes[1])
    assert {k: v.shape for k, v in model.state_dict().items()} == {k: v.shape for k, v in built.state_dict().items()}
    assert repr(model.double()) == repr(built.double())
    after = {k.partition('norm.')[2]: v for k, v in model.state_dict().items() if k.startswith(('norm.', 'fc_norm.'))}
    assert all(torch.equal(after[key], value) for key, value in norm.items())
    assert model(images()).isfinite().all()


def test_every_kind_of_pooling_is_there():
    for kind in TOKEN_POOLS:
        model = zoo.create_model('vit_tiny_patch16_224', **TINY, global_pool=kind, num_classes=3 if kind else 0)
        assert model.forward_head(model.forward_features(images().float()), pre_logits=True).shape[-1] == model.embedding_size
    tokens = torch.randn(2, 7, 48)
    assert torch.equal(model.pool(tokens, 'max'), tokens[:, 1:].amax(1))


# --- weights of other networks


@pytest.fixture(scope='module')
def published() -> dict[str, torch.Tensor]:
    """A checkpoint of a small network with a class token, for images of 48x32."""
    return randomize(zoo.create_model('vit_tiny_patch16_224', **TINY, num_classes=5)).state_dict()


def load(state: dict[str, torch.Tensor], **options) -> nn.Module:
    cfg = dict(num_classes=5, input_size=(3, 48, 32))
    return zoo.create_model('vit_tiny_patch16_224', pretrained=state, pretrained_cfg_overlay=cfg,
                            **TINY | dict(num_classes=5) | options).eval()


def test_a_token_pooled_checkpoint_opens_with_other_pooling(published):
    x = images().float()
    token, avg = load(published), load(published, global_pool='avg')
    assert torch.equal(avg.fc_norm.weight, published['norm.weight'])
    patches = token.walk(x)[0].x[:, 1:].mean(1)
    assert relative_error(avg(x), token.head(token.norm(patches))) < 1e-5
    back = load({k: v for k, v in avg.state_dict().items()})
    assert torch.equal(back(x), token(x))
    with pytest.raises(ValueError, match='missing: attn_pool'):
        load(published, global_pool='map')
    mapped = zoo.create_model('vit_tiny_patch16_224', **TINY, num_classes=5, global_pool='map').state_dict()
    assert load(mapped, global_pool='avg').attn_pool is None


def test_a_checkpoint_opens_without_its_class_token_or_with_registers(published, caplog):
    token, x = load(published), images().float()
    without = load(published, class_token=False, global_pool='avg')
    assert torch.equal(without.pos_embed, published['pos_embed'][:, 1:])
    bare = load(published, no_embed_class=True)
    assert relative_error(bare(x), token(x)) < 1e-5                     # the token holds its position
    with caplog.at_level(logging.INFO, 'zoo'):
        more = load(published, reg_tokens=2)
    assert 'reg_token: drawn' in caplog.text
    assert more.pos_embed.shape == (1, 9, 48) and torch.equal(more.pos_embed[:, 0], published['pos_embed'][:, 0])
    assert torch.equal(more.pos_embed[:, 3:], published['pos_embed'][:, 1:]) and more.reg_token.abs().max() < 1e-4
    assert torch.equal(load({**more.state_dict()}, reg_tokens=0)(x), token(x))


@pytest.mark.parametrize('size', [(48, 32), (64, 64), (32, 80), (96, 96)])
def test_positions_of_another_size_are_resampled_as_timm_does(published, size):
    model = load(published, img_size=size)
    expected = timm.layers.resample_abs_pos_embed(published['pos_embed'], [s // 16 for s in size], [3, 2])
    assert relative_error(model.pos_embed, expected) < 1e-6
    later = load(published)
    later.set_input_size(size)
    assert torch.equal(later.pos_embed, model.pos_embed) and later.img_size == size
    theirs = timm.create_model('vit_tiny_patch16_224', **TINY, num_classes=5).eval()
    theirs.load_state_dict(published)
    theirs.set_input_size(size)
    assert relative_error(later(images(*size).float()), theirs(images(*size).float())) < 1e-5


@pytest.mark.parametrize('mode', ['bilinear', 'bicubic'])
@pytest.mark.parametrize('old, new', [(14, 14), (14, 24), (14, 9), (7, 200), (64, 5), (1, 4)])
def test_resizing_as_a_product_with_a_matrix_is_torchs(old, new, mode):
    grid = images(old, 4)
    expected = torch.nn.functional.interpolate(grid, (new, 4), mode=mode, antialias=True)
    assert relative_error(resize_weights(old, new, mode).double() @ grid, expected) < 1e-6
    with pytest.raises(ValueError, match="Did you mean 'bilinear'"):
        resize_weights(old, new, 'nearest')


def test_positions_of_an_unknown_size_are_refused(published):
    state = {**published, 'pos_embed': torch.zeros(1, 1 + 11, 48)}
    with pytest.raises(ValueError, match=r'pos_embed: 12 positions.*input_size'):
        load(state)
    square = {**published, 'pos_embed': torch.zeros(1, 1 + 16, 48)}
    assert load(square).pos_embed.shape == (1, 7, 48)


@pytest.mark.parametrize('patch', [8, (16, 8), 12])
def test_patches_of_another_size(published, patch):
    theirs = timm.create_model('vit_tiny_patch16_224', **TINY, num_classes=5).eval()
    theirs.load_state_dict(published)
    model = load(published)
    pair = (patch, patch) if isinstance(patch, int) else patch
    for network in (model, theirs):
        network.set_input_size((48, 48), pair)
    assert model.patch_embed.patch_size == pair and model.feature_info[0]['reduction'] == max(pair)
    x = images(48, 48).float()
    assert relative_error(model(x), theirs(x)) < 1e-4
    assert relative_error(load(published, img_size=(48, 48), patch_size=patch)(x), theirs(x)) < 1e-4


# --- images of other sizes


@pytest.mark.in_turn
@pytest.mark.parametrize('size', [(48, 32), (64, 96), (50, 43)])
@pytest.mark.parametrize('options', [dict(), dict(reg_tokens=2, no_embed_class=True), dict(class_token=False, global_pool='avg')])
def test_any_size_equals_timms(size, options):
    ours, theirs = pair(dynamic_img_size=True, dynamic_img_pad=True, **options)
    x = images(*size)
    assert same(ours(x), theirs(x))
    assert same(ours.forward_intermediates(x, intermediates_only=True), theirs.forward_intermediates(x, intermediates_only=True))


def test_other_sizes_are_refused_where_they_do_not_fit():
    fixed, whole = (zoo.create_model('vit_tiny_patch16_224', **TINY, dynamic_img_size=dynamic) for dynamic in (False, True))
    with pytest.raises(ValueError, match='fitted to images of 48x32.*has 64x64.*dynamic_img_size=True'):
        fixed(torch.rand(1, 3, 64, 64))
    with pytest.raises(ValueError, match='50x48.*dynamic_img_pad=True'):
        whole(torch.rand(1, 3, 50, 48))


def test_backbones_take_any_size():
    backbone = zoo.create_model('vit_tiny_patch16_224', features_only=True, **TINY | dict(depth=4)).eval()
    assert backbone.feature_info.out_indices == (1, 2, 3)                           # the last three, as timm's
    assert [m.shape for m in backbone(torch.rand(1, 3, 50, 43))] == [(1, 48, 4, 3)] * 3
    fixed = zoo.create_model('vit_tiny_patch16_224', features_only=True, dynamic_img_size=False, **TINY)
    with pytest.raises(ValueError, match='fitted to images of 48x32'):
        fixed(torch.rand(1, 3, 50, 43))
    with_prefix = zoo.create_model('test_vit2', features_only=True, return_prefix_tokens=True, norm=True, out_indices=(3, 0))
    assert [(m.shape[1:], p.shape[1:]) for m, p in with_prefix(torch.rand(1, 3, 32, 48))] == [((64, 2, 3), (1, 64))] * 2


def test_a_network_that_has_learned_to_leave_a_rest_leaves_it():
    options = dict(img_size=(50, 43), embed_dim=48, depth=1, num_heads=3)
    ours, theirs = pair(**options)
    assert ours.patch_embed.grid_size == (3, 2) and same(ours(images(50, 43)), theirs(images(50, 43)))
    backbone = zoo.create_model('vit_tiny_patch16_224', features_only=True, **options)
    assert backbone(torch.rand(1, 3, 50, 43))[0].shape[2:] == (3, 2)
    assert backbone(torch.rand(1, 3, 43, 50))[0].shape[2:] == (3, 4)


@pytest.mark.sweep
@pytest.mark.parametrize('name', ['test_vit', 'test_vit3', 'vit_so400m_patch14_siglip_384', 'vit_dpwee_patch16_reg1_gap_256', 'deit_tiny_distilled_patch16_224'])
def test_compiles_and_exports_for_any_size(name):
    model = randomize(zoo.create_model(name, **short(name) | dict(dynamic_img_size=True, dynamic_img_pad=True))).eval()
    x, other = torch.rand(2, 3, 70, 55), torch.rand(3, 3, 33, 90)
    compiled = torch.compile(model, backend='eager', fullgraph=True)
    assert relative_error(compiled(x), model(x)) < 1e-4
    sizes = {0: Dim('batch', max=64), 2: Dim('height', min=32, max=512), 3: Dim('width', min=32, max=512)}
    exported = torch.export.export(model, (x,), dynamic_shapes={'x': sizes}).module()
    assert relative_error(exported(other), model(other)) < 1e-4


# --- training


def test_gradient_checkpointing_changes_nothing():
    model = randomize(zoo.create_model('vit_tiny_patch16_224', **TINY, num_classes=3)).train()
    gradients = []
    for enable in (False, True):
        model.zero_grad()
        model.set_grad_checkpointing(enable)
        model(images().float(), is_causal=True).square().sum().backward()
        gradients.append([p.grad.clone() for p in model.parameters()])
    assert all(torch.allclose(a, b) for a, b in zip(*gradients, strict=True))


@pytest.mark.parametrize('mode', ['', 'reset', 'jax', 'jax_nlhb', 'moco', 'skip'])
def test_initial_weights_are_as_large_as_timms(mode):
    options = dict(weight_init=mode, depth=2, reg_tokens=1, num_classes=100)
    ours = zoo.create_model('vit_tiny_patch16_224', **options)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.fill_(7.0)
    ours.init_weights()
    theirs = timm.create_model('vit_tiny_patch16_224', **options | dict(weight_init='' if mode == 'reset' else mode))
    for (key, a), b in zip(ours.named_parameters(), theirs.parameters(), strict=True):
        if key == 'reg_token' or mode == 'skip' and key in ('cls_token', 'pos_embed'):
            assert a.abs().max() < 0.2
        elif b.numel() > 1000:
            assert a.std().item() == pytest.approx(b.std().item(), rel=0.1, abs=1e-4), key
        elif b.std() < 1e-4:
            assert torch.allclose(a, b, atol=1e-4), key
    fixed = zoo.create_model('vit_tiny_patch16_224', depth=2, fix_init=True)
    assert [b.mlp.fc2.weight.std().item() for b in fixed.blocks] == pytest.approx([0.02 / 2 ** 0.5, 0.02 / 2], rel=0.05)


def test_no_weight_decay_names_what_is_there():
    assert zoo.create_model('vit_tiny_patch16_224', **TINY).no_weight_decay() == {'cls_token', 'pos_embed'}
    pooled = zoo.create_model('vit_tiny_patch16_224', **TINY, global_pool='map', reg_tokens=1)
    assert pooled.no_weight_decay() == {'cls_token', 'reg_token', 'pos_embed', 'attn_pool.latent'}


# --- DeiT


def test_distilled_networks_equal_timms():
    ours, theirs = pair('deit_tiny_distilled_patch16_224')
    x = images()
    features = ours.forward_features(x)
    assert same(features, theirs.forward_features(x)) and same(ours(x), theirs(x))
    assert same(ours.forward_head(features, pre_logits=True), theirs.forward_head(features, pre_logits=True))
    for model in (ours, theirs):
        model.train().set_distilled_training(True)
    assert same(ours(x), theirs(x))
    parts = ours.forward_distilled(x)
    assert same(parts.logits, theirs.eval()(x))
    outputs = zoo.forward_outputs(ours.eval(), x)
    assert same(outputs.distillation_logits, parts.distillation_logits) and same(outputs.logits, parts.logits)
    ours.reset_classifier(2)
    assert ours(x).shape == (2, 2) and ours.head_dist.out_features == 2
    assert ours.no_weight_decay() == {'cls_token', 'dist_token', 'pos_embed'}
    with pytest.raises(ValueError, match="VisionTransformerDistilled has '' or 'token' pooling, not 'avg'"):
        ours.reset_classifier(2, 'avg')


def test_deit_shares_its_class():
    assert deit.VisionTransformer is VisionTransformer and isinstance(zoo.create_model('deit_tiny_patch16_224'), VisionTransformer)
    assert F.softmax(zoo.create_model('deit3_small_patch16_224', **TINY)(images().float()), -1).shape == (2, 1000)
