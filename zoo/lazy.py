"""Packages whose public names are imported when they are first used, so that to import the package costs next to
nothing."""
from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any


def lazy_names(package: str, public: Mapping[str, Sequence[str]], modules: Sequence[str] = (),
               ) -> tuple[list[str], Callable[[str], Any], Callable[[], list[str]]]:
    """A package's `__all__`, `__getattr__` and `__dir__`.

    Args:
        package: its `__name__`.
        public: module of the package -> the names that it has.
        modules: of the package, to be had by their names, too.
    """
    where = {name: module for module, names in public.items() for name in names}
    known = [*where, *modules]

    def get(name: str) -> Any:
        """The name, from its module."""
        if name in where:
            value = getattr(importlib.import_module(f'.{where[name]}', package), name)
            setattr(sys.modules[package], name, value)
            return value
        if name in modules:
            return importlib.import_module(f'.{name}', package)
        from .spec import unknown
        raise AttributeError(unknown(f'Name {package}.', name, known))

    def names() -> list[str]:
        """All names of the package."""
        return sorted([*vars(sys.modules[package]), *known])

    return known, get, names
