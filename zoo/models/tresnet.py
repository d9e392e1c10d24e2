"""TResNet, arXiv:2003.13630: a ResNet made fast on GPUs.

    image -> s2d: 4x4 pixels as channels -> conv1 -> layer1 -> layer2 -> layer3 -> layer4 (stride 2 but for the first)
          -> head: pool, fc
    block: ResNet's, with a blur in place of strides, and squeeze-and-excitation but for the last stage

`body` holds all of that, as checkpoints name it. No map has half of the image's resolution.
"""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from ..contract import Parts
from ..layers.channel_attention import SEModule
from ..layers.conv_norm import ConvNorm
from ..layers.drop import DropPath
from ..layers.head import Head
from ..layers.init import init_conv_net, zero_weight
from ..layers.pool import AaLayer, CeilAvgPool2d
from ..layers.stages import drop_path_rates
from ..spec import Feature
from .headnet import HeadNet

SIDE = 4                                                        # pixels of the image that become one
LEAKY = partial(nn.LeakyReLU, negative_slope=1e-3, inplace=True)


class TResNet(HeadNet):
    """TResNet, arXiv:2003.13630. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        layers: blocks of each of the four stages.
        width_factor: times 64 the channels of the first stage.
        v2: all blocks are bottlenecks, else those of the last two stages; and widths are multiples of 8.
        drop_path_rate: stochastic depth at the last block.

    Raises:
        ValueError: other than four stages.
    """

    parts = Parts(stem=('body.s2d', 'body.conv1'), stages=('body.layer1', 'body.layer2', 'body.layer3', 'body.layer4'),
                  head=('head.global_pool',), classifier=('head.fc',))
    default_out_indices = 4
    draw = staticmethod(init_conv_net)

    def __init__(self, layers: Sequence[int], in_chans: int = 3, num_classes: int = 1000, width_factor: float = 1.0,
                 v2: bool = False, global_pool: str = 'avg', drop_rate: float = 0.0, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        if len(layers) != 4:
            raise ValueError(f'layers are the blocks of four stages, not {list(layers)}.')
        self.in_chans = in_chans
        planes = int(64 * width_factor) // 8 * 8 if v2 else int(64 * width_factor)
        self.body = nn.Sequential(OrderedDict(
            s2d=SpaceToDepth(), conv1=ConvNorm(in_chans * SIDE ** 2, planes, 3, act_layer='leaky_relu')))
        self.feature_info = [Feature(num_chs=planes, reduction=SIDE, module='body.conv1', stage=0)]
        width, rates = planes, iter(drop_path_rates(drop_path_rate, sum(layers)))
        for number, count in enumerate(layers):
            block = Bottleneck if v2 or number > 1 else BasicBlock
            stage, out = nn.Sequential(), planes * 2 ** number * block.expansion
            for index in range(count):
                stride = 2 if number and not index else 1
                down = shortcut(width, out, stride) if stride > 1 or width != out else None
                stage.append(block(width, planes * 2 ** number, stride, down, use_se=number < 3,
                                   aa_layer='blur', drop_path_rate=next(rates)))
                width = out
            self.body.add_module(f'layer{number + 1}', stage)
            self.feature_info.append(Feature(num_chs=width, reduction=SIDE * 2 ** number, module=f'body.layer{number + 1}',
                                             stage=number + 1))
        self.num_features = width
        self.head = Head(width, global_pool, drop_rate=drop_rate)
        self.build_head(width, num_classes, global_pool, drop_rate)
        self.init_fresh()

    def init_weights(self) -> None:
        super().init_weights()
        for block in self.modules():
            if isinstance(block, Bottleneck):
                zero_weight(block.conv3.bn)
            elif isinstance(block, BasicBlock):
                zero_weight(block.conv2.bn)


class SpaceToDepth(nn.Module):
    """Squares of 4x4 pixels as channels (arXiv:2003.13630, section 2.1): (B, C, H, W) -> (B, 16 C, ceil(H / 4),
    ceil(W / 4)), the pixels first, then the channels. What is missing of the last squares is zero."""

    def forward(self, x: Tensor) -> Tensor:
        down, right = ((side + SIDE - 1) // SIDE * SIDE - side for side in (x.shape[-2], x.shape[-1]))
        x = F.pad(x, (0, right, 0, down)).unflatten(3, (-1, SIDE)).unflatten(2, (-1, SIDE))
        return x.permute(0, 3, 5, 1, 2, 4).flatten(1, 3)


def shortcut(in_chs: int, out_chs: int, stride: int) -> nn.Sequential:
    """Average pooling in place of a stride, and a 1x1 convolution: (B, in_chs, H, W) -> (B, out_chs, H / stride,
    W / stride)."""
    pool = [CeilAvgPool2d(stride)] if stride > 1 else []
    return nn.Sequential(*pool, ConvNorm(in_chs, out_chs, act_layer=None))


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and a gate, added to the shortcut: (B, inplanes, H, W) -> (B, planes, H / stride, W / stride).

    Args:
        downsample: the shortcut where the map changes its shape; None for the input itself.
        use_se: with squeeze-and-excitation. aa_layer: filter in place of the stride. drop_path_rate: of stochastic depth.
    """

    expansion = 1

    def __init__(self, inplanes: int, planes: int, stride: int = 1, downsample: nn.Module | None = None,
                 use_se: bool = True, aa_layer: AaLayer | None = None, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.downsample = downsample
        self.conv1 = ConvNorm(inplanes, planes, 3, stride, act_layer=LEAKY, aa_layer=aa_layer)
        self.conv2 = ConvNorm(planes, planes, 3, act_layer=None)
        self.act = nn.ReLU(inplace=True)
        self.se = SEModule(planes, rd_channels=max(planes // 4, 64)) if use_se else nn.Identity()
        self.drop_path = DropPath(drop_path_rate) if drop_path_rate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.conv1(x)
        x = self.conv2(x)
        x = self.drop_path(self.se(x))
        return self.act(x + shortcut)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolution, a gate after the second, added to the shortcut: (B, inplanes, H, W) ->
    (B, 4 planes, H / stride, W / stride). Arguments as in `BasicBlock`."""

    expansion = 4

    def __init__(self, inplanes: int, planes: int, stride: int = 1, downsample: nn.Module | None = None,
                 use_se: bool = True, aa_layer: AaLayer | None = None, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.downsample = downsample
        self.conv1 = ConvNorm(inplanes, planes, act_layer=LEAKY)
        self.conv2 = ConvNorm(planes, planes, 3, stride, act_layer=LEAKY, aa_layer=aa_layer)
        self.se = SEModule(planes, rd_channels=max(planes * self.expansion // 8, 64)) if use_se else nn.Identity()
        self.conv3 = ConvNorm(planes, planes * self.expansion, act_layer=None)
        self.drop_path = DropPath(drop_path_rate) if drop_path_rate else nn.Identity()
        self.act = nn.ReLU(inplace=True)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.downsample is None else self.downsample(x)
        x = self.conv1(x)
        x = self.conv2(x)
        x = self.se(x)
        x = self.conv3(x)
        return self.act(self.drop_path(x) + shortcut)
