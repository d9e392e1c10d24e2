"""`zoo benchmark`: what is measured and written. What a measurement says is not looked at, only that it is one."""
from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from zoo import benchmarking, tables
from zoo.benchmarking import Setup, Timing, Watch, quiet
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


def test_blocks_of_long_runs_are_few(monkeypatch: pytest.MonkeyPatch) -> None:
    now, calls = [0.0], {'short': 0, 'long': 0}

    def work(name: str, seconds: float) -> None:
        calls[name] += 1
        now[0] += seconds

    monkeypatch.setattr(benchmarking.timing.time, 'perf_counter', lambda: now[0])
    monkeypatch.setattr(benchmarking.timing.time, 'sleep', lambda seconds: None)
    runs = [lambda: work('short', 0.125), lambda: work('long', 8.0)]
    short, long = benchmarking.in_blocks(runs, rounds=9, seconds=2)
    assert long == Timing((8.0,) * 3) and calls['long'] == 1 + 3            # three rounds, the first with one untimed
    assert short == Timing((0.125,) * 6) and calls['short'] == 3 + 6        # in each round an untimed one, then two
    assert len(benchmarking.in_blocks(runs[:1], rounds=9, seconds=2)[0].seconds) == 9 * 2


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


@pytest.mark.slow
def test_the_same_network_in_torchvision() -> None:
    for name in IN_TORCHVISION:
        benchmarking.same_network(name, 'torchvision')
    with pytest.raises(ValueError, match="Did you mean 'mnasnet_"):
        benchmarking.same_network('mnasnet_small', 'torchvision')


def test_another_network_of_that_name_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(IN_TORCHVISION, 'mnasnet_small', 'mnasnet0_5')
    with pytest.raises(ValueError, match='another network'):
        benchmarking.same_network('mnasnet_small', 'torchvision')


@pytest.mark.slow
def test_more_images_take_more_memory() -> None:
    least, most = (benchmarking.peak_memory(Setup('zoo', 'test_efficientnet', 224, batch)) for batch in (1, 64))
    images = 63 * 3 * 224 * 224 * 4 / 2 ** 20
    assert most - least > images


def test_rows_of_a_benchmark(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('timm')
    path = tmp_path / 'speed.csv'
    arguments = ['benchmark', 'test_efficientnet', '--batch-size', '1', '2', '--img-size', '64', '--device', 'cpu',
                 '--measure', 'latency', 'train', 'load', '--warmup', '0', '--repeats', '2', '--against', 'timm',
                 '--results-file', str(path), '--keep-noisy']
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


def machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, others: float) -> Path:
    """A machine of 4 cores, `others` of which other processes keep busy, whose clock goes on 5 s when it is read."""
    stat = tmp_path / 'stat'
    stat.write_text('cpu  0 0 0 0 0 0 0 0 0 0\n')
    now = [0.0]

    def clock() -> float:
        now[0] += 5.0
        ticks = int(now[0] * others * 100)
        stat.write_text(f'cpu  {ticks - 20} 5 5 999 999 3 3 4 {ticks} 0\ncpu0 {ticks} 0 0 0 0 0 0 0 0 0\n')
        return now[0]

    monkeypatch.setattr(quiet, 'STAT', stat)
    sysconf = os.sysconf
    monkeypatch.setattr(quiet.os, 'sysconf', lambda name: 100 if name == 'SC_CLK_TCK' else sysconf(name))
    monkeypatch.setattr(quiet.os, 'cpu_count', lambda: 4)
    monkeypatch.setattr(quiet.time, 'process_time', lambda: 0.0)
    monkeypatch.setattr(quiet.time, 'perf_counter', clock)
    return stat


@pytest.mark.parametrize('others', [0.5, 3.0])
def test_cores_that_others_keep_busy(others: float, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine(monkeypatch, tmp_path, others)
    assert Watch(7.0).others() == pytest.approx(others)


def test_own_processor_time_is_not_that_of_others(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine(monkeypatch, tmp_path, 3.0)
    own = iter([10.0, 20.0])
    monkeypatch.setattr(quiet.time, 'process_time', lambda: next(own))
    assert Watch().others() == pytest.approx(1.0)                       # 15 s in 5 s, of which 10 were its own


def test_without_processor_times_the_load_average_counts(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    machine(monkeypatch, tmp_path, 3.0).unlink()
    monkeypatch.setattr(quiet, 'STAT', tmp_path / 'nothing')
    assert Watch(1.5).others() == 1.5 and Watch().others() is None


@pytest.mark.parametrize(('seconds', 'others', 'threads', 'found'), [
    ((1.0, 1.0, 1.0), 0.2, 4, ''), ((1.0, 1.0, 1.0), 3.0, 1, ''), ((1.0, 1.0, 1.0), None, 4, ''),
    ((1.0, 1.5, 3.0), 0.0, 1, 'p90 is 2.5 times p10'), ((1.0, 1.0, 1.0), 1.0, 4, '1.0 of 4 cores busy'),
    ((1.0, 1.0, 1.0), 3.5, 1, 'beside 1 thread here')])
def test_what_makes_a_time_noise(seconds: tuple[float, ...], others: float | None, threads: int, found: str,
                                 monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quiet.os, 'cpu_count', lambda: 4)
    reasons = benchmarking.noise('latency', [Timing((1.0,)), Timing(seconds)], others, threads)
    assert found in ''.join(reasons) and len(reasons) == bool(found)


@pytest.mark.parametrize(('others', 'keep', 'status', 'kept'), [
    (0.0, False, 0, 1), (3.9, False, 1, 0), (3.9, True, 0, 1)])
def test_noise_stays_out_of_the_table(others: float, keep: bool, status: int, kept: int, tmp_path: Path,
                                      monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    machine(monkeypatch, tmp_path, others)
    path = tmp_path / 'speed.csv'
    words = ['benchmark', 'test_efficientnet', '--img-size', '32', '--device', 'cpu', '--measure', 'latency', 'load',
             '--threads', '1', '--warmup', '0', '--repeats', '2', '--results-file', str(path)]
    assert main([*words, *['--keep-noisy'] * keep]) == status
    rows = tables.read(path) if path.exists() else []
    assert len(rows) == kept
    message = capsys.readouterr().err
    assert ('worthless' in message) == (others > 3) and ('--keep-noisy adds' in message) == (status == 1)
    for row in rows:
        assert row['other_cores'] == pytest.approx(others, abs=0.1)
        assert ('noise' in row) == keep
        assert not keep or all(f'{measure}: other processes' in row['noise'] for measure in ('latency', 'load'))


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
                 '--measure', 'latency', '--repeats', '1', '--results-file', str(path), '--keep-noisy']) == 1
    assert 'memory ran out at batch size 4' in capsys.readouterr().err
    assert [row['batch_size'] for row in tables.read(path)] == [1]


@pytest.mark.parametrize(('arguments', 'message'), [
    (['efficientnet_b00'], "Did you mean 'efficientnet_b0'"), (['mixnet_s', '--against', 'torchvision'], 'torchvision'),
    (['test_efficientnet', '--device', 'abacus'], 'cannot be used here')])
def test_errors_of_the_user(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['benchmark', *arguments]) == 2
    assert message in capsys.readouterr().err
