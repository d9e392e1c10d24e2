"""Selective kernels, arXiv:1903.06586: convolutions with kernels of several sizes, whose maps are weighed channel by
channel."""
from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor, nn

from ..blocks import round_channels
from .act import ActLayer
from .conv_norm import ConvNorm
from .norm import Norm, NormLayer
from .pool import AaLayer, create_aa
from .split_attn import means_of, shares_of, weighed


class Path(ConvNorm):
    """`ConvNorm` with what drops squares of the map before its activation, and a filter in place of its stride."""

    def __init__(self, in_chs: int, out_chs: int, kernel_size: int, stride: int, dilation: int, groups: int,
                 act_layer: ActLayer, norm_layer: NormLayer, aa_layer: AaLayer | None,
                 drop_layer: Callable[[], nn.Module] | None) -> None:
        super().__init__(in_chs, out_chs, kernel_size, 1 if aa_layer else stride, dilation, groups, act_layer,
                         norm_layer)
        self.drop = drop_layer() if drop_layer else nn.Identity()
        self.aa = create_aa(aa_layer, out_chs, stride)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.aa(self.act(self.drop(self.bn(x))))


class SelectiveKernelAttn(nn.Module):
    """The weights of `num_paths` maps from the sum of their channels' means: (B, channels, 1, 1) -> (B, num_paths,
    channels, 1, 1), which sum to 1 over the maps (section 3.1)."""

    def __init__(self, channels: int, num_paths: int = 2, attn_channels: int = 32, act_layer: ActLayer = 'relu',
                 norm_layer: NormLayer = 'batchnorm2d') -> None:
        super().__init__()
        self.num_paths = num_paths
        self.fc_reduce = nn.Conv2d(channels, attn_channels, 1, bias=False)
        self.bn, self.act = Norm(norm_layer).with_act(attn_channels, act_layer)
        self.fc_select = nn.Conv2d(attn_channels, channels * num_paths, 1, bias=False)

    def forward(self, means: Tensor) -> Tensor:
        x = self.fc_select(self.act(self.bn(self.fc_reduce(means))))
        return x.unflatten(1, (self.num_paths, -1)).softmax(1)


class SelectiveKernel(nn.Module):
    """Convolutions side by side and the sum of their maps, weighed by what all channels' means say (section 3.1):
    (B, in_channels, H, W) -> (B, out_channels, H / stride, W / stride).

    Args:
        out_channels: None for as many as come in.
        kernel_size: of each path, odd, 3 or more; one number for two paths; None is 3 and 5.
        keep_3x3: a larger kernel is one of 3x3 pixels with dilation, as in section 3.3.
        split_input: each path sees its share of the channels, in place of all.
        act_layer, norm_layer: of the paths; what computes the weights has ReLU and batch normalisation.
        rd_ratio, rd_channels, rd_divisor: the inner width of what computes the weights: `rd_channels`, or the multiple
            of `rd_divisor` nearest to `rd_ratio` of the channels.
        aa_layer: filter in place of the stride, see `create_aa`. drop_layer: makes what drops squares of the maps.

    Raises:
        ValueError: a kernel of another size, or channels that cannot be shared out.
    """

    def __init__(self, in_channels: int, out_channels: int | None = None,
                 kernel_size: int | Sequence[int] | None = None, stride: int = 1, dilation: int = 1, groups: int = 1,
                 rd_ratio: float = 1 / 16, rd_channels: int | None = None, rd_divisor: int = 8, keep_3x3: bool = True,
                 split_input: bool = True, act_layer: ActLayer = 'relu', norm_layer: NormLayer = 'batchnorm2d',
                 aa_layer: AaLayer | None = None, drop_layer: Callable[[], nn.Module] | None = None) -> None:
        super().__init__()
        out, kernels = out_channels or in_channels, kernel_size or (3, 5)
        kernels = (kernels, kernels) if isinstance(kernels, int) else tuple(kernels)
        count = len(kernels)
        if any(size < 3 or size % 2 == 0 for size in kernels):
            raise ValueError(f'Selective kernels are odd, 3 or more, not {kernels}.')
        if split_input and in_channels % count:
            raise ValueError(f'{count} paths cannot share {in_channels} channels evenly: give split_input=False.')
        self.split_input = split_input
        self.paths = nn.ModuleList()
        for size in kernels:
            spread = dilation * (size - 1) // 2 if keep_3x3 else dilation
            self.paths.append(Path(in_channels // count if split_input else in_channels, out, 3 if keep_3x3 else size,
                                   stride, spread, min(out, groups), act_layer, norm_layer, aa_layer, drop_layer))
        inner = rd_channels or round_channels(out * rd_ratio, rd_divisor)
        self.attn = SelectiveKernelAttn(out, count, inner)

    def forward(self, x: Tensor) -> Tensor:
        count = len(self.paths)
        shares = shares_of(x, count) if self.split_input else [x] * count
        maps = [path(share) for path, share in zip(self.paths, shares)]
        weights = self.attn(means_of(maps))
        return weighed(maps, [weights[:, number] for number in range(count)])
