"""The measured tables that come with zoo: each row says where it comes from, names no folder of a machine, and holds."""
from __future__ import annotations

import os
import re
import shlex
from pathlib import Path

import pytest

from zoo import tables
from zoo.benchmarking.quiet import SPREAD
from zoo.cli import main
from zoo.tables.check import AGAIN
from zoo.tables.shelf import results_folder

TABLES = sorted((results_folder() / 'measured').glob('*.csv'))
ORIGIN = ('command', 'zoo', 'torch', 'device', 'machine', 'date', 'img_size', 'param_count', 'gmacs', 'macts')
DATA = Path(os.environ.get('ZOO_DATA', 'nowhere'))


def test_there_are_measured_rows() -> None:
    assert {'imagenet-sample', 'speed-shared-cpu'} <= {table.stem for table in TABLES}


@pytest.mark.parametrize('table', TABLES, ids=lambda table: table.stem)
def test_every_row_says_where_it_comes_from(table: Path) -> None:
    assert not re.search(r'(^|[\s,"=])(/|~|[A-Z]:\\)\w', table.read_text())              # a path from a disk's root
    for row in tables.read(table):
        assert not [column for column in ORIGIN if column not in row] and tables.kind(row) == 'measured'
        words = shlex.split(row['command'])
        assert words[0] == 'zoo' and words[1] in AGAIN and '--results-file' not in words
        assert words[1] == 'benchmark' or row['data'] in words and len(row['data_digest']) == 64


@pytest.mark.parametrize('table', TABLES, ids=lambda table: table.stem)
def test_no_row_is_noise(table: Path) -> None:
    for row in tables.read(table):
        times = [column.removesuffix('_p90') for column in row if column.endswith('_ms_p90')]
        assert 'noise' not in row and not [c for c in times if row[f'{c}_p90'] >= SPREAD * row[f'{c}_p10']]


def test_they_are_found_by_name(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['results', 'measured/imagenet-sample', '--sort', 'top1', '--limit', '1', '--columns', 'model,top1']) == 0
    assert 'tf_efficientnet_lite2.in1k' in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.skipif(not (DATA / 'imagenet-sample').is_dir(), reason='ZOO_DATA names no folder with imagenet-sample/')
def test_photographs_measured_again_give_the_same(monkeypatch: pytest.MonkeyPatch,
                                                  capsys: pytest.CaptureFixture[str]) -> None:
    root = Path(__file__).parents[1]
    monkeypatch.setenv('PYTHONPATH', os.pathsep.join([str(root), os.environ.get('PYTHONPATH', '')]))
    monkeypatch.chdir(DATA)
    # Another processor multiplies in another order: one image may change sides, and confidences in the last digits.
    status = main(['results', 'measured/imagenet-sample', '--model', 'tf_efficientnet_lite0', '--check', '--tolerance',
                   '0.21'])
    assert status == 0, capsys.readouterr().out
