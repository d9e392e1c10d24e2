"""Lookahead, arXiv:1907.08610, around any optimizer."""
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor


def lookahead(optimizer: torch.optim.Optimizer, alpha: float = 0.5, k: int = 6) -> torch.optim.Optimizer:
    """Has an optimizer look ahead: after every `k` steps each weight goes to slow + alpha * (weight - slow), and so
    does slow, which starts as the weight before the first step (Algorithm 1). Slow weights are in the optimizer's state
    as 'slow', and are saved with it. (timm's first `k` steps have no way back: its slow weights start after them.)

    Returns:
        The optimizer.

    Raises:
        ValueError: alpha outside of (0, 1], or k below 1.
    """
    if not 0 < alpha <= 1 or k < 1:
        raise ValueError(f'Lookahead has alpha above 0 and at most 1, and k of at least 1; got {alpha} and {k}.')
    for group in optimizer.param_groups:
        group.setdefault('lookahead_step', 0)
    starts: dict[Tensor, Tensor] = {}

    @torch.no_grad()
    def before(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        for group in optimizer.param_groups:
            for p in group['params']:
                if p.grad is not None and 'slow' not in optimizer.state.get(p, ()):
                    starts[p] = p.detach().clone()       # kept aside: an optimizer makes its state where it is empty

    @torch.no_grad()
    def after(optimizer: torch.optim.Optimizer, args: Any, kwargs: Any) -> None:
        for p, start in starts.items():
            optimizer.state[p]['slow'] = start
        starts.clear()
        for group in optimizer.param_groups:
            group['lookahead_step'] = group.get('lookahead_step', 0) + 1
            moved = [p for p in group['params'] if 'slow' in optimizer.state.get(p, ())]
            if group['lookahead_step'] % k == 0 and moved:
                slow = [optimizer.state[p]['slow'] for p in moved]
                torch._foreach_lerp_(slow, moved, alpha)
                torch._foreach_copy_(moved, slow)

    optimizer.register_step_pre_hook(before)
    optimizer.register_step_post_hook(after)
    return optimizer
