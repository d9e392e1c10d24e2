"""Necks: what lies between a backbone and a detector's or a segmenter's head, in place of the usual feature pyramid."""
from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

NECKS = ('simple', 'sam2_fpn')
FUSED = (16, 32)                                          # reductions of the maps that SAM 2 joins


class Sam2Fpn(nn.Module):
    """The feature pyramid of SAM 2's image encoder (arXiv:2408.00714, appendix): each map by a convolution of one pixel,
    and only that of reduction 32 goes down to another, enlarged by its nearest pixels and added to that of 16.

    Args:
        channels, reductions: of the maps, from the finest.

    Raises:
        ValueError: there is no map of reduction 16 or of 32.
    """

    def __init__(self, channels: Sequence[int], reductions: Sequence[int], out_channels: int = 256) -> None:
        super().__init__()
        if not {*FUSED} <= {*reductions}:
            raise ValueError(f"neck='sam2_fpn' joins maps of the reductions {FUSED[0]} and {FUSED[1]}; the backbone has "
                             f'those of {[*reductions]}. Networks whose maps are all of one take neck=\'simple\'.')
        self.fused = tuple([*reductions].index(reduction) for reduction in FUSED)
        self.convs = nn.ModuleList(nn.Conv2d(width, out_channels, 1) for width in channels)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        levels = [conv(x) for conv, x in zip(self.convs, maps)]
        finer, coarser = self.fused
        levels[finer] = levels[finer] + F.interpolate(levels[coarser], levels[finer].shape[-2:], mode='nearest')
        return levels
