"""Initial weights, as the papers' own code drew them."""
from __future__ import annotations

import math
from collections.abc import Callable
from typing import Protocol, runtime_checkable

from torch import nn


@runtime_checkable
class HasParameters(Protocol):
    """A layer that draws its own parameters."""

    def reset_parameters(self) -> None:
        """Draws them anew."""


@runtime_checkable
class HasConstants(Protocol):
    """A layer with buffers that no checkpoint holds."""

    def reset_constants(self) -> None:
        """Fills them."""


def draw_anew(module: nn.Module, conv: Callable[[nn.Conv2d], None] | None = None,
              linear: Callable[[nn.Linear], None] | None = None) -> None:
    """Draws every parameter, and resets every buffer, of a module anew.

    Args:
        conv, linear: what draws the weight of a convolution, and of a linear layer; their biases become zero. Everything
            else draws itself, as its own `reset_parameters` and `reset_constants` say.
    """
    for layer in module.modules():
        if conv and isinstance(layer, nn.Conv2d):
            conv(layer)
            _no_bias(layer)
        elif linear and isinstance(layer, nn.Linear):
            linear(layer)
            _no_bias(layer)
        elif isinstance(layer, HasParameters):
            layer.reset_parameters()
        if isinstance(layer, HasConstants):
            layer.reset_constants()


def init_tensorflow(module: nn.Module) -> None:
    """Draws a module anew, see `draw_anew`, as the TensorFlow originals of the networks made of block strings do.

    Convolutions: normal with variance 2 / fan-out of a group. Linear layers: uniform within 1 / sqrt(outputs).
    """
    draw_anew(module, _normal_of_group, _uniform_of_outputs)


def init_he(module: nn.Module) -> None:
    """Draws a module anew, see `draw_anew`; convolutions normal with variance 2 / fan-out (arXiv:1502.01852, section
    2.2)."""
    draw_anew(module, _normal_of_fan_out)


def init_he_inputs(module: nn.Module) -> None:
    """Draws a module anew, see `draw_anew`; convolutions normal with variance 2 / fan-in (arXiv:1502.01852, section 2.2)."""
    draw_anew(module, _normal_of_fan_in)


def init_transformer(module: nn.Module, convs: bool = False) -> None:
    """Draws a module anew, see `draw_anew`, as DeiT (arXiv:2012.12877) and what follows it do: linear layers, and with
    `convs` convolutions, normal with deviation 0.02. Their code truncates at 2, a hundred deviations, which changes
    no number."""
    draw_anew(module, _narrow_normal if convs else None, _narrow_normal)


def xavier_uniform(layer: nn.Conv2d | nn.Linear) -> None:
    """Draws a layer's weight uniformly within sqrt(6 / (fan-in + fan-out)) (Glorot and Bengio, 2010)."""
    nn.init.xavier_uniform_(layer.weight)


def zero_weight(layer: nn.Module) -> None:
    """Makes a layer's weight zero, where it has one: of the last of a residual branch, so that the block begins as its
    shortcut."""
    weight = getattr(layer, 'weight', None)
    if weight is not None:
        nn.init.zeros_(weight)


def init_pyramid(module: nn.Module) -> None:
    """Draws a module anew, see `draw_anew`, as PVT (arXiv:2102.12122) and what follows it do: linear layers normal with
    deviation 0.02, convolutions normal with variance 2 / fan-out of a group."""
    draw_anew(module, _normal_of_group, _narrow_normal)


def init_conv_net(module: nn.Module) -> None:
    """Draws a module anew, see `draw_anew`: convolutions normal with variance 2 / fan-out of a group, linear layers normal
    with deviation 0.01, as the code of RegNet (arXiv:2003.13678) and torchvision's of VGG do."""
    draw_anew(module, _normal_of_group, _narrower_normal)


def _no_bias(layer: nn.Conv2d | nn.Linear) -> None:
    if layer.bias is not None:
        nn.init.zeros_(layer.bias)


def _normal_of_group(layer: nn.Conv2d) -> None:
    fan_out = layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels // layer.groups
    nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_out))


def _uniform_of_outputs(layer: nn.Linear) -> None:
    bound = 1 / math.sqrt(layer.out_features)
    nn.init.uniform_(layer.weight, -bound, bound)


def _normal_of_fan_out(layer: nn.Conv2d) -> None:
    nn.init.kaiming_normal_(layer.weight, mode='fan_out', nonlinearity='relu')


def _normal_of_fan_in(layer: nn.Conv2d) -> None:
    nn.init.kaiming_normal_(layer.weight, nonlinearity='relu')


def _narrow_normal(layer: nn.Conv2d | nn.Linear) -> None:
    nn.init.normal_(layer.weight, std=0.02)


def _narrower_normal(layer: nn.Linear) -> None:
    nn.init.normal_(layer.weight, std=0.01)
