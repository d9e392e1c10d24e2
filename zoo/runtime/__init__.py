"""Files of networks in the runtimes that they are for.

Public names are resolved when first used.
"""
from __future__ import annotations

import importlib
from typing import Any

_PUBLIC = {
    'exported': ('Exported', 'is_exported', 'levels_of', 'load_exported'),
    'sessions': ('OnnxSession', 'OpenVinoSession', 'ProgramSession', 'Session', 'import_runtime', 'open_session'),
}
_WHERE = {name: module for module, names in _PUBLIC.items() for name in names}
__all__ = [*_WHERE]


def __getattr__(name: str) -> Any:
    if name in _WHERE:
        value = getattr(importlib.import_module(f'.{_WHERE[name]}', __name__), name)
        globals()[name] = value
        return value
    from ..spec import unknown
    raise AttributeError(unknown('Name zoo.runtime.', name, __all__))


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
