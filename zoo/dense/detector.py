"""Detectors: torchvision's heads, anchors and losses on any backbone."""
from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

from torch import Tensor, nn
from torchvision.models.detection import FCOS, FasterRCNN, RetinaNet
from torchvision.models.detection.anchor_utils import AnchorGenerator
from torchvision.models.detection.transform import GeneralizedRCNNTransform
from torchvision.ops import MultiScaleRoIAlign
from torchvision.ops.feature_pyramid_network import LastLevelMaxPool, LastLevelP6P7

from ..factory import Weights
from ..spec import unknown, whole
from .backbone import Pyramid, create_backbone, image_statistics
from .files import checked_classes
from .levels import unit_interval
from .necks import NECKS

Sizes = Sequence[Sequence[float]]
RATIOS = (0.5, 1.0, 2.0)                                   # height / width of anchors


def _retinanet(make_pyramid: Callable[..., Pyramid], width: int, anchor_sizes: Sizes | None,
               **options: Any) -> nn.Module:
    """RetinaNet (arXiv:1708.02002): levels from reduction 8 to 128, anchors of 4 strides and two sizes above."""
    pyramid = make_pyramid(LastLevelP6P7(width, width), extra_levels=2)
    sizes = anchor_sizes or [[int(4 * s * 2 ** (i / 3)) for i in range(3)] for s in pyramid.strides]
    return RetinaNet(pyramid, anchor_generator=_anchors(sizes, RATIOS, pyramid), **options)


def _fcos(make_pyramid: Callable[..., Pyramid], width: int, anchor_sizes: Sizes | None,
          **options: Any) -> nn.Module:
    """FCOS (arXiv:1904.01355): levels from reduction 8 to 128, a point a pixel, as large as its stride."""
    pyramid = make_pyramid(LastLevelP6P7(width, width), extra_levels=2)
    sizes = anchor_sizes or [[s] for s in pyramid.strides]
    return FCOS(pyramid, anchor_generator=_anchors(sizes, (1.0,), pyramid), **options)


def _faster_rcnn(make_pyramid: Callable[..., Pyramid], width: int, anchor_sizes: Sizes | None,
                 **options: Any) -> nn.Module:
    """Faster R-CNN with a pyramid (arXiv:1506.01497, 1612.03144): levels from reduction 4 to 64, anchors of 8
    strides."""
    pyramid = make_pyramid(LastLevelMaxPool(), extra_levels=1)
    sizes = anchor_sizes or [[8 * s] for s in pyramid.strides]
    pool = MultiScaleRoIAlign([str(i) for i in range(len(pyramid.strides) - 1)], output_size=7, sampling_ratio=2)
    detector: nn.Module = FasterRCNN(pyramid, rpn_anchor_generator=_anchors(sizes, RATIOS, pyramid), box_roi_pool=pool,
                                     **options)
    return detector


# head -> (maker, torchvision's class, reductions of the maps it takes)
_HEADS: dict[str, tuple[Callable[..., nn.Module], type[nn.Module], tuple[int, ...]]] = {
    'retinanet': (_retinanet, RetinaNet, (8, 16, 32)),
    'fcos': (_fcos, FCOS, (8, 16, 32)),
    'faster_rcnn': (_faster_rcnn, FasterRCNN, (4, 8, 16, 32)),
}
DETECTION_HEADS = tuple(_HEADS)
_MADE_HERE = {'self', 'backbone', 'num_classes', 'anchor_generator', 'rpn_anchor_generator', 'box_roi_pool', 'head',
              'rpn_head', 'box_head', 'box_predictor', 'proposal_matcher', 'kwargs'}


def create_detector(backbone: str | nn.Module, head: str = 'retinanet', num_classes: int | None = None, *,
                    classes: Sequence[str] | None = None, pretrained_backbone: bool | Weights = False,
                    frozen_bn: bool | None = None, trainable_layers: int | None = None,
                    pyramid_channels: int = 256, anchor_sizes: Sizes | None = None, neck: str | None = None,
                    backbone_options: Mapping[str, Any] | None = None, **options: Any) -> nn.Module:
    """A detector: torchvision's network of that kind, with its targets, losses and outputs.

    In training it takes a list of images (C, H, W) in 0..1, or in uint8, of any sizes, and a list of targets with
    `boxes` (N, 4) as x1, y1, x2, y2 in pixels and `labels` (N,) from 1, and returns a dict of losses; in evaluation it
    takes the images and returns for each a dict of `boxes`, `labels` and `scores`. It resizes and normalises by itself,
    with the mean and the standard deviation of the backbone's weights. It raises ValueError for a label that no class
    has, for images far outside of 0..1, and for one so narrow that nothing would be left of it at `max_size`.

    Args:
        backbone: a name, as in `zoo.create_model`, or a module made with `features_only=True`.
        head: 'retinanet', 'fcos' or 'faster_rcnn'.
        num_classes: the classes and one for the background, as torchvision counts.
        classes: names of the classes, from label 1; kept as `.classes`, and with them `num_classes` is not needed.
        pretrained_backbone: as `pretrained` of `zoo.create_model`.
        frozen_bn: keep the backbone's batch normalisation as it is; by default where it is pretrained.
        trainable_layers: how many of the backbone's stem and stages, from the last, are trained; None for all.
        pyramid_channels: width of the feature pyramid and of the heads on it, a multiple of 32 from 64.
        anchor_sizes: sides of the anchors in pixels, a list for each level.
        neck: 'simple' for ViTDet's simple feature pyramid in place of the usual one, on networks whose maps are all of
            one reduction, such as ViT. 'sam2_fpn' for that of SAM 2's image encoder, on networks with maps of 16 and 32.
        backbone_options: further arguments of `zoo.create_model`, e.g. dict(drop_path_rate=0.1).
        options: arguments of torchvision's class: min_size and max_size of the sides in pixels, score_thresh, …

    Raises:
        ValueError: an unknown head, numbers of classes that disagree, a class named twice, a backbone without the maps.
        TypeError: an option that torchvision's class does not have.
    """
    if head not in _HEADS:
        raise ValueError(unknown('Detection head', head, DETECTION_HEADS))
    make, kind, reductions = _HEADS[head]
    num_classes = _count(num_classes, classes)
    known = [name for name in inspect.signature(kind).parameters if name not in _MADE_HERE]
    for option in options:
        if option not in known:
            raise TypeError(f'{head}: ' + unknown('option', option, known))
    if pyramid_channels < 64 or pyramid_channels % 32:     # FCOS normalises 32 groups, of two channels or more
        raise ValueError(f'pyramid_channels is a multiple of 32 from 64 up, not {pyramid_channels}.')
    if neck is not None and neck not in NECKS:
        raise ValueError(unknown('Neck', neck, NECKS))
    config = dict(task='detect', backbone=backbone, head=head, num_classes=num_classes,
                  classes=list(classes) if classes else None, frozen_bn=frozen_bn, trainable_layers=trainable_layers,
                  pyramid_channels=pyramid_channels, anchor_sizes=anchor_sizes, neck=neck,
                  backbone_options=dict(backbone_options or {}), **options)
    if frozen_bn is None:
        config['frozen_bn'] = bool(pretrained_backbone)
    body = create_backbone(backbone, reductions, pretrained_backbone, frozen_bn, trainable_layers, backbone_options,
                           plain=1 if neck == 'simple' else 0)
    mean, std = image_statistics(body)
    defaults = {'image_mean': mean, 'image_std': std}
    config |= {name: options.get(name, value) for name, value in defaults.items()}
    make_pyramid = partial(Pyramid, body, pyramid_channels, neck=neck, levels=reductions)
    detector = make(make_pyramid, pyramid_channels, anchor_sizes, num_classes=num_classes, **{**defaults, **options})
    detector.transform = _Inputs(detector.transform, num_classes)
    setattr(detector, 'config', config)
    setattr(detector, 'classes', config['classes'])
    return detector


class _Inputs(GeneralizedRCNNTransform):
    """Torchvision's way from images and targets to a batch, and back; takes uint8, too, and looks at what it gets."""

    def __init__(self, plain: GeneralizedRCNNTransform, num_classes: int) -> None:
        super().__init__(plain.min_size, plain.max_size, plain.image_mean, plain.image_std, plain.size_divisible,
                         plain.fixed_size, _skip_resize=plain._skip_resize)
        self.num_classes = num_classes

    def forward(self, images: list[Tensor], targets: list[dict[str, Tensor]] | None = None) -> tuple[Any, Any]:
        for number, target in enumerate(targets or ()):
            labels = target['labels']
            wrong = labels[(labels < 1) | (labels >= self.num_classes)]
            if len(wrong):
                raise ValueError(f'The target of image {number} of the batch has the label {wrong[0].item()}; labels '
                                 f'are 1 to {self.num_classes - 1}, and 0 is the background, which has no boxes.')
        return super().forward(images, targets)

    def normalize(self, image: Tensor) -> Tensor:
        """An image, uint8 or in 0..1, normalised."""
        return super().normalize(unit_interval(image))

    def resize(self, image: Tensor, target: dict[str, Tensor] | None = None) -> tuple[Tensor, Any]:
        """An image and its target at the size that the network sees."""
        height, width = image.shape[-2:]
        scale = min(min(self.min_size) / min(height, width), self.max_size / max(height, width))
        if min(height, width) * scale < 1:
            raise ValueError(f'An image of {height} x {width} pixels (height x width) is too narrow for max_size='
                             f'{self.max_size}: its shorter side would be less than a pixel.')
        return super().resize(image, target)

    def postprocess(self, result: list[dict[str, Tensor]], image_shapes: Any, original_image_sizes: Any) -> Any:
        """What was found, at the size of the images, without what was found of the background."""
        if not self.training:                             # RetinaNet and FCOS have a score for label 0, too
            result = [{key: value[found['labels'] > 0] for key, value in found.items()} for found in result]
        return super().postprocess(result, image_shapes, original_image_sizes)


def _count(num_classes: int | None, classes: Sequence[str] | None) -> int:
    """The number of classes with the background."""
    if not classes:
        if num_classes is None:
            raise ValueError('A detector needs classes=[…], their names, or num_classes, one more than there are.')
        return whole('num_classes, which counts the background,', num_classes, 2)
    checked_classes(classes)
    if num_classes not in (None, len(classes) + 1):
        raise ValueError(f'num_classes is one more than the {len(classes)} classes, for the background: '
                         f'{len(classes) + 1}, not {num_classes}.')
    return len(classes) + 1


def _anchors(sizes: Sizes, ratios: Sequence[float], pyramid: Pyramid) -> AnchorGenerator:
    if len(sizes) != len(pyramid.strides):
        raise ValueError(f'anchor_sizes needs a list for each of the {len(pyramid.strides)} levels, of strides '
                         f'{pyramid.strides}; got {len(sizes)}.')
    return AnchorGenerator(tuple(map(tuple, sizes)), (tuple(ratios),) * len(sizes))
