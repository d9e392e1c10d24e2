"""Initial weights of convolutional networks, as the papers' own code drew them."""
from __future__ import annotations

import math

from torch import nn


def init_tensorflow(module: nn.Module) -> None:
    """Draws every parameter, and resets every buffer, of a module anew, as the TensorFlow originals of the networks
    made of block strings do.

    Convolutions: normal with variance 2 / fan-out of a group. Linear layers: uniform within 1 / sqrt(outputs), biases
    zero. Everything else as its own `reset_parameters` and `reset_constants` say.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            fan_out = layer.kernel_size[0] * layer.kernel_size[1] * layer.out_channels // layer.groups
            nn.init.normal_(layer.weight, std=math.sqrt(2 / fan_out))
        elif isinstance(layer, nn.Linear):
            bound = 1 / math.sqrt(layer.out_features)
            nn.init.uniform_(layer.weight, -bound, bound)
        elif hasattr(layer, 'reset_parameters'):
            layer.reset_parameters()
        if isinstance(layer, (nn.Conv2d, nn.Linear)) and layer.bias is not None:
            nn.init.zeros_(layer.bias)
        if hasattr(layer, 'reset_constants'):
            layer.reset_constants()


def init_he(module: nn.Module) -> None:
    """Draws every parameter, and resets every buffer, of a module anew.

    Convolutions: normal with variance 2 / fan-out (arXiv:1502.01852, section 2.2), biases zero. Everything else as its
    own `reset_parameters` and `reset_constants` say.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Conv2d):
            nn.init.kaiming_normal_(layer.weight, mode='fan_out', nonlinearity='relu')
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif hasattr(layer, 'reset_parameters'):
            layer.reset_parameters()
        if hasattr(layer, 'reset_constants'):
            layer.reset_constants()
