"""The classification data sets of torchvision, and any data set like them: item i is an image and its class."""
from __future__ import annotations

import inspect
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ...spec import unknown
from ..files import choose_split, shorten
from .base import ImageSource, Labels
from .classes import ClassMap, is_number, own_index

TWO = ('train', 'test')
THREE = ('train', 'val', 'test')
# name -> its splits. Two that are chosen by `train=`, others by `split=`; those with one part have none.
BY_TRAIN = ('CIFAR10', 'CIFAR100', 'FashionMNIST', 'KMNIST', 'MNIST', 'USPS')
SPLITS: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(BY_TRAIN, TWO), **dict.fromkeys(('Food101', 'GTSRB', 'StanfordCars', 'SVHN', 'STL10'), TWO),
    **dict.fromkeys(('DTD', 'FGVCAircraft', 'Flowers102', 'PCAM', 'RenderedSST2'), THREE),
    'Country211': ('train', 'valid', 'test'), 'ImageNet': ('train', 'val'), 'Imagenette': ('train', 'val'),
    'OxfordIIITPet': ('trainval', 'test'), **dict.fromkeys(('Caltech101', 'Caltech256', 'EuroSAT', 'SUN397'), ())}


class VisionSource(ImageSource):
    """A data set whose items are an image and a class.

    Where its images are not files, or it does not let them be read as such, `encoded` returns them as PNG.
    """

    def __init__(self, dataset: Any, targets: list[int], labels: Labels, description: str, prefix: str) -> None:
        super().__init__(targets, labels, description)
        self.dataset, self._prefix = dataset, prefix

    def name(self, index: int) -> str:
        """The name of the data set and its split, and the number of the image."""
        return f'{self._prefix}/{index}'

    def encoded(self, index: int) -> bytes:
        """The image file as stored, or the image as PNG.

        Raises:
            ValueError: what the data set returns is no image of Pillow's.
        """
        image = self.dataset[index][0]
        return image if isinstance(image, bytes) else _as_png(image, self.name(index))

    def size(self, index: int) -> int:
        """The length in bytes of the image file as stored, else of the pixels."""
        image = self.dataset[index][0]
        return len(image) if isinstance(image, bytes) else len(image.tobytes())


def open_vision(place: str, split: str | None, classes: ClassMap, description: str, *, root: str | None = None,
                download: bool = False) -> VisionSource:
    """A data set of torchvision.

    Args:
        place: its name; capitals and '_' do not matter.
        split: one of `SPLITS`.
        classes: which of its classes is which of the model's; without class names, its own numbers are the indices.
        root: the folder it lies in, or is to lie in.
        download: fetch it if it is not there.

    Raises:
        FileNotFoundError: it is not under `root`.
        ValueError: another name or split, no `root`, or a class that is none of the model's.
    """
    import torchvision.datasets
    known = {_bare(name): name for name in SPLITS}
    if _bare(place) not in known:
        raise ValueError(unknown('torchvision data set', place, [name.lower() for name in SPLITS]))
    name = known[_bare(place)]
    if root is None:
        raise ValueError(f'{description}: root= is the folder the data set lies in; it is missing.')
    options: dict[str, Any] = {}
    if SPLITS[name]:
        split = choose_split(split, SPLITS[name], description)
        options = {'train': split == 'train'} if name in BY_TRAIN else {'split': split}
    elif split is not None:
        raise ValueError(f'{description}: the data set has no splits; got {split!r}.')
    maker = getattr(torchvision.datasets, name)
    parameters = {p for cls in maker.__mro__ for p in inspect.signature(cls.__init__).parameters}
    if 'loader' in parameters:
        options['loader'] = read_bytes
    if download:
        options['download'] = True
    try:
        dataset = maker(root, **options)
    except (RuntimeError, FileNotFoundError) as error:
        raise FileNotFoundError(f'{description}: not under {root} ({error}). download=1 fetches it, where torchvision '
                                'can.') from error
    return open_items(dataset, split, classes, description, prefix='/'.join(filter(None, (name.lower(), split))))


def open_items(dataset: Any, split: str | None, classes: ClassMap, description: str, *, prefix: str = '',
               ) -> VisionSource:
    """Any object with a length whose items are (image of Pillow's or the bytes of its file, number of the class).

    Its `wnids` or `classes`, if it has them, are the names of the classes.

    Raises:
        ValueError: it is empty, its targets are no whole numbers, or a class is none of the model's.
    """
    if not len(dataset):
        raise ValueError(f'{description}: the data set has no images.')
    names = getattr(dataset, 'wnids', None) or getattr(dataset, 'classes', None)
    names = [', '.join(n) if isinstance(n, (list, tuple)) else str(n) for n in names] if names else None
    targets = _targets(dataset)
    wrong = [target for target in targets if not is_number(target)]
    if wrong:
        raise ValueError(f'{description}: a target is the number of a class; got {wrong[0]!r}.')
    targets = [int(target) for target in targets]
    if names and len(names) != len(set(names)):
        raise ValueError(f'{description}: classes have the same name ({shorten(names)}).')
    own = classes.own_indices(names, len(names) if names else None, description)
    if own is None:
        if names is None:
            indices = classes.label_indices(dict.fromkeys(targets), description)
            targets = [indices[target] for target in targets]
        else:
            targets = [own_index(range(len(names)), t, f'{description}, item {i}') for i, t in enumerate(targets)]
        labels = Labels('single', classes.count or (len(names) if names else None), classes.names or names)
    else:
        targets = [own_index(own, target, f'{description}, item {i}') for i, target in enumerate(targets)]
        labels = Labels('single', classes.count, classes.names)
    return VisionSource(dataset, targets, labels, description, prefix or type(dataset).__name__.lower())


def read_bytes(path: str | Path) -> bytes:
    """The content of a file; given to a data set in place of its decoder."""
    return Path(path).read_bytes()


def _targets(dataset: Any) -> list[Any]:
    """The number of every item's class, from a list of them where the data set has one that fits."""
    listed = getattr(dataset, 'targets', None)
    if listed is None or len(listed) != len(dataset):
        return [dataset[i][1] for i in range(len(dataset))]
    return listed.tolist() if hasattr(listed, 'tolist') else list(listed)


def _as_png(image: Any, name: str) -> bytes:
    if not hasattr(image, 'save'):
        raise ValueError(f"{name}: an image is one of Pillow's, or the bytes of a file; got {type(image).__name__}. "
                         'Open the data set without a transform.')
    file = io.BytesIO()
    image.save(file, format='PNG', compress_level=1)
    return file.getvalue()


def _bare(name: str) -> str:
    return name.lower().replace('_', '').replace('-', '')
