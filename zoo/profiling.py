"""What a network costs: its parameters, and the multiply-adds and activations of one image."""
from __future__ import annotations

import copy
import itertools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from torch.utils.flop_counter import FlopCounterMode

aten = torch.ops.aten
PRODUCTS = frozenset({aten.convolution, aten.mm, aten.addmm, aten.bmm})


@dataclass(frozen=True)
class Profile:
    """The cost of one network at one input size.

    `gmacs` are the multiply-adds of convolutions and matrix products, in billions: half of what
    `torch.utils.flop_counter` counts. `macts` are the elements of those operations' outputs, in millions, without the
    scores inside fused attention, which is what fvcore's `ActivationCountAnalysis` counts.
    """

    params: int
    gmacs: float
    macts: float
    input_size: tuple[int, int, int]


class _ShapesOnly(TorchDispatchMode):
    """Runs every operation on the meta device, whatever device its tensors are on, and counts activations."""

    def __init__(self) -> None:
        TorchDispatchMode.__init__(self)
        self.activations = 0
        self.in_attention = False

    def __torch_dispatch__(
            self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None) -> Any:
        args, kwargs = tree_map_only(Tensor, lambda t: t.to('meta'), (args, dict(kwargs or {})))
        out = func(*args, **kwargs)
        if func._overloadpacket in PRODUCTS and not self.in_attention:
            self.activations += out.numel()
        return out


class _MarkFusedAttention(TorchFunctionMode):
    """Tells the counter what is inside fused attention."""

    def __init__(self, counter: _ShapesOnly) -> None:
        super().__init__()
        self.counter = counter

    def __torch_function__(
            self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (),
            kwargs: Mapping[str, Any] | None = None) -> Any:
        self.counter.in_attention = func is F.scaled_dot_product_attention
        try:
            return func(*args, **(kwargs or {}))
        finally:
            self.counter.in_attention = False


def profile(model: nn.Module, input_size: int | tuple[int, int, int] | None = None) -> Profile:
    """Count parameters, multiply-adds and activations for one image, in evaluation mode, without any arithmetic.

    The model may be on any device, 'meta' included, and is left as it was. `input_size` is (channels, height, width)
    or the side of a square with the model's own number of channels; by default it is what the model's `pretrained_cfg`
    says.

    Raises:
        ValueError: no size is given and the model carries none.
    """
    size = _input_size(model, input_size)
    tensors = itertools.chain(model.parameters(), model.buffers())
    twin = copy.deepcopy(model, {id(t): t for t in tensors}).eval()  # shares every tensor: only the mode is its own
    shapes = _ShapesOnly()
    with torch.no_grad(), FlopCounterMode(display=False) as flops, shapes, _MarkFusedAttention(shapes):
        twin(torch.empty(1, *size, device='meta'))
    params = sum(p.numel() for p in model.parameters())
    return Profile(params, flops.get_total_flops() / 2e9, shapes.activations / 1e6, size)


def _input_size(model: nn.Module, given: int | tuple[int, int, int] | None) -> tuple[int, int, int]:
    if isinstance(given, int):
        given = (_channels(model), given, given)
    elif given is None:
        recorded = (getattr(model, 'pretrained_cfg', None) or {}).get('input_size')
        given = recorded and (_channels(model), *recorded[1:])
    if not isinstance(given, (tuple, list)) or len(given) != 3:
        raise ValueError(f'An input size is a side in pixels or (channels, height, width); got {given!r}.')
    channels, height, width = given
    return channels, height, width


def _channels(model: nn.Module) -> int:
    return getattr(model, 'in_chans', 3)
