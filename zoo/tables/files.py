"""CSV tables on disk: read with types, extended in one step."""
from __future__ import annotations

import contextlib
import csv
import io
import os
import re
import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..spec import read_text

Row = dict[str, Any]
NUMBER = re.compile(r'[-+]?(\d+\.?\d*|\.\d+)([eE][-+]?\d+)?')
# never numbers, whatever they look like: a version 2.10, a digest of digits
TEXT = frozenset('model tag checkpoint library interpolation crop_mode decoder precision options command zoo torch data '
                 'data_digest device machine date source noise'.split())


def read(path: str | Path) -> list[Row]:
    """The rows of a table, numbers as int or float, empty cells left out.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no table with a column 'model', or a line has too many cells.
    """
    columns, rows = _read_text(Path(path))
    if 'model' not in columns:
        raise ValueError(f"{path} is no table of results: its first line has no column 'model' but "
                         f'{", ".join(columns) or "nothing"}.')
    return [{c: _typed(c, cell) for c, cell in row.items() if cell != ''} for row in rows]


def append(path: str | Path, rows: Iterable[Mapping[str, Any]]) -> None:
    """Adds rows to a table, or begins one, in one step: whoever reads meanwhile sees all of the rows or none, and
    processes that append at the same time wait for each other.

    A column that the table lacks is added at its right; None is an empty cell. Lines that were there keep their cells
    as they are written.

    Raises:
        ValueError: published rows (with a `source`) and measured ones (with a `command`) in one table.
    """
    path, rows = Path(path), [dict(row) for row in rows]
    path.parent.mkdir(parents=True, exist_ok=True)
    with _locked(path.parent):
        columns, kept = _read_text(path) if path.exists() else ([], [])
        kinds = {kind(row) for row in [*kept, *rows]} - {''}
        if len(kinds) > 1:
            raise ValueError(f'{path}: published rows, which have a source, and measured rows, which have a command, '
                             'do not go into one table.')
        columns += [c for c in dict.fromkeys(c for row in rows for c in row) if c not in columns]
        _write(path, columns, [*kept, *rows])


def kind(row: Mapping[str, Any]) -> str:
    """'published' for a row with a `source`, 'measured' for one with a `command`, '' for neither.

    Raises:
        ValueError: the row has both.
    """
    if row.get('source') and row.get('command'):
        raise ValueError(f'The row of {row.get("model")} has both a source and a command: a figure is either '
                         'published by others or measured here.')
    return 'published' if row.get('source') else 'measured' if row.get('command') else ''


def _typed(column: str, cell: str) -> int | float | str:
    if column in TEXT or not NUMBER.fullmatch(cell):
        return cell
    return int(cell) if cell.lstrip('+-').isdigit() else float(cell)


def _read_text(path: Path) -> tuple[list[str], list[dict[str, str]]]:
    if not path.is_file():
        raise FileNotFoundError(f'There is no table {str(path)!r}.')
    reader = csv.DictReader(io.StringIO(read_text(path), newline=''), restval='')
    columns, rows = list(reader.fieldnames or ()), list(reader)
    for number, row in enumerate(rows, 2):
        if None in row:
            raise ValueError(f'{path}: row {number} has more cells than the {len(columns)} columns.')
    return columns, rows


def _write(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, Any]]) -> None:
    handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f'.{path.name}.')
    try:
        with open(handle, 'w', newline='', encoding='utf-8') as file:
            writer = csv.DictWriter(file, columns, restval='', lineterminator='\n')
            writer.writeheader()
            writer.writerows(rows)
            file.flush()
            os.fsync(file.fileno())
        os.chmod(temporary, path.stat().st_mode & 0o777 if path.exists() else 0o644)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise


@contextlib.contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Holds the folder against other processes that append in it, where the system has such locks."""
    try:
        import fcntl
    except ImportError:                             # Windows
        yield
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
