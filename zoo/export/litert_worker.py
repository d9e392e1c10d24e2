"""Run by the interpreter of the converter's environment, which has no zoo: a file of `torch.export.save` as a .tflite
file. `python litert_worker.py PROGRAM.pt2 FILE.tflite`."""
from __future__ import annotations

import sys


def main(program_file: str, path: str) -> None:
    """Converts the file; its example inputs are those that it was captured with."""
    import litert_torch
    import torch
    program = torch.export.load(program_file)
    arguments, _ = program.example_inputs
    litert_torch.convert(program.module(), arguments).export(path)


if __name__ == '__main__':
    main(*sys.argv[1:])
