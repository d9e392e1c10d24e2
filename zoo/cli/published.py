"""Accuracies that others have published, read from the tables in results/."""
from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

import zoo


@dataclass(frozen=True)
class Accuracy:
    """One published line: per cent right on a test set, with square images of `img_size` pixels a side."""

    test_set: str
    img_size: int
    top1: float
    top5: float
    source: str


def published_accuracy(full_name: str) -> list[Accuracy]:
    """Every published line about the weights 'name.tag', by test set (ImageNet first) and size."""
    tables = sorted((_results_folder() / 'published').glob('*.csv'), key=lambda table: table.stem)
    return [line for table in tables for line in _lines(table, full_name)]


def _lines(table: Path, full_name: str) -> list[Accuracy]:
    with table.open(newline='', encoding='utf-8') as file:
        rows = [row for row in csv.DictReader(file) if row['model'] == full_name]
    return [Accuracy(table.stem, int(row['img_size']), float(row['top1']), float(row['top5']), row['source'])
            for row in rows]


def _results_folder() -> Path:
    """The folder of tables: inside the package where it is installed, beside it in a checkout."""
    package = Path(zoo.__file__).parent
    installed = package / 'results'
    return installed if installed.is_dir() else package.parent / 'results'
