"""Inception-v3, arXiv:1512.00567: convolutions of several sizes side by side, large ones made of small ones.

    image -> Conv2d_1a to _2b (stride 2) -> Pool1, Conv2d_3b, _4a (stride 2) -> Pool2, Mixed_5b to _5d (stride 2)
          -> Mixed_6a to _6e (stride 2) -> Mixed_7a to _7c (stride 2) -> pool -> fc

Strided layers do not pad.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..contract import Parts
from ..layers.act import ActLayer
from ..layers.inception import Layers, Step
from ..layers.norm import Norm, NormLayer
from .inceptionnet import InceptionNet

Row = Sequence[Step | list[Step]]                             # convolutions in a row; a list of those that a row ends in
WIDE, TALL = (1, 7), (7, 1)


class InceptionV3(InceptionNet):
    """Inception-v3, arXiv:1512.00567, Table 1. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        norm_eps: of `norm_layer`.
        count_include_pad: average pooling counts the zeros around a map; False is as in the paper's own code.
    """

    parts = Parts(
        stem=('Conv2d_1a_3x3', 'Conv2d_2a_3x3', 'Conv2d_2b_3x3'), classifier=('fc',),
        stages=(('Pool1', 'Conv2d_3b_1x1', 'Conv2d_4a_3x3'), ('Pool2', 'Mixed_5b', 'Mixed_5c', 'Mixed_5d'),
                ('Mixed_6a', 'Mixed_6b', 'Mixed_6c', 'Mixed_6d', 'Mixed_6e'), ('Mixed_7a', 'Mixed_7b', 'Mixed_7c')))
    sides = (7, 3, 3, 3)

    def __init__(self, num_classes: int = 1000, in_chans: int = 3, drop_rate: float = 0.0, global_pool: str = 'avg',
                 norm_layer: NormLayer = 'batchnorm2d', norm_eps: float = 1e-3, act_layer: ActLayer = 'relu',
                 count_include_pad: bool = True) -> None:
        super().__init__()
        self.in_chans, self.num_features = in_chans, 2048
        make = Layers(Norm(norm_layer, eps=norm_eps), act_layer)
        self.Conv2d_1a_3x3 = make.conv(in_chans, 32, 3, 'half')
        self.Conv2d_2a_3x3, self.Conv2d_2b_3x3 = make.conv(32, 32, 3, 'valid'), make.conv(32, 64, 3)
        self.Pool1 = nn.MaxPool2d(3, 2)
        self.Conv2d_3b_1x1, self.Conv2d_4a_3x3 = make.conv(64, 80), make.conv(80, 192, 3, 'valid')
        self.Pool2 = nn.MaxPool2d(3, 2)
        for name, width, pooled in (('b', 192, 32), ('c', 256, 64), ('d', 288, 64)):
            self.add_module(f'Mixed_5{name}', inception_a(make, width, pooled))
        self.Mixed_6a = Mixed(make, 288, dict(
            branch3x3=[(384, 3, 'half')], branch3x3dbl=[(64,), (96, 3), (96, 3, 'half')]))
        for name, inner in (('b', 128), ('c', 160), ('d', 160), ('e', 192)):
            self.add_module(f'Mixed_6{name}', inception_c(make, inner))
        self.Mixed_7a = Mixed(make, 768, dict(
            branch3x3=[(192,), (320, 3, 'half')], branch7x7x3=[(192,), (192, WIDE), (192, TALL), (192, 3, 'half')]))
        self.Mixed_7b, self.Mixed_7c = inception_e(make, 1280), inception_e(make, 2048)
        for part in self.modules():
            if isinstance(part, Mixed):
                part.count_include_pad = count_include_pad
        self.describe((64, 'Conv2d_2b_3x3', 5), (192, 'Conv2d_4a_3x3', 15), (288, 'Mixed_5d', 19),
                      (768, 'Mixed_6e', 27), (2048, 'Mixed_7c', 43))
        self.build_head(self.num_features, num_classes, global_pool, drop_rate)
        self.init_fresh()


class Mixed(nn.Module):
    """Rows of convolutions side by side, and pooling: (B, in_chs, H, W) -> their maps, joined as channels.

    Args:
        rows: the convolutions of each row, by its name.
        pooled: channels of a 1x1 convolution after the mean of 3x3 pixels; 0 for max pooling with a stride of 2.

    Attributes:
        count_include_pad: whether the mean counts the zeros around the map.
    """

    count_include_pad = True

    def __init__(self, make: Layers, in_chs: int, rows: Mapping[str, Row], pooled: int = 0) -> None:
        super().__init__()
        self.rows: list[list[list[str]]] = []
        for row, steps in rows.items():
            self.rows.append([])
            width = in_chs
            for number, step in enumerate(steps, start=1):
                forks = step if isinstance(step, list) else [step]
                names = [f'{row}_{number}{"ab"[index] if len(forks) > 1 else ""}' if len(steps) > 1 else row
                         for index in range(len(forks))]
                for name, fork in zip(names, forks):
                    self.add_module(name, make.conv(width, *fork))
                self.rows[-1].append(names)
                width = forks[0][0]
        self.branch_pool = make.conv(in_chs, pooled) if pooled else None

    def forward(self, x: Tensor) -> Tensor:
        maps: list[Tensor] = []
        for *names, ends in self.rows:
            inner = x
            for (name,) in names:
                inner = self.get_submodule(name)(inner)
            maps += [self.get_submodule(name)(inner) for name in ends]
        if self.branch_pool is None:
            maps.append(F.max_pool2d(x, 3, 2))
        else:
            maps.append(self.branch_pool(F.avg_pool2d(x, 3, 1, 1, count_include_pad=self.count_include_pad)))
        return torch.cat(maps, 1)


def inception_a(make: Layers, width: int, pooled: int) -> Mixed:
    """Figure 5: (B, width, H, W) -> (B, 224 + pooled, H, W)."""
    return Mixed(make, width, dict(branch1x1=[(64,)], branch5x5=[(48,), (64, 5)],
                                   branch3x3dbl=[(64,), (96, 3), (96, 3)]), pooled)


def inception_c(make: Layers, inner: int) -> Mixed:
    """Figure 6, of 7x7 convolutions: (B, 768, H, W) -> the same."""
    return Mixed(make, 768, dict(
        branch1x1=[(192,)], branch7x7=[(inner,), (inner, WIDE), (192, TALL)],
        branch7x7dbl=[(inner,), (inner, TALL), (inner, WIDE), (inner, TALL), (192, WIDE)]), 192)


def inception_e(make: Layers, width: int) -> Mixed:
    """Figure 7: (B, width, H, W) -> (B, 2048, H, W)."""
    ends: list[Step] = [(384, (1, 3)), (384, (3, 1))]
    return Mixed(make, width, dict(branch1x1=[(320,)], branch3x3=[(384,), ends],
                                   branch3x3dbl=[(448,), (384, 3), ends]), 192)
