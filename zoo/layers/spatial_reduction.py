"""Attention whose keys and values come from a coarser map (PVT, arXiv:2102.12122, section 3.3)."""
from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

from ..spec import Pair
from .attention_tokens import attend, merge_heads
from .conv import channels_first

POOLED = 7                                             # rows and columns of the map that linear attention looks at


class SpatialReductionAttention(nn.Module):
    """Multi-head self-attention with keys and values of a coarser map: tokens (B, H W, dim) of a map of `feat_size`,
    (H, W) -> the same.

    Args:
        sr_ratio: side of the squares of pixels of each of which a convolution makes one; 1 leaves the map.
        linear_attn: the coarser map is a mean over 7x7 parts, of images of any size (PVTv2, arXiv:2106.13797, section
            3.3), in place of the squares.
        qkv_bias: biases of queries, keys and values.
        attn_drop: dropout of the attention weights. proj_drop: after the last layer.

    Raises:
        ValueError: a width that the heads do not divide.
    """

    def __init__(self, dim: int, num_heads: int = 8, sr_ratio: int = 1, linear_attn: bool = False,
                 qkv_bias: bool = True, attn_drop: float = 0.0, proj_drop: float = 0.0) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f'{num_heads} heads do not divide {dim} channels.')
        self.num_heads, self.sr_ratio = num_heads, 1 if linear_attn else sr_ratio
        self.q = nn.Linear(dim, dim, bias=qkv_bias)
        self.kv = nn.Linear(dim, 2 * dim, bias=qkv_bias)
        self.attn_drop = nn.Dropout(attn_drop)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)
        self.pool = nn.AdaptiveAvgPool2d(POOLED) if linear_attn else None
        self.sr = self.norm = None
        if linear_attn or sr_ratio > 1:
            self.sr = nn.Conv2d(dim, dim, self.sr_ratio, self.sr_ratio)
            self.norm = nn.LayerNorm(dim)
        self.act = nn.GELU() if linear_attn else None

    def forward(self, x: Tensor, feat_size: Pair) -> Tensor:
        q = self.q(x).unflatten(-1, (self.num_heads, -1)).transpose(1, 2)
        x = self._coarser(x, feat_size)
        k, v = self.kv(x).unflatten(-1, (2, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        x = attend(q, k, v, dropout=self.attn_drop.p if self.training else 0.0)
        return self.proj_drop(self.proj(merge_heads(x)))

    def _coarser(self, x: Tensor, feat_size: Pair) -> Tensor:
        """The tokens that keys and values are made of (B, M, dim)."""
        if self.sr is None or self.norm is None:
            return x
        x = channels_first(x.transpose(1, 2).unflatten(2, feat_size))
        if self.pool is not None:
            x = self.pool(x)
        elif any(isinstance(side, int) and side < self.sr_ratio for side in feat_size):        # less than one square
            down, right = (max(self.sr_ratio - side, 0) for side in feat_size)
            x = F.pad(x, (0, right, 0, down))
        x = self.norm(self.sr(x).flatten(2).transpose(1, 2))
        return x if self.act is None else self.act(x)
