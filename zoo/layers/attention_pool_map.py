"""Pooling of a map by attention (CLIP, arXiv:2103.00020, section 2.4): maps (B, C, H, W) -> one vector an image."""
from __future__ import annotations

import torch
from torch import Tensor, nn

from ..spec import Pair, Sizes, unknown
from .attention_tokens import attend, merge_heads
from .init import draw_normal
from .positions import resample_abs_pos_embed
from .rotary import RotaryEmbeddingCat, apply_rot_embed_cat
from .sizes import ImageSize, SizedLayer, map_size, pair_of

POOLS = ('', 'token')


class RotAttentionPool2d(nn.Module):
    """A token that is the mean of all pixels looks at every pixel once: (B, in_features, H, W) -> (B, out_features).

    Where pixels lie is told by rotating queries and keys (RoPE, arXiv:2104.09864) along both axes.

    Args:
        out_features: by default `embed_dim`; 0 leaves the last linear layer out.
        ref_feat_size: height and width of the map that positions are counted in, whatever the size of the map.
        embed_dim: width of attention, by default `in_features`.
        head_dim: features per head; num_heads: the number of heads, in its place.
        qkv_separate: a linear layer each for queries, keys and values.
        pool_type: 'token', or '' to leave the map as it is.
        class_token: a learned token in place of the mean. drop_rate: dropout before the last linear layer.

    Raises:
        ValueError: features that the heads cannot share, or another `pool_type`.
    """

    feat_mult = 1                                           # as GlobalPool has it: the vector is as wide as attention

    def __init__(self, in_features: int, out_features: int | None = None, ref_feat_size: ImageSize = 7,
                 embed_dim: int | None = None, head_dim: int | None = 64, num_heads: int | None = None,
                 qkv_bias: bool = True, qkv_separate: bool = False, pool_type: str = 'token', class_token: bool = False,
                 drop_rate: float = 0.0) -> None:
        super().__init__()
        self.embed_dim = embed_dim or in_features
        self.num_heads = num_heads or self.embed_dim // (head_dim or 64)
        if not self.num_heads or self.embed_dim % self.num_heads:
            raise ValueError(f'{self.embed_dim} features cannot be shared by {self.num_heads} heads; give num_heads or '
                             'head_dim that divides them.')
        self.in_features, self.head_dim = in_features, self.embed_dim // self.num_heads
        self.ref_feat_size: Pair = pair_of(ref_feat_size, 'feat_size')
        self.set_pool(pool_type)
        self.cls_token = nn.Parameter(torch.empty(1, in_features)) if class_token else None
        self.qkv: nn.Linear | None = None
        if qkv_separate:
            self.q, self.k, self.v = (nn.Linear(in_features, self.embed_dim, bias=qkv_bias) for _ in range(3))
        else:
            self.qkv = nn.Linear(in_features, 3 * self.embed_dim, bias=qkv_bias)
        self.drop = nn.Dropout(drop_rate)
        self.proj: nn.Module = nn.Identity()
        if out_features != 0:
            self.proj = nn.Linear(self.embed_dim, self.embed_dim if out_features is None else out_features)
        self.places = self.make_places()
        self.reset_parameters()

    def make_places(self) -> RotaryEmbeddingCat | None:
        """What rotates queries and keys."""
        return RotaryEmbeddingCat(self.head_dim, in_pixels=False, ref_feat_shape=self.ref_feat_size)

    def set_pool(self, pool_type: str) -> None:
        """Pools, or not.

        Raises:
            ValueError: another kind of pooling.
        """
        if pool_type not in POOLS:
            raise ValueError(unknown('pool_type', pool_type, POOLS))
        self.pool_type = pool_type

    def reset_parameters(self) -> None:
        """Queries, keys and values normal with variance 1 / features, biases zero, a class token zero."""
        for layer in [self.qkv] if self.qkv is not None else [self.q, self.k, self.v]:
            draw_normal(layer.weight, layer.in_features ** -0.5)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
        if self.cls_token is not None:
            nn.init.zeros_(self.cls_token)

    def add_places(self, tokens: Tensor, grid: Pair) -> Tensor:
        """Adds positions to tokens (B, 1 + pixels, C): here nothing, they are in the rotation."""
        return tokens

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        if not self.pool_type:
            return x
        grid = (x.shape[2], x.shape[3])
        pixels = x.flatten(2).transpose(1, 2)
        token = pixels.mean(1, keepdim=True) if self.cls_token is None else self.cls_token.expand(x.shape[0], -1, -1)
        tokens = self.add_places(torch.cat([token, pixels], 1), grid)
        if self.qkv is None:
            q, k, v = self.q(tokens), self.k(tokens), self.v(tokens)
        else:
            q, k, v = self.qkv(tokens).chunk(3, -1)
        q, k, v = (part.unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in (q, k, v))
        if self.places is not None:                                     # the token itself is nowhere
            turned = apply_rot_embed_cat(k[:, :, 1:], self.places.get_embed(grid, k.dtype, k.device))
            k = torch.cat([k[:, :, :1], turned], 2)
        x = self.drop(merge_heads(attend(q, k, v)))                     # of all tokens, as its figures of cost have it
        return x[:, 0] if pre_logits else self.proj(x)[:, 0]


class AttentionPool2d(RotAttentionPool2d, SizedLayer):
    """As `RotAttentionPool2d`, with learned positions for a map of `feat_size`, resampled for others, which its authors do
    not.

    Attributes:
        reduction: pixels of the image a side per pixel of the map, where it is part of a network.
    """

    reduction = 32

    def __init__(self, in_features: int, feat_size: ImageSize = 7, out_features: int | None = None,
                 embed_dim: int | None = None, head_dim: int | None = 64, num_heads: int | None = None,
                 qkv_bias: bool = True, qkv_separate: bool = False, pool_type: str = 'token', class_token: bool = False,
                 drop_rate: float = 0.0) -> None:
        super().__init__(in_features, out_features, feat_size, embed_dim, head_dim, num_heads, qkv_bias, qkv_separate,
                         pool_type, class_token, drop_rate)
        height, width = self.ref_feat_size
        self.pos_embed = nn.Parameter(torch.empty(1 + height * width, in_features))
        draw_normal(self.pos_embed, in_features ** -0.5)

    def make_places(self) -> None:
        """Nothing is rotated."""

    def reset_parameters(self) -> None:
        """As `RotAttentionPool2d`, positions likewise."""
        super().reset_parameters()
        if hasattr(self, 'pos_embed'):
            draw_normal(self.pos_embed, self.in_features ** -0.5)

    def add_places(self, tokens: Tensor, grid: Pair) -> Tensor:
        """Adds positions to tokens (B, 1 + pixels, C)."""
        return tokens + resample_abs_pos_embed(self.pos_embed[None], grid, self.ref_feat_size)

    def fit(self, sizes: Sizes) -> None:
        if sizes.img_size is not None:
            new = map_size(sizes.img_size, self.reduction)
            if new != self.ref_feat_size:
                self.pos_embed = nn.Parameter(self._resampled(self.pos_embed.detach(), self.ref_feat_size, new))
                self.ref_feat_size = new

    def adapt_state(self, state: dict[str, Tensor], prefix: str, source: Sizes) -> None:
        key = f'{prefix}pos_embed'
        if key not in state or state[key].ndim != 2 or state[key].shape == self.pos_embed.shape:
            return
        old = map_size(source.img_size, self.reduction) if source.img_size is not None else None
        if old is not None and len(state[key]) != 1 + old[0] * old[1]:
            old = None                                                  # then of a square
        state[key] = self._resampled(state[key], old, self.ref_feat_size)

    @staticmethod
    def _resampled(positions: Tensor, old: Pair | None, new: Pair) -> Tensor:
        return resample_abs_pos_embed(positions[None], new, old)[0]
