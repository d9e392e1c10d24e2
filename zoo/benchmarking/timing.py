"""Times of work that is done again and again, of several kinds in turn."""
from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Timing:
    """The seconds of each repetition, in the order in which they were measured."""

    seconds: tuple[float, ...]

    @property
    def median(self) -> float:
        """The median, in seconds."""
        return statistics.median(self.seconds)

    @property
    def p10(self) -> float:
        """What a tenth of the repetitions stayed below, in seconds."""
        return quantile(self.seconds, 0.1)

    @property
    def p90(self) -> float:
        """What nine tenths of the repetitions stayed below, in seconds."""
        return quantile(self.seconds, 0.9)


def quantile(values: Sequence[float], fraction: float) -> float:
    """The value below which `fraction` of the values lie, between two of them in proportion."""
    ordered = sorted(values)
    place = fraction * (len(ordered) - 1)
    low = int(place)
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)


def ratio(ours: Timing, theirs: Timing) -> float:
    """How many times as long theirs takes: the median over the rounds of `in_turn`, in each of which both ran."""
    return statistics.median(b / a for a, b in zip(ours.seconds, theirs.seconds, strict=True))


def in_turn(runs: Sequence[Callable[[], object]], device: str = 'cpu', warmup: int = 3, repeats: int = 20,
            ) -> list[Timing]:
    """Times each of `runs`, `repeats` times after `warmup` untimed ones. They take turns, each round in the opposite
    order of the last, so that other load on the machine meets all alike. On an accelerator a run ends when the device
    has done all its work.

    Raises:
        ValueError: less than one repetition.
    """
    if repeats < 1 or warmup < 0:
        raise ValueError(f'It takes at least 1 repetition and 0 warm-up runs; got {repeats} and {warmup}.')
    for run in runs:
        for _ in range(warmup):
            run()
    seconds: list[list[float]] = [[] for _ in runs]
    gc.collect()
    for number in range(repeats):
        for i in range(len(runs)) if number % 2 == 0 else reversed(range(len(runs))):
            synchronize(device)
            start = time.perf_counter()
            runs[i]()
            synchronize(device)
            seconds[i].append(time.perf_counter() - start)
    return [Timing(tuple(times)) for times in seconds]


@torch.inference_mode()
def in_blocks(runs: Sequence[Callable[[], object]], device: str = 'cpu', rounds: int = 3, seconds: float = 1.0,
              ) -> list[Timing]:
    """Times each of `runs` for about `seconds`, in at most `rounds` that take turns, each of one untimed and then at least
    one timed repetition. For runs in several runtimes: the threads of one go on spinning for a while after it has
    answered, and would take the processor from the next if each ran once in turn. That matters little to a run that takes
    a quarter of a second: of such the first alone is untimed. There are no more rounds when each has been timed three
    times and all together have taken three times as long as they should."""
    found: list[list[float]] = [[] for _ in runs]
    gc.collect()
    start_of_all = time.perf_counter()
    for number in range(rounds):
        if number >= 3 and time.perf_counter() - start_of_all > 3 * seconds * len(runs):
            break
        for run, times in zip(runs, found) if number % 2 == 0 else reversed(list(zip(runs, found))):
            time.sleep(0.02)
            if not times or times[-1] < 0.25:
                run()
                synchronize(device)
            begin, least = time.perf_counter(), len(times) + 1
            while time.perf_counter() - begin < seconds / rounds or len(times) < least:
                start = time.perf_counter()
                run()
                synchronize(device)
                times.append(time.perf_counter() - start)
    return [Timing(tuple(times)) for times in found]


def synchronize(device: str) -> None:
    """Waits until an accelerator has done all its work."""
    if torch.device(device).type != 'cpu':
        torch.accelerator.synchronize(torch.device(device))
