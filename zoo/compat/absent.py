"""What zoo does not have, by the names it has in timm, for programs that import it without using it."""
from __future__ import annotations

import functools
from typing import Any, NoReturn


class Absent:
    """The base of the classes that stand for what zoo does not have: making one, or calling it, is an error."""

    path = where = ''

    def __new__(cls, *args: Any, **options: Any) -> NoReturn:
        raise NotImplementedError(f'zoo has no {cls.path} yet, which stands in timm.{cls.where}; zoo.list_models() and '
                                  f'zoo.list_modules() list what it has. For {cls.path}, run the program with timm itself.')


@functools.cache
def placeholder(where: str, name: str) -> type[Absent]:
    """A class that stands for `timm.<where>.<name>`; it can be subclassed, but no object made of it."""
    return type(name, (Absent,), {'path': name, 'where': where, '__module__': __name__})
