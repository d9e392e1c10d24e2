"""Twins beside timm's: every option, windows that do not divide the map, positions by convolution."""
from __future__ import annotations

import pytest
import torch
from beside_timm import check_compiled, check_exported, compare_options, on_meta
from conftest import randomize, relative_error

import zoo
from zoo.models import twins

NAME, COARSE = 'twins_svt_small', 'twins_pcpvt_small'
SHORT = dict(depths=(1, 2, 2, 1), embed_dims=(16, 32, 48, 64), num_heads=(1, 2, 3, 4))


def image(*size: int, batch: int = 2, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(5), dtype=dtype) * 2 - 1


@pytest.mark.in_turn
@pytest.mark.parametrize('options', [
    dict(), dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(img_size=64),
    dict(mlp_ratios=(2, 2, 3, 4)), dict(sr_ratios=(4, 2, 1, 1)), dict(wss=(4, 5, 3, 2)), dict(wss=None),
    dict(norm_layer=torch.nn.LayerNorm),
    dict(drop_rate=0.1, pos_drop_rate=0.2, drop_path_rate=0.3, proj_drop_rate=0.1, attn_drop_rate=0.1),
], ids=str)
def test_options_equal_timms(options):
    ours, theirs = compare_options(NAME, **{**SHORT, **options})
    rates = [[(getattr(block.drop_path1, 'drop_prob', 0), block.attn.attn_drop.p, block.mlp.drop1.p)
              for stage in m.blocks for block in stage] for m in (ours, theirs)]
    assert rates[0] == [pytest.approx(rate) for rate in rates[1]]
    assert ours.no_weight_decay() == theirs.no_weight_decay()
    assert [drop.p for drop in ours.pos_drops] == [drop.p for drop in theirs.pos_drops]


@pytest.mark.parametrize('make', [
    lambda m: m.GlobalSubSampleAttn(16, 4, sr_ratio=2), lambda m: m.LocallyGroupedAttn(16, 4, ws=5),
    lambda m: m.Block(16, 4, 2.0, ws=1, sr_ratio=3), lambda m: m.Block(16, 4, ws=4), lambda m: m.PosConv(16, 16),
    lambda m: m.PosConv(16, 16, 2)])
def test_layers_are_built_as_timms(make):
    from timm.models import twins as timms
    ours, theirs = make(twins).eval(), make(timms).eval()
    ours.load_state_dict(randomize(theirs).state_dict())
    x = torch.rand(2, 7 * 9, 16)
    assert relative_error(ours(x, (7, 9)), theirs(x, (7, 9))) < 1e-5


def test_patches_come_with_the_size_of_their_map():
    from timm.models.twins import PatchEmbed as Theirs
    ours, theirs = twins.PatchEmbed(32, 4, 3, 8), Theirs(32, 4, 3, 8)
    ours.load_state_dict(randomize(theirs).state_dict())
    (tokens, size), (expected, _) = (embed(image(33, 46, dtype=torch.float32)) for embed in (ours, theirs))
    assert torch.allclose(tokens, expected, atol=1e-6) and size == (8, 11)


def test_attention_among_all_tokens():                                                          # timm's fails
    block = randomize(twins.Block(16, 4)).eval()
    assert block.attn.qkv.bias is None and block(torch.rand(2, 63, 16), (7, 9)).shape == (2, 63, 16)


def test_attention_in_windows_and_to_the_coarser_map():
    model = randomize(zoo.create_model(NAME, **SHORT)).eval()
    x = image(64, 96, dtype=torch.float32)
    weights = model.forward_attentions(x)
    assert [tuple(w.shape) for w in weights] == [
        (24, 1, 49, 49), (8, 2, 49, 49), (2, 2, 96, 6), (2, 3, 49, 49), (2, 3, 24, 6), (2, 4, 49, 49)]
    assert all(torch.allclose(w.sum(-1), torch.ones(())) for w in weights)
    outputs = zoo.forward_outputs(model, x, output_hidden_states=True, output_attentions=True)
    assert [h.shape[1:] for h in outputs.hidden_states] == [
        (384, 16), (384, 16), (96, 32), (96, 32), (24, 48), (24, 48), (6, 64)]
    assert torch.allclose(outputs.logits, model(x), atol=1e-5)


def test_images_of_any_size_and_other_windows():
    model = randomize(zoo.create_model(NAME, **SHORT)).double().eval()
    assert model.img_size == (224, 224)
    maps = model.forward_intermediates(image(71, 101), intermediates_only=True)
    assert [tuple(m.shape[2:]) for m in maps] == [(17, 25), (8, 12), (4, 6), (2, 3)]
    options = dict(img_size=96, wss=(3, 3, 3, 3), pretrained=model.state_dict())
    other = zoo.create_model(NAME, **SHORT, **options).double().eval()
    assert other.pretrained_cfg['input_size'] == (3, 96, 96)
    model.set_input_size(96, window_size=3)
    assert model.img_size == (96, 96) and torch.equal(model(image(96, 96)), other(image(96, 96)))
    fine = on_meta(NAME, **SHORT, patch_size=2)
    assert [f['reduction'] for f in fine.feature_info] == [2, 4, 8, 16]                  # timm's says 4 to 32
    normed = model.forward_intermediates(image(64, 64), norm=True, intermediates_only=True)[-1]
    assert torch.allclose(normed.flatten(2).mT, model.forward_features(image(64, 64)))


def test_what_does_not_fit_is_said():
    for options, words in ((dict(wss=(7, 7)), 'one entry a stage.*wss 2'), (dict(img_size=0), 'img_size'),
                           (dict(num_heads=(3, 2, 3, 4)), '3 heads do not divide 16'),
                           (dict(num_heads=(3, 2, 3, 4), wss=None), '3 heads do not divide 16')):
        with pytest.raises(ValueError, match=words):
            on_meta(NAME, **{**SHORT, **options})


@pytest.mark.sweep
@pytest.mark.parametrize('name', [NAME, COARSE])
def test_compiles_and_exports_with_any_height_and_width(name):
    model = randomize(zoo.create_model(name, **SHORT, num_classes=3)).eval()
    x = image(96, 128, dtype=torch.float32)
    check_compiled(model, x)
    check_exported(model, x, ((227, 301), (75, 90), (224, 224)), one_window=True)
