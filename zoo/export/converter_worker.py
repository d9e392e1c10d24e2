"""Run by the interpreter of a converter's environment, which need not have zoo: a file of `torch.export.save` as a file
of another format. `python converter_worker.py FORMAT PROGRAM.pt2 FILE ABOUT.json`."""
from __future__ import annotations

import json
import sys
from typing import Any


def litert(program: Any, path: str, about: dict[str, Any]) -> None:
    """A .tflite file; its example inputs are those that the program was captured with."""
    import litert_torch
    arguments, _ = program.example_inputs
    litert_torch.convert(program.module(), arguments).export(path)


def executorch(program: Any, path: str, about: dict[str, Any]) -> None:
    """A .pte file, in which XNNPACK computes what it knows."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner
    from executorch.exir import to_edge_transform_and_lower
    lowered = to_edge_transform_and_lower(program, partitioner=[XnnpackPartitioner()])
    with open(path, 'wb') as file:
        lowered.to_executorch().write_to_file(file)


def coreml(program: Any, path: str, about: dict[str, Any]) -> None:
    """An .mlpackage for iOS 16, macOS 13 and later, with metadata."""
    import coremltools
    precision = {'fp32': coremltools.precision.FLOAT32, 'fp16': coremltools.precision.FLOAT16}[about['precision']]
    model = coremltools.convert(program.run_decompositions({}), minimum_deployment_target=coremltools.target.iOS16,
                                compute_precision=precision, skip_model_load=True,
                                outputs=[coremltools.TensorType(name) for name in about['outputs']])
    model.user_defined_metadata.update(about['metadata'])
    model.save(path)


def main(format: str, program_file: str, path: str, about_file: str) -> None:
    """Converts the file."""
    import torch
    with open(about_file) as file:
        about = json.load(file)
    {'litert': litert, 'executorch': executorch, 'coreml': coreml}[format](torch.export.load(program_file), path, about)


if __name__ == '__main__':
    main(*sys.argv[1:])
