"""Mixup and CutMix of images that differ in size: each with one of nearly its aspect, where the two overlap."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from .mixing import Box, Mixup, area_of, box_of


class NaFlexMixup:
    """Mixes images in pairs of neighbouring aspects, in the part that their middles have in common. Everything random comes
    from torch's generator of the CPU.

    `mixer(images, targets)` takes normalised images (C, H, W), and targets as `Mixup` does. It returns new images of the
    same sizes and float32 targets (B, num_classes): an image's share is that of its pixels which are its own. Kind and
    share are drawn once for all; of an odd number of images, one of the widest stays as it is.

    Args:
        local_shuffle: so many images, in the order of their aspects, change places at random before they are paired.
        mixup_off_epoch: from this epoch on, of which `set_epoch` tells, images are left alone; 0 for never.
        num_classes, mixup_alpha, cutmix_alpha, switch_prob, prob, label_smoothing, multi_label: see `Mixup`.

    Raises:
        ValueError: a value that cannot be used, or neither kind of mixing.
    """

    def __init__(self, *, num_classes: int, mixup_alpha: float = 0.8, cutmix_alpha: float = 1.0, switch_prob: float = 0.5,
                 prob: float = 1.0, local_shuffle: int = 4, label_smoothing: float = 0.0, mixup_off_epoch: int = 0,
                 multi_label: bool = False) -> None:
        if local_shuffle < 1 or mixup_off_epoch < 0:
            raise ValueError('local_shuffle is at least 1 and mixup_off_epoch at least 0; got '
                             f'{local_shuffle}, {mixup_off_epoch}.')
        self._mixup = Mixup(mixup_alpha, cutmix_alpha, prob=prob, switch_prob=switch_prob,
                            label_smoothing=label_smoothing, num_classes=num_classes, multi_label=multi_label)
        self.local_shuffle, self.mixup_off_epoch, self.epoch = local_shuffle, mixup_off_epoch, 0

    def set_epoch(self, epoch: int) -> None:
        """Says which epoch the following images are of."""
        self.epoch = epoch

    def __call__(self, images: Sequence[Tensor], targets: Tensor) -> tuple[list[Tensor], Tensor]:
        soft = self._mixup.soft(targets)
        mixed, shares = list(images), [1.0] * len(images)
        if self.mixup_off_epoch and self.epoch >= self.mixup_off_epoch:
            return mixed, soft
        (share, cut), = self._mixup.draw_shares(1)
        if share == 1:
            return mixed, soft
        other = list(range(len(images)))
        for left, right in self._pairs(images):
            other[left], other[right] = right, left
            height, width = (min(images[left].shape[side], images[right].shape[side]) for side in (1, 2))
            box = box_of(height, width, share) if cut else None
            for own, of in ((left, right), (right, left)):
                mixed[own], shares[own] = mix_middle(images[own], images[of], (height, width), share, box)
        kept = torch.tensor(shares, dtype=torch.float64)[:, None].to(soft)
        return mixed, soft * kept + soft[other] * (1 - kept)

    def _pairs(self, images: Sequence[Tensor]) -> list[tuple[int, int]]:
        """The numbers of the images that are mixed with each other."""
        order = sorted(range(len(images)), key=lambda one: images[one].shape[2] / images[one].shape[1])
        shuffled = []
        for begin in range(0, len(order), self.local_shuffle):
            near = order[begin:begin + self.local_shuffle]
            shuffled += [near[place] for place in torch.randperm(len(near)).tolist()]
        return list(zip(shuffled[::2], shuffled[1::2]))


def mix_middle(image: Tensor, other: Tensor, size: tuple[int, int], share: float,
               box: Box | None) -> tuple[Tensor, float]:
    """An image (C, H, W) mixed with another in the middle of both, of this size; and how much of it is its own.

    There it keeps `share` of itself or, if there is a box in it, all but that.
    """
    image = image.clone()
    middle, theirs = _middle(image, size), _middle(other, size)
    if box is None:
        middle.mul_(share).add_(theirs, alpha=1 - share)
        changed = (1 - share) * size[0] * size[1]
    else:
        middle[..., box[0], box[1]] = theirs[..., box[0], box[1]]
        changed = area_of(box)
    return image, 1 - changed / (image.shape[1] * image.shape[2])


def _middle(image: Tensor, size: tuple[int, int]) -> Tensor:
    """The part of this size in the middle of an image (C, H, W)."""
    top, left = ((image.shape[side] - size[side - 1]) // 2 for side in (1, 2))
    return image[:, top:top + size[0], left:left + size[1]]
