"""Time to list every model name, and to build a model, beside timm: whole processes, in turn, medians and the ratio.

    python benchmarks/startup.py [--runs 5] [--model efficientnet_b0 ...] [--each-family]

With --each-family it builds the smallest and the middle network of every module, without timm, and names those that take
longer than 0.3 s.
"""
from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time

LIMIT = 0.3                     # seconds that building a network may take


def seconds(code: str, before: str = 'pass') -> float:
    """Time of a program in a new process: the whole process, or what `code` takes after `before`."""
    start = time.perf_counter()
    if before == 'pass':
        subprocess.run([sys.executable, '-c', code], check=True)
        return time.perf_counter() - start
    timed = f'{before}\nimport time\nstart = time.perf_counter()\n{code}\nprint(time.perf_counter() - start)'
    return float(subprocess.run([sys.executable, '-c', timed], check=True, capture_output=True, text=True).stdout)


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
        names = of_each_family()
        times = {name: statistics.median(seconds(f'import zoo; zoo.create_model({name!r})', 'import torch')
                                         for _ in range(args.runs)) for name in names}
        slow = {name: round(taken, 2) for name, taken in times.items() if taken > LIMIT}
        print(f'build each of {len(names)} networks (beyond import torch): {statistics.median(times.values()):.3f} s in the '
              f'median, {max(times.values()):.3f} s at most; longer than {LIMIT} s: {slow or "none"}')


if __name__ == '__main__':
    main()
