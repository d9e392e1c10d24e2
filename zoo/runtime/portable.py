"""ExecuTorch's and Core ML's files, here or in an interpreter that has their runtime. It needs nothing of zoo, and is
run as `python portable.py FILE` there: images come in by stdin, outputs go out by stdout, a line of JSON with types and
shapes and then their bytes."""
from __future__ import annotations

import json
import math
import os
import subprocess
import sys
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

Arrays = Sequence[np.ndarray]
DESCRIBED = 'zoo.json'                          # packed behind files that have no place for what they are


def executorch(file: str) -> Callable[[Arrays], list[np.ndarray]]:
    """A .pte file: arrays -> its outputs."""
    import torch
    from executorch.runtime import Runtime
    program = Runtime.get().load_program(file)
    method = program.load_method('forward')

    def run(arrays: Arrays) -> list[np.ndarray]:
        found = method.execute([torch.from_numpy(np.array(one)) for one in arrays])
        return [one.numpy().copy() for one in found]            # the next call overwrites the method's own
    return run


def coreml(file: str) -> Callable[[Arrays], list[np.ndarray]]:
    """An .mlpackage, on macOS: arrays -> its outputs."""
    import coremltools
    if sys.platform != 'darwin':
        raise OSError('Core ML runs on macOS alone')
    model = coremltools.models.MLModel(file)
    inputs, outputs = ([one.name for one in ends] for ends in (model.get_spec().description.input,
                                                               model.get_spec().description.output))

    def run(arrays: Arrays) -> list[np.ndarray]:
        found = model.predict(dict(zip(inputs, arrays)))
        return [np.asarray(found[name]) for name in outputs]
    return run


LOADERS = {'.pte': executorch, '.mlpackage': coreml}


def description(file: str | Path) -> dict[str, str]:
    """What a file says of itself, on any machine: an .mlpackage in its metadata, others in JSON packed behind them,
    {'zoo': text}; nothing where there is nothing."""
    if Path(file).suffix == '.mlpackage':
        from coremltools.utils import load_spec
        return dict(load_spec(str(file)).description.metadata.userDefined)
    if zipfile.is_zipfile(file):
        with zipfile.ZipFile(file) as packed:
            if DESCRIBED in packed.namelist():
                return {Path(DESCRIBED).stem: packed.read(DESCRIBED).decode()}
    return {}


class Elsewhere:
    """A file run by another interpreter: arrays -> its outputs.

    Raises:
        ValueError: it cannot be read there, or the interpreter ends while it runs the file.
    """

    def __init__(self, file: str | Path, python: Path) -> None:
        process: Any = subprocess.Popen([str(python), __file__, str(file)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        self._process = process                                 # its streams are pipes
        answer = json.loads(self._process.stdout.readline() or '{"error": "it ended at once"}')
        if answer['error']:
            self._process.wait()
            raise ValueError(answer['error'])

    def __call__(self, arrays: Arrays) -> list[np.ndarray]:
        try:
            _send(self._process.stdin, arrays)
            return _receive(self._process.stdout)
        except (EOFError, BrokenPipeError) as error:
            raise ValueError('The interpreter that ran the file ended; it does not take these images.') from error

    def __del__(self) -> None:
        if hasattr(self, '_process'):
            self._process.kill()
            self._process.wait()


def _send(stream: BinaryIO, arrays: Arrays) -> None:
    stream.write(json.dumps([[one.dtype.str, one.shape] for one in arrays]).encode() + b'\n')
    for one in arrays:
        stream.write(np.ascontiguousarray(one).tobytes())
    stream.flush()


def _receive(stream: BinaryIO) -> list[np.ndarray]:
    kinds = stream.readline()
    if not kinds:
        raise EOFError('the other interpreter ended')
    return [np.frombuffer(bytearray(stream.read(np.dtype(kind).itemsize * math.prod(shape))), kind).reshape(shape)
            for kind, shape in json.loads(kinds)]


def main(file: str) -> None:
    """Answers with outputs until there are no more images."""
    # what runtimes print on stdout goes to stderr
    given, answers = sys.stdin.buffer, os.fdopen(os.dup(1), 'wb')
    os.dup2(2, 1)

    def say(error: str) -> None:
        answers.write(json.dumps({'error': error}).encode() + b'\n')
        answers.flush()
    try:
        run = LOADERS[Path(file).suffix](file)
    except Exception as error:
        return say(f'{type(error).__name__}: {error}')
    say('')
    while True:
        try:
            arrays = _receive(given)
        except EOFError:
            return
        _send(answers, run(arrays))


if __name__ == '__main__':
    main(*sys.argv[1:])
