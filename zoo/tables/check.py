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

AGAIN = ('validate',)                                       # subcommands whose figures come out the same again
IDENTITY = frozenset(('model', 'tag', 'img_size'))
CIRCUMSTANCES = frozenset(('command', 'zoo', 'torch', 'device', 'machine', 'date', 'batch_size'))
TIMES = ('_per_second', '_per_sec', '_seconds')


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
        ValueError: it is no command that gives the same figures again.
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
    digest, interpolation …) not at all. Speeds and what tells where and when are not compared.

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
    again = next((other for other in fresh if all(other.get(c) == row.get(c) for c in IDENTITY)), None)
    if again is None:
        return Verdict(_name(row), 'failed', (f'the command gave no row of this model at {row.get("img_size")}',))
    details = []
    for column in row:
        if column in IDENTITY | CIRCUMSTANCES or column.endswith(TIMES):
            continue
        was, now = row[column], again.get(column)
        numbers = isinstance(was, (int, float)) and isinstance(now, (int, float))
        if not (abs(was - now) <= tolerance + 1e-9 * abs(was) if numbers else was == now):
            details.append(f'{column}: {was} in the table, {"nothing" if now is None else now} now'
                           + (f' ({now - was:+.6g})' if numbers else ''))
    return Verdict(_name(row), 'differs' if details else 'same', tuple(details))


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
        raise ValueError(f'`zoo {words[1]}` does not give the same figures twice; checked are: {", ".join(AGAIN)}.')
    kept, skip = [], False
    for word in words[1:]:
        if skip or word.startswith('--results-file='):
            skip = False
        elif word == '--results-file':
            skip = True
        else:
            kept.append(word)
    return kept
