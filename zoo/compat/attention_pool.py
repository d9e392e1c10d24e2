"""Attention in place of global pooling (CLIP, arXiv:2103.00020, section 2.4), as open_clip puts it on a network."""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.sizes import pair_of


class RotAttentionPool2d(nn.Module):
    """A token that is the mean of all pixels looks at every pixel once: (B, in_features, H, W) -> (B, out_features).

    Where pixels lie is told by rotating queries and keys (RoPE, arXiv:2104.09864) along both axes.

    Args:
        out_features: by default `in_features`; 0 leaves the last linear layer out.
        ref_feat_size: height and width of the map that positions are counted in, whatever the size of the map.
        head_dim: features per head; num_heads: the number of heads, in its place.

    Raises:
        ValueError: features that the heads cannot share.
    """

    def __init__(self, in_features: int, out_features: int | None = None, ref_feat_size: int | tuple[int, int] = 7,
                 head_dim: int = 64, num_heads: int | None = None, qkv_bias: bool = True) -> None:
        super().__init__()
        self.heads = num_heads or in_features // head_dim
        if not self.heads or in_features % self.heads:
            raise ValueError(f'{in_features} features cannot be shared by {self.heads} heads; give num_heads or '
                             'head_dim that divides them.')
        self.ref_feat_size = pair_of(ref_feat_size)
        self.qkv = nn.Linear(in_features, 3 * in_features, bias=qkv_bias)
        self.proj: nn.Module = nn.Identity()
        if out_features != 0:
            self.proj = nn.Linear(in_features, in_features if out_features is None else out_features)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Normal with variance 1 / features, biases zero; the last layer as PyTorch draws it."""
        nn.init.trunc_normal_(self.qkv.weight, std=self.qkv.in_features ** -0.5)
        if self.qkv.bias is not None:
            nn.init.zeros_(self.qkv.bias)

    def place(self, tokens: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Changes nothing: positions are in the rotation."""
        return tokens

    def rotate(self, x: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Rotates pairs of features of the pixels, in (B, heads, 1 + pixels, features per head)."""
        bands = 10000 ** (-torch.arange(x.shape[-1] // 4, device=x.device) / (x.shape[-1] // 4))
        axes = [torch.arange(n, device=x.device) / n * ref for n, ref in zip(grid, self.ref_feat_size)]
        where = torch.stack(torch.meshgrid(*axes, indexing='ij'), -1).flatten(0, 1)             # (pixels, 2)
        angles = (where[..., None] * bands).flatten(1)                                          # (pixels, features / 2)
        token, (a, b) = x[:, :, :1], x[:, :, 1:].unflatten(-1, (-1, 2)).unbind(-1)
        sin, cos = angles.sin().to(x.dtype), angles.cos().to(x.dtype)
        return torch.cat([token, torch.stack([a * cos - b * sin, b * cos + a * sin], -1).flatten(-2)], 2)

    def forward(self, x: Tensor) -> Tensor:
        grid, tokens = tuple(x.shape[-2:]), x.flatten(2).transpose(1, 2)
        tokens = self.place(torch.cat([tokens.mean(1, keepdim=True), tokens], 1), grid)
        q, k, v = self.qkv(tokens).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        q, k = self.rotate(q, grid)[:, :, :1], self.rotate(k, grid)
        return self.proj(F.scaled_dot_product_attention(q, k, v).flatten(1))


class AttentionPool2d(RotAttentionPool2d):
    """As `RotAttentionPool2d`, with learned positions for a map of `feat_size`, resized for others."""

    def __init__(self, in_features: int, feat_size: int | tuple[int, int] = 7, out_features: int | None = None,
                 head_dim: int = 64, num_heads: int | None = None, qkv_bias: bool = True) -> None:
        height, width = pair_of(feat_size)
        super().__init__(in_features, out_features, (height, width), head_dim, num_heads, qkv_bias)
        self.pos_embed = nn.Parameter(torch.empty(1 + height * width, in_features))
        nn.init.trunc_normal_(self.pos_embed, std=in_features ** -0.5)

    def place(self, tokens: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Adds positions to the tokens (B, 1 + pixels, C)."""
        places: Tensor = self.pos_embed
        if grid != self.ref_feat_size:
            of_map = places[1:].float().T.unflatten(1, self.ref_feat_size)[None]
            resized = F.interpolate(of_map, size=grid, mode='bicubic', antialias=True)[0].flatten(1).T
            places = torch.cat([places[:1], resized.to(places.dtype)])
        return tokens + places

    def rotate(self, x: Tensor, grid: tuple[int, ...]) -> Tensor:
        """Changes nothing: positions are in the tokens."""
        return x
