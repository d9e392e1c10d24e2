"""`export_model`: a network as a file, written, checked, and only then where it was asked for."""
from __future__ import annotations

import contextlib
import copy
import os
import shutil
import tempfile
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..data import resolve_model_data_config
from ..layers.reparam import fuse_branches
from ..profiling import profile
from ..runtime.sessions import KEY
from ..spec import unknown
from .check import LEAST_SIDE, Outcome, Pictures, check_file
from .converters import convert, environment_python
from .description import as_text, describe, output_names
from .formats import PRECISIONS, check_request, choose_format
from .graphs import capture, places, to_openvino, write_onnx
from .preprocessing import ChannelsFirst, Normalise, Preprocessing
from .quantise import Calibration, quantise_onnx, quantise_openvino

WHAT = ('logits', 'features', 'embedding')
INPUTS = ('float32', 'uint8')
ANY_SIZE = (75, 90)                             # of the photograph that preprocessing in the graph is captured with


class Graph(nn.Module):
    """What is exported: preprocessing if asked for, the network, and what becomes of its outputs.

    Args:
        what: 'logits', 'features' (maps) or 'embedding'.
        before: from the file's input to the network's; None where they are the same.
        probabilities: 'softmax' or 'sigmoid' of the logits; None for the logits themselves.
        half: whether the network computes in float16.
    """

    def __init__(self, network: nn.Module, what: str, before: nn.Module | None = None,
                 probabilities: str | None = None, half: bool = False) -> None:
        super().__init__()
        self.before, self.network = before or nn.Identity(), network
        self.what, self.probabilities, self.half_precision = what, probabilities, half

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        x = self.before(images)
        found = self.outputs(x.half() if self.half_precision else x)
        found = tuple(one.float() for one in found)
        if self.probabilities == 'softmax':
            return (found[0].softmax(-1),)
        return (found[0].sigmoid(),) if self.probabilities == 'sigmoid' else found

    def outputs(self, x: Tensor) -> tuple[Tensor, ...]:
        """What the network itself gives."""
        network: Any = self.network
        if self.what == 'logits':
            return (network(x),)
        if self.what == 'embedding':
            return (network.forward_head(network.forward_features(x), pre_logits=True),)
        if hasattr(network, 'forward_intermediates'):
            return tuple(network.forward_intermediates(x, intermediates_only=True))
        maps = network(x)
        return tuple(maps.values() if isinstance(maps, dict) else maps)


def export_model(model: nn.Module, path: str | Path, format: str | None = None, *,
                 dynamic: Collection[str] = (), what: str | None = None, preprocess: bool = False,
                 input: str | None = None, precision: str = 'fp32', calibration: str | Path | None = None,
                 img_size: int | tuple[int, int] | None = None, batch_size: int = 1, check: str | Path | None = None,
                 limit: float | None = None, environment: str | Path | None = None) -> Outcome:
    """Writes a network as a file for another runtime, and compares what that runtime makes of photographs with what the
    network does. The file is there only if they agree; one that was there before is replaced.

    Labels, data config, licence, source, architecture and zoo's version travel as JSON in the file's metadata, under
    'zoo'. `zoo.load_exported` reads it again.

    Args:
        model: a network of `zoo.create_model`, with `features_only=True` or without, or of `zoo.train.load_trained`;
            it is left as it is. A detector or segmenter is written by `zoo.export.export_dense`.
        path: its suffix says the format, if `format` does not: .onnx, .xml (OpenVINO, with a .bin beside it), .pt2,
            .tflite, .pte, .mlpackage (a folder).
        format: 'onnx', 'openvino', 'torch-export', 'litert' (.tflite), whose images have the channels last,
            'executorch' (.pte) or 'coreml' (.mlpackage). Core ML runs on macOS alone: elsewhere its file is written and
            not compared, which the outcome says.
        dynamic: which of 'batch', 'height' and 'width' are left open; with `preprocess` height and width always are.
        what: the file gives 'logits', all the maps of 'features', or an 'embedding'; by default what the model does.
        preprocess: resizing, cut and normalisation are layers of the graph, which takes photographs (B, H, W, C) and
            gives probabilities.
        input: 'float32' or 'uint8'. Floats are normalised images (B, C, H, W), with `preprocess` levels in 0..1; uint8
            are levels (B, H, W, C). By default uint8 with `preprocess`.
        precision: 'fp32'; 'fp16', of the weights and, but for OpenVINO on a CPU, of what is computed; 'int8' by NNCF.
            Not every format has all: `zoo doctor` lists them.
        calibration: a folder of images, for int8.
        img_size: what the network sees, in pixels, if not what its weights were made for.
        batch_size: of a file that takes one number of images.
        check: a folder of photographs; by default those that come with zoo.
        limit: the largest relative difference that is let pass; by default `zoo.export.check.LIMITS`.
        environment: that has the converter of LiteRT, ExecuTorch or Core ML; by default this one, or one of zoo's own,
            which is made where it is not there yet.

    Raises:
        ValueError: a value that cannot be had, or a network that cannot be exported so.
        ImportError: a package is missing; the message says how to get it.
        TooFarOff: the file gives something else than the network; nothing is left behind.
    """
    path = Path(path).expanduser()
    chosen = choose_format(path, format)
    what = what or ('features' if not hasattr(model, 'forward_head') else
                    'logits' if getattr(model, 'num_classes', 0) else 'embedding')
    _check_words(what, input, precision, calibration, preprocess, model)
    open_sides = {*dynamic, *(('height', 'width') if preprocess else ())}
    check_request(chosen, precision, open_sides, preprocess)
    config = resolve_model_data_config(model, {'input_size': _input_size(model, img_size)} if img_size else {})
    network = _ready(model, config, bool({'height', 'width'} & open_sides) and not preprocess)
    kind = input or ('uint8' if preprocess else 'float32')
    probabilities = _probabilities(model, what) if preprocess else None
    before = (Preprocessing(config) if preprocess else Normalise(config) if kind == 'uint8' else
              ChannelsFirst() if chosen.name == 'litert' else None)
    plain = Graph(network, what, before, probabilities).eval()
    last = before is not None
    example = _example(config, kind, last, preprocess, batch_size)
    names = output_names(what, len(_run(plain, example)), 'probabilities' if probabilities else None)
    description = describe(model, config, profile(network, tuple(config['input_size'])), what=what, format=chosen.name,
                           precision=precision, outputs=list(names), input={
        'layout': 'NHWC' if last else 'NCHW', 'type': kind, 'preprocess': preprocess, 'dynamic': sorted(open_sides),
        'batch_size': batch_size})
    half = precision == 'fp16' and chosen.name not in ('openvino', 'coreml')     # which make it of fp32 themselves
    graph = Graph(copy.deepcopy(network).half(), what, before, probabilities, half=True).eval() if half else plain
    program = _captured(graph, example, open_sides, last)
    pictures = Pictures(check, config, description)
    converter = environment_python(chosen.name, environment) if chosen.converter else None
    examples = None if calibration is None else Calibration(
        calibration, config, description, any(hasattr(module, 'num_heads') for module in network.modules()))
    with staged(path) as temporary:
        _write(program, temporary, chosen.name, description, examples, converter)
        outcome = check_file(temporary, path, plain, pictures, description, limit, converter)
    return outcome


def _write(program: Any, path: Path, format: str, description: Mapping[str, Any], examples: Calibration | None,
           converter: Path | None) -> None:
    text, names, taken = as_text(description), description['outputs'], description['input']
    dynamic = places(taken['dynamic'], taken['layout'] == 'NHWC')
    if format == 'torch-export':
        torch.export.save(program, str(path), extra_files={KEY: text})
        return
    if converter:
        with tempfile.TemporaryDirectory() as folder:
            torch.export.save(program, str(Path(folder) / 'program.pt2'))
            convert(format, Path(folder) / 'program.pt2', path, converter, description)
        return
    if format == 'onnx':
        write_onnx(program, path, names, dynamic, {KEY: text})
        if examples:
            quantise_onnx(path, examples)
        return
    import openvino
    try:
        graph = to_openvino(program, names)
    except Exception:                             # of its own types; what it does not know of PyTorch it may of ONNX
        with tempfile.TemporaryDirectory() as folder:
            write_onnx(program, Path(folder) / 'graph.onnx', names, dynamic)
            graph = openvino.convert_model(str(Path(folder) / 'graph.onnx'))
    if examples:
        graph = quantise_openvino(graph, examples)
    graph.set_rt_info(text, [KEY])
    openvino.save_model(graph, str(path), compress_to_fp16=description['precision'] == 'fp16')


def _captured(graph: Graph, example: Tensor, dynamic: set[str], channels_last: bool) -> Any:
    try:
        return capture(graph, example, dynamic, channels_last, LEAST_SIDE)
    except (RuntimeError, torch._dynamo.exc.UserError) as error:
        sides = ', '.join(sorted(dynamic)) or 'none'
        first = next((line for line in str(error).splitlines() if line.strip()), type(error).__name__)
        raise ValueError(f'The network cannot be captured with these dynamic dimensions ({sides}): {first.strip()}'
                         ) from error


@contextlib.contextmanager
def staged(path: Path) -> Iterator[Path]:
    """A path of the same name in a folder beside it, of which all files come to the path's own place if nothing is
    raised, and nothing is left otherwise."""
    path.parent.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(dir=path.parent, prefix=f'.{path.name}.'))
    try:
        yield folder / path.name
        for file in sorted(folder.iterdir(), key=lambda file: file.name == path.name):      # what others lean on, last
            place = path.parent / file.name
            if place.is_dir():                                # which is not replaced but by hand
                os.replace(place, folder / '.before')
            os.replace(file, place)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _check_words(what: str, input: str | None, precision: str, calibration: object, preprocess: bool,
                 model: nn.Module) -> None:
    for name, word, known in (('what', what, WHAT), ('input', input or INPUTS[0], INPUTS),
                              ('precision', precision, PRECISIONS)):
        if word not in known:
            raise ValueError(unknown(name, word, known))
    if (precision == 'int8') != (calibration is not None):
        raise ValueError("precision='int8' and calibration, a folder of images, go together: give both or neither.")
    if what == 'logits' and not getattr(model, 'num_classes', 0):
        raise ValueError("The network has no classes: what='embedding' or what='features'.")
    if what != 'features' and not hasattr(model, 'forward_head'):
        raise ValueError(f"A backbone gives maps: what='features', not {what!r}.")
    if preprocess and what != 'logits':
        raise ValueError(f"preprocess=True is for a network that classifies; with what={what!r} give input='uint8', "
                         'which normalises in the graph.')


def _probabilities(model: nn.Module, what: str) -> str | None:
    return {'single': 'softmax', 'multi': 'sigmoid'}.get(getattr(model, 'task', 'single')) if what == 'logits' else None


def _input_size(model: nn.Module, img_size: int | tuple[int, int]) -> tuple[int, ...]:
    sides = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
    return (getattr(model, 'in_chans', 3), *sides)


def _ready(model: nn.Module, config: Mapping[str, Any], any_size: bool) -> nn.Module:
    """A copy of the network on the CPU, fused, and fitted to the images it will see."""
    network = fuse_branches(copy.deepcopy(model).cpu().float().eval(), strict=False)
    sized: Any = getattr(network, 'network', network)
    if getattr(sized, 'img_size', None) and tuple(sized.img_size) != tuple(config['input_size'][1:]):
        sized.set_input_size(config['input_size'][1:])
    if any_size and getattr(sized, 'img_size', None):
        sized.set_input_size(dynamic_img_size=True)
    for parameter in network.parameters():
        parameter.requires_grad_(False)
    return network


def _example(config: Mapping[str, Any], kind: str, channels_last: bool, preprocess: bool, batch_size: int) -> Tensor:
    channels, *sides = config['input_size']
    generator = torch.Generator().manual_seed(0)
    if not channels_last:
        return torch.rand(batch_size, channels, *sides, generator=generator)
    levels = torch.rand(batch_size, *(ANY_SIZE if preprocess else sides), channels, generator=generator)
    return (levels * 255).to(torch.uint8) if kind == 'uint8' else levels


@torch.no_grad()
def _run(graph: Graph, images: Tensor) -> tuple[Tensor, ...]:
    return graph(images)
