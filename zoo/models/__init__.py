"""Networks, one paper a file."""
from __future__ import annotations

from typing import Any


def __getattr__(name: str) -> Any:
    from ..compat import find
    return find('models', name)
