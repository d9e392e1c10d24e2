"""Every public model name and every set of weights, as rows. One file per network module; rows only.

A file is imported when a name that stands in it is asked for; all of them are where names are listed.
"""
from __future__ import annotations

import functools
import importlib
import pkgutil

from ..spec import Family


@functools.cache
def modules() -> tuple[str, ...]:
    """The files, sorted, which are named as the modules of networks under zoo.models."""
    return tuple(module.name for module in pkgutil.iter_modules(__path__))


def in_module(module: str) -> tuple[Family, ...]:
    """The families of one file."""
    families: tuple[Family, ...] = importlib.import_module(f'.{module}', __name__).FAMILIES
    return families


@functools.cache
def families() -> tuple[Family, ...]:
    """Those of all files."""
    return tuple(family for module in modules() for family in in_module(module))


@functools.cache
def family_of(name: str) -> Family | None:
    """The family whose rows hold an architecture. Rows name it literally, so that files without that text are not
    imported."""
    key = f"'{name}':".encode()
    for module in modules():
        if key in (pkgutil.get_data(__name__, f'{module}.py') or key):
            for family in in_module(module):
                if name in family.variants:
                    return family
    return None
