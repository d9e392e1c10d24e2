"""timm.scheduler: learning rates exactly as timm's schedulers give them; see `zoo.train.schedules` for zoo's own.

timm's runs are longer than asked for by the cool-down, and by the warm-up with `warmup_prefix`, and end a step before
the lowest learning rate.
"""
from __future__ import annotations

import bisect
from collections.abc import Callable, Sequence
from typing import Any

import torch

from ..spec import unknown
from ..train.schedules import cosine, poly, tanh

__all__ = ['CosineLRScheduler', 'MultiStepLRScheduler', 'PlateauLRScheduler', 'PolyLRScheduler', 'Scheduler',
           'StepLRScheduler', 'TanhLRScheduler', 'create_scheduler', 'create_scheduler_v2', 'scheduler_kwargs']



class Scheduler:
    """Base: sets each group's 'lr' from its 'initial_lr', the learning rate it was made with, times its 'lr_scale'.

    Args:
        t_in_epochs: it counts epochs, by `step(epoch)`, otherwise updates, by `step_update(num_updates)`.
        warmup_t, warmup_lr_init: so many epochs, or updates, in a line from `warmup_lr_init`.
        warmup_prefix: the schedule starts after the warm-up.
    """

    warmup_to_schedule = False             # the warm-up ends where the schedule is by then, not at the initial value

    def __init__(self, optimizer: torch.optim.Optimizer, t_in_epochs: bool = True, warmup_t: float = 0,
                 warmup_lr_init: float = 0.0, warmup_prefix: bool = False, initialize: bool = True) -> None:
        self.optimizer, self.t_in_epochs, self.warmup_t, self.warmup_prefix = (optimizer, t_in_epochs, warmup_t,
                                                                               warmup_prefix)
        self.warmup_lr_init = warmup_lr_init
        for group in optimizer.param_groups:
            if initialize:
                group.setdefault('initial_lr', group.get('base_lr', group['lr']))
            elif 'initial_lr' not in group:
                raise KeyError('A group of the optimizer has no initial_lr; initialize=True takes its lr.')
        self.base_values = [group['initial_lr'] for group in optimizer.param_groups]
        if warmup_t:
            self._set([warmup_lr_init] * len(self.base_values))
        else:
            self._set(self.base_values)

    def step(self, epoch: int, metric: float | None = None) -> None:
        """Sets the learning rates of an epoch, counted from 0."""
        if self.t_in_epochs:
            self._set(self._values(epoch))

    def step_update(self, num_updates: int, metric: float | None = None) -> None:
        """Sets the learning rates after so many updates."""
        if not self.t_in_epochs:
            self._set(self._values(num_updates))

    def state_dict(self) -> dict[str, Any]:
        """All but the optimizer."""
        return {key: value for key, value in vars(self).items() if key != 'optimizer'}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave."""
        vars(self).update(state_dict)

    def _values(self, t: float) -> list[float]:
        if t < self.warmup_t:
            ends = self._scheduled(self.warmup_t) if self.warmup_to_schedule and not self.warmup_prefix else \
                self.base_values
            return [self.warmup_lr_init + t * (end - self.warmup_lr_init) / self.warmup_t for end in ends]
        return self._scheduled(t - self.warmup_t if self.warmup_prefix else t)

    def _scheduled(self, t: float) -> list[float]:
        raise NotImplementedError

    def _set(self, values: Sequence[float]) -> None:
        for group, value in zip(self.optimizer.param_groups, values, strict=True):
            group['lr'] = value * group.get('lr_scale', 1.0)


class _Cycles(Scheduler):
    """From the initial value to `lr_min` in `t_initial` epochs, `cycle_limit` times; each time `cycle_mul` times as long
    from `cycle_decay` times as high."""

    curve: str

    def __init__(self, optimizer: torch.optim.Optimizer, t_initial: int, lr_min: float = 0.0, cycle_mul: float = 1.0,
                 cycle_decay: float = 1.0, cycle_limit: int = 1, k_decay: float = 1.0, **options: Any) -> None:
        self.t_initial, self.lr_min, self.cycle_mul, self.cycle_decay, self.cycle_limit, self.k_decay = (
            t_initial, lr_min, cycle_mul, cycle_decay, cycle_limit, k_decay)
        super().__init__(optimizer, **options)

    def get_cycle_length(self, cycles: int = 0) -> int:
        """Epochs, or updates, of so many cycles, without the warm-up before them; 0 for all."""
        return int(self.t_initial * sum(self.cycle_mul ** i for i in range(cycles or self.cycle_limit)))

    def _left(self, progress: float) -> float:
        return cosine(progress, self.k_decay)

    def _scheduled(self, t: float) -> list[float]:
        cycle, start, length = 0, 0.0, float(self.t_initial)
        while t >= start + length and cycle < self.cycle_limit:
            cycle, start, length = cycle + 1, start + length, length * self.cycle_mul
        if cycle >= self.cycle_limit:
            return [self.lr_min] * len(self.base_values)
        left = self._left((t - start) / length)
        return [self.lr_min + left * (base * self.cycle_decay ** cycle - self.lr_min) for base in self.base_values]


class CosineLRScheduler(_Cycles):
    """Half a cosine a cycle, arXiv:1608.03983."""


class TanhLRScheduler(_Cycles):
    """A hyperbolic tangent a cycle, arXiv:1806.01593, from `lb` to `ub`."""

    warmup_to_schedule = True

    def __init__(self, optimizer: torch.optim.Optimizer, t_initial: int, lb: float = -7.0, ub: float = 3.0,
                 lr_min: float = 0.0, **options: Any) -> None:
        self.lb, self.ub = lb, ub
        super().__init__(optimizer, t_initial, lr_min, **options)

    def _left(self, progress: float) -> float:
        return tanh(progress, self.lb, self.ub)


class PolyLRScheduler(_Cycles):
    """(1 - progress ** k_decay) ** power a cycle."""

    def __init__(self, optimizer: torch.optim.Optimizer, t_initial: int, power: float = 0.5, lr_min: float = 0.0,
                 **options: Any) -> None:
        self.power = power
        super().__init__(optimizer, t_initial, lr_min, **options)

    def _left(self, progress: float) -> float:
        return poly(progress, self.power, self.k_decay)


class StepLRScheduler(Scheduler):
    """Times `decay_rate` every `decay_t` epochs."""

    def __init__(self, optimizer: torch.optim.Optimizer, decay_t: float, decay_rate: float = 1.0,
                 warmup_prefix: bool = True, **options: Any) -> None:
        self.decay_t, self.decay_rate = decay_t, decay_rate
        super().__init__(optimizer, warmup_prefix=warmup_prefix, **options)

    def _scheduled(self, t: float) -> list[float]:
        return [base * self.decay_rate ** (t // self.decay_t) for base in self.base_values]


class MultiStepLRScheduler(Scheduler):
    """Times `decay_rate` from the epoch before each of `decay_t` on."""

    def __init__(self, optimizer: torch.optim.Optimizer, decay_t: Sequence[int], decay_rate: float = 1.0,
                 warmup_prefix: bool = True, **options: Any) -> None:
        self.decay_t, self.decay_rate = list(decay_t), decay_rate
        super().__init__(optimizer, warmup_prefix=warmup_prefix, **options)

    def _scheduled(self, t: float) -> list[float]:
        return [base * self.decay_rate ** bisect.bisect_right(self.decay_t, t + 1) for base in self.base_values]


class PlateauLRScheduler(Scheduler):
    """Times `decay_rate` when the metric given to `step` has been no better for more than `patience_t` epochs; after
    that `cooldown_t` epochs do not count."""

    def __init__(self, optimizer: torch.optim.Optimizer, decay_rate: float = 0.1, patience_t: int = 10,
                 threshold: float = 1e-4, cooldown_t: int = 0, mode: str = 'max', lr_min: float = 0.0,
                 **options: Any) -> None:
        super().__init__(optimizer, **options)
        better: Any = mode                                     # torch says which words there are
        self.watch = torch.optim.lr_scheduler.ReduceLROnPlateau(
            optimizer, better, decay_rate, patience_t, threshold, cooldown=cooldown_t, min_lr=lr_min)

    def step(self, epoch: int, metric: float | None = None) -> None:
        """Sets the learning rates after an epoch with its metric."""
        if epoch <= self.warmup_t:
            self._set(self._values(min(epoch, self.warmup_t)))
        elif metric is not None:
            self.watch.step(metric)

    def state_dict(self) -> dict[str, Any]:
        """All but the optimizer."""
        return super().state_dict() | {'watch': self.watch.state_dict()}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over what `state_dict` gave."""
        self.watch.load_state_dict(state_dict['watch'])
        super().load_state_dict({key: value for key, value in state_dict.items() if key != 'watch'})

    def _scheduled(self, t: float) -> list[float]:
        return self.base_values


def create_scheduler_v2(optimizer: torch.optim.Optimizer, sched: str = 'cosine', num_epochs: int = 300,
                        decay_epochs: float | None = None, decay_milestones: Sequence[int] = (90, 180, 270),
                        cooldown_epochs: int = 0, patience_epochs: int = 10, decay_rate: float = 0.1,
                        min_lr: float = 0.0, warmup_lr: float = 1e-5, warmup_epochs: int = 0,
                        warmup_prefix: bool = False, noise: Any = None, cycle_mul: float = 1.0,
                        cycle_decay: float = 0.1, cycle_limit: int = 1, k_decay: float = 1.0,
                        plateau_mode: str = 'max', step_on_epochs: bool = True,
                        updates_per_epoch: int = 0) -> tuple[Scheduler, int]:
    """A scheduler by name ('cosine', 'tanh', 'poly', 'step', 'multistep', 'plateau'), and how many epochs it takes.

    Args:
        decay_rate: of 'step', 'multistep' and 'plateau'; the power of 'poly'.
        step_on_epochs: it counts epochs, by `step`; otherwise updates, by `step_update`, with `updates_per_epoch`.

    Raises:
        ValueError: another name; updates without their number; noise, which zoo does not have.
    """
    if noise is not None:
        raise ValueError(f'zoo has no noise on learning rates; got noise={noise!r}.')
    if not step_on_epochs and updates_per_epoch <= 0:
        raise ValueError(f'step_on_epochs=False needs updates_per_epoch, above 0; got {updates_per_epoch}.')
    unit = 1 if step_on_epochs else updates_per_epoch
    warmup: dict[str, Any] = dict(t_in_epochs=step_on_epochs, warmup_t=warmup_epochs * unit, warmup_lr_init=warmup_lr,
                                  warmup_prefix=warmup_prefix)
    cycles: dict[str, Any] = dict(cycle_mul=cycle_mul, cycle_decay=cycle_decay, cycle_limit=cycle_limit, lr_min=min_lr,
                                  **warmup)
    makers: dict[str, Callable[[], Scheduler]] = {
        'cosine': lambda: CosineLRScheduler(optimizer, num_epochs * unit, k_decay=k_decay, **cycles),
        'tanh': lambda: TanhLRScheduler(optimizer, num_epochs * unit, **cycles),
        'poly': lambda: PolyLRScheduler(optimizer, num_epochs * unit, decay_rate, k_decay=k_decay, **cycles),
        'step': lambda: StepLRScheduler(optimizer, (decay_epochs or 90) * unit, decay_rate, **warmup),
        'multistep': lambda: MultiStepLRScheduler(optimizer, [m * unit for m in decay_milestones], decay_rate, **warmup),
        'plateau': lambda: PlateauLRScheduler(optimizer, decay_rate, patience_epochs, cooldown_t=0, mode=plateau_mode,
                                              lr_min=min_lr, **warmup),
    }
    if sched not in makers:
        raise ValueError(unknown('Scheduler', sched, makers))
    if sched == 'plateau' and not step_on_epochs:
        raise ValueError("The scheduler 'plateau' steps on epochs: step_on_epochs=True.")
    scheduler = makers[sched]()
    if sched == 'plateau':
        return scheduler, num_epochs
    if isinstance(scheduler, _Cycles):
        num_epochs = scheduler.get_cycle_length() // unit + cooldown_epochs
    return scheduler, num_epochs + (warmup_epochs if warmup_prefix else 0)


OPTIONS = {'min_lr': 'min_lr', 'warmup_lr': 'warmup_lr', 'warmup_epochs': 'warmup_epochs',
           'warmup_prefix': 'warmup_prefix', 'cooldown_epochs': 'cooldown_epochs', 'decay_epochs': 'decay_epochs',
           'decay_milestones': 'decay_milestones', 'decay_rate': 'decay_rate', 'patience_epochs': 'patience_epochs',
           'lr_cycle_mul': 'cycle_mul', 'lr_cycle_decay': 'cycle_decay', 'lr_cycle_limit': 'cycle_limit',
           'lr_k_decay': 'k_decay', 'lr_noise': 'noise'}


def scheduler_kwargs(cfg: Any, decreasing_metric: bool | None = None) -> dict[str, Any]:
    """Parsed arguments as those of `create_scheduler_v2`; one that is None, or not there, is left out. For 'plateau'
    lower metrics are better where `decreasing_metric`, or else where `eval_metric` is a loss."""
    lower = decreasing_metric if decreasing_metric is not None else 'loss' in (getattr(cfg, 'eval_metric', None) or '')
    given = {'sched': cfg.sched, 'num_epochs': getattr(cfg, 'epochs', 100), 'plateau_mode': 'min' if lower else 'max',
             'step_on_epochs': not getattr(cfg, 'sched_on_updates', False)}
    return given | {name: value for key, name in OPTIONS.items() if (value := getattr(cfg, key, None)) is not None}


def create_scheduler(args: Any, optimizer: torch.optim.Optimizer,
                     updates_per_epoch: int = 0) -> tuple[Scheduler, int]:
    """The scheduler that parsed arguments describe, and how many epochs it takes."""
    return create_scheduler_v2(optimizer, **scheduler_kwargs(args), updates_per_epoch=updates_per_epoch)
