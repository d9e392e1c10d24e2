"""NASNet, arXiv:1707.07012: two cells, found by a search on small images, over and over.

    image -> conv0 (stride 2) -> cell_stem_0, cell_stem_1: reduction cells (stride 2 each) -> six normal cells
          -> reduction_cell_0 (stride 2), six normal cells -> reduction_cell_1 (stride 2), six normal cells
          -> ReLU -> pool -> last_linear

A normal cell after a reduction cell, as every cell, takes in the maps of the two before it, but for `cell_6` and
`cell_12`: of the cell before the reduction cell's they get what that one got.
"""
from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor, nn

from ..layers.pool import SameMaxPool2d
from .cellnet import CUR, PREV, Cell, CellNet, FactorizedReduction, Row, Table

# Figure 4, NASNet-A
NORMAL = Table(joined=(PREV, 0, 1, 2, 3, 4), sums=(
    (('sep5', CUR), ('sep3', PREV)),
    (('sep5', PREV), ('sep3', PREV)),
    (('avg3', CUR), ('same', PREV)),
    (('avg3', PREV), ('avg3', PREV)),
    (('sep3', CUR), ('same', CUR)),
))
REDUCTION = Table(joined=(1, 2, 3, 4), sums=(
    (('sep5', CUR), ('sep7', PREV)),
    (('max3', CUR), ('sep7', PREV)),
    (('avg3', CUR), ('sep5', PREV)),
    (('same', 1), ('avg3', 0)),
    (('sep3', 0), ('max3', CUR)),
))
REPEATS = 6                                                                   # normal cells in a row


class FirstCell(Cell):
    """The cell after one with a stride, which halves PREV; what does so are parts of the cell itself."""

    act: nn.Module
    path_1: nn.Module
    path_2: nn.Module
    final_path_bn: nn.Module

    def __init__(self, table: Table, prev_chs: int, in_chs: int, width: int, stride: int = 1, pad_type: str = '',
                 passes_prev: bool = False) -> None:
        super().__init__(table, width, in_chs, width, stride, pad_type, passes_prev)
        for name, part in FactorizedReduction(prev_chs, width).named_children():
            self.add_module(name, part)

    def fit_prev(self, x: Tensor) -> Tensor:
        """(B, prev_chs, 2 H, 2 W) -> (B, width, H, W)."""
        x = self.act(x)
        x = torch.cat([self.path_1(x), self.path_2(x)], 1)
        normed: Tensor = self.final_path_bn(x)
        return normed


class NASNetALarge(CellNet):
    """NASNet-A, arXiv:1707.07012, Figure 2. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        stem_size: channels of the first convolution. channel_multiplier: how many times wider cells are after each stride.
        num_features: channels of the last map. output_stride: reduction of the last stage; there is no other.
        pad_type: of layers with a stride, '' alike on all sides, or 'same' as TensorFlow does.
        zeros_count: max pooling with a stride takes what is around a map for zeros, as in Keras; pad_type='same' alone.

    Raises:
        ValueError: another `output_stride` or `pad_type`, `num_features` that cells cannot share, or `zeros_count` with
            another padding.
    """

    stem, halving = 'conv0', FirstCell

    def __init__(self, num_classes: int = 1000, in_chans: int = 3, stem_size: int = 96, channel_multiplier: int = 2,
                 num_features: int = 4032, output_stride: Literal[32] = 32, drop_rate: float = 0.0,
                 global_pool: str = 'avg', pad_type: str = 'same', zeros_count: bool = False) -> None:
        super().__init__()
        if zeros_count and pad_type != 'same':
            raise ValueError(f"zeros_count is for pad_type='same', not for {pad_type!r}.")
        unit = len(NORMAL.joined) * channel_multiplier ** 4
        if num_features % unit:
            raise ValueError(f'num_features is a multiple of {unit}, for cells of {len(NORMAL.joined)} maps whose width '
                             f'grows by {channel_multiplier} four times, not {num_features}.')
        widths = [num_features // unit * channel_multiplier ** step for step in range(5)]
        normal = [[Row(f'cell_{REPEATS * stage + number}', NORMAL, width) for number in range(REPEATS)]
                  for stage, width in enumerate(widths[2:])]
        self.build(in_chans, stem_size, [
            [Row('cell_stem_0', REDUCTION, widths[0], 2)],
            [Row('cell_stem_1', REDUCTION, widths[1], 2), *normal[0]],
            [Row('reduction_cell_0', REDUCTION, widths[3], 2, passes_prev=True), *normal[1]],
            [Row('reduction_cell_1', REDUCTION, widths[4], 2, passes_prev=True), *normal[2]]], pad_type, output_stride)
        for part in self.modules():
            if isinstance(part, SameMaxPool2d) and zeros_count:
                part.outside = 0.0
        self.build_head(self.num_features, num_classes, global_pool, drop_rate)
        self.init_fresh()
