"""A network as a graph: PyTorch's, ONNX's and OpenVINO's, by their own converters."""
from __future__ import annotations

import contextlib
import logging
import warnings
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
import torch.fx.experimental._config
from torch import Tensor, nn
from torch.export import Dim, ExportedProgram

DIMENSIONS = {'batch': 0, 'height': 2, 'width': 3}      # of images (B, C, H, W)
SMALLEST = 33                           # pixels of a side that may change; below, a last map is one pixel
OPSET = 20


def capture(model: nn.Module, images: Tensor, dynamic: Collection[str] = (), channels_last: bool = False,
            smallest: int = SMALLEST) -> ExportedProgram:
    """The network's graph, in evaluation mode.

    Args:
        images: an example (B, C, H, W), or with `channels_last` (B, H, W, C) of which any size will do.
        dynamic: which of 'batch', 'height' and 'width' may be others later.
        smallest: pixels of a side that may be another, without `channels_last`.

    Raises:
        ValueError: a dimension of another name.
        RuntimeError: the network takes no other size; the message says what it takes.
    """
    shapes = _shapes(dynamic, channels_last, smallest)
    # contiguous: of an example in channels_last, torch.export concludes that there are always several images
    example = images if 'batch' not in dynamic or len(images) > 1 else images.expand(2, *images.shape[1:])
    example = example.contiguous()
    training = model.training
    model.eval()
    try:
        with _quiet(), torch.no_grad():
            try:
                return torch.export.export(model, (example,), dynamic_shapes=shapes)
            except torch._dynamo.exc.UserError:
                if not dynamic:
                    raise
            # Of some networks, sizes that happen to be one window of a map would be held there. Not so from the start:
            # of others, several images would be needed then.
            settings: Any = torch.fx.experimental._config
            with settings.patch(backed_size_oblivious=True):
                return torch.export.export(model, (example,), dynamic_shapes=shapes)
    finally:
        model.train(training)


def _shapes(dynamic: Collection[str], channels_last: bool, smallest: int) -> tuple[dict[int, Any]] | None:
    strange = set(dynamic) - DIMENSIONS.keys()
    if strange:
        from ..spec import unknown
        raise ValueError(unknown('dimension', sorted(strange)[0], DIMENSIONS))
    if not dynamic:
        return None
    least = 2 if channels_last else smallest
    return ({place: Dim(name) if name == 'batch' else Dim(name, min=least)
             for place, name in places(dynamic, channels_last).items()},)


def places(dynamic: Collection[str], channels_last: bool = False) -> dict[int, str]:
    """Where images (B, C, H, W), or with `channels_last` (B, H, W, C), have these dimensions: place -> name."""
    return {place - (channels_last and place > 1): name for name, place in DIMENSIONS.items() if name in dynamic}


def write_onnx(program: ExportedProgram, path: str | Path, outputs: Sequence[str], dynamic: Mapping[int, str],
               metadata: Mapping[str, str] | None = None) -> None:
    """Writes the graph as an ONNX file of `images`.

    Args:
        outputs: their names.
        dynamic: names of those dimensions of the images that may change, see `places`.
        metadata: what is to be said of it.
    """
    with _quiet(), torch.no_grad():
        written: Any = torch.onnx.export(program, dynamo=True, input_names=['images'], output_names=list(outputs),
                                         opset_version=OPSET, verbose=False, dynamic_shapes=(dict(dynamic),))
        written.model.metadata_props.update(metadata or {})
        written.save(str(path))


def to_openvino(program: ExportedProgram, outputs: Sequence[str], inputs: Sequence[str] = ('images',)) -> Any:
    """The graph as an `openvino.Model` with named inputs and outputs."""
    import openvino
    with _quiet():
        graph = openvino.convert_model(program)
    for ports, names in ((graph.inputs, inputs), (graph.outputs, outputs)):
        for port, name in zip(ports, names):
            port.get_tensor().set_names({name})
    return graph


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Without what converters say of themselves to whoever calls them."""
    loggers = [logging.getLogger(name) for name in ('torch.onnx', 'torch.export', 'onnxscript', 'onnx_ir')]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels):
                logger.setLevel(level)
