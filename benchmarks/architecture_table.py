"""Writes results/architectures.csv and results/networks.csv: what `zoo.profile` counts of every architecture.

    python benchmarks/architecture_table.py [MODEL ...]

architectures.csv has one line for each architecture and image size that a published table or a record of weights names,
with the classes of the default weights; networks.csv one for each image and number of classes that a record of weights
names, with what `zoo info` says of the network. With MODELs, only their lines are made again.
"""
from __future__ import annotations

import csv
import sys
from collections import defaultdict
from pathlib import Path

import torch
from tqdm import tqdm

import zoo
from zoo.cli.facts import TABLE as NETWORKS
from zoo.cli.facts import as_row, key_of, measured

RESULTS = Path(__file__).parent.parent / 'results'
TABLE = RESULTS / 'architectures.csv'


def sizes() -> dict[str, set[int]]:
    """Architecture -> the sides in pixels of the square images that tables and records name."""
    found = defaultdict(set)
    for table in (RESULTS / 'published').glob('*.csv'):
        with table.open(newline='') as file:
            for row in csv.DictReader(file):
                found[row['model'].partition('.')[0]].add(int(row['img_size']))
    for name in zoo.list_models(include_tags=True):
        cfg = zoo.get_pretrained_cfg(name)
        found[cfg.architecture] |= {size[1] for size in (cfg.input_size, cfg.test_input_size)
                                    if size and size[1] == size[2]}
    return found


def write_networks(names: list[str]) -> None:
    """The lines of the architectures `names` in networks.csv made again, those of others kept."""
    path, lines = RESULTS / NETWORKS, {}
    if path.is_file():
        with path.open(newline='') as file:
            lines = {(row['model'], row['input_size'], row['num_classes']): row for row in csv.DictReader(file)
                     if row['model'].partition('.')[0] not in names}
    different = {}                                           # weights that share image and classes share a line
    for name in zoo.list_models([one for name in names for one in (name, f'{name}.*')], include_tags=True):
        cfg = zoo.get_pretrained_cfg(name)
        different.setdefault(key_of(cfg), name)
    for name in tqdm(different.values(), disable=None):
        row = as_row(*measured(name))
        lines[row['model'], row['input_size'], str(row['num_classes'])] = row
    known = zoo.list_models()
    with path.open('w', newline='') as file:
        writer = csv.DictWriter(file, next(iter(lines.values())), lineterminator='\n')
        writer.writeheader()
        writer.writerows(lines[key] for key in sorted(lines, key=lambda key: (known.index(key[0].partition('.')[0]), key)))


def main() -> None:
    names, wanted = zoo.list_models(), sizes()
    kept = {}
    if sys.argv[1:]:
        with TABLE.open(newline='') as file:
            kept = {(row['model'], int(row['img_size'])): row for row in csv.DictReader(file)}
    for name in tqdm(sys.argv[1:] or names, disable=None):
        for size in wanted[name]:
            with torch.device('meta'):
                fixed = zoo.get_pretrained_cfg(name).fixed_input_size
                model = zoo.create_model(name, **({'img_size': size} if fixed else {}))
            cost = zoo.profile(model, size)
            kept[name, size] = {'model': name, 'img_size': size, 'param_count': round(cost.params / 1e6, 3),
                                'gmacs': round(cost.gmacs, 4), 'macts': round(cost.macts, 3)}
    with TABLE.open('w', newline='') as file:
        writer = csv.DictWriter(file, ['model', 'img_size', 'param_count', 'gmacs', 'macts'], lineterminator='\n')
        writer.writeheader()
        writer.writerows(kept[key] for key in sorted(kept, key=lambda key: (names.index(key[0]), key[1])))
    write_networks(sys.argv[1:] or names)


if __name__ == '__main__':
    main()
