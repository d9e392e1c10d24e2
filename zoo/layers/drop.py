"""Dropping whole samples of a branch, or squares of a map, in training."""
from __future__ import annotations

import torch.fx
from torch import Tensor, nn
from torch.nn import functional as F


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


class DropBlock2d(nn.Module):
    """Zeroes squares of maps (B, C, H, W) in training, of all channels alike, arXiv:1810.12890; the rest is scaled up
    to keep the mean.

    Args:
        drop_prob: the share of pixels that is dropped.
        block_size: side of the squares in pixels; of a smaller map, its shorter side.
        gamma_scale: factor of how many squares there are.

    Raises:
        ValueError: `drop_prob` outside [0, 1).
    """

    def __init__(self, drop_prob: float = 0.1, block_size: int = 7, gamma_scale: float = 1.0) -> None:
        super().__init__()
        if not 0 <= drop_prob < 1:
            raise ValueError(f'drop_block is a probability in [0, 1), not {drop_prob}.')
        self.drop_prob, self.block_size, self.gamma_scale = drop_prob, block_size, gamma_scale

    def forward(self, x: Tensor) -> Tensor:
        if not self.training or self.drop_prob == 0:
            return x
        height, width = x.shape[2:]
        side = min(self.block_size, height, width)
        places = (height - side + 1, width - side + 1)             # of a square's corner, so that it lies inside
        gamma = self.gamma_scale * self.drop_prob * height * width / (side ** 2 * places[0] * places[1])
        corners = x.new_empty(x.shape[0], 1, *places).bernoulli_(min(gamma, 1.0))
        keep = 1 - F.max_pool2d(F.pad(corners, (side - 1,) * 4), side, stride=1)
        return x * keep * (keep.numel() / keep.sum().clamp_min(1))

    def extra_repr(self) -> str:
        return f'{self.drop_prob:g}, block_size={self.block_size}'
