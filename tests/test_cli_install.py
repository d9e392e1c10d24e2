"""What an installation carries, read from setup.cfg; and the tables that come with it."""
from __future__ import annotations

import configparser
import csv
from pathlib import Path

import pytest

import zoo
from zoo.cli import COMMANDS

ROOT = Path(__file__).parent.parent
SETUP = configparser.ConfigParser()
SETUP.read(ROOT / 'setup.cfg')
TABLES = sorted((ROOT / 'results' / 'published').glob('imagenet*.csv'))
SPEEDS = sorted((ROOT / 'results' / 'published').glob('speed-*.csv'))


def words(section: str, key: str) -> list[str]:
    return SETUP[section][key].split()


def test_every_folder_with_modules_is_installed() -> None:
    folders = {path.parent for path in (ROOT / 'zoo').rglob('*.py')}
    names = {'.'.join(folder.relative_to(ROOT).parts) for folder in folders}
    assert names == set(words('options', 'packages')) - {'zoo.configs', 'zoo.photographs', 'zoo.results'}
    assert all((folder / '__init__.py').exists() for folder in folders)


def test_every_data_file_is_installed() -> None:
    files = {path for path in (ROOT / 'zoo').rglob('*') if path.is_file() and path.suffix not in ('.py', '.pyc')}
    installed = {path for package, patterns in SETUP['options.package_data'].items()
                 for pattern in patterns.replace(',', ' ').split() for path in ROOT.joinpath(*package.split('.')).glob(pattern)}
    assert files == installed


def test_every_recipe_is_installed() -> None:
    shown = {path.name for path in (ROOT / 'examples' / 'images').iterdir()}
    assert all(any(Path(name).match(pattern.rstrip(',')) for pattern in words('options.package_data', 'zoo.photographs'))
               for name in shown) and len(shown) > 3
    files = {path for path in (ROOT / 'configs').rglob('*') if path.is_file()}
    assert files == {path for pattern in words('options.package_data', 'zoo.configs') for path in
                     (ROOT / 'configs').glob(pattern)} and len(files) > 5


def test_every_subcommand_has_its_module() -> None:
    for module, text in COMMANDS.values():
        assert ROOT.joinpath(*module.split('.')).with_suffix('.py').exists()
        assert text


@pytest.mark.parametrize('table', TABLES, ids=lambda table: table.stem)
def test_published_tables_are_sound(table: Path) -> None:
    with table.open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 100
    keys = {(row['model'], row['img_size'], row['crop_pct']) for row in rows}
    assert len(keys) == len(rows)
    assert all(0 < float(row['top1']) < float(row['top5']) <= 100 and row['source'] for row in rows)


@pytest.mark.parametrize('table', SPEEDS, ids=lambda table: table.stem)
def test_published_speeds_are_sound(table: Path) -> None:
    with table.open(newline='') as file:
        rows = list(csv.DictReader(file))
    assert len(rows) > 100 and {row['model'] for row in rows} <= set(zoo.list_models())
    assert len({(row['model'], row['img_size']) for row in rows}) == len(rows)
    assert len({(row['device'], row['precision']) for row in rows}) == 1 and all(row['source'] for row in rows)
    for row in rows:
        assert float(row['img_per_sec']) * float(row['batch_ms']) == pytest.approx(1e3 * int(row['batch_size']), rel=0.02)


def test_published_lines_name_models_there_are() -> None:
    """Every line about an architecture served here is about weights that are listed."""
    listed = set(zoo.list_models(include_tags=True))
    for table in TABLES:
        with table.open(newline='') as file:
            names = {row['model'] for row in csv.DictReader(file)}
        served = {name for name in names if zoo.is_model(name)}
        assert len(served) > 100
        assert served <= listed
