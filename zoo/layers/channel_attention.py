"""Gates over a map's channels and pixels by name: squeeze-and-excitation, efficient channel attention, CBAM, context, and
convolutions that weigh what they give: selective kernels, split attention.

All take the number of channels first, then what `create_attn` is told, and keep the map's shape (B, C, H, W).
"""
from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..blocks import round_channels
from ..spec import unknown
from .act import ActLayer, create_act
from .non_local import BatNonLocalAttn
from .norm import Norm, NormLayer
from .selective_kernel import SelectiveKernel
from .split_attn import SplitAttn
from .squeeze import GlobalContext

AttnLayer = str | bool | Callable[..., nn.Module] | None


def squeezed(channels: int, rd_ratio: float, rd_channels: int | None, rd_divisor: int) -> int:
    """The width that a gate squeezes `channels` to: `rd_channels`, or the multiple of `rd_divisor` nearest to
    `rd_ratio` of them, at least one."""
    return rd_channels or round_channels(channels * rd_ratio, rd_divisor, limit=0)


class SEModule(nn.Module):
    """Squeeze-and-excitation, arXiv:1709.01507: each channel times a gate computed from all channels' means.

    Args:
        rd_ratio, rd_channels, rd_divisor: the inner width, see `squeezed`.
        add_maxpool: gates see the mean of each channel's mean and maximum.
        norm_layer: of the inner channels; None for none.
    """

    def __init__(self, channels: int, rd_ratio: float = 1 / 16, rd_channels: int | None = None, rd_divisor: int = 8,
                 add_maxpool: bool = False, bias: bool = True, act_layer: ActLayer = 'relu',
                 norm_layer: NormLayer | None = None, gate_layer: ActLayer = 'sigmoid') -> None:
        super().__init__()
        inner = squeezed(channels, rd_ratio, rd_channels, rd_divisor)
        self.add_maxpool = add_maxpool
        self.fc1 = nn.Conv2d(channels, inner, 1, bias=bias)
        self.bn = Norm(norm_layer)(inner) if norm_layer else nn.Identity()
        self.act = create_act(act_layer)
        self.fc2 = nn.Conv2d(inner, channels, 1, bias=bias)
        self.gate = create_act(gate_layer)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.fc2(self.act(self.bn(self.fc1(_means(x, self.add_maxpool))))))


class EffectiveSEModule(nn.Module):
    """Effective squeeze-and-excitation (VoVNetV2, arXiv:1911.06667, section 2.3): one layer, nothing squeezed."""

    def __init__(self, channels: int, add_maxpool: bool = False, gate_layer: ActLayer = 'hard_sigmoid') -> None:
        super().__init__()
        self.add_maxpool = add_maxpool
        self.fc = nn.Conv2d(channels, channels, 1)
        self.gate = create_act(gate_layer)

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gate(self.fc(_means(x, self.add_maxpool)))


class EcaModule(nn.Module):
    """Efficient channel attention, arXiv:1910.03151: gates from a convolution over the channels' means, in their order.

    Args:
        channels: what the kernel's size follows from (equation 12); None, or a `kernel_size` beside it, for that size.
        gamma, beta: of equation 12.
        use_mlp: a hidden layer of `rd_channels` before the convolution.
        act_layer: in the hidden layer; None for ReLU.
    """

    circular = False
    conv2: nn.Module

    def __init__(self, channels: int | None = None, kernel_size: int | None = None, gamma: float = 2, beta: float = 1,
                 act_layer: ActLayer | None = None, gate_layer: ActLayer = 'sigmoid', rd_ratio: float = 1 / 8,
                 rd_channels: int | None = None, rd_divisor: int = 8, use_mlp: bool = False) -> None:
        super().__init__()
        size = kernel_size or (3 if channels is None else odd_kernel(channels, gamma, beta))
        if size % 2 == 0:
            raise ValueError(f'The kernel of efficient channel attention has an odd size, not {size}.')
        padding = 0 if self.circular else size // 2
        if use_mlp:
            if channels is None:
                raise ValueError('use_mlp needs the number of channels, which its hidden width follows from.')
            inner = squeezed(channels, rd_ratio, rd_channels, rd_divisor)
            self.conv = nn.Conv1d(1, inner, 1)
            self.act = create_act(act_layer or 'relu')
            self.conv2 = nn.Conv1d(inner, 1, size, padding=padding)
        else:
            self.conv = nn.Conv1d(1, 1, size, padding=padding, bias=False)
            self.act = self.conv2 = nn.Identity()
        self.gate = create_act(gate_layer)

    def forward(self, x: Tensor) -> Tensor:
        means = x.mean((2, 3)).unsqueeze(1)                                     # (B, 1, C)
        if self.circular:
            side = self.conv.kernel_size[0] // 2
            means = F.pad(means, (side, side), mode='circular')
        gates = self.gate(self.conv2(self.act(self.conv(means))))
        return x * gates.transpose(1, 2).unsqueeze(-1)


class CecaModule(EcaModule):
    """Efficient channel attention whose convolution goes round: the last channels are the first ones' neighbours."""

    circular = True

    def __init__(self, channels: int | None = None, kernel_size: int | None = None, gamma: float = 2, beta: float = 1,
                 gate_layer: ActLayer = 'sigmoid') -> None:
        super().__init__(channels, kernel_size, gamma, beta, gate_layer=gate_layer)


def odd_kernel(channels: int, gamma: float = 2, beta: float = 1) -> int:
    """The size of ECA's kernel, at least 3 (arXiv:1910.03151, equation 12)."""
    size = int(abs(math.log2(channels) + beta) / gamma)
    return max(size if size % 2 else size + 1, 3)


class ChannelAttn(nn.Module):
    """CBAM's gate a channel (arXiv:1807.06521, equation 2): of the sum of what an MLP gives for means and for maxima;
    `light`, of what it gives for the mean of both."""

    def __init__(self, channels: int, inner: int, bias: bool, act_layer: ActLayer, gate_layer: ActLayer,
                 light: bool) -> None:
        super().__init__()
        self.light = light
        self.fc1 = nn.Conv2d(channels, inner, 1, bias=bias)
        self.act = create_act(act_layer)
        self.fc2 = nn.Conv2d(inner, channels, 1, bias=bias)
        self.gate = create_act(gate_layer)

    def forward(self, x: Tensor) -> Tensor:
        mean, largest = x.mean((2, 3), keepdim=True), x.amax((2, 3), keepdim=True)
        if self.light:
            return x * self.gate(self.mlp((mean + largest) / 2))
        return x * self.gate(self.mlp(mean) + self.mlp(largest))

    def mlp(self, vectors: Tensor) -> Tensor:
        """(B, C, 1, 1) -> (B, C, 1, 1)."""
        return self.fc2(self.act(self.fc1(vectors)))


class SpatialAttn(nn.Module):
    """CBAM's gate a pixel (arXiv:1807.06521, equation 3): a convolution of the channels' mean and maximum; `light`, of
    the mean of both."""

    def __init__(self, kernel_size: int, gate_layer: ActLayer, light: bool) -> None:
        super().__init__()
        self.light = light
        self.conv = nn.Sequential()
        self.conv.conv = nn.Conv2d(1 if light else 2, 1, kernel_size, padding=kernel_size // 2, bias=False)
        self.conv.bn = nn.BatchNorm2d(1)
        self.gate = create_act(gate_layer)

    def forward(self, x: Tensor) -> Tensor:
        mean, largest = x.mean(1, keepdim=True), x.amax(1, keepdim=True)
        return x * self.gate(self.conv((mean + largest) / 2 if self.light else torch.cat([mean, largest], dim=1)))


class CbamModule(nn.Sequential):
    """Convolutional block attention module, arXiv:1807.06521: a gate a channel, then a gate a pixel.

    Args:
        light: each gate sees the mean of means and maxima, in place of both.
    """

    def __init__(self, channels: int, rd_ratio: float = 1 / 16, rd_channels: int | None = None, rd_divisor: int = 1,
                 spatial_kernel_size: int = 7, act_layer: ActLayer = 'relu', gate_layer: ActLayer = 'sigmoid',
                 mlp_bias: bool = False, light: bool = False) -> None:
        super().__init__()
        inner = squeezed(channels, rd_ratio, rd_channels, rd_divisor)
        self.channel = ChannelAttn(channels, inner, mlp_bias, act_layer, gate_layer, light)
        self.spatial = SpatialAttn(spatial_kernel_size, gate_layer, light)


def global_context(channels: int, rd_ratio: float = 1 / 8, rd_channels: int | None = None, rd_divisor: int = 1,
                   **options: Any) -> GlobalContext:
    """A global context block whose inner width follows from the channels, see `squeezed`."""
    return GlobalContext(channels, squeezed(channels, rd_ratio, rd_channels, rd_divisor), **options)


ATTENTIONS: dict[str, Callable[..., nn.Module]] = {
    'se': SEModule, 'ese': EffectiveSEModule, 'eca': EcaModule, 'ecam': partial(EcaModule, use_mlp=True),
    'ceca': CecaModule, 'gc': global_context, 'gca': partial(global_context, fuse_add=True, fuse_scale=False),
    'cbam': CbamModule, 'lcbam': partial(CbamModule, light=True), 'sk': SelectiveKernel, 'splat': SplitAttn,
    'bat': BatNonLocalAttn,
}


def create_attn(attn_layer: AttnLayer, channels: int, **options: Any) -> nn.Module:
    """The gate of that name, or made by that class, for so many channels; True is 'se', None, False or '' nothing.

    Raises:
        ValueError: an unknown name. TypeError: neither a name nor something that makes a module.
    """
    if not attn_layer:
        return nn.Identity()
    if attn_layer is True:
        attn_layer = 'se'
    if isinstance(attn_layer, str):
        if attn_layer not in ATTENTIONS:
            raise ValueError(unknown('attn_layer', attn_layer, ATTENTIONS))
        attn_layer = ATTENTIONS[attn_layer]
    elif not callable(attn_layer):
        raise TypeError(f'attn_layer is a name or a module class, not {attn_layer!r}.')
    return attn_layer(channels, **options)


def _means(x: Tensor, with_maxima: bool) -> Tensor:
    means = x.mean((2, 3), keepdim=True)
    return (means + x.amax((2, 3), keepdim=True)) / 2 if with_maxima else means
