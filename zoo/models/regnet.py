"""RegNet, arXiv:2003.13678: networks whose widths and depths a linear function of the block's number gives.

    image -> stem (stride 2) -> s1 -> s2 -> s3 -> s4 -> final_conv -> pool -> head.fc
    block: 1x1, grouped 3x3 and 1x1 convolution -> added to the shortcut -> activation

Each stage halves the resolution in its first block. RegNetY gates the branch by squeeze-and-excitation after the grouped
convolution; RegNetZ (arXiv:2103.06877) widens there instead of narrowing, has no shortcut where the map changes its shape
and no activation after the sum; V normalises before each convolution.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor, nn

from ..blocks import round_channels
from ..contract import Parts
from ..layers.act import ActLayer, create_act, get_act_layer
from ..layers.channel_attention import SEModule
from ..layers.conv import conv2d
from ..layers.conv_norm import ConvNorm
from ..layers.drop import DropPath
from ..layers.head import Head
from ..layers.init import init_conv_net, zero_weight
from ..layers.norm import Norm, NormLayer
from ..layers.pool import pool_shortcut
from ..layers.stages import drop_path_rates
from ..spec import Feature, Pair, unknown
from .headnet import HeadNet

SHORTCUTS = ('conv1x1', 'avg', '', None)
QUANTUM = 8                                                   # widths are its multiples


class RegNet(HeadNet):
    """RegNet, arXiv:2003.13678. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        depth, w0, wa, wm: number of blocks, width of the first, how much wider each next one is, and by which factor
            a stage is wider than the one before; see `generate_regnet`.
        group_size: channels of each group of the 3x3 convolutions, fewer where a block is narrower.
        group_min_ratio: the share of its width that a block keeps at least when it is rounded to whole groups.
        bottle_ratio: width of the 3x3 convolutions over that of the block. se_ratio: inner width of
            squeeze-and-excitation over the width of what comes into the block; 0 for none.
        downsample: the shortcut where the map changes its shape: a convolution ('conv1x1'), pooling and a convolution
            ('avg'), or none (None).
        linear_out: no activation after the sum. preact: normalise before each convolution.
        num_features: channels of a convolution before the pooling; 0 for no such convolution.
        norm_kwargs: further options of `norm_layer`.
        output_stride: reduction of the last stage, 32, 16 or 8; strides beyond it become dilation.
        drop_path_rate: stochastic depth at the last block. zero_init_last: a fresh block begins as its shortcut.

    Raises:
        ValueError: numbers that give other than four stages, an option outside what is allowed.
    """

    parts = Parts(stem=('stem',), stages=('s1', 's2', 's3', 's4'), pre_head=('final_conv',), head=('head.global_pool',),
                  classifier=('head.fc',))
    draw = staticmethod(init_conv_net)

    def __init__(self, depth: int = 21, w0: int = 80, wa: float = 42.63, wm: float = 2.66, group_size: int = 24,
                 bottle_ratio: float = 1.0, se_ratio: float = 0.0, group_min_ratio: float = 0.0, stem_width: int = 32,
                 downsample: str | None = 'conv1x1', linear_out: bool = False, preact: bool = False,
                 num_features: int = 0, act_layer: ActLayer = 'relu', norm_layer: NormLayer = 'batchnorm2d',
                 norm_kwargs: Mapping[str, Any] | None = None,
                 in_chans: int = 3, num_classes: int = 1000, output_stride: int = 32, global_pool: str = 'avg',
                 drop_rate: float = 0.0, drop_path_rate: float = 0.0, zero_init_last: bool = True) -> None:
        super().__init__()
        if output_stride not in (8, 16, 32):
            raise ValueError(f'output_stride is 8, 16 or 32, not {output_stride}.')
        widths, depths = generate_regnet(wa, w0, wm, depth)
        norm_layer = Norm(norm_layer, **norm_kwargs or {})
        if len(widths) != len(self.parts.stages):
            raise ValueError(f'depth={depth}, w0={w0}, wa={wa} and wm={wm} give stages of {widths} channels, '
                             f'{len(widths)} of them and not {len(self.parts.stages)}.')
        self.in_chans, self.zero_init_last = in_chans, zero_init_last
        self.stem = conv2d(in_chans, stem_width, 3, 2) if preact else \
            ConvNorm(in_chans, stem_width, 3, 2, act_layer=act_layer, norm_layer=norm_layer)
        self.feature_info = [Feature(num_chs=stem_width, reduction=2, module='stem', stage=0)]
        rates, before, reduction, dilation = iter(drop_path_rates(drop_path_rate, sum(depths))), stem_width, 2, 1
        for name, width, count in zip(self.parts.stages, widths, depths):
            width, group = fit_groups(width, bottle_ratio, group_size, group_min_ratio)
            stride = 2
            if reduction >= output_stride:
                stride, dilation = 1, dilation * 2
            reduction *= stride
            self.add_module(str(name), RegStage(
                count, before, width, stride, dilation, [next(rates) for _ in range(count)],
                PreBottleneck if preact else Bottleneck, bottle_ratio, group, se_ratio, downsample, linear_out, act_layer,
                norm_layer))
            self.feature_info.append(Feature(num_chs=width, reduction=reduction, module=str(name),
                                             stage=len(self.feature_info)))
            before = width
        self.num_features = num_features or before
        self.final_conv: nn.Module = get_act_layer(act_layer)() if linear_out or preact else nn.Identity()
        if num_features:
            self.final_conv = ConvNorm(before, num_features, act_layer=act_layer, norm_layer=norm_layer)
        self.head = Head(self.num_features, global_pool, drop_rate=drop_rate)
        self.build_head(self.num_features, num_classes, global_pool, drop_rate)
        self.init_fresh()

    def init_weights(self) -> None:
        super().init_weights()
        if self.zero_init_last:
            for block in self.modules():
                if isinstance(block, Bottleneck):
                    zero_weight(block.conv3.bn)
                elif isinstance(block, PreBottleneck):
                    zero_weight(block.conv3)


def generate_regnet(width_slope: float, width_initial: int, width_mult: float, depth: int) -> tuple[list[int], list[int]]:
    """The width of each stage, and its number of blocks (section 3.3, equations 2 to 4): a block's width is linear in its
    number, brought to the nearest power of `width_mult` times the first, and rounded to a multiple of 8; blocks of one
    width are a stage.

    Raises:
        ValueError: numbers that make no such network.
    """
    if width_slope < 0 or width_initial <= 0 or width_mult <= 1 or width_initial % QUANTUM:
        raise ValueError('wa is at least 0, w0 a positive multiple of 8 and wm more than 1, not '
                         f'{width_slope}, {width_initial} and {width_mult}.')
    powers = (round(math.log(1 + width_slope * number / width_initial, width_mult)) for number in range(depth))
    blocks = [round(width_initial * width_mult ** power / QUANTUM) * QUANTUM for power in powers]
    widths = sorted({*blocks})
    return widths, [blocks.count(width) for width in widths]


def fit_groups(width: int, bottle_ratio: float, group_size: int, min_ratio: float) -> Pair:
    """A width near to the one given, that the groups of the 3x3 convolution divide, and the size of those groups. What
    lies in the middle goes to an even number of groups, as the authors have it, with `min_ratio` upwards."""
    inner = int(width * bottle_ratio)
    group = min(group_size, inner)
    inner = round_channels(inner, group, limit=min_ratio) if min_ratio else round(inner / group) * group
    return int(inner / bottle_ratio), group


def create_shortcut(kind: str | None, in_chs: int, out_chs: int, stride: int, dilation: Pair, norm_layer: NormLayer,
                    preact: bool = False) -> nn.Module | None:
    """The shortcut of a block: the input itself where it has the shape of the output, else what `kind` says;
    (B, in_chs, H, W) -> (B, out_chs, H / stride, W / stride). None for no shortcut.

    Args:
        kind: 'conv1x1', 'avg', or None, see `RegNet`. preact: without normalisation.

    Raises:
        ValueError: another kind.
    """
    if kind not in SHORTCUTS:
        raise ValueError(unknown('downsample', str(kind), [str(known) for known in SHORTCUTS if known]))
    if in_chs == out_chs and stride == 1 and dilation[0] == dilation[1]:
        return nn.Identity()
    if not kind:
        return None
    pooled = kind == 'avg'
    projection = conv2d(in_chs, out_chs, 1, 1 if pooled else stride) if preact else \
        ConvNorm(in_chs, out_chs, 1, 1 if pooled else stride, act_layer=None, norm_layer=norm_layer)
    return nn.Sequential(pool_shortcut(stride, dilation[0]), projection) if pooled else projection


class Bottleneck(nn.Module):
    """1x1, grouped 3x3 and 1x1 convolution (Figure 4), the stride in the 3x3 one:
    (B, in_chs, H, W) -> (B, out_chs, H / stride, W / stride).

    Args:
        dilation: of the 3x3 convolution, and of the rest of the stage.
        bottle_ratio, se_ratio, downsample, linear_out: see `RegNet`. group_size: channels a group.
    """

    def __init__(self, in_chs: int, out_chs: int, stride: int = 1, dilation: Pair = (1, 1), bottle_ratio: float = 1,
                 group_size: int = 1, se_ratio: float = 0.25, downsample: str | None = 'conv1x1',
                 linear_out: bool = False, act_layer: ActLayer = 'relu', norm_layer: NormLayer = 'batchnorm2d',
                 drop_path_rate: float = 0.0) -> None:
        super().__init__()
        inner = int(round(out_chs * bottle_ratio))
        self.conv1 = ConvNorm(in_chs, inner, act_layer=act_layer, norm_layer=norm_layer)
        self.conv2 = ConvNorm(inner, inner, 3, stride, dilation[0], inner // group_size, act_layer, norm_layer)
        self.se = _gate(inner, in_chs, se_ratio, act_layer)
        self.conv3 = ConvNorm(inner, out_chs, act_layer=None, norm_layer=norm_layer)
        self.act3 = nn.Identity() if linear_out else create_act(act_layer)
        self.downsample = create_shortcut(downsample, in_chs, out_chs, stride, dilation, norm_layer)
        self.drop_path = DropPath(drop_path_rate) if drop_path_rate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.conv2(self.conv1(x))
        x = self.conv3(self.se(x))
        if self.downsample is not None:
            x = self.drop_path(x)
            x += self.downsample(shortcut)
        return self.act3(x)


class PreBottleneck(nn.Module):
    """As `Bottleneck`, with normalisation and activation before each convolution; the shortcut begins after the first."""

    def __init__(self, in_chs: int, out_chs: int, stride: int = 1, dilation: Pair = (1, 1), bottle_ratio: float = 1,
                 group_size: int = 1, se_ratio: float = 0.25, downsample: str | None = 'conv1x1',
                 linear_out: bool = False, act_layer: ActLayer = 'relu', norm_layer: NormLayer = 'batchnorm2d',
                 drop_path_rate: float = 0.0) -> None:
        super().__init__()
        norm, inner = Norm(norm_layer), int(round(out_chs * bottle_ratio))
        self.norm1, self.act1 = norm.with_act(in_chs, act_layer)
        self.conv1 = conv2d(in_chs, inner, 1)
        self.norm2, self.act2 = norm.with_act(inner, act_layer)
        self.conv2 = conv2d(inner, inner, 3, stride, dilation[0], inner // group_size)
        self.se = _gate(inner, in_chs, se_ratio, act_layer)
        self.norm3, self.act3 = norm.with_act(inner, act_layer)
        self.conv3 = conv2d(inner, out_chs, 1)
        self.downsample = create_shortcut(downsample, in_chs, out_chs, stride, dilation, norm_layer, preact=True)
        self.drop_path = DropPath(drop_path_rate) if drop_path_rate else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.act1(self.norm1(x))
        shortcut = x
        x = self.conv1(x)
        x = self.act2(self.norm2(x))
        x = self.se(self.conv2(x))
        x = self.act3(self.norm3(x))
        x = self.conv3(x)
        if self.downsample is not None:
            x = self.drop_path(x)
            x += self.downsample(shortcut)
        return x


def _gate(channels: int, in_chs: int, se_ratio: float, act_layer: ActLayer) -> nn.Module:
    """Squeeze-and-excitation, squeezed to a part of the channels that come into the block."""
    return SEModule(channels, rd_channels=int(round(in_chs * se_ratio)), act_layer=act_layer) if se_ratio else nn.Identity()


class RegStage(nn.Module):
    """`depth` blocks b1, b2, …, the first with the stride: (B, in_chs, H, W) -> (B, out_chs, H / stride, W / stride).

    Args:
        drop_path_rates: of stochastic depth, one a block. block_fn: makes the blocks. Others as in `Bottleneck`.
    """

    def __init__(self, depth: int, in_chs: int, out_chs: int, stride: int, dilation: int,
                 drop_path_rates: Sequence[float] | None = None, block_fn: Callable[..., nn.Module] = Bottleneck,
                 bottle_ratio: float = 1, group_size: int = 1, se_ratio: float = 0.25,
                 downsample: str | None = 'conv1x1', linear_out: bool = False, act_layer: ActLayer = 'relu',
                 norm_layer: NormLayer = 'batchnorm2d') -> None:
        super().__init__()
        for number in range(depth):
            first = dilation if number else 1 if dilation in (1, 2) else 2
            self.add_module(f'b{number + 1}', block_fn(
                out_chs if number else in_chs, out_chs, 1 if number else stride, (first, dilation), bottle_ratio,
                group_size, se_ratio, downsample, linear_out, act_layer, norm_layer,
                drop_path_rate=drop_path_rates[number] if drop_path_rates else 0.0))

    def forward(self, x: Tensor) -> Tensor:
        for block in self.children():
            x = block(x)
        return x
