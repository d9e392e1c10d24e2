"""SENet, arXiv:1709.01507, as its authors' own code has it: ResNets whose branches end with squeeze-and-excitation.

    image -> layer0: convolutions, normalisation, activation (stride 2) -> pool0 (stride 2) -> layer1 -> … -> layer4
          -> pool -> last_linear

Beside the ResNets that have the same gate, the pooling rounds sizes down, and the stride of SE-ResNet's blocks is in
their first convolution.
"""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import ClassVar

from torch import Tensor, nn

from ..contract import ImageModel, Parts
from ..layers import channel_attention
from ..layers.init import init_he
from ..layers.pool import CeilMaxPool2d
from ..spec import Feature
from .resnet import BlockClass, class_of


class SEModule(channel_attention.SEModule):
    """Squeeze-and-excitation with 1 / `reduction` of the channels inside."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__(channels, rd_channels=channels // reduction)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions and the gate: (B, inplanes, H, W) -> (B, out, H / stride, W / stride).

    Args:
        widths: channels of the three convolutions. strides: of the first two. groups: of the second.
        reduction: divisor of the gate's inner width.
        downsample: the shortcut, where the map changes its shape; None for the input itself.
    """

    expansion: ClassVar[int] = 4

    def __init__(self, inplanes: int, widths: Sequence[int], strides: Sequence[int], groups: int, reduction: int,
                 downsample: nn.Module | None = None) -> None:
        super().__init__()
        first, middle, out = widths
        self.conv1 = nn.Conv2d(inplanes, first, 1, strides[0], bias=False)
        self.bn1 = nn.BatchNorm2d(first)
        self.conv2 = nn.Conv2d(first, middle, 3, strides[1], padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(middle)
        self.conv3 = nn.Conv2d(middle, out, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.se_module = SEModule(out, reduction)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.conv1(x)
        x = self.relu(self.bn1(x))
        x = self.conv2(x)
        x = self.relu(self.bn2(x))
        x = self.conv3(x)
        x = self.se_module(self.bn3(x))
        x += shortcut if self.downsample is None else self.downsample(shortcut)
        return self.relu(x)


class SEBottleneck(Bottleneck):
    """The block of SENet-154: groups twice as wide as those of ResNeXt, and half of that before them."""

    def __init__(self, inplanes: int, planes: int, groups: int, reduction: int, stride: int = 1,
                 downsample: nn.Module | None = None) -> None:
        super().__init__(inplanes, (2 * planes, 4 * planes, 4 * planes), (1, stride), groups, reduction, downsample)


class SEResNetBottleneck(Bottleneck):
    """The block of SE-ResNet, with the stride in its first convolution."""

    def __init__(self, inplanes: int, planes: int, groups: int, reduction: int, stride: int = 1,
                 downsample: nn.Module | None = None) -> None:
        super().__init__(inplanes, (planes, planes, 4 * planes), (stride, 1), groups, reduction, downsample)


class SEResNeXtBottleneck(Bottleneck):
    """The block of SE-ResNeXt: groups of `base_width` channels where `planes` is 64."""

    def __init__(self, inplanes: int, planes: int, groups: int, reduction: int, stride: int = 1,
                 downsample: nn.Module | None = None, base_width: int = 4) -> None:
        width = planes * base_width // 64 * groups
        super().__init__(inplanes, (width, width, 4 * planes), (1, stride), groups, reduction, downsample)


class SEResNetBlock(nn.Module):
    """Two 3x3 convolutions, an activation after each, and the gate:
    (B, inplanes, H, W) -> (B, planes, H / stride, W / stride).

    Args:
        groups: of the second convolution. reduction, downsample: as in `Bottleneck`.
    """

    expansion: ClassVar[int] = 1

    def __init__(self, inplanes: int, planes: int, groups: int, reduction: int, stride: int = 1,
                 downsample: nn.Module | None = None) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, padding=1, groups=groups, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.relu = nn.ReLU(inplace=True)
        self.se_module = SEModule(planes, reduction)
        self.downsample = downsample

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.conv1(x)
        x = self.relu(self.bn1(x))
        x = self.conv2(x)
        x = self.se_module(self.relu(self.bn2(x)))
        x += shortcut if self.downsample is None else self.downsample(shortcut)
        return self.relu(x)


BLOCKS: Mapping[str, BlockClass] = {'se_resnet_block': SEResNetBlock, 'se_resnet': SEResNetBottleneck,
                                    'se_resnext': SEResNeXtBottleneck, 'senet': SEBottleneck}


class SENet(ImageModel):
    """SENet, arXiv:1709.01507. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        block: 'se_resnet_block', 'se_resnet', 'se_resnext' or 'senet', or a class that takes what `SEResNetBlock` does.
        layers: blocks of each of the four stages. groups, reduction: of the blocks.
        inplanes: channels after the stem. input_3x3: of three 3x3 convolutions, 64 channels wide, in place of one 7x7.
        downsample_kernel_size, downsample_padding: of the convolutions in shortcuts, but for the first stage's.

    Raises:
        ValueError: another number of stages, an unknown block.
    """

    parts = Parts(stem=('layer0',), stages=(('pool0', 'layer1'), 'layer2', 'layer3', 'layer4'),
                  classifier=('last_linear',))
    draw = staticmethod(init_he)
    blocks: ClassVar[Mapping[str, BlockClass]] = BLOCKS

    def __init__(self, block: str | BlockClass, layers: Sequence[int], groups: int, reduction: int,
                 drop_rate: float = 0.2, in_chans: int = 3, inplanes: int = 64, input_3x3: bool = False,
                 downsample_kernel_size: int = 1, downsample_padding: int = 0, num_classes: int = 1000,
                 global_pool: str = 'avg') -> None:
        super().__init__()
        if len(layers) != 4:
            raise ValueError(f'layers has one entry for each of the four stages, not {len(layers)}.')
        make = class_of(block, self.blocks)
        self.in_chans = in_chans
        self.layer0 = stem(in_chans, inplanes, input_3x3)
        self.pool0 = CeilMaxPool2d(3, 2)
        self.feature_info = [Feature(num_chs=inplanes, reduction=2, module='layer0', stage=0)]
        width = inplanes
        for number, count in enumerate(layers):
            planes, stride, stage = 64 * 2 ** number, 2 if number else 1, nn.Sequential()
            out = planes * make.expansion
            for index in range(count):
                down = None
                if index == 0 and (stride != 1 or width != out):
                    kernel, padding = (downsample_kernel_size, downsample_padding) if number else (1, 0)
                    down = nn.Sequential(nn.Conv2d(width, out, kernel, stride, padding, bias=False),
                                         nn.BatchNorm2d(out))
                stage.append(make(width, planes, groups, reduction, 1 if index else stride, down))
                width = out
            self.add_module(f'layer{number + 1}', stage)
            self.feature_info.append(Feature(
                num_chs=width, reduction=4 * 2 ** number, module=f'layer{number + 1}', stage=number + 1,
                ceil_reduction=2, floor_reduction=4))
        self.num_features = width
        self.build_head(width, num_classes, global_pool, drop_rate)
        self.init_fresh()

    def hidden_of(self, state: Tensor) -> Tensor:
        """What goes into the first stage, of the state after the stem: hidden states begin behind the max pooling."""
        return self.pool0(state)


def stem(in_chans: int, width: int, deep: bool) -> nn.Sequential:
    """One 7x7 convolution, or three 3x3 ones: (B, in_chans, H, W) -> (B, width, H/2, W/2)."""
    layers: OrderedDict[str, nn.Module] = OrderedDict()
    for number, out in enumerate((64, 64, width) if deep else (width,), start=1):
        size = 3 if deep else 7
        layers[f'conv{number}'] = nn.Conv2d(in_chans, out, size, 2 if number == 1 else 1, size // 2, bias=False)
        layers[f'bn{number}'] = nn.BatchNorm2d(out)
        layers[f'relu{number}'] = nn.ReLU(inplace=True)
        in_chans = out
    return nn.Sequential(layers)
