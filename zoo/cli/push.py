"""`zoo push`: a network published on the Hugging Face hub, or written to a folder as it would be."""
from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any, Literal

from torch import nn

import zoo
from zoo.train import load_trained, trained_record

SAFE: dict[str, bool | Literal['both']] = {'safetensors': True, 'bin': False, 'both': 'both'}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `zoo push` to its parser."""
    parser.add_argument('repository', nargs='?', metavar='USER/NAME', help='where to on the hub; made if there is none')
    parser.add_argument('--checkpoint', type=Path, metavar='FILE_OR_RUN',
                        help="what `zoo train` wrote: a file, or a run's folder for its best; with --model any weights "
                             'of it')
    parser.add_argument('--model', metavar='NAME', help='the network; without --checkpoint with its published weights')
    parser.add_argument('--num-classes', type=int, metavar='N', help='classes of a --checkpoint that does not say them')
    parser.add_argument('--output', type=Path, metavar='FOLDER', help='write the files here, and send nothing')
    parser.add_argument('--weights', choices=list(SAFE), default='both',
                        help='model.safetensors, pytorch_model.bin or both (default: both)')
    parser.add_argument('--private', action='store_true', help='make a new repository private')
    parser.add_argument('--revision', metavar='BRANCH', help='commit to this branch')
    parser.add_argument('--create-pr', action='store_true', help='open a pull request instead of committing')
    parser.add_argument('--message', default='Add model', metavar='TEXT', help='of the commit (default: %(default)s)')
    parser.add_argument('--description', metavar='TEXT', help='first lines of the model card')
    parser.add_argument('--license', metavar='ID', help="as the hub spells it, such as mit (default: the weights')")


def run(args: argparse.Namespace) -> int:
    """Publish the network and print where it is."""
    if bool(args.repository) == bool(args.output):
        raise ValueError('Say where to: USER/NAME on the hub, or --output FOLDER for files alone; one of them.')
    model = _network(args)
    safe = SAFE[args.weights]
    if args.output:
        card = zoo.publishing.card_of(model, f'local-dir:{args.output}') | _card(args)
        zoo.save_for_hf(model, args.output, safe_serialization=safe)
        (args.output / 'README.md').write_text(
            zoo.publishing.generate_readme(card, args.output.resolve().name), encoding='utf-8')
        print(args.output)
        return 0
    commit = zoo.push_to_hf_hub(
        model, args.repository, commit_message=args.message, revision=args.revision, private=args.private,
        create_pr=args.create_pr, model_card=_card(args), safe_serialization=safe)
    print(commit.pr_url or commit.commit_url)
    return 0


def _card(args: argparse.Namespace) -> dict[str, Any]:
    given = {'description': args.description, 'license': args.license}
    return {key: value for key, value in given.items() if value}


def _network(args: argparse.Namespace) -> nn.Module:
    path = args.checkpoint
    if path is None:
        if not args.model or args.num_classes is not None:
            raise ValueError('Say what to publish: --checkpoint FILE_OR_RUN, --model NAME with its published weights, '
                             'or both; --num-classes is of a --checkpoint.')
        return zoo.create_model(args.model, pretrained=True)
    if args.model is None or trained_record(path):
        if args.model or args.num_classes is not None:
            raise ValueError(f'{path} says itself which network it is and its classes; leave --model and --num-classes '
                             'out.')
        return load_trained(path)
    classes = {} if args.num_classes is None else {'num_classes': args.num_classes}
    return zoo.create_model(args.model, checkpoint_path=path, **classes)
