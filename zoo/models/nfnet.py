"""NFNet, arXiv:2102.06171, and the ResNets and RegNets without normalisation that it comes from, arXiv:2101.08692.

    image -> stem (stride 2 or 4) -> stages.0 -> … -> stages.3 -> final_conv, final_act -> pool -> head.fc
    block: activation, times beta -> 1x1, 3x3, (3x3,) 1x1 convolutions, each after an activation -> gate
           -> times alpha, added to the shortcut

What normalisation does elsewhere follows from how the network is made: convolutions keep the variance of what they see
(`ScaledStdConv2d`), so that each block adds alpha^2 to it, and beta is one over the standard deviation that a block
then expects at its input. The shortcut of a stage's first block begins behind beta, and the variance with it at 1.
"""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import KW_ONLY, dataclass, replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..blocks import round_channels
from ..contract import Parts
from ..layers.act import ActLayer, create_act, get_act_layer
from ..layers.channel_attention import AttnLayer, create_attn
from ..layers.drop import DropPath
from ..layers.head import Head
from ..layers.init import draw_anew, draw_normal, fans
from ..layers.pool import pool_shortcut
from ..layers.stages import drop_path_rates, same_stages
from ..layers.std_conv import ScaledStdConv2d, ScaledStdConv2dSame
from ..spec import Feature, unknown
from .headnet import HeadNet
from .records import signature_of

MakeLayer = Callable[..., nn.Module]
STEMS = ('', '3x3', '3x3_pool', '7x7', '7x7_pool', 'deep', 'deep_pool', 'deep_quad', 'deep_tiered')
# one over the standard deviation of an activation of normal numbers, as the authors' code has it, measured
GAMMAS = dict(
    identity=1.0, celu=1.270926833152771, elu=1.2716004848480225, gelu=1.7015043497085571, leaky_relu=1.70590341091156,
    relu=1.7139588594436646, relu6=1.7131484746932983, selu=1.0008515119552612, sigmoid=4.803835391998291,
    silu=1.7881293296813965, softplus=1.9203323125839233, tanh=1.5939117670059204)


@dataclass
class NfCfg:
    """A network of `NormFreeNet`.

    Attributes:
        depths, channels: blocks of each stage, and what comes out of them, times `width_factor`, to multiples of
            `ch_div`.
        alpha: factor of every branch, and what the variance grows by.
        stem_type, stem_chs: see `create_stem`; as many channels as the first stage if nothing is said.
        group_size: channels of each group of the 3x3 convolutions; None for one group.
        attn_layer, attn_kwargs: the gate of the branch, see `create_attn`. attn_gain: what its output is multiplied by.
        bottle_ratio: channels inside a block over those that come out, or with `reg` over those that come in.
        num_features: channels of a convolution before the pooling, as `channels` are; 0 for no such convolution.
        reg: the gate is inside the block, after the 3x3 convolution, as in RegNetY (arXiv:2003.13678).
        extra_conv: two 3x3 convolutions a block.
        gamma_in_act: it is the activations that are scaled, and not the convolutions.
        same_padding: convolutions pad as TensorFlow does. std_conv_eps: what is added to the variance of kernels.
        skipinit: a learned factor of every branch, at first 0, in place of gains of the last convolution that are.
        zero_init_fc: a fresh classifier is zero.
        act_layer: a name of `GAMMAS`.
    """

    depths: Sequence[int]
    channels: Sequence[int]
    _: KW_ONLY
    width_factor: float = 1.0
    ch_div: int = 8
    bottle_ratio: float = 0.5
    group_size: int | None = None
    num_features: int = 0
    stem_chs: int | None = None
    stem_type: str = '3x3'
    extra_conv: bool = False
    reg: bool = False
    attn_layer: str | None = None
    attn_kwargs: Mapping[str, Any] | None = None
    attn_gain: float = 2.0
    alpha: float = 0.2
    skipinit: bool = False
    std_conv_eps: float = 1e-5
    same_padding: bool = False
    act_layer: str = 'silu'
    gamma_in_act: bool = False
    zero_init_fc: bool = False


def init_variance(module: nn.Module) -> None:
    """Draws a module anew, see `draw_anew`: convolutions normal with variance 1 / fan-in, linear layers with deviation
    0.01."""
    draw_anew(module, _draw_conv, _draw_linear)


def _draw_linear(layer: nn.Linear) -> None:
    draw_normal(layer.weight, 0.01)


def _draw_conv(layer: nn.Conv2d) -> None:
    draw_normal(layer.weight, fans(layer.weight)[0] ** -0.5)
    if isinstance(layer, ScaledStdConv2d):
        layer.reset_gain()


class NormFreeNet(HeadNet):
    """NFNet, arXiv:2102.06171. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        cfg: the network; each of its fields is an option of `create_model` too.
        output_stride: reduction of the last stage, 32, 16 or 8; strides beyond it become dilation.
        drop_path_rate: stochastic depth at the last block.

    Raises:
        ValueError: numbers that do not fit each other, an option outside what is allowed.
    """

    parts = Parts(stem=(), stages=(), pre_head=('final_act',), head=('head.global_pool',), classifier=('head.fc',))
    draw = staticmethod(init_variance)
    __signature__: ClassVar[Any]

    def __init__(self, cfg: NfCfg | None = None, num_classes: int = 1000, in_chans: int = 3, global_pool: str = 'avg',
                 output_stride: int = 32, drop_rate: float = 0.0, drop_path_rate: float = 0.0, **options: Any) -> None:
        super().__init__()
        cfg = replace(cfg, **options) if cfg else NfCfg(**options)
        same_stages(depths=cfg.depths, channels=cfg.channels)
        if output_stride not in (8, 16, 32):
            raise ValueError(f'output_stride is 8, 16 or 32, not {output_stride}.')
        if cfg.act_layer not in GAMMAS:
            raise ValueError(unknown('act_layer', str(cfg.act_layer), GAMMAS))
        self.in_chans = in_chans
        self.head_init_scale = 0.0 if cfg.zero_init_fc else 1.0
        gamma = GAMMAS[cfg.act_layer]
        conv: MakeLayer = partial(ScaledStdConv2dSame if cfg.same_padding else ScaledStdConv2d, gamma=gamma,
                                  eps=cfg.std_conv_eps)
        # A convolution after a scaled activation gives what a scaled one after a plain activation does, without scaling
        # a map: what differs is where there is no activation before, and at the end.
        unscaled = partial(conv, gamma=1.0) if cfg.gamma_in_act else conv
        width = self._width(cfg, cfg.stem_chs or cfg.channels[0])
        self.stem, reduction, feature = create_stem(in_chans, width, cfg.stem_type, conv, cfg.act_layer, unscaled)
        self.feature_info = [feature]
        names = [f'stem.{name}' for name in self.stem._modules]
        before = names.index(feature['module']) + 1

        gate = partial(create_attn, cfg.attn_layer, **cfg.attn_kwargs or {}) if cfg.attn_layer else None
        rates, dilation, variance = iter(drop_path_rates(drop_path_rate, sum(cfg.depths))), 1, 1.0
        self.stages = nn.Sequential()
        for number, (depth, planes) in enumerate(zip(cfg.depths, cfg.channels)):
            stride, out = 1 if number == 0 and reduction > 2 else 2, self._width(cfg, planes)
            if reduction * stride > output_stride:
                stride, dilation = 1, dilation * stride
            reduction *= stride
            stage = nn.Sequential()
            for index, rate in zip(range(depth), rates):
                first = index == 0
                stage.append(NormFreeBlock(
                    width, out, stride if first else 1, dilation, first_dilation_of(dilation) if first else dilation,
                    cfg.alpha, variance ** -0.5, 1.0 if cfg.reg and number == index == 0 else cfg.bottle_ratio,
                    cfg.group_size, cfg.ch_div, cfg.reg, cfg.extra_conv, cfg.skipinit, gate, cfg.attn_gain,
                    cfg.act_layer, conv, rate))
                variance = (1.0 if first else variance) + cfg.alpha ** 2
                width = out
            self.stages.append(stage)
            self.feature_info.append(Feature(num_chs=width, reduction=reduction, module=f'stages.{number}',
                                             stage=number + 1))
        stages = [(*names[before:], 'stages.0'), *((f'stages.{number}',) for number in range(1, len(cfg.depths)))]
        self.final_conv: nn.Module = nn.Identity()
        if cfg.num_features:
            inner, width = width, self._width(cfg, cfg.num_features)
            self.final_conv = unscaled(inner, width, 1)
            stages[-1] += ('final_conv',)
            self.feature_info[-1] |= Feature(num_chs=width, reduction=reduction, module='final_conv', stage=len(stages))
        self.final_act = GammaAct(cfg.act_layer, gamma if cfg.gamma_in_act else 1.0)
        self.parts = replace(self.parts, stem=tuple(names[:before]), stages=tuple(stages))
        self.num_features = width
        self.head = Head(width, global_pool, drop_rate=drop_rate)
        self.build_head(width, num_classes, global_pool, drop_rate)
        self.init_fresh()

    @staticmethod
    def _width(cfg: NfCfg, channels: int) -> int:
        return round_channels(channels * cfg.width_factor, cfg.ch_div)

    def init_weights(self) -> None:
        super().init_weights()
        self.init_head()


NormFreeNet.__signature__ = signature_of(NormFreeNet, NfCfg)


def first_dilation_of(dilation: int) -> int:
    """Dilation of the convolution in whose place a stride was, where the rest of the stage has `dilation`."""
    return 1 if dilation <= 2 else 2


class GammaAct(nn.Module):
    """An activation times a factor."""

    def __init__(self, act_type: ActLayer = 'relu', gamma: float = 1.0, inplace: bool = False) -> None:
        super().__init__()
        self.act = create_act(act_type) if inplace else get_act_layer(act_type)()
        self.gamma = gamma

    def forward(self, x: Tensor) -> Tensor:
        return self.act(x) if self.gamma == 1 else self.act(x) * self.gamma


def act_with_gamma(act_type: ActLayer, gamma: float = 1.0) -> MakeLayer:
    """What makes a `GammaAct`."""
    return partial(GammaAct, act_type, gamma)


class DownsampleAvg(nn.Module):
    """The shortcut of a stage's first block: average pooling and a 1x1 convolution;
    (B, in_chs, H, W) -> (B, out_chs, H / stride, W / stride)."""

    def __init__(self, in_chs: int, out_chs: int, stride: int = 1, dilation: int = 1,
                 conv_layer: MakeLayer = ScaledStdConv2d) -> None:
        super().__init__()
        self.pool = pool_shortcut(stride, dilation)
        self.conv = conv_layer(in_chs, out_chs, 1, stride=1)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.pool(x))


class NormFreeBlock(nn.Module):
    """A bottleneck that adds alpha^2 to the variance (arXiv:2102.06171, Figure 3):
    (B, in_chs, H, W) -> (B, out_chs, H / stride, W / stride).

    Args:
        out_chs: None for as many as come in.
        dilation, first_dilation: of the 3x3 convolutions, the first's is `first_dilation`; None is `dilation`.
        alpha: factor of the branch. beta: of what goes into it, one over the standard deviation of the input.
        bottle_ratio, group_size, ch_div, reg, extra_conv, skipinit, attn_gain: see `NfCfg`.
        attn_layer: makes the gate for so many channels; None for none.
        conv_layer: makes the convolutions, as `ScaledStdConv2d`.

    Raises:
        ValueError: groups larger than the block is wide.
    """

    def __init__(self, in_chs: int, out_chs: int | None = None, stride: int = 1, dilation: int = 1,
                 first_dilation: int | None = None, alpha: float = 1.0, beta: float = 1.0, bottle_ratio: float = 0.25,
                 group_size: int | None = None, ch_div: int = 1, reg: bool = True, extra_conv: bool = False,
                 skipinit: bool = False, attn_layer: AttnLayer = None, attn_gain: float = 2.0,
                 act_layer: ActLayer = 'silu', conv_layer: MakeLayer = ScaledStdConv2d,
                 drop_path_rate: float = 0.0) -> None:
        super().__init__()
        first, out = first_dilation or dilation, out_chs or in_chs
        inner, groups = round_channels((in_chs if reg else out) * bottle_ratio, ch_div), 1
        if group_size:
            groups = inner // group_size
            if not groups:
                raise ValueError(f'Groups of {group_size} channels are larger than a block that has {inner} inside.')
            inner = groups * group_size if group_size % ch_div == 0 else inner
        self.alpha, self.beta, self.attn_gain = alpha, beta, attn_gain
        self.downsample: nn.Module | None = None
        if in_chs != out or stride != 1 or dilation != first:
            self.downsample = DownsampleAvg(in_chs, out, stride, dilation, conv_layer)
        self.act1 = get_act_layer(act_layer)()                                     # of what the shortcut is
        self.conv1 = conv_layer(in_chs, inner, 1)
        self.act2 = create_act(act_layer)
        self.conv2 = conv_layer(inner, inner, 3, stride=stride, dilation=first, groups=groups)
        self.act2b: nn.Module = nn.Identity()
        self.conv2b: nn.Module = nn.Identity()
        if extra_conv:
            self.act2b = create_act(act_layer)
            self.conv2b = conv_layer(inner, inner, 3, stride=1, dilation=dilation, groups=groups)
        self.attn = create_attn(attn_layer, inner) if attn_layer and reg else None
        self.act3 = create_act(act_layer)
        self.conv3 = conv_layer(inner, out, 1, gain_init=1.0 if skipinit else 0.0)
        self.attn_last = create_attn(attn_layer, out) if attn_layer and not reg else None
        self.drop_path = DropPath(drop_path_rate) if drop_path_rate else nn.Identity()
        self.skipinit_gain = nn.Parameter(torch.zeros(())) if skipinit else None

    def reset_parameters(self) -> None:
        """A branch that gives nothing, where it has a factor of its own."""
        if self.skipinit_gain is not None:
            nn.init.zeros_(self.skipinit_gain)

    def forward(self, x: Tensor) -> Tensor:
        shortcut, factor = x, self.alpha
        x = self.act1(x) * self.beta
        if self.downsample is not None:
            shortcut = self.downsample(x)
        x = self.conv1(x)
        x = self.conv2(self.act2(x))
        x = self.conv2b(self.act2b(x))
        if self.attn is not None:
            x = self.attn(x) * self.attn_gain
        x = self.conv3(self.act3(x))
        if self.attn_last is not None:
            x = self.attn_last(x)
            factor *= self.attn_gain
        x = self.drop_path(x)
        if self.skipinit_gain is not None:
            x = x * self.skipinit_gain
        return torch.add(shortcut, x, alpha=factor)


def create_stem(in_chs: int, out_chs: int, stem_type: str = '', conv_layer: MakeLayer = ScaledStdConv2d,
                act_layer: ActLayer = 'silu',
                first_layer: MakeLayer | None = None) -> tuple[nn.Sequential, int, Feature]:
    """What comes before the stages, (B, in_chs, H, W) -> (B, out_chs, H / stride, W / stride); that stride; and the map
    of half the resolution, before what subsamples it.

    Args:
        stem_type: one 3x3 or 7x7 convolution, '' is the latter; or with 'deep' three 3x3 ones, of which 'tiered' widens
            each, or in 'deep_quad' four, with strides in the first and the last. 'pool' adds max pooling.
        first_layer: makes the first convolution; None for `conv_layer`.

    Raises:
        ValueError: another `stem_type`.
    """
    if stem_type not in STEMS:
        raise ValueError(unknown('stem_type', stem_type, STEMS))
    kind, _, detail = stem_type.partition('_')
    stem: OrderedDict[str, nn.Module] = OrderedDict()
    widths, quad, mapped = [out_chs], detail == 'quad', 'conv'
    if kind == 'deep':
        half = out_chs // 2
        widths = [out_chs // 8, out_chs // 4, half, out_chs] if quad else \
            [3 * out_chs // 8 if detail == 'tiered' else half, half, out_chs]
        mapped = f'conv{len(widths) - 1}'
    for number, width in enumerate(widths, start=1):
        make = (first_layer or conv_layer) if number == 1 else conv_layer
        if number > 1:                                              # the last one sees a map that may be kept
            stem[f'act{number}'] = get_act_layer(act_layer)() if number == len(widths) else create_act(act_layer)
        stride = 2 if number == 1 or quad and number == len(widths) else 1
        stem[f'conv{number}' if len(widths) > 1 else 'conv'] = make(
            in_chs, width, 3 if kind in ('3x3', 'deep') else 7, stride=stride)
        in_chs = width
    if detail == 'pool':
        stem['pool'] = nn.MaxPool2d(3, 2, padding=1)
    feature = Feature(num_chs=widths[-2] if kind == 'deep' else out_chs, reduction=2, module=f'stem.{mapped}', stage=0)
    return nn.Sequential(stem), 4 if quad or detail == 'pool' else 2, feature
