"""BEiT beside timm's: every option, sizes, tables of biases resampled, masks, attention."""
from __future__ import annotations

import inspect

import pytest
import timm
import torch
from beside_timm import check_compiled, check_exported, compare_options, on_meta, pair
from conftest import randomize, relative_error
from torch import nn
from torch.export import Dim

import zoo
from zoo.layers.relative import resize_rel_pos_bias_table
from zoo.models import beit

NAME = 'beit_base_patch16_224'
TINY = dict(img_size=(48, 32), embed_dim=48, depth=3, num_heads=3)
THEIRS = timm.models.beit


def image(*size: int, batch: int = 2, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(5), dtype=dtype) * 2 - 1


OPTIONS = [
    dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(img_size=64), dict(patch_size=8),
    dict(patch_size=(16, 8)), dict(global_pool='token'), dict(global_pool='token', use_fc_norm=True),
    dict(use_fc_norm=False), dict(mlp_ratio=2.5), dict(qkv_bias=False), dict(swiglu_mlp=True), dict(scale_mlp=True),
    dict(swiglu_mlp=True, scale_mlp=True), dict(init_values=None), dict(use_abs_pos_emb=True),
    dict(use_rel_pos_bias=False), dict(use_shared_rel_pos_bias=True),
    dict(use_shared_rel_pos_bias=True, use_rel_pos_bias=False, use_abs_pos_emb=True), dict(norm_layer=nn.LayerNorm),
    dict(drop_rate=0.1, pos_drop_rate=0.1, proj_drop_rate=0.1, attn_drop_rate=0.1, drop_path_rate=0.1),
]


@pytest.mark.in_turn
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_options_equal_timms(options):
    options = TINY | options
    size = options['img_size'] if isinstance(options['img_size'], tuple) else (options['img_size'],) * 2
    ours, theirs = compare_options(NAME, size, **options)
    x = torch.rand(2, options.get('in_chans', 3), *size, dtype=torch.float64)
    for norm in (False, True):
        words = dict(return_prefix_tokens=True, norm=norm, intermediates_only=True)
        for a, b in zip(*(model.eval().forward_intermediates(x, **words) for model in (ours, theirs)), strict=True):
            assert all(relative_error(*both) < 1e-5 for both in zip(a, b, strict=True))
    for model in (ours, theirs):
        model(x).square().sum().backward()
    gradients = dict(theirs.named_parameters())
    for key, parameter in ours.named_parameters():
        assert (parameter.grad - gradients[key].grad).norm() <= 1e-5 * gradients[key].grad.norm() + 1e-9, key
    assert ours.no_weight_decay() == theirs.no_weight_decay() & set(gradients)


def test_every_argument_of_timms_is_ours():
    for name in ('Beit', 'Block', 'Attention', 'RelativePositionBias', 'gen_relative_position_index'):
        ours, theirs = (inspect.signature(getattr(module, name)).parameters for module in (beit, THEIRS))
        wanted = [key for key in theirs if key != 'dtype' and (key != 'device' or name.startswith('gen'))]
        assert list(ours)[:len(wanted)] == wanted, name


def test_rates_and_fresh_weights_are_timms():
    options = dict(TINY, pos_drop_rate=0.2, proj_drop_rate=0.4, attn_drop_rate=0.5, drop_path_rate=0.6, num_classes=50)
    ours, theirs = (create(NAME, **options) for create in (zoo.create_model, timm.create_model))
    rates = [{name: module.p for name, module in model.named_modules() if isinstance(module, nn.Dropout) and module.p}
             for model in (ours, theirs)]
    assert rates[0] == rates[1]
    paths = [[getattr(block.drop_path2, 'drop_prob', 0) for block in model.blocks] for model in (ours, theirs)]
    assert paths[0] == pytest.approx(paths[1])
    theirs_state = theirs.state_dict()
    for key, value in ours.state_dict().items():
        (std, mean), (wanted, middle) = (torch.std_mean(v, correction=0) for v in (value, theirs_state[key]))
        assert float(std) == pytest.approx(float(wanted), rel=0.3, abs=1e-8), key
        assert float(mean) == pytest.approx(float(middle), rel=1e-4, abs=0.02), key


@pytest.mark.in_turn
@pytest.mark.parametrize('size', [(48, 32), (64, 64), (32, 80), (96, 64), (48, 96)], ids=str)
@pytest.mark.parametrize('options', [dict(), dict(use_shared_rel_pos_bias=True, use_abs_pos_emb=True)], ids=str)
def test_other_sizes_are_timms(size, options):
    ours, theirs = pair(NAME, torch.float64, **TINY, **options)
    loaded = zoo.create_model(NAME, **TINY | dict(img_size=size) | options, pretrained=ours.state_dict(),
                              pretrained_cfg_overlay=dict(input_size=(3, 48, 32))).double()
    ours.set_input_size(dynamic_img_size=True)
    at_run_time = ours.eval()(image(*size))
    ours.set_input_size(size)
    theirs.set_input_size(size)
    assert relative_error(ours(image(*size)), at_run_time) < 1e-6
    assert relative_error(ours(image(*size)), theirs.eval()(image(*size))) < 1e-5
    assert relative_error(loaded.eval()(image(*size)), at_run_time) < 1e-5


def test_a_published_checkpoint_has_an_index_and_a_square_window():
    source = randomize(zoo.create_model(NAME, **TINY | dict(img_size=64)))
    state = dict(source.state_dict())
    for number in range(3):
        state[f'blocks.{number}.attn.relative_position_index'] = torch.zeros(17, 17, dtype=torch.int64)
    model = zoo.create_model(NAME, **TINY | dict(img_size=(96, 64), patch_size=8), pretrained=state)
    table = 'blocks.2.attn.relative_position_bias_table'
    expected = resize_rel_pos_bias_table(state[table], (12, 8), (23 * 15 + 3, 3))
    assert torch.equal(model.state_dict()[table], expected) and model.patch_embed.proj.weight.shape[2:] == (8, 8)


def test_masks_and_attention():
    model = randomize(zoo.create_model(NAME, **TINY, use_shared_rel_pos_bias=True)).double().eval()
    x, keep = image(48, 32), torch.ones(7, 7, dtype=torch.bool).tril()
    assert torch.allclose(model(x, attn_mask=keep), model(x, is_causal=True))
    assert torch.allclose(model(x, attn_mask=torch.zeros(7, 7, dtype=torch.float64)), model(x))
    weights = model.forward_attentions(x)
    assert [w.shape for w in weights] == [(2, 3, 7, 7)] * 3 and torch.allclose(weights[0].sum(-1), torch.ones(()).double())
    before = model(x)
    for block in model.blocks:
        block.attn.fused_attn = False
    assert relative_error(model(x), before) < 1e-9


@pytest.mark.parametrize('options', [dict(window_size=(3, 5)), dict(), dict(qkv_bias=True, qkv_bias_separate=True),
                                     dict(window_size=(3, 5), qkv_bias=True)], ids=str)
def test_attention_is_built_as_timms(options):
    ours, theirs = beit.Attention(32, 2, **options), THEIRS.Attention(32, 2, **options)
    ours.load_state_dict(randomize(theirs).state_dict())
    x, shared = torch.rand(2, 16, 32), torch.rand(2, 16, 16)
    assert torch.allclose(ours(x), theirs(x), atol=1e-6) and torch.allclose(ours(x, shared), theirs(x, shared), atol=1e-6)
    seen = []
    ours.qkv.register_forward_hook(lambda m, i, o: seen.append(o))
    ours(x)
    assert bool(seen) == (options.get('qkv_bias_separate', not options.get('qkv_bias')))
    index = beit.gen_relative_position_index((3, 5))
    assert torch.equal(index, THEIRS.gen_relative_position_index((3, 5)))
    ours, theirs = beit.RelativePositionBias((3, 5), 4), THEIRS.RelativePositionBias((3, 5), 4)
    ours.load_state_dict(randomize(theirs).state_dict())
    assert torch.equal(ours(), theirs())
    narrow = beit.Attention(32, 2, attn_head_dim=8, qkv_bias=True)                  # timm's takes no other width
    assert narrow(x).shape == x.shape and narrow.proj.in_features == 16


@pytest.mark.parametrize(('options', 'words'), [
    (dict(embed_dim=50), '3 heads'), (dict(global_pool='map'), "'token' pooling, not 'map'"),
    (dict(global_pool='catavgmax', use_fc_norm=True), 'fc_norm=True'), (dict(norm_layer='layrnorm'), "'layernorm'"),
])
def test_mistakes_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        on_meta(NAME, **TINY | options)


@pytest.mark.sweep
def test_compiles_and_exports_with_any_height_and_width():
    options = TINY | dict(depth=1, num_classes=3, use_shared_rel_pos_bias=True, use_abs_pos_emb=True)
    model = randomize(zoo.create_model(NAME, **options))
    model.eval().set_input_size(dynamic_img_size=True)
    x = image(64, 96, dtype=torch.float32)
    check_compiled(model, x)
    sides = {0: Dim('batch'), 2: Dim('height', min=32, max=512), 3: Dim('width', min=32, max=512)}
    check_exported(model, x, ((48, 32), (75, 90), (224, 224)), batch=3, one_window=True)
