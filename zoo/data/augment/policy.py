"""Distortions drawn by a policy: AutoAugment (arXiv:1805.09501), RandAugment (arXiv:1909.13719), AugMix
(arXiv:1912.02781) and 3-Augment (arXiv:2204.07118), named by a string.

Everything random comes from Python's `random`.
"""
from __future__ import annotations

import math
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from ...spec import unknown
from .grammar import integer, number, positive, read_fields, switch, word
from .ops import MAX_LEVEL, AugmentOp
from .policies import AUGMIX, POLICIES, RANDOM, RANDOM_INCREASING, SETS

AUTO_KEYS = {'mstd': number()}
RAND_KEYS = {'m': integer(0), 'n': integer(1), 'p': number(1), 'mstd': number(), 'mmax': integer(1), 'inc': switch(),
             't': word(SETS)}
AUGMIX_KEYS = {'m': integer(0), 'w': integer(1), 'd': integer(1), 'a': positive(), 'b': switch(), 'mstd': number()}
EVEN_STD = 100                        # in 'rand-...', an mstd above it draws levels evenly between 0 and m
DEEPEST = 3                           # distortions of a chain of AugMix, where the string does not say

Step = Callable[[Image.Image], Image.Image]


class AutoAugment:
    """One of the policy's rows, drawn for each image: its distortions in turn, each with its own probability."""

    def __init__(self, policy: Sequence[Sequence[Step]]) -> None:
        self.policy = policy

    def __call__(self, image: Image.Image) -> Image.Image:
        for step in random.choice(self.policy):
            image = step(image)
        return image

    def __repr__(self) -> str:
        return f'AutoAugment({self.policy})'


class RandAugment:
    """`num_layers` of the distortions in turn, drawn evenly for each image; with `choice_weights` by these, and none
    twice."""

    def __init__(self, ops: Sequence[Step], num_layers: int = 2, choice_weights: Sequence[float] | None = None) -> None:
        self.ops, self.num_layers = list(ops), num_layers
        self.choice_weights: list[float] | None = None
        if choice_weights is not None:
            self.choice_weights = [float(w) for w in choice_weights]
            positive_weights = sum(w > 0 for w in self.choice_weights)
            if len(self.choice_weights) != len(self.ops) or min(self.choice_weights) < 0:
                raise ValueError(f'choice_weights are {len(self.ops)} numbers from 0 up, one for each distortion; got '
                                 f'{list(choice_weights)}.')
            if num_layers > positive_weights:
                raise ValueError(f'No distortion is drawn twice, and {positive_weights} have a weight; got '
                                 f'num_layers={num_layers}.')

    def draw(self) -> list[Step]:
        """The distortions of one image."""
        if self.choice_weights is None:
            return random.choices(self.ops, k=self.num_layers)
        left, drawn = list(self.choice_weights), []
        for _ in range(self.num_layers):
            index = random.choices(range(len(left)), left)[0]
            left[index] = 0.0
            drawn.append(self.ops[index])
        return drawn

    def __call__(self, image: Image.Image) -> Image.Image:
        for step in self.draw():
            image = step(image)
        return image

    def __repr__(self) -> str:
        weights = f', choice_weights={self.choice_weights}' if self.choice_weights else ''
        return f'RandAugment({self.ops}, num_layers={self.num_layers}{weights})'


class AugMixAugment:
    """An image mixed with several copies of itself, each distorted by a chain of its own.

    Args:
        alpha: of the Beta and Dirichlet distributions of the shares.
        width: chains. depth: distortions of a chain; below 1 it is drawn from 1 to 3.
        blended: lay one copy after another over the image, in 8 bits, rather than add them up: faster, less exact.
    """

    def __init__(
        self, ops: Sequence[Step], alpha: float = 1.0, width: int = 3, depth: int = -1, blended: bool = False,
    ) -> None:
        self.ops, self.alpha, self.width, self.depth, self.blended = list(ops), float(alpha), width, depth, blended

    def __call__(self, image: Image.Image) -> Image.Image:
        shares = [random.gammavariate(self.alpha, 1.0) for _ in range(self.width)]
        weights = [share / sum(shares) for share in shares]
        mixed = random.betavariate(self.alpha, self.alpha)
        return self.mix(image, [self._chain(image) for _ in range(self.width)], weights, mixed)

    def _chain(self, image: Image.Image) -> Image.Image:
        depth = self.depth if self.depth > 0 else random.randint(1, DEEPEST)
        for step in random.choices(self.ops, k=depth):
            image = step(image)
        return image

    def mix(
        self, image: Image.Image, copies: Sequence[Image.Image], weights: Sequence[float], share: float,
    ) -> Image.Image:
        """The copies by their weights, which add up to 1, are a `share` of the result."""
        if self.blended:
            covered = 1 - share
            for copy, weight in zip(copies, weights):
                covered += share * weight
                image = Image.blend(image, copy, share * weight / max(covered, 1e-12))
            return image
        total = sum(np.float32(weight) * np.asarray(copy, np.float32) for copy, weight in zip(copies, weights))
        return Image.blend(image, Image.fromarray(np.clip(total, 0, 255).astype(np.uint8)), share)

    def __repr__(self) -> str:
        return (f'AugMixAugment({self.ops}, alpha={self.alpha}, width={self.width}, depth={self.depth}, '
                f'blended={self.blended})')


def create_augment(text: str, hparams: Mapping[str, Any] | None = None) -> AutoAugment | RandAugment | AugMixAugment:
    """The augmentation that a string names: by its first word, one of the three functions below.

    Raises:
        ValueError: the string names none.
    """
    if not isinstance(text, str):
        raise ValueError(f"An augmentation is named by a string, such as 'rand-m9-mstd0.5'; got {text!r}.")
    name = text.partition('-')[0]
    makers: dict[str, Callable[..., RandAugment | AugMixAugment]] = {
        'rand': rand_augment_transform, 'augmix': augment_and_mix_transform}
    if name not in makers and name not in POLICIES:
        raise ValueError(f'{text!r}: ' + unknown('augmentation', name, (*makers, *POLICIES)))
    return makers[name](text, hparams) if name in makers else auto_augment_transform(text, hparams)


def auto_augment_transform(config_str: str, hparams: Mapping[str, Any] | None = None) -> AutoAugment:
    """'original' (arXiv:1805.09501, Table 9), 'v0' (of EfficientNet's code), both with an 'r' for posterisation that
    grows with the level, or '3a' (3-Augment, arXiv:2204.07118).

    Behind it '-mstd0.5', the standard deviation of levels, which else do not vary. `hparams`: see `Settings`.

    Raises:
        ValueError: the string names none, or has a field that is not known.
    """
    fields = read_fields(config_str, AUTO_KEYS)
    return AutoAugment(auto_augment_policy(config_str.partition('-')[0], _settings(hparams, fields)))


def auto_augment_policy(name: str = 'v0', hparams: Mapping[str, Any] | None = None) -> list[list[AugmentOp]]:
    """The rows of a policy that `auto_augment_transform` names.

    Raises:
        ValueError: there is no policy of that name.
    """
    if name not in POLICIES:
        raise ValueError(unknown('Policy', name, POLICIES))
    return [[AugmentOp(op, prob, level, hparams) for op, prob, level in row] for row in POLICIES[name]]


def rand_augment_transform(
    config_str: str, hparams: Mapping[str, Any] | None = None,
    transforms: str | Mapping[str, float] | Sequence[str] | None = None,
) -> RandAugment:
    """RandAugment (arXiv:1909.13719), as 'rand-m9-n2-mstd0.5-inc1' says.

    m: the level, 10 if not given. n: distortions of an image, 2. p: the probability of each, 0.5. mstd: standard
    deviation of the level, 0; above 100, the level is drawn evenly from 0 to m. mmax: the highest level, 10. inc: 1
    for distortions that grow with the level. t: what is drawn from: 'weights' and '3aw', by weights and none twice;
    '3a', those of 3-Augment.

    Args:
        hparams: see `Settings`.
        transforms: names to draw from, with weights if a mapping, or the name of a set; instead of `t`.

    Raises:
        ValueError: an unknown field or distortion.
    """
    _named(config_str, 'rand')
    fields = read_fields(config_str, RAND_KEYS)
    if fields.get('mstd', 0) > EVEN_STD:
        fields['mstd'] = math.inf
    if transforms is None:
        transforms = fields.get('t')
    if transforms is None or isinstance(transforms, str):
        transforms = rand_augment_choices(transforms, fields.get('inc', False))
    ops = rand_augment_ops(fields.get('m', MAX_LEVEL), fields.get('p', 0.5), _settings(hparams, fields), transforms)
    return RandAugment(ops, fields.get('n', 2), list(transforms.values()) if isinstance(transforms, Mapping) else None)


def rand_augment_choices(name: str | None = None, increasing: bool = True) -> list[str] | dict[str, float]:
    """The names of a set to draw from, with weights if it has some; None for RandAugment's own.

    Raises:
        ValueError: there is no set of that name.
    """
    if name is None:
        return RANDOM_INCREASING if increasing else RANDOM
    if name not in SETS:
        raise ValueError(unknown('Set', name, SETS))
    return SETS[name]


def rand_augment_ops(
    magnitude: float = MAX_LEVEL, prob: float = 0.5, hparams: Mapping[str, Any] | None = None,
    transforms: Mapping[str, float] | Sequence[str] | None = None,
) -> list[AugmentOp]:
    """The distortions of these names, RandAugment's own if None, with one level and probability."""
    return [AugmentOp(name, prob, magnitude, hparams) for name in transforms or RANDOM]


def augment_and_mix_transform(config_str: str, hparams: Mapping[str, Any] | None = None) -> AugMixAugment:
    """AugMix (arXiv:1912.02781), as 'augmix-m3-w3-d1' says.

    m: the level, 3 if not given. mstd: its standard deviation; without it the level is drawn evenly from 0 to m. w:
    chains, 3. d: distortions of a chain, from 1 to 3 if not given. a: of the distributions of shares, 1. b: 1 to lay
    the chains over the image one after another (see `AugMixAugment`). `hparams`: see `Settings`.

    Raises:
        ValueError: an unknown field.
    """
    _named(config_str, 'augmix')
    fields = {'mstd': math.inf, **read_fields(config_str, AUGMIX_KEYS)}
    ops = augmix_ops(fields.get('m', 3), _settings(hparams, fields))
    return AugMixAugment(ops, fields.get('a', 1.0), fields.get('w', 3), fields.get('d', -1), fields.get('b', False))


def augmix_ops(
    magnitude: float = MAX_LEVEL, hparams: Mapping[str, Any] | None = None, transforms: Sequence[str] | None = None,
) -> list[AugmentOp]:
    """The distortions of these names, AugMix's own if None, which always act."""
    return [AugmentOp(name, 1.0, magnitude, hparams) for name in transforms or AUGMIX]


def _named(text: str, name: str) -> None:
    if text.partition('-')[0] != name:
        raise ValueError(f'{text!r}: the first word is {name!r}.')


def _settings(hparams: Mapping[str, Any] | None, fields: Mapping[str, Any]) -> dict[str, Any]:
    """Settings of the caller, and those of the string, which win."""
    names = {'mstd': 'magnitude_std', 'mmax': 'magnitude_max'}
    return {**(hparams or {}), **{names[key]: value for key, value in fields.items() if key in names}}
