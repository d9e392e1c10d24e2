"""What every reader of images and targets offers: `ImageSource` by number, `ImageStream` in turn."""
from __future__ import annotations

import hashlib
import io
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..images import problem_of

Target = int | float | list[float] | tuple[float, ...]


class Labels(NamedTuple):
    """What the targets of a source are.

    Attributes:
        task: 'single' (a target is the index of a class), 'multi' (a list of 0.0 and 1.0, one a class) or
            'regression' (a number, or a tuple of them).
        num_classes: how many classes there are; None where nothing says, and for regression.
        class_names: their names in the order of the indices, or None.
    """

    task: str
    num_classes: int | None = None
    class_names: list[str] | None = None


class _Described:
    """The attributes that sources and streams have in common."""

    def __init__(self, labels: Labels, description: str) -> None:
        self.task, self.num_classes, self.class_names = labels
        self.description = description


class ImageSource(_Described):
    """Images and targets by number, 0 to len - 1. It pickles, and any process may read any number.

    Attributes:
        task: 'single', 'multi' or 'regression'; what `target` returns.
        num_classes: how many classes there are, None if unknown or for regression.
        class_names: the names of the classes in the order of the indices, or None.
        description: the text the source was opened by.
    """

    def __init__(self, targets: Sequence[Target], labels: Labels, description: str) -> None:
        super().__init__(labels, description)
        self._targets = targets

    def __len__(self) -> int:
        return len(self._targets)

    def __repr__(self) -> str:
        return f'{type(self).__name__}({self.description!r}, {len(self)} images, {self.num_classes} classes)'

    def name(self, index: int) -> str:
        """What messages call the image: a path inside the data set, with '/' between folders."""
        raise NotImplementedError

    def encoded(self, index: int) -> bytes:
        """The image file as it is stored: JPEG, PNG, … undecoded.

        Raises:
            OSError: it can no longer be read.
        """
        raise NotImplementedError

    def opened(self, index: int) -> BinaryIO:
        """The image file, open for whoever needs a part of it.

        Raises:
            OSError: it can no longer be read.
        """
        return io.BytesIO(self.encoded(index))

    def problem(self, index: int) -> str:
        """Why the image cannot be read, by a cheap look; '' where it can. See `zoo.data.images.problem_of`."""
        return problem_of(lambda: self.opened(index))

    def size(self, index: int) -> int:
        """The image file's length in bytes."""
        return len(self.encoded(index))

    def known_size(self, index: int) -> int | None:
        """`size` where it is known without reading the image, else None."""
        return None

    def target(self, index: int) -> Target:
        """An int (single), a list of 0.0 and 1.0 (multi), a float or a tuple of floats (regression)."""
        return self._targets[index]

    def digest(self) -> str:
        """SHA-256 in hex over names, lengths and targets; the order does not matter."""
        return digest_of((self.name(i), self.size(i), self.target(i)) for i in range(len(self)))


class ImageStream(_Described):
    """Images and targets one after the other: iterates over (name, image file, target).

    In a worker of a DataLoader it gives that worker's part; `shard` makes the parts of several processes.

    Attributes:
        task, num_classes, class_names, description: as `ImageSource` has them.
    """

    part, parts = 0, 1

    def shard(self, part: int, parts: int) -> ImageStream:
        """Part number `part` of `parts`: together they have every image once. All processes must have the same number
        of workers.

        Raises:
            ValueError: `part` is not one of 0 to parts - 1.
        """
        if not 0 <= part < parts:
            raise ValueError(f'part is one of 0 to {parts - 1}; got {part}.')
        copy = object.__new__(type(self))
        copy.__dict__.update(self.__dict__, part=self.part + part * self.parts, parts=self.parts * parts)
        return copy

    def __iter__(self) -> Iterator[tuple[str, bytes, Target]]:
        raise NotImplementedError

    def digest(self) -> str:
        """As `ImageSource.digest`, of what this iterates over; reads all of it."""
        return digest_of((name, len(image), target) for name, image, target in self)


class FileSource(ImageSource):
    """Image files under a folder.

    Args:
        root: the folder.
        names: paths relative to it, with '/'.
    """

    def __init__(self, root: Path, names: Sequence[str], targets: Sequence[Target], labels: Labels,
                 description: str) -> None:
        super().__init__(targets, labels, description)
        self.root, self._names = root, names

    def name(self, index: int) -> str:
        """The path relative to the folder."""
        return self._names[index]

    def encoded(self, index: int) -> bytes:
        """The content of the file."""
        return (self.root / self._names[index]).read_bytes()

    def opened(self, index: int) -> BinaryIO:
        """The file."""
        return open(self.root / self._names[index], 'rb')

    def size(self, index: int) -> int:
        """The file's length in bytes."""
        return (self.root / self._names[index]).stat().st_size

    known_size = size


def digest_of(entries: Iterable[tuple[str, int, Target]]) -> str:
    """SHA-256 in hex over (name, length in bytes, target) of images, in whatever order they come."""
    hashed = hashlib.sha256()
    for line in sorted(f'{name}\t{size}\t{target!r}\n' for name, size, target in entries):
        hashed.update(line.encode('utf-8', 'surrogateescape'))
    return hashed.hexdigest()
