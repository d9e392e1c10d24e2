"""A convolution with what follows it, as most convolutional networks have it."""
from __future__ import annotations

from torch import Tensor, nn

from .act import ActLayer
from .conv import conv2d
from .norm import Norm, NormLayer
from .pool import AaLayer, create_aa


class ConvNorm(nn.Module):
    """A convolution, normalisation and activation: (B, in_chs, H, W) -> (B, out_chs, ceil(H / stride), ceil(W / stride)).

    Args:
        act_layer: None for none. pad_type: see `zoo.layers.conv.padding_for`.
    """

    def __init__(self, in_chs: int, out_chs: int, kernel_size: int = 1, stride: int = 1, dilation: int = 1,
                 groups: int = 1, act_layer: ActLayer | None = 'relu', norm_layer: NormLayer = 'batchnorm2d',
                 pad_type: str = '', bias: bool = False) -> None:
        super().__init__()
        self.conv = conv2d(in_chs, out_chs, kernel_size, stride, dilation, groups, pad_type, bias)
        self.bn, self.act = Norm(norm_layer).with_act(out_chs, act_layer)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.act(self.bn(x))


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


def conv_filtered(in_chs: int, out_chs: int, kernel_size: int, stride: int = 1, dilation: int = 1, groups: int = 1,
                  act_layer: ActLayer | None = 'relu', norm_layer: NormLayer = 'batchnorm2d',
                  aa_layer: AaLayer | None = None, pad_type: str = '') -> ConvNorm:
    """A `ConvNorm`, with a filter `aa` after it in place of its stride where there is one."""
    filtered = bool(aa_layer) and stride == 2
    layer = ConvNorm(in_chs, out_chs, kernel_size, 1 if filtered else stride, dilation, groups, act_layer, norm_layer, pad_type)
    if filtered:
        layer.act = nn.Sequential(layer.act, create_aa(aa_layer, out_chs, stride))
    return layer
