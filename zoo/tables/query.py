"""Choosing among the rows of tables: conditions, order, joining, the Pareto front."""
from __future__ import annotations

import fnmatch
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from ..spec import unknown
from .files import Row

COMPARISONS: dict[str, Callable[[Any, Any], bool]] = {
    '<=': operator.le, '>=': operator.ge, '!=': operator.ne, '=': operator.eq, '<': operator.lt, '>': operator.gt,
    '~': lambda cell, pattern: fnmatch.fnmatchcase(str(cell), pattern),
}
KEY = ('model', 'img_size')
CONDITION = re.compile(r'\s*([\w./-]+?)\s*(<=|>=|!=|=|<|>|~)\s*(\S.*?)\s*')
COSTS = re.compile(r'(.*\.)?(param_count|gmacs|macts|img_size|batch_size|mae|rmse|ece|\w*_(ms|mib)(_p\d+)?)')


def columns(rows: Iterable[Row]) -> list[str]:
    """The columns that any of the rows has, in the order in which they turn up."""
    return list(dict.fromkeys(column for row in rows for column in row))


def choose(rows: Sequence[Row], conditions: Iterable[str]) -> list[Row]:
    """The rows that meet every condition, such as 'top1 > 75', 'img_size = 224' or 'model ~ tf_*'.

    Signs are < <= > >= = != and ~ for a wildcard. A row without a value in the column never meets the condition.

    Raises:
        ValueError: a condition that cannot be read, an unknown column, or a comparison of a number with a word.
    """
    for condition in conditions:
        match = CONDITION.fullmatch(condition)
        if not match:
            raise ValueError(f"The condition {condition!r} is not of the form 'COLUMN SIGN VALUE', as in 'top1 > 75'; "
                             f'signs: {" ".join(COMPARISONS)}.')
        column, sign, text = match.groups()
        check_column(rows, column)
        rows = [row for row in rows if column in row and _meets(row[column], sign, text, condition)]
    return list(rows)


def _meets(cell: Any, sign: str, text: str, condition: str) -> bool:
    if sign == '~' or isinstance(cell, str) and sign in ('=', '!='):
        return COMPARISONS[sign](cell, text)
    try:
        return COMPARISONS[sign](float(cell), float(text))
    except ValueError:
        raise ValueError(f'The condition {condition!r} compares {cell!r} with {text!r}; '
                         f'{sign} is for numbers.') from None


def check_column(rows: Sequence[Row], column: str, number: bool = False) -> None:
    """Raises a ValueError unless some row has the column, and with `number` a number in it."""
    known = [c for c in columns(rows) if not number or any(_is_number(row.get(c)) for row in rows)]
    if rows and column not in known:
        raise ValueError(unknown('Column of numbers' if number else 'Column', column, known))


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float))


def lower_is_better(column: str) -> bool:
    """Whether a column counts something that costs: parameters, operations, sizes, times, memory, errors."""
    return bool(COSTS.fullmatch(column))


def sort(rows: Sequence[Row], column: str, reverse: bool = False) -> list[Row]:
    """The best row first: the smallest of costs, the largest of other numbers, words by the alphabet; `reverse` turns
    the order around. Rows without the column come last either way.

    Raises:
        ValueError: no row has the column; the message names the nearest.
    """
    check_column(rows, column)
    numbers = [row for row in rows if _is_number(row.get(column))]
    words = [row for row in rows if isinstance(row.get(column), str)]
    rest = [row for row in rows if column not in row]
    largest_first = not lower_is_better(column)
    return [*sorted(numbers, key=lambda row: row[column], reverse=largest_first != reverse),
            *sorted(words, key=lambda row: row[column], reverse=reverse), *rest]


def pareto(rows: Sequence[Row], x: str, y: str) -> list[Row]:
    """The rows that no other beats: none is as good in both columns and better in one. From the best `x` on; of rows
    equal in both, the first stands for all. What is better is said by `lower_is_better`.

    Raises:
        ValueError: a column without numbers.
    """
    for column in (x, y):
        check_column(rows, column, number=True)
    signs = [1 if lower_is_better(column) else -1 for column in (x, y)]
    points = [row for row in rows if _is_number(row.get(x)) and _is_number(row.get(y))]
    front: list[Row] = []
    for row in sorted(points, key=lambda row: (signs[0] * row[x], signs[1] * row[y])):
        if not front or signs[1] * row[y] < signs[1] * front[-1][y]:
            front.append(row)
    return front


def join(rows: Sequence[Row], others: Sequence[Row], names: Mapping[str, str], outer: bool = False) -> list[Row]:
    """The rows with the columns of others beside them that are about the same model and image size.

    One of the others whose model has no tag is about every tag of its architecture. Where several match, each makes a
    line of its own; with `outer`, those that match nothing follow as lines of their own.

    Args:
        names: columns of the others that come along -> what they are called in the result.
    """
    by_key: dict[tuple[str, Any], list[int]] = {}
    for number, other in enumerate(others):
        by_key.setdefault((other['model'], other.get('img_size')), []).append(number)
    used: set[int] = set()
    joined = []
    for row in rows:
        size, model = row.get('img_size'), row['model']
        found = by_key.get((model, size)) or by_key.get((model.partition('.')[0], size)) or []
        used.update(found)
        joined += [row | _renamed(others[number], names) for number in found] or [row]
    if outer:
        for number, other in enumerate(others):
            if number not in used:
                joined.append({column: other[column] for column in KEY if column in other} | _renamed(other, names))
    return joined


def _renamed(row: Row, names: Mapping[str, str]) -> Row:
    return {names[column]: cell for column, cell in row.items() if column in names and column not in KEY}
