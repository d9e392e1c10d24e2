"""What EXIF orientation is worth: photographs stored on their side, as phones do, measured as stored and upright.

    python benchmarks/exif.py [--images 100] [--model tf_efficientnet_lite0.in1k]

ZOO_DATA names the folder with imagenet-sample/, a folder for each synset. The photographs are turned by 90 degrees to
one side or the other, with the tag that turns them back.
"""
from __future__ import annotations

import argparse
import io
import os
from pathlib import Path
from typing import Any

from PIL import Image

import zoo
from zoo.evaluation import evaluate

TURNS = ((6, Image.Transpose.ROTATE_90), (8, Image.Transpose.ROTATE_270))       # tag, what it undoes


class Turned:
    """Some images of a source, stored on their side."""

    def __init__(self, source: Any, count: int) -> None:
        self.source, self.task = source, source.task
        self.numbers = [number * len(source) // count for number in range(count)]

    def __len__(self) -> int:
        return len(self.numbers)

    def name(self, index: int) -> str:
        """As the source calls it."""
        return self.source.name(self.numbers[index])

    def target(self, index: int) -> Any:
        """Its class."""
        return self.source.target(self.numbers[index])

    def encoded(self, index: int) -> bytes:
        """A JPEG file with the photograph turned."""
        tag, turn = TURNS[index % 2]
        exif, file = Image.Exif(), io.BytesIO()
        exif[0x0112] = tag
        image = zoo.data.load_image(io.BytesIO(self.source.encoded(self.numbers[index])))
        image.transpose(turn).save(file, 'JPEG', quality=95, exif=exif)
        return file.getvalue()


def main() -> None:
    """Prints how many are right both ways."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--images', type=int, default=100)
    parser.add_argument('--model', default='tf_efficientnet_lite0.in1k')
    args = parser.parse_args()
    model = zoo.create_model(args.model, pretrained=True).eval()
    source = Turned(zoo.data.create_dataset(Path(os.environ['ZOO_DATA'], 'imagenet-sample'), model=model), args.images)
    config = zoo.data.resolve_model_data_config(model)
    for exif in (False, True):
        found = evaluate(model, source, config, exif=exif, progress=False)
        print(f'exif={exif}: {found.metrics["top1"] * found.samples / 100:.0f} of {found.samples} right')


if __name__ == '__main__':
    main()
