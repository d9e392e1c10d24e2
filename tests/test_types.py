"""Types: a strict checker passes on the whole package, and type checkers of users see every public name."""
from __future__ import annotations

import ast
import importlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
STUBS = sorted((ROOT / 'zoo').rglob('*.pyi'))
LAZY = [path.parent for path in (ROOT / 'zoo').rglob('__init__.py') if '_PUBLIC = ' in path.read_text()]


@pytest.mark.slow
def test_a_strict_checker_passes():
    pytest.importorskip('mypy')
    done = subprocess.run([sys.executable, '-m', 'mypy', '--no-error-summary'], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_names_that_are_resolved_when_first_used_have_a_stub():
    assert {path.parent for path in STUBS} == {*LAZY}


@pytest.mark.parametrize('stub', STUBS, ids=lambda path: str(path.relative_to(ROOT)))
def test_a_stub_has_the_public_names(stub):
    package = '.'.join(stub.parent.relative_to(ROOT).parts)
    module = importlib.import_module(package)
    tree = ast.parse(stub.read_text())
    where = {alias.asname: node.module for node in tree.body if isinstance(node, ast.ImportFrom) for alias in node.names}
    modules = {*getattr(module, '_MODULES', ())}
    assert where == {**{name: None for name in modules}, **{name: part for part, names in module._PUBLIC.items() for name in names}}


def test_types_are_installed_with_the_package():
    text = (ROOT / 'setup.cfg').read_text()
    assert (ROOT / 'zoo' / 'py.typed').is_file() and 'zoo = py.typed, *.pyi' in text
    for stub in STUBS:
        package = '.'.join(stub.parent.relative_to(ROOT).parts)
        assert any(line.startswith(f'{package} = ') and '*.pyi' in line for line in text.splitlines())
