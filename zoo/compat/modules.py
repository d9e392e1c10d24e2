"""The modules that stand for timm's, made from `table.py`. Standard library only, until a name is asked for."""
from __future__ import annotations

import functools
import importlib
import importlib.machinery
import importlib.util
import pkgutil
from pathlib import Path
from types import FunctionType, ModuleType
from typing import Any

from .. import __version__, registry
from ..spec import nearest, unknown
from .absent import placeholder
from .table import ABSENT, HELPERS, INSTEAD, PLACES

ROOT = __name__.partition('.')[0]
NOTHING = object()


class TimmModule(ModuleType):
    """A module that stands for `timm.<path>` ('' for timm itself) and finds its names when they are asked for."""

    def __init__(self, path: str) -> None:
        name = f'timm.{path}'.rstrip('.')
        super().__init__(name, f'{name}, as zoo answers to it.')
        self.__dict__.update(_path=path, __path__=[])
        if path in ('', 'version'):
            self.__version__ = __version__
        self.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)

    def __getattr__(self, name: str) -> Any:
        if name == '__all__':
            return served(self._path)
        if name.startswith('__'):
            raise AttributeError(name)
        value = find(self._path, name)
        if value is NOTHING:
            raise AttributeError(missing(self._path, name))
        self.__dict__[name] = value
        return value

    def __setattr__(self, name: str, value: Any) -> None:
        """Sets an attribute; but the import of timm.layers.create_conv2d leaves the function of that name in timm.layers,
        as it does in timm."""
        if not (isinstance(value, TimmModule) and name in names_of(self._path)):
            super().__setattr__(name, value)

    def __dir__(self) -> list[str]:
        return sorted({*self.__dict__, *served(self._path)})


@functools.cache
def module(path: str) -> TimmModule:
    """The module that stands for `timm.<path>`."""
    return TimmModule(path)


@functools.cache
def known() -> dict[str, tuple[str, ...]]:
    """The modules of timm 1.0.31, by their path under it, and the public names of each."""
    lines = (Path(__file__).parent / 'names.txt').read_text(encoding='utf-8').splitlines()
    pairs = (line.partition(':') for line in lines if not line.startswith('#'))
    return {path: tuple(names.split()) for path, _, names in pairs}


@functools.cache
def is_module(path: str) -> bool:
    """Whether there is a module that stands for `timm.<path>`: timm has it and, if it is of its networks, zoo has them
    or what stands for them."""
    package, _, inner = path.partition('.')
    if package == 'models' and inner and not _is_helper(inner):
        return path in ABSENT or path in known() and _exists(path)
    return path in known() or f'layers{inner.removeprefix("layers")}' in known() and package == 'models'


def names_of(path: str) -> tuple[str, ...]:
    """The public names of `timm.<path>`. A module inside a package is asked for the names of the whole package, but for
    those of networks, which have their own."""
    package, _, inner = path.partition('.')
    if package == 'models':
        package = path if not _is_helper(inner) else 'layers' if _is_layers(inner) else 'models'
    return known().get(package, ())


def find(path: str, name: str) -> Any:
    """What zoo has as `timm.<path>.<name>`; NOTHING where it has none."""
    package, _, inner = path.partition('.')
    helper = package != 'models' or _is_helper(inner)
    places = [path] if path != package and _exists(path) and (package != 'models' or not helper) else []
    if package == 'models' and name in known().get(path, ()) and not helper:
        pass                                    # a network's own layer, whatever another of the same name is
    elif package == 'models':
        places += PLACES['layers'] if _is_layers(inner) else (*PLACES['models'], *PLACES['layers'])
    else:
        places += PLACES[package if package in PLACES else '']
    for place in (*INSTEAD.get(path, ()), *places):
        if (value := _from(place, name)) is not NOTHING:
            return value
    if package == 'models' and registry.is_model(name) and (
            helper or registry.is_model_in_modules(name, inner)):
        return importlib.import_module(f'{ROOT}.compat.entry').entry_function(name)
    below = f'{path}.{name}'.lstrip('.')
    if is_module(below):
        return module(below)
    return placeholder(path, name) if name in ABSENT.get(path, '').split() else NOTHING


def served(path: str) -> list[str]:
    """The public names of `timm.<path>` that zoo has; not those that can only be imported."""
    absent = ABSENT.get(path, '').split()
    return [name for name in names_of(path) if name not in absent and find(path, name) is not NOTHING]


def missing(path: str, name: str) -> str:
    """The text of the error about `timm.<path>.<name>`: whether timm has it, and what is near here."""
    whole = '.'.join(filter(None, ('timm', path, name)))
    below = f'{path}.{name}'.lstrip('.')
    here = served(path) if is_module(path) else []
    if name in names_of(path) or below in known():
        close = nearest(name, here)
        return f'timm has {whole}, zoo not yet.{" Near it is here: " + ", ".join(close) + "." if close else ""}'
    modules = {other.removeprefix(f'{path}.').partition('.')[0] for other in known() if is_module(other)
               and other.startswith(f'{path}.' if path else '')}
    return unknown(f'zoo, installed as timm, has no {whole}. Name', name, {*here, *modules} - {''} or {'timm'})


def _is_helper(inner: str) -> bool:
    """Whether timm.models.<inner> is about all networks."""
    return not inner or _is_layers(inner) or inner.startswith('_') or inner in HELPERS


def _is_layers(inner: str) -> bool:
    """Whether timm.models.<inner> is the former place of timm.layers, or of a module in it."""
    return inner.partition('.')[0] == 'layers'


@functools.cache
def _exists(path: str) -> bool:
    """Whether there is a module zoo.<path>."""
    try:
        return bool(path) and importlib.util.find_spec(f'{ROOT}.{path}') is not None
    except ModuleNotFoundError:                            # its parent is no package
        return False


def _from(place: str, name: str) -> Any:
    """A public name of zoo.<place>, or with 'package.*' what any module of the package defines under it."""
    if place.endswith('.*'):
        return _defined_in(f'{ROOT}.{place.removesuffix(".*")}').get(name, NOTHING)
    found = importlib.import_module(f'{ROOT}.{place}'.rstrip('.'))
    if name not in vars(found).get('__all__', () if name.startswith('_') else (name,)):
        return NOTHING
    value = getattr(found, name, NOTHING)
    return NOTHING if isinstance(value, ModuleType) else value


@functools.cache
def _defined_in(package: str) -> dict[str, type | FunctionType]:
    """The classes and functions that the modules of a package define."""
    paths = importlib.import_module(package).__path__
    modules = [importlib.import_module(f'{package}.{found.name}') for found in pkgutil.iter_modules(paths)]
    return {name: value for module in modules for name, value in vars(module).items() if not name.startswith('_')
            and isinstance(value, (type, FunctionType)) and value.__module__ == module.__name__}
