"""Image encoders in checkpoints of larger models, both ways: beside the real class of transformers where it has one,
else beside timm's reading of the authors' names."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from conftest import randomize, relative_error
from PIL import Image
from torch import Tensor

import zoo
import zoo.data

State = dict[str, Tensor]
SAM = dict(img_size=128, embed_dim=48, depth=2, num_heads=3, window_size=3, global_attn_indexes=(1,), neck_chans=32)
SAM_CONFIG = dict(image_size=128, hidden_size=48, num_hidden_layers=2, num_attention_heads=3, window_size=3,
                  global_attn_indexes=[1], output_channels=32)


def image(side: int) -> Tensor:
    return torch.rand(2, 3, side, side, generator=torch.Generator().manual_seed(5)) * 2 - 1


def assert_same(found: State, expected: State) -> None:
    assert found.keys() == expected.keys() and all(torch.equal(found[key], value) for key, value in expected.items())


def test_metas_sam_is_read_as_timm_reads_it() -> None:
    peer = randomize(timm.create_model('samvit_base_patch16', num_classes=0, **SAM)).eval()
    there = zoo.convert(peer.state_dict(), 'facebook SAM').state
    assert {'image_encoder.blocks.0.mlp.lin1.weight', 'image_encoder.neck.3.bias'} <= there.keys()
    whole = there | {'prompt_encoder.no_mask_embed.weight': torch.zeros(3), 'mask_decoder.x.bias': torch.zeros(2)}
    read = timm.models.vision_transformer_sam.checkpoint_filter_fn(dict(whole), peer)
    alone = {key.removeprefix('image_encoder.'): value for key, value in there.items()}
    for state in (whole, alone):
        found = zoo.convert(state)
        assert found.source == 'facebook SAM'
        assert_same(found.state, read)
    ours = zoo.create_model('samvit_base_patch16', pretrained=whole, **SAM).eval()
    with torch.no_grad():
        assert relative_error(ours(image(128)), peer(image(128))) < 1e-5


def test_transformers_sam_both_ways() -> None:
    transformers = pytest.importorskip('transformers')
    peer = randomize(transformers.SamVisionModel(transformers.SamVisionConfig(**SAM_CONFIG))).eval()
    whole = {**peer.state_dict(), 'shared_image_embedding.positional_embedding': torch.zeros(2, 128)}
    found = zoo.convert(whole)
    assert found.source == 'transformers SAM' and found.arguments == dict(
        norm_eps=1e-6, img_size=(128, 128), neck_chans=32)
    ours = zoo.create_model('samvit_base_patch16', pretrained=whole, **{**SAM, **found.arguments}).eval()
    with torch.no_grad():
        assert relative_error(ours.forward_features(image(128)), peer(image(128)).last_hidden_state) < 1e-5
        randomize(ours, seed=3)
        peer.load_state_dict(zoo.convert(ours.state_dict(), 'transformers SAM').state)
        assert relative_error(ours.forward_features(image(128)), peer(image(128)).last_hidden_state) < 1e-5


def test_a_folder_of_transformers_sam_is_one_call(tmp_path: Path) -> None:
    """With all of the model, and images whose longer side is resized, padded at the bottom and right."""
    transformers = pytest.importorskip('transformers')
    small = dict(hidden_size=32, num_attention_heads=2, mlp_dim=16)
    config = transformers.SamConfig(
        vision_config=SAM_CONFIG, prompt_encoder_config=dict(hidden_size=32, image_size=128, mask_input_channels=4),
        mask_decoder_config=dict(iou_head_hidden_dim=16, **small))
    peer = randomize(transformers.SamModel(config)).eval()
    processor = transformers.SamImageProcessor(size=dict(longest_edge=128), pad_size=dict(height=128, width=128))
    peer.save_pretrained(tmp_path), processor.save_pretrained(tmp_path)
    ours = zoo.create_model(f'local-dir:{tmp_path}', pretrained=True).eval()
    assert ours.num_classes == 0
    transform = zoo.data.create_transform(**zoo.data.resolve_model_data_config(ours))
    for size in ((60, 100), (300, 180)):
        picture = Image.effect_noise(size, 60).convert('RGB')
        expected = processor(picture, return_tensors='pt')['pixel_values']
        assert (transform(picture) - expected[0]).abs().max() < 1.51 / 255 / 0.224         # levels are rounded
    with torch.no_grad():
        assert relative_error(ours.forward_features(expected), peer.get_image_embeddings(expected)) < 1e-5


@pytest.mark.parametrize('file, fields, word', [
    ('config', dict(hidden_act='gelo'), 'hidden_act'),
    ('config', dict(num_attention_heads=5), 'num_attention_heads'),
    ('preprocessor_config', dict(pad_size=dict(height=128, width=96)), 'longest edge, 128'),
    ('preprocessor_config', dict(do_pad=False), 'longest edge, 128')])
def test_bad_configs_of_sam_are_refused(file: str, fields: dict[str, Any], word: str, tmp_path: Path) -> None:
    images = dict(size=dict(longest_edge=128), do_pad=True, pad_size=dict(height=128, width=128))
    content = dict(config=dict(model_type='sam_vision_model', **SAM_CONFIG), preprocessor_config=images)
    content[file] |= fields
    for name, record in content.items():
        (tmp_path / f'{name}.json').write_text(json.dumps(record))
    with pytest.raises(ValueError, match=word):
        zoo.create_model(f'local-dir:{tmp_path}')


# --- EVA

EVAS = {
    'eva_giant_patch14_clip_224': ('BAAI EVA-CLIP', 7), 'eva02_enormous_patch14_clip_224': ('BAAI EVA-CLIP', 7),
    'eva02_base_patch16_clip_224': ('BAAI EVA-02-CLIP', 7), 'eva02_tiny_patch14_224': ('BAAI EVA-02 small', 0),
    'eva02_small_patch14_336': ('BAAI EVA-02 small', 5), 'eva02_base_patch14_224': ('BAAI EVA-02', 0),
    'eva02_large_patch14_448': ('BAAI EVA-02', 5)}


@pytest.mark.parametrize('name', EVAS)
def test_baais_eva_is_read_as_timm_reads_it(name: str) -> None:
    """In a CLIP with all of it, alone fine-tuned, or as masked image modelling leaves it."""
    layout, classes = EVAS[name]
    options = dict(embed_dim=48, depth=2, num_heads=3, img_size=56, num_classes=classes)
    peer = randomize(timm.create_model(name, **options)).eval()
    there = zoo.convert(peer.state_dict(), layout).state
    assert zoo.convert(there, layout).state.keys() == there.keys()
    if 'clip' in name:
        assert all(key.startswith('visual.') for key in there)
        there |= {'text.cls_emb': torch.zeros(3), 'logit_scale': torch.ones(()),
                  'visual.rope.freqs_cos': torch.zeros(3), 'visual.blocks.0.attn.rope.freqs_sin': torch.zeros(3)}
    elif not classes:
        there = {key.replace('fc_norm', 'norm'): value for key, value in there.items()}
        there |= {'mask_token': torch.zeros(1, 1, 48), 'lm_head.weight': torch.zeros(5, 48),
                  'rope.freqs_cos': torch.zeros(3)}
    read = timm.models.eva.checkpoint_filter_fn(dict(there), peer)
    found = zoo.convert(there)
    assert found.source == layout and found.arguments.get('num_classes', 5) == classes
    assert_same(found.state, read)
    ours = zoo.create_model(name, pretrained=there, **options).eval()
    with torch.no_grad():
        assert relative_error(ours(image(56)), peer(image(56))) < 1e-5


def test_evas_of_other_kinds_have_no_place() -> None:
    options = dict(embed_dim=48, depth=1, num_heads=3, num_classes=5)
    for name, layout, word in (('eva02_base_patch14_224', 'BAAI EVA-02-CLIP', 'fc_norm'),
                               ('eva_giant_patch14_224', 'BAAI EVA-CLIP', 'fc_norm'),
                               ('eva_giant_patch14_224', 'BAAI EVA-02 small', 'not gated'),
                               ('vit_base_patch16_rope_224', 'BAAI', 'no place')):
        with torch.device('meta'):
            model = zoo.create_model(name, **options)
        with pytest.raises(ValueError, match=word):
            zoo.convert(model.state_dict(), layout)


# --- Perception Encoder

PES = ('vit_pe_core_base_patch16_224', 'vit_pe_core_gigantic_patch14_448', 'vit_pe_lang_large_patch14_448',
       'vit_pe_spatial_base_patch16_512')


@pytest.mark.parametrize('name', PES)
def test_metas_perception_encoder_is_read_as_timm_reads_it(name: str) -> None:
    layout = 'facebook PE core' if 'core' in name else 'facebook PE lang and spatial'
    options = dict(embed_dim=64, depth=2, num_heads=4, img_size=64, patch_size=16,
                   num_classes=7 if 'core' in name else 0)
    peer = randomize(timm.create_model(name, **options)).eval()
    if options['num_classes']:
        torch.nn.init.zeros_(peer.head.bias)
    there = zoo.convert(peer.state_dict(), layout).state
    whole = {f'visual.{key.removeprefix("visual.")}': value for key, value in there.items()}
    whole |= {'positional_embedding': torch.zeros(3), 'transformer.resblocks.0.ln_1.bias': torch.ones(3)}
    read = timm.models.eva.checkpoint_filter_fn(dict(there), peer)
    for state in (there, whole):
        found = zoo.convert({'weights': state})
        assert found.source == layout and found.arguments['num_classes'] == options['num_classes']
        assert_same(found.state, read)
    ours = zoo.create_model(name, pretrained=whole, **options).eval()
    with torch.no_grad():
        assert relative_error(ours(image(64)), peer(image(64))) < 1e-5


def test_a_projection_with_a_bias_has_no_place_in_perception_encoder() -> None:
    model = zoo.create_model('vit_pe_core_base_patch16_224', embed_dim=64, depth=1, num_heads=4, num_classes=7)
    torch.nn.init.ones_(model.head.bias)
    with pytest.raises(ValueError, match='no place for 1 tensors: head.bias'):
        zoo.convert(model.state_dict(), 'facebook PE core')


def test_metas_sapiens_is_read_as_timm_reads_it() -> None:
    options = dict(embed_dim=64, depth=2, num_heads=4, num_kv_heads=(4, 2), img_size=(64, 48), num_classes=0)
    peer = randomize(timm.create_model('vit_base_patch16_sapiens2', **options)).eval()
    there = zoo.convert(peer.state_dict(), 'facebook Sapiens2').state
    there |= {'mask_token': torch.zeros(1, 64), 'rope_embed.periods': torch.zeros(4)}
    found = zoo.convert(there)
    assert found.source == 'facebook Sapiens2' and found.arguments == {'num_classes': 0}
    assert_same(found.state, timm.models.eva.checkpoint_filter_fn(dict(there), peer))
    ours = zoo.create_model('vit_base_patch16_sapiens2', pretrained=there, **options).eval()
    with torch.no_grad():
        assert relative_error(ours(image(64)[..., :48]), peer(image(64)[..., :48])) < 1e-5


def test_projectors_of_distillation_are_left_out() -> None:
    """EUPE, which is DINOv3 distilled, has some beside the encoder."""
    peer = randomize(timm.create_model('vit_tiny_patch16_dinov3_qkvb', embed_dim=48, depth=1, num_heads=3))
    there = zoo.convert(peer.state_dict(), 'facebook DINOv3 with biases').state
    there['projectors.0.weight'] = torch.zeros(3, 48)
    assert_same(zoo.convert(there).state, timm.models.eva.checkpoint_filter_fn(dict(there), peer))
