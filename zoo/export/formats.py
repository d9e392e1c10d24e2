"""The formats that networks are exported to: a row each. Standard library only."""
from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path

from ..spec import unknown

PRECISIONS = ('fp32', 'fp16', 'int8')
DIMENSIONS = ('batch', 'height', 'width')


@dataclass(frozen=True)
class Format:
    """A format of files.

    Attributes:
        name: what `--format` calls it.
        suffix: of its files.
        text: what reads it.
        packages: that writing and checking it needs, as they are imported and as pip calls them.
        precisions: that it is written in.
        dynamic: dimensions of the images that may be left open.
        quantiser: packages that int8 needs beside the others.
        converter: what pip calls a converter that may live in an environment of its own, see `converters`; '' for one
            that lives here.
    """

    name: str
    suffix: str
    text: str
    packages: tuple[str, ...] = ()
    precisions: tuple[str, ...] = PRECISIONS
    dynamic: tuple[str, ...] = DIMENSIONS
    quantiser: tuple[str, ...] = ('nncf',)
    converter: str = ''


FORMATS = {one.name: one for one in (
    Format('onnx', '.onnx', 'ONNX Runtime and most others', ('onnx', 'onnxscript', 'onnxruntime')),
    Format('openvino', '.xml', 'OpenVINO, on processors and GPUs of Intel', ('openvino',)),
    Format('torch-export', '.pt2', 'PyTorch, without this package', precisions=('fp32', 'fp16')),
    Format('litert', '.tflite', 'LiteRT (TensorFlow Lite), with the channels last', ('ai_edge_litert',), ('fp32',), (),
           converter='litert-torch'),
    Format('executorch', '.pte', 'ExecuTorch, on phones and small computers', (), ('fp32',), (),
           converter='executorch'),
    Format('coreml', '.mlpackage', 'Core ML, on iOS 16, macOS 13 and later', (), ('fp32', 'fp16'), (),
           converter='coremltools'),
)}


def missing(name: str, precision: str = 'fp32') -> list[str]:
    """The packages that a format needs in that precision and that are not installed."""
    one = FORMATS[name]
    needed = one.packages + (one.quantiser if precision == 'int8' else ())
    return [package for package in needed if importlib.util.find_spec(package) is None]


def choose_format(path: Path | None, name: str | None) -> Format:
    """The format named, or else that of the file's suffix.

    Raises:
        ValueError: an unknown name or suffix, or a suffix of another format than the one named.
    """
    if name is not None and name not in FORMATS:
        raise ValueError(unknown('Export format', name, FORMATS))
    suffixes, suffix = {one.suffix: one for one in FORMATS.values()}, path.suffix if path else ''
    if name is None and suffix not in suffixes:
        raise ValueError(unknown('Suffix of an exported file', suffix, suffixes))
    chosen = FORMATS[name] if name else suffixes[suffix]
    if path is not None and suffix != chosen.suffix:
        raise ValueError(f'Files of the format {chosen.name} end in {chosen.suffix}; got {str(path)!r}.')
    return chosen


def check_request(one: Format, precision: str, dynamic: set[str], preprocess: bool = False) -> None:
    """Raises ValueError for a precision or an open dimension that a format does not have, ImportError for packages that
    are missing."""
    if precision not in one.precisions:
        raise ValueError(f'{one.name}: ' + unknown('precision', precision, one.precisions))
    if preprocess and not {'height', 'width'} <= {*one.dynamic}:
        raise ValueError(f"{one.name}: images have one size, so that preprocess=True has nothing to resize; "
                         "input='uint8' normalises in the graph.")
    for name in sorted(dynamic):
        if name not in one.dynamic:
            raise ValueError(f'{one.name}: ' + unknown('dynamic dimension', name, one.dynamic) if one.dynamic else
                             f'{one.name}: images have one size and number; leave dynamic {name} out.')
    if absent := missing(one.name, precision):
        raise ImportError(f'Export to {one.name} needs {", ".join(absent)}: pip install '
                          "'zoo-image-models[export]'. zoo doctor says what works here.")
