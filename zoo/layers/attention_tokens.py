"""Self-attention among tokens."""
from __future__ import annotations

import inspect
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..spec import unknown
from .conv import copy_in_exports
from .norm import MakeNorm, RmsNorm
from .recording import ATTENTION



def attend(q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False,
           dropout: float = 0.0, fused: bool = True, scale: float | None = None) -> Tensor:
    """Scaled dot-product attention (arXiv:1706.03762, equation 1): queries (B, heads, N, D), keys and values
    (B, heads, M, D) -> (B, heads, N, D).

    Args:
        attn_mask: added to the scores (B, heads, N, M), or False where nothing may be looked at.
        is_causal: nothing after a token may be looked at.
        dropout: of the weights.
        fused: compute it in one kernel; weights that are recorded are computed one by one in any case.
        scale: factor of the scores, by default 1 / sqrt(D).
    """
    if attn_mask is not None and attn_mask.is_floating_point():
        attn_mask = attn_mask.to(q.dtype)                       # which autocast makes another than that of a bias
    if fused and not ATTENTION.active:
        return F.scaled_dot_product_attention(q, k, v, attn_mask, dropout, is_causal, scale=scale)
    weights = attention_weights(q, k, attn_mask, is_causal, scale)
    ATTENTION.keep(weights)
    return F.dropout(weights, dropout) @ v if dropout else weights @ v


def merge_heads(x: Tensor) -> Tensor:
    """(B, heads, N, D) -> (B, N, heads D).

    An exported graph copies: a view would hold it to the strides of one kernel of attention, and torch.onnx, which takes
    another one than torch.export, refuses that.
    """
    return copy_in_exports(x.transpose(1, 2)).flatten(2)


def attention_weights(q: Tensor, k: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False,
                      scale: float | None = None) -> Tensor:
    """The softmax weights (B, heads, N, M) of `attend`."""
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    scores = (q * scale) @ k.transpose(-2, -1)
    if is_causal:
        scores = scores.masked_fill(later_tokens(q, k), -math.inf)
    return masked(scores, attn_mask).softmax(-1)


def later_tokens(q: Tensor, k: Tensor) -> Tensor:
    """Which keys come after each query: (N, M)."""
    return torch.ones(q.shape[-2], k.shape[-2], dtype=torch.bool, device=q.device).triu(1)


def masked(scores: Tensor, attn_mask: Tensor | None) -> Tensor:
    """Attention scores, or what is added to them, with a mask of `attend`; a mask itself with another one."""
    if attn_mask is None:
        return scores
    if scores.dtype == torch.bool:
        return scores & attn_mask if attn_mask.dtype == torch.bool else masked(attn_mask, scores)
    return scores.masked_fill(~attn_mask, -math.inf) if attn_mask.dtype == torch.bool else scores + attn_mask


def norms_for(qk_norm: bool, scale_norm: bool, norm_layer: MakeNorm | None) -> tuple[MakeNorm, MakeNorm]:
    """What makes the normalisation of queries and keys, and that of attention's output: `norm_layer` or nothing.

    Raises:
        ValueError: a normalisation without `norm_layer`.
    """
    if norm_layer is None:
        if qk_norm or scale_norm:
            raise ValueError('qk_norm and scale_norm need norm_layer, which makes the normalisations.')
        return nn.Identity, nn.Identity
    return (norm_layer if qk_norm else nn.Identity), (norm_layer if scale_norm else nn.Identity)


class Attention(nn.Module):
    """Multi-head self-attention (arXiv:1706.03762, section 3.2.2): tokens (B, N, dim) -> (B, N, dim_out).

    Args:
        attn_head_dim: width of each head, by default dim / num_heads.
        dim_out: by default `dim`.
        qk_norm: normalise each head's queries and keys (arXiv:2302.05442). scale_norm: normalise what goes into the
            last layer (arXiv:2208.10442).
        gated: multiply what goes into the last layer by the sigmoid of a linear map of the tokens (arXiv:2505.06708).
        attn_drop: dropout of the attention weights. proj_drop: after the last layer.
        norm_layer: makes the normalisations.

    Attributes:
        fused_attn: compute attention in one kernel.

    Raises:
        ValueError: a width that the heads do not divide, or a normalisation without `norm_layer`.
    """

    def __init__(self, dim: int, num_heads: int = 8, attn_head_dim: int | None = None, dim_out: int | None = None,
                 qkv_bias: bool = False, qk_norm: bool = False, scale_norm: bool = False, proj_bias: bool = True,
                 gated: bool = False, attn_drop: float = 0.0, proj_drop: float = 0.0,
                 norm_layer: MakeNorm | None = None) -> None:
        super().__init__()
        if attn_head_dim is None and dim % num_heads:
            raise ValueError(f'Attention of width {dim}: {num_heads} heads do not divide it.')
        inner_norm, out_norm = norms_for(qk_norm, scale_norm, norm_layer)
        dim_out = dim_out or dim
        self.num_heads, self.head_dim = num_heads, attn_head_dim or dim // num_heads
        self.attn_dim, self.scale = self.head_dim * num_heads, self.head_dim ** -0.5
        self.fused_attn = True
        self.qkv = nn.Linear(dim, 3 * self.attn_dim, bias=qkv_bias)
        self.q_norm, self.k_norm = inner_norm(self.head_dim), inner_norm(self.head_dim)
        self.attn_drop = nn.Dropout(attn_drop)
        self.norm = out_norm(self.attn_dim)
        self.gate = nn.Linear(dim, self.attn_dim, bias=qkv_bias) if gated else None
        self.proj = nn.Linear(self.attn_dim, dim_out, bias=proj_bias)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, self.head_dim)).permute(2, 0, 3, 1, 4)
        mixed = attend(self.q_norm(q), self.k_norm(k), v, attn_mask, is_causal,
                       self.attn_drop.p if self.training else 0.0, self.fused_attn)
        mixed = self.norm(merge_heads(mixed))
        if self.gate is not None:
            mixed = mixed * self.gate(x).sigmoid()
        return self.proj_drop(self.proj(mixed))


class Differential(nn.Module):
    """Base of layers with differential attention (arXiv:2410.05258): the difference of two attentions over the same
    values, the second weighted by a learned lambda, normalised a head.

    Subclasses set `head_dim`, the width of one of the two halves of a head.

    Args:
        depth: number of the layer, from 0, which lambda's initial value depends on.
        dual_lambda: two learned exponents in place of the products of two pairs of learned vectors.
    """

    head_dim: int
    attn_drop: nn.Dropout
    fused_attn = True
    lambda_a: nn.Parameter | None
    lambda_b: nn.Parameter | None
    lambda_q1: nn.Parameter
    lambda_k1: nn.Parameter
    lambda_q2: nn.Parameter
    lambda_k2: nn.Parameter

    def build_difference(self, depth: int, dual_lambda: bool) -> None:
        """Adds lambda's parameters and the heads' normalisation."""
        self.dual_lambda = dual_lambda
        self.lambda_init = 0.8 - 0.6 * math.exp(-0.3 * depth)
        for name in ('lambda_a', 'lambda_b'):
            setattr(self, name, nn.Parameter(torch.empty(())) if dual_lambda else None)
        if not dual_lambda:
            for name in ('lambda_q1', 'lambda_k1', 'lambda_q2', 'lambda_k2'):
                setattr(self, name, nn.Parameter(torch.empty(self.head_dim)))
        self.sub_norm = RmsNorm(2 * self.head_dim, eps=1e-5)
        Differential.reset_parameters(self)

    def reset_parameters(self) -> None:
        """Lambda near its initial value."""
        if self.lambda_a is not None and self.lambda_b is not None:
            nn.init.zeros_(self.lambda_a)
            nn.init.zeros_(self.lambda_b)
            return
        for vector in (self.lambda_q1, self.lambda_k1, self.lambda_q2, self.lambda_k2):
            nn.init.normal_(vector, std=0.1)

    def difference(self, q: Tensor, k: Tensor, v: Tensor, attn_mask: Tensor | None, is_causal: bool) -> Tensor:
        """Queries and keys (B, 2 heads, N, head_dim), in pairs, values (B, heads, N, 2 head_dim) -> tokens
        (B, N, heads 2 head_dim)."""
        if self.lambda_a is not None and self.lambda_b is not None:
            weight = self.lambda_a.exp() - self.lambda_b.exp() + self.lambda_init
        else:
            weight = ((self.lambda_q1 * self.lambda_k1).sum().exp() - (self.lambda_q2 * self.lambda_k2).sum().exp()
                      + self.lambda_init)
        dropout = self.attn_drop.p if self.training else 0.0
        (q1, q2), (k1, k2) = q.unflatten(1, (-1, 2)).unbind(2), k.unflatten(1, (-1, 2)).unbind(2)
        first, second = (attend(a, b, v, attn_mask, is_causal, dropout, self.fused_attn)
                         for a, b in ((q1, k1), (q2, k2)))
        mixed = self.sub_norm(first - weight * second) * (1 - self.lambda_init)
        return merge_heads(mixed)


class DiffAttention(Differential):
    """Multi-head differential self-attention (arXiv:2410.05258, section 2): tokens (B, N, dim) -> (B, N, dim).

    Two maps of attention are recorded a layer: those whose difference it is.

    Args:
        depth, dual_lambda: of `Differential`; all others as of `Attention`.

    Raises:
        ValueError: a width that twice the heads do not divide, or a normalisation without `norm_layer`.
    """

    def __init__(self, dim: int, num_heads: int = 8, qkv_bias: bool = False, qk_norm: bool = False,
                 scale_norm: bool = False, proj_bias: bool = True, attn_drop: float = 0.0, proj_drop: float = 0.0,
                 norm_layer: MakeNorm | None = None, depth: int = 0, dual_lambda: bool = False) -> None:
        super().__init__()
        if dim % (2 * num_heads):
            raise ValueError(f'Differential attention of width {dim}: {num_heads} heads of two halves do not divide it.')
        inner_norm, out_norm = norms_for(qk_norm, scale_norm, norm_layer)
        self.num_heads, self.head_dim = num_heads, dim // num_heads // 2
        self.scale = self.head_dim ** -0.5
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.q_norm, self.k_norm = inner_norm(self.head_dim), inner_norm(self.head_dim)
        self.attn_drop = nn.Dropout(attn_drop)
        self.norm = out_norm(dim)
        self.proj = nn.Linear(dim, dim, bias=proj_bias)
        self.proj_drop = nn.Dropout(proj_drop)
        self.build_difference(depth, dual_lambda)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q, k = (part.unflatten(-1, (2 * self.num_heads, self.head_dim)).transpose(1, 2) for part in (q, k))
        v = v.unflatten(-1, (self.num_heads, 2 * self.head_dim)).transpose(1, 2)
        mixed = self.difference(self.q_norm(q), self.k_norm(k), v, attn_mask, is_causal)
        return self.proj_drop(self.proj(self.norm(mixed)))


ATTENTIONS: dict[str, type[nn.Module]] = {'': Attention, 'attn': Attention, 'diff': DiffAttention}
AttentionLayer = str | Callable[..., nn.Module]


def create_attention(attn: AttentionLayer, dim: int, depth: int, **options: object) -> nn.Module:
    """A layer of attention, by name or class; `depth`, the number of its block, is for those that ask for it.

    Raises:
        ValueError: a name that is not known.
    """
    if isinstance(attn, str):
        if attn not in ATTENTIONS:
            raise ValueError(unknown('attn_layer', attn, ATTENTIONS))
        attn = ATTENTIONS[attn]
    return attn(dim, **options, **({'depth': depth} if 'depth' in inspect.signature(attn).parameters else {}))
