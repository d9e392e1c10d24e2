"""The tables that come with zoo, put together with each other and with a user's own."""
from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import zoo

from ..spec import unknown
from .files import Row, kind, read
from .query import columns, join

FACTS = ('param_count', 'gmacs', 'macts')
SPEEDS = {'speed-gpu': 'gpu_img_per_sec', 'speed-cpu': 'cpu_img_per_sec'}


def results_folder() -> Path:
    """The folder of tables: inside the package where it is installed, beside it in a checkout."""
    package = Path(zoo.__file__).parent
    installed = package / 'results'
    return installed if installed.is_dir() else package.parent / 'results'


def accuracy_tables() -> dict[str, Path]:
    """Test set -> its table of published accuracies, ImageNet first."""
    tables = (results_folder() / 'published').glob('imagenet*.csv')
    return {table.stem: table for table in sorted(tables, key=lambda table: table.stem)}


def known_tables() -> dict[str, Path]:
    """Name -> every table that comes with zoo; measured ones are called 'measured/<name>'."""
    folder = results_folder()
    speeds = {name: folder / 'published' / f'{name}.csv' for name in SPEEDS}
    measured = {f'measured/{table.stem}': table for table in sorted((folder / 'measured').glob('*.csv'))}
    return accuracy_tables() | speeds | measured


def find(table: str | Path) -> Path:
    """The file that a table's name or path means.

    Raises:
        ValueError: neither a table of zoo nor a file; the message names the nearest.
    """
    known = known_tables()
    if str(table) in known:
        return known[str(table)]
    if not Path(table).is_file():
        raise ValueError(unknown('Table', str(table), [*known, 'or a CSV file']))
    return Path(table)


def load(tables: Sequence[str | Path]) -> list[Row]:
    """The rows of the first table, with what is known of their models, and the other tables beside them.

    Each line has its `model` with its tag ('name.tag'), parameters (`param_count`, millions), multiply-adds (`gmacs`,
    billions) and activations (`macts`, millions) at its image size; in a published table the published speeds
    `gpu_img_per_sec` and `cpu_img_per_sec` of results/README.md. Columns of tables after the first are called
    '<table>.<column>', so that no column mixes two tables; their lines that match none of the first's follow after.

    Raises:
        ValueError: an unknown table; two tables with the same name.
    """
    paths = [find(table) for table in tables]
    names = [str(table) if path == known_tables().get(str(table)) else path.stem for table, path in zip(tables, paths)]
    twice = {name for name in names if names.count(name) > 1}
    if twice:
        raise ValueError(f'Two tables are called {twice.pop()!r}; their columns could not be told apart.')
    rows = _named(read(paths[0]))
    for name, path in zip(names[1:], paths[1:]):
        others = _named(read(path))
        rows = join(rows, others, {c: f'{name}.{c}' for c in columns(others) if c not in FACTS}, outer=True)
    facts = {(row['model'], row['img_size']): {fact: row[fact] for fact in FACTS}
             for row in read(results_folder() / 'architectures.csv')}
    rows = [row | {**facts.get((row['model'].partition('.')[0], row.get('img_size')), {}), **row} for row in rows]
    if any(kind(row) == 'published' for row in rows) and names[0] not in SPEEDS:
        for table, column in SPEEDS.items():
            speeds = read(results_folder() / 'published' / f'{table}.csv')
            rows = join(rows, speeds, {'img_per_sec': column})
    return rows


def _named(rows: list[Row]) -> list[Row]:
    """The rows with the tag in the model's name, and one number for the size of a square."""
    named = []
    for row in rows:
        tag = row.pop('tag', None)
        if tag and '.' not in row['model']:
            row['model'] = f'{row["model"]}.{tag}'
        height, _, width = str(row.get('img_size', '')).partition('x')
        if height == width and height:
            row['img_size'] = int(height)
        named.append(row)
    return named
