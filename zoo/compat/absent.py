"""What zoo does not have, by the names it has in timm, for programs that import it without using it."""
from __future__ import annotations

import functools
from types import ModuleType
from typing import Any, NoReturn

from .table import ABSENT


class Absent:
    """The base of the classes that stand for what zoo does not have: making one, or calling it, is an error."""

    path = ''

    def __new__(cls, *args: Any, **options: Any) -> NoReturn:
        networks = 'EfficientNet and its kin, MobileNetV1 to V4, HardCoRe-NAS, EfficientFormer V1 and V2'
        raise NotImplementedError(f'zoo has no {cls.path}, which stands in timm.{cls.where}: its networks are '
                                  f'{networks}. For {cls.path}, run the program with timm itself.')


@functools.cache
def placeholder(where: str, name: str) -> type[Absent]:
    """A class that stands for `timm.<where>.<name>`; it can be subclassed, but no object made of it."""
    return type(name, (Absent,), {'path': name, 'where': where, '__module__': __name__})


@functools.cache
def module(where: str) -> ModuleType:
    """A module that stands for `timm.<where>`, with placeholders for the names of the table."""
    found = ModuleType(f'{__name__}.{where}', f'timm.{where}, which zoo does not have.')
    for name in ABSENT[where].split():
        setattr(found, name, placeholder(where, name))
    return found


def __getattr__(name: str) -> type[Absent]:
    for where in ABSENT.keys() & {'layers', 'models'}:
        if name in ABSENT[where].split():
            return placeholder(where, name)
    raise AttributeError(name)
