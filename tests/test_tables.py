"""Tables of results: reading, appending, choosing, joining, the picture, the page, and `zoo results`."""
from __future__ import annotations

import csv
import json
import multiprocessing
import os
import random
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

import zoo
from conftest import architectures
from zoo import tables
from zoo.cli import main
from zoo.registry import resolve
from zoo.tables import check as checking
from zoo.tables.page import page
from zoo.tables.query import columns

MEASURED = {'model': 'tf_efficientnet_lite0', 'tag': 'in1k', 'top1': 75.0, 'img_size': 224, 'command': 'zoo validate x',
            'torch': '2.10', 'data_digest': '123456'}
PUBLISHED = {'model': 'a.b', 'top1': 75.0, 'source': 'a paper'}


# --- files

def test_rows_come_back_with_their_types(tmp_path: Path) -> None:
    path = tmp_path / 'new' / 'table.csv'
    tables.append(path, [MEASURED, {**MEASURED, 'img_size': '288x224', 'top1': None}])
    first, second = tables.read(path)
    assert first == MEASURED and type(first['img_size']) is int and first['torch'] == '2.10'
    assert second['img_size'] == '288x224' and 'top1' not in second


def test_appending_adds_columns_and_leaves_cells_as_written(tmp_path: Path) -> None:
    path = tmp_path / 'table.csv'
    path.write_text('model,crop_pct,note\na,0.950,"x, ""y"""\n')
    tables.append(path, [{'model': 'b', 'top5': 91.5}])
    assert path.read_text() == 'model,crop_pct,note,top5\na,0.950,"x, ""y""",\nb,,,91.5\n'
    assert oct(path.stat().st_mode & 0o777) == oct(0o644)


def test_a_write_that_fails_leaves_the_table_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / 'table.csv'
    tables.append(path, [MEASURED])
    before = path.read_bytes()

    def full(*_: object) -> None:
        raise OSError('no space left on device')

    monkeypatch.setattr(os, 'replace', full)
    with pytest.raises(OSError, match='no space'):
        tables.append(path, [MEASURED])
    assert path.read_bytes() == before and os.listdir(tmp_path) == ['table.csv']


def append_five(path: Path, model: str) -> None:
    for number in range(5):
        tables.append(path, [{'model': model, 'command': 'zoo validate', f'column_{model}': number}])


def test_processes_that_append_at_once_lose_no_row(tmp_path: Path) -> None:
    path = tmp_path / 'table.csv'
    context = multiprocessing.get_context('fork')
    jobs = [context.Process(target=append_five, args=(path, model)) for model in 'abc']
    for job in jobs:
        job.start()
    for job in jobs:
        job.join()
    found = sorted((row['model'], row[f'column_{row["model"]}']) for row in tables.read(path))
    assert found == [(model, number) for model in 'abc' for number in range(5)]


def test_published_and_measured_rows_do_not_mix(tmp_path: Path) -> None:
    path = tmp_path / 'table.csv'
    tables.append(path, [PUBLISHED])
    before = path.read_bytes()
    with pytest.raises(ValueError, match='do not go into one table'):
        tables.append(path, [MEASURED])
    with pytest.raises(ValueError, match='both a source and a command'):
        tables.append(path, [{**PUBLISHED, **MEASURED}])
    assert path.read_bytes() == before


@pytest.mark.parametrize(('text', 'message'), [
    ('name,top1\na,1\n', "no column 'model' but name, top1"), ('', 'but nothing'),
    ('model,top1\na,1,2\n', 'row 2 has more')])
def test_a_file_that_is_no_table_is_refused(text: str, message: str, tmp_path: Path) -> None:
    path = tmp_path / 'table.csv'
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        tables.read(path)


def test_provenance_says_where_a_row_comes_from() -> None:
    origin = tables.provenance('zoo validate a', 'cpu')
    assert origin['command'] == 'zoo validate a' and origin['zoo'] == zoo.__version__
    assert origin['torch'] == torch.__version__ and origin['device'] == 'cpu'
    assert re.fullmatch(r'\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00', origin['date'])
    assert tables.kind(origin) == 'measured' and os.uname().nodename not in origin['machine']


# --- choosing among rows

ROWS = [{'model': 'a.x', 'top1': 70.0, 'param_count': 5.0}, {'model': 'b.x', 'top1': 80.0, 'param_count': 9.0},
        {'model': 'c.y', 'top1': 75.0}, {'model': 'd.y', 'top1': 75.0, 'param_count': 7.0}]


@pytest.mark.parametrize(('conditions', 'left'), [
    (['top1 > 75'], 'b'), (['top1>=75'], 'bcd'), (['top1 != 75'], 'ab'), (['top1 = 75', 'param_count < 8'], 'd'),
    (['param_count <= 7'], 'ad'), (['model ~ *.y'], 'cd'), (['model = a.x'], 'a'),
    (['model != a.x'], 'bcd'), ([], 'abcd')])
def test_conditions(conditions: list[str], left: str) -> None:
    assert ''.join(row['model'][0] for row in tables.choose(ROWS, conditions)) == left


@pytest.mark.parametrize(('condition', 'message'), [
    ('top1', 'is not of the form'), ('top2 > 1', "Did you mean 'top1'"), ('top1 > much', 'is for numbers'),
    ('model > 3', 'is for numbers')])
def test_conditions_that_mean_nothing(condition: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        tables.choose(ROWS, [condition])


def test_the_best_comes_first_and_rows_without_the_figure_last() -> None:
    order = lambda *how: ''.join(row['model'][0] for row in tables.sort(ROWS, *how))            # noqa: E731
    assert order('top1') == 'bcda' and order('top1', True) == 'acdb'
    assert order('param_count') == 'adbc' and order('param_count', True) == 'bdac'
    assert order('model') == 'abcd'
    assert tables.lower_is_better('latency_ms_p90') and tables.lower_is_better('bench.peak_mib')
    assert not tables.lower_is_better('img_per_sec') and not tables.lower_is_better('imagenet-a.top1')


@pytest.mark.parametrize('x', ['param_count', 'img_per_sec'])
def test_the_pareto_front_is_what_nothing_beats(x: str) -> None:
    draw = random.Random(3)
    sign = -1 if x == 'param_count' else 1
    points = [{'model': str(i), x: 10 - sign * step, 'top1': draw.randrange(12) + step}
              for i, step in enumerate(draw.choices(range(10), k=60))]
    rows = [*points, {'model': 'none'}]

    def beats(a: dict[str, Any], b: dict[str, Any]) -> bool:
        gains = (sign * (a[x] - b[x]), a['top1'] - b['top1'])
        return min(gains) >= 0 and max(gains) > 0

    expected = {(row[x], row['top1']) for row in points if not any(beats(other, row) for other in points)}
    front = tables.pareto(rows, x, 'top1')
    assert [(row[x], row['top1']) for row in front] == sorted(expected, key=lambda pair: -sign * pair[0])
    assert len(front) > 3


def test_joining_goes_by_model_and_size() -> None:
    rows = [{'model': 'a.x', 'img_size': 224}, {'model': 'a.y', 'img_size': 224}, {'model': 'a.x', 'img_size': 288}]
    others = [{'model': 'a', 'img_size': 224, 'speed': 1}, {'model': 'a.y', 'img_size': 224, 'speed': 2},
              {'model': 'a.y', 'img_size': 224, 'speed': 3}, {'model': 'z', 'img_size': 224, 'speed': 4}]
    joined = tables.join(rows, others, {'speed': 't.speed'}, outer=True)
    assert joined == [rows[0] | {'t.speed': 1}, rows[1] | {'t.speed': 2}, rows[1] | {'t.speed': 3}, rows[2],
                      {'model': 'z', 'img_size': 224, 't.speed': 4}]
    assert tables.join(rows, others, {}) == [rows[0], rows[1], rows[1], rows[2]]


# --- the tables that come with zoo

def test_the_table_of_architectures_says_what_the_networks_are() -> None:
    facts = {(row['model'], row['img_size']): row for row in tables.read(tables.results_folder() / 'architectures.csv')}
    for name, known in architectures().items():
        _, height, width = map(int, known['input_size'].split('x'))
        if height != width or zoo.get_pretrained_cfg(name).input_size[1] != height:
            continue             # the table is of square images; timm gives a ViTamin the record of another one
        row = facts[name, height]
        assert row['param_count'] == pytest.approx(int(known['params']) / 1e6, abs=6e-4)
        if known['gmacs']:       # test_models says where there are fewer, and that others are equal
            least = 0.94 if resolve(name)[0].module == 'byoanet' else 0.99
            assert least * float(known['gmacs']) - 1e-4 < row['gmacs'] < 1.01 * float(known['gmacs']) + 1e-4
    with torch.device('meta'):
        cost = zoo.profile(zoo.create_model('tf_efficientnet_lite0'), 224)
    row = facts['tf_efficientnet_lite0', 224]
    assert (row['gmacs'], row['macts']) == (round(cost.gmacs, 4), round(cost.macts, 3))


@pytest.mark.parametrize('name', list(tables.accuracy_tables()))
def test_every_published_row_has_parameters_and_speed(name: str) -> None:
    rows = tables.load([name])
    assert len(rows) > 200
    assert all(row[column] > 0 for row in rows for column in ('param_count', 'gmacs', 'macts', 'gpu_img_per_sec'))
    assert sum('cpu_img_per_sec' in row for row in rows) > 0.9 * len(rows)
    assert len({(row['model'], row['img_size'], row['crop_pct']) for row in rows}) == len(rows)


def test_columns_of_several_tables_stay_apart(tmp_path: Path) -> None:
    path = tmp_path / 'mine.csv'
    tables.append(path, [{**MEASURED, 'top1': 12.5, 'img_size': '224x224'}, {**MEASURED, 'model': 'my_net', 'tag': ''}])
    rows = tables.load(['imagenet', 'imagenet-a', path])
    lite = next(row for row in rows if row['model'] == 'tf_efficientnet_lite0.in1k')
    assert (lite['top1'], lite['imagenet-a.top1'], lite['mine.top1']) == (74.846, 3.053, 12.5)
    assert lite['source'].startswith('timm') and lite['mine.command'] == 'zoo validate x' and 'command' not in lite
    assert rows[-1]['model'] == 'my_net' and rows[-1]['mine.top1'] == 75.0 and 'top1' not in rows[-1]
    own = tables.load([path])[0]
    assert own['top1'] == 12.5 and own['param_count'] == 4.652 and 'gpu_img_per_sec' not in own
    with pytest.raises(ValueError, match='could not be told apart'):
        tables.load([path, path])
    with pytest.raises(ValueError, match="Did you mean 'imagenet-real'"):
        tables.load(['imagenet-reel'])


# --- the command

def test_best_top1_under_ten_million_parameters(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ['results', 'imagenet', '--max-params', '10', '--sort', 'top1', '--limit', '10']
    assert main([*arguments, '--json']) == 0
    rows = json.loads(capsys.readouterr().out)
    with (tables.results_folder() / 'published' / 'imagenet.csv').open(newline='') as file:
        small = [float(row['top1']) for row in csv.DictReader(file)
                 if int(architectures()[row['model'].partition('.')[0]]['params']) <= 10e6]
    assert [row['top1'] for row in rows] == sorted(small, reverse=True)[:10]
    assert main(arguments) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == 'imagenet: 10 of 698 rows' and lines[1].split()[:3] == ['model', 'img_size', 'top1']
    assert [line.split()[0] for line in lines[2:]] == [row['model'] for row in rows]


def test_two_models_side_by_side(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['results', '--compare', 'tf_efficientnet_lite0', 'tf_efficientnet_lite1', '--columns',
                 'top1,gmacs']) == 0
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ['tf_efficientnet_lite0.in1k', 'tf_efficientnet_lite1.in1k', 'difference']
    assert lines[1] == ['top1', '74.846', '76.674', '+1.828']
    assert lines[2][0] == 'gmacs' and len(lines) == 3
    assert main(['results', '--compare', 'tf_efficientnet_lit0', 'tf_efficientnet_lite1']) == 2
    assert "Did you mean 'tf_efficientnet_lite0" in capsys.readouterr().err


def test_csv_has_the_rows_and_columns_asked_for(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['results', 'imagenet-r', '--model', 'tf_efficientnet_lite?', '--where', 'top1 >= 40', '--pareto',
                 '--x', 'gmacs', '--columns', 'model,top1,source', '--csv']) == 0
    rows = list(csv.DictReader(capsys.readouterr().out.splitlines()))
    assert rows and all(list(row) == ['model', 'top1', 'source'] and float(row['top1']) >= 40 for row in rows)
    assert main(['results', '--where', 'top1 > 100']) == 1
    assert 'none of the 698 rows is left' in capsys.readouterr().err
    assert main(['results', '--sort', 'top3']) == 2
    assert 'Did you mean' in capsys.readouterr().err


def test_the_terminal_needs_no_torch() -> None:
    code = 'import sys; from zoo.cli import main; main(["results", "--limit", "1"]); print("torch" in sys.modules)'
    done = subprocess.run([sys.executable, '-c', code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == 'False'


# --- measuring again

def again(**changes: Any) -> list[checking.Verdict]:
    """What comes of MEASURED if its command now gives a row with changes."""
    def run(command: str, path: Path) -> None:
        assert command == MEASURED['command']
        tables.append(path, [{**MEASURED, 'date': 'now', 'machine': 'another', **changes}])

    return list(checking.check([MEASURED], tolerance=0.1, run=run))


def test_rows_measured_again() -> None:
    assert [v.outcome for v in again()] == ['same'] and [v.outcome for v in again(top1=75.1)] == ['same']
    worse, = again(top1=74.5)
    assert worse.model == 'tf_efficientnet_lite0.in1k' and worse.outcome == 'differs'
    assert worse.details == ('top1: 75.0 in the table, 74.5 now (-0.5)',)
    other_data, = again(data_digest='654321')
    assert other_data.outcome == 'differs' and 'data_digest: 123456 in the table, 654321 now' in other_data.details
    missing, = again(top1=None)
    assert missing.details == ('top1: 75.0 in the table, nothing now',)
    assert [v.outcome for v in again(model='another')] == ['failed']


def test_each_command_runs_once() -> None:
    ran = []

    def run(command: str, path: Path) -> None:
        ran.append(command)
        tables.append(path, [MEASURED, {**MEASURED, 'tag': 'other'}])

    verdicts = list(checking.check([MEASURED, {**MEASURED, 'tag': 'other', 'top1': 1.0}], run=run))
    assert [v.outcome for v in verdicts] == ['same', 'differs'] and len(ran) == 1


@pytest.mark.parametrize('command', [
    'zoo validate --model a --results-file old.csv --batch-size 8', 'python -m zoo validate --model a --batch-size 8',
    '/usr/bin/python3 validate.py --model a --results-file=old.csv --batch-size 8'])
def test_commands_run_again_with_their_rows_elsewhere(command: str, monkeypatch: pytest.MonkeyPatch,
                                                       tmp_path: Path) -> None:
    asked = []

    def fake(arguments: list[str], **_: object) -> subprocess.CompletedProcess[str]:
        asked.append(arguments)
        return subprocess.CompletedProcess(arguments, 2, '', 'zoo: no such data\n')

    monkeypatch.setattr(checking.subprocess, 'run', fake)
    assert checking.run_again(command, tmp_path / 'new.csv') == 'exit status 2: zoo: no such data'
    assert asked == [[sys.executable, '-m', 'zoo', 'validate', '--model', 'a', '--batch-size', '8',
                      '--results-file', str(tmp_path / 'new.csv')]]


@pytest.mark.parametrize('command', ['rm -r everything', 'zoo list a', 'zoo', '', 'zoo fetch a; zoo validate b'])
def test_nothing_but_measurements_is_run(command: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(checking.subprocess, 'run', lambda *_, **__: pytest.fail('it was run'))
    with pytest.raises(ValueError):
        checking.run_again(command, tmp_path / 'new.csv')


def test_check_by_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / 'mine.csv'
    tables.append(path, [{**MEASURED, 'command': 'zoo predict tf_efficientnet_lite0'}])
    assert main(['results', str(path), '--check']) == 0
    out = capsys.readouterr().out
    assert out.startswith('not run  tf_efficientnet_lite0.in1k') and out.endswith('1 not run\n')
    assert main(['results', 'imagenet', '--check', '--limit', '1']) == 2
    assert 'only measured rows can be checked' in capsys.readouterr().err


FAST = {'model': 'test_efficientnet', 'library': 'zoo', 'img_size': 32, 'batch_size': 2, 'gmacs': 0.02,
        'latency_ms': 10.0, 'latency_ms_p10': 9.0, 'latency_ms_p90': 12.0, 'img_per_sec': 200.0, 'latency_ratio': 1.5,
        'peak_mib': 50.0, 'command': 'zoo benchmark test_efficientnet --against timm'}


@pytest.mark.parametrize('changes, details', [
    ({'latency_ms': 13.0, 'latency_ms_p10': 11.9, 'latency_ms_p90': 14.0}, ()),             # the ranges meet
    ({'latency_ms': 13.0, 'latency_ms_p10': 12.1, 'latency_ms_p90': 14.0},
     ('latency_ms: 10.0 (9.0 to 12.0) in the table, 13.0 (12.1 to 14.0) now (1.30 times)',)),
    ({'latency_ms': 5.0, 'latency_ms_p10': 4.0, 'latency_ms_p90': 8.9},
     ('latency_ms: 10.0 (9.0 to 12.0) in the table, 5.0 (4.0 to 8.9) now (0.50 times)',)),
    ({'latency_ms': None}, ('latency_ms: 10.0 in the table, nothing now',)),
    ({'peak_mib': 54.9, 'img_per_sec': 1.0, 'latency_ratio': 9.0}, ()),
    ({'peak_mib': 55.1}, ('peak_mib: 50.0 in the table, 55.1 now (+5.1)',)),
    ({'gmacs': 0.021}, ('gmacs: 0.02 in the table, 0.021 now (+0.001)',)),
])
def test_times_differ_by_more_than_their_spread(changes: dict[str, Any], details: tuple[str, ...]) -> None:
    def run(command: str, path: Path) -> None:
        peer = {**FAST, 'library': 'timm', 'gmacs': 7.0}
        tables.append(path, [peer, {**FAST, 'batch_size': 1, 'gmacs': 7.0}, {**FAST, **changes}])

    verdict, = checking.check([FAST], run=run)
    assert verdict.details == details and verdict.outcome == ('differs' if details else 'same')


def test_a_benchmark_is_run_again(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / 'speed.csv'
    words = ['benchmark', 'test_efficientnet', '--img-size', '32', '--measure', 'latency', '--repeats', '3', '--warmup',
             '1', '--threads', '1', '--device', 'cpu', '--keep-noisy']
    assert main([*words, '--results-file', str(path)]) == 0
    row, = tables.read(path)
    assert str(tmp_path) not in row['command']
    slower = tmp_path / 'slower.csv'
    tables.append(slower, [{**row, 'latency_ms': 1e6, 'latency_ms_p10': 1e6, 'latency_ms_p90': 1e6, 'gmacs': 99}])
    capsys.readouterr()
    assert main(['results', str(slower), '--check']) == 1
    out = capsys.readouterr().out
    assert out.startswith('differs  test_efficientnet\n') and 'gmacs: 99 in the table' in out and 'latency_ms:' in out
    assert 'param_count' not in out and 'threads' not in out


# --- the picture and the page

def test_the_picture_names_the_pareto_front(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip('matplotlib')
    path = tmp_path / 'picture.svg'
    assert main(['results', '--model', 'tf_*', '--plot', str(path), '--x', 'gpu_img_per_sec']) == 0
    rows = [row for row in tables.load(['imagenet']) if row['model'].startswith('tf_')]
    front = [row['model'] for row in tables.pareto(rows, 'gpu_img_per_sec', 'top1')]
    drawn = path.read_text()
    assert all(f'  {name}  ' in drawn for name in front)
    assert not any(f'  {row["model"]}  ' in drawn for row in rows if row['model'] not in front)
    assert capsys.readouterr().out.endswith(f'on the Pareto front {", ".join(front)}\n')
    assert main(['results', '--plot', str(tmp_path / 'picture.png'), '--x', 'gmacs']) == 0
    assert (tmp_path / 'picture.png').read_bytes().startswith(b'\x89PNG')
    assert main(['results', '--plot', str(path), '--x', 'source']) == 2
    assert 'Column of numbers' in capsys.readouterr().err


def test_a_picture_and_a_page_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    picture, whole = tmp_path / 'picture.svg', tmp_path / 'page.html'
    assert main(['results', '--model', 'tf_*lite*', '--plot', str(picture), '--html', str(whole)]) == 0
    out = capsys.readouterr().out
    assert picture.exists() and whole.exists() and out.count('5 rows') == out.count('\n') == 2


@pytest.mark.parametrize('words', [
    ['--reverse'], ['--tolerance', '0.1'], ['--x', 'gmacs'], ['--y', 'top5'], ['--csv', '--plot', 'a.svg'],
    ['--json', '--html', 'a.html'], ['--plot', 'a.svg', '--check'], ['--html', 'a.html', '--check'],
    ['--columns', 'model,top1', '--plot', 'a.svg'], ['--columns', 'model,top1', '--check'],
])
def test_options_that_nothing_reads_are_refused(words: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(['results', *words]) == 2
    out, err = capsys.readouterr()
    assert words[0] in err and 'is read with' in err and err.count('\n') == 1 and not out
    assert not [*tmp_path.iterdir()]


def test_a_comparison_as_data(capsys: pytest.CaptureFixture[str]) -> None:
    models = ['tf_efficientnet_lite1.in1k', 'tf_efficientnet_lite0.in1k']
    assert main(['results', '--compare', *models, '--json', '--columns', 'model']) == 0
    assert json.loads(capsys.readouterr().out) == [{'model': model} for model in models]


def test_the_page_holds_everything_it_needs() -> None:
    rows = [{'model': '</script><b>&@DATA@', 'top1': 1.5, 'param_count': 2}, {'model': 'b', 'param_count': 3}]
    text = page(rows, columns(rows), 'A <title>')
    assert '<title>A &lt;title&gt;</title>' in text and text.count('</script>') == 2
    data = json.loads(re.search(r'application/json">(.*?)</script>', text)[1])
    assert data['rows'] == [[row.get(c) for c in ('model', 'top1', 'param_count')] for row in rows]
    assert [column['numeric'] for column in data['columns']] == [False, True, True]
    assert not re.search(r'(src|href)\s*=|@import|url\(|fetch\(|https?:', text)


@pytest.fixture(scope='module')
def browser() -> Iterator[Any]:
    """A headless Chromium without a network: Playwright's own or the system's."""
    playwright = pytest.importorskip('playwright.sync_api', reason='playwright is not installed')
    with playwright.sync_playwright() as driver:
        installed = shutil.which('chromium') or shutil.which('google-chrome')
        try:
            chromium = driver.chromium.launch(executable_path=installed, args=['--no-sandbox'])
        except playwright.Error as error:
            pytest.skip(f'no browser can be started: {str(error).splitlines()[0]}')
        yield chromium
        chromium.close()


@pytest.mark.slow
def test_the_page_in_a_browser(browser: Any, tmp_path: Path) -> None:
    path = tmp_path / 'page.html'
    assert main(['results', 'imagenet', 'imagenet-a', '--html', str(path)]) == 0
    rows = tables.load(['imagenet', 'imagenet-a'])
    problems, requests = [], []
    view = browser.new_context(offline=True, viewport={'width': 1400, 'height': 1000}).new_page()
    view.on('pageerror', lambda error: problems.append(str(error)))
    view.on('console', lambda message: problems.append(message.text))
    view.on('request', lambda request: requests.append(request.url))
    view.goto(path.as_uri())

    def listed() -> list[str]:
        return view.locator('#body tr td:first-child').all_inner_texts()

    def front() -> list[str]:
        return view.locator('#front li').all_inner_texts()

    def models(chosen: list[tables.Row]) -> list[str]:
        return [row['model'] for row in chosen]

    inside = "node => node.scrollWidth <= node.clientWidth"                     # nothing is cut off at the right
    assert view.locator('#scroll').evaluate(inside) and view.locator('html').evaluate(inside)

    best = tables.sort(rows, 'top1')
    assert listed() == models(best)
    assert view.locator('circle.dot').count() == len(rows)
    assert front() == models(tables.pareto(rows, 'param_count', 'top1'))
    assert view.locator('text.number').all_text_contents() == [str(n + 1) for n in range(len(front()))]

    view.get_by_label('param_count at most').fill('10')                                     # filter
    small = tables.choose(rows, ['param_count <= 10'])
    assert listed() == models(tables.sort(small, 'top1'))
    assert view.locator('#count').inner_text() == f'{len(small)} of {len(rows)} rows'
    assert view.locator('circle.dot').count() == len(small)

    view.get_by_label('Search').fill('LITE tf_')                                            # search
    lite = [row for row in small if row['model'].startswith('tf_efficientnet_lite')]
    assert sorted(listed()) == sorted(models(lite)) and len(lite) == 4

    view.get_by_role('button', name='gmacs').click()                                        # sort, both ways
    assert listed() == models(tables.sort(lite, 'gmacs'))
    view.get_by_role('button', name='gmacs').click()
    assert listed() == models(tables.sort(lite, 'gmacs', reverse=True))
    assert view.locator('th[aria-sort]').inner_text().startswith('gmacs')

    view.locator('circle.front').first.hover()                                              # hover
    tip = view.locator('#tip')
    assert tip.is_visible() and tip.inner_text().startswith(f'model: {front()[0]}\n')
    assert f'top1: {next(row["top1"] for row in lite if row["model"] == front()[0])}' in tip.inner_text()
    assert view.locator('tr.marked td').first.inner_text() == front()[0]
    view.locator('h1').hover()
    assert not tip.is_visible() and view.locator('.marked').count() == 0

    view.get_by_role('button', name='Clear filters').click()                                # other axes
    view.locator('#x').select_option('gpu_img_per_sec')
    view.locator('#y').select_option('imagenet-a.top1')
    assert front() == models(tables.pareto(rows, 'gpu_img_per_sec', 'imagenet-a.top1'))
    assert len(listed()) == len(rows)
    view.get_by_label('Search').fill('no such model')
    assert listed() == front() == [] and view.locator('#plot').text_content() == 'No row has both.'
    assert not problems and requests == [path.as_uri()]
