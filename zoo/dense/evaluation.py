"""Detectors and segmenters measured on every image of a dataset, and files that cannot be read told apart."""
from __future__ import annotations

import contextlib
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from .boxes import BoxDataset
from .masks import MaskDataset
from .metrics import MeanIoU, coco_ap

ENDS = {'JPEG': b'\xff\xd9', 'PNG': b'IEND'}         # what stands at the end of a whole file
TAIL = 64                                            # bytes in which it has to be
NAMED = 5                                            # files that a message names


class EvaluationStopped(Exception):
    """An evaluation ended before its last image because it was asked to."""


@dataclass
class DenseEvaluation:
    """What was found.

    Attributes:
        metrics: of a detector AP, AP50 and AP75, of a segmenter mIoU and pixel_accuracy, all in 0..1.
        per_class: by the names of the classes, AP50 or intersection over union; nan for a class that does not occur.
        samples: how many images were counted.
        unreadable: (file, reason) of images, or their masks, that could not be read and are in no figure.
        seconds: of the whole.
    """

    metrics: dict[str, float]
    per_class: dict[str, float]
    samples: int
    unreadable: list[tuple[str, str]]
    seconds: float


def evaluate(model: nn.Module, data: BoxDataset | MaskDataset, *, workers: int = 0,
             device: torch.device | str = 'cpu', amp_dtype: torch.dtype | None = None, channels_last: bool = True,
             max_unreadable: int = 0, progress: bool = True, stop: Callable[[], Any] | None = None) -> DenseEvaluation:
    """Measures a detector on boxes or a segmenter on masks, an image at a time, so that a figure depends on no batch.

    Under `torch.distributed` each process takes its part of the images, and all return the figures of the whole.

    Args:
        model: as `create_detector` or `create_segmenter` made it; it is moved to the device.
        data: with the model's classes in the same order, and without random changes.
        workers: processes that read images, beside this one. amp_dtype: of automatic mixed precision; None for none.
        channels_last: memory format. max_unreadable: how many images may be unreadable.
        stop: asked before each image; the evaluation ends once it answers with something true.

    Raises:
        EvaluationStopped: `stop` said so; there are no figures.
        ValueError: more unreadable images than allowed, no image at all, or other classes than the model's.
        ImportError: boxes without pycocotools.
    """
    if model.classes and list(model.classes) != list(data.classes):
        raise ValueError(f'The classes of the network are {", ".join(model.classes)}; those of the images are '
                         f'{", ".join(data.classes)}.')
    boxes, device = isinstance(data, BoxDataset), torch.device(device)
    model = model.to(device, memory_format=torch.channels_last if channels_last else torch.preserve_format).eval()
    rank, parts = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    begun, found, unreadable = time.perf_counter(), [], []
    confusion = MeanIoU(len(data.classes), None if boxes else data.ignore_index)
    loader = DataLoader(_Readable(data, range(rank, len(data), parts)), batch_size=None, num_workers=workers,
                        worker_init_fn=_leave_signals,
                        generator=torch.Generator())                     # its own, so that none is drawn from a run's
    mixed = torch.autocast(device.type, amp_dtype) if amp_dtype else contextlib.nullcontext()
    for number, image, target, reason in tqdm(loader, unit='image', disable=not progress or rank > 0):
        if stop is not None and stop():
            raise EvaluationStopped
        if reason:
            unreadable.append((str(data.files[number]), reason))
            check_unreadable(unreadable, max_unreadable)
            continue
        with torch.inference_mode(), mixed:
            output = model([image.to(device)])[0] if boxes else model(image[None].to(device))[0]
        if boxes:
            found.append((number, {key: value.float().cpu() if value.is_floating_point() else value.cpu()
                                   for key, value in output.items()}, target))
        else:
            confusion.update(output.argmax(0).cpu(), target)
            found.append((number,))
    if parts > 1:
        found, unreadable = (sorted((one for part in _gathered(mine) for one in part), key=lambda one: one[0])
                             for mine in (found, unreadable))
        confusion.confusion = sum(_gathered(confusion.confusion))
    check_unreadable(unreadable, max_unreadable)
    if not found:
        raise ValueError('There was no image to measure the network on.')
    figures = coco_ap([row[1] for row in found], [row[2] for row in found], len(data.classes)) if boxes \
        else confusion.compute()
    names, each = (('AP', 'AP50', 'AP75'), 'AP50_per_class') if boxes else (('mIoU', 'pixel_accuracy'), 'IoU_per_class')
    return DenseEvaluation({name: figures[name] for name in names}, dict(zip(data.classes, figures[each])), len(found),
                           unreadable, time.perf_counter() - begun)


def find_unreadable(files: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """(file, reason) of the images that are none, or are cut short.

    Cheap: of a JPEG or PNG file only header and end are looked at; it is decoded where they leave a doubt.
    """
    for file in files:
        try:
            with open(file, 'rb') as opened, Image.open(opened) as image:
                end = ENDS.get(image.format or '')
                if end is not None:
                    opened.seek(max(file.stat().st_size - TAIL, 0))
                    if end in opened.read():
                        continue
            with Image.open(file) as image:
                image.load()
        except Exception as error:                          # decoders raise errors of many types on broken bytes
            yield str(file), one_line(error)


def check_unreadable(unreadable: Sequence[tuple[str, str]], limit: int) -> None:
    """Raises ValueError, which names some of them, if more files are unreadable than `limit`."""
    if len(unreadable) > limit:
        named = '; '.join(f'{name} ({reason})' for name, reason in unreadable[:NAMED])
        more = f' and {len(unreadable) - NAMED} more' if len(unreadable) > NAMED else ''
        raise ValueError(f'{len(unreadable)} images could not be read, more than the {limit} allowed: {named}{more}.')


def one_line(error: Exception) -> str:
    """What an error says, in one line."""
    return ' '.join(str(error).split()) or type(error).__name__


class _Readable(Dataset):
    """(number, image, target, '') of images, or (number, None, None, reason) where one cannot be read."""

    def __init__(self, data: BoxDataset | MaskDataset, numbers: range) -> None:
        self.data, self.numbers = data, numbers

    def __len__(self) -> int:
        return len(self.numbers)

    def __getitem__(self, place: int) -> tuple[int, Tensor | None, Any, str]:
        if place >= len(self.numbers):
            raise IndexError(place)
        number = self.numbers[place]
        try:
            return (number, *self.data[number], '')
        except (OSError, ValueError) as error:
            return number, None, None, one_line(error)


def _leave_signals(_: int) -> None:
    """Workers leave signals to the main process, which ends them."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)


def _gathered(value: Any) -> list[Any]:
    """The value of every process."""
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found
