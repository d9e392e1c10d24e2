"""Networks as files that other programs run, each checked in its own runtime before it is left behind.

Public names are resolved when first used.
"""
from __future__ import annotations

from ..lazy import lazy_names

_PUBLIC = {
    'model': ('export_model',),
    'dense': ('export_dense',),
    'check': ('Outcome', 'TooFarOff'),
    'formats': ('FORMATS', 'Format', 'missing'),
}
__all__, __getattr__, __dir__ = lazy_names(__name__, _PUBLIC)
