"""`zoo segment`: the class of every pixel of photographs, drawn over them."""
from __future__ import annotations

import argparse

import torch
from PIL import Image
from torch import Tensor, nn

from zoo.cli import drawing
from zoo.cli.images import fraction
from zoo.dense.drawing import draw_masks


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `zoo segment` to its parser."""
    drawing.add_arguments(parser, 'segments')
    parser.add_argument('--alpha', type=fraction, default=0.6, metavar='A',
                        help='how much of the colour covers the image (default: %(default)s)')


def run(args: argparse.Namespace) -> int:
    """Draw the masks of every image and print what share of it each class has."""
    model = drawing.load(args, 'segment')
    classes: list[str] | None = getattr(model, 'classes')
    names = classes or [str(i) for i in range(getattr(model, 'config')['num_classes'])]

    def look(model: nn.Module, image: Tensor) -> tuple[Image.Image, drawing.Found]:
        mask = model(image[None])[0].argmax(0).cpu()
        counts = torch.bincount(mask.flatten(), minlength=len(names)).tolist()
        shares = {name: round(count / mask.numel(), 4) for name, count in zip(names, counts) if count}
        return draw_masks(image.cpu(), mask, names, alpha=args.alpha), {'shares': shares}

    return drawing.run(args, model, look, _text)


def _text(found: drawing.Found) -> str:
    """The classes, the largest first."""
    shares = sorted(found['shares'].items(), key=lambda item: -item[1])
    return ', '.join(f'{share:.1%} {name}' for name, share in shares)
