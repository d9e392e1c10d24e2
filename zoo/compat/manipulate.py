"""Functions over a whole network: checkpointed layers, weights from a file."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from ..pretrained.read import read_state_dict


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
