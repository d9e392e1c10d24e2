"""`zoo validate` of a detector or a segmenter: average precision of boxes, mean intersection over union of masks."""
from __future__ import annotations

import argparse
import contextlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from zoo.cli import printable, say
from zoo.cli.reporting import Report, command_of
from zoo.dense import DenseEvaluation, evaluate, load
from zoo.dense.saving import read_config
from zoo.evaluation import EvaluationStopped
from zoo.train import load_trained, trained_record
from zoo.train.dense import open_dense
from zoo.train.progress import Stop

# the options that say how data lie -> what they say, see `zoo.train.dense.layout_of`
LAYOUT = {'image_folder': 'images', 'annotation_folder': 'annotations', 'list_folder': 'lists',
          'on_bad_box': 'on_bad_box', 'ignore_index': 'ignore_index'}
OPTIONS = {'data', 'data_dir', 'dataset', 'split', 'max_unreadable', 'workers', 'checkpoint', 'device', 'amp',
           'amp_dtype', 'channels_last', 'results_file', 'results_format', *LAYOUT}
USUAL = {'images': None, 'annotations': None, 'lists': None, 'on_bad_box': 'error', 'ignore_index': 255}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options that only boxes and masks have."""
    add = parser.add_argument_group('boxes and masks, where not as in training').add_argument
    add('--image-folder', metavar='FOLDER', help="the folder of images; '{split}' stands for the split")
    add('--annotation-folder', metavar='FOLDER', help='the folder of boxes or masks')
    add('--list-folder', metavar='FOLDER', help='the folder of the lists of splits')
    add('--on-bad-box', choices=('error', 'drop'), help='what to do with a box without area or outside of its image')
    add('--ignore-index', type=int, metavar='N', help='the index of pixels without a class')


def is_dense(args: argparse.Namespace) -> bool:
    """Whether --checkpoint alone names a detector or a segmenter.

    Raises:
        ValueError: it does not, and there are options that only boxes and masks have.
    """
    found = args.model is None and args.checkpoint is not None and _about(args.checkpoint) is not None
    given = [f'--{key.replace("_", "-")}' for key in LAYOUT if getattr(args, key) is not None]
    if given and not found:
        raise ValueError(f'{", ".join(given)}: only for a --checkpoint with a detector or a segmenter.')
    return found


def run(args: argparse.Namespace, place: str, device: torch.device,
        processes: Callable[[torch.device], contextlib.AbstractContextManager[int]]) -> int:
    """Measure the network in --checkpoint on the images at `place`; the status is 128 and the signal if one ended it.

    Args:
        processes: joins the processes that torchrun has started, and gives this one's number.
    """
    idle = [f'--{key.replace("_", "-")}' for key, value in vars(args).items()
            if key not in OPTIONS and key not in ('command', 'run', 'default_of') and value != args.default_of(key)]
    if idle:
        raise ValueError(f'{args.checkpoint} holds a network for boxes or masks; {", ".join(idle)} would not be read.')
    about = _about(args.checkpoint)
    if about is None:
        raise ValueError(f'{args.checkpoint} holds no detector or segmenter.')
    name, config, layout = about
    given = {key: getattr(args, option) for option, key in LAYOUT.items()}
    layout = layout | {key: value for key, value in given.items() if value is not None}
    model = (load_trained if trained_record(args.checkpoint) else load)(args.checkpoint)
    own: list[str] | None = getattr(model, 'classes')
    classes = own or [str(i) for i in range(config['task'] == 'detect', config['num_classes'])]
    source = open_dense(place, args.split, layout, classes)
    with processes(device) as rank, Stop() as stop:
        report = Report(args.results_file, args.results_format, quiet=rank > 0)
        try:
            found = evaluate(
                model, source.data, workers=args.workers, device=device, channels_last=args.channels_last,
                amp_dtype=getattr(torch, args.amp_dtype) if args.amp else None, max_unreadable=args.max_unreadable,
                progress=rank == 0, stop=lambda: stop.signal)
        except EvaluationStopped:
            say(f'{args.checkpoint}: stopped, and not measured')
            return 128 + (stop.signal or 0)
        if rank == 0:
            _tell(args, report, {'model': name, 'head': config['head'], 'checkpoint': args.checkpoint,
                                 'data': place}, found, device)
        report.finish()
    return 0


def _about(path: str) -> tuple[str, dict[str, Any], dict[str, Any]] | None:
    """(backbone, config, how its data lay) of a file with a detector or a segmenter; None for any other file."""
    record = trained_record(path)
    if record is not None:
        return (record['name'], record['dense'], record['layout']) if 'dense' in record else None
    config = read_config(Path(path))
    return (config['backbone'], config, USUAL | {'task': config['task']}) if config else None


def _tell(args: argparse.Namespace, report: Report, about: dict[str, Any], found: DenseEvaluation,
          device: torch.device) -> None:
    """Shows and writes a measurement."""
    from zoo.tables import provenance
    row = {**about, **found.metrics, 'samples': found.samples, 'unreadable': len(found.unreadable),
           'precision': f'amp {args.amp_dtype}' if args.amp else 'float32',
           'images_per_second': round(found.samples / found.seconds, 2), **provenance(command_of(args), str(device))}
    details = {'unreadable_images': found.unreadable, 'per_class': found.per_class, 'seconds': round(found.seconds, 3)}
    report.write(row, details)
    if report.format != 'json' or report.path:
        each = 'AP50' if 'AP50' in found.metrics else 'IoU'
        figures = found.metrics | {f'{each} of {name}': value for name, value in found.per_class.items()}
        width = max(map(len, figures))
        for name, value in figures.items():
            print(printable(f'{name:{width}}  {value:.4f}'), flush=True)
    say(f'{found.samples} images in {found.seconds:.1f} s')
    for file, reason in found.unreadable:
        say(f'unreadable and not counted: {file} ({reason})')
