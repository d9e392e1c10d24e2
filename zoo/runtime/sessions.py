"""Graphs in the runtimes of others, called as a network is: tensors in, tensors out."""
from __future__ import annotations

import functools
import importlib
import json
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor

from ..spec import one_line, unknown
from . import portable

KEY = 'zoo'                                      # of what a file says of itself, in every format


class Session(Protocol):
    """A loaded graph: images -> its outputs in their order. Every input is a tensor on the CPU."""

    inputs: list[str]
    outputs: list[str]

    def __call__(self, *images: Tensor) -> list[Tensor]:
        """The graph's outputs."""


class OnnxSession:
    """An ONNX graph in ONNX Runtime, on the CPU.

    Args:
        file: the file, or its content.
        threads: of the processor; by default as many as PyTorch uses.
        shape: of the images (B, C, H, W), if it is to stand still, which is faster.
    """

    def __init__(self, file: str | Path | bytes, threads: int | None = None, shape: Sequence[int] | None = None) -> None:
        import onnxruntime
        if shape is not None:
            file = _standing(file, shape)
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or torch.get_num_threads()
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self.session = onnxruntime.InferenceSession(file if isinstance(file, bytes) else str(file), options,
                                                    providers=['CPUExecutionProvider'])
        self.inputs = [one.name for one in self.session.get_inputs()]
        self.outputs = [one.name for one in self.session.get_outputs()]

    @property
    def metadata(self) -> dict[str, str]:
        """What the file says of itself: names -> texts."""
        return dict(self.session.get_modelmeta().custom_metadata_map)

    def __call__(self, *images: Tensor) -> list[Tensor]:
        found = self.session.run(None, {name: image.contiguous().numpy() for name, image in zip(self.inputs, images)})
        return [torch.from_numpy(one) for one in found]


def _standing(file: str | Path | bytes, shape: Sequence[int]) -> bytes:
    """An ONNX graph of images of one shape: what depends on it alone (SAME padding, say) becomes constant when it is
    loaded."""
    import onnx
    model = onnx.load_from_string(file) if isinstance(file, bytes) else onnx.load(file)
    for side, size in zip(model.graph.input[0].type.tensor_type.shape.dim, shape, strict=True):
        side.dim_value = size
    content: bytes = model.SerializeToString()
    return content


@functools.cache
def openvino_core() -> Any:
    """The one `openvino.Core` of the process, which is never let go: its plugin for the CPU gives the thread that makes it
    a stack for signals, and takes that away in whatever thread the core ends, from which on the first signal (of a child
    process that ends, say) would end the process."""
    import openvino
    return openvino.Core()


class OpenVinoSession:
    """A graph in OpenVINO, on the CPU.

    Args:
        graph: an `openvino.Model`, or the .xml file of one.
        precision: that it computes in: 'f32', 'bf16' or 'f16', whatever its weights are kept in.
        threads: of the processor; by default as many as PyTorch uses.
        shape: of the images (B, C, H, W), if it is to stand still.
    """

    def __init__(self, graph: Any, precision: str = 'f32', threads: int | None = None,
                 shape: Sequence[int] | None = None) -> None:
        core = openvino_core()
        if isinstance(graph, (str, Path)):
            graph = core.read_model(str(graph))
        if shape is not None and list(graph.input(0).partial_shape) != list(shape):
            graph = graph.clone()
            graph.reshape(list(shape))
        self.graph = graph
        compiled = core.compile_model(graph, 'CPU', {
            'PERFORMANCE_HINT': 'LATENCY', 'INFERENCE_PRECISION_HINT': precision,
            'INFERENCE_NUM_THREADS': threads or torch.get_num_threads()})
        # the graph's, as compiling adds names of its own
        self.inputs = [one.any_name if one.names else f'input{i}' for i, one in enumerate(graph.inputs)]
        self.outputs = [one.any_name if one.names else f'output{i}' for i, one in enumerate(graph.outputs)]
        self._request = compiled.create_infer_request()

    @property
    def metadata(self) -> dict[str, str]:
        """What the file says of itself: names -> texts."""
        names = [name for name in self.graph.get_rt_info() if self.graph.has_rt_info([name])]
        found = {name: self.graph.get_rt_info([name]).value for name in names}
        return {name: value for name, value in found.items() if isinstance(value, str)}

    def __call__(self, *images: Tensor) -> list[Tensor]:
        found = self._request.infer([image.contiguous().numpy() for image in images], share_inputs=True)
        return [torch.from_numpy(one) for one in found.values()]


class ProgramSession:
    """A file that `torch.export.save` wrote, in PyTorch."""

    inputs = ['images']

    def __init__(self, file: str | Path, threads: int | None = None) -> None:
        texts = {'zoo': ''}
        program = torch.export.load(str(file), extra_files=texts)
        self.metadata = {name: text for name, text in texts.items() if text}
        self._call = program.module()
        self.outputs = [f'output{i}' for i in range(len(program.graph_signature.user_outputs))]

    def __call__(self, *images: Tensor) -> list[Tensor]:
        with torch.no_grad():
            found = self._call(*images)
        return [found] if isinstance(found, Tensor) else list(found)


class LiteRtSession:
    """A .tflite file in LiteRT, on the CPU. What it says of itself is in a file that is packed behind it."""

    inputs = ['images']

    def __init__(self, file: str | Path, threads: int | None = None) -> None:
        from ai_edge_litert.interpreter import Interpreter
        self.interpreter = Interpreter(model_path=str(file), num_threads=threads or torch.get_num_threads())
        self.interpreter.allocate_tensors()
        self._ends = self.interpreter.get_input_details(), self.interpreter.get_output_details()
        self.outputs = [f'output{i}' for i in range(len(self._ends[1]))]
        self.metadata = portable.description(file)

    def __call__(self, *images: Tensor) -> list[Tensor]:
        for about, image in zip(self._ends[0], images):
            self.interpreter.set_tensor(about['index'], image.contiguous().numpy())
        self.interpreter.invoke()
        return [torch.from_numpy(self.interpreter.get_tensor(about['index'])) for about in self._ends[1]]


class PortableSession:
    """A .pte file in ExecuTorch or an .mlpackage in Core ML, on macOS; both take what threads they like.

    Args:
        python: of another environment, which has the runtime; by default it is here.
    """

    inputs = ['images']

    def __init__(self, file: str | Path, threads: int | None = None, python: Path | None = None) -> None:
        self._run = portable.Elsewhere(file, python) if python else portable.LOADERS[Path(file).suffix](str(file))
        self.metadata = portable.description(file) if not python else {}
        self.outputs = json.loads(self.metadata[KEY])['outputs'] if KEY in self.metadata else []

    def __call__(self, *images: Tensor) -> list[Tensor]:
        return [torch.from_numpy(one) for one in self._run([image.contiguous().numpy() for image in images])]


SESSIONS: dict[str, Callable[..., Any]] = {'.onnx': OnnxSession, '.xml': OpenVinoSession, '.pt2': ProgramSession,
                                           '.tflite': LiteRtSession, '.pte': PortableSession,
                                           '.mlpackage': PortableSession}
PACKAGES = {'.onnx': 'onnxruntime', '.xml': 'openvino', '.tflite': 'ai_edge_litert', '.pte': 'executorch',
            '.mlpackage': 'coremltools'}


def import_runtime(path: str | Path) -> None:
    """Imports what reads a file, as opening it would."""
    importlib.import_module(PACKAGES.get(Path(path).suffix, 'torch'))


def open_session(path: str | Path, threads: int | None = None, python: Path | None = None) -> Any:
    """A file in the runtime that its suffix names.

    Args:
        threads: of the processor; by default as many as PyTorch uses.
        python: the interpreter that has the runtime of a .pte or .mlpackage file, if it is not this one.

    Raises:
        FileNotFoundError: no such file. ImportError: its runtime is not installed.
        ValueError: another suffix, or a file that the runtime cannot read.
    """
    path = Path(path).expanduser()
    if path.suffix not in SESSIONS:
        raise ValueError(unknown('Suffix of an exported file', path.suffix, SESSIONS))
    if not path.exists():
        raise FileNotFoundError(f'There is no file {str(path)!r}.')
    try:
        if python and path.suffix in portable.LOADERS and python != Path(sys.executable):
            return PortableSession(path, python=python)
        return SESSIONS[path.suffix](path, threads=threads)
    except ImportError as error:
        package = PACKAGES.get(path.suffix, error.name)
        raise ImportError(f'{path.suffix} files are read by {package}: pip install {package}.') from error
    except Exception as error:                       # every runtime has types of its own
        raise ValueError(f'{path} cannot be read ({one_line(error)}).') from error
