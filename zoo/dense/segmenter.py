"""Segmenters: a decoder on any backbone, logits at the size of the images."""
from __future__ import annotations

import inspect
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.segmentation.deeplabv3 import ASPP
from torchvision.ops import Conv2dNormActivation, FeaturePyramidNetwork

from ..factory import Weights
from ..spec import unknown, whole
from .backbone import channels_of, create_backbone, image_statistics, info_of
from .files import checked_classes
from .levels import unit_interval
from .necks import NECKS, Sam2Fpn
from .plain import DEPTHS, DPT, LEVELS, SimplePyramid

torch.fx.wrap('unit_interval')                            # a look at values is no part of a traced graph
UNET_WIDTHS = (256, 128, 64, 32, 16)                      # channels after each step up, from the coarsest


class Unet(nn.Module):
    """The expanding path of U-Net (arXiv:1505.04597): from the coarsest map up, each step joined with the next map."""

    reductions = (2, 4, 8, 16, 32)

    def __init__(self, channels: Sequence[int], reductions: Sequence[int], num_classes: int) -> None:
        super().__init__()
        skips = [*reversed(channels[:-1]), 0]             # the last step, to the size of the image, has no map
        widths = UNET_WIDTHS[-len(skips):] if len(skips) <= len(UNET_WIDTHS) else UNET_WIDTHS
        before = [channels[-1], *widths]
        self.steps = nn.ModuleList(
            nn.Sequential(Conv2dNormActivation(before[i] + skip, width), Conv2dNormActivation(width, width))
            for i, (skip, width) in enumerate(zip(skips, widths)))
        self.classifier = nn.Conv2d(widths[-1], num_classes, 3, padding=1)

    def forward(self, maps: list[Tensor], size: Sequence[int]) -> Tensor:
        x, *skips = reversed(maps)
        for step, skip in zip(self.steps, [*skips, None]):
            x = F.interpolate(x, size if skip is None else skip.shape[-2:], mode='nearest')
            x = step(x if skip is None else torch.cat([x, skip], 1))
        return self.classifier(x)


class PanopticFPN(nn.Module):
    """The semantic branch of Panoptic FPN (arXiv:1901.02446): each level of a pyramid up to the finest one, and their
    sum classified."""

    reductions = (4, 8, 16, 32)

    def __init__(self, channels: Sequence[int], reductions: Sequence[int], num_classes: int, width: int = 128,
                 dropout: float = 0.2) -> None:
        super().__init__()
        self.pyramid = FeaturePyramidNetwork(list(channels), 256)
        self.branches = nn.ModuleList()
        for reduction in reductions:
            ups = (reduction // reductions[0]).bit_length() - 1          # doublings up to the finest level
            layers = [Conv2dNormActivation(256 if i == 0 else width, width, norm_layer=_group_norm)
                      for i in range(max(ups, 1))]
            self.branches.append(nn.ModuleList(layers))
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(width, num_classes, 1)

    def forward(self, maps: list[Tensor], size: Sequence[int]) -> Tensor:
        levels = list(self.pyramid({str(i): features for i, features in enumerate(maps)}).values())
        sizes = [level.shape[-2:] for level in levels]
        total = torch.zeros((), dtype=maps[0].dtype, device=maps[0].device)
        for number, (x, branch) in enumerate(zip(levels, self.branches)):
            for step, layer in enumerate(branch.children()):
                x = layer(x)
                if number:                                # to the size of the level below
                    x = F.interpolate(x, sizes[max(number - step - 1, 0)], mode='bilinear')
            total = total + x
        return F.interpolate(self.classifier(self.dropout(total)), size, mode='bilinear')


class DeepLabV3(nn.Module):
    """DeepLabV3's head (arXiv:1706.05587): convolutions of several dilations side by side on the last map."""

    reductions = (8, 16, 32)

    def __init__(self, channels: Sequence[int], reductions: Sequence[int], num_classes: int) -> None:
        super().__init__()
        rates = [rate * 16 // reductions[-1] for rate in (6, 12, 18)]    # of the paper, for a reduction of 16
        self.pyramid = ASPP(channels[-1], rates)
        self.conv = Conv2dNormActivation(256, 256)
        self.classifier = nn.Conv2d(256, num_classes, 1)

    def forward(self, maps: list[Tensor], size: Sequence[int]) -> Tensor:
        return F.interpolate(self.classifier(self.conv(self.pyramid(maps[-1]))), size, mode='bilinear')


_HEADS: dict[str, type[Unet] | type[PanopticFPN] | type[DeepLabV3] | type[DPT]] = {
    'unet': Unet, 'fpn': PanopticFPN, 'deeplabv3': DeepLabV3, 'dpt': DPT}
_MADE_HERE = ('self', 'channels', 'reductions', 'num_classes', 'class_token')
SEGMENTATION_HEADS = tuple(_HEADS)


class Segmenter(nn.Module):
    """Images (B, C, H, W) in 0..1, or in uint8, of any size -> logits (B, num_classes, H, W).

    Attributes:
        classes: their names, or None.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, backbone: nn.Module, decoder: nn.Module, mean: Sequence[float], std: Sequence[float],
                 neck: nn.Module | None = None) -> None:
        super().__init__()
        self.backbone, self.neck, self.decoder = backbone, neck, decoder
        for name, values in (('mean', mean), ('std', std)):
            self.register_buffer(name, torch.tensor(values).view(-1, 1, 1), persistent=False)
        self.classes: list[str] | None = None
        self.config: dict[str, Any] = {}

    def forward(self, x: Tensor) -> Tensor:
        maps = self.backbone((unit_interval(x) - self.mean) / self.std)
        return self.decoder(maps if self.neck is None else self.neck(maps), x.shape[-2:])


def create_segmenter(backbone: str | nn.Module, head: str = 'unet', num_classes: int | None = None, *,
                     classes: Sequence[str] | None = None, pretrained_backbone: bool | Weights = False,
                     frozen_bn: bool | None = False, trainable_layers: int | None = None,
                     output_stride: int | None = None, image_mean: Sequence[float] | None = None,
                     image_std: Sequence[float] | None = None, backbone_options: Mapping[str, Any] | None = None,
                     neck: str | None = None, decoder_options: Mapping[str, Any] | None = None) -> Segmenter:
    """A segmenter: a backbone, a decoder and logits at the size of the images.

    Args:
        backbone: a name, as in `zoo.create_model`, or a module made with `features_only=True`.
        head: 'unet', 'fpn' (the semantic branch of Panoptic FPN) 'deeplabv3', or 'dpt' for networks whose maps
            are all of one reduction, such as ViT.
        num_classes: the number of classes, with one for the background if there is one.
        classes: their names, from index 0; kept as `.classes`, and with them `num_classes` is not needed.
        pretrained_backbone: as `pretrained` of `zoo.create_model`.
        frozen_bn: keep the backbone's batch normalisation as it is; None: where it is pretrained.
        trainable_layers: how many of the backbone's stem and stages, from the last, are trained; None for all.
        output_stride: reduction of the backbone's last map, 8, 16 or 32, where the network has that option; by default
            the network's own.
        image_mean, image_std: per channel of images in 0..1; by default those of the backbone's weights.
        backbone_options: further arguments of `zoo.create_model`.
        neck: 'simple' for ViTDet's simple feature pyramid between such a network and a decoder that takes maps of
            several reductions; 'sam2_fpn' for that of SAM 2's image encoder, on networks with maps of 16 and 32.
        decoder_options: of the decoder: readout, widths, fusion_width and dropout of 'dpt', see `zoo.dense.plain.DPT`;
            width and dropout of 'fpn'.

    Raises:
        ValueError: an unknown head, numbers of classes that disagree, a class named twice, a backbone without the maps.
        TypeError: an output_stride for a network without that option, or an option that the decoder does not have.
    """
    if head not in _HEADS:
        raise ValueError(unknown('Segmentation head', head, SEGMENTATION_HEADS))
    kind, decoder_options = _HEADS[head], dict(decoder_options or {})
    if neck is not None and neck not in NECKS:
        raise ValueError(unknown('Neck', neck, NECKS))
    if neck and kind is DPT:
        raise ValueError("head='dpt' takes the network's own maps: leave out neck, or choose another head.")
    known = [name for name in inspect.signature(kind).parameters if name not in _MADE_HERE]
    for option in decoder_options:
        if option not in known:
            raise TypeError(f'{head}: ' + unknown('decoder option', option, known))
    num_classes = _count(num_classes, classes)
    options = dict(backbone_options or {}) | ({} if output_stride is None else {'output_stride': output_stride})
    config: dict[str, Any] = dict(
        task='segment', backbone=backbone, head=head, num_classes=num_classes,
        classes=list(classes) if classes else None, trainable_layers=trainable_layers,
        frozen_bn=bool(pretrained_backbone) if frozen_bn is None else frozen_bn,
        output_stride=output_stride, backbone_options=dict(backbone_options or {}),
        neck=neck, decoder_options=decoder_options)
    plain = DEPTHS if kind is DPT else 1 if neck == 'simple' else 0
    body = create_backbone(backbone, kind.reductions, pretrained_backbone, frozen_bn, trainable_layers, options, plain,
                           kind is DPT)
    mean, std = image_statistics(body)
    config |= dict(image_mean=list(image_mean or mean), image_std=list(image_std or std))
    channels, reductions = channels_of(body) if plain else info_of(body).channels(), info_of(body).reduction()
    between: nn.Module | None = None
    if neck == 'sam2_fpn':
        between = Sam2Fpn(channels, reductions)
        channels = [256] * len(reductions)
    elif neck:
        levels = [reduction for reduction in kind.reductions if reduction in LEVELS]
        between = SimplePyramid(channels[-1], reductions[-1], levels)
        channels, reductions = [256] * len(levels), levels
    if kind is DPT:
        decoder_options = {**decoder_options, 'class_token': getattr(body, 'with_prefix', False)}
    decoder = kind(channels, reductions, num_classes, **decoder_options)
    _initialise(decoder)
    segmenter = Segmenter(body, decoder, config['image_mean'], config['image_std'], between)
    segmenter.config, segmenter.classes = config, config['classes']
    return segmenter


def _count(num_classes: int | None, classes: Sequence[str] | None) -> int:
    if not classes:
        if num_classes is None:
            raise ValueError('A segmenter needs classes=[…], their names, or num_classes.')
        return whole('num_classes', num_classes, 1)
    checked_classes(classes)
    if num_classes not in (None, len(classes)):
        raise ValueError(f'num_classes={num_classes}, but there are {len(classes)} classes: {", ".join(classes)}.')
    return len(classes)


def _group_norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(32, channels)


def _initialise(decoder: nn.Module) -> None:
    """Convolutions as in arXiv:1502.01852, so that what follows a fresh one is neither flat nor huge."""
    for module in decoder.modules():
        if isinstance(module, nn.Conv2d):
            nn.init.kaiming_normal_(module.weight, mode='fan_in', nonlinearity='relu')
            if module.bias is not None:
                nn.init.zeros_(module.bias)
