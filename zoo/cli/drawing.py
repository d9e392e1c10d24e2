"""What `zoo detect` and `zoo segment` share: a saved network over images, a picture of each result."""
from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from PIL import Image
from torch import Tensor, nn
from torchvision.transforms.v2 import functional as F

import zoo.data
import zoo.dense
from zoo.cli import printable, say
from zoo.cli.images import choose_device, find_images
from zoo.data.files import image_suffixes
from zoo.spec import one_line
from zoo.train import load_trained, trained_record

Found = dict[str, Any]
Look = Callable[[nn.Module, Tensor], tuple[Image.Image, Found]]


def add_arguments(parser: argparse.ArgumentParser, folder: str) -> None:
    """Adds the options that both subcommands have."""
    parser.add_argument('paths', nargs='+', metavar='IMAGE_OR_FOLDER',
                        help=f'image files, and folders searched for {" ".join(image_suffixes())}')
    parser.add_argument('--checkpoint', required=True, metavar='FILE_OR_RUN',
                        help="a file that zoo.dense.save or zoo train wrote, or a run's folder for its best")
    parser.add_argument('--output', type=Path, default=Path(folder), metavar='FOLDER',
                        help='where the pictures go (default: %(default)s)')
    parser.add_argument('--device', help="'cpu', 'cuda', 'cuda:1' (default: an accelerator if there is one)")
    parser.add_argument('--json', action='store_true', help='print one JSON object a line for each image')


def load(args: argparse.Namespace, task: str) -> nn.Module:
    """The network in --checkpoint, on the device.

    Raises:
        ValueError: it is not of this task.
    """
    trained = trained_record(args.checkpoint)
    if trained and trained['task'] not in ('detect', 'segment'):
        raise ValueError(f'{args.checkpoint} holds a network for `zoo predict`, not for `zoo {task}`.')
    model = load_trained(args.checkpoint) if trained else zoo.dense.load(args.checkpoint)
    own: str = getattr(model, 'config')['task']
    if own != task:
        raise ValueError(f'{args.checkpoint} is for `zoo {own}`, not for `zoo {task}`.')
    return model.to(choose_device(args.device))


def run(args: argparse.Namespace, model: nn.Module, look: Look, text: Callable[[Found], str]) -> int:
    """Draw every image's result and print it; the status is 1 if there were images that could not be read, or that the
    network cannot take."""
    from tqdm import tqdm

    paths = find_images(args.paths)
    targets = _pictures(paths, args.output)
    args.output.mkdir(parents=True, exist_ok=True)
    device = next(model.parameters()).device
    broken = 0
    for path, target in tqdm(list(zip(paths, targets)), unit='image', disable=len(paths) < 16 or None):
        try:
            image = F.to_image(zoo.data.load_image(path, exif=True))
            with torch.inference_mode():
                picture, found = look(model, F.to_dtype(image, torch.float32, scale=True).to(device))
        except (OSError, ValueError, torch.OutOfMemoryError) as error:
            broken += 1
            reason = one_line(error)
            reason = reason if str(path) in reason else f'{path}: {reason}'
            tqdm.write(printable(f'zoo: skipped {reason}'), file=sys.stderr)
            if args.json:
                tqdm.write(json.dumps({'file': str(path), 'error': reason}), file=sys.stdout)
            continue
        picture.save(target)
        line = json.dumps({'file': str(path), 'picture': str(target), **found}) if args.json else (
            f'{printable(str(path))} -> {printable(str(target))}: {text(found)}')
        tqdm.write(line, file=sys.stdout)
    if broken:
        say(f'{broken} of {len(paths)} images were skipped')
    return 1 if broken else 0


def _pictures(paths: list[Path], folder: Path) -> list[Path]:
    """A file for each picture; names that occur twice get a number."""
    seen: dict[str, int] = {}
    targets = []
    for path in paths:
        seen[path.stem] = seen.get(path.stem, 0) + 1
        targets.append(folder / (path.stem + (f'-{seen[path.stem]}' if seen[path.stem] > 1 else '') + '.png'))
    return targets
