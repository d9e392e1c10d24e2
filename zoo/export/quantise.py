"""int8 by NNCF's quantisation after training: weights and activations, from what activations are on some images."""
from __future__ import annotations

import contextlib
import logging
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from .check import Pictures

IMAGES = 300                                     # that ranges are taken from, as NNCF has it
FEW = 100                                        # of which accuracy suffers


class Calibration:
    """What activations are measured on: images through the network's own preprocessing, as its file takes them.

    Args:
        folder: of images.
        config: how they are prepared.
        description: of the file.
        attention: whether the network has attention, for which NNCF has rules of its own.

    Raises:
        FileNotFoundError: there is no such folder, or no image in it.
    """

    def __init__(self, folder: str | Path, config: Mapping[str, Any], description: Mapping[str, Any],
                 attention: bool) -> None:
        about = description['input']
        usual = {**description, 'input': {**about, 'dynamic': about['dynamic'] if about['preprocess'] else []}}
        self.pictures, self.attention = Pictures(folder, config, usual, IMAGES), attention
        if len(self.pictures.paths) < FEW:
            warnings.warn(f'The ranges of int8 come from {len(self.pictures.paths)} images alone; a few hundred give a '
                          'better file.', stacklevel=2)

    def __iter__(self) -> Iterator[np.ndarray]:
        for given, _ in self.pictures:
            yield given.numpy()

    def quantise(self, graph: Any, inputs: str | None, ignored: Iterable[str]) -> Any:
        """The graph with its weights and activations in int8.

        Args:
            inputs: the name that images go by; None where the runtime takes them without.
            ignored: names of operations that stay as they are.
        """
        images = [image if inputs is None else {inputs: image} for image in self]
        return quantise(graph, images, self.attention, ignored)


def quantise(graph: Any, images: list[Any], attention: bool, ignored: Iterable[str] = ()) -> Any:
    """A graph of ONNX or OpenVINO with its weights and activations in int8.

    Args:
        images: as the graph's runtime takes them, one after the other.
        attention: whether the network has attention, for which NNCF has rules of its own.
        ignored: names of operations that stay as they are.
    """
    logging.getLogger('torch.utils.cpp_extension').setLevel(logging.ERROR)      # NNCF asks there for CUDA
    import nncf
    logging.getLogger('nncf').setLevel(logging.ERROR)
    with contextlib.redirect_stdout(sys.stderr):                                # its progress is not what a command prints
        return nncf.quantize(graph, nncf.Dataset(images), subset_size=len(images),
                             model_type=nncf.ModelType.TRANSFORMER if attention else None,
                             ignored_scope=nncf.IgnoredScope(names=[*ignored]))


def quantise_onnx(path: Path, calibration: Calibration) -> None:
    """Puts an ONNX file's network in int8, in place."""
    import onnx
    model = onnx.load(str(path))
    made_by = {name: node for node in model.graph.node for name in node.output}
    first = next(node for node in model.graph.node if node.op_type == 'Conv')
    before = _ancestors(first, lambda node: [made_by[name] for name in node.input[:1 if node is first else None]
                                             if name in made_by], lambda node: node.name)
    quantised = calibration.quantise(model, model.graph.input[0].name, before)
    onnx.save(quantised, str(path))


def quantise_openvino(graph: Any, calibration: Calibration) -> Any:
    """The OpenVINO graph with its network in int8."""
    first = next(node for node in graph.get_ordered_ops() if 'Convolution' in node.get_type_name())

    def behind(node: Any) -> list[Any]:
        values = node.input_values()[:1] if node is first else node.input_values()
        return [value.get_node() for value in values]

    before = _ancestors(first, behind, lambda node: node.get_friendly_name())
    kinds = {node.get_friendly_name(): node.get_type_name() for node in graph.get_ops()}
    return calibration.quantise(graph, None, [name for name in before if kinds[name] not in ('Parameter', 'Constant')])


def _ancestors(last: Any, behind: Any, name_of: Any) -> list[str]:
    """Names of all operations that lead to one: the preprocessing, where that is part of the graph."""
    found: dict[str, None] = {}
    left = behind(last)
    while left:
        node = left.pop()
        if name_of(node) not in found:
            found[name_of(node)] = None
            left += behind(node)
    return [*found]
