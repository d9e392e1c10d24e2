"""PNASNet, arXiv:1712.00559: one cell, found by a search that goes from small cells to large ones, over and over.

    image -> conv_0 (stride 2) -> cell_stem_0, cell_stem_1 (stride 2 each) -> cell_0 to cell_3
          -> cell_4 (stride 2) to cell_7 -> cell_8 (stride 2) to cell_11 -> ReLU -> pool -> last_linear

The same cell does with a stride what reduction cells do in NASNet.
"""
from __future__ import annotations

from typing import Literal

from .cellnet import CUR, PREV, CellNet, FactorizedReduction, FittedCell, Row, Table

# Figure 1, PNASNet-5
CELL = Table(joined=(0, 1, 2, 3, 4), sums=(
    (('sep5', PREV), ('max3', PREV)),
    (('sep7', CUR), ('max3', CUR)),
    (('sep5', CUR), ('sep3', CUR)),
    (('sep3', 2), ('max3', CUR)),
    (('sep3', PREV), ('same', CUR)),
))
STEM, WIDTHS = (54, 108), (216, 432, 864)                                     # channels inside cells
REPEATS = 4                                                                   # cells of a stage


class HalvingCell(FittedCell):
    """The cell after one with a stride, which halves PREV."""

    fit = FactorizedReduction


class PNASNet5Large(CellNet):
    """PNASNet-5, arXiv:1712.00559, section 5. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        output_stride: reduction of the last stage; there is no other.
        pad_type: of layers with a stride, '' alike on all sides, or 'same' as TensorFlow does.

    Raises:
        ValueError: another `output_stride` or `pad_type`.
    """

    stem, halving = 'conv_0', HalvingCell

    def __init__(self, num_classes: int = 1000, in_chans: int = 3, output_stride: Literal[32] = 32, drop_rate: float = 0.0,
                 global_pool: str = 'avg', pad_type: str = '') -> None:
        super().__init__()
        cells = [[Row(f'cell_{REPEATS * stage + number}', CELL, width, 2 if stage and not number else 1)
                  for number in range(REPEATS)] for stage, width in enumerate(WIDTHS)]
        self.build(in_chans, 96, [[Row('cell_stem_0', CELL, STEM[0], 2)],
                                  [Row('cell_stem_1', CELL, STEM[1], 2), *cells[0]], cells[1], cells[2]],
                   pad_type, output_stride)
        self.build_head(self.num_features, num_classes, global_pool, drop_rate)
        self.init_fresh()
