"""Image files, and images of every mode Pillow has, as plain 8-bit grey, RGB or RGBA."""
from __future__ import annotations

import os
from typing import BinaryIO

from PIL import Image, ImageOps

PREMULTIPLIED = {'La': 'LA', 'RGBa': 'RGBA'}
PALETTE = ('P', 'PA')


def load_image(path_or_file: str | os.PathLike[str] | BinaryIO, exif: bool = False) -> Image.Image:
    """The image in a file (the first, where there are several), decoded and in RGB as `convert_image` makes it.

    Args:
        path_or_file: a path, or an open binary file.
        exif: turn the image as its EXIF orientation says. Networks are usually measured without.

    Raises:
        OSError: the file cannot be opened; `FileNotFoundError` where there is none.
        ValueError: the file is no image that can be read, or is cut short; the message names the file.
    """
    if hasattr(path_or_file, 'read'):
        return _decode(path_or_file, str(getattr(path_or_file, 'name', path_or_file)), exif)
    with open(path_or_file, 'rb') as file:
        return _decode(file, os.fspath(path_or_file), exif)


def _decode(file: BinaryIO, name: str, exif: bool) -> Image.Image:
    try:
        image = Image.open(file)
        image.load()
        return convert_image(ImageOps.exif_transpose(image) if exif else image, 'RGB')
    except Exception as error:  # decoders raise errors of many types on broken bytes
        raise ValueError(f'{name}: not an image that can be read ({error}).') from error


def convert_image(image: Image.Image, mode: str) -> Image.Image:
    """`image` in mode 'L', 'RGB' or 'RGBA', whatever mode it has; in most as Pillow's own `convert`.

    - Transparency (LA, RGBA, PA, a palette with it) is dropped, not laid over a background: a pixel keeps its colour.
    - I;16 and I, the modes of 16-bit grey files, are taken to be 16-bit levels if any is above 255, and scaled so that
      65535 is white. Pillow makes white of all levels above 255.
    - F is taken to hold levels 0 to 255: fractions are cut off and what is outside is clipped.
    - Premultiplied (La) and LAB images, which Pillow does not convert, are converted.
    """
    if image.mode == mode:
        return image
    if image.mode.startswith('I'):
        image = _eight_bits(image)
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
    if image.getextrema()[1] > 255:
        image = image.point(lambda level: level * (1 / 257) + 0.5)     # 65535 = 255 * 257
    return image.convert('L')


def _from_lab(image: Image.Image) -> Image.Image:
    """CIE L*a*b* (D50) as RGB."""
    from PIL import ImageCms
    return ImageCms.profileToProfile(
        image, ImageCms.createProfile('LAB'), ImageCms.createProfile('sRGB'), outputMode='RGB')
