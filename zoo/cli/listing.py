"""`zoo list`: model names that match."""
from __future__ import annotations

import argparse
import json

import zoo
from zoo.cli import say
from zoo.registry import names_of_timm
from zoo.spec import nearest, unknown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `zoo list` to its parser."""
    parser.add_argument('patterns', nargs='*', metavar='PATTERN',
                        help="wildcards, in quotes, of which a name must match one: 'efficientnet*', or of "
                             "name.tag where a pattern has a dot: '*.ra_in1k' (default: all names)")
    parser.add_argument('--pretrained', action='store_true', help='only models with weights, with their tags')
    parser.add_argument('--tags', action='store_true', help='list every tag as name.tag')
    parser.add_argument('--module', action='append', default=[], help='only models of this module; may be repeated')
    parser.add_argument('--exclude', action='append', default=[], metavar='PATTERN',
                        help='leave out names that match; may be repeated')
    parser.add_argument('--json', action='store_true', help='print one JSON array')


def run(args: argparse.Namespace) -> int:
    """Print the names; the status is 1 if there is none."""
    modules = zoo.list_modules()
    for module in args.module:
        if module not in modules:
            raise ValueError(unknown('Module', module, modules))
    patterns = [pattern.lower().removeprefix('timm/') for pattern in args.patterns]
    tags = args.tags or any('.' in pattern for pattern in patterns)
    names = zoo.list_models(patterns, module=args.module, pretrained=args.pretrained,
                            exclude_filters=args.exclude, include_tags=True if tags else None)
    if args.json:
        print(json.dumps(names))
    else:
        print(''.join(f'{name}\n' for name in names), end='')
    if not names:
        say(_nothing(patterns))
    return 0 if names else 1


def _nothing(patterns: list[str]) -> str:
    absent = [pattern for pattern in patterns if pattern.partition('.')[0] in names_of_timm()]
    if absent and not any(map(zoo.is_model, absent)):
        return f'no model matches: timm has {", ".join(absent)}, and zoo has not yet.'
    known = zoo.list_models(include_tags=any('.' in pattern for pattern in patterns))
    close = [name for pattern in patterns for name in nearest(pattern.strip('*'), known)]
    hint = f' The nearest names: {", ".join(close)}.' if close else ''
    return f'no model matches.{hint}'
