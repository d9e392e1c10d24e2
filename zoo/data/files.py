"""Which files are images, and the choice of a split: what all readers of images share. Pillow, which
says what it opens, is imported when first asked."""
from __future__ import annotations

import functools
import os
import warnings
from collections.abc import Iterable, Iterator
from pathlib import Path

from ..spec import nearest

# of pictures; which of them this Pillow opens, `image_suffixes` says
PICTURES = ('.arw', '.avif', '.bmp', '.cr2', '.cr3', '.dng', '.gif', '.heic', '.heif', '.j2k', '.jfif', '.jp2', '.jpe',
            '.jpeg', '.jpg', '.jxl', '.mpo', '.nef', '.pbm', '.pgm', '.png', '.pnm', '.ppm', '.psd', '.tga', '.tif',
            '.tiff', '.webp')
VALIDATION = ('val', 'validation', 'valid')                    # one split under three names
HIDDEN, CYCLE = 'hidden', 'links to a folder that they lie in'


@functools.cache
def image_suffixes() -> tuple[str, ...]:
    """What the names of image files end with: those of `PICTURES` that Pillow opens here, sorted."""
    from PIL import Image
    known = Image.registered_extensions()
    opened = {*Image.OPEN, 'MPO'}                   # MPO by the opener of JPEG
    return tuple(suffix for suffix in PICTURES if known.get(suffix) in opened)


def is_image(name: str) -> bool:
    """Whether a file name, without folders, is that of an image: by its suffix, and not hidden by a dot before it."""
    return not name.startswith('.') and name.lower().endswith(image_suffixes())


class PassedOver:
    """Counts the pictures, by their suffix, and the links that readers of folders and archives do not take, to say it
    once."""

    def __init__(self) -> None:
        self._found: dict[str, list[str]] = {}

    def add(self, name: str, why: str | None = None) -> None:
        """Counts one, by the reason, which for a file is found from its name; one that is no picture is not counted."""
        suffix = os.path.splitext(name)[1].lower()
        if why is None and suffix in PICTURES:
            why = HIDDEN if name.startswith('.') else f'{suffix}, which Pillow does not open here'
        if why is not None:
            self._found.setdefault(why, []).append(name)

    def say(self, place: Path | str) -> None:
        """Warns of what was counted, in one line; of nothing if nothing was."""
        if self._found:
            counted = '; '.join(f'{len(names)} {why} ({shorten(sorted(names), 2)})'
                                for why, names in sorted(self._found.items()))
            warnings.warn(f'{place}: passed over {counted}.', stacklevel=2)


def walk_images(folder: Path | str, passed: PassedOver) -> list[str]:
    """The image files in a folder and below, as sorted paths relative to it with '/' between folders.

    Links to files and folders are followed, but for those to a folder that they lie in. Hidden files and folders are
    left out, as are files that are no images by their suffix.

    Raises:
        OSError: a folder cannot be read.
    """
    return sorted(_walk(Path(folder), '', passed, ()))


def _walk(folder: Path, prefix: str, passed: PassedOver, above: tuple[tuple[int, int], ...]) -> Iterator[str]:
    status = folder.stat()
    path = (*above, (status.st_dev, status.st_ino))
    with os.scandir(folder) as entries:
        for entry in entries:
            if not entry.is_dir():
                if is_image(entry.name):
                    yield prefix + entry.name
                else:
                    passed.add(entry.name)
            elif not entry.name.startswith('.'):
                target = entry.stat()
                if (target.st_dev, target.st_ino) in path:
                    passed.add(entry.name, CYCLE)
                else:
                    yield from _walk(Path(entry.path), f'{prefix}{entry.name}/', passed, path)


class NoSplit(ValueError):
    """A split that is not there, or none chosen.

    Attributes:
        problem: the message without its advice.
    """

    def __init__(self, problem: str, advice: str = '') -> None:
        super().__init__(problem + advice)
        self.problem = problem


def choose_split(split: str | None, splits: Iterable[str], place: Path | str) -> str:
    """`split`, or the only one there is if None. 'val', 'validation' and 'valid' stand for each other.

    Raises:
        NoSplit: it is not among `splits`, or there are several to choose from; the message lists them.
    """
    splits = list(splits)
    if split is None and len(splits) == 1:
        return splits[0]
    if split in splits:
        return split
    same = [name for name in splits if name in VALIDATION] if split in VALIDATION else []
    if len(same) == 1:
        return same[0]
    got = 'no split was chosen' if split is None else f'there is no split {split!r}'
    close = nearest(split, splits, 1) if split else []
    hint = f' Did you mean {close[0]!r}?' if close else ''
    raise NoSplit(f'{place}: {got}; there are: {shorten(splits, 20) or "none"}.{hint}')


def shorten(names: Iterable[str], most: int = 5) -> str:
    """The first of some names, and how many more there are, for a message."""
    names = list(names)
    more = f' and {len(names) - most} more' if len(names) > most else ''
    return ', '.join(names[:most]) + more
