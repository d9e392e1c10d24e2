"""Data sets of the Hugging Face hub, or in its format on disk; by the package `datasets`."""
from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

from ...spec import unknown
from ..files import choose_split, shorten
from .base import ImageSource, ImageStream, Labels, Target
from .classes import ClassMap, own_index
from .table import TASKS, numbers, one_each, several

TARGETS = ('label', 'labels', 'target', 'class', 'fine_label')


class RowSource(ImageSource):
    """The rows of a `datasets.Dataset`."""

    def __init__(self, dataset: Any, image: str, targets: list[Target], labels: Labels, description: str) -> None:
        super().__init__(targets, labels, description)
        self.dataset, self._image = dataset.select_columns([image]), image

    def name(self, index: int) -> str:
        """The number of the row."""
        return str(index)

    def encoded(self, index: int) -> bytes:
        """The image file as it is stored."""
        return _bytes(self.dataset[index][self._image], f'{self.description}, row {index}')


class RowStream(ImageStream):
    """The rows of a `datasets.IterableDataset`, each sent when its turn comes."""

    def __init__(self, dataset: Any, image: str, column: str, encode: Callable[[Any, str], Target], labels: Labels,
                 description: str) -> None:
        super().__init__(labels, description)
        self.dataset, self._image, self._column, self._encode = dataset, image, column, encode

    def __iter__(self) -> Iterator[tuple[str, bytes, Target]]:
        """`datasets` itself splits the rows between the workers of a DataLoader, so a row's number is not known: an
        image without a path is called by the beginning of its SHA-256."""
        for number, row in enumerate(self.dataset):
            if number % self.parts == self.part:
                image = _bytes(row[self._image], self.description)
                name = row[self._image].get('path') or hashlib.sha256(image).hexdigest()[:16]
                yield name, image, self._encode(row[self._column], f'{self.description}, {name}')


def open_huggingface(place: str, split: str | None, classes: ClassMap, description: str, *, config: str | None = None,
                     streaming: bool = False, image: str | None = None, target: str | None = None,
                     task: str = 'single') -> ImageSource | ImageStream:
    """A data set of the hub, in a folder of Parquet files, or saved by `save_to_disk`.

    Args:
        place: 'user/name' on the hub, or a folder.
        split: the split; None if there is only one.
        classes: which of its classes is which of the model's. Without class names, its own numbers are the indices.
        config: which of several data sets under the name.
        streaming: read it row by row and store nothing.
        image: the column of images; needed if there are several.
        target: the column of labels; needed where not just one of `TARGETS` is there.
        task: 'single', 'multi' (the column holds lists) or 'regression'.

    Raises:
        ImportError: `datasets` is not installed.
        FileNotFoundError: there is no such data set.
        ValueError: another split, column or task, or a class that is none of the model's.
    """
    try:
        import datasets
    except ImportError as error:
        raise ImportError(f"{description}: needs datasets: pip install 'zoo-image-models[data]'.") from error
    if any((Path(place) / name).is_file() for name in ('state.json', 'dataset_dict.json')):
        found = datasets.load_from_disk(place)
        found = found[choose_split(split, found, description)] if isinstance(found, Mapping) else found
        found = found.to_iterable_dataset() if streaming else found
    else:
        try:
            splits = datasets.get_dataset_split_names(place, config)
            found = datasets.load_dataset(place, config, split=choose_split(split, splits, description),
                                          streaming=streaming)
        except (FileNotFoundError, ConnectionError) as error:
            raise FileNotFoundError(f'{description}: no such data set in a folder or within reach: {error}') from error
    return open_rows(found, None, classes, description, image=image, target=target, task=task)


def open_rows(dataset: Any, split: str | None, classes: ClassMap, description: str, *, image: str | None = None,
              target: str | None = None, task: str = 'single') -> ImageSource | ImageStream:
    """A `datasets.Dataset` or `IterableDataset`; or the dictionary of their splits. See `open_huggingface`."""
    import datasets
    if isinstance(dataset, Mapping):
        dataset = dataset[choose_split(split, dataset, description)]
    if task not in TASKS:
        raise ValueError(unknown('task', task, TASKS))
    features = dataset.features
    if features is None:
        raise ValueError(f'{description}: the stream does not say what its columns are; open it without streaming.')
    image = _column(image, [n for n, f in features.items() if isinstance(f, datasets.Image)], features, description,
                    'image')
    target = _column(target, [n for n in features if n in TARGETS], features, description, 'target')
    encode, labels = _encoder(features[target], classes, task, description)
    dataset = dataset.select_columns([image, target]).cast_column(image, datasets.Image(decode=False))
    if isinstance(dataset, datasets.IterableDataset):
        return RowStream(dataset, image, target, encode, labels, description)
    if not len(dataset):
        raise ValueError(f'{description}: the data set has no rows.')
    targets = [encode(cell, f'{description}, row {i}') for i, cell in enumerate(dataset[target])]
    return RowSource(dataset, image, targets, labels, description)


class _Encoder:
    """From a cell to a target; it goes to the workers of a DataLoader."""

    def __init__(self, task: str, classes: ClassMap, own: list[int] | None, description: str) -> None:
        self.task, self.classes, self.own, self.description = task, classes, own, description

    def __call__(self, cell: Any, where: str) -> Target:
        if self.task == 'regression':
            return numbers(cell, where)
        if self.task == 'single' and self.own is not None:
            return own_index(self.own, cell, where)
        if self.task == 'single':
            return one_each([cell], [where], self.classes, where)[0][0]
        if not isinstance(cell, list):
            raise ValueError(f"{where}: {cell!r} is no list of classes, as task='multi' needs.")
        if self.own is None:
            return several([cell], self.classes, where)[0][0]
        there = {own_index(self.own, number, where) for number in cell}
        return [float(index in there) for index in range(self.classes.known_count(where))]


def _encoder(feature: Any, classes: ClassMap, task: str, description: str) -> tuple[_Encoder, Labels]:
    """What turns a cell of that type into a target, and what targets are."""
    if task == 'regression':
        return _Encoder(task, classes, None, description), Labels(task)
    inner = getattr(feature, 'feature', feature)
    if task == 'single' and inner is not feature:
        raise ValueError(f"{description}: the target column holds lists; these are task='multi' or 'regression'.")
    names = list(inner.names) if getattr(inner, 'names', None) else None
    own = classes.own_indices(names, len(names), description) if names else None
    if names and own is None:
        own, count = list(range(len(names))), classes.count or len(names)
        classes.count, classes.names = count, classes.names or names
    return _Encoder(task, classes, own, description), Labels(task, classes.count, classes.names)


def _column(name: str | None, usual: list[str], columns: Mapping[str, Any], description: str, what: str) -> str:
    if name is None and len(usual) == 1:
        return usual[0]
    if name is None:
        raise ValueError(f'{description}: {what}= must name the column; there are {len(usual)} that it could be. '
                         f'Columns: {shorten(columns, 20)}.')
    if name not in columns:
        raise ValueError(f'{description}: {unknown("column", name, columns)}')
    return name


def _bytes(cell: Any, where: str) -> bytes:
    if cell and cell.get('bytes'):
        return cell['bytes']
    if cell and cell.get('path'):
        return Path(cell['path']).read_bytes()
    raise OSError(f'{where}: there is no image.')
