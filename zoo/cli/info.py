"""`zoo info`: what is known about one model."""
from __future__ import annotations

import argparse
import dataclasses
import json
from typing import Any

import zoo
from zoo.cli.facts import facts
from zoo.cli.published import published_accuracy

ABOUT = ('license', 'paper_name', 'paper_ids', 'origin_url', 'description', 'notes')
PLACES = ('wheel', 'hf_hub_id', 'hf_hub_filename', 'url', 'file')
SIZES = ('input_size', 'test_input_size', 'min_input_size', 'fixed_input_size', 'crop_pct', 'test_crop_pct', 'crop_mode',
         'interpolation', 'mean', 'std')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Adds the options of `zoo info` to its parser."""
    parser.add_argument('name', metavar='NAME', help='a model, with a tag or for its default weights')
    parser.add_argument('--json', action='store_true', help='print one JSON object')


def run(args: argparse.Namespace) -> int:
    """Print the description."""
    info = describe(args.name)
    print(json.dumps(info, indent=2, ensure_ascii=False) if args.json else as_text(info))
    return 0


def describe(name: str) -> dict[str, Any]:
    """Everything known about a model as plain data.

    Raises:
        ValueError: the name is unknown; the message gives the nearest.
    """
    cfg, network = facts(name)
    return {
        'name': cfg.name,
        **network,
        'preprocessing': _set(cfg, SIZES),
        'tags': [tagged.partition('.')[2] for tagged in zoo.list_models(f'{cfg.architecture}.*', include_tags=True)],
        'weights': _set(cfg, PLACES),
        'about': _set(cfg, ABOUT),
        'published': [dataclasses.asdict(line) for line in published_accuracy(cfg.name)],
    }


def _set(cfg: zoo.PretrainedCfg, names: tuple[str, ...]) -> dict[str, Any]:
    """The fields of those names that have a value."""
    return {name: value for name in names if (value := getattr(cfg, name)) is not None}


def as_text(info: dict[str, Any]) -> str:
    """The description for people to read."""
    sections = [('network', _network(info)), ('preprocessing', _preprocessing(info['preprocessing'])),
                ('weights', _weights(info)), ('published accuracy', _published(info['published']))]
    blocks = [info['name']]
    for title, lines in sections:
        width = max(len(label) for label, _ in lines)
        blocks.append('\n'.join([title, *(f'  {label:{width}}  {value}' for label, value in lines)]))
    return '\n\n'.join(blocks)


def _network(info: dict[str, Any]) -> list[tuple[str, str]]:
    features = info['features']
    size = 'x'.join(map(str, info['preprocessing']['input_size'][1:]))
    return [
        ('parameters', f'{info["parameters"] / 1e6:.2f} M'),
        ('multiply-adds', f'{info["gmacs"]:.2f} G at {size}'),
        ('activations', f'{info["macts"]:.2f} M at {size}'),
        ('classes', str(info['num_classes'])),
        ('features', str(info['num_features'])),
        ('stage channels', ', '.join(str(stage['num_chs']) for stage in features)),
        ('stage reductions', ', '.join(str(stage['reduction']) for stage in features)),
        ('code', info['module']),
    ]


def _preprocessing(cfg: dict[str, Any]) -> list[tuple[str, str]]:
    size, test_size = cfg['input_size'], cfg.get('test_input_size', cfg['input_size'])
    lines = [
        ('train size', f'{_times(size)}, crop {cfg["crop_pct"]}'),
        ('test size', f'{_times(test_size)}, crop {cfg.get("test_crop_pct", cfg["crop_pct"])}'),
        ('crop mode', cfg['crop_mode']),
        ('interpolation', cfg['interpolation']),
        ('mean', _commas(cfg['mean'])),
        ('std', _commas(cfg['std'])),
    ]
    if cfg['fixed_input_size']:
        lines.append(('other sizes', 'with img_size=(height, width), or any with dynamic_img_size=True'))
    elif 'min_input_size' in cfg:
        lines.append(('smallest size', _times(cfg['min_input_size'])))
    return lines


def _weights(info: dict[str, Any]) -> list[tuple[str, str]]:
    labels = {'wheel': 'package', 'hf_hub_id': 'hub', 'hf_hub_filename': 'file on the hub', 'license': 'licence',
              'paper_name': 'paper', 'paper_ids': 'paper id', 'origin_url': 'origin'}
    lines = [('tags', _commas(info['tags']) or 'none')]
    for field, value in {**info['weights'], **info['about']}.items():
        lines.append((labels.get(field, field), value if isinstance(value, str) else _commas(value)))
    return lines


def _published(lines: list[dict[str, Any]]) -> list[tuple[str, str]]:
    if not lines:
        return [('none', '')]
    return [(line['test_set'], f'{line["top1"]:6.2f} % top-1  {line["top5"]:6.2f} % top-5  at {line["img_size"]}  '
                               f'({line["source"]})') for line in lines]


def _times(size: tuple[int, ...]) -> str:
    return 'x'.join(map(str, size))


def _commas(values: tuple[Any, ...] | list[Any]) -> str:
    return ', '.join(map(str, values))
