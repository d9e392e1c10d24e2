"""Pooling: to one vector an image, and low-pass filters before subsampling."""
from __future__ import annotations

import inspect
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..spec import unknown
from .conv import pad_same

AaLayer = str | Callable[..., nn.Module]

POOLS = ('', 'avg', 'max', 'avgmax', 'catavgmax')
SINGLE_POOLS = ('', 'avg', 'max', 'avgmax')                      # those that keep the width
FAST = {'fast': 'avg', **{f'fast{kind}': kind for kind in POOLS[1:]}}       # timm's words for another way to compute
PIXELS = {'NCHW': (2, 3), 'NHWC': (1, 2), 'NLC': (1,)}          # the dimensions that are pooled


class GlobalPool(nn.Module):
    """Maps, or tokens -> (B, C) by 'avg', 'max', 'avgmax' (their mean); 'catavgmax' -> (B, 2 C); '' changes nothing. A
    word with 'fast' before it means the same.

    Args:
        layout: 'NCHW' for maps (B, C, H, W), 'NHWC' for (B, H, W, C), 'NLC' for tokens (B, N, C).

    Raises:
        ValueError: another kind.
    """

    def __init__(self, kind: str = 'avg', layout: str = 'NCHW') -> None:
        super().__init__()
        kind = FAST.get(kind, kind)
        if kind not in POOLS:
            raise ValueError(unknown('global_pool', kind, POOLS))
        self.pool_type, self.pixels = kind, PIXELS[layout]

    @property
    def feat_mult(self) -> int:
        """How many times wider the vector is than the map."""
        return 2 if self.pool_type == 'catavgmax' else 1

    def forward(self, x: Tensor) -> Tensor:
        if not self.pool_type:
            return x
        if self.pool_type == 'avg':
            return x.mean(self.pixels)
        if self.pool_type == 'max':
            return x.amax(self.pixels)
        return self.joined(x.mean(self.pixels), x.amax(self.pixels))

    def joined(self, mean: Tensor, largest: Tensor) -> Tensor:
        """What the kind makes of the mean and the largest of the pixels, each (B, C)."""
        if self.pool_type in ('avg', 'max'):
            return mean if self.pool_type == 'avg' else largest
        return (mean + largest) / 2 if self.pool_type == 'avgmax' else torch.cat([mean, largest], dim=1)

    def extra_repr(self) -> str:
        return repr(self.pool_type)


class CeilAvgPool2d(nn.Module):
    """The mean of each square of `stride` pixels; (B, C, H, W) -> (B, C, ceil(H / stride), ceil(W / stride)).

    What is missing of the last squares repeats the border. AvgPool2d(ceil_mode=True) cannot be exported with symbolic
    sizes.
    """

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        # as convolutions have it, for exports, which cannot see that (size + stride - 1) // stride is the same
        down, right = (((size - 1) // self.stride + 1) * self.stride - size for size in (x.shape[-2], x.shape[-1]))
        return F.avg_pool2d(F.pad(x, (0, right, 0, down), 'replicate'), self.stride)

    def extra_repr(self) -> str:
        return str(self.stride)


class CeilMaxPool2d(nn.MaxPool2d):
    """Max pooling by windows that begin in the map; what they reach beyond its border is not there:
    (B, C, H, W) -> (B, C, ceil((H - kernel_size) / stride) + 1, …).

    It is MaxPool2d(ceil_mode=True), which cannot be exported with symbolic sizes: an exported graph pads.
    """

    kernel_size: int
    stride: int

    def __init__(self, kernel_size: int, stride: int) -> None:
        super().__init__(kernel_size, stride, ceil_mode=True)

    def forward(self, x: Tensor) -> Tensor:
        if not torch.compiler.is_exporting():
            return super().forward(x)
        beyond = self.stride - 1
        return F.max_pool2d(F.pad(x, (0, beyond, 0, beyond), value=-torch.inf), self.kernel_size, self.stride)


class BlurPool2d(nn.Module):
    """Binomial 3x3 blur, then every `stride`-th pixel: arXiv:1904.11486. Padded with `pad_mode`."""

    kernel: Tensor

    def __init__(self, channels: int, stride: int = 2, pad_mode: str = 'reflect') -> None:
        super().__init__()
        self.stride, self.pad_mode = stride, pad_mode
        self.register_buffer('kernel', torch.empty(channels, 1, 3, 3), persistent=False)
        self.reset_constants()

    def reset_constants(self) -> None:
        """Fills the kernel, which no checkpoint holds."""
        line = torch.tensor([0.25, 0.5, 0.25], device='cpu')        # PyTorch would load its compiler to multiply on 'meta'
        with torch.no_grad():
            self.kernel.copy_((line[:, None] * line).expand_as(self.kernel))

    def init_non_persistent_buffers(self) -> None:
        """`reset_constants`, by the name that transformers calls after it has loaded a checkpoint."""
        self.reset_constants()

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(F.pad(x, (1, 1, 1, 1), self.pad_mode), self.kernel, stride=self.stride, groups=x.shape[1])


class SameAvgPool2d(nn.AvgPool2d):
    """Average pooling with TensorFlow's SAME, whose zeros count: (B, C, H, W) -> (B, C, ceil(H / stride), …)."""

    kernel_size: int
    stride: int

    def forward(self, x: Tensor) -> Tensor:
        padded = pad_same(x, (self.kernel_size,) * 2, (self.stride,) * 2, (1, 1))
        return F.avg_pool2d(padded, self.kernel_size, self.stride)


class SameMaxPool2d(nn.MaxPool2d):
    """Max pooling with TensorFlow's SAME: (B, C, H, W) -> (B, C, ceil(H / stride), ceil(W / stride)).

    Attributes:
        outside: what the pixels around a map are taken to be.
    """

    kernel_size: int
    stride: int
    outside = -torch.inf

    def forward(self, x: Tensor) -> Tensor:
        padded = pad_same(x, (self.kernel_size,) * 2, (self.stride,) * 2, (1, 1), value=self.outside)
        return F.max_pool2d(padded, self.kernel_size, self.stride)


def pool_shortcut(stride: int, dilation: int) -> nn.Module:
    """What a shortcut that pools before it projects (ResNet-D, arXiv:1812.01187, Figure 2c) does in place of a stride,
    or of a stride that has become dilation."""
    if stride == 1 and dilation == 1:
        return nn.Identity()
    return CeilAvgPool2d(stride) if dilation == 1 else SameAvgPool2d(2, 1)


def create_aa(kind: AaLayer | None, channels: int, stride: int, dilated: bool = False) -> nn.Module:
    """The layer that subsamples by `stride` in place of a strided convolution.

    Args:
        kind: 'avg' pools, 'blur' blurs with reflected borders, 'blurpc' with zeros, None does nothing; a class is made
            with `channels` and `stride`, or with the stride alone. nn.AvgPool2d is 'avg', which rounds sizes up.
        dilated: the stride has become dilation, and there is a filter all the same; else there is none at stride 1.

    Raises:
        ValueError: another word.
    """
    if not kind or stride == 1 and not dilated:
        return nn.Identity()
    if kind in ('avg', 'avgpool', nn.AvgPool2d):
        return CeilAvgPool2d(stride)
    if kind in ('blur', 'blurpc'):
        return BlurPool2d(channels, stride, 'reflect' if kind == 'blur' else 'constant')
    if isinstance(kind, str):
        raise ValueError(unknown('aa_layer', kind, ('avg', 'blur', 'blurpc')))
    given = {'channels': channels} if 'channels' in inspect.signature(kind).parameters else {}
    return kind(**given, stride=stride) if given else kind(stride)
