"""Targets that are numbers, standardised for training and given back in their own units."""
from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from ..data import ImageSource


@dataclass(frozen=True)
class TargetScale:
    """Mean and deviation of each number over the training images: a network learns (target - mean) / std.

    A network for use has its last layer changed so that its outputs are in the targets' own units.
    """

    mean: tuple[float, ...]
    std: tuple[float, ...]

    @classmethod
    def of(cls, source: ImageSource) -> TargetScale:
        """That of a source's targets. A number that is the same in all images is only moved."""
        numbers = [source.target(i) for i in range(len(source))]
        targets = torch.tensor(numbers, dtype=torch.float64).view(len(source), -1)
        std = targets.std(0, correction=0)
        return cls(tuple(targets.mean(0).tolist()), tuple(torch.where(std > 0, std, 1.0).tolist()))

    @classmethod
    def read(cls, record: Mapping[str, Any]) -> TargetScale | None:
        """That of a network's record, see `zoo.train.saved.describe`; None where there is none."""
        found = record.get('target_scale')
        return cls(tuple(found['mean']), tuple(found['std'])) if found else None

    def scale(self, values: Tensor) -> Tensor:
        """Values (B,) or (B, n) in their own units -> as they are learned."""
        mean, std = (values.new_tensor(numbers) for numbers in (self.mean, self.std))
        return (values - mean) / std

    def check(self, model: nn.Module) -> None:
        """Raises ValueError for a network whose last layer cannot be changed for its outputs' units."""
        for name in classifiers(model):
            if model.get_submodule(name).bias is None:
                raise ValueError(f'{name} has no bias, which scaled targets need: set data.scale_targets=false.')

    def in_units(self, model: nn.Module, state: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """The weights of a network that learned scaled targets, such that its outputs are in the targets' own units."""
        changed = dict(state)
        for name in classifiers(model):
            weight, bias = state[f'{name}.weight'], state[f'{name}.bias']
            mean, std = (weight.new_tensor(numbers) for numbers in (self.mean, self.std))
            changed[f'{name}.weight'] = weight * std.view(-1, *[1] * (weight.ndim - 1))
            changed[f'{name}.bias'] = bias * std + mean
        return changed


def classifiers(model: nn.Module) -> list[str]:
    """The names of the layers that make a network's outputs: one, or several whose mean is taken."""
    found = getattr(model, 'get_classifier')()
    last = found if isinstance(found, tuple) else (found,)
    return [name for name, module in model.named_modules() if any(module is one for one in last)]
