"""Activation functions by name."""
from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..spec import unknown


class QuickGELU(nn.Module):
    """x * sigmoid(1.702 x), GELU as CLIP (arXiv:2103.00020) approximates it."""

    def forward(self, x: Tensor) -> Tensor:
        return x * torch.sigmoid(1.702 * x)


class GELUTanh(nn.GELU):
    """GELU in its approximation by tanh (arXiv:1606.08415, section 2)."""

    def __init__(self) -> None:
        super().__init__(approximate='tanh')


ACTIVATIONS: dict[str, type[nn.Module]] = {
    'relu': nn.ReLU, 'relu6': nn.ReLU6, 'leaky_relu': nn.LeakyReLU, 'prelu': nn.PReLU, 'elu': nn.ELU, 'celu': nn.CELU,
    'selu': nn.SELU, 'silu': nn.SiLU, 'swish': nn.SiLU, 'mish': nn.Mish, 'gelu': nn.GELU, 'gelu_tanh': GELUTanh,
    'quick_gelu': QuickGELU, 'sigmoid': nn.Sigmoid, 'tanh': nn.Tanh, 'hard_swish': nn.Hardswish,
    'hard_sigmoid': nn.Hardsigmoid, 'softplus': nn.Softplus, 'identity': nn.Identity,
}
INPLACE = (nn.ReLU, nn.ReLU6, nn.LeakyReLU, nn.ELU, nn.CELU, nn.SELU, nn.SiLU, nn.Mish, nn.Hardswish, nn.Hardsigmoid)

ActLayer = str | Callable[..., nn.Module]


def get_act_layer(act: ActLayer) -> Callable[..., nn.Module]:
    """The class for a name ('hard_swish' and 'hardswish' alike); a class or function comes back as it is.

    Raises:
        ValueError: a name that is not known.
        TypeError: neither a name nor something that makes a module.
    """
    if isinstance(act, str):
        plain = {name.replace('_', ''): layer for name, layer in ACTIVATIONS.items()}
        if act.replace('_', '') not in plain:
            raise ValueError(unknown('Activation', act, ACTIVATIONS))
        return plain[act.replace('_', '')]
    if not callable(act):
        raise TypeError(f'act_layer is a name or a module class, not {act!r}.')
    return act


def create_act(act: ActLayer) -> nn.Module:
    """An activation that works in place where its class can."""
    layer = get_act_layer(act)
    return layer(inplace=True) if layer in INPLACE else layer()
