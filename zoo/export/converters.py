"""Converters that may live in an environment of their own, since they ask for a PyTorch of their choice: LiteRT's,
ExecuTorch's and Core ML's."""
from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..runtime.portable import DESCRIBED
from ..runtime.sessions import KEY

WORKER = Path(__file__).with_name('converter_worker.py')
LAST = 3                                                # lines of a converter's words that an error repeats


@dataclass(frozen=True)
class Converter:
    """What writes a format.

    Attributes:
        module: that is imported.
        packages: that pip installs for it in a new environment.
        packed: whether the file says what it is in a file of JSON packed behind it, for want of a place of its own.
    """

    module: str
    packages: tuple[str, ...]
    packed: bool = True


CONVERTERS = {
    'litert': Converter('litert_torch', ('litert-torch',)),
    'executorch': Converter('executorch', ('executorch', 'torch')),
    'coreml': Converter('coremltools', ('coremltools', 'torch'), packed=False),
}


def environments_folder() -> Path:
    """Where environments that zoo makes lie."""
    cache = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(cache) / 'zoo' / 'environments'


def find_python(format: str, environment: str | Path | None = None) -> Path | None:
    """The interpreter that has a format's converter: of the environment given, this one, or that of zoo's own
    environment; None where no one has it."""
    one = CONVERTERS[format]
    if environment is None and importlib.util.find_spec(one.module):
        return Path(sys.executable)
    folder = Path(environment).expanduser() if environment else environments_folder() / format
    python = _python_of(folder)
    return python if python.is_file() and _has(python, one.module) else None


def environment_python(format: str, environment: str | Path | None = None) -> Path:
    """As `find_python`; where no interpreter has the converter, zoo's own environment is made. That takes minutes and
    gigabytes, once.

    Raises:
        FileNotFoundError: there is no such environment. ImportError: it has no converter, or that cannot be installed.
    """
    found = find_python(format, environment)
    if found:
        return found
    packages = CONVERTERS[format].packages
    folder = Path(environment).expanduser() if environment else environments_folder() / format
    python = _python_of(folder)
    if environment and not python.is_file():
        raise FileNotFoundError(f'There is no environment {str(folder)!r}: python -m venv {folder} makes one.')
    if environment:
        raise ImportError(f'The environment {str(folder)!r} has no converter: {python} -m pip install '
                          f'{" ".join(packages)}.')
    print(f'zoo: making an environment with {", ".join(packages)} in {folder}; this takes a while, once',
          file=sys.stderr)
    _call([sys.executable, '-m', 'venv', str(folder)], ImportError)
    _call([str(python), '-m', 'pip', 'install', '--quiet', *packages], ImportError)
    return python


def convert(format: str, program: Path, path: Path, python: Path, description: Mapping[str, Any]) -> None:
    """A file of `torch.export.save` as a file of another format, which says what it is: Core ML's in its metadata, the
    others' in a file of JSON that is packed behind it, with the names of its classes in labels.txt, as LiteRT's
    metadata have it.

    Raises:
        ValueError: the converter does not take the graph.
    """
    text = json.dumps(description, ensure_ascii=False)
    about = program.with_name('about.json')
    about.write_text(json.dumps({'metadata': {KEY: text}, 'precision': description['precision'],
                                 'outputs': description['outputs']}))
    _call([str(python), str(WORKER), format, str(program), str(path), str(about)], ValueError)
    if CONVERTERS[format].packed:
        with zipfile.ZipFile(path, 'a') as packed:
            packed.writestr(DESCRIBED, text)
            if description['labels']:
                packed.writestr('labels.txt', '\n'.join(description['labels']) + '\n')


def _python_of(folder: Path) -> Path:
    return folder / ('Scripts/python.exe' if os.name == 'nt' else 'bin/python')


def _has(python: Path, module: str) -> bool:
    code = f'import importlib.util, sys; sys.exit(importlib.util.find_spec({module!r}) is None)'
    return subprocess.run([str(python), '-c', code], capture_output=True).returncode == 0


def _call(command: list[str], error: type[Exception]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()][-LAST:]
        raise error(f'{" ".join(command[:4])} … ended with status {done.returncode}: {" ".join(lines)}')
