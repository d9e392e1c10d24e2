"""From the names of classes in a data set to the indices of a network's outputs, always by something that says so."""
from __future__ import annotations

import csv
import json
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ...spec import nearest, read_text
from ..files import shorten
from ..labels import ImageNetInfo, infer_imagenet_subset, labels_for

FOLDERS, NUMBERS, SORTED = 'folders', 'numbers', 'sorted'
SUFFIXES = ('.csv', '.json', '.txt')
HOW = ("Say which class is which: class_map= a mapping from name to index, a file (.txt: a name a line; .csv; .json), "
       "or model= a model with class names")


class ClassMap:
    """Which index a class has.

    A name is looked up as it is; then without regard to capitals, '_' and '-'; then among the synonyms in
    'tench, Tinca tinca'. One that several classes have so is refused.

    Args:
        class_map: a mapping from name to index; a list of names in the order of the indices; a file with either
            (`read_class_map`); 'numbers' if the names in the data are the indices; 'folders' to number folders in
            sorted order; 'sorted' to number in sorted order whatever names classes have, folders or labels of a table
            (numbers and data sets with numbers of their own keep theirs). None takes the classes of `model`.
        model: the network whose outputs the indices are; its `labels` and `num_classes` are used, where it has them.
            ImageNet's classes are also found by synset.

    Raises:
        ValueError: the map is empty, or has an index that is none.
        FileNotFoundError: there is no such file.
    """

    def __init__(self, class_map: Any = None, model: Any = None) -> None:
        self.mode = 'names'
        self.count: int | None = getattr(model, 'num_classes', None) or None
        self.names: list[str] | None = None
        self.explicit = class_map is not None
        self._tables: tuple[dict[str, set[int]], ...] = ({}, {}, {})        # exact, loose, synonyms
        labels = getattr(model, 'labels', None)
        if isinstance(class_map, str) and class_map in (FOLDERS, NUMBERS, SORTED):
            self.mode, self.origin = class_map, f'class_map={class_map!r}'
            self.names = list(labels) if labels and class_map == NUMBERS else None
        elif self.explicit:
            self._from_map(class_map)
            self.names = list(labels) if labels else self.names
        elif labels:
            self._from_model(list(labels), model)
        else:
            self.mode, self.origin = 'none', 'nothing'
        exact = self._tables[0]
        self._keyed_by_numbers = bool(exact) and all(map(is_number, exact))

    def _from_map(self, class_map: Any) -> None:
        self.origin = 'the class map'
        if isinstance(class_map, (str, os.PathLike)):
            self.origin = f'the class map {os.fspath(class_map)}'
            pairs = read_class_map(class_map)
        elif isinstance(class_map, Mapping):
            pairs = list(class_map.items())
        else:
            pairs = [(name, index) for index, name in enumerate(class_map)]
        if not pairs:
            raise ValueError(f'{self.origin} has no class.')
        for name, index in pairs:
            if isinstance(index, bool) or not hasattr(index, '__index__') or index < 0:
                raise ValueError(f'{self.origin}: {name!r} has the index {index!r}; an index is a whole number from 0 '
                                 'on.')
            self._add(str(name), int(index))
        top = 1 + max(int(index) for _, index in pairs)
        names = {int(index): str(name) for name, index in reversed(pairs)}
        self.names = [names.get(i, str(i)) for i in range(top)] if self.count in (None, top) else None
        self.count = self.count or top

    def _from_model(self, labels: list[str], model: Any) -> None:
        self.origin, self.names, self.count = 'the model', labels, len(labels)
        cfg = getattr(model, 'pretrained_cfg', None)
        descriptions = (cfg.get('label_descriptions') if isinstance(cfg, Mapping) else None) or {}
        ids = ImageNetInfo('imagenet-1k')
        thousand = dict(zip(ids.label_names(), ids.label_descriptions()))
        for index, label in enumerate(labels):
            self._add(label, index)
            for other in (descriptions.get(label), thousand.get(label)):
                if other is not None and other != label:
                    self._add(other, index)
        subset = infer_imagenet_subset(model)
        if subset and tuple(labels) == labels_for(len(labels)):
            for index, synset in enumerate(ImageNetInfo(subset).label_names()):
                self._add(synset, index)

    def known_count(self, place: str) -> int:
        """How many classes there are.

        Raises:
            ValueError: nothing says so; `place` is the data set's, for the message.
        """
        if self.count is None:
            raise ValueError(f'{place}: nothing says how many classes there are. Give class_map= or model=.')
        return self.count

    def _add(self, name: str, index: int) -> None:
        exact, loose, synonyms = self._tables
        exact.setdefault(name, set()).add(index)
        loose.setdefault(_loosely(name), set()).add(index)
        for part in name.split(','):
            synonyms.setdefault(_loosely(part), set()).add(index)

    def _find(self, name: str) -> set[int]:
        for table, key in zip(self._tables, (name, _loosely(name), _loosely(name))):
            if key in table:
                return table[key]
        return set()

    def folder_indices(self, folders: Iterable[str], place: str) -> dict[str, int]:
        """The index of each folder that holds a class.

        Raises:
            ValueError: nothing says which class is which, a folder is no known class or could be several, two are the
                same class, or an index is beyond the model's outputs.
        """
        folders = sorted(folders)
        found = f'{place}: {len(folders)} folder{"s" * (len(folders) != 1)} ({shorten(folders)})'
        if self.mode == 'none':
            numbers = ' or class_map=\'numbers\' (the names are the indices)' if all(map(is_number, folders)) else ''
            raise ValueError(f'{found}, and nothing says which class each is. {HOW}{numbers}, or '
                             "class_map='folders' to number them in sorted order.")
        if self.mode in (FOLDERS, SORTED):
            if self.count not in (None, len(folders)):
                raise ValueError(f"{found}, but the model has {self.count} classes: {self.origin} numbers the "
                                 f'folders, so there must be as many. {HOW}.')
            return {folder: index for index, folder in enumerate(folders)}
        if self.mode == NUMBERS and not all(map(is_number, folders)):
            wrong = [folder for folder in folders if not is_number(folder)]
            raise ValueError(f"{found}: class_map='numbers' takes their names as indices, and {shorten(wrong)} "
                             f'{"is" if len(wrong) == 1 else "are"} no number. {HOW}.')
        indices = self._looked_up(folders, place, 'folder') if self.mode == 'names' else {f: int(f) for f in folders}
        self._check_range(indices, place)
        if not self.explicit or self.mode == NUMBERS:
            owner: dict[int, str] = {}
            for folder, index in indices.items():
                if owner.setdefault(index, folder) != folder:
                    raise ValueError(f'{place}: the folders {owner[index]} and {folder} are both class {index} of '
                                     f'{self.origin}. If they are, say so by a mapping: class_map=.')
        return indices

    def label_indices(self, labels: Iterable[str | int], place: str) -> dict[str | int, int]:
        """The index of each label. A whole number is an index, unless the map is one from numbers to indices.

        Raises:
            ValueError: as `folder_indices`.
        """
        labels = list(labels)
        if self.mode == FOLDERS:
            raise ValueError(f"{place}: class_map='folders' numbers folders, and there are none. {HOW}.")
        named = [label for label in labels if self._keyed_by_numbers or not is_number(label)]
        if named and self.mode != 'names':
            why = "class_map='numbers' takes labels as indices, and these are names" if self.mode == NUMBERS else \
                'nothing says which class each is'
            raise ValueError(f'{place}: {len(named)} label{"s" * (len(named) != 1)} ({shorten(map(str, named))}): '
                             f'{why}. {HOW}.')
        indices = self._looked_up(named, place, 'label') | {n: int(n) for n in set(labels) - set(named)}
        self._check_range(indices, place)
        return indices

    def number_labels(self, labels: Iterable[str | int], place: str) -> None:
        """With class_map='sorted', makes these labels, all there are, the classes in sorted order; else nothing.

        Whole numbers stay what they are.

        Raises:
            ValueError: the model has another number of classes.
        """
        names = sorted(str(label) for label in labels)
        if self.mode != SORTED or all(map(is_number, names)):
            return
        if self.count not in (None, len(names)):
            raise ValueError(f'{place}: {len(names)} labels ({shorten(names)}), but the model has {self.count} classes: '
                             f'{self.origin} numbers the labels, so there must be as many. {HOW}.')
        self.mode, self._keyed_by_numbers = 'names', True             # a number among names is a name
        self._from_map(names)

    def own_indices(self, names: Sequence[str] | None, count: int | None, place: str) -> list[int] | None:
        """For a data set that numbers its classes itself, the index of each of its numbers; None where a number is the
        index.

        Args:
            names: its classes in its own order, or None if it names none.
            count: how many it has, if it says.

        Raises:
            ValueError: as `folder_indices`, or the model has another number of classes.
        """
        if self.mode == FOLDERS:
            raise ValueError(f"{place}: class_map='folders' numbers folders; this numbers its classes itself, which "
                             "class_map='numbers' takes.")
        if self.mode == 'names' and names is not None:
            indices = self._looked_up(names, place, 'class', " Or class_map='numbers', to take the numbers that the "
                                      'data set gives its classes.')
            self._check_range(indices, place)
            return [indices[name] for name in names]
        if self._keyed_by_numbers and count is not None:
            return list(self.label_indices(range(count), place).values())
        if self.mode == SORTED and self.count is None:
            return None
        fits = count is None or self.count is None or count == self.count or (count < self.count and self.explicit)
        if not fits:
            raise ValueError(f'{place}: {count} classes ({shorten(names or [])}), but {self.count} in '
                             f'{"the model" if self.mode in ("none", NUMBERS) else self.origin}. {HOW}.')
        return None

    def _looked_up(self, names: Iterable[Any], place: str, kind: str, hint: str = '') -> dict[Any, int]:
        found = {name: self._find(str(name)) for name in names}
        unknown = [str(name) for name, indices in found.items() if not indices]
        if unknown:
            close = nearest(unknown[0], self._tables[0], 1)
            meant = f' The nearest to {unknown[0]!r} is {close[0]!r}.' if close else ''
            plural = 'is no class' if len(unknown) == 1 else 'are no classes'
            raise ValueError(f'{place}: {len(unknown)} of {len(found)} {kind} names {plural} of {self.origin}: '
                             f'{shorten(unknown)}.{meant}{hint if self.explicit else f" {HOW}." + hint}')
        for name, indices in found.items():
            if len(indices) > 1:
                raise ValueError(f'{place}: the {kind} name {name!r} could be the classes {sorted(indices)} of '
                                 f'{self.origin}; give class_map= a mapping that says which.')
        return {name: min(indices) for name, indices in found.items()}

    def _check_range(self, indices: Mapping[Any, int], place: str) -> None:
        for name, index in indices.items():
            if index < 0 or self.count is not None and index >= self.count:
                last = f'0 to {self.count - 1}' if self.count else '0 and up'
                raise ValueError(f'{place}: {name!r} has the index {index}; the classes are {last}.')


def is_number(label: str | int) -> bool:
    """Whether a label is a whole number or the text of one."""
    if isinstance(label, str):
        return bool(re.fullmatch(r'\s*[+-]?\d+\s*', label))
    return hasattr(label, '__index__') and not isinstance(label, bool)


def own_index(own: Sequence[int], number: int, where: str) -> int:
    """The index of a data set's own number `number`, by what `ClassMap.own_indices` returned.

    Raises:
        ValueError: the data set has no such class; -1 is common where labels are kept back.
    """
    if not is_number(number) or not 0 <= number < len(own):
        raise ValueError(f'{where}: {number!r} is no class; the data set numbers its own 0 to {len(own) - 1}.')
    return own[number]


def read_class_map(file: str | os.PathLike[str]) -> list[tuple[str, int]]:
    """Names and their indices from a file; several names may have one index.

    - .txt: a name a line, the first has index 0.
    - .json: {name: index}; a list of names; {index: name or list of its names}; or a model's config.json, whose
      `label_names` these are.
    - .csv: one column of whole numbers, the indices; every other column has names for them. A first row without a
      number is a heading.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: another suffix or content.
    """
    path = Path(file)
    if not path.is_file():
        raise FileNotFoundError(f'There is no class map {path}: it is a file ({", ".join(SUFFIXES)}), {FOLDERS!r}, '
                                f'{NUMBERS!r} or {SORTED!r}.')
    if path.suffix.lower() not in SUFFIXES:
        raise ValueError(f'{path}: a class map is a file that ends in {", ".join(SUFFIXES)}.')
    text = read_text(path)
    if path.suffix.lower() == '.txt':
        lines = [line.strip() for line in text.rstrip().splitlines()]
        if '' in lines:
            raise ValueError(f'{path}: line {1 + lines.index("")} is empty; it has a name a line.')
        return [(name, index) for index, name in enumerate(lines)]
    return _json_pairs(path, text) if path.suffix.lower() == '.json' else _csv_pairs(path, text)


def _json_pairs(path: Path, text: str) -> list[tuple[str, int]]:
    try:
        content = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f'{path} is no JSON: {error}.') from error
    if isinstance(content, dict) and content.get('label_names'):
        content = content['label_names']
    if isinstance(content, list) and all(isinstance(name, str) for name in content):
        return [(name, i) for i, name in enumerate(content)]
    if isinstance(content, dict) and all(type(value) is int for value in content.values()):
        return list(content.items())
    if isinstance(content, dict) and all(map(is_number, content)):
        named = [(names if isinstance(names, list) else [names], int(i)) for i, names in content.items()]
        if all(isinstance(name, str) for names, _ in named for name in names):
            return [(name, i) for names, i in named for name in names]
    raise ValueError(f'{path}: a class map in JSON is {{name: index}}, a list of names, {{index: name}} or a config '
                     f'with label_names; got {text[:60].strip()!r}.')


def _csv_pairs(path: Path, text: str) -> list[tuple[str, int]]:
    rows = [row for row in csv.reader(text.splitlines()) if any(row)]
    heading = rows[0] if rows and not any(map(is_number, rows[0])) else None
    body = rows[1:] if heading else rows
    if len({len(row) for row in rows}) > 1 or not body:
        raise ValueError(f'{path}: a class map in CSV has rows of the same length; got {len(rows)} rows.')
    numeric = [c for c in range(len(body[0])) if all(is_number(row[c]) for row in body)]
    if len(numeric) != 1:
        raise ValueError(f'{path}: a class map in CSV has one column of whole numbers, the indices; this has '
                         f'{len(numeric)} of {len(body[0])}{f" ({shorten(heading)})" if heading else ""}.')
    return [(name.strip(), int(row[numeric[0]])) for row in body for c, name in enumerate(row) if c != numeric[0]]


def _loosely(name: str) -> str:
    return ' '.join(re.split(r'[\s_-]+', name.strip().lower()))
