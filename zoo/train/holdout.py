"""Validation images out of the training images, where a data set has none of its own."""
from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Sequence
from typing import BinaryIO

from ..data import ImageSource
from ..data.sources.base import Labels


class SomeImages(ImageSource):
    """Some images of a source.

    Args:
        numbers: their numbers in it.
    """

    def __init__(self, source: ImageSource, numbers: Sequence[int]) -> None:
        super().__init__([source.target(n) for n in numbers],
                         Labels(source.task, source.num_classes, source.class_names), source.description)
        self._source, self._numbers = source, list(numbers)

    def name(self, index: int) -> str:
        """As the source calls it."""
        return self._source.name(self._numbers[index])

    def encoded(self, index: int) -> bytes:
        """The image file, from the source."""
        return self._source.encoded(self._numbers[index])

    def opened(self, index: int) -> BinaryIO:
        """The image file, from the source."""
        return self._source.opened(self._numbers[index])

    def size(self, index: int) -> int:
        """The file's length in bytes."""
        return self._source.size(self._numbers[index])

    def known_size(self, index: int) -> int | None:
        """As the source knows it."""
        return self._source.known_size(self._numbers[index])


def hold_out(source: ImageSource, share: float) -> tuple[ImageSource, ImageSource]:
    """(images to train with, images to validate with), see `held_out`."""
    train, val = held_out(source, share)
    return SomeImages(source, train), SomeImages(source, val)


def held_out(source: ImageSource, share: float) -> tuple[list[int], list[int]]:
    """Numbers of images (to train with, to validate with): of each class, at least one and about `share` are held out.

    Which these are depends on the images' names alone: a new image changes the part of no other, and every seed has the same.

    Raises:
        ValueError: a class has a single image.
    """
    groups: dict[object, list[int]] = defaultdict(list)
    for number in range(len(source)):
        groups[source.target(number) if source.task == 'single' else None].append(number)
    train, val = [], []
    for target, numbers in groups.items():
        if len(numbers) < 2:
            raise ValueError(f'{source.description}: {source.name(numbers[0])} is the only image of its class; data.'
                             'hold_out needs at least one to train with and one to validate with.')
        ordered = sorted(numbers, key=lambda n: hashlib.sha256(source.name(n).encode('utf-8', 'replace')).digest())
        count = min(max(1, round(share * len(numbers))), len(numbers) - 1)
        val += ordered[:count]
        train += ordered[count:]
    return sorted(train), sorted(val)
