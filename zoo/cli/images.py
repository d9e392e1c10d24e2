"""What subcommands that read images share: finding them, and options."""
from __future__ import annotations

import argparse
import ast
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

EXTENSIONS = frozenset('.bmp .gif .jpeg .jpg .pgm .png .ppm .tif .tiff .webp'.split())


def find_images(paths: Sequence[str]) -> list[Path]:
    """The files named, and those with an image's extension in the folders named, at any depth, sorted.

    Raises:
        FileNotFoundError: a path that does not exist, or a folder without any image.
    """
    return [image for path in paths for image in _images_at(Path(path))]


def _images_at(path: Path) -> list[Path]:
    if not path.exists():
        raise FileNotFoundError(f'There is no file or folder {str(path)!r}.')
    if not path.is_dir():
        return [path]
    files = (Path(folder, name) for folder, _, names in os.walk(path) for name in names)
    images = sorted(file for file in files if file.suffix.lower() in EXTENSIONS)
    if not images:
        raise FileNotFoundError(f'There is no image in the folder {str(path)!r}: looked for {" ".join(sorted(EXTENSIONS))}.')
    return images


def choose_device(asked: str | None) -> torch.device:
    """The device asked for, else an accelerator if this machine has one, else the CPU."""
    if asked is None:
        return torch.accelerator.current_accelerator(check_available=True) or torch.device('cpu')
    try:
        return torch.empty(0, device=asked).device
    except (AssertionError, RuntimeError) as error:
        raise ValueError(f'The device {asked!r} cannot be used here: {error}') from error


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


def one_line(error: Exception) -> str:
    """The error in one line; it names the file."""
    return ' '.join(str(error).split()) or type(error).__name__


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
