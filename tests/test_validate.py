"""`zoo validate`: options, rows, lists that are taken up again, errors. Images and tables come through stand-ins."""
from __future__ import annotations

import argparse
import csv
import json
import os
import signal
from pathlib import Path

import pytest
import torch
from PIL import Image
from test_evaluation import Source, jpeg
from torch import nn

import zoo
from zoo.cli import main

MODEL = 'tf_efficientnet_lite0.in1k'
SMALL = ['--img-size', '64', '-j', '0', '--device', 'cpu']


@pytest.fixture(autouse=True)
def source(monkeypatch: pytest.MonkeyPatch) -> Source:
    """Twelve pictures, whatever data set is asked for."""
    images = Source([jpeg(70, 80, seed=i) for i in range(12)], [i * 50 for i in range(12)])
    images.num_classes = 1000

    def read(args: argparse.Namespace, spec: str, model: nn.Module) -> Source:
        images.description = f'{spec} {args.split}' if args.split else spec
        return images

    monkeypatch.setattr('zoo.cli.validate._source', read)
    return images


def table(path: Path) -> list[dict[str, str]]:
    with open(path, newline='') as file:
        return list(csv.DictReader(file))


@pytest.fixture
def checkpoint(tmp_path: Path) -> list[str]:
    """Options for weights that always answer class 50."""
    model = zoo.create_model('mobilenetv2_035')
    with torch.no_grad():
        model.get_classifier().weight.zero_()
        model.get_classifier().bias.zero_()[50] = 1
    torch.save(model.state_dict(), tmp_path / 'mine.pth')
    return ['--model', 'mobilenetv2_035', '--checkpoint', str(tmp_path / 'mine.pth')]


def test_the_screen_and_the_row(checkpoint: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / 'results' / 'mine.csv'
    path.parent.mkdir()
    assert main(['validate', 'photos', *checkpoint, *SMALL, '--crop-pct', '0.9', '-b', '5',
                 '--results-file', str(path)]) == 0
    out, err = capsys.readouterr()
    head, line = out.splitlines()
    assert head.split()[:5] == ['model', 'top1', 'top5', 'ece', 'class_mean'] and line.split()[:2] == [
        'mobilenetv2_035', '8.333']
    assert '12 images in' in err and 'decoder pillow' in err and err.count('\n') == 1      # no bar: it is no terminal
    (row,) = table(path)
    assert float(row['top1']) == pytest.approx(100 / 12, abs=1e-3)
    assert (row['samples'], row['unreadable'], row['img_size'], row['crop_pct']) == ('12', '0', '64', '0.9')
    assert (row['data'], row['data_digest'], row['precision']) == ('photos', '12 images', 'float32')
    assert sorted(row['command'].split()) == sorted(
        'zoo validate photos --model mobilenetv2_035 --workers 0 --img-size 64 --crop-pct 0.9 --batch-size 5 --device '
        f'cpu --checkpoint {checkpoint[-1]}'.split())
    assert float(row['param_count']) == pytest.approx(1.68, abs=0.01)


def test_a_rows_command_measures_the_same_again(checkpoint: list[str], tmp_path: Path) -> None:
    path = tmp_path / 'a.csv'
    arguments = ['validate', '--data-dir', 'photos', *checkpoint, *SMALL, '--no-fold', '--mean', '0.5', '--std', '.5',
                 '.4', '.3', '--interpolation', 'bilinear', '--results-file', str(path)]
    assert main(arguments) == 0
    first = table(path)[0]
    assert main([*first['command'].split()[1:], '--results-file', str(path)]) == 0
    first, second = table(path)
    assert first['command'] == second['command']
    changing = {'images_per_second', 'date'}
    assert all(first[key] == second[key] for key in first if key not in changing)


def test_json_on_the_screen_and_in_a_file(checkpoint: list[str], tmp_path: Path, source: Source,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    source.images[2] = b'broken'
    arguments = ['validate', 'photos', *checkpoint, *SMALL, '--max-unreadable', '1', '--decoder-effect', '4']
    assert main([*arguments, '--results-format', 'json']) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found['samples'] == 11 and found['unreadable'] == 1
    assert found['unreadable_images'][0][0] == 'image2'
    assert found['per_class']['50'] == 100 and found['per_class']['0'] == 0
    assert [50, 50, 1] in found['confusion'] and [0, 50, 1] in found['confusion']
    assert found['decoder_effect']['images'] == 4
    for _ in range(2):
        assert main([*arguments, '--results-file', str(tmp_path / 'found.json')]) == 0
    assert [row['samples'] for row in json.loads((tmp_path / 'found.json').read_text())] == [11, 11]


@pytest.mark.parametrize('name', ['a.csv', 'a.json'])
def test_a_model_of_a_list_that_fails_leaves_the_others(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                        capsys: pytest.CaptureFixture[str]) -> None:
    fake_weights(monkeypatch, [], 'mobilenetv3_small_075')
    (tmp_path / 'list.txt').write_text('mobilenetv3_small_050.lamb_in1k\n# a remark\nmobilenetv3_small_075.lamb_in1k\n')
    arguments = ['validate', 'photos', '--model', str(tmp_path / 'list.txt'), *SMALL, '--results-file',
                 str(tmp_path / name)]
    assert main(arguments) == 1
    assert 'mobilenetv3_small_050.lamb_in1k: weights of' in capsys.readouterr().err
    rows = json.loads((tmp_path / name).read_text()) if name == 'a.json' else table(tmp_path / name)
    assert [row['model'] for row in rows] == ['mobilenetv3_small_075']


def fake_weights(monkeypatch: pytest.MonkeyPatch, measured: list[str], *have: str) -> None:
    """`create_model` with fresh weights in place of published ones, of the architectures that `have` them."""
    create = zoo.create_model

    def create_model(name: str, pretrained: bool = False, **options: object) -> torch.nn.Module:
        model = create(name, **options)
        if not next(model.parameters()).is_meta:
            if name.partition('.')[0] not in have:
                raise FileNotFoundError(f'weights of {name}')
            measured.append(name)
        return model

    monkeypatch.setattr(zoo, 'create_model', create_model)


@pytest.mark.parametrize('name', ['a.csv', 'a.json'])
def test_rows_of_a_pattern_are_measured_once(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    measured = []
    fake_weights(monkeypatch, measured, 'mobilenetv3_small_050', 'mobilenetv3_small_075')
    first = ['validate', 'photos', *SMALL, '--results-file', str(tmp_path / name)]
    pattern = [*first, '--model', 'mobilenetv3_small_0[57]*']
    assert main([*first, '--pretrained', '--model', 'mobilenetv3_small_050.lamb_in1k']) == 0
    assert main(pattern) == 0
    assert 'mobilenetv3_small_050.lamb_in1k: already in' in capsys.readouterr().err
    assert measured == ['mobilenetv3_small_050.lamb_in1k', 'mobilenetv3_small_075.lamb_in1k']
    assert main(pattern) == 0 and len(measured) == 2
    assert main([*pattern, '--crop-pct', '1']) == 0 and len(measured) == 4      # other settings are another row


@pytest.mark.parametrize('arguments, words', [
    (['x', '--model', MODEL], '--pretrained or --checkpoint'),
    (['x', '--model', MODEL, '--pretrained', '--checkpoint', 'a.pth'], 'give one'),
    (['x', '--model', 'nothing_like*'], 'pattern'),
    (['x', '--model', 'mobilenetv3_small*', '--checkpoint', 'a.pth'], 'one model'),
    (['--model', MODEL, '--pretrained'], 'Name the images once'),
    (['x', '--dataset', 'y', '--model', MODEL, '--pretrained'], "'x' and 'y'"),
    (['x', '--model', 'tf_efficientnet_lite00', '--pretrained'], 'tf_efficientnet_lite0'),
    (['x', '--model', MODEL, '--pretrained', '--model-kwargs', 'drop_rate'], 'KEY=VALUE'),
    (['x', '--model', MODEL, '--pretrained', '--model-kwargs', 'drop_rat=0.1'], 'drop_rate'),
    (['x', '--model', MODEL, '--pretrained', '--valid-labels', 'imagenet-x', '-j', '0'], 'imagenet-a'),
    (['x', '--model', MODEL, '--pretrained', '--real-labels', 'none.json', '-j', '0'], 'none.json'),
    (['x', '--model', MODEL, '--pretrained', '--amp-dtype', 'float16'], '--amp-dtype says which of --amp'),
    (['x', '--model', 'mine/list.txt'], "no file 'mine/list.txt' with names of models"),
    (['x', '--model', 'list.txt', '--pretrained'], "no file 'list.txt' with names of models"),
    (['x', '--model', MODEL, '--pretrained', '--decoder', 'fast', '--interpolation', 'lanczos', '-j', '0'], 'lanczos'),
])
def test_errors_are_one_line(arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['validate', *arguments, '--device', 'cpu']) == 2
    out, err = capsys.readouterr()
    assert not out and words in err and err.count('\n') == 1, err


def test_unreadable_images_fail_the_run(checkpoint: list[str], source: Source,
                                        capsys: pytest.CaptureFixture[str]) -> None:
    source.images[2] = b'broken'
    assert main(['validate', 'photos', *checkpoint, *SMALL]) == 2
    assert 'image2' in capsys.readouterr().err


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_the_measurement(number: int, checkpoint: list[str], source: Source, tmp_path: Path,
                                       monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def encoded(index: int) -> bytes:
        if index == 5:
            os.kill(os.getpid(), number)
        return source.images[index]

    monkeypatch.setattr(source, 'encoded', encoded)
    assert main(['validate', 'photos', *checkpoint, *SMALL, '-b', '2', '--results-file', str(tmp_path / 'a.csv')]
                ) == 128 + number
    assert 'stopped, and not measured' in capsys.readouterr().err and not (tmp_path / 'a.csv').exists()


def test_valid_labels_and_model_options_reach_the_figures(checkpoint: list[str], source: Source, tmp_path: Path,
                                                          capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / 'valid.txt').write_text('\n'.join(str(i * 50) for i in range(12) if i != 1))
    source.images, source.targets = source.images[2:], source.targets[2:]
    assert main(['validate', 'photos', *checkpoint, *SMALL, '--valid-labels', str(tmp_path / 'valid.txt'),
                 '--model-kwargs', 'drop_rate=0.5', '--amp', '--results-format', 'json']) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert all(answer != 50 for _, answer, _ in found['confusion']) and found['precision'] == 'amp bfloat16'
    assert set(json.loads(found['options'])) == {'valid_labels', 'model_kwargs'}


def test_networks_of_a_fixed_size_are_fitted_to_the_size_asked_for(monkeypatch: pytest.MonkeyPatch,
                                                                   capsys: pytest.CaptureFixture[str]) -> None:
    fake_weights(monkeypatch, [], 'efficientformer_l1')
    assert main(['validate', 'photos', '--model', 'efficientformer_l1', '--pretrained', '--img-size', '128', '-j', '0',
                 '--device', 'cpu', '--results-format', 'json']) == 0
    assert json.loads(capsys.readouterr().out)[0]['img_size'] == 128


@pytest.mark.parametrize('options', [['--in-chans', '1'], ['--in-chans', '4'], ['--input-size', '1', '64', '48'],
                                     ['--input-size', '2', '64', '64', '--in-chans', '2']], ids=' '.join)
def test_images_of_other_channels(options: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                  capsys: pytest.CaptureFixture[str]) -> None:
    fake_weights(monkeypatch, [], 'mobilenetv3_small_050')
    arguments = ['validate', 'photos', '--model', 'mobilenetv3_small_050', '--pretrained', *SMALL, *options,
                 '--results-file', str(tmp_path / 'a.csv')]
    assert main(arguments) == 0, capsys.readouterr().err
    (row,) = table(tmp_path / 'a.csv')
    assert row['samples'] == '12' and 'in_chans' in row['options']


def test_channels_are_said_once(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fake_weights(monkeypatch, [], 'mobilenetv3_small_050')
    assert main(['validate', 'photos', '--model', 'mobilenetv3_small_050', '--pretrained', '--in-chans', '4',
                 '--input-size', '1', '64', '64', '-j', '0', '--device', 'cpu']) == 2
    assert 'the network takes images of 4 channels' in capsys.readouterr().err


def test_exif_is_applied_on_request_and_noted(checkpoint: list[str], source: Source, tmp_path: Path,
                                              capsys: pytest.CaptureFixture[str]) -> None:
    tags = Image.Exif()
    tags[0x0112] = 6
    source.images = [jpeg(90, 70, seed=i, exif=tags) for i in range(12)]
    path = tmp_path / 'a.csv'
    assert main(['validate', 'photos', *checkpoint, *SMALL, '--results-file', str(path)]) == 0
    assert main(['validate', 'photos', *checkpoint, *SMALL, '--exif', '--results-file', str(path)]) == 0
    stored, turned = table(path)
    assert not stored['options'] and json.loads(turned['options']) == {'exif': True} and '--exif' in turned['command']
