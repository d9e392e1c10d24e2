"""Self-attention among tokens whose queries and keys are turned by their places, see `zoo.layers.rotary`."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from .attention_tokens import attend, merge_heads, norms_for
from .norm import MakeNorm
from .rotary import apply_rot_embed_cat


class AttentionRope(nn.Module):
    """Multi-head self-attention with rotary embedding (RoFormer, arXiv:2104.09864): tokens (B, N, dim) ->
    (B, N, dim_out).

    Args:
        dim_out: by default `dim`.
        qkv_fused: one linear layer for queries, keys and values, else one each.
        num_prefix_tokens: the first tokens, which are no patches and not turned.
        attn_head_dim: width of each head, by default dim / num_heads.
        rotate_half: the layout of the embedding.
        num_kv_heads: heads of keys and values, each of which several heads of queries share (grouped queries,
            arXiv:2305.13245); by default as many.
        qkv_bias, proj_bias, qk_norm, scale_norm, gated, attn_drop, proj_drop, norm_layer: as of
            `zoo.layers.attention_tokens.Attention`.

    Attributes:
        fused_attn: compute attention in one kernel.

    Raises:
        ValueError: a width that the heads do not divide, heads of keys that do not divide those of queries, or a
            normalisation without `norm_layer`.
    """

    def __init__(self, dim: int, num_heads: int = 8, dim_out: int | None = None, qkv_bias: bool = True,
                 qkv_fused: bool = True, num_prefix_tokens: int = 1, attn_drop: float = 0.0, proj_drop: float = 0.0,
                 attn_head_dim: int | None = None, norm_layer: MakeNorm | None = None, qk_norm: bool = False,
                 scale_norm: bool = False, proj_bias: bool = True, rotate_half: bool = False, gated: bool = False,
                 num_kv_heads: int | None = None) -> None:
        super().__init__()
        if attn_head_dim is None and dim % num_heads:
            raise ValueError(f'Attention of width {dim}: {num_heads} heads do not divide it.')
        self.num_heads, self.num_kv_heads = num_heads, num_kv_heads or num_heads
        if num_heads % self.num_kv_heads:
            raise ValueError(f'{num_heads} heads of queries cannot evenly share {num_kv_heads} heads of keys and values.')
        inner_norm, out_norm = norms_for(qk_norm, scale_norm, norm_layer)
        self.head_dim = attn_head_dim or dim // num_heads
        self.attn_dim, self.scale = self.head_dim * num_heads, self.head_dim ** -0.5
        self.num_prefix_tokens, self.rotate_half, self.fused_attn = num_prefix_tokens, rotate_half, True
        kv_dim = self.head_dim * self.num_kv_heads
        self.widths = [self.attn_dim, kv_dim, kv_dim]
        if qkv_fused:
            self.qkv = nn.Linear(dim, sum(self.widths), bias=qkv_bias)
        else:
            self.q_proj, self.k_proj, self.v_proj = (nn.Linear(dim, width, bias=qkv_bias) for width in self.widths)
        self.qkv_fused = qkv_fused
        self.q_norm, self.k_norm = inner_norm(self.head_dim), inner_norm(self.head_dim)
        self.attn_drop = nn.Dropout(attn_drop)
        self.norm = out_norm(self.attn_dim)
        self.gate = nn.Linear(dim, self.attn_dim, bias=qkv_bias) if gated else None
        self.proj = nn.Linear(self.attn_dim, dim_out or dim, bias=proj_bias)
        self.proj_drop = nn.Dropout(proj_drop)

    def projected(self, x: Tensor) -> tuple[Tensor, ...]:
        """Tokens (B, N, dim) -> queries, keys and values (B, N, heads * head_dim)."""
        if self.qkv_fused:
            parts: tuple[Tensor, ...] = self.qkv(x).split(self.widths, dim=-1)
            return parts
        return self.q_proj(x), self.k_proj(x), self.v_proj(x)

    def turned(self, x: Tensor, rope: Tensor | None) -> Tensor:
        """Queries or keys (B, heads, N, head_dim), those of patches turned."""
        if rope is None:
            return x
        if not self.num_prefix_tokens:
            return apply_rot_embed_cat(x, rope, self.rotate_half)
        prefix, patches = x.tensor_split([self.num_prefix_tokens], dim=2)
        return torch.cat([prefix, apply_rot_embed_cat(patches, rope, self.rotate_half)], dim=2)

    def forward(self, x: Tensor, rope: Tensor | None = None, attn_mask: Tensor | None = None,
                is_causal: bool = False) -> Tensor:
        """Tokens (B, N, dim) -> (B, N, dim_out).

        Args:
            rope: the embedding of the patches (…, patches, 2 head_dim), which goes with (B, heads, patches, head_dim).
            attn_mask, is_causal: see `zoo.layers.attention_tokens.attend`.
        """
        q, k, v = (part.unflatten(-1, (-1, self.head_dim)).transpose(1, 2) for part in self.projected(x))
        q, k = self.q_norm(q), self.k_norm(k)
        if self.num_kv_heads != self.num_heads:                     # before they are turned, each by its own angles
            k, v = (part.repeat_interleave(self.num_heads // self.num_kv_heads, dim=1) for part in (k, v))
        q, k = self.turned(q, rope), self.turned(k, rope)
        mixed = attend(q, k, v, attn_mask, is_causal, self.attn_drop.p if self.training else 0.0, self.fused_attn)
        mixed = self.norm(merge_heads(mixed))
        if self.gate is not None:
            mixed = mixed * self.gate(x).sigmoid()
        return self.proj_drop(self.proj(mixed))


class EvaAttention(AttentionRope):
    """`AttentionRope` whose keys have no bias (BEiT, arXiv:2106.08254, as in EVA, arXiv:2211.07636).

    Args:
        qkv_bias_separate: add the biases to what the fused layer gives, not in it.
        all others as of `AttentionRope`.
    """

    def __init__(self, dim: int, num_heads: int = 8, qkv_bias: bool = True, qkv_fused: bool = True,
                 qkv_bias_separate: bool = False, num_prefix_tokens: int = 1, attn_drop: float = 0.0,
                 proj_drop: float = 0.0, attn_head_dim: int | None = None, norm_layer: MakeNorm | None = None,
                 qk_norm: bool = False, scale_norm: bool = True, rotate_half: bool = False,
                 gated: bool = False) -> None:
        super().__init__(dim, num_heads, None, qkv_bias and not qkv_fused, qkv_fused, num_prefix_tokens, attn_drop,
                         proj_drop, attn_head_dim, norm_layer, qk_norm, scale_norm, True, rotate_half, gated)
        self.qkv_bias_separate = qkv_bias_separate
        biased = qkv_fused and qkv_bias
        self.q_bias = nn.Parameter(torch.empty(self.attn_dim)) if biased else None
        self.v_bias = nn.Parameter(torch.empty(self.attn_dim)) if biased else None
        if not qkv_fused:
            self.k_proj.register_parameter('bias', None)
        if biased and gated:
            self.gate = nn.Linear(dim, self.attn_dim)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """No biases."""
        for bias in (self.q_bias, self.v_bias):
            if bias is not None:
                nn.init.zeros_(bias)

    def projected(self, x: Tensor) -> tuple[Tensor, ...]:
        """See `AttentionRope.projected`. A layer that somebody put in the place of the fused one knows nothing of the
        biases, which are added to what comes out of it."""
        if self.q_bias is None or self.v_bias is None:
            return super().projected(x)
        bias = torch.cat([self.q_bias, torch.zeros_like(self.q_bias), self.v_bias])
        if self.qkv_bias_separate or type(self.qkv) is not nn.Linear:
            return (self.qkv(x) + bias).chunk(3, dim=-1)
        return F.linear(x, self.qkv.weight, bias).chunk(3, dim=-1)
