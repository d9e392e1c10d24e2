"""What annotations of boxes say, before it is checked, and how tables say it: a row a box."""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ..data.sources.table import IMAGE_COLUMNS, read_columns, rows_of_split

# names of a table's columns, in the order of a box; and of that of its class
SIDE_COLUMNS = (('xmin', 'ymin', 'xmax', 'ymax'), ('x_min', 'y_min', 'x_max', 'y_max'), ('x1', 'y1', 'x2', 'y2'),
                ('x0', 'y0', 'x1', 'y1'), ('left', 'top', 'right', 'bottom'))
CLASS_COLUMNS = ('class', 'label', 'name', 'category', 'class_name')


@dataclass
class Annotation:
    """What one image's annotation says, not yet checked: one entry per box in each of the lists."""

    file: Path
    image_id: int
    size: tuple[int, int] | None                                # (height, width), if it says so
    names: list[str] = field(default_factory=list)
    boxes: list[list[float]] = field(default_factory=list)
    areas: list[float | None] = field(default_factory=list)     # None: that of the box
    crowds: list[bool] = field(default_factory=list)


def table_annotations(table: Path, split: str | None, folder: Path) -> list[Annotation]:
    """The annotations of a split of a table, see `zoo.dense.boxes.table_boxes`; its paths are relative to `folder`.

    Raises:
        FileNotFoundError: there is no such table, or an image is missing.
        ValueError: the usual columns are not there, or not once; a side is no number; a box has no class.
    """
    columns = {name.lower(): values for name, values in read_columns(table).items()}
    (image,) = _columns(columns, [(name,) for name in IMAGE_COLUMNS], table, 'images')
    sides = _columns(columns, SIDE_COLUMNS, table, 'the sides of a box')
    (kind,) = _columns(columns, [(name,) for name in CLASS_COLUMNS], table, 'classes')
    rows: dict[str, Annotation] = {}
    for number in rows_of_split(columns, split, len(image), table):
        row = rows.setdefault(image[number], Annotation(folder / image[number], len(rows), None))
        cells = [side[number] for side in sides]
        if not any((kind[number], *cells)):
            continue
        try:
            row.boxes.append([float(cell) for cell in cells])
        except ValueError as error:
            raise ValueError(f'{table}, row {number + 1}: a side of the box is no number ({error}).') from error
        if not kind[number]:
            raise ValueError(f'{table}, row {number + 1}: the box has no class.')
        row.names.append(kind[number])
        row.areas.append(None)
        row.crowds.append(False)
    for row in rows.values():
        must_exist(row.file, f'an image that {table} names; images= is the folder that paths are relative to')
    return list(rows.values())


def table_classes(table: Path) -> list[str]:
    """The classes that occur in a table of boxes, sorted."""
    columns = {name.lower(): values for name, values in read_columns(table).items()}
    return sorted({*_columns(columns, [(name,) for name in CLASS_COLUMNS], table, 'classes')[0]} - {''})


def _columns(columns: dict[str, list[str]], usual: Sequence[Sequence[str]], table: Path, what: str) -> list[list[str]]:
    """The columns of the one set of usual names that is there."""
    there = [names for names in usual if all(name in columns for name in names)]
    if len(there) != 1:
        raise ValueError(f'{table}: {len(there) or "none"} of the usual columns for {what} is there: '
                         f'{" or ".join(", ".join(names) for names in usual)}. Columns: {", ".join(columns)}.')
    return [columns[name] for name in there[0]]


def must_exist(file: Path, what: str) -> None:
    """Raises FileNotFoundError, which says what it is, if there is no such file."""
    if not file.is_file():
        raise FileNotFoundError(f'{file}: there is no such file; it is {what}.')
