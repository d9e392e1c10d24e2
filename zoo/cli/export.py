"""`zoo export`: a network as a file for another runtime, checked there on photographs."""
from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from torch import nn

import zoo
from zoo.cli import say
from zoo.cli.images import model_arguments, positive
from zoo.dense.saving import read_config
from zoo.export.check import TooFarOff
from zoo.export.formats import DIMENSIONS, FORMATS, PRECISIONS, choose_format
from zoo.spec import one_line, unknown
from zoo.train import load_trained, trained_record


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `zoo export` to its parser."""
    parser.add_argument('name', nargs='?', metavar='NAME', help='a model (default: what the checkpoint says it is)')
    parser.add_argument('--checkpoint', metavar='FILE_OR_RUN',
                        help="a file of weights to use in place of the model's own, or a run's folder for its best; "
                             'what zoo train wrote knows its network')
    parser.add_argument('--pretrained', action=argparse.BooleanOptionalAction, default=True,
                        help='the published weights, where there is no checkpoint; without, random ones (default: yes)')
    parser.add_argument('--num-classes', type=positive, metavar='N', help='classes of the checkpoint, if not the usual')
    parser.add_argument('--model-kwargs', nargs='+', default=[], metavar='KEY=VALUE',
                        help='more arguments of the network')
    parser.add_argument('--format', choices=FORMATS, help='default: by the name of --output')
    parser.add_argument('-o', '--output', type=Path, metavar='FILE', help="default: the name with the format's suffix")
    parser.add_argument('--dynamic', type=_dimensions, default=(), metavar='batch,height,width',
                        help='what is left open in the file')
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument('--features', action='store_true', help='feature maps in place of logits')
    kind.add_argument('--embedding', action='store_true', help='what goes into the classifier in place of logits')
    parser.add_argument('--precision', choices=PRECISIONS, default='fp32', help='default: %(default)s')
    parser.add_argument('--calibration', metavar='FOLDER', help='images that int8 takes its ranges from')
    parser.add_argument('--preprocess', action='store_true',
                        help='with resizing, cut and normalisation: photographs (B, H, W, C) of any size in, '
                             'probabilities out')
    parser.add_argument('--input', choices=('float32', 'uint8'),
                        help='normalised images (B, C, H, W), or levels (B, H, W, C) (default: uint8 with '
                             '--preprocess, else float32)')
    parser.add_argument('--img-size', type=positive, nargs='+', metavar='N',
                        help="side of the square images in pixels, or height and width (default: the record's)")
    parser.add_argument('--batch-size', type=positive, default=1, metavar='N',
                        help='images at once, unless that is dynamic (default: %(default)s)')
    parser.add_argument('--check', metavar='FOLDER',
                        help='photographs to compare the file with the network on (default: those that come with zoo)')
    parser.add_argument('--environment', metavar='PATH',
                        help='a virtual environment with the converter of LiteRT, ExecuTorch or Core ML (default: '
                             "this one, or one of zoo's own, made if it is not there)")
    parser.add_argument('--limit', type=float, metavar='X',
                        help="the largest difference that is let pass, in parts of the outputs' norm (default: 1e-4 in "
                             'fp32, 1e-2 in fp16, 0.3 in int8, with 80%% of the first classes the same; 1e-2 more with '
                             '--preprocess)')
    parser.set_defaults(default_of=parser.get_default)


def run(args: argparse.Namespace) -> int:
    """Write, check, and print what was found; the status is 1 if the file gave something else than the network, and
    nothing is left of it then."""
    if args.img_size and len(args.img_size) > 2:
        raise ValueError(f'--img-size is one side, or height and width; got {len(args.img_size)} numbers.')
    if not args.format and not args.output:
        raise ValueError(f'Name a format: --format {"|".join(FORMATS)}; zoo doctor says which work here.')
    chosen = choose_format(args.output, args.format)
    if args.environment and not chosen.converter:
        raise ValueError(f'--environment is for converters with one of their own; {chosen.name} is converted here.')
    dense = _dense(args)
    model, name = (zoo.dense.load(args.checkpoint), Path(args.checkpoint).stem) if dense else _build(args)
    output = args.output or Path(name + FORMATS[args.format].suffix)
    from zoo.export import export_dense, export_model
    try:
        if dense:
            size = {'size': tuple(args.img_size * 2)[:2]} if args.img_size else {}
            print(export_dense(model, output, args.format, check=args.check, limit=args.limit, **size))
        else:
            print(export_model(model, output, args.format, **_options(args)))
    except TooFarOff as error:
        say(one_line(error))
        return 1
    return 0


def _dense(args: argparse.Namespace) -> bool:
    """Whether the checkpoint is a detector or a segmenter.

    Raises:
        ValueError: it is, and an option says something of a network that classifies.
    """
    if not args.checkpoint or args.name or not read_config(Path(args.checkpoint).expanduser()):
        return False
    for key in ('dynamic', 'features', 'embedding', 'precision', 'calibration', 'preprocess', 'input', 'batch_size',
                'num_classes', 'model_kwargs', 'environment'):
        if getattr(args, key) != args.default_of(key):
            raise ValueError(f'{args.checkpoint} holds a detector or a segmenter; leave --{key.replace("_", "-")} out.')
    return True


def _options(args: argparse.Namespace) -> dict[str, Any]:
    return dict(dynamic=args.dynamic, preprocess=args.preprocess, input=args.input, precision=args.precision,
                what='features' if args.features else 'embedding' if args.embedding else None,
                calibration=args.calibration, batch_size=args.batch_size, check=args.check, limit=args.limit,
                environment=args.environment,
                img_size=tuple(args.img_size * 2)[:2] if args.img_size else None)


def _build(args: argparse.Namespace) -> tuple[nn.Module, str]:
    """The network, and a name for its file."""
    given = [flag for flag, value in (('NAME', args.name), ('--num-classes', args.num_classes),
                                      ('--model-kwargs', args.model_kwargs)) if value]
    record = trained_record(args.checkpoint) if args.checkpoint else None
    if record and not args.name:
        if given:
            raise ValueError(f'{args.checkpoint} says itself what its network is; leave {", ".join(given)} out.')
        return load_trained(args.checkpoint), Path(args.checkpoint).stem
    if not args.name:
        raise ValueError('Name the network: NAME, or --checkpoint FILE with one that zoo train wrote.')
    if args.num_classes and not args.checkpoint and args.pretrained:
        raise ValueError('--num-classes says how many classes a --checkpoint has; there is none. The published weights '
                         'have their own.')
    options = model_arguments(args.model_kwargs) | ({'num_classes': args.num_classes} if args.num_classes else {})
    if args.features:
        options['features_only'] = True
    try:
        model = zoo.create_model(args.name, pretrained=args.pretrained and not args.checkpoint,
                                 checkpoint_path=args.checkpoint, **options)
    except TypeError as error:
        raise ValueError(f'--model-kwargs: {error}') from error
    return model.eval(), args.name.rpartition('/')[2].replace(':', '-')


def _dimensions(text: str) -> tuple[str, ...]:
    """Names of dimensions, separated by commas."""
    names = tuple(text.replace(' ', '').split(','))
    for name in names:
        if name not in DIMENSIONS:
            raise argparse.ArgumentTypeError(unknown('dimension', name, DIMENSIONS))
    return names
