"""Detectors and segmenters as ONNX files."""
from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import nn

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
                torch.onnx.export(model, ([image],), path, input_names=['image'], output_names=names, dynamo=False,
                                  opset_version=17)
    finally:
        model.train(training)
