"""Every public model name and every set of weights, as rows. One file per network module; rows only."""
from __future__ import annotations

import importlib
import pkgutil

from ..spec import Family

FAMILIES: tuple[Family, ...] = tuple(
    family for module in pkgutil.iter_modules(__path__)
    for family in importlib.import_module(f'.{module.name}', __name__).FAMILIES)
