"""Processor time of a network in evaluation, in NCHW layout, beside timm's with the same weights.

    python benchmarks/eval_speed.py [--models efficientnet_b0 ...] [--batch-size 1 8] [--threads 2] [--rounds 40]

Both run in turn, each round in the opposite order of the last, first in one process and then in a process each. Printed
is how many times as much timm takes: the median over the rounds, the interval that holds the true median with 95 %
certainty, and which operators only one of the two calls. Where that interval is wider than a twentieth there is no
ratio to speak of; the line says so, and the exit status is 1.
"""
from __future__ import annotations

import argparse
import collections
import contextlib
import math
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from multiprocessing.connection import Connection

import torch
from torch import nn

LIBRARIES = ('zoo', 'timm')
WIDEST = 0.05                       # of the interval, over the median
Turn = Callable[[], float]


def network(library: str, name: str) -> nn.Module:
    """The network with weights that depend on its name alone."""
    import zoo
    torch.manual_seed(0)
    model = zoo.create_model(name)
    if library == 'timm':
        import timm
        theirs = timm.create_model(name)
        theirs.load_state_dict(model.state_dict())
        model = theirs
    return model.eval()


def turn(library: str, name: str, batch_size: int, size: int, threads: int) -> Turn:
    """Runs a batch and returns the seconds of processor time that it took, of all threads."""
    torch.set_num_threads(threads)
    model, images = network(library, name), torch.randn(batch_size, 3, size, size)

    def run() -> float:
        start = time.process_time()
        with torch.inference_mode():
            model(images)
        return time.process_time() - start

    return run


def serve(pipe: Connection, *setup: str | int) -> None:
    """A library in a process of its own: a turn for each message but None."""
    run = turn(*setup)
    while pipe.recv() is not None:
        pipe.send(run())


@contextlib.contextmanager
def turns(processes: int, *setup: str | int) -> Iterator[list[Turn]]:
    """A turn for each library, in this process or in two others."""
    if processes == 1:
        yield [turn(library, *setup) for library in LIBRARIES]
        return
    context = torch.multiprocessing.get_context('spawn')
    pipes, started = [], []
    for library in LIBRARIES:
        pipe, end = context.Pipe()
        pipes.append(pipe)
        started.append(context.Process(target=serve, args=(end, library, *setup)))
        started[-1].start()
        end.close()

    def ask(pipe: Connection) -> float:
        pipe.send(True)
        return pipe.recv()

    try:
        yield [lambda pipe=pipe: ask(pipe) for pipe in pipes]
    finally:
        for pipe, process in zip(pipes, started):
            with contextlib.suppress(OSError):
                pipe.send(None)
            process.join()


def ratios(pair: Sequence[Turn], rounds: int) -> list[float]:
    """Of each round, how many times as much the second takes; they swap places from round to round."""
    for run in (*pair, *pair, *pair):
        run()
    found = []
    for number in range(rounds):
        taken = [0.0, 0.0]
        for i in (0, 1) if number % 2 == 0 else (1, 0):
            taken[i] = pair[i]()
        found.append(taken[1] / taken[0])
    return found


def interval(values: Sequence[float]) -> tuple[float, float]:
    """The order statistics that hold the median of what they are drawn from with 95 % certainty (sign test)."""
    ordered, count = sorted(values), len(values)
    below, tail = 0, 1 / 2 ** count
    while tail + math.comb(count, below + 1) / 2 ** count <= 0.025:
        below += 1
        tail += math.comb(count, below) / 2 ** count
    return ordered[below], ordered[-1 - below]


def operators(name: str, size: int) -> str:
    """The operators that one network calls more often than the other in a batch of two, and how often each does."""
    calls = []
    for library in LIBRARIES:
        model, images = network(library, name), torch.randn(2, 3, size, size)
        with torch.inference_mode(), torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as record:
            model(images)
        calls.append(collections.Counter(event.name for event in record.events() if event.name.startswith('aten::')))
    differ = [f'{op.removeprefix("aten::")} {calls[0][op]}:{calls[1][op]}' for op in sorted(calls[0] | calls[1])
              if calls[0][op] != calls[1][op]]
    return f'{calls[0].total()} and {calls[1].total()} calls of operators; {", ".join(differ) or "the same"}'


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--models', nargs='+', default=['efficientnet_b0', 'mobilenetv3_large_100'])
    parser.add_argument('--batch-size', nargs='+', type=int, default=[1, 8])
    parser.add_argument('--size', type=int, default=224)
    parser.add_argument('--threads', type=int, default=2)
    parser.add_argument('--rounds', type=int, default=40, help='at least 10')
    args = parser.parse_args()
    if args.rounds < 10:
        parser.error('an interval takes 10 rounds')
    noisy = 0
    for name in args.models:
        print(f'{name}: {operators(name, args.size)}', flush=True)
        for batch_size in args.batch_size:
            for processes in (1, 2):
                with turns(processes, name, batch_size, args.size, args.threads) as pair:
                    found = ratios(pair, args.rounds)
                (low, high), middle = interval(found), statistics.median(found)
                title = f'{name}, batch {batch_size}, threads {args.threads}, processes {processes}'
                if (high - low) / middle > WIDEST:
                    noisy += 1
                    print(f'{title}: too noisy for a ratio ({low:.3f} to {high:.3f})', flush=True)
                else:
                    print(f'{title}: timm takes {middle:.3f} times as much ({low:.3f} to {high:.3f})', flush=True)
    return 1 if noisy else 0


if __name__ == '__main__':
    sys.exit(main())
