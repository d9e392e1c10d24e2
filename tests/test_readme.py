"""README.md says what is so: every example in it is run, and what it shows is compared with what comes out."""
from __future__ import annotations

import configparser
import contextlib
import io
import math
import os
import re
import shlex
import subprocess
import sys
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import pytest

import zoo

ROOT = Path(__file__).parent.parent
README = (ROOT / 'README.md').read_text(encoding='utf-8')
NUMBER = re.compile(r'(?<![\w.])\d+(?:\.\d+)?(?![\w.]*[A-Za-z])')


@dataclass(frozen=True)
class Fence:
    """A fenced block: its language, its text, the line it starts on."""

    language: str
    text: str
    line: int


def fences() -> list[Fence]:
    found = re.finditer(r'^```(\w+)\n(.*?)^```$', README, re.MULTILINE | re.DOTALL)
    return [Fence(match[1], match[2], README.count('\n', 0, match.start()) + 1) for match in found]


BLOCKS = fences()
AFTER = {block.line: following for block, following in pairwise(BLOCKS)}


def of(*languages: str) -> list[object]:
    return [pytest.param(block, id=f'line{block.line}') for block in BLOCKS if block.language in languages]


def shown_after(block: Fence) -> str | None:
    """The output that README.md shows for a block: the block of text right below it."""
    following = AFTER.get(block.line)
    end = block.line + block.text.count('\n') + 2
    return following.text if following and following.language == 'text' and following.line == end + 1 else None


def assert_shown(shown: str, printed: str) -> None:
    """Same lines, numbers within 2 %; a line of '…' stands for any lines."""
    parts = [[]]
    for line in shown.rstrip().splitlines():
        if line.strip() == '…':
            parts.append([])
        else:
            parts[-1].append(line)
    lines = printed.rstrip().splitlines()
    head, tail = parts[0], parts[-1] if len(parts) > 1 else []
    assert len(lines) == len(head) if len(parts) == 1 else len(lines) >= len(head) + len(tail), printed
    for want, got in [*zip(head, lines), *zip(reversed(tail), reversed(lines))]:
        assert NUMBER.sub('#', want).split() == NUMBER.sub('#', got).split(), f'{want!r} is {got!r}'
        for a, b in zip(NUMBER.findall(want), NUMBER.findall(got), strict=True):
            assert math.isclose(float(a), float(b), rel_tol=0.02, abs_tol=0.15), f'{want!r} is {got!r}'


def run(command: str) -> str:
    """What a `zoo` command line prints; it must succeed, and must need no network."""
    program, *arguments = shlex.split(command)
    assert program == 'zoo', command
    done = subprocess.run([sys.executable, '-m', 'zoo', *arguments], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, 'HF_HUB_OFFLINE': '1'})
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_readme_has_examples_and_only_known_blocks() -> None:
    assert {block.language for block in BLOCKS} <= {'python', 'console', 'sh', 'text', 'yaml'}
    assert len(of('python')) > 8 and len(of('console')) > 1


@pytest.mark.parametrize('block', of('python'))
def test_python(block: Fence, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    printed, before = io.StringIO(), {*zoo.list_models()}
    try:
        with contextlib.redirect_stdout(printed):
            exec(compile('\n' * block.line + block.text, 'README.md', 'exec'), {'__name__': 'readme'})
    finally:                                         # other tests list what zoo has
        while new := {*zoo.list_models()} - before:
            zoo.unregister_family(zoo.registry.resolve(new.pop())[0])
    assert_shown(shown_after(block) or '', printed.getvalue())


@pytest.mark.parametrize('block', of('console'))
def test_console(block: Fence) -> None:
    for command, shown in re.findall(r'^\$ (.+)\n((?:(?!\$ ).*\n)*)', block.text, re.MULTILINE):
        assert_shown(shown, run(command))


@pytest.mark.parametrize('block', of('sh'))
def test_installing(block: Fence) -> None:
    """pip is not run here; what it is asked for must be there, and the `zoo` command behind it is run."""
    extras = configparser.ConfigParser()
    extras.read(ROOT / 'setup.cfg')
    for command in block.text.strip().split(' && '):
        if command.startswith('zoo '):
            assert_shown(shown_after(block) or '', run(command))
        else:
            match = re.fullmatch(r'pip install (?:-e )?"\.\[(\w+)\]"|pytest -n 2', command)
            assert match, command
            assert not match[1] or match[1] in extras['options.extras_require']


@pytest.mark.parametrize('block', of('yaml'))
def test_yaml_is_a_file_of_the_project(block: Fence) -> None:
    name, _, text = block.text.partition('\n')
    assert name.startswith('# ')
    assert (ROOT / name.removeprefix('# ')).read_text(encoding='utf-8').partition('\n')[2] == text


def test_links_lead_to_files() -> None:
    for target in re.findall(r'\]\(([^)]+)\)', README):
        assert target.startswith('https://') or (ROOT / target).exists(), target
