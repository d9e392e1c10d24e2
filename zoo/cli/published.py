"""Accuracies that others have published, read from the tables in results/."""
from __future__ import annotations

from dataclasses import dataclass

from zoo import tables


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
    return [Accuracy(test_set, row['img_size'], float(row['top1']), float(row['top5']), row['source'])
            for test_set, path in tables.accuracy_tables().items()
            for row in tables.read(path) if row['model'] == full_name]
