"""`zoo benchmark`: how fast networks run, train and load here, and how much memory they take."""
from __future__ import annotations

import argparse
import json
import shlex
import tempfile
from collections.abc import Callable
from concurrent.futures.process import BrokenProcessPool
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

import zoo
from zoo import benchmarking, tables
from zoo.benchmarking import Setup
from zoo.benchmarking.networks import PEERS
from zoo.cli import say
from zoo.cli.images import add_optimize, check_device_of_file, choose_device, optimized, positive
from zoo.cli.results import grid
from zoo.runtime import is_exported, load_exported
from zoo.tables.check import without_results_file

MEASURES = ('latency', 'memory', 'train', 'load')
SECONDS = 3                         # that each run of --optimize is timed, in blocks
Row = dict[str, Any]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `zoo benchmark` to its parser."""
    parser.add_argument('models', nargs='*', metavar='MODEL',
                        help="names, wildcards in quotes: 'tf_efficientnet_lite*', or files that zoo export wrote")
    parser.add_argument('--model', nargs='+', default=[], metavar='MODEL', help='the same')
    parser.add_argument('--measure', nargs='+', choices=MEASURES, metavar='WHAT',
                        help=f'any of {" ".join(MEASURES)} (default: latency memory, with --optimize latency); memory '
                             'is also that of training where train is measured')
    parser.add_argument('--batch-size', nargs='+', type=positive, default=[1], metavar='N',
                        help='one or more (default: 1)')
    parser.add_argument('--img-size', type=positive, metavar='S',
                        help="side of the square images in pixels (default: the record's)")
    parser.add_argument('--device', help="'cpu', 'cuda', 'mps' … (default: an accelerator if there is one)")
    parser.add_argument('--precision', choices=list(benchmarking.PRECISIONS), default='fp32',
                        help='bf16 and fp16 are automatic mixed precision (default: fp32)')
    parser.add_argument('--channels-last', action='store_true', help='images and weights in NHWC layout')
    parser.add_argument('--compile', action='store_true', help='with torch.compile; on the CPU, memory is '
                                                               'then also that of the compiler')
    add_optimize(parser.add_argument)
    parser.add_argument('--threads', type=positive, metavar='N', help="of the CPU (default: PyTorch's)")
    parser.add_argument('--warmup', type=_whole, default=5, metavar='N',
                        help='untimed runs first (default: %(default)s)')
    parser.add_argument('--repeats', type=positive, default=20, metavar='N', help='timed runs (default: %(default)s)')
    parser.add_argument('--against', choices=PEERS,
                        help='run the same network of this library in turn, and print how many times as much it takes')
    parser.add_argument('--results-file', type=Path, metavar='FILE.csv', help='add the rows to this table')
    parser.add_argument('--keep-noisy', action='store_true',
                        help='add even rows whose times the machine made worthless: p90 at twice p10 or more, or too '
                             'few cores left by other processes')
    parser.add_argument('--json', action='store_true', help='print one JSON object a line for each row')
    parser.set_defaults(command_line='')


def run(args: argparse.Namespace) -> int:
    """Measure each model at each batch size and print the figures; the status is 1 if memory ran out for any, or if
    rows were kept out of the table for their noise."""
    device = str(choose_device(args.device))
    if args.threads:
        torch.set_num_threads(args.threads)
    args.load_average = benchmarking.load_average()             # before there is any of our own
    names = _names([*args.models, *args.model])
    _check_optimize(args)
    for name in filter(is_exported, names):
        _check_exported(name, args)
    if args.against:
        for name in names:
            benchmarking.same_network(name, args.against)
    origin = tables.provenance(shlex.join(without_results_file(shlex.split(args.command_line))), device)
    failed = 0
    for name in names:
        size = args.img_size or _usual_size(name)
        load = _load(Setup('zoo', name, size, 1, device), args) if 'load' in args.measure else {}
        for batch_size in args.batch_size:
            setup = Setup('zoo', name, size, batch_size, device, args.precision, args.channels_last, args.compile)
            try:
                rows = _measure(setup, args)
            except RuntimeError as error:
                if not _out_of_memory(error):
                    raise
                say(f'{name}: memory ran out at batch size {batch_size}')
                failed += 1
                continue
            rows = [_joined(row, load.get(row['library'], {})) | {'threads': torch.get_num_threads()} | origin
                    for row in rows]
            if args.results_file and (args.keep_noisy or not rows[0].get('noise')):
                tables.append(args.results_file, rows)
            elif args.results_file:
                failed += 1
            print('\n'.join(map(json.dumps, rows)) if args.json else _text(rows), flush=True)
            if rows[0].get('noise'):
                say(f'{name}, batch size {batch_size}: these times are worthless ({rows[0]["noise"]}); '
                    + _what_to_do(args))
    return 1 if failed else 0


def _names(patterns: list[str]) -> list[str]:
    """The models that names and wildcards mean, each once.

    Raises:
        ValueError: one means none; the message gives the nearest.
    """
    if not patterns:
        raise ValueError('Name a model, or a file that zoo export wrote.')
    found: dict[str, None] = {}
    for pattern in patterns:
        if is_exported(pattern):
            found[pattern] = None
            continue
        names = zoo.list_models(pattern) or zoo.list_models(pattern, include_tags=True)
        if not names and not zoo.is_model(pattern):
            zoo.get_pretrained_cfg(pattern)                     # raises, with the nearest names
        found |= dict.fromkeys(names or [pattern])
    return list(found)


def _measure(setup: Setup, args: argparse.Namespace) -> list[Row]:
    """A row for zoo and one for the peer, if there is one."""
    setups = [setup, *([replace(setup, library=args.against)] if args.against else [])]
    rows = [_described(each) for each in setups]
    works = {'latency': benchmarking.inference, 'train': benchmarking.training}
    for measure, work in works.items():
        if measure in args.measure:
            runs = [_optimized(each, args, rows[0]) if args.optimize and each is setup else work(each)
                    for each in setups]
            timings = _time(rows, measure, runs, setup.device, args.warmup, args)
            for row, timing in zip(rows, timings):
                column = 'img_per_sec' if measure == 'latency' else 'train_img_per_sec'
                row[column] = _short(setup.batch_size / timing.median)
            del runs
    if 'memory' in args.measure:
        for train in [False, *([True] if 'train' in args.measure else [])]:
            peaks = [benchmarking.peak_memory(each, train) for each in setups]
            for row, peak in zip(rows, peaks):
                row['train_peak_mib' if train else 'peak_mib'] = _short(peak)
            if args.against:
                rows[0]['train_memory_ratio' if train else 'memory_ratio'] = _short(peaks[1] / peaks[0])
    return rows


def _check_optimize(args: argparse.Namespace) -> None:
    """Fills in what is measured by default.

    Raises:
        ValueError: something that does not go with --optimize.
    """
    args.measure = args.measure or (['latency'] if args.optimize else ['latency', 'memory'])
    if args.calibration and not args.optimize:
        raise ValueError('--calibration is for --optimize int8 or auto.')
    given = [f'--{key.replace("_", "-")}' for key in ('channels_last', 'compile') if getattr(args, key)]
    given += ['--precision'] if args.precision != 'fp32' else []
    given += [f'--measure {what}' for what in args.measure if what != 'latency']
    if args.optimize and given:
        raise ValueError(f'--optimize chooses how a network runs, and its latency is measured; leave {given[0]} out.')


def _optimized(setup: Setup, args: argparse.Namespace, row: Row) -> Callable[[], object]:
    """A batch through the optimized network; the row gets what was chosen."""
    model = benchmarking.build(setup)
    fast = optimized(model, args, setup.images(model).shape, setup.device)
    report: Any = fast.report
    row |= {'precision': fast.precision, 'backend': report.chosen}
    return benchmarking.inference(setup, fast)


def _load(setup: Setup, args: argparse.Namespace) -> dict[str, Row]:
    """Library -> its columns about the time from a file of weights on disk to the network on the device."""
    setups = [setup, *([replace(setup, library=args.against)] if args.against else [])]
    rows: list[Row] = [{} for _ in setups]
    with tempfile.TemporaryDirectory() as folder:
        runs: list[Callable[[], object]] = [benchmarking.loading(each, Path(folder)) for each in setups]
        _time(rows, 'load', runs, setup.device, 1, args)
    return {each.library: row for each, row in zip(setups, rows)}


def _time(rows: list[Row], measure: str, runs: list[Callable[[], object]], device: str, warmup: int,
          args: argparse.Namespace) -> list[benchmarking.Timing]:
    """Times the libraries' runs in turn. Into the rows go milliseconds, what other processes took meanwhile and what
    that makes of the times, and into zoo's how many times as long the peer takes."""
    for run_once in runs * warmup:                              # a compiler's processes work for us, not beside us
        run_once()
    watch = benchmarking.Watch(args.load_average)
    timings = (benchmarking.in_blocks(runs, device, seconds=SECONDS) if args.optimize else
               benchmarking.in_turn(runs, device, 0, args.repeats))
    others = watch.others()
    threads = torch.get_num_threads() if torch.device(device).type == 'cpu' else 1
    disturbed: Row = {'noise': '; '.join(benchmarking.noise(measure, timings, others, threads))}
    if others is not None:
        disturbed['other_cores'] = round(others, 2)
    rows[:] = [_joined(row, disturbed) for row in rows]
    for row, timing in zip(rows, timings):
        row |= {f'{measure}_ms': _short(timing.median * 1e3), f'{measure}_ms_p10': _short(timing.p10 * 1e3),
                f'{measure}_ms_p90': _short(timing.p90 * 1e3)}
    if len(timings) == 2:
        rows[0][f'{measure}_ratio'] = _short(timings[1].median / timings[0].median if args.optimize else
                                             benchmarking.ratio(*timings))
    return timings


def _joined(row: Row, more: Row) -> Row:
    """Both rows' columns: all noise, and the most that other processes took."""
    joined = row | more
    for column, join in (('noise', lambda texts: '; '.join(filter(None, texts))), ('other_cores', max)):
        if column in row and column in more:
            joined[column] = join((row[column], more[column]))
    return joined


def _what_to_do(args: argparse.Namespace) -> str:
    if not args.results_file:
        return 'measure again when the machine is quiet'
    return 'the row says so' if args.keep_noisy else f'not added to {args.results_file} (--keep-noisy adds such rows)'


def _usual_size(name: str) -> int:
    """The side of the images, in pixels, that a model or a file is made for."""
    if not is_exported(name):
        return zoo.get_pretrained_cfg_value(name, 'input_size')[1]
    return load_exported(name).pretrained_cfg['input_size'][1]


def _check_exported(name: str, args: argparse.Namespace) -> None:
    """Raises ValueError for what a file cannot be asked."""
    check_device_of_file(args, name)
    given = [f'--{key.replace("_", "-")}' for key in ('against', 'channels_last', 'compile', 'optimize')
             if getattr(args, key)]
    given += ['--precision'] if args.precision != 'fp32' else []
    given += [f'--measure {what}' for what in ('train', 'load') if what in args.measure]
    if given:
        raise ValueError(f'{name} is a file with its network and precision; leave {given[0]} out.')


def _described(setup: Setup) -> Row:
    if is_exported(setup.name):
        file = load_exported(setup.name)
        file.set_input_size(setup.img_size)
        cfg = file.pretrained_cfg
        return {'model': cfg['architecture'], 'tag': cfg['tag'] or '', 'library': setup.library, **file.about(),
                'img_size': setup.img_size, 'batch_size': setup.batch_size,
                'param_count': round(file.cost['params'] / 1e6, 3)}
    with torch.device('meta'):
        fixed = zoo.get_pretrained_cfg_value(setup.name, 'fixed_input_size')
        sized: dict[str, Any] = {'img_size': setup.img_size} if fixed else {}
        model = zoo.create_model(setup.name, **sized)
    cost = zoo.profile(model, setup.img_size)
    architecture, tag = zoo.split_model_name_tag(setup.name)
    return {'model': architecture, 'tag': tag, 'library': setup.library, 'img_size': setup.img_size,
            'batch_size': setup.batch_size, 'precision': setup.precision, 'channels_last': int(setup.channels_last),
            'compiled': int(setup.compiled), 'param_count': round(cost.params / 1e6, 3),
            'gmacs': round(cost.gmacs, 4), 'macts': round(cost.macts, 3)}


def _text(rows: list[Row]) -> str:
    """The rows of one setup for people to read."""
    first = rows[0]
    title = (f'{first["model"]}{"." * bool(first["tag"])}{first["tag"]}  {first["img_size"]} pixels  '
             f'batch {first["batch_size"]}  {first["precision"]}  {first["device"]}'
             f'{"  " * bool(first.get("file"))}{first.get("file", "")}')
    lines = [['', *(row['library'] for row in rows), *(['ratio'] if len(rows) == 2 else [])]]
    for measure in ('latency', 'train', 'load'):
        if f'{measure}_ms' in first:
            lines.append([f'{measure} ms (p10, p90)', *(_spread(row, measure) for row in rows),
                          *([f'{first[f"{measure}_ratio"]:.2f}'] if len(rows) == 2 else [])])
    for label, column, compared in (('images a second', 'img_per_sec', None),
                                    ('images a second, training', 'train_img_per_sec', None),
                                    ('peak memory MiB', 'peak_mib', 'memory_ratio'),
                                    ('peak memory MiB, training', 'train_peak_mib', 'train_memory_ratio')):
        if column in first:
            lines.append([label, *(f'{row[column]:.5g}' for row in rows),
                          *([f'{first[compared]:.2f}' if compared else ''] if len(rows) == 2 else [])])
    return f'{title}\n{grid(lines, [False] + [True] * len(lines[0]))}\n'


def _spread(row: Row, measure: str) -> str:
    middle, low, high = (row[f'{measure}_ms{end}'] for end in ('', '_p10', '_p90'))
    return f'{middle:.4g} ({low:.4g}, {high:.4g})'


def _out_of_memory(error: RuntimeError) -> bool:
    """Whether an allocation failed, on an accelerator or on the CPU, or the system ended the process that tried."""
    return isinstance(error, (torch.OutOfMemoryError, BrokenProcessPool)) or "can't allocate memory" in str(error)


def _short(value: float) -> float:
    """Five digits of it."""
    return float(f'{value:.5g}')


def _whole(text: str) -> int:
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number')
    return int(text)
