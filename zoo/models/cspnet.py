"""CSPNet, arXiv:1911.11929: networks half of whose channels go past the blocks of a stage; and DarkNet, which has stages
without that.

    image -> stem -> stages.0 -> stages.1 -> … -> head: pool, fc
    'csp': convolution (stride 2) -> 1x1 convolution, split in two halves -> blocks, 1x1 convolution of one half
          -> both joined -> 1x1 convolution
    'cs3': the same without the 1x1 convolution after the blocks, as YOLOv5 has it
    'dark': convolution (stride 2) -> blocks

Blocks are those of ResNet ('bottle'), of DarkNet ('dark': 1x1, then 3x3 convolution; YOLOv3, arXiv:1804.02767), or that
the other way round ('edge').
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ..contract import Parts
from ..layers.act import ActLayer, create_act
from ..layers.channel_attention import AttnLayer, create_attn
from ..layers.conv_norm import ConvNorm
from ..layers.drop import DropPath
from ..layers.head import Head
from ..layers.init import init_conv_net, zero_weight
from ..layers.norm import NormLayer
from ..layers.pool import AaLayer, create_aa
from ..layers.stages import drop_path_rates, same_stages
from ..spec import Feature, unknown
from .headnet import HeadNet


class CspNet(HeadNet):
    """CSPNet, arXiv:1911.11929. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        stem_chs: channels of the stem's convolutions. stem_stride: 1, 2 or 4, the reduction of the stem: the first
            convolution has a stride of 2, and of 4 its pooling, where there is some, or its last convolution has the rest.
            stem_kernel: of the convolutions; an even one looks further to the bottom and right, as TensorFlow's do.
            stem_pool: max pooling.
        depth, out_chs, stride: blocks, channels and stride of each stage.
        groups, block_ratio, bottle_ratio, expand_ratio: groups of 3x3 convolutions; width of the blocks of 'csp' and 'cs3'
            over that of the stage; inner width of a block over its width; width of what is split in two over that of the
            stage, twice `block_ratio`. One, or one a stage.
        stage_type, block_type: 'csp', 'cs3' or 'dark'; 'bottle', 'dark' or 'edge'.
        avg_down: a stage pools, dropping what is left of an odd side, and projects, in place of a convolution with a stride.
        cross_linear: no activation after the convolution before the split. down_growth: channels change in the convolution
            with the stride, else after it.
        attn_layer, attn_kwargs: the gate of each block, see `create_attn`.
        aa_layer: filter in place of strides, see `create_aa`.
        output_stride: reduction of the last stage, 32, 16 or 8; strides beyond it become dilation.
        drop_path_rate: stochastic depth at the last block. zero_init_last: a fresh block begins as its shortcut.

    Raises:
        ValueError: options of stages that are of other numbers of stages, an option outside what is allowed.
    """

    draw = staticmethod(init_conv_net)

    def __init__(self, stem_chs: Sequence[int] = (64,), stem_stride: int = 4, stem_kernel: int = 3, stem_pool: bool = False,
                 depth: Sequence[int] = (3, 3, 5, 2), out_chs: Sequence[int] = (128, 256, 512, 1024),
                 stride: Sequence[int] = (1, 2, 2, 2), groups: int | Sequence[int] = 1,
                 block_ratio: float | Sequence[float] = 1.0, bottle_ratio: float | Sequence[float] = 1.0,
                 expand_ratio: float | Sequence[float] = 1.0, stage_type: str = 'csp', block_type: str = 'bottle',
                 avg_down: bool = False, cross_linear: bool = False, down_growth: bool = False, attn_layer: AttnLayer = None,
                 attn_kwargs: Mapping[str, Any] | None = None, act_layer: ActLayer = 'leaky_relu',
                 norm_layer: NormLayer = 'batchnorm2d', aa_layer: AaLayer | None = None, in_chans: int = 3,
                 num_classes: int = 1000, output_stride: int = 32, global_pool: str = 'avg', drop_rate: float = 0.0,
                 drop_path_rate: float = 0.0, zero_init_last: bool = True) -> None:
        super().__init__()
        if output_stride not in (8, 16, 32):
            raise ValueError(f'output_stride is 8, 16 or 32, not {output_stride}.')
        if stage_type not in STAGES:
            raise ValueError(unknown('stage_type', stage_type, STAGES))
        if block_type not in BLOCKS:
            raise ValueError(unknown('block_type', block_type, BLOCKS))
        count = len(depth)
        by_stage = [_by_stage(given, count) for given in (groups, block_ratio, bottle_ratio, expand_ratio)]
        same_stages(depth=depth, out_chs=out_chs, stride=stride, groups=by_stage[0], block_ratio=by_stage[1],
                    bottle_ratio=by_stage[2], expand_ratio=by_stage[3])
        self.in_chans, self.zero_init_last = in_chans, zero_init_last
        shared: dict[str, Any] = dict(act_layer=act_layer, norm_layer=norm_layer, aa_layer=aa_layer)
        self.stem, steps = create_stem(in_chans, stem_chs, stem_stride, stem_kernel, stem_pool, shared)
        tap = max(number for number, (_, reduction) in enumerate(steps) if reduction <= 2)
        names = [f'stem.{name}' for name, _ in self.stem.named_children()]
        self.feature_info = [Feature(num_chs=steps[tap][0], reduction=steps[tap][1], module=names[tap], stage=0)]
        self.stages, width, reduction, dilation = nn.Sequential(), stem_chs[-1], stem_stride, 1
        rates, block = iter(drop_path_rates(drop_path_rate, sum(depth))), dict(attn_layer=attn_layer, attn_kwargs=attn_kwargs)
        cross = {} if stage_type == 'dark' else dict(cross_linear=cross_linear, down_growth=down_growth)
        for number, (blocks, out, step, group, inner, bottle, expand) in enumerate(
                zip(depth, out_chs, stride, *by_stage)):
            if step > 1 and reduction >= output_stride:
                step, dilation = 1, dilation * step
            reduction *= step
            ratios = {} if stage_type == 'dark' else dict(expand_ratio=expand)
            self.stages.append(STAGES[stage_type](
                width, out, step, dilation, blocks, inner, bottle, groups=group, avg_down=avg_down,
                first_dilation=1 if dilation in (1, 2) else 2, block_dpr=[next(rates) for _ in range(blocks)],
                block_fn=BLOCKS[block_type], **shared, **block, **cross, **ratios))
            self.feature_info.append(Feature(num_chs=out, reduction=reduction, module=f'stages.{number}', stage=number + 1))
            if avg_down:
                self.feature_info[-1]['ceil_reduction'] = min(stem_stride, reduction)
            width = out
        first, *rest = [f'stages.{number}' for number in range(count)]
        self.parts = Parts(stem=tuple(names[:tap + 1]), stages=((*names[tap + 1:], first), *rest),
                           head=('head.global_pool',), classifier=('head.fc',))
        self.num_features = width
        self.head = Head(width, global_pool, drop_rate=drop_rate)
        self.build_head(width, num_classes, global_pool, drop_rate)
        self.init_fresh()

    def init_weights(self) -> None:
        super().init_weights()
        if self.zero_init_last:
            for block in self.modules():
                if isinstance(block, BottleneckBlock):
                    zero_weight(block.conv3.bn)
                elif isinstance(block, DarkBlock):
                    zero_weight(block.conv2.bn)


def create_stem(in_chans: int, widths: Sequence[int], stride: int, kernel: int, pool: bool,
                shared: Mapping[str, Any]) -> tuple[nn.Sequential, list[tuple[int, int]]]:
    """The layers before the stages, and the channels and the reduction after each convolution: (B, in_chans, H, W) ->
    (B, widths[-1], ceil(H / stride), ceil(W / stride)). See `CspNet`.

    Raises:
        ValueError: another stride.
    """
    if stride not in (1, 2, 4):
        raise ValueError(f'stem_stride is 1, 2 or 4, not {stride}.')
    stem, steps, reduction, last = nn.Sequential(), [], 1, len(widths) - 1
    for number, width in enumerate(widths):
        halves = number == 0 and stride > 1 or number == last > 0 and stride > 2 and not pool
        reduction *= 2 if halves else 1
        stem.add_module(f'conv{number + 1}', ConvNorm(
            in_chans, width, kernel, 2 if halves else 1, pad_type='' if kernel % 2 else 'same',
            **{**shared, 'aa_layer': shared['aa_layer'] if number else None}))
        steps.append((width, reduction))
        in_chans = width
    if pool:
        aa = create_aa(shared['aa_layer'], in_chans, 2)
        stem.pool = nn.MaxPool2d(3, 2 if isinstance(aa, nn.Identity) else 1, padding=1)
        if not isinstance(aa, nn.Identity):
            stem.aa = aa
    return stem, steps


class BottleneckBlock(nn.Module):
    """1x1, 3x3 and 1x1 convolution, added to the input before the last activation: (B, in_chs, H, W) -> the same.

    Args:
        bottle_ratio: width of the 3x3 convolution over `out_chs`. attn_layer, attn_kwargs: see `create_attn`; the gate is
            after the 3x3 convolution, or with `attn_last` at the end of the branch.
        drop_path: rate of stochastic depth.
    """

    def __init__(self, in_chs: int, out_chs: int, dilation: int = 1, bottle_ratio: float = 0.25, groups: int = 1,
                 act_layer: ActLayer = 'relu', norm_layer: NormLayer = 'batchnorm2d', attn_last: bool = False,
                 attn_layer: AttnLayer = None, attn_kwargs: Mapping[str, Any] | None = None, drop_path: float = 0.0) -> None:
        super().__init__()
        inner = int(round(out_chs * bottle_ratio))
        self.conv1 = ConvNorm(in_chs, inner, act_layer=act_layer, norm_layer=norm_layer)
        self.conv2 = ConvNorm(inner, inner, 3, 1, dilation, groups, act_layer, norm_layer)
        self.attn2 = nn.Identity() if attn_last else gate(attn_layer, inner, act_layer, attn_kwargs)
        self.conv3 = ConvNorm(inner, out_chs, act_layer=None, norm_layer=norm_layer)
        self.attn3 = gate(attn_layer, out_chs, act_layer, attn_kwargs) if attn_last else nn.Identity()
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()
        self.act3 = create_act(act_layer)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.conv1(x)
        x = self.attn2(self.conv2(x))
        x = self.conv3(x)
        x = self.drop_path(self.attn3(x))
        return self.act3(x + shortcut)


class DarkBlock(nn.Module):
    """1x1 and 3x3 convolution, added to the input (YOLOv3, arXiv:1804.02767, Table 1): (B, in_chs, H, W) -> the same.
    Arguments as in `BottleneckBlock`; the gate is between the convolutions."""

    kernels = 1, 3

    def __init__(self, in_chs: int, out_chs: int, dilation: int = 1, bottle_ratio: float = 0.5, groups: int = 1,
                 act_layer: ActLayer = 'relu', norm_layer: NormLayer = 'batchnorm2d', attn_layer: AttnLayer = None,
                 attn_kwargs: Mapping[str, Any] | None = None, drop_path: float = 0.0) -> None:
        super().__init__()
        inner = int(round(out_chs * bottle_ratio))
        spread = [(kernel, 1, dilation, groups) if kernel > 1 else (1, 1, 1, 1) for kernel in self.kernels]
        self.conv1 = ConvNorm(in_chs, inner, *spread[0], act_layer, norm_layer)
        self.attn = gate(attn_layer, inner, act_layer, attn_kwargs)
        self.conv2 = ConvNorm(inner, out_chs, *spread[1], act_layer, norm_layer)
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.conv1(x)
        x = self.attn(x)
        x = self.conv2(x)
        return self.drop_path(x) + shortcut


class EdgeBlock(DarkBlock):
    """3x3 and 1x1 convolution, added to the input: (B, in_chs, H, W) -> the same."""

    kernels = 3, 1


def gate(attn_layer: AttnLayer, channels: int, act_layer: ActLayer, attn_kwargs: Mapping[str, Any] | None) -> nn.Module:
    """The gate of a block, with the block's activation inside."""
    return create_attn(attn_layer, channels, act_layer=act_layer, **attn_kwargs or {})


class DarkStage(nn.Module):
    """A convolution with a stride, and blocks: (B, in_chs, H, W) -> (B, out_chs, H / stride, W / stride).

    Args:
        depth: number of blocks. dilation: of their convolutions; first_dilation: of the convolution with the stride, None
            for `dilation`.
        block_ratio: 1: blocks are as wide as the stage. bottle_ratio, avg_down: see `CspNet`. block_fn: makes the blocks.
        block_dpr: rates of stochastic depth, one a block.
        block_kwargs: further arguments of the blocks.
    """

    def __init__(self, in_chs: int, out_chs: int, stride: int, dilation: int, depth: int, block_ratio: float = 1.0,
                 bottle_ratio: float = 1.0, groups: int = 1, first_dilation: int | None = None, avg_down: bool = False,
                 block_fn: Callable[..., nn.Module] = BottleneckBlock, block_dpr: Sequence[float] | None = None,
                 **block_kwargs: Any) -> None:
        super().__init__()
        if block_ratio != 1:
            raise ValueError(f'Blocks of a DarkStage are as wide as it is: block_ratio is 1, not {block_ratio}.')
        aa_layer = block_kwargs.pop('aa_layer', None)
        conv = _layers_of(block_kwargs)
        self.conv_down = downsampling(in_chs, out_chs, stride, first_dilation or dilation, groups, avg_down, aa_layer, conv)
        self.blocks = nn.Sequential(*(
            block_fn(out_chs, out_chs, dilation, bottle_ratio, groups,
                     drop_path=block_dpr[number] if block_dpr else 0.0, **block_kwargs) for number in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_down(x)
        return self.blocks(x)


class CrossStage(nn.Module):
    """A convolution with a stride, and blocks on half of the channels (arXiv:1911.11929, Figure 2b):
    (B, in_chs, H, W) -> (B, out_chs, H / stride, W / stride).

    Args:
        expand_ratio, down_growth, cross_linear: see `CspNet`. Others as in `DarkStage`.

    Raises:
        ValueError: half of what is split has another width than the blocks.
    """

    transition_after_blocks = True

    def __init__(self, in_chs: int, out_chs: int, stride: int, dilation: int, depth: int, block_ratio: float = 1.0,
                 bottle_ratio: float = 1.0, expand_ratio: float = 1.0, groups: int = 1, first_dilation: int | None = None,
                 avg_down: bool = False, down_growth: bool = False, cross_linear: bool = False,
                 block_dpr: Sequence[float] | None = None, block_fn: Callable[..., nn.Module] = BottleneckBlock,
                 **block_kwargs: Any) -> None:
        super().__init__()
        aa_layer = block_kwargs.pop('aa_layer', None)
        conv = _layers_of(block_kwargs)
        first = first_dilation or dilation
        width = in_chs
        self.conv_down: nn.Module = nn.Identity()
        if stride != 1 or first != dilation:
            width = out_chs if down_growth else in_chs
            self.conv_down = downsampling(in_chs, width, stride, first, groups, avg_down, aa_layer, conv)
        half, inner = int(round(out_chs * expand_ratio)) // 2, int(round(out_chs * block_ratio))
        if half != inner:
            raise ValueError(f'Half of what is split has the width of the blocks: expand_ratio is twice block_ratio, not '
                             f'{expand_ratio} and {block_ratio}.')
        self.conv_exp = ConvNorm(width, 2 * half, **conv | (dict(act_layer=None) if cross_linear else {}))
        self.blocks = nn.Sequential(*(
            block_fn(half, half, dilation, bottle_ratio, groups, drop_path=block_dpr[number] if block_dpr else 0.0,
                     **block_kwargs) for number in range(depth)))
        if self.transition_after_blocks:
            self.conv_transition_b = ConvNorm(half, half, **conv)
        self.conv_transition = ConvNorm(2 * half, out_chs, **conv)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_down(x)
        x = self.conv_exp(x)
        past, x = x.chunk(2, 1)
        x = self.blocks(x)
        x = self.conv_transition_b(x)
        x = torch.cat([past, x], 1)
        return self.conv_transition(x)


class CrossStage3(CrossStage):
    """A `CrossStage` that has no convolution after its blocks, which take the first half of the channels."""

    transition_after_blocks = False

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_down(x)
        x = self.conv_exp(x)
        x, past = x.chunk(2, 1)
        x = self.blocks(x)
        x = torch.cat([x, past], 1)
        return self.conv_transition(x)


def downsampling(in_chs: int, out_chs: int, stride: int, dilation: int, groups: int, avg_down: bool,
                 aa_layer: AaLayer | None, conv: Mapping[str, Any]) -> nn.Module:
    """The first layers of a stage: (B, in_chs, H, W) -> (B, out_chs, H / stride, W / stride), with `avg_down` rounded
    down."""
    if avg_down:
        pool = nn.AvgPool2d(2) if stride == 2 else nn.Identity()
        return nn.Sequential(pool, ConvNorm(in_chs, out_chs, groups=groups, **conv))
    return ConvNorm(in_chs, out_chs, 3, stride, dilation, groups, aa_layer=aa_layer, **conv)


def _layers_of(options: Mapping[str, Any]) -> dict[str, Any]:
    """The activation and the normalisation among the options of blocks."""
    return {key: options[key] for key in ('act_layer', 'norm_layer') if key in options}


def _by_stage(given: Any, count: int) -> list[Any]:
    return list(given) if isinstance(given, Sequence) else [given] * count


STAGES: dict[str, Callable[..., nn.Module]] = {'dark': DarkStage, 'csp': CrossStage, 'cs3': CrossStage3}
BLOCKS: dict[str, Callable[..., nn.Module]] = {'bottle': BottleneckBlock, 'dark': DarkBlock, 'edge': EdgeBlock}
