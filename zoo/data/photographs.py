"""The photographs that come with zoo."""
from __future__ import annotations

from pathlib import Path


def photographs_folder() -> Path:
    """Their folder: inside the package where it is installed, beside it in a checkout."""
    package = Path(__file__).parent.parent
    installed = package / 'photographs'
    return installed if installed.is_dir() else package.parent / 'examples' / 'images'
