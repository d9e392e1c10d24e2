"""`zoo detect`: boxes around what photographs show, drawn into them."""
from __future__ import annotations

import argparse
from collections import Counter

from PIL import Image
from torch import Tensor, nn

from zoo.cli import drawing
from zoo.cli.images import fraction
from zoo.dense.drawing import draw_boxes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `zoo detect` to its parser."""
    drawing.add_arguments(parser, 'detections')
    parser.add_argument('--score', type=fraction, default=0.5, metavar='S',
                        help='least score of a box (default: %(default)s)')


def run(args: argparse.Namespace) -> int:
    """Draw and print the boxes of every image."""
    model = drawing.load(args, 'detect')
    classes: list[str] | None = getattr(model, 'classes')
    names = ['background', *(classes or (str(i) for i in range(1, getattr(model, 'config')['num_classes'])))]

    def look(model: nn.Module, image: Tensor) -> tuple[Image.Image, drawing.Found]:
        found = {key: value.cpu() for key, value in model([image])[0].items()}
        kept = {key: value[found['scores'] >= args.score] for key, value in found.items()}
        labels = [names[i] for i in kept['labels'].tolist()]
        rows = [{'class': label, 'score': round(score, 4), 'box': [round(side, 1) for side in box]}
                for label, score, box in zip(labels, kept['scores'].tolist(), kept['boxes'].tolist())]
        return draw_boxes(image.cpu(), kept['boxes'], labels, kept['scores'], names[1:]), {'boxes': rows}

    return drawing.run(args, model, look, _text)


def _text(found: drawing.Found) -> str:
    """How many boxes of each class."""
    counts = Counter(row['class'] for row in found['boxes'])
    return ', '.join(f'{count} {name}' for name, count in counts.most_common()) or 'nothing found'
