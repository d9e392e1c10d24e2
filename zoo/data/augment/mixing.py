"""Mixup (arXiv:1710.09412) and CutMix (arXiv:1905.04899): images of a batch mixed in pairs, and their targets."""
from __future__ import annotations

import math
from collections.abc import Sequence

import torch

from ...spec import unknown

MODES = ('batch', 'pair', 'elem')
Box = tuple[slice, slice]                                            # rows and columns


class Mixup:
    """Mixes each image of a batch with the one that stands as far from the batch's other end; the middle one of an
    odd number stays as it is. Everything random comes from torch's generator of the CPU.

    `mixer(images, targets)` takes normalised images (B, C, H, W), which it changes, with either classes (B,) or, for
    soft targets and several classes an image, numbers (B, num_classes). It returns the images and float32 targets
    (B, num_classes). While `mixup_enabled` is False, targets are smoothed and images left alone.

    Args:
        mixup_alpha, cutmix_alpha: of the Beta distribution of an image's share; 0 for not this kind of mixing.
        cutmix_minmax: CutMix whose boxes have sides of these fractions of the image's, rather than of a drawn area.
        prob: that images are mixed. switch_prob: that they are by CutMix, where both kinds are asked for.
        mode: 'batch' draws one share for all, 'pair' one for each pair, 'elem' one for each image.
        correct_lam: the share is that of the box, which the image's edge may have cut.
        label_smoothing: the part of a target that is spread over all classes; with `multi_label`, that each number is
            moved from 0 or 1 towards a half, doubled.
        multi_label: targets are independent yes and no, not one distribution.

    Raises:
        ValueError: a value that cannot be used, or neither kind of mixing.
    """

    def __init__(
        self,
        mixup_alpha: float = 1.0,
        cutmix_alpha: float = 0.0,
        cutmix_minmax: Sequence[float] | None = None,
        prob: float = 1.0,
        switch_prob: float = 0.5,
        mode: str = 'batch',
        correct_lam: bool = True,
        label_smoothing: float = 0.1,
        num_classes: int = 1000,
        multi_label: bool = False,
    ) -> None:
        if cutmix_minmax is not None:
            if len(cutmix_minmax) != 2 or not 0 <= cutmix_minmax[0] <= cutmix_minmax[1] <= 1:
                raise ValueError(f'cutmix_minmax is (low, high) of 0 <= low <= high <= 1; got {cutmix_minmax!r}.')
            cutmix_alpha, correct_lam = 1.0, True                    # the box says what the share is
        if mixup_alpha < 0 or cutmix_alpha < 0 or not mixup_alpha + cutmix_alpha > 0:
            raise ValueError('Of mixup_alpha and cutmix_alpha, one is above 0 and none below; got '
                             f'{mixup_alpha}, {cutmix_alpha}.')
        for name, value in dict(prob=prob, switch_prob=switch_prob, label_smoothing=label_smoothing).items():
            if not 0 <= value <= 1:
                raise ValueError(f'{name} is from 0 to 1; got {value!r}.')
        if mode not in MODES:
            raise ValueError(unknown('Mixing mode', str(mode), MODES))
        self.mixup_alpha, self.cutmix_alpha, self.cutmix_minmax = mixup_alpha, cutmix_alpha, cutmix_minmax
        self.mix_prob, self.switch_prob, self.mode, self.correct_lam = prob, switch_prob, mode, correct_lam
        self.label_smoothing, self.num_classes, self.multi_label = label_smoothing, num_classes, multi_label
        self.mixup_enabled = True

    def __call__(self, images: torch.Tensor, targets: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if not images.is_floating_point() or images.ndim != 4 or len(images) != len(targets):
            raise ValueError(f'Mixing takes float images (B, C, H, W) and B targets; got {images.dtype} '
                             f'{tuple(images.shape)} and {tuple(targets.shape)}.')
        soft = self.soft(targets)
        if not self.mixup_enabled:
            return images, soft
        count = {'batch': 1, 'pair': (len(images) + 1) // 2, 'elem': len(images)}[self.mode]
        height, width = images.shape[-2:]
        return mix(images, soft, *self.draw(count, height, width))

    def draw(self, count: int, height: int, width: int) -> tuple[list[float], list[Box | None]]:
        """`count` shares that an image keeps, and for each the box it does not keep, if that is where it is mixed."""
        shares = [1.0] * count
        boxes: list[Box | None] = [None] * count
        for index, (share, cut) in enumerate(self.draw_shares(count)):
            if cut:
                boxes[index] = box = self._box(height, width, share)
                if self.correct_lam:
                    share = 1 - area_of(box) / (height * width)
            shares[index] = share
        return shares, boxes

    def draw_shares(self, count: int) -> list[tuple[float, bool]]:
        """`count` shares that an image is to keep, all of it where it is not mixed; and whether the rest is cut out."""
        mixed, cut = _uniform(count) < self.mix_prob, torch.full((count,), self.cutmix_alpha > 0)
        if self.mixup_alpha > 0 and self.cutmix_alpha > 0:
            cut = _uniform(count) < self.switch_prob
        drawn = [_beta(alpha, count) if alpha > 0 else torch.ones(count)
                 for alpha in (self.mixup_alpha, self.cutmix_alpha)]
        return [(drawn[by_box][index].item(), by_box) if on else (1.0, False)
                for index, (on, by_box) in enumerate(zip(mixed.tolist(), cut.tolist()))]

    def _box(self, height: int, width: int, share: float) -> Box:
        return box_within(height, width, self.cutmix_minmax) if self.cutmix_minmax else box_of(height, width, share)

    def soft(self, targets: torch.Tensor) -> torch.Tensor:
        """Smoothed targets (B, num_classes)."""
        if targets.ndim == 1 and not targets.is_floating_point() and not self.multi_label:
            targets = torch.nn.functional.one_hot(targets.long(), self.num_classes)
        elif targets.ndim != 2 or targets.shape[1] != self.num_classes:
            classes = '' if self.multi_label else 'classes (B,) or '
            raise ValueError(f'Targets are {classes}numbers (B, {self.num_classes}); got {targets.dtype} '
                             f'{tuple(targets.shape)}.')
        spread = self.label_smoothing / (2 if self.multi_label else self.num_classes)
        return targets.float() * (1 - self.label_smoothing) + spread


def mix(
    images: torch.Tensor, targets: torch.Tensor, shares: Sequence[float], boxes: Sequence[Box | None],
) -> tuple[torch.Tensor, torch.Tensor]:
    """Images, changed in place, and targets (B, classes), each mixed with the one as far from the other end.

    An image keeps its share of itself, or all but its box. There is one share and box for all, one for each pair, or
    one for each image.
    """
    count, others = len(images), images.flip(0)
    if 1 < len(shares) < count:                                      # the pairs' other halves, from the middle on
        shares = [*shares, *shares[:count // 2][::-1]]
        boxes = [*boxes, *boxes[:count // 2][::-1]]
    kept = torch.tensor(shares, dtype=torch.float64)
    blended = kept.where(torch.tensor([box is None for box in boxes]), 1.0)[:, None, None, None]
    if (blended != 1).any():
        images.mul_(blended.to(images)).add_(others * (1 - blended).to(images))
    for index, box in enumerate(boxes):
        if box is not None:
            where = (slice(None) if len(boxes) == 1 else index, ..., *box)
            images[where] = others[where]
    kept = kept[:, None].to(targets)
    return images, targets * kept + targets.flip(0) * (1 - kept)


def box_of(height: int, width: int, share: float) -> Box:
    """A box around any pixel that leaves `share` of the area, if no edge cuts it."""
    side, row, column = math.sqrt(1 - share), _integer(0, height), _integer(0, width)
    high, wide = int(height * side), int(width * side)
    top, left = row - high // 2, column - wide // 2
    return slice(max(0, top), min(height, top + high)), slice(max(0, left), min(width, left + wide))


def area_of(box: Box) -> int:
    """The pixels of a box."""
    return (box[0].stop - box[0].start) * (box[1].stop - box[1].start)


def box_within(height: int, width: int, minmax: Sequence[float]) -> Box:
    """A box inside the image, its sides between two fractions of the image's."""
    limits = [(int(side * minmax[0]), int(side * minmax[1])) for side in (height, width)]
    high, wide = (_integer(low, max(limit, low + 1)) for low, limit in limits)
    top, left = _integer(0, height - high + 1), _integer(0, width - wide + 1)
    return slice(top, top + high), slice(left, left + wide)


def _uniform(count: int) -> torch.Tensor:
    return torch.rand(count, dtype=torch.float64)


def _integer(low: int, high: int) -> int:
    """From `low` to just below `high`."""
    return int(torch.randint(low, high, ()))


def _beta(alpha: float, count: int) -> torch.Tensor:
    both = torch.full((count,), float(alpha), dtype=torch.float64)
    return torch.distributions.Beta(both, both, validate_args=False).sample()
