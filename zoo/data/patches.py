"""Images of any aspect as sequences of patches (NaViT, arXiv:2307.06304; NaFlex of SigLIP 2, arXiv:2502.14786): resized to
the largest grid of patches that a sequence holds, cut into these, and filled up to one length for a batch."""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as nn_functional
from torchvision.transforms import InterpolationMode
from torchvision.transforms import functional as F

from ..spec import is_integral
from .config import sizes
from .transforms import Picture, ToTensor, crop_resize, random_part

PatchDict: TypeAlias = dict[str, Tensor]        # 'patches', 'patch_coord', 'patch_valid', as networks take them
LEAST, MOST, TOLERANCE = 1e-6, 100.0, 1e-5      # of the scale, which is found by bisection


def patch_pair(patch_size: int | Sequence[int]) -> tuple[int, int]:
    """(height, width) of a patch.

    Raises:
        ValueError: it is neither a positive integer nor two.
    """
    height, width = sizes((patch_size,) * 2 if is_integral(patch_size) else patch_size, 2, 'patch_size')
    return height, width


def grid_for(height: int, width: int, patch_size: tuple[int, int], max_seq_len: int) -> tuple[int, int]:
    """(rows, columns) of the largest grid of at most so many patches for an image, which is scaled as a whole and
    rounded up to whole patches.

    The scale is at most 100, and found to 1e-5 by bisection, as in SigLIP 2: where one more row or column comes within
    that of the other, this decides.

    Raises:
        ValueError: the sequence holds not even one patch.
    """
    if max_seq_len < 1:
        raise ValueError(f'A sequence of patches has at least one; max_seq_len is {max_seq_len}.')
    low, high = LEAST, MOST
    grid = 1, 1
    while high - low >= TOLERANCE:
        scale = (low + high) / 2
        tried = (max(1, math.ceil(height * scale / patch_size[0])), max(1, math.ceil(width * scale / patch_size[1])))
        if tried[0] * tried[1] <= max_seq_len:
            low, grid = scale, tried
        else:
            high = scale
    return grid


@dataclass(frozen=True)
class ResizeToSequence:
    """Resize to the largest grid of patches that a sequence holds, see `grid_for`; the whole image is kept, its aspect up
    to a patch."""

    patch_size: int | tuple[int, int]
    max_seq_len: int = 1024
    interpolation: str = 'bicubic'

    def __call__(self, image: Picture) -> Picture:
        _, height, width = F.get_dimensions(image)
        size = _size_for(height, width, self.patch_size, self.max_seq_len)
        return F.resize(image, list(size), InterpolationMode(self.interpolation), antialias=True)


@dataclass(frozen=True)
class RandomResizedCropToSequence:
    """Resize any part of the image to the largest grid of patches that a sequence holds: a part as of `RandomCropResize`,
    whose `ratio` is here that of its aspect to the image's."""

    patch_size: int | tuple[int, int] = 16
    max_seq_len: int = 1024
    scale: tuple[float, float] = (0.08, 1.0)
    ratio: tuple[float, float] = (0.8, 1.25)
    interpolation: str = 'bicubic'

    def __call__(self, image: Picture) -> Picture:
        _, height, width = F.get_dimensions(image)
        low, high = (bound * width / height for bound in self.ratio)
        part = random_part(height, width, self.scale, (low, high))
        size = _size_for(*part[2:], self.patch_size, self.max_seq_len)
        return crop_resize(image, part, size, self.interpolation)


@dataclass(frozen=True)
class Patchify:
    """An image as its patches, row by row: 'patches' (N, P * P * C), the channels of a pixel side by side;
    'patch_coord' (N, 2), their rows and columns in int64; 'patch_valid' (N,), all true.

    An image that is not made of whole patches is padded with zeros at the bottom and the right. Pillow's images become
    floats in 0..1.

    Args:
        flatten_patches: else patches are (N, P, P, C).
        channels_last: else patches are (N, C * P * P), or (N, C, P, P).
    """

    patch_size: int | tuple[int, int]
    flatten_patches: bool = True
    channels_last: bool = True

    def __call__(self, image: Picture) -> PatchDict:
        levels = image if isinstance(image, Tensor) else ToTensor()(image)
        patches, (rows, columns) = cut_patches(levels, patch_pair(self.patch_size))
        if not self.channels_last:
            patches = patches.permute(0, 3, 1, 2)
        coordinates = torch.cartesian_prod(torch.arange(rows), torch.arange(columns))
        return {'patches': patches.flatten(1) if self.flatten_patches else patches.contiguous(),
                'patch_coord': coordinates.view(-1, 2).to(levels.device),
                'patch_valid': torch.ones(rows * columns, dtype=torch.bool, device=levels.device)}


def cut_patches(image: Tensor, patch_size: tuple[int, int]) -> tuple[Tensor, tuple[int, int]]:
    """An image (C, H, W) -> patches (N, P, P, C) row by row, and their grid; zeros fill up the last row and column."""
    channels, height, width = image.shape
    rows, columns = math.ceil(height / patch_size[0]), math.ceil(width / patch_size[1])
    image = nn_functional.pad(image, (0, columns * patch_size[1] - width, 0, rows * patch_size[0] - height))
    patches = image.view(channels, rows, patch_size[0], columns, patch_size[1]).permute(1, 3, 2, 4, 0)
    return patches.reshape(rows * columns, *patch_size, channels), (rows, columns)


def join_patches(patches: Tensor, grid: Sequence[int]) -> Tensor:
    """Patches (N, P, P, C) -> the image (C, H, W) of the first of them, which fill the grid."""
    rows, columns = grid
    _, height, width, channels = patches.shape
    image = patches[:rows * columns].reshape(rows, columns, height, width, channels).permute(4, 0, 2, 1, 3)
    return image.reshape(channels, rows * height, columns * width)


def pack_patches(samples: Sequence[Mapping[str, Tensor]], seq_len: int) -> PatchDict:
    """What `Patchify` gave of several images as one batch, filled up with zeros that are not valid: patches (B, N, …),
    coordinates (B, N, 2) and which are valid (B, N), where N is `seq_len`.

    Raises:
        ValueError: an image has more patches.
    """
    longest = max(len(sample['patch_valid']) for sample in samples)
    if longest > seq_len:
        raise ValueError(f'An image has {longest} patches, more than the {seq_len} of a sequence.')
    batch = {}
    for name, first in samples[0].items():
        batch[name] = first.new_zeros(len(samples), seq_len, *first.shape[1:])
        for row, sample in zip(batch[name], samples):
            row[:len(sample[name])] = sample[name]
    return batch


@dataclass(frozen=True)
class PackedLevels:
    """Images as packed patches on their way to a network.

    Attributes:
        patches: (B, N, P, P, C), levels in uint8. coord: (B, N, 2). valid: (B, N).
    """

    patches: Tensor
    coord: Tensor
    valid: Tensor

    @classmethod
    def of(cls, samples: Sequence[Mapping[str, Tensor]], seq_len: int) -> PackedLevels:
        """Images from `Patchify(flatten_patches=False)`, see `pack_patches`."""
        return cls(*pack_patches(samples, seq_len).values())

    def __len__(self) -> int:
        return len(self.patches)

    def __getitem__(self, part: slice) -> PackedLevels:
        return PackedLevels(self.patches[part], self.coord[part], self.valid[part])

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """(B, C, N, P * P): that of images with as many pixels."""
        count, length, height, width, channels = self.patches.shape
        return count, channels, length, height * width

    def to(self, *args: Any, **options: Any) -> PackedLevels:
        """All of it elsewhere, as `Tensor.to` has it."""
        return PackedLevels(*(part.to(*args, **options) for part in (self.patches, self.coord, self.valid)))

    def pin_memory(self) -> PackedLevels:
        """All of it in pinned memory, which loaders ask for."""
        return PackedLevels(self.patches.pin_memory(), self.coord.pin_memory(), self.valid.pin_memory())

    def grids(self) -> list[list[int]]:
        """(rows, columns) of each image."""
        found: list[list[int]] = (self.coord.amax(1) + 1).tolist()
        return found


class NormalizePatches:
    """`PackedLevels` -> what a network takes in: 'patches' (B, N, P * P * C) normalised, or (B, N, P, P, C) where they are
    not flattened, and zero where they are not valid; 'patch_coord' and 'patch_valid'.

    Args:
        mean, std: per channel, where white is 1.
        dtype: of the patches.
        channels_first: patches are (B, N, C * P * P), or (B, N, C, P, P).
    """

    def __init__(self, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype = torch.float32,
                 flatten: bool = True, channels_first: bool = False) -> None:
        scale = 1 / (255 * torch.tensor(std, dtype=torch.float64))
        self.factors = scale, -255 * torch.tensor(mean, dtype=torch.float64) * scale
        self.dtype, self.flatten, self.channels_first = dtype, flatten, channels_first

    def __call__(self, levels: PackedLevels) -> PatchDict:
        return self.finish(self.normalize(levels), levels)

    def normalize(self, levels: PackedLevels) -> Tensor:
        """The patches (B, N, P, P, C) in float32."""
        scale, shift = (factor.to(levels.patches.device, torch.float32) for factor in self.factors)
        patches = torch.addcmul(shift, levels.patches.float(), scale)
        return patches.masked_fill_(~levels.valid[..., None, None, None], 0)

    def finish(self, patches: Tensor, levels: PackedLevels) -> PatchDict:
        """Normalised patches (B, N, P, P, C) as the network takes them."""
        patches = patches.permute(0, 1, 4, 2, 3) if self.channels_first else patches
        patches = (patches.flatten(2) if self.flatten else patches).to(self.dtype)
        return {'patches': patches, 'patch_coord': levels.coord, 'patch_valid': levels.valid}


class PatchFormat(NamedTuple):
    """The packed patches that a network takes in.

    Attributes:
        size: (height, width) of a patch. any_size: whether patches may be of other sizes, too, where they come as
            (B, N, P, P, C). channels_first: see `NormalizePatches`.
    """

    size: tuple[int, int]
    any_size: bool = False
    channels_first: bool = False


def patch_format(model: Any) -> PatchFormat:
    """What a network says of the patches that it takes in: `model.embeds` has `patch_size`, and may have
    `enable_patch_interpolator` and `channels_last`.

    Raises:
        ValueError: it takes images alone.
    """
    embeds = getattr(model, 'embeds', None)
    size = getattr(embeds, 'patch_size', None)
    if size is None:
        raise ValueError(f'{type(model).__name__} takes images, not packed patches (NaFlex).')
    return PatchFormat(patch_pair(size), getattr(embeds, 'enable_patch_interpolator', False),
                       not getattr(embeds, 'channels_last', True))


def size_of_sequence(channels: int, patch_size: tuple[int, int], seq_len: int) -> tuple[int, int, int]:
    """(channels, height, width) of an image of so many patches, one below the other: what a network does for it is what it
    does for any sequence of as many."""
    return channels, patch_size[0] * seq_len, patch_size[1]


def _size_for(height: int, width: int, patch_size: int | tuple[int, int], max_seq_len: int) -> tuple[int, int]:
    """Pixels of the grid that an image is resized to."""
    patch = patch_pair(patch_size)
    rows, columns = grid_for(height, width, patch, max_seq_len)
    return rows * patch[0], columns * patch[1]
