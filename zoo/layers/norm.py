"""Normalisation over feature maps, and the pair of normalisation and activation that convolutions are followed by.

The two are separate modules on purpose: a plain torch.nn.BatchNorm2d stays visible to everything that looks for one
(conversion to SyncBatchNorm, folding into the convolution, freezing).
"""
from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from ..spec import unknown
from .act import ActLayer, create_act
from .conv import channels_first

NormLayer = str | Callable[..., nn.Module]
MakeNorm = Callable[[int], nn.Module]                 # channels -> a normalisation


class GroupNorm(nn.GroupNorm):
    """Group normalisation, arXiv:1803.08494, by number of groups or by channels per group.

    Raises:
        ValueError: `group_size` does not divide the channels.
    """

    def __init__(self, channels: int, num_groups: int = 32, eps: float = 1e-5, group_size: int = 0) -> None:
        if group_size and channels % group_size:
            raise ValueError(f'Group normalisation of {channels} channels: {group_size} per group do not divide them.')
        super().__init__(channels // group_size if group_size else num_groups, channels, eps=eps)


class GroupNorm1(nn.GroupNorm):
    """Group normalisation with all channels in one group: over the whole map."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__(1, channels, eps=eps)


class LayerNorm(nn.LayerNorm):
    """Layer normalisation, arXiv:1607.06450, over the last dimension, with the eps that vision transformers use."""

    def __init__(self, num_channels: int, eps: float = 1e-6, affine: bool = True) -> None:
        super().__init__(num_channels, eps, affine)


class LayerNorm2d(nn.LayerNorm):
    """Layer normalisation over the channels at each pixel: (B, C, H, W) -> (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return channels_first(super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


MAP_NORM: MakeNorm = partial(LayerNorm2d, eps=1e-6)                 # with the eps that vision transformers use


class RmsNorm(nn.RMSNorm):
    """Layer normalisation without a mean and without a bias, arXiv:1910.07467, over the last dimension."""

    eps: float

    def __init__(self, channels: int, eps: float = 1e-6, affine: bool = True) -> None:
        super().__init__(channels, eps, affine)


class RmsNorm2d(RmsNorm):
    """`RmsNorm` over the channels at each pixel: (B, C, H, W) -> (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return channels_first(super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


class SimpleNorm(RmsNorm):
    """Division by the standard deviation, without subtracting the mean, over the last dimension."""

    def forward(self, x: Tensor) -> Tensor:
        return x * (x.var(-1, keepdim=True) + self.eps).rsqrt() * self.weight


class SimpleNorm2d(SimpleNorm):
    """`SimpleNorm` over the channels at each pixel: (B, C, H, W) -> (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        return channels_first(super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))


class GlobalResponseNorm(nn.Module):
    """Global response normalisation (ConvNeXt V2, arXiv:2301.00808, section 4): each channel times its norm over all
    pixels relative to the mean of all channels' norms, scaled, shifted, and added to the input.

    Args:
        channels_last: maps are (B, H, W, dim), else (B, dim, H, W).
    """

    def __init__(self, dim: int, eps: float = 1e-6, channels_last: bool = True) -> None:
        super().__init__()
        self.eps, self.channels_last = eps, channels_last
        self.weight, self.bias = nn.Parameter(torch.empty(dim)), nn.Parameter(torch.empty(dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The identity."""
        nn.init.zeros_(self.weight)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        pixels, channels, shape = ((1, 2), -1, (1, 1, 1, -1)) if self.channels_last else ((2, 3), 1, (1, -1, 1, 1))
        norms = x.norm(p=2, dim=pixels, keepdim=True)
        relative = norms / (norms.mean(dim=channels, keepdim=True) + self.eps)
        return x + torch.addcmul(self.bias.view(shape), self.weight.view(shape), x * relative)


class EvoNorm2dS0(nn.Module):
    """EvoNorm-S0, arXiv:2004.02967, Table 2: x * sigmoid(v x) / std over each group, then an affine map.

    With `apply_act=False` there is no `v`: the affine map alone, as published networks use it after projections.
    """

    def __init__(self, channels: int, num_groups: int = 32, eps: float = 1e-5, group_size: int = 0,
                 apply_act: bool = True) -> None:
        super().__init__()
        self.groups = channels // group_size if group_size else num_groups
        if channels % self.groups:
            raise ValueError(f'EvoNorm of {channels} channels: {self.groups} groups do not divide them.')
        self.eps = eps
        self.weight = nn.Parameter(torch.empty(channels))
        self.bias = nn.Parameter(torch.empty(channels))
        self.v = nn.Parameter(torch.empty(channels)) if apply_act else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The identity's affine map; v is 1, which makes the activation SiLU."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)
        if self.v is not None:
            nn.init.ones_(self.v)

    def forward(self, x: Tensor) -> Tensor:
        per_channel = (1, -1, 1, 1)
        if self.v is not None:
            grouped = x.unflatten(1, (self.groups, -1))
            std = (grouped.var((2, 3, 4), correction=0, keepdim=True) + self.eps).sqrt()
            x = (grouped / std).flatten(1, 2) * torch.sigmoid(x * self.v.view(per_channel))
        return x * self.weight.view(per_channel) + self.bias.view(per_channel)


class EvoNorm2dS0a(EvoNorm2dS0):
    """`EvoNorm2dS0` that divides by the deviations also where there is no `v`, as some published networks have it."""

    def __init__(self, channels: int, num_groups: int = 32, eps: float = 1e-3, group_size: int = 0,
                 apply_act: bool = True) -> None:
        super().__init__(channels, num_groups, eps, group_size, apply_act)

    def forward(self, x: Tensor) -> Tensor:
        if self.v is None:
            grouped = x.unflatten(1, (self.groups, -1))
            std = (grouped.var((2, 3, 4), correction=0, keepdim=True) + self.eps).sqrt()
            x = (grouped / std).flatten(1, 2)
        return super().forward(x)


class FilterResponseNormTlu2d(nn.Module):
    """Filter response normalisation and a thresholded linear unit, arXiv:1911.09737, equations 3 and 4: each channel
    over the root mean square of its pixels, an affine map, and the larger of that and `tau`.

    With `apply_act=False` there is no `tau`: the normalisation and the affine map alone.
    """

    def __init__(self, num_features: int, apply_act: bool = True, eps: float = 1e-5) -> None:
        super().__init__()
        self.eps = eps
        self.weight, self.bias = nn.Parameter(torch.empty(num_features)), nn.Parameter(torch.empty(num_features))
        self.tau = nn.Parameter(torch.empty(num_features)) if apply_act else None
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The identity's affine map; tau is 0, which makes the activation ReLU."""
        nn.init.ones_(self.weight)
        nn.init.zeros_(self.bias)
        if self.tau is not None:
            nn.init.zeros_(self.tau)

    def forward(self, x: Tensor) -> Tensor:
        per_channel = (1, -1, 1, 1)
        scale = self.weight.view(per_channel) * (x.square().mean((2, 3), keepdim=True) + self.eps).rsqrt()
        x = torch.addcmul(self.bias.view(per_channel), x, scale)
        return x if self.tau is None else torch.maximum(x, self.tau.view(per_channel))


NORMS: dict[str, Callable[..., nn.Module]] = {
    'batchnorm2d': nn.BatchNorm2d, 'batchnorm': nn.BatchNorm2d, 'groupnorm': GroupNorm, 'groupnorm1': GroupNorm1,
    'layernorm2d': LayerNorm2d, 'evonorms0': EvoNorm2dS0, 'evonorms0a': EvoNorm2dS0a, 'layernorm': LayerNorm, 'rmsnorm': RmsNorm,
    'rmsnorm2d': RmsNorm2d, 'simplenorm': SimpleNorm, 'simplenorm2d': SimpleNorm2d, 'frntlu': FilterResponseNormTlu2d,
}


class Norm:
    """Makes normalisation layers of one kind: `Norm('batchnorm2d', eps=1e-3)(64)`.

    Raises:
        ValueError: a name that is not known.
        TypeError: neither a name nor something that makes a module; an option that the kind does not take.
    """

    layer: Callable[..., nn.Module]
    options: dict[str, Any]

    def __init__(self, layer: NormLayer = 'batchnorm2d', **options: Any) -> None:
        if isinstance(layer, Norm):                                 # with further options
            options = layer.options | options
            layer = layer.layer
        if isinstance(layer, str):
            if layer not in NORMS:
                raise ValueError(unknown('Normalisation', layer, NORMS))
            layer = NORMS[layer]
        elif not callable(layer):
            raise TypeError(f'norm_layer is a name or a module class, not {layer!r}.')
        self.layer = layer
        self.options = {name: value for name, value in options.items() if value is not None}

    def __call__(self, channels: int) -> nn.Module:
        return self.layer(channels, **self.options)

    def with_act(self, channels: int, act: ActLayer | None) -> tuple[nn.Module, nn.Module]:
        """A normalisation and the activation after it; None is no activation. A class with an option `apply_act` has the
        activation in it."""
        known = _parameters(self.layer)
        if 'apply_act' in known:
            given = {'act_layer': act} if act is not None and 'act_layer' in known else {}
            return self.layer(channels, **self.options, apply_act=act is not None, **given), nn.Identity()
        return self(channels), create_act(act) if act is not None else nn.Identity()


@functools.cache
def _parameters(layer: Callable[..., nn.Module]) -> frozenset[str]:
    """The names of what a class or function takes."""
    try:
        return frozenset(inspect.signature(layer).parameters)
    except ValueError:                             # one that is not of Python
        return frozenset()


def norm_options(bn_eps: float | None, bn_momentum: float | None,
                 norm_kwargs: Mapping[str, Any] | None) -> dict[str, Any]:
    """One dictionary of options from the three ways a caller may give them."""
    return {'eps': bn_eps, 'momentum': bn_momentum} | dict(norm_kwargs or {})
