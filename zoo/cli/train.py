"""`zoo train`: a network trained by a recipe."""
from __future__ import annotations

import argparse
import functools
import re
import time
from collections.abc import Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from zoo.cli import options_of, say
from zoo.cli.absent_flags import ABSENT
from zoo.memory import keep_freed_memory
from zoo.spec import nearest
from zoo.train.reading import SECTION_OF, TYPES, Given, build_recipe, idle_sources, read_sources
from zoo.train.recipe import Recipe
from zoo.train.shipped import describe_recipe, list_recipes, meant

SHORT = {'batch_size': ('-b',), 'validation_batch_size': ('-vb',), 'workers': ('-j',), 'decay_rate': ('--dr',),
         'data': ('--data-dir', '--dataset', '-d')}
LOSSES = {'bce': ('--bce-loss',), 'jsd': ('--jsd-loss', '--jsd')}
HELP = {
    'model': 'the network', 'data': 'images and targets', 'augment': 'what happens to training images',
    'dense': 'boxes or masks', 'loss': 'the loss function', 'distill': 'a teacher', 'optimizer': 'the optimizer',
    'schedule': 'how the learning rate changes', 'ema': 'moving average of the weights', 'run': 'the run',
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `zoo train` to its parser: one for each key of a recipe, spelled as timm's."""
    parser.description = (parser.description or '') + (
        ' WORDS are a recipe (a .yaml file, or the name of one that comes with zoo), the images, and changes such as '
        'schedule.epochs=5, in any order. Every key of a recipe is an option, too, spelled as in timm where timm '
        'has it.')
    parser.add_argument('words', nargs='*', metavar='WORDS', help='RECIPE, DATA, section.key=value')
    parser.add_argument('-c', '--config', metavar='RECIPE', help='the recipe')
    parser.add_argument('--list', action='store_true', help='list the recipes that come with zoo')
    parser.add_argument('--resume', metavar='PATH', help="resume a run: its folder, or one of its checkpoints")
    parser.add_argument('--dry-run', action='store_true',
                        help='show recipe, network, data, augmented images and plan, and train two steps')
    parser.add_argument('--dry-run-sheet', type=Path, metavar='PNG',
                        help='where --dry-run draws augmented images (default: OUTPUT/augmented.png)')
    for section, keys in TYPES.items():
        group = parser.add_argument_group(f'{section}: {HELP[section]}')
        for key, kind in keys.items():
            _add_key(group, section, key, kind)
    for loss, flags in LOSSES.items():
        parser.add_argument(*flags, action='append_const', dest='changes', const=f'loss.loss={loss}',
                            help=f'the same as --loss {loss}')
    parser.set_defaults(left_over=functools.partial(_take_left_over, parser))


def run(args: argparse.Namespace) -> int:
    """Train, or show what would be trained; the status is 128 and the signal for a run that was stopped, 142 where its
    time was up."""
    if args.list:
        names = list_recipes()
        width = max(map(len, names))
        print('\n'.join(f'{name:{width}}  {describe_recipe(name)}' for name in names))
        return 0
    sources = sources_of(args)
    recipe = build_recipe(sources)
    idle = {name: f'{sources[name].where}: {name}, which {why}' for name, why in idle_sources(sources).items()}
    _complete(recipe)
    if args.dry_run and args.resume:
        raise ValueError('--dry-run shows how a run begins; it does not go with --resume.')
    from zoo.train.build import choose_device
    from zoo.train.parallel import Processes
    from zoo.train.plan import dry_run, plan_lines
    from zoo.train.trainer import Trainer
    processes = Processes(choose_device(recipe))
    if processes.device.type == 'cpu':
        keep_freed_memory()
    try:
        new = None if args.dry_run else processes.gathered(_new_folder(recipe))[0]
        folder = _run_of(args.resume) if args.resume else new
        try:
            trainer = Trainer(recipe, folder, resume=args.resume is not None, quiet=args.dry_run)
        except TypeError as error:                                  # an argument that the network does not have
            raise ValueError(f'{recipe.model.model}: {error}') from error
        if args.dry_run:
            where = {name: source.where for name, source in sources.items() if name not in idle}
            dry_run(trainer, args.dry_run_sheet or Path(recipe.run.output, 'augmented.png'), where, list(idle.values()))
            return 0
        if processes.first:
            plan = [f'plan of {folder}', *(f'  {line}' for line in plan_lines(trainer))]
            print('\n'.join([*plan, *(f'  idle: {line}' for line in idle.values())]), flush=True)
        result = trainer.run()
    finally:
        processes.close()
    if processes.first:
        _tell(result)
    return result.status


def sources_of(args: argparse.Namespace) -> dict[str, Given]:
    """The values that the recipe's file and the command line give.

    Raises:
        ValueError: two recipes, two places of images, a number without an option, or what
            `zoo.train.reading.read_sources` refuses.
    """
    recipes, changes, places = [args.config] if args.config else [], [], []
    known = list_recipes()
    for word in args.words:
        if re.match(r'[a-z_]+(\.\w+)*=', word):
            changes.append(word)
        elif word.endswith(('.yaml', '.yml')) or word in known:
            recipes.append(word)
        elif re.fullmatch(r'[-+]?[\d.]+(e[-+]?\d+)?', word) and not Path(word).exists():
            raise ValueError(f'The number {word} belongs to no option; the one before it may have too many.')
        else:
            places.append(word)
    if len(recipes) > 1:
        raise ValueError(f'A run has one recipe; got {" and ".join(recipes)}.')
    if len(places) > 1 and not recipes:
        _refuse_absent(places)
    changes += [f'data.data={word}' for word in places]
    if args.resume and not recipes:
        recipes = [str(_run_of(args.resume) / 'recipe.yaml')]
    return read_sources(recipes[0] if recipes else None, [*changes, *(getattr(args, 'changes', None) or [])])


def _refuse_absent(places: Sequence[str]) -> None:
    """Raises ValueError for the first of these words that is no place and that a recipe's name is near."""
    for word in places:
        if not Path(word).exists() and meant(word):
            raise ValueError(f'{word!r} is neither a recipe nor a place of images.{meant(word)}')


def _complete(recipe: Recipe) -> None:
    """Refuses a recipe without a network or images."""
    if not recipe.model.model:
        _refuse_absent([recipe.data.data])
        raise ValueError('Name the network: model.model in the recipe, or --model NAME.')
    if not recipe.data.data:
        raise ValueError('Name the images: zoo train RECIPE DATA, or data.data in the recipe.')


def _run_of(path: str) -> Path:
    """The folder of a run that is named by itself or by a file in it."""
    found = Path(path)
    if not found.exists():
        raise FileNotFoundError(f'There is no run {path!r} to resume.')
    return found if found.is_dir() else found.parent


def _new_folder(recipe: Recipe) -> Path:
    """Where a new run goes: output/experiment, the experiment being time and network where it has no name."""
    name = recipe.run.experiment or f'{time.strftime("%Y%m%d-%H%M%S")}-{recipe.model.model.replace("/", "_")}'
    return Path(recipe.run.output, name)


def _tell(result: Any) -> None:
    """Says what a run came to."""
    from zoo.train.progress import TIME_IS_UP
    if result.stopped:
        why = 'the time is up' if result.stopped == TIME_IS_UP else 'stopped'
        say(f'{why}; go on with: zoo train --resume {result.folder}')
    elif result.best is not None:
        print(f'{result.metric} {result.best:.5g} in epoch {result.best_epoch}: {result.folder}/model_best.safetensors')


class _Change(argparse.Action):
    """Adds 'section.key=value' to the changes of the recipe."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any,
                 option_string: str | None = None) -> None:
        texts = [values] if isinstance(values, str) else values
        section = SECTION_OF[self.dest]
        kinds = (TYPES[section][self.dest], *get_args(TYPES[section][self.dest]))
        if any(get_origin(kind) is dict for kind in kinds):
            if not all('=' in text for text in texts):
                parser.error(f'{option_string} takes KEY=VALUE; got {" ".join(texts)!r}')
            new = [f'{section}.{self.dest}.{text}' for text in texts]
        elif any(get_origin(kind) is tuple for kind in kinds) and not (len(texts) == 1 and self.nargs == '+'
                                                                       and _single(kinds, texts[0])):
            new = [f'{section}.{self.dest}=[{", ".join(texts)}]']
        else:
            new = [f'{section}.{self.dest}={texts[0]}']
        namespace.changes = [*(getattr(namespace, 'changes', None) or []), *new]


class _Switch(argparse.BooleanOptionalAction):
    """`--key` and `--no-key` as changes of the recipe."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any,
                 option_string: str | None = None) -> None:
        super().__call__(parser, namespace, values, option_string)
        on = vars(namespace).pop(self.dest)
        changes = getattr(namespace, 'changes', None) or []
        namespace.changes = [*changes, f'{SECTION_OF[self.dest]}.{self.dest}={str(on).lower()}']


def _single(kinds: Sequence[Any], text: str) -> bool:
    """Whether one word may be meant as a value that is no list."""
    return float in kinds or text.lower() in ('none', 'null', '')


def _add_key(group: Any, section: str, key: str, kind: Any) -> None:
    """Adds the option of one key; given values become changes of the recipe."""
    flags = (f'--{key.replace("_", "-")}', *SHORT.get(key, ()))
    default = getattr(getattr(_DEFAULTS, section), key)
    if key.startswith('no_'):
        group.add_argument(*flags, action='append_const', dest='changes', const=f'{section}.{key}=true',
                           help=_ABOUT[section][key])
        return
    if kind is bool:
        group.add_argument(*flags, action=_Switch, dest=key, default=argparse.SUPPRESS,
                           help=f'{_ABOUT[section][key]}; default: {default}')
        return
    kinds = (kind, *get_args(kind))
    words = next((get_args(k) for k in kinds if get_origin(k) is Literal), ())
    many = next((get_args(k) for k in kinds if get_origin(k) is tuple), ())
    nargs: Any = None
    if many:
        nargs = '+' if many[-1] is ... or type(None) in kinds else len(many)
    if any(get_origin(k) is dict for k in kinds):
        nargs = '+'
    metavar = 'KEY=VALUE' if nargs == '+' and not many else '|'.join(words) if words else 'X' if many else 'VALUE'
    shown = ' '.join(map(str, default)) if isinstance(default, tuple) else default
    about = _ABOUT[section][key] + ('' if default in (None, '', {}) else f'; default: {shown}')
    group.add_argument(*flags, action=_Change, dest=key, nargs=nargs, metavar=metavar, default=argparse.SUPPRESS,
                       help=about.replace('%', '%%'))


_DEFAULTS = Recipe()
_ABOUT = {section: {one.name: one.metadata['about'].replace('`', '') for one in fields(getattr(_DEFAULTS, section))}
          for section in TYPES}


def _take_left_over(parser: argparse.ArgumentParser, args: argparse.Namespace, rest: Sequence[str]) -> None:
    """Words between options are words; an option that does not exist is an error that names the nearest."""
    strange = next((word for word in rest if word.startswith('-')), None)
    if strange is None:
        args.words = [*args.words, *rest]
        return
    name = strange.partition('=')[0]
    if name in ABSENT:
        parser.error(f'zoo has no option {name}: {ABSENT[name]}')
    close = nearest(name, options_of(parser))
    parser.error(f'the option {name} is not known.' + (f' Did you mean {" or ".join(close)}?' if close else ''))
