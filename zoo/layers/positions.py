"""Learned positions and patch kernels, resampled for other image and patch sizes."""
from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F


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


def resample_patch_embed(patch_embed: Tensor, new_size: Sequence[int], interpolation: str = 'bicubic',
                         antialias: bool = True, verbose: bool = False) -> Tensor:
    """A kernel (C, in_chans, h, w) for patches of another size (FlexiViT, arXiv:2212.08013, equation 4).

    Of all kernels it is the one whose products with resized patches are nearest to the old kernel's with the patches:
    the pseudo-inverse of the resizing, transposed, times the old kernel.
    """
    old, new = tuple(patch_embed.shape[-2:]), tuple(new_size)
    if old == new:
        return patch_embed
    pixels = torch.eye(math.prod(old), device=patch_embed.device).unflatten(1, (1, *old))
    resized = F.interpolate(pixels, new, mode=interpolation, antialias=antialias).flatten(1)      # (old, new)
    kernel: Tensor = patch_embed.float().flatten(2) @ torch.linalg.pinv(resized).T
    kernel = kernel.unflatten(2, new)
    return kernel.to(patch_embed.dtype)
