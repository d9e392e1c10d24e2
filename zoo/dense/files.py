"""What readers of data sets share: images by their stem, the splits of VOC-format folders, names of classes."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..data.files import PassedOver, choose_split, image_suffixes, is_image
from ..spec import read_text


def images_by_stem(folder: Path) -> dict[str, Path]:
    """The image files directly in a folder, by name without suffix, sorted; see `zoo.data.files.is_image`. A warning counts
    what was passed over.

    Raises:
        FileNotFoundError: there is no such folder, or no image in it.
        ValueError: two images have the same stem.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f'{folder}: there is no such folder.')
    found: dict[str, Path] = {}
    passed = PassedOver()
    for path in sorted(folder.iterdir()):
        if is_image(path.name):
            if path.stem in found:
                raise ValueError(f'{folder}: {found[path.stem].name} and {path.name} have the same stem; keep one.')
            found[path.stem] = path
        elif not path.is_dir():
            passed.add(path.name)
    passed.say(folder)
    if not found:
        raise FileNotFoundError(f'{folder}: no image in it. Images end in {", ".join(image_suffixes())}.')
    return found


def read_split(folder: Path, split: str | None) -> list[str]:
    """The stems that `<split>.txt` in a folder of lists (ImageSets/Main, ImageSets/Segmentation) names, in its order.

    Args:
        folder: the folder with the lists. Those with a second column (one class's, in Pascal VOC) are no splits.
        split: its name; None is enough where there is only one.

    Raises:
        FileNotFoundError: there is no such folder.
        ValueError: no such split, or several and none chosen; the message lists them.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f'{folder}: there is no such folder; it holds the splits, as train.txt or val.txt.')
    splits = {}
    for path in sorted(folder.glob('*.txt')):
        lines = [line.split() for line in read_text(path).splitlines() if line.strip()]
        if lines and all(len(line) == 1 for line in lines):
            splits[path.stem] = [line[0] for line in lines]
    return splits[choose_split(split, splits, folder)]


def checked_classes(classes: Sequence[str]) -> list[str]:
    """The names as a list.

    Raises:
        ValueError: there is none, one is there twice, or it is a string and no list.
    """
    names = list(classes)
    if isinstance(classes, str) or not names or len(set(names)) < len(names):
        raise ValueError(f'classes is a list of one or more different names; got {classes!r}.')
    return names
