"""BiT, PP-HGNetV2, MobileNetV2 and the ResNet-D of RT-DETR in transformers, both ways, beside its real classes."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from beside_timm import on_meta
from conftest import randomize, relative_error

import zoo

IMAGE = torch.rand(1, 3, 97, 80, generator=torch.Generator().manual_seed(5)) * 2 - 1
SAME = dict(layer_type='bottleneck', global_padding='same', embedding_dynamic_padding=True)
BIT = dict(depths=[1, 2, 1, 1], hidden_sizes=[128, 128, 256, 256], embedding_size=32, num_labels=5)
HGNET = dict(stem_channels=[3, 8, 16], stage_in_channels=[16, 16, 24, 32], stage_mid_channels=[8, 8, 16, 16],
             stage_out_channels=[16, 24, 32, 48], stage_num_blocks=[1, 2, 1, 1], stage_numb_of_layers=[2, 2, 3, 2],
             hidden_sizes=[16, 24, 32, 48], num_labels=5)


@pytest.mark.parametrize('kind, options', [('Bit', BIT), ('Bit', BIT | SAME), ('HGNetV2', HGNET),
                                           ('HGNetV2', HGNET | dict(use_learnable_affine_block=True))], ids=str)
@torch.no_grad()
def test_transformers_both_ways(kind: str, options: dict[str, Any], tmp_path: Path) -> None:
    transformers = pytest.importorskip('transformers')
    config = getattr(transformers, f'{kind}Config')(**options)
    peer = randomize(getattr(transformers, f'{kind}ForImageClassification')(config)).eval()
    peer.save_pretrained(tmp_path)
    ours = zoo.create_model(f'local-dir:{tmp_path}', pretrained=True).eval()
    assert ours.num_classes == 5 and relative_error(ours(IMAGE), peer(IMAGE).logits) < 1e-5
    back, theirs = zoo.convert(ours.state_dict(), 'transformers').state, peer.state_dict()
    assert back.keys() == theirs.keys() and all(torch.equal(back[key], value) for key, value in theirs.items())
    backbone = getattr(transformers, f'{kind}Backbone')(config).eval()
    backbone.load_state_dict({key: theirs[key] for key in backbone.state_dict()})
    found = zoo.create_model(f'local-dir:{tmp_path}', pretrained=backbone.state_dict(), features_only=True).eval()
    assert relative_error(found(IMAGE)[-1], backbone(IMAGE).feature_maps[-1]) < 1e-5


@torch.no_grad()
def test_backbones_of_rt_detr_both_ways(tmp_path: Path) -> None:
    transformers = pytest.importorskip('transformers')
    small = dict(depths=[1, 2, 1, 1], hidden_sizes=[32, 48, 64, 80], embedding_size=16)
    peer = randomize(transformers.RTDetrResNetBackbone(transformers.RTDetrResNetConfig(**small))).eval()
    peer.save_pretrained(tmp_path)
    theirs = peer.state_dict()
    detector = {f'model.backbone.model.{key}': value for key, value in theirs.items()}
    for source in (True, detector | {'class_embed.0.bias': IMAGE}):
        ours = zoo.create_model(f'local-dir:{tmp_path}', pretrained=source, features_only=True).eval()
        assert relative_error(ours(IMAGE)[-1], peer(IMAGE).feature_maps[-1]) < 1e-5
    ours = zoo.create_model(f'local-dir:{tmp_path}', pretrained=True).eval()
    assert ours.num_classes == 0
    back = zoo.convert(ours.state_dict(), 'transformers').state
    assert back.keys() == theirs.keys() and all(torch.equal(back[key], value) for key, value in theirs.items())


@pytest.mark.parametrize('options', [dict(), dict(tf_padding=False, layer_norm_eps=1e-5, finegrained_output=False)], ids=str)
@torch.no_grad()
def test_mobilenet_v2_both_ways(options: dict[str, Any], tmp_path: Path) -> None:
    transformers = pytest.importorskip('transformers')
    config = transformers.MobileNetV2Config(depth_multiplier=0.35, num_labels=5, **options)
    peer = randomize(transformers.MobileNetV2ForImageClassification(config)).eval()
    peer.save_pretrained(tmp_path)
    ours = zoo.create_model(f'local-dir:{tmp_path}', pretrained=True).eval()
    assert ours.pretrained_cfg['architecture'] == 'mobilenetv2_035'
    assert relative_error(ours(IMAGE), peer(IMAGE).logits) < 1e-5
    back, theirs = zoo.convert(ours.state_dict(), 'transformers MobileNetV2').state, peer.state_dict()
    assert back.keys() == theirs.keys() and all(torch.equal(back[key], value) for key, value in theirs.items())


@pytest.mark.parametrize('width', ['035', '100', '140'])
def test_mobilenet_v2_is_named(width: str) -> None:
    """Where only a state dict is given, it is Google's, whose padding and eps are others than ours by name."""
    model = on_meta(f'mobilenetv2_{width}')
    theirs = zoo.convert(model.state_dict(), 'transformers').state
    found = zoo.convert(theirs)
    assert found.source == 'transformers MobileNetV2' and found.architecture == f'mobilenetv2_{width}'
    assert found.arguments == dict(bn_eps=1e-3, pad_type='same') and found.state.keys() == model.state_dict().keys()


def test_a_convolution_before_the_classifier_has_no_place() -> None:
    """PP-HGNetV2 by name has one, transformers' has not: arguments say so."""
    layout, options = 'transformers HGNetV2', dict(head_hidden_size=0)
    there = zoo.convert(on_meta('hgnetv2_b0', **options).state_dict(), layout).state
    found = zoo.convert(there)
    assert (found.source, found.architecture, found.arguments) == (layout, 'hgnetv2_b0', options)
    assert on_meta('hgnetv2_b0', **found.arguments).state_dict().keys() == found.state.keys()
    with pytest.raises(ValueError, match='no place for .*head.last_conv'):
        zoo.convert(on_meta('hgnetv2_b0').state_dict(), layout)


def test_batch_normalisation_is_not_bit() -> None:
    with pytest.raises(ValueError, match="'transformers BiT' has no place"):
        zoo.convert(on_meta('resnetv2_50').state_dict(), 'transformers BiT')


@pytest.mark.parametrize('config, word', [
    (dict(model_type='bit', global_padding='VALID'), "'preactivation', 'VALID', False"),
    (dict(model_type='bit', num_groups=8), 'num_groups'), (dict(model_type='bit', hidden_act='rely'), 'hidden_act'),
    (dict(model_type='hgnet_v2', stem_strides=[1] * 5), 'stem_strides'),
    (dict(model_type='mobilenet_v2', output_stride=16), 'output_stride'),
    (dict(model_type='rt_detr_resnet', layer_type='basic'), 'layer_type'),
    (dict(model_type='hgnet_v2', stage_in_channels=[1, 2, 3, 4]), 'stage_in_channels'),
    (dict(model_type='hgnet_v2', stage_downsample_strides=[2, 1, 2, 2]), 'from the second on')])
def test_bad_configs_are_refused_with_the_reason(config: dict[str, Any], word: str, tmp_path: Path) -> None:
    (tmp_path / 'config.json').write_text(json.dumps(config))
    with pytest.raises(ValueError, match=word):
        zoo.create_model(f'local-dir:{tmp_path}')
