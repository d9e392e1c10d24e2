"""What `zoo info` says of a network that only building it tells: read from results/networks.csv, without torch."""
from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import zoo
from zoo import tables
from zoo.registry import resolve

TABLE = 'networks.csv'
KEY = ('model', 'input_size', 'num_classes')                     # what the rest depends on
COUNTED = ('parameters', 'gmacs', 'macts', 'num_classes', 'num_features')
STAGE = {'module': str, 'num_chs': int, 'reduction': int}        # a column each, of as many words as there are stages
Facts = dict[str, Any]


def facts(name: str) -> tuple[zoo.PretrainedCfg, Facts]:
    """The record of a network's weights, and what is known of it; one that no table has is built.

    Raises:
        ValueError: the name is unknown; the message gives the nearest.
    """
    if ':' not in name:
        cfg = zoo.get_pretrained_cfg(name)
        row = _rows(tables.results_folder() / TABLE).get(key_of(cfg)) if cfg else None
        if cfg and row:
            return cfg, _from_row(row)
    return measured(name)


@functools.cache
def _rows(table: Path) -> dict[tuple[Any, ...], dict[str, Any]]:
    """The lines of the table by what they depend on."""
    return {tuple(row[column] for column in KEY): row for row in tables.read(table)}


def measured(name: str) -> tuple[zoo.PretrainedCfg, Facts]:
    """As `facts`, by building the network without memory."""
    import torch

    with torch.device('meta'):
        model: Any = zoo.create_model(name)
    registered = zoo.get_pretrained_cfg(name) if ':' not in name else None
    cfg = registered or zoo.PretrainedCfg(**model.pretrained_cfg)
    cost = zoo.profile(model, cfg.input_size)
    return cfg, {
        'module': type(model).__module__,
        'parameters': cost.params,
        'gmacs': cost.gmacs,
        'macts': cost.macts,
        'num_classes': model.num_classes,
        'num_features': model.num_features,
        'features': [{key: stage[key] for key in STAGE} for stage in model.feature_info],
    }


def as_row(cfg: zoo.PretrainedCfg, known: Facts) -> dict[str, Any]:
    """A line of the table."""
    stages = {key: ' '.join(str(stage[key]) for stage in known['features']) for key in STAGE}
    counted = {column: known[column] for column in COUNTED}
    return dict(zip(KEY, key_of(cfg))) | counted | {'code': known['module']} | stages


def _from_row(row: dict[str, Any]) -> Facts:
    stages = zip(*([kind(word) for word in str(row[key]).split()] for key, kind in STAGE.items()))
    return {'module': row['code']} | {column: row[column] for column in COUNTED} | {
        'features': [dict(zip(STAGE, stage)) for stage in stages]}


def key_of(cfg: zoo.PretrainedCfg) -> tuple[str, str, int]:
    """What the facts depend on: the architecture, with the tag where its weights need arguments of their own, the image
    and the classes."""
    family, name, _ = resolve(cfg.architecture)
    full = f'{name}.{cfg.tag}' if cfg.tag and family.tag_args(name, cfg.tag) else name
    return full, 'x'.join(map(str, cfg.input_size)), cfg.num_classes
