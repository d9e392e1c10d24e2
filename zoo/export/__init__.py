"""Networks as files that other programs run, each checked in its own runtime before it is left behind.

Public names are resolved when first used.
"""
from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    'model': ('export_model',),
    'dense': ('export_dense',),
    'check': ('Outcome', 'TooFarOff'),
    'formats': ('FORMATS', 'Format', 'missing'),
}
_WHERE = {name: module for module, names in _PUBLIC.items() for name in names}
__all__ = [*_WHERE]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(importlib.import_module(f'.{_WHERE[name]}', __name__), name)
        globals()[name] = value
        return value
    from ..spec import unknown
    raise AttributeError(unknown('Name zoo.export.', name, __all__))


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
