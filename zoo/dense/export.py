"""Detectors and segmenters as ONNX files."""
from __future__ import annotations

import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .segmenter import Segmenter

SMALLEST = 65                                             # pixels of a side; below, the last map could be one pixel


def export_onnx(model: nn.Module, path: str | Path, size: Sequence[int] = (480, 640)) -> None:
    """Writes an ONNX file that runs in evaluation mode what the model runs; the model's own mode is kept.

    A segmenter takes `images` (B, C, H, W) of any batch and size over 64 pixels, and gives `logits`. A detector takes
    one `image` (C, *size), and gives `boxes`, `labels` and `scores`. Values of images are in 0..1.

    Args:
        size: height and width in pixels; of a segmenter only those of the example it is traced with.
    """
    training = model.training
    model.eval()
    channels = len(getattr(model, 'config')['image_mean'])
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter('ignore')               # of PyTorch about its own exporters
            if isinstance(model, Segmenter):
                batch = torch.export.Dim('batch')
                sides = {i: torch.export.Dim(name, min=SMALLEST) for i, name in ((2, 'height'), (3, 'width'))}
                torch.onnx.export(model, (torch.rand(2, channels, *size),), path, input_names=['images'],
                                  output_names=['logits'], dynamic_shapes=({0: batch, **sides},), dynamo=True,
                                  verbose=False, external_data=False)
            else:                                         # PyTorch's newer exporter takes no data-dependent counts
                image = torch.rand(channels, *size)
                names = list(model([image])[0])
                with _resized_as_now(model, image):
                    torch.onnx.export(model, ([image],), path, input_names=['image'], output_names=names, dynamo=False,
                                      opset_version=17)
    finally:
        model.train(training)


@contextmanager
def _resized_as_now(detector: Any, image: Tensor) -> Iterator[None]:
    """In a traced graph torchvision computes the size that images are resized to in float32, which of some is a pixel
    less: here it is the one that this image is resized to now."""
    transform = detector.transform
    height, width = transform.resize(image)[0].shape[-2:]
    given, transform.fixed_size = transform.fixed_size, (width, height)
    try:
        yield
    finally:
        transform.fixed_size = given
