"""What images a run has, by name, length and target: written into its folder, compared when it goes on."""
from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from ..data.files import shorten
from .sources import Sources

IMAGES = 'images.json.gz'
Entry = list[Any]                   # [split, name, bytes or None, target]


def list_images(sources: Sources) -> list[Entry]:
    """[split, name, length in bytes or None, target] of every image that has a number; nothing of it is read."""
    found = [[split, source.name(number), _size(source, number), source.target(number)]
             for split, source in (('train', sources.train), ('val', sources.val)) if hasattr(source, 'encoded')
             for number in range(len(source))]
    return json.loads(json.dumps(found))


def write_images(folder: Path, entries: Sequence[Entry]) -> None:
    """Writes the list into a run's folder, at once."""
    part = folder / f'{IMAGES}.part'
    part.write_bytes(gzip.compress(json.dumps(entries).encode(), mtime=0))
    part.replace(folder / IMAGES)


def check_images(folder: Path, entries: Sequence[Entry]) -> None:
    """Compares the images with those that a run in this folder began with.

    Raises:
        ValueError: they are others; the message says which, and in what.
    """
    path = folder / IMAGES
    before = json.loads(gzip.decompress(path.read_bytes())) if path.is_file() else entries
    changed = [words for split in ('train', 'val') for words in _changes(
        split, *([entry[1:] for entry in some if entry[0] == split] for some in (before, entries)))]
    if changed:
        raise ValueError(f'The images are not those that the run began with: {"; ".join(changed)}. It cannot go on '
                         'with others; begin a new run, with these weights as model.initial_checkpoint if you like.')


def _changes(split: str, before: list[Entry], now: list[Entry]) -> list[str]:
    old, new = ({name: (size, target) for name, size, target in some} for some in (before, now))
    both = [name for name in old if name in new]
    kinds = {'gone': [name for name in old if name not in new], 'new': [name for name in new if name not in old],
             'of another length': [name for name in both if old[name][0] != new[name][0]],
             'of another class or target': [name for name in both if old[name][1] != new[name][1]]}
    found = [f'{len(names)} {split} images are {kind} ({shorten(names, 3)})' for kind, names in kinds.items() if names]
    return found or ([f'the {split} images come in another order'] if before != now else [])


def _size(source: Any, number: int) -> int | None:
    try:
        return source.known_size(number)
    except OSError:                                             # reading it will say
        return None
