"""How the learning rate changes over a run.

A run of N epochs has N epochs: warm-up and cool-down are part of them, and the last learning rate before the cool-down
is exactly the schedule's last: `min_lr`, where the schedule falls to it. So 12 epochs of 'cosine', changed each epoch,
have learning rates from `lr` in epoch 0 to `min_lr` in epoch 11. (timm's runs are longer by the cool-down, and by the
warm-up with `warmup_prefix`, and end one step before `min_lr`.)
"""
from __future__ import annotations

import bisect
import math
from collections.abc import Callable
from typing import Any

import torch

from ..spec import unknown
from .recipe import SchedulePart

Shape = Callable[[float], float]           # progress from 0 to 1 -> what is left of the learning rate, from 1 to 0


def cosine(progress: float, k_decay: float = 1.0) -> float:
    """Half a cosine, arXiv:1608.03983; `k_decay` above 1 keeps it high for longer (arXiv:2004.05909)."""
    return 0.5 * (1 + math.cos(math.pi * progress ** k_decay))


def poly(progress: float, power: float, k_decay: float = 1.0) -> float:
    """(1 - progress ** k_decay) ** power."""
    return (1 - progress ** k_decay) ** power


def tanh(progress: float, start: float = -7.0, end: float = 3.0) -> float:
    """A hyperbolic tangent, arXiv:1806.01593. It leaves out little at both ends: tanh(1) is 0.0025."""
    return 0.5 * (1 - math.tanh(start + (end - start) * progress))


def _tanh_to_zero(progress: float) -> float:
    return (tanh(progress) - tanh(1)) / (tanh(0) - tanh(1))


class Schedule:
    """The learning rate of every step of a run, from a recipe.

    The learning rate depends on the step's number alone, but for 'plateau', which also depends on the metrics that
    `observe` was told.

    - Warm-up: from `warmup_lr` in a straight line, to reach `lr` when `warmup_epochs` are over. The schedule runs
      beneath it from the first step on; with `warmup_prefix` it starts afterwards.
    - 'cosine', 'poly', 'tanh': from `lr` to `min_lr`, which is reached in the last epoch (the last step, where
      `sched_on_updates`) before the cool-down. With `lr_cycle_limit` n this happens n times, each time
      `lr_cycle_mul` times as long, from an `lr` that is `lr_cycle_decay` times as large.
    - 'step': times `decay_rate` every `decay_epochs`. 'multistep': times `decay_rate` from each of `decay_milestones`
      on, which count like the schedule's epochs. Not below `min_lr`.
    - 'plateau': times `decay_rate` when the metric has been no better for more than `patience_epochs`; not below
      `min_lr`.
    - 'constant': `lr`.
    - Cool-down: the last `cooldown_epochs` keep the learning rate that came before them.

    Args:
        part: the recipe's.
        lr: the learning rate, of groups without a 'base_lr' of their own.
        steps_per_epoch: the optimizer's steps in an epoch.
        higher_is_better: of the metric that `observe` is told.

    Raises:
        ValueError: an unknown schedule, warm-up and cool-down that leave no epoch, milestones that do not ascend.
    """

    def __init__(self, part: SchedulePart, lr: float, steps_per_epoch: int, higher_is_better: bool = True) -> None:
        shapes: dict[str, Shape | None] = {
            'cosine': lambda p: cosine(p, part.lr_k_decay), 'poly': lambda p: poly(p, part.poly_power, part.lr_k_decay),
            'tanh': _tanh_to_zero, 'step': None, 'multistep': None, 'plateau': None, 'constant': None}
        if part.sched not in shapes:
            raise ValueError(unknown('Schedule', part.sched, shapes))
        if steps_per_epoch < 1 or part.epochs < 1:
            raise ValueError(f'A run has at least one epoch and one step an epoch, not {part.epochs} epochs of '
                             f'{steps_per_epoch} steps.')
        if part.warmup_epochs + part.cooldown_epochs >= part.epochs:
            raise ValueError(f'warmup_epochs {part.warmup_epochs:g} and cooldown_epochs {part.cooldown_epochs:g} are '
                             f'part of the {part.epochs} epochs and leave none for the schedule; make them smaller.')
        if part.sched == 'step' and part.decay_epochs <= 0:
            raise ValueError(f'decay_epochs is above 0, not {part.decay_epochs:g}.')
        if list(part.decay_milestones) != sorted(part.decay_milestones):
            raise ValueError(f'decay_milestones ascend; got {part.decay_milestones}.')
        if part.lr_cycle_limit < 1 or part.lr_cycle_mul <= 0:
            raise ValueError(f'lr_cycle_limit is at least 1 and lr_cycle_mul above 0, not {part.lr_cycle_limit} and '
                             f'{part.lr_cycle_mul:g}.')
        self.part, self.base, self.steps_per_epoch = part, lr, steps_per_epoch
        self.higher_is_better = higher_is_better
        self.units = steps_per_epoch if part.sched_on_updates else 1          # moments of the schedule in an epoch
        self.warmup = round(part.warmup_epochs * self.units) if part.sched_on_updates else part.warmup_epochs
        self.start = math.ceil(self.warmup) if part.warmup_prefix else 0
        self.end = max(self.start + 1, part.epochs * self.units - round(part.cooldown_epochs * self.units))
        self.shape = shapes[part.sched]
        self.cycles = self._cycle_starts()
        self.factor, self.bad_epochs = 1.0, 0                                 # of 'plateau', as is `best`
        self.best: float | None = None

    @property
    def total_steps(self) -> int:
        """The optimizer's steps in the whole run."""
        return self.part.epochs * self.steps_per_epoch

    def lr(self, step: int, base: float | None = None) -> float:
        """The learning rate of a step, which are counted from 0 over the whole run, for a group that starts from
        `base`; None is the recipe's."""
        base = self.base if base is None else base
        moment = step if self.part.sched_on_updates else step // self.steps_per_epoch
        if moment < self.warmup:
            return self.part.warmup_lr + moment * (base - self.part.warmup_lr) / self.warmup
        return self._scheduled(min(moment, self.end - 1) - self.start, base)

    def apply(self, optimizer: torch.optim.Optimizer, step: int) -> float:
        """Sets the learning rate of each group of an optimizer for a step: `lr(step, group['base_lr'])` times
        group['lr_scale'], where it has these. Returns the largest."""
        for group in optimizer.param_groups:
            group['lr'] = self.lr(step, group.get('base_lr')) * group.get('lr_scale', 1.0)
        return max(group['lr'] for group in optimizer.param_groups)

    def observe(self, metric: float) -> None:
        """Tells 'plateau' the metric of the epoch that has ended; the others ignore it. One that is not a number is
        no better than any."""
        part = self.part
        if part.sched != 'plateau':
            return
        if not math.isnan(metric) and (self.best is None or (metric > self.best if self.higher_is_better else
                                                             metric < self.best)):
            self.best, self.bad_epochs = metric, 0
            return
        self.bad_epochs += 1
        if self.bad_epochs > part.patience_epochs:
            self.factor, self.bad_epochs = self.factor * part.decay_rate, 0

    def plan(self) -> list[float]:
        """The learning rate of the first step of each epoch; with 'plateau', as if it were never lowered again."""
        return [self.lr(epoch * self.steps_per_epoch) for epoch in range(self.part.epochs)]

    @property
    def last(self) -> float:
        """The learning rate of the last step of the run."""
        return self.lr(self.total_steps - 1)

    def state_dict(self) -> dict[str, Any]:
        """What does not follow from the recipe: how 'plateau' stands."""
        return {'factor': self.factor, 'best': self.best, 'bad_epochs': self.bad_epochs}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave."""
        self.factor, self.best, self.bad_epochs = state['factor'], state['best'], state['bad_epochs']

    def _scheduled(self, moment: int, base: float) -> float:
        """The learning rate, without warm-up, so many moments after the schedule's start."""
        part = self.part
        if part.sched == 'constant':
            return base
        if part.sched == 'plateau':
            return max(base * self.factor, min(base, part.min_lr))
        if self.shape is None:
            if part.sched == 'step':
                falls = int(moment // (part.decay_epochs * self.units))
            else:
                falls = bisect.bisect_right([milestone * self.units for milestone in part.decay_milestones], moment)
            return max(base * part.decay_rate ** falls, min(base, part.min_lr))
        cycle = bisect.bisect_right(self.cycles, moment, hi=len(self.cycles) - 1) - 1
        length = self.cycles[cycle + 1] - self.cycles[cycle]
        progress = (moment - self.cycles[cycle]) / (length - 1) if length > 1 else 0.0
        top = base * part.lr_cycle_decay ** cycle
        left = self.shape(progress)
        return top * left + part.min_lr * (1 - left)

    def _cycle_starts(self) -> list[int]:
        """The moments at which cycles start, from 0, and the end of the last."""
        lengths = [self.part.lr_cycle_mul ** i for i in range(self.part.lr_cycle_limit)]
        moments = self.end - self.start
        starts = [round(moments * sum(lengths[:i]) / sum(lengths)) for i in range(len(lengths) + 1)]
        if any(after <= before for before, after in zip(starts, starts[1:])):
            raise ValueError(f'{self.part.lr_cycle_limit} cycles do not fit into {moments} '
                             f'{"steps" if self.part.sched_on_updates else "epochs"}.')
        return starts
