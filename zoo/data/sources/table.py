"""Tables of paths and labels: CSV, TSV and Parquet files."""
from __future__ import annotations

import csv
import io
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ...spec import read_text, unknown
from ..files import NoSplit, choose_split, shorten
from .base import FileSource, Labels, Target
from .classes import ClassMap, is_number

IMAGE_COLUMNS = ('image', 'file', 'path', 'filename', 'file_name', 'filepath', 'image_path')
TARGET_COLUMNS = ('label', 'labels', 'target', 'class')
TASKS = ('single', 'multi', 'regression')
DELIMITERS = {'.csv': ',', '.tsv': '\t'}


def open_table(place: str, split: str | None, classes: ClassMap, description: str, *, image: str | None = None,
               target: str | Sequence[str] | None = None, task: str = 'single', root: str | None = None,
               separator: str = ';') -> FileSource:
    """Images by a table with a row for each; a first row with the names of the columns.

    Args:
        place: a .csv, .tsv or .parquet file.
        split: the rows that have this in the column 'split'.
        classes: which name is which class; whole numbers are indices.
        image: the column of paths; needed where not just one of `IMAGE_COLUMNS` is there.
        target: the column of labels, or several, as a list or with commas; needed where not just one of
            `TARGET_COLUMNS` is there.
        task: 'single': a class. 'multi': classes with `separator` between them or none at all, in Parquet a list; or
            one column a class, of 0 and 1. 'regression': a number, or one a column.
        root: the folder the paths are relative to, if not the table's.
        separator: what stands between the classes of an image.

    Raises:
        FileNotFoundError: there is no such table, or not all of its images.
        ValueError: a column, a split, a class or a value is not what it should be; the message says where.
        ImportError: Parquet without pyarrow.
    """
    path = Path(place)
    columns = read_columns(path)
    count = len(next(iter(columns.values()), []))
    if task not in TASKS:
        raise ValueError(unknown('task', task, TASKS))
    chosen = target.split(',') if isinstance(target, str) else list(target or [])
    image_column = _column(image, IMAGE_COLUMNS, columns, path, 'image')
    chosen = [_column(name, (), columns, path, 'target') for name in chosen] or \
        [_column(None, TARGET_COLUMNS, columns, path, 'target')]
    rows = rows_of_split(columns, split, count, path)
    if not rows:
        raise ValueError(f'{path}: the table has no rows.')
    names = [str(columns[image_column][row] or '') for row in rows]
    folder = Path(root) if root else path.parent
    _check_files(folder, names, rows, path)
    values = [[columns[column][row] for column in chosen] for row in rows]
    where = [f'{path}, row {row + 1}' for row in rows]
    if task == 'regression':
        return FileSource(folder, names, [_numbers(v, w) for v, w in zip(values, where)], Labels(task), description)
    if task == 'multi' and len(chosen) > 1:
        targets, labels = _flags(values, where, chosen, classes, path)
    elif task == 'multi':
        cells = [_split_cell(cell, separator) for [cell] in values]
        classes.number_labels(dict.fromkeys(label for cell in cells for label in cell), str(path))
        targets, labels = several(cells, classes, str(path))
    else:
        if len(chosen) > 1:
            raise ValueError(f"{path}: {len(chosen)} target columns ({shorten(chosen)}) are for task='multi' or "
                             "'regression'; task='single' has one.")
        single = [cell for [cell] in values]
        classes.number_labels(dict.fromkeys(cell for cell in single if cell not in (None, '')), str(path))
        targets, labels = one_each(single, where, classes, str(path))
    return FileSource(folder, names, targets, labels, description)


def one_each(cells: Sequence[Any], where: Sequence[str], classes: ClassMap, place: str) -> tuple[list[Target], Labels]:
    """The index of each label.

    Raises:
        ValueError: a label is missing, a fraction, several, or no class.
    """
    for cell, at in zip(cells, where):
        if cell is None or cell == '' or isinstance(cell, (list, tuple, float)) or _is_fraction(cell):
            raise ValueError(f"{at}: {cell!r} is no class. One class for each image is task='single'; several are "
                             "task='multi', a number to estimate task='regression'.")
    indices = classes.label_indices(dict.fromkeys(cells), place)
    return [indices[cell] for cell in cells], Labels('single', classes.count, classes.names)


def several(cells: Sequence[Sequence[Any]], classes: ClassMap, place: str) -> tuple[list[Target], Labels]:
    """For each list of labels, a list of 0.0 and 1.0, one for each class.

    Raises:
        ValueError: a label is no class, or nothing says how many classes there are.
    """
    indices = classes.label_indices(dict.fromkeys(label for cell in cells for label in cell), place)
    count = classes.known_count(place)
    targets: list[Target] = []
    for cell in cells:
        flags = [0.0] * count
        for label in cell:
            flags[indices[label]] = 1.0
        targets.append(flags)
    return targets, Labels('multi', count, classes.names)


def numbers(value: Any, where: str) -> Target:
    """A number as a float, several as a tuple of them.

    Raises:
        ValueError: one is no finite number.
    """
    return _numbers(list(value) if isinstance(value, (list, tuple)) else [value], where)


def read_columns(path: Path) -> dict[str, list[Any]]:
    """The columns of a .csv, .tsv or .parquet file: name -> values, in the order of the rows.

    Raises:
        FileNotFoundError: there is no such table. ImportError: Parquet without pyarrow.
        ValueError: no names of columns in the first row, or a row with more or fewer fields.
    """
    if not path.is_file():
        raise FileNotFoundError(f'{path}: there is no such table.')
    if path.suffix.lower() == '.parquet':
        try:
            import pyarrow.parquet
        except ImportError as error:
            raise ImportError(f"{path}: Parquet needs pyarrow: pip install 'zoo-image-models[data]'.") from error
        return pyarrow.parquet.read_table(path).to_pydict()
    if path.suffix.lower() not in DELIMITERS:
        raise ValueError(f'{path}: a table ends in {", ".join(DELIMITERS)} or .parquet.')
    text = io.StringIO(read_text(path), newline='')
    rows = [row for row in csv.reader(text, delimiter=DELIMITERS[path.suffix.lower()]) if row]
    if not rows or len(set(rows[0])) < len(rows[0]):
        raise ValueError(f'{path}: the first row has the names of the columns, each once; got '
                         f'{shorten(rows[0]) if rows else "an empty file"}.')
    for number, row in enumerate(rows):
        if len(row) != len(rows[0]):
            raise ValueError(f'{path}, row {number}: {len(row)} fields, but there are {len(rows[0])} columns.')
    return {name: [row[c].strip() for row in rows[1:]] for c, name in enumerate(rows[0])}


def _column(name: str | None, usual: Sequence[str], columns: Mapping[str, Any], path: Path, what: str) -> str:
    if name is None:
        there = [column for column in columns if column.lower() in usual]
        if len(there) == 1:
            return there[0]
        raise ValueError(f'{path}: {what}= must name the column; {len(there) or "none"} of the usual ones '
                         f'({", ".join(usual)}) is there. Columns: {", ".join(columns)}.')
    if name not in columns:
        raise ValueError(f'{path}: {unknown("column", name, columns)}')
    return name


def rows_of_split(columns: Mapping[str, list[Any]], split: str | None, count: int, path: Path) -> list[int]:
    """The numbers of a split's rows: those with its name in the column 'split'.

    Raises:
        NoSplit: there is no such split or no such column; or several splits, and none was chosen.
    """
    if 'split' not in columns:
        if split is not None:
            raise NoSplit(f"{path}: there is no column 'split' to find {split!r} in. Columns: {', '.join(columns)}.")
        return list(range(count))
    wanted = choose_split(split, dict.fromkeys(columns['split']), path) if count else None
    return [row for row, value in enumerate(columns['split']) if value == wanted]


def _check_files(folder: Path, names: Sequence[str], rows: Sequence[int], path: Path) -> None:
    seen: dict[str, int] = {}
    for name, row in zip(names, rows):
        if seen.setdefault(name, row) != row:
            raise ValueError(f'{path}: {name!r} is in row {seen[name] + 1} and again in row {row + 1}. One row an '
                             "image; several classes are task='multi'.")
    missing = [name for name in names if not (folder / name).is_file()]
    if missing:
        raise FileNotFoundError(f'{path}: {len(missing)} of {len(names)} images are not under {folder}: '
                                f'{shorten(missing, 3)}. root= is the folder that paths are relative to.')


def _numbers(cells: Sequence[Any], where: str) -> Target:
    try:
        values = tuple(float(cell) for cell in cells)
    except (TypeError, ValueError):
        raise ValueError(f'{where}: {shorten(map(repr, cells))} is no number, as a regression needs.') from None
    if not values or not all(map(math.isfinite, values)):
        raise ValueError(f'{where}: {shorten(map(repr, cells))} is no finite number.')
    return values[0] if len(values) == 1 else values


def _flags(values: Sequence[Sequence[Any]], where: Sequence[str], names: list[str], classes: ClassMap, path: Path,
           ) -> tuple[list[Target], Labels]:
    """A column of 0 and 1 for each class; without a class map, the classes are the columns in their order."""
    own = classes.own_indices(names, len(names), str(path)) or list(range(len(names)))
    width = classes.count or len(names)
    targets: list[Target] = []
    for cells, at in zip(values, where):
        flags = [0.0] * width
        for cell, index, name in zip(cells, own, names):
            if str(cell) not in ('0', '1', '0.0', '1.0', 'True', 'False'):
                raise ValueError(f'{at}: {name} is {cell!r}; several target columns hold 0 or 1 each.')
            flags[index] = float(str(cell) in ('1', '1.0', 'True'))
        targets.append(flags)
    return targets, Labels('multi', width, classes.names or (names if width == len(names) else None))


def _split_cell(cell: Any, separator: str) -> list[Any]:
    if isinstance(cell, (list, tuple)):
        return list(cell)
    if not isinstance(cell, str):
        return [] if cell is None else [cell]
    return [part.strip() for part in cell.split(separator) if part.strip()]


def _is_fraction(cell: Any) -> bool:
    if is_number(cell):
        return False
    try:
        float(cell)
    except (TypeError, ValueError):
        return False
    return str(cell).lower() not in ('nan', 'inf', 'infinity')
