"""AdamW with Nesterov's momentum, as the MLCommons algorithmic-efficiency benchmark runs it (arXiv:2306.07179)."""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor

from .foreach import ForeachOptimizer, gradients


class NAdamW(ForeachOptimizer):
    """AdamW that takes the first moment a step ahead: beta1 * moment + (1 - beta1) * grad in its place.

    torch.optim.NAdam has other bias corrections and a schedule for beta1, which this has not.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-3, betas: tuple[float, float] = (0.9, 0.999),
                 eps: float = 1e-8, weight_decay: float = 1e-2) -> None:
        if lr < 0 or eps < 0 or weight_decay < 0 or not all(0 <= beta < 1 for beta in betas):
            raise ValueError(f'NAdamW has lr, eps and weight_decay of at least 0 and betas in [0, 1); got {lr}, {eps}, '
                             f'{weight_decay}, {betas}.')
        super().__init__(params, dict(lr=lr, betas=betas, eps=eps, weight_decay=weight_decay))

    def update(self) -> None:
        """Updates every parameter that has a gradient."""
        for group in self.param_groups:
            parameters = [p for p in group['params'] if p.grad is not None]
            if parameters:
                self._move(group, parameters, gradients(parameters))

    def _move(self, group: dict[str, Any], parameters: list[Tensor], grads: list[Tensor]) -> None:
        lr, (beta1, beta2) = group['lr'], group['betas']
        group['step'] = group.get('step', 0) + 1
        for p in parameters:
            if 'exp_avg' not in self.state[p]:
                self.state[p] |= {'exp_avg': torch.zeros_like(p), 'exp_avg_sq': torch.zeros_like(p)}
        first, second = ([self.state[p][key] for p in parameters] for key in ('exp_avg', 'exp_avg_sq'))
        torch._foreach_mul_(parameters, 1 - lr * group['weight_decay'])
        torch._foreach_lerp_(first, grads, 1 - beta1)
        torch._foreach_mul_(second, beta2)
        torch._foreach_addcmul_(second, grads, grads, 1 - beta2)
        ahead = torch._foreach_lerp(first, grads, 1 - beta1)
        roots = torch._foreach_sqrt(second)
        torch._foreach_div_(roots, (1 - beta2 ** group['step']) ** 0.5)
        torch._foreach_add_(roots, group['eps'])
        torch._foreach_addcdiv_(parameters, ahead, roots, -lr / (1 - beta1 ** group['step']))
