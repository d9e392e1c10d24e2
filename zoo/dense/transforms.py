"""Random changes of images together with their boxes or masks, put together of torchvision's.

The pipelines of `detection_transforms` and `segmentation_transforms` are a list of torchvision.transforms.v2 inside a
`BoxTransform` or `MaskTransform`, which take any other list as well.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torchvision import tv_tensors
from torchvision.transforms import v2

from ..spec import IMAGENET_MEAN

SCALE = (0.5, 2.0)                   # of scale jitter: 1 just fits the image into the crop
COLOUR = (0.2, 0.2, 0.2, 0.02)       # changes of brightness, contrast, saturation and hue
PER_BOX = ('labels', 'area', 'iscrowd')


class BoxTransform:
    """Torchvision's transforms on an image (3, H, W) and the target of a detector, for the `transforms` of a dataset.

    Boxes are clamped to the image afterwards; those left with less than a pixel of width or height are removed with
    their labels. `area` becomes that of the boxes.

    Args:
        steps: transforms of torchvision.transforms.v2.
        skip_crowd: remove boxes with `iscrowd` 1 (crowds, and VOC's difficult objects), which are not to be learnt.
    """

    def __init__(self, steps: Sequence[v2.Transform], skip_crowd: bool):
        last = [v2.ClampBoundingBoxes(), v2.SanitizeBoundingBoxes(labels_getter=_per_box)]
        self.pipeline = v2.Compose([*steps, *last])
        self.skip_crowd = skip_crowd

    def __call__(self, image: torch.Tensor, target: dict[str, Any]) -> tuple[torch.Tensor, dict[str, Any]]:
        if self.skip_crowd:
            single = target['iscrowd'] == 0
            target = target | {key: target[key][single] for key in ('boxes', *PER_BOX)}
        boxes = tv_tensors.BoundingBoxes(target['boxes'], format='XYXY', canvas_size=tuple(image.shape[-2:]))
        image, target = self.pipeline(tv_tensors.Image(image), target | {'boxes': boxes})
        boxes = target['boxes'].as_subclass(torch.Tensor)
        area = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
        return image.as_subclass(torch.Tensor), target | {'boxes': boxes, 'area': area}


class MaskTransform:
    """Torchvision's transforms on an image (3, H, W) and its mask (H, W), for the `transforms` of a dataset.

    Args:
        steps: transforms of torchvision.transforms.v2. They resize masks to the nearest pixel, never between classes.
    """

    def __init__(self, steps: Sequence[v2.Transform]):
        self.pipeline = v2.Compose(steps)

    def __call__(self, image: torch.Tensor, mask: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        image, mask = self.pipeline(tv_tensors.Image(image), tv_tensors.Mask(mask))
        return image.as_subclass(torch.Tensor), mask.as_subclass(torch.Tensor)


def detection_transforms(train: bool, size: tuple[int, int] | None = None, **options: Any) -> BoxTransform:
    """What is done to images with boxes.

    Args:
        train: flip left to right, change the scale, cut out, and change the colours, all at random; without crowds.
            Without `train`, no boxes but those below a pixel are removed.
        size: (height, width) of what comes out, in pixels: cut out and padded in training, resized (without keeping
            height to width) otherwise. None keeps every image's size, and scale too.
        options: of training, see `random_steps`.
    """
    if train:
        steps = random_steps(size, {tv_tensors.Image: IMAGENET_MEAN, 'others': 0}, **options)
        return BoxTransform(steps, skip_crowd=True)
    return BoxTransform([v2.Resize(size)] if size else [], skip_crowd=False)


def segmentation_transforms(train: bool, size: tuple[int, int] | None = None, ignore_index: int = 255,
                            **options: Any) -> MaskTransform:
    """What is done to images with masks; `train`, `size` and `options` as of `detection_transforms`.

    Args:
        ignore_index: what the mask gets where the image is padded in training.
    """
    if train:
        return MaskTransform(random_steps(size, {tv_tensors.Image: IMAGENET_MEAN, tv_tensors.Mask: ignore_index},
                                          **options))
    return MaskTransform([v2.Resize(size)] if size else [v2.Identity()])


def random_steps(size: tuple[int, int] | None, fill: dict[Any, Any], *, fit: tuple[int, int] | None = None,
                 scale: tuple[float, float] = SCALE, hflip: float = 0.5, vflip: float = 0.0,
                 colour: Sequence[float] = COLOUR) -> list[v2.Transform]:
    """The transforms of training.

    Args:
        size: (height, width) of what is cut out. fill: what padding is filled with, by what it pads.
        fit: (height, width) that an image just fits into at a scale of 1; None takes `size`.
        scale: the least and the most that an image is resized to by `fit`, where there is a `size`.
        hflip, vflip: probabilities of a flip.
        colour: how far brightness, contrast, saturation and, if it is there, hue go.
    """
    resize = [v2.ScaleJitter(fit or size, scale), v2.RandomCrop(size, pad_if_needed=True, fill=fill)] if size else []
    upright = [v2.RandomVerticalFlip(vflip)] if vflip else []
    return [v2.RandomHorizontalFlip(hflip), *upright, *resize, *([v2.ColorJitter(*colour)] if any(colour) else [])]


def _per_box(inputs: tuple[Any, dict[str, Any]]) -> list[torch.Tensor]:
    return [inputs[1][key] for key in PER_BOX]
