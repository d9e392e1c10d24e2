"""`zoo benchmark`: what is measured and written. What a measurement says is not looked at, only that it is one."""
from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from zoo import benchmarking, tables
from zoo.benchmarking import Setup, Timing
from zoo.benchmarking.networks import IN_TORCHVISION
from zoo.cli import benchmark as command
from zoo.cli import main

SMALL = Setup('zoo', 'test_efficientnet', 32, 2)


def test_runs_take_turns(monkeypatch: pytest.MonkeyPatch) -> None:
    order: list[str] = []
    clock = iter(range(100))
    monkeypatch.setattr(benchmarking.timing.time, 'perf_counter', lambda: next(clock))
    timings = benchmarking.in_turn([lambda: order.append('a'), lambda: order.append('b')], warmup=1, repeats=3)
    assert ''.join(order) == 'ab' + 'ab' + 'ba' + 'ab'
    assert timings == [Timing((1, 1, 1))] * 2
    with pytest.raises(ValueError, match='at least 1 repetition'):
        benchmarking.in_turn([], repeats=0)


def test_median_and_spread() -> None:
    timing = Timing(tuple(float(i) for i in [5, 1, 4, 2, 3, 0, 10, 9, 8, 7, 6]))
    assert (timing.p10, timing.median, timing.p90) == (1.0, 5.0, 9.0)
    assert Timing((1.0, 2.0)).p90 == pytest.approx(1.9) and Timing((3.0,)).p10 == 3.0
    assert benchmarking.ratio(Timing((1.0, 10.0, 2.0)), Timing((2.0, 20.0, 100.0))) == 2.0      # round by round


def test_inference_is_the_network_in_evaluation_mode() -> None:
    model = zoo.create_model('test_efficientnet')
    torch.manual_seed(0)
    logits = benchmarking.inference(SMALL, model)()
    torch.manual_seed(0)
    with torch.no_grad():
        assert torch.equal(logits, model.eval()(torch.randn(2, 3, 32, 32)))


@pytest.mark.parametrize('precision', ['fp32', 'bf16'])
def test_a_training_step_trains(precision: str) -> None:
    setup = Setup('zoo', 'test_efficientnet', 32, 4, precision=precision)
    model = zoo.create_model('test_efficientnet')
    before = {name: p.clone() for name, p in model.named_parameters()}
    loss = benchmarking.training(setup, model)()
    assert loss.isfinite() and loss.dtype == torch.float32
    assert all(not torch.equal(p, before[name]) for name, p in model.named_parameters() if 'classifier' in name)


def test_precision_and_layout_reach_the_network() -> None:
    setup = Setup('zoo', 'test_efficientnet', 32, 2, precision='bf16', channels_last=True)
    assert benchmarking.inference(setup)().dtype == torch.bfloat16
    assert setup.images().is_contiguous(memory_format=torch.channels_last)
    assert benchmarking.build(setup).conv_stem.weight.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize('library', ['zoo', 'timm', 'torchvision'])
def test_loading_reads_the_file(library: str, tmp_path: Path) -> None:
    pytest.importorskip(library)
    run = benchmarking.loading(Setup(library, 'mnasnet_050', 64, 1), tmp_path)
    first, second = run().state_dict(), run().state_dict()
    assert all(torch.equal(first[key], second[key]) for key in first)                # random ones would differ
    file, = tmp_path.iterdir()
    file.unlink()
    with pytest.raises(OSError):
        run()


def test_the_same_network_in_torchvision() -> None:
    for name in IN_TORCHVISION:
        benchmarking.same_network(name, 'torchvision')
    with pytest.raises(ValueError, match="Did you mean 'mnasnet_"):
        benchmarking.same_network('mnasnet_small', 'torchvision')


def test_another_network_of_that_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(IN_TORCHVISION, 'mnasnet_small', 'mnasnet0_5')
    with pytest.raises(ValueError, match='another network'):
        benchmarking.same_network('mnasnet_small', 'torchvision')


def test_more_images_take_more_memory() -> None:
    least, most = (benchmarking.peak_memory(Setup('zoo', 'test_efficientnet', 224, batch)) for batch in (1, 128))
    images = 127 * 3 * 224 * 224 * 4 / 2 ** 20
    assert most - least > images


def test_rows_of_a_benchmark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('timm')
    path = tmp_path / 'speed.csv'
    arguments = ['benchmark', 'test_efficientnet', '--batch-size', '1', '2', '--img-size', '64', '--device', 'cpu',
                 '--measure', 'latency', 'train', 'load', '--warmup', '0', '--repeats', '2', '--against', 'timm',
                 '--results-file', str(path)]
    assert main([*arguments, '--json']) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    rows = tables.read(path)
    assert [{k: v for k, v in row.items() if v != ''} for row in printed] == rows
    assert [(row['library'], row['batch_size']) for row in rows] == [('zoo', 1), ('timm', 1), ('zoo', 2), ('timm', 2)]
    for row in rows:
        for measure in ('latency', 'train', 'load'):
            assert 0 < row[f'{measure}_ms_p10'] <= row[f'{measure}_ms'] <= row[f'{measure}_ms_p90']
            assert (f'{measure}_ratio' in row) == (row['library'] == 'zoo')
        assert row['img_per_sec'] == pytest.approx(row['batch_size'] / row['latency_ms'] * 1e3, rel=1e-3)
        assert row['command'].startswith('zoo benchmark test_efficientnet --batch-size 1 2')
        assert tables.kind(row) == 'measured' and row['img_size'] == 64 and row['device'] == 'cpu'
    assert main(['results', str(path), '--where', 'library = zoo', '--sort', 'img_per_sec']) == 0


def test_figures_for_people(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['benchmark', 'test_efficientnet_g*', '--img-size', '32', '--device', 'cpu', '--measure', 'latency',
                 '--warmup', '0', '--repeats', '1']) == 0
    text = capsys.readouterr().out
    names = zoo.list_models('test_efficientnet_g*')
    assert [line.split()[0] for line in text.splitlines() if 'pixels' in line] == names and names
    assert text.count('latency ms (p10, p90)') == text.count('images a second') == len(names)


def test_running_out_of_memory_is_said_and_the_rest_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path,
                                                             capsys: pytest.CaptureFixture[str]) -> None:
    inference = benchmarking.inference

    def small_only(setup: Setup) -> Any:
        if setup.batch_size == 4:
            raise torch.OutOfMemoryError('no more')
        return inference(setup)

    monkeypatch.setattr(command.benchmarking, 'inference', small_only)
    path = tmp_path / 'speed.csv'
    assert main(['benchmark', 'test_efficientnet', '--img-size', '32', '--batch-size', '4', '1', '--device', 'cpu',
                 '--measure', 'latency', '--repeats', '1', '--results-file', str(path)]) == 1
    assert 'memory ran out at batch size 4' in capsys.readouterr().err
    assert [row['batch_size'] for row in tables.read(path)] == [1]


@pytest.mark.parametrize(('arguments', 'message'), [
    (['efficientnet_b00'], "Did you mean 'efficientnet_b0'"), (['mixnet_s', '--against', 'torchvision'], 'torchvision'),
    (['test_efficientnet', '--device', 'abacus'], 'cannot be used here')])
def test_errors_of_the_user(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['benchmark', *arguments]) == 2
    assert message in capsys.readouterr().err
