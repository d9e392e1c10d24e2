"""Measured rows, measured again by the commands that they carry."""
from __future__ import annotations

import shlex
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from .files import Row, read

AGAIN = ('validate', 'benchmark')                           # subcommands that measure the same again
IDENTITY = ('model', 'tag', 'img_size')
BENCHMARK = (*IDENTITY, 'library', 'batch_size')            # where one command gives several rows
CIRCUMSTANCES = frozenset(('command', 'zoo', 'torch', 'device', 'machine', 'date', 'batch_size', 'noise',
                           'other_cores'))
TIMES = ('_per_second', '_per_sec', '_seconds', '_ratio')   # not compared: they follow from times, or have no spread
MEMORY = 0.1                                                # of the peak, which no two processes reach alike


@dataclass(frozen=True)
class Verdict:
    """What came of one row: 'same', 'differs', 'failed' (its command did) or 'not run'; `details` says why, a line
    each."""

    model: str
    outcome: str
    details: tuple[str, ...] = ()


def run_again(command: str, results_file: Path) -> str | None:
    """Runs a row's command with this zoo in a process of its own, its rows going to `results_file`; returns what went
    wrong, in a line.

    Raises:
        ValueError: it is no command that measures the same again.
    """
    arguments = _arguments(command)
    done = subprocess.run([sys.executable, '-m', 'zoo', *arguments, '--results-file', str(results_file)],
                          capture_output=True, text=True)
    if done.returncode or not results_file.exists():
        lines = done.stderr.strip().splitlines()
        return f'exit status {done.returncode}: {lines[-1] if lines else "no message"}'
    return None


def check(rows: Sequence[Row], tolerance: float = 0.0, run: Callable[[str, Path], str | None] = run_again,
          ) -> Iterator[Verdict]:
    """Measures the rows again, each command once, and compares: figures may differ by `tolerance`, words (the data's
    digest, interpolation …) not at all. Of `zoo benchmark`, a time is the same where the ranges from p10 to p90 of then
    and now meet, and memory where it is within a tenth. Images a second, ratios and what tells where and when are not
    compared.

    Raises:
        ValueError: a row that carries no command.
    """
    for row in rows:
        if 'command' not in row:
            raise ValueError(f'The row of {row["model"]} carries no command; only measured rows can be checked.')
    with tempfile.TemporaryDirectory() as folder:
        done: dict[str, tuple[str, list[Row], str]] = {}
        for row in rows:
            command = row['command']
            if command not in done:
                done[command] = _measure(command, Path(folder, f'{len(done)}.csv'), run)
            outcome, fresh, message = done[command]
            if outcome:
                yield Verdict(_name(row), outcome, (message,))
            else:
                yield _compare(row, fresh, tolerance)


def _measure(command: str, path: Path, run: Callable[[str, Path], str | None]) -> tuple[str, list[Row], str]:
    try:
        problem = run(command, path)
    except ValueError as error:
        return 'not run', [], str(error)
    return ('failed', [], problem) if problem else ('', read(path), '')


def _compare(row: Row, fresh: Sequence[Row], tolerance: float) -> Verdict:
    identity = BENCHMARK if 'library' in row else IDENTITY
    again = next((other for other in fresh if all(other.get(c) == row.get(c) for c in identity)), None)
    if again is None:
        described = ', '.join(f'{column} {row[column]}' for column in identity[2:] if column in row)
        return Verdict(_name(row), 'failed', (f'the command gave no row of this model with {described}',))
    details = []
    for column in row:
        if column in identity or column in CIRCUMSTANCES or column.endswith((*TIMES, '_ms_p10', '_ms_p90')):
            continue
        problem = _timing(row, again, column) if f'{column}_p10' in row else _figure(row, again, column, tolerance)
        if problem:
            details.append(f'{column}: {problem}')
    return Verdict(_name(row), 'differs' if details else 'same', tuple(details))


def _figure(row: Row, again: Row, column: str, tolerance: float) -> str:
    """How a figure or a word differs, if it does."""
    was, now = row[column], again.get(column)
    if not all(isinstance(value, (int, float)) for value in (was, now)):
        return '' if was == now else f'{was} in the table, {"nothing" if now is None else now} now'
    allowed = max(tolerance, MEMORY * abs(was)) if column.endswith('_mib') else tolerance
    same = abs(was - now) <= allowed + 1e-9 * abs(was)
    return '' if same else f'{was} in the table, {now} now ({now - was:+.6g})'


def _timing(row: Row, again: Row, column: str) -> str:
    """How a time differs by more than it is spread, if it does."""
    if column not in again:
        return f'{row[column]} in the table, nothing now'
    (low, high), (now_low, now_high) = ((each[f'{column}_p10'], each[f'{column}_p90']) for each in (row, again))
    if low <= now_high and now_low <= high:
        return ''
    return (f'{row[column]} ({low} to {high}) in the table, {again[column]} ({now_low} to {now_high}) now '
            f'({again[column] / row[column]:.2f} times)')


def _name(row: Row) -> str:
    return f'{row["model"]}.{row["tag"]}' if row.get('tag') and '.' not in row['model'] else row['model']


def _arguments(command: str) -> list[str]:
    """What follows `zoo` in the command, without its own --results-file."""
    words = shlex.split(command)
    if words[:1] and Path(words[0]).name.startswith('python'):
        words = words[1:]
    if words[:1] and Path(words[0]).name == 'validate.py':
        words = ['zoo', 'validate', *words[1:]]
    if words[:2] == ['-m', 'zoo']:
        words = words[1:]
    if len(words) < 2 or Path(words[0]).name != 'zoo':
        raise ValueError(f'{command!r} is no `zoo` command, and nothing else is run.')
    if words[1] not in AGAIN:
        raise ValueError(f'`zoo {words[1]}` measures nothing that can be compared; checked are: {", ".join(AGAIN)}.')
    return without_results_file(words[1:])


def without_results_file(words: Sequence[str]) -> list[str]:
    """The words of a command line but for --results-file and its value: the same measurement wherever its rows go."""
    kept, skip = [], False
    for word in words:
        if skip or word.startswith('--results-file='):
            skip = False
        elif word == '--results-file':
            skip = True
        else:
            kept.append(word)
    return kept
