"""Checkpoints of other libraries for transformers, Swin, ConvNeXt and ResNet: each beside the network it was made with,
figures of transformers' in fixtures/, or beside timm's reading of the same names."""
from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import torch
import torchvision.models as tv
from conftest import randomize
from torch import Tensor, nn

import timm
import zoo
import zoo.data
from zoo.pretrained.foreign import layouts

FIXTURES = Path(__file__).parent / 'fixtures'
sys.path.append(str(FIXTURES))
from recipe import digest, images, picture, summary, weights  # noqa: E402

CONTENT = json.loads((FIXTURES / 'transformers_networks.json').read_text())
NETWORKS, PROCESSORS = CONTENT['networks'], CONTENT['processors']
V2 = 'swinv2_tiny_window8_256'
TINY = dict(embed_dim=48, depth=2, num_heads=3, patch_size=8, img_size=32)


def folder(path: Path, case: dict[str, Any], processor: dict[str, Any] | None = None) -> str:
    """A folder such as transformers writes, with weights of the recipe; its name for create_model."""
    path.mkdir(exist_ok=True, parents=True)
    (path / 'config.json').write_text(json.dumps(case['config']))
    if processor:
        (path / 'preprocessor_config.json').write_text(json.dumps(processor))
    with torch.device('meta'):
        model = zoo.create_model(f'local-dir:{path}')
    like = zoo.convert(model.state_dict(), case['layout']).state
    assert digest(like) == case['digest']
    safetensors.torch.save_file(weights(like), path / 'model.safetensors')
    return f'local-dir:{path}'


def assert_equals(ours: Tensor, theirs: dict[str, Any], tolerance: float = 1e-5) -> None:
    found = summary(ours)
    assert found['shape'] == [side for side in theirs['shape'][:2] + [s for s in theirs['shape'][2:] if s != 1]]
    scale = max(1.0, max(map(abs, theirs['entries'])))
    assert found['entries'] == pytest.approx(theirs['entries'], abs=tolerance * scale)
    assert found['norm'] == pytest.approx(theirs['norm'], rel=tolerance)


@pytest.mark.parametrize('name', NETWORKS)
def test_folders_give_what_transformers_gives(name: str, tmp_path: Path) -> None:
    case = NETWORKS[name]
    expected, side = case['outputs'], case['side']
    model = zoo.create_model(folder(tmp_path, case), pretrained=True).eval()
    image = images(2, model.in_chans, side, side)
    with torch.no_grad():
        found = zoo.forward_outputs(model, image, output_hidden_states=True, output_attentions='attentions' in expected)
        logits = model(image)
    if 'logits' in expected:
        assert model.labels == tuple(case['config']['id2label'].values())
    for key in ('logits', 'image_embeds', 'cls_logits', 'distillation_logits'):
        if key in expected:
            assert_equals(getattr(found, key, found.logits), expected[key])
            assert torch.allclose(logits, found.logits, atol=1e-5)
    if 'Swin' in case['layout']:                       # which gives those of the last block of each stage
        found = replace(found, attentions=found.attentions[1::2])
    for key in ('hidden_states', 'attentions'):
        if key in expected:
            for ours, theirs in zip(getattr(found, key), expected[key], strict=True):
                assert_equals(ours, theirs)
    if 'pooler_output' in expected:
        assert_equals(found.pooler_output, expected['pooler_output'])
    if 'last_hidden_state' in expected and 'CLIP' not in case['layout']:      # which has it before the normalisation
        assert_equals(found.last_hidden_state, expected['last_hidden_state'])


@pytest.mark.parametrize('name', PROCESSORS)
def test_preprocessing_equals_the_image_processors(name: str, tmp_path: Path) -> None:
    case = PROCESSORS[name]
    config = NETWORKS[case['network']]['config']
    (tmp_path / 'config.json').write_text(json.dumps(config))
    (tmp_path / 'preprocessor_config.json').write_text(json.dumps(case['config']))
    with torch.device('meta'):
        model = zoo.create_model(f'local-dir:{tmp_path}')
    transform = zoo.data.create_transform(**zoo.data.resolve_model_data_config(model))
    for found in case['outputs']:
        assert_equals(transform(picture(*found['size'])), found['tensor'], 1e-6)


def test_a_repository_of_the_hub_is_one_call(tmp_path: Path) -> None:
    """DINOv2 as it is published: positions of one size, images of another, which it takes."""
    repository = tmp_path / 'models--facebook--dinov2-base'
    (repository / 'refs').mkdir(parents=True)
    (repository / 'refs' / 'main').write_text('0' * 40)
    processor = PROCESSORS['dinov2']['config'] | dict(crop_size=dict(height=24, width=24))
    folder(repository / 'snapshots' / ('0' * 40), NETWORKS['dinov2'], processor)
    model = zoo.create_model('hf-hub:facebook/dinov2-base', pretrained=True, cache_dir=tmp_path).eval()
    with torch.no_grad():
        assert_equals(model(images(2, 3, 32, 32)), NETWORKS['dinov2']['outputs']['pooler_output'])
    assert zoo.data.resolve_model_data_config(model)['input_size'] == (3, 24, 24)
    assert model(images(2, 3, 24, 24)).shape == (2, 48) and model.num_classes == 0


# --- torchvision

TORCHVISION = {
    'vit_b_16': 'vit_base_patch16_224', 'vit_b_32': 'vit_base_patch32_224', 'vit_l_16': 'vit_large_patch16_224',
    'vit_h_14': 'vit_huge_patch14_224', 'swin_t': 'swin_tiny_patch4_window7_224',
    'swin_s': 'swin_small_patch4_window7_224',
    'swin_b': 'swin_base_patch4_window7_224', 'convnext_tiny': 'convnext_tiny', 'convnext_small': 'convnext_small',
    'convnext_base': 'convnext_base', 'convnext_large': 'convnext_large', 'resnet18': 'resnet18',
    'resnet34': 'resnet34',
    'resnet50': 'resnet50', 'resnet101': 'resnet101', 'resnet152': 'resnet152', 'resnext50_32x4d': 'resnext50_32x4d',
    'resnext101_32x8d': 'resnext101_32x8d', 'resnext101_64x4d': 'resnext101_64x4d',
    'wide_resnet50_2': 'wide_resnet50_2',
    'wide_resnet101_2': 'wide_resnet101_2',
}
TINY_PEERS: dict[str, tuple[Callable[[], nn.Module], str, dict[str, Any]]] = {
    'ViT': (partial(tv.VisionTransformer, 32, 8, 2, 3, 48, 192, num_classes=5), 'vit_base_patch16_224', TINY),
    'Swin': (partial(tv.SwinTransformer, [4, 4], 16, [2, 2, 2, 2], [2, 4, 4, 4], [4, 4], num_classes=5),
             'swin_tiny_patch4_window7_224', dict(embed_dim=16, depths=(2, 2, 2, 2), num_heads=(2, 4, 4, 4),
                                                  window_size=4,
                                                  img_size=128)),
    'ConvNeXt': (partial(tv.ConvNeXt, [tv.convnext.CNBlockConfig(8, 16, 1), tv.convnext.CNBlockConfig(16, 24, 2),
                                       tv.convnext.CNBlockConfig(24, 32, 1), tv.convnext.CNBlockConfig(32, None, 1)],
                         num_classes=5), 'convnext_tiny', dict(dims=(8, 16, 24, 32), depths=(1, 2, 1, 1))),
    'ResNet': (partial(tv.resnet18, num_classes=5), 'resnet18', {}),
}


@pytest.mark.parametrize('name', TORCHVISION)
def test_torchvisions_networks_are_named(name: str) -> None:
    with torch.device('meta'):
        state = getattr(tv, name)().state_dict()
        there = zoo.create_model(TORCHVISION[name], num_classes=1000).state_dict()
    found = zoo.convert(state)
    assert (found.architecture, found.arguments) == (TORCHVISION[name], {}) and digest(found.state) == digest(there)
    back = zoo.convert(there, 'torchvision')
    assert back.architecture == found.architecture and digest(back.state) == digest(state)


@pytest.mark.parametrize('name', TINY_PEERS)
def test_torchvisions_networks_convert_both_ways(name: str) -> None:
    make, architecture, options = TINY_PEERS[name]
    peer = randomize(make()).eval()
    ours = zoo.create_model(architecture, pretrained=peer.state_dict(), num_classes=5, **options).eval()
    image = images(2, 3, 32, 32) if name == 'ViT' else images(2, 3, 128, 128)
    with torch.no_grad():
        assert torch.allclose(ours(image), peer(image), atol=1e-5)
        randomize(ours, seed=3)
        peer.load_state_dict(zoo.convert(ours.state_dict(), f'torchvision {name}').state)
        assert torch.allclose(ours(image), peer(image), atol=1e-5)


# --- what all layouts have in common

def known() -> list[tuple[str, str]]:
    """(layout, name) of every network that a layout of these families knows."""
    found = []
    for layout in layouts():
        for entry in getattr(layout, 'networks', {}).values():
            found.append((layout.name, entry if isinstance(entry, str) else entry[0]))
    return [pair for pair in found if not pair[0].startswith('google')]


@pytest.mark.in_turn
@pytest.mark.parametrize('layout, name', known())
def test_every_known_network_is_found_again(layout: str, name: str) -> None:
    """There and back on the meta device, and no other layout takes it for its own."""
    options = {'reg_tokens': 1} if layout.endswith('without teacher') else {}
    options |= {'num_classes': 0} if layout.startswith(('facebook DINOv2', 'transformers RT-DETR')) else {}
    options |= {'head_hidden_size': 0} if layout.endswith('HGNetV2') else {}
    with torch.device('meta'):
        model = zoo.create_model(name, **options)
        there = zoo.convert(model.state_dict(), layout).state
        back = zoo.convert(there)
    assert (back.source, back.architecture) == (layout, name) and digest(back.state) == digest(model.state_dict())
    assert [each.name for each in layouts() if each.recognises(there.keys())] == [layout]


@pytest.mark.parametrize('make, name, layout, options', [
    (timm.models.vision_transformer.checkpoint_filter_fn, 'vit_base_patch16_clip_224', 'open_clip CLIP', TINY),
    (timm.models.vision_transformer.checkpoint_filter_fn, 'vit_base_patch14_dinov2', 'facebook DINOv2', TINY),
    (timm.models.eva.checkpoint_filter_fn, 'vit_small_patch16_dinov3_qkvb', 'facebook DINOv3 with biases', TINY),
    (timm.models.eva.checkpoint_filter_fn, 'vit_small_plus_patch16_dinov3', 'facebook DINOv3 gated', TINY),
    (timm.models.swin_transformer.checkpoint_filter_fn, 'swin_tiny_patch4_window7_224', 'microsoft Swin', {}),
    (timm.models.swin_transformer_v2.checkpoint_filter_fn, V2, 'microsoft SwinV2', {}),
    (timm.models.convnext.checkpoint_filter_fn, 'convnext_atto', 'facebook ConvNeXt', {}),
    (timm.models.convnext.checkpoint_filter_fn, 'convnextv2_atto', 'facebook ConvNeXtV2', {})])
def test_originals_are_read_as_timm_reads_them(make: Callable[..., Any], name: str, layout: str, options: dict) -> None:
    peer = timm.create_model(name, num_classes=5, **options)
    state = {key: value for key, value in randomize(peer).state_dict().items()}
    if 'clip' in name:
        state['head.bias'] = torch.zeros(5)
    if 'DINO' in layout:
        state = {key: value for key, value in state.items() if not key.startswith('head.')}
    there = zoo.convert(state, layout).state
    read = make(dict(there), peer)
    ours = zoo.convert(there)
    assert ours.source == layout
    for found in (ours.state, {key: value for key, value in read.items() if key != 'mask_token'}):
        assert found.keys() == state.keys() and all(torch.equal(found[key], state[key]) for key in state)


def test_trunks_of_open_clip_are_networks_of_timm() -> None:
    """The projection is the classifier, texts are left out."""
    peer = randomize(timm.create_model('convnext_atto', num_classes=7)).eval()
    state = {f'visual.trunk.{key}': value for key, value in peer.state_dict().items() if not key.startswith('head.fc')}
    state |= {'visual.head.proj.weight': peer.head.fc.weight.detach(), 'logit_scale': torch.ones(())}
    nn.init.zeros_(peer.head.fc.bias)
    found = zoo.convert(state)
    assert (found.source, found.arguments) == ('open_clip trunk', {'num_classes': 7})
    ours = zoo.create_model('convnext_atto', pretrained=state, **found.arguments).eval()
    with torch.no_grad():
        assert torch.allclose(ours(images(2, 3, 64, 64)), peer(images(2, 3, 64, 64)), atol=1e-5)


def test_a_library_alone_names_the_layout() -> None:
    """Gated MLPs have the names of the others: shapes tell which layout they go into."""
    for options, source in ((TINY, 'transformers DINOv2'), (TINY | dict(mlp_layer='swiglu_packed', mlp_ratio=4),
                                                            'transformers DINOv2 giant')):
        with torch.device('meta'):
            model = zoo.create_model('vit_base_patch14_dinov2', **options)
            assert zoo.convert(model.state_dict(), 'transformers').target == source


def test_whole_models_of_text_and_images_give_their_tower() -> None:
    case = NETWORKS['clip']
    with torch.device('meta'):
        model = zoo.create_model('vit_base_patch16_clip_224', num_classes=16, **TINY)
    state = weights(zoo.convert(model.state_dict(), 'transformers CLIP').state)
    text = {'text_model.embeddings.token_embedding.weight': torch.zeros(3, 4), 'logit_scale': torch.ones(()),
            'vision_model.embeddings.position_ids': torch.arange(17)[None]}
    assert zoo.convert(state | text).state.keys() == model.state_dict().keys()
    assert case['layout'] == zoo.convert(state | text).source


def test_the_first_position_of_registers_goes_into_the_class_token() -> None:
    """DINOv2 with registers has a position for its class token, ours has none: the sum is the same."""
    name = 'vit_base_patch14_reg4_dinov2'
    peer = timm.create_model(name, num_classes=0, **TINY)
    there = zoo.convert(randomize(peer).state_dict(), 'facebook DINOv2 with registers').state
    there['pos_embed'] = torch.randn(there['pos_embed'].shape)
    read = timm.models.vision_transformer.checkpoint_filter_fn(dict(there), peer)
    found = zoo.convert(there).state
    assert all(torch.equal(found[key], read[key]) for key in found)


# --- refusals

@pytest.mark.parametrize('layout, name, loaded, words', [
    ('transformers ViT', 'vit_tiny_patch16_224', 'vit_tiny_patch16_224', ['norm_eps=1e-12', "'vit_tiny_patch16_224'"]),
    ('transformers SigLIP', 'vit_base_patch16_siglip_224', 'vit_base_patch16_siglip_224', ["act_layer='gelu_tanh'"])])
def test_what_would_load_and_mislead_is_refused(layout: str, name: str, loaded: str, words: list[str]) -> None:
    options = TINY if 'siglip' in name else {}
    state = zoo.convert(zoo.create_model(name, **options).state_dict(), layout).state
    with pytest.raises(ValueError) as caught:
        zoo.create_model(loaded, pretrained=state, **options)
    for word in words:
        assert word in str(caught.value)
    implied = zoo.convert(state).arguments
    zoo.create_model(loaded, pretrained=state, **{**options, **implied})


@pytest.mark.parametrize('network, fields, word', [
    ('vit', dict(num_attention_heads=5), 'num_attention_heads'), ('vit', dict(hidden_act='gelo'), 'hidden_act'),
    ('swin', dict(use_absolute_embeddings=True), 'use_absolute_embeddings'), ('convnext', dict(depths=[1, 2]),
                                                                              'depths'),
    ('beit', dict(hidden_act='relu'), 'hidden_act'), ('resnet', dict(embedding_size=32), 'embedding_size'), ('resnet', dict(layer_type='basik'), "'basic'"),
    ('resnet', dict(downsample_in_first_stage=True), 'downsample_in_first_stage')])
def test_bad_configs_are_refused_with_the_reason(network: str, fields: dict[str, Any], word: str,
                                                 tmp_path: Path) -> None:
    (tmp_path / 'config.json').write_text(json.dumps(NETWORKS[network]['config'] | fields))
    with pytest.raises(ValueError, match=word):
        zoo.create_model(f'local-dir:{tmp_path}')


def test_a_resnets_config_says_where_its_strides_are(tmp_path: Path) -> None:
    for first in (False, True):
        config = dict(layer_type='bottleneck', depths=[1, 1, 1, 1], hidden_sizes=[32, 32, 32, 32],
                      downsample_in_bottleneck=first)
        (tmp_path / 'config.json').write_text(json.dumps(NETWORKS['resnet']['config'] | config))
        block = zoo.create_model(f'local-dir:{tmp_path}').layer2[0]
        assert [block.conv1.stride, block.conv2.stride] == ([(2, 2), (1, 1)] if first else [(1, 1), (2, 2)])


# --- Google's .npz

def jax_arrays(prefix: str, attention: str, norm: str, mlp: str, positions: str) -> dict[str, np.ndarray]:
    """Random arrays under the names that ViT's own code gives them, for `TINY` and 5 classes."""
    draw = np.random.default_rng(0)
    width, heads, size = 48, 3, 16
    shapes: dict[str, tuple[int, ...]] = {
        'cls': (1, 1, width), 'embedding/kernel': (8, 8, 3, width), 'embedding/bias': (width,),
        'head/kernel': (width, 5),
        'head/bias': (5,), positions: (1, 17, width), 'pre_logits/kernel': (width, width), 'pre_logits/bias': (width,),
        'Transformer/encoder_norm/scale': (width,), 'Transformer/encoder_norm/bias': (width,)}
    for number in range(2):
        start = f'Transformer/encoderblock_{number}/'
        for name in ('LayerNorm_0', norm):
            shapes |= {f'{start}{name}/scale': (width,), f'{start}{name}/bias': (width,)}
        for name in ('query', 'key', 'value'):
            shapes |= {f'{start}{attention}/{name}/kernel': (width, heads, size),
                       f'{start}{attention}/{name}/bias': (heads, size)}
        shapes |= {f'{start}{attention}/out/kernel': (heads, size, width), f'{start}{attention}/out/bias': (width,),
                   f'{start}{mlp}/Dense_0/kernel': (width, 192), f'{start}{mlp}/Dense_0/bias': (192,),
                   f'{start}{mlp}/Dense_1/kernel': (192, width), f'{start}{mlp}/Dense_1/bias': (width,)}
    return {prefix + name: draw.standard_normal(shape).astype('float32') * 0.2 for name, shape in shapes.items()}


NAMES = (
    ('', 'MultiHeadDotProductAttention_1', 'LayerNorm_2', 'MlpBlock_3', 'Transformer/posembed_input/pos_embedding'),
    ('params/', 'MultiHeadDotProductAttention_0', 'LayerNorm_1', 'MlpBlock_0', 'pos_embedding'))


@pytest.mark.parametrize('names', NAMES, ids=['ViT', 'big_vision'])
def test_googles_files_give_what_timm_gives(names: tuple[str, ...], tmp_path: Path) -> None:
    path = tmp_path / 'weights.npz'
    np.savez(path, **jax_arrays(*names))
    peer = timm.create_model('vit_base_patch16_224', num_classes=5, **TINY).eval()
    np.savez(tmp_path / 'first.npz', **jax_arrays(*NAMES[0]))                 # the names that timm reads
    peer.load_pretrained(str(tmp_path / 'first.npz'))
    ours = zoo.create_model('vit_base_patch16_224', checkpoint_path=path, num_classes=5, **TINY).eval()
    with torch.no_grad():
        assert torch.allclose(ours(images(2, 3, 32, 32)), peer(images(2, 3, 32, 32)), atol=1e-5)
    with pytest.raises(ValueError, match='read, not written'):
        zoo.convert(ours.state_dict(), 'google ViT')


def test_googles_towers_pool_by_attention(tmp_path: Path) -> None:
    """SigLIP as big_vision saves it, text and all."""
    arrays = {name: value for name, value in jax_arrays('params/img/', *NAMES[1][1:]).items()
              if not name.startswith(('params/img/cls', 'params/img/head', 'params/img/pre_logits'))}
    arrays['params/img/pos_embedding'] = arrays['params/img/pos_embedding'][:, 1:]
    block, pool = 'params/img/Transformer/encoderblock_1/', 'params/img/MAPHead_0/'
    arrays |= {name.replace(block, pool).replace('LayerNorm_1', 'LayerNorm_0'): value[..., ::-1].copy()
               for name, value in arrays.items() if name.startswith(block) and 'LayerNorm_0' not in name}
    arrays |= {f'{pool}probe': np.ones((1, 1, 48), 'float32'), 'params/txt/head/bias': np.zeros(3, 'float32'),
               'params/t': np.zeros(1, 'float32')}
    np.savez(tmp_path / 'weights.npz', **arrays)
    peer = timm.create_model('vit_base_patch16_siglip_224', num_classes=0, **TINY).eval()
    peer.load_pretrained(str(tmp_path / 'weights.npz'), prefix='params/img/')
    ours = zoo.create_model('vit_base_patch16_siglip_224', checkpoint_path=tmp_path / 'weights.npz', num_classes=0,
                            **TINY).eval()
    with torch.no_grad():
        assert torch.allclose(ours(images(2, 3, 32, 32)), peer(images(2, 3, 32, 32)), atol=1e-5)


def test_arrays_of_objects_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / 'objects.npz', a=np.array([{'a': 1}], dtype=object))
    with pytest.raises(ValueError, match='could execute code'):
        zoo.convert(tmp_path / 'objects.npz')


def test_bfloat16_arrays_are_read(tmp_path: Path) -> None:
    """NumPy has no such type and keeps two bytes without one."""
    values = torch.tensor([1.0, -2.5, 0.125], dtype=torch.bfloat16)
    np.savez(tmp_path / 'half.npz', a=values.view(torch.int16).numpy().view('V2'))
    assert torch.equal(zoo.pretrained.read_state_dict(tmp_path / 'half.npz')['a'], values)


def test_beit_without_biases_of_attention_is_not_transformers() -> None:
    with torch.device('meta'):
        model = zoo.create_model('beit_base_patch16_224', depth=1, qkv_bias=False)
    with pytest.raises(ValueError, match='qkv_bias=False'):
        zoo.convert(model.state_dict(), 'transformers BEiT')
