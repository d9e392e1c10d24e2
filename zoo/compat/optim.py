"""PyTorch's optimizers by name, over a network's parameters in groups."""
from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Any

import torch
from torch import nn

from ..spec import refuse
from .manipulate import group_parameters

__all__ = ['create_optimizer_v2', 'param_groups_layer_decay', 'param_groups_weight_decay']

# name -> class of torch.optim, whether it takes a momentum, and its defaults where they are not PyTorch's
OPTIMIZERS: dict[str, tuple[str, bool, dict[str, Any]]] = {
    'sgd': ('SGD', True, {'nesterov': True}), 'momentum': ('SGD', True, {}),
    'rmsprop': ('RMSprop', True, {'alpha': 0.9}), 'adam': ('Adam', False, {}), 'adamw': ('AdamW', False, {}),
    'nadam': ('NAdam', False, {}), 'radam': ('RAdam', False, {}),
    'radamw': ('RAdam', False, {'decoupled_weight_decay': True}), 'adamax': ('Adamax', False, {}),
    'adagrad': ('Adagrad', False, {'eps': 1e-8}), 'adadelta': ('Adadelta', False, {}),
}


def param_groups_weight_decay(model: nn.Module, weight_decay: float = 1e-5, weight_decay_exclude_1d: bool = True,
                              no_weight_decay_list: Collection[str] = ()) -> list[dict[str, Any]]:
    """Two groups: without weight decay biases and normalisation (all that has one dimension or none, where
    `weight_decay_exclude_1d`) and the names listed; with it everything else. Frozen parameters are in neither."""
    return _groups(model, {}, [1.0], weight_decay, no_weight_decay_list, weight_decay_exclude_1d)


def param_groups_layer_decay(model: nn.Module, weight_decay: float = 0.05, no_weight_decay_list: Collection[str] = (),
                             layer_decay: float = 0.75, min_scale: float = 0.0) -> list[dict[str, Any]]:
    """`param_groups_weight_decay` a layer, with 'lr_scale': 1 for the last layer, `layer_decay` for the one before, its
    square before that, and so on, but not below `min_scale`. Layers are those of `group_matcher`."""
    layers = group_parameters(model, model.group_matcher(), reverse=True)
    count = max(layers.values()) + 1
    scales = [max(min_scale, layer_decay ** (count - 1 - layer)) for layer in range(count)]
    return _groups(model, layers, scales, weight_decay, no_weight_decay_list)


def _groups(model: nn.Module, layers: dict[str, int], scales: list[float], weight_decay: float,
            without: Collection[str], without_1d: bool = True) -> list[dict[str, Any]]:
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        layer, decay = layers.get(name, 0), (parameter.ndim > 1 or not without_1d) and name not in without
        group = groups.setdefault((layer, decay), {'params': [], 'weight_decay': weight_decay if decay else 0.0})
        group['params'].append(parameter)
        if layers:
            group['lr_scale'] = scales[layer]
    return list(groups.values())


def create_optimizer_v2(model_or_params: nn.Module | Iterable[Any], opt: str = 'sgd', lr: float | None = None,
                        weight_decay: float = 0.0, momentum: float = 0.9, filter_bias_and_bn: bool = True,
                        layer_decay: float | None = None, **options: Any) -> torch.optim.Optimizer:
    """One of PyTorch's optimizers.

    Args:
        model_or_params: a network, whose parameters are grouped, or parameters or groups as they are.
        opt: a key of `OPTIMIZERS`. momentum: of 'sgd' (Nesterov's), 'momentum' and 'rmsprop'.
        filter_bias_and_bn: no weight decay of biases and normalisation, nor of a network's `no_weight_decay()`.
        layer_decay: learning rates fall by this factor a layer, towards the input.
        options: of the optimizer's class, e.g. betas, eps; one that is None is left at its default.

    Raises:
        ValueError: another name. TypeError: an option that the class does not have.
    """
    if opt.lower() not in OPTIMIZERS:
        raise ValueError(refuse('Optimizer', opt, OPTIMIZERS))
    name, has_momentum, defaults = OPTIMIZERS[opt.lower()]
    parameters = model_or_params
    if isinstance(model_or_params, nn.Module):
        without = model_or_params.no_weight_decay() if hasattr(model_or_params, 'no_weight_decay') else ()
        if layer_decay is not None:
            parameters = param_groups_layer_decay(model_or_params, weight_decay, without, layer_decay)
            for group in parameters:
                if lr is not None:
                    group['lr'] = lr * group['lr_scale']
        elif weight_decay and filter_bias_and_bn:
            parameters = param_groups_weight_decay(model_or_params, weight_decay, no_weight_decay_list=without)
        else:
            parameters = model_or_params.parameters()
    elif layer_decay is not None:
        raise ValueError('layer_decay needs a network, whose group_matcher tells its layers; parameters were given.')
    given = {'lr': lr, 'momentum': momentum if has_momentum else None, **options}
    given = defaults | {key: value for key, value in given.items() if value is not None}
    return getattr(torch.optim, name)(parameters, weight_decay=weight_decay, **given)
