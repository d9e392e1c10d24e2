"""Res2Net, arXiv:1904.01169: ResNet whose blocks look at several scales, by a hierarchy of narrow convolutions."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

import torch
from torch import Tensor, nn

from ..layers.act import ActLayer, create_act
from ..layers.channel_attention import AttnLayer, create_attn
from ..layers.conv import conv2d
from ..layers.init import zero_weight
from ..layers.norm import Norm, NormLayer
from ..layers.pool import AaLayer
from .resnet import BlockClass, ResNet, without


class Bottle2neck(nn.Module):
    """A bottleneck whose middle convolution is several, each on its share of the channels and on what the one before
    it gave (Figure 2b); the last share has none. Where the map changes its shape they are apart, and the
    last share is pooled: (B, inplanes, H, W) -> (B, 4 planes, H / stride, W / stride).

    Args:
        downsample: the shortcut, where the map changes its shape; None for the input itself.
        cardinality, base_width: groups of the narrow convolutions, and channels of each where `planes` is 64.
        scale: the number of shares.
        dilation, first_dilation: `first_dilation` is that of the narrow convolutions; None is `dilation`.
        attn_layer: the gate at the end of the branch, see `create_attn`.
        drop_block: makes what drops squares of the maps. drop_path: what drops the branch.
        reduce_first: 1, no other. aa_layer: changes nothing: a network's filter is that of its stem.

    Raises:
        ValueError: no share, or another `reduce_first`.
    """

    expansion: ClassVar[int] = 4

    def __init__(self, inplanes: int, planes: int, stride: int = 1, downsample: nn.Module | None = None,
                 cardinality: int = 1, base_width: int = 26, scale: int = 4, dilation: int = 1,
                 first_dilation: int | None = None, act_layer: ActLayer = 'relu', norm_layer: NormLayer = 'batchnorm2d',
                 attn_layer: AttnLayer = None, drop_block: Callable[[], nn.Module] | None = None,
                 drop_path: nn.Module | None = None, reduce_first: int = 1, aa_layer: AaLayer | None = None) -> None:
        super().__init__()
        without('Res2Net', reduce_first=reduce_first != 1)
        if scale < 1:
            raise ValueError(f'scale is the number of shares of the channels, 1 or more, not {scale}.')
        norm, spatial, out = Norm(norm_layer), first_dilation or dilation, planes * self.expansion
        self.width, self.scale = planes * base_width // 64 * cardinality, scale
        self.apart = stride > 1 or downsample is not None
        self.conv1 = conv2d(inplanes, self.width * scale, 1)
        self.bn1, self.relu = norm.with_act(self.width * scale, act_layer)
        count = range(max(scale - 1, 1))
        self.convs = nn.ModuleList(conv2d(self.width, self.width, 3, stride, spatial, cardinality) for _ in count)
        self.bns = nn.ModuleList(norm.with_act(self.width, act_layer)[0] for _ in count)
        self.drop_block = drop_block() if drop_block else nn.Identity()
        self.pool = nn.AvgPool2d(3, stride, padding=1) if self.apart and scale > 1 else nn.Identity()
        self.conv3 = conv2d(self.width * scale, out, 1)
        self.bn3, _ = norm.with_act(out, None)
        self.se = create_attn(attn_layer, out)
        self.drop_path = drop_path or nn.Identity()
        self.act3 = create_act(act_layer)
        self.downsample = downsample

    def zero_init_last(self) -> None:
        """Makes the branch zero at first, so that the block begins as its shortcut."""
        zero_weight(self.bn3)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.conv1(x)
        x = self.scales(self.relu(self.bn1(x)))
        x = self.conv3(self.drop_block(x))
        x = self.bn3(x)
        x = self.drop_path(self.se(x))
        x += shortcut if self.downsample is None else self.downsample(shortcut)
        return self.act3(x)

    def scales(self, x: Tensor) -> Tensor:
        """Shares of the channels, each through its convolution: (B, scale width, H, W) -> (B, scale width, H / stride,
        W / stride)."""
        found: list[Tensor] = []
        shares = x.split(self.width, dim=1)
        for number, (conv, bn) in enumerate(zip(self.convs, self.bns)):
            share = shares[number] if self.apart or not found else found[-1] + shares[number]
            share = conv(share)
            found.append(self.relu(bn(share)))
        if self.scale > 1:
            found.append(self.pool(shares[len(found)]))
        return torch.cat(found, dim=1)


class Res2Net(ResNet):
    """Res2Net, arXiv:1904.01169. Images (B, in_chans, H, W) -> logits (B, num_classes). Options are those of `ResNet`,
    and in `block_args` those of `Bottle2neck`; a block is 'bottle2neck'."""

    blocks: ClassVar[Mapping[str, BlockClass]] = {'bottle2neck': Bottle2neck}
