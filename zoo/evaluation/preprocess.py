"""From an image file in memory to the levels a network is shown, and from these to its input.

The fast path decodes JPEG with simplejpeg's libjpeg-turbo, to the same pixels, and resizes 8-bit tensors. Whatever it
does not serve - other formats, CMYK, interpolations and crops of Pillow's alone - takes Pillow's path, that of
`zoo.data.create_transform`. The scaled path is the fast one for images that shrink by half or more: JPEG stores blocks
of 8 x 8 pixels as frequencies, and from the lowest of them libjpeg makes an image of 1/8 to 4/8 of the size sooner than
the whole one.
"""
from __future__ import annotations

import importlib.util
import io
import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.functional import pil_to_tensor

from ..data import create_transform, load_image
from ..data.images import is_turned, mode_of
from ..data.patches import PackedLevels
from ..spec import unknown

DECODERS = ('auto', 'fast', 'scaled', 'pillow', 'nvjpeg')
SUPPORT = {'bilinear': 1, 'bicubic': 2}         # source pixels that a kernel reaches where nothing shrinks
FAST_CROPS = ('center', 'center_floor', 'squash', 'squash_floor')
# markers of a frame's header in a JPEG file, all but the codings that libjpeg does not read
FRAMES = frozenset((0xC0, 0xC1, 0xC2))
END = b'\xff\xd9'                              # of a JPEG file that is not cut short
ALONE = frozenset((0x01, *range(0xD0, 0xD9)))   # markers without a length


def stack_levels(samples: Sequence[Tensor]) -> Tensor | list[Tensor]:
    """Levels (C, H, W) as (B, C, H, W) in channels_last; a list where some are files that are yet to be decoded."""
    if not all(one.ndim == 3 for one in samples):
        return list(samples)
    # decoded images lie pixel by pixel; joined so, the batch is in channels_last without another copy
    return torch.cat([one.permute(1, 2, 0)[None] for one in samples]).permute(0, 3, 1, 2)


class Preprocess:
    """Image files in memory -> uint8 levels (C, height, width), as evaluation shows them to a network.

    Args:
        config: the settings that `zoo.data.resolve_data_config` returns.
        decoder: 'fast' decodes JPEG of 8 bits with simplejpeg and everything else with Pillow; 'pillow' uses Pillow
            always; 'auto' is 'fast' where the settings have such a path and simplejpeg is installed, never 'scaled'.
            'scaled' decodes JPEG with it too, at the smallest of 1/8 to 4/8 of the size that is still no smaller than
            the resized image, and resizes that to the same places: its levels differ from those of the others. Where no
            such size is left, they are those of 'fast'. With 'nvjpeg' JPEG files come out as they are, (n,) bytes:
            `zoo.evaluation.gpu.Finish` decodes and resizes a batch of them on the GPU.
        exif: turn images as their EXIF orientation says. Those that are to be turned take Pillow's path, whatever the
            decoder.

    Attributes:
        decoder: 'fast', 'scaled', 'pillow' or 'nvjpeg', what 'auto' came to.

    Raises:
        ValueError: an unknown decoder; 'fast', 'scaled' or 'nvjpeg' with settings that only Pillow's path serves; more
            channels than image files have.
        ImportError: 'fast' or 'scaled' without simplejpeg.
    """

    batch = staticmethod(stack_levels)

    def __init__(self, config: Mapping[str, Any], decoder: str = 'pillow', exif: bool = False) -> None:
        if decoder not in DECODERS:
            raise ValueError(unknown('decoder', decoder, DECODERS))
        obstacle = _obstacle(config)
        if decoder in ('fast', 'scaled', 'nvjpeg') and obstacle:
            raise ValueError(f"decoder={decoder!r} does not serve {obstacle}; 'auto' takes Pillow's path there.")
        if decoder in ('fast', 'scaled'):
            _simplejpeg()
        if decoder == 'auto':
            decoder = 'pillow' if obstacle or not importlib.util.find_spec('simplejpeg') else 'fast'
        self.decoder = decoder
        self.exif, self.channels = exif, config['input_size'][0]
        mode_of(self.channels)                      # refuses what files cannot be read as
        self.size = tuple(config['input_size'][1:])
        self.interpolation, self.crop_mode = config['interpolation'], config['crop_mode']
        self.target = tuple(math.floor(side / config['crop_pct']) for side in self.size)
        self.transform: Any = create_transform(**config, normalize=False)

    def __call__(self, encoded: bytes) -> Tensor:
        """The levels of one image; with 'nvjpeg' a JPEG file as it is, if it is whole.

        Raises:
            ValueError: it cannot be read.
        """
        if self.exif and is_turned(encoded):
            return self.by_pillow(encoded)
        if self.decoder == 'nvjpeg' and jpeg_channels(encoded) in (1, 3) and encoded.endswith(END):
            return torch.frombuffer(bytearray(encoded), dtype=torch.uint8)
        if self.decoder == 'scaled':
            scaled = decode_scaled(encoded, self.resized_size)
            if scaled:
                return self.resize_and_cut(*scaled)
        image = decode_fast(encoded) if self.decoder in ('fast', 'scaled') else None
        return self.by_pillow(encoded) if image is None else self.resize_and_cut(image)

    def by_pillow(self, encoded: bytes) -> Tensor:
        """The levels of one image, whatever the decoder.

        Raises:
            ValueError: it cannot be read.
        """
        return self.transform(load_image(io.BytesIO(encoded), self.exif, self.channels))

    def resize_and_cut(self, image: Tensor, whole: tuple[int, int] | None = None, eighths: int = 8) -> Tensor:
        """Levels (3, H, W) as decoded -> the part that evaluation shows (3, height, width).

        Args:
            image: the levels.
            whole: (height, width) of the image in its file, where it was decoded at less; see `decode_scaled`.
            eighths: at how much of that, in eighths.
        """
        height, width = whole or image.shape[-2:]
        resized = self.resized_size(height, width)
        corner = self.corner(resized)
        needed = [start + cut for start, cut in zip(corner, self.size)]
        # Only what lies above and left of the cut's far corner is computed: the pixels are those of the whole image.
        # An image decoded at less was rounded up to whole pixels: its scale is that of the sides before; a hair more of
        # it, so that no pixel is lost to rounding.
        hair = 1 if eighths == 8 else 1 + 1e-7
        scales = [new / old * 8 / eighths * hair for new, old in zip(resized, (height, width))]
        reach = [math.ceil((end + 1) / scale + SUPPORT[self.interpolation] * max(1 / scale, 1)) + 1
                 for end, scale in zip(needed, scales)]
        options = dict(mode=self.interpolation, antialias=True)
        # A side that keeps its number of pixels is left as it is by PyTorch, whatever its scale.
        kept = any(scale > 1 and int(end * scale) == end for end, scale in zip(reach, scales))
        # Decoded images lie pixel by pixel, and PyTorch resizes them soonest so. By its strides image[None] would pass
        # for planes, as does a part of an image until that is copied.
        images = image.permute(1, 2, 0)[None].permute(0, 3, 1, 2)
        if eighths < 8 or not kept and reach[0] < height and reach[1] < width:
            images = images[..., :reach[0], :reach[1]].contiguous(memory_format=torch.channels_last)
            images = F.interpolate(images, scale_factor=tuple(scales), recompute_scale_factor=False, **options)
        elif resized != (height, width):
            images = F.interpolate(images, resized, **options)
        return images[0, :, corner[0]:needed[0], corner[1]:needed[1]]

    def resized_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) that an image of that size is resized to before the cut; see `create_transform`."""
        if self.crop_mode.startswith('squash'):
            return self.target
        if self.target[0] == self.target[1]:
            short, long = sorted((height, width))
            other = int(self.target[0] * long / short)
            return (self.target[0], other) if height <= width else (other, self.target[0])
        ratio = min(height / self.target[0], width / self.target[1])
        return round(height / ratio), round(width / ratio)

    def corner(self, resized: tuple[int, int]) -> tuple[int, int]:
        """Where the cut begins in the resized image: rows from its top, columns from its left."""
        return self._start(resized[0] - self.size[0]), self._start(resized[1] - self.size[1])

    def _start(self, spare: int) -> int:
        return spare // 2 if self.crop_mode.endswith('_floor') else round(spare / 2)


class Photographs:
    """Image files in memory -> uint8 levels (C, H, W) as they are, for networks that prepare them themselves.

    Args:
        channels: of the images.
        exif: turn images as their EXIF orientation says.
    """

    decoder = 'pillow'
    batch = staticmethod(stack_levels)

    def __init__(self, channels: int, exif: bool = False) -> None:
        self.channels, self.exif = channels, exif

    def __call__(self, encoded: bytes) -> Tensor:
        """The levels of one image.

        Raises:
            ValueError: it cannot be read.
        """
        return pil_to_tensor(load_image(io.BytesIO(encoded), self.exif, self.channels))


class PatchPreprocess:
    """Image files in memory -> their patches, at most so many, in uint8 levels: what `PackedLevels.of` takes.

    Args:
        config: the settings that `zoo.data.resolve_data_config` returns; size and crop have no effect.
        patch_size: (height, width) of a patch.
        seq_len: how many patches an image has at most.
        exif: turn images as their EXIF orientation says.
    """

    decoder = 'pillow'

    def __init__(self, config: Mapping[str, Any], patch_size: tuple[int, int], seq_len: int, exif: bool = False) -> None:
        self.channels, self.exif = config['input_size'][0], exif
        mode_of(self.channels)
        self.seq_len = seq_len
        self.transform: Any = create_transform(**config, normalize=False, naflex=True, patch_size=patch_size,
                                               max_seq_len=seq_len, patchify=True, patchify_flatten=False)

    def __call__(self, encoded: bytes) -> dict[str, Tensor]:
        """The patches of one image.

        Raises:
            ValueError: it cannot be read.
        """
        return self.transform(load_image(io.BytesIO(encoded), self.exif, self.channels))

    def batch(self, samples: Sequence[dict[str, Tensor]]) -> PackedLevels:
        """Images as one batch."""
        return PackedLevels.of(samples, self.seq_len)


class Normalize:
    """Levels (B, C, H, W) on their device -> the network's input (B, C, H, W) in floats, in one buffer that every call
    of the same shape fills anew.

    Args:
        mean, std: per channel, where white is 1.
        dtype: of the result.
        channels_last: the result's memory format.
    """

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...], dtype: torch.dtype = torch.float32,
                 channels_last: bool = False) -> None:
        scale = 1 / (255 * torch.tensor(std, dtype=torch.float64))
        self.factors = scale, -255 * torch.tensor(mean, dtype=torch.float64) * scale
        self.dtype = dtype
        self.memory_format = torch.channels_last if channels_last else torch.contiguous_format
        self._buffer = torch.empty(0)

    def __call__(self, levels: Tensor) -> Tensor:
        if self._buffer.shape != levels.shape or self._buffer.device != levels.device:
            self._prepare(levels)
        self._buffer.copy_(levels)
        torch.addcmul(self._shift, self._flat, self._scale, out=self._flat)
        return self._buffer.to(self.dtype)

    def _prepare(self, levels: Tensor) -> None:
        """The buffer, and the factors as they lie beside it: in channels_last a row of pixels is one of numbers."""
        self._buffer = torch.empty(levels.shape, device=levels.device, memory_format=self.memory_format)
        factors = [factor.to(torch.float32).to(levels.device) for factor in self.factors]
        if self.memory_format == torch.channels_last:
            self._flat = self._buffer.permute(0, 2, 3, 1).flatten(2)
            self._scale, self._shift = (factor.expand(levels.shape[1]).repeat(levels.shape[3]) for factor in factors)
        else:
            self._flat = self._buffer
            self._scale, self._shift = (factor.view(-1, 1, 1) for factor in factors)


def decode_fast(encoded: bytes) -> Tensor | None:
    """A JPEG file of 8 bits in grey or colour as levels (3, H, W); None for everything that is for Pillow to read or to
    refuse: other formats, four channels, broken files."""
    if jpeg_channels(encoded) not in (1, 3):
        return None
    try:
        return torch.from_numpy(_simplejpeg().decode_jpeg(encoded, 'RGB')).permute(2, 0, 1)
    except ValueError:
        return None


def decode_scaled(encoded: bytes, resized_size: Callable[[int, int], tuple[int, int]],
                  ) -> tuple[Tensor, tuple[int, int], int] | None:
    """A JPEG file of 8 bits in grey or colour, decoded at the smallest of 1/8 to 4/8 of its size that is no smaller
    than it will be resized to, or at its whole size; None for everything else.

    5/8 to 7/8 are not used: libjpeg-turbo has no vector instructions for them and takes longer than for the whole.

    Args:
        encoded: the file.
        resized_size: its (height, width) -> that to which it will be resized.

    Returns:
        Levels (3, ceil(height * eighths / 8), ceil(width * eighths / 8)), (height, width) in the file, and eighths.
    """
    if jpeg_channels(encoded) not in (1, 3):
        return None
    simplejpeg = _simplejpeg()
    try:
        height, width = simplejpeg.decode_jpeg_header(encoded)[:2]
        resized = resized_size(height, width)
        for eighths in (1, 2, 3, 4, 8):
            if height * eighths >= 8 * resized[0] and width * eighths >= 8 * resized[1]:
                break
        least = -(-height * eighths // 8), -(-width * eighths // 8)
        levels = torch.from_numpy(simplejpeg.decode_jpeg(encoded, 'RGB', min_height=least[0], min_width=least[1]))
    except ValueError:
        return None
    return levels.permute(2, 0, 1), (height, width), eighths


def jpeg_channels(encoded: bytes) -> int | None:
    """How many channels a JPEG file of 8 bits has; None for any other file."""
    if encoded[:2] != b'\xff\xd8':
        return None
    at = 2
    while at + 9 < len(encoded) and encoded[at] == 0xFF:
        marker = encoded[at + 1]
        if marker == 0xFF:                          # padding
            at += 1
        elif marker in ALONE:
            at += 2
        elif marker in FRAMES:
            return encoded[at + 9] if encoded[at + 4] == 8 else None
        else:
            at += 2 + int.from_bytes(encoded[at + 2:at + 4], 'big')
    return None


def _simplejpeg() -> Any:
    try:
        import simplejpeg
    except ImportError as error:
        raise ImportError("The decoders 'fast' and 'scaled' need simplejpeg: pip install 'zoo-image-models[decode]'."
                          ) from error
    return simplejpeg


def _obstacle(config: Mapping[str, Any]) -> str | None:
    """What of the settings the fast path does not serve, nor nvjpeg's."""
    if config['input_size'][0] != 3:
        return f'{config["input_size"][0]} channels'
    if config['interpolation'] not in SUPPORT:
        return f'interpolation {config["interpolation"]!r} (it has {" and ".join(SUPPORT)})'
    if config['crop_mode'] not in FAST_CROPS:
        return f'crop mode {config["crop_mode"]!r} (it has {", ".join(FAST_CROPS)})'
    return None
