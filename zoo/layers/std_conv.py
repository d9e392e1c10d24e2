"""Convolutions with weight standardisation, and convolutions by name."""
from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..spec import unknown
from .conv import conv2d, pad_same, padding_for

ConvLayer = str | Callable[..., nn.Module]


class StdConv2d(nn.Conv2d):
    """A convolution whose kernels are standardised, each to mean 0 and variance 1, before they are used (arXiv:1903.10520,
    equation 8): (B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride)).

    Args:
        padding: zeros on every side; None for those that `zoo.layers.conv.padding_for` gives.
        eps: what is added to the variance.
    """

    def __init__(self, in_channel: int, out_channels: int, kernel_size: int, stride: int = 1, padding: int | None = None,
                 dilation: int = 1, groups: int = 1, bias: bool = False, eps: float = 1e-6) -> None:
        zeros = padding_for(kernel_size, stride, dilation, '') if padding is None else padding
        super().__init__(in_channel, out_channels, kernel_size, stride, zeros or 0, dilation, groups, bias)
        self.eps = eps

    def standardised(self) -> Tensor:
        """The weight that it convolves with."""
        inputs = self.in_channels // self.groups * math.prod(self.kernel_size)
        return F.layer_norm(self.weight.flatten(1), (inputs,), eps=self.eps).view_as(self.weight)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.standardised(), self.bias, self.stride, self.padding, self.dilation, self.groups)


class StdConv2dSame(StdConv2d):
    """`StdConv2d` with TensorFlow's SAME padding."""

    def __init__(self, in_channel: int, out_channels: int, kernel_size: int, stride: int = 1, padding: str = 'SAME',
                 dilation: int = 1, groups: int = 1, bias: bool = False, eps: float = 1e-6) -> None:
        zeros = padding_for(kernel_size, stride, dilation, padding.lower())
        super().__init__(in_channel, out_channels, kernel_size, stride, zeros or 0, dilation, groups, bias, eps)
        self.pads = zeros is None

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(pad_same(x, self.kernel_size, self.stride, self.dilation) if self.pads else x)


class ScaledStdConv2d(StdConv2d):
    """A convolution whose kernels are standardised and scaled so that it keeps the variance of what an activation gives
    (arXiv:2101.08692): each to mean 0 and variance gamma^2 / fan-in, times a learned gain.

    Args:
        padding, eps: as in `StdConv2d`.
        gamma: one over the standard deviation of the activation of normal numbers.
        gain_init: every gain at first.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1,
                 padding: int | None = None, dilation: int = 1, groups: int = 1, bias: bool = True, gamma: float = 1.0,
                 eps: float = 1e-6, gain_init: float = 1.0) -> None:
        super().__init__(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias, eps)
        self.scale, self.gain_init = gamma / math.sqrt(self.weight[0].numel()), gain_init
        self.gain = nn.Parameter(torch.empty(out_channels, 1, 1, 1))
        self.reset_gain()

    def reset_gain(self) -> None:
        """Every gain at its initial value."""
        nn.init.constant_(self.gain, self.gain_init)

    def standardised(self) -> Tensor:
        """The weight that it convolves with."""
        kernels = self.weight.flatten(1).unsqueeze(0)                         # each output channel is a group
        scales = self.gain.flatten() * self.scale
        return F.group_norm(kernels, self.out_channels, scales, eps=self.eps).view_as(self.weight)


class ScaledStdConv2dSame(ScaledStdConv2d):
    """`ScaledStdConv2d` with TensorFlow's SAME padding."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int, stride: int = 1, padding: str = 'SAME',
                 dilation: int = 1, groups: int = 1, bias: bool = True, gamma: float = 1.0, eps: float = 1e-6,
                 gain_init: float = 1.0) -> None:
        zeros = padding_for(kernel_size, stride, dilation, padding.lower())
        super().__init__(in_channels, out_channels, kernel_size, stride, zeros or 0, dilation, groups, bias, gamma, eps,
                         gain_init)
        self.pads = zeros is None

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(pad_same(x, self.kernel_size, self.stride, self.dilation) if self.pads else x)


CONVS: dict[str, Callable[..., nn.Module]] = {'conv2d': conv2d, 'std_conv2d': StdConv2d, 'std_conv2d_same': StdConv2dSame}


def get_conv_layer(conv: ConvLayer, eps: float | None = None) -> Callable[..., nn.Module]:
    """The class for a name; a class or function comes back as it is. `eps` is that of weight standardisation.

    Raises:
        ValueError: a name that is not known.
    """
    if isinstance(conv, str):
        if conv not in CONVS:
            raise ValueError(unknown('conv_layer', conv, CONVS))
        conv = CONVS[conv]
    return conv if eps is None else partial(conv, eps=eps)
