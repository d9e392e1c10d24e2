"""A network's parameters in layers, and in the groups an optimizer treats alike: weight decay, learning rate a layer."""
from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from fnmatch import fnmatchcase
from typing import Any, Protocol, runtime_checkable

from torch import nn

BEFORE = 99999                    # a suffix of a group matcher: part of the layer before, not one of its own
Matcher = Mapping[str, Any] | Callable[[str], Any]
Group = dict[str, Any]


def param_groups_weight_decay(model: nn.Module, weight_decay: float = 1e-5, weight_decay_exclude_1d: bool = True,
                              no_weight_decay_list: Collection[str] = (), fallback_list: Collection[str] = (),
                              fallback_no_weight_decay: bool = False) -> list[Group]:
    """Two groups: without weight decay biases and normalisation (all that has one dimension or none, where
    `weight_decay_exclude_1d`) and the names listed; with it everything else. Frozen parameters are in neither.

    Args:
        no_weight_decay_list: names, or patterns with '*' and '?'.
        fallback_list: such names are in groups with 'use_fallback', which `Muon` updates as AdamW does.
        fallback_no_weight_decay: and so are those of `no_weight_decay_list`.
    """
    return _groups(model, None, weight_decay, weight_decay_exclude_1d, no_weight_decay_list, fallback_list,
                   fallback_no_weight_decay)


@runtime_checkable
class Layered(Protocol):
    """A network that says what its layers are, see `zoo.contract.ImageModel.group_matcher`."""

    def group_matcher(self, coarse: bool = False) -> Any:
        """Regular expressions over parameter names, by layer."""


def param_groups_layer_decay(model: nn.Module, weight_decay: float = 0.05, no_weight_decay_list: Collection[str] = (),
                             fallback_list: Collection[str] = (), fallback_no_weight_decay: bool = False,
                             weight_decay_exclude_1d: bool = True, layer_decay: float = 0.75, min_scale: float = 0.0,
                             no_opt_scale: float | None = None) -> list[Group]:
    """`param_groups_weight_decay` a layer, with 'lr_scale': 1 for the last layer, `layer_decay` for the one before, its
    square before that, and so on, but not below `min_scale`. Layers are those of `group_matcher`; those whose scale is
    below `no_opt_scale` are frozen.

    Raises:
        TypeError: a network that does not say what its layers are.
    """
    if not isinstance(model, Layered):
        raise TypeError(f'layer_decay needs a network with a group_matcher(), which tells its layers; '
                        f'{type(model).__name__} has none.')
    layers = group_parameters(model, model.group_matcher(), reverse=True)
    last = max(layers.values())
    scales = {name: max(min_scale, layer_decay ** (last - layer)) for name, layer in layers.items()}
    if no_opt_scale is not None:
        for name, parameter in model.named_parameters():
            if layer_decay ** (last - layers[name]) < no_opt_scale:
                parameter.requires_grad_(False)
    return _groups(model, (layers, scales), weight_decay, weight_decay_exclude_1d, no_weight_decay_list, fallback_list,
                   fallback_no_weight_decay)


def param_groups_scaled(model: nn.Module, weight_decay: float, prefix: str, scale: float) -> list[Group]:
    """`param_groups_weight_decay`, with 'lr_scale': `scale` for names that begin with `prefix`, 1 for others."""
    layers = {name: int(not name.startswith(prefix)) for name, _ in model.named_parameters()}
    scales = {name: 1.0 if layer else scale for name, layer in layers.items()}
    return _groups(model, (layers, scales), weight_decay, True, (), (), False)


def _groups(model: nn.Module, layers: tuple[dict[str, int], dict[str, float]] | None, weight_decay: float,
            without_1d: bool, without: Collection[str], fallback: Collection[str],
            fallback_without: bool) -> list[Group]:
    groups: dict[tuple[int, bool, bool], Group] = {}
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            continue
        exempt = _listed(name, without)
        other = _listed(name, fallback) or fallback_without and exempt
        decay = not (exempt or without_1d and parameter.ndim <= 1)
        layer = layers[0][name] if layers else 0
        group = groups.setdefault((layer, decay, other), {'params': [], 'weight_decay': weight_decay if decay else 0.0})
        group['params'].append(parameter)
        if other:
            group['use_fallback'] = True
        if layers:
            group['lr_scale'] = layers[1][name]
    return list(groups.values())


def _listed(name: str, patterns: Collection[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def group_parameters(module: nn.Module, group_matcher: Matcher, return_values: bool = False,
                     reverse: bool = False) -> dict[Any, Any]:
    """The names of a network's parameters in layers, from the input to the output: {0: [names], 1: [names], …}.

    Args:
        group_matcher: what `ImageModel.group_matcher` returns: group -> a regular expression, or several with a
            suffix each; its groups in parentheses number the layers. What matches nothing is the last layer. Or a
            function from a name to its number.
        return_values: the parameters, in place of their names. reverse: {name: layer}.
    """
    return _layers(module.named_parameters(), group_matcher, return_values, reverse)


def group_modules(module: nn.Module, group_matcher: Matcher, return_values: bool = False,
                  reverse: bool = False) -> dict[Any, Any]:
    """The names of the modules that have parameters of their own in layers, as `group_parameters`."""
    named = ((name, part) for name, part in module.named_modules() if part._parameters)
    return _layers(named, group_matcher, return_values, reverse)


def _layers(named: Iterable[tuple[str, Any]], matcher: Matcher, return_values: bool, reverse: bool) -> dict[Any, Any]:
    place = matcher if callable(matcher) else _place_by(matcher)
    groups: dict[tuple[float, ...], list[Any]] = {}
    for name, value in named:
        where = place(name)
        key = tuple(where) if isinstance(where, Iterable) else (where,)
        groups.setdefault(key, []).append((name, value if return_values else name))
    layers: dict[int, list[Any]] = {}
    for key in sorted(groups):
        number = len(layers) - (1 if layers and key[-1] == BEFORE else 0)
        layers.setdefault(number, []).extend(groups[key])
    if reverse:
        return {name: number for number, layer in layers.items() for name, _ in layer}
    return {number: [value for _, value in layer] for number, layer in layers.items()}


def _place_by(matcher: Mapping[str, Any]) -> Callable[[str], tuple[float, ...]]:
    """From a name to a key that sorts as the layers do."""
    rules = []
    for group, patterns in enumerate(matcher.values()):
        for pattern, suffix in [(patterns, None)] if isinstance(patterns, str) else patterns or ():
            rules.append((re.compile(pattern), group, suffix or ()))

    def place(name: str) -> tuple[float, ...]:
        for pattern, group, suffix in rules:
            if match := pattern.match(name):
                return (group, *(float(part) for part in match.groups() if part is not None), *suffix)
        return (float('inf'),)
    return place
