"""How far a run has come, and what it came to."""
from __future__ import annotations

import dataclasses
import signal
import threading
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any

from .logs import Row

TIME_IS_UP = 14                     # SIGALRM's number, which Windows has no name for


@dataclass
class Progress:
    """Where a run stands.

    Attributes:
        epoch, update: the epoch it is in, and steps done in it. updates: steps done in all.
        loss: the sum over the epoch's steps. images: how many it has shown the network.
        seconds: spent on training in this epoch.
        unreadable: (name, reason) of the epoch's images that could not be read.
        rows: the lines of the log.
        best: (metric, epoch) of model_best. kept: the same of every checkpoint-…, best first.
    """

    epoch: int = 0
    update: int = 0
    updates: int = 0
    loss: float = 0.0
    images: int = 0
    seconds: float = 0.0
    unreadable: list[tuple[str, str]] = field(default_factory=list)
    rows: list[Row] = field(default_factory=list)
    best: tuple[float, int] | None = None
    kept: list[tuple[float, int]] = field(default_factory=list)

    def state(self) -> dict[str, Any]:
        """Everything, as a checkpoint holds it."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}

    def next_epoch(self) -> None:
        """To the beginning of the next epoch."""
        self.epoch, self.update, self.loss, self.images, self.seconds = self.epoch + 1, 0, 0.0, 0, 0.0
        self.unreadable = []


@dataclass
class Result:
    """What a run came to.

    Attributes:
        folder: where everything is. rows: the lines of log.csv.
        metric: what the best is judged by. best, best_epoch: its best value, and when; None before the first.
        stopped: the signal that ended it, that of an alarm where its time was up; None for a run that is complete.
    """

    folder: Path
    rows: list[Row]
    metric: str
    best: float | None
    best_epoch: int | None
    stopped: int | None = None

    @property
    def status(self) -> int:
        """The exit status: 0, or 128 and the signal (143 for SIGTERM, 130 for SIGINT, 142 where the time was up)."""
        return 128 + self.stopped if self.stopped else 0


class Stop:
    """Within it, SIGTERM and SIGINT ask the run to stop after its step; a second one of the same kind stops at once.

    Attributes:
        signal: the number of the one that came, or None.
    """

    def __init__(self) -> None:
        self.signal: int | None = None
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Stop:
        if threading.current_thread() is threading.main_thread():
            for number in (signal.SIGTERM, signal.SIGINT):
                self._before[number] = signal.signal(number, self._came)
        return self

    def __exit__(self, *_: Any) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _came(self, number: int, _: FrameType | None) -> None:
        self.signal = number
        signal.signal(number, self._before[number])
