"""What detectors and segmenters take for an image: floats in 0..1, or levels of 8 bits."""
from __future__ import annotations

import torch
from torch import Tensor

LOW, HIGH = -0.5, 1.5                # resizing can overshoot 0..1 a little; normalised images and levels go far beyond


_is_tracing = getattr(torch.jit, 'is_tracing')      # torch.jit does not list it among its names


def unit_interval(images: Tensor) -> Tensor:
    """Images of any shape in 0..1: uint8 levels are divided by 255, floats are taken as they are.

    What they hold is not looked at while a network is traced or compiled.

    Raises:
        ValueError: numbers of another type, or far outside of 0..1: levels as floats, or images normalised already.
    """
    if images.dtype == torch.uint8:
        return images / 255
    if not images.is_floating_point():
        raise ValueError(f'Images are floats in 0..1, or uint8 levels of 0 to 255; got {images.dtype}.')
    if torch.compiler.is_compiling() or _is_tracing() or not images.numel():
        return images
    bounds = images.detach().aminmax()
    if not bounds.min.is_meta:                            # as it is where only shapes are computed
        low, high = bounds.min.item(), bounds.max.item()
        if low < LOW or high > HIGH:
            cure = 'divide them by 255, or pass uint8' if high > 4 else 'the network normalises them itself'
            raise ValueError(f'Images are floats in 0..1, or uint8 levels of 0 to 255; these floats go from {low:.3g} '
                             f'to {high:.3g}: {cure}.')
    return images
