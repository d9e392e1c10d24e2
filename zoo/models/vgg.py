"""VGG, arXiv:1409.1556: 3x3 convolutions one after the other, and the pixels of what is left in fully connected layers.

    image -> features: convolutions, each with its activation, and 2x2 max pooling -> pre_logits -> pool -> head.fc
    pre_logits: a 7x7 and a 1x1 convolution with activations, which are the paper's fully connected layers (section 3.2)

Maps are taken before each pooling, and after the last. `features` numbers all layers, as checkpoints do.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..contract import Parts
from ..layers.act import ActLayer, create_act
from ..layers.head import Head
from ..layers.init import init_conv_net
from ..layers.norm import Norm, NormLayer
from ..spec import Feature
from .headnet import HeadNet

POOL = 'M'


class VGG(HeadNet):
    """VGG, arXiv:1409.1556. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        cfg: channels of the convolutions in their order, and 'M' for each max pooling (Table 1).
        mlp_ratio: inner width of `pre_logits` over 4096.
        norm_layer: after each convolution of `features`; None for none. conv_layer: a class of convolutions.
        drop_rate: dropout inside `pre_logits`, and before the classifier.

    Raises:
        ValueError: a `cfg` that does not begin with a convolution and end with pooling.
    """

    parts = Parts(stem=(), stages=(), head=('head.global_pool', 'pre_logits'), classifier=('head.fc',))
    draw = staticmethod(init_conv_net)

    def __init__(self, cfg: Sequence[int | str], num_classes: int = 1000, in_chans: int = 3, mlp_ratio: float = 1.0,
                 act_layer: ActLayer = 'relu', conv_layer: Callable[..., nn.Module] = nn.Conv2d,
                 norm_layer: NormLayer | None = None, global_pool: str = 'avg', drop_rate: float = 0.0) -> None:
        super().__init__()
        widths = [entry for entry in cfg if isinstance(entry, int) and entry > 0]
        if len(widths) + cfg.count(POOL) != len(cfg) or not cfg or cfg[0] == POOL or cfg[-1] != POOL:
            raise ValueError("cfg is numbers of channels and 'M' for pooling, a number first and 'M' last, not "
                             f'{list(cfg)}.')
        self.in_chans, self.num_features = in_chans, widths[-1]
        self.features, self.feature_info = nn.Sequential(), []
        steps: list[list[str]] = [[]]
        width, reduction = in_chans, 1
        for entry in cfg:
            if isinstance(entry, str):
                self._end_step(width, reduction, steps)
                reduction *= 2
                steps.append([])
                layers: list[nn.Module] = [nn.MaxPool2d(2)]
            else:
                norms = [Norm(norm_layer)(entry)] if norm_layer is not None else []
                layers = [conv_layer(width, entry, 3, padding=1), *norms, create_act(act_layer)]
                width = entry
            for layer in layers:
                steps[-1].append(f'features.{len(self.features)}')
                self.features.append(layer)
        self._end_step(width, reduction, steps)
        self.parts = replace(self.parts, stem=tuple(steps[0]), stages=tuple(map(tuple, steps[1:])))
        self.pre_logits = ConvMlp(width, 4096, 7, mlp_ratio, drop_rate, act_layer, conv_layer)
        self.head = Head(4096, global_pool, drop_rate=drop_rate)
        self.build_head(4096, num_classes, global_pool, drop_rate)
        self.init_fresh()

    def _end_step(self, width: int, reduction: int, steps: list[list[str]]) -> None:
        """A map is taken of the last layer so far."""
        self.feature_info.append(Feature(num_chs=width, reduction=reduction, module=steps[-1][-1],
                                         stage=len(steps) - 1, ceil_reduction=1))

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The output of `forward_features` -> logits, or the embedding; see `ImageModel.forward_head`."""
        return super().forward_head(self.pre_logits(x), pre_logits)


class ConvMlp(nn.Module):
    """A convolution as large as a map that is left of an image, and one of a pixel, each with its activation:
    (B, in_features, H, W) -> (B, out_features, H - kernel_size + 1, W - kernel_size + 1). A smaller map is brought to
    `kernel_size` first, each pixel there a mean of those nearest to it.

    Args:
        mlp_ratio: channels between them over `out_features`. drop_rate: dropout between them.
    """

    def __init__(self, in_features: int = 512, out_features: int = 4096, kernel_size: int = 7, mlp_ratio: float = 1.0,
                 drop_rate: float = 0.2, act_layer: ActLayer = 'relu',
                 conv_layer: Callable[..., nn.Module] = nn.Conv2d) -> None:
        super().__init__()
        self.input_kernel_size, inner = kernel_size, int(out_features * mlp_ratio)
        self.fc1 = conv_layer(in_features, inner, kernel_size, bias=True)
        self.act1 = create_act(act_layer)
        self.drop = nn.Dropout(drop_rate)
        self.fc2 = conv_layer(inner, out_features, 1, bias=True)
        self.act2 = create_act(act_layer)

    def forward(self, x: Tensor) -> Tensor:
        x = at_least(x, self.input_kernel_size)
        x = self.drop(self.act1(self.fc1(x)))
        return self.act2(self.fc2(x))


def at_least(x: Tensor, side: int) -> Tensor:
    """A map (B, C, H, W) of at least `side` rows and columns: fewer are averaged to so many."""
    size: Any = torch.sym_max(x.shape[-2], side), torch.sym_max(x.shape[-1], side)
    known = isinstance(size[0], int) and isinstance(size[1], int)
    return x if known and size == x.shape[-2:] else F.adaptive_avg_pool2d(x, size)
