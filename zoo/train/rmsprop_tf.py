"""RMSProp as TensorFlow 1 had it, which the EfficientNet and MobileNetV3 recipes were tuned with."""
from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch
from torch import Tensor

from .foreach import ForeachOptimizer, gradients


class RMSpropTF(ForeachOptimizer):
    """RMSProp with `eps` under the root, averages of squares that start at 1, and the learning rate inside the momentum.

    square = alpha * square + (1 - alpha) * grad^2
    buffer = momentum * buffer + lr * grad / sqrt(square + eps);  weight -= buffer

    Args:
        centered: the average gradient's square is taken from the average of squares.
        decoupled_decay: weights shrink by lr * weight_decay a step, in place of a gradient of the decay.
        lr_in_momentum: False: weight -= lr * buffer, the buffer without lr, as torch.optim.RMSprop does.
    """

    def __init__(self, params: Iterable[Any], lr: float = 1e-2, alpha: float = 0.9, eps: float = 1e-10,
                 weight_decay: float = 0.0, momentum: float = 0.0, centered: bool = False,
                 decoupled_decay: bool = False, lr_in_momentum: bool = True) -> None:
        for name, value in (('lr', lr), ('alpha', alpha), ('eps', eps), ('weight_decay', weight_decay),
                            ('momentum', momentum)):
            if value < 0:
                raise ValueError(f'{name} of RMSpropTF is at least 0, not {value}.')
        super().__init__(params, dict(lr=lr, alpha=alpha, eps=eps, weight_decay=weight_decay, momentum=momentum,
                                      centered=centered, decoupled_decay=decoupled_decay,
                                      lr_in_momentum=lr_in_momentum))

    def update(self) -> None:
        """Updates every parameter that has a gradient."""
        for group in self.param_groups:
            parameters = [p for p in group['params'] if p.grad is not None]
            if parameters:
                self._move(group, parameters)

    def _move(self, group: dict[str, Any], parameters: list[Tensor]) -> None:
        lr, alpha, momentum, decay = group['lr'], group['alpha'], group['momentum'], group['weight_decay']
        grads: list[Tensor] | tuple[Tensor, ...] = gradients(parameters)
        if decay and group['decoupled_decay']:
            torch._foreach_mul_(parameters, 1 - lr * decay)
        elif decay:
            grads = torch._foreach_add(grads, parameters, alpha=decay)
        squares = self._kept('square_avg', parameters, torch.ones_like)
        torch._foreach_mul_(squares, alpha)
        torch._foreach_addcmul_(squares, grads, grads, 1 - alpha)
        if group['centered']:
            means = self._kept('grad_avg', parameters, torch.zeros_like)
            torch._foreach_lerp_(means, grads, 1 - alpha)
            roots = torch._foreach_addcmul(squares, means, means, -1)
            torch._foreach_add_(roots, group['eps'])
        else:
            roots = torch._foreach_add(squares, group['eps'])
        torch._foreach_sqrt_(roots)
        if not momentum:
            torch._foreach_addcdiv_(parameters, grads, roots, -lr)
            return
        buffers = self._kept('momentum_buffer', parameters, torch.zeros_like)
        torch._foreach_mul_(buffers, momentum)
        rate: float = lr if group['lr_in_momentum'] else 1.0
        torch._foreach_addcdiv_(buffers, grads, roots, rate)
        torch._foreach_add_(parameters, buffers, alpha=-1 if group['lr_in_momentum'] else -lr)

    def _kept(self, name: str, parameters: list[Tensor], start: Callable[[Tensor], Tensor]) -> list[Tensor]:
        for parameter in parameters:
            if name not in self.state[parameter]:
                self.state[parameter][name] = start(parameter)
        return [self.state[parameter][name] for parameter in parameters]
