"""Xception, arXiv:1610.02357: convolutions made of a depthwise and a 1x1 one, between shortcuts.

    image -> conv1 (stride 2), conv2, without padding -> block1 to block12 -> conv3 -> conv4 -> pool -> fc
    block: activations and separable convolutions in turn, normalised, max pooling in blocks with a stride
          -> added to the shortcut

Maps are what the first activation of the block after them gives.
"""
from __future__ import annotations

from collections.abc import Callable
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from ..contract import ImageModel, Parts
from ..layers.conv import conv2d
from ..layers.init import init_he
from ..layers.pool import SameMaxPool2d
from ..spec import Feature, unknown

MIDDLE = 8                                                  # blocks of the middle flow
MARGIN = 6                                                  # pixels a side that the stem leaves out
POOLINGS: dict[str, Callable[..., nn.Module]] = {           # by pad_type
    '': partial(nn.MaxPool2d, 3, padding=1), 'same': partial(SameMaxPool2d, 3)}


class Xception(ImageModel):
    """Xception, arXiv:1610.02357, Figure 5. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        norm_eps: of batch normalisation.
        pad_type: how max pooling pads: '' alike on all sides, 'same' as TensorFlow does, and the original.

    Raises:
        ValueError: another `pad_type`.
    """

    parts = Parts(
        stem=('conv1', 'bn1', 'act1', 'conv2', 'bn2', 'act2'),
        stages=('block1', 'block2', tuple(f'block{number}' for number in range(3, 4 + MIDDLE)),
                ('block12', 'conv3', 'bn3', 'act3', 'conv4', 'bn4', 'act4')), classifier=('fc',))
    draw = staticmethod(init_he)

    def __init__(self, num_classes: int = 1000, in_chans: int = 3, drop_rate: float = 0.0, global_pool: str = 'avg',
                 norm_eps: float = 1e-5, pad_type: str = '') -> None:
        super().__init__()
        self.in_chans, self.num_features = in_chans, 2048
        norm, block = partial(nn.BatchNorm2d, eps=norm_eps), partial(Block, norm_eps=norm_eps, pad_type=pad_type)
        self.conv1, self.bn1 = conv2d(in_chans, 32, 3, 2, pad_type='valid'), norm(32)
        self.act1 = nn.ReLU(inplace=True)
        self.conv2, self.bn2 = conv2d(32, 64, 3, pad_type='valid'), norm(64)
        self.act2 = nn.ReLU(inplace=True)
        self.block1 = block(64, 128, 2, 2, start_with_relu=False)
        self.block2 = block(128, 256, 2, 2)
        self.block3 = block(256, 728, 2, 2)
        for number in range(4, 4 + MIDDLE):
            self.add_module(f'block{number}', block(728, 728, 3))
        self.block12 = block(728, 1024, 2, 2, grow_first=False)
        self.conv3, self.bn3 = SeparableConv2d(1024, 1536, 3, 1, 1), norm(1536)
        self.act3 = nn.ReLU(inplace=True)
        self.conv4, self.bn4 = SeparableConv2d(1536, 2048, 3, 1, 1), norm(2048)
        self.act4 = nn.ReLU(inplace=True)
        modules = ('act2', 'block2.rep.0', 'block3.rep.0', 'block12.rep.0', 'act4')
        self.feature_info = [Feature(num_chs=width, reduction=2 ** (step + 1), module=module, stage=step, margin=MARGIN)
                             for step, (width, module) in enumerate(zip((64, 128, 256, 728, 2048), modules))]
        self.build_head(self.num_features, num_classes, global_pool, drop_rate)
        self.init_fresh()

    def enter_stage(self, number: int, state: Tensor) -> Tensor:
        """The map that goes into stage `number`: the same."""
        return state

    def run_stage(self, number: int, state: Tensor) -> Tensor:
        """The map after all blocks of stage `number`."""
        x: Tensor = self._run(self.stage_names()[number], state)
        return x

    def maps_of(self, state: Tensor, step: int) -> list[Tensor]:
        """The map of a state: activated, as the next block begins with it, where that has not been done."""
        return [F.relu(state) if 0 < step < len(self.parts.stages) else state]

    def pre_head(self, state: Tensor) -> Tensor:
        """What the head takes in."""
        return self.maps_of(state, len(self.stage_names()))[0]


class SeparableConv2d(nn.Module):
    """A depthwise and a 1x1 convolution in a row: (B, in_channels, H, W) -> (B, out_channels, H / stride, W / stride)."""

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 1, stride: int = 1, padding: int = 0,
                 dilation: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_channels, in_channels, kernel_size, stride, padding, dilation, in_channels, bias=False)
        self.pointwise = nn.Conv2d(in_channels, out_channels, 1, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        return self.pointwise(x)


class Block(nn.Module):
    """Separable convolutions added to the shortcut: (B, in_channels, H, W) -> (B, out_channels, ceil(H / strides),
    ceil(W / strides)).

    Args:
        reps: how many. start_with_relu: activate before the first too.
        grow_first: the first changes the channels, else the last. norm_eps, pad_type: as in `Xception`.
    """

    def __init__(self, in_channels: int, out_channels: int, reps: int, strides: int = 1, start_with_relu: bool = True,
                 grow_first: bool = True, norm_eps: float = 1e-5, pad_type: str = '') -> None:
        super().__init__()
        if pad_type not in POOLINGS:
            raise ValueError(unknown('pad_type', pad_type, POOLINGS))
        self.skip: nn.Module = nn.Identity()
        self.skipbn: nn.Module = nn.Identity()
        if out_channels != in_channels or strides != 1:
            self.skip, self.skipbn = conv2d(in_channels, out_channels, 1, strides), nn.BatchNorm2d(out_channels, norm_eps)
        layers: list[nn.Module] = []
        width, growing = in_channels, 0 if grow_first else reps - 1
        for number in range(reps):
            if number or start_with_relu:
                layers.append(nn.ReLU(inplace=number > 0))
            out = out_channels if number >= growing else in_channels
            layers += [SeparableConv2d(width, out, 3, 1, 1), nn.BatchNorm2d(out, norm_eps)]
            width = out
        if strides != 1:
            layers.append(POOLINGS[pad_type](stride=strides))
        self.rep = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        for layer in self.rep:
            x = layer(x)
        return x + self.skipbn(self.skip(shortcut))
