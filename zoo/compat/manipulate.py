"""Functions over a whole network: its parameters in layers, checkpointed layers, weights from a file."""
from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..pretrained.read import read_state_dict

BEFORE = 99999                    # a suffix of a group matcher: part of the layer before, not one of its own
Matcher = Mapping[str, Any] | Callable[[str], Any]


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


def named_apply(fn: Callable[..., None], module: nn.Module, name: str = '', depth_first: bool = True,
                include_root: bool = False) -> nn.Module:
    """Calls `fn(module=…, name=…)` for all modules inside one, children before parents where `depth_first`; with
    `include_root` also for itself. Returns it."""
    if include_root and not depth_first:
        fn(module=module, name=name)
    for child_name, child in module.named_children():
        named_apply(fn, child, f'{name}.{child_name}' if name else child_name, depth_first, include_root=True)
    if include_root and depth_first:
        fn(module=module, name=name)
    return module


def checkpoint_seq(functions: Iterable[Callable[[Tensor], Tensor]], x: Tensor, every: int = 1,
                   flatten: bool = False, skip_last: bool = False) -> Tensor:
    """Runs layers one after the other, and recomputes them in the backward pass, `every` of them at a time.

    Args:
        flatten: `functions` are sequences of layers. skip_last: keep the activations of the last layer.
    """
    layers = [layer for part in functions for layer in part] if flatten else list(functions)
    end = len(layers) - 1 if skip_last else len(layers)
    for start in range(0, end, every):
        x = checkpoint(nn.Sequential(*layers[start:min(start + every, end)]), x, use_reentrant=False)
    for layer in layers[end:]:
        x = layer(x)
    return x


def adapt_input_conv(in_chans: int, conv_weight: Tensor) -> Tensor:
    """The weights of a first convolution (C', 3, k, k) for other channels (C', in_chans, k, k): of one channel their
    sum, of more the RGB weights over and over, scaled so that the outputs stay as large.

    Raises:
        ValueError: weights of another number of channels than 3 that are to change.
    """
    channels = conv_weight.shape[1]
    if in_chans == channels:
        return conv_weight
    if channels != 3:
        raise ValueError(f'Weights for 3 channels can be adapted, not for {channels}.')
    weight = conv_weight.float()
    adapted = weight.sum(1, keepdim=True) if in_chans == 1 else \
        weight[:, torch.arange(in_chans) % 3] * (3 / in_chans)
    return adapted.to(conv_weight.dtype)


def load_state_dict(checkpoint_path: str | Path, use_ema: bool = True,
                    device: str | torch.device = 'cpu') -> dict[str, Tensor]:
    """The state dict in a file, averaged weights first where `use_ema`; nothing in the file is executed.

    Raises:
        ValueError: a damaged file, or one that holds more than tensors and plain values.
        FileNotFoundError: there is no such file.
    """
    return {name: tensor.to(device) for name, tensor in read_state_dict(checkpoint_path, use_ema).items()}


def load_checkpoint(model: nn.Module, checkpoint_path: str | Path, use_ema: bool = True,
                    device: str | torch.device = 'cpu', strict: bool = True,
                    filter_fn: Callable[[Mapping[str, Tensor], nn.Module], Mapping[str, Tensor]] | None = None) -> Any:
    """Loads a file into any module, through `filter_fn(state, model)` if given; returns what did not fit.

    Raises:
        ValueError, FileNotFoundError: as `load_state_dict`.
        RuntimeError: with `strict`, a key that is missing or too many; always, one of another shape.
    """
    state = load_state_dict(checkpoint_path, use_ema, device)
    return model.load_state_dict(filter_fn(state, model) if filter_fn else state, strict=strict)
