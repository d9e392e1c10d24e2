"""Initial weights of networks with attention, as DeiT (arXiv:2012.12877) and what follows it draw them."""
from __future__ import annotations

from torch import nn


def init_transformer(module: nn.Module, convs: bool = False) -> None:
    """Draws every parameter, and resets every buffer, of a module anew.

    Linear layers, and with `convs` convolutions: truncated normal with deviation 0.02, biases zero. Everything else as
    its own `reset_parameters` and `reset_constants` say.
    """
    for layer in module.modules():
        if isinstance(layer, nn.Linear) or convs and isinstance(layer, nn.Conv2d):
            nn.init.trunc_normal_(layer.weight, std=0.02)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        elif hasattr(layer, 'reset_parameters'):
            layer.reset_parameters()
        if hasattr(layer, 'reset_constants'):
            layer.reset_constants()
