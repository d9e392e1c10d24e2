"""DaViT beside timm's: every option, windows that do not divide the map, attention among channels, Florence-2's encoder."""
from __future__ import annotations

import pytest
import torch
from beside_timm import check_compiled, check_exported, compare_options, on_meta, pair
from conftest import randomize, relative_error

import zoo
from zoo.models import davit

NAME, FLORENCE = 'davit_tiny', 'davit_base_fl'
SHORT = dict(depths=(1, 1, 2, 1), embed_dims=(16, 32, 48, 64), num_heads=(1, 2, 3, 4))


def image(*size: int, batch: int = 2, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(5), dtype=dtype) * 2 - 1


@pytest.mark.in_turn
@pytest.mark.parametrize('options', [
    dict(), dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(global_pool='max'),
    dict(global_pool='avgmax'), dict(window_size=4), dict(window_size=5), dict(mlp_ratio=2.0), dict(qkv_bias=False),
    dict(attn_types=('channel', 'spatial')), dict(attn_types=('spatial',)), dict(attn_types=('channel', 'channel')),
    dict(cpe_act=True), dict(down_kernel_size=3), dict(down_kernel_size=5), dict(channel_attn_v2=True),
    dict(named_blocks=True), dict(head_norm_first=True), dict(norm_eps=1e-2), dict(norm_layer='rmsnorm2d'),
    dict(norm_layer_cl='rmsnorm'), dict(drop_rate=0.1, drop_path_rate=0.3),
], ids=str)
def test_options_equal_timms(options):
    ours, theirs = compare_options(NAME, **{**SHORT, **options})
    rates = [[getattr(block.drop_path1, 'drop_prob', 0) for stage in m.stages for pair in stage.blocks for block in pair]
             for m in (ours, theirs)]
    assert rates[0] == pytest.approx(rates[1])


def test_blocks_without_mlps():                                                    # timm's fail
    model = randomize(zoo.create_model(NAME, **SHORT, ffn=False)).eval()
    assert not [key for key in model.state_dict() if 'mlp' in key or 'norm2' in key] and model.stages[0].blocks[0][0].mlp is None
    assert model(image(64, 64, dtype=torch.float32)).isfinite().all()


def test_florences_encoder_equals_timms():
    ours, _ = compare_options(FLORENCE, size=(160, 144), **{**SHORT, 'window_size': 12}, num_classes=3)
    assert [name for name, _ in ours.stages[0].blocks[0].named_children()] == ['spatial_block', 'channel_block']


@pytest.mark.in_turn
@pytest.mark.parametrize(('make', 'shape'), [
    (lambda m: m.ConvPosEnc(16, 5, True), (2, 16, 9, 11)), (lambda m: m.Stem(3, 16), (2, 3, 33, 46)),
    (lambda m: m.Downsample(16, 24, 2), (2, 16, 7, 9)), (lambda m: m.Downsample(16, 24), (2, 16, 7, 9)),
    (lambda m: m.WindowAttention(16, (3, 5), 4), (6, 15, 16)), (lambda m: m.ChannelAttention(16, 4), (2, 63, 16)),
    (lambda m: m.ChannelAttentionV2(16, 4), (2, 63, 16)), (lambda m: m.ChannelAttentionV2(16, 4, dynamic_scale=False), (2, 63, 16)),
    (lambda m: m.SpatialBlock(16, 4, 5), (2, 16, 7, 9)), (lambda m: m.ChannelBlock(16, 4, v2=True), (2, 16, 7, 9)),
    (lambda m: m.DaVitStage(16, 24, 2, drop_path_rates=(0.1, 0.2)), (2, 16, 15, 17)),
])
def test_layers_are_built_as_timms(make, shape):
    from timm.models import davit as timms
    ours, theirs = make(davit).eval(), make(timms).eval()
    ours.load_state_dict(randomize(theirs).state_dict())
    x = torch.rand(shape)
    assert relative_error(ours(x), theirs(x)) < 1e-5


def test_attention_among_pixels_and_channels_sums_to_one():
    model = randomize(zoo.create_model(NAME, **SHORT)).eval()
    x = image(64, 96, dtype=torch.float32)
    weights = model.forward_attentions(x)
    windows = [(3 * 4, 1), (2 * 2, 2), (1, 3), (1, 3), (1, 4)]
    expected = []
    for count, heads in windows:
        expected += [(2 * count, heads, 49, 49), (2, heads, 16, 16)]
    assert [tuple(w.shape) for w in weights] == expected
    assert all(torch.allclose(w.sum(-1), torch.ones(())) for w in weights)
    outputs = zoo.forward_outputs(model, x, output_hidden_states=True, output_attentions=True)
    assert len(outputs.hidden_states) == 5 and torch.allclose(outputs.logits, model(x), atol=1e-5)


def test_windows_can_be_changed():
    model = randomize(zoo.create_model(NAME, **SHORT)).double().eval()
    other = zoo.create_model(NAME, **SHORT, window_size=(3, 5), pretrained=model.state_dict()).double().eval()
    x, before = image(96, 64), model.state_dict().keys()
    assert relative_error(model(x), other(x)) > 1e-3
    model.set_input_size(window_size=(3, 5))
    assert torch.equal(model(x), other(x)) and model.state_dict().keys() == before
    assert model.img_size is None and model.dynamic_img_size
    backbone = zoo.create_model(NAME, **SHORT, features_only=True)
    backbone.set_input_size(window_size=4)
    assert backbone.network.stages[1].blocks[0][0].window_size == (4, 4)


def test_what_does_not_fit_is_said():
    for options, words in ((dict(num_heads=(1, 2)), 'one entry a stage.*num_heads 2'), (dict(window_size=0), 'window_size'),
                           (dict(attn_types=('spatail',)), "Did you mean 'spatial'"),
                           (dict(num_heads=(3, 2, 3, 4)), '3 heads do not divide'),
                           (dict(num_heads=(3, 2, 3, 4), attn_types=('channel',)), '3 groups do not divide 16')):
        with pytest.raises(ValueError, match=words):
            on_meta(NAME, **{**SHORT, **options})
    with pytest.raises(ValueError, match='no patch_size that could be changed'):
        on_meta(NAME, **SHORT).set_input_size(patch_size=8)


@pytest.mark.sweep
@pytest.mark.parametrize('options', [dict(), dict(channel_attn_v2=True, down_kernel_size=3)], ids=str)
def test_compiles_and_exports_with_any_height_and_width(options):
    model = randomize(zoo.create_model(NAME, **SHORT, **options, num_classes=3)).eval()
    x = image(96, 128, dtype=torch.float32)
    check_compiled(model, x)
    check_exported(model, x, ((227, 301), (75, 90), (224, 224)), one_window=True)


def test_a_head_that_normalises_first_normalises_maps():
    ours, theirs = pair(NAME, torch.float64, **SHORT, head_norm_first=True)
    x = image(64, 64)
    plain, normed = (ours.eval().forward_intermediates(x, norm=norm, intermediates_only=True)[-1] for norm in (False, True))
    assert torch.allclose(normed, ours.norm_pre(plain)) and relative_error(normed, theirs.eval().forward_features(x)) < 1e-5


def test_florences_checkpoints_load_as_timms():
    import timm
    from zoo.pretrained.foreign.davit import LAYOUTS
    options = dict(depths=(1, 1, 1, 1), num_classes=0)
    model = randomize(zoo.create_model(FLORENCE, **options))
    torch.nn.init.ones_(model.head.norm.weight), torch.nn.init.zeros_(model.head.norm.bias)
    state = LAYOUTS[0].to_theirs(model.state_dict())
    whole = {f'vision_tower.{key}': value for key, value in state.items()} | {'language_model.shared.weight': torch.zeros(3, 2)}
    loaded = zoo.create_model(FLORENCE, pretrained=whole, **options)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in loaded.state_dict().items())
    theirs = timm.create_model(FLORENCE, **options)
    converted = timm.models.davit.checkpoint_filter_fn(whole, theirs)
    assert all(torch.equal(value, model.state_dict()[key]) for key, value in converted.items())
    assert LAYOUTS[0].describe(whole) == (FLORENCE, {'num_classes': 0})
    torch.nn.init.zeros_(model.head.norm.weight)
    with pytest.raises(ValueError, match='no place for the normalisation after pooling'):
        LAYOUTS[0].to_theirs(model.state_dict())
