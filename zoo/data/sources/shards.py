"""WebDataset shards: tar files in which the members of a sample, '0001.jpg' and '0001.cls', follow each other."""
from __future__ import annotations

import contextlib
import json
import re
import tarfile
import urllib.request
from collections.abc import Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO

from ...spec import decode, nearest, unknown
from ..files import choose_split, is_image, shorten
from .base import ImageStream, Labels, Target
from .classes import ClassMap
from .table import TASKS, numbers, one_each, several
from .tar import CheckedMember

URLS = ('http://', 'https://')
TEXTS = ('cls', 'txt')


class ShardStream(ImageStream):
    """The samples of tar files, each file read once from its beginning to its end.

    Args:
        shards: paths or URLs.
        target: which member of a sample is its target, by suffix, or else the field of that name in its .json.
    """

    def __init__(self, shards: list[str], target: str, task: str, classes: ClassMap, description: str) -> None:
        regression = task == 'regression'
        super().__init__(Labels(task) if regression else Labels(task, classes.count, classes.names), description)
        self.shards, self._target, self._classes = shards, target, classes

    def __iter__(self) -> Iterator[tuple[str, bytes, Target]]:
        """Samples in their order.

        Raises:
            OSError: a shard can no longer be read.
            ValueError: a shard is broken or cut short, a sample has no image or several, or no target that will do.
        """
        from torch.utils.data import get_worker_info
        worker = get_worker_info()
        part, parts = self.part, self.parts
        if worker is not None:
            part, parts = part + parts * worker.id, parts * worker.num_workers
        by_shard = len(self.shards) >= parts            # else all read everything, and take turns
        number = 0
        for shard in self.shards[part::parts] if by_shard else self.shards:
            for key, members in _samples(shard):
                if by_shard or number % parts == part:
                    yield self._sample(shard, key, members)
                number += 1

    def _sample(self, shard: str, key: str, members: Mapping[str, bytes]) -> tuple[str, bytes, Target]:
        where = f'{shard}: {key}'
        images = [suffix for suffix in members if is_image(f'image.{suffix}')]
        if len(images) != 1:
            raise ValueError(f'{where} has {len(images) or "no"} images; its members are {shorten(members)}. A sample '
                             'has one.')
        cell = self._cell(members, where)
        if self.task == 'regression':
            target = numbers(cell, where)
        elif self.task == 'multi':
            target = several([cell if isinstance(cell, list) else str(cell).split()], self._classes, where)[0][0]
        else:
            target = one_each([cell], [where], self._classes, where)[0][0]
        return f'{PurePosixPath(shard).name}/{key}.{images[0]}', members[images[0]], target

    def _cell(self, members: Mapping[str, bytes], where: str) -> Any:
        fields: Any = {}
        if self._target in members:
            text = decode(members[self._target], f'{where}.{self._target}').strip()
            return json.loads(text) if text.startswith('[') else text
        if 'json' in members:
            fields = json.loads(decode(members['json'], f'{where}.json'))
            if self._target in fields:
                return fields[self._target]
        inside = f', and in its .json {shorten(fields)}' if fields else ''
        raise ValueError(f'{where} has no target {self._target!r}; its members are {shorten(members)}{inside}.')


def open_shards(place: str, split: str | None, classes: ClassMap, description: str, *, target: str = 'cls',
                task: str = 'single') -> ImageStream:
    """Samples of WebDataset shards.

    Args:
        place: a tar file, several as 'data/val-{000..010}.tar', a URL of either kind, or a folder of tar files.
        split: of a folder, the folder inside it, or the shards that have this in their name, between '-', '_' and '.'.
        classes: which name is which class; whole numbers are indices.
        target: the suffix of the member with the target, or the name of a field of the sample's .json.
        task: 'single'; 'multi': classes with spaces between them, or a list in JSON; 'regression'.

    Raises:
        FileNotFoundError: a shard is not there.
        ValueError: no such split, or another task.
    """
    if task not in TASKS:
        raise ValueError(unknown('task', task, TASKS))
    if task == 'multi' and classes.count is None:
        raise ValueError(f'{description}: nothing says how many classes there are. Give class_map= or model=.')
    if Path(place).is_dir():
        shards = _of_folder(Path(place), split)
    else:
        if split is not None:
            raise ValueError(f'{description}: the shards are named, so no split can be chosen; got {split!r}.')
        shards = expand(place)
    missing = [shard for shard in shards if not shard.startswith(URLS) and not Path(shard).is_file()]
    if missing:
        beside = Path(missing[0]).parent
        there = sorted(p.name for p in beside.iterdir()) if beside.is_dir() else []
        close = nearest(Path(missing[0]).name, there, 1)
        raise FileNotFoundError(f'{description}: {len(missing)} of {len(shards)} shards are not there: '
                                f'{shorten(missing, 3)}.{f" There is {close[0]!r}." if close else ""}')
    stream = ShardStream(shards, target, task, classes, description)
    if not any(shard.startswith(URLS) for shard in shards[:1]):
        next(iter(stream), None)                    # what is wrong with the first sample is said now
    return stream


def expand(text: str) -> list[str]:
    """The names that 'a-{08..11}.tar' or 'a-{x,y}.tar' stands for.

    Raises:
        ValueError: a range that ends before it begins.
    """
    found = re.search(r'\{(?:(\d+)\.\.(\d+)|([^{}]*,[^{}]*))\}', text)
    if not found:
        return [text]
    first, last, words = found.groups()
    if words is None and int(first) > int(last):
        raise ValueError(f'{text}: {first} is after {last}.')
    width = len(first) if words is None and (first.startswith('0') or len(first) == len(last)) else 0
    middle = words.split(',') if words is not None else [f'{n:0{width}}' for n in range(int(first), int(last) + 1)]
    return [name for word in middle for name in expand(text[:found.start()] + word + text[found.end():])]


def _of_folder(folder: Path, split: str | None) -> list[str]:
    inside = {path.parent.name for path in folder.glob('*/*.tar')}
    if inside and not any(folder.glob('*.tar')):
        folder, split = folder / choose_split(split, sorted(inside), folder), None
    shards = sorted(folder.glob('*.tar'))
    if not shards:
        raise FileNotFoundError(f'{folder}: no tar file in it; there is '
                                f'{shorten(sorted(p.name for p in folder.iterdir())) or "nothing"}.')
    if split is not None:
        words = {path: re.split(r'[-_.]', path.name) for path in shards}
        known = {word for path in shards for word in words[path] if word.isalpha() and word != 'tar'}
        word = choose_split(split, sorted(known), folder)
        shards = [path for path in shards if word in words[path]]
    return [str(path) for path in shards]


def _samples(shard: str) -> Iterator[tuple[str, dict[str, bytes]]]:
    """(key, {suffix: content}) of each sample of a shard."""
    key: str | None = None
    members: dict[str, bytes] = {}
    try:
        with _opened(shard) as file, tarfile.open(fileobj=file, mode='r|*', tarinfo=CheckedMember) as tar:
            for member in tar:
                path = PurePosixPath(member.name)
                content = tar.extractfile(member) if member.isfile() else None
                if content is None or path.name.startswith('.') or '.' not in path.name:
                    continue
                stem, suffix = path.name.split('.', 1)
                here = str(path.with_name(stem))
                if here != key:
                    if key is not None:
                        yield key, members
                    key, members = here, {}
                if suffix.lower() in members:
                    raise ValueError(f'{shard}: {member.name} is there twice.')
                members[suffix.lower()] = content.read()
    except (tarfile.TarError, EOFError) as error:
        raise ValueError(f'{shard}: no whole tar file: {error}.') from error
    if key is None:
        raise ValueError(f'{shard}: no sample in it.')
    yield key, members


@contextlib.contextmanager
def _opened(shard: str) -> Iterator[BinaryIO]:
    with urllib.request.urlopen(shard) if shard.startswith(URLS) else open(shard, 'rb') as file:
        yield file
