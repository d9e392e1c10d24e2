"""A convolution with what follows it, as most convolutional networks have it."""
from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from .act import ActLayer
from .conv import conv2d
from .norm import Norm, NormLayer
from .pool import AaLayer, create_aa


class ConvNorm(nn.Module):
    """A convolution, normalisation and activation: (B, in_chs, H, W) -> (B, out_chs, ceil(H / stride), ceil(W / stride)).

    Args:
        act_layer: None for none. pad_type: see `zoo.layers.conv.padding_for`.
        aa_layer: filter in place of the stride, see `create_aa`. drop_layer: makes what drops some of the normalised map.
    """

    def __init__(self, in_chs: int, out_chs: int, kernel_size: int = 1, stride: int = 1, dilation: int = 1,
                 groups: int = 1, act_layer: ActLayer | None = 'relu', norm_layer: NormLayer = 'batchnorm2d',
                 pad_type: str = '', bias: bool = False, aa_layer: AaLayer | None = None,
                 drop_layer: Callable[[], nn.Module] | None = None) -> None:
        super().__init__()
        self.conv = conv2d(in_chs, out_chs, kernel_size, 1 if aa_layer else stride, dilation, groups, pad_type, bias)
        self.bn, self.act = Norm(norm_layer).with_act(out_chs, act_layer)
        self.drop = drop_layer() if drop_layer else nn.Identity()
        self.aa = create_aa(aa_layer, out_chs, stride)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.aa(self.act(self.drop(self.bn(x))))


def conv_norm_relu(in_chs: int, out_chs: int, kernel_size: int, stride: int = 1, dilation: int = 1) -> nn.Sequential:
    """A convolution, batch normalisation and ReLU, by their numbers: (B, in_chs, H, W) -> (B, out_chs, ceil(H / stride),
    ceil(W / stride))."""
    return nn.Sequential(conv2d(in_chs, out_chs, kernel_size, stride, dilation), nn.BatchNorm2d(out_chs),
                         nn.ReLU(inplace=True))


class SeparableConvNorm(nn.Module):
    """A depthwise and a 1x1 convolution in a row, normalisation and activation: (B, in_chs, H, W) ->
    (B, out_chs, ceil(H / stride), ceil(W / stride)). Arguments as in `ConvNorm`."""

    def __init__(self, in_chs: int, out_chs: int, kernel_size: int = 3, stride: int = 1, dilation: int = 1,
                 act_layer: ActLayer | None = 'relu', norm_layer: NormLayer = 'batchnorm2d', pad_type: str = '',
                 bias: bool = False) -> None:
        super().__init__()
        self.conv_dw = conv2d(in_chs, in_chs, kernel_size, stride, dilation, in_chs, pad_type)
        self.conv_pw = conv2d(in_chs, out_chs, 1, bias=bias)
        self.bn, self.act = Norm(norm_layer).with_act(out_chs, act_layer)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv_dw(x)
        x = self.conv_pw(x)
        return self.act(self.bn(x))
