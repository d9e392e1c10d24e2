"""The choice among backends: each is built, compared with the network, timed, and the fastest that agrees is kept."""
from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from ..benchmarking.timing import in_blocks
from ..memory import keep_freed_memory
from ..spec import one_line, unknown
from .backends import BACKENDS, PRECISIONS, Backend, Prepared, get_backend, installed
from .network import Optimized, record_of

_log = logging.getLogger(__name__)

TOLERANCES = {'fp32': 1e-3, 'fp16': 1e-2, 'bf16': 0.1, 'int8': 0.3}     # of the outputs' norm
CALIBRATION_IMAGES = 300
CLOSE = 1.25                    # times the time of the fastest: those within it are timed again, longer


@dataclass
class Trial:
    """One way to run the network.

    Attributes:
        backend, precision, variant: what ran.
        milliseconds: of the example, in the median; None if it was not timed.
        difference: of its outputs from the network's, over the norm of the latter; None if it did not run.
        problem: why it was not taken, '' if nothing speaks against it.
    """

    backend: str
    precision: str
    variant: str = ''
    milliseconds: float | None = None
    difference: float | None = None
    problem: str = ''

    @property
    def name(self) -> str:
        """How it is called in a table."""
        return ' '.join(filter(None, (self.backend, self.variant, self.precision)))


@dataclass
class Report:
    """What `zoo.optimize` tried.

    Attributes:
        shape: of the example (B, C, H, W).
        threads: of the processor.
        eager: milliseconds of the network as it was given.
        chosen: the name of the trial that was kept.
        trials: all of them, in the order of trying.
    """

    shape: tuple[int, ...]
    threads: int
    eager: float
    chosen: str = ''
    trials: list[Trial] = field(default_factory=list)

    @property
    def speedup(self) -> float:
        """How many times as fast the chosen one is as the network as it was given."""
        chosen: Any = next(trial for trial in self.trials if trial.name == self.chosen)          # timed, then
        return self.eager / chosen.milliseconds

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Report:
        """What `to_dict` gave."""
        return cls(**{**values, 'shape': tuple(values['shape']), 'trials': [Trial(**t) for t in values['trials']]})

    def __str__(self) -> str:
        size = 'x'.join(map(str, self.shape))
        lines = [f'images {size}, {self.threads} threads; the network as given: {self.eager:.2f} ms']
        for trial in self.trials:
            mark = '*' if trial.name == self.chosen else ' '
            if trial.milliseconds is None:
                lines.append(f'{mark} {trial.name:32} {trial.problem}')
                continue
            lines.append(f'{mark} {trial.name:32} {trial.milliseconds:8.2f} ms  {self.eager / trial.milliseconds:5.2f} '
                         f'times as fast  outputs differ by {trial.difference:.1e}  {trial.problem}'.rstrip())
        return '\n'.join(lines)


def optimize(model: nn.Module, example: Tensor, *, precision: str = 'fp32', backend: str = 'auto',
             calibration: str | Path | Iterable[Tensor] | None = None, tolerance: float | None = None) -> Optimized:
    """A network as fast as this machine runs it: batch normalisations folded into convolutions, weights frozen, the
    better memory format, in the fastest of the backends that are installed.

    On a CPU it also has this process keep the memory that it frees, see `zoo.memory.keep_freed_memory`.

    Args:
        model: any network of zoo, also one of `features_only=True`; it is left as it is.
        example: images (B, C, H, W), prepared, on the network's device. What is fastest depends on their number and size;
            others may come later, where the network takes them.
        precision: 'fp32'; 'bf16' or 'fp16'; 'int8', which needs `calibration`; or 'auto', the fastest of 'fp32', 'bf16'
            and, with `calibration`, 'int8' whose outputs agree.
        backend: 'eager', 'inductor' (PyTorch's compiler), 'onnxruntime', 'openvino', or 'auto': each that is installed is
            timed.
        calibration: for 'int8' images that are like those to come, some hundreds: a folder of them, which are prepared as
            the network's are, or batches of prepared images (B, C, H, W).
        tolerance: the largest difference of outputs from the network's for `example`, over the norm of the latter. By
            default 1e-3 for 'fp32', 1e-2 for 'fp16', 0.1 for 'bf16', 0.3 for 'int8'.

    Returns:
        What is called like the network, with its `labels`, `pretrained_cfg` and so on; `report` says what was tried.

    Raises:
        ValueError: an unknown word; 'int8' without `calibration`; an example that the network does not take; no way whose
            outputs agree, with the differences.
        ImportError: the backend asked for is not installed.
    """
    if precision not in (*PRECISIONS, 'auto'):
        raise ValueError(unknown('precision', precision, [*PRECISIONS, 'auto']))
    if precision == 'int8' and calibration is None:
        raise ValueError("precision='int8' needs calibration=: a folder of images like those to come, or batches of "
                         'them.')
    if example.ndim != 4 or not example.is_floating_point():
        raise ValueError(f'example is prepared images (B, C, H, W) in floats; got {tuple(example.shape)} of '
                         f'{example.dtype}.')
    device = next((p.device for p in model.parameters()), example.device)
    if example.device != device:
        raise ValueError(f'The example is on {example.device}, the network on {device}.')
    names = installed() if backend == 'auto' else [get_backend(backend).name]
    kinds = ['fp32', 'bf16', *(['int8'] if calibration is not None else [])] if precision == 'auto' else [precision]
    if device.type == 'cpu':
        keep_freed_memory()
    batches = calibration_batches(model, calibration) if 'int8' in kinds else None

    training = model.training
    model.eval()
    try:
        with torch.inference_mode():
            expected = _flat(model(example))
        built, trials = _build_all(Prepared(model, example, batches), names, kinds, expected, tolerance)
        timed = [('', model), *((trial.name, built[trial.name]) for trial in trials if not trial.problem)]
        times = _milliseconds(timed, example)
        best = min((value for name, value in times.items() if name), default=0.0)
        close = [(name, run) for name, run in timed if name and times[name] <= CLOSE * best]
        if len(close) > 1:
            times.update(_milliseconds(close, example, rounds=9, seconds=2.0))
    finally:
        model.train(training)
    for trial in trials:
        trial.milliseconds = times.get(trial.name)
    report = Report(tuple(example.shape), torch.get_num_threads(), times[''], trials=trials)
    good = [trial for trial in trials if not trial.problem]
    if not good:
        raise ValueError(f'No way to run the network in {precision} gives its outputs:\n{report}')
    chosen = min(good, key=lambda trial: times[trial.name])
    report.chosen = chosen.name
    _log.info('%s', report)
    return Optimized(built[chosen.name], chosen.precision, device, record_of(model), report)


def _milliseconds(runs: Sequence[tuple[str, Any]], example: Tensor, **how: Any) -> dict[str, float]:
    """Medians by name."""
    timings = in_blocks([partial(run, example) for _, run in runs], str(example.device), **how)
    return {name: timing.median * 1e3 for (name, _), timing in zip(runs, timings)}


def _build_all(source: Prepared, names: Sequence[str], kinds: Sequence[str], expected: Tensor,
               tolerance: float | None) -> tuple[dict[str, Backend], list[Trial]]:
    """Every way to run the network, and what came of trying it."""
    built: dict[str, Backend] = {}
    trials: list[Trial] = []
    example = source.example
    for cls in (BACKENDS[name] for name in names):
        for kind in kinds:
            variants = cls.variants(example.device) if kind in cls.precisions else ()
            if not variants and len(names) == 1:
                raise ValueError(f'backend={cls.name!r} has {" and ".join(cls.precisions)}, not {kind}.'
                                 if kind not in cls.precisions else
                                 f'{cls.name} does not run on {example.device} here.')
            for variant in variants:
                trial = Trial(cls.name, kind, variant)
                trials.append(trial)
                try:
                    run = cls.build(source, kind, variant)
                    with torch.inference_mode():
                        found = _flat(run(example))
                except Exception as error:          # whatever a compiler or converter stumbles over, others may not
                    if len(names) == 1 and len(variants) == 1:
                        raise
                    trial.problem = f'{type(error).__name__}: {one_line(error)[:200]}'
                    continue
                trial.difference = ((found - expected).norm() / expected.norm().clamp_min(1e-12)).item()
                limit = TOLERANCES[kind] if tolerance is None else tolerance
                if not trial.difference <= limit:
                    trial.problem = f'outputs differ by {trial.difference:.1e}, more than {limit:.0e}'
                else:
                    built[trial.name] = run
    return built, trials


def _flat(outputs: Tensor | Sequence[Tensor]) -> Tensor:
    outputs = [outputs] if isinstance(outputs, Tensor) else outputs
    return torch.cat([one.flatten().float() for one in outputs])


def calibration_batches(model: nn.Module, calibration: str | Path | Iterable[Tensor] | None) -> list[Tensor]:
    """Batches of prepared images, at most 300 in all, from a folder of images or as they are.

    Raises:
        ValueError: there are none.
        FileNotFoundError: there is no such folder.
    """
    if isinstance(calibration, (str, Path)):
        from ..data import create_transform, load_image, resolve_model_data_config
        from ..data.files import PassedOver, walk_images
        folder = Path(calibration)
        if not folder.is_dir():
            raise FileNotFoundError(f'calibration: there is no folder {str(folder)!r}.')
        config = resolve_model_data_config(model)
        transform: Any = create_transform(**config)
        names = walk_images(folder, PassedOver())
        names = names[::max(len(names) // CALIBRATION_IMAGES, 1)][:CALIBRATION_IMAGES]
        batches = [transform(load_image(folder / name, exif=True, channels=config['input_size'][0]))[None]
                   for name in names]
    else:
        batches, count = [], 0
        for batch in calibration or ():
            batches.append(batch.float()[:CALIBRATION_IMAGES - count])
            count += len(batches[-1])
            if count >= CALIBRATION_IMAGES:
                break
    if not batches:
        raise ValueError(f'calibration: {calibration!r} has no images.')
    return batches
