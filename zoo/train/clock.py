"""How long a run has taken in this process, whether more of it fits into its time, and how long it still takes."""
from __future__ import annotations

import contextlib
import math
import time
from collections import deque
from collections.abc import Iterator
from datetime import timedelta

RECENT = 10                         # steps whose longest says how long the next may take


class Clock:
    """The time of a run, from when it is made.

    Args:
        hours: how long the run may take; None for any time.

    Attributes:
        validation_steps: how many steps a validation is thought to take, until there has been one.
    """

    def __init__(self, hours: float | None = None) -> None:
        self.validation_steps = 0.0
        self._limit = math.inf if hours is None else 3600 * hours
        self._made = self._marked = time.perf_counter()
        self._steps: deque[float] = deque(maxlen=RECENT)
        self._took = {'validation': 0.0, 'saving': 0.0}
        self._count, self._began = 0, self._made

    def begin(self) -> None:
        """The first step, or the first after something else, begins now."""
        self._marked = time.perf_counter()
        if not self._count:
            self._began = self._marked

    def step(self) -> None:
        """A step is done."""
        now = time.perf_counter()
        self._steps.append(now - self._marked)
        self._marked, self._count = now, self._count + 1

    @contextlib.contextmanager
    def timing(self, what: str) -> Iterator[None]:
        """Notes how long a validation or the writing of a checkpoint takes."""
        start = time.perf_counter()
        yield
        self._took[what] = time.perf_counter() - start

    def fits(self, what: str) -> bool:
        """Whether another step, or a validation, and writing a checkpoint after it, will be done within the limit, as
        long as they took before."""
        step = max(self._steps, default=0.0)
        needed = step if what == 'step' else self._took['validation'] or step * self.validation_steps
        return not self.is_up(needed)

    def is_up(self, needed: float = 0.0) -> bool:
        """Whether the limit comes before so many seconds have passed and a checkpoint is written."""
        return time.perf_counter() - self._made + needed + self._took['saving'] > self._limit

    def left(self, steps: int) -> str:
        """How long so many steps will take, with what comes between them, as hours:minutes:seconds."""
        each = (time.perf_counter() - self._began) / max(self._count, 1)
        return str(timedelta(seconds=round(each * steps)))
