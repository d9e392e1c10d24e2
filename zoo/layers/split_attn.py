"""Split attention, arXiv:2004.08955: several convolutions side by side, whose maps are weighed channel by channel."""
from __future__ import annotations

from collections.abc import Callable

from torch import Tensor, nn

from ..blocks import round_channels
from .act import ActLayer
from .norm import Norm, NormLayer

LEAST = 32                                                     # channels that the weights are computed from


class RadixSoftmax(nn.Module):
    """Weights of `radix` maps from logits (B, cardinality radix C, …) -> (B, radix cardinality C), which sum to 1 over
    the maps; of one map they are gates."""

    def __init__(self, radix: int, cardinality: int) -> None:
        super().__init__()
        self.radix, self.cardinality = radix, cardinality

    def forward(self, x: Tensor) -> Tensor:
        if self.radix == 1:
            return x.sigmoid()
        x = x.flatten(1).unflatten(1, (self.cardinality, self.radix, -1))
        return x.transpose(1, 2).softmax(1).flatten(1)


class SplitAttn(nn.Module):
    """A convolution to `radix` maps, and their sum, weighed by what all their channels' means say (section 3.1):
    (B, in_channels, H, W) -> (B, out_channels, H / stride, W / stride).

    Args:
        out_channels: None for as many as come in. padding: None for half the kernel.
        groups: of each map's convolution.
        rd_ratio, rd_channels, rd_divisor: the inner width of what computes the weights: `rd_channels` a map, or the
            multiple of `rd_divisor` nearest to `rd_ratio` of all that comes in, times `radix`, at least 32.
        norm_layer: None for none. drop_layer: makes what drops squares of the maps.
    """

    def __init__(self, in_channels: int, out_channels: int | None = None, kernel_size: int = 3, stride: int = 1,
                 padding: int | None = None, dilation: int = 1, groups: int = 1, bias: bool = False, radix: int = 2,
                 rd_ratio: float = 0.25, rd_channels: int | None = None, rd_divisor: int = 8,
                 act_layer: ActLayer = 'relu', norm_layer: NormLayer | None = None,
                 drop_layer: Callable[[], nn.Module] | None = None) -> None:
        super().__init__()
        out, norm = out_channels or in_channels, Norm(norm_layer or without_norm)
        inner = max(round_channels(in_channels * radix * rd_ratio, rd_divisor), LEAST)
        if rd_channels:
            inner = rd_channels * radix
        self.radix = radix
        padding = kernel_size // 2 if padding is None else padding
        self.conv = nn.Conv2d(in_channels, out * radix, kernel_size, stride, padding, dilation, groups * radix, bias)
        self.bn0, self.act0 = norm.with_act(out * radix, act_layer)
        self.drop = drop_layer() if drop_layer else nn.Identity()
        self.fc1 = nn.Conv2d(out, inner, 1, groups=groups)
        self.bn1, self.act1 = norm.with_act(inner, act_layer)
        self.fc2 = nn.Conv2d(inner, out * radix, 1, groups=groups)
        self.rsoftmax = RadixSoftmax(radix, groups)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = self.act0(self.drop(self.bn0(x)))
        maps = shares_of(x, self.radix)
        weights = self.rsoftmax(self.fc2(self.act1(self.bn1(self.fc1(means_of(maps)))))).flatten(1)[:, :, None, None]
        return weighed(maps, shares_of(weights, self.radix))


def without_norm(channels: int) -> nn.Module:
    """No normalisation."""
    return nn.Identity()


def shares_of(x: Tensor, count: int) -> list[Tensor]:
    """`count` even shares of the channels."""
    shares = x.chunk(count, dim=1)
    return [shares[number] for number in range(count)]                           # torch.fx iterates no tuple of an operator


def means_of(maps: list[Tensor]) -> Tensor:
    """The channels' means of the sum of maps (B, C, H, W): (B, C, 1, 1)."""
    total = maps[0].mean((2, 3), keepdim=True)
    for one in maps[1:]:
        total = total + one.mean((2, 3), keepdim=True)
    return total


def weighed(maps: list[Tensor], weights: list[Tensor]) -> Tensor:
    """The sum of maps (B, C, H, W), each times its weights (B, C, 1, 1)."""
    total = maps[0] * weights[0]
    for one, weight in zip(maps[1:], weights[1:]):
        total = total.addcmul_(one, weight)
    return total
