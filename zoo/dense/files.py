"""What readers of data sets share: images by their stem, the splits of VOC-format folders, names of classes."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from ..data.files import PassedOver, choose_split, image_suffixes, is_image
from ..spec import read_text

SPLIT = '{split}'                    # in the name of a folder: it is another one for each split


def images_by_stem(folder: Path) -> dict[str, Path]:
    """The image files directly in a folder, by name without suffix, sorted; see `zoo.data.files.is_image`. A warning
    counts what was passed over.

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


def split_folders(root: Path, split: str | None, first: str, second: str,
                  lists: str) -> tuple[Path, Path, list[str] | None]:
    """Two folders of a split, and its stems by the lists; None where the folders hold that split alone.

    Args:
        first, second: folders in `root`; where '{split}' stands in one of them, that of the split.
        lists: the folder in `root` with the lists of stems, see `read_split`.

    Raises:
        ValueError: '{split}' stands in a folder, and no split was chosen. FileNotFoundError: there is no such folder.
    """
    if SPLIT not in first + second:
        return root / first, root / second, read_split(root / lists, split)
    if split is None:
        raise ValueError(f'{root}: {SPLIT} stands in {first!r} or {second!r}; say which split with split=.')
    folders = root / first.replace(SPLIT, split), root / second.replace(SPLIT, split)
    for folder in folders:
        if not folder.is_dir():
            raise FileNotFoundError(f'{folder}: there is no such folder; it is that of the split {split!r}.')
    return *folders, None


def checked_classes(classes: Sequence[str]) -> list[str]:
    """The names as a list.

    Raises:
        ValueError: there is none, one is there twice, or it is a string and no list.
    """
    names = list(classes)
    if isinstance(classes, str) or not names or len(set(names)) < len(names):
        raise ValueError(f'classes is a list of one or more different names; got {classes!r}.')
    return names
