"""Limits for gradients: of their norm, of each value, or beside the weights they belong to."""
from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor, nn

from ..spec import unknown

MODES = ('norm', 'value', 'agc')


def clip_gradients(model: nn.Module, limit: float, mode: str = 'norm') -> Tensor | None:
    """Limits a network's gradients in place.

    Args:
        mode: 'norm' of all gradients together; 'value' of each number; 'agc': norm of each unit's gradient relative to
            its weights' (arXiv:2102.06171), without the network's classifier.

    Returns:
        With 'norm', the norm that the gradients had; otherwise None.

    Raises:
        ValueError: an unknown mode, or a limit that is not above 0.
    """
    if limit <= 0:
        raise ValueError(f'The limit of gradients is above 0, not {limit}; None, where it is an option, is no limit.')
    return dispatch_clip_grad(without_classifier(model) if mode == 'agc' else model.parameters(), limit, mode)


def dispatch_clip_grad(parameters: Tensor | Iterable[Tensor], value: float, mode: str = 'norm',
                       norm_type: float = 2.0) -> Tensor | None:
    """`clip_gradients` of parameters; all of them, with 'agc' too."""
    if mode == 'norm':
        return nn.utils.clip_grad_norm_(parameters, value, norm_type)
    if mode == 'value':
        nn.utils.clip_grad_value_(parameters, value)
    elif mode == 'agc':
        adaptive_clip_grad(parameters, value, norm_type=norm_type)
    else:
        raise ValueError(unknown('Way to clip gradients', mode, MODES))
    return None


def without_classifier(model: nn.Module) -> list[Tensor]:
    """A network's parameters but those of its classifier, or classifiers."""
    find = getattr(model, 'get_classifier', None)
    last = find() if find else ()
    theirs = {id(p) for module in (last if isinstance(last, tuple) else (last,)) for p in module.parameters()}
    return [p for p in model.parameters() if id(p) not in theirs]


@torch.no_grad()
def adaptive_clip_grad(parameters: Tensor | Iterable[Tensor], clip_factor: float = 0.01, eps: float = 1e-3,
                       norm_type: float = 2.0) -> None:
    """Adaptive gradient clipping, arXiv:2102.06171, section 4: each output unit's gradient, a row of the tensor, is at
    most `clip_factor` times as long as the unit's weights, or as `eps` where they are shorter. A bias is one row a number.
    """
    for parameter in [parameters] if isinstance(parameters, Tensor) else parameters:
        if parameter.grad is None:
            continue
        grad = parameter.grad
        allowed = _unit_norm(parameter, norm_type).clamp_(min=eps).mul_(clip_factor)
        length = _unit_norm(grad, norm_type)
        grad.mul_((allowed / length.clamp(min=1e-6)).clamp_(max=1.0))


def _unit_norm(x: Tensor, norm_type: float) -> Tensor:
    if x.ndim <= 1:
        return x.norm(norm_type)
    return x.norm(norm_type, dim=tuple(range(1, x.ndim)), keepdim=True)
