"""What other libraries call things: parameters of checkpoints, fields of config files. Tables, and how to read them.

A family of networks is a module here: `LAYOUTS` are the names that libraries give its parameters, `CONFIGS` what
`model_type` of transformers' config.json names. Modules are found, no list names them.
"""
from __future__ import annotations

import functools
import importlib
import pkgutil
from types import ModuleType

from .configs import ConfigReader
from .layout import Layout


@functools.cache
def _modules() -> tuple[ModuleType, ...]:
    return tuple(importlib.import_module(f'{__name__}.{found.name}') for found in pkgutil.iter_modules(__path__))


@functools.cache
def layouts() -> tuple[Layout, ...]:
    """Every layout there is."""
    return tuple(layout for module in _modules() for layout in getattr(module, 'LAYOUTS', ()))


@functools.cache
def config_readers() -> dict[str, ConfigReader]:
    """`model_type` of a config.json -> what reads it."""
    return {kind: reader for module in _modules() for kind, reader in getattr(module, 'CONFIGS', {}).items()}
