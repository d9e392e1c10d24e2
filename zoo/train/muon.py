"""Muon: momentum whose step of each matrix is made orthogonal (kellerjordan.github.io/posts/muon; arXiv:2502.16982)."""
from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch
from torch import Tensor
from torch.optim.adamw import adamw

from .foreach import ForeachOptimizer, gradients

NEWTON_SCHULZ = (3.4445, -4.7750, 2.0315)        # coefficients of the iteration, from the post


class Muon(ForeachOptimizer):
    """Muon for matrices and convolutions, AdamW for everything else: one optimizer for a whole network.

    A convolution's weight (C', C, k, k) is the matrix (C', C*k*k), as its authors do; depthwise convolutions (one
    input channel a group), biases, normalisation and groups with 'use_fallback' are updated as by AdamW, with the same
    learning rate: a step of a matrix has the root mean square of AdamW's, 0.2 (arXiv:2502.16982, section 2.2). On
    matrices the steps are those of torch.optim.Muon with adjust_lr_fn='match_rms_adamw'.

    Args:
        momentum, nesterov: of matrices. ns_steps: iterations that make a step orthogonal.
        betas, eps: of AdamW.
    """

    def __init__(self, params: Iterable[Any], lr: float = 2e-3, weight_decay: float = 0.0, momentum: float = 0.95,
                 nesterov: bool = False, ns_steps: int = 5, betas: tuple[float, float] = (0.9, 0.95),
                 eps: float = 1e-8) -> None:
        if lr < 0 or weight_decay < 0 or not 0 <= momentum < 1 or ns_steps < 1:
            raise ValueError(f'Muon has lr and weight_decay of at least 0, momentum in [0, 1) and ns_steps of at least '
                             f'1; got {lr}, {weight_decay}, {momentum}, {ns_steps}.')
        super().__init__(params, dict(lr=lr, weight_decay=weight_decay, momentum=momentum, nesterov=nesterov,
                                      ns_steps=ns_steps, betas=betas, eps=eps))

    def update(self) -> None:
        """Updates every parameter that has a gradient."""
        for group in self.param_groups:
            present = [p for p in group['params'] if p.grad is not None]
            other = group.get('use_fallback', False)
            self._move_matrices(group, [p for p in present if not other and is_matrix(p)])
            self._move_others(group, [p for p in present if other or not is_matrix(p)])

    def _move_matrices(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        if not parameters:
            return
        lr, momentum = group['lr'], group['momentum']
        grads = gradients(parameters)
        for p in parameters:
            if 'momentum_buffer' not in self.state[p]:
                self.state[p]['momentum_buffer'] = torch.zeros_like(p)
        buffers = [self.state[p]['momentum_buffer'] for p in parameters]
        torch._foreach_lerp_(buffers, grads, 1 - momentum)
        updates = torch._foreach_lerp(grads, buffers, momentum) if group['nesterov'] else buffers
        torch._foreach_mul_(parameters, 1 - lr * group['weight_decay'])
        for p, update in zip(parameters, updates, strict=True):
            matrix = update.flatten(1)
            scale = 0.2 * max(matrix.shape) ** 0.5
            p.add_(orthogonalized(matrix, group['ns_steps']).view_as(p), alpha=-lr * scale)

    def _move_others(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        if not parameters:
            return
        for p in parameters:
            if 'exp_avg' not in self.state[p]:
                self.state[p] |= {'step': torch.tensor(0.0), 'exp_avg': torch.zeros_like(p),
                                  'exp_avg_sq': torch.zeros_like(p)}
        first, second, steps = ([self.state[p][key] for p in parameters] for key in ('exp_avg', 'exp_avg_sq', 'step'))
        adamw(parameters, gradients(parameters), first, second, [], steps, foreach=True, amsgrad=False,
              beta1=group['betas'][0], beta2=group['betas'][1], lr=group['lr'], weight_decay=group['weight_decay'],
              eps=group['eps'], maximize=False)


def is_matrix(parameter: Tensor) -> bool:
    """Whether Muon treats a parameter as a matrix: all of at least two dimensions but depthwise convolutions."""
    return parameter.ndim >= 2 and parameter.shape[1] > 1


def orthogonalized(matrix: Tensor, steps: int = 5, eps: float = 1e-7) -> Tensor:
    """About the nearest matrix whose singular values are all 1 (they end between 0.7 and 1.3): (M, N) -> (M, N), by a
    Newton-Schulz iteration in bfloat16, as its authors do."""
    a, b, c = NEWTON_SCHULZ
    x = matrix.bfloat16()
    tall = x.shape[0] > x.shape[1]
    x = x.T if tall else x
    x = x / x.norm().clamp(min=eps)
    for _ in range(steps):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return (x.T if tall else x).to(matrix.dtype)
