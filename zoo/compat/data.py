"""timm.data: what programs find there beside zoo.data's own names, and data sets as timm opens them."""
from __future__ import annotations

from torchvision.transforms import InterpolationMode

from ..data.transforms import ResizeKeepRatio, TrimBorder
from ..spec import unknown
from .datasets import ImageDataset, IterableImageDataset, create_dataset
from .sampler import OrderedDistributedSampler

__all__ = ['ImageDataset', 'IterableImageDataset', 'OrderedDistributedSampler', 'ResizeKeepRatio', 'TrimBorder',
           'create_dataset', 'interp_mode_to_str', 'str_to_interp_mode']


def str_to_interp_mode(mode_str: str) -> InterpolationMode:
    """torchvision's word for an interpolation: 'bicubic' -> InterpolationMode.BICUBIC.

    Raises:
        ValueError: it is not known.
    """
    known = {mode.value: mode for mode in InterpolationMode}
    if mode_str not in known:
        raise ValueError(unknown('interpolation', mode_str, known))
    return known[mode_str]


def interp_mode_to_str(mode: InterpolationMode) -> str:
    """The name of an interpolation of torchvision's."""
    return mode.value
