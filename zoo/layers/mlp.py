"""Two linear layers, the feed-forward half of a transformer's block."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

from torch import Tensor, nn

from .act import ActLayer, get_act_layer
from .norm import GlobalResponseNorm


def both(value: Any) -> tuple[Any, Any]:
    """One value for each of two layers, of one for both or of two."""
    return tuple(value) if isinstance(value, Iterable) and not isinstance(value, str) else (value, value)


class Mlp(nn.Module):
    """Two linear layers with an activation between them: (…, in_features) -> (…, out_features).

    Args:
        hidden_features, out_features: by default as many as come in.
        norm_layer: makes a normalisation of the hidden features, for before the second layer.
        bias, drop: of each layer, or one for both.
        use_conv: 1x1 convolutions, for maps (B, in_features, H, W).
    """

    def __init__(self, in_features: int, hidden_features: int | None = None, out_features: int | None = None,
                 act_layer: ActLayer = nn.GELU, norm_layer: Callable[[int], nn.Module] | None = None,
                 bias: bool | tuple[bool, bool] = True, drop: float | tuple[float, float] = 0.0,
                 use_conv: bool = False) -> None:
        super().__init__()
        hidden, out = hidden_features or in_features, out_features or in_features
        (bias1, bias2), (drop1, drop2) = both(bias), both(drop)

        def linear(width: int, to: int, bias: bool) -> nn.Module:
            return nn.Conv2d(width, to, 1, bias=bias) if use_conv else nn.Linear(width, to, bias)

        self.fc1 = linear(in_features, hidden, bias1)
        self.act = get_act_layer(act_layer)()
        self.drop1 = nn.Dropout(drop1)
        self.norm = norm_layer(hidden) if norm_layer else nn.Identity()
        self.fc2 = linear(hidden, out, bias2)
        self.drop2 = nn.Dropout(drop2)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop2(self.fc2(self.norm(self.drop1(self.act(self.fc1(x))))))


class GlobalResponseNormMlp(nn.Module):
    """`Mlp` with global response normalisation of the hidden features (ConvNeXt V2, arXiv:2301.00808), of maps with the
    channels last (B, H, W, C), or with `use_conv` first."""

    def __init__(self, in_features: int, hidden_features: int | None = None, out_features: int | None = None,
                 act_layer: ActLayer = nn.GELU, bias: bool | tuple[bool, bool] = True,
                 drop: float | tuple[float, float] = 0.0, use_conv: bool = False) -> None:
        super().__init__()
        plain = Mlp(in_features, hidden_features, out_features, act_layer, None, bias, drop, use_conv)
        self.fc1, self.act, self.drop1 = plain.fc1, plain.act, plain.drop1
        self.grn = GlobalResponseNorm(hidden_features or in_features, channels_last=not use_conv)
        self.fc2, self.drop2 = plain.fc2, plain.drop2

    def forward(self, x: Tensor) -> Tensor:
        return self.drop2(self.fc2(self.grn(self.drop1(self.act(self.fc1(x))))))
