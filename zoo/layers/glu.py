"""Feed-forward layers in which one half of the hidden features gates the other (arXiv:2002.05202)."""
from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn

from ..spec import unknown
from .act import ActLayer, get_act_layer
from .mlp import Mlp, both
from .norm import LayerNorm, Norm, NormLayer


class GluMlp(nn.Module):
    """A gated MLP with both halves in one layer: (…, in_features) -> (…, out_features).

    Args:
        hidden_features: of both halves together.
        norm_layer, bias, drop, use_conv: as of `Mlp`.
        gate_last: the second half of the hidden features, not the first, goes through the activation.

    Raises:
        ValueError: `hidden_features` cannot be halved.
    """

    def __init__(self, in_features: int, hidden_features: int | None = None, out_features: int | None = None,
                 act_layer: ActLayer = nn.Sigmoid, norm_layer: Callable[[int], nn.Module] | None = None,
                 bias: bool | tuple[bool, bool] = True, drop: float | tuple[float, float] = 0.0,
                 use_conv: bool = False, gate_last: bool = True) -> None:
        super().__init__()
        hidden = hidden_features or in_features
        if hidden % 2:
            raise ValueError(f'The hidden features of a gated MLP are halved, which {hidden} cannot be.')
        self.channels, self.gate_last = 1 if use_conv else -1, gate_last
        plain = Mlp(in_features, hidden, out_features, act_layer, None, bias, drop, use_conv)
        self.fc1, self.act, self.drop1 = plain.fc1, plain.act, plain.drop1
        self.norm = norm_layer(hidden // 2) if norm_layer else nn.Identity()
        out, with_bias = out_features or in_features, both(bias)[1]
        self.fc2 = nn.Conv2d(hidden // 2, out, 1, bias=with_bias) if use_conv else nn.Linear(hidden // 2, out, with_bias)
        self.drop2 = plain.drop2

    def forward(self, x: Tensor) -> Tensor:
        first, second = self.fc1(x).chunk(2, dim=self.channels)
        x = first * self.act(second) if self.gate_last else self.act(first) * second
        return self.drop2(self.fc2(self.norm(self.drop1(x))))


SwiGLUPacked = partial(GluMlp, act_layer=nn.SiLU, gate_last=False)


class SwiGLU(nn.Module):
    """A gated MLP with a layer for each half: (…, in_features) -> (…, out_features).

    Args:
        hidden_features: of each half.
        norm_layer, bias, drop: as of `Mlp`.
        align_to: make the hidden features a multiple of it; 0 leaves them.
    """

    def __init__(self, in_features: int, hidden_features: int | None = None, out_features: int | None = None,
                 act_layer: ActLayer = nn.SiLU, norm_layer: Callable[[int], nn.Module] | None = None,
                 bias: bool | tuple[bool, bool] = True, drop: float | tuple[float, float] = 0.0,
                 align_to: int = 0) -> None:
        super().__init__()
        hidden = hidden_features or in_features
        hidden += -hidden % align_to if align_to else 0
        (bias1, bias2), (drop1, drop2) = both(bias), both(drop)
        self.fc1_g = nn.Linear(in_features, hidden, bias1)
        self.fc1_x = nn.Linear(in_features, hidden, bias1)
        self.act = get_act_layer(act_layer)()
        self.drop1 = nn.Dropout(drop1)
        self.norm = norm_layer(hidden) if norm_layer else nn.Identity()
        self.fc2 = nn.Linear(hidden, out_features or in_features, bias2)
        self.drop2 = nn.Dropout(drop2)

    def forward(self, x: Tensor) -> Tensor:
        return self.drop2(self.fc2(self.norm(self.drop1(self.act(self.fc1_g(x)) * self.fc1_x(x)))))


class GeGluMlp(nn.Module):
    """A gated MLP with a layer for each half, whose input is normalised first (ViTamin, arXiv:2404.02132):
    (…, in_features) -> (…, in_features).

    Args:
        hidden_features: of each half.
        norm_layer: makes the normalisation; layer normalisation by default.
        act_layer, bias, drop: as of `Mlp`.
    """

    def __init__(self, in_features: int, hidden_features: int, act_layer: ActLayer = 'gelu',
                 norm_layer: NormLayer | None = None, bias: bool = True, drop: float = 0.0) -> None:
        super().__init__()
        self.norm = Norm(norm_layer or LayerNorm)(in_features)
        self.w0 = nn.Linear(in_features, hidden_features, bias)
        self.act = get_act_layer(act_layer)()
        self.w1 = nn.Linear(in_features, hidden_features, bias)
        self.drop1 = nn.Dropout(drop)
        self.w2 = nn.Linear(hidden_features, in_features, bias)
        self.drop2 = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        x = self.act(self.w0(x)) * self.w1(x)
        return self.drop2(self.w2(self.drop1(x)))


MLPS: dict[str, Callable[..., nn.Module]] = {
    'mlp': Mlp, 'glu': GluMlp, 'swiglu': SwiGLU, 'swiglu_packed': SwiGLUPacked, 'geglu': GeGluMlp}
MlpLayer = str | Callable[..., nn.Module]


def get_mlp_layer(mlp: MlpLayer) -> Callable[..., nn.Module]:
    """The class for a name; a class or function comes back as it is.

    Raises:
        ValueError: a name that is not known.
    """
    if isinstance(mlp, str):
        if mlp not in MLPS:
            raise ValueError(unknown('mlp_layer', mlp, MLPS))
        return MLPS[mlp]
    return mlp
