"""A look at a run's image files before it begins: which of them cannot be read."""
from __future__ import annotations

import time
from collections.abc import Sequence
from typing import NamedTuple

from ..evaluation.loading import check_readable
from .sources import Sources

SECONDS = 20.0              # that a look may take


class Look(NamedTuple):
    """What a look at the files found.

    Attributes:
        unreadable: (name, reason) of training images ('train') and validation images ('val').
        seen, total: how many files were looked at, and how many there are.
    """

    unreadable: dict[str, list[tuple[str, str]]]
    seen: int
    total: int

    @property
    def lines(self) -> list[str]:
        """It in words: what was looked at, and each file that cannot be read."""
        looked = f'{self.seen} of {self.total} files looked at, '
        count = sum(map(len, self.unreadable.values()))
        return [looked + (f'{count} of which cannot be read:' if count else 'all of which can be read'),
                *(f'{split}  {name} ({reason})' for split, found in self.unreadable.items() for name, reason in found)]

    def check(self, limit: int) -> None:
        """Raises ValueError if more images of a split are unreadable than `limit`."""
        for split, kind in (('train', 'training'), ('val', 'validation')):
            check_unreadable(self.unreadable[split], limit, f'{kind} images')


def look_at(sources: Sources, seconds: float = SECONDS) -> Look:
    """Looks at every image file, in an order that is spread over all of them, for so many seconds; see
    `zoo.data.images.problem_of`."""
    found: dict[str, list[tuple[str, str]]] = {'train': [], 'val': []}
    places = [(split, source, number) for split, source in (('val', sources.val), ('train', sources.train))
              if hasattr(source, 'encoded') for number in range(len(source))]
    until, seen = time.monotonic() + seconds, 0
    stride = max(1, round(len(places) ** 0.5))
    for start in range(stride):
        for split, source, number in places[start::stride]:
            if time.monotonic() > until:
                break
            seen += 1
            reason = source.problem(number)
            if reason:
                found[split].append((source.name(number), reason))
    return Look({split: sorted(some) for split, some in found.items()}, seen, len(places))


def check_unreadable(unreadable: Sequence[tuple[str, str]], limit: int, what: str) -> None:
    """Raises ValueError, which names some of them, if more images are unreadable than `limit`."""
    check_readable(unreadable, limit, what, 'that data.max_unreadable allows')
