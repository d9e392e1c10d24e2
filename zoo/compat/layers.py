"""timm.layers: layers, and functions about them, that programs written for timm use and zoo's networks do without."""
from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.act import ActLayer, create_act
from ..layers.act import get_act_layer as layer_of
from ..layers.attention_pool_map import AttentionPool2d, RotAttentionPool2d
from ..layers.channel_attention import SEModule
from ..layers.drop import drop_samples
from ..layers.pool import GlobalPool
from ..spec import unknown
from ..train.sync_bn import SyncBatchNormAct, convert_sync_batchnorm
from .convs import create_conv2d, create_pool2d, get_padding, get_same_padding
from .norms import (
    BatchNormAct2d, ConvBnAct, ConvNormAct, GroupNorm, GroupNorm1, LayerNorm2d, create_norm_layer, get_norm_layer,
)
from .utils import FrozenBatchNormAct2d, freeze_batch_norm_2d, unfreeze_batch_norm_2d

__all__ = ['AttentionPool2d', 'BatchNormAct2d', 'ConvBnAct', 'ConvNormAct', 'FrozenBatchNormAct2d',
           'GELU', 'GroupNorm', 'GroupNorm1', 'HardSigmoid', 'HardSwish', 'LayerNorm2d', 'Linear', 'Mish', 'PReLU',
           'RotAttentionPool2d', 'SEModule', 'SelectAdaptivePool2d', 'Sigmoid', 'SqueezeExcite', 'Swish',
           'SyncBatchNormAct', 'Tanh', 'calculate_drop_path_rates', 'convert_sync_batchnorm', 'create_act_layer',
           'create_conv2d', 'create_norm_layer', 'create_pool2d', 'drop_path', 'extend_tuple', 'freeze_batch_norm_2d',
           'get_act_fn', 'get_act_layer', 'get_norm_layer', 'get_padding', 'get_same_padding', 'hard_sigmoid',
           'hard_swish', 'is_meta_device', 'lecun_normal_', 'make_divisible', 'meshgrid', 'mish', 'ndgrid', 'sigmoid',
           'swish', 'tanh', 'to_1tuple', 'to_2tuple', 'to_3tuple', 'to_4tuple', 'to_ntuple', 'trunc_normal_',
           'trunc_normal_tf_', 'unfreeze_batch_norm_2d', 'variance_scaling_']

trunc_normal_, Linear = nn.init.trunc_normal_, nn.Linear
SqueezeExcite, Swish, Mish, HardSwish, HardSigmoid = SEModule, nn.SiLU, nn.Mish, nn.Hardswish, nn.Hardsigmoid
TRUNCATED = 0.87962566103423978                      # deviation of a normal distribution cut off at two deviations


def to_ntuple(n: int) -> Callable[[Any], tuple[Any, ...]]:
    """A function that repeats a single value `n` times; several values come back as a tuple, as they are."""
    def repeat(x: Any) -> tuple[Any, ...]:
        return tuple(x) if isinstance(x, Iterable) and not isinstance(x, str) else (x,) * n
    return repeat


to_1tuple, to_2tuple, to_3tuple, to_4tuple = (to_ntuple(count) for count in (1, 2, 3, 4))


def extend_tuple(x: Any, n: int) -> tuple[Any, ...]:
    """So many values: a single one repeated, of several the last repeated at the end, or the first `n`."""
    found = to_ntuple(1)(x)
    return (*found, *found[-1:] * (n - len(found)))[:n]


def make_divisible(v: float, divisor: int = 8, min_value: int | None = None, round_limit: float = 0.9) -> int:
    """The multiple of `divisor` nearest to `v`, as `zoo.blocks.round_channels`, but not below `min_value`."""
    rounded = max(min_value or divisor, int(v + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < round_limit * v else rounded


def calculate_drop_path_rates(drop_path_rate: float, depths: int | Sequence[int],
                              stagewise: bool = False) -> list[float] | list[list[float]]:
    """Rates of stochastic depth that rise evenly from 0 to `drop_path_rate`, one a block.

    Args:
        depths: how many blocks there are, or how many in each stage.
        stagewise: give a list for each stage.
    """
    total = depths if isinstance(depths, int) else sum(depths)
    rates = [drop_path_rate * i / max(total - 1, 1) for i in range(total)]
    if isinstance(depths, int) or not stagewise:
        return rates
    ends = list(itertools.accumulate(depths))
    return [rates[end - depth:end] for end, depth in zip(ends, depths)]


# --- activations

class _Function(nn.Module):
    """An activation that may be asked to work in place."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()
        self.inplace = inplace


class Sigmoid(_Function):
    """The logistic function."""

    def forward(self, x: Tensor) -> Tensor:
        return sigmoid(x, self.inplace)


class Tanh(_Function):
    """The hyperbolic tangent."""

    def forward(self, x: Tensor) -> Tensor:
        return tanh(x, self.inplace)


class GELU(nn.GELU):
    """GELU, arXiv:1606.08415, which never works in place."""

    def __init__(self, inplace: bool = False) -> None:
        super().__init__()


class PReLU(nn.PReLU):
    """A ReLU with a learned slope below zero, arXiv:1502.01852, which never works in place."""

    def __init__(self, num_parameters: int = 1, init: float = 0.25, inplace: bool = False) -> None:
        super().__init__(num_parameters, init)


def swish(x: Tensor, inplace: bool = False) -> Tensor:
    """SiLU, arXiv:1702.03118."""
    return F.silu(x, inplace)


def mish(x: Tensor, inplace: bool = False) -> Tensor:
    """Mish, arXiv:1908.08681."""
    return F.mish(x, inplace)


def hard_swish(x: Tensor, inplace: bool = False) -> Tensor:
    """Hard swish, arXiv:1905.02244, section 5.2."""
    return F.hardswish(x, inplace)


def hard_sigmoid(x: Tensor, inplace: bool = False) -> Tensor:
    """relu6(x + 3) / 6."""
    return F.hardsigmoid(x, inplace)


def sigmoid(x: Tensor, inplace: bool = False) -> Tensor:
    """The logistic function."""
    return x.sigmoid_() if inplace else x.sigmoid()


def tanh(x: Tensor, inplace: bool = False) -> Tensor:
    """The hyperbolic tangent."""
    return x.tanh_() if inplace else x.tanh()


def get_act_layer(name: ActLayer | None = 'relu') -> Callable[..., nn.Module] | None:
    """The class for a name, see `zoo.layers.get_act_layer`; None and '' are None."""
    return layer_of(name) if name else None


def create_act_layer(name: ActLayer | None, inplace: bool | None = None, **options: Any) -> nn.Module | None:
    """An activation by name; where `inplace` is None, it works in place if it can. None and '' are None."""
    if not name:
        return None
    if inplace is None and not options:
        return create_act(name)
    return layer_of(name)(**options, **({} if inplace is None else {'inplace': inplace}))


def get_act_fn(name: ActLayer | None = 'relu') -> Callable[[Tensor], Tensor] | None:
    """An activation without parameters, to be called with a tensor; None and '' are None."""
    return layer_of(name)() if name else None


# --- dropping, pooling, initial weights

def drop_path(x: Tensor, drop_prob: float = 0.0, training: bool = False, scale_by_keep: bool = True) -> Tensor:
    """(B, …) with whole samples zeroed in `training`, arXiv:1603.09382; with `scale_by_keep` the rest is scaled up."""
    if not training or drop_prob == 0:
        return x
    return drop_samples(x, drop_prob) * (1 if scale_by_keep else 1 - drop_prob)


class SelectAdaptivePool2d(GlobalPool):
    """Global pooling by name, see `zoo.layers.GlobalPool`; unless `flatten`, pixels are kept as sides of one.

    Raises:
        ValueError: another `output_size` than 1, or an unknown kind.
    """

    def __init__(self, output_size: int | tuple[int, int] = 1, pool_type: str = 'fast', flatten: bool = False,
                 input_fmt: str = 'NCHW') -> None:
        if to_2tuple(output_size) != (1, 1):
            raise ValueError(f'Global pooling leaves one pixel; got output_size={output_size!r}.')
        super().__init__('avg' if pool_type == 'fast' else pool_type.removeprefix('fast'), input_fmt)
        self.flatten = flatten

    def forward(self, x: Tensor) -> Tensor:
        pooled = super().forward(x)
        if not self.pool_type:
            return pooled.flatten(1) if self.flatten else pooled
        if self.flatten:
            return pooled
        return pooled[:, :, None, None] if self.pixels == (2, 3) else pooled[:, None, None]


def variance_scaling_(tensor: Tensor, scale: float = 1.0, mode: str = 'fan_in', distribution: str = 'normal') -> None:
    """Draws a weight with variance `scale` / fan, of a 'normal', 'truncated_normal' or 'uniform' distribution.

    Args:
        mode: 'fan_in', 'fan_out' or 'fan_avg'.

    Raises:
        ValueError: another `mode` or `distribution`.
    """
    fan_in, fan_out = nn.init._calculate_fan_in_and_fan_out(tensor)
    fans = {'fan_in': fan_in, 'fan_out': fan_out, 'fan_avg': (fan_in + fan_out) / 2}
    if mode not in fans:
        raise ValueError(unknown('mode', mode, fans))
    deviation = math.sqrt(scale / fans[mode])
    draw = {'normal': lambda: nn.init.normal_(tensor, std=deviation),
            'truncated_normal': lambda: trunc_normal_tf_(tensor, std=deviation / TRUNCATED),
            'uniform': lambda: nn.init.uniform_(tensor, -deviation * math.sqrt(3), deviation * math.sqrt(3))}
    if distribution not in draw:
        raise ValueError(unknown('distribution', distribution, draw))
    draw[distribution]()


def lecun_normal_(tensor: Tensor) -> None:
    """Draws a weight of a truncated normal distribution with variance 1 / fan-in."""
    variance_scaling_(tensor, mode='fan_in', distribution='truncated_normal')


@torch.no_grad()
def trunc_normal_tf_(tensor: Tensor, mean: float = 0.0, std: float = 1.0, a: float = -2.0, b: float = 2.0) -> Tensor:
    """Draws of a normal distribution cut off at `a` and `b` deviations, then scaled and moved."""
    return nn.init.trunc_normal_(tensor, 0.0, 1.0, a, b).mul_(std).add_(mean)


# --- tensors

def ndgrid(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Coordinates of a grid, rows first."""
    return torch.meshgrid(*tensors, indexing='ij')


def meshgrid(*tensors: Tensor) -> tuple[Tensor, ...]:
    """Coordinates of a grid, columns first."""
    return torch.meshgrid(*tensors, indexing='xy')


def is_meta_device(device: torch.device | str | None) -> bool:
    """Whether a device, or where tensors are made by default, has no memory."""
    return torch.device(device if device is not None else torch.get_default_device()).type == 'meta'
