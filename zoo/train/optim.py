"""Optimizers by name, over a network's parameters in groups."""
from __future__ import annotations

import fnmatch
import importlib
import inspect
import numbers
from collections.abc import Callable, Collection, Iterable, Sequence
from typing import Any

import torch
from torch import nn

from ..spec import unknown
from .ahead import lookahead
from .groups import param_groups_layer_decay, param_groups_weight_decay
from .lamb import Lamb
from .muon import Muon
from .nadamw import NAdamW
from .rmsprop_tf import RMSpropTF

__all__ = ['Lamb', 'Muon', 'NAdamW', 'OPTIMIZERS', 'RMSpropTF', 'create_optimizer_v2', 'get_optimizer_class',
           'list_optimizers', 'lookahead', 'param_groups_layer_decay', 'param_groups_weight_decay']

PACKAGE, EXTRA = 'pytorch_optimizer', 'optim'       # where the field's other optimizers are from; zoo's extra with it
LOOKAHEAD = 'lookahead_'

# name -> class, and its defaults where they are not the class's own. A text is a class of `PACKAGE`.
OPTIMIZERS: dict[str, tuple[type[torch.optim.Optimizer] | str, dict[str, Any]]] = {
    'sgd': (torch.optim.SGD, {'nesterov': True}), 'nesterov': (torch.optim.SGD, {'nesterov': True}),
    'momentum': (torch.optim.SGD, {}),
    'adam': (torch.optim.Adam, {}), 'adamw': (torch.optim.AdamW, {}),
    'nadam': (torch.optim.NAdam, {}), 'nadamw': (NAdamW, {}),
    'radam': (torch.optim.RAdam, {}), 'radamw': (torch.optim.RAdam, {'decoupled_weight_decay': True}),
    'adamax': (torch.optim.Adamax, {}), 'adagrad': (torch.optim.Adagrad, {'eps': 1e-8}),
    'adadelta': (torch.optim.Adadelta, {}), 'asgd': (torch.optim.ASGD, {}),
    'rmsprop': (torch.optim.RMSprop, {'alpha': 0.9}),
    'rmsproptf': (RMSpropTF, {'alpha': 0.9}), 'rmsproptfw': (RMSpropTF, {'alpha': 0.9, 'decoupled_decay': True}),
    'lamb': (Lamb, {}), 'lambc': (Lamb, {'trust_clip': True}), 'lambw': (Lamb, {'decoupled_decay': True}),
    'lambcw': (Lamb, {'trust_clip': True, 'decoupled_decay': True}),
    'muon': (Muon, {}), 'nmuon': (Muon, {'nesterov': True}),
    'adabelief': ('AdaBelief', {}), 'radabelief': ('AdaBelief', {'rectify': True}),
    'adafactor': ('AdaFactor', {}), 'adahessian': ('AdaHessian', {}), 'adamp': ('AdamP', {'wd_ratio': 0.01,
                                                                                         'nesterov': True}),
    'adan': ('Adan', {}), 'adanw': ('Adan', {'weight_decouple': True}), 'ademamix': ('AdEMAMix', {}),
    'adopt': ('ADOPT', {'weight_decouple': False}), 'adoptw': ('ADOPT', {'weight_decouple': True}),
    'came': ('CAME', {}), 'kron': ('Kron', {}), 'laprop': ('LaProp', {}), 'lars': ('LARS', {}),
    'nlars': ('LARS', {'nesterov': True}), 'lion': ('Lion', {}), 'madgrad': ('MADGRAD', {}),
    'madgradw': ('MADGRAD', {'weight_decouple': True}), 'mars': ('MARS', {}), 'novograd': ('NovoGrad', {}),
    'prodigy': ('Prodigy', {}), 'ranger': ('Ranger', {}), 'schedulefreeadamw': ('ScheduleFreeAdamW', {}),
    'schedulefreesgd': ('ScheduleFreeSGD', {}), 'sgdp': ('SGDP', {'nesterov': True}),
    'sgdw': ('SGDW', {'nesterov': True}), 'soap': ('SOAP', {}), 'sophia': ('SophiaH', {}),
    'stableadamw': ('StableAdamW', {}), 'yogi': ('Yogi', {}),
}
SECOND_ORDER = ('adahessian', 'sophia')      # these need loss.backward(create_graph=True)


def list_optimizers(filter: str = '', exclude_filters: Collection[str] = ()) -> list[str]:
    """The names that `create_optimizer_v2` takes, in order, those that match a pattern with '*' if one is given. Before
    each, 'lookahead_' may stand."""
    return [name for name in sorted(OPTIMIZERS) if fnmatch.fnmatchcase(name, filter or '*') and
            not any(fnmatch.fnmatchcase(name, pattern) for pattern in exclude_filters)]


def get_optimizer_class(name: str) -> type[torch.optim.Optimizer]:
    """The class behind a name.

    Raises:
        ValueError: an unknown name; the message has the nearest.
        ImportError: it is from a package that is not installed; the message names zoo's extra.
    """
    if name not in OPTIMIZERS:
        raise ValueError(unknown('Optimizer', name, OPTIMIZERS))
    found = OPTIMIZERS[name][0]
    if not isinstance(found, str):
        return found
    try:
        return getattr(importlib.import_module(PACKAGE), found)
    except ModuleNotFoundError as error:
        raise ImportError(f'Optimizer {name!r} is from {PACKAGE}, which is not installed: '
                          f'pip install "zoo-image-models[{EXTRA}]"') from error


def create_optimizer_v2(model_or_params: nn.Module | Iterable[Any], opt: str = 'sgd', lr: float | None = None,
                        weight_decay: float = 0.0, momentum: float = 0.9, foreach: bool | None = None,
                        filter_bias_and_bn: bool = True, fallback_list: Collection[str] = (),
                        fallback_no_weight_decay: bool = False, layer_decay: float | None = None,
                        layer_decay_min_scale: float = 0.0, layer_decay_no_opt_scale: float | None = None,
                        param_group_fn: Callable[[nn.Module], Iterable[Any]] | None = None,
                        **options: Any) -> torch.optim.Optimizer:
    """An optimizer by name.

    The learning rate of a group with 'lr_scale' is `lr` times that; its 'base_lr' is without it, for schedules.

    Args:
        model_or_params: a network, whose parameters are grouped, or parameters or groups as they are.
        opt: one of `list_optimizers()`; 'sgd' is with Nesterov's momentum, 'momentum' without. With 'lookahead_'
            before it, weights go halfway back every 6 steps.
        lr: None leaves the class's default. momentum: of classes that have one.
        filter_bias_and_bn: no weight decay of biases and normalisation, nor of a network's `no_weight_decay()`.
        fallback_list: names of parameters that 'muon' updates as AdamW does. fallback_no_weight_decay: those of a
            network's `no_weight_decay()`, too.
        layer_decay: learning rates fall by this factor a layer, towards the input, to no less than
            `layer_decay_min_scale`; layers below `layer_decay_no_opt_scale` are frozen.
        param_group_fn: network -> groups, in place of all of this.
        options: of the optimizer's class, e.g. betas, eps.

    Raises:
        ValueError: an unknown name, `layer_decay` without a network, or not as many numbers as an option has.
        TypeError: an option that the class does not have. ImportError: the optimizer's package is not installed.
    """
    name = opt.lower()
    inner = name.removeprefix(LOOKAHEAD)
    cls = get_optimizer_class(inner)
    if isinstance(model_or_params, nn.Module):
        model = model_or_params
        listed = getattr(model, 'no_weight_decay', None)
        without: set[str] = set(listed()) if listed else set()
        if param_group_fn is not None:
            groups = param_group_fn(model)
        elif layer_decay is not None:
            groups = param_groups_layer_decay(model, weight_decay, without, fallback_list, fallback_no_weight_decay,
                                              filter_bias_and_bn, layer_decay, layer_decay_min_scale,
                                              layer_decay_no_opt_scale)
        elif (weight_decay and filter_bias_and_bn) or fallback_list:
            groups = param_groups_weight_decay(model, weight_decay, filter_bias_and_bn,
                                               without if filter_bias_and_bn else (), fallback_list,
                                               fallback_no_weight_decay)
        else:
            groups = [p for p in model.parameters() if p.requires_grad]
    elif layer_decay is not None or param_group_fn is not None or fallback_list:
        asked = 'layer_decay' if layer_decay is not None else 'param_group_fn' if param_group_fn else 'fallback_list'
        raise ValueError(f'{asked} needs a network, whose parameters have names and layers; parameters were given.')
    else:
        groups = model_or_params
    optimizer = cls(groups, **_options(cls, inner, lr, weight_decay, momentum, foreach, options))
    for group in optimizer.param_groups:
        if 'lr_scale' in group:
            group['base_lr'] = group['lr']
            group['lr'] *= group['lr_scale']
    setattr(optimizer, 'is_second_order', inner in SECOND_ORDER)
    return lookahead(optimizer) if name.startswith(LOOKAHEAD) else optimizer


def _options(cls: type[torch.optim.Optimizer], name: str, lr: float | None, weight_decay: float, momentum: float,
             foreach: bool | None, options: dict[str, Any]) -> dict[str, Any]:
    """What the class is called with."""
    defaults = {p.name: p.default for p in inspect.signature(cls).parameters.values() if p.kind is not p.VAR_KEYWORD}
    known = list(defaults)[1:]
    given = {key: value for key, value in (('lr', lr), ('foreach', foreach)) if value is not None} | options
    if 'momentum' in known:
        given['momentum'] = momentum
    if 'weight_decay' in known or weight_decay:
        given['weight_decay'] = weight_decay
    for key in given:
        if key not in known:
            raise TypeError(unknown(f'Option of optimizer {name!r}', key, known))
        if isinstance(usual := defaults[key], tuple):
            _check_numbers(f'Option {key!r} of optimizer {name!r}', given[key], usual)
    return OPTIMIZERS[name][1] | given


def _check_numbers(what: str, got: Any, usual: Sequence[float]) -> None:
    """Raises ValueError for anything but as many numbers as `usual` has."""
    if not isinstance(got, (tuple, list)) or len(got) != len(usual) or not all(
            isinstance(one, (numbers.Real, torch.Tensor)) for one in got):
        raise ValueError(f'{what} is {len(usual)} numbers, as in {", ".join(map(str, usual))}; got {got!r}.')
