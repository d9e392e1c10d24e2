"""MViTv2 beside timm's: every option, the class token, pooling first, relative positions for other sizes."""
from __future__ import annotations

import pytest
import timm
import torch
from beside_timm import check_compiled, check_exported, compare_options, of_timm, on_meta
from conftest import randomize, relative_error
from torch.nn import functional as F
from structures import short

import zoo
import zoo.pretrained.foreign.mvitv2
from zoo.models import mvitv2
from zoo.models.mvitv2 import MultiScaleAttention, MultiScaleAttentionPoolFirst, MultiScaleVit, MultiScaleVitCfg

NAME, CLS, LARGE = 'mvitv2_tiny', 'mvitv2_small_cls', 'mvitv2_large'
SHORT = dict(img_size=64, depths=(1, 2, 2, 1), embed_dim=(16, 32, 48, 64), num_heads=(1, 2, 3, 4))
POOLED = dict(num_heads=2, kernel_q=(3, 3), kernel_kv=(3, 3), stride_q=(2, 2), stride_kv=(4, 4))


def image(*size: int, batch: int = 2, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(5), dtype=dtype) * 2 - 1


@pytest.mark.in_turn
@pytest.mark.parametrize('options', [
    dict(), dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(img_size=(96, 96)),
    dict(expand_attn=False), dict(use_cls_token=True), dict(use_cls_token=True, global_pool='avg'),
    dict(use_cls_token=True, expand_attn=False, kernel_qkv=(1, 1)), dict(use_abs_pos=True),
    dict(use_abs_pos=True, use_cls_token=True), dict(residual_pooling=False), dict(rel_pos_type=''), dict(mode='avg'),
    dict(mode='max', use_cls_token=True), dict(kernel_qkv=(1, 1)), dict(kernel_qkv=(5, 3)), dict(qkv_bias=False),
    dict(stride_q=((2, 2), (1, 1), (1, 1), (2, 2)), stride_kv=((1, 1),) * 4),
    dict(stride_kv=None, stride_kv_adaptive=(8, 8)),
    dict(embed_dim=16, num_heads=1), dict(mlp_ratio=2.0), dict(norm_layer='rmsnorm', norm_eps=1e-2),
    dict(stride_q=[[1, 1], [2, 2], [2, 2], [2, 2]], kernel_qkv=[3, 3]),
    dict(patch_kernel=(3, 3), patch_stride=(2, 2), patch_padding=(1, 1), img_size=32),
    dict(drop_rate=0.1, drop_path_rate=0.3),
], ids=str)
def test_options_equal_timms(options):
    options = {**SHORT, **options}
    side = max(options['img_size']) if isinstance(options['img_size'], tuple) else options['img_size']
    ours, theirs = compare_options(NAME, (side, side), **options)
    rates = [[getattr(block.drop_path1, 'drop_prob', 0) for stage in m.stages for block in stage.blocks]
             for m in (ours, theirs)]
    assert rates[0] == pytest.approx(rates[1])
    assert ours.no_weight_decay() == theirs.no_weight_decay() and ours.num_prefix_tokens == theirs.num_prefix_tokens


@pytest.mark.parametrize('make', [
    lambda m: m.MultiScaleAttention(8, 16, (6, 6), **POOLED),
    lambda m: m.MultiScaleAttention(8, 8, (6, 6), 1, mode='conv_unshared'),
    lambda m: m.MultiScaleAttention(8, 8, (6, 6), 1, False, 'conv_unshared', (3, 3), (3, 3)),
    lambda m: m.MultiScaleBlock(8, 16, 2, (6, 6), stride_q=(2, 2), expand_attn=True),
    lambda m: m.MultiScaleBlock(8, 16, 2, (6, 6), 2.0, False, 0.1, mode='avg', kernel_q=(3, 3)),
    lambda m: m.MultiScaleVitStage(8, 16, 2, 2, (6, 6), stride_q=(2, 2), kernel_q=(3, 3), drop_path=0.1)])
def test_layers_are_built_as_timms(make):
    ours, theirs = make(mvitv2).eval(), make(timm.models.mvitv2).eval()
    ours.load_state_dict(randomize(theirs).state_dict())
    x = torch.rand(2, 37, 8)
    (tokens, size), (expected, expected_size) = (layer(x, (6, 6)) for layer in (ours, theirs))
    assert relative_error(tokens, expected) < 1e-5 and size == tuple(expected_size)


def test_pooling_first_is_pooling_where_both_are_linear():                          # timm's fails
    options = dict(POOLED, qkv_bias=False, mode='avg', feat_size=(7, 5))
    first, after = (randomize(kind(8, 16, **options)) for kind in (MultiScaleAttentionPoolFirst, MultiScaleAttention))
    state = after.state_dict()
    state |= dict(zip(('q.weight', 'k.weight', 'v.weight'), state.pop('qkv.weight').chunk(3)))
    first.load_state_dict(state)
    x = torch.rand(2, 36, 8)
    assert torch.allclose(first(x, (7, 5))[0], after(x, (7, 5))[0], atol=1e-6)
    options = SHORT | dict(embed_dim=(16, 32, 64, 64), num_heads=(1, 2, 2, 4), pool_first=True, use_cls_token=True)
    model = randomize(zoo.create_model(NAME, **options)).eval()
    assert model(image(64, 64, dtype=torch.float32)).isfinite().all()
    assert model.stages[1].blocks[1].attn.pool_k.weight.shape == (16, 1, 3, 3)


@pytest.mark.parametrize('kind', [MultiScaleAttention, MultiScaleAttentionPoolFirst])
def test_convolutions_of_each_head(kind):                                           # timm's fails with several heads
    layer = randomize(kind(8, 8, (6, 6), mode='conv_unshared', **POOLED))
    tokens = torch.rand(2, 2, 37, 4)                                               # of two heads
    pooled, size = layer.pool(tokens, 'k', (6, 6))
    maps = tokens[:, :, 1:].transpose(2, 3).reshape(2, 8, 6, 6)
    wanted = layer.norm_k(F.conv2d(maps, layer.pool_k.weight, None, 4, 1, groups=8).flatten(2).mT)
    assert size == (2, 2) and torch.allclose(pooled[:, :, 1:].transpose(1, 2).flatten(2), wanted, atol=1e-6)
    assert torch.allclose(pooled[:, :, 0].flatten(1), layer.norm_k(tokens[:, :, 0].flatten(1)), atol=1e-6)


@pytest.mark.parametrize('options', [dict(), dict(use_abs_pos=True, use_cls_token=True)], ids=str)
def test_images_of_any_size(options):
    """timm's fail on images of another size than they are built for, and to be built for one that is not square."""
    model = randomize(zoo.create_model(NAME, **SHORT, **options)).double().eval()
    state = model.state_dict()
    backbone = zoo.create_model(NAME, **SHORT, **options, features_only=True, pretrained=state).double().eval()
    for size in ((64, 64), (71, 101), (33, 18)):
        x = image(*size)
        maps = backbone(x)
        assert [tuple(m.shape[2:]) for m in maps] == backbone.feature_info.map_sizes(size)
        fitted = zoo.create_model(NAME, **{**SHORT, 'img_size': size}, **options, pretrained=state).double().eval()
        assert fitted.pretrained_cfg['input_size'] == (3, *size) and relative_error(fitted(x), model(x)) < 1e-5
    model.set_input_size((71, 101))
    again = zoo.create_model(NAME, **{**SHORT, 'img_size': (71, 101)}, **options, pretrained=model.state_dict())
    assert model.img_size == (71, 101) and model.grid_size == (18, 26)
    assert all(torch.equal(value.float(), again.state_dict()[key]) for key, value in model.state_dict().items())
    small = on_meta(NAME, **SHORT, **options)
    back = small.adapt_state(again.state_dict(), zoo.spec.Sizes(img_size=(71, 101)))
    assert all(value.shape == back[key].shape for key, value in small.state_dict().items())
    small.set_input_size((71, 101))
    assert all(value.shape == small.state_dict()[key].shape for key, value in again.state_dict().items())


def test_weights_of_another_size_are_fitted_as_timms():
    source = randomize(timm.create_model(NAME, img_size=64)).state_dict()
    theirs = timm.create_model(NAME, img_size=96)
    fitted = zoo.create_model(NAME, img_size=96, pretrained=source).state_dict()
    theirs.load_state_dict(timm.models.mvitv2.checkpoint_filter_fn(source, theirs))
    assert fitted['stages.0.blocks.0.attn.rel_pos_h'].shape == (47, 96)
    assert all(torch.allclose(value, fitted[key], atol=1e-6) for key, value in theirs.state_dict().items())


def test_activation_and_pooling_of_shortcuts_are_those_asked_for():                 # timm's reads neither
    model = on_meta(NAME, **SHORT, act_layer='relu', pool_type='avg')
    block = model.stages[1].blocks[0]
    assert isinstance(block.mlp.act, torch.nn.ReLU) and isinstance(block.shortcut_pool_attn, torch.nn.AvgPool2d)


def test_a_record_says_what_a_network_is_built_of():
    cfg = MultiScaleVitCfg(depths=(1, 1), embed_dim=16, num_heads=2, stride_q=((1, 1), (2, 2)), use_cls_token=True)
    ours = MultiScaleVit(cfg, img_size=(32, 32), num_classes=3).eval()
    their_cfg = timm.models.mvitv2.MultiScaleVitCfg(**vars(cfg))
    theirs = timm.models.mvitv2.MultiScaleVit(their_cfg, img_size=(32, 32), num_classes=3).eval()
    ours.load_state_dict(randomize(theirs).state_dict())
    x = image(32, 32, dtype=torch.float32)
    assert relative_error(ours(x), theirs(x)) < 1e-5
    with pytest.raises(ValueError, match='stride_kv, or stride_kv_adaptive'):
        MultiScaleVit(MultiScaleVitCfg(stride_kv_adaptive=None))


@pytest.mark.parametrize('name', [NAME, CLS, LARGE])
def test_attention_hidden_states_and_prefix_tokens(name):
    options = SHORT | dict(embed_dim=(16, 32, 64, 128), num_heads=(1, 2, 4, 8))
    model = randomize(zoo.create_model(name, **options)).eval()
    x, first = image(64, 96, dtype=torch.float32), model.num_prefix_tokens
    weights = model.forward_attentions(x)
    sizes = [(1, 384, 24), (2, 96, 96), (2, 96, 24), (4, 24, 96), (4, 24, 24), (8, 6, 24)]
    assert [tuple(w.shape) for w in weights] == [(2, heads, n + first, m + first) for heads, n, m in sizes]
    assert all(torch.allclose(w.sum(-1), torch.ones(())) for w in weights)
    outputs = zoo.forward_outputs(model, x, output_hidden_states=True, output_attentions=True)
    counts = [384, 384, 96, 24, 6]
    assert [h.shape[1] for h in outputs.hidden_states] == [count + first for count in counts]
    assert torch.allclose(outputs.logits, model(x), atol=1e-5)
    if first:
        features, found = model.forward_intermediates(x, return_prefix_tokens=True, norm=True)
        assert torch.allclose(found[-1][1], features[:, :1]) and [p.shape[2] for _, p in found] == [16, 32, 64, 128]


def test_what_does_not_fit_is_said():
    for options, words in ((dict(num_heads=(1, 2)), 'one entry a stage.*num_heads 2'),
                           (dict(mode='mean'), "mode 'mean'"), (dict(num_heads=(3, 2, 3, 4)), '3 heads do not divide'),
                           (dict(kernel_qkv=(2, 2)), 'kernel_qkv is odd'), (dict(pool_type='sum'), "pool_type 'sum'"),
                           (dict(rel_pos_type='mlp'), "'spatial', or ''"), (dict(stride_q=((3, 3),) * 4), '1 or even'),
                           (dict(global_pool='token'), "'avg', .*, not global_pool='token'")):
        with pytest.raises(ValueError, match=words):
            on_meta(NAME, **{**SHORT, **options})
    with pytest.raises(TypeError, match="'residual_pool'.*'residual_pooling'"):
        on_meta(NAME, residual_pool=True)


@pytest.mark.parametrize('name', [NAME, CLS, LARGE])
def test_originals_are_read_as_timm_reads_them(name, tmp_path):
    options = dict(num_classes=5, **short(name))
    peer, state = of_timm(name, **options), zoo.create_model(name, **options).state_dict()
    there = zoo.convert(state, 'facebook').state
    assert {'blocks.3.attn.pool_k.weight', 'head.projection.weight'} <= there.keys()
    assert not any('stages' in key for key in there)
    torch.save({'model_state': there, 'epoch': 3}, tmp_path / 'weights.pth')
    read, found = timm.models.mvitv2.checkpoint_filter_fn(dict(there), peer), zoo.convert(tmp_path / 'weights.pth')
    assert read.keys() == state.keys() == found.state.keys() and found.source == 'facebook MViTv2'
    assert all(torch.equal(read[key], value) and torch.equal(found.state[key], value) for key, value in state.items())
    assert zoo.create_model(name, checkpoint_path=tmp_path / 'weights.pth', **options)


@pytest.mark.parametrize('name', [NAME, 'mvitv2_base_cls', LARGE])
def test_originals_are_known_by_what_is_in_them(name):
    state = on_meta(name).state_dict()
    there = zoo.pretrained.foreign.mvitv2.LAYOUTS[0].to_theirs(state)
    assert zoo.pretrained.foreign.mvitv2.LAYOUTS[0].describe(there) == (name, {})


@pytest.mark.sweep
@pytest.mark.parametrize('name', [NAME, CLS])
def test_compiles_and_exports_with_any_height_and_width(name):
    model = randomize(zoo.create_model(name, **SHORT, num_classes=3)).eval()
    x = image(96, 128, dtype=torch.float32)
    check_compiled(model, x)
    check_exported(model, x, ((227, 301), (75, 90), (64, 64)), one_window=True)     # also where a map is of one window
