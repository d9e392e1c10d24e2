"""Detectors and segmenters measured on every image of a dataset, and files that cannot be read told apart."""
from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.utils.data import DataLoader, Dataset
from tqdm import tqdm

from ..data.images import problem_of
from ..evaluation import EvaluationStopped
from ..evaluation.loading import check_readable, leave_signals
from ..spec import one_line
from .boxes import BoxDataset
from .masks import MaskDataset
from .metrics import MeanIoU, coco_ap


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
        progress: show a bar, where stderr is a terminal.
        stop: asked before each image; the evaluation ends once it answers with something true, in any process.

    Raises:
        EvaluationStopped: `stop` said so; there are no figures.
        ValueError: more unreadable images than allowed, no image at all, or other classes than the model's.
        ImportError: boxes without pycocotools.
    """
    classes: Sequence[str] | None = getattr(model, 'classes')
    if classes and list(classes) != list(data.classes):
        raise ValueError(f'The classes of the network are {", ".join(classes)}; those of the images are '
                         f'{", ".join(data.classes)}.')
    boxes, device = isinstance(data, BoxDataset), torch.device(device)
    model = model.to(device).eval()
    if channels_last:
        model = model.to(memory_format=torch.channels_last)
    rank, parts = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    begun, stopped = time.perf_counter(), False
    found: list[tuple[Any, ...]] = []                                   # (number, what was found, target), or (number,)
    unreadable: list[tuple[Any, ...]] = []                              # (file, reason)
    confusion = MeanIoU(len(data.classes), data.ignore_index if isinstance(data, MaskDataset) else None)
    loader = DataLoader(_Readable(data, range(rank, len(data), parts)), batch_size=None, num_workers=workers,
                        worker_init_fn=leave_signals,
                        generator=torch.Generator())                     # its own, so that none is drawn from a run's
    mixed = torch.autocast(device.type, amp_dtype) if amp_dtype else contextlib.nullcontext()
    for number, image, target, reason in tqdm(loader, unit='image', disable=None if progress and rank == 0 else True):
        stopped = bool(stop and stop())
        if stopped:
            break
        if reason:
            unreadable.append((str(data.files[number]), reason))
            check_readable(unreadable, max_unreadable)
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
        stopped = any(_gathered(stopped))
    if stopped:
        raise EvaluationStopped('The evaluation was stopped before its last image.')
    if parts > 1:
        found, unreadable = (sorted((one for part in _gathered(mine) for one in part), key=lambda one: one[0])
                             for mine in (found, unreadable))
        confusion.confusion = sum(_gathered(confusion.confusion))
    check_readable(unreadable, max_unreadable)
    if not found:
        raise ValueError('There was no image to measure the network on.')
    figures = coco_ap([row[1] for row in found], [row[2] for row in found], len(data.classes)) if boxes \
        else confusion.compute()
    names, each = (('AP', 'AP50', 'AP75'), 'AP50_per_class') if boxes else (('mIoU', 'pixel_accuracy'), 'IoU_per_class')
    return DenseEvaluation({name: figures[name] for name in names}, dict(zip(data.classes, figures[each])), len(found),
                           unreadable, time.perf_counter() - begun)


def find_unreadable(files: Sequence[Path]) -> Iterator[tuple[str, str]]:
    """(file, reason) of the images that are none, or are cut short, by a look as `zoo.data.images.problem_of` has."""
    for file in files:
        if reason := problem_of(lambda: open(file, 'rb')):
            yield str(file), reason


class _Readable(Dataset[tuple[int, Tensor | None, Any, str]]):
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


def _gathered(value: Any) -> list[Any]:
    """The value of every process."""
    found: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(found, value)
    return found
