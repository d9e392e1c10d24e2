"""The `zoo` command.

Each subcommand is a module with `add_arguments(parser)` and `run(args)`, which returns the exit status; only the module
of the subcommand that is asked for is imported.
"""
from __future__ import annotations

import argparse
import importlib
import os
import shlex
import sys
import warnings
from collections.abc import Sequence
from typing import Any, NoReturn

import zoo
from zoo.spec import Misfit, unknown

COMMANDS = {
    # subcommand: module, what it does
    'list': ('zoo.cli.listing', 'list model names'),
    'info': ('zoo.cli.info', 'describe one model: its cost, sizes, weights and published accuracy'),
    'predict': ('zoo.cli.predict', 'name what photographs show'),
    'detect': ('zoo.cli.detect', 'draw boxes around what photographs show'),
    'segment': ('zoo.cli.segment', 'colour what photographs show, pixel by pixel'),
    'results': ('zoo.cli.results', 'choose, compare, draw and check models by published and measured figures'),
    'benchmark': ('zoo.cli.benchmark', 'measure speed, memory, training steps and loading, beside other libraries'),
    'train': ('zoo.cli.train', 'train a network by a recipe, or resume a run'),
    'validate': ('zoo.cli.validate', 'measure the accuracy of networks on labelled images'),
    'export': ('zoo.cli.export', 'write a network as a file for another runtime, checked there on photographs'),
    'doctor': ('zoo.cli.doctor', 'say which export formats work here, and what is missing for the others'),
    'push': ('zoo.cli.push', 'publish a network: weights, config.json and model card on the Hugging Face hub'),
    'fetch': ('zoo.cli.fetch', 'download weights beforehand, for use without a network'),
}
EXPECTED = (ValueError, OSError, RuntimeError, ImportError)


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command and return its exit status: 2 for anything the user can put right.

    Such an error is one line on stderr; with ZOO_TRACEBACK set in the environment it is raised.
    """
    arguments = sys.argv[1:] if argv is None else list(argv)
    parser, subcommand = _parser(arguments)
    args, left_over = parser.parse_known_args(arguments)
    if left_over and 'left_over' in args:                           # for a subcommand with words between its options
        args.left_over(args, left_over)
    elif left_over:
        option = next((word.partition('=')[0] for word in left_over if word.startswith('-')), None)
        subcommand.error(unknown('argument', option, options_of(subcommand)) if option
                         else f'unrecognized arguments: {" ".join(left_over)}')
    if 'command_line' in args:                                      # for rows that carry what made them
        args.command_line = shlex.join(['zoo', *arguments])
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings('default', 'The model name', DeprecationWarning)
            warnings.showwarning = _say_warning
            status: int = args.run(args)
        sys.stdout.flush()
        return status
    except BrokenPipeError:  # whoever read our output has gone, as in `zoo list | head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return 130
    except EXPECTED as error:
        if os.environ.get('ZOO_TRACEBACK'):
            raise
        say(' '.join(_worded(error, subcommand).split()) or type(error).__name__)
        return 2


def options_of(parser: argparse.ArgumentParser) -> list[str]:
    """The options that a parser has, but for those of one letter."""
    return [option for action in parser._actions for option in action.option_strings if option.startswith('--')]


def _worded(error: Exception, subcommand: argparse.ArgumentParser) -> str:
    """An error's text, with what it advises in the words of the subcommand."""
    if not isinstance(error, Misfit):
        return str(error)
    known = options_of(subcommand)
    words = ['--model', error.network] if error.network else []
    plain = {key: f'--{key.replace("_", "-")}' for key in error.arguments}
    rest = {key: value for key, value in error.arguments.items() if plain[key] not in known}
    for key in error.arguments.keys() - rest.keys():
        words += [plain[key], str(error.arguments[key])]
    if rest:
        words += ['--model-kwargs', *(f'{key}={value}' for key, value in rest.items())]
    usable = words and all(word in known for word in words if word.startswith('--'))
    return f'{error.problem} Use {shlex.join(words)}.' if usable else error.problem


def say(text: str) -> None:
    """Tell the user something that is not the command's output: one line on stderr."""
    print(printable(f'zoo: {text}'), file=sys.stderr)


def printable(text: str) -> str:
    """The text with a question mark for what cannot be encoded, as in names of files that are not in UTF-8."""
    return text.encode('utf-8', 'replace').decode()


def _say_warning(message: Warning | str, *_: object, **__: object) -> None:
    say(str(message))


class _Parser(argparse.ArgumentParser):
    """One that takes options by their whole names alone, and whose errors are one line, without its usage before them;
    those of subcommands are too."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Ends the program with the message."""
        stop = '' if message.endswith(('.', '?')) else '.'
        self.exit(2, printable(f'{self.prog}: {message}{stop} {self.prog} --help lists what there is.\n'))


def _parser(arguments: Sequence[str]) -> tuple[argparse.ArgumentParser, argparse.ArgumentParser]:
    """The parser of the whole command, and that of the subcommand that `arguments` name, which alone is filled in."""
    parser = _Parser(prog='zoo', description='Image models for PyTorch.')
    parser.add_argument('--version', action='version', version=f'zoo {zoo.__version__}')
    subcommands = parser.add_subparsers(dest='command', metavar='COMMAND', required=True)
    chosen: argparse.ArgumentParser = parser
    asked = next((a for a in arguments if not a.startswith('-')), None)
    for name, (module_name, text) in COMMANDS.items():
        subcommand = subcommands.add_parser(name, help=text, description=f'{text[0].upper()}{text[1:]}.')
        if name == asked:
            module = importlib.import_module(module_name)
            module.add_arguments(subcommand)
            subcommand.set_defaults(run=module.run)
            chosen = subcommand
    return parser, chosen
