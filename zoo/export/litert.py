"""LiteRT, formerly TensorFlow Lite: conversion in an environment of its own, since its converter asks for a PyTorch of
its choice."""
from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ..runtime.sessions import DESCRIBED

CONVERTER = 'litert-torch'
WORKER = Path(__file__).with_name('litert_worker.py')
LAST = 3                                                # lines of a converter's words that an error repeats


def environments_folder() -> Path:
    """Where environments that zoo makes lie."""
    cache = os.environ.get('XDG_CACHE_HOME') or Path.home() / '.cache'
    return Path(cache) / 'zoo' / 'environments'


def environment_python(environment: str | Path | None) -> Path:
    """The interpreter of an environment with the converter: of the one given, or of zoo's own, which is made if it is
    not there yet. That takes minutes and gigabytes, once.

    Raises:
        FileNotFoundError: there is no such environment. ImportError: it has no converter, or that cannot be installed.
    """
    folder = Path(environment).expanduser() if environment else environments_folder() / 'litert'
    python = folder / ('Scripts/python.exe' if os.name == 'nt' else 'bin/python')
    if environment and not python.is_file():
        raise FileNotFoundError(f'There is no environment {str(folder)!r}: python -m venv {folder} makes one.')
    if python.is_file() and _has_converter(python):
        return python
    if environment:
        raise ImportError(f'The environment {str(folder)!r} has no converter: {python} -m pip install {CONVERTER}.')
    print(f'zoo: making an environment with {CONVERTER} in {folder}; this takes a while, once', file=sys.stderr)
    _call([sys.executable, '-m', 'venv', str(folder)], ImportError)
    _call([str(python), '-m', 'pip', 'install', '--quiet', CONVERTER], ImportError)
    return python


def convert(program: Path, path: Path, python: Path, description: Mapping[str, Any]) -> None:
    """A file of `torch.export.save` as a .tflite file, which says what it is in a file of JSON that is packed behind
    it, and names its classes in labels.txt, as LiteRT's metadata have it.

    Raises:
        ValueError: the converter does not take the graph.
    """
    _call([str(python), str(WORKER), str(program), str(path)], ValueError)
    with zipfile.ZipFile(path, 'a') as packed:
        packed.writestr(DESCRIBED, json.dumps(description, ensure_ascii=False))
        if description['labels']:
            packed.writestr('labels.txt', '\n'.join(description['labels']) + '\n')


def _has_converter(python: Path) -> bool:
    code = 'import importlib.util, sys; sys.exit(importlib.util.find_spec("litert_torch") is None)'
    return subprocess.run([str(python), '-c', code], capture_output=True).returncode == 0


def _call(command: list[str], error: type[Exception]) -> None:
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode:
        lines = [line for line in (done.stderr + done.stdout).splitlines() if line.strip()][-LAST:]
        raise error(f'{" ".join(command[:4])} … ended with status {done.returncode}: {" ".join(lines)}')
