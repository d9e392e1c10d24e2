"""VoVNet, arXiv:1904.09730, and VoVNetV2, arXiv:1911.06667: what all convolutions of a block give is joined once, at its end.

    image -> stem (stride 4) -> stages.0 -> pool, stages.1 -> pool, stages.2 -> pool, stages.3 -> pool -> head.fc
    block (one-shot aggregation): 3x3 convolutions in a row -> its input and all their maps as channels -> 1x1 convolution
          -> gate, in the last block of a stage -> added to the input, but for the first block of a stage

V2 adds the sum and the gate, 'ese': effective squeeze-and-excitation.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from ..contract import Parts
from ..layers.act import ActLayer
from ..layers.channel_attention import AttnLayer, create_attn
from ..layers.conv_norm import ConvNorm, SeparableConvNorm
from ..layers.drop import DropPath
from ..layers.head import Head
from ..layers.init import init_conv_net
from ..layers.norm import NormLayer
from ..layers.pool import CeilMaxPool2d
from ..layers.stages import drop_path_rates, same_stages
from ..spec import Feature
from .headnet import HeadNet


class VovNet(HeadNet):
    """VoVNet, arXiv:1904.09730. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        stem_chs: channels of the three convolutions of the stem.
        stage_conv_chs, stage_out_chs: channels of the 3x3 convolutions of each stage, and of what comes out of it.
        block_per_stage: blocks of each stage. layer_per_block: 3x3 convolutions of a block.
        residual: add each block but a stage's first to its input.
        depthwise: a depthwise and a 1x1 convolution in place of each 3x3 one, but for the first.
        attn: the gate of the last block of each stage, see `create_attn`.
        output_stride: reduction of the last stage; there is no other.
        drop_path_rate: stochastic depth at the last block.

    Raises:
        ValueError: options of stages that are of other numbers of stages, another `output_stride`.
    """

    parts = Parts(stem=('stem.0', 'stem.1'), stages=(), head=('head.global_pool',), classifier=('head.fc',))
    draw = staticmethod(init_conv_net)

    def __init__(self, stem_chs: Sequence[int] = (64, 64, 128), stage_conv_chs: Sequence[int] = (128, 160, 192, 224),
                 stage_out_chs: Sequence[int] = (256, 512, 768, 1024), block_per_stage: Sequence[int] = (1, 1, 2, 2),
                 layer_per_block: int = 5, residual: bool = True, depthwise: bool = False, attn: AttnLayer = 'ese',
                 in_chans: int = 3, num_classes: int = 1000, global_pool: str = 'avg', output_stride: Literal[32] = 32,
                 norm_layer: NormLayer = 'batchnorm2d', act_layer: ActLayer = 'relu', drop_rate: float = 0.0,
                 drop_path_rate: float = 0.0) -> None:
        super().__init__()
        same_stages(stage_conv_chs=stage_conv_chs, stage_out_chs=stage_out_chs, block_per_stage=block_per_stage)
        if output_stride != 32:
            raise ValueError(f'output_stride is 32, since VoVNet pools between its stages, not {output_stride}.')
        self.in_chans = in_chans
        widths, convs = [in_chans, *stem_chs], [ConvNorm, *[SeparableConvNorm if depthwise else ConvNorm] * 2]
        self.stem = nn.Sequential(*(
            conv(widths[number], widths[number + 1], 3, 1 if number == 1 else 2, act_layer=act_layer,
                 norm_layer=norm_layer) for number, conv in enumerate(convs)))
        self.feature_info = [Feature(num_chs=stem_chs[1], reduction=2, module='stem.1', stage=0)]
        self.stages, width = nn.Sequential(), stem_chs[-1]
        rates = iter(drop_path_rates(drop_path_rate, sum(block_per_stage)))
        for number, (inner, out, blocks) in enumerate(zip(stage_conv_chs, stage_out_chs, block_per_stage)):
            self.stages.append(OsaStage(
                width, inner, out, blocks, layer_per_block, number > 0, residual, depthwise, attn, norm_layer, act_layer,
                [next(rates) for _ in range(blocks)]))
            self.feature_info.append(Feature(num_chs=out, reduction=4 * 2 ** number, module=f'stages.{number}',
                                             stage=number + 1, ceil_reduction=4))
            width = out
        names = [f'stages.{number}' for number in range(len(self.stages))]
        self.parts = replace(self.parts, stages=(('stem.2', names[0]), *names[1:]))
        self.num_features = width
        self.head = Head(width, global_pool, drop_rate=drop_rate)
        self.build_head(width, num_classes, global_pool, drop_rate)
        self.init_fresh()


class OsaBlock(nn.Module):
    """One-shot aggregation (arXiv:1904.09730, Figure 1b): (B, in_chs, H, W) -> (B, out_chs, H, W).

    Args:
        mid_chs: channels of each of the `layer_per_block` 3x3 convolutions.
        residual: add the input to what comes out. depthwise, attn: see `VovNet`.
        drop_path: what drops the branch before the sum.
    """

    def __init__(self, in_chs: int, mid_chs: int, out_chs: int, layer_per_block: int, residual: bool = False,
                 depthwise: bool = False, attn: AttnLayer = '', norm_layer: NormLayer = 'batchnorm2d',
                 act_layer: ActLayer = 'relu', drop_path: nn.Module | None = None) -> None:
        super().__init__()
        self.residual = residual
        narrowed = depthwise and in_chs != mid_chs
        self.conv_reduction: nn.Module = nn.Identity()
        if narrowed:
            self.conv_reduction = ConvNorm(in_chs, mid_chs, act_layer=act_layer, norm_layer=norm_layer)
        conv = SeparableConvNorm if depthwise else ConvNorm
        self.conv_mid = nn.ModuleList(
            conv(mid_chs if number or narrowed else in_chs, mid_chs, 3, act_layer=act_layer, norm_layer=norm_layer)
            for number in range(layer_per_block))
        self.conv_concat = ConvNorm(in_chs + layer_per_block * mid_chs, out_chs, act_layer=act_layer,
                                    norm_layer=norm_layer)
        self.attn = create_attn(attn, out_chs)
        self.drop_path = drop_path or nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        shortcut, maps = x, [x]
        x = self.conv_reduction(x)
        for conv in self.conv_mid:
            x = conv(x)
            maps.append(x)
        x = torch.cat(maps, 1)
        del maps
        x = self.conv_concat(x)
        x = self.drop_path(self.attn(x))
        return x + shortcut if self.residual else x


class OsaStage(nn.Module):
    """Max pooling that rounds sizes down, and blocks: (B, in_chs, H, W) -> (B, out_chs, H // 2, W // 2).

    Args:
        downsample: pool first, else the map keeps its size. drop_path_rates: of stochastic depth, one a block. Others as
            in `OsaBlock` and `VovNet`.
    """

    def __init__(self, in_chs: int, mid_chs: int, out_chs: int, block_per_stage: int, layer_per_block: int,
                 downsample: bool = True, residual: bool = True, depthwise: bool = False, attn: AttnLayer = 'ese',
                 norm_layer: NormLayer = 'batchnorm2d', act_layer: ActLayer = 'relu',
                 drop_path_rates: Sequence[float] | None = None) -> None:
        super().__init__()
        self.pool = CeilMaxPool2d(3, 2) if downsample else nn.Identity()
        self.blocks = nn.Sequential()
        for number in range(block_per_stage):
            rate = drop_path_rates[number] if drop_path_rates else 0.0
            last = number == block_per_stage - 1
            self.blocks.append(OsaBlock(
                out_chs if number else in_chs, mid_chs, out_chs, layer_per_block, residual and number > 0, depthwise,
                attn if last else '', norm_layer, act_layer, DropPath(rate) if rate else None))

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(x)
        return self.blocks(x)
