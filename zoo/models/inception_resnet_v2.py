"""Inception-ResNet-v2, arXiv:1602.07261: convolutions of several sizes side by side, scaled and added to the input.

    image -> conv2d_1a to _2b (stride 2) -> maxpool_3a, conv2d_3b, _4a (stride 2) -> maxpool_5a, mixed_5b, repeat (stride 2)
          -> mixed_6a, repeat_1 (stride 2) -> mixed_7a, repeat_2, block8, conv2d_7b (stride 2) -> pool -> classif

Strided layers do not pad.
"""
from __future__ import annotations

from typing import Literal

from torch import Tensor, nn

from ..contract import Parts
from ..layers.act import ActLayer
from ..layers.inception import Branches, Layers, Step
from ..layers.norm import Norm, NormLayer
from .inceptionnet import InceptionNet



class InceptionResnetV2(InceptionNet):
    """Inception-ResNet-v2, arXiv:1602.07261, Figure 15. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        output_stride: reduction of the last stage; there is no other. norm_eps: of `norm_layer`.
        act_layer: after convolutions; ReLU follows the sums.

    Raises:
        ValueError: another `output_stride`.
    """

    parts = Parts(
        stem=('conv2d_1a', 'conv2d_2a', 'conv2d_2b'), classifier=('classif',),
        stages=(('maxpool_3a', 'conv2d_3b', 'conv2d_4a'), ('maxpool_5a', 'mixed_5b', 'repeat'), ('mixed_6a', 'repeat_1'),
                ('mixed_7a', 'repeat_2', 'block8', 'conv2d_7b')))
    sides = (7, 3, 3, 3)

    def __init__(self, num_classes: int = 1000, in_chans: int = 3, drop_rate: float = 0.0, output_stride: Literal[32] = 32,
                 global_pool: str = 'avg', norm_layer: NormLayer = 'batchnorm2d', norm_eps: float = 1e-3,
                 act_layer: ActLayer = 'relu') -> None:
        super().__init__()
        if output_stride != 32:
            raise ValueError(f'output_stride is 32, since Inception is not dilated, not {output_stride}.')
        self.in_chans, self.num_features = in_chans, 1536
        make = Layers(Norm(norm_layer, eps=norm_eps), act_layer)
        self.conv2d_1a = make.conv(in_chans, 32, 3, 'half')
        self.conv2d_2a, self.conv2d_2b = make.conv(32, 32, 3, 'valid'), make.conv(32, 64, 3)
        self.maxpool_3a = nn.MaxPool2d(3, 2)
        self.conv2d_3b, self.conv2d_4a = make.conv(64, 80), make.conv(80, 192, 3, 'valid')
        self.maxpool_5a = nn.MaxPool2d(3, 2)
        self.mixed_5b = Branches(branch0=make.conv(192, 96), branch1=make.row(192, (48,), (64, 5)),
                                 branch2=make.row(192, (64,), (96, 3), (96, 3)), branch3=make.pooled(192, 64))
        a, b, c = ([((32,),), ((32,), (32, 3)), ((32,), (48, 3), (64, 3))],
                   [((192,),), ((128,), (160, (1, 7)), (192, (7, 1)))],
                   [((192,),), ((192,), (224, (1, 3)), (256, (3, 1)))])
        self.repeat = nn.Sequential(*(ScaledBlock(make, 320, a, 0.17) for _ in range(10)))
        self.mixed_6a = Branches(branch0=make.conv(320, 384, 3, 'half'),
                                 branch1=make.row(320, (256,), (256, 3), (384, 3, 'half')), branch2=nn.MaxPool2d(3, 2))
        self.repeat_1 = nn.Sequential(*(ScaledBlock(make, 1088, b, 0.1) for _ in range(20)))
        self.mixed_7a = Branches(branch0=make.row(1088, (256,), (384, 3, 'half')),
                                 branch1=make.row(1088, (256,), (288, 3, 'half')),
                                 branch2=make.row(1088, (256,), (288, 3), (320, 3, 'half')), branch3=nn.MaxPool2d(3, 2))
        self.repeat_2 = nn.Sequential(*(ScaledBlock(make, 2080, c, 0.2) for _ in range(9)))
        self.block8 = ScaledBlock(make, 2080, c, 1.0, activated=False)
        self.conv2d_7b = make.conv(2080, 1536)
        self.describe((64, 'conv2d_2b', 5), (192, 'conv2d_4a', 15), (320, 'repeat', 19),
                      (1088, 'repeat_1', 27), (1536, 'conv2d_7b', 43))
        self.build_head(self.num_features, num_classes, global_pool, drop_rate)
        self.init_fresh()


class ScaledBlock(Branches):
    """Rows of convolutions side by side, a 1x1 convolution of all, times `scale`, added to the input (Figures 16, 17 and
    19): keeps the shape (B, channels, H, W).

    Args:
        rows: the convolutions of each row. activated: with ReLU at the end.
    """

    def __init__(self, make: Layers, channels: int, rows: list[tuple[Step, ...]], scale: float,
                 activated: bool = True) -> None:
        super().__init__(**{f'branch{number}': make.row(channels, *row) if len(row) > 1 else make.conv(channels, *row[0])
                            for number, row in enumerate(rows)})
        self.scale = scale
        self.conv2d = nn.Conv2d(sum(row[-1][0] for row in rows), channels, 1)
        self.act = nn.ReLU(inplace=True) if activated else nn.Identity()
        self.branches = [f'branch{number}' for number in range(len(rows))]

    def forward(self, x: Tensor) -> Tensor:
        branch = self.conv2d(self.joined(x, self.branches))
        return self.act(x + branch * self.scale)
