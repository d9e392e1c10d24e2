"""What the tests of detectors and segmenters on different backbones share."""
from __future__ import annotations

from pathlib import Path

import torch
from conftest import randomize
from torch import nn

from zoo import dense


def untrained(model: nn.Module) -> list[str]:
    """The parameters that got no gradient."""
    return [name for name, value in model.named_parameters() if value.grad is None]


def check_segmenter(model: nn.Module, folder: Path) -> None:
    """A segmenter of four classes takes images of an odd size, trains all its weights, and comes back from a file."""
    images = torch.rand(2, 3, 67, 101)
    logits = model(images)
    assert logits.shape == (2, 4, 67, 101)
    logits.square().sum().backward()
    assert not untrained(model)
    randomize(model).eval()
    dense.save(model, folder / 's.safetensors')
    with torch.no_grad():
        assert torch.equal(dense.load(folder / 's.safetensors')(images), model(images))
