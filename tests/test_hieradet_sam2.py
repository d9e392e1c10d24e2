"""HieraDet, SAM 2's image encoder, beside timm's: every option, any size, positions of windows and of the whole map."""
from __future__ import annotations

import pytest
import timm
import torch
from beside_timm import check_compiled, check_exported, compare_options, on_meta, pair
from conftest import randomize, relative_error
from torch import nn

import zoo
from zoo.models.hieradet_sam2 import HieraDet, HieraPatchEmbed, MultiScaleAttention, MultiScaleBlock

NAME = 'sam2_hiera_tiny'
SHORT = dict(stages=(1, 2, 3, 1), embed_dim=16, global_att_blocks=(4,), window_spec=(8, 4, 6, 3))


def image(*size: int, batch: int = 2, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(5), dtype=dtype) * 2 - 1


@pytest.mark.in_turn
@pytest.mark.parametrize('options', [
    dict(), dict(num_classes=7), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(global_pool='max'),
    dict(global_pool='avgmax'), dict(num_heads=2), dict(dim_mul=3.0, head_mul=1.0, num_heads=2), dict(patch_size=(4, 4)),
    dict(patch_kernel=(4, 4), patch_padding=(0, 0)), dict(global_pos_size=(14, 14)), dict(global_pos_size=(5, 9)),
    dict(window_spec=(8, 4, 14, 7)), dict(window_spec=(16, 8, 4, 2)), dict(global_att_blocks=()), dict(global_att_blocks=(2, 5)),
    dict(init_values=0.5), dict(weight_init='jax', fix_init=False), dict(norm_layer=nn.LayerNorm), dict(act_layer='relu'),
    dict(stages=(1, 1), q_pool=1, window_spec=(8, 4)), dict(drop_rate=0.1, drop_path_rate=0.3),
], ids=str)
def test_options_equal_timms(options):
    options = {**SHORT, 'num_classes': 5, **options}
    ours, theirs = compare_options(NAME, (64, 128), **options)
    rates = [[getattr(block.drop_path1, 'drop_prob', 0) for block in m.blocks] for m in (ours, theirs)]
    assert rates[0] == pytest.approx(rates[1])
    x = torch.rand(1, options.get('in_chans', 3), 128, 64, dtype=torch.float64)
    maps = [m.eval().forward_intermediates(x, intermediates_only=True) for m in (ours, theirs)]
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(*maps, strict=True))
    assert ours.no_weight_decay() >= set(theirs.no_weight_decay()) and 'pos_embed_window' in ours.no_weight_decay()


def test_gradients_equal_timms():
    models = pair(NAME, torch.float64, **SHORT, num_classes=3, init_values=0.1)
    gradients = []
    for model in models:
        model.train()(image(64, 96)).square().sum().backward()
        gradients.append({key: value.grad.clone() for key, value in model.named_parameters()})
        for parameter in model.parameters():
            parameter.grad = None
    assert all(relative_error(gradients[0][key], value) < 1e-5 for key, value in gradients[1].items())


def test_layers_are_built_as_timms():
    from timm.models import hieradet_sam2 as timms
    x = torch.rand(2, 8, 12, 8)
    pool = nn.MaxPool2d(2, 2)
    for ours, theirs in ((MultiScaleAttention(8, 16, 2, pool), timms.MultiScaleAttention(8, 16, 2, pool)),
                         (MultiScaleBlock(8, 16, 2, q_stride=(2, 2), window_size=4),
                          timms.MultiScaleBlock(8, 16, 2, q_stride=(2, 2), window_size=4)),
                         (MultiScaleBlock(8, 8, 2, window_size=7), timms.MultiScaleBlock(8, 8, 2, window_size=7)),
                         (MultiScaleBlock(8, 8, 2, init_values=0.1), timms.MultiScaleBlock(8, 8, 2, init_values=0.1))):
        ours.load_state_dict(randomize(theirs.eval()).state_dict())
        assert torch.allclose(ours.eval()(x), theirs(x), atol=1e-5)
    theirs, ours = timms.HieraPatchEmbed(embed_dim=8), HieraPatchEmbed(embed_dim=8)
    ours.load_state_dict(theirs.state_dict())
    assert torch.allclose(ours(image(32, 48, dtype=torch.float32)), theirs(image(32, 48, dtype=torch.float32)), atol=1e-5)


# --- sizes


def test_any_size():
    """timm's adds no positions to a map that windows do not divide."""
    model = randomize(zoo.create_model(NAME, **SHORT)).eval()
    for size, maps in (((227, 301), [(57, 76), (28, 38), (14, 19), (7, 9)]), ((50, 43), [(13, 11), (6, 5), (3, 2), (1, 1)]),
                       ((96, 160), [(24, 40), (12, 20), (6, 10), (3, 5)])):
        x = image(*size, dtype=torch.float32)
        found = model.forward_intermediates(x, intermediates_only=True)
        assert [tuple(m.shape[2:]) for m in found] == maps and all(m.isfinite().all() for m in found)
    backbone = zoo.create_model(NAME, features_only=True, out_indices=(3, 1), **SHORT).eval()
    x = image(227, 301, dtype=torch.float32)
    assert [tuple(m.shape[2:]) for m in backbone(x)] == backbone.feature_info.map_sizes((227, 301)) == [(7, 9), (28, 38)]
    assert backbone.feature_info.get('rounding') == ['ceil to 4, then floor'] * 2


def test_positions_go_on_where_windows_end():
    model = randomize(zoo.create_model(NAME, **SHORT, num_classes=0)).eval()
    whole = model.run_stem(image(64, 64, dtype=torch.float32)) - model.patch_embed(image(64, 64, dtype=torch.float32))
    with torch.no_grad():
        model.pos_embed.zero_()
    x = image(50, 43, dtype=torch.float32)
    part = model.run_stem(x) - model.patch_embed(x)
    window = model.pos_embed_window.permute(0, 2, 3, 1)
    assert torch.allclose(part[:1, 8:13, :8], window[:, :5], atol=1e-5) and not torch.allclose(whole[:1, :8, :8], window, atol=1e-2)


def test_positions_of_other_windows_are_fitted():
    source = randomize(zoo.create_model(NAME, **SHORT)).eval()
    options = {**SHORT, 'window_spec': (4, 4, 6, 3)}
    built = zoo.create_model(NAME, **options, global_pos_size=(14, 10), pretrained=source.state_dict()).eval()
    assert built.pos_embed.shape[2:] == (14, 10) and built.pos_embed_window.shape[2:] == (4, 4)
    assert built.pos_embed_window.mean().item() == pytest.approx(source.pos_embed_window.mean().item(), abs=0.02)
    assert torch.equal(built.blocks[2].attn.qkv.weight, source.blocks[2].attn.qkv.weight)


def test_attention_of_every_window_sums_to_one():
    model = randomize(zoo.create_model(NAME, **SHORT)).eval()
    x = image(64, 96, dtype=torch.float32)
    weights = model.forward_attentions(x)
    assert [tuple(w.shape) for w in weights] == [(12, 1, 64, 64), (12, 2, 16, 64), (12, 2, 16, 16), (12, 4, 4, 16),
                                                 (2, 4, 24, 24), (2, 4, 36, 36), (2, 8, 9, 36)]
    assert all(torch.allclose(w.sum(-1), torch.ones(())) for w in weights)
    outputs = zoo.forward_outputs(model, x, output_hidden_states=True)
    assert len(outputs.hidden_states) == 8


def test_weights_are_drawn_as_wide_as_timms():
    for options in (dict(), dict(weight_init='jax'), dict(fix_init=False)):
        given = dict(stages=(1, 2, 1, 1), **options)
        ours, theirs = zoo.create_model(NAME, **given).state_dict(), timm.create_model(NAME, **given).state_dict()
        for key, value in theirs.items():
            if key.endswith('weight') and value.ndim > 1:
                assert ours[key].std().item() == pytest.approx(value.std().item(), rel=0.1), key


def test_what_does_not_fit_is_said():
    for options, words in ((dict(window_spec=(8, 4)), 'one entry a stage, not 2 for 4'), (dict(q_pool=4), 'how many of the 4 stages'),
                           (dict(window_spec=(7, 4, 14, 7)), 'Windows of 7x7 pixels.*the stride divides them'),
                           (dict(num_heads=3), '3 heads do not divide'), (dict(weight_init='jaxx'), "'jax'")):
        with pytest.raises(ValueError, match=words):
            on_meta(NAME, **{**SHORT, **options})


def test_compiles_whole():
    model = randomize(zoo.create_model(NAME, **SHORT, num_classes=3)).eval()
    x = image(75, 101, dtype=torch.float32)
    check_compiled(model, x)


@pytest.mark.sweep
def test_exports_with_any_height_and_width():
    options = {**SHORT, 'stages': (1, 1, 2, 1), 'global_att_blocks': (3,)}
    model = randomize(zoo.create_model(NAME, **options, num_classes=3)).eval()
    x = image(96, 128, dtype=torch.float32)
    check_exported(model, x, ((227, 301), (75, 90), (224, 224)), one_window=True)


def test_the_class_serves_other_depths():
    model = HieraDet(embed_dim=8, stages=(1, 1), q_pool=1, window_spec=(4, 2), global_att_blocks=(1,), num_classes=2)
    assert model(torch.rand(1, 3, 32, 32)).shape == (1, 2)
