"""NesT beside timm's: every option, blocks, any size, positions resampled."""
from __future__ import annotations

import pytest
import torch
from beside_timm import check_compiled, check_exported, compare_options, of_timm, on_meta, pair
from conftest import randomize, relative_error
from torch import nn

import zoo
from zoo.models.nest import Attention, ConvPool, Nest, NestLevel, TransformerLayer, blockify, deblockify

NAME, SAME = 'nest_tiny', 'nest_tiny_jx'
SMALL = dict(img_size=32, embed_dims=(12, 24, 48), depths=(1, 2, 1))


def image(*size: int, batch: int = 2, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(5), dtype=dtype) * 2 - 1


@pytest.mark.in_turn
@pytest.mark.parametrize('options', [
    dict(), dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(global_pool='max'),
    dict(num_levels=2, embed_dims=(12, 24), num_heads=(2, 4), depths=(1, 2)), dict(embed_dims=24, num_heads=3, depths=1),
    dict(mlp_ratio=2.0), dict(qkv_bias=False), dict(norm_layer=nn.LayerNorm), dict(act_layer=nn.SiLU), dict(pad_type='same'),
    dict(pad_type='same', img_size=48), dict(drop_rate=0.1, proj_drop_rate=0.1, attn_drop_rate=0.1, drop_path_rate=0.3),
], ids=str)
def test_options_equal_timms(options):
    options = {**SMALL, 'drop_path_rate': 0.0, **options}
    ours, theirs = compare_options(NAME, (options['img_size'],) * 2, **options)
    for rate in (lambda b: getattr(b.drop_path1, 'drop_prob', 0), lambda b: b.attn.attn_drop.p, lambda b: b.mlp.drop1.p):
        rates = [[rate(layer) for level in m.levels for layer in level.transformer_encoder] for m in (ours, theirs)]
        assert rates[0] == pytest.approx(rates[1])
    x = torch.rand(1, options.get('in_chans', 3), *ours.img_size, dtype=torch.float64)
    maps = [m.eval().forward_intermediates(x, intermediates_only=True) for m in (ours, theirs)]
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(*maps, strict=True))
    assert ours.no_weight_decay() == theirs.no_weight_decay() == {f'levels.{n}.pos_embed' for n in range(ours.num_levels)}


def test_the_maps_of_other_patches_which_timm_says_are_of_four_pixels():
    ours, theirs = pair(NAME, torch.float64, **SMALL, patch_size=2)
    x = image(32, 32)
    assert relative_error(ours.eval()(x), theirs.eval()(x)) < 1e-5
    assert [f['reduction'] for f in ours.feature_info] == [2, 4, 8] != [f['reduction'] for f in theirs.feature_info]
    assert [tuple(m.shape[2:]) for m in ours.forward_intermediates(x, intermediates_only=True)] == [(16, 16), (8, 8), (4, 4)]


@pytest.mark.parametrize('name', [NAME, SAME])
def test_gradients_equal_timms(name):
    gradients = []
    for model in pair(name, torch.float64, **SMALL, drop_path_rate=0.0):
        model.train()(image(32, 32)).square().sum().backward()
        gradients.append({key: value.grad.clone() for key, value in model.named_parameters()})
        model.zero_grad()
    assert all(relative_error(gradients[0][key], value) < 1e-5 for key, value in gradients[1].items())


def test_paths_are_dropped_image_by_image_as_in_timm():
    ours, theirs = pair(NAME, torch.float64, **SMALL, drop_path_rate=0.9)
    outputs = []
    for model in (ours, theirs):
        torch.manual_seed(1)
        outputs.append(model.train()(image(32, 32, batch=4)))
    assert relative_error(*outputs) < 1e-5


def test_parts_are_built_as_timms():
    from timm.models import nest as timms
    x = torch.rand(2, 4, 6, 16)
    for ours, theirs in ((Attention, timms.Attention), (TransformerLayer, timms.TransformerLayer)):
        a, b = ours(16, 4).eval(), theirs(16, 4).eval()
        a.load_state_dict(randomize(b).state_dict())
        assert relative_error(a(x), b(x)) < 1e-5
    for pad_type in ('', 'same'):
        a, b = (kind(16, 24, nn.LayerNorm, pad_type) for kind in (ConvPool, timms.ConvPool))
        a.load_state_dict(randomize(b).state_dict())
        x = torch.rand(2, 16, 8, 6)
        assert relative_error(a(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), b(x)) < 1e-5
    a, b = (kind(4, 3, 9, 2, 1, 16, 8, drop_path=[0.0], norm_layer=nn.LayerNorm, act_layer=nn.GELU) for kind in (NestLevel, timms.NestLevel))
    a.load_state_dict(randomize(b).state_dict())
    x = torch.rand(2, 8, 12, 12)
    assert relative_error(a(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2), b(x)) < 1e-5
    x = torch.rand(2, 12, 12, 5)
    assert torch.equal(blockify(x, 3), timms.blockify(x, 3)) and torch.equal(deblockify(blockify(x, 3), 3), x)
    assert torch.equal(deblockify(blockify(x, (6, 6)), (6, 6)), timms.deblockify(timms.blockify(x, 6), 6))


def test_attention_stays_inside_its_block():
    model = randomize(zoo.create_model(NAME, **SMALL, num_levels=3)).eval()
    x = image(32, 32, dtype=torch.float32)
    weights = model.forward_attentions(x)
    assert [tuple(w.shape) for w in weights] == [(32, 3, 4, 4), (8, 6, 4, 4), (8, 6, 4, 4), (2, 12, 4, 4)]
    assert all(torch.allclose(w.sum(-1), torch.ones(())) for w in weights)
    first, changed = (model.forward_intermediates(one, [0], intermediates_only=True)[0] for one in (x, x + 0))
    x[:, :, :8, 8:16] += 1.0                                        # the second block of the first row
    changed = model.forward_intermediates(x, [0], intermediates_only=True)[0]
    assert torch.equal((first != changed).any(1).nonzero()[:, 1:].amin(0), torch.tensor([0, 2]))
    assert torch.equal((first != changed).any(1).nonzero()[:, 1:].amax(0), torch.tensor([1, 3]))
    outputs = zoo.forward_outputs(model, x, output_hidden_states=True, output_attentions=True)
    assert [h.shape[1:] for h in outputs.hidden_states] == [(8, 8, 12), (8, 8, 12), (4, 4, 24), (2, 2, 48)]


def test_layers_of_the_optimizer_are_those_of_attention():
    model = on_meta(NAME, **SMALL)
    assert model.layer_names()[1:4] == [
        ['levels.0.pool', 'levels.0.pos_embed', 'levels.0.transformer_encoder.0'],
        ['levels.1.pool', 'levels.1.pos_embed', 'levels.1.transformer_encoder.0'], ['levels.1.transformer_encoder.1']]


# --- sizes


@pytest.mark.parametrize('name', [NAME, SAME])
def test_any_size(name):
    model = randomize(zoo.create_model(name, **SMALL, dynamic_img_size=True)).eval()
    for size, maps in (((75, 101), [(19, 26), (10, 13), (5, 7)]), ((17, 40), [(5, 10), (3, 5), (2, 3)]), ((5, 3), [(2, 1), (1, 1), (1, 1)])):
        x = image(*size, dtype=torch.float32)
        found = model.forward_intermediates(x, intermediates_only=True)
        assert [tuple(m.shape[2:]) for m in found] == maps and all(m.isfinite().all() for m in found)
        assert model(x).shape == (2, 1000)
        built = zoo.create_model(name, **{**SMALL, 'img_size': size}, pretrained=model.state_dict(),
                                 pretrained_cfg_overlay=dict(input_size=(3, 32, 32))).eval()
        assert built.levels[0].block_size == (-(-maps[0][0] // 4), -(-maps[0][1] // 4))
        assert torch.allclose(built(x), model(x), atol=1e-5)
    x = image(75, 101, dtype=torch.float32)
    backbone = zoo.create_model(name, features_only=True, out_indices=(2, 0), **SMALL).eval()
    assert [tuple(m.shape[2:]) for m in backbone(x)] == backbone.feature_info.map_sizes((75, 101)) == [(5, 7), (19, 26)]
    with pytest.raises(ValueError, match='fitted to images of 32x32 .*dynamic_img_size=True'):
        zoo.create_model(name, **SMALL)(x)


@pytest.mark.parametrize('source', [(32, 32), (32, 64), (48, 80)])
@pytest.mark.parametrize('size', [(64, 32), (64, 96), (30, 50)])
def test_other_sizes_when_loaded_and_when_set(source, size):
    model = randomize(zoo.create_model(NAME, **{**SMALL, 'img_size': source})).eval()
    built = zoo.create_model(NAME, **{**SMALL, 'img_size': size}, pretrained=model.state_dict(),
                             pretrained_cfg_overlay=dict(input_size=(3, *source))).eval()
    model.set_input_size(size)
    assert model.img_size == size
    assert all(torch.equal(built.state_dict()[key], value) for key, value in model.state_dict().items())
    assert model(image(*size, dtype=torch.float32)).isfinite().all()


def test_positions_are_interpolated_inside_their_blocks():
    model = zoo.create_model(NAME, **SMALL, num_classes=3)
    with torch.no_grad():
        for level in model.levels:                                  # one value a block, another in the next
            level.pos_embed.copy_(torch.arange(level.pos_embed.shape[1])[None, :, None, None].expand_as(level.pos_embed))
    model.set_input_size((64, 96))
    for level in model.levels:
        assert level.pos_embed.shape[2] == 24 and level.block_size == (4, 6)
        blocks = torch.arange(level.pos_embed.shape[1])[None, :, None, None]
        assert torch.allclose(level.pos_embed, blocks.expand_as(level.pos_embed).float(), atol=1e-4)
    slope = torch.linspace(-1, 1, 14)
    big = zoo.create_model(NAME, **{**SMALL, 'img_size': 224}).levels[0]
    positions = (slope[:, None] + 2 * slope).flatten()[None, None, :, None].expand(1, 16, -1, 12)
    wide = torch.linspace(-1, 1, 20)
    error = (big._resampled(positions, (14, 14), (20, 14)).unflatten(2, (20, 14)) - (wide[:, None] + 2 * slope)[..., None]).abs()
    assert error[:, :, 2:-2].max() < 0.05


def test_the_size_of_a_table_that_cannot_be_told():
    model = zoo.create_model(NAME, **SMALL)
    with pytest.raises(ValueError, match='levels.0.pos_embed: 6 positions .*pretrained_cfg_overlay'):
        zoo.create_model(NAME, **SMALL, pretrained=model.state_dict() | {'levels.0.pos_embed': torch.zeros(1, 16, 6, 12)})


def test_other_patches():
    model = randomize(zoo.create_model(NAME, **SMALL)).eval()
    built = zoo.create_model(NAME, **{**SMALL, 'img_size': (48, 64)}, patch_size=8, pretrained=model.state_dict(),
                             pretrained_cfg_overlay=dict(input_size=(3, 32, 32)))
    model.set_input_size((48, 64), patch_size=8)
    assert all(torch.equal(built.state_dict()[key], value) for key, value in model.state_dict().items())
    assert [f['reduction'] for f in model.feature_info] == [8, 16, 32]
    assert model.levels[0].block_size == (2, 2) and model.levels[2].pos_embed.shape == (1, 1, 4, 48)
    x = image(48, 64, dtype=torch.float32)
    assert [tuple(m.shape[2:]) for m in model.forward_intermediates(x, intermediates_only=True)] == [(6, 8), (3, 4), (2, 2)]


# --- drawing, and what does not fit


def test_weights_are_drawn_as_wide_as_timms():
    ours, theirs = (make(NAME, depths=(1, 1, 1)).state_dict() for make in (zoo.create_model, of_timm))
    for key, value in theirs.items():
        if key.endswith(('weight', 'pos_embed')) and value.ndim > 1:
            assert ours[key].std().item() == pytest.approx(value.std().item(), rel=0.1), key
        elif key.endswith('bias'):
            assert ours[key].eq(0).all() and value.eq(0).all()


def test_what_does_not_fit_is_said():
    for options, words in ((dict(num_heads=(1, 2)), 'one entry a stage.*num_levels 3, .*num_heads 2'), (dict(num_levels=2), 'num_levels 2'),
                           (dict(num_heads=(5, 2, 2)), '5 heads do not divide'), (dict(weight_init='resett'), "'reset'"),
                           (dict(pad_type='sane'), "pad_type is .*'sane'"), (dict(img_size=(32,)), 'img_size is a side')):
        with pytest.raises(ValueError, match=words):
            on_meta(NAME, **{**SMALL, **options})
    with pytest.raises(ValueError, match='no window_size that could be changed'):
        on_meta(NAME, **SMALL).set_input_size(window_size=8)


def test_compiles_whole():
    model = randomize(zoo.create_model(SAME, **SMALL, dynamic_img_size=True, num_classes=3)).eval()
    check_compiled(model, image(75, 101, dtype=torch.float32))


@pytest.mark.sweep
@pytest.mark.parametrize('name', [NAME, SAME])
def test_exports_with_any_number_height_and_width(name):
    model = randomize(zoo.create_model(name, **SMALL, dynamic_img_size=True, num_classes=3)).eval()
    check_exported(model, image(96, 128, dtype=torch.float32), ((227, 301), (75, 90), (224, 224)))


def test_the_class_serves_other_depths():
    model = Nest(img_size=32, embed_dims=8, num_heads=2, depths=1, num_levels=4, num_classes=2)
    assert model(image(32, 32, dtype=torch.float32)).shape == (2, 2) and [f['reduction'] for f in model.feature_info] == [4, 8, 16, 32]
