"""Normalisation as timm's programs make it: by number of channels, and with the activation in the same module."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from ..layers import norm
from ..layers.act import ActLayer, get_act_layer
from ..layers.norm import Norm, NormLayer
from .convs import create_conv2d

__all__ = ['BatchNormAct2d', 'ConvBnAct', 'ConvNormAct', 'GroupNorm', 'GroupNorm1', 'LayerNorm2d', 'create_norm_layer',
           'get_norm_layer']


class GroupNorm(nn.GroupNorm):
    """Group normalisation, arXiv:1803.08494, the channels first."""

    def __init__(self, num_channels: int, num_groups: int = 32, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__(num_groups, num_channels, eps, affine)


class GroupNorm1(nn.GroupNorm):
    """Group normalisation with all channels in one group."""

    def __init__(self, num_channels: int, eps: float = 1e-5, affine: bool = True) -> None:
        super().__init__(1, num_channels, eps, affine)


class LayerNorm2d(norm.LayerNorm2d):
    """Layer normalisation over the channels at each pixel: (B, C, H, W) -> (B, C, H, W)."""

    def __init__(self, num_channels: int, eps: float = 1e-6, affine: bool = True) -> None:
        super().__init__(num_channels, eps, affine)


class BatchNormAct2d(nn.BatchNorm2d):
    """Batch normalisation and the activation after it in one module.

    Args:
        apply_act: False leaves the activation out. act_kwargs, inplace: options of the activation.
        drop_layer: a module class; what it makes stands between the two.
    """

    def __init__(self, num_features: int, eps: float = 1e-5, momentum: float | None = 0.1, affine: bool = True,
                 track_running_stats: bool = True, apply_act: bool = True, act_layer: ActLayer = nn.ReLU,
                 act_kwargs: Mapping[str, Any] | None = None, inplace: bool | None = None,
                 drop_layer: Callable[[], nn.Module] | None = None) -> None:
        super().__init__(num_features, eps, momentum, affine, track_running_stats)
        options = {**(act_kwargs or {}), **({} if inplace is None else {'inplace': inplace})}
        self.drop = drop_layer() if drop_layer else nn.Identity()
        self.act = get_act_layer(act_layer)(**options) if apply_act and act_layer is not None else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.drop(super().forward(x)))


def joined(batch_norm: nn.BatchNorm2d, act: nn.Module) -> BatchNormAct2d:
    """One module of two; the parameters and statistics stay those of `batch_norm`."""
    both = BatchNormAct2d(batch_norm.num_features, batch_norm.eps, batch_norm.momentum, batch_norm.affine,
                          batch_norm.track_running_stats, apply_act=False)
    both._parameters, both._buffers, both.act = batch_norm._parameters, batch_norm._buffers, act
    return both


class ConvNormAct(nn.Module):
    """A convolution, batch normalisation and an activation: (B, C, H, W) -> (B, C', ceil(H / stride), ceil(W / stride)).

    Args:
        padding, groups, dilation, bias: as in `create_conv2d`.
        apply_norm, apply_act: False leaves that part out; without the normalisation there is no activation either.
        norm_layer: BatchNorm2d or None, which mean `BatchNormAct2d`, or a class called with the channels and `norm_kwargs`.
        act_layer, act_kwargs: the activation and its options.
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1,
                 padding: str | int = '', dilation: int = 1, groups: int = 1, bias: bool = False,
                 apply_norm: bool = True, apply_act: bool = True, norm_layer: Callable[..., nn.Module] = nn.BatchNorm2d,
                 act_layer: ActLayer = nn.ReLU, *, norm_kwargs: Mapping[str, Any] | None = None,
                 act_kwargs: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        self.conv = create_conv2d(in_channels, out_channels, kernel_size, stride=stride, padding=padding,
                                  dilation=dilation, groups=groups, bias=bias)
        self.bn: nn.Module = nn.Identity()
        if apply_norm and norm_layer in (nn.BatchNorm2d, BatchNormAct2d):
            self.bn = BatchNormAct2d(out_channels, apply_act=apply_act, act_layer=act_layer, act_kwargs=act_kwargs,
                                     **(norm_kwargs or {}))
        elif apply_norm:
            act = get_act_layer(act_layer)(**(act_kwargs or {})) if apply_act and act_layer is not None else nn.Identity()
            self.bn = nn.Sequential(norm_layer(out_channels, **(norm_kwargs or {})), act)

    def forward(self, x: Tensor) -> Tensor:
        return self.bn(self.conv(x))


ConvBnAct = ConvNormAct
# zoo's layers of the same kind -> those here, whose values where nothing is said are timm's
OWN: dict[object, Callable[..., nn.Module]] = {
    norm.LayerNorm2d: LayerNorm2d, norm.GroupNorm: GroupNorm, norm.GroupNorm1: GroupNorm1,
    nn.LayerNorm: norm.LayerNorm}


def get_norm_layer(norm_layer: NormLayer | None) -> Callable[..., nn.Module] | None:
    """The class for a name; a class comes back as it is, None and '' are None.

    Raises:
        ValueError: a name that is not known.
    """
    if not norm_layer:
        return None
    layer = Norm(norm_layer).layer
    return OWN.get(layer, layer)


def create_norm_layer(layer_name: NormLayer, num_features: int, **options: Any) -> nn.Module:
    """A normalisation of so many channels by name."""
    layer = Norm(layer_name).layer
    return OWN.get(layer, layer)(num_features, **options)
