"""Which files are images, and the choice of a split: what all readers of data sets share. Standard library only."""
from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from ..spec import nearest

IMAGE_SUFFIXES = ('.bmp', '.gif', '.jpeg', '.jpg', '.png', '.ppm', '.tif', '.tiff', '.webp')
VALIDATION = ('val', 'validation', 'valid')                    # one split under three names


def is_image(name: str) -> bool:
    """Whether a file name ends as images do."""
    return name.lower().endswith(IMAGE_SUFFIXES)


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
