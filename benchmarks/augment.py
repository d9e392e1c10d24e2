"""Time of one training sample, JPEG bytes to tensor, beside timm's transform of the same arguments, in one process.

    python benchmarks/augment.py [folder of JPEG files] [--auto-augment rand-m9-mstd0.5] [--repeats 7]

The transforms take turns, on one thread, seeded before each turn. What is printed is processor time, the mean of the
faster half of the turns, and the ratio. Without a folder, images of 500 x 375 pixels are made up.
"""
from __future__ import annotations

import argparse
import io
import random
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import timm.data
import torch
from PIL import Image

import zoo

ARGUMENTS = dict(input_size=224, is_training=True, interpolation='bicubic', hflip=0.5, re_prob=0.25, re_mode='pixel')


def made_up(count: int) -> list[bytes]:
    """JPEG files of smooth noise, which cost about as much to decode as photographs."""
    generator, found = np.random.default_rng(0), []
    for _ in range(count):
        coarse = Image.fromarray(generator.integers(0, 256, (30, 40, 3), dtype=np.uint8)).resize((500, 375), 3)
        fine = np.asarray(coarse, np.int16) + generator.integers(-12, 13, (375, 500, 3))
        file = io.BytesIO()
        Image.fromarray(fine.clip(0, 255).astype(np.uint8)).save(file, 'JPEG', quality=90)
        found.append(file.getvalue())
    return found


def opened(file: bytes) -> Image.Image:
    return Image.open(io.BytesIO(file)).convert('RGB')


def time_of(kinds: dict[str, Callable[[int], object]], count: int, repeats: int) -> dict[str, float]:
    """Milliseconds of a call, in the faster half of `repeats` turns of `count` calls each."""
    times: dict[str, list[float]] = {name: [] for name in kinds}
    for turn in range(repeats):
        for name, call in kinds.items():
            random.seed(turn)
            np.random.seed(turn)
            torch.manual_seed(turn)
            start = time.process_time()
            for index in range(count):
                call(index)
            times[name].append(1000 * (time.process_time() - start) / count)
    return {name: sum(sorted(found)[:(repeats + 1) // 2]) / ((repeats + 1) // 2) for name, found in times.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('folder', nargs='?', type=Path)
    parser.add_argument('--auto-augment', default='rand-m9-mstd0.5')
    parser.add_argument('--images', type=int, default=100)
    parser.add_argument('--samples', type=int, default=200)
    parser.add_argument('--repeats', type=int, default=7)
    args = parser.parse_args()
    torch.set_num_threads(1)
    files = made_up(args.images)
    if args.folder:
        files = [path.read_bytes() for path in sorted(args.folder.rglob('*.jpg'))[:args.images]]
    settings = dict(ARGUMENTS, auto_augment=args.auto_augment or None)
    images = [opened(file) for file in files]
    ours, theirs = zoo.data.create_transform(**settings), timm.data.create_transform(**settings)
    parts = {name: make(**settings, separate=True) for name, make in (
        ('ours', zoo.data.create_transform), ('timm', timm.data.create_transform))}
    crops = [image.resize((224, 224)) for image in images]

    def line(name: str, our: Callable[[int], object], their: Callable[[int], object]) -> None:
        found = time_of({'ours': our, 'timm': their}, args.samples, args.repeats)
        print(f'{name:28} ours {found["ours"]:7.3f} ms   timm {found["timm"]:7.3f} ms   '
              f'{found["timm"] / found["ours"]:5.2f} x')

    def at(index: int, items: list) -> object:
        return items[index % len(items)]

    print(f'{args.auto_augment}, {len(files)} images, one thread')
    line('JPEG to tensor', lambda i: ours(opened(at(i, files))), lambda i: theirs(opened(at(i, files))))
    line('image to tensor', lambda i: ours(at(i, images)), lambda i: theirs(at(i, images)))
    for index, name in enumerate(('crop and flip', 'distort', 'make a tensor, erase')):
        given = crops if index else images
        line(f'  {name}', lambda i: parts['ours'][index](at(i, given)), lambda i: parts['timm'][index](at(i, given)))


if __name__ == '__main__':
    main()
