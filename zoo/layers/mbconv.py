"""The blocks that block strings name, and how a network of them is built.

Every block is a residual branch with a shortcut where the shapes allow one (`Residual`). Its submodules carry the names
of the published checkpoints. The notation is zoo/blocks.py.
"""
from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, field, replace
from functools import partial

import torch
from torch import Tensor, nn

from ..blocks import Block, round_channels
from ..spec import Feature, unknown
from .act import ActLayer
from .attention import MultiHeadAttention2d, MultiQueryAttention2d
from .conv import CondConv2d, MixedConv2d, conv2d
from .drop import DropPath
from .norm import Norm
from .pool import AaLayer, create_aa
from .scale import LayerScale2d
from .squeeze import GATES


@dataclass(frozen=True)
class Style:
    """What all blocks of a network share."""

    act_layer: ActLayer = 'relu'
    norm: Norm = field(default_factory=Norm)
    pad_type: str = ''
    aa_layer: AaLayer | None = None
    se_layer: str | Callable[..., nn.Module] = 'se'
    se_from_expanded: bool = False              # squeeze ratios count from the inner width, not the input width
    se_act: ActLayer | None = None              # inside the gates; None: the block's
    se_gate: ActLayer = 'sigmoid'
    se_divisor: int = 0                         # squeezed widths are rounded to its multiples; 0: to whole channels
    round_limit: float = 0.9                    # of widths, see zoo.blocks.round_channels
    group_size: int = 0                         # channels per group where a block string names none; 0: depthwise
    layer_scale: float | None = None            # initial value of the uir and attention blocks' scales

    def act(self, block: Block) -> ActLayer:
        """The activation of a block: its own, else the network's."""
        return block.act or self.act_layer

    def conv(self, in_chans: int, out_chans: int, kernel: Sequence[int], stride: int = 1, dilation: int = 1,
             group_size: int = 0) -> nn.Module:
        """A convolution; of several kernel sizes where `kernel` has several; full where `group_size` is 0."""
        if len(kernel) > 1:
            return MixedConv2d(in_chans, out_chans, kernel, stride, dilation, depthwise=group_size == 1,
                               pad_type=self.pad_type)
        groups = 1
        if group_size:
            # of the wider side: an edge residual's groups are counted on its expanded channels
            groups, rest = divmod(max(in_chans, out_chans), group_size)
            if rest or in_chans % groups:
                raise ValueError(f'{in_chans} to {out_chans} channels do not split into groups of {group_size}.')
        return conv2d(in_chans, out_chans, kernel[0], stride, dilation, groups, self.pad_type)

    def squeeze(self, block: Block, mid: int) -> nn.Module:
        """The block's gate over its `mid` inner channels."""
        if not (block.se_ratio or block.se_channels):
            return nn.Identity()
        ratio = block.se_ratio if self.se_from_expanded else block.se_ratio / block.expand
        layer = self.se_layer
        if isinstance(layer, str):
            if layer not in GATES:
                raise ValueError(unknown('se_layer', layer, GATES))
            layer = GATES[layer]
        reduced = round(mid * ratio)
        if self.se_divisor:
            reduced = round_channels(mid * ratio, self.se_divisor, self.round_limit)
        return layer(mid, block.se_channels or reduced, act_layer=self.se_act or self.act(block),
                     gate_layer=self.se_gate)

    def scale(self, channels: int) -> nn.Module:
        """A learned scale a channel, where the network has them."""
        return LayerScale2d(channels, self.layer_scale) if self.layer_scale is not None else nn.Identity()


class Residual(nn.Module):
    """A branch with a shortcut around it where its input and output have one shape, and stochastic depth on it.

    Branches are written one map a statement: a name that is bound anew lets go of a map as soon as the next exists, and
    the peak of memory stays low.

    (B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride)).

    Attributes:
        inner_channels: channels of the map that the branch's last convolution takes in, which is added to the list that
            `forward` is given; 0 where a block has none.
        inner_module, inner_hook: the submodule where that map is, and whether as its input ('forward_pre') or as what
            comes out of it ('forward').
    """

    inner_channels = 0
    inner_module, inner_hook = '', 'forward_pre'

    def __init__(self, block: Block, in_chans: int, drop_path: float, default_skip: bool = True) -> None:
        super().__init__()
        wanted = default_skip if block.skip is None else block.skip
        self.has_skip = wanted and in_chans == block.channels and block.stride == 1
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def branch(self, x: Tensor, inner: list[Tensor] | None) -> Tensor:
        """The block without its shortcut."""
        raise NotImplementedError

    def forward(self, x: Tensor, inner: list[Tensor] | None = None) -> Tensor:
        out = self.branch(x, inner)
        return x + self.drop_path(out) if self.has_skip else out


def keep(x: Tensor, inner: list[Tensor] | None) -> Tensor:
    """The map as it is, added to the list if there is one."""
    if inner is not None:
        inner.append(x)
    return x


def _mid_channels(block: Block, in_chans: int) -> int:
    return block.mid_channels or round_channels((block.expand_from or in_chans) * block.expand)


class DepthwiseSeparable(Residual):
    """ds, dsa: depthwise, then pointwise convolution (MobileNetV1, arXiv:1704.04861), dsa without a shortcut.

    With space-to-depth (EfficientNet-X, arXiv:2102.05610), a 2x2 convolution of stride 2 quadruples the channels first.
    """

    conv_dw: nn.Module

    def __init__(self, block: Block, in_chans: int, style: Style, dilation: int = 1, drop_path: float = 0.0) -> None:
        super().__init__(block, in_chans, drop_path, default_skip=block.kind == 'ds')
        act, kernel, mid = style.act(block), block.kernel, in_chans
        self.has_s2d = block.space_to_depth
        if self.has_s2d:
            mid, same = 4 * in_chans, partial(conv2d, pad_type='same')
            self.conv_s2d = same(in_chans, mid, 2, 2)
            self.bn_s2d, self.act_s2d = style.norm.with_act(mid, act)
            kernel = ((kernel[0] + 1) // 2,)
            self.conv_dw = same(mid, mid, kernel[0], block.stride, dilation, groups=mid)
            block = block.replace(se_ratio=block.se_ratio / 4)          # of the width before
        else:
            strided = 1 if style.aa_layer else block.stride
            self.conv_dw = style.conv(mid, mid, kernel, strided, dilation, block.group_size or style.group_size or 1)
        self.bn1, self.act1 = style.norm.with_act(mid, act)
        self.aa = create_aa(style.aa_layer, mid, block.stride)
        self.se = style.squeeze(block, mid)
        self.inner_channels, self.inner_module = mid, 'conv_pw'
        self.conv_pw = style.conv(mid, block.channels, block.last_kernel or (1,))
        self.bn2, self.act2 = style.norm.with_act(block.channels, act if block.kind == 'dsa' else None)

    def branch(self, x: Tensor, inner: list[Tensor] | None) -> Tensor:
        if self.has_s2d:
            x = self.conv_s2d(x)
            x = self.act_s2d(self.bn_s2d(x))
        x = self.conv_dw(x)
        x = self.act1(self.bn1(x))
        x = keep(self.se(self.aa(x)), inner)
        x = self.conv_pw(x)
        return self.act2(self.bn2(x))


class InvertedResidual(Residual):
    """ir: expand, depthwise, project (MobileNetV2, arXiv:1801.04381; with squeeze-and-excitation MNASNet's MBConv)."""

    def __init__(self, block: Block, in_chans: int, style: Style, dilation: int = 1, drop_path: float = 0.0) -> None:
        super().__init__(block, in_chans, drop_path)
        act, mid = style.act(block), _mid_channels(block, in_chans)
        self.conv_pw = style.conv(in_chans, mid, block.first_kernel or (1,))
        self.bn1, self.act1 = style.norm.with_act(mid, act)
        self.conv_dw = style.conv(mid, mid, block.kernel, 1 if style.aa_layer else block.stride, dilation,
                                  block.group_size or style.group_size or 1)
        self.bn2, self.act2 = style.norm.with_act(mid, act)
        self.aa = create_aa(style.aa_layer, mid, block.stride)
        self.se = style.squeeze(block, mid)
        self.inner_channels, self.inner_module = mid, 'conv_pwl'
        self.conv_pwl = style.conv(mid, block.channels, block.last_kernel or (1,))
        self.bn3, _ = style.norm.with_act(block.channels, None)

    def branch(self, x: Tensor, inner: list[Tensor] | None) -> Tensor:
        x = self.conv_pw(x)
        x = self.act1(self.bn1(x))
        x = self.conv_dw(x)
        x = self.act2(self.bn2(x))
        x = keep(self.se(self.aa(x)), inner)
        x = self.conv_pwl(x)
        return self.bn3(x)


class CondConvResidual(Residual):
    """ir with cc: an inverted residual whose kernels are mixed per image from experts (arXiv:1904.04971)."""

    def __init__(self, block: Block, in_chans: int, style: Style, dilation: int = 1, drop_path: float = 0.0) -> None:
        super().__init__(block, in_chans, drop_path)
        act, mid = style.act(block), _mid_channels(block, in_chans)
        conv = partial(CondConv2d, experts=block.experts, pad_type=style.pad_type)
        self.conv_pw = conv(in_chans, mid, (block.first_kernel or (1,))[0])
        self.bn1, self.act1 = style.norm.with_act(mid, act)
        self.conv_dw = conv(mid, mid, block.kernel[0], stride=block.stride, dilation=dilation, groups=mid)
        self.bn2, self.act2 = style.norm.with_act(mid, act)
        self.se = style.squeeze(block, mid)
        self.inner_channels, self.inner_module = mid, 'conv_pwl'
        self.conv_pwl = conv(mid, block.channels, (block.last_kernel or (1,))[0])
        self.bn3, _ = style.norm.with_act(block.channels, None)
        self.routing_fn = nn.Linear(in_chans, block.experts)

    def branch(self, x: Tensor, inner: list[Tensor] | None) -> Tensor:
        routing = torch.sigmoid(self.routing_fn(x.mean((2, 3))))
        x = self.conv_pw(x, routing)
        x = self.act1(self.bn1(x))
        x = self.conv_dw(x, routing)
        x = self.act2(self.bn2(x))
        x = keep(self.se(x), inner)
        x = self.conv_pwl(x, routing)
        return self.bn3(x)


class EdgeResidual(Residual):
    """er: expand with a full convolution, then project (EfficientNet-EdgeTPU; Fused-MBConv, arXiv:2104.00298)."""

    def __init__(self, block: Block, in_chans: int, style: Style, dilation: int = 1, drop_path: float = 0.0) -> None:
        super().__init__(block, in_chans, drop_path)
        act, mid = style.act(block), _mid_channels(block, in_chans)
        self.conv_exp = style.conv(in_chans, mid, block.kernel, 1 if style.aa_layer else block.stride, dilation,
                                   block.group_size or style.group_size)
        self.bn1, self.act1 = style.norm.with_act(mid, act)
        self.aa = create_aa(style.aa_layer, mid, block.stride)
        self.se = style.squeeze(block, mid)
        self.inner_channels, self.inner_module = mid, 'conv_pwl'
        self.conv_pwl = style.conv(mid, block.channels, block.last_kernel or (1,))
        self.bn2, _ = style.norm.with_act(block.channels, None)

    def branch(self, x: Tensor, inner: list[Tensor] | None) -> Tensor:
        x = self.conv_exp(x)
        x = self.act1(self.bn1(x))
        x = keep(self.se(self.aa(x)), inner)
        x = self.conv_pwl(x)
        return self.bn2(x)


class ConvNormAct(Residual):
    """cn: convolution, normalisation, activation; a shortcut only where the string says skip."""

    def __init__(self, block: Block, in_chans: int, style: Style, dilation: int = 1, drop_path: float = 0.0) -> None:
        super().__init__(block, in_chans, drop_path, default_skip=False)
        self.conv = style.conv(in_chans, block.channels, block.kernel, 1 if style.aa_layer else block.stride, dilation,
                               block.group_size or style.group_size)
        self.bn1, self.act1 = style.norm.with_act(block.channels, style.act(block))
        self.aa = create_aa(style.aa_layer, block.channels, block.stride)
        self.inner_channels, self.inner_module, self.inner_hook = block.channels, 'act1', 'forward'

    def branch(self, x: Tensor, inner: list[Tensor] | None) -> Tensor:
        x = self.conv(x)
        return keep(self.aa(self.act1(self.bn1(x))), inner)


class UniversalInvertedResidual(Residual):
    """uir: an inverted residual with an optional depthwise convolution before the expansion, in the middle and after
    the projection (MobileNetV4, arXiv:2404.10518, section 3). The stride is the middle one's, else the first's, else
    the last's."""

    def __init__(self, block: Block, in_chans: int, style: Style, dilation: int = 1, drop_path: float = 0.0) -> None:
        super().__init__(block, in_chans, drop_path)
        act, mid = style.act(block), _mid_channels(block, in_chans)
        kernels = (sum(block.first_kernel), sum(block.kernel), sum(block.last_kernel))
        if block.stride > 1 and not any(kernels):
            raise ValueError("A 'uir' block with a stride needs a depthwise convolution: k, a or p above 0.")
        strider = 1 if kernels[1] else 0 if kernels[0] else 2

        def step(position: int, in_width: int, out_width: int, kernel: int, act: ActLayer | None) -> nn.Module:
            stride = block.stride if position == strider else 1
            group = (block.group_size or style.group_size or 1) if position >= 0 else 0
            aa = style.aa_layer if position >= 0 else None
            layer = nn.Sequential()
            layer.conv = style.conv(in_width, out_width, (kernel,), 1 if aa else stride, dilation if group else 1,
                                    group)
            layer.bn, layer.act = style.norm.with_act(out_width, act)
            layer.aa = create_aa(aa, out_width, stride)
            return layer

        self.dw_start = step(0, in_chans, in_chans, kernels[0], None) if kernels[0] else nn.Identity()
        self.pw_exp = step(-1, in_chans, mid, 1, act)
        self.dw_mid = step(1, mid, mid, kernels[1], act) if kernels[1] else nn.Identity()
        self.se = style.squeeze(block, mid)
        self.inner_channels, self.inner_module = mid, 'pw_proj'
        self.pw_proj = step(-1, mid, block.channels, 1, None)
        self.dw_end = (step(2, block.channels, block.channels, kernels[2], None) if kernels[2] else nn.Identity())
        self.layer_scale = style.scale(block.channels)

    def branch(self, x: Tensor, inner: list[Tensor] | None) -> Tensor:
        x = self.dw_start(x)
        x = self.pw_exp(x)
        x = self.dw_mid(x)
        x = keep(self.se(x), inner)
        x = self.pw_proj(x)
        return self.layer_scale(self.dw_end(x))


class MobileAttention(Residual):
    """mha, mqa: normalisation and self-attention over the pixels (MobileNetV4, arXiv:2404.10518, section 4)."""

    attn: nn.Module

    def __init__(self, block: Block, in_chans: int, style: Style, dilation: int = 1, drop_path: float = 0.0) -> None:
        super().__init__(block, in_chans, drop_path)
        if block.stride != 1:
            raise ValueError(f"An attention block keeps the resolution: its stride can only be 1, not {block.stride}.")
        self.norm = style.norm(in_chans)
        if block.kind == 'mqa':
            self.attn = MultiQueryAttention2d(in_chans, block.channels, block.heads, block.dim, block.kv_stride,
                                              block.kernel[0], dilation, style.norm, style.pad_type)
        else:
            if block.kv_stride != 1 or block.dim * block.heads != in_chans:
                raise ValueError(f"An 'mha' block's heads share its input of {in_chans} channels, without a stride of "
                                 f'keys and values: d must be {in_chans}/{block.heads} and v 1, not {block.dim} and '
                                 f'{block.kv_stride}. An mqa block takes any.')
            self.attn = MultiHeadAttention2d(in_chans, block.channels, block.heads)
        self.layer_scale = style.scale(block.channels)

    def branch(self, x: Tensor, inner: list[Tensor] | None) -> Tensor:
        return self.layer_scale(self.attn(self.norm(x)))


MakeBlock = Callable[[Block, int, Style, int, float], Residual]     # of in_chans, dilation and drop_path

BLOCK_CLASSES: dict[str, MakeBlock] = {
    'ds': DepthwiseSeparable, 'dsa': DepthwiseSeparable, 'ir': InvertedResidual, 'er': EdgeResidual, 'cn': ConvNormAct,
    'uir': UniversalInvertedResidual, 'mha': MobileAttention, 'mqa': MobileAttention,
}


def build_stages(stages: Sequence[Sequence[Block]], in_chans: int, style: Style, *, reduction: int = 2,
                 output_stride: int = 32, drop_path_rate: float = 0.0, symmetric_blocks: Collection[int] = (),
                 ) -> tuple[nn.Sequential, list[Feature]]:
    """The stages as modules, and the feature maps on the way: of the stem and of each stage, the last one before every
    stride.

    Args:
        stages: blocks that repeat once, as `zoo.blocks.scale` gives them.
        in_chans: channels that come in.
        reduction: input pixels per pixel that comes in.
        output_stride: reduction beyond which strides become dilation (DeepLab, arXiv:1606.00915).
        drop_path_rate: stochastic depth, growing linearly from 0 at the first block.
        symmetric_blocks: numbers, through all stages, of blocks that pad alike on all sides whatever the style says.

    Raises:
        ValueError: a block that cannot be built; the message names the stage and the block.
    """
    total, index, dilation = sum(map(len, stages)), 0, 1
    built, starts = nn.Sequential(), []
    features = [Feature(num_chs=in_chans, reduction=reduction, module='act1', stage=0)]
    for s, stage in enumerate(stages):
        layers = nn.Sequential()
        for b, block in enumerate(stage):
            next_dilation = dilation
            step = 2 * block.stride if block.space_to_depth else block.stride
            if reduction * step > output_stride and block.stride > 1:
                next_dilation, block = dilation * block.stride, block.replace(stride=1)
            else:
                reduction *= step
            try:
                if block.kind not in BLOCK_CLASSES:
                    raise ValueError(f'such blocks are of other networks; this one has {", ".join(BLOCK_CLASSES)}')
                kind: MakeBlock = CondConvResidual if block.experts else BLOCK_CLASSES[block.kind]
                own = replace(style, pad_type='') if index in symmetric_blocks else style
                layers.append(kind(block, in_chans, own, dilation, drop_path_rate * index / total))
            except ValueError as error:
                raise ValueError(f'Stage {s}, block {b} ({block.kind}): {error}') from error
            in_chans, dilation, index = block.channels, next_dilation, index + 1
        built.append(layers)
        if any(block.stride > 1 or block.space_to_depth for block in stage):
            starts.append(s)
        features.append(Feature(num_chs=in_chans, reduction=reduction, module=f'blocks.{s}', stage=s + 1))
    # a stage's map is offered where the next stage has a stride
    return built, [features[s] for s in starts] + features[-1:]
