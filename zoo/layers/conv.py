"""Convolutions: TensorFlow's SAME padding, mixed kernel sizes, conditional weights."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def pad_same(x: Tensor, kernel: Sequence[int], stride: Sequence[int], dilation: Sequence[int],
             value: float = 0.0) -> Tensor:
    """Zeros, or `value`, around (B, C, H, W), more at the bottom and right, so that a convolution without padding of
    its own gives ceil(size / stride): TensorFlow's SAME."""
    pads: list[int] = []
    for size, k, s, d in zip((x.shape[-2], x.shape[-1]), kernel, stride, dilation):   # torch.fx iterates no shape
        # The padded size is a multiple of ceil(size / stride) and a constant, and what stands before cancels out of it:
        # where `size` is symbolic (torch.export) it stays one short expression instead of growing with every layer.
        span = (k - 1) * d + 1
        total: Any = ((size + s - 1) // s - 1) * s + span - size
        if span == 1 < s:                           # what comes after the last pixel that is looked at is cut off
            pads = [0, total, *pads]
            continue
        if span < s:                                # a kernel that skips pixels may need no padding at all
            total = torch.sym_max(total, 0)
        pads = [total // 2, total - total // 2, *pads]
    return F.pad(x, pads, value=value)


class SameConv2d(nn.Conv2d):
    """A convolution with `pad_same`: (B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride))."""

    def forward(self, x: Tensor) -> Tensor:
        # without self.padding: torchseg sets it on every convolution that has none
        padded = pad_same(x, self.kernel_size, self.stride, self.dilation)
        return F.conv2d(padded, self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


class EvenConv2d(nn.Conv2d):
    """A convolution that pads every image as `pad_same` pads one of even size: a fixed amount, more at the bottom and
    right. Where the size is odd, that is not TensorFlow's SAME; networks converted for one input size pad so."""

    def forward(self, x: Tensor) -> Tensor:
        pads: list[int] = []
        for kernel, stride, dilation in zip(self.kernel_size, self.stride, self.dilation):
            total = max((kernel - 1) * dilation + 1 - stride, 0)
            pads = [total // 2, total - total // 2, *pads]
        return F.conv2d(F.pad(x, pads), self.weight, self.bias, self.stride, 0, self.dilation, self.groups)


def channels_first(x: Tensor) -> Tensor:
    """A map (B, C, H, W) that may be a view of one with the channels last, or of tokens, for a convolution. An exported
    graph copies: a convolution of such a view would hold it to more than one image."""
    return copy_in_exports(x)


def copy_in_exports(x: Tensor) -> Tensor:
    """The tensor itself, in an exported graph a copy: what a view's strides decide would hold that to the number of
    images it was exported with, or to more than one."""
    return x.clone(memory_format=torch.contiguous_format) if torch.compiler.is_exporting() else x


def padding_for(kernel: int, stride: int, dilation: int, pad_type: str) -> int | None:
    """Zeros on every side of a convolution, or None where the sides differ.

    `pad_type` '' pads alike on all sides and 'same' as TensorFlow does; both give ceil(size / stride). 'even' pads as
    'same' does for an even size (`EvenConv2d`). 'valid' does not pad.

    Raises:
        ValueError: another `pad_type`.
    """
    span = (kernel - 1) * dilation
    if pad_type == 'valid':
        return 0
    if pad_type in ('same', 'even'):
        return span // 2 if stride == 1 and span % 2 == 0 else None
    if pad_type != '':
        raise ValueError("pad_type is '' (alike on all sides), 'same' (TensorFlow's), 'even' (TensorFlow's of an even "
                         f"size) or 'valid' (none), not {pad_type!r}.")
    return (stride - 1 + span) // 2


def conv2d(in_chans: int, out_chans: int, kernel: int, stride: int = 1, dilation: int = 1, groups: int = 1,
           pad_type: str = '', bias: bool = False) -> nn.Conv2d:
    """A convolution padded by `padding_for`."""
    padding = padding_for(kernel, stride, dilation, pad_type)
    layer = nn.Conv2d if padding is not None else EvenConv2d if pad_type == 'even' else SameConv2d
    return layer(in_chans, out_chans, kernel, stride, padding or 0, dilation, groups, bias)


class MixedConv2d(nn.ModuleList):
    """Convolutions of several kernel sizes side by side, each on its share of the channels (MixNet, arXiv:1907.09595).

    Channels are shared evenly; the first takes what is left over.
    """

    def __init__(self, in_chans: int, out_chans: int, kernels: Sequence[int], stride: int = 1, dilation: int = 1,
                 depthwise: bool = False, pad_type: str = '') -> None:
        self.shares = _shares(in_chans, len(kernels))
        super().__init__(
            conv2d(i, o, k, stride, dilation, groups=i if depthwise else 1, pad_type=pad_type)
            for i, o, k in zip(self.shares, _shares(out_chans, len(kernels)), kernels))

    def forward(self, x: Tensor) -> Tensor:
        parts = x.split(self.shares, dim=1)
        return torch.cat([conv(parts[number]) for number, conv in enumerate(self)], dim=1)


class CondConv2d(nn.Module):
    """Conditional convolution, arXiv:1904.04971: each image's kernel is its own weighted sum of the experts'.

    (B, C, H, W) and routing weights (B, experts) -> (B, C', ceil(H / stride), ceil(W / stride)).
    """

    def __init__(self, in_chans: int, out_chans: int, kernel: int, experts: int, stride: int = 1, dilation: int = 1,
                 groups: int = 1, pad_type: str = '') -> None:
        super().__init__()
        self.in_chans, self.out_chans, self.groups = in_chans, out_chans, groups
        self.kernel, self.stride, self.dilation = (kernel, kernel), (stride, stride), (dilation, dilation)
        self.padding = padding_for(kernel, stride, dilation, pad_type)
        self.weight = nn.Parameter(torch.empty(experts, out_chans * in_chans // groups * kernel * kernel))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Each expert as a convolution of its own: normal with variance 2 / fan-out."""
        fan_out = self.out_chans * self.kernel[0] * self.kernel[1] // self.groups
        nn.init.normal_(self.weight, std=math.sqrt(2 / fan_out))

    def forward(self, x: Tensor, routing: Tensor) -> Tensor:
        if self.padding is None:
            x = pad_same(x, self.kernel, self.stride, self.dilation)
        batch, shape = x.shape[0], (self.in_chans // self.groups, *self.kernel)
        if isinstance(batch, int) and not batch:                  # of no image, any kernel gives the empty map
            kernels = self.weight[0].view(self.out_chans, *shape)
            return F.conv2d(x, kernels, None, self.stride, self.padding or 0, self.dilation, self.groups)
        # one grouped convolution over the whole batch: each image is a group with its own kernel
        kernels = (routing @ self.weight).view(batch * self.out_chans, *shape)
        out = F.conv2d(x.reshape(1, batch * self.in_chans, x.shape[2], x.shape[3]), kernels, None, self.stride,
                       self.padding or 0, self.dilation, self.groups * batch)
        return out.view(batch, self.out_chans, out.shape[2], out.shape[3])


def _shares(channels: int, parts: int) -> list[int]:
    each = channels // parts
    return [channels - each * (parts - 1)] + [each] * (parts - 1)
