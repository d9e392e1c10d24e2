"""Programs written for timm, run on zoo: `install_as_timm()` makes the modules that answer to timm's names.

The rest of zoo knows nothing of this. What stands where is said in `table.py`; `modules.py` makes the modules of it,
and `finder.py` hands them to Python's imports for as long as zoo is installed as timm. `names.txt` lists the public names
of timm itself, so that a name that zoo does not have yet is told from one that is misspelled.
"""
from __future__ import annotations

import sys
from types import ModuleType, TracebackType

from .finder import FINDER
from .modules import module

__all__ = ['install_as_timm', 'uninstall_as_timm']

_aside: dict[str, ModuleType] = {}


class Installed:
    """What `install_as_timm` returns: leaving it as a context takes zoo's place as timm back."""

    def __enter__(self) -> Installed:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None,
                 trace: TracebackType | None) -> None:
        uninstall_as_timm()


def install_as_timm() -> Installed:
    """Makes `import timm` import zoo, from now on or inside `with install_as_timm():`.

    To be called before the program that uses timm is imported: names that were imported from timm stay timm's. A timm
    that was imported already is set aside until `uninstall_as_timm`; of one that is installed nothing is imported.
    """
    if FINDER not in sys.meta_path:
        _aside.update(_take_timm())
        sys.modules['timm'] = module('')
        sys.meta_path.insert(0, FINDER)                # before the others, which would find a timm that is installed
    return Installed()


def uninstall_as_timm() -> None:
    """Undoes `install_as_timm`: timm is again what it was before, imported or not. Names that programs have imported
    meanwhile stay ours."""
    if FINDER in sys.meta_path:
        sys.meta_path.remove(FINDER)
        _take_timm()
        sys.modules.update(_aside)
        _aside.clear()


def _take_timm() -> dict[str, ModuleType]:
    """Removes timm from the imported modules, and returns what was there."""
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name == 'timm' or name.startswith('timm.')}
