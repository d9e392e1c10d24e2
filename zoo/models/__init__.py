"""Networks, one paper a file; each is imported when it is first used."""
from __future__ import annotations

import importlib
import pkgutil
from types import ModuleType

__all__ = [found.name for found in pkgutil.iter_modules(__path__)]


def __getattr__(name: str) -> ModuleType:
    if name in __all__:
        return importlib.import_module(f'.{name}', __name__)
    from ..spec import unknown
    raise AttributeError(unknown('Name zoo.models.', name, __all__))


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
