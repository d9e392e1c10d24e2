"""Time to list every model name, and to build a model, beside timm: whole processes, in turn, medians and the ratio.

    python benchmarks/startup.py [--runs 5] [--model efficientnet_b0 ...] [--each-family]

With --each-family it builds the smallest and the middle network of every module, without timm, in a process of its own
each, and names those that take longer than 0.3 s, of which it says how long the drawing of their weights takes. Modules
are compiled beforehand, as pip leaves them.
"""
from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
import time

LIMIT = 0.3                     # seconds that building a network may take
WITH_BYTECODE = {name: value for name, value in os.environ.items() if name != 'PYTHONDONTWRITEBYTECODE'}
BUILD = '''import zoo
model = zoo.create_model({name!r})
taken = time.perf_counter()
model.init_weights()
print(taken - start, time.perf_counter() - taken, sum(p.numel() for p in model.parameters()) / 1e6)'''


def printed(code: str) -> list[float]:
    """The numbers that a program prints in a new process."""
    done = subprocess.run([sys.executable, '-c', code], check=True, capture_output=True, text=True, env=WITH_BYTECODE)
    return [float(number) for number in done.stdout.split()]


def seconds(code: str, before: str = 'pass') -> float:
    """Time of a program in a new process: the whole process, or what `code` takes after `before`."""
    start = time.perf_counter()
    if before == 'pass':
        printed(code)
        return time.perf_counter() - start
    return printed(f'{before}\nimport time\nstart = time.perf_counter()\n{code}\nprint(time.perf_counter() - start)')[0]


def compare(title: str, ours: str, theirs: str, runs: int, before: str = 'pass') -> None:
    """Prints medians of both programs run in turn, and their ratio."""
    times = [(seconds(ours, before), seconds(theirs, before)) for _ in range(runs)]
    mine, peer = (statistics.median(column) for column in zip(*times))
    print(f'{title:44s} zoo {mine:6.3f} s   timm {peer:6.3f} s   {peer / mine:5.1f} times')


def of_each_family() -> list[str]:
    """The smallest network of every module and the middle one, by parameters."""
    import torch

    import zoo
    names = []
    for module in zoo.list_modules():
        with torch.device('meta'):
            sizes = {name: sum(p.numel() for p in zoo.create_model(name).parameters())
                     for name in zoo.list_models(module=module)}
        ordered = sorted(sizes, key=sizes.__getitem__)
        names += dict.fromkeys((ordered[0], ordered[len(ordered) // 2]))
    return names


def each_family(runs: int) -> None:
    """Prints what the smallest and the middle network of every module take, and those above the limit."""
    names = of_each_family()
    times = {}
    for name in names:
        program = f'import time, torch\nstart = time.perf_counter()\n{BUILD.format(name=name)}'
        columns = zip(*(printed(program) for _ in range(runs)))
        times[name] = tuple(statistics.median(column) for column in columns)
    taken = [whole for whole, *_ in times.values()]
    rest = [max(whole - drawn, 0) for whole, drawn, _ in times.values()]
    for what, each in (('build', taken), ('all but drawing weights', rest)):
        print(f'{what}, {len(names)} networks (beyond import torch): {statistics.median(each):.3f} s in the median, '
              f'{max(each):.3f} s at most, {sum(one > LIMIT for one in each)} longer than {LIMIT} s')
    for name, (whole, drawn, millions) in times.items():
        if whole > LIMIT:
            print(f'  {name}, {millions:.0f} million parameters: {whole:.2f} s, of which {drawn:.2f} s to draw them')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--runs', type=int, default=5)
    parser.add_argument('--model', nargs='+', default=['efficientnet_b0'])
    parser.add_argument('--each-family', action='store_true', help='too, the smallest and the middle one of every module')
    args = parser.parse_args()
    for code in ('import zoo', 'import timm'):                  # bytecode and the disk's cache
        seconds(code)
    compare('list every name', 'import zoo; zoo.list_models()', 'import timm; timm.list_models()', args.runs)
    for name in args.model:
        build = f'create_model({name!r})'
        compare(f'build {name} (beyond import torch)', f'import zoo; zoo.{build}', f'import timm; timm.{build}',
                args.runs, before='import torch')
    if args.each_family:
        each_family(args.runs)


if __name__ == '__main__':
    main()
