"""Measuring a network on labelled images: fast preprocessing, the loop over the images, and the metrics."""
from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    'effect': ('decoder_effect',),
    'labels': ('RealLabels', 'read_valid_labels'),
    'metrics': ('Metrics',),
    'network': ('fold_batch_norm', 'prepare'),
    'preprocess': ('DECODERS', 'Normalize', 'Preprocess'),
    'runner': ('Evaluation', 'EvaluationStopped', 'at_once', 'evaluate'),
}
_WHERE = {name: module for module, names in _PUBLIC.items() for name in names}
__all__ = [*_WHERE]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
    return getattr(importlib.import_module(f'.{_WHERE[name]}', __name__), name)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
