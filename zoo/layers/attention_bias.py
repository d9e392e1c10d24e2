"""Attention biases learned for relative offsets between pixels."""
from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..spec import Pair, Sizes
from .sizes import SizedLayer, map_size


def resize_table(table: Tensor, old: Pair, new: Sequence[int]) -> Tensor:
    """A table (heads, rows * columns) over the distances 0 to rows - 1 and 0 to columns - 1, stretched to another map.

    Linear between the distances, so that the nearest and the farthest keep their values, and all where the maps are of
    one size.
    """
    maps = table.unflatten(1, old).unsqueeze(0)
    return F.interpolate(maps, new, mode='bilinear', align_corners=True).squeeze(0).flatten(1)


class OffsetBias(SizedLayer):
    """Base of attention layers with a learned bias for each head and distance (|rows|, |columns|) between the pixel of
    a query and that of a key (LeViT, arXiv:2104.01136, section 4.2).

    Only the table of biases is kept, never what is looked up in it: nothing goes stale when weights change or move.

    Args:
        reduction: input pixels per pixel of the map of keys.
        query_stride: queries lie on every so-many-th pixel of the map of keys.
        index_in_state: whether the index into the table is in state dicts, where published ones hold it.

    Attributes:
        grid: rows and columns of the map of keys that the table is for.
        dynamic_img_size: whether the table is stretched to whatever map comes.
    """

    undecayed = ('attention_biases',)
    attention_biases: nn.Parameter                      # (heads, rows * columns)
    attention_bias_idxs: Tensor                         # (queries, keys)
    dynamic_img_size = False

    def __init__(self, heads: int, reduction: int, img_size: Pair, query_stride: int = 1,
                 index_in_state: bool = False) -> None:
        super().__init__()
        self.heads, self.reduction, self.query_stride = heads, reduction, query_stride
        self.index_in_state = index_in_state
        self.img_size, self.grid = img_size, map_size(img_size, reduction)
        self.attention_biases = nn.Parameter(torch.empty(heads, self.grid[0] * self.grid[1]))
        self.register_buffer('attention_bias_idxs', self._index(), persistent=index_in_state)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """No bias."""
        nn.init.zeros_(self.attention_biases)

    def reset_constants(self) -> None:
        """Fills the index from pairs of pixels to entries of the table, which is no parameter."""
        self.attention_bias_idxs = self._index()

    def init_non_persistent_buffers(self) -> None:
        """`reset_constants`, by the name that transformers calls after it has loaded a checkpoint."""
        self.reset_constants()

    def bias(self, queries: Sequence[int], keys: Sequence[int]) -> Tensor:
        """(heads, queries, keys), for maps of so many rows and columns.

        Raises:
            ValueError: another map than the table is for, without `dynamic_img_size`.
        """
        if self.dynamic_img_size:
            table = resize_table(self.attention_biases, self.grid, keys)
            return table[:, self._distances(queries, keys, table.device)]
        if tuple(keys) != self.grid:
            (height, width), (rows, columns) = self.img_size, keys
            raise ValueError(
                f'This network is fitted to images of {height}x{width} pixels (height x width), whose attention is on '
                f'maps of {self.grid[0]}x{self.grid[1]}; this image gives {rows}x{columns}. Build the network with '
                'img_size=(height, width), call set_input_size((height, width)), or build it with '
                'dynamic_img_size=True for images of any size.')
        return self.attention_biases[:, self.attention_bias_idxs]

    @torch.no_grad()
    def adapt_state(self, state: dict[str, Tensor], prefix: str, source: Sizes) -> None:
        """Fits the table at `prefix` in a state dict to this layer's map: one of the map that `source` gives, else of a
        square map.

        Raises:
            ValueError: it is of another map that is not square.
        """
        key, index = f'{prefix}attention_biases', f'{prefix}attention_bias_idxs'
        if key not in state or state[key].shape[-1] == self.attention_biases.shape[-1]:
            return
        distances = state[key].shape[-1]
        old = map_size(source.img_size, self.reduction) if source.img_size else (0, 0)
        if math.prod(old) != distances:
            old = (math.isqrt(distances),) * 2
        if math.prod(old) != distances:
            raise ValueError(f'{key}: {distances} distances are of no square image, and which size it had cannot be '
                             'told. Build the network with the img_size it was trained with, load the weights, then '
                             'call set_input_size.')
        state[key] = resize_table(state[key], old, self.grid)
        if self.index_in_state:
            state[index] = self._index(torch.device('cpu'))

    @torch.no_grad()
    def fit(self, sizes: Sizes) -> None:
        """Fits the table to another image size."""
        old = self.grid
        self.dynamic_img_size = self.dynamic_img_size if sizes.dynamic is None else sizes.dynamic
        self.img_size = sizes.img_size or self.img_size
        self.grid = map_size(self.img_size, self.reduction)
        if self.grid != old:
            table = resize_table(self.attention_biases, old, self.grid)
            self.attention_biases = nn.Parameter(table, self.attention_biases.requires_grad)
            self.reset_constants()

    def _index(self, device: torch.device | None = None) -> Tensor:
        queries = -(-self.grid[0] // self.query_stride), -(-self.grid[1] // self.query_stride)
        device = device or self.attention_biases.device
        if device.type == 'meta':                       # arithmetic there would import PyTorch's compiler: 1.5 s
            return torch.empty(math.prod(queries), math.prod(self.grid), dtype=torch.int64, device=device)
        return self._distances(queries, self.grid, device)

    def _distances(self, queries: Sequence[int], keys: Sequence[int], device: torch.device) -> Tensor:
        """For each query and key, row by row, the entry of the table over the map of keys: (queries, keys)."""
        rows, columns = ((torch.arange(q, device=device)[:, None] * self.query_stride
                          - torch.arange(k, device=device)).abs() for q, k in zip(queries, keys))
        return (rows[:, None, :, None] * keys[1] + columns[None, :, None, :]).flatten(2).flatten(0, 1)
