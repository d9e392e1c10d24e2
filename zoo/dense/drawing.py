"""Boxes and masks drawn over their image, to look at."""
from __future__ import annotations

import colorsys
from collections.abc import Sequence
from typing import TypeAlias

import torch
from PIL import Image, ImageDraw, ImageFont
from torchvision.transforms.v2 import functional as F
from torchvision.utils import draw_bounding_boxes, draw_segmentation_masks

from ..spec import unknown

Colour: TypeAlias = tuple[int, int, int]               # red, green, blue in 0..255

LINE = 20                                              # height of a line of the legend, in pixels
WHITE, BLACK = (255, 255, 255), (0, 0, 0)


def class_colours(count: int) -> list[Colour]:
    """`count` colours that are told apart: hues a golden section apart, in three strengths by turns."""
    strengths = ((1.0, 0.9), (0.6, 1.0), (1.0, 0.55))
    colours = (colorsys.hsv_to_rgb(i * 0.618034 % 1, *strengths[i % 3]) for i in range(count))
    return [(round(255 * red), round(255 * green), round(255 * blue)) for red, green, blue in colours]


def draw_boxes(image: torch.Tensor, boxes: torch.Tensor, labels: Sequence[str] | None = None,
               scores: torch.Tensor | Sequence[float] | None = None,
               classes: Sequence[str] | None = None) -> Image.Image:
    """The image with a frame around every box, and its label and score in its upper left corner.

    Args:
        image: (3, H, W), uint8 or floats in 0..1.
        boxes: (N, 4), xyxy in pixels.
        labels: N names; each has its own colour.
        scores: N numbers, written with two decimals.
        classes: all names there are, in the order in which they get colours; None takes those of `labels`, sorted.

    Raises:
        ValueError: there are not as many labels or scores as boxes, or a label is not in `classes`.
    """
    image = _levels(image)
    for what, given in (('labels', labels), ('scores', scores)):
        if given is not None and len(given) != len(boxes):
            raise ValueError(f'There are {len(given)} {what} for {len(boxes)} boxes.')
    picture: Image.Image
    if not len(boxes):
        return F.to_pil_image(image)
    names = list(labels) if labels is not None else [''] * len(boxes)
    known = list(classes) if classes is not None and labels is not None else sorted(set(names))
    for name in names:
        if name not in known:
            raise ValueError(unknown('Label', name, known))
    colours = dict(zip(known, class_colours(len(known))))
    frames = [colours[name] for name in names]
    numbers = [f'{float(score):.2f}' for score in scores] if scores is not None else [''] * len(boxes)
    texts = [f'{name} {number}'.strip() for name, number in zip(names, numbers)]
    low, high = boxes.detach().cpu().round().split(2, 1)
    pixels = torch.cat([low, torch.maximum(high - 1, low)], 1)         # the last row and column that are still inside
    drawn = draw_bounding_boxes(
        image, pixels, texts if any(texts) else None, colors=frames, width=max(1, round(min(image.shape[-2:]) / 200)),
        label_colors=[_legible(colour) for colour in frames], fill_labels=True)
    return F.to_pil_image(drawn)


def draw_masks(image: torch.Tensor, mask: torch.Tensor, classes: Sequence[str],
               palette: Sequence[Colour] | None = None, alpha: float = 0.6) -> Image.Image:
    """The image with every class of the mask in its colour, and to the right of it the names of those that occur.

    Args:
        image: (3, H, W), uint8 or floats in 0..1.
        mask: (H, W), indices into `classes`. Pixels with any other index stay as they are.
        classes: the names of indices 0, 1, ...
        palette: a colour for every class; None takes `class_colours`.
        alpha: how much of a colour covers the image, from 0 to 1.

    Returns:
        An image of at least the height of `image`; `image` is in its upper left corner.

    Raises:
        ValueError: the mask has another size than the image, or the palette fewer colours than there are classes.
    """
    image, mask = _levels(image), mask.detach().cpu()
    if mask.shape != image.shape[-2:]:
        raise ValueError(f'The mask is {tuple(mask.shape)}, the image {tuple(image.shape[-2:])}.')
    palette = class_colours(len(classes)) if palette is None else list(palette)
    if len(palette) < len(classes):
        raise ValueError(f'The palette has {len(palette)} colours for {len(classes)} classes.')
    present = [index for index in mask.unique().tolist() if 0 <= index < len(classes)]
    if present:
        layers = torch.stack([mask == index for index in present])
        image = draw_segmentation_masks(image, layers, alpha, [palette[index] for index in present])
    return _with_legend(F.to_pil_image(image), [(classes[index], palette[index]) for index in present])


def _with_legend(picture: Image.Image, entries: Sequence[tuple[str, Colour]]) -> Image.Image:
    """The picture with a column of names on white, each beside a square of its colour."""
    font = ImageFont.load_default()
    width = max((round(font.getlength(name)) for name, _ in entries), default=0) + 2 * LINE
    height = max(picture.height, LINE * len(entries))
    sheet = Image.new('RGB', (picture.width + width, height), WHITE)
    sheet.paste(picture)
    draw = ImageDraw.Draw(sheet)
    for row, (name, colour) in enumerate(entries):
        left, top = picture.width + 4, row * LINE + 4
        draw.rectangle((left, top, left + LINE - 8, top + LINE - 8), fill=colour, outline=BLACK)
        draw.text((left + LINE - 2, top + (LINE - 8) // 2), name, BLACK, font, anchor='lm')
    return sheet


def _levels(image: torch.Tensor) -> torch.Tensor:
    """The image as uint8 on the CPU."""
    if image.ndim != 3 or image.shape[0] != 3:
        raise ValueError(f'The image is {tuple(image.shape)}; expected (3, height, width).')
    if image.is_floating_point():
        image = image.clamp(0, 1)
    return F.to_dtype(image.detach().cpu(), torch.uint8, scale=True)


def _legible(colour: Colour) -> Colour:
    """Black or white, whichever stands out more from a colour."""
    red, green, blue = colour
    return BLACK if 0.299 * red + 0.587 * green + 0.114 * blue > 140 else WHITE
