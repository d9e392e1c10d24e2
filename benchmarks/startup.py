"""Time to list every model name, and to build a model, beside timm: whole processes, in turn, medians and the ratio.

    python benchmarks/startup.py [--runs 5] [--model efficientnet_b0]
"""
from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
import time


def seconds(code: str) -> float:
    """Wall time of a new process that runs the code."""
    start = time.perf_counter()
    subprocess.run([sys.executable, '-c', code], check=True)
    return time.perf_counter() - start


def compare(title: str, ours: str, theirs: str, runs: int, less: str = '') -> None:
    """Prints medians of both programs run in turn, without what the program `less` takes, and their ratio."""
    base = statistics.median(seconds(less) for _ in range(runs)) if less else 0.0
    times = [(seconds(ours) - base, seconds(theirs) - base) for _ in range(runs)]
    mine, peer = (statistics.median(column) for column in zip(*times))
    print(f'{title:40s} zoo {mine:6.3f} s   timm {peer:6.3f} s   {peer / mine:5.1f} times')


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--runs', type=int, default=5)
    parser.add_argument('--model', default='efficientnet_b0')
    args = parser.parse_args()
    for code in ('import zoo', 'import timm'):                  # bytecode and the disk's cache
        seconds(code)
    compare('list every name', 'import zoo; zoo.list_models()', 'import timm; timm.list_models()', args.runs)
    build = f'create_model({args.model!r})'
    compare(f'build {args.model} (beyond import torch)', f'import zoo; zoo.{build}', f'import timm; timm.{build}', args.runs,
            less='import torch')


if __name__ == '__main__':
    main()
