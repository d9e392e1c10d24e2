"""Layouts as a table of rules: their name, our name, and both directions of the conversion from it."""
from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from .layout import Described, Layout, State


@dataclass(frozen=True)
class Reshape:
    """A change of a tensor's shape, from theirs to ours and back."""

    into: Callable[[Tensor], Tensor]
    back: Callable[[Tensor], Tensor]


def _turned(kernels: Tensor) -> Tensor:
    """Convolutions of three colours, with these in the opposite order."""
    return kernels.flip(1) if kernels.shape[1] == 3 else kernels


AS_IT_IS = Reshape(lambda value: value, lambda value: value)
IN_BATCH = Reshape(lambda value: value[None], lambda value: value[0])                    # (…) there, (1, …) here
TOKEN = Reshape(lambda value: value[None, None], lambda value: value[0, 0])              # (C) there, (1, 1, C) here
FLAT = Reshape(lambda value: value.flatten(), lambda value: value[None, None, None])     # (1, 1, 1, C) there, (C) here
POINTWISE = Reshape(lambda value: value[:, :, None, None] if value.ndim == 2 else value,         # a linear layer there,
                    lambda value: value.flatten(1) if value.ndim == 4 else value)                # a convolution here
BLUE_FIRST = Reshape(_turned, _turned)                  # the first kernels, of images BGR there, RGB here
TRANSPOSED = Reshape(lambda value: value.t().contiguous(), lambda value: value.t().contiguous())


@dataclass(frozen=True)
class Rule:
    """One line of a layout's table.

    Attributes:
        theirs, ours: names of modules, whose parameters keep their names, or of single tensors; {i} and {j} are
            numbers. Where there are several of theirs, ours is these one under the other, such as queries, keys and
            values; where there are several of ours, theirs is divided among them.
        shares: how large each of several of ours is, as multiples of the smallest.
        shape: how the tensors' shapes differ.
    """

    theirs: str | tuple[str, ...]
    ours: str | tuple[str, ...]
    shape: Reshape = AS_IT_IS
    shares: tuple[int, ...] = ()

    def inside(self, theirs: str, ours: str) -> Rule:
        """The rule for the same modules inside others, whose names come before theirs."""
        return replace(self, theirs=_after(theirs, self.theirs), ours=_after(ours, self.ours))

    def convert(self, tensors: list[Tensor], to_ours: bool) -> list[Tensor]:
        """All tensors of one side, in order -> all of the other."""
        theirs, ours = _several(self.theirs), _several(self.ours)
        joined = tensors[0] if len(tensors) == 1 else torch.cat(tensors)
        joined = self.shape.into(joined) if to_ours else self.shape.back(joined)
        shares = (self.shares or (1,) * len(ours)) if to_ours else (1,) * len(theirs)
        if len(shares) == 1:
            return [joined]
        unit = joined.shape[0] // sum(shares)
        return [part.contiguous() for part in joined.split([unit * share for share in shares])]


class TemplateLayout(Layout):
    """A layout that is a table of rules.

    Attributes:
        marks: keys that a checkpoint in this layout has, the prefix left out; 'a|b' is either.
        absent: keys that it does not have.
        rules: the table; of those that fit a name, the first counts, so that older names may stand below.
        dropped: pattern of the names of tensors that ours have no need of.
        starts: what all names of this network may start with, as part of a larger model, of whose checkpoint nothing
            else is taken; '' for the network alone. The first is written.
        prefix: start of their names in a network with a classifier, but for the classifiers'.
        classifiers: start of the classifiers' names.
    """

    marks: tuple[str, ...]
    absent: tuple[str, ...] = ()
    rules: tuple[Rule, ...]
    dropped: str = r'(?!)'
    starts: tuple[str, ...] = ('',)
    prefix: str = ''
    classifiers: tuple[str, ...] = ('classifier',)

    def recognises(self, keys: Collection[str]) -> bool:
        """Whether all `marks` are among these names, and none of `absent`."""
        keys = {self._plain(key) for key in self._inside(keys)}
        marked = all(any(key in keys for key in mark.split('|')) for mark in self.marks)
        return marked and not any(mark in keys for mark in self.absent)

    def to_ours(self, state: State, model: nn.Module | None = None) -> dict[str, Tensor]:
        """See `Layout.to_ours`."""
        plain = {self._plain(key): state[key] for key in self._inside(state)}
        plain = {key: value for key, value in plain.items() if not re.search(self.dropped, key)}
        return self.complete(self._convert(plain, to_ours=True))

    def to_theirs(self, state: State) -> dict[str, Tensor]:
        """See `Layout.to_theirs`."""
        state = self.reduce(dict(state))
        strange = [key for key in state if next(self._matches(key, to_ours=False), None) is None]
        theirs = {} if strange else self._convert(state, to_ours=False)
        theirs = {self.starts[0] + key: value for key, value in theirs.items()}
        if strange or not self.recognises(theirs):
            strange = strange or list(state)
            raise ValueError(f'The layout {self.name!r} has no place for {len(strange)} tensors: '
                             f'{", ".join(strange[:4])}{", …" if len(strange) > 4 else ""}.')
        if self.prefix and any(key.startswith(self.classifiers) for key in theirs):
            theirs = {key if key.startswith(self.classifiers) else self.prefix + key: value
                      for key, value in theirs.items()}
        return theirs

    def complete(self, ours: dict[str, Tensor]) -> dict[str, Tensor]:
        """Adds to a converted state dict of ours what no rule says."""
        return ours

    def reduce(self, ours: dict[str, Tensor]) -> dict[str, Tensor]:
        """Undoes `complete`.

        Raises:
            ValueError: the layout has no place for what was added.
        """
        return ours

    def describe(self, state: State) -> Described:
        """See `Layout.describe`."""
        return self.identify(self.to_ours(state))

    def _inside(self, keys: Collection[str]) -> list[str]:
        """Those of the names that are of this network."""
        inside = [key for key in keys if key.startswith(tuple(start for start in self.starts if start))]
        return inside or (list(keys) if '' in self.starts else [])

    def _plain(self, key: str) -> str:
        """A name as it is in the network alone."""
        start = next((start for start in self.starts if start and key.startswith(start)), '')
        return key.removeprefix(start).removeprefix(self.prefix)

    def _convert(self, state: Mapping[str, Tensor], to_ours: bool) -> dict[str, Tensor]:
        """Applies the rules. Several tensors that make others wait until all are there; what is left keeps its name."""
        converted: dict[str, Tensor] = {}
        waiting: dict[tuple[Any, ...], dict[int, Tensor]] = {}
        for key, value in state.items():
            found = next(self._matches(key, to_ours), None)
            if found is None:
                converted[key] = value
                continue
            rule, place, numbers, rest = found
            parts = waiting.setdefault((rule, *numbers.items(), rest), {})
            parts[place] = value
            sides = (rule.theirs, rule.ours) if to_ours else (rule.ours, rule.theirs)
            source, target = map(_several, sides)
            if len(parts) == len(source):
                values = rule.convert([parts[number] for number in range(len(source))], to_ours)
                converted |= {name.format_map(numbers) + rest: part for name, part in zip(target, values)}
        return converted

    def _matches(self, key: str, to_ours: bool) -> Iterator[tuple[Rule, int, dict[str, str], str]]:
        """The rules for a key: which of their names it is, the numbers in it, and the parameter's name after it."""
        for rule in self.rules:
            for place, template in enumerate(_several(rule.theirs if to_ours else rule.ours)):
                if match := _pattern(template).fullmatch(key):
                    numbers = {name: found for name, found in match.groupdict().items() if name != 'rest'}
                    yield rule, place, numbers, match['rest'] or ''


_PATTERNS: dict[str, re.Pattern[str]] = {}


def _pattern(template: str) -> re.Pattern[str]:
    if template not in _PATTERNS:
        text = re.sub(r'\\\{(\w)\\\}', r'(?P<\1>\\d+)', re.escape(template))
        _PATTERNS[template] = re.compile(text + r'(?P<rest>\.[a-z_]+)?')
    return _PATTERNS[template]


def _after(start: str, names: str | tuple[str, ...]) -> str | tuple[str, ...]:
    return start + names if isinstance(names, str) else tuple(start + name for name in names)


def _several(names: str | tuple[str, ...]) -> tuple[str, ...]:
    return (names,) if isinstance(names, str) else names
