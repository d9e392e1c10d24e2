"""SelecSLS, arXiv:1907.00837: long and short range connections, selected for speed.

    image -> stem (stride 2) -> features, three stages (stride 2 each) -> head, four convolutions (stride 4) -> pool -> fc
    block: three pairs of convolutions in a row -> all three maps as channels, and what the stage's first block gave
          -> 1x1 convolution

The state between blocks is a map and that of the stage's first block. Maps of the head are features too.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from ..contract import ImageModel, Parts
from ..layers.conv_norm import conv_norm_relu
from ..layers.init import init_he
from ..layers.stages import same_stages
from ..spec import Feature

STEM = 32
Maps = Tensor | tuple[Tensor, Tensor]                             # a map, or one and that of its stage's first block


class SelecSls(ImageModel):
    """SelecSLS, arXiv:1907.00837. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        block_num: blocks of each of the three stages. mid_chs: their widths, and those of the maps between them.
            out_chs: what comes out of each stage.
        head_chs: channels of the four convolutions of the head. head_kernel: of the last.

    Raises:
        ValueError: options of stages that are of other numbers of stages, other than four convolutions.
    """

    parts = Parts(stem=('stem',), stages=(), classifier=('fc',))
    draw = staticmethod(init_he)

    def __init__(self, block_num: Sequence[int] = (2, 2, 2), mid_chs: Sequence[int] = (64, 144, 304),
                 out_chs: Sequence[int] = (128, 288, 480), head_chs: Sequence[int] = (960, 1024, 1024, 1280),
                 head_kernel: int = 1, num_classes: int = 1000, in_chans: int = 3, drop_rate: float = 0.0,
                 global_pool: str = 'avg') -> None:
        super().__init__()
        same_stages(block_num=block_num, mid_chs=mid_chs, out_chs=out_chs)
        if len(head_chs) != 4:
            raise ValueError(f'head_chs are of four convolutions, not {list(head_chs)}.')
        self.in_chans = in_chans
        self.stem = conv_norm_relu(in_chans, STEM, 3, 2)
        self.feature_info = [Feature(num_chs=STEM, reduction=2, module='stem.2', stage=0)]
        self.features, width, stages = nn.Sequential(), STEM, []
        for number, (count, inner, out) in enumerate(zip(block_num, mid_chs, out_chs)):
            names = []
            for index in range(count):
                wide = out if index == count - 1 else inner
                names.append(f'features.{len(self.features)}')
                self.features.append(SelecSlsBlock(width, inner if index else 0, inner, wide, index == 0, 1 if index else 2))
                width = wide
            stages.append(tuple(names))
            self._add_feature(width, names[-1])
        self.head = nn.Sequential()
        for number, (out, kernel) in enumerate(zip(head_chs, (3, 3, 3, head_kernel))):
            self.head.append(conv_norm_relu(width, out, kernel, 1 if number % 2 else 2))
            width = out
            if number % 2:
                self._add_feature(width, f'head.{number}')
        self.parts = replace(self.parts, stages=(*stages, ('head.0', 'head.1'), ('head.2', 'head.3')))
        self.num_features = width
        self.build_head(width, num_classes, global_pool, drop_rate)
        self.init_fresh()

    def _add_feature(self, width: int, module: str) -> None:
        step = len(self.feature_info)
        self.feature_info.append(Feature(num_chs=width, reduction=2 ** (step + 1), module=module, stage=step))

    def enter_stage(self, number: int, state: Maps) -> Maps:
        """The state that goes into the last block, or convolution, of stage `number`; a stage begins with one map."""
        maps: Maps = super().enter_stage(number, last_of(state))
        return maps

    def maps_of(self, state: Maps, step: int) -> list[Tensor]:
        """The map of a state that was made last."""
        return [last_of(state)]

    def pre_head(self, state: Maps) -> Tensor:
        """What the head takes in."""
        return super().pre_head(last_of(state))


def last_of(maps: Maps) -> Tensor:
    """Of a map and that of its stage's first block the former."""
    return maps[0] if isinstance(maps, (tuple, list)) else maps


class SelecSlsBlock(nn.Module):
    """A block (arXiv:1907.00837, Figure 3): a map (B, in_chs, H, W) and the stage's first (B, skip_chs, H, W) -> a map
    (B, out_chs, H / stride, W / stride) and the stage's first.

    Args:
        is_first: the block is the first of its stage: it takes a map alone, and gives its own as the first.
    """

    def __init__(self, in_chs: int, skip_chs: int, mid_chs: int, out_chs: int, is_first: bool, stride: int,
                 dilation: int = 1) -> None:
        super().__init__()
        self.is_first = is_first
        self.conv1 = conv_norm_relu(in_chs, mid_chs, 3, stride, dilation)
        self.conv2 = conv_norm_relu(mid_chs, mid_chs, 1)
        self.conv3 = conv_norm_relu(mid_chs, mid_chs // 2, 3)
        self.conv4 = conv_norm_relu(mid_chs // 2, mid_chs, 1)
        self.conv5 = conv_norm_relu(mid_chs, mid_chs // 2, 3)
        self.conv6 = conv_norm_relu(2 * mid_chs + (0 if is_first else skip_chs), out_chs, 1)

    def forward(self, x: Any) -> tuple[Tensor, Tensor]:
        skip = None if self.is_first else x[1]
        x = last_of(x) if self.is_first else x[0]
        maps = [self.conv1(x)]
        maps.append(self.conv3(self.conv2(maps[-1])))
        maps.append(self.conv5(self.conv4(maps[-1])))
        if skip is not None:
            maps.append(skip)
        x = torch.cat(maps, 1)
        del maps
        x = self.conv6(x)
        return x, x if skip is None else skip
