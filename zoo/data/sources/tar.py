"""Tar files with a folder per class: one file, tar files in a tar file, or a folder of them, one a class."""
from __future__ import annotations

import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

from ..files import PassedOver, choose_split, is_image, shorten
from .base import ImageSource, Labels, Target
from .classes import ClassMap
from .folder import SPLITS, folder_labels


class Piece(NamedTuple):
    """Where an image lies: `size` bytes from byte `start` of the file with that number."""

    file: int
    start: int
    size: int


class TarSource(ImageSource):
    """Images in uncompressed tar files, each read by its position.

    Args:
        files: the tar files.
        names: what the images are called.
        pieces: where they lie.
    """

    def __init__(self, files: list[Path], names: list[str], pieces: list[Piece], targets: list[Target],
                 labels: Labels, description: str) -> None:
        super().__init__(targets, labels, description)
        self.files, self._names, self._pieces = files, names, pieces

    def name(self, index: int) -> str:
        """The path in the tar file; of a tar file a class, after its name."""
        return self._names[index]

    def encoded(self, index: int) -> bytes:
        """The content of the member."""
        piece = self._pieces[index]
        with open(self.files[piece.file], 'rb') as file:
            file.seek(piece.start)
            return file.read(piece.size)

    def size(self, index: int) -> int:
        """The member's length in bytes."""
        return self._pieces[index].size

    known_size = size


END_MARK: type[tarfile.HeaderError] = getattr(tarfile, 'EOFHeaderError')        # its name is not in typeshed


class CheckedMember(tarfile.TarInfo):
    """A header of a tar file; where the file stops before its end mark, an error and not the end."""

    @classmethod
    def fromtarfile(cls, tar: tarfile.TarFile) -> CheckedMember:
        """The next header.

        Raises:
            tarfile.ReadError: there is none, and no end mark either.
        """
        try:
            return super().fromtarfile(tar)
        except END_MARK:
            raise
        except tarfile.HeaderError as error:
            raise tarfile.ReadError(f'cut short or broken at byte {tar.offset} ({error})') from None


def open_tar(place: str, split: str | None, classes: ClassMap, description: str) -> TarSource:
    """Images in a tar file with folders named by their class, or in tar files that are.

    Folders that hold everything are passed over: the class is the uppermost folder below them, and below the split's.

    Args:
        place: an uncompressed tar file, or a folder of such files that are named by their class.
        split: the folder in the tar file, or of the tar files, that holds the classes.
        classes: which folder is which class.

    Raises:
        FileNotFoundError: there is no such file, or no image in it.
        ValueError: it is compressed or cut short; no such split, or none chosen; images without a folder; a folder
            that is no class.
    """
    root = Path(place)
    if root.is_dir() and split is not None:
        root = root / choose_split(split, sorted(p.name for p in root.iterdir() if p.is_dir()), root)
    files = sorted(root.glob('*.tar')) if root.is_dir() else [root]
    if not files:
        raise FileNotFoundError(f'{root}: no tar file in it.')
    found: list[tuple[tuple[str, ...], Piece]] = []
    passed = PassedOver()
    for number, path in enumerate(files):
        above = (path.stem,) if root.is_dir() else ()
        found += [((*above, *parts), piece) for parts, piece in _listed(path, number, passed)]
    passed.say(root)
    if not found:
        raise FileNotFoundError(f'{root}: no image in it.')
    found = _below(found, None if root.is_dir() else split, root)
    flat = [parts[-1] for parts, _ in found if len(parts) == 1]
    if flat:
        raise ValueError(f'{root}: {len(flat)} of {len(found)} images ({shorten(flat, 2)}) lie in no class folder. '
                         "Images with labels beside them, as WebDataset has them, are opened by 'wds/'.")
    found.sort()
    indices = classes.folder_indices({parts[0] for parts, _ in found}, str(root))
    return TarSource(files, ['/'.join(parts) for parts, _ in found], [piece for _, piece in found],
                     [indices[parts[0]] for parts, _ in found], folder_labels(classes, indices), description)


def _listed(path: Path, number: int, passed: PassedOver) -> Iterator[tuple[tuple[str, ...], Piece]]:
    """The images in a tar file, and in tar files in it, as parts of their path."""
    if not path.is_file():
        raise FileNotFoundError(f'{path}: there is no such file.')
    with open(path, 'rb') as file:
        yield from _members(file, path, number, (), passed)


def _members(file: BinaryIO, path: Path, number: int, above: tuple[str, ...], passed: PassedOver,
             ) -> Iterator[tuple[tuple[str, ...], Piece]]:
    base = file.tell()
    try:
        with tarfile.open(fileobj=file, mode='r:', tarinfo=CheckedMember) as tar:
            for member in tar:
                parts = tuple(part for part in member.name.split('/') if part not in ('', '.'))
                if member.isdir() or any(part.startswith('.') for part in parts[:-1]):
                    continue
                if is_image(parts[-1]) and not member.isfile():
                    raise tarfile.TarError(f'{member.name} is a link or no ordinary file')
                if is_image(parts[-1]):
                    yield (*above, *parts), Piece(number, member.offset_data, member.size)
                elif member.name.endswith('.tar'):
                    file.seek(member.offset_data)
                    inner = (*above, *parts[:-1], parts[-1].removesuffix('.tar'))
                    yield from _members(file, path, number, inner, passed)
                else:
                    passed.add(parts[-1])
    except tarfile.TarError as error:
        inside = f' (in it, {"/".join(above)}.tar at byte {base})' if above else ''
        raise ValueError(f'{path}{inside}: no tar file that can be used: {error}. It must be whole and '
                         'uncompressed (images are read by position), without links.') from error


def _below(found: list[tuple[tuple[str, ...], Piece]], split: str | None, place: Path,
           ) -> list[tuple[tuple[str, ...], Piece]]:
    """The images of the split, their paths from the class on."""
    while True:
        tops = sorted({parts[0] for parts, _ in found if len(parts) > 1})
        if split is None and len(tops) > 1 and all(top.lower() in SPLITS for top in tops):
            choose_split(None, tops, place)
        wraps = len(tops) == 1 and all(len(parts) > 2 for parts, _ in found)
        if split is not None and not (wraps and tops[0].lower() not in SPLITS):
            top = choose_split(split, tops, place)
            found, split = [(parts[1:], piece) for parts, piece in found if len(parts) > 1 and parts[0] == top], None
        elif wraps:
            found = [(parts[1:], piece) for parts, piece in found]
        else:
            return found
