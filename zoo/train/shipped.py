"""Recipes that come with zoo, by name: found from any folder."""
from __future__ import annotations

import os
from pathlib import Path

from ..spec import nearest, read_text


def recipes_folder() -> Path:
    """The folder of recipes: inside the package where it is installed, beside it in a checkout."""
    package = Path(__file__).parent.parent
    installed = package / 'configs'
    return installed if installed.is_dir() else package.parent / 'configs'


def list_recipes() -> list[str]:
    """The names of the recipes that come with zoo, such as 'folder/finetune'."""
    folder = recipes_folder()
    return sorted(path.relative_to(folder).with_suffix('').as_posix() for path in folder.rglob('*.yaml'))


def describe_recipe(name: str) -> str:
    """What a recipe that comes with zoo is for: its first line."""
    return read_text(find_recipe(name)).partition('\n')[0].removeprefix('#').strip()


def find_recipe(recipe: str | os.PathLike[str]) -> Path:
    """The file of a recipe: the file named, or the one that comes with zoo under this name.

    Raises:
        FileNotFoundError: there is neither; the message has the nearest names.
    """
    path, known = Path(recipe), list_recipes()
    if path.is_file():
        return path
    if str(recipe) in known:
        return recipes_folder() / f'{recipe}.yaml'
    raise FileNotFoundError(f'There is no recipe {str(recipe)!r}.{meant(str(recipe))} zoo train --list shows all.')


def meant(word: str) -> str:
    """The nearest names of recipes as a question, to stand after what is wrong with a word; nothing if none is near."""
    close = nearest(word.removeprefix('configs/').removesuffix('.yaml'), list_recipes())
    return f' Did you mean {" or ".join(map(repr, close))}?' if close else ''
