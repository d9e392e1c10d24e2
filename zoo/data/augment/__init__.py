"""What training does to images beyond crops and flips: distortions named by a string, random erasing, mixing, and
drawing an image several times. `create_augment` reads the strings.

Whatever is drawn comes from Python's `random` and torch's generator of the CPU: who seeds both gets the same images.
"""
from __future__ import annotations

from .erasing import RandomErasing
from .mixing import Mixup
from .ops import OPERATIONS, AugmentOp, Settings
from .policy import (
    AugMixAugment, AutoAugment, RandAugment, augment_and_mix_transform, augmix_ops, auto_augment_policy,
    auto_augment_transform, create_augment, rand_augment_choices, rand_augment_ops, rand_augment_transform,
)
from .sampling import RepeatAugSampler
from .splits import SplitTransform
from .variable import NaFlexMixup

__all__ = [
    'OPERATIONS', 'AugMixAugment', 'AugmentOp', 'AutoAugment', 'Mixup', 'NaFlexMixup', 'RandAugment', 'RandomErasing',
    'RepeatAugSampler', 'Settings', 'SplitTransform', 'augment_and_mix_transform', 'augmix_ops', 'auto_augment_policy',
    'auto_augment_transform', 'create_augment', 'rand_augment_choices', 'rand_augment_ops', 'rand_augment_transform',
]
