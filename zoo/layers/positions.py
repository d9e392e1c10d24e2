"""Learned positions and patch kernels, resampled for other image and patch sizes."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

from ..spec import unknown
from .windows import cut_to


def resample_abs_pos_embed(posemb: Tensor, new_size: Sequence[int], old_size: Sequence[int] | None = None,
                           num_prefix_tokens: int = 1, interpolation: str = 'bicubic', antialias: bool = True,
                           verbose: bool = False) -> Tensor:
    """Position embeddings (1, prefix + rows * columns, C) for another grid of patches (DeiT, arXiv:2012.12877,
    section 5): interpolated as an image of the positions, those of the prefix tokens kept.

    Args:
        new_size, old_size: rows and columns; the old ones are those of a square by default.
        verbose: log what is done.

    Raises:
        ValueError: the positions are of no grid of `old_size`, or of no square.
    """
    prefix, grid = posemb[:, :num_prefix_tokens], posemb[:, num_prefix_tokens:]
    side = math.isqrt(grid.shape[1])
    old = tuple(old_size) if old_size is not None else (side, side)
    if math.prod(old) != grid.shape[1]:
        raise ValueError(f'{grid.shape[1]} positions, beside {num_prefix_tokens} of prefix tokens, are of no grid of '
                         f'{old[0]}x{old[1]} patches: say which size they are of.')
    if all(isinstance(side, int) for side in new_size) and old == tuple(new_size):      # a symbolic size is not compared
        return posemb
    if verbose:
        import logging
        logging.getLogger('zoo').info('Positions are resampled from %s to %s.', old, tuple(new_size))
    image = grid.float().unflatten(1, old).permute(0, 3, 1, 2)
    image = resized(image, new_size, interpolation, antialias)
    return torch.cat([prefix, image.permute(0, 2, 3, 1).flatten(1, 2).to(posemb.dtype)], dim=1)


def absolute_win(pos_embed: Tensor, window: Tensor, size: Sequence[int], antialias: bool = False) -> Tensor:
    """Positions (1, rows, columns, C) of a map whose attention looks into windows, "absolute win" (arXiv:2311.05613,
    section 4): those of the whole map (1, C, h, w), interpolated, and those inside a window (1, C, rows, columns), the
    same in each. Windows are cut off where they do not divide the map.

    Args:
        size: rows and columns of the map.
    """
    rows, columns = window.shape[2:]
    tiled = window.permute(0, 2, 3, 1).repeat(1, (size[0] + rows - 1) // rows, (size[1] + columns - 1) // columns, 1)
    return _interpolated(pos_embed, size, antialias).permute(0, 2, 3, 1) + cut_to(tiled, size)


def resample_windowed_pos_embed(posemb: Tensor, new_size: Sequence[int], old_size: Sequence[int],
                                window_size: Sequence[int]) -> Tensor:
    """Position embeddings (1, rows * columns, C) of a network whose attention looks into windows, for another grid.

    Such positions repeat from window to window, and interpolated as one image they no longer lie on the windows
    (arXiv:2311.05613, section 3). So they are taken apart as `absolute_win` has them: the mean of each window, as an
    image of windows, what repeats in all of them, and of each what is left; the first and the last are interpolated.

    Args:
        new_size, old_size: rows and columns, of whole windows.
    """
    if all(isinstance(side, int) for side in new_size) and tuple(old_size) == tuple(new_size):
        return posemb
    image = posemb.float().unflatten(1, tuple(old_size)).permute(0, 3, 1, 2)
    means = F.avg_pool2d(image, tuple(window_size))
    rest = image - _interpolated(means, old_size)
    windows = rest.unflatten(3, (-1, window_size[1])).unflatten(2, (-1, window_size[0]))
    window = windows.mean((2, 4))
    left = (windows - window[:, :, None, :, None]).flatten(4, 5).flatten(2, 3)
    positions = absolute_win(means, window, new_size) + _interpolated(left, new_size, True).permute(0, 2, 3, 1)
    return positions.flatten(1, 2).to(posemb.dtype)


def _interpolated(image: Tensor, size: Sequence[int], antialias: bool = False) -> Tensor:
    """An image (1, C, h, w) in another size, bicubic."""
    new = size[0], size[1]                                          # a traced size is no sequence
    if all(isinstance(side, int) for side in new) and image.shape[2:] == new:
        return image
    return resized(image.float(), new, 'bicubic', antialias).to(image.dtype)


def resized(image: Tensor, size: Sequence[Any], mode: str, antialias: bool) -> Tensor:
    """An image (B, C, h, w) in another size, in the mode of `torch.nn.functional.interpolate`.

    Sizes that stay open in a traced or exported graph are no integers. There, resizing with antialiasing, which few other
    runtimes have alike, is a product with a matrix of rows and one of columns.
    """
    rows, columns = size
    if not antialias or isinstance(rows, int) and isinstance(columns, int):
        return F.interpolate(image, (rows, columns), mode=mode, antialias=antialias)
    down, across = (resize_weights(old, new, mode).to(image) for old, new in zip(image.shape[2:], (rows, columns)))
    maps = image.flatten(0, 1)      # batches of matrices: any other product's reshaping asks how the open sizes divide
    maps = torch.bmm(torch.bmm(down.expand(len(maps), -1, -1), maps), across.T.expand(len(maps), -1, -1))
    return maps.unflatten(0, image.shape[:2])


def resize_weights(old: int, new: Any, mode: str = 'bicubic') -> Tensor:
    """Weights (new, old) that resize one side of an image with antialiasing, each row a filter that is as much wider as
    the side becomes shorter.

    Raises:
        ValueError: another mode than 'bilinear' and 'bicubic', whose filter is Keys's (1981) with a = -0.5.
    """
    if mode not in ('bilinear', 'bicubic'):
        raise ValueError(unknown('Interpolation with antialiasing', mode, ('bilinear', 'bicubic')))
    places = torch.arange(new, dtype=torch.float32)
    step = old / (places[-1] + 1)                                              # pixels of the old side a pixel of the new
    centres = (places + 0.5) * step
    x = ((torch.arange(old) + 0.5 - centres.unsqueeze(1)) / step.clamp_min(1)).abs()
    if mode == 'bilinear':
        weights = (1 - x).clamp_min(0)
    else:
        near, far = (1.5 * x - 2.5) * x * x + 1, ((2.5 - 0.5 * x) * x - 4) * x + 2
        weights = torch.where(x < 1, near, torch.where(x < 2, far, 0.0))
    return weights / weights.sum(1, keepdim=True)


def resample_patch_embed(patch_embed: Tensor, new_size: Sequence[int], interpolation: str = 'bicubic',
                         antialias: bool = True, verbose: bool = False) -> Tensor:
    """A kernel (C, in_chans, h, w) for patches of another size (FlexiViT, arXiv:2212.08013, equation 4).

    Of all kernels it is the one whose products with resized patches are nearest to the old kernel's with the patches:
    the pseudo-inverse of the resizing, transposed, times the old kernel.
    """
    old, new = tuple(patch_embed.shape[-2:]), tuple(new_size)
    if old == new:
        return patch_embed
    inverse = resizing_inverse(old, new, interpolation, antialias, patch_embed.device)
    return project_kernel(patch_embed, inverse, new)


def resizing_inverse(old: Sequence[int], new: Sequence[int], interpolation: str = 'bicubic', antialias: bool = True,
                     device: torch.device | None = None) -> Tensor:
    """The pseudo-inverse (new pixels, old pixels) of the resizing of patches, which `resample_patch_embed` needs."""
    pixels = torch.eye(math.prod(old), device=device).unflatten(1, (1, *old))
    resized = F.interpolate(pixels, tuple(new), mode=interpolation, antialias=antialias).flatten(1)      # (old, new)
    return torch.linalg.pinv(resized)


def project_kernel(kernel: Tensor, inverse: Tensor, new: Sequence[int]) -> Tensor:
    """A kernel (C, in_chans, h, w) for patches of rows and columns `new`, by a `resizing_inverse`."""
    projected: Tensor = kernel.float().flatten(2) @ inverse.to(kernel.device).T
    return projected.unflatten(2, tuple(new)).to(kernel.dtype)
