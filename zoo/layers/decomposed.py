"""Relative positions decomposed into one of rows and one of columns (MViTv2, arXiv:2112.01526, section 4.1)."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..spec import Pair
from .conv import copy_in_exports
from .init import draw_normal

AXES = ('rel_pos_h', 'rel_pos_w')


def table_lengths(size: Sequence[int]) -> Pair:
    """Offsets between the rows, and between the columns, of a map."""
    return 2 * size[0] - 1, 2 * size[1] - 1


def resize_offsets(table: Tensor, length: Any) -> Tensor:
    """A table (offsets, dim) over the offsets of one axis for another number of them, interpolated linearly, as the
    authors of MViTv2 (arXiv:2112.01526) and of ViTDet (arXiv:2203.16527), whose code SAM is built on, do it."""
    if isinstance(length, int) and length == table.shape[0]:                     # a symbolic length is not compared
        return table
    resized = F.interpolate(table.float().T.unsqueeze(0), size=(length,), mode='linear')
    return resized.squeeze(0).T.to(table.dtype)


class DecomposedRelPos(nn.Module):
    """Base of attention layers with a learned vector for each offset between rows, and for each between columns, whose
    products with a query are added to its scores (arXiv:2112.01526, equations 4 and 5).

    Attributes:
        rel_pos_size: rows and columns of the map, of queries or keys whichever is larger, that the vectors are for; None
            without them. Those of another map are resampled, see `resize_offsets`.
        rel_pos_std: deviation of fresh vectors.
    """

    undecayed = AXES
    rel_pos_h: nn.Parameter | None                                              # (2 rows - 1, dim)
    rel_pos_w: nn.Parameter | None                                              # (2 columns - 1, dim)
    rel_pos_size: Pair | None
    rel_pos_std = 0.0

    def build_rel_pos(self, size: Pair | None, dim: int) -> None:
        """Adds the vectors, each `dim` wide; none for no size."""
        self.rel_pos_size = size
        for name, length in zip(AXES, table_lengths(size) if size else (0, 0)):
            self.register_parameter(name, nn.Parameter(torch.empty(length, dim)) if size else None)
        DecomposedRelPos.reset_parameters(self)

    def reset_parameters(self) -> None:
        """Small vectors, or none at all."""
        for table in (self.rel_pos_h, self.rel_pos_w):
            if table is not None:
                draw_normal(table, self.rel_pos_std) if self.rel_pos_std else nn.init.zeros_(table)

    @torch.no_grad()
    def set_rel_pos_size(self, size: Pair) -> None:
        """Another map, with the vectors resampled."""
        if self.rel_pos_size is None or size == self.rel_pos_size:
            return
        self.rel_pos_size = size
        for name, length in zip(AXES, table_lengths(size)):
            table = getattr(self, name)
            new = table.new_empty(length, table.shape[1]) if table.is_meta else resize_offsets(table, length)
            setattr(self, name, nn.Parameter(new, table.requires_grad))

    @torch.no_grad()
    def adapt_rel_pos(self, state: dict[str, Tensor], prefix: str) -> None:
        """Resamples the vectors at `prefix` in a state dict for this layer's map."""
        if self.rel_pos_size is None:
            return
        for name, length in zip(AXES, table_lengths(self.rel_pos_size)):
            if f'{prefix}{name}' in state:
                state[f'{prefix}{name}'] = resize_offsets(state[f'{prefix}{name}'], length)

    def rel_pos_bias(self, q: Tensor, queries: Sequence[int], keys: Sequence[int]) -> Tensor | None:
        """What to add to the scores of queries (B, heads, rows * columns, dim) of a map of so many rows and columns, with
        keys of another: (B, heads, queries, keys); None without vectors."""
        if self.rel_pos_h is None or self.rel_pos_w is None:
            return None
        rows, columns = (_offsets(table, *sides).to(q.dtype) for table, sides in zip(
            (self.rel_pos_h, self.rel_pos_w), zip(queries, keys)))
        q = q.unflatten(2, tuple(queries))                                          # (B, heads, rows, columns, dim)
        of_rows = copy_in_exports(offset_products(q.transpose(2, 3), rows).transpose(2, 3))
        of_columns = copy_in_exports(offset_products(q, columns))
        return (of_rows.unsqueeze(-1) + of_columns.unsqueeze(-2)).flatten(4).flatten(2, 3)


def offset_products(q: Tensor, vectors: Tensor) -> Tensor:
    """Queries (B, heads, others, side, dim) with each one's vectors (side, keys, dim): (B, heads, others, side, keys)."""
    products = copy_in_exports(q.movedim(3, 0)).flatten(1, 3) @ vectors.transpose(1, 2)
    return products.unflatten(1, tuple(q.shape[:3])).movedim(0, 3)


def _offsets(table: Tensor, queries: int, keys: int) -> Tensor:
    """The vectors (queries, keys, dim) of one axis. Where the two are of different numbers, offsets are counted on the
    finer of the two."""
    larger, smaller = (torch.maximum, torch.minimum) if isinstance(queries, Tensor) else (torch.sym_max, torch.sym_min)
    finer: Any = larger(queries, keys)                                              # tensors in a trace
    coarser: Any = smaller(queries, keys)
    table = resize_offsets(table, 2 * finer - 1)
    places = torch.arange(queries, device=table.device)[:, None] * keys
    others = (keys - 1 - torch.arange(keys, device=table.device)) * queries
    return table[(places + others) // coarser]
