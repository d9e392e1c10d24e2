"""Tables of results: reading and extending CSV files, choosing among rows, and showing them."""
from __future__ import annotations

from .files import Row, append, kind, read
from .provenance import provenance
from .query import choose, join, lower_is_better, pareto, sort
from .shelf import accuracy_tables, load, results_folder

__all__ = ['Row', 'accuracy_tables', 'append', 'choose', 'join', 'kind', 'load', 'lower_is_better', 'pareto',
           'provenance', 'read', 'results_folder', 'sort']
