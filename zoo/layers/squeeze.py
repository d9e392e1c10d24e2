"""Gates computed from the whole image: squeeze-and-excitation, global context."""
from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from .act import ActLayer, create_act
from .norm import LayerNorm2d


class SqueezeExcite(nn.Module):
    """Squeeze-and-excitation, arXiv:1709.01507: each channel times a gate computed from all channels' means."""

    def __init__(self, channels: int, reduced: int, act_layer: ActLayer = 'relu',
                 gate_layer: ActLayer = 'sigmoid') -> None:
        super().__init__()
        self.conv_reduce = nn.Conv2d(channels, reduced, 1)
        self.act1 = create_act(act_layer)
        self.conv_expand = nn.Conv2d(reduced, channels, 1)
        self.gate = create_act(gate_layer)

    def forward(self, x: Tensor) -> Tensor:
        gate = self.conv_expand(self.act1(self.conv_reduce(x.mean((2, 3), keepdim=True))))
        return x * self.gate(gate)


class GlobalContext(nn.Module):
    """Global context block, arXiv:1904.11492: what a learned attention over the pixels pools weighs the channels, by a
    gate in place of the paper's sum.

    Args:
        fuse_scale: the gate. fuse_add: the sum.
    """

    def __init__(self, channels: int, reduced: int, act_layer: ActLayer = 'relu', gate_layer: ActLayer = 'sigmoid',
                 fuse_add: bool = False, fuse_scale: bool = True) -> None:
        super().__init__()
        self.conv_attn = nn.Conv2d(channels, 1, 1)
        self.mlp_add = _mlp(channels, reduced, act_layer) if fuse_add else None
        self.mlp_scale = _mlp(channels, reduced, act_layer) if fuse_scale else None
        self.gate = create_act(gate_layer)

    def forward(self, x: Tensor) -> Tensor:
        attention = F.softmax(self.conv_attn(x).flatten(2), dim=-1)             # (B, 1, H W)
        context = (x.flatten(2) @ attention.transpose(1, 2)).unsqueeze(-1)      # (B, C, 1, 1)
        if self.mlp_scale is not None:
            x = x * self.gate(self.mlp_scale(context))
        return x if self.mlp_add is None else x + self.mlp_add(context)


def _mlp(channels: int, reduced: int, act_layer: ActLayer) -> nn.Sequential:
    layers = nn.Sequential()
    layers.fc1 = nn.Conv2d(channels, reduced, 1)
    layers.norm = LayerNorm2d(reduced, eps=1e-6)
    layers.act = create_act(act_layer)
    layers.fc2 = nn.Conv2d(reduced, channels, 1)
    return layers


GATES = {'se': SqueezeExcite, 'gc': GlobalContext}
