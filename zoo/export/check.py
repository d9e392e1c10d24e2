"""Exported files beside the network they were made of, on photographs."""
from __future__ import annotations

import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from ..data import create_transform, load_image
from ..data.files import PassedOver, walk_images
from ..data.photographs import photographs_folder
from ..runtime import levels_of, open_session

# the largest difference, in parts of the outputs' norm, and the least part of the images with the same first class
LIMITS = {'fp32': (1e-4, 0.0), 'fp16': (1e-2, 0.0), 'int8': (0.3, 0.8)}
# more of it where the graph resizes: a level at a tie of rounding is another than Pillow's, see `Preprocessing`
RESIZED = 1e-2
SIZES = ((1, 1), (0.86, 1.14), (1.29, 0.73), (0.9, 1.6), (1.43, 1.15))     # of images, in parts of the usual sides
LEAST_SIDE = 64          # pixels of a side that is left open: below, the last map of some networks is one pixel
MOST = 64                                                                    # photographs that are looked at


class TooFarOff(RuntimeError):
    """An exported file gives something else than its network."""


@dataclass(frozen=True)
class Outcome:
    """A file that was written and checked.

    Attributes:
        path, format, precision: of the file.
        difference: the largest, of all images and outputs, in parts of the outputs' norm; None where the file cannot
            run on this machine and was not compared.
        agreement: the part of the images whose first class is the same; None where there are no classes.
        images: how many were looked at, `photographs` whether they were photographs or noise.
        sizes: (height, width) in pixels of the images as the file was given them.
        limit: what `difference` may be at most.
    """

    path: Path
    format: str
    precision: str
    difference: float | None
    agreement: float | None
    images: int
    photographs: bool
    sizes: tuple[tuple[int, int], ...]
    limit: float

    def __str__(self) -> str:
        if self.difference is None:
            return f'{self.path}: written, and NOT compared with the network: Core ML runs on macOS alone'
        what = 'photographs' if self.photographs else 'images of noise (no photographs are at hand; name a folder)'
        agreed = '' if self.agreement is None else f', the same first class for {self.agreement:.1%}'
        sizes = f' of {len(self.sizes)} sizes' if len(self.sizes) > 1 else ''
        return (f'{self.path}: {self.images} {what}{sizes}; largest relative difference {self.difference:.1e} '
                f'(limit {self.limit:.0e}){agreed}')


class Pictures:
    """What a file is checked with: pairs of its input and the network's, from photographs through the whole of
    `zoo.data.create_transform`.

    Args:
        folder: of photographs; None for those that come with zoo.
        config: how they are prepared.
        description: of the file.
        most: photographs that are taken.

    Raises:
        FileNotFoundError: there is no such folder, or no image in it.
    """

    def __init__(self, folder: str | Path | None, config: Mapping[str, Any], description: Mapping[str, Any],
                 most: int = MOST) -> None:
        self.config, self.about = config, description['input']
        self.paths = find_pictures(folder, most) if folder or photographs_folder().is_dir() else []
        self.photographs = bool(self.paths)

    def __iter__(self) -> Iterator[tuple[Tensor, Tensor]]:
        """Pairs (file's input, network's input), each a batch."""
        dynamic, usual = {*self.about['dynamic']}, self.config['input_size'][1:]
        images = [*self._images()]
        if not dynamic & {'height', 'width'}:
            sizes = [usual] * len(images)
        else:
            images = [images[i % len(images)] for i in range(max(len(images), len(SIZES)))]
            sizes = [tuple(max(LEAST_SIDE, round(side * part)) if name in dynamic else side for side, part, name
                           in zip(usual, SIZES[i % len(SIZES)], ('height', 'width'))) for i in range(len(images))]
        seen: set[tuple[int, ...]] = set()
        for number, (image, size) in enumerate(zip(images, sizes)):
            if self.about['preprocess']:
                if number >= len(self.paths) or image.size in seen:
                    width, height = (max(33, round(side * part)) for side, part in zip(image.size, SIZES[number % len(SIZES)]))
                    image = image.resize((width, height))
                seen.add(image.size)
                size = usual
            pair = self._pair(image, size)
            count = 3 if 'batch' in dynamic and number % 2 else self.about['batch_size']
            given, prepared = (one.expand(count, *one.shape[1:]).contiguous() for one in pair)
            yield given, prepared

    def _pair(self, image: Image.Image, size: Sequence[int]) -> tuple[Tensor, Tensor]:
        config = {**self.config, 'input_size': (self.config['input_size'][0], *size)}
        transform: Any = create_transform(**config)
        prepared = transform(image)[None]
        if self.about['preprocess']:
            levels = levels_of(image)[None]
        elif self.about['layout'] == 'NHWC' and self.about['type'] == 'uint8':
            unnormalised: Any = create_transform(**config, normalize=False)
            levels = unnormalised(image).permute(1, 2, 0)[None]
        else:
            return (prepared.permute(0, 2, 3, 1) if self.about['layout'] == 'NHWC' else prepared), prepared
        return (levels if self.about['type'] == 'uint8' else levels / 255), prepared

    def _images(self) -> Iterator[Image.Image]:
        channels = self.config['input_size'][0]
        if not self.paths:
            random = np.random.default_rng(0)
            shapes = [(320, 240), (240, 320), (300, 300), (200, 411), (500, 333)]
            yield from (Image.fromarray(random.integers(0, 256, (*shape, 4), np.uint8), 'RGBA').convert(
                {1: 'L', 2: 'LA', 3: 'RGB', 4: 'RGBA'}[channels]) for shape in shapes)
        for path in self.paths:
            yield load_image(path, exif=True, channels=channels)


def find_pictures(folder: str | Path | None, most: int = MOST) -> list[Path]:
    """The images in a folder, by default in that of zoo's own photographs; at most `most`, from all over it.

    Raises:
        FileNotFoundError: there is no such folder, or no image in it.
    """
    folder = Path(folder).expanduser() if folder else photographs_folder()
    if not folder.is_dir():
        raise FileNotFoundError(f'There is no folder {str(folder)!r}.')
    found = sorted(folder / name for name in walk_images(folder, PassedOver()))
    if not found:
        raise FileNotFoundError(f'There is no image in the folder {str(folder)!r}.')
    return found[::math.ceil(len(found) / most)]


def check_file(file: Path, path: Path, network: nn.Module, pictures: Pictures, description: Mapping[str, Any],
               limit: float | None, python: Path | None = None) -> Outcome:
    """Runs a file in its own runtime beside its network, where that runs on this machine.

    Args:
        file: where it lies; path: where it is to lie.
        python: the interpreter of the environment that has the file's runtime, if it is not this one.
        network: the graph's; its `outputs` and `probabilities` are asked for what the network gives.

    Raises:
        TooFarOff: they differ by more than the limit.
    """
    precision = description['precision']
    largest, least = LIMITS[precision]
    limit = largest + RESIZED * description['input']['preprocess'] if limit is None else limit
    if file.suffix == '.mlpackage' and sys.platform != 'darwin':
        return Outcome(path, description['format'], precision, None, None, 0, False, (), limit)
    session, difference, agreed, count = open_session(file, python=python), 0.0, [], 0
    sizes: dict[tuple[int, int], None] = {}
    for given, prepared in pictures:
        expected, found = _expected(network, prepared), session(given)
        difference = max([difference, *map(relative_difference, found, expected)])
        if description['num_classes'] and description['task'] == 'single':
            agreed += (found[0].argmax(-1) == expected[0].argmax(-1)).tolist()
        count += 1
        sides = given.shape[1:3] if description['input']['layout'] == 'NHWC' else given.shape[2:]
        sizes[sides[0], sides[1]] = None
    agreement = sum(agreed) / len(agreed) if agreed else None
    outcome = Outcome(path, description['format'], precision, difference, agreement, count, pictures.photographs,
                      tuple(sizes), limit)
    if not difference <= limit or (agreement is not None and agreement < least):
        raise TooFarOff(f'{outcome}. The file is not kept.')
    return outcome


@torch.no_grad()
def _expected(graph: Any, prepared: Tensor) -> list[Tensor]:
    found = graph.outputs(prepared)
    if graph.probabilities:
        return [found[0].softmax(-1) if graph.probabilities == 'softmax' else found[0].sigmoid()]
    return list(found)


def relative_difference(found: Tensor, expected: Tensor) -> float:
    """The norm of the difference in parts of the norm of what is expected; infinite where they are not comparable."""
    if found.shape != expected.shape:
        return math.inf
    value = ((found.double() - expected.double()).norm() / expected.double().norm().clamp_min(1e-12)).item()
    return value if math.isfinite(value) else math.inf
