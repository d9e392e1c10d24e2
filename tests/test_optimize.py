"""A network in the backends of `zoo.optimize`: the same outputs, the network's own description, refusals."""
from __future__ import annotations

import json
import subprocess
import sys

import pytest
import torch
from conftest import relative_error
from PIL import Image

import zoo
from zoo.cli import main
from zoo.cli.images import OPTIMIZED
from zoo.optimizing import BACKENDS, PRECISIONS, Report

NAME = 'mobilenetv3_small_050'
ASKED = [(name, precision) for name, cls in BACKENDS.items() for precision in cls.precisions]


def network(name: str = NAME, **options) -> torch.nn.Module:
    torch.manual_seed(0)
    model = zoo.create_model(name, **options).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean, -0.1, 0.1)
            torch.nn.init.uniform_(module.running_var, 0.5, 1.5)
    return model


def ready(backend: str) -> None:
    for package in BACKENDS[backend].packages:
        pytest.importorskip(package)


@pytest.mark.parametrize('backend, precision', [
    asked if asked in (('eager', 'fp32'), ('onnxruntime', 'fp32')) else
    pytest.param(*asked, marks=pytest.mark.slow) for asked in ASKED])
def test_outputs_are_the_networks_whatever_comes(backend, precision, tmp_path):
    ready(backend)
    if precision == 'int8':
        pytest.importorskip('nncf')
    model, images = network(num_classes=7), torch.rand(1, 3, 64, 64)
    calibration = [torch.rand(4, 3, 64, 64) for _ in range(3)] if precision == 'int8' else None
    limit = {'fp32': 1e-4, 'fp16': 1e-2, 'bf16': 5e-2, 'int8': 0.3}[precision]
    fast = zoo.optimize(model, images, precision=precision, backend=backend, calibration=calibration)
    assert fast.report.chosen.startswith(backend) and fast.report.chosen.endswith(precision)
    assert fast.report.chosen in str(fast.report) and fast.report.speedup > 0
    fast.save(tmp_path / 'saved')
    again = zoo.load_optimized(tmp_path / 'saved')
    assert again.report == fast.report
    if backend in ('onnxruntime', 'openvino'):
        with pytest.raises(RuntimeError, match="'eager'"):
            fast.forward_features(images)
    for shape in ((1, 3, 64, 64), (3, 3, 64, 64), (2, 3, 75, 90)):
        images = torch.rand(shape)
        with torch.no_grad():
            expected = model(images)
        assert relative_error(fast(images), expected) < limit
        assert relative_error(again(images), fast(images)) < 0.1 * limit            # it may be compiled in another way
        assert fast(images).dtype == torch.float32
    for one in (fast, again):
        assert zoo.data.resolve_model_data_config(one) == zoo.data.resolve_model_data_config(model)
        assert (one.labels, one.num_classes, one.in_chans) == (model.labels, 7, 3)
        assert not list(one.parameters())


@pytest.mark.slow
@pytest.mark.parametrize('backend', [name for name in BACKENDS if name != 'inductor'])
def test_backbones_and_embedders(backend):
    ready(backend)
    images = torch.rand(2, 3, 64, 64)
    for model in (network(features_only=True, out_indices=(1, 3)), network(num_classes=0)):
        fast = zoo.optimize(model, images, backend=backend)
        with torch.no_grad():
            expected = model(images)
        assert type(fast(images)) is type(expected)
        for got, want in zip(*([f] if isinstance(f, torch.Tensor) else f for f in (fast(images), expected)), strict=True):
            assert relative_error(got, want) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize('backend', ['eager', *(pytest.param(name, marks=pytest.mark.slow) for name in ('onnxruntime', 'openvino'))])
def test_a_network_of_one_size_says_which(backend):
    ready(backend)
    model = network('vit_tiny_patch16_224', img_size=64, depth=1)
    fast = zoo.optimize(model, torch.rand(1, 3, 64, 64), backend=backend)
    assert relative_error(fast(images := torch.rand(3, 3, 64, 64)), model(images).detach()) < 1e-4
    with pytest.raises((ValueError, RuntimeError), match='64'):
        fast(torch.rand(1, 3, 96, 96))


@pytest.mark.slow
def test_the_fastest_of_what_agrees_is_kept():
    model, images = network(), torch.rand(1, 3, 64, 64)
    fast = zoo.optimize(model, images, backend='eager')
    times = {trial.name: trial.milliseconds for trial in fast.report.trials if not trial.problem}
    assert set(times) == {'eager channels_last fp32', 'eager contiguous fp32'}
    assert fast.report.chosen == min(times, key=times.get)
    assert Report.from_dict(fast.report.to_dict()) == fast.report
    with pytest.raises(ValueError, match=r'outputs differ by .*, more than 1e-09'):
        zoo.optimize(model, images, backend='eager', precision='bf16', tolerance=1e-9)


def test_parts_of_the_network_run_where_the_backend_has_them():
    model, images = network(), torch.rand(2, 3, 64, 64)
    fast = zoo.optimize(model, images, backend='eager')
    features = fast.forward_features(images)
    with torch.no_grad():
        assert relative_error(features, model.forward_features(images)) < 1e-5
        assert relative_error(fast.forward_head(features), model(images)) < 1e-5


@pytest.mark.slow
def test_the_network_is_left_as_it_is():
    model, images = network().train(), torch.rand(1, 3, 64, 64)
    before = {key: value.clone() for key, value in model.state_dict().items()}
    zoo.optimize(model, images, backend='eager')
    assert model.training and all(p.requires_grad for p in model.parameters())
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def test_commands_have_every_precision():
    assert {*OPTIMIZED} == {*PRECISIONS, 'auto'}


def test_refusals(tmp_path):
    model, images = network(), torch.rand(1, 3, 64, 64)
    for options, error, words in [
            (dict(backend='onnx'), ValueError, "'onnxruntime'"), (dict(precision='fp8'), ValueError, "'fp16'"),
            (dict(precision='int8'), ValueError, 'calibration'),
            (dict(precision='int8', backend='eager', calibration=[images]), ValueError, 'fp32 and bf16 and fp16'),
            (dict(precision='int8', calibration=[]), ValueError, 'no images'),
            (dict(precision='int8', calibration=str(tmp_path / 'none')), FileNotFoundError, 'none')]:
        with pytest.raises(error, match=words):
            zoo.optimize(model, images, **options)
    for example in (torch.rand(3, 64, 64), torch.zeros(1, 3, 64, 64, dtype=torch.uint8)):
        with pytest.raises(ValueError, match='prepared images'):
            zoo.optimize(model, example)
    fast = zoo.optimize(model, images, backend='eager')
    with pytest.raises(ValueError, match='frozen'):
        fast.train()
    (tmp_path / 'full').mkdir()
    (tmp_path / 'full' / 'file').touch()
    with pytest.raises(FileExistsError, match='full'):
        fast.save(tmp_path / 'full')
    with pytest.raises(FileNotFoundError, match='plan.json'):
        zoo.load_optimized(tmp_path / 'full')


def test_what_is_not_installed_is_named(monkeypatch):
    monkeypatch.setattr('zoo.optimizing.backends.missing', lambda cls: ['openvino'] if cls.name == 'openvino' else [])
    with pytest.raises(ImportError, match=r"openvino.*pip install 'zoo-image-models\[fast\]'"):
        zoo.optimize(network(), torch.rand(1, 3, 64, 64), backend='openvino')


@pytest.fixture
def eager_alone(monkeypatch):
    """As if nothing else were installed, so that commands are soon done."""
    monkeypatch.setattr('zoo.optimizing.choice.installed', lambda: ['eager'])


@pytest.mark.slow
def test_commands_run_the_optimized_network(eager_alone, tmp_path, capsys):
    for number in range(3):
        folder = tmp_path / 'data' / f'class{number}'
        folder.mkdir(parents=True)
        Image.new('RGB', (80, 70), (80 * number, 40, 200 - 60 * number)).save(folder / 'one.png')
    torch.save(network(num_classes=3).state_dict(), tmp_path / 'weights.pth')
    made_of = ['--checkpoint', str(tmp_path / 'weights.pth'), '--num-classes', '3', '--model', NAME]
    answers = []
    for more in ([], ['--optimize']):
        assert main(['predict', str(tmp_path / 'data'), *made_of, '--json', *more]) == 0
        out, err = capsys.readouterr()
        answers.append([json.loads(line)['predictions'] for line in out.splitlines()])
        assert ('eager' in err and 'times as fast' in err) == bool(more)
    for plain, fast in zip(*answers, strict=True):
        assert [one['index'] for one in plain] == [one['index'] for one in fast]
        assert [one['probability'] for one in fast] == pytest.approx([one['probability'] for one in plain], abs=1e-4)
    tables = []
    for more in ([], ['--optimize', 'fp32']):
        assert main(['validate', str(tmp_path / 'data'), *made_of, '--img-size', '64', '--workers', '0',
                     '--class-map', 'sorted', '--results-format', 'json', *more]) == 0
        tables.append(json.loads(capsys.readouterr().out)[0])
    assert tables[0]['top1'] == tables[1]['top1'] and '"optimize": "fp32"' in tables[1]['options']


@pytest.mark.slow
def test_the_benchmark_says_what_ran(eager_alone, capsys):
    assert main(['benchmark', NAME, '--img-size', '64', '--optimize', '--json', '--keep-noisy']) == 0
    row = json.loads(capsys.readouterr().out)
    assert row['backend'].startswith('eager') and row['precision'] == 'fp32' and row['latency_ms'] > 0


@pytest.mark.parametrize('words, complaint', [
    (['predict', 'README.md', '--calibration', 'x'], '--optimize int8'),
    (['benchmark', NAME, '--optimize', '--compile'], '--compile'),
    (['benchmark', NAME, '--optimize', '--measure', 'memory'], '--measure memory'),
    (['benchmark', NAME, '--calibration', 'x'], '--optimize int8'),
    (['validate', 'x', '-m', NAME, '--pretrained', '--optimize', '--amp'], '--amp'),
    (['validate', 'x', '-m', NAME, '--pretrained', '--optimize', '--no-fold'], '--fold'),
    (['export', NAME, '--format', 'onnx', '--num-classes', '5'], '--checkpoint'),
    (['predict', 'README.md', '--model', 'x.onnx', '--device', 'meta'], '--device')])
def test_commands_refuse_what_does_not_go_with_it(words, complaint, capsys):
    assert main(words) == 2
    assert complaint in capsys.readouterr().err


SIGNALS = """
import faulthandler, signal, subprocess, sys, threading
import numpy as np
import openvino
from zoo.runtime.sessions import OpenVinoSession
faulthandler.enable()                                   # signals have a stack of their own from here on
signal.signal(signal.SIGCHLD, lambda *_: print('heard'))
images = openvino.opset8.parameter([1, 3, 4, 4], np.float32)
sessions = [OpenVinoSession(openvino.Model([openvino.opset8.relu(images)], [images]))]
thread = threading.Thread(target=sessions.clear)
thread.start(), thread.join()
subprocess.run([sys.executable, '-c', ''])
"""


def test_a_session_that_ends_in_another_thread_leaves_signals_as_they_are():
    pytest.importorskip('openvino')
    done = subprocess.run([sys.executable, '-c', SIGNALS], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, 'heard\n'), done.stderr
