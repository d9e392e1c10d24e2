"""Attention biases by relative position: tables of learned values, and the same tables for windows of another size."""
from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from ..spec import Pair


def get_relative_position_index(win_h: int, win_w: int, device: torch.device | None = None) -> Tensor:
    """For each query and key of a window, row by row, the entry of a table over all offsets (rows, columns) between
    them, (1 - win_h, 1 - win_w) first: (pixels, pixels). Swin, arXiv:2103.14030, equation 4."""
    rows, columns = (torch.arange(n, device=device)[:, None] - torch.arange(n, device=device) + n - 1
                     for n in (win_h, win_w))
    return (rows[:, None, :, None] * (2 * win_w - 1) + columns[None, :, None, :]).flatten(2).flatten(0, 1)


def table_size(window: Pair) -> Pair:
    """Rows and columns of a table over all offsets in a window."""
    return 2 * window[0] - 1, 2 * window[1] - 1


def resize_rel_pos_bias_table(rel_pos_bias: Tensor, new_window_size: Pair, new_bias_shape: Sequence[int],
                              old_window_size: Pair | None = None) -> Tensor:
    """A table (offsets + extra, heads) for windows of another size, as BEiT (arXiv:2106.08254) fine-tunes at other
    sizes: the old offsets are laid on a grid whose steps grow geometrically away from the middle until they span the
    new offsets, and values in between are interpolated linearly. Extra entries, such as those of a class token, stay.

    Args:
        new_bias_shape: of the table that is wanted. old_window_size: of a square window, by default.

    Raises:
        ValueError: the old table is of no square window, and `old_window_size` is not given or is not its.
    """
    extra = new_bias_shape[0] - math.prod(table_size(new_window_size))
    entries = rel_pos_bias.shape[0] - extra
    side = math.isqrt(entries)
    old = table_size(old_window_size) if old_window_size else (side, side)
    if math.prod(old) != entries:
        raise ValueError(f'A table of {entries} offsets is of no window of {(old[0] + 1) // 2}x{(old[1] + 1) // 2}: say '
                         'which window_size it was trained with.')
    new = table_size(new_window_size)
    if new == old:
        return rel_pos_bias
    table, kept = rel_pos_bias[:entries].float().unflatten(0, old), rel_pos_bias[entries:]
    weights = [_between(_geometric_grid(a, b), b) for a, b in zip(old, new)]
    resized = torch.einsum('yr,xc,rch->yxh', *(w.to(table) for w in weights), table)
    return torch.cat([resized.flatten(0, 1).to(rel_pos_bias.dtype), kept])


def _geometric_grid(old: int, new: int) -> list[float]:
    """Where the `old` offsets of one axis lie among the `new`: at 1, 1 + q, 1 + q + q² … from the middle, with the q,
    found by bisection, by which the last lies at new // 2."""
    low, high, q = 1.01, 1.5, 1.01
    while high - low > 1e-6:
        q = (low + high) / 2
        low, high = (low, q) if (1 - q ** (old // 2)) / (1 - q) > new // 2 else (q, high)
    place, right = 0.0, []                                        # with the q that was tried last, as the authors do
    for step in range(old // 2):
        place += q ** step
        right.append(place)
    return [-x for x in reversed(right)] + [0.0] + right


def _between(grid: Sequence[float], new: int) -> Tensor:
    """Weights (new, old) that interpolate linearly from values at `grid` to the offsets -(new // 2) … new // 2."""
    weights = torch.zeros(new, len(grid), dtype=torch.float64)
    for number in range(new):
        place = min(max(number - new // 2, grid[0]), grid[-1])
        left = max(i for i in range(len(grid) - 1) if grid[i] <= place) if len(grid) > 1 else 0
        if len(grid) == 1:
            weights[number, 0] = 1
            continue
        share = (place - grid[left]) / (grid[left + 1] - grid[left])
        weights[number, left], weights[number, left + 1] = 1 - share, share
    return weights
