"""`zoo validate`: the accuracy of networks on labelled images."""
from __future__ import annotations

import argparse
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

import zoo
from zoo.cli import say, validate_dense
from zoo.cli.images import add_optimize, check_device_of_file, choose_device, model_arguments, optimized, positive
from zoo.cli.reporting import FORMATS, Report, settings_of
from zoo.data.constants import CROP_MODES, INTERPOLATIONS
from zoo.evaluation import (
    DECODERS, Evaluation, EvaluationStopped, RealLabels, at_once, decoder_effect, evaluate, read_valid_labels,
)
from zoo.evaluation.loading import default_workers
from zoo.memory import keep_freed_memory
from zoo.runtime import is_exported, load_exported
from zoo.spec import one_line, read_text
from zoo.train import load_trained, trained_record
from zoo.train.progress import Stop

SETTINGS = ('img_size', 'input_size', 'crop_pct', 'crop_mode', 'interpolation', 'mean', 'std', 'in_chans')
LISTS = ('.csv', '.list', '.lst', '.txt')           # of files of names; no model's name ends so
DTYPES = {'float32': torch.float32, 'float16': torch.float16, 'bfloat16': torch.bfloat16}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `zoo validate` to its parser."""
    add = parser.add_argument_group('images').add_argument
    add('data', nargs='?', metavar='DATA',
        help='a folder, a table, an archive or a named data set, as for zoo.data.create_dataset')
    add('--data-dir', metavar='DATA', help='the same')
    add('--dataset', metavar='DATA', help='the same')
    add('--split', metavar='NAME', help='the part of the data set')
    add('--class-map', metavar='FILE', help="class names and their indices (default: the model's own)")
    add('--valid-labels', metavar='SET', help='imagenet-a, imagenet-r, or a file of indices: the outputs that count')
    add('--real-labels', metavar='FILE', help="ImageNet-ReaL's JSON file, for real_top1 and real_top5")
    add('--max-unreadable', type=_whole, default=0, metavar='N', help='unreadable images that are allowed (default: 0)')
    add('-j', '--workers', type=_whole, default=default_workers(), metavar='N',
        help='processes that read images (default: %(default)s)')
    add('--decoder', choices=DECODERS, default='pillow',
        help='fast decodes JPEG by simplejpeg and resizes without Pillow, which can change an answer that is nearly a '
             'tie; auto is fast where simplejpeg is installed and the settings allow it; scaled also decodes JPEG at '
             'up to half its size where that is enough, which changes pixels more; nvjpeg decodes and resizes on a '
             "CUDA device. fast and scaled need pip install 'zoo-image-models[decode]', nvjpeg [nvjpeg] (default: "
             '%(default)s)')
    add('--exif', action='store_true',
        help='turn images as their EXIF orientation says; without, as in timm, photographs of phones lie on their side')
    add('--decoder-effect', type=positive, metavar='N',
        help='also compare the decoder with Pillow on N of the images: scaled, or else fast')

    add = parser.add_argument_group('model').add_argument
    add('-m', '--model', metavar='NAME',
        help="a model, a pattern such as 'tf_efficientnet_lite*', a file with a name a line, or one that zoo export "
             'wrote (default: what the checkpoint says it is)')
    add('--pretrained', action='store_true', help='use the published weights; a pattern or a list always does')
    add('--checkpoint', metavar='FILE_OR_RUN',
        help="a file of weights, or a run's folder for its best; what zoo train wrote knows network, classes and "
             'preprocessing, and may be a detector or a segmenter')
    add('--num-classes', type=positive, metavar='N', help='classes of the checkpoint, if not the usual')
    add('--in-chans', type=positive, metavar='N', help='channels of the images, if not the usual')
    add('--model-kwargs', nargs='*', default=[], metavar='KEY=VALUE', help='more arguments of the network')

    add = parser.add_argument_group('preprocessing, where not as the weights have it').add_argument
    add('--img-size', type=positive, metavar='N', help='pixels of a square side')
    add('--input-size', type=positive, nargs=3, metavar=('C', 'H', 'W'), help='channels, height and width')
    add('--use-test-size', action='store_true', help='the larger size that some weights are tested with')
    add('--crop-pct', type=float, metavar='X', help='the fraction of the resized side that is kept')
    add('--crop-mode', choices=CROP_MODES)
    add('--interpolation', choices=INTERPOLATIONS)
    add('--mean', type=float, nargs='+', metavar='X', help='per channel, or one for all; white is 1')
    add('--std', type=float, nargs='+', metavar='X')

    add('--naflex-loader', action='store_true',
        help='packed patches: each image keeps its aspect, uncut, and fills a sequence with patches (for networks that '
             'take them: NaFlexVit)')
    add('--naflex-max-seq-len', type=positive, default=576, metavar='N',
        help='patches that an image has at most (default: %(default)s)')

    validate_dense.add_arguments(parser)
    add = parser.add_argument_group('running').add_argument
    add('-b', '--batch-size', type=positive, default=64, metavar='N',
        help='halved each time that memory runs out (default: %(default)s)')
    add('--device', help="'cpu', 'cuda', 'mps' (default: an accelerator if there is one)")
    add('--amp', action='store_true', help='automatic mixed precision')
    add('--amp-dtype', choices=('bfloat16', 'float16'), help='of --amp (default: bfloat16)')
    add('--model-dtype', choices=DTYPES, default='float32', help='of weights and images (default: %(default)s)')
    add('--channels-last', action=argparse.BooleanOptionalAction, default=True, help='memory format (default: yes)')
    add('--fold', action=argparse.BooleanOptionalAction, default=True,
        help='put batch normalisations into the convolutions before them (default: yes)')
    add_optimize(add)
    add('--compile', '--torchcompile', action='store_true', help='torch.compile; pays on many thousands of images')

    add = parser.add_argument_group('results').add_argument
    add('--results-file', type=Path, metavar='PATH',
        help='a table to add rows to; models of a list that it has with the same settings are not measured again')
    add('--results-format', choices=FORMATS,
        help='csv or json (default: by the name of the file). Without a file, json goes to the screen. JSON also holds '
             'the accuracy of each class, confusions and unreadable images')
    parser.set_defaults(default_of=parser.get_default)


def run(args: argparse.Namespace) -> int:
    """Measure every model; the status is 1 if one of a list failed, 128 and the signal if one ended it."""
    if args.amp_dtype and not args.amp:
        raise ValueError('--amp-dtype says which of --amp; give --amp, too.')
    for key in ('amp', 'compile', 'model_dtype', 'fold', 'channels_last'):
        if args.optimize and getattr(args, key) != args.default_of(key):
            raise ValueError('--optimize chooses precision, memory format and compiler itself; leave '
                             f'--{key.replace("_", "-")} out.')
    _check_naflex(args)
    args.amp_dtype = args.amp_dtype or ('bfloat16' if args.amp else None)
    if validate_dense.is_dense(args):
        return validate_dense.run(args, _data(args), _device(args), _processes)
    names, several = _models(args)
    if args.model and args.input_size and args.input_size[0] != 3:
        args.in_chans = args.in_chans or args.input_size[0]
    spec = _data(args)
    device = _device(args)
    if device.type == 'cpu':
        keep_freed_memory()
    failed = 0
    with _processes(device) as rank, Stop() as stop:
        report = Report(args.results_file, args.results_format, quiet=rank > 0)
        for name in names:
            try:
                _validate(args, name, spec, device, report, stop, skip=several)
            except EvaluationStopped:
                say(f'{name}: stopped, and not measured')
                report.finish()
                return 128 + (stop.signal or 0)
            except (ValueError, OSError, RuntimeError) as error:
                if not several or dist.is_initialized():
                    raise
                failed += 1
                say(f'{name}: {one_line(error)}')
        report.finish()
    return 1 if failed else 0


def _validate(args: argparse.Namespace, name: str, spec: str, device: torch.device, report: Report, stop: Stop,
              skip: bool) -> None:
    """Measures one model and reports it, unless `skip` is set and the report has it with these settings."""
    if skip:
        with torch.device('meta'):                      # enough to know what would be measured
            probe = _build(args, name)
        settings = settings_of(args, name, probe, _config(args, probe), _source(args, spec, probe))
        if _agreed(report.has(settings)):
            say(f'{name}: already in {args.results_file}')
            return
    model: Any = _build(args, name)
    config, source = _config(args, model), _source(args, spec, model)
    if model.img_size and model.img_size != config['input_size'][1:]:
        model.set_input_size(config['input_size'][1:])
    valid = read_valid_labels(args.valid_labels, model.num_classes) if args.valid_labels else None
    real = RealLabels(args.real_labels) if args.real_labels else None
    shape = (at_once(args.batch_size, config['input_size'], device), *config['input_size'])
    found: Evaluation = evaluate(
        optimized(model, args, shape, device), source, config, decoder=args.decoder, exif=args.exif,
        batch_size=args.batch_size, workers=args.workers,
        device=device, dtype=DTYPES[args.model_dtype], amp_dtype=DTYPES[args.amp_dtype] if args.amp else None,
        channels_last=args.channels_last, fold=args.fold, compile=args.compile, max_unreadable=args.max_unreadable,
        valid=valid, real_labels=real, progress=not report.quiet,
        stop=lambda: stop.signal, seq_len=args.naflex_max_seq_len if args.naflex_loader else None)
    effect = None
    if args.decoder_effect and not report.quiet:
        effect = decoder_effect(model, source, config, args.decoder_effect, workers=args.workers, device=device,
                                decoder='scaled' if found.decoder == 'scaled' else 'fast', exif=args.exif)
    report.add(args, name, model, config, settings_of(args, name, model, config, source), found, effect, device)


def _models(args: argparse.Namespace) -> tuple[list[str], bool]:
    """The names of the models, and whether a pattern or a list named them."""
    if args.model is None:
        return [_recorded(args)], False
    asked, path = args.model, Path(args.model)
    if is_exported(asked):
        _check_exported(args)
        return [asked], False
    if any(sign in asked for sign in '*?['):
        names = zoo.list_pretrained(asked)
        if not names:
            raise ValueError(f'No model with published weights matches the pattern {asked!r}.')
    elif path.is_file():
        names = [line.strip() for line in read_text(path).splitlines() if line.strip() and line[0] != '#']
        if not names:
            raise ValueError(f'{asked}: the list of models is empty.')
    elif path.suffix in LISTS:
        raise FileNotFoundError(f'There is no file {asked!r} with names of models.')
    elif args.checkpoint or args.pretrained:
        if args.checkpoint and args.pretrained:
            raise ValueError('--pretrained and --checkpoint both name weights; give one.')
        return [asked], False
    else:
        raise ValueError('A network without trained weights is not worth measuring: give --pretrained or --checkpoint.')
    if args.checkpoint:
        raise ValueError(f'--checkpoint is for one model; {asked!r} names {len(names)}.')
    return names, True


def _check_exported(args: argparse.Namespace) -> None:
    """Raises ValueError for options that say something of a network of PyTorch's."""
    check_device_of_file(args, args.model)
    for key in ('pretrained', 'checkpoint', 'num_classes', 'in_chans', 'model_kwargs', 'amp', 'model_dtype', 'compile',
                'optimize', 'calibration', 'fold', 'channels_last', 'decoder_effect', 'naflex_loader'):
        if getattr(args, key) != args.default_of(key):
            raise ValueError(f'{args.model} is a file with its network and precision; leave '
                             f'--{key.replace("_", "-")} out.')


def _check_naflex(args: argparse.Namespace) -> None:
    """Raises ValueError for options that packed patches, or images, have no use for."""
    if not args.naflex_loader:
        if args.naflex_max_seq_len != args.default_of('naflex_max_seq_len'):
            raise ValueError('--naflex-max-seq-len says how many packed patches there are; give --naflex-loader, too.')
        return
    for key in ('img_size', 'input_size', 'use_test_size', 'crop_pct', 'crop_mode', 'optimize', 'decoder_effect'):
        if getattr(args, key) != args.default_of(key):
            raise ValueError(f'--naflex-loader shows a network whole images of any size; leave --{key.replace("_", "-")} '
                             'out.')


def _recorded(args: argparse.Namespace) -> str:
    """The name of the network in a file that says which it is."""
    record = trained_record(args.checkpoint) if args.checkpoint else None
    if record is None:
        raise ValueError('Name the network: --model NAME, or --checkpoint FILE with one that zoo train wrote.')
    given = [flag for flag, value in (('--num-classes', args.num_classes), ('--in-chans', args.in_chans),
                                      ('--model-kwargs', args.model_kwargs), ('--pretrained', args.pretrained)) if value]
    if given:
        raise ValueError(f'{args.checkpoint} says itself what its network is; leave {", ".join(given)} out.')
    return record['name']


def _data(args: argparse.Namespace) -> str:
    given = [spec for spec in (args.data, args.data_dir, args.dataset) if spec]
    if len(given) != 1:
        raise ValueError('Name the images once: DATA, --data-dir or --dataset'
                         + (f'; got {" and ".join(map(repr, given))}.' if given else '.'))
    return given[0]


def _build(args: argparse.Namespace, name: str) -> nn.Module:
    if args.model is None:
        return load_trained(args.checkpoint)
    if is_exported(name):
        return load_exported(name).classifier()
    try:
        model = zoo.create_model(name, pretrained=args.checkpoint is None, checkpoint_path=args.checkpoint,
                                 num_classes=args.num_classes, in_chans=args.in_chans,
                                 **model_arguments(args.model_kwargs))
    except TypeError as error:
        raise ValueError(f'--model-kwargs: {error}') from error
    if not model.num_classes:
        raise ValueError(f'{name} gives embeddings, not classes: there is nothing to compare with labels.')
    return model.eval()


def _config(args: argparse.Namespace, model: nn.Module) -> dict[str, Any]:
    """How images are prepared: as the weights have it, but for what the options say."""
    return zoo.data.resolve_model_data_config(model, {name: getattr(args, name) for name in SETTINGS},
                                              use_test_size=args.use_test_size)


def _source(args: argparse.Namespace, spec: str, model: nn.Module) -> Any:
    return zoo.data.create_dataset(spec, args.split, class_map=args.class_map, model=model)


def _device(args: argparse.Namespace) -> torch.device:
    """The device of this process: with several processes and CUDA, each its own."""
    device = choose_device(args.device)
    if device.type == 'cuda' and 'LOCAL_RANK' in os.environ:
        device = torch.device('cuda', int(os.environ['LOCAL_RANK']))
        torch.cuda.set_device(device)
    return device


@contextlib.contextmanager
def _processes(device: torch.device) -> Iterator[int]:
    """Joins the other processes that torchrun has started, if it has; gives this one's number."""
    if int(os.environ.get('WORLD_SIZE', '1')) == 1:
        yield 0
        return
    dist.init_process_group('nccl' if device.type == 'cuda' else 'gloo')
    try:
        yield dist.get_rank()
    finally:
        dist.destroy_process_group()


def _agreed(answer: bool) -> bool:
    """What the first process answers, in all of them."""
    if not dist.is_initialized():
        return answer
    answers = [answer]
    dist.broadcast_object_list(answers)
    return answers[0]


def _whole(text: str) -> int:
    """A whole number from 0 up."""
    if not text.isdigit():
        raise argparse.ArgumentTypeError(f'{text!r} is not a whole number from 0 up')
    return int(text)
