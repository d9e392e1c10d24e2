"""`zoo results`: the tables people choose models by."""
from __future__ import annotations

import argparse
import csv
import fnmatch
import json
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from zoo import tables
from zoo.cli import say
from zoo.tables.check import check
from zoo.tables.files import TEXT, Row
from zoo.tables.page import page
from zoo.tables.query import check_column, columns
from zoo.tables.shelf import find

DETAILS = (TEXT - {'model'}) | {'crop_pct'}                      # columns shown only when asked for


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `zoo results` to its parser."""
    parser.add_argument('tables', nargs='*', default=['imagenet'], metavar='TABLE',
                        help='tables of zoo (imagenet, imagenet-real, imagenet-v2, imagenet-a, imagenet-r, '
                             'imagenet-sketch, speed-gpu, speed-cpu, measured/…) or CSV files; those after the first '
                             "stand beside it, their columns called 'TABLE.COLUMN' (default: imagenet)")
    rows = parser.add_argument_group('which rows')
    rows.add_argument('--model', action='append', metavar='PATTERN',
                      help='names or wildcards, with or without a tag; may be repeated')
    rows.add_argument('--max-params', type=float, metavar='M', help='at most so many millions of parameters')
    rows.add_argument('--max-gmacs', type=float, metavar='G', help='at most so many billions of multiply-adds')
    rows.add_argument('--where', action='append', default=[], metavar='CONDITION',
                      help="'COLUMN SIGN VALUE' with < <= > >= = != or ~ for a wildcard, as in 'top1 > 75'; "
                           'may be repeated')
    rows.add_argument('--pareto', action='store_true', help='only rows that none beats in both --x and --y')
    rows.add_argument('--sort', metavar='COLUMN', help='best first: the least of costs, the most of all else')
    rows.add_argument('--reverse', action='store_true', help='with --sort, worst first')
    rows.add_argument('--limit', type=_count, metavar='N', help='only the first so many')
    shown = parser.add_argument_group('how they are shown')
    shown.add_argument('--columns', metavar='A,B,…', help='which columns, in this order')
    shown.add_argument('--compare', nargs='+', metavar='MODEL',
                       help='these models side by side, with the difference between two')
    kind = shown.add_mutually_exclusive_group()
    kind.add_argument('--csv', action='store_true', help='print CSV')
    kind.add_argument('--json', action='store_true', help='print one JSON array')
    kind.add_argument('--check', action='store_true', help='measure the rows of measured tables again by their '
                      'commands, and say which differ, times by more than their spread; the status is 1 if any does')
    shown.add_argument('--plot', type=Path, metavar='FILE', help='draw --y against --x into a .png, .svg or .pdf file')
    shown.add_argument('--html', type=Path, metavar='FILE', help='write one page to explore them in a browser, offline')
    shown.add_argument('--x', metavar='COLUMN',
                       help='across (default: param_count; also gmacs, gpu_img_per_sec, …)')
    shown.add_argument('--y', metavar='COLUMN', help='up (default: top1)')
    shown.add_argument('--tolerance', type=float, default=0.0, metavar='T',
                       help='with --check, how far figures may differ (default: not at all)')


def run(args: argparse.Namespace) -> int:
    """Show, draw, write or check the rows chosen; the status is 1 if there is none."""
    _refuse_idle(args)
    args.x, args.y = args.x or 'param_count', args.y or 'top1'
    if args.check:
        rows = [row for table in args.tables for row in tables.read(find(table))]
    else:
        rows = tables.load(args.tables)
    total = len(rows)
    rows = _chosen(rows, args)
    if not rows:
        say(f'none of the {total} rows is left')
        return 1
    title = ', '.join(Path(table).stem if table.endswith('.csv') else table for table in args.tables)
    if args.check:
        return _check(rows, args.tolerance)
    if args.plot:
        from zoo.tables.picture import draw
        front = draw(rows, args.plot, args.x, args.y, title)
        print(f'{args.plot}: {len(rows)} rows; on the Pareto front {", ".join(row["model"] for row in front)}')
    if args.html:
        text = page(rows, _with_origin(rows, args.columns), f'Results: {title}', args.x, args.y)
        args.html.write_text(text, encoding='utf-8')
        print(f'{args.html}: {len(rows)} rows')
    if args.plot or args.html:
        return 0
    if args.compare and not (args.csv or args.json):
        print(_side_by_side(rows, _columns(rows, args.columns)))
    else:
        _print(rows, _columns(rows, args.columns), args, f'{title}: {len(rows)} of {total} rows')
    return 0


def _refuse_idle(args: argparse.Namespace) -> None:
    """Refuses options that nothing would read beside the others."""
    pictures = bool(args.plot or args.html)
    for option, given, read, needs in (
            ('--reverse', args.reverse, args.sort, '--sort COLUMN'),
            ('--tolerance', args.tolerance, args.check, '--check'),
            ('--x', args.x, pictures or args.pareto, '--plot, --html or --pareto'),
            ('--y', args.y, pictures or args.pareto, '--plot, --html or --pareto'),
            ('--csv', args.csv, not pictures, 'neither --plot nor --html'),
            ('--json', args.json, not pictures, 'neither --plot nor --html'),
            ('--plot', args.plot, not args.check, 'no --check'), ('--html', args.html, not args.check, 'no --check'),
            ('--columns', args.columns, not args.check and not (args.plot and not args.html),
             'a table: no --check, nor --plot alone')):
        if given and not read:
            raise ValueError(f'{option} is read with {needs}.')


def _chosen(rows: list[Row], args: argparse.Namespace) -> list[Row]:
    if args.compare:
        rows = [row for model in args.compare for row in _of(rows, model)]
    if args.model:
        rows = [row for row in rows if any(_matches(row, pattern) for pattern in args.model)]
    limits = [(args.max_params, 'param_count'), (args.max_gmacs, 'gmacs')]
    conditions = [f'{column} <= {most}' for most, column in limits if most is not None]
    rows = tables.choose(rows, [*conditions, *args.where])
    if args.pareto:
        rows = tables.pareto(rows, args.x, args.y) if rows else rows
    if args.sort:
        rows = tables.sort(rows, args.sort, args.reverse)
    return rows[:args.limit]


def _matches(row: Row, pattern: str) -> bool:
    return any(fnmatch.fnmatchcase(name, pattern) for name in (row['model'], row['model'].partition('.')[0]))


def _of(rows: list[Row], model: str) -> list[Row]:
    """The rows of one model to compare.

    Raises:
        ValueError: there is none.
    """
    from zoo.spec import unknown

    found = [row for row in rows if _matches(row, model)]
    if not found:
        raise ValueError(unknown('Model', model, dict.fromkeys(row['model'] for row in rows)))
    return found


def _columns(rows: list[Row], asked: str | None) -> list[str]:
    known = columns(rows)
    if asked is None:
        return [c for c in known if c.rpartition('.')[2] not in DETAILS and not c.endswith(('_p10', '_p90'))]
    chosen = [column.strip() for column in asked.split(',')]
    for column in chosen:
        check_column(rows, column)
    return chosen


def _with_origin(rows: list[Row], asked: str | None) -> list[str]:
    """The columns of a page: those asked for, else the usual ones and, last, where the figures come from."""
    origin = [c for c in columns(rows) if c.rpartition('.')[2] in ('source', 'command', 'date')]
    shown = _columns(rows, asked)
    if asked is None:
        shown += origin
    return shown if 'model' in shown else ['model', *shown]


def _print(rows: list[Row], shown: list[str], args: argparse.Namespace, caption: str) -> None:
    if args.json:
        print(json.dumps(rows if args.columns is None else [{c: row[c] for c in shown if c in row} for row in rows]))
    elif args.csv:
        writer = csv.DictWriter(sys.stdout, columns(rows) if args.columns is None else shown, restval='',
                                extrasaction='ignore', lineterminator='\n')
        writer.writeheader()
        writer.writerows(rows)
    else:
        print(caption)
        print(grid([shown, *([_cell(row.get(c)) for c in shown] for row in rows)],
                   [all(not isinstance(row.get(c), str) for row in rows) for c in shown]))


def _side_by_side(rows: list[Row], shown: list[str]) -> str:
    """A line a column, the models across; with two, how far the second is from the first."""
    lines = [['', *(row['model'] for row in rows), *(['difference'] if len(rows) == 2 else [])]]
    for column in shown:
        if column == 'model':
            continue
        cells: list[Any] = [row.get(column) for row in rows]
        line = [column, *map(_cell, cells)]
        if len(rows) == 2:
            numbers = all(isinstance(cell, (int, float)) for cell in cells)
            line.append(f'{cells[1] - cells[0]:+.5g}' if numbers else '')
        lines.append(line)
    return grid(lines, [False] + [True] * (len(lines[0]) - 1))


def grid(lines: Sequence[Sequence[str]], right: Sequence[bool]) -> str:
    """Lines of cells as text in columns, those marked in `right` flush right."""
    widths = [max(map(len, column)) for column in zip(*lines)]
    return '\n'.join('  '.join(cell.rjust(width) if flush else cell.ljust(width)
                               for cell, width, flush in zip(line, widths, right)).rstrip() for line in lines)


def _cell(value: object) -> str:
    return '' if value is None else f'{value:.6g}' if isinstance(value, float) else str(value)


def _check(rows: list[Row], tolerance: float) -> int:
    outcomes: Counter[str] = Counter()
    for verdict in check(rows, tolerance):
        outcomes[verdict.outcome] += 1
        print(f'{verdict.outcome:8} {verdict.model}', flush=True)
        for detail in verdict.details:
            print(f'         {detail}', flush=True)
    print(', '.join(f'{count} {outcome}' for outcome, count in outcomes.items()))
    return 0 if set(outcomes) <= {'same', 'not run'} else 1


def _count(text: str) -> int:
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number from 1 up')
    return int(text)
