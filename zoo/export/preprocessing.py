"""Preprocessing as layers of a graph: photographs of any size in, what a network takes out.

Everything is multiplication of matrices whose size is the network's, so that every runtime has the operations, and no
size in the graph depends on that of the photograph but the photograph's own.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import PIL
import torch
from torch import Tensor, nn

from ..spec import unknown

COLUMNS_MAY_BE_FIRST = int(PIL.__version__.partition('.')[0]) >= 13


def _box(x: Tensor) -> Tensor:
    return ((x > -0.5) & (x <= 0.5)).to(x.dtype)


def _triangle(x: Tensor) -> Tensor:
    return (1 - x.abs()).clamp_min(0)


def _hamming(x: Tensor) -> Tensor:
    return _sinc(x) * (0.54 + 0.46 * torch.cos(math.pi * x)) * (x.abs() < 1).to(x.dtype)


def _cubic(x: Tensor) -> Tensor:
    """Keys' cubic convolution with a = -1/2."""
    x = x.abs()
    near = (1.5 * x - 2.5) * x * x + 1
    far = ((-0.5 * x + 2.5) * x - 4) * x + 2
    return torch.where(x < 1, near, torch.where(x < 2, far, torch.zeros_like(x)))


def _lanczos(x: Tensor) -> Tensor:
    return _sinc(x) * _sinc(x / 3) * (x.abs() < 3).to(x.dtype)


def _sinc(x: Tensor) -> Tensor:
    angle = math.pi * x
    safe = torch.where(x == 0, torch.ones_like(x), angle)
    return torch.where(x == 0, torch.ones_like(x), torch.sin(safe) / safe)


KERNELS: dict[str, Callable[[Tensor], Tensor]] = {
    'box': _box, 'bilinear': _triangle, 'hamming': _hamming, 'bicubic': _cubic, 'lanczos': _lanczos}


class ChannelsFirst(nn.Module):
    """Images (B, H, W, C) -> (B, C, H, W)."""

    def forward(self, images: Tensor) -> Tensor:
        return images.permute(0, 3, 1, 2)


class Normalise(nn.Module):
    """Levels (B, H, W, C), uint8 or floats in 0..1 -> normalised images (B, C, H, W)."""

    mean: Tensor
    std: Tensor

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__()
        for name in ('mean', 'std'):
            self.register_buffer(name, torch.tensor(config[name]).view(-1, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        return self.normalise(self.levels(images))

    def levels(self, images: Tensor) -> Tensor:
        """Levels 0..255 in floats, channels first."""
        return images.permute(0, 3, 1, 2).float() * (1.0 if images.dtype == torch.uint8 else 255.0)

    def normalise(self, levels: Tensor) -> Tensor:
        """Levels 0..255 as the network takes them."""
        return (levels / 255 - self.mean) / self.std


class Preprocessing(Normalise):
    """Photographs (B, H, W, C) of any height and width, uint8 or floats in 0..1 -> what a network takes (B, C, h, w):
    resized with antialiasing, cut and normalised as `zoo.data.create_transform` does it in evaluation.

    Rows and columns are resized by a matrix each, whose entries are those of Pillow's filters, and rounded to whole
    levels in between as Pillow does: what differs is a level at a tie of rounding. That costs h * H * W multiply-adds a
    channel: for a photograph of 0.2 megapixels less than a small network, for one of 12 megapixels more; shrink large
    ones first. Pillow 13 begins with the columns where those lose over twice as many pixels as the rows; 'squash' is
    computed both ways for it, while of the other modes, which keep the aspect, that is so for images over twice as tall
    as wide alone, and some of their pixels are off by a level.

    Args:
        config: the settings that `zoo.data.resolve_data_config` returns.

    Raises:
        ValueError: an interpolation that is no filter (nearest).
    """

    def __init__(self, config: Mapping[str, Any]) -> None:
        super().__init__(config)
        if config['interpolation'] not in KERNELS:
            raise ValueError('Preprocessing in the graph: '
                             + unknown('interpolation', config['interpolation'], KERNELS))
        self.kernel, self.mode = KERNELS[config['interpolation']], config['crop_mode']
        self.size = tuple(config['input_size'][1:])
        self.target = tuple(math.floor(side / config['crop_pct']) for side in self.size)

    def forward(self, images: Tensor) -> Tensor:
        levels = self.levels(images)
        sides = [torch.ones_like(images[0, :, 0, 0], dtype=torch.int64).sum(),
                 torch.ones_like(images[0, 0, :, 0], dtype=torch.int64).sum()]
        resized = self.resized(*sides)
        rows, columns = (self.matrix(levels.shape[2 + i], *pair, self.size[i])
                         for i, pair in enumerate(zip(sides, resized)))
        found = _whole(rows @ _whole(levels @ columns.transpose(0, 1)))
        if COLUMNS_MAY_BE_FIRST and self.mode.startswith('squash'):
            lost = [side - new for side, new in zip(sides, resized)]
            first = (lost[0] > 0) & (lost[0] > 2 * lost[1])
            found = torch.where(first, _whole(_whole(rows @ levels) @ columns.transpose(0, 1)), found)
        if self.mode.startswith('border'):
            inside = rows.sum(1, keepdim=True) * columns.sum(1)
            found = torch.where(inside > 0.5, found, (255 * self.mean).round())
        return self.normalise(found)

    def resized(self, height: Tensor, width: Tensor) -> tuple[Tensor, Tensor]:
        """The whole sides () that a photograph is resized to before it is cut."""
        tall, wide = (torch.full_like(height, side) for side in self.target)
        border = self.mode.startswith('border')
        if self.mode.startswith('squash'):
            return tall, wide
        if not border and self.target[0] == self.target[1]:
            short = torch.minimum(height, width)               # the longer side is rounded down
            return _over(tall * height, short), _over(wide * width, short)
        choose = torch.minimum if border else torch.maximum
        return (choose(tall, _over(2 * height * wide + width, 2 * width)),
                choose(wide, _over(2 * width * tall + height, 2 * height)))

    def matrix(self, length: int, side: Tensor, resized: Tensor, kept: int) -> Tensor:
        """What makes of a row of pixels (`length`,) the `kept` in the middle of the `resized` ones: (kept, length);
        rows of zeros for pixels outside of it.

        Distances are counted in whole numbers, which no runtime rounds.
        """
        spare = resized - kept
        if self.mode.endswith('_floor'):
            start = _over(spare, torch.full_like(spare, 2))
        elif self.mode == 'border_corner':
            start = _half_to_even(spare.clamp_min(0))
        elif self.mode == 'border':
            start = torch.where(spare < 0, -_over(-spare, torch.full_like(spare, 2)), _half_to_even(spare))
        else:
            start = _half_to_even(spare)
        new = torch.arange(kept, device=side.device)[:, None] + start
        old = torch.arange(length, device=side.device)[None]
        distance = (2 * old + 1) * resized - (2 * new + 1) * side
        longer = torch.maximum(side, resized)                     # only where the image shrinks, the filter widens
        weights = self.kernel(distance.float() / (2 * longer).float())
        inside = ((new >= 0) & (new < resized)).float()
        return inside * weights / weights.sum(1, keepdim=True).clamp_min(1e-6)


def _over(one: Tensor, other: Tensor) -> Tensor:
    """The quotient of whole positive numbers, rounded down."""
    return torch.div(one, other, rounding_mode='floor')


def _half_to_even(spare: Tensor) -> Tensor:
    """Half of a whole number from 0 up, a half rounded to an even number as `round` does."""
    two = torch.full_like(spare, 2)
    half = _over(spare, two)
    return _over(spare + (half - 2 * _over(half, two)), two)


def _whole(levels: Tensor) -> Tensor:
    """Levels 0..255 rounded as Pillow does it, a half up."""
    return (levels + 0.5).floor().clamp(0, 255)
