"""DenseNet, arXiv:1608.06993: each layer sees the maps of all layers before it in its block.

    image -> features: stem (stride 2) -> pool0 (stride 2) -> denseblock1 -> transition1 -> … -> denseblock4 -> norm5
          -> pool -> classifier
    layer: normalisation, activation, 1x1 convolution -> normalisation, activation, 3x3 convolution -> added as channels
    transition: normalisation, activation, 1x1 convolution to half the channels -> 2x2 average pooling

`features` holds all of that, as checkpoints name it. Maps are taken before what subsamples them.
"""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..contract import ImageModel, Parts
from ..layers.act import ActLayer
from ..layers.conv import conv2d
from ..layers.init import init_he
from ..layers.norm import Norm, NormLayer
from ..layers.pool import AaLayer, create_aa
from ..spec import Feature, unknown

STEMS = ('', 'deep', 'deep_tiered')


class DenseNet(ImageModel):
    """DenseNet, arXiv:1608.06993. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        growth_rate: channels that a layer adds. block_config: layers of each block. bn_size: width of the 1x1
            convolutions over `growth_rate`.
        stem_type: '' for one 7x7 convolution, 'deep' for three 3x3 ones (ResNet-C, arXiv:1812.01187), the first two
            growing in 'deep_tiered'.
        aa_layer: filter in place of strides, 'avg', 'blur', 'blurpc' or a class; None for none. aa_stem_only: of the stem's
            pooling alone, not of the transitions'.
        drop_rate: dropout before the classifier. proj_drop_rate: of what a layer adds.
        memory_efficient: layers recompute what their 1x1 convolutions see in the backward pass (arXiv:1707.06990).

    Raises:
        ValueError: another stem.
    """

    parts = Parts(stem=(), stages=())
    draw = staticmethod(init_he)

    def __init__(self, growth_rate: int = 32, block_config: Sequence[int] = (6, 12, 24, 16), num_classes: int = 1000,
                 in_chans: int = 3, global_pool: str = 'avg', bn_size: int = 4, stem_type: str = '',
                 act_layer: ActLayer = 'relu', norm_layer: NormLayer = 'batchnorm2d', aa_layer: AaLayer | None = None,
                 drop_rate: float = 0.0, proj_drop_rate: float = 0.0, memory_efficient: bool = False,
                 aa_stem_only: bool = True) -> None:
        super().__init__()
        norm, width = Norm(norm_layer), 2 * growth_rate
        self.in_chans = in_chans
        stem = create_stem(stem_type, in_chans, growth_rate, norm, act_layer)
        self.features = nn.Sequential(OrderedDict([*stem.items(), ('pool0', stem_pool(width, aa_layer))]))
        self.feature_info = [Feature(num_chs=width, reduction=2, module=f'features.{[*stem][-1]}', stage=0)]
        before = 'pool0'
        stages: list[tuple[str, ...]] = []
        for number, count in enumerate(block_config, start=1):
            block = f'denseblock{number}'
            self.features.add_module(block, DenseBlock(
                count, width, bn_size, growth_rate, norm_layer, proj_drop_rate, memory_efficient, act_layer))
            width += count * growth_rate
            stages.append((f'features.{before}', f'features.{block}'))
            reduction = 2 ** (number + 1)
            self.feature_info.append(Feature(
                num_chs=width, reduction=reduction, module=stages[-1][-1], stage=number,
                ceil_reduction=reduction if aa_layer and not aa_stem_only else 4))
            if number < len(block_config):
                before = f'transition{number}'
                self.features.add_module(before, DenseTransition(
                    width, width // 2, norm_layer, None if aa_stem_only else aa_layer, act_layer))
                width //= 2
        self.features.norm5, self.features.act5 = norm.with_act(width, act_layer)
        stages[-1] += ('features.norm5', 'features.act5')
        self.feature_info[-1]['module'] = 'features.act5'
        self.parts = replace(self.parts, stem=tuple(f'features.{name}' for name in stem), stages=tuple(stages))
        self.num_features = width
        self.build_head(width, num_classes, global_pool, drop_rate)
        self.init_fresh()


def create_stem(kind: str, in_chans: int, growth_rate: int, norm: Norm, act_layer: ActLayer) -> OrderedDict[str, nn.Module]:
    """The layers before the first pooling, by their names: (B, in_chans, H, W) -> (B, 2 growth_rate, H/2, W/2)."""
    if kind not in STEMS:
        raise ValueError(unknown('stem_type', kind, STEMS))
    parts = {'': (4,), 'deep': (2, 2, 4), 'deep_tiered': (1.5, 3, 4)}[kind]             # of half the growth rate
    widths = [int(part * growth_rate / 2) for part in parts]
    found: OrderedDict[str, nn.Module] = OrderedDict()
    for number, out in enumerate(widths):
        found[f'conv{number}'] = conv2d(in_chans, out, 3 if kind else 7, 1 if number else 2)
        found[f'norm{number}'], found[f'act{number}'] = norm.with_act(out, act_layer)
        in_chans = out
    return found


def stem_pool(channels: int, aa_layer: AaLayer | None) -> nn.Module:
    """3x3 max pooling, with a filter in place of its stride where there is one: (B, C, H, W) -> (B, C, H/2, W/2)."""
    if not aa_layer:
        return nn.MaxPool2d(3, 2, padding=1)
    return nn.Sequential(nn.MaxPool2d(3, 1, padding=1), create_aa(aa_layer, channels, 2))


class DenseBlock(nn.Module):
    """Layers, each of which sees the maps of all before it: (B, num_input_features, H, W) -> with `growth_rate` more
    channels for each.

    Args:
        num_layers: how many. drop_rate: dropout of what a layer adds. grad_checkpointing: see `DenseLayer`.
    """

    def __init__(self, num_layers: int, num_input_features: int, bn_size: int, growth_rate: int,
                 norm_layer: NormLayer = 'batchnorm2d', drop_rate: float = 0.0, grad_checkpointing: bool = False,
                 act_layer: ActLayer = 'relu') -> None:
        super().__init__()
        for number in range(num_layers):
            self.add_module(f'denselayer{number + 1}', DenseLayer(
                num_input_features + number * growth_rate, growth_rate, bn_size, norm_layer, drop_rate,
                grad_checkpointing, act_layer))

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for layer in self.children():
            maps.append(layer(maps))
        return torch.cat(maps, 1)


class DenseLayer(nn.Module):
    """A 1x1 and a 3x3 convolution, each after normalisation and activation (section 3, "Bottleneck layers"): maps
    (B, C, H, W) with `num_input_features` channels together -> (B, growth_rate, H, W).

    Args:
        bn_size: channels between the convolutions over `growth_rate`.
        grad_checkpointing: the joined and normalised maps are made anew in the backward pass (arXiv:1707.06990).
    """

    def __init__(self, num_input_features: int, growth_rate: int, bn_size: int, norm_layer: NormLayer = 'batchnorm2d',
                 drop_rate: float = 0.0, grad_checkpointing: bool = False, act_layer: ActLayer = 'relu') -> None:
        super().__init__()
        norm, inner = Norm(norm_layer), bn_size * growth_rate
        self.grad_checkpointing = grad_checkpointing
        self.norm1, self.act1 = norm.with_act(num_input_features, act_layer)
        self.conv1 = conv2d(num_input_features, inner, 1)
        self.norm2, self.act2 = norm.with_act(inner, act_layer)
        self.conv2 = conv2d(inner, growth_rate, 3)
        self.drop = nn.Dropout(drop_rate)

    def bottleneck(self, *maps: Tensor) -> Tensor:
        """The maps joined, normalised and made narrow."""
        x = torch.cat(maps, 1)
        x = self.act1(self.norm1(x))
        return self.conv1(x)

    def forward(self, x: Tensor | Sequence[Tensor]) -> Tensor:
        maps = [x] if isinstance(x, Tensor) else x
        if self.grad_checkpointing and torch.is_grad_enabled() and any(one.requires_grad for one in maps):
            x = checkpoint(self.bottleneck, *maps, use_reentrant=False)
        else:
            x = self.bottleneck(*maps)
        x = self.act2(self.norm2(x))
        return self.drop(self.conv2(x))


class DenseTransition(nn.Module):
    """Between blocks (section 3, "Pooling layers"): (B, num_input_features, H, W) -> (B, num_output_features, H/2, W/2).

    Args:
        aa_layer: what pools; None for the mean of 2x2 pixels, without what is left of an odd side.
    """

    def __init__(self, num_input_features: int, num_output_features: int, norm_layer: NormLayer = 'batchnorm2d',
                 aa_layer: AaLayer | None = None, act_layer: ActLayer = 'relu') -> None:
        super().__init__()
        self.norm, self.act = Norm(norm_layer).with_act(num_input_features, act_layer)
        self.conv = conv2d(num_input_features, num_output_features, 1)
        self.pool = create_aa(aa_layer, num_output_features, 2) if aa_layer else nn.AvgPool2d(2)

    def forward(self, x: Tensor) -> Tensor:
        x = self.act(self.norm(x))
        return self.pool(self.conv(x))
