"""PVTv2 beside timm's: every option, maps smaller than the squares that keys are made of, the linear attention."""
from __future__ import annotations

import pytest
import torch
from beside_timm import check_compiled, check_exported, compare_options, on_meta, pair
from conftest import randomize, relative_error

import zoo
from zoo.layers.spatial_reduction import SpatialReductionAttention
from zoo.models.pvt_v2 import Block, MlpWithDepthwiseConv, PyramidVisionTransformerV2

NAME, LINEAR = 'pvt_v2_b0', 'pvt_v2_b2_li'
SHORT = dict(depths=(1, 1, 1, 1), embed_dims=(16, 32, 40, 64))


def image(*size: int, batch: int = 2, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(5), dtype=dtype) * 2 - 1


@pytest.mark.in_turn
@pytest.mark.parametrize('options', [
    dict(), dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(depths=(1, 2, 1, 1)),
    dict(num_heads=(2, 4, 8, 4)), dict(sr_ratios=(4, 2, 1, 1)), dict(sr_ratios=(1, 1, 1, 1)), dict(mlp_ratios=(2, 2, 3, 4)),
    dict(qkv_bias=False), dict(linear=True), dict(linear=True, sr_ratios=(1, 1, 1, 1)), dict(norm_layer=torch.nn.LayerNorm),
    dict(drop_rate=0.1, drop_path_rate=0.3, proj_drop_rate=0.1, attn_drop_rate=0.1),
], ids=str)
def test_options_equal_timms(options):
    ours, theirs = compare_options(NAME, **{**SHORT, **options})
    for rate in (lambda b: getattr(b.drop_path1, 'drop_prob', 0), lambda b: b.attn.attn_drop.p, lambda b: b.mlp.drop.p):
        rates = [[rate(block) for stage in m.stages for block in stage.blocks] for m in (ours, theirs)]
        assert rates[0] == pytest.approx(rates[1])


@pytest.mark.parametrize('name', [NAME, LINEAR])
def test_images_smaller_than_the_squares_of_keys(name):
    model = randomize(zoo.create_model(name, **SHORT)).double().eval()
    maps = model.forward_intermediates(image(17, 40), intermediates_only=True)
    assert [tuple(m.shape[2:]) for m in maps] == [(5, 10), (3, 5), (2, 3), (1, 2)]
    assert all(m.isfinite().all() for m in maps)
    attention = randomize(SpatialReductionAttention(8, 2, sr_ratio=4)).double()
    tokens = torch.rand(1, 6, 8, dtype=torch.float64)
    zeros = attention.norm(attention.sr(torch.nn.functional.pad(tokens.mT.unflatten(2, (2, 3)), (0, 1, 0, 2))).flatten(2).mT)
    assert torch.allclose(attention._coarser(tokens, (2, 3)), zeros)


@pytest.mark.parametrize('linear', [False, True])
def test_blocks_are_built_as_timms(linear):
    from timm.models import pvt_v2 as timms
    x = torch.rand(2, 15 * 17, 16)
    for ours, theirs in ((SpatialReductionAttention, timms.Attention), (Block, timms.Block)):
        args = (16, 4, 2, linear) if ours is not Block else (16, 4, 2.0, 2, linear)
        a, b = ours(*args).eval(), theirs(*args).eval()
        a.load_state_dict(randomize(b).state_dict())
        assert relative_error(a(x, (15, 17)), b(x, [15, 17])) < 1e-5
    a, b = (kind(16, 24, 8, extra_relu=linear).eval() for kind in (MlpWithDepthwiseConv, timms.MlpWithDepthwiseConv))
    a.load_state_dict(randomize(b).state_dict())
    assert relative_error(a(x, (15, 17)), b(x, [15, 17])) < 1e-5


def test_attention_looks_at_the_coarser_map():
    x = image(64, 96, dtype=torch.float32)
    for name, keys in ((NAME, (6, 6, 6, 6)), (LINEAR, (49, 49, 49, 49))):
        model = randomize(zoo.create_model(name, **SHORT)).eval()
        weights = model.forward_attentions(x)
        assert [tuple(w.shape) for w in weights] == [
            (2, heads, queries, k) for heads, queries, k in zip((1, 2, 5, 8), (384, 96, 24, 6), keys)]
        assert all(torch.allclose(w.sum(-1), torch.ones(())) for w in weights)
        outputs = zoo.forward_outputs(model, x, output_hidden_states=True, output_attentions=True)
        assert [h.shape[1:] for h in outputs.hidden_states] == [
            (16, 16, 24), (16, 16, 24), (32, 8, 12), (40, 4, 6), (64, 2, 3)]
        assert torch.allclose(outputs.logits, model(x), atol=1e-5)


def test_what_does_not_fit_is_said():
    for options, words in ((dict(num_heads=(1, 2)), 'one entry a stage.*num_heads 2'), (dict(mlp_ratios=(1, 2, 3)), 'mlp_ratios 3'),
                           (dict(num_heads=(3, 2, 5, 8)), '3 heads do not divide 16')):
        with pytest.raises(ValueError, match=words):
            on_meta(NAME, **{**SHORT, **options})


@pytest.mark.sweep
@pytest.mark.parametrize('name', [NAME, LINEAR])
def test_compiles_and_exports_with_any_height_and_width(name):
    model = randomize(zoo.create_model(name, **SHORT, num_classes=3)).eval()
    x = image(96, 128, dtype=torch.float32)
    check_compiled(model, x)
    check_exported(model, x, ((227, 301), (75, 90), (224, 224)))


def test_the_class_serves_other_depths():
    from timm.models.pvt_v2 import PyramidVisionTransformerV2 as Theirs
    shape = dict(depths=(1, 2), embed_dims=(8, 16), num_heads=(1, 2), sr_ratios=(4, 2), mlp_ratios=(2, 2), num_classes=2)
    model = PyramidVisionTransformerV2(**shape)
    assert model(torch.rand(1, 3, 64, 64)).shape == (1, 2) and [f['reduction'] for f in model.feature_info] == [4, 8]
    assert Theirs(**shape).state_dict().keys() == model.state_dict().keys()
    ours, theirs = pair(NAME, torch.float64, **SHORT)
    ours.reset_classifier(4, 'catavgmax')
    assert ours.eval()(image(64, 64)).shape == (2, 4) and theirs.num_features == ours.num_features
