"""Windows of a map, of neighbours or of pixels far apart: cut apart, put together, and what of a shifted window belongs
together (Swin, arXiv:2103.14030; grids: MaxViT, arXiv:2204.01697)."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..spec import Pair


def window_partition(x: Tensor, window_size: Pair) -> Tensor:
    """A map (B, H, W, C) -> its windows (B * windows, rows, columns, C), row by row; they divide it."""
    (rows, columns), (batch, height, width, channels) = window_size, x.shape
    x = x.view(batch, height // rows, rows, width // columns, columns, channels)
    return x.transpose(2, 3).clone(memory_format=torch.contiguous_format).flatten(0, 2)


def window_reverse(windows: Tensor, window_size: Pair, H: int, W: int) -> Tensor:
    """Windows (B * windows, rows, columns, C) -> the map (B, H, W, C) that `window_partition` cut them from."""
    (rows, columns), channels = window_size, windows.shape[-1]
    x = windows.view(-1, H // rows, W // columns, rows, columns, channels)
    return x.transpose(2, 3).clone(memory_format=torch.contiguous_format).flatten(3, 4).flatten(1, 2)


def grid_partition(x: Tensor, grid_size: Pair) -> Tensor:
    """A map (B, H, W, C) -> windows (B * windows, rows, columns, C) that each lie all over it, every so-many-th pixel,
    row by row of where they begin (MaxViT, section 3.3); the grid's rows and columns divide it."""
    (rows, columns), (batch, height, width, channels) = grid_size, x.shape
    x = x.view(batch, rows, height // rows, columns, width // columns, channels)
    return x.permute(0, 2, 4, 1, 3, 5).clone(memory_format=torch.contiguous_format).flatten(0, 2)


def grid_reverse(windows: Tensor, grid_size: Pair, H: int, W: int) -> Tensor:
    """Windows (B * windows, rows, columns, C) -> the map (B, H, W, C) that `grid_partition` cut them from."""
    (rows, columns), channels = grid_size, windows.shape[-1]
    x = windows.view(-1, H // rows, W // columns, rows, columns, channels)
    x = x.permute(0, 3, 1, 4, 2, 5).clone(memory_format=torch.contiguous_format)
    return x.flatten(3, 4).flatten(1, 2)


def pad_to_windows(x: Tensor, window_size: Pair) -> Tensor:
    """A map (B, H, W, C) with zeros at its bottom and right, up to whole windows."""
    down, right = missing(x.shape[1:3], window_size)
    if isinstance(down, int) and isinstance(right, int) and not down and not right:
        return x
    return F.pad(x, (0, 0, 0, right, 0, down))


def cut_to(x: Tensor, size: Sequence[int]) -> Tensor:
    """A map (B, H, W, C) without what lies beyond `size`, its first rows and columns.

    A copy where anything may lie there: to say whether a slice is contiguous, `torch.export` would hold an image to the
    sizes at which nothing does.
    """
    down, right = x.shape[1] - size[0], x.shape[2] - size[1]
    if isinstance(down, int) and isinstance(right, int) and not down and not right:
        return x
    return F.pad(x, (0, 0, 0, -right, 0, -down))


def each_window(layer: Callable[[Tensor], Tensor], x: Tensor, window_size: Pair) -> Tensor:
    """What a layer of tokens (B * windows, rows * columns, C) makes of each window of a map (B, H, W, C), as a map; zeros
    fill up the last windows."""
    size = x.shape[1:3]
    x = pad_to_windows(x, window_size)
    height, width = x.shape[1:3]
    x = window_partition(x, window_size)
    x = layer(x.flatten(1, 2))
    x = window_reverse(x.unflatten(1, window_size), window_size, height, width)
    return cut_to(x, size)


def missing(size: Sequence[int], window_size: Pair) -> Pair:
    """Rows and columns that a map lacks to be of whole windows."""
    (height, width), (rows, columns) = (size[0], size[1]), window_size              # a traced size is no sequence
    return (height + rows - 1) // rows * rows - height, (width + columns - 1) // columns * columns - width


def shift_mask(size: Sequence[int], window_size: Pair, shift_size: Pair, like: Tensor) -> Tensor:
    """What to add to attention scores inside the windows of a map that was rolled by `shift_size`: -100 between pixels
    that lay apart before, else 0 (section 3.2, Figure 4). (windows, pixels, pixels), in the type and on the device of
    `like`; `size` are whole windows."""
    regions = []
    for side, window, shift in zip(size, window_size, shift_size):
        place = torch.arange(side, device=like.device)
        regions.append((place >= side - window).long() + (place >= side - shift).long() if shift else 0 * place)
    region = 3 * regions[0][:, None] + regions[1]
    inside = window_partition(region[None, :, :, None], window_size).flatten(1)
    return (inside[:, None, :] != inside[:, :, None]).to(like.dtype) * -100.0
