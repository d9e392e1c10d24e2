"""Networks without memory: built of shapes alone, and given memory where weights are to lie in it."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode

# what makes tensors, and what only fills them with initial values
FACTORIES = {torch.arange, torch.as_tensor, torch.asarray, torch.empty, torch.empty_strided, torch.eye, torch.full,
             torch.linspace, torch.logspace, torch.ones, torch.rand, torch.randint, torch.randn, torch.randperm,
             torch.scalar_tensor, torch.tensor, torch.tril_indices, torch.triu_indices, torch.zeros}
FILLS = {Tensor.fill_, Tensor.normal_, Tensor.uniform_, Tensor.zero_, *filter(callable, vars(nn.init).values())}


class without_storage(TorchFunctionMode):
    """Modules built inside have shapes, but no memory and no values: see `load_into` and `materialise`.

    Initial values are left out, since on the meta device their first drawing imports PyTorch's compiler (2 s). One mode
    takes half the time of this and PyTorch's own for a device, as every attribute of a tensor goes through both.
    """

    def __torch_function__(self, func: Any, types: Any, args: tuple[Any, ...] = (),
                           kwargs: dict[str, Any] | None = None) -> Any:
        given = kwargs or {}
        if func in FILLS:
            return args[0] if args else given['tensor']
        if func in FACTORIES and given.get('device') is None:
            given['device'] = 'meta'
        return func(*args, **given)


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
