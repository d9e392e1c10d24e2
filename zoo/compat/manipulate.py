"""Functions over a whole network: checkpointed layers, weights from a file."""
from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint as torch_checkpoint

from ..pretrained.read import read_state_dict, unwrap
from ..pretrained.source import PREFIXES
from ..spec import unknown


def named_modules(module: nn.Module, name: str = '', depth_first: bool = True, include_root: bool = False,
                  ) -> Iterator[tuple[str, nn.Module]]:
    """(name, module) of all modules inside one, children before parents where `depth_first`; with `include_root` also
    of itself, as `name`."""
    if include_root and not depth_first:
        yield name, module
    for child_name, child in module.named_children():
        yield from named_modules(child, f'{name}.{child_name}' if name else child_name, depth_first, include_root=True)
    if include_root and depth_first:
        yield name, module


def named_modules_with_params(module: nn.Module, name: str = '', depth_first: bool = True, include_root: bool = False,
                              ) -> Iterator[tuple[str, nn.Module]]:
    """As `named_modules`, of those that have parameters of their own."""
    return ((path, found) for path, found in named_modules(module, name, depth_first, include_root)
            if any(parameter is not None for parameter in found._parameters.values()))


def model_parameters(model: nn.Module, exclude_head: bool = False) -> list[nn.Parameter] | Iterator[nn.Parameter]:
    """A network's parameters; with `exclude_head` without those of its classifier."""
    if not exclude_head:
        return model.parameters()
    heads = getattr(model, 'get_classifier')()
    head = {id(p) for part in (heads if isinstance(heads, tuple) else (heads,)) for p in part.parameters()}
    return [parameter for parameter in model.parameters() if id(parameter) not in head]


def parse_model_name(model_name: str) -> tuple[str | None, str]:
    """Where a name leads, None (the registry), 'hf-hub' or 'local-dir', and the place there.

    Raises:
        ValueError: it leads elsewhere.
    """
    prefix, colon, place = model_name.partition(':')
    if not colon:
        return None, model_name
    if prefix not in PREFIXES:
        raise ValueError(unknown('Source', prefix, PREFIXES))
    return prefix.replace('_', '-'), place


def safe_model_name(model_name: str, remove_source: bool = True) -> str:
    """A name that a file may have: '_' for all but letters and digits, without 'hf-hub:' where `remove_source`."""
    plain = parse_model_name(model_name)[1] if remove_source else model_name
    return re.sub(r'[^0-9A-Za-z]', '_', plain).rstrip('_')


def clean_state_dict(state_dict: Mapping[str, Any]) -> dict[str, Any]:
    """A state dict as it is outside of `DistributedDataParallel` and `torch.compile`, out of a training checkpoint."""
    return unwrap(state_dict)


def remap_state_dict(state_dict: Mapping[str, Tensor], model: nn.Module, allow_reshape: bool = True) -> dict[str, Tensor]:
    """The tensors of a state dict, in their order, under the names that the network's have in theirs.

    Raises:
        ValueError: one has another shape, or with `allow_reshape` another number of values; or there are more or fewer.
    """
    own = model.state_dict()
    if len(own) != len(state_dict):
        raise ValueError(f'{len(state_dict)} tensors cannot be the {len(own)} of the network in their order.')
    found = {}
    for (name, want), (other, have) in zip(own.items(), state_dict.items()):
        if have.shape != want.shape and not (allow_reshape and have.numel() == want.numel()):
            raise ValueError(f'{other} {tuple(have.shape)} does not fit {name} {tuple(want.shape)}.')
        found[name] = have.reshape(want.shape)
    return found


def named_apply(fn: Callable[..., None], module: nn.Module, name: str = '', depth_first: bool = True,
                include_root: bool = False) -> nn.Module:
    """Calls `fn(module=…, name=…)` for all modules inside one, children before parents where `depth_first`; with
    `include_root` also for itself. Returns it."""
    for path, found in named_modules(module, name, depth_first, include_root):
        fn(module=found, name=path)
    return module


def checkpoint(function: Callable[..., Any], *args: Any, use_reentrant: bool | None = None, **kwargs: Any) -> Any:
    """Calls a function whose activations are computed again in the backward pass, by `torch.utils.checkpoint`."""
    return torch_checkpoint(function, *args, use_reentrant=bool(use_reentrant), **kwargs)


def checkpoint_seq(functions: Iterable[Any], x: Tensor, every: int = 1,
                   flatten: bool = False, skip_last: bool = False, use_reentrant: bool | None = None) -> Tensor:
    """Runs layers one after the other, and recomputes them in the backward pass, `every` of them at a time.

    Args:
        functions: layers. flatten: `functions` are sequences of layers. skip_last: keep the activations of the last layer.
    """
    layers = [layer for part in functions for layer in part] if flatten else list(functions)
    end = len(layers) - 1 if skip_last else len(layers)
    for start in range(0, end, every):
        x = checkpoint(nn.Sequential(*layers[start:min(start + every, end)]), x, use_reentrant=use_reentrant)
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
                    device: str | torch.device = 'cpu', weights_only: bool = True) -> dict[str, Tensor]:
    """The state dict in a file, averaged weights first where `use_ema`; nothing in the file is executed.

    Raises:
        ValueError: a damaged file, or one that holds more than tensors and plain values; `weights_only=False`.
        FileNotFoundError: there is no such file.
    """
    if not weights_only:
        raise ValueError('weights_only=False: nothing that a file holds is executed.')
    return {name: tensor.to(device) for name, tensor in read_state_dict(checkpoint_path, use_ema).items()}


def load_checkpoint(model: nn.Module, checkpoint_path: str | Path, use_ema: bool = True,
                    device: str | torch.device = 'cpu', strict: bool = True, remap: bool = False,
                    filter_fn: Callable[[Mapping[str, Tensor], nn.Module], Mapping[str, Tensor]] | None = None,
                    weights_only: bool = True) -> Any:
    """Loads a file into any module, through `filter_fn(state, model)` if given; returns what did not fit. With `remap`
    tensors are taken in their order, whatever they are called, see `remap_state_dict`.

    Raises:
        ValueError, FileNotFoundError: as `load_state_dict`.
        RuntimeError: with `strict`, a key that is missing or too many; always, one of another shape.
    """
    state = load_state_dict(checkpoint_path, use_ema, device, weights_only)
    if remap:
        state = remap_state_dict(state, model)
    return model.load_state_dict(filter_fn(state, model) if filter_fn else state, strict=strict)
