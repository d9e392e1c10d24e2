"""Dual path networks, arXiv:1707.01629: of each block, part of the channels is added, as in ResNet, and part joined, as in
DenseNet.

    image -> features: conv1_1 (stride 2) -> conv1_pool (stride 2), conv2_* -> conv3_* -> conv4_* -> conv5_*, conv5_bn_ac
          -> pool -> classifier
    block: normalisation, ReLU and convolution, 1x1, then grouped 3x3, then 1x1 -> added to the one path, joined to the other

Maps have the channels of both paths, those that are added first. `features` holds all blocks, as checkpoints name them.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import torch
from torch import Tensor, nn

from ..contract import Parts
from ..layers.act import ActLayer
from ..layers.conv import conv2d
from ..layers.conv_norm import ConvNorm
from ..layers.init import init_he
from ..layers.norm import Norm, NormLayer
from ..layers.stages import same_stages
from ..spec import Feature, unknown
from .headnet import ConvClassifierNet

EPS = 1e-3
TYPES = ('normal', 'proj', 'down')


class DPN(ConvClassifierNet):
    """Dual path network, arXiv:1707.01629. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        k_sec: blocks of each of the four stages. inc_sec: channels that each of their blocks joins.
        k_r: width of the 3x3 convolutions of the first stage, twice as many in each next one. groups: theirs.
        small: paths that are added have 64 channels in the first stage, else 256; and the stem a 3x3 convolution, else 7x7.
        num_init_features: channels of the stem.
        b: separate convolutions for the two paths, after a normalisation of their own.
        norm_layer, act_layer: of the stem and before the pooling; blocks have batch normalisation and ReLU.
        output_stride: reduction of the last stage; there is no other.

    Raises:
        ValueError: other than four stages, another `output_stride`.
    """

    parts = Parts(stem=('features.conv1_1',), stages=(), pre_head=('features.conv5_bn_ac',))
    draw = staticmethod(init_he)

    def __init__(self, k_sec: Sequence[int] = (3, 4, 20, 3), inc_sec: Sequence[int] = (16, 32, 24, 128), k_r: int = 96,
                 groups: int = 32, num_classes: int = 1000, in_chans: int = 3, output_stride: Literal[32] = 32,
                 global_pool: str = 'avg', small: bool = False, num_init_features: int = 64, b: bool = False,
                 drop_rate: float = 0.0, norm_layer: NormLayer = 'batchnorm2d', act_layer: ActLayer = 'relu') -> None:
        super().__init__()
        if output_stride != 32:
            raise ValueError(f'output_stride is 32, since dual paths are not dilated, not {output_stride}.')
        same_stages(k_sec=k_sec, inc_sec=inc_sec)
        norm = Norm(norm_layer, eps=EPS)
        self.in_chans = in_chans
        self.features = nn.Sequential()
        self.features.conv1_1 = ConvNorm(in_chans, num_init_features, 3 if small else 7, 2, act_layer=act_layer,
                                         norm_layer=norm)
        self.features.conv1_pool = nn.MaxPool2d(3, 2, padding=1)
        self.feature_info = [Feature(num_chs=num_init_features, reduction=2, module='features.conv1_1', stage=0)]
        width, stages = num_init_features, [['features.conv1_pool'], *[[] for _ in k_sec[1:]]]
        for number, (count, inc) in enumerate(zip(k_sec, inc_sec)):
            added, inner = (64 if small else 256) * 2 ** number, k_r * 2 ** number
            for index in range(count):
                name = f'conv{number + 2}_{index + 1}'
                kind = 'normal' if index else 'down' if number else 'proj'
                self.features.add_module(name, DualPathBlock(width, inner, inner, added, inc, groups, kind, b))
                stages[number].append(f'features.{name}')
                width = width + inc if index else added + 3 * inc
            self.feature_info.append(Feature(num_chs=width, reduction=4 * 2 ** number, module=stages[number][-1],
                                             stage=number + 1))
        self.features.conv5_bn_ac = BnAct(width, norm, act_layer)
        self.parts = replace(self.parts, stages=tuple(map(tuple, stages)))
        self.num_features = width
        self.build_head(width, num_classes, global_pool, drop_rate)
        self.init_fresh()

    def enter_stage(self, number: int, state: Tensor) -> Tensor:
        """The map that goes into the blocks of stage `number`: pooled before the first."""
        x: Tensor = self._run(('features.conv1_pool',), state) if number == 0 else state
        return x

    def run_stage(self, number: int, state: Tensor) -> Tensor:
        """The map after the blocks of stage `number`."""
        x: Tensor = self._run((name for name in self.stage_names()[number] if 'pool' not in name), state)
        return x


class BnAct(nn.Module):
    """Normalisation and activation of a map (B, in_chs, H, W)."""

    def __init__(self, in_chs: int, norm: Norm, act_layer: ActLayer) -> None:
        super().__init__()
        self.bn, self.act = norm.with_act(in_chs, act_layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.act(self.bn(x))


class BnActConv2d(nn.Module):
    """Normalisation, ReLU and a convolution: (B, in_chs, H, W) -> (B, out_chs, H / stride, W / stride)."""

    def __init__(self, in_chs: int, out_chs: int, kernel_size: int, stride: int, groups: int = 1,
                 norm_layer: NormLayer = 'batchnorm2d') -> None:
        super().__init__()
        self.bn, self.act = Norm(norm_layer, eps=EPS).with_act(in_chs, 'relu')
        self.conv = conv2d(in_chs, out_chs, kernel_size, stride, groups=groups)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.bn(x))
        return self.conv(x)


class DualPathBlock(nn.Module):
    """A block on two paths (arXiv:1707.01629, Figure 2d): a map (B, in_chs, H, W) -> one whose first `num_1x1_c` channels
    the block has added to, and to whose others it has joined `inc`.

    Args:
        num_1x1_a, num_3x3_b: channels of the first two convolutions of the branch.
        block_type: 'normal'; 'proj', which begins both paths by a 1x1 convolution of the map; 'down', the same with a
            stride of 2.
        b: see `DPN`.

    Raises:
        ValueError: another type.
    """

    def __init__(self, in_chs: int, num_1x1_a: int, num_3x3_b: int, num_1x1_c: int, inc: int, groups: int,
                 block_type: str = 'normal', b: bool = False) -> None:
        super().__init__()
        if block_type not in TYPES:
            raise ValueError(unknown('block_type', block_type, TYPES))
        stride = 2 if block_type == 'down' else 1
        self.num_1x1_c, self.b = num_1x1_c, b
        if block_type != 'normal':
            self.add_module(f'c1x1_w_s{stride}', BnActConv2d(in_chs, num_1x1_c + 2 * inc, 1, stride))
        self.begin = '' if block_type == 'normal' else f'c1x1_w_s{stride}'
        self.c1x1_a = BnActConv2d(in_chs, num_1x1_a, 1, 1)
        self.c3x3_b = BnActConv2d(num_1x1_a, num_3x3_b, 3, stride, groups)
        if b:
            self.c1x1_c: nn.Module = BnAct(num_3x3_b, Norm('batchnorm2d', eps=EPS), 'relu')
            self.c1x1_c1, self.c1x1_c2 = conv2d(num_3x3_b, num_1x1_c, 1), conv2d(num_3x3_b, inc, 1)
        else:
            self.c1x1_c = BnActConv2d(num_3x3_b, num_1x1_c + inc, 1, 1)

    def forward(self, x: Tensor) -> Tensor:
        added, dense = self._split(getattr(self, self.begin)(x) if self.begin else x)
        x = self.c1x1_a(x)
        x = self.c3x3_b(x)
        x = self.c1x1_c(x)
        more, new = (self.c1x1_c1(x), self.c1x1_c2(x)) if self.b else self._split(x)
        return torch.cat([added + more, dense, new], 1)

    def _split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The channels that are added, and the others."""
        return x[:, :self.num_1x1_c], x[:, self.num_1x1_c:]
