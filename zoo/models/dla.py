"""DLA, arXiv:1707.06484: stages are trees of blocks, whose maps a node at the end of each tree joins.

    image -> base_layer, level0 -> level1 (stride 2) -> level2 -> level3 -> level4 -> level5 (stride 2 each) -> pool -> fc
    tree of one level: block -> block -> root: a 1x1 convolution of both maps as channels, and of those handed down
    tree of more: a tree -> a tree, whose root also sees what the first gave (Figure 3d)

From level3 on, a tree's input is handed down as well. Blocks are ResNet's; a ResNeXt (arXiv:1611.05431) groups them,
Res2Net (arXiv:1904.01169) splits the middle convolution into scales.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Literal

import torch
from torch import Tensor, nn

from ..contract import Parts
from ..layers.conv import conv2d
from ..layers.conv_norm import conv_norm_relu
from ..layers.init import init_he
from ..layers.pool import CeilMaxPool2d
from ..spec import Feature, Sizes, unknown
from .headnet import ConvClassifierNet

EXPANSION = 2                                                   # a bottleneck's width over its inner one
BlockClass = Callable[..., nn.Module]


class DLA(ConvClassifierNet):
    """Deep layer aggregation, arXiv:1707.06484. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        levels: number of convolutions of the first two levels, and levels of the trees of the others. channels: their
            widths.
        output_stride: reduction of the last level; there is no other.
        cardinality, base_width: groups of the 3x3 convolutions, and channels a group where a block has 64.
        block: 'basic', 'bottleneck', 'bottle2neck' or a class that takes what `DlaBottleneck` does.
        shortcut_root: add the last block's map to what a root gives.

    Raises:
        ValueError: other than six levels, another block or `output_stride`.
    """

    parts = Parts(stem=('base_layer', 'level0'), stages=('level1', 'level2', 'level3', 'level4', 'level5'),
                  classifier=('fc',))
    draw = staticmethod(init_he)

    def __init__(self, levels: Sequence[int], channels: Sequence[int], output_stride: Literal[32] = 32,
                 num_classes: int = 1000, in_chans: int = 3, global_pool: str = 'avg', cardinality: int = 1,
                 base_width: int = 64, block: str | BlockClass = 'bottle2neck', shortcut_root: bool = False,
                 drop_rate: float = 0.0) -> None:
        super().__init__()
        if output_stride != 32:
            raise ValueError(f'output_stride is 32, which the trees of DLA reduce to, not {output_stride}.')
        if not len(levels) == len(channels) == 6:
            raise ValueError(f'levels and channels have six entries each, not {len(levels)} and {len(channels)}.')
        if isinstance(block, str):
            if block not in BLOCKS:
                raise ValueError(unknown('block', block, BLOCKS))
            block = BLOCKS[block]
        self.in_chans = in_chans
        self.base_layer = conv_norm_relu(in_chans, channels[0], 7)
        self.level0 = conv_level(channels[0], channels[0], levels[0])
        self.level1 = conv_level(channels[0], channels[1], levels[1], 2)
        for number in range(2, 6):
            self.add_module(f'level{number}', DlaTree(
                levels[number], block, channels[number - 1], channels[number], 2, cardinality=cardinality,
                base_width=base_width, level_root=number > 2, root_shortcut=shortcut_root))
        self.feature_info = [Feature(num_chs=width, reduction=2 ** number, module=f'level{number}', stage=number)
                             for number, width in enumerate(channels)]
        self.num_features = channels[-1]
        self.build_head(channels[-1], num_classes, global_pool, drop_rate)
        self.init_fresh()

    def adapt_state(self, state: Mapping[str, Tensor], source: Sizes = Sizes()) -> dict[str, Tensor]:
        """Leaves out projections of trees of trees, which published weights have and no network uses."""
        unused = tuple(f'{name}.project.' for name, module in self.named_modules()
                       if isinstance(module, DlaTree) and module.levels > 1)
        return super().adapt_state({key: value for key, value in state.items() if not key.startswith(unused)}, source)


def conv_level(in_chs: int, out_chs: int, count: int, stride: int = 1) -> nn.Sequential:
    """So many 3x3 convolutions, the first with the stride."""
    return nn.Sequential(*(layer for number in range(count) for layer in conv_norm_relu(
        out_chs if number else in_chs, out_chs, 3, 1 if number else stride)))


class DlaBasic(nn.Module):
    """Two 3x3 convolutions, added to the shortcut: (B, inplanes, H, W) -> (B, planes, H / stride, W / stride). The
    shortcut is the input itself if none is given.

    Args:
        cardinality, base_width: 1 and 64: only a bottleneck has groups and another width.
    """

    def __init__(self, inplanes: int, planes: int, stride: int = 1, dilation: int = 1, cardinality: int = 1,
                 base_width: int = 64) -> None:
        super().__init__()
        if cardinality != 1 or base_width != 64:
            raise ValueError('A basic block has one group (cardinality 1) and the base width 64, not '
                             f'{cardinality} and {base_width}; a bottleneck takes others.')
        self.conv1, self.bn1 = conv2d(inplanes, planes, 3, stride, dilation), nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.conv2, self.bn2 = conv2d(planes, planes, 3, 1, dilation), nn.BatchNorm2d(planes)

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        shortcut = x if shortcut is None else shortcut
        x = self.conv1(x)
        x = self.relu(self.bn1(x))
        x = self.conv2(x)
        x = self.bn2(x)
        x += shortcut
        return self.relu(x)


class DlaBottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution, added to the shortcut: (B, inplanes, H, W) -> (B, outplanes, H / stride, W / stride).

    Args:
        cardinality, base_width: see `DLA`.
    """

    def __init__(self, inplanes: int, outplanes: int, stride: int = 1, dilation: int = 1, cardinality: int = 1,
                 base_width: int = 64) -> None:
        super().__init__()
        inner = inner_width(outplanes, cardinality, base_width)
        self.conv1, self.bn1 = conv2d(inplanes, inner, 1), nn.BatchNorm2d(inner)
        self.conv2, self.bn2 = conv2d(inner, inner, 3, stride, dilation, cardinality), nn.BatchNorm2d(inner)
        self.conv3, self.bn3 = conv2d(inner, outplanes, 1), nn.BatchNorm2d(outplanes)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        shortcut = x if shortcut is None else shortcut
        x = self.conv1(x)
        x = self.relu(self.bn1(x))
        x = self.conv2(x)
        x = self.relu(self.bn2(x))
        x = self.conv3(x)
        x = self.bn3(x)
        x += shortcut
        return self.relu(x)


class DlaBottle2neck(nn.Module):
    """A bottleneck whose middle is Res2Net's (arXiv:1904.01169, Figure 2b): `scale` groups of channels, of which each but
    the last is convolved after what the one before gave is added; with a stride nothing is added, and the last is pooled.
    """

    def __init__(self, inplanes: int, outplanes: int, stride: int = 1, dilation: int = 1, scale: int = 4,
                 cardinality: int = 8, base_width: int = 4) -> None:
        super().__init__()
        self.width, self.strided = inner_width(outplanes, cardinality, base_width), stride > 1
        inner, count = self.width * scale, max(1, scale - 1)
        self.conv1, self.bn1 = conv2d(inplanes, inner, 1), nn.BatchNorm2d(inner)
        self.convs = nn.ModuleList(conv2d(self.width, self.width, 3, stride, dilation, cardinality) for _ in range(count))
        self.bns = nn.ModuleList(nn.BatchNorm2d(self.width) for _ in range(count))
        self.pool = nn.AvgPool2d(3, stride, padding=1) if self.strided else nn.Identity()
        self.conv3, self.bn3 = conv2d(inner, outplanes, 1), nn.BatchNorm2d(outplanes)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, x: Tensor, shortcut: Tensor | None = None) -> Tensor:
        shortcut = x if shortcut is None else shortcut
        x = self.conv1(x)
        x = self.relu(self.bn1(x))
        found: list[Tensor] = []
        parts = x.split(self.width, 1)
        for number, (conv, norm) in enumerate(zip(self.convs, self.bns)):
            part = parts[number]
            if number and not self.strided:
                part = part + found[-1]
            found.append(self.relu(norm(conv(part))))
        if len(self.convs) * self.width < self.conv1.out_channels:
            found.append(self.pool(parts[len(self.convs)]))
        x = torch.cat(found, 1)
        del parts, found
        x = self.conv3(x)
        x = self.bn3(x)
        x += shortcut
        return self.relu(x)


def inner_width(planes: int, cardinality: int, base_width: int) -> int:
    """Channels of the 3x3 convolution of a bottleneck."""
    return int(planes * base_width / 64) * cardinality // EXPANSION


class DlaRoot(nn.Module):
    """A node that joins maps (Section 3.2): several (B, C, H, W) of `in_channels` together -> (B, out_channels, H, W).

    Args:
        shortcut: add the first of them to what comes out.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, shortcut: bool) -> None:
        super().__init__()
        self.conv, self.bn = conv2d(in_channels, out_channels, kernel_size), nn.BatchNorm2d(out_channels)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = shortcut

    def forward(self, x_children: Sequence[Tensor]) -> Tensor:
        x = torch.cat([*x_children], 1)
        x = self.conv(x)
        x = self.bn(x)
        if self.shortcut:
            x += x_children[0]
        return self.relu(x)


class DlaTree(nn.Module):
    """A tree of blocks (Figure 3d): (B, in_channels, H, W) -> (B, out_channels, ceil(H / stride), ceil(W / stride)).

    Args:
        levels: of the tree, whose blocks are twice as many with each.
        level_root: hand the input down to the last root. root_dim: channels that this sees; 0 for those of the last two
            blocks and of the input, where it is handed down. root_shortcut: see `DLA`.
    """

    def __init__(self, levels: int, block: BlockClass, in_channels: int, out_channels: int, stride: int = 1,
                 dilation: int = 1, cardinality: int = 1, base_width: int = 64, level_root: bool = False, root_dim: int = 0,
                 root_kernel_size: int = 1, root_shortcut: bool = False) -> None:
        super().__init__()
        self.levels, self.level_root = levels, level_root
        root_dim = (root_dim or 2 * out_channels) + (in_channels if level_root else 0)
        self.downsample = CeilMaxPool2d(stride, stride) if stride > 1 else nn.Identity()
        self.project: nn.Module = nn.Identity()
        if levels == 1:
            self.tree1 = block(in_channels, out_channels, stride, dilation, cardinality=cardinality, base_width=base_width)
            self.tree2 = block(out_channels, out_channels, 1, dilation, cardinality=cardinality, base_width=base_width)
            if in_channels != out_channels:
                self.project = nn.Sequential(conv2d(in_channels, out_channels, 1), nn.BatchNorm2d(out_channels))
            self.root = DlaRoot(root_dim, out_channels, root_kernel_size, root_shortcut)
        else:
            self.tree1 = DlaTree(levels - 1, block, in_channels, out_channels, stride, dilation, cardinality, base_width,
                                 False, 0, root_kernel_size, root_shortcut)
            self.tree2 = DlaTree(levels - 1, block, out_channels, out_channels, 1, dilation, cardinality, base_width,
                                 False, root_dim + out_channels, root_kernel_size, root_shortcut)

    def forward(self, x: Tensor, handed_down: Sequence[Tensor] = ()) -> Tensor:
        if self.level_root:
            handed_down = [*handed_down, self.downsample(x)]
        if self.levels > 1:
            x = self.tree1(x)
            return self.tree2(x, [*handed_down, x])
        x = self.tree1(x, self.project(handed_down[-1] if self.level_root else self.downsample(x)))
        return self.root([self.tree2(x), x, *handed_down])


BLOCKS: dict[str, BlockClass] = {'basic': DlaBasic, 'bottleneck': DlaBottleneck, 'bottle2neck': DlaBottle2neck}
