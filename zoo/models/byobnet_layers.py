"""What the blocks of `ByobNet` are made of: convolutions, gates, self-attention, and shortcuts."""
from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from torch import Tensor, nn

from ..layers.act import ActLayer, create_act
from ..layers.attention_map import SELF_ATTENTIONS
from ..layers.channel_attention import AttnLayer, create_attn
from ..layers.conv_norm import ConvNorm
from ..layers.norm import Norm, NormLayer
from ..layers.pool import AaLayer, pool_shortcut
from ..spec import Pair, unknown

SHORTCUTS = ('conv1x1', 'avg', '')
MakeDrop = Callable[[], nn.Module]


@dataclass(frozen=True)
class LayerFn:
    """What a block's layers are made of.

    Attributes:
        aa_layer: filter in place of strides, see `create_aa`.
        attn_layer, attn_kwargs: the gate, see `create_attn`. self_attn_layer, self_attn_kwargs: self-attention.
    """

    act_layer: ActLayer = 'relu'
    norm_layer: NormLayer = 'batchnorm'
    aa_layer: AaLayer | None = None
    attn_layer: AttnLayer = None
    attn_kwargs: Mapping[str, Any] = field(default_factory=dict)
    self_attn_layer: AttnLayer = None
    self_attn_kwargs: Mapping[str, Any] = field(default_factory=dict)

    def conv(self, in_chs: int, out_chs: int, kernel_size: int = 1, stride: int = 1, dilation: int = 1, groups: int = 1,
             act: bool = True, drop: MakeDrop | None = None) -> ConvNorm:
        """A convolution, normalisation and, with `act`, activation."""
        return ConvNorm(in_chs, out_chs, kernel_size, stride, dilation, groups, self.act_layer if act else None,
                        self.norm_layer, aa_layer=self.aa_layer if stride > 1 else None, drop_layer=drop)

    def act(self, linear: bool = False) -> nn.Module:
        """The activation, or nothing."""
        return nn.Identity() if linear else create_act(self.act_layer)

    def norm(self, channels: int) -> nn.Module:
        """Normalisation without activation."""
        return Norm(self.norm_layer).with_act(channels, None)[0]

    def attn(self, channels: int, wanted: bool = True) -> nn.Module:
        """The gate, or nothing."""
        return create_attn(self.attn_layer, channels, **self.attn_kwargs) if wanted else nn.Identity()

    def self_attn(self, dim: int, stride: int, feat_size: Pair | None) -> nn.Module:
        """The layer of self-attention.

        Raises:
            ValueError: there is none, or another name.
        """
        layer: Any = self.self_attn_layer
        if not layer or isinstance(layer, str):
            if layer not in SELF_ATTENTIONS:
                raise ValueError(unknown('self_attn_layer', str(layer), SELF_ATTENTIONS))
            layer = SELF_ATTENTIONS[layer]
        sized = feat_size and 'feat_size' in inspect.signature(layer).parameters
        made: nn.Module = layer(dim, stride=stride, **{**({'feat_size': feat_size} if sized else {}), **self.self_attn_kwargs})
        return made


def num_groups(group_size: int | None, channels: int) -> int:
    """Into how many groups of a size channels split; 1 without a size.

    Raises:
        ValueError: they do not.
    """
    if not group_size:
        return 1
    if channels % group_size:
        raise ValueError(f'{channels} channels do not split into groups of {group_size}.')
    return channels // group_size


class DownsampleAvg(nn.Module):
    """Average pooling and a 1x1 convolution (ResNet-D, arXiv:1812.01187, Figure 2c)."""

    def __init__(self, in_chs: int, out_chs: int, stride: int = 1, dilation: int = 1, apply_act: bool = False,
                 layers: LayerFn = LayerFn()) -> None:
        super().__init__()
        self.pool = pool_shortcut(stride, dilation)
        self.conv = layers.conv(in_chs, out_chs, act=apply_act)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(self.pool(x))


def create_shortcut(downsample_type: str | None, in_chs: int, out_chs: int, stride: int, dilation: Pair,
                    layers: LayerFn = LayerFn(), **kwargs: Any) -> nn.Module | None:
    """The shortcut of a block: its input where that has the shape of the output, else a convolution ('conv1x1'), pooling
    and a convolution ('avg'), or none ('').

    Raises:
        ValueError: another kind.
    """
    if (downsample_type or '') not in SHORTCUTS:
        raise ValueError(unknown('downsample', str(downsample_type), SHORTCUTS))
    if in_chs == out_chs and stride == 1 and dilation[0] == dilation[1]:
        return nn.Identity()
    if not downsample_type:
        return None
    if downsample_type == 'avg':
        return DownsampleAvg(in_chs, out_chs, stride, dilation[0], layers=layers, **kwargs)
    return layers.conv(in_chs, out_chs, 1, stride, act=False)
