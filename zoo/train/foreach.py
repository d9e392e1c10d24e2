"""Base of the optimizers here, which update the parameters of a group together (torch's foreach operations)."""
from __future__ import annotations

from collections.abc import Callable
from typing import overload

import torch
from torch import Tensor


class ForeachOptimizer(torch.optim.Optimizer):
    """An optimizer whose `update` is a step."""

    @overload
    def step(self, closure: None = None) -> None:
        """One optimisation step."""

    @overload
    def step(self, closure: Callable[[], float]) -> float:
        """One optimisation step, and what `closure` returns."""

    @torch.no_grad()
    def step(self, closure: Callable[[], float] | None = None) -> float | None:
        """One optimisation step; returns what `closure`, which computes the loss and the gradients, returns, if there is
        one."""
        loss = None
        if closure is not None:
            with torch.enable_grad():
                loss = closure()
        self.update()
        return loss

    def update(self) -> None:
        """Updates every parameter that has a gradient."""
        raise NotImplementedError


def gradients(parameters: list[Tensor]) -> list[Tensor]:
    """The gradients of parameters, all of which have one."""
    return [parameter.grad for parameter in parameters if parameter.grad is not None]
