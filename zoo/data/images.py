"""Image files, and images of every mode Pillow has, as plain 8-bit images of one to four channels."""
from __future__ import annotations

import io
import os
from collections.abc import Callable
from typing import BinaryIO

import numpy as np
from PIL import Image, ImageOps

from ..spec import one_line

MODES = {1: 'L', 2: 'LA', 3: 'RGB', 4: 'RGBA'}      # channels -> what an image file is read as
PREMULTIPLIED = {'La': 'LA', 'RGBa': 'RGBA'}
PALETTE = ('P', 'PA')
ORIENTATION = 0x0112                                # the EXIF tag
ENDS = {'JPEG': b'\xff\xd9', 'PNG': b'IEND'}        # what stands at the end of a whole file
TAIL = 64                                           # bytes in which it has to be


def load_image(path_or_file: str | os.PathLike[str] | BinaryIO, exif: bool = False, channels: int = 3) -> Image.Image:
    """The image in a file (the first, where there are several), decoded and made 8-bit as `convert_image` does it.

    Args:
        path_or_file: a path, or an open binary file.
        exif: turn the image as its EXIF orientation says, as everything that shows images does. Photographs of phones
            lie on their side without: set it for predictions. Networks are usually measured without.
        channels: of the network that is to see it: 1 grey, 2 grey and alpha, 3 RGB, 4 RGB and a fourth, which is the
            file's alpha or else 255.

    Raises:
        OSError: the file cannot be opened; `FileNotFoundError` where there is none.
        ValueError: the file is no image that can be read, or is cut short; the message names the file, where it has a
            name. Another number of channels.
    """
    mode = mode_of(channels)
    if isinstance(path_or_file, (str, os.PathLike)):
        with open(path_or_file, 'rb') as file:
            return _decode(file, os.fspath(path_or_file), exif, mode)
    return _decode(path_or_file, getattr(path_or_file, 'name', None), exif, mode)


def mode_of(channels: int) -> str:
    """Pillow's mode that image files are read in for a network of so many channels.

    Raises:
        ValueError: there is none.
    """
    if channels not in MODES:
        raise ValueError(f'Image files are read with 1, 2, 3 or 4 channels; for {channels} make tensors (C, H, W) '
                         'yourself.')
    return MODES[channels]


def is_turned(encoded: bytes) -> bool:
    """Whether the EXIF orientation of an image file in memory says that it is to be turned or mirrored."""
    try:
        orientation: int = Image.open(io.BytesIO(encoded)).getexif().get(ORIENTATION, 1)
        return orientation != 1
    except Exception:               # of what cannot be read: decoding will say
        return False


def problem_of(open_file: Callable[[], BinaryIO]) -> str:
    """Why an image file cannot be read; '' where it can.

    Of a JPEG or PNG file only header and end are looked at. It is decoded where they leave a doubt, as other files are.
    """
    try:
        with open_file() as file:
            if _looks_whole(file):
                return ''
            file.seek(0)
            load_image(io.BytesIO(file.read()))
    except (OSError, ValueError) as error:
        return one_line(error)
    return ''


def _looks_whole(file: BinaryIO) -> bool:
    """Whether a JPEG or PNG file has a header and an end."""
    try:
        end = ENDS.get(Image.open(file).format or '')
        file.seek(0, io.SEEK_END)
        file.seek(max(file.tell() - TAIL, 0))
        return end is not None and end in file.read()
    except Exception:               # decoders raise errors of many types on broken bytes; decoding says what is wrong
        return False


def _decode(file: BinaryIO, name: object, exif: bool, mode: str) -> Image.Image:
    try:
        image = Image.open(file)
        image.load()
        return convert_image(_upright(image) if exif else image, mode)
    except Exception as error:  # decoders raise errors of many types on broken bytes
        reason = str(error).replace(f' {file!r}', '')               # Pillow names what it was given
        named = '' if name is None else f'{name}: '
        raise ValueError(f'{named}not an image that can be read ({reason}).') from error


def _upright(image: Image.Image) -> Image.Image:
    try:
        return ImageOps.exif_transpose(image)
    except Exception:               # a broken EXIF block says nothing about the pixels
        return image


def convert_image(image: Image.Image, mode: str) -> Image.Image:
    """`image` in mode 'L', 'LA', 'RGB' or 'RGBA', whatever mode it has; in most as Pillow's own `convert`.

    - Where `mode` has no alpha, transparency (LA, RGBA, PA, a palette with it) is dropped, not laid over a background:
      a pixel keeps its colour. Where it has, an image without is opaque.
    - I;16 and I, the modes of 16-bit grey files, are taken to be 16-bit levels if any is above 255, and scaled so that
      65535 is white. Pillow makes white of all levels above 255.
    - F is taken to have white at 1 if no level is above 1, at 255 (with fractions cut off, as Pillow has it) if none is
      above that, else at 65535. Levels that are no finite number are black.
    - Premultiplied (La) and LAB images, which Pillow does not convert, are converted.
    """
    if image.mode == mode:
        return image
    if image.mode.startswith('I'):
        image = _eight_bits(image)
    elif image.mode == 'F':
        image = _from_floats(image)
    elif image.mode in PALETTE:
        image = image.convert('RGBA')      # straight to RGB, Pillow warns about transparency
    elif image.mode in PREMULTIPLIED:
        image = image.convert(PREMULTIPLIED[image.mode])
    elif image.mode == 'LAB':
        image = _from_lab(image)
    return image.convert(mode)


def _eight_bits(image: Image.Image) -> Image.Image:
    """Integer levels as 8-bit grey."""
    image = image.convert('I')
    _, highest = image.getextrema()
    if isinstance(highest, (int, float)) and highest > 255:
        image = image.point(lambda level: level * (1 / 257) + 0.5)     # 65535 = 255 * 257
    return image.convert('L')


def _from_floats(image: Image.Image) -> Image.Image:
    """Fractional levels as 8-bit grey."""
    levels = np.nan_to_num(np.asarray(image), nan=0, posinf=0, neginf=0)
    highest = levels.max(initial=0)
    if highest <= 1:
        levels = levels * 255 + 0.5
    elif highest > 255:
        levels = levels / 257 + 0.5
    return Image.fromarray(levels.clip(0, 255).astype(np.uint8))


def _from_lab(image: Image.Image) -> Image.Image:
    """CIE L*a*b* (D50) as RGB."""
    from PIL import ImageCms
    to_rgb = ImageCms.buildTransform(ImageCms.createProfile('LAB'), ImageCms.createProfile('sRGB'), image.mode, 'RGB')
    return to_rgb.apply(image)
