"""Hiera beside timm's: every option, masks, the order of tokens, any size, positions resampled."""
from __future__ import annotations

import pytest
import torch
from beside_timm import check_compiled, check_exported, compare_options, on_meta, pair
from conftest import randomize, relative_error
from torch.nn import functional as F

import zoo
from zoo.layers.positions import resample_abs_pos_embed, resample_windowed_pos_embed
from zoo.models.hiera import Hiera, HieraBlock, MaskUnitAttention, PatchEmbed, reroll, unroll

NAME, ABSOLUTE_WIN = 'hiera_tiny_224', 'hiera_small_abswin_256'
SHORT = dict(stages=(1, 2, 2, 1), embed_dim=16)
SMALL = dict(img_size=(64, 96), **SHORT)


def image(*size: int, batch: int = 2, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(5), dtype=dtype) * 2 - 1


@pytest.mark.in_turn
@pytest.mark.parametrize('options', [
    dict(), dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(global_pool='max'),
    dict(global_pool='avgmax'), dict(num_heads=2), dict(dim_mul=3.0, head_mul=1.0, num_heads=2),
    dict(mask_unit_attn=(True, True, True, False)), dict(mask_unit_attn=(False,) * 4),
    dict(use_expand_proj=False), dict(patch_kernel=(4, 4), patch_padding=(0, 0)), dict(mlp_ratio=2.0),
    dict(stages=(1, 1), mask_unit_attn=(True, False), q_pool=1, mask_unit_size=(2, 2)), dict(init_values=0.5),
    dict(abs_win_pos_embed=True), dict(abs_win_pos_embed=True, global_pos_size=(7, 9)), dict(norm_layer=torch.nn.LayerNorm),
    dict(drop_rate=0.1, drop_path_rate=0.3),
], ids=str)
def test_options_equal_timms(options):
    options = {**SMALL, **options}
    ours, theirs = compare_options(NAME, options['img_size'], **options)
    rates = [[getattr(block.drop_path1, 'drop_prob', 0) for block in m.blocks] for m in (ours, theirs)]
    assert rates[0] == pytest.approx(rates[1])
    x = torch.rand(1, options.get('in_chans', 3), *options['img_size'], dtype=torch.float64)
    maps = [m.eval().forward_intermediates(x, intermediates_only=True) for m in (ours, theirs)]
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(*maps, strict=True))
    assert ours.no_weight_decay() == {key for key, _ in theirs.named_parameters() if key.startswith('pos_embed')}


@pytest.mark.parametrize('options, reductions', [
    (dict(q_pool=2), [4, 8, 16, 16]), (dict(q_pool=1), [4, 8, 8, 8]), (dict(use_expand_proj=False, q_pool=2), [4, 8, 16, 16]),
    (dict(mask_unit_size=(4, 4), q_pool=1, mask_unit_attn=(True, True, False, False)), [4, 8, 8, 8]),
    (dict(patch_stride=(2, 2), patch_kernel=(3, 3), patch_padding=(1, 1)), [2, 4, 8, 16])], ids=str)
def test_networks_whose_maps_timm_says_are_smaller(options, reductions):
    ours, theirs = pair(NAME, torch.float64, **SMALL, **options)
    x = image(64, 96)
    assert relative_error(ours.eval()(x), theirs.eval()(x)) < 1e-5
    assert relative_error(ours.forward_features(x), theirs.forward_features(x)) < 1e-5
    maps = [m.forward_intermediates(x, intermediates_only=True) for m in (ours, theirs)]
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(*maps, strict=True))
    assert [f['reduction'] for f in ours.feature_info] == reductions != [f['reduction'] for f in theirs.feature_info]
    assert [64 // m.shape[2] for m in maps[0]] == reductions


@pytest.mark.parametrize('options', [dict(), dict(mask_unit_size=(4, 4), q_pool=1, patch_drop_rate=0.1), dict(abs_win_pos_embed=True)],
                         ids=str)
def test_masks_equal_timms(options):
    ours, theirs = pair(NAME, torch.float64, **SMALL, **options)
    count = 6 if 'mask_unit_size' not in options else 24
    mask = torch.rand(3, count, generator=torch.Generator().manual_seed(1)).argsort(1) < count // 3
    x = image(64, 96, batch=3)
    if count == 6:                        # timm's numbers smaller units row by row, and finds them in the order of tokens
        assert relative_error(ours.eval()(x, mask), theirs.eval()(x, mask=mask)) < 1e-5
        assert relative_error(ours.forward_features(x, mask), theirs.forward_features(x, mask=mask)) < 1e-5
    seen = ours.eval().forward_features(x, mask)
    hidden = F.interpolate(mask.view(3, 1, *((2, 3) if count == 6 else (4, 6))).double(), (64, 96)) == 0
    x[hidden.expand_as(x)] = 7.0                                             # what is masked cannot be told
    assert torch.equal(ours.forward_features(x, mask), seen)
    with pytest.raises(ValueError, match=r'as many of each image; .* \(3, 5\)'):
        ours(x, mask[:, :5])
    with pytest.raises(ValueError, match='as many of each image'):
        ours(x, torch.eye(3, count, dtype=torch.bool) | (torch.arange(3)[:, None] > 1))


def test_mask_units_are_dropped_in_training_alone():
    model = randomize(zoo.create_model(NAME, **SMALL, patch_drop_rate=0.5))
    x = image(64, 96, dtype=torch.float32)
    assert model.train().forward_features(x).shape == (2, 3, 128) and model.eval().forward_features(x).shape == (2, 6, 128)
    assert not torch.equal(model.train()(x), model(x))
    with pytest.raises(ValueError, match='makes no map'):
        model.forward_intermediates(x)
    torch._dynamo.reset()
    assert torch.compile(model, fullgraph=True, backend='eager')(x).shape == (2, 1000)


def test_gradients_equal_timms():
    for options in (dict(), dict(abs_win_pos_embed=True, use_expand_proj=False, init_values=0.1)):
        models = pair(NAME, torch.float64, **SMALL, **options)
        gradients = []
        for model in models:
            model.train()(image(64, 96)).square().sum().backward()
            gradients.append({key: value.grad.clone() for key, value in model.named_parameters()})
            for parameter in model.parameters():
                parameter.grad = None
        assert all(relative_error(gradients[0][key], value) < 1e-5 for key, value in gradients[1].items())


# --- the order of tokens


@pytest.mark.parametrize('stride, levels', [((2, 2), 0), ((2, 2), 1), ((2, 2), 3), ((3, 2), 2)])
def test_the_order_of_tokens(stride, levels):
    units = (2, 3)
    rows, columns = (n * s ** levels for n, s in zip(units, stride))
    x = torch.rand(2, rows, columns, 5)
    tokens = unroll(x, stride, levels)
    assert torch.equal(reroll(tokens, units, stride, levels), x)
    if levels:                                                                # pooling is a maximum over a dimension
        pooled = F.max_pool2d(x.permute(0, 3, 1, 2), stride).permute(0, 2, 3, 1)
        group = stride[0] * stride[1]
        assert torch.equal(reroll(tokens.unflatten(1, (group, -1)).amax(1), units, stride, levels - 1), pooled)
    windows = tokens.unflatten(1, (-1, 6))                                    # and units are windows
    height, width = rows // 2, columns // 3
    assert set(map(tuple, windows[0, :, 4].tolist())) == set(map(tuple, x[0, height:, width:2 * width].flatten(0, 1).tolist()))


def test_attention_of_every_mask_unit_sums_to_one():
    model = randomize(zoo.create_model(NAME, **SMALL)).eval()
    x = image(64, 96, dtype=torch.float32)
    weights = model.forward_attentions(x)
    assert [tuple(w.shape) for w in weights] == [(12, 1, 64, 64), (12, 2, 16, 64), (12, 2, 16, 16), (12, 4, 4, 16),
                                                 (2, 4, 24, 24), (2, 8, 6, 24)]
    assert all(torch.allclose(w.sum(-1), torch.ones(())) for w in weights)
    outputs = zoo.forward_outputs(model, x, output_hidden_states=True, output_attentions=True)
    assert len(outputs.hidden_states) == 7 and torch.allclose(outputs.logits, model(x), atol=1e-6)


def test_layers_are_built_as_timms():
    from timm.models import hiera as timms
    x = torch.rand(2, 64, 8)
    for ours, name, options in ((MaskUnitAttention, 'MaskUnitAttention', dict(q_stride=4, window_size=4, use_mask_unit_attn=True)),
                                (MaskUnitAttention, 'MaskUnitAttention', dict()),
                                (HieraBlock, 'HieraBlock', dict(q_stride=4, init_values=0.1)),
                                (HieraBlock, 'HieraBlock', dict(q_stride=4, use_expand_proj=False))):
        theirs = randomize(getattr(timms, name)(8, 16, 2, **options)).eval()
        mine = ours(8, 16, 2, **options).eval()
        mine.load_state_dict(theirs.state_dict())
        assert torch.allclose(mine(x), theirs(x), atol=1e-5)
    theirs, mine = (kind(3, 8, (7, 7), (4, 4), (3, 3)) for kind in (timms.PatchEmbed, PatchEmbed))
    mine.load_state_dict(randomize(theirs).state_dict())
    mask = torch.rand(2, 1, 2, 2) > 0.5
    x = torch.rand(2, 3, 64, 64)
    assert torch.allclose(mine(x), theirs(x), atol=1e-5) and torch.allclose(mine(x, mask), theirs(x, mask), atol=1e-5)


# --- sizes


def test_any_size():
    for options in (dict(), dict(abs_win_pos_embed=True)):
        model = randomize(zoo.create_model(NAME, **SMALL, dynamic_img_size=True, **options)).eval()
        x = image(75, 101, dtype=torch.float32)
        padded = F.pad(x, (0, 27, 0, 21))
        assert torch.allclose(model(x), model(padded), atol=1e-5)
        maps, whole = (model.forward_intermediates(one, intermediates_only=True) for one in (x, padded))
        assert [tuple(m.shape[2:]) for m in maps] == [(19, 26), (10, 13), (5, 7), (3, 4)]
        assert all(torch.equal(a, b[..., :a.shape[2], :a.shape[3]]) for a, b in zip(maps, whole))
        fixed = zoo.create_model(NAME, **{**SMALL, 'img_size': (96, 128)}, pretrained=model.state_dict(), **options,
                                 pretrained_cfg_overlay=dict(input_size=(3, 64, 96))).eval()
        assert torch.allclose(fixed(padded), model(padded), atol=1e-5)
    with pytest.raises(ValueError, match='fitted to images of 64x96 .*dynamic_img_size=True'):
        zoo.create_model(NAME, **SMALL)(x)
    backbone = zoo.create_model(NAME, features_only=True, out_indices=(3, 1), **SMALL).eval()
    assert [tuple(m.shape[2:]) for m in backbone(x)] == backbone.feature_info.map_sizes((75, 101)) == [(3, 4), (10, 13)]


@pytest.mark.parametrize('options', [dict(), dict(abs_win_pos_embed=True)], ids=str)
@pytest.mark.parametrize('size', [(96, 64), (128, 160), (32, 32), (100, 130)])
def test_other_sizes_when_loaded_and_when_set(size, options):
    source = randomize(zoo.create_model(NAME, **SMALL, **options)).eval()
    built = zoo.create_model(NAME, **{**SMALL, 'img_size': size}, pretrained=source.state_dict(), **options,
                             pretrained_cfg_overlay=dict(input_size=(3, 64, 96))).eval()
    source.set_input_size(size)
    assert source.img_size == size and all(torch.equal(built.state_dict()[key], value) for key, value in source.state_dict().items())
    assert source(image(*size, dtype=torch.float32)).isfinite().all()


def test_positions_stay_on_their_windows():
    window, smooth = torch.randn(1, 8, 8, 3), torch.linspace(-1, 1, 56)[None, :, None, None].expand(1, -1, 56, 3)
    learnt = (window.repeat(1, 7, 7, 1) + smooth).flatten(1, 2)
    wanted = (window.repeat(1, 9, 12, 1) + torch.linspace(-1, 1, 72)[None, :, None, None]).flatten(1, 2)
    assert (resample_windowed_pos_embed(learnt, (72, 96), (56, 56), (8, 8)) - wanted).abs().max() < 0.1
    assert (resample_abs_pos_embed(learnt, (72, 96), num_prefix_tokens=0) - wanted).abs().mean() > 0.5
    assert resample_windowed_pos_embed(learnt, (56, 56), (56, 56), (8, 8)) is learnt
    model = zoo.create_model(NAME, **SHORT, img_size=224)
    with pytest.raises(ValueError, match='384 positions .*pretrained_cfg_overlay'):
        zoo.create_model(NAME, **SHORT, img_size=224, pretrained=model.state_dict() | {'pos_embed': torch.zeros(1, 384, 16)})


# --- drawing, and what does not fit


@pytest.mark.parametrize('name, options', [(NAME, dict()), (NAME, dict(weight_init='jax')), (NAME, dict(fix_init=False)),
                                           (NAME, dict(head_init_scale=1.0)), (ABSOLUTE_WIN, dict(stages=(1, 1, 1, 1)))], ids=str)
def test_weights_are_drawn_as_wide_as_timms(name, options):
    import timm
    given = dict(stages=(1, 2, 1, 1)) | options
    ours, theirs = zoo.create_model(name, **given).state_dict(), timm.create_model(name, **given).state_dict()
    for key, value in theirs.items():
        if key.endswith('weight') and value.ndim > 1 and key != 'head.fc.weight':
            assert ours[key].std().item() == pytest.approx(value.std().item(), rel=0.1), key


def test_what_does_not_fit_is_said():
    for options, words in ((dict(mask_unit_size=(6, 6)), r'power of q_stride, one of .*\(8, 8\), not \(6, 6\)'),
                           (dict(mask_unit_attn=(True,)), 'one entry a stage'), (dict(q_pool=4), 'how many of the 4 stages'),
                           (dict(mask_unit_size=(2, 2), mask_unit_attn=(True,) * 4), 'pooled away'),
                           (dict(patch_padding=(0, 0)), 'no patch for each stride'), (dict(weight_init='jaxx'), "'jax'"),
                           (dict(dim_mul=1.5, embed_dim=32, use_expand_proj=False), '48 of 32'),
                           (dict(num_heads=3), '3 heads do not divide'), (dict(patch_drop_rate=1.0), 'patch_drop_rate')):
        with pytest.raises(ValueError, match=words):
            on_meta(NAME, **{**SMALL, **options})
    with pytest.raises(ValueError, match='no patch_size that could be changed'):
        on_meta(NAME, **SMALL).set_input_size(patch_size=8)


def test_compiles_whole():
    model = randomize(zoo.create_model(NAME, **SMALL, dynamic_img_size=True, num_classes=3)).eval()
    x = image(75, 101, dtype=torch.float32)
    check_compiled(model, x)


@pytest.mark.sweep
@pytest.mark.parametrize('options', [dict(), dict(abs_win_pos_embed=True, use_expand_proj=False)], ids=str)
def test_exports_with_any_height_and_width(options):
    options = {**SMALL, 'stages': (1, 1, 1, 1), **options}
    model = randomize(zoo.create_model(NAME, **options, dynamic_img_size=True, num_classes=3)).eval()
    x = image(96, 128, dtype=torch.float32)
    check_exported(model, x, ((227, 301), (75, 90), (224, 224)))


def test_the_class_serves_other_depths():
    model = Hiera(img_size=32, embed_dim=8, stages=(1, 1), mask_unit_attn=(True, False), q_pool=1, mask_unit_size=(2, 2),
                  num_classes=2)
    assert model(torch.rand(1, 3, 32, 32)).shape == (1, 2)
