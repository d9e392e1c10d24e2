"""Global Context ViT beside timm's: every option, the queries, any size, tables resampled as the authors do."""
from __future__ import annotations

import pytest
import torch
from beside_timm import check_compiled, check_exported, compare_options, of_timm, on_meta, pair
from conftest import randomize, relative_error
from torch import nn
from torch.nn import functional as F

import zoo
from zoo.layers.windows import window_partition
from zoo.models.gcvit import (Downsample2d, FeatureBlock, GlobalContextVit, GlobalContextVitBlock, GlobalContextVitStage, MbConvBlock,
                              Stem, WindowAttentionGlobal, window_reverse)

NAME, SCALED = 'gcvit_xxtiny', 'gcvit_small'
SMALL = dict(img_size=64, embed_dim=8, depths=(2, 1, 3, 2), num_heads=(2, 2, 4, 4))
DEEP = dict(SMALL, depths=(2, 2, 2, 2))


def image(*size: int, batch: int = 2, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(5), dtype=dtype) * 2 - 1


@pytest.mark.in_turn
@pytest.mark.parametrize('options', [
    dict(), dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(global_pool='max'),
    dict(global_pool='avgmax'), dict(img_size=(64, 96)), dict(window_ratio=32), dict(window_ratio=(16, 16, 16, 32)),
    dict(window_size=2), dict(window_size=(4, 4, 4, 2)), dict(mlp_ratio=2.0), dict(qkv_bias=False), dict(layer_scale=0.5),
    dict(depths=(2, 2), num_heads=(2, 4), window_ratio=(32, 16)), dict(act_layer='silu'), dict(norm_eps=1e-3),
    dict(drop_rate=0.1, proj_drop_rate=0.1, attn_drop_rate=0.1, drop_path_rate=0.3),
], ids=str)
def test_options_equal_timms(options):
    options = {**SMALL, **options}
    ours = on_meta(NAME, **options)
    ours, theirs = compare_options(NAME, ours.img_size, **options)
    for rate in (lambda b: getattr(b.drop_path1, 'drop_prob', 0), lambda b: b.attn.attn_drop.p, lambda b: b.mlp.drop1.p):
        rates = [[rate(block) for stage in m.stages for block in stage.blocks] for m in (ours, theirs)]
        assert rates[0] == pytest.approx(rates[1])
    x = torch.rand(1, options.get('in_chans', 3), *ours.img_size, dtype=torch.float64)
    maps = [m.eval().forward_intermediates(x, intermediates_only=True) for m in (ours, theirs)]
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(*maps, strict=True))
    assert ours.no_weight_decay() == theirs.no_weight_decay() and len(ours.no_weight_decay()) == sum(options['depths'])


@pytest.mark.parametrize('name', [NAME, SCALED])
def test_gradients_equal_timms(name):
    gradients = []
    for model in pair(name, torch.float64, **DEEP):
        model.train()(image(64, 64)).square().sum().backward()
        gradients.append({key: value.grad.clone() for key, value in model.named_parameters()})
        model.zero_grad()
    assert all(relative_error(gradients[0][key], value) < 1e-5 for key, value in gradients[1].items())


def same(ours: nn.Module, theirs: nn.Module, *inputs: torch.Tensor) -> bool:
    """Whether both, with the same random weights, make the same of the inputs."""
    ours.load_state_dict(randomize(theirs).state_dict())
    return relative_error(ours.eval()(*inputs), theirs.eval()(*inputs)) < 1e-5


def test_parts_are_built_as_timms():
    from timm.models import gcvit as timms
    x, odd = torch.rand(2, 16, 8, 12), torch.rand(2, 16, 7, 11)
    for args in ((16,), (16, 16, 2.0), (16, 16, 1.0, 'se', True)):
        assert same(MbConvBlock(*args), timms.MbConvBlock(*args), odd)
    for args in ((16, 24), (16, None, 'max'), (16, 16, 'conv')):
        assert same(Downsample2d(*args), timms.Downsample2d(*args), odd)
    assert same(Downsample2d(16, reduction='avg'), timms.Downsample2d(16, reduction='avg'), x)
    assert Downsample2d(16, reduction='avg')(odd).shape == (2, 16, 4, 6)
    for args in ((16,), (16, 1), (16, 2, 'avg'), (16, 1, 'conv')):
        assert same(FeatureBlock(*args), timms.FeatureBlock(*args), x)
    assert same(Stem(3, 16), timms.Stem(3, 16), torch.rand(2, 3, 17, 30))
    tokens, queries = torch.rand(12, 16, 16), torch.rand(2, 4, 4, 16)
    for use_global in (True, False):
        args = (16, 4, (4, 4), use_global)
        assert same(WindowAttentionGlobal(*args), timms.WindowAttentionGlobal(*args), tokens, queries)
        args = (16, (8, 12), 4, (4, 4), 2.0, use_global)
        assert same(GlobalContextVitBlock(*args), timms.GlobalContextVitBlock(*args), x.permute(0, 2, 3, 1), queries)
    windows = window_partition(x.permute(0, 2, 3, 1), (4, 6))
    assert torch.equal(window_reverse(windows, (4, 6), (8, 12)), timms.window_reverse(windows, (4, 6), (8, 12)))


def test_every_image_has_queries_of_its_own():
    model = randomize(zoo.create_model(NAME, **SMALL)).double().eval()
    x = image(64, 64, batch=3) * torch.tensor([1.0, 3.0, 0.1])[:, None, None, None]
    assert relative_error(model(x), torch.cat([model(one[None]) for one in x])) < 1e-5
    first = model.forward_intermediates(x, [0], intermediates_only=True)[0]
    x[:, :, 40:, 40:] *= -1
    changed = (model.forward_intermediates(x, [0], intermediates_only=True)[0] != first).any(1)
    assert changed[:, 0, 0].all()                            # through the queries alone: the windows are of 2x2 pixels


def test_attention_inside_windows():
    model = randomize(zoo.create_model(NAME, **SMALL)).eval()
    x = image(64, 64, dtype=torch.float32)
    weights = model.forward_attentions(x)
    assert [tuple(w.shape) for w in weights] == [
        (128, 2, 4, 4)] * 2 + [(32, 2, 4, 4)] + [(2, 4, 16, 16)] * 3 + [(2, 4, 4, 4)] * 2
    assert all(torch.allclose(w.sum(-1), torch.ones(()), atol=1e-5) for w in weights)
    outputs = zoo.forward_outputs(model, x, output_hidden_states=True, output_attentions=True)
    assert [h.shape[1:] for h in outputs.hidden_states] == [(8, 16, 16), (8, 16, 16), (16, 8, 8), (32, 4, 4), (64, 2, 2)]
    assert torch.allclose(outputs.logits, model(x), atol=1e-5)
    attention = WindowAttentionGlobal(8, 2, 2)
    with pytest.raises(ValueError, match='queries from outside, as q_global'):
        attention(torch.rand(1, 4, 8))


# --- sizes


def test_any_size():
    model = randomize(zoo.create_model(NAME, **SMALL, dynamic_img_size=True)).eval()
    for size, maps in (((75, 101), [(19, 26), (10, 13), (5, 7), (3, 4)]), ((17, 40), [(5, 10), (3, 5), (2, 3), (1, 2)]),
                       ((3, 5), [(1, 2), (1, 1), (1, 1), (1, 1)])):
        x = image(*size, dtype=torch.float32)
        found = model.forward_intermediates(x, intermediates_only=True)
        assert [tuple(m.shape[2:]) for m in found] == maps and all(m.isfinite().all() for m in found)
        assert model(x).shape == (2, 1000)
    assert [stage.blocks[0].window_size for stage in model.stages] == [(2, 2), (2, 2), (4, 4), (2, 2)]
    x = image(75, 101, dtype=torch.float32)
    backbone = zoo.create_model(NAME, features_only=True, out_indices=(3, 0), **SMALL).eval()
    assert [tuple(m.shape[2:]) for m in backbone(x)] == backbone.feature_info.map_sizes((75, 101)) == [(3, 4), (19, 26)]
    with pytest.raises(ValueError, match='fitted to images of 64x64 .*dynamic_img_size=True'):
        zoo.create_model(NAME, **SMALL)(x)


def test_windows_are_padded_and_queries_interpolated_as_the_authors_detectors_do():
    block = randomize(GlobalContextVitBlock(8, (8, 8), 2, 4, layer_scale=0.5)).double().eval()
    x, queries = torch.rand(2, 6, 9, 8, dtype=torch.float64), torch.rand(2, 3, 5, 8, dtype=torch.float64)
    resized = F.interpolate(queries.permute(0, 3, 1, 2), (4, 4), mode='bicubic').permute(0, 2, 3, 1)
    padded = F.pad(block.norm1(x), (0, 0, 0, 3, 0, 2))
    windows = block.attn(window_partition(padded, (4, 4)).flatten(1, 2), resized).unflatten(1, (4, 4))
    y = x + block.ls1(window_reverse(windows, (4, 4), (8, 12))[:, :6, :9])
    assert torch.allclose(block(x, queries), y + block.ls2(block.mlp(block.norm2(y))))


@pytest.mark.parametrize('source', [(64, 64), (64, 128)])
@pytest.mark.parametrize('size', [(128, 64), (96, 160), (100, 130)])
def test_other_sizes_when_loaded_and_when_set(source, size):
    model = randomize(zoo.create_model(NAME, **{**SMALL, 'img_size': source})).eval()
    built = zoo.create_model(NAME, **{**SMALL, 'img_size': size}, pretrained=model.state_dict(),
                             pretrained_cfg_overlay=dict(input_size=(3, *source))).eval()
    model.set_input_size(size)
    assert model.img_size == size
    assert [stage.blocks[0].window_size for stage in model.stages] == [stage.blocks[0].window_size for stage in built.stages]
    assert all(torch.equal(built.state_dict()[key], value) for key, value in model.state_dict().items())
    x = image(*size, dtype=torch.float32)
    assert model(x).isfinite().all() and torch.equal(model(x), built(x))


def test_tables_are_interpolated_as_the_authors_detectors_do():
    model = randomize(zoo.create_model(NAME, **SMALL))
    before = {key: value.clone() for key, value in model.state_dict().items() if 'bias_table' in key}
    model.set_input_size((128, 160))
    for key, table in before.items():
        side, window = int(table.shape[0] ** 0.5), model.get_submodule(key.rpartition('.')[0]).window_size
        assert window == ((8, 10) if side == 7 else (4, 5))
        wanted = F.interpolate(table.t().view(1, -1, side, side), tuple(2 * n - 1 for n in window), mode='bicubic')
        assert torch.allclose(model.state_dict()[key], wanted[0].flatten(1).t())
    with pytest.raises(ValueError, match='pretrained_cfg_overlay|window_size it was trained with'):
        zoo.create_model(NAME, **SMALL, pretrained=model.state_dict())


def test_windows_of_a_size_that_is_given_follow_no_image():
    model = randomize(zoo.create_model(NAME, **SMALL, window_size=(4, 4, 4, 2))).eval()
    model.set_input_size((96, 128))
    assert [stage.blocks[0].window_size for stage in model.stages] == [(4, 4), (4, 4), (4, 4), (2, 2)]
    assert model(image(96, 128, dtype=torch.float32)).isfinite().all()
    model.set_input_size(window_size=3)
    assert {block.window_size for stage in model.stages for block in stage.blocks} == {(3, 3)}
    assert model(image(96, 128, dtype=torch.float32)).isfinite().all()
    small = on_meta(NAME, **SMALL, window_size=4)                              # the last map is of 2x2 pixels
    assert [stage.blocks[0].window_size for stage in small.stages] == [(4, 4), (4, 4), (4, 4), (2, 2)]
    small = on_meta(NAME, **SMALL, window_ratio=16)
    small.set_input_size((128, 64))
    assert [stage.blocks[0].window_size for stage in small.stages] == [(8, 4), (8, 4), (8, 4), (4, 2)]


# --- drawing, and what does not fit


@pytest.mark.parametrize('weight_init', ['', 'vit'])
def test_weights_are_drawn_as_is_said(weight_init):
    shape = dict(depths=(1, 1, 2, 1), weight_init=weight_init)
    ours, theirs = (make(NAME, **shape).state_dict() for make in (zoo.create_model, of_timm))
    for key, value in theirs.items():
        wanted = value.std().item()
        if key.endswith('weight') and value.ndim == 2 and not weight_init:
            wanted = 0.02                                                   # the authors'; timm's is PyTorch's own
        if key.endswith(('weight', 'table')) and value.ndim > 1:
            assert ours[key].std().item() == pytest.approx(wanted, rel=0.15), key
        elif key.endswith('bias') and 'stem.conv1' not in key:
            assert ours[key].eq(0).all(), key


def test_what_does_not_fit_is_said():
    for options, words in ((dict(num_heads=(1, 2)), 'one entry a stage.*num_heads 2'), (dict(window_ratio=(32, 32)), 'window_ratio 2'),
                           (dict(num_heads=(3, 2, 4, 4)), '3 heads do not divide'), (dict(weight_init='vitt'), "'vit'"),
                           (dict(window_size=(7, 7, 7)), 'window_size'), (dict(act_layer='gelo'), "'gelu'")):
        with pytest.raises(ValueError, match=words):
            on_meta(NAME, **{**SMALL, **options})
    for make, words in ((lambda: Downsample2d(8, 16, 'max'), "'max' keeps 8 channels"), (lambda: FeatureBlock(8, 1, 'maxx'), "'max'")):
        with pytest.raises(ValueError, match=words):
            make()
    with pytest.raises(ValueError, match='no patch_size that could be changed'):
        on_meta(NAME, **SMALL).set_input_size(patch_size=8)


@pytest.mark.sweep
def test_compiles_whole():
    model = randomize(zoo.create_model(NAME, **SMALL, dynamic_img_size=True, num_classes=3)).eval()
    check_compiled(model, image(75, 101, dtype=torch.float32))


@pytest.mark.sweep
def test_exports_with_any_number_height_and_width():
    model = randomize(zoo.create_model(NAME, **SMALL, dynamic_img_size=True, num_classes=3)).eval()
    check_exported(model, image(96, 128, dtype=torch.float32), ((227, 301), (75, 90), (224, 224)))


def test_the_class_serves_other_depths():
    model = GlobalContextVit(img_size=32, embed_dim=8, depths=(1, 2), num_heads=(1, 2), window_ratio=8, num_classes=2)
    assert model(image(32, 32, dtype=torch.float32)).shape == (2, 2) and [f['reduction'] for f in model.feature_info] == [4, 8]
    stage = GlobalContextVitStage(8, 2, 2, (8, 8), 4, global_norm=True, stage_norm=True)
    assert stage(torch.rand(1, 8, 16, 16)).shape == (1, 16, 8, 8) and isinstance(stage.global_norm, nn.LayerNorm)
