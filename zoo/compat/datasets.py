"""`timm.data.create_dataset` as programs call it: a name and a root, giving images of Pillow's with their classes.

The images are read by `zoo.data.create_dataset`, which is called otherwise.
"""
from __future__ import annotations

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from torch.utils.data import Dataset, IterableDataset

from ..data.files import VALIDATION
from ..data.images import convert_image, load_image
from ..data.sources import ImageSource, ImageStream
from ..data.sources import create_dataset as open_dataset
from ..data.sources.folder import SPLITS
from ..spec import unknown

FOLDERS = ('', 'folder', 'imagefolder', 'image_folder', 'torch/folder', 'torch/image_folder')
PREFIXES = ('torch/', 'hfds/', 'hfids/', 'wds/')


class ImageDataset(Dataset[tuple[Any, Any]]):
    """(image, class) by number, in the natural order of the images' names ('2.png' before '10.png').

    Args:
        source: the images.
        mode: of the images, one of Pillow's that `zoo.data.convert_image` knows; '' leaves them as they are.
        load_bytes: give the files instead of images.

    Attributes:
        transform, target_transform: applied to an image and to its class if they are not None; both may be set.
        reader: `class_to_idx`, the name of a class -> its number.
    """

    def __init__(self, source: ImageSource, mode: str = 'RGB', load_bytes: bool = False,
                 transform: Callable[[Any], Any] | None = None, target_transform: Callable[[Any], Any] | None = None,
                 ) -> None:
        self.source, self.mode, self.load_bytes = source, mode, load_bytes
        self.transform, self.target_transform = transform, target_transform
        self._order = sorted(range(len(source)), key=lambda number: _natural(source.name(number)))
        self.reader = SimpleNamespace(class_to_idx={name: i for i, name in enumerate(source.class_names or ())})

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> tuple[Any, Any]:
        number = self._order[index]
        return _item(self, self.source.encoded(number), self.source.target(number))

    def filename(self, index: int, basename: bool = False, absolute: bool = False) -> str:
        """What an image is called: its path in the data set, only its last part, or its path from the root of the disk.

        Raises:
            ValueError: `absolute` of images that are no files of their own.
        """
        name = self.source.name(self._order[index])
        if basename:
            return Path(name).name
        if not absolute:
            return name
        if not hasattr(self.source, 'root'):
            raise ValueError(f'{self.source.description}: its images are no files, they have no absolute path.')
        return str((self.source.root / name).absolute())

    def filenames(self, basename: bool = False, absolute: bool = False) -> list[str]:
        """What all images are called, see `filename`."""
        return [self.filename(index, basename, absolute) for index in range(len(self))]


class IterableImageDataset(IterableDataset[tuple[Any, Any]]):
    """(image, class) one after the other; arguments and attributes as those of `ImageDataset`."""

    def __init__(self, source: ImageStream, mode: str = 'RGB', load_bytes: bool = False,
                 transform: Callable[[Any], Any] | None = None, target_transform: Callable[[Any], Any] | None = None,
                 ) -> None:
        self.source, self.mode, self.load_bytes = source, mode, load_bytes
        self.transform, self.target_transform = transform, target_transform

    def __iter__(self) -> Iterator[tuple[Any, Any]]:
        return (_item(self, encoded, target) for _, encoded, target in self.source)


def create_dataset(name: str = '', root: str | None = None, split: str = 'validation', search_split: bool = True,
                   class_map: Any = None, load_bytes: bool = False, is_training: bool = False, download: bool = False,
                   batch_size: int = 1, num_samples: int | None = None, seed: int = 42, repeats: int = 0,
                   input_img_mode: str = 'RGB', trust_remote_code: bool = False, **options: Any,
                   ) -> ImageDataset | IterableImageDataset:
    """A data set by timm's name for it.

    - '', 'folder', 'ImageFolder', 'torch/image_folder': folders of classes under `root`, or under its folder called
      as the split; a class's number is its place among the names in natural order ('2' before '10').
    - 'torch/cifar10' and so on: a data set of torchvision that lies in `root`.
    - 'hfds/user/name', 'hfids/user/name': a data set of the hub, the second without storing it.
    - 'wds/': the shards that `split` names under `root`.

    Args:
        search_split: whether a folder of the split's name is looked for under `root`.
        class_map: as `zoo.data.create_dataset` takes it; None numbers the folders.
        input_img_mode: see `ImageDataset`.
        batch_size, seed: without effect on images that are read in order, as in timm.
        **options: `transform`, `target_transform`, and those of `zoo.data.create_dataset`.

    Raises:
        ValueError: a kind that zoo does not read, or what timm does with streams alone: `is_training`, `repeats`,
            `num_samples`.
        FileNotFoundError: there is nothing there.
    """
    changes = {key: options.pop(key) for key in ('transform', 'target_transform') if key in options}
    if trust_remote_code:
        raise ValueError('trust_remote_code=True: zoo runs no code of data sets.')
    if download:
        options['download'] = True
    lower = name.lower()
    if lower in FOLDERS:
        source = _folders(name, root, split if search_split else None, class_map, options)
    elif not lower.startswith(PREFIXES):
        raise ValueError(unknown('Data set of timm', name, ['folder', *(f'{prefix}NAME' for prefix in PREFIXES)]))
    else:
        prefix, _, rest = name.partition('/')
        if prefix == 'torch':
            choice = split if split not in VALIDATION else 'val'
            source = open_dataset(f'torchvision/{rest}', choice, class_map=class_map, root=root, **options)
        elif prefix == 'wds':
            if root is None:
                raise ValueError(f"{name}: root= is the folder of the shards, and split their names.")
            source = open_dataset(f'wds/{Path(root) / split}', None, class_map=class_map or 'numbers', **options)
        else:
            streaming = {'streaming': True} if prefix == 'hfids' else {}
            source = open_dataset(f'hfds/{rest or root}', split, class_map=class_map, **streaming, **options)
    if hasattr(source, 'encoded'):
        return ImageDataset(source, input_img_mode, load_bytes, **changes)
    for option, given in (('is_training', is_training), ('repeats', repeats), ('num_samples', num_samples)):
        if given:
            raise ValueError(f'{option}={given!r}: {name!r} is read in order, once, and to its end.')
    return IterableImageDataset(source, input_img_mode, load_bytes, **changes)


def _folders(name: str, root: str | None, split: str | None, class_map: Any, options: dict[str, Any]) -> Any:
    if root is None:
        raise ValueError(f'{name or "folder"}: root= is the folder of the images; it is missing.')
    inside = [path.name for path in Path(root).iterdir() if path.is_dir()] if Path(root).is_dir() else []
    parts = [entry for entry in inside if entry.lower() in SPLITS]
    chosen = split if parts and split is not None else None
    source = open_dataset(f'folder/{root}', chosen, class_map='folders' if class_map is None else class_map, **options)
    names = source.class_names or []
    if class_map is None and names != sorted(names, key=_natural):
        source = open_dataset(f'folder/{root}', chosen, class_map=sorted(names, key=_natural), **options)
    return source


def _natural(name: str) -> list[tuple[int, int, str]]:
    """For sorting: numbers inside a name count as such."""
    return [(0, int(part), '') if part.isdigit() else (1, 0, part) for part in re.split(r'(\d+)', name.lower()) if part]


def _item(dataset: ImageDataset | IterableImageDataset, encoded: bytes, target: Any) -> tuple[Any, Any]:
    image: Any = encoded
    if not dataset.load_bytes:
        image = _opened(encoded, dataset.mode)
    if dataset.transform is not None:
        image = dataset.transform(image)
    return image, target if dataset.target_transform is None else dataset.target_transform(target)


def _opened(encoded: bytes, mode: str) -> Any:
    if mode == 'RGB':
        return load_image(io.BytesIO(encoded))
    from PIL import Image
    image = Image.open(io.BytesIO(encoded))
    image.load()
    return convert_image(image, mode) if mode else image
