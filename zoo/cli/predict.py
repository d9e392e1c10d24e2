"""`zoo predict`: the most probable classes of photographs, or the numbers that a network estimates."""
from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

import zoo
from zoo.cli import printable, say
from zoo.cli.images import (
    add_optimize, check_device_of_file, choose_device, find_images, model_arguments, optimized, positive,
)
from zoo.data.files import image_suffixes
from zoo.runtime import Exported, is_exported, levels_of, load_exported
from zoo.spec import one_line
from zoo.train import load_trained, trained_record

Outcome = list[dict[str, Any]] | Exception
DEFAULT_MODEL = 'tf_efficientnet_lite0.in1k'  # the weights of an installable package: no network needed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `zoo predict` to its parser."""
    parser.add_argument('paths', nargs='+', metavar='IMAGE_OR_FOLDER',
                        help=f'image files, and folders searched for {" ".join(image_suffixes())}')
    parser.add_argument('--model', metavar='NAME',
                        help='or a file that zoo export wrote (default: what the checkpoint says it is, else '
                             f'{DEFAULT_MODEL})')
    parser.add_argument('--checkpoint', metavar='FILE_OR_RUN',
                        help="a file of weights to use in place of the model's own, or a run's folder for its best; "
                             'what zoo train wrote knows network, classes and preprocessing')
    parser.add_argument('--num-classes', type=positive, metavar='N', help='classes of the checkpoint, if not the usual')
    parser.add_argument('--model-kwargs', nargs='+', default=[], metavar='KEY=VALUE',
                        help='more arguments of the network, as its checkpoint needs them')
    parser.add_argument('--topk', type=positive, default=5, metavar='K', help='classes per image (default: %(default)s)')
    parser.add_argument('--batch-size', type=positive, default=16, metavar='N', help='default: %(default)s')
    parser.add_argument('--device', help="'cpu', 'cuda', 'cuda:1' (default: an accelerator if there is one)")
    add_optimize(parser.add_argument)
    parser.add_argument('--json', action='store_true', help='print one JSON object a line for each image')


def run(args: argparse.Namespace) -> int:
    """Print the classes of every image; the status is 1 if there were images that could not be read."""
    from tqdm import tqdm

    paths = find_images(args.paths)
    model = _build(args)
    if args.optimize and isinstance(model, Exported):
        raise ValueError(f'{args.model} is a file with its network and precision; leave --optimize out.')
    size = zoo.data.resolve_model_data_config(model)['input_size']
    model = optimized(model, args, (min(args.batch_size, len(paths)), *size), _device_of(model))
    lines = _json_lines if args.json else _table(paths, getattr(model, 'task', 'single') == 'regression')
    broken = 0
    with tqdm(total=len(paths), unit='image', disable=len(paths) <= args.batch_size or None) as progress:
        for path, outcome in predict(model, paths, args.topk, args.batch_size):
            if isinstance(outcome, Exception):
                broken += 1
                tqdm.write(printable(f'zoo: skipped {one_line(outcome)}'), file=sys.stderr)
            for line in lines(path, outcome):
                tqdm.write(line, file=sys.stdout)
            progress.update()
    if broken:
        say(f'{broken} of {len(paths)} images could not be read')
    return 1 if broken else 0


def predict(model: nn.Module, paths: Sequence[Path], topk: int, batch_size: int) -> Iterator[tuple[Path, Outcome]]:
    """Each path with its `topk` most probable classes, or the numbers of a network that estimates some, or with the
    error that reading it raised.

    A batch is decoded in parallel and then shown to the network on the device the model is on.
    """
    config = zoo.data.resolve_model_data_config(model)
    transform: Any = levels_of if _takes_photographs(model) else zoo.data.create_transform(**config)

    def read(path: Path) -> Tensor | Exception:
        try:
            return transform(zoo.data.load_image(path, exif=True, channels=config['input_size'][0]))
        except (OSError, ValueError) as error:
            return error

    with ThreadPoolExecutor() as pool:
        for start in range(0, len(paths), batch_size):
            batch = paths[start:start + batch_size]
            images = [*pool.map(read, batch)]
            whole = [image for image in images if not isinstance(image, Exception)]
            found = iter(_classify(model, whole, topk) if whole else [])
            for path, image in zip(batch, images):
                yield path, image if isinstance(image, Exception) else next(found)


def _classify(model: Any, images: list[Tensor], topk: int) -> list[list[dict[str, Any]]]:
    device = _device_of(model)
    with torch.inference_mode():
        if _takes_photographs(model):                       # each of a size of its own
            outputs = torch.cat([model(image[None]) for image in images])
        else:
            outputs = model(torch.stack(images).to(device))
    if getattr(model, 'task', 'single') == 'regression':
        return [[{'index': i, 'value': v} for i, v in enumerate(one)] for one in outputs.tolist()]
    # where an image has several classes, each is a yes or no of its own
    probabilities = outputs.sigmoid() if getattr(model, 'task', 'single') == 'multi' else outputs.softmax(-1)
    values, indices = (t.tolist() for t in probabilities.topk(min(topk, probabilities.shape[-1])))
    names = model.labels or range(probabilities.shape[-1])
    return [[{'index': i, 'class': str(names[i]), 'probability': v} for i, v in zip(*one)]
            for one in zip(indices, values)]


def _device_of(model: nn.Module) -> torch.device:
    """Where its images have to be."""
    return getattr(model, 'device', next(model.parameters(), torch.empty(0)).device)


def _takes_photographs(model: nn.Module) -> bool:
    """Whether the model is a file that prepares images itself."""
    return getattr(model, 'takes_photographs', False)


def _build(args: argparse.Namespace) -> nn.Module:
    options = (('--num-classes', args.num_classes), ('--model-kwargs', args.model_kwargs))
    given = [flag for flag, value in options if value]
    if given and not args.checkpoint:
        raise ValueError(f'{given[0]} says something of the network of a --checkpoint; there is none.')
    if args.model and is_exported(args.model):
        if args.checkpoint:
            raise ValueError(f'{args.model} has its weights; leave --checkpoint out.')
        check_device_of_file(args, args.model)
        return load_exported(args.model).classifier()
    device = choose_device(args.device)
    record = trained_record(args.checkpoint) if args.checkpoint and not args.model else None
    if record:
        if given:
            raise ValueError(f'{args.checkpoint} says itself what its network is; leave {", ".join(given)} out.')
        task = record['task']
        if task in ('detect', 'segment'):
            raise ValueError(f'{args.checkpoint} is for `zoo {task}`.')
        return load_trained(args.checkpoint).to(device)
    name = args.model or DEFAULT_MODEL
    try:
        model = zoo.create_model(name, pretrained=args.checkpoint is None, checkpoint_path=args.checkpoint,
                                 num_classes=args.num_classes, **model_arguments(args.model_kwargs))
    except TypeError as error:
        raise ValueError(f'--model-kwargs: {error}') from error
    if not model.num_classes:
        raise ValueError(f'{name} gives embeddings, not classes: it cannot name what an image shows.')
    return model.eval().to(device)


def _json_lines(path: Path, outcome: Outcome) -> list[str]:
    """The one line about an image: its predictions, or the error."""
    found = {'error': one_line(outcome)} if isinstance(outcome, Exception) else {'predictions': outcome}
    return [json.dumps({'file': str(path), **found})]


def _table(paths: Sequence[Path], numbers: bool) -> Callable[[Path, Outcome], list[str]]:
    """Prints the head of a table; the function returned gives an image's lines, the file's name in the first."""
    width = max(len(printable(str(path))) for path in paths)
    print(f'{"file":{width}}  {"value":>11}' if numbers else f'{"file":{width}}  probability  class', flush=True)

    def cells(one: dict[str, Any]) -> str:
        return f'{one["value"]:11.5g}' if numbers else f'{one["probability"]:11.1%}  {one["class"]}'

    def lines(path: Path, outcome: Outcome) -> list[str]:
        found = [] if isinstance(outcome, Exception) else outcome
        names = [printable(str(path)), *[''] * len(found)]
        return [f'{name:{width}}  {cells(one)}' for name, one in zip(names, found)]

    return lines
