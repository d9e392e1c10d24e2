"""The finder that answers `import timm.…` while zoo is installed as timm. Standard library only."""
from __future__ import annotations

from collections.abc import Sequence
from importlib.abc import Loader
from importlib.machinery import ModuleSpec
from types import ModuleType

from .modules import is_module, missing, module


class TimmFinder(Loader):
    """Finds timm and the modules under it; all others are left to Python's own finders."""

    def find_spec(self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None,
                  ) -> ModuleSpec | None:
        """How `timm.…` is imported.

        Raises:
            ModuleNotFoundError: there is none; a timm that is installed is not looked at. `from timm.layers import name`
                comes here too if the name is none of the module's: this error is then what its caller sees.
        """
        if name != 'timm' and not name.startswith('timm.'):
            return None
        inner = name.removeprefix('timm').lstrip('.')
        if not is_module(inner):
            parent, _, last = inner.rpartition('.')
            raise ModuleNotFoundError(missing(parent, last))       # without name=, which from-imports take as "go on"
        return ModuleSpec(name, self, is_package=True)

    def create_module(self, spec: ModuleSpec) -> ModuleType:
        """The module, the same one each time."""
        return module(spec.name.removeprefix('timm').lstrip('.'))

    def exec_module(self, module: ModuleType) -> None:
        """Nothing: names are found when they are asked for."""


FINDER = TimmFinder()
