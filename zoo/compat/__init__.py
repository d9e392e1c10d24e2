"""Programs written for timm, run on zoo: `sys.modules['timm'] = zoo`, and every module of timm they import is ours.

`import zoo` puts one finder in front of Python's own (`hook.py`). It does nothing until `timm` is zoo; then it answers
imports of `timm.…` from the table in `table.py`, and nothing of a timm that is installed is imported. So the plain
assignment is enough, if nothing has imported timm before; `install_as_timm` also sets aside what has been imported.

`timm.layers`, `timm.models` and `timm.data` are zoo's own packages, which find timm's names that they do not have
here (`find`). One name means two things: `from timm.models.efficientnet import EfficientNet` gives a subclass of
`zoo.models.efficientnet.EfficientNet` that is built as timm's is.
"""
from __future__ import annotations

import importlib
import sys
from types import ModuleType, TracebackType
from typing import Any

from .hook import ROOT, has_module

__all__ = ['find', 'install_as_timm', 'uninstall_as_timm']

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
    that was imported already is set aside until `uninstall_as_timm`.
    """
    if sys.modules.get('timm') is not sys.modules[ROOT]:
        _aside.update(_take_timm())
        sys.modules['timm'] = sys.modules[ROOT]
    return Installed()


def uninstall_as_timm() -> None:
    """Undoes `install_as_timm`: timm is again what it was before, imported or not. Names that programs have imported
    meanwhile stay ours."""
    if sys.modules.get('timm') is sys.modules[ROOT]:
        _take_timm()
        sys.modules.update(_aside)
        _aside.clear()


def find(package: str, name: str) -> Any:
    """What timm has as `name` in `package` ('layers', 'models', 'data', or '' for timm itself) and zoo has elsewhere.

    Raises:
        AttributeError: the table does not have it; the message names the nearest.
    """
    from .table import EXTRA, PLACES
    extra = EXTRA[package]
    path = f'{package}.{name}'.lstrip('.')
    if name in extra:
        return getattr(importlib.import_module(f'{ROOT}.{extra[name]}'), name)
    if has_module(path):
        return importlib.import_module(f'{ROOT}.{path}')
    if path in PLACES:
        return load(path)
    here = f'{ROOT}.{package}'.rstrip('.')
    from ..spec import refuse
    raise AttributeError(refuse(f'Name {here}.', name, {*vars(sys.modules[here]).get('__all__', ()), *extra}))


def load(path: str) -> ModuleType:
    """The module that stands for `timm.<path>`, a path of the table."""
    from .table import PLACES
    place = PLACES[path]
    if place == 'compat.absent':
        from .absent import module
        return module(path)
    return importlib.import_module(f'{ROOT}.{place}')


def _take_timm() -> dict[str, ModuleType]:
    """Removes timm from the imported modules, and returns what was there."""
    return {name: sys.modules.pop(name) for name in list(sys.modules) if name == 'timm' or name.startswith('timm.')}
