"""What networks of searched cells share (NASNet, PNASNet): a cell is a table of operations, a network a row of cells.

    cell: the maps of the two cells before it, PREV and CUR, each -> ReLU, 1x1 convolution, normalisation
          -> sums of two operations, on these maps or on sums above them -> some of all these maps, joined as channels
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..contract import ImageModel, Parts
from ..layers.conv import conv2d
from ..layers.conv_norm import ConvNorm
from ..layers.inception import at_least
from ..layers.norm import Norm
from ..layers.pool import SameAvgPool2d, SameMaxPool2d
from ..spec import Feature, unknown

EPS = 1e-3                                                                    # of every normalisation
PREV, CUR = -2, -1                                                            # inputs of a table; 0, 1 ... are its sums
STEM_KERNEL, MARGIN = 3, 2                                                    # the stem does not pad
PADS = ('', 'same')

Side = tuple[str, int]                                                        # an operation, and the input that it is of
State = tuple[Tensor, Tensor]                                                 # the maps of the last two cells


class Table(NamedTuple):
    """A cell as a search writes it down.

    Attributes:
        sums: the two operations that each sum is of. 'sep3', 'sep5' and 'sep7' are two separable convolutions, 'max3' and
            'avg3' pool, 'same' changes nothing.
        joined: the inputs, or sums, that are the cell's map.
    """

    sums: tuple[tuple[Side, Side], ...]
    joined: tuple[int, ...]


class ActConvBn(nn.Module):
    """ReLU, a convolution and normalisation: (B, in_channels, H, W) -> (B, out_channels, ceil(H / stride),
    ceil(W / stride))."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1, padding: str = '') -> None:
        super().__init__()
        self.act = nn.ReLU()
        self.conv = conv2d(in_channels, out_channels, kernel_size, stride, pad_type=padding)
        self.bn = nn.BatchNorm2d(out_channels, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(x)
        x = self.conv(x)
        return self.bn(x)


class SeparableConv2d(nn.Module):
    """A depthwise and a 1x1 convolution in a row: (B, in_channels, H, W) -> (B, out_channels, ceil(H / stride),
    ceil(W / stride))."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int, padding: str = '') -> None:
        super().__init__()
        self.depthwise_conv2d = conv2d(in_channels, in_channels, kernel_size, stride, groups=in_channels, pad_type=padding)
        self.pointwise_conv2d = conv2d(in_channels, out_channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise_conv2d(x)
        return self.pointwise_conv2d(x)


class BranchSeparables(nn.Module):
    """ReLU, a separable convolution and normalisation, twice, the first with the stride: (B, in_channels, H, W) ->
    (B, out_channels, ceil(H / stride), ceil(W / stride))."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, pad_type: str = '') -> None:
        super().__init__()
        self.act_1 = nn.ReLU()
        self.separable_1 = SeparableConv2d(in_channels, out_channels, kernel_size, stride, pad_type)
        self.bn_sep_1 = nn.BatchNorm2d(out_channels, eps=EPS)
        self.act_2 = nn.ReLU(inplace=True)
        self.separable_2 = SeparableConv2d(out_channels, out_channels, kernel_size, 1)
        self.bn_sep_2 = nn.BatchNorm2d(out_channels, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act_1(x)
        x = self.separable_1(x)
        x = self.bn_sep_1(x)
        x = self.act_2(x)
        x = self.separable_2(x)
        return self.bn_sep_2(x)


class PooledConv(nn.Module):
    """Max pooling, a 1x1 convolution and normalisation: (B, in_channels, H, W) -> (B, out_channels, ceil(H / stride),
    ceil(W / stride))."""

    def __init__(self, in_channels: int, out_channels: int, stride: int, pad_type: str = '') -> None:
        super().__init__()
        self.max_pool = pooling('max', 3, stride, pad_type)
        self.conv = conv2d(in_channels, out_channels, 1)
        self.bn = nn.BatchNorm2d(out_channels, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.max_pool(x)
        x = self.conv(x)
        return self.bn(x)


class EverySecond(nn.Module):
    """A 1x1 convolution of every second row and column, from the row and column `start` on: (B, in_channels, H, W) ->
    (B, out_channels, ceil(H / 2), ceil(W / 2)), of zeros where an odd size ends too early."""

    def __init__(self, in_channels: int, out_channels: int, start: int) -> None:
        super().__init__()
        self.start = start
        self.conv = conv2d(in_channels, out_channels, 1, 2)

    def forward(self, x: Tensor) -> Tensor:
        if self.start:
            x = F.pad(x, (-self.start, self.start, -self.start, self.start))
        return self.conv(x)


class FactorizedReduction(nn.Module):
    """Halves a map without leaving out as many pixels as a stride of 2 would: half of the channels look at the even rows
    and columns, half at the odd ones. (B, in_channels, H, W) -> (B, out_channels, ceil(H / 2), ceil(W / 2))."""

    def __init__(self, in_channels: int, out_channels: int) -> None:
        super().__init__()
        self.act = nn.ReLU()
        self.path_1 = EverySecond(in_channels, out_channels // 2, 0)
        self.path_2 = EverySecond(in_channels, out_channels - out_channels // 2, 1)
        self.final_path_bn = nn.BatchNorm2d(out_channels, eps=EPS)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(x)
        x = torch.cat([self.path_1(x), self.path_2(x)], 1)
        return self.final_path_bn(x)


def pooling(kind: str, kernel: int, stride: int, pad_type: str) -> nn.Module:
    """Pooling, 'max' or 'avg': (B, C, H, W) -> (B, C, ceil(H / stride), ceil(W / stride))."""
    if stride > 1 and pad_type == 'same':
        return SameMaxPool2d(kernel, stride) if kind == 'max' else SameAvgPool2d(kernel, stride)
    if kind == 'max':
        return nn.MaxPool2d(kernel, stride, kernel // 2)
    return nn.AvgPool2d(kernel, stride, kernel // 2, count_include_pad=False)


def operation(word: str, in_channels: int, out_channels: int, stride: int, pad_type: str) -> nn.Module:
    """An operation of a table. What has no weights gets a 1x1 convolution where it alone would give a map of another
    shape."""
    kind, kernel = word.rstrip('357'), int(word[-1]) if word[-1].isdigit() else 1
    if kind == 'sep':
        return BranchSeparables(in_channels, out_channels, kernel, stride, pad_type)
    if kind == 'same':
        return nn.Identity() if stride == 1 else ActConvBn(in_channels, out_channels, 1, stride)
    return pooling(kind, kernel, stride, pad_type) if in_channels == out_channels else PooledConv(
        in_channels, out_channels, stride, pad_type)


class Cell(nn.Module):
    """A cell, of which PREV is taken as it is: (B, prev_chs, H, W) or twice as large, and (B, in_chs, H, W) ->
    (B, out_chs, ceil(H / stride), ceil(W / stride)).

    Args:
        width: channels of all maps inside. stride: of operations on PREV and CUR.
        passes_prev: the next cell takes in PREV and this cell's map, else CUR and this cell's map.
    """

    def __init__(self, table: Table, prev_chs: int, in_chs: int, width: int, stride: int = 1, pad_type: str = '',
                 passes_prev: bool = False) -> None:
        super().__init__()
        self.table, self.passes_prev, self.out_chs = table, passes_prev, len(table.joined) * width
        self.conv_1x1 = ActConvBn(in_chs, width)
        for number, sides in enumerate(table.sums):
            for side, (word, source) in zip(('left', 'right'), sides):
                channels = prev_chs if source == PREV else width
                self.add_module(f'comb_iter_{number}_{side}',
                                operation(word, channels, width, stride if source < 0 else 1, pad_type))

    def fit_prev(self, x: Tensor) -> Tensor:
        """PREV in the form that operations take in."""
        return x

    def forward(self, prev: Tensor, x: Tensor) -> Tensor:
        maps = {PREV: self.fit_prev(prev), CUR: self.conv_1x1(x)}
        for number, ((_, left), (_, right)) in enumerate(self.table.sums):
            maps[number] = (self.get_submodule(f'comb_iter_{number}_left')(maps[left])
                            + self.get_submodule(f'comb_iter_{number}_right')(maps[right]))
        return torch.cat([maps[source] for source in self.table.joined], 1)


class FittedCell(Cell):
    """A cell that makes PREV as wide as its inner maps."""

    fit: Callable[[int, int], nn.Module] = ActConvBn

    def __init__(self, table: Table, prev_chs: int, in_chs: int, width: int, stride: int = 1, pad_type: str = '',
                 passes_prev: bool = False) -> None:
        super().__init__(table, width, in_chs, width, stride, pad_type, passes_prev)
        self.conv_prev_1x1 = type(self).fit(prev_chs, width)

    def fit_prev(self, x: Tensor) -> Tensor:
        """(B, prev_chs, H, W) -> (B, width, H, W), or half as large."""
        return self.conv_prev_1x1(x)


class Row(NamedTuple):
    """A cell of a network; fields as the arguments of `Cell`."""

    name: str
    table: Table
    width: int
    stride: int = 1
    passes_prev: bool = False


class CellNet(ImageModel):
    """A network whose stages are cells in a row. What goes from one to the next are the maps of the last two; the maps
    that it gives are activated, as the cells after them begin with that.

    Attributes:
        stem: the name of the first convolution.
        halving: what makes a cell whose PREV is twice as large as CUR: one after a cell with a stride.
    """

    parts = Parts(stem=(), stages=(), classifier=('last_linear',))
    stem: str
    halving: type[Cell]

    def build(self, in_chans: int, stem_size: int, stages: Sequence[Sequence[Row]], pad_type: str, output_stride: int) -> None:
        """Adds the stem, `stem_size` wide, and the cells, and says what they are for.

        Raises:
            ValueError: another `output_stride` than 32, or another `pad_type` than '' and 'same'.
        """
        if output_stride != 32:
            raise ValueError(f'output_stride is 32, since cells are not dilated, not {output_stride}.')
        if pad_type not in PADS:
            raise ValueError(unknown('pad_type', pad_type, PADS))
        self.in_chans = in_chans
        self.add_module(self.stem, ConvNorm(in_chans, stem_size, STEM_KERNEL, 2, act_layer=None, norm_layer=Norm(eps=EPS),
                                            pad_type='valid'))
        self.parts = replace(self.parts, stem=(self.stem,), stages=tuple(tuple(row.name for row in stage) for stage in stages))
        widths, kind = [stem_size], Cell
        prev_chs = chs = stem_size
        for stage in stages:
            for row in stage:
                cell = kind(row.table, prev_chs, chs, row.width, row.stride, pad_type, row.passes_prev)
                self.add_module(row.name, cell)
                prev_chs, chs = prev_chs if row.passes_prev else chs, cell.out_chs
                kind = self.halving if row.stride > 1 else FittedCell
            widths.append(chs)
        self.act = nn.ReLU()
        modules = [self.stem, *(f'{stage[0].name}.conv_1x1.act' for stage in stages[1:]), 'act']
        self.num_features = chs
        self.feature_info = [Feature(num_chs=width, reduction=2 ** (step + 1), module=module, stage=step, margin=MARGIN)
                             for step, (width, module) in enumerate(zip(widths, modules, strict=True))]

    def _blocks_of(self, names: tuple[str, ...]) -> list[list[str]]:
        return [[name] for name in names]

    def run_stem(self, x: Tensor) -> State:
        """Images (B, in_chans, H, W) -> the stem's map, as both of those that the first cell takes in."""
        x = self._run(self.parts.stem, at_least(x, STEM_KERNEL))
        return x, x

    def enter_stage(self, number: int, state: State) -> State:
        """The maps that go into stage `number`: the same."""
        return state

    def run_stage(self, number: int, state: State) -> State:
        """The maps of the last two cells of stage `number`."""
        prev, x = state
        for name in self.stage_names()[number]:
            cell: Any = self.get_submodule(name)
            prev, x = prev if cell.passes_prev else x, cell(prev, x)
        return prev, x

    def maps_of(self, state: State, step: int) -> list[Tensor]:
        """The last map of a state, activated unless it is the stem's."""
        return [self.act(state[1]) if step else state[1]]

    def pre_head(self, state: State) -> Tensor:
        """What the head takes in: the last map, activated."""
        return self.maps_of(state, len(self.stage_names()))[0]
