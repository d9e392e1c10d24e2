"""The strings that name an augmentation: 'rand-m9-mstd0.5', 'augmix-m3-w3', 'original-mstd0.5'.

A name, then fields between hyphens: a key with its value behind it.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from ...spec import unknown

Reader = tuple[str, Callable[[str], Any]]             # what the value has to be, and how it is read


def integer(low: int) -> Reader:
    """A whole number from `low` up."""
    return f'a whole number from {low} up', lambda text: _checked(int(_matched(r'\d+', text)), low, float('inf'))


def number(high: float = float('inf')) -> Reader:
    """A number from 0 to `high`."""
    limits = 'from 0 up' if high == float('inf') else f'from 0 to {high:g}'
    return f'a number {limits}', lambda text: _checked(float(_matched(r'\d+\.?\d*|\.\d+', text)), 0, high)


def positive() -> Reader:
    """A number above 0."""
    return 'a number above 0', lambda text: _checked(number()[1](text), 1e-9, float('inf'))


def switch() -> Reader:
    """0 or 1."""
    return '0 or 1', lambda text: _matched('[01]', text) == '1'


def word(known: Mapping[str, Any]) -> Reader:
    """One of the `known` words."""
    return f'one of {", ".join(known)}', lambda text: _matched('|'.join(map(re.escape, known)), text)


def _matched(pattern: str, text: str) -> str:
    if not re.fullmatch(pattern, text):
        raise ValueError
    return text


def _checked(value: Any, low: float, high: float) -> Any:
    if not low <= value <= high:
        raise ValueError
    return value


def read_fields(text: str, keys: Mapping[str, Reader]) -> dict[str, Any]:
    """The values of the fields of `text`, all but its name, by key.

    Raises:
        ValueError: an unknown key, one that is there twice, or a value that is not what the key takes.
    """
    found: dict[str, Any] = {}
    for field in text.split('-')[1:]:
        key = _key(field, keys)
        if key is None:
            raise ValueError(f'{text!r}: ' + unknown('the key of', field, keys))
        if key in found:
            raise ValueError(f'{text!r}: {key} is there twice.')
        what, read = keys[key]
        try:
            found[key] = read(field.removeprefix(key))
        except ValueError:
            raise ValueError(f'{text!r}: {key} is {what}; got {field!r}.') from None
    return found


def _key(field: str, keys: Mapping[str, Reader]) -> str | None:
    """The key a field begins with: all its letters, or of a field of letters the longest that fits."""
    letters = re.split('[^a-z]', field, maxsplit=1)[0]
    if letters in keys or letters != field:
        return letters if letters in keys else None
    return max((key for key in keys if field.startswith(key)), key=len, default=None)
