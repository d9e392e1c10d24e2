"""What an exported file says of itself."""
from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from torch import nn

from ..profiling import Profile

SOURCES = ('hf_hub_id', 'wheel', 'url', 'file')


def describe(model: nn.Module, config: Mapping[str, Any], cost: Profile, **about: Any) -> dict[str, Any]:
    """The description of a file: where its network comes from, what it takes and what it gives.

    Args:
        config: how images are prepared, see `zoo.data.resolve_data_config`.
        cost: of one image.
        about: what, format, precision, input, outputs.
    """
    from .. import __version__
    cfg = getattr(model, 'pretrained_cfg', None) or {}
    labels = getattr(model, 'labels', None)
    return {
        'zoo': __version__,
        'architecture': cfg.get('architecture') or type(model).__name__,
        'tag': cfg.get('tag'),
        'licence': cfg.get('license'),
        'source': next((cfg[name] for name in SOURCES if cfg.get(name)), None),
        'task': getattr(model, 'task', 'single'),
        'num_classes': getattr(model, 'num_classes', 0) if about['what'] == 'logits' else 0,
        'labels': list(labels) if labels and about['what'] == 'logits' else None,
        'data_config': dict(config),
        'cost': {name: getattr(cost, name) for name in ('params', 'gmacs', 'macts')},
        **about,
    }


def as_text(description: Mapping[str, Any]) -> str:
    """The description as it stands in the file."""
    return json.dumps(description, ensure_ascii=False)


def output_names(what: str, count: int, probabilities: str | None) -> Sequence[str]:
    """Names of a graph's outputs."""
    if what == 'features':
        return [f'map{i}' for i in range(count)]
    return [probabilities or what]
