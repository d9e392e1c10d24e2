"""The finder that answers `import timm.…` where `timm` is zoo. Standard library only."""
from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec
from types import ModuleType

ROOT = __name__.partition('.')[0]


class TimmFinder:
    """Finds the modules under timm while `sys.modules['timm']` is zoo; all others are left to Python's finders."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None,
                  ) -> ModuleSpec | None:
        """How `timm.…` is imported: as the module of zoo that stands for it.

        Raises:
            ModuleNotFoundError: there is none; a timm that is installed is not looked at.
        """
        if not name.startswith('timm.') or sys.modules.get('timm') is not sys.modules.get(ROOT):
            return None
        from .table import PLACES
        inner = name.removeprefix('timm.')
        if inner not in PLACES and not has_module(inner):
            raise ModuleNotFoundError(f'zoo, installed as timm, has no {name}.', name=name)
        return ModuleSpec(name, self)

    def create_module(self, spec: ModuleSpec) -> None:
        """An empty module, which `exec_module` replaces."""

    def exec_module(self, module: ModuleType) -> None:
        """Puts the module of zoo in the place of the one asked for; and those of the table that are inside it, since
        importing them one by one would set attributes on zoo's own packages."""
        from . import load
        from .table import PLACES
        inner = module.__name__.removeprefix('timm.')
        sys.modules[module.__name__] = load(inner) if inner in PLACES else importlib.import_module(f'{ROOT}.{inner}')
        for path in PLACES:
            if path.startswith(f'{inner}.'):
                sys.modules[f'timm.{path}'] = load(path)


def register() -> None:
    """Puts the finder in front of the others: they would find zoo's files, and import them a second time."""
    if not any(type(finder).__qualname__ == TimmFinder.__qualname__ for finder in sys.meta_path):
        sys.meta_path.insert(0, TimmFinder())


def has_module(inner: str) -> bool:
    """Whether there is a module zoo.<inner>."""
    import importlib.util
    try:
        return importlib.util.find_spec(f'{ROOT}.{inner}') is not None
    except ModuleNotFoundError:                            # its parent is no package
        return False
