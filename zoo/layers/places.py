"""Where the patches of a grid lie, and the frequencies that sines of it have."""
from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..spec import unknown

GRIDS = ('ij', 'xy')                                        # a place is (row, column), or (column, row)


def pixel_freq_bands(num_bands: int, max_freq: float = 224.0, linear_bands: bool = True,
                     device: torch.device | None = None) -> Tensor:
    """Frequencies for places from -1 to 1 (Perceiver, arXiv:2103.03206, section 3.2): from pi to pi `max_freq` / 2, in
    even steps or in octaves."""
    if linear_bands:
        bands = torch.linspace(1.0, max_freq / 2, num_bands, dtype=torch.float32, device=device)
    else:
        bands = 2 ** torch.linspace(0, math.log2(max_freq) - 1, num_bands, dtype=torch.float32, device=device)
    return bands * math.pi


def freq_bands(num_bands: int, temperature: float = 10000.0, step: int = 2,
               device: torch.device | None = None) -> Tensor:
    """Frequencies for places that are counted (arXiv:1706.03762, section 3.5): from 1 down to 1 / `temperature`, of
    every `step`-th of `num_bands`."""
    return 1 / temperature ** (torch.arange(0, num_bands, step, dtype=torch.float32, device=device) / num_bands)


def places(axes: Sequence[Tensor], grid_indexing: str = 'ij') -> Tensor:
    """The coordinates (rows * columns, 2) of a grid's places, row by row, of those of its rows and of its columns.

    Raises:
        ValueError: another `grid_indexing`.
    """
    if grid_indexing not in GRIDS:
        raise ValueError(unknown('grid_indexing', grid_indexing, GRIDS))
    rows, columns = torch.meshgrid(*axes, indexing='ij')
    return torch.stack([rows, columns] if grid_indexing == 'ij' else [columns, rows], -1).flatten(0, 1)


def centred(shape: Sequence[int], normalize_coords: str, grid_offset: float, dtype: torch.dtype,
            device: torch.device | None) -> list[Tensor]:
    """The coordinates of rows and of columns from -1 to 1, of their middles (DINOv3, arXiv:2508.10104, section 3.2).

    Raises:
        ValueError: another `normalize_coords`.
    """
    lengths = {'separate': tuple(shape), 'max': (max(shape),) * 2, 'min': (min(shape),) * 2}
    if normalize_coords not in lengths:
        raise ValueError(unknown('normalize_coords', normalize_coords, lengths))
    return [(torch.arange(count, dtype=dtype, device=device) + (0.5 + grid_offset)) / length * 2 - 1
            for count, length in zip(shape, lengths[normalize_coords])]


class Jitter:
    """Moves and scales coordinates at random in training (DINOv3, arXiv:2508.10104, section 3.2).

    Args:
        shift_coords: the most that each axis is moved by, of its own draw.
        jitter_coords: the most that each axis is scaled by, or by one over it.
        rescale_coords: the same, of both axes together.

    Raises:
        ValueError: a number that is too small.
    """

    def __init__(self, shift_coords: float | None, jitter_coords: float | None, rescale_coords: float | None) -> None:
        for name, value, least in (('shift_coords', shift_coords, 0), ('jitter_coords', jitter_coords, 1),
                                   ('rescale_coords', rescale_coords, 1)):
            if value is not None and not least <= value < math.inf:
                raise ValueError(f'{name} is a number from {least} up, not {value}.')
        self.shift, self.jitter, self.rescale = shift_coords, jitter_coords, rescale_coords

    def __call__(self, coords: Tensor) -> Tensor:
        """Coordinates (N, 2) -> (N, 2)."""
        if self.shift is not None:
            coords = coords + uniform(2, self.shift, coords)
        for most, axes in ((self.jitter, 2), (self.rescale, 1)):
            if most is not None:
                coords = coords * uniform(axes, math.log(most), coords).exp()
        return coords


def uniform(count: int, bound: float, like: Tensor) -> Tensor:
    """Numbers from -`bound` to `bound`, which are the same in any precision."""
    return torch.empty(count, dtype=torch.float32, device=like.device).uniform_(-bound, bound).to(like.dtype)
