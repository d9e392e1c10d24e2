"""Convolutions and pooling windows by how they pad."""
from __future__ import annotations

from torch import nn

from ..layers.conv import MixedConv2d, conv2d, padding_for
from ..layers.pool import SameAvgPool2d, SameMaxPool2d
from ..spec import unknown

__all__ = ['SameMaxPool2d', 'create_conv2d', 'create_pool2d', 'get_padding', 'get_same_padding']


def get_padding(kernel_size: int, stride: int = 1, dilation: int = 1) -> int:
    """Pixels on each side that keep a map's size at stride 1."""
    return (stride - 1 + dilation * (kernel_size - 1)) // 2


def get_same_padding(x: int, kernel_size: int, stride: int, dilation: int) -> int:
    """Pixels that TensorFlow's SAME adds to a side of `x` pixels, both ends together."""
    return max((-(-x // stride) - 1) * stride + dilation * (kernel_size - 1) + 1 - x, 0)


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
        raise ValueError(unknown('pool_type', pool_type, POOLS))
    plain, same = POOLS[pool_type]
    stride = stride or kernel_size
    pixels = padding if isinstance(padding, int) else padding_for(kernel_size, stride, 1, (padding or '').lower())
    return same(kernel_size, stride) if pixels is None else plain(kernel_size, stride, pixels)
