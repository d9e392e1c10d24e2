"""Files of Keras: read whatever their form is, recognised by content, answering as Keras did (fixtures/make_keras.py)."""
from __future__ import annotations

import gzip
import importlib.util
import json
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
import torch
from conftest import randomize
from torch import Tensor, nn
from torch.nn import functional as F

import zoo
from zoo.pretrained import read_state_dict
from zoo.pretrained.foreign.hdf5 import CLASSES

FIXTURES = Path(__file__).parent / 'fixtures'
_spec = importlib.util.spec_from_file_location('make_keras', FIXTURES / 'make_keras.py')
make_keras = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(make_keras)
FIGURES = json.loads(make_keras.FIGURES.read_text())
LAYERS = json.loads(gzip.decompress(make_keras.WEIGHTS.read_bytes()))
KIND = {'Conv2D': 'conv2d', 'BatchNormalization': 'batch_normalization', 'Dense': 'dense',
        'DepthwiseConv2D': 'depthwise_conv2d', 'SeparableConv2D': 'separable_conv2d', 'Normalization': 'normalization'}

V2 = dict(stem_type='fixed', stride_last=True, conv_bias=True)
FIRST = dict(block_args=dict(stride_first=True))
EXPECTED = {f'ResNet{depth}': (f'resnet{depth}', FIRST) for depth in (50, 101, 152)} | {
    f'ResNet{depth}V2': (f'resnetv2_{depth}', V2) for depth in (50, 101, 152)} | {
    f'DenseNet{depth}': (f'densenet{depth}', {}) for depth in (121, 169, 201)} | {
    f'EfficientNetB{number}': (f'tf_efficientnet_b{number}', {}) for number in range(8)} | {
    'VGG16': ('vgg16', {}), 'VGG19': ('vgg19', {}), 'InceptionResNetV2': ('inception_resnet_v2', {}),
    'Xception': ('legacy_xception', dict(norm_eps=1e-3, pad_type='same')),
    'InceptionV3': ('inception_v3', dict(count_include_pad=False)),
    'NASNetLarge': ('nasnetalarge', dict(zeros_count=True))}
DEPTHS, WIDTHS = make_keras.BLOCKS, make_keras.WIDTHS
SMALL = {
    'ResNetSmall': ('resnet50', FIRST, dict(layers=DEPTHS, channels=WIDTHS)),
    'ResNetV2Small': ('resnetv2_50', V2, dict(layers=DEPTHS, channels=[4 * width for width in WIDTHS])),
    'DenseNetSmall': ('densenet121', {}, dict(block_config=DEPTHS)),
    'EfficientNetSmall': ('tf_efficientnet_b0', {}, dict(width=0.35, depth=0.5, head_size=448))}


# --- writing files as Keras does

def layers_of(name: str, top: bool = True, count: int | None = None) -> dict[str, tuple[str, dict[str, np.ndarray]]]:
    """Layer -> its class and weights, as Keras orders them; of the first layers, or without the classifier."""
    found = {}
    for layer, kind, shapes in LAYERS[name][:count]:
        if top or kind != 'Dense':
            drawn = make_keras.values(layer, shapes, *make_keras.scales(name))
            found[layer] = (kind, {key: drawn[key] for key in shapes})
    return found


def write_group(group: h5py.Group, layers: dict[str, Any], title: Callable[[str, str], str]) -> None:
    group.attrs['layer_names'] = [layer.encode() for layer in [*layers, 'a_layer_without_weights']]
    group.create_group('a_layer_without_weights').attrs['weight_names'] = np.zeros(0)
    for layer, (_, weights) in layers.items():
        own = group.create_group(layer)
        own.attrs['weight_names'] = [title(layer, key).encode() for key in weights]
        for key, value in weights.items():
            own[title(layer, key)] = value


def published(path: Path, layers: dict[str, Any]) -> None:
    """Weights of Keras 2, as those that are published."""
    with h5py.File(path, 'w') as file:
        write_group(file, layers, lambda layer, key: f'{layer}/{key}:0')


def first(path: Path, layers: dict[str, Any]) -> None:
    """Weights of Keras 1."""
    short = {'kernel': 'W', 'bias': 'b', 'moving_mean': 'running_mean', 'moving_variance': 'running_std'}
    with h5py.File(path, 'w') as file:
        write_group(file, layers, lambda layer, key: f'{layer}_{short.get(key, key)}_1:0')


def whole(path: Path, layers: dict[str, Any]) -> None:
    """A whole model of Keras 3, with its optimizer's tensors."""
    with h5py.File(path, 'w') as file:
        file.attrs['model_config'] = '{}'
        file['optimizer_weights/adam/momentum'] = np.zeros(3)
        write_group(file.create_group('model_weights'), layers, lambda layer, key: f'{layer}/{key}')


def nested(path: Path, layers: dict[str, Any]) -> None:
    """A whole model of Keras 3 whose first layer is the network, and whose last is the classifier."""
    inside = {f'{layer}/{key}': value for layer, (kind, weights) in layers.items() for key, value in weights.items()
              if kind != 'Dense'}
    with h5py.File(path, 'w') as file:
        top = file.create_group('model_weights')
        top.attrs['layer_names'] = [b'backbone', b'answer']
        for name, weights in (('backbone', inside), ('answer', {
                f'sequential/answer/{key}': value for kind, weights in layers.values() if kind == 'Dense'
                for key, value in weights.items()})):
            group = top.create_group(name)
            group.attrs['weight_names0'] = [key.encode() for key in list(weights)[:2]]        # long lists are kept in parts
            group.attrs['weight_names1'] = [key.encode() for key in list(weights)[2:]]
            for key, value in weights.items():
                group[key] = value


def by_class(path: Path, layers: dict[str, Any]) -> None:
    """Weights of Keras 3, `.weights.h5`."""
    counts: dict[str, int] = {}
    with h5py.File(path, 'w') as file:
        file['layers/dropout/seed_generator/vars/0'] = np.zeros(2, np.uint32)
        for layer, (kind, weights) in layers.items():
            number = counts[kind] = counts.get(kind, -1) + 1
            group = file.create_group(f'layers/{KIND[kind]}{f"_{number}" if number else ""}/vars')
            group.attrs['name'] = layer
            for index, value in enumerate(weights.values()):
                group[str(index)] = value


def archive(path: Path, layers: dict[str, Any]) -> None:
    """A `.keras` file."""
    inside = path.with_suffix('.inside')
    by_class(inside, layers)
    with zipfile.ZipFile(path, 'w') as file:
        file.writestr('config.json', '{}')
        file.write(inside, 'model.weights.h5')


FORMS = {form.__name__: form for form in (published, first, whole, nested, by_class, archive)}


def answer(model: nn.Module, name: str) -> Tensor:
    """The logits that Keras' figures are of, of images prepared as the network's record says."""
    image = torch.from_numpy(make_keras.image(*FIGURES[name]['size'])).permute(0, 3, 1, 2) / 255
    mean, std = (torch.tensor(model.pretrained_cfg[key]).view(1, 3, 1, 1) for key in ('mean', 'std'))
    with torch.no_grad():
        return model.eval()((image - mean) / std)[0, :make_keras.KEPT]


def same(logits: Tensor, name: str) -> bool:
    theirs = torch.tensor(FIGURES[name]['logits'])
    return bool((logits - theirs).abs().max() <= 1e-5 * theirs.abs().max())


# --- the networks

@pytest.mark.parametrize('name', SMALL)
def test_small_networks_answer_as_in_keras(name: str, tmp_path: Path) -> None:
    architecture, arguments, options = SMALL[name]
    published(tmp_path / 'x.h5', layers_of(name))
    found = zoo.convert(tmp_path / 'x.h5')
    assert (found.target, found.arguments) == ('zoo', arguments)
    options = dict(num_classes=make_keras.CLASSES, **arguments, **options)
    model = zoo.create_model(architecture, checkpoint_path=tmp_path / 'x.h5', **options)
    assert same(answer(model, name), name)
    again = zoo.create_model(architecture, pretrained=found.state, pretrained_cfg_overlay=found.data, **options)
    assert same(answer(again, name), name)


@pytest.mark.in_turn
@pytest.mark.parametrize('name', EXPECTED)
def test_every_layer_of_a_network_has_its_place(name: str) -> None:
    state = {f'{layer}/{key}': torch.ones(shape, device='cpu' if kind == 'Normalization' else 'meta')
             for layer, kind, shapes in LAYERS[name] for key, shape in shapes.items()}
    found = zoo.convert(dict(sorted(state.items(), key=lambda item: item[0][::-1])))       # files need not keep the order
    assert (found.architecture, found.arguments) == EXPECTED[name]
    with torch.device('meta'):
        model = zoo.create_model(found.architecture, num_classes=make_keras.CLASSES, **found.arguments)
    wanted = {key: value.numel() for key, value in model.state_dict().items() if not key.endswith('num_batches_tracked')}
    assert {key: value.numel() for key, value in found.state.items()} == wanted


@pytest.mark.slow
@pytest.mark.parametrize('name', EXPECTED)
def test_networks_answer_as_in_keras(name: str, tmp_path: Path) -> None:
    published(tmp_path / 'x.h5', layers_of(name))
    found = zoo.convert(tmp_path / 'x.h5')
    assert (found.architecture, found.arguments) == EXPECTED[name]
    model = zoo.create_model(found.architecture, pretrained=tmp_path / 'x.h5', num_classes=make_keras.CLASSES,
                             **found.arguments)
    assert same(answer(model, name), name)


@pytest.mark.parametrize('form', FORMS)
def test_every_form_of_file_is_the_same(form: str, tmp_path: Path) -> None:
    layers = layers_of('EfficientNetSmall', count=5) | layers_of('Xception', count=6)
    layers['answer'] = ('Dense', {'kernel': np.ones((3, 2), np.float32), 'bias': np.zeros(2, np.float32)})
    assert {kind for kind, _ in layers.values()} == KIND.keys()
    if form == 'first':                                           # which had no such layer
        del layers['normalization']
    FORMS[form](tmp_path / 'x', layers)
    found = read_state_dict(tmp_path / 'x')
    for layer, (kind, weights) in layers.items():
        for key, value in weights.items():
            key = 'depthwise_kernel' if kind == 'DepthwiseConv2D' and f'{layer}/{key}' not in found else key
            assert np.array_equal(found.pop(f'{layer}/{key}').numpy(), value)
    assert not found


@pytest.mark.parametrize('name', zipfile.ZipFile(make_keras.FILES).namelist())
def test_what_keras_wrote_is_read(name: str, tmp_path: Path) -> None:
    zipfile.ZipFile(make_keras.FILES).extract(name, tmp_path)
    found = read_state_dict(tmp_path / name)
    for layer, kind, shapes in LAYERS['tiny']:
        for key, value in make_keras.values(layer, shapes).items():
            key = 'depthwise_kernel' if kind == 'DepthwiseConv2D' and f'{layer}/{key}' not in found else key
            assert np.array_equal(found.pop(f'{layer}/{key}').numpy(), value)
    assert not found


def test_normalisation_without_a_scale_in_files_by_class(tmp_path: Path) -> None:
    layers = {'conv2d': ('Conv2D', {'kernel': np.ones((1, 1, 3, 4))}), 'batch_normalization': ('BatchNormalization', {
        key: np.full(4, number) for number, key in enumerate(('beta', 'moving_mean', 'moving_variance'))})}
    by_class(tmp_path / 'x', layers)
    state = read_state_dict(tmp_path / 'x')
    assert [float(state[f'batch_normalization/{key}'][0]) for key in CLASSES['batch_normalization'][1:]] == [0, 1, 2]


def test_the_first_layer_of_a_vgg_takes_pixels_in_keras_order(tmp_path: Path) -> None:
    cfg = (4, 4, 'M', 4, 4, 'M', *[4] * 3, 'M', *[4] * 3, 'M', *[4] * 3, 'M')
    model = randomize(zoo.create_model('vgg16', cfg=cfg, mlp_ratio=1 / 512, num_classes=5)).eval()
    layers, block, number = {}, 1, 0
    for layer in model.features:
        if isinstance(layer, nn.Conv2d):
            number += 1
            kernel = layer.weight.detach() if layers else layer.weight.detach().flip(1)             # blue comes first
            layers[f'block{block}_conv{number}'] = ('Conv2D', {'kernel': kernel.permute(2, 3, 1, 0).numpy(),
                                                               'bias': layer.bias.detach().numpy()})
        elif isinstance(layer, nn.MaxPool2d):
            block, number = block + 1, 0
    generator = torch.Generator().manual_seed(0)
    kernels = {'fc1': torch.randn(7 * 7 * 4, 8, generator=generator), 'fc2': torch.randn(8, 4096, generator=generator),
               'predictions': torch.randn(4096, 5, generator=generator)}
    biases = {name: torch.randn(kernel.shape[1], generator=generator) for name, kernel in kernels.items()}
    layers |= {name: ('Dense', {'kernel': kernels[name].numpy(), 'bias': biases[name].numpy()}) for name in kernels}
    published(tmp_path / 'x.h5', layers)
    loaded = zoo.create_model('vgg16', checkpoint_path=tmp_path / 'x.h5', cfg=cfg, mlp_ratio=1 / 512, num_classes=5).eval()
    image = torch.rand(2, 3, 224, 224, generator=generator)
    with torch.no_grad():
        x = model.forward_features(image).permute(0, 2, 3, 1).flatten(1)
        for name in ('fc1', 'fc2'):
            x = F.relu(x @ kernels[name] + biases[name])
        x = x @ kernels['predictions'] + biases['predictions']
        assert torch.allclose(loaded(image), x, rtol=1e-4, atol=1e-5 * float(x.abs().max()))


# --- how images are prepared, and heads

def test_the_record_says_how_keras_prepares_images(tmp_path: Path) -> None:
    published(tmp_path / 'x.h5', layers_of('ResNetSmall'))
    options = dict(checkpoint_path=tmp_path / 'x.h5', num_classes=make_keras.CLASSES, **FIRST, **SMALL['ResNetSmall'][2])
    config = zoo.data.resolve_data_config(model=zoo.create_model('resnet50', **options))
    assert config['std'] == pytest.approx([1 / 255] * 3)
    assert config['mean'] == pytest.approx([0.48502, 0.45796, 0.40760], abs=1e-5)
    told = zoo.create_model('resnet50', pretrained_cfg_overlay=dict(mean=(0.5, 0.5, 0.5)), **options).pretrained_cfg
    assert told['mean'] == (0.5, 0.5, 0.5) and told['std'] == pytest.approx([1 / 255] * 3)


def test_published_efficientnets_have_the_roots_of_the_deviations(tmp_path: Path) -> None:
    layers = layers_of('EfficientNetSmall')
    layers['normalization'][1].update(mean=np.array([0.485, 0.456, 0.406], np.float32),
                                      variance=np.array([0.229, 0.224, 0.225], np.float32))
    published(tmp_path / 'x.h5', layers)
    assert zoo.convert(tmp_path / 'x.h5').data['std'] == pytest.approx((0.229, 0.224, 0.225))
    layers['normalization'][1]['variance'] = np.array([0.04, 0.09, 0.16], np.float32)
    published(tmp_path / 'y.h5', layers)
    assert zoo.convert(tmp_path / 'y.h5').data['std'] == pytest.approx((0.2, 0.3, 0.4))


def test_networks_without_a_classifier(tmp_path: Path) -> None:
    published(tmp_path / 'x.h5', layers_of('ResNetSmall', top=False))
    found = zoo.convert(tmp_path / 'x.h5')
    assert found.arguments == {**FIRST, 'num_classes': 0}
    options = dict(pretrained=tmp_path / 'x.h5', **FIRST, **SMALL['ResNetSmall'][2])
    assert zoo.create_model('resnet50', num_classes=0, **options)(torch.zeros(1, 3, 64, 64)).shape == (1, 96)
    assert len(zoo.create_model('resnet50', features_only=True, **options)(torch.zeros(1, 3, 64, 64))) == 5


# --- what is refused

@pytest.mark.parametrize('name, model, words', [
    ('ResNetSmall', 'resnet50', ["block_args={'stride_first': True}", 'Keras ResNet']),
    ('EfficientNetSmall', 'efficientnet_b0', ["pad_type='same'", 'bn_eps=0.001'])])
def test_what_would_load_and_mislead_is_refused(name: str, model: str, words: list[str], tmp_path: Path) -> None:
    published(tmp_path / 'x.h5', layers_of(name))
    with pytest.raises(ValueError) as caught:
        zoo.create_model(model, checkpoint_path=tmp_path / 'x.h5', num_classes=make_keras.CLASSES, **SMALL[name][2])
    for word in words:
        assert word in str(caught.value)


def test_a_networks_options_are_named_where_its_shapes_differ(tmp_path: Path) -> None:
    published(tmp_path / 'x.h5', layers_of('ResNetV2Small'))
    with pytest.raises(ValueError, match='Keras ResNetV2.*stride_last=True'):
        zoo.create_model('resnetv2_50', checkpoint_path=tmp_path / 'x.h5', num_classes=make_keras.CLASSES,
                         **SMALL['ResNetV2Small'][2])


def test_networks_that_are_not_known_are_refused(tmp_path: Path) -> None:
    layers = {f'conv_dw_{number}': ('DepthwiseConv2D', {'depthwise_kernel': np.zeros((3, 3, 4, 1))}) for number in range(9)}
    published(tmp_path / 'x.h5', layers)
    with pytest.raises(ValueError, match='9 layers .conv_dw_0, .*ResNet-50.*EfficientNet-B0'):
        zoo.create_model('mobilenetv1_100', checkpoint_path=tmp_path / 'x.h5')
    with pytest.raises(ValueError, match='read, not written'):
        zoo.convert(zoo.create_model('test_resnet').state_dict(), 'Keras')


def test_files_that_say_too_little(tmp_path: Path) -> None:
    with h5py.File(tmp_path / 'other.h5', 'w') as file:
        file['measured'] = np.zeros(3)
    with pytest.raises(ValueError, match='no weights of Keras: at its top are measured'):
        read_state_dict(tmp_path / 'other.h5')
    with h5py.File(tmp_path / 'nameless.h5', 'w') as file:
        file['layers/conv2d/vars/0'] = np.zeros(3)
    with pytest.raises(ValueError, match='does not say what its layers are called'):
        read_state_dict(tmp_path / 'nameless.h5')
    layers = {'a/conv': ('Conv2D', {'kernel': np.zeros(3)}), 'a_conv': ('Conv2D', {'kernel': np.zeros(3)})}
    published(tmp_path / 'two.h5', layers)
    with pytest.raises(ValueError, match="two layers with a weight 'a_conv/kernel'"):
        read_state_dict(tmp_path / 'two.h5')


def test_damaged_files(tmp_path: Path) -> None:
    published(tmp_path / 'x.h5', layers_of('ResNetSmall'))
    (tmp_path / 'cut.h5').write_bytes((tmp_path / 'x.h5').read_bytes()[:4000])
    with pytest.raises(ValueError, match='cut.h5 is damaged'):
        read_state_dict(tmp_path / 'cut.h5')
    with h5py.File(tmp_path / 'x.h5', 'a') as file:
        del file['conv1_conv']
    with pytest.raises(ValueError, match='x.h5 is damaged'):
        read_state_dict(tmp_path / 'x.h5')


def test_without_h5py(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published(tmp_path / 'x.h5', layers_of('ResNetSmall'))
    monkeypatch.setitem(sys.modules, 'h5py', None)
    with pytest.raises(ImportError, match=r"pip install 'zoo-image-models\[keras\]'"):
        read_state_dict(tmp_path / 'x.h5')
