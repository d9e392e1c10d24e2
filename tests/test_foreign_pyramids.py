"""Checkpoints of PVT v2, FocalNet and Swin V2 CR that others wrote, both ways: beside the real class of transformers
where it has one, else beside timm's reading of the authors' names."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from beside_timm import of_timm
from conftest import randomize, relative_error
from torch import Tensor

import zoo
import zoo.data

FOCAL = dict(depths=(1, 2, 1, 1), embed_dim=16, drop_path_rate=0.0)
PVT = dict(depths=(1, 2, 1, 1), embed_dims=(16, 32, 40, 64))
PVT_CONFIG = dict(depths=[1, 2, 1, 1], hidden_sizes=[16, 32, 40, 64], num_labels=5)


def image(height: int = 64, width: int = 96) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(5)) * 2 - 1


def assert_same(found: dict[str, Tensor], expected: dict[str, Tensor]) -> None:
    assert found.keys() == expected.keys() and all(torch.equal(found[key], value) for key, value in expected.items())


# --- PVT v2

@pytest.mark.parametrize('name, classes', [('pvt_v2_b0', 5), ('pvt_v2_b2_li', 5), ('pvt_v2_b0', 0)])
def test_originals_of_pvt_are_read_as_timm_reads_them(name: str, classes: int) -> None:
    peer = randomize(of_timm(name, num_classes=classes, **PVT)).eval()
    there = zoo.convert(peer.state_dict(), 'whai362').state
    assert {'patch_embed2.norm.bias', 'block4.0.mlp.dwconv.dwconv.weight', 'norm4.bias'} <= there.keys()
    found = zoo.convert(there)
    assert found.source == 'whai362 PVTv2' and ('num_classes' in found.arguments) == (not classes)
    assert ('linear' in found.arguments) == (name == 'pvt_v2_b2_li')
    assert_same(found.state, timm.models.pvt_v2.checkpoint_filter_fn(dict(there), peer))
    ours = zoo.create_model(name, pretrained=there, num_classes=classes, **PVT).eval()
    with torch.no_grad():
        assert relative_error(ours(image()), peer(image())) < 1e-5


@pytest.mark.parametrize('linear', [False, True])
def test_transformers_pvt_both_ways(linear: bool, tmp_path: Path) -> None:
    transformers = pytest.importorskip('transformers')
    config = transformers.PvtV2Config(linear_attention=linear, **PVT_CONFIG)
    peer = randomize(transformers.PvtV2ForImageClassification(config)).eval()
    assert zoo.convert(peer.state_dict()).source == 'transformers PVTv2'
    peer.save_pretrained(tmp_path)
    ours = zoo.create_model(f'local-dir:{tmp_path}', pretrained=True).eval()
    assert ours.labels == tuple(config.id2label.values()) and ours.pretrained_cfg['input_size'] == (3, 224, 224)
    with torch.no_grad():
        assert relative_error(ours(image()), peer(image()).logits) < 1e-4
        for name, module in peer.named_modules():              # as the authors' code has it, and ours
            if name.endswith(('patch_embedding.layer_norm', 'attention.layer_norm')):
                module.eps = 1e-5
        assert relative_error(ours(image()), peer(image()).logits) < 1e-5
        randomize(ours, seed=3)
        peer.load_state_dict(zoo.convert(ours.state_dict(), 'transformers PVTv2').state)
        assert relative_error(ours(image()), peer(image()).logits) < 1e-5


def test_a_backbone_of_transformers_pvt_has_no_classifier(tmp_path: Path) -> None:
    transformers = pytest.importorskip('transformers')
    peer = randomize(transformers.PvtV2Backbone(transformers.PvtV2Config(
        **PVT_CONFIG, out_features=['stage1', 'stage4']))).eval()
    peer.save_pretrained(tmp_path)
    ours = zoo.create_model(f'local-dir:{tmp_path}', pretrained=True).eval()
    assert ours.num_classes == 0
    with torch.no_grad():
        maps = ours.forward_intermediates(image(), indices=[0, 3], intermediates_only=True)
        for found, wanted in zip(maps, peer(image()).feature_maps, strict=True):
            assert relative_error(found, wanted) < 1e-5


# --- FocalNet

@pytest.mark.parametrize('name, options', [
    ('focalnet_tiny_srf', {}), ('focalnet_tiny_lrf', dict(num_classes=0)), ('focalnet_huge_fl3', {}),
    ('focalnet_large_fl3', {}), ('focalnet_tiny_srf', dict(use_post_norm=True))])
def test_originals_of_focalnet_are_read_as_timm_reads_them(name: str, options: dict[str, Any]) -> None:
    options = {**FOCAL, 'num_classes': 5, **options}
    peer = randomize(of_timm(name, **options)).eval()
    there = zoo.convert(peer.state_dict(), 'microsoft FocalNet').state
    assert {'patch_embed.proj.bias', 'layers.0.downsample.proj.bias', 'layers.1.blocks.0.norm2.bias'} <= there.keys()
    assert there['layers.0.blocks.0.modulation.f.weight'].ndim == 2
    read = timm.models.focalnet.checkpoint_filter_fn({'model': dict(there)}, peer)
    found = zoo.convert({'model': there})
    assert found.source == 'microsoft FocalNet'
    assert ('num_classes' in found.arguments) == (not options['num_classes'])
    if 'use_post_norm' not in options:                   # which no name says where branches have no factors
        assert_same(found.state, read)
    ours = zoo.create_model(name, pretrained=there, **options).eval()
    assert_same(ours.state_dict(), read)
    with torch.no_grad():
        assert relative_error(ours(image()), peer(image())) < 1e-5


@pytest.mark.parametrize('options', [
    {}, dict(use_post_layernorm=True), dict(use_layerscale=True, layerscale_value=0.1),
    dict(use_conv_embed=True, use_layerscale=True, use_post_layernorm=True, use_post_layernorm_in_modulation=True,
         normalize_modulator=True, focal_levels=[3] * 4, focal_windows=[5, 3, 3, 3])])
def test_transformers_focalnet_both_ways(options: dict[str, Any], tmp_path: Path) -> None:
    transformers = pytest.importorskip('transformers')
    config = transformers.FocalNetConfig(embed_dim=16, depths=[1, 2, 1, 1], num_labels=5, image_size=64, **options)
    peer = randomize(transformers.FocalNetForImageClassification(config)).eval()
    assert zoo.convert(peer.state_dict()).source == 'transformers FocalNet'
    peer.save_pretrained(tmp_path), transformers.BitImageProcessor(crop_size=64).save_pretrained(tmp_path)
    ours = zoo.create_model(f'local-dir:{tmp_path}', pretrained=True).eval()
    settings = zoo.data.resolve_model_data_config(ours)
    assert ours.labels == tuple(config.id2label.values())
    assert [settings[name] for name in ('input_size', 'crop_mode', 'crop_pct')] == [(3, 64, 64), 'center_floor', 2 / 7]
    with torch.no_grad():
        assert relative_error(ours(image()), peer(image()).logits) < 1e-5
        randomize(ours, seed=3)
        peer.load_state_dict(zoo.convert(ours.state_dict(), 'transformers FocalNet').state)
        assert relative_error(ours(image()), peer(image()).logits) < 1e-5


# --- Swin V2 CR

@pytest.mark.parametrize('name, classes', [('swinv2_cr_tiny_224', 5), ('swinv2_cr_huge_224', 5),
                                           ('swinv2_cr_small_ns_224', 5), ('swinv2_cr_tiny_ns_224', 0)])
def test_old_names_of_swin_v2_cr_are_read_as_timm_reads_them(name: str, classes: int) -> None:
    options = dict(depths=(1, 1, 2, 1), embed_dim=16, num_heads=(1, 2, 4, 8), img_size=64, window_size=2,
                   num_classes=classes)
    peer = randomize(of_timm(name, **options)).eval()
    state = peer.state_dict()
    first = zoo.convert(state, 'old-timm').state
    later = {key.replace('head.fc', 'head'): value for key, value in state.items()}
    for there in (first, later) if classes else (first,):
        read = timm.models.swin_transformer_v2_cr.checkpoint_filter_fn({'model': dict(there)}, peer)
        found = zoo.convert(there)
        assert found.source == 'old-timm SwinV2-CR' and ('num_classes' in found.arguments) == (not classes)
        assert_same(found.state, read)
        assert all(torch.allclose(found.state[key], value, atol=1e-6) for key, value in state.items())
        ours = zoo.create_model(name, pretrained=there, **options).eval()
        with torch.no_grad():
            assert relative_error(ours(image(64, 64)), peer(image(64, 64))) < 1e-5
    assert zoo.convert(state).source == 'zoo'


# --- refusals

@pytest.mark.parametrize('kind, fields, word', [
    ('focalnet', dict(patch_size=2), 'patch_size'), ('focalnet', dict(hidden_act='relu'), 'hidden_act'),
    ('focalnet', dict(layer_norm_eps=1e-6), 'layer_norm_eps'), ('focalnet', dict(focal_levels=[2, 2]), 'focal_levels'),
    ('pvt_v2', dict(strides=[4, 2, 2, 1]), 'strides'), ('pvt_v2', dict(hidden_act='relu'), 'hidden_act'),
    ('pvt_v2', dict(patch_sizes=[4, 2, 2, 2]), 'patch_sizes'), ('pvt_v2', dict(layer_norm_eps=1e-5), 'layer_norm_eps'),
    ('pvt_v2', dict(depths=[2, 2]), 'depths')])
def test_bad_configs_are_refused(kind: str, fields: dict[str, Any], word: str, tmp_path: Path) -> None:
    (tmp_path / 'config.json').write_text(json.dumps({'model_type': kind, **fields}))
    with pytest.raises(ValueError, match=word):
        zoo.create_model(f'local-dir:{tmp_path}')
