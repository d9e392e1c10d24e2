"""Convolutions with weight standardisation, and convolutions by name."""
from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

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
