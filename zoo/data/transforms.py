"""The steps of preprocessing that torchvision does not have. They take and give Pillow images or image tensors.

Each is an immutable record, so that it prints as it was made and can be sent to another process.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from PIL import Image
from torchvision.transforms import InterpolationMode, v2
from torchvision.transforms import functional as F

from .images import MODES, convert_image

Picture: TypeAlias = Image.Image | torch.Tensor       # a tensor is (..., C, H, W)


@dataclass(frozen=True)
class ToChannels:
    """A Pillow image of any mode to an 8-bit one of 1 to 4 channels; a tensor is only checked.

    `channels` None keeps grey images grey and makes all others RGB.
    """

    channels: int | None

    def __call__(self, image: Picture) -> Picture:
        if isinstance(image, torch.Tensor):
            return self._checked(image)
        if not isinstance(image, Image.Image):
            raise TypeError(f'An image is a PIL.Image or a tensor (C, H, W); got {type(image).__name__}. '
                            'PIL.Image.fromarray makes an image of an array.')
        if self.channels is None:
            grey = image.mode.startswith('I') or image.mode in ('1', 'L', 'LA', 'La', 'F')
            return convert_image(image, 'L' if grey else 'RGB')
        if self.channels not in MODES:
            raise ValueError(f'A PIL.Image has 1, 2, 3 or 4 channels; for {self.channels} give a tensor (C, H, W).')
        return convert_image(image, MODES[self.channels])

    def _checked(self, image: torch.Tensor) -> torch.Tensor:
        if image.ndim < 3 or self.channels not in (None, image.shape[-3]):
            raise ValueError(f'The image has shape {tuple(image.shape)}; expected (C, H, W) with C = {self.channels}.')
        return image


@dataclass(frozen=True)
class ToTensor:
    """A Pillow image to a tensor (C, H, W): float32 in 0..1, or the levels in uint8. Of tensors, integers to float."""

    floats: bool = True

    def __call__(self, image: Picture) -> torch.Tensor:
        if isinstance(image, torch.Tensor):
            exact = not self.floats or image.is_floating_point()
            return image if exact else F.convert_image_dtype(image, torch.float32)
        levels: torch.Tensor
        if self.floats and image.mode not in MODES.values():
            return F.to_tensor(image)
        levels = F.pil_to_tensor(image)
        if not self.floats:
            return levels
        # one pass over it where F.to_tensor takes three
        return levels.to(torch.float32, memory_format=torch.contiguous_format).div_(255)


@dataclass(frozen=True)
class TrimBorder:
    """Cut off so many pixels on each side.

    Raises:
        ValueError: nothing is left of an image.
    """

    pixels: int

    def __call__(self, image: Picture) -> Picture:
        _, height, width = F.get_dimensions(image)
        if min(height, width) <= 2 * self.pixels:
            raise ValueError(f'Cutting off {self.pixels} pixels on each side leaves nothing of {height} x {width}.')
        return F.crop(image, self.pixels, self.pixels, height - 2 * self.pixels, width - 2 * self.pixels)


@dataclass(frozen=True)
class ResizeKeepRatio:
    """Resize, height and width alike, so that the image just covers `size` or, if `inside`, just fits in it."""

    size: tuple[int, int]
    interpolation: str
    inside: bool = False

    def __call__(self, image: Picture) -> Picture:
        _, height, width = F.get_dimensions(image)
        ratios = height / self.size[0], width / self.size[1]
        ratio = max(ratios) if self.inside else min(ratios)
        taller, wider = self.stretch()
        shape = [max(1, round(height * taller / ratio)), max(1, round(width * wider / ratio))]
        return F.resize(image, shape, InterpolationMode(self.interpolation), antialias=True)

    def stretch(self) -> tuple[float, float]:
        """What height and width are multiplied with beyond the resizing."""
        return 1.0, 1.0


@dataclass(frozen=True)
class RandomCropResize:
    """Resize any part of the image to `size`: of an area and an aspect (width by height) drawn from `scale`, uniformly,
    and `ratio`, its logarithm uniformly (arXiv:1409.4842, section 6). After ten parts that do not fit, the largest in
    the middle whose aspect is within `ratio`.
    """

    size: tuple[int, int]
    interpolation: str
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (3 / 4, 4 / 3)

    def __call__(self, image: Picture) -> Picture:
        _, height, width = F.get_dimensions(image)
        return crop_resize(image, random_part(height, width, self.scale, self.ratio), self.size, self.interpolation)


def random_part(
    height: int, width: int, scale: tuple[float, float], ratio: tuple[float, float],
) -> tuple[int, int, int, int]:
    """Top, left, height and width of a part of an image; see `RandomCropResize`."""
    low, high = math.log(ratio[0]), math.log(ratio[1])
    for _ in range(10):
        area, aspect, down, right = torch.rand(4, dtype=torch.float64).tolist()
        area = height * width * (scale[0] + (scale[1] - scale[0]) * area)
        aspect = math.exp(low + (high - low) * aspect)
        tall, wide = round(math.sqrt(area / aspect)), round(math.sqrt(area * aspect))
        if 0 < tall <= height and 0 < wide <= width:
            return int((height - tall + 1) * down), int((width - wide + 1) * right), tall, wide
    aspect = min(max(width / height, ratio[0]), ratio[1])
    tall, wide = min(height, round(width / aspect)), min(width, round(height * aspect))
    return (height - tall) // 2, (width - wide) // 2, tall, wide


def crop_resize(image: Picture, part: tuple[int, int, int, int], size: tuple[int, int], interpolation: str) -> Picture:
    """A part of an image (top, left, height, width) resized to (height, width)."""
    top, left, high, wide = part
    if isinstance(image, torch.Tensor):
        resized: Picture = F.resized_crop(image, top, left, high, wide, list(size), InterpolationMode(interpolation))
        return resized
    cut = image.crop((left, top, left + wide, top + high))
    return cut.resize(size[::-1], Image.Resampling[interpolation.upper()])


@dataclass(frozen=True)
class RandomKeepRatio(ResizeKeepRatio):
    """Resize to just cover `size`; every second time so that `size` is a `scale` of the area, and independently every
    second time to an aspect (height by width) of `ratio` times its own. Scale is drawn uniformly, log ratio too.
    """

    scale: tuple[float, float] = (0.8, 1.0)
    ratio: tuple[float, float] = (0.9, 1 / 0.9)

    def stretch(self) -> tuple[float, float]:
        """A draw of size and of aspect ratio, each in half of the calls."""
        size, aspect = 1.0, 1.0
        if _uniform(0, 1) < 0.5:
            size = 1 / math.sqrt(_uniform(*self.scale))
        if _uniform(0, 1) < 0.5:
            aspect = math.sqrt(math.exp(_uniform(math.log(self.ratio[0]), math.log(self.ratio[1]))))
        return size / aspect, size * aspect


@dataclass(frozen=True)
class CropOrPad:
    """Cut out `size` (height, width) from the middle or, if `random`, from anywhere; where the image is smaller, pad.

    `fill` is the colour of the padding, from 0 to 1 in each channel; None reflects the image instead.
    """

    size: tuple[int, int]
    fill: tuple[float, ...] | None = None
    random: bool = False

    def __call__(self, image: Picture) -> Picture:
        _, height, width = F.get_dimensions(image)
        top, left = self._start(height - self.size[0]), self._start(width - self.size[1])
        below, right = top + self.size[0] - height, left + self.size[1] - width
        padding = [max(-left, 0), max(-top, 0), max(right, 0), max(below, 0)]
        if any(padding):
            image = self._pad(image, padding)
        return F.crop(image, max(top, 0), max(left, 0), *self.size)

    def _start(self, spare: int) -> int:
        """Where the cut begins, given how much longer the image is; below zero in the padding."""
        if self.random:
            return int(math.copysign(torch.randint(abs(spare) + 1, ()).item(), spare))
        return int(spare / 2) if spare < 0 else round(spare / 2)

    def _pad(self, image: Picture, padding: Sequence[int]) -> Picture:
        padded: Picture
        if self.fill is None:
            return v2.functional.pad(image, padding, padding_mode='reflect')
        channels = F.get_dimensions(image)[0]
        fill = self.fill if len(self.fill) == channels else (sum(self.fill) / len(self.fill),) * channels
        if isinstance(image, Image.Image) or not image.is_floating_point():
            fill = [round(255 * level) for level in fill]
        return v2.functional.pad(image, padding, fill=list(fill))


@dataclass(frozen=True)
class CornerPad(CropOrPad):
    """Cut out the middle; where the image is smaller, pad at the bottom and the right alone."""

    def _start(self, spare: int) -> int:
        return max(super()._start(spare), 0)


@dataclass(frozen=True)
class FloorCrop(CropOrPad):
    """Cut out the middle, of an odd margin one pixel more at the bottom and the right."""

    def _start(self, spare: int) -> int:
        return spare // 2


def _uniform(low: float, high: float) -> float:
    return low + (high - low) * torch.rand(()).item()
