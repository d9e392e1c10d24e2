"""Learned positions and patch kernels, resampled for other image and patch sizes."""
from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

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
    image = F.interpolate(image, tuple(new_size), mode=interpolation, antialias=antialias)
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
    return F.interpolate(image.float(), new, mode='bicubic', antialias=antialias).to(image.dtype)


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
