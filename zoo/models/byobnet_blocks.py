"""The blocks of `ByobNet`: those of ResNet, DarkNet and EfficientNet-EdgeTPU, and RepVGG's and MobileOne's, whose branches
become one convolution.

All map (B, in_chs, H, W) to (B, out_chs, ceil(H / stride), ceil(W / stride)), and share these arguments:

    dilation: of the convolution with the stride, and of the rest of the stage.
    bottle_ratio: inner width over `out_chs`, rounded to a multiple of 8. group_size: channels per group of the grouped
        convolution; 0 or None for one group.
    downsample: the shortcut where the map changes its shape, see `create_shortcut`.
    attn_last: the gate is at the end of the branch. linear_out: no activation after the sum.
    layers: what all layers are made of. drop_block: makes what drops squares of a map. drop_path_rate: stochastic depth.
"""
from __future__ import annotations

import inspect
from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor, nn

from ..blocks import round_channels
from ..layers.conv_norm import ConvNorm
from ..layers.drop import DropPath
from ..layers.init import zero_weight
from ..layers.norm import Norm
from ..layers.reparam import Kernel, Reparam, folded, identity_kernel, summed
from ..layers.sizes import map_size
from ..spec import Pair, unknown
from .byobnet_layers import LayerFn, MakeDrop, create_shortcut, num_groups
from .mobilevit_blocks import MobileVitBlock, MobileVitV2Block


class Residual(nn.Module):
    """Base of blocks that add a branch to a shortcut: what a subclass has is `branch`.

    Attributes:
        last: the branch's last convolution.
    """

    shortcut: nn.Module | None
    last: str

    def finish(self, layers: LayerFn, linear_out: bool, drop_path_rate: float) -> None:
        """Adds what follows the branch."""
        self.drop_path = DropPath(drop_path_rate) if drop_path_rate else nn.Identity()
        self.act = layers.act(linear_out)

    def branch(self, x: Tensor) -> Tensor:
        raise NotImplementedError

    def zero_init_last(self) -> None:
        """Makes the branch zero at first, so that the block begins as its shortcut, where it has one."""
        if self.shortcut is not None:
            zero_weight(self.get_submodule(f'{self.last}.bn'))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.branch(x)
        x = self.drop_path(x)
        if self.shortcut is not None:
            x += self.shortcut(shortcut)
        return self.act(x)


class BasicBlock(Residual):
    """Two kxk convolutions (ResNet, arXiv:1512.03385, Figure 5, left), the second grouped, the stride in the first."""

    last = 'conv2_kxk'

    def __init__(self, in_chs: int, out_chs: int, kernel_size: int = 3, stride: int = 1, dilation: Pair = (1, 1),
                 group_size: int | None = None, bottle_ratio: float = 1.0, downsample: str | None = 'avg',
                 attn_last: bool = True, linear_out: bool = False, layers: LayerFn = LayerFn(),
                 drop_block: MakeDrop | None = None, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.shortcut = create_shortcut(downsample, in_chs, out_chs, stride, dilation, layers)
        inner = round_channels(out_chs * bottle_ratio)
        self.conv1_kxk = layers.conv(in_chs, inner, kernel_size, stride, dilation[0])
        self.attn = layers.attn(inner, not attn_last)
        self.conv2_kxk = layers.conv(inner, out_chs, kernel_size, 1, dilation[1], num_groups(group_size, inner), act=False,
                                     drop=drop_block)
        self.attn_last = layers.attn(out_chs, attn_last)
        self.finish(layers, linear_out, drop_path_rate)

    def branch(self, x: Tensor) -> Tensor:
        x = self.conv1_kxk(x)
        x = self.attn(x)
        x = self.conv2_kxk(x)
        return self.attn_last(x)


class BottleneckBlock(Residual):
    """1x1, grouped kxk and 1x1 convolutions (ResNet, Figure 5, right; ResNeXt, arXiv:1611.05431), the stride in the kxk
    one.

    Args:
        extra_conv: a second kxk convolution. bottle_in: the inner width counts from `in_chs`.
    """

    last = 'conv3_1x1'

    def __init__(self, in_chs: int, out_chs: int, kernel_size: int = 3, stride: int = 1, dilation: Pair = (1, 1),
                 bottle_ratio: float = 1.0, group_size: int | None = None, downsample: str | None = 'avg',
                 attn_last: bool = False, linear_out: bool = False, extra_conv: bool = False, bottle_in: bool = False,
                 layers: LayerFn = LayerFn(), drop_block: MakeDrop | None = None, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.shortcut = create_shortcut(downsample, in_chs, out_chs, stride, dilation, layers)
        inner = round_channels((in_chs if bottle_in else out_chs) * bottle_ratio)
        groups = num_groups(group_size, inner)
        self.conv1_1x1 = layers.conv(in_chs, inner)
        self.conv2_kxk = layers.conv(inner, inner, kernel_size, stride, dilation[0], groups, drop=drop_block)
        self.conv2b_kxk = (layers.conv(inner, inner, kernel_size, 1, dilation[1], groups) if extra_conv else
                           nn.Identity())
        self.attn = layers.attn(inner, not attn_last)
        self.conv3_1x1 = layers.conv(inner, out_chs, act=False)
        self.attn_last = layers.attn(out_chs, attn_last)
        self.finish(layers, linear_out, drop_path_rate)

    def branch(self, x: Tensor) -> Tensor:
        x = self.conv1_1x1(x)
        x = self.conv2_kxk(x)
        x = self.conv2b_kxk(x)
        x = self.attn(x)
        x = self.conv3_1x1(x)
        return self.attn_last(x)


class DarkBlock(Residual):
    """1x1, then grouped kxk convolution (DarkNet-53, arXiv:1804.02767), the stride in the second."""

    last = 'conv2_kxk'

    def __init__(self, in_chs: int, out_chs: int, kernel_size: int = 3, stride: int = 1, dilation: Pair = (1, 1),
                 bottle_ratio: float = 1.0, group_size: int | None = None, downsample: str | None = 'avg',
                 attn_last: bool = True, linear_out: bool = False, layers: LayerFn = LayerFn(),
                 drop_block: MakeDrop | None = None, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.shortcut = create_shortcut(downsample, in_chs, out_chs, stride, dilation, layers)
        inner = round_channels(out_chs * bottle_ratio)
        self.conv1_1x1 = layers.conv(in_chs, inner)
        self.attn = layers.attn(inner, not attn_last)
        self.conv2_kxk = layers.conv(inner, out_chs, kernel_size, stride, dilation[0], num_groups(group_size, inner),
                                     act=False, drop=drop_block)
        self.attn_last = layers.attn(out_chs, attn_last)
        self.finish(layers, linear_out, drop_path_rate)

    def branch(self, x: Tensor) -> Tensor:
        x = self.conv1_1x1(x)
        x = self.attn(x)
        x = self.conv2_kxk(x)
        return self.attn_last(x)


class EdgeBlock(Residual):
    """Grouped kxk, then 1x1 convolution (EfficientNet-EdgeTPU), the stride in the first."""

    last = 'conv2_1x1'

    def __init__(self, in_chs: int, out_chs: int, kernel_size: int = 3, stride: int = 1, dilation: Pair = (1, 1),
                 bottle_ratio: float = 1.0, group_size: int | None = None, downsample: str | None = 'avg',
                 attn_last: bool = False, linear_out: bool = False, layers: LayerFn = LayerFn(),
                 drop_block: MakeDrop | None = None, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.shortcut = create_shortcut(downsample, in_chs, out_chs, stride, dilation, layers)
        inner = round_channels(out_chs * bottle_ratio)
        self.conv1_kxk = layers.conv(in_chs, inner, kernel_size, stride, dilation[0], num_groups(group_size, inner),
                                     drop=drop_block)
        self.attn = layers.attn(inner, not attn_last)
        self.conv2_1x1 = layers.conv(inner, out_chs, act=False)
        self.attn_last = layers.attn(out_chs, attn_last)
        self.finish(layers, linear_out, drop_path_rate)

    def branch(self, x: Tensor) -> Tensor:
        x = self.conv1_kxk(x)
        x = self.attn(x)
        x = self.conv2_1x1(x)
        return self.attn_last(x)


class Branches(Reparam):
    """Base of blocks of convolutions side by side, and of the input itself where the map keeps its shape; fused, they are
    the one convolution `reparam_conv`. What a subclass adds are its convolutions.

    Attributes:
        side: their submodules, convolutions or lists of those, the first of the largest kernel.
    """

    side: tuple[str, ...]
    fused_names = ('reparam_conv.weight', 'reparam_conv.bias')

    def start(self, in_chs: int, out_chs: int, stride: int, dilation: Pair, layers: LayerFn) -> None:
        """Adds the input as a branch, where it has the shape of the others."""
        kept = in_chs == out_chs and stride == 1 and dilation[0] == dilation[1]
        self.reparam_conv: nn.Conv2d | None = None
        self.identity = layers.norm(out_chs) if kept else None

    def finish(self, out_chs: int, layers: LayerFn, drop_path_rate: float, fused: bool) -> None:
        """Adds what follows the convolutions, and makes them one where the block is `fused` from the start."""
        self.drop_path = DropPath(drop_path_rate) if drop_path_rate and self.identity is not None else nn.Identity()
        self.attn = layers.attn(out_chs)
        self.act = layers.act()
        if fused:
            self.reparameterize()

    def convolutions(self) -> list[ConvNorm]:
        """Those side by side."""
        found: list[ConvNorm] = []
        for name in self.side:
            module: Any = getattr(self, name)
            if module is not None:
                side: Iterable[Any] = module if isinstance(module, nn.ModuleList) else [module]
                found += side
        return found

    @property
    def is_fused(self) -> bool:
        """Whether the branches are one already."""
        return self.reparam_conv is not None

    @torch.no_grad()
    def reparameterize(self) -> None:
        """See `Reparam.reparameterize`.

        Raises:
            ValueError: another normalisation than batch normalisation, or a filter after a convolution.
        """
        if self.is_fused:
            return
        convolutions = self.convolutions()
        largest = convolutions[0].conv
        if any(not isinstance(one.aa, nn.Identity) for one in convolutions):
            raise ValueError('Branches with a filter in place of the stride (aa_layer) do not fold into a convolution.')
        kernels: list[Kernel] = [folded(one.conv.weight, one.bn) for one in convolutions]
        if self.identity is not None:
            kernel = identity_kernel(largest.out_channels, largest.groups, largest.kernel_size[0], largest.weight)
            kernels.append(folded(kernel, self.identity))
        made = summed(kernels, largest).train(self.training).requires_grad_(largest.weight.requires_grad)
        for name in (*self.side, 'identity'):
            delattr(self, name)
        self.identity, self.drop_path, self.reparam_conv = None, nn.Identity(), made

    def forward(self, x: Tensor) -> Tensor:
        if self.reparam_conv is not None:
            return self.act(self.attn(self.reparam_conv(x)))
        first, *others = self.convolutions()
        out = first(x)
        for conv in others:
            out += conv(x)
        if self.identity is not None:
            out = self.drop_path(out)
            out += self.identity(x)
        return self.act(self.attn(out))


class RepVggBlock(Branches):
    """A kxk and a 1x1 convolution and the input, each normalised, side by side (RepVGG, arXiv:2101.03697, section 3.2).

    Args:
        inference_mode: one convolution from the start.
    """

    side = ('conv_kxk', 'conv_1x1')

    def __init__(self, in_chs: int, out_chs: int, kernel_size: int = 3, stride: int = 1, dilation: Pair = (1, 1),
                 bottle_ratio: float = 1.0, group_size: int | None = None, downsample: str | None = '',
                 layers: LayerFn = LayerFn(), drop_block: MakeDrop | None = None, drop_path_rate: float = 0.0,
                 inference_mode: bool = False) -> None:
        super().__init__()
        _no_bottleneck(bottle_ratio)
        groups = num_groups(group_size, in_chs)
        self.start(in_chs, out_chs, stride, dilation, layers)
        self.conv_kxk = layers.conv(in_chs, out_chs, kernel_size, stride, dilation[0], groups, act=False, drop=drop_block)
        self.conv_1x1 = layers.conv(in_chs, out_chs, 1, stride, groups=groups, act=False)
        self.finish(out_chs, layers, drop_path_rate, inference_mode)


class MobileOneBlock(Branches):
    """Several kxk convolutions, a 1x1 one and the input, each normalised, side by side (MobileOne, arXiv:2206.04040,
    Figure 3).

    Args:
        num_conv_branches: how many kxk convolutions. inference_mode: one convolution from the start.
    """

    side = ('conv_kxk', 'conv_scale')

    def __init__(self, in_chs: int, out_chs: int, kernel_size: int = 3, stride: int = 1, dilation: Pair = (1, 1),
                 bottle_ratio: float = 1.0, group_size: int | None = None, downsample: str | None = '',
                 inference_mode: bool = False, num_conv_branches: int = 1, layers: LayerFn = LayerFn(),
                 drop_block: MakeDrop | None = None, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        _no_bottleneck(bottle_ratio)
        if num_conv_branches < 1:
            raise ValueError(f'num_conv_branches is 1 or more, not {num_conv_branches}.')
        groups = num_groups(group_size, in_chs)
        self.start(in_chs, out_chs, stride, dilation, layers)
        self.conv_kxk = nn.ModuleList(
            layers.conv(in_chs, out_chs, kernel_size, stride, dilation[0], groups, act=False, drop=drop_block)
            for _ in range(num_conv_branches))
        self.conv_scale = layers.conv(in_chs, out_chs, 1, stride, groups=groups, act=False) if kernel_size > 1 else None
        self.finish(out_chs, layers, drop_path_rate, inference_mode)


def _no_bottleneck(bottle_ratio: float) -> None:
    if bottle_ratio != 1:
        raise ValueError(f'Convolutions side by side have no inner width: bottle_ratio is 1, not {bottle_ratio}.')


class SelfAttnBlock(Residual):
    """1x1 convolution, self-attention in place of a kxk one, 1x1 convolution (BotNet, arXiv:2101.11605, Figure 1).

    Args:
        extra_conv: a grouped kxk convolution before it, which then has the stride. bottle_in: the inner width counts from
            `in_chs`. post_attn_na: normalisation and activation after it.
        feat_size: rows and columns of the map that positions are fitted to.
    """

    last = 'conv3_1x1'

    def __init__(self, in_chs: int, out_chs: int, kernel_size: int = 3, stride: int = 1, dilation: Pair = (1, 1),
                 bottle_ratio: float = 1.0, group_size: int | None = None, downsample: str | None = 'avg',
                 extra_conv: bool = False, linear_out: bool = False, bottle_in: bool = False, post_attn_na: bool = True,
                 feat_size: Pair | None = None, layers: LayerFn = LayerFn(), drop_block: MakeDrop | None = None,
                 drop_path_rate: float = 0.0) -> None:
        super().__init__()
        self.shortcut = create_shortcut(downsample, in_chs, out_chs, stride, dilation, layers)
        inner = round_channels((in_chs if bottle_in else out_chs) * bottle_ratio)
        self.conv1_1x1 = layers.conv(in_chs, inner)
        self.conv2_kxk: nn.Module = nn.Identity()
        if extra_conv:
            self.conv2_kxk = layers.conv(inner, inner, kernel_size, stride, dilation[0], num_groups(group_size, inner),
                                         drop=drop_block)
            feat_size = map_size(feat_size, stride) if feat_size else None
            stride = 1
        self.self_attn = layers.self_attn(inner, stride, feat_size)
        self.post_attn, self.post_attn_act = (Norm(layers.norm_layer).with_act(inner, layers.act_layer) if post_attn_na
                                              else (nn.Identity(), nn.Identity()))
        self.conv3_1x1 = layers.conv(inner, out_chs, act=False)
        self.finish(layers, linear_out, drop_path_rate)

    def branch(self, x: Tensor) -> Tensor:
        x = self.conv1_1x1(x)
        x = self.conv2_kxk(x)
        x = self.self_attn(x)
        x = self.post_attn_act(self.post_attn(x))
        return self.conv3_1x1(x)


BLOCKS: dict[str, type[nn.Module]] = {
    'basic': BasicBlock, 'bottle': BottleneckBlock, 'dark': DarkBlock, 'edge': EdgeBlock, 'rep': RepVggBlock,
    'one': MobileOneBlock, 'self_attn': SelfAttnBlock, 'mobilevit': MobileVitBlock, 'mobilevit2': MobileVitV2Block,
}


def block_class(block: str | type[nn.Module]) -> type[nn.Module]:
    """The class of blocks for its name; a class comes back as it is.

    Raises:
        ValueError: a name that there is no class for.
    """
    if not isinstance(block, str):
        return block
    if block not in BLOCKS:
        raise ValueError(unknown('kind of block', block, BLOCKS))
    return BLOCKS[block]


def create_block(block: str | type[nn.Module], **kwargs: Any) -> nn.Module:
    """A block, by its name or its class."""
    return block_class(block)(**kwargs)


def options_for(block: str | type[nn.Module], options: Iterable[str]) -> list[str]:
    """Those of the options that blocks of a kind take."""
    known = inspect.signature(block_class(block)).parameters
    return [name for name in options if name in known]
