"""JPEG files decoded and resized on a CUDA device: nvjpeg by torchcodec, or by a torchvision that has it."""
from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from ..spec import one_line
from .preprocess import Preprocess

Decode = Callable[[list[Tensor]], list[Tensor]]


class Finish:
    """What the workers of 'nvjpeg' leave to do: a batch of JPEG files and of levels -> levels on the device.

    Args:
        preprocess: what the workers ran; one with the decoder 'nvjpeg'.
        device: a CUDA device.
        decode: JPEG files, each as its bytes (n,) on the CPU -> their levels (3, H, W); nvjpeg by default.
    """

    def __init__(self, preprocess: Preprocess, device: torch.device, decode: Decode | None = None) -> None:
        self.preprocess, self.device = preprocess, device
        self.decode = decode or self._nvjpeg

    def __call__(self, mixed: Sequence[Tensor]) -> tuple[Tensor | None, dict[int, str]]:
        """The levels (B, 3, height, width) of the images that can be read, None for none; and the place of each that
        cannot -> why."""
        files = [place for place, one in enumerate(mixed) if one.ndim == 1]
        decoded = dict(zip(files, self._decoded([mixed[place] for place in files])))
        levels, unreadable = [], {}
        for place, one in enumerate(mixed):
            try:
                levels.append(self._levels(one, decoded.get(place)))
            except ValueError as error:
                unreadable[place] = one_line(error)
        return torch.stack(levels) if levels else None, unreadable

    def _levels(self, one: Tensor, decoded: Tensor | None) -> Tensor:
        if decoded is not None:
            return resize_and_cut(decoded, self.preprocess)
        if one.ndim == 1:                                   # nvjpeg does not read it; whether Pillow does, it says
            one = self.preprocess.by_pillow(one.numpy().tobytes())
        return one.to(self.device, non_blocking=True)

    def _decoded(self, files: list[Tensor]) -> list[Tensor | None]:
        """All at once; if that fails, one by one, and None for those that fail."""
        try:
            return list(self.decode(files)) if files else []
        except RuntimeError as error:
            if isinstance(error, torch.OutOfMemoryError):
                raise
        found: list[Tensor | None] = []
        for file in files:
            try:
                found += self.decode([file])
            except RuntimeError:
                found.append(None)
        return found

    def _nvjpeg(self, files: list[Tensor]) -> list[Tensor]:
        return decode_jpegs(files, self.device)


def decode_jpegs(files: list[Tensor], device: torch.device) -> list[Tensor]:
    """JPEG files, each as its bytes (n,) on the CPU -> their levels (3, H, W) on the device.

    torchcodec decodes them where it is installed and decodes images (from 0.16). Else torchvision does, which it calls
    deprecated from 0.29 on.
    """
    try:
        from torchcodec.decoders import decode_jpeg
        return decode_jpeg(files, mode='RGB', device=device)
    except ImportError:
        from torchvision.io import ImageReadMode, decode_jpeg
        return decode_jpeg(files, mode=ImageReadMode.RGB, device=device)


def resize_and_cut(image: Tensor, preprocess: Preprocess) -> Tensor:
    """Levels (3, H, W) as decoded, on any device -> the part that evaluation shows (3, height, width).

    It is computed in floats and rounded once; Pillow rounds after each direction.
    """
    resized = preprocess.resized_size(*image.shape[-2:])
    top, left = preprocess.corner(resized)
    if resized != tuple(image.shape[-2:]):
        floats = F.interpolate(image[None].float(), resized, mode=preprocess.interpolation, antialias=True)[0]
        image = floats.round_().clamp_(0, 255).to(torch.uint8)
    return image[:, top:top + preprocess.size[0], left:left + preprocess.size[1]]
