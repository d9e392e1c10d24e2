"""What runs a network: PyTorch as it is, PyTorch's compiler, ONNX Runtime, OpenVINO; a class each, with the same
members."""
from __future__ import annotations

import copy
import importlib.util
import shutil
import tempfile
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..evaluation.network import prepare
from ..export.graphs import DIMENSIONS, capture, places, to_openvino, write_onnx
from ..export.quantise import quantise
from ..runtime.sessions import OnnxSession, OpenVinoSession, openvino_core
from ..spec import unknown

PRECISIONS = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16, 'int8': torch.int8}
KEPT = 4                        # sizes of images for which a graph is held ready
EXTRA = "pip install 'zoo-image-models[fast]'"


class Prepared:
    """A network and what backends make of it, each made once.

    Args:
        model: a network in evaluation mode; it is left as it is.
        example: images such as will come.
        calibration: batches of prepared images, for 'int8'.
    """

    def __init__(self, model: nn.Module, example: Tensor, calibration: Sequence[Tensor] | None = None) -> None:
        self.model, self.example, self.calibration = model, example, calibration

    @cached_property
    def folded(self) -> nn.Module:
        """The network with its normalisations folded and its weights frozen."""
        size = self.example.shape[1:]
        return prepare(self.model, self.example.device, channels_last=False,
                       image_size=(size[0], size[1], size[2])).requires_grad_(False)

    @cached_property
    def program(self) -> tuple[Any, list[int | None]]:
        """Its graph, and the sides of the images that this takes, see `capture_any_size`."""
        return capture_any_size(self.folded, self.example)

    @cached_property
    def outputs(self) -> list[str]:
        """Names of its outputs: 'outputs' of a tensor, 'map0' and so on of a list."""
        with torch.inference_mode():
            found = self.folded(self.example)
        return ['outputs'] if isinstance(found, Tensor) else [f'map{n}' for n in range(len(found))]

    @cached_property
    def onnx(self) -> bytes:
        """An ONNX file of it."""
        with tempfile.TemporaryDirectory() as folder:
            file = Path(folder, 'model.onnx')
            program, sides = self.program
            write_onnx(program, file, self.outputs, places([name for name, n in DIMENSIONS.items() if sides[n] is None]))
            return file.read_bytes()

    @cached_property
    def openvino(self) -> Any:
        """An `openvino.Model` of it."""
        return to_openvino(self.program[0], self.outputs)


class Backend:
    """A network ready to run.

    `build` makes one of a network, `restore` of what `save` wrote. Images (B, C, H, W) in float32 -> outputs in float32,
    a tensor or a list of them as the network gives them.

    Attributes:
        name: what `zoo.optimize(backend=)` calls it.
        packages: modules that have to be installed.
        precisions: what it computes in on a CPU.
        variant: which of the ways to build it that are tried, such as a memory format.
        dtype: what its operators compute in, where it has `network`.
        network: what gives `forward_features` and `forward_head`, where it can; else None.
    """

    name: ClassVar[str]
    packages: ClassVar[tuple[str, ...]] = ()
    precisions: ClassVar[tuple[str, ...]] = ('fp32',)
    variant = ''
    dtype = torch.float32
    network: nn.Module | None = None

    @classmethod
    def variants(cls, device: torch.device) -> tuple[str, ...]:
        """The ways to build it that are worth trying on a device; none where it does not run."""
        return ('',)

    @classmethod
    def build(cls, source: Prepared, precision: str, variant: str) -> Backend:
        """Makes one of a prepared network."""
        raise NotImplementedError

    def __call__(self, images: Tensor) -> Any:
        """Runs images."""
        raise NotImplementedError

    def save(self, folder: Path) -> None:
        """Writes what `restore` needs into a folder."""
        raise NotImplementedError

    @classmethod
    def restore(cls, folder: Path, precision: str, variant: str) -> Backend:
        """What `save` wrote, ready to run."""
        raise NotImplementedError


class Eager(Backend):
    """PyTorch, operator by operator: normalisations folded into convolutions, in the memory format that is faster."""

    name, precisions = 'eager', ('fp32', 'bf16', 'fp16')
    LAYOUTS = {'channels_last': torch.channels_last, 'contiguous': torch.contiguous_format}

    def __init__(self, run: Callable[[Tensor], Any], precision: str, variant: str, program: Any = None,
                 network: nn.Module | None = None) -> None:
        self.run, self.dtype, self.variant = run, PRECISIONS[precision], variant
        self.layout = self.LAYOUTS[variant]
        self.program, self.network = program, network

    @classmethod
    def variants(cls, device: torch.device) -> tuple[str, ...]:
        """Both memory formats; on an accelerator that for which its convolutions are made."""
        return ('channels_last', 'contiguous') if device.type == 'cpu' else ('channels_last',)

    @classmethod
    def build(cls, source: Prepared, precision: str, variant: str) -> Eager:
        network = copy.deepcopy(source.folded).to(PRECISIONS[precision]).to(memory_format=cls.LAYOUTS[variant])
        return cls(cls.compiled(network), precision, variant, source.example, network)

    @classmethod
    def compiled(cls, network: nn.Module) -> Callable[[Tensor], Any]:
        """What runs the prepared network."""
        return network

    def __call__(self, images: Tensor) -> Any:
        found = self.run(images.to(self.dtype).contiguous(memory_format=self.layout))
        return found.float() if isinstance(found, Tensor) else [one.float() for one in found]

    def save(self, folder: Path) -> None:
        program = self.program
        if isinstance(program, Tensor):                             # the example that it was built with
            # weights in channels_last would hold the graph to several images at a time
            assert self.network is not None
            network = copy.deepcopy(self.network).to(memory_format=torch.contiguous_format)
            program = capture_any_size(network, program.to(self.dtype))[0]
        torch.export.save(program, folder / 'model.pt2')

    @classmethod
    def restore(cls, folder: Path, precision: str, variant: str) -> Eager:
        program = torch.export.load(folder / 'model.pt2')
        network = program.module().to(memory_format=cls.LAYOUTS[variant])
        return cls(cls.compiled(network), precision, variant, program)


class Inductor(Eager):
    """PyTorch's compiler, with frozen weights on a CPU, with CUDA graphs where there is CUDA. Another size of images is
    compiled when it comes first."""

    name = 'inductor'

    @classmethod
    def variants(cls, device: torch.device) -> tuple[str, ...]:
        """None on a CPU without a C++ compiler."""
        if device.type == 'cpu' and not any(map(shutil.which, ('g++', 'clang++', 'c++', 'cl'))):
            return ()
        return ('channels_last',)

    @classmethod
    def compiled(cls, network: nn.Module) -> Callable[[Tensor], Any]:
        """The network, to be compiled for each size of images that comes."""
        with torch.no_grad():
            if not any(p.is_cuda for p in network.parameters()):
                return torch.compile(network, dynamic=False, options={'freezing': True})
            compiled = torch.compile(network, dynamic=False, mode='reduce-overhead')

        def run(images: Tensor) -> Any:
            found = compiled(images)                    # the next run of a CUDA graph writes over them
            return found.clone() if isinstance(found, Tensor) else [one.clone() for one in found]
        return run


class Graph(Backend):
    """A graph in the runtime of others. For each size of images that comes a session is made, the last few are kept.

    Attributes:
        graph: what sessions are made of.
        fixed: the sides (C, H, W) of the images that it takes; None for a dimension of any size.
        single: whether the network gives a tensor, no list.
    """

    def __init__(self, graph: Any, precision: str, fixed: Sequence[int | None], single: bool) -> None:
        self.graph, self.precision, self.fixed, self.single = graph, precision, tuple(fixed), single
        self.sessions: OrderedDict[tuple[int, ...], Callable[..., list[Tensor]]] = OrderedDict()

    @classmethod
    def variants(cls, device: torch.device) -> tuple[str, ...]:
        """On CPUs alone."""
        return ('',) if device.type == 'cpu' else ()

    def session(self, shape: tuple[int, ...]) -> Callable[..., list[Tensor]]:
        """What runs images of that shape."""
        raise NotImplementedError

    def __call__(self, images: Tensor) -> Any:
        shape = tuple(images.shape)
        if shape not in self.sessions:
            if len(shape) != 4 or any(want not in (None, got) for want, got in zip(self.fixed, shape)):
                wanted = ', '.join('any' if side is None else str(side) for side in self.fixed)
                raise ValueError(f'This graph takes images (B, C, H, W) of ({wanted}); got {shape}.')
            self.sessions[shape] = self.session(shape)
            while len(self.sessions) > KEPT:
                self.sessions.popitem(last=False)
        self.sessions.move_to_end(shape)
        found = self.sessions[shape](images.float())
        return found[0] if self.single else found


class OnnxRuntime(Graph):
    """ONNX Runtime; 'int8' by NNCF."""

    name, packages, precisions = 'onnxruntime', ('onnxruntime', 'onnx', 'onnxscript'), ('fp32', 'int8')

    @classmethod
    def build(cls, source: Prepared, precision: str, variant: str) -> OnnxRuntime:
        file = source.onnx
        if precision == 'int8':
            import onnx
            file = quantized(onnx.load_from_string(file), source, 'images').SerializeToString()
        return cls(file, precision, source.program[1], source.outputs == ['outputs'])

    def session(self, shape: tuple[int, ...]) -> Callable[..., list[Tensor]]:
        return OnnxSession(self.graph, shape=shape)

    def save(self, folder: Path) -> None:
        (folder / 'model.onnx').write_bytes(self.graph)

    @classmethod
    def restore(cls, folder: Path, precision: str, variant: str) -> OnnxRuntime:
        import onnx
        graph = onnx.load(folder / 'model.onnx').graph
        sides = graph.input[0].type.tensor_type.shape.dim
        return cls((folder / 'model.onnx').read_bytes(), precision,
                   [side.dim_value if side.HasField('dim_value') else None for side in sides], len(graph.output) == 1)


class OpenVino(Graph):
    """OpenVINO; 'int8' by NNCF. Processors with instructions for bfloat16 gain most by it."""

    name, packages, precisions = 'openvino', ('openvino',), ('fp32', 'bf16', 'fp16', 'int8')

    @classmethod
    def build(cls, source: Prepared, precision: str, variant: str) -> OpenVino:
        graph = quantized(source.openvino.clone(), source, None) if precision == 'int8' else source.openvino
        return cls(graph, precision, source.program[1], source.outputs == ['outputs'])

    def session(self, shape: tuple[int, ...]) -> Callable[..., list[Tensor]]:
        precision = {'fp32': 'f32', 'fp16': 'f16', 'bf16': 'bf16', 'int8': 'f32'}[self.precision]
        return OpenVinoSession(self.graph, precision, shape=shape)

    def save(self, folder: Path) -> None:
        import openvino
        openvino.save_model(self.graph, folder / 'model.xml', compress_to_fp16=False)

    @classmethod
    def restore(cls, folder: Path, precision: str, variant: str) -> OpenVino:
        graph = openvino_core().read_model(folder / 'model.xml')
        sides = [side.get_length() if side.is_static else None for side in graph.input(0).partial_shape]
        return cls(graph, precision, sides, len(graph.outputs) == 1)


BACKENDS: dict[str, type[Backend]] = {cls.name: cls for cls in (Eager, Inductor, OnnxRuntime, OpenVino)}


def installed() -> list[str]:
    """The backends whose packages are installed."""
    return [name for name, cls in BACKENDS.items() if not missing(cls)]


def missing(cls: type[Backend]) -> list[str]:
    """The packages of a backend that are not installed."""
    return [name for name in cls.packages if importlib.util.find_spec(name) is None]


def get_backend(name: str) -> type[Backend]:
    """The backend of that name.

    Raises:
        ValueError: there is none.
        ImportError: its packages are not installed.
    """
    if name not in BACKENDS:
        raise ValueError(unknown('backend', name, [*BACKENDS, 'auto']))
    if missing(BACKENDS[name]):
        raise ImportError(f'backend={name!r} needs {" and ".join(missing(BACKENDS[name]))}: {EXTRA}.')
    return BACKENDS[name]


def quantized(graph: Any, source: Prepared, inputs: str | None) -> Any:
    """A graph of ONNX or OpenVINO in int8, by NNCF's quantisation after training.

    Args:
        source: what it was made of.
        inputs: the name that images go by; None where the runtime takes them without.

    Raises:
        ImportError: NNCF is not installed.
    """
    if importlib.util.find_spec('nncf') is None:
        raise ImportError(f"precision='int8' needs nncf: {EXTRA}.")
    images = [image[None].numpy() for batch in source.calibration or () for image in batch]
    return quantise(graph, [image if inputs is None else {inputs: image} for image in images],
                    any(hasattr(module, 'num_heads') for module in source.model.modules()))


def capture_any_size(network: nn.Module, example: Tensor) -> tuple[Any, list[int | None]]:
    """The graph for as many sizes of images as the network takes: any number, height and width; any number; this one."""
    sized = getattr(network, 'img_size', None) and not getattr(network, 'dynamic_img_size', False)
    tries: list[tuple[str, ...]] = [tuple(DIMENSIONS), ('batch',), ()]
    for dynamic in tries[1 if sized else 0:]:
        try:
            program = capture(network, example, dynamic)
            break
        except (RuntimeError, ValueError, torch._dynamo.exc.UserError):
            if not dynamic:
                raise
    free = {DIMENSIONS[name] for name in dynamic}
    return program, [None if place in free else side for place, side in enumerate(example.shape)]
