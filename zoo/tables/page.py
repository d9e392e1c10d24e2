"""Rows as one HTML page that needs nothing else: no network, no library."""
from __future__ import annotations

import html
import json
import re
from collections.abc import Sequence
from pathlib import Path

from .files import Row
from .query import lower_is_better

TEMPLATE = Path(__file__).parent / 'page.html'


def page(rows: Sequence[Row], names: Sequence[str], title: str, x: str = 'param_count', y: str = 'top1') -> str:
    """A page to explore the columns `names` of the rows, 'model' among them: a table to search, filter and sort,
    and a picture of column `y` against `x` (others can be chosen) whose dots say what they are under the pointer, with
    the Pareto front named."""
    numeric = [c for c in names if all(isinstance(row.get(c, 0), (int, float)) for row in rows)]
    data = {'columns': [{'name': c, 'numeric': c in numeric, 'cost': lower_is_better(c)} for c in names],
            'rows': [[row.get(c) for c in names] for row in rows], 'x': x, 'y': y}
    parts = {'TITLE': html.escape(title), 'DATA': json.dumps(data, separators=(',', ':')).replace('<', '\\u003c')}
    return re.sub('@(TITLE|DATA)@', lambda match: parts[match[1]], TEMPLATE.read_text(encoding='utf-8'))
