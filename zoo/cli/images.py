"""What subcommands that read images share: finding them, and options."""
from __future__ import annotations

import argparse
import ast
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from zoo.cli import say
from zoo.data.files import PassedOver, image_suffixes, walk_images


OPTIMIZED = ('fp32', 'bf16', 'fp16', 'int8', 'auto')


def find_images(paths: Sequence[str]) -> list[Path]:
    """The files named, and the images in the folders named, at any depth, sorted; see `zoo.data.files.walk_images`.

    Raises:
        FileNotFoundError: a path that does not exist, or a folder without any image.
    """
    return [image for path in paths for image in _images_at(Path(path))]


def _images_at(path: Path) -> list[Path]:
    if not path.exists():
        raise FileNotFoundError(f'There is no file or folder {str(path)!r}.')
    if not path.is_dir():
        return [path]
    passed = PassedOver()
    images = sorted(path / name for name in walk_images(path, passed))
    passed.say(path)
    if not images:
        raise FileNotFoundError(f'There is no image in the folder {str(path)!r}: looked for '
                                f'{" ".join(image_suffixes())}.')
    return images


def choose_device(asked: str | None) -> torch.device:
    """The device asked for, else an accelerator if this machine has one, else the CPU."""
    if asked is None:
        return torch.accelerator.current_accelerator(check_available=True) or torch.device('cpu')
    try:
        return torch.empty(0, device=asked).device
    except (AssertionError, RuntimeError) as error:
        raise ValueError(f'The device {asked!r} cannot be used here: {error}') from error


def check_device_of_file(args: argparse.Namespace, name: str) -> None:
    """Raises ValueError for another device than the CPU, which is where the files of `zoo export` are run."""
    if args.device not in (None, 'cpu'):
        raise ValueError(f'{name} is run on the CPU; leave --device out.')


def positive(text: str) -> int:
    """A whole number from 1 up."""
    if not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number from 1 up')
    return int(text)


def fraction(text: str) -> float:
    """A number from 0 to 1."""
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 1:
        raise argparse.ArgumentTypeError(f'{text!r} is not a number from 0 to 1')
    return value


def add_optimize(add: Callable[..., Any]) -> None:
    """Adds --optimize and --calibration by a parser's or group's `add_argument`."""
    add('--optimize', nargs='?', const='fp32', choices=OPTIMIZED, metavar='PRECISION',
        help='run it by zoo.optimize, in the fastest of what is installed whose outputs agree: fp32 (if none is named), '
             "bf16, fp16, int8 or auto (pip install 'zoo-image-models[fast]')")
    add('--calibration', metavar='FOLDER',
        help="images like those to come, for --optimize int8; auto then tries it, too")


def optimized(model: nn.Module, args: argparse.Namespace, shape: Sequence[int], device: torch.device | str,
              ) -> nn.Module:
    """The network as it was asked for: by `zoo.optimize`, which says what it chose, or as it is.

    Args:
        shape: (B, C, H, W) of the images that will come.

    Raises:
        ValueError: --calibration without --optimize.
    """
    if not args.optimize:
        if args.calibration:
            raise ValueError('--calibration is for --optimize int8 or auto.')
        return model
    from zoo.optimizing import optimize
    example = torch.rand(tuple(shape), generator=torch.Generator().manual_seed(0)).to(device)
    fast = optimize(model.to(device), example, precision=args.optimize, calibration=args.calibration)
    chosen = next(trial for trial in fast.report.trials if trial.name == fast.report.chosen)
    say(f'{chosen.name}: {chosen.milliseconds:.1f} ms for {example.shape[0]} images, {fast.report.speedup:.1f} times as '
        f'fast as the network as it is; outputs differ by {chosen.difference:.1e} of their norm')
    return fast


def model_arguments(texts: Sequence[str]) -> dict[str, Any]:
    """Arguments of a network from texts KEY=VALUE; a value is a number, a boolean, a tuple or None if it reads as one,
    else the text.

    Raises:
        ValueError: a text without '='.
    """
    found: dict[str, Any] = {}
    for text in texts:
        key, sign, value = text.partition('=')
        if not sign:
            raise ValueError(f'--model-kwargs takes KEY=VALUE; got {text!r}.')
        try:
            found[key] = ast.literal_eval(value)
        except (ValueError, SyntaxError):
            found[key] = value
    return found
