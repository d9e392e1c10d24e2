"""Batches of levels and targets from labelled images, read by workers; what cannot be read is told apart."""
from __future__ import annotations

import os
import signal
from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any, NamedTuple, TypeAlias

from torch import Tensor
from torch.utils.data import DataLoader, Dataset, IterableDataset

from ..data.patches import PackedLevels
from ..spec import one_line
from .preprocess import PatchPreprocess, Photographs, Preprocess

NAMED = 5                   # images that a message names
AnyPreprocess: TypeAlias = Preprocess | Photographs | PatchPreprocess


class Sample(NamedTuple):
    """One image: what preprocessing made of it, or why it made nothing."""

    name: str
    target: Any
    levels: Any
    error: str = ''


class Batch(NamedTuple):
    """Images that were read, and (name, reason) of those that were not.

    Levels are as the preprocessing's `batch` makes them, None for a batch of none: (B, C, H, W) in channels_last, a list
    where some are JPEG files (n,) that are yet to be decoded, or packed patches.
    """

    names: list[str]
    targets: list[Any]
    levels: Tensor | list[Tensor] | PackedLevels | None
    unreadable: list[tuple[str, str]]


def load_batches(source: Any, preprocess: AnyPreprocess, batch_size: int, workers: int, part: int = 0,
                 parts: int = 1, pin_memory: bool = False) -> DataLoader[Sample]:
    """A loader of `Batch`es of part number `part` of `parts`; together the parts have every image once.

    Args:
        source: an image source by number, or a stream.
        workers: processes that read and decode; 0 reads in this one.
    """
    images = _Numbered(source, preprocess, part, parts) if hasattr(source, 'encoded') else _Streamed(
        source.shard(part, parts), preprocess)
    return DataLoader(images, batch_size, num_workers=workers, collate_fn=partial(_collate, preprocess), pin_memory=pin_memory,
                      worker_init_fn=leave_signals)


def check_readable(unreadable: Sequence[tuple[str, str]], limit: int, what: str = 'images',
                   allowed: str = 'allowed') -> None:
    """Raises ValueError, which names some of them, if more (name, reason) than `limit` could not be read."""
    if len(unreadable) > limit:
        named = some([f'{name} ({reason})' for name, reason in unreadable])
        raise ValueError(f'{len(unreadable)} {what} could not be read, more than the {limit} {allowed}: {named}.')


def some(names: Sequence[str]) -> str:
    """The first of the names, and how many more there are."""
    more = len(names) - NAMED
    return ', '.join(names[:NAMED]) + (f' and {more} more' if more > 0 else '')


def default_workers() -> int:
    """How many processes read images where nothing else is said: as many as this process has processors, at most 4; of
    several processes that torchrun started here, each has its share, at least one."""
    available = len(os.sched_getaffinity(0)) if hasattr(os, 'sched_getaffinity') else os.cpu_count() or 1
    return min(4, max(1, available // int(os.environ.get('LOCAL_WORLD_SIZE', '1'))))


def leave_signals(_: int) -> None:
    """The `worker_init_fn` of workers that leave SIGTERM and SIGINT to the main process, which finishes what it is at
    and then ends them: both are often sent to all processes of a group."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


class _Numbered(Dataset[Sample]):
    """Every image of one part of a source."""

    def __init__(self, source: Any, preprocess: AnyPreprocess, part: int, parts: int) -> None:
        self.source, self.preprocess, self.numbers = source, preprocess, range(part, len(source), parts)

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> Sample:
        number = self.numbers[place]
        name, target = self.source.name(number), self.source.target(number)
        try:
            return Sample(name, target, self.preprocess(self.source.encoded(number)))
        except (OSError, ValueError) as error:
            return Sample(name, target, None, one_line(error))


class _Streamed(IterableDataset[Sample]):
    """The images of a stream, which shares itself out among workers."""

    def __init__(self, stream: Any, preprocess: AnyPreprocess) -> None:
        self.stream, self.preprocess = stream, preprocess

    def __iter__(self) -> Iterator[Sample]:
        for name, encoded, target in self.stream:
            try:
                yield Sample(name, target, self.preprocess(encoded))
            except ValueError as error:
                yield Sample(name, target, None, one_line(error))


def _collate(preprocess: AnyPreprocess, samples: list[Sample]) -> Batch:
    read = [sample for sample in samples if sample.levels is not None]
    levels = preprocess.batch([sample.levels for sample in read]) if read else None
    return Batch([s.name for s in read], [s.target for s in read], levels,
                 [(s.name, s.error) for s in samples if s.levels is None])
