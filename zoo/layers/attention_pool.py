"""Pooling by attention: tokens (B, N, C) -> one vector an image."""
from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from ..spec import unknown
from .act import ActLayer
from .attention_tokens import attend, merge_heads, norms_for
from .init import draw_normal
from .mlp import Mlp


class AttentionPoolLatent(nn.Module):
    """Attention of learned queries to all tokens, then a residual MLP (Set Transformer, arXiv:1810.00825, section 3.2,
    as in arXiv:2106.04560): (B, N, in_features) -> (B, out_features).

    Args:
        out_features, embed_dim: widths of the result and of attention, by default `in_features`.
        feat_size: how many tokens there are, for `pos_embed='abs'`: learned positions of the tokens.
        latent_len, latent_dim: how many queries there are and how wide they are.
        q_proj: put the queries through a linear layer. qk_norm: normalise queries and keys.
        pool_type: 'token', what the first query finds, or 'avg', the mean over queries.
        norm_layer: makes the normalisations before the MLP and of queries and keys; None for none.

    Raises:
        ValueError: widths that do not fit, another `pool_type` or `pos_embed`, or positions without `feat_size`.
    """

    undecayed = ('latent', 'pos_embed')

    def __init__(self, in_features: int, out_features: int | None = None, embed_dim: int | None = None,
                 num_heads: int = 8, feat_size: int | None = None, mlp_ratio: float = 4.0, qkv_bias: bool = True,
                 q_proj: bool = True, qk_norm: bool = False, latent_len: int = 1, latent_dim: int | None = None,
                 pos_embed: str = '', pool_type: str = 'token',
                 norm_layer: Callable[[int], nn.Module] | None = None, act_layer: ActLayer | None = nn.GELU,
                 drop: float = 0.0) -> None:
        super().__init__()
        embed_dim, out = embed_dim or in_features, out_features or in_features
        latent_dim = latent_dim or embed_dim
        if embed_dim % num_heads or (not q_proj and latent_dim != embed_dim):
            raise ValueError(f'Attention of width {embed_dim}: its {num_heads} heads divide it, and queries of width '
                             f'{latent_dim} that are not projected (q_proj) are as wide.')
        for what, got, known in (('pool_type', pool_type, ('token', 'avg')), ('pos_embed', pos_embed, ('', 'abs'))):
            if got not in known:
                raise ValueError(unknown(what, got, known))
        if pos_embed and feat_size is None:
            raise ValueError("pos_embed='abs' needs feat_size, the number of tokens.")
        inner_norm, _ = norms_for(qk_norm, False, norm_layer)
        self.num_heads, self.head_dim, self.pool = num_heads, embed_dim // num_heads, pool_type
        self.scale, self.out_features, self.fused_attn = self.head_dim ** -0.5, out, True
        self.pos_embed = nn.Parameter(torch.empty(feat_size, in_features)) if pos_embed and feat_size else None
        self.latent = nn.Parameter(torch.empty(1, latent_len, latent_dim))
        self.q = nn.Linear(latent_dim, embed_dim, bias=qkv_bias) if q_proj else nn.Identity()
        self.kv = nn.Linear(in_features, 2 * embed_dim, bias=qkv_bias)
        self.q_norm, self.k_norm = inner_norm(self.head_dim), inner_norm(self.head_dim)
        self.proj = nn.Linear(embed_dim, out)
        self.proj_drop = nn.Dropout(drop)
        self.norm = norm_layer(out) if norm_layer else nn.Identity()
        self.mlp = Mlp(out, int(out * mlp_ratio), act_layer=act_layer or nn.Identity)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Queries and positions, of a variance that keeps scores near one."""
        for parameter in (self.latent, self.pos_embed):
            if parameter is not None:
                draw_normal(parameter, parameter.shape[-1] ** -0.5)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        if self.pos_embed is not None:
            x = x + self.pos_embed
        q = self.q(self.latent).unflatten(-1, (self.num_heads, -1)).transpose(1, 2).expand(x.shape[0], -1, -1, -1)
        k, v = self.kv(x).unflatten(-1, (2, self.num_heads, self.head_dim)).permute(2, 0, 3, 1, 4)
        found = attend(self.q_norm(q), self.k_norm(k), v, attn_mask, fused=self.fused_attn)
        found = self.proj_drop(self.proj(merge_heads(found)))
        found = found + self.mlp(self.norm(found))
        return found[:, 0] if self.pool == 'token' else found.mean(1)


class AttentionPoolPrr(nn.Module):
    """Attention of the tokens to each other without any projection, whose outputs are pooled: (B, N, dim) -> (B, dim).

    Args:
        pool_type: 'token', what the first token finds, or 'avg', the mean of what all find.
        pre_norm, post_norm: normalise the tokens, or the result, by what `norm_layer` makes.

    Raises:
        ValueError: heads that do not divide the width, another `pool_type`, or a normalisation without `norm_layer`.
    """

    def __init__(self, dim: int, num_heads: int = 8, pool_type: str = 'token', pre_norm: bool = False,
                 post_norm: bool = False, norm_layer: Callable[[int], nn.Module] | None = None) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f'Attention of width {dim}: {num_heads} heads do not divide it.')
        if pool_type not in ('token', 'avg'):
            raise ValueError(unknown('pool_type', pool_type, ('token', 'avg')))
        before, after = norms_for(pre_norm, post_norm, norm_layer)
        self.num_heads, self.head_dim, self.pool = num_heads, dim // num_heads, pool_type
        self.scale, self.out_features, self.fused_attn = math.sqrt(1 / self.head_dim), dim, True
        self.pre_norm, self.post_norm = before(dim), after(dim)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None) -> Tensor:
        tokens = self.pre_norm(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        found = merge_heads(attend(tokens, tokens, tokens, attn_mask, fused=self.fused_attn))
        return self.post_norm(found[:, 0] if self.pool == 'token' else found.mean(1))
