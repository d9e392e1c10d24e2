"""Networks as files for other runtimes: what is in them, what they give, and what is left of those that give something
else."""
from __future__ import annotations

import itertools
import json
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

import zoo
from conftest import randomize, relative_error
from zoo import dense
from zoo.cli import main
from zoo.export import FORMATS, TooFarOff, check, missing
from zoo.export.converters import environment_python, find_python
from zoo.export.preprocessing import KERNELS, Preprocessing
from zoo.runtime import OnnxSession, levels_of, open_session
from zoo.runtime.sessions import PortableSession

PHOTOS = Path(__file__).parent.parent / 'examples' / 'images'
HERE = [name for name in FORMATS if not missing(name) and not FORMATS[name].converter]


def each(*names: str) -> list[Any]:
    """Formats as parameters, all but the first for the long run."""
    return [names[0], *(pytest.param(name, marks=pytest.mark.slow) for name in names[1:])] if names else []


SMALL = dict(num_classes=5)


def network(name: str = 'lcnet_035', **options: Any) -> nn.Module:
    """A network with classes, for images of 64 pixels."""
    cfg = dict(input_size=(3, 64, 64), num_classes=5, label_names=('ant', 'bee', 'cat', 'dog', 'elk'), license='mit',
               hf_hub_id='timm/some')
    return randomize(zoo.create_model(name, pretrained_cfg_overlay=cfg, **{**SMALL, **options})).eval()


def images(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(0))


def file_of(tmp_path: Path, format: str) -> Path:
    return tmp_path / f'file{FORMATS[format].suffix}'


@pytest.mark.parametrize('format', HERE)
def test_a_file_is_called_as_its_network_and_knows_what_it_is(format: str, tmp_path: Path) -> None:
    model, path = network(), file_of(tmp_path, format)
    outcome = zoo.export_model(model, path)
    assert outcome.difference < 1e-4 and outcome.images == 5 and outcome.photographs and outcome.agreement == 1
    again = zoo.load_exported(path)
    with torch.no_grad():                                        # the file takes one at a time
        assert relative_error(again(images(3, 3, 64, 64)), model(images(3, 3, 64, 64))) < 1e-4
    assert again.labels == model.labels and again.num_classes == 5 and again.img_size == (64, 64)
    assert (again.format, again.precision, again.task, again.in_chans) == (format, 'fp32', 'single', 3)
    assert zoo.data.resolve_model_data_config(again) == zoo.data.resolve_model_data_config(model)
    about = again.description
    assert (about['architecture'], about['licence'], about['source']) == ('lcnet_035', 'mit', 'timm/some')
    assert about['zoo'] == zoo.__version__ and about['cost']['params'] == zoo.profile(model).params
    with pytest.raises(ValueError, match='64 x 64 pixels alone'):
        again.set_input_size(96)


@pytest.mark.sweep
@pytest.mark.parametrize('name', ['tf_efficientnet_lite0', 'efficientformer_l1', 'swin_tiny_patch4_window7_224',
                                  'vit_tiny_patch16_224', 'resnet18', 'convnext_atto'])
@pytest.mark.parametrize('format', HERE)
def test_any_batch_height_and_width(format: str, name: str, tmp_path: Path) -> None:
    model, path = network(name), file_of(tmp_path, format)
    outcome = zoo.export_model(model, path, dynamic=('batch', 'height', 'width'))
    assert len(outcome.sizes) == 5
    again = zoo.load_exported(path)
    if getattr(model, 'img_size', None):
        model.set_input_size(dynamic_img_size=True)
    assert again.img_size is None
    with torch.no_grad():
        assert relative_error(again(images(3, 3, 101, 70)), model(images(3, 3, 101, 70))) < 1e-4


@pytest.mark.parametrize(('options', 'dimensions'), [
    (dict(dynamic=('batch', 'height', 'width')), ['batch', 3, 'height', 'width']),
    (dict(dynamic=['batch']), ['batch', 3, 64, 64]),
    (dict(), [1, 3, 64, 64]),
    (dict(dynamic=['batch'], preprocess=True), ['batch', 'height', 'width', 3]),
])
def test_dimensions_that_may_change_have_names(options: dict[str, Any], dimensions: list[Any], tmp_path: Path) -> None:
    pytest.importorskip('onnxscript')
    onnxruntime, path = pytest.importorskip('onnxruntime'), tmp_path / 'model.onnx'
    zoo.export_model(network(), path, **options)
    session = onnxruntime.InferenceSession(path)
    assert session.get_inputs()[0].shape == dimensions and session.get_outputs()[0].shape == [dimensions[0], 5]


@pytest.mark.sweep
@pytest.mark.parametrize('format', each(*HERE))
def test_maps_and_embeddings(format: str, tmp_path: Path) -> None:
    path = file_of(tmp_path, format)
    backbone = network(num_classes=None, features_only=True, out_indices=(1, 3))
    zoo.export_model(backbone, path, dynamic=['batch'])
    maps = zoo.load_exported(path)(images(2, 3, 64, 64))
    with torch.no_grad():
        expected = backbone(images(2, 3, 64, 64))
    assert len(maps) == 2 and all(relative_error(*pair) < 1e-4 for pair in zip(maps, expected))
    model = network()
    zoo.export_model(model, path, what='embedding')
    again = zoo.load_exported(path)
    with torch.no_grad():
        expected = model.forward_head(model.forward_features(images(1, 3, 64, 64)), pre_logits=True)
    assert relative_error(again(images(1, 3, 64, 64)), expected) < 1e-4
    with pytest.raises(ValueError, match='gives embedding, not classes'):
        again.classifier()


@pytest.mark.parametrize('mode', ['center', 'center_floor', 'squash', 'squash_floor', 'border', 'border_corner'])
@pytest.mark.parametrize('interpolation', KERNELS)
def test_preprocessing_in_the_graph_is_that_of_evaluation(interpolation: str, mode: str) -> None:
    photographs = [zoo.data.load_image(PHOTOS / 'palace.jpg').resize(size) for size in ((131, 77), (45, 67), (96, 96),
                                                                                     (90, 150))]
    for size, image in itertools.product([(3, 64, 64), (3, 49, 80)], photographs):
        config = dict(input_size=size, interpolation=interpolation, mean=(0.4, 0.5, 0.6), std=(0.2, 0.3, 0.2),
                      crop_pct=0.875, crop_mode=mode)
        expected = zoo.data.create_transform(**config)(image)
        found = Preprocessing(config)(levels_of(image)[None])[0]
        levels = (found - expected).abs() * torch.tensor(config['std']).view(-1, 1, 1) * 255
        box = interpolation == 'box'                                    # a pixel at a box's edge is in it or out of it
        assert (levels > 0.5).float().mean() < (0.05 if box else 0.02)                             # ties of rounding
        assert box or levels.max() < 1.01


@pytest.mark.parametrize('task', ['single', 'multi'])
@pytest.mark.parametrize('format', each(*HERE))
def test_photographs_in_and_probabilities_out(format: str, task: str, tmp_path: Path) -> None:
    model, path = network(), file_of(tmp_path, format)
    model.task = task
    outcome = zoo.export_model(model, path, preprocess=True)
    assert len(outcome.sizes) == 5
    again, photo = zoo.load_exported(path), zoo.data.load_image(PHOTOS / 'cat.jpg')
    transform = zoo.data.create_transform(**zoo.data.resolve_model_data_config(model))
    levels, prepared = levels_of(photo)[None], transform(photo)
    raw = again.session(levels)[0]
    with torch.no_grad():
        logits = model(prepared[None])
    expected = logits.softmax(-1) if task == 'single' else logits.sigmoid()
    assert relative_error(raw, expected) < 5e-3
    back = again(levels)
    assert relative_error(back.softmax(-1) if task == 'single' else back.sigmoid(), raw) < 1e-5


@pytest.mark.parametrize('format', each(*HERE))
def test_levels_in(format: str, tmp_path: Path) -> None:
    model, path = network(), file_of(tmp_path, format)
    zoo.export_model(model, path, input='uint8', batch_size=2)
    again, levels = zoo.load_exported(path), torch.randint(0, 256, (2, 64, 64, 3), dtype=torch.uint8)
    config = zoo.data.resolve_model_data_config(model)
    mean, std = (torch.tensor(config[key]).view(-1, 1, 1) for key in ('mean', 'std'))
    prepared = (levels.permute(0, 3, 1, 2) / 255 - mean) / std
    with torch.no_grad():
        expected = model(prepared)
    assert relative_error(again.session(levels)[0], expected) < 1e-4
    assert relative_error(again(prepared), expected) < 1e-4


@pytest.mark.sweep
@pytest.mark.parametrize('format', each(*(name for name in HERE if 'fp16' in FORMATS[name].precisions)))
def test_half_precision_is_half_as_large(format: str, tmp_path: Path) -> None:
    model, path = network('resnet18'), file_of(tmp_path, format)
    sizes = []
    for precision in ('fp32', 'fp16'):
        zoo.export_model(model, path, precision=precision)
        sizes.append(sum(file.stat().st_size for file in tmp_path.iterdir()))
    assert sizes[1] < 0.6 * sizes[0] and zoo.load_exported(path).precision == 'fp16'


@pytest.mark.sweep
@pytest.mark.parametrize('preprocess', [False, True])
@pytest.mark.parametrize('format', [name for name in HERE if 'int8' in FORMATS[name].precisions
                                    and not missing(name, 'int8')])
def test_int8_by_images_of_a_folder(format: str, preprocess: bool, tmp_path: Path) -> None:
    model, path = network('resnet18'), file_of(tmp_path, format)
    with pytest.warns(UserWarning, match='5 images alone'):
        outcome = zoo.export_model(model, path, precision='int8', calibration=PHOTOS, preprocess=preprocess)
    assert 1e-4 < outcome.difference < 0.3
    assert sum(file.stat().st_size for file in tmp_path.iterdir()) < 16e6               # 11.7 million weights


@pytest.mark.parametrize('format', each(*HERE))
def test_a_file_that_is_too_far_off_is_not_kept(format: str, tmp_path: Path) -> None:
    path = file_of(tmp_path, format)
    path.write_bytes(b'before')
    with pytest.raises(TooFarOff, match='The file is not kept'):
        zoo.export_model(network(), path, precision='fp16', limit=1e-9)
    assert [file.name for file in tmp_path.iterdir()] == [path.name] and path.read_bytes() == b'before'


def test_what_the_network_and_its_file_say_is_compared(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A runtime that gives something else is found out."""
    opened = check.open_session
    monkeypatch.setattr(check, 'open_session', lambda path, python: lambda *x: [1.01 * one for one in opened(path)(*x)])
    with pytest.raises(TooFarOff, match='1.0e-02'):
        zoo.export_model(network(), tmp_path / 'file.pt2')
    assert not [*tmp_path.iterdir()]


@pytest.mark.parametrize('options, message', [
    (dict(format='onxx'), "Did you mean 'onnx'"), (dict(dynamic=['hight']), "Did you mean 'height'"),
    (dict(what='logit'), "Did you mean 'logits'"), (dict(precision='int8'), 'go together'),
    (dict(precision='int4'), "Did you mean 'int8'"), (dict(calibration='folder'), 'go together'),
    (dict(input='uint16'), "Did you mean 'uint8'"),
    (dict(preprocess=True, what='features'), 'for a network that classifies'),
    (dict(check='nowhere'), 'There is no folder'), (dict(format='openvino'), 'end in .xml')])
def test_what_cannot_be_had_is_said(options: dict[str, Any], message: str, tmp_path: Path) -> None:
    with pytest.raises((ValueError, OSError), match=message):
        zoo.export_model(network(), tmp_path / 'file.onnx', **options)
    assert not [*tmp_path.iterdir()]


def test_what_is_no_exported_file_is_said(tmp_path: Path) -> None:
    for name, message in (('file.onnx', 'cannot be read'), ('file.pth', 'Suffix of an exported file')):
        (tmp_path / name).write_bytes(b'nothing')
        with pytest.raises(ValueError, match=message):
            zoo.load_exported(tmp_path / name)
    with pytest.raises(FileNotFoundError):
        zoo.load_exported(tmp_path / 'other.onnx')
    program = torch.export.export(nn.Linear(2, 2), (torch.rand(1, 2),))
    torch.export.save(program, tmp_path / 'file.pt2')
    with pytest.raises(ValueError, match='zoo export did not write it'):
        zoo.load_exported(tmp_path / 'file.pt2')


def test_without_photographs_it_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(check, 'photographs_folder', lambda: tmp_path / 'none')
    outcome = zoo.export_model(network(), tmp_path / 'file.pt2')
    assert not outcome.photographs and 'images of noise' in str(outcome)


@pytest.mark.sweep
def test_the_commands(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / 'file.pt2'
    options = ['export', 'lcnet_035', '--no-pretrained', '--img-size', '64', '-o', str(path)]
    assert main([*options, '--dynamic', 'batch']) == 0
    assert '5 photographs' in capsys.readouterr().out
    assert main(['predict', str(PHOTOS / 'cat.jpg'), '--json', '--topk', '1', '--model', str(path)]) == 0
    assert json.loads(capsys.readouterr().out)['predictions'][0]['class'] in zoo.data.imagenet_labels()
    table = tmp_path / 'speed.csv'
    main(['benchmark', str(path), '--measure', 'latency', '--repeats', '2', '--keep-noisy', '--results-file',
          str(table)])
    (row,) = zoo.tables.read(table)
    assert (row['file'], row['format'], row['precision'], row['img_size']) == (str(path), 'torch-export', 'fp32', 64)
    assert main([*options, '--limit', '-1', '--preprocess']) == 1
    assert path.exists() and 'not kept' in capsys.readouterr().err
    assert main([*options, '--environment', 'here']) == 2
    assert main(['benchmark', str(path), '--compile']) == 2 and 'leave --compile out' in capsys.readouterr().err


@pytest.mark.sweep
def test_the_command_leaves_height_and_width_of_a_vision_transformer_open(tmp_path: Path) -> None:
    path = tmp_path / 'file.onnx'
    assert main(['export', 'vit_tiny_patch16_224', '--no-pretrained', '--model-kwargs', 'depth=1', 'embed_dim=48',
                 '--dynamic', 'height,width', '-o', str(path)]) == 0
    again = zoo.load_exported(path)
    assert all(again(images(1, 3, *size)).shape == (1, 1000) for size in ((224, 224), (101, 330)))


@pytest.mark.sweep
@pytest.mark.parametrize('preprocess', [False, True])
def test_files_are_validated_like_any_network(preprocess: bool, tmp_path: Path,
                                               capsys: pytest.CaptureFixture[str]) -> None:
    random = np.random.default_rng(0)
    for name, count in (('n01440764', 3), ('n01443537', 2)):
        (tmp_path / 'data' / name).mkdir(parents=True)
        for i in range(count):
            pixels = random.integers(0, 256, (70 + 10 * i, 90, 3), np.uint8)
            Image.fromarray(pixels).save(tmp_path / 'data' / name / f'{i}.png')
    model = randomize(zoo.create_model('lcnet_035', pretrained_cfg_overlay=dict(input_size=(3, 64, 64))))
    weights = tmp_path / 'weights.pth'
    torch.save(model.state_dict(), weights)
    zoo.export_model(model, tmp_path / 'file.pt2', preprocess=preprocess)
    table, data = tmp_path / 'results.csv', str(tmp_path / 'data')
    assert main(['validate', data, '--model', str(tmp_path / 'file.pt2'), '--results-file', str(table), '-j', '0']) == 0
    assert main(['validate', data, '--model', 'lcnet_035', '--checkpoint', str(weights), '--img-size', '64',
                 '--results-file', str(table), '-j', '0']) == 0
    theirs, ours = zoo.tables.read(table)
    assert (theirs['format'], theirs['precision'], theirs['samples']) == ('torch-export', 'fp32', 5)
    assert theirs['file'] == str(tmp_path / 'file.pt2') and '--pretrained' not in theirs['command']
    assert theirs['top5'] == ours['top5'] and theirs['param_count'] == ours['param_count']
    assert main(['validate', data, '--model', str(tmp_path / 'file.pt2'), '--amp']) == 2
    assert 'leave --amp out' in capsys.readouterr().err


def test_doctor_names_what_is_missing(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    assert main(['doctor', '--json']) == 0
    assert {*json.loads(capsys.readouterr().out)['export']} == {*FORMATS}
    found = __import__('importlib.util').util.find_spec
    monkeypatch.setattr('importlib.util.find_spec', lambda name, *_: None if name == 'nncf' else found(name))
    assert main(['doctor']) == 0
    text = capsys.readouterr().out
    assert 'int8: pip install nncf' in text and all(name in text for name in FORMATS)


def test_environments_are_looked_at_before_they_are_used(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match='There is no environment'):
        environment_python('litert', tmp_path)
    python = tmp_path / 'bin' / 'python'
    python.parent.mkdir()
    python.write_text('#!/bin/sh\nexit 1\n')
    python.chmod(0o755)
    with pytest.raises(ImportError, match='pip install litert-torch'):
        environment_python('litert', tmp_path)
    assert find_python('litert', tmp_path) is None


@pytest.mark.sweep
@pytest.mark.parametrize('format', ['onnx', 'openvino'])
@pytest.mark.parametrize('make, options', [(dense.create_segmenter, dict(head='fpn')), (dense.create_detector, dict(
    head='fcos', min_size=96, max_size=128, pyramid_channels=64, score_thresh=0.0))])
def test_detectors_and_segmenters(make: Any, options: dict[str, Any], format: str, tmp_path: Path,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    checkpoint, path = tmp_path / 'cells.safetensors', tmp_path / 'out' / f'cells{FORMATS[format].suffix}'
    torch.manual_seed(0)
    dense.save(randomize(make('lcnet_035', classes=['a', 'b'], **options)), checkpoint)
    options = ['export', '--checkpoint', str(checkpoint), '-o', str(path), '--img-size', '96', '128']
    assert main([*options, '--limit', '-1']) == 1 and not [*path.parent.iterdir()]
    assert main(options) == 0 and '5 photographs' in capsys.readouterr().out
    about = json.loads(open_session(path).metadata['zoo'])
    assert about['format'] == format and about['labels'] == ['a', 'b'] and about['architecture'] == 'lcnet_035'
    assert main([*options[:4], str(path.with_suffix('.pt2'))]) == 2 and 'onnx, openvino' in capsys.readouterr().err
    assert main([*options, '--preprocess']) == 2 and 'leave --preprocess out' in capsys.readouterr().err


@pytest.mark.sweep
@pytest.mark.parametrize('format, name, input', [
    ('litert', 'efficientformer_l1', 'float32'), ('litert', 'efficientformer_l1', 'uint8'),
    ('executorch', 'lcnet_035', 'float32')])
def test_converters_of_their_own(format: str, name: str, input: str, tmp_path: Path) -> None:
    environment = os.environ.get(f'ZOO_{format.upper()}')
    if find_python(format, environment) is None:
        pytest.skip(f'ZOO_{format.upper()} names no environment with the converter')
    model, path = network(name), file_of(tmp_path, format)
    outcome = zoo.export_model(model, path, environment=environment, input=input)
    assert outcome.difference is not None and outcome.images == 5
    again = zoo.load_exported(path)
    assert again.labels == model.labels and again.format == format
    if input == 'float32':
        with torch.no_grad():
            assert relative_error(again(images(2, 3, 64, 64)), model(images(2, 3, 64, 64))) < 1e-4


@pytest.mark.sweep
def test_a_file_may_run_in_another_interpreter(tmp_path: Path) -> None:
    model, path = network('lcnet_035'), tmp_path / 'maps.pte'
    zoo.export_model(model, path, what='features')
    x = images(1, 3, 64, 64)
    here, there = PortableSession(path), PortableSession(path, python=Path(sys.executable))
    for _ in range(2):
        assert all(map(torch.equal, here(x), there(x)))
    assert len(here(x)) == len(here.outputs) == 5
    with pytest.raises(ValueError, match='does not take these images'):
        there(images(1, 3, 32, 32))
    path.write_bytes(b'not a program')
    for python in (None, Path(sys.executable)):
        with pytest.raises(ValueError):
            open_session(path, python=python)


@pytest.mark.sweep
@pytest.mark.parametrize('precision', ['fp32', 'fp16'])
def test_core_ml(precision: str, tmp_path: Path) -> None:
    import coremltools
    model, path = network('lcnet_035'), tmp_path / 'file.mlpackage'
    path.mkdir()                                                    # one that was there before
    (path / 'old').touch()
    outcome = zoo.export_model(model, path, precision=precision)
    assert [one.name for one in tmp_path.iterdir()] == ['file.mlpackage'] and not (path / 'old').exists()
    spec = coremltools.utils.load_spec(str(path))
    assert [one.name for one in spec.description.output] == ['logits']
    about = json.loads(spec.description.metadata.userDefined['zoo'])
    assert about['architecture'] == 'lcnet_035' and about['precision'] == precision
    if sys.platform == 'darwin':
        assert zoo.load_exported(path)(images(1, 3, 64, 64)).shape == (1, 5)
    else:
        assert outcome.difference is None and 'NOT compared' in str(outcome)
        with pytest.raises(ValueError, match='Core ML runs on macOS alone'):
            zoo.load_exported(path)
