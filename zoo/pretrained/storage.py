"""Networks without memory: built of shapes alone, and given memory where weights are to lie in it."""
from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

FILLS = {'uniform_', 'normal_', 'trunc_normal_', 'zero_', 'fill_'}


class _Unfilled(TorchFunctionMode):
    """Leaves out what only fills tensors with initial values."""

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (),
                           kwargs: Mapping[str, Any] | None = None) -> Any:
        given = dict(kwargs or {})
        if func.__name__ in FILLS or getattr(func, '__module__', None) == 'torch.nn.init':
            return args[0] if args else given['tensor']
        return func(*args, **given)


@contextmanager
def without_storage() -> Iterator[None]:
    """Modules built inside have shapes, but no memory and no values: see `load_into` and `materialise`.

    Random initialisation is left out, since on the meta device its first use imports PyTorch's compiler (2 s).
    """
    with torch.device('meta'), _Unfilled():
        yield


def materialise(model: nn.Module, device: torch.device | str = 'cpu',
                state: Mapping[str, Tensor] | None = None) -> None:
    """Gives memory to the parameters and buffers that have none: that of the tensors in `state`, or else unset.

    Modules with constant buffers, which are in no state dict, have a method `reset_constants()` that sets them.
    """
    for path, module in model.named_modules():
        constant = False
        for tensors in (module._parameters, module._buffers):
            for name, tensor in tensors.items():
                if tensor is None or not tensor.is_meta:
                    continue
                key = f'{path}.{name}' if path else name
                value = state.get(key) if state else None
                if value is None:                # empty_like would import PyTorch's compiler (0.7 s)
                    value = torch.empty(tensor.shape, dtype=tensor.dtype, device=device)
                is_parameter = isinstance(tensor, nn.Parameter)
                tensors[name] = nn.Parameter(value, tensor.requires_grad) if is_parameter else value
                constant |= name in module._non_persistent_buffers_set
        if constant:
            getattr(module, 'reset_constants')()


def filled_by_constructors(model: nn.Module) -> bool:
    """Whether modules of a caller's own hold tensors, which nothing but their constructors may be able to fill."""
    return any(type(module).__module__.partition('.')[0] not in ('torch', 'zoo')
               for module in model.modules() if module._parameters or module._buffers)
