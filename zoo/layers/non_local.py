"""Blocks in which far parts of a map see each other."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..blocks import round_channels
from .act import ActLayer
from .conv_norm import ConvNorm
from .norm import NormLayer
from .windows import missing


class BilinearAttnTransform(nn.Module):
    """Bilinear attentional transform ("Non-Local Neural Networks With Grouped Bilinear Attentional Transforms",
    CVPR 2020, section 3): rows and columns of the map are mixed by matrices made of the map itself, blocks of them alike; maps
    (B, C, H, W) -> (B, C, H, W).

    A side that `block_size` does not divide is filled up with zeros, which the paper does not say.

    Args:
        block_size: rows, and columns, of the matrices. groups: of channels, which have matrices of their own.
    """

    def __init__(self, in_channels: int, block_size: int, groups: int, act_layer: ActLayer = 'relu',
                 norm_layer: NormLayer = 'batchnorm2d') -> None:
        super().__init__()
        if in_channels % groups:
            raise ValueError(f'{in_channels} channels do not split into {groups} groups.')
        self.block_size, self.groups = block_size, groups
        self.conv1 = ConvNorm(in_channels, groups, act_layer=act_layer, norm_layer=norm_layer)
        self.conv_p = nn.Conv2d(groups, block_size ** 2 * groups, (block_size, 1))
        self.conv_q = nn.Conv2d(groups, block_size ** 2 * groups, (1, block_size))
        self.conv2 = ConvNorm(in_channels, in_channels, act_layer=act_layer, norm_layer=norm_layer)

    def forward(self, x: Tensor) -> Tensor:
        size = self.block_size
        down, right = missing(x.shape[2:], (size, size))
        seen = F.pad(self.conv1(x), (0, right, 0, down))                        # ReLU's zeros are no maximum
        rows = seen.amax(3, keepdim=True).unflatten(2, (size, -1)).amax(3)      # (B, groups, size, 1)
        columns = seen.amax(2, keepdim=True).unflatten(3, (size, -1)).amax(4)   # (B, groups, 1, size)
        p, q = (conv(line).flatten(1).unflatten(1, (self.groups, size, size)).sigmoid()
                for conv, line in ((self.conv_p, rows), (self.conv_q, columns)))
        p, q = p / p.sum(3, keepdim=True), q / q.sum(2, keepdim=True)
        x = F.pad(x, (0, right, 0, down)).unflatten(1, (self.groups, -1))       # (B, groups, C / groups, H, W)
        x = torch.einsum('bgij,bgcjtw->bgcitw', p, x.unflatten(3, (size, -1))).flatten(3, 4)
        x = torch.einsum('bgchjt,bgjk->bgchkt', x.unflatten(4, (size, -1)), q).flatten(4)
        return self.conv2(F.pad(x.flatten(1, 2), (0, -right, 0, -down)))


class BatNonLocalAttn(nn.Module):
    """A residual branch of a bilinear attentional transform, on fewer channels: (B, C, H, W) -> (B, C, H, W).

    Args:
        block_size, groups: see `BilinearAttnTransform`. rd_ratio, rd_channels, rd_divisor: channels that it works on.
        drop_rate: dropout of whole channels of the branch.
    """

    def __init__(self, in_channels: int, block_size: int = 7, groups: int = 2, rd_ratio: float = 0.25,
                 rd_channels: int | None = None, rd_divisor: int = 8, drop_rate: float = 0.2,
                 act_layer: ActLayer = 'relu', norm_layer: NormLayer = 'batchnorm2d') -> None:
        super().__init__()
        inner = rd_channels or round_channels(in_channels * rd_ratio, rd_divisor)
        self.conv1 = ConvNorm(in_channels, inner, act_layer=act_layer, norm_layer=norm_layer)
        self.ba = BilinearAttnTransform(inner, block_size, groups, act_layer, norm_layer)
        self.conv2 = ConvNorm(inner, in_channels, act_layer=act_layer, norm_layer=norm_layer)
        self.dropout = nn.Dropout2d(drop_rate)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.dropout(self.conv2(self.ba(self.conv1(x))))
