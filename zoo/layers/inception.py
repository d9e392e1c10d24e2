"""What Inception's networks are built of: convolutions in a row, rows side by side, and maps large enough for both."""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
import torch.fx
from torch import Tensor, nn
from torch.nn import functional as F

from .act import ActLayer
from .norm import Norm

Step = tuple[Any, ...]                          # channels, kernel (a side, or height and width), 'same', 'valid' or 'half'


class InceptionConv(nn.Module):
    """A convolution, normalisation and activation: (B, in_chs, H, W) -> (B, out_chs, H, W); without padding less by what
    the kernel covers more than a pixel.

    Args:
        kernel: a side, or height and width.
        how: 'same' pads, 'valid' does not, 'half' does not and has a stride of 2.
    """

    def __init__(self, in_chs: int, out_chs: int, kernel: int | tuple[int, int] = 1, how: str = 'same', *, norm: Norm,
                 act_layer: ActLayer = 'relu') -> None:
        super().__init__()
        sides = (kernel, kernel) if isinstance(kernel, int) else kernel
        padding = (sides[0] // 2, sides[1] // 2) if how == 'same' else (0, 0)
        self.conv = nn.Conv2d(in_chs, out_chs, sides, 2 if how == 'half' else 1, padding, bias=False)
        self.bn, self.act = norm.with_act(out_chs, act_layer)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        return self.act(self.bn(x))


class Layers:
    """Makes the layers of a network with one kind of normalisation and activation."""

    def __init__(self, norm: Norm, act_layer: ActLayer) -> None:
        self.norm, self.act_layer = norm, act_layer

    def conv(self, in_chs: int, *step: Any) -> InceptionConv:
        """One convolution: `out_chs`, `kernel` and `how` of `InceptionConv`."""
        return InceptionConv(in_chs, *step, norm=self.norm, act_layer=self.act_layer)

    def row(self, in_chs: int, *steps: Step) -> nn.Sequential:
        """Convolutions in a row."""
        widths = [in_chs, *(step[0] for step in steps)]
        return nn.Sequential(*(self.conv(width, *step) for width, step in zip(widths, steps)))

    def pooled(self, in_chs: int, out_chs: int) -> nn.Sequential:
        """The mean of 3x3 pixels without the border, and a 1x1 convolution."""
        return nn.Sequential(nn.AvgPool2d(3, 1, padding=1, count_include_pad=False), self.conv(in_chs, out_chs))


class Branches(nn.Module):
    """Modules side by side, by their names: a map (B, C, H, W) -> the maps of all, joined as channels."""

    def __init__(self, **branches: nn.Module) -> None:
        super().__init__()
        for name, branch in branches.items():
            self.add_module(name, branch)

    def joined(self, x: Tensor, names: Iterable[str]) -> Tensor:
        """The maps that those modules make of one, joined as channels."""
        return torch.cat([self.get_submodule(name)(x) for name in names], 1)

    def forward(self, x: Tensor) -> Tensor:
        return self.joined(x, self._modules)


def at_least(x: Tensor, side: int) -> Tensor:
    """A map (B, C, H, W) of at least `side` rows and columns: zeros at the bottom and right are added to a smaller one. An
    exported graph takes none that is smaller."""
    return x if torch.compiler.is_exporting() else _filled(x, side)


@torch.fx.wrap                                  # a symbolic trace has no sizes
def _filled(x: Tensor, side: int) -> Tensor:
    down, right = max(side - x.shape[2], 0), max(side - x.shape[3], 0)
    return F.pad(x, (0, right, 0, down)) if down or right else x
