"""ResNeSt, arXiv:2004.08955: ResNet-D whose middle convolutions are several, weighed by split attention."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar

from torch import Tensor, nn

from ..layers.act import ActLayer, create_act
from ..layers.channel_attention import AttnLayer
from ..layers.conv import conv2d
from ..layers.init import zero_weight
from ..layers.norm import Norm, NormLayer
from ..layers.pool import AaLayer
from ..layers.split_attn import SplitAttn
from .resnet import BlockClass, ResNet, without


class ResNestBottleneck(nn.Module):
    """A bottleneck with split attention in the middle (Figure 1):
    (B, inplanes, H, W) -> (B, 4 planes, H / stride, W / stride).

    Args:
        downsample: the shortcut, where the map changes its shape; None for the input itself.
        radix: the number of maps that are weighed; 0 for a plain convolution.
        cardinality, base_width: groups of the middle convolution, and channels a group where `planes` is 64.
        avd: pool in place of the stride, with `avd_first` before and else after the middle convolution. is_first: pool
            without a stride, too.
        act_layer: of the block; split attention has ReLU.
        dilation, first_dilation: `first_dilation` is that of the middle convolution; None is `dilation`.
        drop_block: makes what drops squares of the maps. drop_path: what drops the branch.
        reduce_first, attn_layer, aa_layer: 1, None and None, no others.

    Raises:
        ValueError: another of the last three.
    """

    expansion: ClassVar[int] = 4

    def __init__(self, inplanes: int, planes: int, stride: int = 1, downsample: nn.Module | None = None, radix: int = 1,
                 cardinality: int = 1, base_width: int = 64, avd: bool = False, avd_first: bool = False,
                 is_first: bool = False, reduce_first: int = 1, dilation: int = 1, first_dilation: int | None = None,
                 act_layer: ActLayer = 'relu', norm_layer: NormLayer = 'batchnorm2d', attn_layer: AttnLayer = None,
                 aa_layer: AaLayer | None = None, drop_block: Callable[[], nn.Module] | None = None,
                 drop_path: nn.Module | None = None) -> None:
        super().__init__()
        without('ResNeSt', reduce_first=reduce_first != 1, attn_layer=attn_layer, aa_layer=aa_layer)
        norm, spatial, out = Norm(norm_layer), first_dilation or dilation, planes * self.expansion
        width = planes * base_width // 64 * cardinality
        pools = avd and (stride > 1 or is_first)
        pool, stride = nn.AvgPool2d(3, stride, padding=1) if pools else nn.Identity(), 1 if pools else stride
        self.conv1 = conv2d(inplanes, width, 1)
        self.bn1, self.act1 = norm.with_act(width, act_layer)
        self.avd_first = pool if avd_first else nn.Identity()
        self.bn2: nn.Module = nn.Identity()
        self.drop_block: nn.Module = nn.Identity()
        self.act2: nn.Module = nn.Identity()
        if radix:
            self.conv2: nn.Module = SplitAttn(
                width, width, 3, stride, spatial, spatial, cardinality, radix=radix, norm_layer=norm_layer,
                drop_layer=drop_block)
        else:
            self.conv2 = conv2d(width, width, 3, stride, spatial, cardinality)
            self.bn2, self.act2 = norm.with_act(width, act_layer)
            self.drop_block = drop_block() if drop_block else nn.Identity()
        self.avd_last = nn.Identity() if avd_first else pool
        self.conv3 = conv2d(width, out, 1)
        self.bn3, _ = norm.with_act(out, None)
        self.drop_path = drop_path or nn.Identity()
        self.act3 = create_act(act_layer)
        self.downsample = downsample

    def zero_init_last(self) -> None:
        """Makes the branch zero at first, so that the block begins as its shortcut."""
        zero_weight(self.bn3)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.conv1(x)
        x = self.avd_first(self.act1(self.bn1(x)))
        x = self.conv2(x)
        x = self.avd_last(self.act2(self.drop_block(self.bn2(x))))
        x = self.conv3(x)
        x = self.drop_path(self.bn3(x))
        x += shortcut if self.downsample is None else self.downsample(shortcut)
        return self.act3(x)


class ResNeSt(ResNet):
    """ResNeSt, arXiv:2004.08955. Images (B, in_chans, H, W) -> logits (B, num_classes). Options are those of `ResNet`,
    and in `block_args` those of `ResNestBottleneck`; a block is 'split_attn'."""

    blocks: ClassVar[Mapping[str, BlockClass]] = {'split_attn': ResNestBottleneck}
