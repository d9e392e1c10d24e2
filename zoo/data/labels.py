"""Class names of ImageNet's subsets. Standard library only.

A class is a synset of WordNet 3.0: an id ('n01440764'), synonyms, a definition. imagenet-1k.txt has the thousand
classes of ILSVRC 2012 in the order of the networks' outputs, imagenet-22k.txt.gz all others in the order of ids. A
line is id, synonyms, definition, and the larger subsets that the class is in; tabs between.
"""
from __future__ import annotations

import functools
import gzip
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from ..spec import unknown

# subset -> number of classes
SUBSETS = {
    'imagenet-1k': 1000,
    'imagenet-12k': 11821,          # the classes of the 22k with many images
    'imagenet-21k-goog': 21843,     # as Google's networks have them
    'imagenet-21k-miil': 11221,     # arXiv:2104.10972
    'imagenet-22k': 21841,          # as Meta's networks have them
    'imagenet-22k-ms': 21842,       # as Microsoft's networks have them: the thousand first
}
OTHER_NAMES = {'imagenet-21k': 'imagenet-21k-goog'}


class Synset(NamedTuple):
    """A class of images."""

    id: str
    names: str
    definition: str
    subsets: tuple[str, ...]


@functools.cache
def _table(file: str) -> tuple[Synset, ...]:
    """The lines of one of the two files."""
    content = Path(__file__).with_name(file).read_bytes()
    text = (gzip.decompress(content) if file.endswith('.gz') else content).decode()
    rows = (line.split('\t') for line in text.splitlines())
    return tuple(Synset(id_, names, definition, tuple(subsets.split())) for id_, names, definition, subsets in rows)


@functools.cache
def _classes(subset: str) -> tuple[Synset, ...]:
    """The classes of a subset, in the order of the networks' outputs."""
    thousand = _table('imagenet-1k.txt')
    if subset == 'imagenet-1k':
        return thousand
    short = subset.removeprefix('imagenet-')
    found = [s for s in (*thousand, *_table('imagenet-22k.txt.gz')) if short in s.subsets]
    return tuple(found if subset == 'imagenet-22k-ms' else sorted(found))


def imagenet_labels() -> tuple[str, ...]:
    """The names of the 1,000 classes: 'tench, Tinca tinca' is 0. Two are 'crane': 134 the bird, 517 the machine."""
    return tuple(s.names for s in _classes('imagenet-1k'))


def labels_for(num_classes: int) -> tuple[str, ...] | None:
    """The class names of the ImageNet subset that has so many classes; None if none has."""
    for subset, count in SUBSETS.items():
        if count == num_classes:
            return tuple(s.names for s in _classes(subset))
    return None


def infer_imagenet_subset(model_or_cfg: Any) -> str | None:
    """The name of the ImageNet subset a model, or a pretrained config, has as many classes as; None if there is none.

    A model's own `num_classes`, unless 0, goes before that of its `pretrained_cfg`.
    """
    def read(source: Any, name: str) -> Any:
        return source.get(name) if isinstance(source, Mapping) else getattr(source, name, None)

    count = read(model_or_cfg, 'num_classes') or read(read(model_or_cfg, 'pretrained_cfg'), 'num_classes')
    return next((subset for subset, classes in SUBSETS.items() if classes == count), None)


class ImageNetInfo:
    """The classes of an ImageNet subset. A label name is a synset id, a description the readable names.

    Args:
        subset: a key of `SUBSETS`, or 'imagenet-21k'; capitals, '-' and '_' do not matter.

    Raises:
        ValueError: there is no such subset.
    """

    def __init__(self, subset: str = 'imagenet-1k') -> None:
        known = {_bare(name): OTHER_NAMES.get(name, name) for name in (*SUBSETS, *OTHER_NAMES)}
        if _bare(subset) not in known:
            raise ValueError(unknown('ImageNet subset', subset, (*SUBSETS, *OTHER_NAMES)))
        self.subset = known[_bare(subset)]
        self._all = _classes(self.subset)
        self._by_id = {synset.id: synset for synset in self._all}

    def __repr__(self) -> str:
        return f'ImageNetInfo({self.subset!r})'

    def num_classes(self) -> int:
        """How many classes there are."""
        return len(self._all)

    def label_names(self) -> list[str]:
        """The synset ids, in the order of the outputs."""
        return list(self._by_id)

    def label_indices(self) -> tuple[int, ...]:
        """The indices of the outputs that have a class."""
        return tuple(range(len(self._all)))

    def label_descriptions(self, detailed: bool = False, as_dict: bool = False) -> list[str] | dict[str, str]:
        """The readable names in the order of the outputs, or by synset id; `detailed` adds the definitions."""
        by_id = {id_: _describe(synset, detailed) for id_, synset in self._by_id.items()}
        return by_id if as_dict else list(by_id.values())

    def has_label(self, index: int) -> bool:
        """Whether there is an output of that index."""
        return 0 <= index < len(self._all)

    def index_to_label_name(self, index: int) -> str:
        """The synset id of an output.

        Raises:
            IndexError: there is no such output.
        """
        return self._at(index).id

    def index_to_description(self, index: int, detailed: bool = False) -> str:
        """The readable names of an output; `detailed` adds the definition.

        Raises:
            IndexError: there is no such output.
        """
        return _describe(self._at(index), detailed)

    def label_name_to_description(self, label: str, detailed: bool = False) -> str:
        """The readable names of a synset id; `detailed` adds the definition.

        Raises:
            ValueError: the subset has no such synset.
        """
        if label not in self._by_id:
            raise ValueError(f'{self.subset} has no class {label!r}; a label name is a synset id such as '
                             f'{self._all[0].id!r}.')
        return _describe(self._by_id[label], detailed)

    def _at(self, index: int) -> Synset:
        if not self.has_label(index):
            raise IndexError(f'{self.subset} has classes 0 to {len(self._all) - 1}; got {index}.')
        return self._all[index]


def _bare(subset: str) -> str:
    return subset.lower().replace('-', '').replace('_', '')


def _describe(synset: Synset, detailed: bool) -> str:
    return f'{synset.names}: {synset.definition}' if detailed else synset.names
