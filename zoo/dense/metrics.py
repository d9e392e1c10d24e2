"""How good boxes and masks are: COCO's average precision, and mean intersection over union."""
from __future__ import annotations

import contextlib
import io
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from .boxes import import_coco

AREAS = {'': [0, 1e10], '_small': [0, 32**2], '_medium': [32**2, 96**2], '_large': [96**2, 1e10]}     # square pixels


def coco_ap(predictions: Sequence[Mapping[str, Any]], targets: Sequence[Mapping[str, Any]],
            num_classes: int) -> dict[str, Any]:
    """COCO's average precision of boxes, as pycocotools computes it.

    At most 100 boxes of a class count in an image, those of the highest scores. Boxes with `iscrowd` 1 are neither
    demanded nor is it punished to find them.

    Args:
        predictions: for each image `boxes` (N, 4) in xyxy, `scores` (N,) and `labels` (N,), as torchvision's detectors
            give them.
        targets: for the same images, in the same order, `boxes` (M, 4) and `labels` (M,), and `iscrowd` (M,) if any is.
        num_classes: how many classes there are without the background; labels are 1 to `num_classes`.

    Returns:
        `AP` (the mean over intersections over union of 0.5, 0.55, ... 0.95), `AP50` and `AP75`, each a mean over the
        classes with objects in `targets`; `AP_small`, `AP_medium` and `AP_large`, of objects below 32², between, and
        above 96² pixels; and `AP50_per_class`, a list whose first is of label 1. All are in 0..1, and nan where there
        is no object.

    Raises:
        ImportError: pycocotools is not installed.
        ValueError: lengths differ, or a label is not in 1..`num_classes`.
    """
    if len(predictions) != len(targets):
        raise ValueError(f'There are {len(predictions)} predictions for {len(targets)} targets; each is of one image.')
    truth, found = _in_memory(targets, num_classes, 'target'), _in_memory(predictions, num_classes, 'prediction')
    evaluation = import_coco('cocoeval').COCOeval(truth, found, 'bbox')
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [*AREAS.values()], [*AREAS]
    evaluation.params.maxDets = [100]
    with contextlib.redirect_stdout(io.StringIO()):
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval['precision'][..., 0]     # (thresholds, recalls, classes, areas); -1 without objects
    of_areas = np.where(precision < 0, np.nan, precision).mean(1)
    per_class = of_areas[..., 0]
    return {
        **{f'AP{area}': _mean(of_areas[..., i]) for i, area in enumerate(AREAS)},
        'AP50': _mean(per_class[0]), 'AP75': _mean(per_class[5]),
        'AP50_per_class': per_class[0].tolist(),
    }


class MeanIoU:
    """Intersection over union of classes, over all pixels of all masks together.

    Args:
        num_classes: how many classes there are; their indices are 0 to `num_classes` - 1.
        ignore_index: pixels with this index in the target do not count. None counts all.

    Attributes:
        confusion: int64 (num_classes, num_classes); [i, j] pixels are of class i and were taken for class j.
    """

    def __init__(self, num_classes: int, ignore_index: int | None = 255):
        self.num_classes = num_classes
        self.ignore_index = ignore_index
        self.confusion = torch.zeros(num_classes, num_classes, dtype=torch.int64)

    def update(self, prediction: torch.Tensor, target: torch.Tensor) -> None:
        """Count the pixels of one batch, or of one image.

        Args:
            prediction: indices, in the shape of `target`; or a score for every class, (B, num_classes, H, W) or
                (num_classes, H, W) in floats, of which the highest is taken.
            target: indices, (B, H, W) or (H, W).

        Raises:
            ValueError: the shapes do not fit, or an index is not in 0..`num_classes` - 1 and not ignored.
        """
        if prediction.is_floating_point() and prediction.ndim == target.ndim + 1:
            if prediction.shape[-3] != self.num_classes:
                raise ValueError(f'The scores have {prediction.shape[-3]} channels for {self.num_classes} classes.')
            prediction = prediction.argmax(-3)
        if prediction.shape != target.shape or prediction.is_floating_point():
            raise ValueError(f'The prediction is {tuple(prediction.shape)} of {prediction.dtype} for a target '
                             f'{tuple(target.shape)}; expected indices in the same shape, or floats with a '
                             f'dimension of {self.num_classes} classes before height and width.')
        if self.ignore_index is not None:
            counts = target != self.ignore_index
            prediction, target = prediction[counts], target[counts]
        for what, indices in (('prediction', prediction), ('target', target)):
            wrong = indices[(indices < 0) | (indices >= self.num_classes)]
            if len(wrong):
                raise ValueError(f'The {what} has {wrong[0].item()}; allowed are 0 to {self.num_classes - 1}, and '
                                 f'in the target {self.ignore_index} for what is ignored.')
        pairs = torch.bincount((target.long() * self.num_classes + prediction.long()).flatten(),
                               minlength=self.num_classes ** 2)
        self.confusion += pairs.reshape(self.confusion.shape).to(self.confusion.device)

    def compute(self) -> dict[str, Any]:
        """`mIoU`, the mean over classes that occur in targets or predictions; `IoU_per_class`, a list, nan for a class
        that does not; `pixel_accuracy`. All in 0..1, and nan before the first pixel.
        """
        hits = self.confusion.diag().double()
        union = self.confusion.sum(0) + self.confusion.sum(1) - hits
        per_class = hits / union                                 # 0 / 0 is nan
        return {
            'mIoU': _mean(per_class.numpy(force=True)), 'IoU_per_class': per_class.tolist(),
            'pixel_accuracy': (hits.sum() / self.confusion.sum()).item(),
        }


def _in_memory(rows: Sequence[Mapping[str, Any]], num_classes: int, what: str) -> Any:
    """Boxes of images as pycocotools holds them; an image's id is its place."""
    entries: list[dict[str, Any]] = []
    for image, row in enumerate(rows):
        boxes, labels = row['boxes'].detach().cpu().double(), row['labels'].tolist()
        sizes = boxes[:, 2:] - boxes[:, :2]
        scores = row['scores'].tolist() if what == 'prediction' else [0.0] * len(labels)
        crowds = row['iscrowd'].tolist() if what == 'target' and 'iscrowd' in row else [0] * len(labels)
        if not len(boxes) == len(labels) == len(scores) == len(crowds):
            raise ValueError(f'The {what} of image {image} has {len(boxes)} boxes and {len(labels)} labels; '
                             'there is one for each box.')
        columns = zip(boxes[:, :2].tolist(), sizes.tolist(), sizes.prod(1).tolist(), labels, scores, crowds)
        for corner, size, area, label, score, crowd in columns:
            if not 1 <= label <= num_classes:
                raise ValueError(f'The {what} of image {image} has label {label}; allowed are 1 to {num_classes}.')
            entries.append({'id': len(entries) + 1, 'image_id': image, 'category_id': label, 'bbox': [*corner, *size],
                            'area': area, 'score': score, 'iscrowd': crowd})
    coco = import_coco('coco').COCO()
    coco.dataset = {'images': [{'id': image} for image in range(len(rows))], 'annotations': entries,
                    'categories': [{'id': label} for label in range(1, num_classes + 1)]}
    with contextlib.redirect_stdout(io.StringIO()):
        coco.createIndex()
    return coco


def _mean(values: np.ndarray) -> float:
    """The mean of what is not nan; nan if nothing is."""
    values = values[~np.isnan(values)]
    return float(values.mean()) if values.size else math.nan
