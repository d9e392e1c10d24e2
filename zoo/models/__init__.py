"""Networks, one paper a file; each is imported when it is first used."""
from __future__ import annotations

import pkgutil

from ..lazy import lazy_names

__all__, __getattr__, __dir__ = lazy_names(__name__, {}, [found.name for found in pkgutil.iter_modules(__path__)])
