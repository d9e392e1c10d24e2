"""The table of timm's public names, reference/timm_names.csv: how signatures are written there, and what zoo answers."""
from __future__ import annotations

import csv
import inspect
from typing import Any

from conftest import REFERENCE

KINDS = {inspect.Parameter.VAR_POSITIONAL: '*', inspect.Parameter.VAR_KEYWORD: '**'}


def describe(value: Any) -> str:
    """The parameters of something that can be called: 'x y= *args z **options', '*' before those that can only be named;
    '' where it cannot be called, or does not say how."""
    if not callable(value):
        return ''
    try:
        parameters = inspect.signature(value).parameters.values()
    except (TypeError, ValueError):
        return ''
    words: list[str] = []
    for p in parameters:
        if p.kind is p.KEYWORD_ONLY and '*' not in ''.join(words):
            words.append('*')
        default = '=' if p.default is not p.empty else ''
        words.append(f'{KINDS.get(p.kind, "")}{p.name}{default}')
    return ' '.join(words)


def lacking(theirs: str, ours: str) -> list[str]:
    """What a call that timm takes may pass and zoo does not take: parameters that zoo has not, those that have another
    place ('name@'), and those that zoo needs and timm does not ('name!')."""
    if not theirs or not ours:
        return []
    there, here = _read(theirs), _read(ours)
    rest, many = any(word.startswith('**') for word in ours.split()), '*' in ''.join(w[:1] for w in ours.split())
    missing = [name for name in there if name not in here and not rest]
    moved = [f'{name}@' for name, (place, _) in there.items() if name in here and place is not None
             and here[name][0] != place and not many]
    needed = [f'{name}!' for name, (_, optional) in here.items() if not optional and (name not in there or there[name][1])]
    return missing + moved + needed


def _read(words: str) -> dict[str, tuple[int | None, bool]]:
    """Parameter -> its place, None for one that can only be named, and whether it may be left out."""
    found: dict[str, tuple[int | None, bool]] = {}
    named = False
    for word in words.split():
        named |= word.startswith('*')
        if not word.startswith('*'):
            found[word.rstrip('=')] = (None if named else len(found), word.endswith('='))
    return found


def answer(path: str, name: str, parameters: str) -> tuple[str, str]:
    """What zoo, as timm, answers to a name, and what a call of timm's may not pass.

    'ours': calls of timm's bind, but for optional parameters that are named; 'made otherwise': zoo has the class or
    function, with a signature of its own; 'not here yet'.
    """
    from zoo.compat.absent import Absent
    from zoo.compat.modules import NOTHING, find, is_module
    value = find(path, name) if is_module(path) else NOTHING
    if value is NOTHING or isinstance(value, type) and issubclass(value, Absent):
        return 'not here yet', ''
    without = lacking(parameters, describe(value))
    return 'made otherwise' if any(word[-1] in '@!' for word in without) else 'ours', ' '.join(without)


def rows() -> list[dict[str, str]]:
    """The table."""
    with open(REFERENCE / 'timm_names.csv', newline='') as file:
        return list(csv.DictReader(file))
