"""Trained weights: where they lie, reading them safely, and fitting them into a network; each module is imported when it
is first used."""
from __future__ import annotations

from ..lazy import lazy_names

_PUBLIC = {
    'adapt': ('load_into', 'load_weights'),
    'conversion': ('Conversion', 'convert'),
    'location': ('Located', 'fetch', 'locate'),
    'read': ('read_state_dict',),
    'source': ('Source', 'model_config', 'parse'),
    'storage': ('filled_by_constructors', 'materialise', 'without_storage'),
    'write': ('read_record', 'write_tensors'),
}
__all__, __getattr__, __dir__ = lazy_names(__name__, _PUBLIC)
