"""From a batch of levels to what the network takes in and is compared with, on its device."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from ..data import create_transform
from ..evaluation.preprocess import Normalize
from .loader import Batch
from .recipe import AugmentPart, Recipe
from .rules import mixes


def train_transform(recipe: Recipe, config: dict[str, Any], **more: Any) -> Callable[[Any], Any]:
    """Images of Pillow's -> levels (C, H, W), or a tuple of them: the image cropped and flipped, and distorted copies of
    that (AugMix, arXiv:1912.02781).

    Args:
        config: the settings of `zoo.data.resolve_data_config`: size, mean and std.
        more: other arguments of `zoo.data.create_transform`.
    """
    part = recipe.augment
    options: dict[str, Any] = dict(
        input_size=config['input_size'], is_training=True, use_prefetcher=True, no_aug=part.no_aug,
        train_crop_mode=part.train_crop_mode, scale=part.scale, ratio=part.ratio, hflip=part.hflip, vflip=part.vflip,
        color_jitter=part.color_jitter, color_jitter_prob=part.color_jitter_prob, grayscale_prob=part.grayscale_prob,
        gaussian_blur_prob=part.gaussian_blur_prob, auto_augment=part.aa, interpolation=part.train_interpolation,
        mean=config['mean'], std=config['std'], **more)
    split = part.aug_splits > 1
    made: Any = create_transform(**options, separate=split)
    if not split:
        transform: Callable[[Any], Any] = made
        return transform
    from ..data import SplitTransform
    return SplitTransform(made, part.aug_splits)


class Inputs:
    """A `Batch` -> (images (S * B, C, H, W) normalised, targets), mixed and erased as the recipe says.

    Erasing and mixing draw from torch's generator and Python's in this process, whose state a checkpoint holds.

    Args:
        config: see `train_transform`. outputs: the network's. task: 'single', 'multi' or 'regression'.
    """

    def __init__(self, recipe: Recipe, config: dict[str, Any], task: str, outputs: int, device: torch.device) -> None:
        part = recipe.augment
        self.device, self.mixup_off_epoch = device, part.mixup_off_epoch
        self._normalize = Normalize(config['mean'], config['std'], channels_last=recipe.model.channels_last)
        self.mixup: Any = None
        self.erasing: Any = None
        if mixes(recipe):
            if task == 'regression':
                raise ValueError('augment.mixup and augment.cutmix mix classes; the targets are numbers.')
            # these take mixed targets as they are; the other losses smooth them
            as_they_are = task == 'single' and recipe.loss.loss in (None, 'ce', 'bce')
            self.mixup = self._mixing(part, label_smoothing=recipe.loss.smoothing if as_they_are else 0.0,
                                      num_classes=outputs, multi_label=task == 'multi')
        if part.reprob > 0:
            from ..data import RandomErasing
            splits = part.aug_splits if part.resplit else 0
            self.erasing = RandomErasing(part.reprob, mode=part.remode, max_count=part.recount, num_splits=splits,
                                         device=device)

    def __call__(self, batch: Batch, epoch: int) -> tuple[Tensor, Tensor]:
        levels, targets = batch.levels, batch.targets
        if not isinstance(levels, Tensor) or not isinstance(targets, Tensor):
            raise TypeError('A batch of whole images has its levels, and its targets, in one tensor.')
        images = self._normalize(levels.to(self.device, non_blocking=True))
        targets = targets.to(self.device, non_blocking=True)
        if len(images) > len(targets):                      # splits of the same images
            targets = targets.repeat(len(images) // len(targets), *[1] * (targets.ndim - 1))
        if self._mixes(epoch):
            images, targets = self.mixup(images, targets)
        if self.erasing:
            images = self.erasing(images)
        return images, targets

    def _mixing(self, part: AugmentPart, **targets: Any) -> Callable[..., Any]:
        """What mixes a batch; `targets` says how they are made."""
        from ..data import Mixup
        return Mixup(part.mixup, part.cutmix, part.cutmix_minmax, part.mixup_prob, part.mixup_switch_prob, part.mixup_mode,
                     **targets)

    def _mixes(self, epoch: int) -> bool:
        return self.mixup is not None and not (self.mixup_off_epoch and epoch >= self.mixup_off_epoch)
