"""Images and targets of every kind of data set by one text, `create_dataset`; a file here for each kind."""
from __future__ import annotations

import importlib
import inspect
import os
import re
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl

from ...spec import nearest, unknown
from .base import ImageSource, ImageStream, digest_of
from .classes import ClassMap

__all__ = ['ClassMap', 'ImageSource', 'ImageStream', 'create_dataset', 'digest_of']

# what a text begins with, before a '/' -> module and function
OPENERS = {
    'folder': ('folder', 'open_folder'),
    'table': ('table', 'open_table'),
    'tar': ('tar', 'open_tar'),
    'torchvision': ('vision', 'open_vision'),
    'hfds': ('huggingface', 'open_huggingface'),
    'wds': ('shards', 'open_shards'),
}
# without such a beginning, what a path ends with
SUFFIXES = {'.csv': 'table', '.tsv': 'table', '.parquet': 'table', '.tar': 'tar'}
SWITCHES = {'1': True, 'true': True, '0': False, 'false': False}



def create_dataset(spec: Any, split: str | None = None, *, class_map: Any = None, model: Any = None,
                   **options: Any) -> ImageSource | ImageStream:
    """Images and targets, by one text.

    - 'photos/val' or 'folder/photos/val': a folder for each class.
    - 'val.csv', 'val.tsv', 'val.parquet' or 'table/…': paths and labels.
    - 'val.tar', or a folder with nothing but tar files, or 'tar/…': a folder, or a tar file, for each class.
    - 'torchvision/cifar10': a data set of torchvision; `root` is the folder it lies in.
    - 'hfds/user/name': a data set of the Hugging Face hub or a folder in its formats; `streaming=True` stores nothing.
    - 'wds/val-{000..010}.tar': WebDataset shards.

    '?name=value&name=value' at the end of the text gives arguments, these too: 'val.csv?target=age&task=regression'.

    Args:
        spec: the text, a path; or an object: a data set of `datasets`, or one with items (image of Pillow's, class).
        split: 'train', 'val', …, where there are several.
        class_map: which name is which class: a mapping from name to index, a list of names, or a file
            (`zoo.data.sources.classes.read_class_map`); 'numbers', 'folders' or 'sorted', see `ClassMap`.
        model: the network whose outputs the targets are to be compared with. Its class names are the class map where
            none is given, and no target is beyond its outputs.
        **options: those of the kind of data set: see the functions in `OPENERS`.

    Returns:
        An `ImageSource`, or an `ImageStream` if the images come one after the other (shards, streaming).

    Raises:
        FileNotFoundError: there is nothing there, or no image in it.
        ValueError: what was found cannot be mapped to classes without a guess, a wrong split or option; the message
            says what was found and what would do.
        ImportError: a package is missing that reads this kind.
    """
    if not isinstance(spec, (str, os.PathLike)):
        module, function = ('huggingface', 'open_rows') if _of_datasets(spec) else ('vision', 'open_items')
        return _call(module, function, spec, split, class_map, model, type(spec).__name__, options)
    text = description = os.fspath(spec)
    found = re.fullmatch(r'(.+?)\?((?:\w+=[^&]*&)*\w+=[^&]*)', text)
    if found and not Path(text).exists():
        text, given = found[1], dict(parse_qsl(found[2], keep_blank_values=True))
        arguments = options | {k: v for k, v in (('split', split), ('class_map', class_map)) if v is not None}
        twice = sorted(given.keys() & arguments.keys())
        if twice:
            raise ValueError(f'{description}: {", ".join(twice)} is given in the text and as an argument.')
        split, class_map = given.pop('split', split), given.pop('class_map', class_map)
        options = options | given
    kind, place = _kind(text, description)
    return _call(*OPENERS[kind], place, split, class_map, model, description, options)


def _kind(text: str, description: str) -> tuple[str, str]:
    """The key of `OPENERS`, and the rest of the text."""
    prefix, slash, rest = text.partition('/')
    if slash and rest and prefix in OPENERS:
        return prefix, rest
    if not text:
        raise ValueError('The text that names a data set is empty; the folder one is in is \'.\'.')
    path = Path(text)
    if path.suffix.lower() in SUFFIXES and not path.is_dir():
        return SUFFIXES[path.suffix.lower()], text
    if path.is_dir():
        entries = [p for p in path.iterdir() if not p.name.startswith('.')]
        return ('tar' if entries and all(p.suffix == '.tar' for p in entries) else 'folder'), text
    known = ', '.join(f"'{name}/'" for name in OPENERS)
    if path.is_file():
        raise ValueError(f'{description}: a file that ends in {path.suffix or "nothing"} is no data set; those that '
                         f'end in {", ".join(SUFFIXES)} are. Other kinds begin with {known}.')
    around = path.parent if path.parent.is_dir() else Path()
    close = nearest(path.name, [p.name for p in around.iterdir()], 1)
    meant = f' Did you mean {str(around / close[0])!r}?' if close else ''
    raise FileNotFoundError(f'{description}: there is no such folder or file.{meant} Other kinds begin with {known}.')


def _call(module: str, function: str, place: Any, split: str | None, class_map: Any, model: Any, description: str,
          options: dict[str, Any]) -> ImageSource | ImageStream:
    opener = getattr(importlib.import_module(f'.{module}', __name__), function)
    known = {p.name: p for p in inspect.signature(opener).parameters.values() if p.kind is p.KEYWORD_ONLY}
    for name, value in options.items():
        if name not in known:
            if known:
                raise ValueError(f'{description}: {unknown("option", name, [*known, "split", "class_map"])}')
            raise ValueError(f'{description}: option {name!r} is not known; this kind of data set has none.')
        if isinstance(known[name].default, bool) and isinstance(value, str):
            if value.lower() not in SWITCHES:
                raise ValueError(f'{description}: {name} is one of {", ".join(SWITCHES)}; got {value!r}.')
            options = options | {name: SWITCHES[value.lower()]}
    return opener(place, split, ClassMap(class_map, model), description, **options)


def _of_datasets(spec: Any) -> bool:
    dictionary = next(iter(spec.values()), None) if isinstance(spec, dict) else spec
    return type(dictionary).__module__.partition('.')[0] == 'datasets'
