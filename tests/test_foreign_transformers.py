"""What transformers writes and computes. Its figures are in fixtures/, beside the script that makes them."""
from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import nn

import timm
import zoo
import zoo.data

FIXTURES = Path(__file__).parent / 'fixtures'
sys.path.append(str(FIXTURES))
from recipe import digest, images, picture, summary, weights  # noqa: E402


def read(name: str) -> dict[str, Any]:
    return json.loads((FIXTURES / f'transformers_{name}.json').read_text())


FORMERS = read('efficientformer')['networks']
EFFICIENTNET = read('efficientnet')
NETWORKS = EFFICIENTNET['networks']
PROCESSORS = read('processors')['processors']
SMALL = NETWORKS['small']['config']
PUBLISHED = PROCESSORS['published']['config']


def folder(path: Path, config: dict[str, Any], processor: dict[str, Any] | None = PUBLISHED,
           backbone: bool = False) -> str:
    """A folder such as transformers writes, with weights of the recipe; its name for create_model."""
    path.mkdir(exist_ok=True)
    (path / 'config.json').write_text(json.dumps(config))
    if processor:
        (path / 'preprocessor_config.json').write_text(json.dumps(processor))
    with torch.device('meta'):
        model = zoo.create_model(f'local-dir:{path}')
    state = zoo.convert(model.state_dict(), 'transformers').state
    if backbone:                                          # the recipe goes by the names in the whole network
        state = {f'efficientnet.{key}': value for key, value in state.items()}
    state = weights(state)
    if backbone:
        state = {key.removeprefix('efficientnet.'): value for key, value in state.items()}
    safetensors.torch.save_file(dict(state), path / 'model.safetensors')
    return f'local-dir:{path}'


def assert_equals(ours: torch.Tensor, theirs: dict[str, Any], tolerance: float = 1e-5) -> None:
    found = summary(ours)
    assert found['shape'] == theirs['shape']
    scale = max(1.0, max(map(abs, theirs['entries'])))
    assert found['entries'] == pytest.approx(theirs['entries'], abs=tolerance * scale)
    assert found['norm'] == pytest.approx(theirs['norm'], rel=tolerance)


@pytest.mark.in_turn
@pytest.mark.parametrize('name', NETWORKS)
def test_folders_give_what_transformers_gives_at_every_size(name: str, tmp_path: Path) -> None:
    case = NETWORKS[name]
    place = folder(tmp_path / 'net', case['config'], PUBLISHED if case['config']['num_channels'] == 3 else None)
    model = zoo.create_model(place, pretrained=True).eval()
    assert digest(zoo.convert(model.state_dict(), 'transformers').state) == case['digest']
    assert model.labels == tuple(case['config']['id2label'].values())
    for expected in case['outputs']:
        with torch.no_grad():
            found = zoo.forward_outputs(model, images(2, model.in_chans, *expected['size']), output_hidden_states=True)
        for key in ('logits', 'last_hidden_state', 'pooler_output'):
            assert_equals(getattr(found, key), {**expected[key], 'shape': list(getattr(found, key).shape)})
            assert found.logits.shape == (2, 5)
        assert len(found.hidden_states) == len(expected['hidden_states'])
        for ours, theirs in zip(found.hidden_states, expected['hidden_states']):
            assert_equals(ours, theirs)
        assert torch.equal(found.logits, model(images(2, model.in_chans, *expected['size'])))


def test_dropout_and_normalisation_are_those_of_the_config(tmp_path: Path) -> None:
    config = SMALL | dict(dropout_rate=0.35, drop_connect_rate=0.4, batch_norm_eps=0.02, batch_norm_momentum=0.3)
    model = zoo.create_model(folder(tmp_path / 'net', config))
    assert model.drop_rate == 0.35
    assert {(m.eps, m.momentum) for m in model.modules() if isinstance(m, nn.BatchNorm2d)} == {(0.02, 0.3)}
    blocks = [block for stage in model.blocks for block in stage]
    rates = {i: block.drop_path.drop_prob for i, block in enumerate(blocks) if block.has_skip}
    assert len(blocks) == 16 and rates == pytest.approx({i: 0.4 * i / 16 for i in rates})


@pytest.mark.parametrize('name', EFFICIENTNET['losses'])
def test_losses_by_the_kind_of_label(name: str, tmp_path: Path) -> None:
    case = EFFICIENTNET['losses'][name]
    model = zoo.create_model(folder(tmp_path / 'net', case['config']), pretrained=True).eval()
    labels = torch.tensor(case['labels'])
    assert zoo.forward_outputs(model, images(2, 3, 64, 64), labels).loss.item() == pytest.approx(case['loss'], rel=1e-5)


@pytest.mark.parametrize('name', [name for name in PROCESSORS if 'former' not in name])
def test_preprocessing_equals_the_image_processors(name: str, tmp_path: Path) -> None:
    model = zoo.create_model(folder(tmp_path / 'net', SMALL, PROCESSORS[name]['config']))
    transform = zoo.data.create_transform(**zoo.data.resolve_model_data_config(model))
    for case in PROCESSORS[name]['outputs']:
        assert_equals(transform(picture(*case['size'])), case['tensor'], 1e-6)


def test_published_values_are_imagenets(tmp_path: Path) -> None:
    place = folder(tmp_path / 'net', SMALL, PUBLISHED | dict(size=dict(height=224, width=224)))
    config = zoo.data.resolve_model_data_config(zoo.create_model(place))
    assert config['mean'] == pytest.approx((0.485, 0.456, 0.406), abs=1e-8)
    assert config['std'] == pytest.approx((0.229, 0.224, 0.225), abs=1e-7)
    assert (config['input_size'], config['interpolation'], config['crop_mode'], config['crop_pct']) == (
        (3, 224, 224), 'nearest', 'squash', 1.0)


def test_a_folder_without_a_processor_says_so(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    model = zoo.create_model(folder(tmp_path / 'net', SMALL, None))
    assert 'preprocessor_config.json' in caplog.text
    assert zoo.data.resolve_model_data_config(model)['input_size'] == (3, 64, 64)


def test_a_backbone_has_no_classifier(tmp_path: Path) -> None:
    place = folder(tmp_path / 'net', SMALL | dict(architectures=['EfficientNetModel']), backbone=True)
    model = zoo.create_model(place, pretrained=True).eval()
    expected = NETWORKS['small']['outputs'][0]
    assert model.num_classes == 0 and model.labels is None
    assert_equals(model(images(2, 3, 64, 64)), {**expected['pooler_output'], 'shape': [2, 320]})
    with pytest.raises(ValueError, match='num_classes=0'):
        zoo.forward_outputs(model, images(2, 3, 64, 64), torch.tensor([1, 2]))


def test_options_of_the_caller_win(tmp_path: Path) -> None:
    place = folder(tmp_path / 'net', SMALL)
    model = zoo.create_model(place, pretrained=True, num_classes=3, drop_rate=0.1)
    assert (model.num_classes, model.drop_rate, model.labels) == (3, 0.1, None)
    features = zoo.create_model(place, pretrained=True, features_only=True).eval()
    states = NETWORKS['small']['outputs'][0]['hidden_states']
    for ours, number in zip(features(images(2, 3, 64, 64)), (1, 3, 5, 11, 16), strict=True):
        assert_equals(ours, states[number])


@pytest.mark.parametrize('fields, count, map_size', [
    (dict(width_coefficient=1.8, depth_coefficient=2.6, hidden_dim=2304, image_size=528, depthwise_padding=[31]), 46,
     17),
    (dict(depthwise_padding=[18]), 56, 19)], ids=['b6', 'b7'])                 # b7 is what absent fields mean
def test_hidden_states_are_the_stem_and_every_block(
    fields: dict[str, Any], count: int, map_size: int, tmp_path: Path,
) -> None:
    (tmp_path / 'config.json').write_text(json.dumps(dict(model_type='efficientnet', **fields)))
    with torch.device('meta'):
        model = zoo.create_model(f'local-dir:{tmp_path}')
        image = torch.empty(1, *model.pretrained_cfg['input_size'])
        found = zoo.forward_outputs(model, image, output_hidden_states=True)
    assert len(found.hidden_states) == count
    assert found.last_hidden_state.shape == (1, fields.get('hidden_dim', 2560), map_size, map_size)


BAD = {
    'hidden_dim': (dict(hidden_dim=1280), ['hidden_dim is 1280', '320']),
    'pooling': (dict(pooling_type='avg'), ['pooling_type', 'mean']),
    'activation': (dict(hidden_act='swsh'), ['hidden_act', 'swish']),
    'lists': (dict(strides=[1, 2]), ['differ in length', 'strides 2']),
    'chain': (dict(in_channels=[32, 16, 24, 44, 80, 112, 192]), ['Stage 3', '44', '40']),
    'stem': (dict(in_channels=[16, 16, 24, 40, 80, 112, 192]), ['Stage 0', '16', '32']),
    'stride': (dict(strides=[1, 2, 2, 3, 1, 2, 1]), ['Stage 3', 'strides are 1 or 2']),
    'squeeze': (dict(squeeze_expansion_ratio=0.3), ['squeeze_expansion_ratio', 'whole number']),
    'labels': (dict(id2label={'0': 'a', '2': 'b'}), ['id2label', 'gaps']),
    'model_type': (dict(model_type='efficientnt'), ['model_type', 'efficientnet']),
}


@pytest.mark.parametrize('name', BAD)
def test_bad_configs_are_refused_with_the_reason(name: str, tmp_path: Path) -> None:
    fields, words = BAD[name]
    (tmp_path / 'config.json').write_text(json.dumps(SMALL | fields))
    with pytest.raises(ValueError) as caught:
        zoo.create_model(f'local-dir:{tmp_path}')
    for word in [*words, str(tmp_path)]:
        assert word in str(caught.value)


def test_weights_that_do_not_fit_the_config_are_named(tmp_path: Path) -> None:
    place = folder(tmp_path / 'net', SMALL)
    (tmp_path / 'net' / 'config.json').write_text(json.dumps(SMALL | dict(depth_coefficient=1.4)))
    with pytest.raises(ValueError, match='missing'):
        zoo.create_model(place, pretrained=True)


@pytest.mark.parametrize('fields, word', [
    (dict(do_resize=False), 'do_resize'), (dict(resample=9), 'resample'), (dict(size=dict(longest_edge=3)), 'size'),
    (dict(size=dict(shortest_edge=30)), 'shortest edge'), (dict(image_mean=[0.5, 0.5]), 'image_mean'),
    (dict(do_center_crop=True, size=dict(height=40, width=40), crop_size=dict(height=20, width=40)), 'fraction')])
def test_preprocessing_that_no_transform_does_is_refused(fields: dict[str, Any], word: str, tmp_path: Path) -> None:
    (tmp_path / 'config.json').write_text(json.dumps(SMALL))
    (tmp_path / 'preprocessor_config.json').write_text(json.dumps(PUBLISHED | fields))
    with pytest.raises(ValueError, match=word):
        zoo.create_model(f'local-dir:{tmp_path}')


def test_repositories_of_the_hub(tmp_path: Path) -> None:
    """From the cache, as huggingface_hub lays it out."""
    repository = tmp_path / 'models--google--efficientnet-small'
    (repository / 'refs').mkdir(parents=True)
    (repository / 'snapshots').mkdir()
    (repository / 'refs' / 'main').write_text('0' * 40)
    folder(repository / 'snapshots' / ('0' * 40), SMALL)
    model = zoo.create_model('hf-hub:google/efficientnet-small', pretrained=True, cache_dir=tmp_path).eval()
    expected = NETWORKS['small']['outputs'][0]
    assert_equals(model(images(2, 3, 64, 64)), expected['logits'])
    assert model.labels[4] == 'class 4'
    config = zoo.data.resolve_model_data_config(model)
    assert config['crop_mode'] == 'squash' and config['interpolation'] == 'nearest'
    plain = zoo.build_model({'blocks': ['cn_r1_k3_s1_c8'], 'head_size': 0})
    with pytest.raises(ValueError, match='EfficientNet'):
        zoo.pretrained.load_weights(plain, zoo.PretrainedCfg(), 'hf-hub:google/efficientnet-small', cache_dir=tmp_path)


needs_former = pytest.mark.skipif(not zoo.is_model('efficientformer_l1'), reason='zoo has no EfficientFormer')


@needs_former
@pytest.mark.parametrize('name', FORMERS)
def test_efficientformers_folders_give_what_transformers_gives(name: str, tmp_path: Path) -> None:
    case = FORMERS[name]
    processor = PROCESSORS['former']['config']
    (tmp_path / 'config.json').write_text(json.dumps(case['config']))
    (tmp_path / 'preprocessor_config.json').write_text(json.dumps(processor))
    like = zoo.convert(zoo.create_model(f'local-dir:{tmp_path}').state_dict(), 'transformers').state
    assert digest(like) == case['digest']
    safetensors.torch.save_file(weights(like), tmp_path / 'model.safetensors')
    model = zoo.create_model(f'local-dir:{tmp_path}', pretrained=True).eval()
    expected = case['outputs']
    with torch.no_grad():
        found = zoo.forward_outputs(model, images(2, 3, 224, 224), output_hidden_states=True, output_attentions=True)
    for key in ('logits', 'cls_logits', 'distillation_logits', 'last_hidden_state'):
        if key in expected:
            assert_equals(getattr(found, key), expected[key])
        else:
            assert getattr(found, key) is None
    for key in ('hidden_states', 'attentions'):
        assert len(getattr(found, key)) == len(expected[key])
        for ours, theirs in zip(getattr(found, key), expected[key]):
            assert_equals(ours, theirs)
    assert torch.equal(found.logits, model(images(2, 3, 224, 224)))
    assert model.labels[0] == 'class 0'
    back = zoo.convert(zoo.convert(model.state_dict(), 'snap-research').state, 'transformers')
    assert digest(back.state) == case['digest']


@needs_former
@pytest.mark.parametrize('name', [name for name in PROCESSORS if 'former' in name])
def test_efficientformers_preprocessing(name: str, tmp_path: Path) -> None:
    (tmp_path / 'config.json').write_text(json.dumps(FORMERS['without teacher']['config']))
    (tmp_path / 'preprocessor_config.json').write_text(json.dumps(PROCESSORS[name]['config']))
    with torch.device('meta'):
        model = zoo.create_model(f'local-dir:{tmp_path}')
    transform = zoo.data.create_transform(**zoo.data.resolve_model_data_config(model))
    for case in PROCESSORS[name]['outputs']:
        assert_equals(transform(picture(*case['size'])), case['tensor'], 1e-6)


@needs_former
@pytest.mark.parametrize('fields, word', [
    (dict(dim=32), 'dim is 32'), (dict(key_dim=16), 'key_dim'), (dict(resolution=8), 'resolution'),
    (dict(depths=[1, 1, 1]), 'depths'), (dict(downsamples=[True, False, True, True]), 'downsamples')])
def test_bad_efficientformer_configs_are_refused(fields: dict[str, Any], word: str, tmp_path: Path) -> None:
    (tmp_path / 'config.json').write_text(json.dumps(FORMERS['without teacher']['config'] | fields))
    with pytest.raises(ValueError, match=word):
        zoo.create_model(f'local-dir:{tmp_path}')


@pytest.mark.parametrize('name', ['l1', 'l1, eps'])
def test_efficientformers_weights_under_their_names_and_ours(name: str) -> None:
    """timm has the names that we have."""
    case = FORMERS[name]
    peer = timm.create_model('efficientformer_l1', num_classes=5).eval()
    there = zoo.convert(peer.state_dict(), 'transformers')
    assert there.architecture == 'efficientformer_l1' and digest(there.state) == case['digest']
    back = zoo.convert(weights(there.state))
    assert back.architecture == 'efficientformer_l1'
    peer.train().load_state_dict(back.state)
    peer.eval()
    for module in peer.modules():
        if isinstance(module, nn.LayerNorm):
            module.eps = case['config']['layer_norm_eps']
    with torch.no_grad():
        logits = peer(images(2, 3, 224, 224))
    assert_equals(logits, case['outputs']['logits'])


SNAP_RESEARCH = json.loads((FIXTURES / 'snap_research.json').read_text())['networks']


@pytest.mark.in_turn
@pytest.mark.parametrize('name', SNAP_RESEARCH)
def test_original_efficientformer_v2_gives_its_own_logits(name: str) -> None:
    architecture, _, one_head = name.partition(', ')
    with torch.device('meta'):
        model = zoo.create_model(architecture, num_classes=5, distillation=not one_head)
    there = zoo.convert(model.state_dict(), 'snap-research').state
    assert digest(there) == SNAP_RESEARCH[name]['digest']
    found = zoo.convert(weights(there))
    assert found.architecture == architecture
    ours = zoo.create_model(architecture, pretrained=found.state, num_classes=5, **found.arguments).eval()
    with torch.no_grad():                # the figures are of single precision, which is itself 1.6e-5 off at worst
        assert_equals(ours.double()(images(2, 3, 224, 224).double()), SNAP_RESEARCH[name]['logits'], 2.5e-5)
