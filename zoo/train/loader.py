"""Training images in batches. What an image looks like depends on (seed, epoch, position in the epoch) and nothing else:
not on how many workers there are, nor on where a run was stopped."""
from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from ..data import ImageSource, load_image
from ..data.images import mode_of
from ..data.patches import PackedLevels
from ..evaluation.loading import leave_signals
from ..spec import one_line
from .seeds import seed_of, seeded

TRIES = 20                  # images in a row that may be unreadable
ORDER = -1                  # in place of a position: the seed of an epoch's order


class Place(NamedTuple):
    """One image of an epoch."""

    epoch: int
    position: int
    number: int                 # of the image in its source
    kind: Any = None            # what the images of its batch have in common, where batches differ in that


class Batch(NamedTuple):
    """Images (S * B, C, H, W) in levels, the S splits one after the other; targets (B,) or (B, n); names of images.

    Images with boxes, whose sizes differ, and their targets are lists. `unreadable` are (name, reason) of images in
    whose place another one stands.
    """

    levels: Tensor | list[Tensor] | PackedLevels
    targets: Tensor | list[dict[str, Tensor]]
    names: list[str]
    unreadable: list[tuple[str, str]]


Sample = tuple[tuple[Any, ...], Any, str, list[tuple[str, str]]]      # splits, target, name, what was unreadable


class TrainImages(Dataset[Sample]):
    """Distorted images by their place.

    Args:
        transform: from an image of Pillow's to levels (C, H, W), or to a tuple of them, the splits of a batch.
        channels, exif: see `zoo.data.load_image`.

    Raises:
        ValueError: more channels than image files have.
    """

    def __init__(self, source: ImageSource, transform: Callable[..., Any], seed: int, channels: int = 3,
                 exif: bool = False) -> None:
        self.source, self.transform, self.seed, self.channels, self.exif = source, transform, seed, channels, exif
        mode_of(channels)

    def __getitem__(self, place: Place) -> Sample:
        unreadable = []
        for step in range(min(TRIES, len(self.source))):          # in place of an unreadable image, the next one
            index = (place.number + step) % len(self.source)
            name = self.source.name(index)
            try:
                opened = self.open(index)
            except (OSError, ValueError) as error:
                unreadable.append((name, one_line(error)))
                continue
            with seeded(seed_of(self.seed, place.epoch, place.position)):
                levels, target = self.distort(opened, index, place.kind)
            return levels, target, name, unreadable
        named = '; '.join(f'{name} ({reason})' for name, reason in unreadable[:3])
        raise ValueError(f'{len(unreadable)} images in a row cannot be read: {named} …')

    def open(self, index: int) -> Any:
        """An image, decoded.

        Raises:
            OSError, ValueError: it cannot be read.
        """
        return load_image(io.BytesIO(self.source.encoded(index)), self.exif, self.channels)

    def distort(self, opened: Any, index: int, kind: Any) -> tuple[tuple[Any, ...], Any]:
        """What `open` gave -> its splits, at random, and the target; `kind` is that of its place."""
        levels = self.transform(opened)
        return levels if isinstance(levels, tuple) else (levels,), self.source.target(index)

    def collate(self, samples: list[Any]) -> Batch:
        """Samples of this dataset as a batch."""
        return _collate(samples)

    def order(self, batch_size: int, repeats: int, part: int, parts: int) -> Order:
        """The places of every batch of one of several processes."""
        return Order(len(self.source), batch_size, self.seed, repeats, part, parts)


class TrainLoader:
    """The batches of an epoch, for one of several processes.

    All processes together see the same images in the same order as one process with so many times larger batches. The
    images that do not fill a last batch are left out; which these are changes with the epoch.

    Args:
        repeats: how often an image is drawn in a row; an epoch keeps its length.
        part, parts: this process among all.

    Raises:
        ValueError: there are fewer images than a batch of all processes.
    """

    def __init__(self, images: TrainImages, batch_size: int, workers: int, *, repeats: int = 0, part: int = 0,
                 parts: int = 1, pin_memory: bool = False) -> None:
        self._order = images.order(batch_size, max(repeats, 1), part, parts)
        self.steps = len(self._order)
        if not self.steps:
            whole = f'{batch_size} x {parts} processes' if parts > 1 else str(batch_size)
            raise ValueError(f'There are {len(images.source)} training images, fewer than one batch ({whole}): '
                             'make data.batch_size smaller.')
        self._make = partial(DataLoader, images, batch_sampler=self._order, num_workers=workers,
                             collate_fn=images.collate, pin_memory=pin_memory, persistent_workers=workers > 0,
                             worker_init_fn=leave_signals,
                             generator=torch.Generator())            # its own, so that none is drawn from the run's
        self._loader: DataLoader[Sample] = self._make()

    def batches(self, epoch: int, start: int = 0) -> Iterator[Batch]:
        """The batches of an epoch from number `start` on."""
        self._order.epoch, self._order.start = epoch, start
        return iter(self._loader)

    def end(self) -> None:
        """Ends the processes that read images; another epoch starts new ones."""
        self._loader = self._make()


class Order(Sampler[list[Place]]):
    """The places of every batch of one process."""

    def __init__(self, count: int, batch_size: int, seed: int, repeats: int, part: int, parts: int) -> None:
        self.count, self.batch_size, self.seed, self.repeats = count, batch_size, seed, repeats
        self.part, self.parts, self.epoch, self.start = part, parts, 0, 0

    def __len__(self) -> int:
        return self.count // (self.batch_size * self.parts) - self.start

    def __iter__(self) -> Iterator[list[Place]]:
        whole = self.batch_size * self.parts
        order, _ = self.images()
        for number in range(self.start, self.count // whole):
            yield self.places(order, number * whole, (number + 1) * whole)

    def images(self) -> tuple[Tensor, torch.Generator]:
        """The numbers of the epoch's images by their positions, and the generator that they were drawn from."""
        generator = torch.Generator().manual_seed(seed_of(self.seed, self.epoch, ORDER))
        order = torch.randperm(self.count, generator=generator)
        if self.repeats > 1:
            order = order.repeat_interleave(self.repeats)[:self.count]
        return order, generator

    def places(self, order: Tensor, begin: int, end: int, kind: Any = None) -> list[Place]:
        """This process' share of the positions from `begin` up to `end`."""
        return [Place(self.epoch, position, int(order[position]), kind)
                for position in range(begin + self.part, end, self.parts)]


def _collate(samples: list[Sample]) -> Batch:
    images = [splits for splits, *_ in samples]
    # decoded images lie pixel by pixel; stacked so, the batch is in channels_last without another copy
    splits = [image[number].permute(1, 2, 0) for number in range(len(images[0])) for image in images]
    return batch_of(torch.stack(splits).permute(0, 3, 1, 2), samples)


def batch_of(levels: Tensor | PackedLevels, samples: list[Sample]) -> Batch:
    """A batch of these levels, with the targets and names of its samples."""
    _, targets, names, unreadable = zip(*samples)
    kind = torch.int64 if isinstance(targets[0], int) else torch.float32
    return Batch(levels, torch.tensor(targets, dtype=kind), list(names), [one for some in unreadable for one in some])
