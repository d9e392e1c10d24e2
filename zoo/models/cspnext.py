"""CSPNeXt of RTMDet, arXiv:2212.07784: CSPNet's stages, of blocks with large depthwise kernels.

    image -> stem (stride 2) -> stages.0 -> stages.1 -> stages.2 -> stages.3 (stride 2 each) -> head: pool, fc
    stage: 3x3 convolution -> 1x1 convolutions to two halves, blocks on one -> both joined -> gate -> 1x1 convolution
    block: 3x3 convolution -> 5x5 depthwise and 1x1 convolution -> added to the input

The last stage pools in three sizes before its blocks, which are not added to their input.
"""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..contract import Parts
from ..layers.act import ActLayer
from ..layers.channel_attention import EffectiveSEModule
from ..layers.conv_norm import ConvNorm
from ..layers.drop import DropPath
from ..layers.head import Head
from ..layers.init import init_conv_net
from ..layers.norm import NormLayer
from ..layers.stages import drop_path_rates, same_stages
from ..spec import Feature
from .headnet import HeadNet


class CspNext(HeadNet):
    """CSPNeXt, arXiv:2212.07784. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        depths, channels: blocks and channels of each stage, times `deepen_factor` and `widen_factor`.
        expand_ratio: width of the blocks over that of the stage. channel_attention: gate what is joined.
        output_stride: reduction of the last stage, 32, 16 or 8; strides beyond it become dilation of what follows.
        drop_path_rate: stochastic depth at the last block that is added to its input.

    Raises:
        ValueError: `depths` and `channels` of other numbers of stages, another `output_stride`.
    """

    draw = staticmethod(init_conv_net)
    parts = Parts(stem=('stem',), stages=('stages.*',), head=('head.global_pool',), classifier=('head.fc',))

    def __init__(self, in_chans: int = 3, num_classes: int = 1000, global_pool: str = 'avg', output_stride: int = 32,
                 drop_rate: float = 0.0, drop_path_rate: float = 0.0, depths: Sequence[int] = (3, 6, 6, 3),
                 channels: Sequence[int] = (128, 256, 512, 1024), deepen_factor: float = 1.0, widen_factor: float = 1.0,
                 expand_ratio: float = 0.5, channel_attention: bool = True, norm_layer: NormLayer = 'batchnorm2d',
                 act_layer: ActLayer = 'silu') -> None:
        super().__init__()
        if output_stride not in (8, 16, 32):
            raise ValueError(f'output_stride is 8, 16 or 32, not {output_stride}.')
        same_stages(depths=depths, channels=channels)
        widths = [int(width * widen_factor) for width in channels]
        counts = [max(round(depth * deepen_factor), 1) for depth in depths]
        self.in_chans, width = in_chans, widths[0] // 2
        stem = [(in_chans, width // 2, 2), (width // 2, width // 2, 1), (width // 2, width, 1)]
        self.stem = nn.Sequential(*(ConvNorm(chans, out, 3, stride, act_layer=act_layer, norm_layer=norm_layer)
                                    for chans, out, stride in stem))
        self.feature_info = [Feature(num_chs=width, reduction=2, module='stem', stage=0)]
        self.stages, reduction, dilation = nn.Sequential(), 2, 1
        rates = iter(drop_path_rates(drop_path_rate, sum(counts[:-1])))
        for number, (out, count) in enumerate(zip(widths, counts)):
            last, stride, before = number == len(widths) - 1, 2, dilation
            if reduction >= output_stride:
                stride, dilation = 1, dilation * 2
            reduction *= stride
            self.stages.append(nn.Sequential(
                ConvNorm(width, out, 3, stride, before, act_layer=act_layer, norm_layer=norm_layer),
                *([SPPBottleneck(out, out, norm_layer=norm_layer, act_layer=act_layer)] if last else []),
                CspNextLayer(out, out, expand_ratio, count, not last, channel_attention, dilation,
                             None if last else [next(rates) for _ in range(count)], norm_layer, act_layer)))
            self.feature_info.append(Feature(num_chs=out, reduction=reduction, module=f'stages.{number}', stage=number + 1))
            width = out
        self.num_features = width
        self.head = Head(width, global_pool, drop_rate=drop_rate)
        self.build_head(width, num_classes, global_pool, drop_rate)
        self.init_fresh()


class SPPBottleneck(nn.Module):
    """Spatial pyramid pooling (arXiv:1406.4729) as YOLO has it: a map beside its maxima over squares of several sizes,
    between 1x1 convolutions: (B, in_channels, H, W) -> (B, out_channels, H, W).

    Args:
        kernel_sizes: sides of the squares in pixels.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_sizes: Sequence[int] = (5, 9, 13),
                 norm_layer: NormLayer = 'batchnorm2d', act_layer: ActLayer = 'silu') -> None:
        super().__init__()
        inner = in_channels // 2
        self.conv1 = ConvNorm(in_channels, inner, act_layer=act_layer, norm_layer=norm_layer)
        self.poolings = nn.ModuleList(nn.MaxPool2d(size, 1, padding=size // 2) for size in kernel_sizes)
        self.conv2 = ConvNorm(inner * (1 + len(kernel_sizes)), out_channels, act_layer=act_layer, norm_layer=norm_layer)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        x = torch.cat([x, *(pool(x) for pool in self.poolings)], 1)
        return self.conv2(x)


class DepthwiseSeparableConv(nn.Module):
    """A depthwise and a 1x1 convolution, each with normalisation and activation: (B, in_channels, H, W) ->
    (B, out_channels, H, W)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, dilation: int = 1,
                 norm_layer: NormLayer = 'batchnorm2d', act_layer: ActLayer = 'silu') -> None:
        super().__init__()
        self.depthwise_conv = ConvNorm(in_channels, in_channels, kernel_size, 1, dilation, in_channels, act_layer, norm_layer)
        self.pointwise_conv = ConvNorm(in_channels, out_channels, act_layer=act_layer, norm_layer=norm_layer)

    def forward(self, x: Tensor) -> Tensor:
        x = self.depthwise_conv(x)
        return self.pointwise_conv(x)


class CspNextBlock(nn.Module):
    """A 3x3 and a depthwise convolution (arXiv:2212.07784, Figure 3b): (B, in_channels, H, W) -> (B, out_channels, H, W).

    Args:
        add_identity: add the input, where it has as many channels. kernel_size, dilation: of the depthwise convolution.
        drop_path: rate of stochastic depth.
    """

    def __init__(self, in_channels: int, out_channels: int, add_identity: bool = True, kernel_size: int = 5,
                 dilation: int = 1, drop_path: float = 0.0, norm_layer: NormLayer = 'batchnorm2d',
                 act_layer: ActLayer = 'silu') -> None:
        super().__init__()
        self.add_identity = add_identity and in_channels == out_channels
        self.conv1 = ConvNorm(in_channels, out_channels, 3, 1, dilation, act_layer=act_layer, norm_layer=norm_layer)
        self.conv2 = DepthwiseSeparableConv(out_channels, out_channels, kernel_size, dilation, norm_layer, act_layer)
        self.drop_path = DropPath(drop_path) if drop_path and self.add_identity else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.conv1(x)
        x = self.conv2(x)
        return self.drop_path(x) + shortcut if self.add_identity else x


class CspNextLayer(nn.Module):
    """Blocks on one of two halves (arXiv:2212.07784, Figure 3a): (B, in_channels, H, W) -> (B, out_channels, H, W).

    Args:
        expand_ratio: channels of a half over `out_channels`. channel_attention: gate both halves joined.
        drop_path_rates: of stochastic depth, one a block. Others as in `CspNextBlock`.
    """

    def __init__(self, in_channels: int, out_channels: int, expand_ratio: float = 0.5, num_blocks: int = 1,
                 add_identity: bool = True, channel_attention: bool = False, dilation: int = 1,
                 drop_path_rates: Sequence[float] | None = None, norm_layer: NormLayer = 'batchnorm2d',
                 act_layer: ActLayer = 'silu') -> None:
        super().__init__()
        half = int(out_channels * expand_ratio)
        self.short_conv = ConvNorm(in_channels, half, act_layer=act_layer, norm_layer=norm_layer)
        self.main_conv = ConvNorm(in_channels, half, act_layer=act_layer, norm_layer=norm_layer)
        self.blocks = nn.Sequential(*(
            CspNextBlock(half, half, add_identity, dilation=dilation,
                         drop_path=drop_path_rates[number] if drop_path_rates else 0.0, norm_layer=norm_layer,
                         act_layer=act_layer) for number in range(num_blocks)))
        self.attention = EffectiveSEModule(2 * half) if channel_attention else nn.Identity()
        self.final_conv = ConvNorm(2 * half, out_channels, act_layer=act_layer, norm_layer=norm_layer)

    def forward(self, x: Tensor) -> Tensor:
        past = self.short_conv(x)
        x = self.main_conv(x)
        x = self.blocks(x)
        x = self.attention(torch.cat([x, past], 1))
        del past
        return self.final_conv(x)
