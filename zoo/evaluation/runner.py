"""The loop over labelled images: every one counted exactly once, every one that could not be read named."""
from __future__ import annotations

import contextlib
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor, nn

from ..data.patches import NormalizePatches, PackedLevels, patch_format
from .gpu import Finish
from .labels import RealLabels
from .loading import AnyPreprocess, Batch, check_readable, default_workers, load_batches, some
from .metrics import Metrics
from .network import prepare
from .preprocess import Normalize, PatchPreprocess, Photographs, Preprocess

CACHED = 2 ** 18            # pixels of the images that a CPU is given at once for each of its threads


class EvaluationStopped(Exception):
    """An evaluation ended before its last image because it was asked to."""


@dataclass
class Evaluation:
    """What an evaluation found.

    Attributes:
        metrics: figures of all images, see `Metrics.compute`.
        per_class: see `Metrics.per_class`.
        confusion: see `Metrics.confusion`.
        samples: how many images were counted.
        unreadable: (name, reason) of the images that could not be read and are in no figure.
        decoder: 'fast', 'scaled', 'pillow' or 'nvjpeg'.
        batch_size: the largest batch that fitted into memory.
        seconds: of the loop, in this process; `waiting` of them for images, the rest for the network and the metrics.
    """

    metrics: dict[str, float]
    per_class: dict[int, float]
    confusion: list[tuple[int, int, int]]
    samples: int
    unreadable: list[tuple[str, str]]
    decoder: str
    batch_size: int
    seconds: float
    waiting: float


@dataclass
class Forward:
    """Levels (B, C, H, W), or packed patches -> outputs (B, n) in float32, in pieces that fit into memory.

    Args:
        model: a network from `prepare`.
        batch_size: the largest batch to begin with; each time that memory runs out, it is halved.
        amp_dtype: of automatic mixed precision; None for none.
        pad: fill smaller batches of images up, for a compiled network.
    """

    model: nn.Module
    normalize: Callable[[Any], Any]
    device: torch.device
    batch_size: int
    amp_dtype: torch.dtype | None = None
    pad: bool = False
    _halved: list[int] = field(default_factory=list)

    @torch.inference_mode()
    def __call__(self, levels: Tensor | PackedLevels) -> Tensor:
        outputs, start = [], 0
        while start < len(levels):
            piece = self._piece(levels)
            try:
                outputs.append(self._run(levels[start:start + piece], piece))
                start += piece
            except RuntimeError as error:
                if not _is_out_of_memory(error) or piece == 1:
                    raise
                self._halve(min(piece, len(levels)))
        return torch.cat(outputs)

    def _piece(self, levels: Tensor | PackedLevels) -> int:
        return at_once(self.batch_size, levels.shape[1:], self.device)

    def _run(self, levels: Tensor | PackedLevels, piece: int) -> Tensor:
        count = len(levels)
        if self.pad and isinstance(levels, Tensor) and count < piece:
            levels = torch.cat([levels, levels[:1].expand(piece - count, -1, -1, -1)])
        images = self.normalize(levels.to(self.device, non_blocking=True))
        mixed = torch.autocast(self.device.type, self.amp_dtype) if self.amp_dtype else contextlib.nullcontext()
        with mixed:
            outputs = self.model(images)
        if not isinstance(outputs, Tensor) or outputs.ndim != 2:
            raise ValueError('The network gives no outputs (images, classes): it needs its pooling and its head.')
        return outputs[:count].float()

    def _halve(self, tried: int) -> None:
        """After the exception is gone, and with it what it held in memory."""
        self.batch_size = max(tried // 2, 1)
        if self.device.type == 'cuda':
            torch.cuda.empty_cache()
        print(f'zoo: out of memory with a batch of {tried}; going on with {self.batch_size}.', file=sys.stderr)


def at_once(batch_size: int, image: Sequence[int], device: torch.device) -> int:
    """How many images (C, H, W) go through the network at once. A CPU is soonest done with few, whose maps stay in its
    caches and in memory that it has already."""
    if device.type != 'cpu':
        return batch_size
    cached = CACHED * torch.get_num_threads() // (image[1] * image[2])
    return min(batch_size, max(cached, 1))


def evaluate(model: nn.Module, source: Any, config: Mapping[str, Any], *, decoder: str = 'pillow', exif: bool = False,
             batch_size: int = 64, workers: int | None = None, device: torch.device | str = 'cpu',
             dtype: torch.dtype = torch.float32, amp_dtype: torch.dtype | None = None, channels_last: bool = True,
             fold: bool = True, compile: bool = False, max_unreadable: int = 0, valid: list[int] | None = None,
             real_labels: RealLabels | None = None, progress: bool = True, stop: Callable[[], Any] | None = None,
             loss: Callable[[Tensor, Tensor], Tensor] | None = None, seq_len: int | None = None) -> Evaluation:
    """Measures a network on every image of a source.

    Under `torch.distributed` each process takes its part of the images, and all return the figures of the whole.

    Args:
        model: images -> outputs (B, n); it is left as it is. One that says `takes_photographs` is given the images as
            they are, one at a time, uint8 (1, H, W, C). One that is `sized_for_a_batch` gets smaller batches filled up.
        source: labelled images by number (`name`, `encoded`, `target`, `task`, `len`), or a stream of them.
        config: the settings that `zoo.data.resolve_data_config` returns.
        decoder, exif: see `Preprocess`.
        workers: processes that read images, beside this one; by default as many as it has processors, at most 4.
        dtype, channels_last, fold, compile: see `prepare`.
        amp_dtype: see `Forward`.
        max_unreadable: how many images may be unreadable.
        valid: indices of the outputs that count; see `Metrics`.
        real_labels: ReaL labels, for `real_top1` and `real_top5`.
        progress: show a bar with the rate and how it stands so far, where stderr is a terminal.
        stop: asked before each batch; the evaluation ends once it answers with something true, in any process.
        loss: see `Metrics`.
        seq_len: images become packed patches (NaFlex), at most so many; None for images.

    Raises:
        EvaluationStopped: `stop` said so; there are no figures.
        ValueError: more unreadable images than allowed, no image at all, a target that the outputs do not have.
        RuntimeError: outputs that are not finite, with the names of images; a count that is not the source's.
    """
    device = torch.device(device)
    rank, parts = (dist.get_rank(), dist.get_world_size()) if dist.is_initialized() else (0, 1)
    preprocess, normalize = _preparation(model, config, decoder, exif, seq_len, dtype, channels_last)
    batch_size = 1 if isinstance(preprocess, Photographs) else batch_size           # each of a size of its own
    if preprocess.decoder == 'nvjpeg' and device.type != 'cuda':
        raise ValueError(f"decoder='nvjpeg' decodes on a CUDA device; the device is {str(device)!r}.")
    finish = Finish(preprocess, device) if isinstance(preprocess, Preprocess) else None
    metrics = Metrics(source.task, getattr(model, 'num_classes'), device, valid, loss)
    network = prepare(model, device, dtype, channels_last, fold and not seq_len, compile, config['input_size'])
    forward = Forward(network, normalize, device, batch_size, amp_dtype,
                      pad=compile or getattr(model, 'sized_for_a_batch', False))
    workers = default_workers() if workers is None else workers
    loader = load_batches(source, preprocess, batch_size, workers, rank, parts, pin_memory=device.type == 'cuda')

    unreadable, waiting, begin = [], 0.0, time.perf_counter()
    total = len(source) if hasattr(source, '__len__') else None
    with _bar(total, progress and rank == 0) as bar:
        batches = iter(loader)
        while not (stopped := bool(stop and stop())):
            asked = time.perf_counter()
            batch = next(batches, None)
            waiting += time.perf_counter() - asked
            if batch is None:
                break
            batch = _finished(batch, finish)
            unreadable += batch.unreadable
            check_readable(unreadable, max_unreadable)
            if isinstance(batch.levels, (Tensor, PackedLevels)):
                _measure(batch, batch.levels, forward, metrics, real_labels)
            seen = bar.n + parts * (len(batch.names) + len(batch.unreadable))
            bar.update((seen if total is None else min(seen, total)) - bar.n)     # parts differ by an image
            bar.set_postfix_str(metrics.running, refresh=False)
    seconds = time.perf_counter() - begin

    if parts > 1:
        found: list[Any] = [None] * parts
        dist.all_gather_object(found, (unreadable, stopped))
        unreadable, stopped = sorted(one for part, _ in found for one in part), any(end for _, end in found)
    if stopped:
        raise EvaluationStopped('The evaluation was stopped before its last image.')
    if parts > 1:
        check_readable(unreadable, max_unreadable)
        metrics.gather()
    if total is not None and metrics.seen + len(unreadable) != total:
        raise RuntimeError(f'The source has {total} images; {metrics.seen} were counted and {len(unreadable)} were '
                           'unreadable.')
    if not metrics.seen:
        raise ValueError('There was no image to measure the network on.')
    return Evaluation(metrics.compute(), metrics.per_class(), metrics.confusion(), metrics.seen, unreadable,
                      preprocess.decoder, forward.batch_size, seconds, waiting)


def _preparation(model: nn.Module, config: Mapping[str, Any], decoder: str, exif: bool, seq_len: int | None,
                 dtype: torch.dtype, channels_last: bool) -> tuple[AnyPreprocess, Callable[[Any], Any]]:
    """What an image goes through in the workers, and a batch on the network's device."""
    if seq_len:
        if decoder not in ('auto', PatchPreprocess.decoder):
            raise ValueError(f"Packed patches (seq_len={seq_len}) are made of Pillow's images alone; got "
                             f'decoder={decoder!r}.')
        taken = patch_format(model)
        return (PatchPreprocess(config, taken.size, seq_len, exif),
                NormalizePatches(config['mean'], config['std'], dtype, channels_first=taken.channels_first))
    if getattr(model, 'takes_photographs', False):
        return Photographs(config['input_size'][0], exif), _channels_last
    return Preprocess(config, decoder, exif), Normalize(config['mean'], config['std'], dtype, channels_last)


def _channels_last(levels: Tensor) -> Tensor:
    """Levels (B, C, H, W) as photographs (B, H, W, C)."""
    return levels.permute(0, 2, 3, 1)


def _finished(batch: Batch, finish: Finish | None) -> Batch:
    """The batch with all its files decoded."""
    if finish is None or not isinstance(batch.levels, list):
        return batch
    levels, problems = finish(batch.levels)
    read = [place for place in range(len(batch.names)) if place not in problems]
    return Batch([batch.names[place] for place in read], [batch.targets[place] for place in read], levels,
                 [*batch.unreadable, *((batch.names[place], reason) for place, reason in problems.items())])


def _measure(batch: Batch, levels: Tensor | PackedLevels, forward: Forward, metrics: Metrics, real_labels: RealLabels | None) -> None:
    targets = metrics.targets(batch.targets)
    outputs = forward(levels)
    finite = outputs.isfinite().all(1).tolist()
    if not all(finite):
        bad = [name for name, good in zip(batch.names, finite) if not good]
        raise RuntimeError(f'The network gives outputs that are not finite, for {len(bad)} of {len(finite)} images '
                           f'of a batch: {some(bad)}.')
    metrics.update(outputs, targets, [real_labels.of(name) for name in batch.names] if real_labels else None)


def _is_out_of_memory(error: RuntimeError) -> bool:
    words = ('out of memory', "can't allocate memory", 'not enough memory')
    return isinstance(error, torch.OutOfMemoryError) or any(word in str(error) for word in words)


def _bar(total: int | None, shown: bool) -> Any:
    from tqdm import tqdm
    return tqdm(total=total, unit='image', disable=None if shown else True, smoothing=0.05)
