"""What makes a measured time worthless: its own spread, and the processor time that other processes took meanwhile."""
from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path

from .timing import Timing

STAT = Path('/proc/stat')
BUSY = (0, 1, 2, 5, 6, 7)           # user, nice, system, irq, softirq, steal; guests are within user
SHORTEST = 0.5                      # seconds; below, the system's ticks of a hundredth say too little
SPREAD = 2.0                        # p90 over p10 from which on a time is noise
TOLERATED = 0.25                    # cores; what a system does for itself


class Watch:
    """How many cores other processes keep busy, in the mean from when this is made.

    `load_average` is how many were runnable in the minute before this process began its work: the answer where the
    system counts no processor time (other than Linux), or too little time has passed.
    """

    def __init__(self, load_average: float | None = None) -> None:
        self.load_average = load_average
        self.start = time.perf_counter()
        self.before = _others_time()

    def others(self) -> float | None:
        """Cores, a fraction as a rule; None where the system tells nothing."""
        elapsed, after = time.perf_counter() - self.start, _others_time()
        if elapsed < SHORTEST or self.before is None or after is None:
            return self.load_average
        return max(after - self.before, 0.0) / elapsed


def load_average() -> float | None:
    """The system's load average of the last minute, where it has one."""
    return os.getloadavg()[0] if hasattr(os, 'getloadavg') else None


def noise(measure: str, timings: Sequence[Timing], others: float | None, threads: int) -> list[str]:
    """Why times that were measured in turn are worthless, in words; nothing where they are not.

    Args:
        measure: what was timed.
        others: cores that other processes kept busy meanwhile, None where that is not known.
        threads: of the measured work. Others may have the remaining cores.
    """
    reasons = []
    spread = max(timing.p90 / timing.p10 for timing in timings)
    if spread >= SPREAD:
        reasons.append(f'{measure}: p90 is {spread:.1f} times p10')
    cores = os.cpu_count() or 1
    if others is not None and others > max(cores - threads, 0) + TOLERATED:
        reasons.append(f'{measure}: other processes kept {others:.1f} of {cores} cores busy, beside {threads} '
                       f'thread{"s" * (threads != 1)} here')
    return reasons


def _others_time() -> float | None:
    """Seconds of processor time since the system's start that were not this process's; None where it is not Linux."""
    if not STAT.exists():
        return None
    ticks = STAT.read_text().splitlines()[0].split()[1:]
    return sum(int(ticks[i]) for i in BUSY) / os.sysconf('SC_CLK_TCK') - time.process_time()
