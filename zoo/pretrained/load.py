"""From a record of weights, or a file, to a network that has them: `load_weights`."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..spec import PretrainedCfg
from .adapt import load_into
from .location import Weights, locate
from .read import own, read_state_dict, unwrap


def load_weights(model: nn.Module, cfg: PretrainedCfg, source: Weights | bool = True, *,
                 cache_dir: str | Path | None = None, partial: bool = False,
                 device: torch.device | str = 'cpu', settings: Mapping[str, Any] | None = None,
                 new_head: bool = False, strict: bool = True,
                 adapt: Callable[[dict[str, Tensor]], Mapping[str, Tensor]] | None = None) -> dict[str, Any]:
    """Finds, reads and loads weights; returns the fields of their record that their layout implies, see `Layout.data`.

    Args:
        source, cache_dir: as in `locate`. partial, device, settings, new_head, strict: as in `load_into`.
        adapt: applied to the state dict before.

    Raises:
        FileNotFoundError: no place has the weights.
        ValueError: they cannot be read safely, or do not fit (`zoo.spec.Misfit`).
    """
    found = locate(cfg, source, cache_dir)
    state = read_state_dict(found.path) if found.path else own(unwrap(found.state))
    return load_into(model, adapt(state) if adapt else state, cfg, partial=partial, device=device, origin=found.origin,
                     settings=settings, new_head=new_head, strict=strict).implied
