"""Plain vision transformers, whose maps are all of one size, for detection and segmentation: ViTDet's pyramid, DPT."""
from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.convnext import LayerNorm2d

from ..spec import unknown

LEVELS = (4, 8, 16, 32)                                   # reductions that the simple pyramid makes
DEPTHS = 4                                                # maps that DPT takes, and levels that it makes of them
READOUTS = ('ignore', 'add', 'project')


class SimplePyramid(nn.Module):
    """ViTDet's simple feature pyramid (arXiv:2203.16527): the last map, by transposed convolutions or max pooling, at
    each of the `reductions`; no level sees another.

    Args:
        channels, reduction: of the last map.
        reductions: input pixels per pixel of the levels; powers of two, as `reduction` is.

    Raises:
        ValueError: a map of another reduction than a power of two.
    """

    def __init__(self, channels: int, reduction: int, reductions: Sequence[int], out_channels: int = 256) -> None:
        super().__init__()
        if reduction & (reduction - 1):
            raise ValueError(f"neck='simple' doubles and halves maps of a reduction that is a power of two, not "
                             f'{reduction}: fit the patches with backbone_options=dict(patch_size=16).')
        self.levels = nn.ModuleList(_level(channels, reduction, wanted, out_channels) for wanted in reductions)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        return [level(maps[-1]) for level in self.levels]


def _level(channels: int, reduction: int, wanted: int, out_channels: int) -> nn.Sequential:
    """From the last map to one level."""
    layers: list[nn.Module] = []
    for step in range((reduction // wanted).bit_length() - 1):
        if step:
            layers += [LayerNorm2d(channels, 1e-6), nn.GELU()]
        layers.append(nn.ConvTranspose2d(channels, channels // 2, 2, 2))
        channels //= 2
    if wanted > reduction:
        layers.append(nn.MaxPool2d(wanted // reduction, ceil_mode=True))
    return nn.Sequential(*layers, nn.Conv2d(channels, out_channels, 1, bias=False), LayerNorm2d(out_channels, 1e-6),
                         nn.Conv2d(out_channels, out_channels, 3, padding=1, bias=False),
                         LayerNorm2d(out_channels, 1e-6))


class DPT(nn.Module):
    """The dense prediction transformer's decoder (arXiv:2103.13413): maps of four depths reassembled at reductions of
    4, 8, 16 and 32 for patches of 16 pixels, and fused from the deepest up.

    Args:
        channels, reductions: of the maps, which are all of one reduction.
        class_token: whether each map comes in a pair with prefix tokens (B, tokens, C), the class token first.
        readout: what becomes of the class token: 'ignore', 'add' it to every pixel, or 'project' both to the map's
            channels; None is 'project' where there is one.
        widths: channels of the reassembled maps; by default 1/8, 1/4, 1/2 and all of the network's, as of DPT-Base.
        fusion_width: channels of what is fused.
        dropout: before the classifier.

    Raises:
        ValueError: another readout, one of a class token that is not there, or not a width for each map.
    """

    reductions = LEVELS

    def __init__(self, channels: Sequence[int], reductions: Sequence[int], num_classes: int, class_token: bool = False,
                 readout: str | None = None, widths: Sequence[int] | None = None, fusion_width: int = 256,
                 dropout: float = 0.1) -> None:
        super().__init__()
        readout = readout or ('project' if class_token else 'ignore')
        if readout not in READOUTS:
            raise ValueError(unknown('readout', readout, READOUTS))
        if readout != 'ignore' and not class_token:
            raise ValueError(f"readout={readout!r} needs a backbone with a class token; this one takes 'ignore'.")
        widths = widths or [max(width // 2 ** (3 - i), 1) for i, width in enumerate(channels)]
        if len(widths) != len(channels):
            raise ValueError(f'widths has a number for each of the {len(channels)} maps; got {list(widths)}.')
        self.patch, self.with_prefix, self.readout = reductions[-1], class_token, readout
        self.projections = nn.ModuleList(nn.Sequential(nn.Linear(2 * width, width), nn.GELU()) for width in channels
                                         if readout == 'project')
        self.reassemble = nn.ModuleList(
            _reassemble(c, width, fusion_width, i) for i, (c, width) in enumerate(zip(channels, widths)))
        self.fusions = nn.ModuleList(Fusion(fusion_width) for _ in channels)
        self.classifier = nn.Sequential(
            nn.Conv2d(fusion_width, fusion_width, 3, padding=1, bias=False), nn.BatchNorm2d(fusion_width), nn.ReLU(),
            nn.Dropout(dropout), nn.Conv2d(fusion_width, num_classes, 1))

    def forward(self, maps: Sequence[Any], size: Sequence[int]) -> Tensor:
        levels = [layer(self._read(i, maps[i])) for i, layer in enumerate(self.reassemble)]
        rows, columns = (maps[0][0] if self.with_prefix else maps[0]).shape[-2:]
        x: Tensor | None = None
        for i, fusion in enumerate(self.fusions):          # from the deepest level up, each to the size of the next
            level = levels[-1 - i]
            last = i == len(levels) - 1
            height, width = level.shape[-2:] if last else levels[-2 - i].shape[-2:]
            x = fusion(level, x, (2 * height, 2 * width) if last else (height, width))
        # the network pads images to whole patches, at the bottom and right: what they hold is cut off again
        x = F.interpolate(self.classifier(x), (rows * self.patch, columns * self.patch), mode='bilinear',
                          align_corners=True)
        return x[..., :size[0], :size[1]]

    def _read(self, number: int, given: Any) -> Tensor:
        """A map with what the class token says in it."""
        if not self.with_prefix:
            return given
        x, prefix = given
        token = prefix[:, 0, :, None, None]
        if self.readout == 'add':
            return x + token
        if self.readout == 'project':
            both = torch.cat([x, token.expand_as(x)], 1).movedim(1, -1)
            return self.projections[number](both).movedim(-1, 1)
        return x


class Fusion(nn.Module):
    """A level of DPT and what was fused before it -> both, at another size. The first level has nothing before it."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.before, self.after = ResidualUnit(width), ResidualUnit(width)
        self.project = nn.Conv2d(width, width, 1)

    def forward(self, level: Tensor, fused: Tensor | None, size: Sequence[int]) -> Tensor:
        x = self.before(level)
        x = self.after(x if fused is None else x + fused)
        return self.project(F.interpolate(x, size, mode='bilinear', align_corners=True))


class ResidualUnit(nn.Module):
    """Two convolutions with their activations before them, and a shortcut."""

    def __init__(self, width: int) -> None:
        super().__init__()
        layers = (layer for _ in range(2) for layer in (
            nn.ReLU(), nn.Conv2d(width, width, 3, padding=1, bias=False), nn.BatchNorm2d(width)))
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


def _reassemble(channels: int, width: int, fusion_width: int, number: int) -> nn.Sequential:
    """From map `number` to a level: four, two, one and half times as large."""
    resize: list[nn.Module] = [nn.Conv2d(width, width, 3, 2, 1)]
    if number < 3:
        scale = 4 >> number
        resize = [nn.ConvTranspose2d(width, width, scale, scale)] if scale > 1 else []
    return nn.Sequential(nn.Conv2d(channels, width, 1), *resize,
                         nn.Conv2d(width, fusion_width, 3, padding=1, bias=False))


def even_depths(count: int, depths: int = DEPTHS) -> list[int]:
    """The last of each of so many equal parts of `count` stages."""
    return [math.floor(count * part / depths) - 1 for part in range(1, depths + 1)]
