"""Stochastic depth."""
from __future__ import annotations

import torch.fx
from torch import Tensor, nn


class DropPath(nn.Module):
    """Zeroes whole samples of a residual branch in training, arXiv:1603.09382; the rest is scaled up to keep the mean.

    Raises:
        ValueError: `drop_prob` outside [0, 1).
    """

    def __init__(self, drop_prob: float = 0.0) -> None:
        super().__init__()
        if not 0 <= drop_prob < 1:
            raise ValueError(f'drop_path is a probability in [0, 1), not {drop_prob}.')
        self.drop_prob = drop_prob

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.drop_prob == 0:
            return x
        return drop_samples(x, self.drop_prob)

    def extra_repr(self) -> str:
        return f'{self.drop_prob:g}'


@torch.fx.wrap                                    # the mask has as many dimensions as `x`, which a symbolic trace lacks
def drop_samples(x: Tensor, drop_prob: float) -> Tensor:
    """(B, …) with each sample zeroed with probability `drop_prob`, and the others over what is left of 1."""
    keep = 1 - drop_prob
    return x * (x.new_empty(x.shape[0], *[1] * (x.ndim - 1)).bernoulli_(keep) / keep)
