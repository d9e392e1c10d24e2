"""Hybrid vision transformers, arXiv:2010.11929, section 3.1: tokens are patches of a convolutional network's feature map.

    image -> patch_embed.backbone -> patch_embed.proj -> positions, blocks, norm, pool, head of a vision transformer

Backbones are a ResNet V2 as in the paper, the stem of one (arXiv:2106.10270), a ResNet, or three convolutions, as
MobileCLIP-B has them (arXiv:2311.17049).
"""
from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar

from torch import nn

from ..contract import ImageModel
from ..layers.act import ActLayer
from ..layers.conv import conv2d
from ..layers.hybrid_embed import HybridEmbed
from ..layers.init import init_pyramid
from ..layers.norm import Norm, NormLayer
from ..layers.patch_embed import PatchEmbed
from ..spec import Feature, unknown
from .resnet import ResNet
from .resnetv2 import ResNetV2, create_resnetv2_stem
from .vision_transformer import EmbedLayer, VisionTransformer


class ConvStem(nn.Sequential):
    """Convolutions, all but the last with normalisation and activation: (B, in_chans, H, W) -> (B, channels, h, w).

    Args:
        depth: how many. channels: of each, or of the last, where each has twice those of the one before.
        kernel_size, stride, padding: of each, or one for all; '' pads alike on all sides, 'valid' or 0 not at all.

    Raises:
        ValueError: another number of entries than `depth`.
    """

    def __init__(self, in_chans: int = 3, depth: int = 3, channels: int | Sequence[int] = 64,
                 kernel_size: int | Sequence[int] = 3, stride: int | Sequence[int] = (2, 2, 2),
                 padding: str | int | Sequence[str | int] = '', norm_layer: NormLayer = 'batchnorm2d',
                 act_layer: ActLayer = 'relu') -> None:
        super().__init__()
        if isinstance(channels, int):
            channels = [channels >> number for number in reversed(range(depth))]
        given = dict(channels=channels, kernel_size=kernel_size, stride=stride, padding=padding)
        each = {name: [value] * depth if isinstance(value, (int, str)) else list(value) for name, value in given.items()}
        if any(len(values) != depth for values in each.values()):
            counts = ', '.join(f'{len(values)} of {name}' for name, values in each.items())
            raise ValueError(f'{depth} convolutions have one entry each, or one for all; there are {counts}.')
        norm, rounds_up = Norm(norm_layer), True
        for number, (width, kernel, step, pad) in enumerate(zip(*each.values())):
            last = number == depth - 1
            if isinstance(pad, int):
                conv: nn.Module = nn.Conv2d(in_chans, width, kernel, step, pad, bias=last)
            else:
                conv = conv2d(in_chans, width, kernel, step, pad_type=pad, bias=last)
            layer = OrderedDict(conv=conv)
            if not last:
                layer['bn'], layer['act'] = norm.with_act(width, act_layer)
            self.append(nn.Sequential(layer))
            in_chans, rounds_up = width, rounds_up and pad not in (0, 'valid')
        reduction = math.prod(int(step) for step in each['stride'])
        self.feature_info = [Feature(num_chs=in_chans, reduction=reduction, module=str(depth - 1), stage=0,
                                     ceil_reduction=reduction if rounds_up else 1)]


def whole(network: type[ImageModel], in_chans: int, last: int = -1, **arguments: Any) -> nn.Module:
    """A network without what follows the map `last`, an entry of its `feature_info`."""
    model = network(in_chans=in_chans, num_classes=0, global_pool='', **arguments)
    model.prune_intermediate_layers([last])
    return model


BACKBONES: dict[str, Callable[..., nn.Module]] = {
    'resnet': partial(whole, ResNet), 'resnetv2': partial(whole, ResNetV2), 'resnetv2_stem': create_resnetv2_stem,
    'conv_stem': ConvStem,
}


class HybridVisionTransformer(VisionTransformer):
    """A vision transformer on feature maps, arXiv:2010.11929, section 3.1. Options are those of `VisionTransformer`, but:

    Args:
        patch_size: in pixels of the map.
        embed_layer: dict(backbone=…, args=…, proj=True): a name of `backbones`, the arguments it is made with, and whether
            tokens are a linear map of the patches or the map's pixels as they are; or a class, as of other networks.

    Raises:
        ValueError: another backbone.
    """

    backbones: ClassVar[Mapping[str, Callable[..., nn.Module]]] = BACKBONES

    def make_embed(self, embed_layer: EmbedLayer) -> Callable[..., PatchEmbed]:
        """What makes the layer of patches."""
        if not isinstance(embed_layer, Mapping):
            return embed_layer
        return partial(hybrid_embed, self.backbones, **embed_layer)

    def init_weights(self, mode: str = '') -> None:
        """See `VisionTransformer.init_weights`. Convolutions of the backbone are drawn as its own network's are."""
        super().init_weights(mode)
        backbone = getattr(self.patch_embed, 'backbone', None)
        if isinstance(backbone, ImageModel):
            backbone.init_weights()
        elif backbone is not None:
            init_pyramid(backbone)


def hybrid_embed(backbones: Mapping[str, Callable[..., nn.Module]], backbone: str, in_chans: int, args: Mapping[str, Any],
                 proj: bool = True, **options: Any) -> HybridEmbed:
    """The layer of patches that `HybridVisionTransformer` describes."""
    if backbone not in backbones:
        raise ValueError(unknown('backbone', backbone, backbones))
    return HybridEmbed(backbones[backbone](in_chans, **args), in_chans=in_chans, proj=proj, **options)
