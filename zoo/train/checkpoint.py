"""A whole run in one safetensors file: tensors by name, and everything else as JSON, so that reading executes nothing."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..pretrained import read_record, write_tensors
from ..pretrained.read import read_state_dict

KEY = 'zoo.run'                     # of the file's metadata
TENSOR, TUPLE, PAIRS = '$tensor', '$tuple', '$pairs'


def write_run(path: Path, state: Mapping[str, Any], records: Mapping[str, Any]) -> None:
    """Writes a nested state of tensors and plain values.

    Args:
        records: more metadata, for whoever reads the file without running anything.

    Raises:
        OSError: it cannot be written; the file that was there before still is.
        FloatingPointError: a weight is not finite: the run has failed, and the last file is worth more.
    """
    tensors: dict[str, Tensor] = {}
    skeleton = _pack(state, '', tensors)
    check_finite({name: tensor for name, tensor in tensors.items() if name.startswith(('model.', 'ema.'))}, path)
    write_tensors(path, tensors, {KEY: skeleton, **records})


def read_run(path: Path) -> dict[str, Any]:
    """What `write_run` wrote.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that is damaged, or holds no run.
    """
    skeleton = read_record(path, KEY)
    if skeleton is None:
        raise ValueError(f'{path} holds no training run.')
    return _unpack(skeleton, read_state_dict(path))


def check_finite(state: Mapping[str, Tensor], path: Path) -> None:
    """Raises FloatingPointError for a tensor with NaN or infinity, which is not to be written to `path`."""
    for name, tensor in state.items():
        if tensor.is_floating_point() and not tensor.isfinite().all():
            raise FloatingPointError(f'{name} holds numbers that are not finite; {path} is left as it was.')


def whole(tree: Any) -> Any:
    """A nested state with the tensors that are spread over processes put together; all processes have to call it."""
    return _mapped(tree, lambda tensor: tensor.full_tensor() if hasattr(tensor, 'full_tensor') else tensor)


def load_model(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Whole tensors into a network whose parameters may be spread over processes.

    Raises:
        RuntimeError: they are another network's.
    """
    own = model.state_dict()
    model.load_state_dict({name: like(tensor, own[name]) if name in own else tensor for name, tensor in state.items()})


def load_optimizer(optimizer: torch.optim.Optimizer, state: dict[str, Any]) -> None:
    """A whole state into an optimizer. What has the shape of a parameter lies in memory as that does, so that sums come
    out to the last bit as if the run had never stopped."""
    parameters = [p for group in optimizer.param_groups for p in group['params']]
    for number, own in state['state'].items():
        for name, value in own.items():
            if isinstance(value, Tensor) and value.shape == parameters[number].shape:
                own[name] = like(value.to(parameters[number].device), parameters[number].detach())
    optimizer.load_state_dict(state)
    for parameter in parameters:
        own = optimizer.state.get(parameter, {})
        for name, value in own.items():
            if isinstance(value, Tensor) and value.shape == parameter.shape and not hasattr(value, 'full_tensor'):
                own[name] = torch.empty_like(parameter, dtype=value.dtype).copy_(value)


def like(tensor: Tensor, reference: Tensor) -> Tensor:
    """A whole tensor, spread over processes as `reference` is."""
    if not hasattr(reference, 'full_tensor') or hasattr(tensor, 'full_tensor'):
        return tensor
    from torch.distributed.tensor import distribute_tensor
    mesh, placements = getattr(reference, 'device_mesh'), getattr(reference, 'placements')
    return distribute_tensor(tensor.to(reference.device), mesh, placements)


def _pack(value: Any, name: str, tensors: dict[str, Tensor]) -> Any:
    """A value as JSON holds it, with its tensors put into `tensors`."""
    if isinstance(value, Tensor):
        tensors[name] = value
        return {TENSOR: name}
    if isinstance(value, Mapping):
        inner = [[key, _pack(one, f'{name}.{key}' if name else str(key), tensors)] for key, one in value.items()]
        plain = all(isinstance(key, str) and key not in (TENSOR, TUPLE, PAIRS) for key in value)
        return dict(inner) if plain else {PAIRS: inner}
    if isinstance(value, (list, tuple)):
        inner = [_pack(one, f'{name}.{number}', tensors) for number, one in enumerate(value)]
        return {TUPLE: inner} if isinstance(value, tuple) else inner
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f'{name} is {type(value).__name__}, which a checkpoint has no form for.')


def _unpack(value: Any, tensors: Mapping[str, Tensor]) -> Any:
    if isinstance(value, list):
        return [_unpack(one, tensors) for one in value]
    if not isinstance(value, dict):
        return value
    if TENSOR in value:
        return tensors[value[TENSOR]]
    if TUPLE in value:
        return tuple(_unpack(one, tensors) for one in value[TUPLE])
    if PAIRS in value:
        return {key: _unpack(one, tensors) for key, one in value[PAIRS]}
    return {key: _unpack(one, tensors) for key, one in value.items()}


def _mapped(tree: Any, change: Callable[[Tensor], Tensor]) -> Any:
    if isinstance(tree, Tensor):
        return change(tree)
    if isinstance(tree, Mapping):
        return {key: _mapped(one, change) for key, one in tree.items()}
    if isinstance(tree, (list, tuple)):
        return type(tree)(_mapped(one, change) for one in tree)
    return tree
