"""LAMB, arXiv:1904.00962, Algorithm 2: Adam whose step of each tensor is as long as the tensor's norm allows."""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from .foreach import ForeachOptimizer, gradients


class Lamb(ForeachOptimizer):
    """LAMB with the bias correction of the paper's first versions, over gradients of limited length.

    Args:
        bias_correction: as Adam's. grad_averaging: the first moment is an average, not a sum.
        max_grad_norm: all gradients together are scaled to at most this norm; None for no limit.
        trust_clip: a tensor's factor is at most 1 (LAMBC).
        always_adapt: the factor also where weight_decay is 0.
        decoupled_decay: weights shrink by lr * weight_decay a step, outside of the factor.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, bias_correction: bool = True,
                 betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-6, weight_decay: float = 0.01,
                 grad_averaging: bool = True, max_grad_norm: float | None = 1.0, trust_clip: bool = False,
                 always_adapt: bool = False, decoupled_decay: bool = False) -> None:
        for name, value in (('lr', lr), ('eps', eps), ('weight_decay', weight_decay)):
            if value < 0:
                raise ValueError(f'{name} of Lamb is at least 0, not {value}.')
        if not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f'betas of Lamb are in [0, 1), not {betas}.')
        super().__init__(params, dict(lr=lr, bias_correction=bias_correction, betas=betas, eps=eps,
                                      weight_decay=weight_decay, grad_averaging=grad_averaging,
                                      max_grad_norm=max_grad_norm, trust_clip=trust_clip, always_adapt=always_adapt,
                                      decoupled_decay=decoupled_decay))

    def update(self) -> None:
        """Updates every parameter that has a gradient."""
        present = [[p for p in group['params'] if p.grad is not None] for group in self.param_groups]
        limit, scale = self.defaults['max_grad_norm'], None
        if limit is not None and any(present):
            norm = torch.nn.utils.get_total_norm([p.grad for parameters in present for p in parameters])
            scale = limit / norm.clamp(min=limit)
        for group, parameters in zip(self.param_groups, present, strict=True):
            if parameters:
                grads = gradients(parameters)
                self._move(group, parameters, grads if scale is None else list(torch._foreach_mul(grads, scale)))

    def _move(self, group: dict[str, Any], parameters: list[Tensor], grads: list[Tensor]) -> None:
        lr, (beta1, beta2), decay = group['lr'], group['betas'], group['weight_decay']
        group['step'] = group.get('step', 0) + 1
        first, second = self._kept('exp_avg', parameters), self._kept('exp_avg_sq', parameters)
        torch._foreach_mul_(first, beta1)
        torch._foreach_add_(first, grads, alpha=1 - beta1 if group['grad_averaging'] else 1.0)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, grads, grads, 1 - beta2)
        missing1, missing2 = 1.0, 1.0
        if group['bias_correction']:
            missing1, missing2 = 1 - beta1 ** group['step'], 1 - beta2 ** group['step']
        updates = torch._foreach_sqrt(second)
        torch._foreach_div_(updates, missing2 ** 0.5)
        torch._foreach_add_(updates, group['eps'])
        updates = torch._foreach_div(first, updates)
        torch._foreach_div_(updates, missing1)
        if decay and group['decoupled_decay']:
            torch._foreach_mul_(parameters, 1 - lr * decay)
        elif decay:
            torch._foreach_add_(updates, parameters, alpha=decay)
        if decay or group['always_adapt']:
            lengths, steps = (torch.stack(torch._foreach_norm(tensors)) for tensors in (parameters, updates))
            trust = torch.where((lengths > 0) & (steps > 0), lengths / steps, 1.0)
            torch._foreach_mul_(updates, list((trust.clamp(max=1) if group['trust_clip'] else trust).unbind()))
        torch._foreach_add_(parameters, updates, alpha=-lr)

    def _kept(self, name: str, parameters: list[Tensor]) -> list[Tensor]:
        for parameter in parameters:
            if name not in self.state[parameter]:
                self.state[parameter][name] = torch.zeros_like(parameter)
        return [self.state[parameter][name] for parameter in parameters]
