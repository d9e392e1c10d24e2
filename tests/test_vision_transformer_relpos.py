"""Vision transformers with relative positions beside timm's: every option, sizes, masks, attention."""
from __future__ import annotations

import inspect

import pytest
import timm
import torch
from beside_timm import check_compiled, check_exported, compare_options, drawn_alike, on_meta, pair
from conftest import randomize, relative_error
from torch import nn
from torch.export import Dim

import zoo
from zoo.models import vision_transformer_relpos as relpos

NAME = 'vit_relpos_small_patch16_224'
TINY = dict(img_size=(48, 32), embed_dim=48, depth=3, num_heads=3)
THEIRS = timm.models.vision_transformer_relpos
KINDS = [dict(), dict(rel_pos_type='bias'), dict(rel_pos_type='mlp_swin'), dict(shared_rel_pos=True),
         dict(rel_pos_type='bias', class_token=True, shared_rel_pos=True), dict(class_token=True, rel_pos_dim=24),
         dict(block_fn='ResPostRelPosBlock', init_values=0.1)]


def image(*size: int, batch: int = 2, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(5), dtype=dtype) * 2 - 1


def of_timm(options: dict) -> dict:
    """timm takes classes where zoo takes names too."""
    classes = {name: getattr(THEIRS, name) for name in relpos.BLOCKS} | dict(silu=nn.SiLU)
    return {key: classes.get(value, value) if isinstance(value, str) else value for key, value in options.items()}


OPTIONS = [
    *KINDS, dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(img_size=64),
    dict(patch_size=8), dict(patch_size=(16, 8)), dict(class_token=True, global_pool='token', fc_norm=False),
    dict(class_token=True, global_pool='token'), dict(class_token=True), dict(fc_norm=False), dict(mlp_ratio=2.5),
    dict(qkv_bias=True), dict(qk_norm=True), dict(init_values=None), dict(init_values=0.1),
    dict(block_fn='ResPostRelPosBlock', init_values=None, qk_norm=True), dict(norm_layer=nn.LayerNorm),
    dict(act_layer='silu'), dict(act_layer=nn.SiLU),
    dict(drop_rate=0.1, proj_drop_rate=0.1, attn_drop_rate=0.1, drop_path_rate=0.1),
]


@pytest.mark.in_turn
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_options_equal_timms(options):
    options = TINY | options
    size = options['img_size'] if isinstance(options['img_size'], tuple) else (options['img_size'],) * 2
    ours, theirs = compare_options(NAME, size, of_timm(options), **options)
    x = torch.rand(2, options.get('in_chans', 3), *size, dtype=torch.float64)
    for norm in (False, True):
        words = dict(return_prefix_tokens=bool(ours.num_prefix_tokens), norm=norm, intermediates_only=True)
        for a, b in zip(*(model.eval().forward_intermediates(x, **words) for model in (ours, theirs)), strict=True):
            a, b = (one if isinstance(one, tuple) else (one,) for one in (a, b))
            assert all(relative_error(*both) < 1e-5 for both in zip(a, b, strict=True))
    if 'drop_rate' in options:
        return
    for model in (ours.train(), theirs.train()):
        drawn_alike(model, x).square().sum().backward()
    gradients = dict(theirs.named_parameters())
    for key, parameter in ours.named_parameters():
        assert (parameter.grad - gradients[key].grad).norm() <= 1e-5 * gradients[key].grad.norm() + 1e-9, key


def test_every_argument_of_timms_is_ours():
    for name in ('VisionTransformerRelPos', 'RelPosBlock', 'ResPostRelPosBlock', 'RelPosAttention'):
        ours, theirs = (inspect.signature(getattr(module, name)).parameters for module in (relpos, THEIRS))
        wanted = [key for key in theirs if key not in ('device', 'dtype')]
        assert list(ours)[:len(wanted)] == wanted, name


@pytest.mark.parametrize('mode', ['', 'jax', 'moco'])
def test_rates_and_fresh_weights_are_timms(mode):
    options = dict(TINY, proj_drop_rate=0.4, attn_drop_rate=0.5, drop_path_rate=0.6, num_classes=50, weight_init=mode,
                   fix_init=mode == 'moco', class_token=True)
    ours, theirs = (create(NAME, **options) for create in (zoo.create_model, timm.create_model))
    rates = [{name: module.p for name, module in model.named_modules() if isinstance(module, nn.Dropout) and module.p}
             for model in (ours, theirs)]
    assert rates[0] == rates[1]
    paths = [[getattr(block.drop_path2, 'drop_prob', 0) for block in model.blocks] for model in (ours, theirs)]
    assert paths[0] == pytest.approx(paths[1])
    theirs_state = theirs.state_dict()
    for key, value in ours.state_dict().items():
        if value.numel() > 40:
            assert float(value.std()) == pytest.approx(float(theirs_state[key].std()), rel=0.4, abs=1e-8), key


@pytest.mark.in_turn
@pytest.mark.parametrize('size', [(48, 32), (64, 64), (32, 80), (48, 96)], ids=str)
@pytest.mark.parametrize('options', KINDS, ids=str)
def test_other_sizes_are_timms(size, options):
    ours, theirs = pair(NAME, torch.float64, of_timm(TINY | options), **TINY | options)
    loaded = zoo.create_model(NAME, **TINY | options | dict(img_size=size), pretrained=ours.state_dict(),
                              pretrained_cfg_overlay=dict(input_size=(3, 48, 32))).double()
    ours.set_input_size(dynamic_img_size=True)
    at_run_time = ours.eval()(image(*size))
    ours.set_input_size(size)
    theirs.set_input_size(size)
    assert relative_error(ours(image(*size)), at_run_time) < 1e-6
    assert relative_error(ours(image(*size)), theirs.eval()(image(*size))) < 1e-5
    assert relative_error(loaded.eval()(image(*size)), at_run_time) < 1e-5


def test_masks_and_attention():
    model = randomize(zoo.create_model(NAME, **TINY, shared_rel_pos=True)).double().eval()
    x, keep = image(48, 32), torch.ones(6, 6, dtype=torch.bool).tril()
    assert torch.allclose(model(x, attn_mask=keep), model(x, is_causal=True))
    assert torch.allclose(model(x, attn_mask=torch.zeros(6, 6, dtype=torch.float64)), model(x))
    attention = relpos.RelPosAttention(24, 3, rel_pos_cls=relpos.relative_positions('bias', None, (3, 2), 0)).eval()
    tokens = torch.rand(2, 6, 24)
    assert torch.allclose(attention(tokens, is_causal=True), attention(tokens, keep))
    weights = model.forward_attentions(x)
    assert [w.shape for w in weights] == [(2, 3, 6, 6)] * 3 and torch.allclose(weights[0].sum(-1), torch.ones(()).double())


@pytest.mark.parametrize(('options', 'words'), [
    (dict(embed_dim=50), '3 heads'), (dict(global_pool='token'), 'class_token=False'), (dict(rel_pos_type='mpl'), "'mlp'"),
    (dict(rel_pos_type='bias', rel_pos_dim=24), 'rel_pos_dim=24'), (dict(block_fn='RelPosBlok'), "'RelPosBlock'"),
    (dict(weight_init='jaks'), "'jax'"), (dict(global_pool='catavgmax'), 'fc_norm=True'),
])
def test_mistakes_are_named(options, words):
    with pytest.raises(ValueError, match=words):
        on_meta(NAME, **TINY | options)


@pytest.mark.sweep
@pytest.mark.parametrize('options', [KINDS[2], KINDS[4]], ids=str)
def test_compiles_and_exports_with_any_height_and_width(options):
    model = randomize(zoo.create_model(NAME, **TINY | dict(depth=1, num_classes=3) | options)).eval()
    model.set_input_size(dynamic_img_size=True)
    x = image(64, 96, dtype=torch.float32)
    check_compiled(model, x)
    sides = {0: Dim('batch'), 2: Dim('height', min=32, max=512), 3: Dim('width', min=32, max=512)}
    check_exported(model, x, ((48, 32), (75, 90), (224, 224)), batch=3, one_window=True)
