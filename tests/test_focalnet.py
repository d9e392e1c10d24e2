"""FocalNet beside timm's: every option, patches that overlap, the heads."""
from __future__ import annotations

import pytest
import torch
from beside_timm import check_compiled, check_exported, compare_options, on_meta, pair
from conftest import randomize, relative_error
from torch.fx import symbolic_trace

import zoo
from zoo.models import focalnet

NAME, LARGE = 'focalnet_tiny_srf', 'focalnet_huge_fl3'
SHORT = dict(depths=(1, 1, 2, 1), embed_dim=16, drop_path_rate=0.0)


def image(*size: int, batch: int = 2, dtype: torch.dtype = torch.float64) -> torch.Tensor:
    return torch.rand(batch, 3, *size, generator=torch.Generator().manual_seed(5), dtype=dtype) * 2 - 1


@pytest.mark.in_turn
@pytest.mark.parametrize('options', [
    dict(), dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(global_pool='max'),
    dict(global_pool='avgmax'), dict(mlp_ratio=2.0), dict(focal_levels=(1, 2, 3, 4)), dict(focal_windows=(5, 3, 9, 7)),
    dict(use_overlap_down=True), dict(use_post_norm=True), dict(use_post_norm_in_modulation=True),
    dict(normalize_modulator=True), dict(head_hidden_size=24), dict(head_hidden_size=24, num_classes=0),
    dict(head_init_scale=0.1), dict(layerscale_value=1e-4), dict(norm_layer=torch.nn.BatchNorm2d),
    dict(drop_rate=0.1, drop_path_rate=0.3, proj_drop_rate=0.1),
], ids=str)
def test_options_equal_timms(options):
    ours, theirs = compare_options(NAME, **{**SHORT, **options}, size=(72, 64))
    for rate in (lambda b: getattr(b.drop_path1, 'drop_prob', 0), lambda b: b.modulation.proj_drop.p, lambda b: b.mlp.drop1.p):
        rates = [[rate(block) for stage in m.layers for block in stage.blocks] for m in (ours, theirs)]
        assert rates[0] == pytest.approx(rates[1])


@pytest.mark.parametrize(('make', 'shape'), [
    (lambda m: m.FocalModulation(16, 3, 2), (2, 16, 7, 9)), (lambda m: m.FocalModulation(16, 5, 3, 4, False, True, True), (2, 16, 7, 9)),
    (lambda m: m.FocalNetBlock(16, use_post_norm=True), (2, 16, 7, 9)), (lambda m: m.Downsample(3, 16), (2, 3, 33, 46)),
    (lambda m: m.Downsample(16, 24, 2, True, torch.nn.BatchNorm2d), (2, 16, 7, 9)),
    (lambda m: m.FocalNetStage(16, 24, 2, drop_path=[0.1, 0.2]), (2, 16, 15, 17)),
])
def test_layers_are_built_as_timms(make, shape):
    from timm.models import focalnet as timms
    ours, theirs = make(focalnet).eval(), make(timms).eval()
    ours.load_state_dict(randomize(theirs).state_dict())
    x = torch.rand(shape)
    assert relative_error(ours(x), theirs(x)) < 1e-5


def test_maps_at_odd_sizes():
    for overlap, sides in ((False, [(16, 24), (8, 12), (4, 6), (2, 3)]), (True, [(17, 25), (9, 13), (5, 7), (3, 4)])):
        ours, theirs = pair(NAME, torch.float64, **SHORT, use_overlap_down=overlap)
        backbone = zoo.create_model(NAME, **SHORT, use_overlap_down=overlap, features_only=True)
        assert backbone.feature_info.map_sizes((65, 97)) == sides
        assert [tuple(m.shape[2:]) for m in backbone(image(65, 97, dtype=torch.float32))] == sides
        x = image(65, 97) if not overlap else image(67, 96)                      # where timm's fills up, too
        maps = [m.eval().forward_intermediates(x, norm=True, intermediates_only=True)[-1] for m in (ours, theirs)]
        assert relative_error(*maps) < 1e-5


def test_fresh_weights():
    model = zoo.create_model(NAME, **{**SHORT, 'embed_dim': 64}, head_init_scale=0.5, layerscale_value=0.3)
    assert model.layers[0].blocks[0].ls1.gamma.eq(0.3).all() and model.layers[0].blocks[0].modulation.f.bias.eq(0).all()
    assert model.head.fc.weight.std().item() == pytest.approx(0.01, rel=0.05)
    assert model.layers[3].blocks[0].mlp.fc1.weight.std().item() == pytest.approx(0.02, rel=0.05)


def test_what_does_not_fit_is_said():
    for options, words in ((dict(focal_levels=(1, 2)), 'one entry a stage.*focal_levels 2'),):
        with pytest.raises(ValueError, match=words):
            on_meta(NAME, **{**SHORT, **options})
    with pytest.raises(ValueError, match='2 or 4, not 3'):
        focalnet.Downsample(3, 8, 3, overlap=True)
    with pytest.raises(ValueError, match='no attention'):
        zoo.create_model(NAME, **SHORT).forward_attentions(image(32, 32, dtype=torch.float32))


@pytest.mark.sweep
@pytest.mark.parametrize('name', [NAME, LARGE])
def test_compiles_traces_and_exports_with_any_height_and_width(name):
    model = randomize(zoo.create_model(name, **SHORT, num_classes=3)).eval()
    x = image(96, 128, dtype=torch.float32)
    assert torch.allclose(symbolic_trace(model)(x), model(x), atol=1e-5)
    check_compiled(model, x)
    check_exported(model, x, ((227, 301), (75, 90), (224, 224)))
