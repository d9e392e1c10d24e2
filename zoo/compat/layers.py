"""Layers, and functions about them, that programs written for timm use and zoo's networks do without."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.act import create_act, get_act_layer
from ..layers.conv import MixedConv2d, conv2d, pad_same, padding_for
from ..layers.pool import SameAvgPool2d
from ..spec import refuse

__all__ = ['SameAvgPool2d', 'SameMaxPool2d', 'Swish', 'create_act_layer', 'create_conv2d', 'create_pool2d',
           'get_act_layer', 'make_divisible', 'to_1tuple', 'to_2tuple', 'to_3tuple', 'to_4tuple', 'to_ntuple',
           'trunc_normal_']

Swish = nn.SiLU
trunc_normal_ = nn.init.trunc_normal_


def to_ntuple(count: int) -> Callable[[Any], tuple[Any, ...]]:
    """A function that repeats a single value `count` times; several values come back as a tuple, as they are."""
    def repeat(value: Any) -> tuple[Any, ...]:
        return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value,) * count
    return repeat


to_1tuple, to_2tuple, to_3tuple, to_4tuple = (to_ntuple(count) for count in (1, 2, 3, 4))


def make_divisible(channels: float, divisor: int = 8, min_value: int | None = None, round_limit: float = 0.9) -> int:
    """The multiple of `divisor` nearest to `channels`, as `zoo.blocks.round_channels`, but not below `min_value`."""
    rounded = max(min_value or divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < round_limit * channels else rounded


def create_act_layer(act: str | Callable[..., nn.Module], inplace: bool | None = None, **options: Any) -> nn.Module:
    """An activation by name; where `inplace` is None, it works in place if it can."""
    if inplace is None and not options:
        return create_act(act)
    return get_act_layer(act)(**options, **({} if inplace is None else {'inplace': inplace}))


def create_conv2d(in_channels: int, out_channels: int, kernel_size: int | list[int], *, stride: int = 1,
                  dilation: int = 1, padding: str | int | None = '', groups: int = 1, depthwise: bool = False,
                  bias: bool = False) -> nn.Module:
    """A convolution (B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride)); of mixed sizes for a list of kernels.

    Args:
        padding: '' or None alike on all sides, 'same' as TensorFlow, 'valid' none, or pixels.
        depthwise: a group for each channel, in place of `groups`.

    Raises:
        ValueError: another `padding`; a list of kernels with a bias, groups or padding in pixels.
    """
    groups = in_channels if depthwise else groups
    if isinstance(kernel_size, list):
        if bias or groups not in (1, in_channels) or isinstance(padding, int):
            raise ValueError('A convolution of several kernel sizes has no bias, a group for each channel or one for '
                             'all, and no padding in pixels.')
        return MixedConv2d(in_channels, out_channels, kernel_size, stride, dilation, depthwise=groups > 1,
                           pad_type=padding or '')
    if isinstance(padding, int):
        return nn.Conv2d(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias)
    return conv2d(in_channels, out_channels, kernel_size, stride, dilation, groups, (padding or '').lower(), bias)


class SameMaxPool2d(nn.MaxPool2d):
    """Max pooling with TensorFlow's SAME: (B, C, H, W) -> (B, C, ceil(H / stride), ceil(W / stride))."""

    def forward(self, x: Tensor) -> Tensor:
        padded = pad_same(x, (self.kernel_size,) * 2, (self.stride,) * 2, (1, 1), value=-torch.inf)
        return F.max_pool2d(padded, self.kernel_size, self.stride)


POOLS = {'max': (nn.MaxPool2d, SameMaxPool2d), 'avg': (nn.AvgPool2d, SameAvgPool2d)}


def create_pool2d(pool_type: str, kernel_size: int, stride: int | None = None, padding: str | int | None = '',
                  ) -> nn.Module:
    """Pooling with a window of `kernel_size` pixels, every `stride` (by default `kernel_size`) pixels.

    Args:
        pool_type: 'max' or 'avg'. padding: as in `create_conv2d`.

    Raises:
        ValueError: another `pool_type` or `padding`.
    """
    if pool_type not in POOLS:
        raise ValueError(refuse('pool_type', pool_type, POOLS))
    plain, same = POOLS[pool_type]
    stride = stride or kernel_size
    pixels = padding if isinstance(padding, int) else padding_for(kernel_size, stride, 1, (padding or '').lower())
    return same(kernel_size, stride) if pixels is None else plain(kernel_size, stride, pixels)
