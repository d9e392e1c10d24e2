"""Checkpoints of Hiera and SAM 2 that others wrote, both ways: beside timm's reading, and beside transformers."""
from __future__ import annotations

import json
from pathlib import Path

import pytest
import timm
import torch
from conftest import randomize
from torch import nn

import zoo

SMALL = dict(img_size=(64, 96), stages=(1, 2, 2, 1), embed_dim=16)
SHORT = dict(stages=(1, 2, 3, 1), embed_dim=16, global_att_blocks=(4,), window_spec=(8, 4, 6, 3))


def image() -> torch.Tensor:
    return torch.rand(2, 3, 64, 96, generator=torch.Generator().manual_seed(5)) * 2 - 1


def test_originals_of_hiera_are_read_as_timm_reads_them(tmp_path: Path) -> None:
    from timm.models.hiera import checkpoint_filter_fn
    for classes in (5, 0):
        peer = randomize(timm.create_model('hiera_tiny_224', num_classes=classes, **SMALL)).eval()
        there = zoo.convert(peer.state_dict(), 'facebook Hiera').state
        assert ('norm.weight' in there, 'encoder_norm.weight' in there) == (bool(classes), not classes)
        there |= {} if classes else {'decoder_norm.bias': torch.zeros(3)}
        torch.save({'model_state': there, 'epoch': 3}, tmp_path / 'weights.pth')
        ours = zoo.create_model('hiera_tiny_224', checkpoint_path=tmp_path / 'weights.pth', num_classes=classes,
                                **SMALL).eval()
        read = checkpoint_filter_fn({'model_state': dict(there)}, peer)
        state = peer.state_dict()
        assert all(torch.equal(read[key], state[key]) for key in state if key in read)
        assert torch.allclose(ours(image()), peer(image()), atol=1e-5)


def test_originals_of_sam2_are_read_as_timm_reads_them() -> None:
    from timm.models.hieradet_sam2 import checkpoint_filter_fn
    peer = randomize(timm.create_model('sam2_hiera_tiny', **SHORT)).eval()
    nn.init.ones_(peer.head.norm.weight), nn.init.zeros_(peer.head.norm.bias)
    trunk = zoo.convert(peer.state_dict(), 'facebook SAM2').state
    there = {f'image_encoder.trunk.{key}': value for key, value in trunk.items()}
    there |= {'image_encoder.neck.convs.0.conv.weight': torch.zeros(3), 'memory_encoder.x': torch.zeros(2)}
    read = checkpoint_filter_fn(dict(there), peer, prefix='image_encoder.trunk.')
    found = zoo.convert(there)
    assert found.source == 'facebook SAM2' and all(torch.equal(found.state[key], value) for key, value in read.items())
    for state in (there, trunk):
        ours = zoo.create_model('sam2_hiera_tiny', pretrained=state, **SHORT).eval()
        assert torch.allclose(ours(image()), peer(image()), atol=1e-5)
    with pytest.raises(ValueError, match='no place for 2 tensors: head.norm'):
        zoo.convert(randomize(peer).state_dict(), 'facebook SAM2')


def test_transformers_hiera_both_ways() -> None:
    transformers = pytest.importorskip('transformers')
    config = transformers.HieraConfig(image_size=[64, 96], embed_dim=16, depths=[1, 2, 2, 1], num_labels=5)
    peer = randomize(transformers.HieraForImageClassification(config)).eval()
    ours = zoo.create_model('hiera_tiny_224', pretrained=peer.state_dict(), num_classes=5, **SMALL).eval()
    assert zoo.convert(peer.state_dict()).source == 'transformers Hiera'
    assert torch.allclose(ours(image()), peer(image()).logits, atol=1e-5)
    randomize(ours, seed=3)
    peer.load_state_dict(zoo.convert(ours.state_dict(), 'transformers Hiera').state)
    assert torch.allclose(ours(image()), peer(image()).logits, atol=1e-5)


def test_a_folder_of_transformers_is_one_call(tmp_path: Path) -> None:
    transformers = pytest.importorskip('transformers')
    config = transformers.HieraConfig(image_size=[64, 64], embed_dim=16, depths=[1, 2, 1, 1], num_labels=4,
                                      masked_unit_attention=[True, False, False, False])
    peer = randomize(transformers.HieraForImageClassification(config)).eval()
    peer.save_pretrained(tmp_path)
    ours = zoo.create_model(f'local-dir:{tmp_path}', pretrained=True).eval()
    x = image()[..., :64]
    assert torch.allclose(ours(x), peer(x).logits, atol=1e-5) and ours.labels == tuple(config.id2label.values())
    assert ours.img_size == (64, 64) and ours.pretrained_cfg['input_size'] == (3, 64, 64)
    for change, word in ((dict(hidden_act='relu'), 'hidden_act'), (dict(num_heads=[1, 3, 4, 8]), 'num_heads'),
                         (dict(image_size=[64, 96]), 'image_size')):
        (tmp_path / 'config.json').write_text(json.dumps(config.to_dict() | change))
        with pytest.raises(ValueError, match=word):
            zoo.create_model(f'local-dir:{tmp_path}')


def test_transformers_sam2_both_ways() -> None:
    transformers = pytest.importorskip('transformers')
    config = transformers.Sam2HieraDetConfig(
        hidden_size=16, blocks_per_stage=[1, 2, 3, 1], embed_dim_per_stage=[16, 32, 64, 128],
        global_attention_blocks=[4], num_attention_heads_per_stage=[1, 2, 4, 8], window_size_per_stage=[8, 4, 6, 3])
    peer = randomize(transformers.Sam2HieraDetModel(config)).eval()
    whole = {f'vision_encoder.backbone.{key}': value for key, value in peer.state_dict().items()}
    ours = zoo.create_model('sam2_hiera_tiny', pretrained=whole | {'prompt_encoder.x': torch.zeros(1)}, **SHORT).eval()
    x = image()[:, :, :64, :64]
    maps = ours.forward_intermediates(x, intermediates_only=True)
    for found, wanted in zip(maps, peer(x).intermediate_hidden_states, strict=True):
        assert torch.allclose(found.permute(0, 2, 3, 1), wanted, atol=1e-4)
    peer.load_state_dict(zoo.convert(ours.state_dict(), 'transformers SAM2').state)
