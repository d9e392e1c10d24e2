"""Detectors and segmenters as files for other runtimes, compared on photographs."""
from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..data import load_image
from ..dense import export_onnx
from ..runtime import Session, open_session
from ..runtime.sessions import KEY
from ..spec import unknown
from .check import Outcome, TooFarOff, find_pictures, relative_difference
from .description import as_text
from .formats import check_request, choose_format
from .model import staged

FORMATS = ('onnx', 'openvino')
LIMIT = 1e-4                        # of logits, in parts of their norm
BOX, SCORE = 0.5, 1e-2              # pixels of a side and score by which a box may differ and be the same
STRANGERS = 0.03                    # the part of the boxes that chance decides, of nearly equal scores at the cut


def export_dense(model: nn.Module, path: str | Path, format: str | None = None, size: tuple[int, int] = (480, 640),
                 check: str | Path | None = None, limit: float | None = None) -> Outcome:
    """Writes a detector or a segmenter as a file, see `zoo.dense.export_onnx`, and compares what its runtime finds in
    photographs with what the model does: logits pixel by pixel, boxes by sides, labels and scores. The file is there
    only if they agree.

    Args:
        model: of `zoo.dense.load`.
        path: its suffix says the format, if `format` does not: .onnx, or .xml (OpenVINO, with a .bin beside it).
        size: height and width in pixels that the photographs are resized to; of a detector the only ones it takes.
        check: a folder of photographs; by default those that come with zoo.
        limit: the largest difference that is let pass: of a segmenter in parts of the logits' norm, of a detector the
            part of the boxes that the other does not have.

    Raises:
        ValueError: another format. ImportError: a package is missing.
        TooFarOff: the file gives something else than the model; nothing is left behind.
    """
    config: Any = model.config
    path, task = Path(path).expanduser(), config['task']
    chosen = choose_format(path, format)
    if chosen.name not in FORMATS:
        raise ValueError(unknown(f'Format of a {"detector" if task == "detect" else "segmenter"}', chosen.name, FORMATS))
    check_request(chosen, 'fp32', set())
    if chosen.name != 'onnx':
        check_request(choose_format(None, 'onnx'), 'fp32', set())                # it is made of that
    limit = limit if limit is not None else STRANGERS if task == 'detect' else LIMIT
    pictures = find_pictures(check)
    model = model.cpu().eval()
    with staged(path) as temporary:
        _write(model, temporary, chosen.name, size)
        session, worst = open_session(temporary), 0.0
        agreed: list[float] = []
        for picture in pictures:
            difference, same = _compare(model, session, _image(picture, size, config))
            worst, agreed = max(worst, difference), [*agreed, same]
        agreement = sum(agreed) / len(agreed)
        outcome = Outcome(path, chosen.name, 'fp32', worst, agreement, len(pictures), True, (size,), limit)
        if not worst <= limit:
            raise TooFarOff(f'{outcome}. The file is not kept.')
    return outcome


def _compare(model: Any, session: Session, image: Tensor) -> tuple[float, float]:
    """The difference, and the part of pixels with the same class, or of boxes that both have."""
    if model.config['task'] == 'segment':
        with torch.no_grad():
            expected = model(image[None])
        (found,) = session(image[None])
        return relative_difference(found, expected), (found.argmax(1) == expected.argmax(1)).float().mean().item()
    with torch.no_grad():
        expected = model([image])[0]
    boxes = dict(zip(session.outputs, session(image)))
    total = len(expected['scores']) + len(boxes['scores'])
    if not total:
        return 0.0, 1.0
    strange = (_strangers(boxes, expected) + _strangers(expected, boxes)) / total
    return strange, 1 - strange


def _strangers(found: Mapping[str, Tensor], others: Mapping[str, Tensor]) -> int:
    """How many boxes are not among the others."""
    if not len(found['scores']) or not len(others['scores']):
        return len(found['scores'])
    sides = (found['boxes'][:, None] - others['boxes']).abs().amax(2) <= BOX
    scores = (found['scores'][:, None] - others['scores']).abs() <= SCORE
    return int((~(sides & scores & (found['labels'][:, None] == others['labels'])).any(1)).sum())


def _image(path: Path, size: tuple[int, int], config: Mapping[str, Any]) -> Tensor:
    from torchvision.transforms.functional import pil_to_tensor
    image = load_image(path, exif=True, channels=len(config['image_mean'])).resize(size[::-1])
    return pil_to_tensor(image) / 255


def _write(model: nn.Module, path: Path, format: str, size: tuple[int, int]) -> None:
    """Writes the file, with what it is."""
    import onnx
    if format == 'onnx':
        export_onnx(model, path, size)
        graph = onnx.load(str(path))
        onnx.helper.set_model_props(graph, {KEY: _described(model, format, size, [one.name for one in graph.graph.output])})
        onnx.save(graph, str(path))
        return
    import openvino
    with tempfile.TemporaryDirectory() as folder:
        export_onnx(model, Path(folder) / 'graph.onnx', size)
        names = [one.name for one in onnx.load(str(Path(folder) / 'graph.onnx')).graph.output]
        graph = openvino.convert_model(str(Path(folder) / 'graph.onnx'))
    for port, name in zip(graph.outputs, names):               # of a tensor's several names, the one that is asked for
        port.get_tensor().set_names({name})
    graph.set_rt_info(_described(model, format, size, names), [KEY])
    openvino.save_model(graph, str(path), compress_to_fp16=False)


def _described(model: Any, format: str, size: tuple[int, int], outputs: Sequence[str]) -> str:
    from .. import __version__
    config = model.config
    return as_text({'zoo': __version__, 'architecture': config['backbone'], 'head': config['head'],
                    'task': config['task'], 'labels': config['classes'], 'num_classes': config['num_classes'],
                    'size': list(size), 'format': format, 'precision': 'fp32', 'outputs': list(outputs)})
