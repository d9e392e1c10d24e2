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
    """Global context block, arXiv:1904.11492, with its sum replaced by a gate: channels are weighed by what a learned
    attention over the pixels pools."""

    def __init__(self, channels: int, reduced: int, act_layer: ActLayer = 'relu',
                 gate_layer: ActLayer = 'sigmoid') -> None:
        super().__init__()
        self.conv_attn = nn.Conv2d(channels, 1, 1)
        self.mlp_scale = nn.Sequential()
        self.mlp_scale.fc1 = nn.Conv2d(channels, reduced, 1)
        self.mlp_scale.norm = LayerNorm2d(reduced, eps=1e-6)
        self.mlp_scale.act = create_act(act_layer)
        self.mlp_scale.fc2 = nn.Conv2d(reduced, channels, 1)
        self.gate = create_act(gate_layer)

    def forward(self, x: Tensor) -> Tensor:
        attention = F.softmax(self.conv_attn(x).flatten(2), dim=-1)             # (B, 1, H W)
        context = (x.flatten(2) @ attention.transpose(1, 2)).unsqueeze(-1)      # (B, C, 1, 1)
        return x * self.gate(self.mlp_scale(context))


GATES = {'se': SqueezeExcite, 'gc': GlobalContext}
