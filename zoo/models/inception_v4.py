"""Inception-v4, arXiv:1602.07261: convolutions of several sizes side by side.

    image -> features: 0 to 2, convolutions (stride 2) -> 3 (stride 2) -> 4, 5 (stride 2), four InceptionA
          -> ReductionA (stride 2), seven InceptionB -> ReductionB (stride 2), three InceptionC -> pool -> last_linear

Strided layers do not pad. `features` numbers all layers, as checkpoints do.
"""
from __future__ import annotations

from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from ..contract import Parts
from ..layers.act import ActLayer
from ..layers.inception import Branches, Layers
from ..layers.norm import Norm, NormLayer
from .inceptionnet import InceptionNet

A, B, C = 384, 1024, 1536                                                     # channels of the three kinds of blocks


class InceptionV4(InceptionNet):
    """Inception-v4, arXiv:1602.07261, Figure 9. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        output_stride: reduction of the last stage; there is no other. norm_eps: of `norm_layer`.

    Raises:
        ValueError: another `output_stride`.
    """

    parts = Parts(stem=(), stages=(), classifier=('last_linear',))
    sides = (3, 5, 3, 3)

    def __init__(self, num_classes: int = 1000, in_chans: int = 3, output_stride: Literal[32] = 32, drop_rate: float = 0.0,
                 global_pool: str = 'avg', norm_layer: NormLayer = 'batchnorm2d', norm_eps: float = 1e-3,
                 act_layer: ActLayer = 'relu') -> None:
        super().__init__()
        if output_stride != 32:
            raise ValueError(f'output_stride is 32, since Inception is not dilated, not {output_stride}.')
        self.in_chans, self.num_features = in_chans, C
        make = Layers(Norm(norm_layer, eps=norm_eps), act_layer)
        self.features = nn.Sequential(
            make.conv(in_chans, 32, 3, 'half'), make.conv(32, 32, 3, 'valid'), make.conv(32, 64, 3),
            Branches(maxpool=nn.MaxPool2d(3, 2), conv=make.conv(64, 96, 3, 'half')),
            Branches(branch0=make.row(160, (64,), (96, 3, 'valid')),
                     branch1=make.row(160, (64,), (64, (1, 7)), (64, (7, 1)), (96, 3, 'valid'))),
            Branches(conv=make.conv(192, 192, 3, 'half'), maxpool=nn.MaxPool2d(3, 2)),
            *(inception_a(make) for _ in range(4)), reduction_a(make),
            *(inception_b(make) for _ in range(7)), reduction_b(make), *(InceptionC(make) for _ in range(3)))
        names = [f'features.{number}' for number in range(len(self.features))]
        self.parts = replace(self.parts, stem=tuple(names[:3]), stages=(
            names[3], tuple(names[4:10]), tuple(names[10:18]), tuple(names[18:])))
        self.describe((64, names[2], 5), (160, names[3], 7), (A, names[9], 19), (B, names[17], 27), (C, names[21], 43))
        self.build_head(C, num_classes, global_pool, drop_rate)
        self.init_fresh()


def inception_a(make: Layers) -> Branches:
    """Figure 4: (B, 384, H, W) -> the same."""
    return Branches(branch0=make.conv(A, 96), branch1=make.row(A, (64,), (96, 3)),
                    branch2=make.row(A, (64,), (96, 3), (96, 3)), branch3=make.pooled(A, 96))


def reduction_a(make: Layers) -> Branches:
    """Figure 7: (B, 384, H, W) -> (B, 1024, (H - 1) // 2, (W - 1) // 2)."""
    return Branches(branch0=make.conv(A, 384, 3, 'half'), branch1=make.row(A, (192,), (224, 3), (256, 3, 'half')),
                    branch2=nn.MaxPool2d(3, 2))


def inception_b(make: Layers) -> Branches:
    """Figure 5: (B, 1024, H, W) -> the same."""
    return Branches(branch0=make.conv(B, 384), branch1=make.row(B, (192,), (224, (1, 7)), (256, (7, 1))),
                    branch2=make.row(B, (192,), (192, (7, 1)), (224, (1, 7)), (224, (7, 1)), (256, (1, 7))),
                    branch3=make.pooled(B, 128))


def reduction_b(make: Layers) -> Branches:
    """Figure 8: (B, 1024, H, W) -> (B, 1536, (H - 1) // 2, (W - 1) // 2)."""
    return Branches(branch0=make.row(B, (192,), (192, 3, 'half')),
                    branch1=make.row(B, (256,), (256, (1, 7)), (320, (7, 1)), (320, 3, 'half')),
                    branch2=nn.MaxPool2d(3, 2))


class InceptionC(nn.Module):
    """Figure 6, whose branches split in two at their ends: (B, 1536, H, W) -> the same."""

    def __init__(self, make: Layers) -> None:
        super().__init__()
        self.branch0 = make.conv(C, 256)
        self.branch1_0 = make.conv(C, 384)
        self.branch1_1a, self.branch1_1b = make.conv(384, 256, (1, 3)), make.conv(384, 256, (3, 1))
        self.branch2_0 = make.conv(C, 384)
        self.branch2_1, self.branch2_2 = make.conv(384, 448, (3, 1)), make.conv(448, 512, (1, 3))
        self.branch2_3a, self.branch2_3b = make.conv(512, 256, (1, 3)), make.conv(512, 256, (3, 1))
        self.branch3 = make.pooled(C, 256)

    def forward(self, x: Tensor) -> Tensor:
        maps = [self.branch0(x)]
        inner = self.branch1_0(x)
        maps += [self.branch1_1a(inner), self.branch1_1b(inner)]
        inner = self.branch2_2(self.branch2_1(self.branch2_0(x)))
        maps += [self.branch2_3a(inner), self.branch2_3b(inner), self.branch3(x)]
        return torch.cat(maps, 1)
