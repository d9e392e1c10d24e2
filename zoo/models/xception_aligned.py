"""Xception as DeepLab v3+ aligned it, arXiv:1802.02611, section 3.2: strides are in separable convolutions.

    image -> stem (stride 2) -> blocks -> head: pool, fc
    block: three separable convolutions (depthwise 3x3, then 1x1), the last with the stride -> added to the shortcut

`preact` (arXiv:1603.05027) normalises before each of them, and not after. Maps with a resolution of their own are taken
where the next block has not subsampled yet, before its third convolution: between steps the state of the walk is then that
map and what its block took in.
"""
from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn

from ..contract import Parts
from ..layers.act import ActLayer, create_act, get_act_layer
from ..layers.conv import conv2d
from ..layers.conv_norm import ConvNorm
from ..layers.drop import DropPath
from ..layers.head import Head
from ..layers.init import init_conv_net
from ..layers.norm import Norm, NormLayer
from ..layers.stages import drop_path_rates
from ..spec import Feature, unknown
from .headnet import HeadNet

STEM = (32, 64)
FIELDS = ('in_chs', 'out_chs', 'stride', 'no_skip', 'start_with_relu')
Inside = Tensor | tuple[Tensor, Tensor]                 # a map, or what a block took in and its map before the third convolution


class XceptionAligned(HeadNet):
    """Aligned Xception, arXiv:1802.02611. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        block_cfg: of each block `in_chs`, `out_chs`, one number or one for each convolution, and `stride`; and where they
            are so, `no_skip`, not added to a shortcut, and `start_with_relu` False, activations after convolutions.
        output_stride: reduction of the last block, 32, 16 or 8; strides beyond it become dilation of the blocks
            that follow.
        preact: normalisation and activation before each convolution. bn_eps: of the normalisation.
        drop_path_rate: stochastic depth at the last block.

    Raises:
        ValueError: another `output_stride`, a field that blocks do not have, widths that do not fit each other.
    """

    parts = Parts(stem=('stem',), stages=(), pre_head=('act',), head=('head.global_pool',), classifier=('head.fc',))
    draw = staticmethod(init_conv_net)

    def __init__(self, block_cfg: Sequence[Mapping[str, Any]], num_classes: int = 1000, in_chans: int = 3,
                 output_stride: int = 32, preact: bool = False, act_layer: ActLayer = 'relu',
                 norm_layer: NormLayer = 'batchnorm2d', bn_eps: float = 1e-3, drop_rate: float = 0.0,
                 drop_path_rate: float = 0.0, global_pool: str = 'avg') -> None:
        super().__init__()
        if output_stride not in (8, 16, 32):
            raise ValueError(f'output_stride is 8, 16 or 32, not {output_stride}.')
        norm, block = Norm(norm_layer, eps=bn_eps), PreXceptionModule if preact else XceptionModule
        self.in_chans, width = in_chans, STEM[1]
        first = ConvNorm(in_chans, STEM[0], 3, 2, act_layer=act_layer, norm_layer=norm)
        second = conv2d(*STEM, 3) if preact else ConvNorm(*STEM, 3, act_layer=act_layer, norm_layer=norm)
        self.stem = nn.Sequential(first, second)
        self.blocks, self.feature_info, stages = nn.Sequential(), [], list[list[str]]([[]])
        reduction, dilation = 2, 1
        for number, (given, rate) in enumerate(zip(block_cfg, drop_path_rates(drop_path_rate, len(block_cfg)))):
            check_block(given, width)
            cfg, name, stride, before = dict(given), f'blocks.{number}', given.get('stride', 1), dilation
            stages[-1].append(name)
            if stride > 1:
                inner = f'{name}.stack.conv2' if preact else f'{name}.stack.act3'
                self.feature_info.append(Feature(num_chs=three(cfg['out_chs'])[1], reduction=reduction, module=inner,
                                                 stage=len(stages)))
                stages.append([])
                if reduction >= output_stride:
                    cfg['stride'], dilation = 1, dilation * stride
                reduction *= cfg['stride']
            self.blocks.append(block(**cfg, dilation=before, act_layer=act_layer, norm_layer=norm,
                                     drop_path=DropPath(rate) if rate else None))
            width = three(cfg['out_chs'])[-1]
        self.feature_info.append(Feature(num_chs=width, reduction=reduction, module=stages[-1][-1], stage=len(stages)))
        self.act = get_act_layer(act_layer)() if preact else nn.Identity()
        self.parts = replace(self.parts, stages=tuple(map(tuple, stages)))
        self.num_features = width
        self.head = Head(width, global_pool, drop_rate=drop_rate)
        self.build_head(width, num_classes, global_pool, drop_rate)
        self.init_fresh()

    def enter_stage(self, number: int, state: Inside) -> Inside:
        """The state that goes into stage `number`: the same."""
        return state

    def run_stage(self, number: int, state: Inside) -> Inside:
        """The state after stage `number`: inside its last block, or of the last stage after that."""
        x: Tensor = self._block(self.stage_names()[number - 1][-1]).end(*state) if isinstance(state, tuple) else state
        del state
        *blocks, last = map(self._block, self.stage_names()[number])
        for block in blocks:
            x = block(x)
        return last(x) if number == len(self.parts.stages) - 1 else last.begin(x)

    def _block(self, name: str) -> XceptionModule:
        block: Any = self.get_submodule(name)
        module: XceptionModule = block
        return module

    def maps_of(self, state: Inside, step: int) -> list[Tensor]:
        """The map of a state."""
        return [state[1] if isinstance(state, tuple) else state]

    def pre_head(self, state: Inside) -> Tensor:
        """What the head takes in."""
        return super().pre_head(self.maps_of(state, 0)[0])

    def drop_stages(self, last: int) -> None:
        """Removes what comes after step `last`, within its last block too."""
        super().drop_stages(last)
        if 0 < last < len(self.parts.stages):
            block = self.stage_names()[-1][-1]
            self._drop([f'{block}.{name}' for name in ('stack.conv3', 'shortcut')])


def three(widths: int | Sequence[int]) -> tuple[int, ...]:
    """The widths of three convolutions, of one for all or of each."""
    return (widths,) * 3 if isinstance(widths, int) else tuple(widths)


def check_block(cfg: Mapping[str, Any], width: int) -> None:
    """Checks what is said of a block that takes in `width` channels.

    Raises:
        ValueError: a field that blocks do not have, another width.
    """
    for field in cfg:
        if field not in FIELDS:
            raise ValueError(unknown('Field of block_cfg', field, FIELDS))
    if cfg['in_chs'] != width or len(three(cfg['out_chs'])) != 3:
        raise ValueError(f'A block takes in the {width} channels of what comes before it, and has one out_chs or three, not '
                         f'in_chs={cfg["in_chs"]}, out_chs={cfg["out_chs"]}.')


class SeparableConv2d(nn.Module):
    """A depthwise and a 1x1 convolution, each with normalisation, and activation where there is one: (B, in_chs, H, W) ->
    (B, out_chs, H / stride, W / stride)."""

    def __init__(self, in_chs: int, out_chs: int, kernel_size: int = 3, stride: int = 1, dilation: int = 1,
                 padding: str = '', act_layer: ActLayer | None = 'relu', norm_layer: NormLayer = 'batchnorm2d') -> None:
        super().__init__()
        norm = Norm(norm_layer)
        self.conv_dw = conv2d(in_chs, in_chs, kernel_size, stride, dilation, in_chs, padding)
        self.bn_dw, self.act_dw = norm.with_act(in_chs, act_layer)
        self.conv_pw = conv2d(in_chs, out_chs, 1)
        self.bn_pw, self.act_pw = norm.with_act(out_chs, act_layer)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_dw(x)
        x = self.act_dw(self.bn_dw(x))
        x = self.conv_pw(x)
        return self.act_pw(self.bn_pw(x))


class PreSeparableConv2d(nn.Module):
    """Normalisation and activation, with `first_act`, and a depthwise and a 1x1 convolution: (B, in_chs, H, W) ->
    (B, out_chs, H / stride, W / stride)."""

    def __init__(self, in_chs: int, out_chs: int, kernel_size: int = 3, stride: int = 1, dilation: int = 1,
                 padding: str = '', act_layer: ActLayer = 'relu', norm_layer: NormLayer = 'batchnorm2d',
                 first_act: bool = True) -> None:
        super().__init__()
        self.norm, self.act = Norm(norm_layer).with_act(in_chs, act_layer) if first_act else (nn.Identity(), nn.Identity())
        self.conv_dw = conv2d(in_chs, in_chs, kernel_size, stride, dilation, in_chs, padding)
        self.conv_pw = conv2d(in_chs, out_chs, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(x))
        x = self.conv_dw(x)
        return self.conv_pw(x)


class XceptionModule(nn.Module):
    """Three separable convolutions, an activation before each, added to the shortcut (arXiv:1802.02611, Figure 4):
    (B, in_chs, H, W) -> (B, out_chs, H / stride, W / stride).

    Args:
        out_chs: of all three, or of each. start_with_relu: else activations are after each convolution.
        no_skip: without a shortcut. drop_path: what drops the branch.
    """

    def __init__(self, in_chs: int, out_chs: int | Sequence[int], stride: int = 1, dilation: int = 1, pad_type: str = '',
                 start_with_relu: bool = True, no_skip: bool = False, act_layer: ActLayer = 'relu',
                 norm_layer: NormLayer = 'batchnorm2d', drop_path: nn.Module | None = None) -> None:
        super().__init__()
        widths = (in_chs, *three(out_chs))
        self.no_skip = no_skip
        self.shortcut: nn.Module = nn.Identity()
        if not no_skip and (widths[-1] != in_chs or stride != 1):
            self.shortcut = self.projection(in_chs, widths[-1], stride, norm_layer)
        self.stack = nn.Sequential()
        for number in range(3):
            if start_with_relu:
                act = get_act_layer(act_layer)() if number == 0 else create_act(act_layer)
                self.stack.add_module(f'act{number + 1}', act)
            self.stack.add_module(f'conv{number + 1}', SeparableConv2d(
                widths[number], widths[number + 1], 3, stride if number == 2 else 1, dilation, pad_type,
                None if start_with_relu else act_layer, norm_layer))
        self.drop_path = drop_path or nn.Identity()

    def projection(self, in_chs: int, out_chs: int, stride: int, norm_layer: NormLayer) -> nn.Module:
        """The shortcut where the map changes its shape."""
        return ConvNorm(in_chs, out_chs, 1, stride, act_layer=None, norm_layer=norm_layer)

    def begin(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the shortcut takes in, and the map before the third convolution."""
        return x, self._run(x, [name for name in self.stack._modules if name != 'conv3'])

    def end(self, x: Tensor, inner: Tensor) -> Tensor:
        """What `begin` gave -> the block's output."""
        inner = self._run(inner, ['conv3'])
        return inner if self.no_skip else self.drop_path(inner) + self.shortcut(x)

    def _run(self, x: Tensor, names: Iterable[str]) -> Tensor:
        for name in names:
            x = self.stack.get_submodule(name)(x)
        return x

    def forward(self, x: Tensor) -> Tensor:
        return self.end(*self.begin(x))


class PreXceptionModule(XceptionModule):
    """An `XceptionModule` with normalisation and activation before each convolution; the shortcut begins after the first."""

    def __init__(self, in_chs: int, out_chs: int | Sequence[int], stride: int = 1, dilation: int = 1, pad_type: str = '',
                 no_skip: bool = False, act_layer: ActLayer = 'relu', norm_layer: NormLayer = 'batchnorm2d',
                 drop_path: nn.Module | None = None) -> None:
        super().__init__(in_chs, out_chs, stride, dilation, pad_type, True, no_skip, act_layer, norm_layer, drop_path)
        widths = (in_chs, *three(out_chs))
        self.norm, self.act = Norm(norm_layer).with_act(in_chs, act_layer)
        self.stack = nn.Sequential()
        for number in range(3):
            self.stack.add_module(f'conv{number + 1}', PreSeparableConv2d(
                widths[number], widths[number + 1], 3, stride if number == 2 else 1, dilation, pad_type, act_layer,
                norm_layer, number > 0))

    def projection(self, in_chs: int, out_chs: int, stride: int, norm_layer: NormLayer) -> nn.Module:
        """The shortcut where the map changes its shape, without normalisation."""
        return conv2d(in_chs, out_chs, 1, stride)

    def begin(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What the shortcut takes in, and the map before the third convolution."""
        return super().begin(self.act(self.norm(x)))
