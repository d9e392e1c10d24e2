"""A folder per class: ROOT/CLASS/**/image, or ROOT/SPLIT/CLASS/**/image."""
from __future__ import annotations

import os
from pathlib import Path

from ..files import VALIDATION, NoSplit, PassedOver, choose_split, is_image, shorten, walk_images
from .base import FileSource, Labels
from .classes import ClassMap

SPLITS = (*VALIDATION, 'dev', 'test', 'testing', 'train', 'training')


def open_folder(place: str, split: str | None, classes: ClassMap, description: str) -> FileSource:
    """Images in folders that are named by their class; images deeper down are of the class of the uppermost folder.

    Which files are images, `zoo.data.files.walk_images` says; a warning counts what was passed over.

    Args:
        place: the root.
        split: a folder of the root that holds the class folders; None if the root does.
        classes: which folder is which class.

    Raises:
        FileNotFoundError: there is no such folder, or no image in it, or none in one of its folders.
        ValueError: no such split, or none chosen; images lie beside the class folders or there are none; a folder
            that is no class.
    """
    root = Path(place)
    if not root.is_dir():
        raise FileNotFoundError(f'{place}: there is no such folder.')
    found = _folders(root)
    if split is not None:
        inside = f' If {root} holds the class folders, leave the split out.' if split not in found else ''
        try:
            root = root / choose_split(split, found, root)
        except NoSplit as error:
            raise NoSplit(str(error), inside) from None
        found = _folders(root)
    elif found and all(name.lower() in SPLITS for name in found):
        root = root / choose_split(None, found, root)
        found = _folders(root)
    loose = [name for name in sorted(os.listdir(root)) if is_image(name)]
    if not found and not loose:
        others = sorted(os.listdir(root))
        raise FileNotFoundError(f'{root}: no folder and no image in it; there is {shorten(others) or "nothing"}.')
    if not found:
        raise ValueError(f'{root}: {len(loose)} images ({shorten(loose, 2)}) and no class folder. Images lie in a '
                         'folder for each class; a flat folder needs a table of paths and labels (.csv or .parquet).')
    if loose:
        raise ValueError(f'{root}: {len(loose)} images ({shorten(loose, 2)}) lie beside the class folders '
                         f'({shorten(found)}), so their class is not known.')
    passed = PassedOver()
    images: dict[str, list[str]] = {folder: [] for folder in found}
    for name in walk_images(root, passed):
        images[name.partition('/')[0]].append(name)
    passed.say(root)
    empty = [folder for folder, names in images.items() if not names]
    if empty:
        raise FileNotFoundError(f'{root}: no image in {len(empty)} of {len(found)} folders: {shorten(empty)}.')
    indices = classes.folder_indices(found, str(root))
    names = [name for folder in found for name in images[folder]]
    targets = [indices[folder] for folder in found for _ in images[folder]]
    return FileSource(root, names, targets, folder_labels(classes, indices), description)


def folder_labels(classes: ClassMap, indices: dict[str, int]) -> Labels:
    """What the targets are where every folder has a class: of the class map, or of the folders if they are numbered."""
    if classes.mode in ('folders', 'sorted'):
        return Labels('single', len(indices), list(indices))
    return Labels('single', classes.count, classes.names)


def _folders(root: Path) -> list[str]:
    with os.scandir(root) as entries:
        return sorted(entry.name for entry in entries if entry.is_dir() and not entry.name.startswith('.'))
