"""SKNet, arXiv:1903.06586: ResNet whose 3x3 convolutions are several with kernels of different sizes, weighed."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, ClassVar

from torch import Tensor, nn

from ..layers.act import ActLayer, create_act
from ..layers.channel_attention import AttnLayer, create_attn
from ..layers.conv_norm import ConvNorm
from ..layers.init import zero_weight
from ..layers.norm import NormLayer
from ..layers.pool import AaLayer
from ..layers.selective_kernel import SelectiveKernel
from .resnet import BlockClass, ResNet, without


class SelectiveKernelBlock(nn.Module):
    """Base of the blocks: what a subclass adds are its `convolutions`, by name, in a row."""

    convolutions: ClassVar[tuple[str, ...]]

    def finish(self, out: int, attn_layer: AttnLayer, act_layer: ActLayer, drop_path: nn.Module | None,
               downsample: nn.Module | None) -> None:
        """Adds what follows the convolutions."""
        self.se = create_attn(attn_layer, out)
        self.drop_path = drop_path or nn.Identity()
        self.act = create_act(act_layer)
        self.downsample = downsample

    def zero_init_last(self) -> None:
        """Makes the branch zero at first, so that the block begins as its shortcut."""
        zero_weight(self.get_submodule(f'{self.convolutions[-1]}.bn'))

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        for name in self.convolutions:
            x = self.get_submodule(name)(x)
        x = self.drop_path(self.se(x))
        x += shortcut if self.downsample is None else self.downsample(shortcut)
        return self.act(x)


class SelectiveKernelBasic(SelectiveKernelBlock):
    """Selective kernels and a 3x3 convolution: (B, inplanes, H, W) -> (B, planes, H / stride, W / stride).

    Args:
        downsample: the shortcut, where the map changes its shape; None for the input itself.
        cardinality, base_width: 1 and 64: only a bottleneck has groups and another width.
        sk_kwargs: further options of `SelectiveKernel`.
        reduce_first: divisor of the first convolutions' width.
        dilation, first_dilation: of the second and the first convolutions; None is `dilation`.
        attn_layer: the gate at the end of the branch, see `create_attn`.
        aa_layer: filter in place of the stride, see `create_aa`.
        drop_block: makes what drops squares of the maps. drop_path: what drops the branch.

    Raises:
        ValueError: groups or another base width.
    """

    convolutions = 'conv1', 'conv2'
    expansion: ClassVar[int] = 1

    def __init__(self, inplanes: int, planes: int, stride: int = 1, downsample: nn.Module | None = None,
                 cardinality: int = 1, base_width: int = 64, sk_kwargs: Mapping[str, Any] | None = None,
                 reduce_first: int = 1, dilation: int = 1, first_dilation: int | None = None,
                 act_layer: ActLayer = 'relu', norm_layer: NormLayer = 'batchnorm2d', attn_layer: AttnLayer = None,
                 aa_layer: AaLayer | None = None, drop_block: Callable[[], nn.Module] | None = None,
                 drop_path: nn.Module | None = None) -> None:
        super().__init__()
        without('Basic', cardinality=cardinality != 1, base_width=base_width != 64)
        first = planes // reduce_first
        self.conv1 = SelectiveKernel(
            inplanes, first, stride=stride, dilation=first_dilation or dilation, act_layer=act_layer,
            norm_layer=norm_layer, aa_layer=aa_layer, drop_layer=drop_block, **sk_kwargs or {})
        self.conv2 = ConvNorm(first, planes, 3, dilation=dilation, act_layer=None, norm_layer=norm_layer)
        self.finish(planes, attn_layer, act_layer, drop_path, downsample)


class SelectiveKernelBottleneck(SelectiveKernelBlock):
    """A 1x1 convolution, selective kernels and a 1x1 convolution (Table 1):
    (B, inplanes, H, W) -> (B, 4 planes, H / stride, W / stride).

    Args:
        cardinality, base_width: groups of the middle convolutions, and channels a group where `planes` is 64.
        dilation, first_dilation: `first_dilation` is that of the middle convolutions; None is `dilation`.
        downsample, sk_kwargs, reduce_first, attn_layer, aa_layer, drop_block, drop_path: as in `SelectiveKernelBasic`.
    """

    convolutions = 'conv1', 'conv2', 'conv3'
    expansion: ClassVar[int] = 4

    def __init__(self, inplanes: int, planes: int, stride: int = 1, downsample: nn.Module | None = None,
                 cardinality: int = 1, base_width: int = 64, sk_kwargs: Mapping[str, Any] | None = None,
                 reduce_first: int = 1, dilation: int = 1, first_dilation: int | None = None,
                 act_layer: ActLayer = 'relu', norm_layer: NormLayer = 'batchnorm2d', attn_layer: AttnLayer = None,
                 aa_layer: AaLayer | None = None, drop_block: Callable[[], nn.Module] | None = None,
                 drop_path: nn.Module | None = None) -> None:
        super().__init__()
        width, out = planes * base_width // 64 * cardinality, planes * self.expansion
        self.conv1 = ConvNorm(inplanes, width // reduce_first, act_layer=act_layer, norm_layer=norm_layer)
        self.conv2 = SelectiveKernel(
            width // reduce_first, width, stride=stride, dilation=first_dilation or dilation, groups=cardinality,
            act_layer=act_layer, norm_layer=norm_layer, aa_layer=aa_layer, drop_layer=drop_block, **sk_kwargs or {})
        self.conv3 = ConvNorm(width, out, act_layer=None, norm_layer=norm_layer)
        self.finish(out, attn_layer, act_layer, drop_path, downsample)


class SKNet(ResNet):
    """SKNet, arXiv:1903.06586. Images (B, in_chans, H, W) -> logits (B, num_classes). Options are those of `ResNet`, and
    in `block_args` those of the blocks, 'basic' and 'bottleneck'."""

    blocks: ClassVar[Mapping[str, BlockClass]] = {
        'basic': SelectiveKernelBasic, 'bottleneck': SelectiveKernelBottleneck}
