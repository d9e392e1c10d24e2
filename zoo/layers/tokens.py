"""Tokens of an image: what goes through a vision transformer, how they are thinned and pooled."""
from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..spec import Pair, between, unknown
from .conv import channels_first
from .pool import POOLS, GlobalPool

TOKEN_POOLS = (*POOLS, 'token', 'map', 'prr')
ATTENTION_POOLS = ('map', 'prr')


class Tokens(NamedTuple):
    """The state between the blocks of a vision transformer.

    Attributes:
        x: tokens (B, prefix + rows * columns, C): first the prefix, such as the class token, then the patches row by row.
        grid: rows and columns of the patches; None where some were dropped.
        attn_mask, is_causal: what the caller allows to be looked at, see `zoo.layers.attention_tokens.attend`.
        rope: a rotary embedding of the patches, see `zoo.layers.rotary`.
        valid: of packed patches, which there are (B, N); their grid is None.
    """

    x: Tensor
    grid: Pair | None
    attn_mask: Tensor | None = None
    is_causal: bool = False
    rope: Tensor | None = None
    valid: Tensor | None = None


class PatchDropout(nn.Module):
    """Keeps a random part of an image's patches in training, others for each image (arXiv:2208.07220):
    (B, prefix + N, C) -> (B, prefix + N', C), all prefix tokens among them.

    Args:
        prob: the share that is dropped.
        ordered: leave what is kept in its order.

    Raises:
        ValueError: `prob` outside [0, 1).
    """

    def __init__(self, prob: float = 0.5, num_prefix_tokens: int = 1, ordered: bool = False) -> None:
        super().__init__()
        self.prob = between('patch_drop_rate', prob, 0, 1)
        self.num_prefix_tokens, self.ordered = num_prefix_tokens, ordered

    def choose(self, x: Tensor) -> Tensor | None:
        """Which patches are kept of each image, by their numbers (B, N'); None where all are."""
        if not self.training or not self.prob:
            return None
        count = x.shape[1] - self.num_prefix_tokens
        kept = torch.rand(x.shape[0], count, device=x.device).argsort(-1)[:, :max(1, int(count * (1 - self.prob)))]
        return kept.sort(-1).values if self.ordered else kept

    def keep(self, x: Tensor, kept: Tensor) -> Tensor:
        """The tokens with those patches."""
        prefix, patches = x.tensor_split([self.num_prefix_tokens], dim=1)
        return torch.cat([prefix, patches.gather(1, kept.unsqueeze(-1).expand(-1, -1, x.shape[-1]))], dim=1)

    def forward(self, x: Tensor) -> Tensor:
        kept = self.choose(x)
        return x if kept is None else self.keep(x, kept)

    def extra_repr(self) -> str:
        return f'{self.prob:g}'


def pool_tokens(layer: nn.Module, x: Tensor, size: Pair, num_prefix_tokens: int = 0) -> tuple[Tensor, Pair]:
    """Tokens (B, prefix + H W, C) after a layer of maps (B, C, H, W), such as pooling, of those that are a map of
    `size`, (H, W): (B, prefix + H' W', C), and (H', W')."""
    prefix, x = x[:, :num_prefix_tokens], x[:, num_prefix_tokens:]
    x = layer(channels_first(x.transpose(1, 2).unflatten(2, size)))
    size = x.shape[2], x.shape[3]
    x = x.flatten(2).transpose(1, 2)
    return torch.cat([prefix, x], dim=1) if num_prefix_tokens else x, size


class TokenPool(GlobalPool):
    """Tokens (B, prefix + N, C) -> (B, C): 'token' takes the first, others pool those of patches as `GlobalPool` does.
    For 'map' and 'prr', which attention pools, and '' the tokens to pool are returned.

    Args:
        include_prefix: pool the prefix tokens too.

    Raises:
        ValueError: another kind.
    """

    def __init__(self, kind: str, num_prefix_tokens: int, include_prefix: bool = False) -> None:
        if kind not in TOKEN_POOLS:
            raise ValueError(unknown('global_pool', kind, TOKEN_POOLS))
        super().__init__(kind if kind in POOLS else '', 'NLC')
        self.pool_type, self.first = kind, 0 if include_prefix else num_prefix_tokens

    def forward(self, x: Tensor, valid: Tensor | None = None) -> Tensor:
        """Pools tokens; with `valid` (B, N) those of patches that there are."""
        if not self.pool_type:
            return x
        if self.pool_type == 'token':
            return x[:, 0]
        x = x[:, self.first:]
        if self.pool_type in ATTENTION_POOLS:
            return x
        if valid is None:
            return super().forward(x)
        there = self.pooled(x, valid).unsqueeze(-1)
        mean = (x * there).sum(1) / there.sum(1).clamp_min(1)
        return self.joined(mean, x.masked_fill(~there, -torch.inf).amax(1))

    def pooled(self, x: Tensor, valid: Tensor) -> Tensor:
        """Which of the tokens that are pooled, `x`, there are: all prefix tokens, and of the patches those of `valid`."""
        return F.pad(valid, (x.shape[1] - valid.shape[1], 0), value=True)
