"""config.json: which network weights are of, how it is built again, and how its images are prepared."""
from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import nn

from ..data import resolve_model_data_config
from ..data.labels import labels_for
from ..spec import unknown

# of a record: where weights were found, what was done to them on the way, and what stands on the config's first level
LEFT_OUT = ('architecture', 'file', 'wheel', 'hf_hub_id', 'hf_hub_filename', 'url', 'label_offset', 'label_names',
            'label_descriptions', 'state_dict', 'source')
SIZES = ('test_input_size', 'min_input_size')
FOR_TRAINING = ('drop_rate', 'drop_path_rate', 'proj_drop_rate')
DATA = ('input_size', 'img_size', 'in_chans', 'test_input_size', 'crop_pct', 'test_crop_pct', 'crop_mode',
        'interpolation', 'mean', 'std')


def save_config_for_hf(model: nn.Module, config_path: str | Path, model_config: Mapping[str, Any] | None = None,
                       model_args: Mapping[str, Any] | None = None,
                       data_config: Mapping[str, Any] | None = None) -> None:
    """Writes the config.json of a network; arguments and errors as those of `describe`."""
    config = describe(model, model_config, model_args, data_config)
    Path(config_path).write_text(json.dumps(config, indent=2, ensure_ascii=False) + '\n', encoding='utf-8')


def describe(model: nn.Module, model_config: Mapping[str, Any] | None = None,
             model_args: Mapping[str, Any] | None = None,
             data_config: Mapping[str, Any] | None = None) -> dict[str, Any]:
    """What config.json says of a network as it is now, classifier and input size included.

    Args:
        model_config: further entries, such as label_names (a list, or output -> name) and label_descriptions; its
            `pretrained_cfg` goes over that of the network, its `model_args` over what the network was built with.
        model_args: arguments that the network is built again with, over those that it was built with.
        data_config: settings of preprocessing that differ from the record's, as `zoo.data.resolve_data_config` has
            them, and test_input_size and test_crop_pct.

    Raises:
        ValueError: a network without a name or a classifier; another number of classes or labels than it has; an
            argument that JSON cannot hold; an unknown setting.
    """
    known, extra, data = getattr(model, 'pretrained_cfg', None) or {}, dict(model_config or {}), dict(data_config or {})
    if not known.get('architecture') or not hasattr(model, 'num_classes'):
        raise ValueError('What is published is a classifier that create_model has built by its name; '
                         f'this {type(model).__name__} is none.')
    for key in data:
        if key not in DATA:
            raise ValueError(unknown('data_config setting', key, DATA))
    record = {k: v for k, v in known.items() if k not in LEFT_OUT and v is not None} | extra.pop('pretrained_cfg', {})
    record = _prepared(record, model, data)
    args = {**getattr(model, 'model_args', {}), **extra.pop('model_args', {}), **(model_args or {})}
    pool = getattr(getattr(model, 'global_pool', None), 'pool_type', None)
    now = {'num_classes': model.num_classes, 'in_chans': getattr(model, 'in_chans', None), 'global_pool': pool or None,
           'img_size': getattr(model, 'img_size', None)}
    args = {k: v for k, v in args.items() if k not in FOR_TRAINING} | {k: v for k, v in now.items() if v is not None}
    config = {'architecture': known['architecture'], 'num_classes': model.num_classes,
              'num_features': model.num_features}
    config |= {'global_pool': pool} if pool else {}
    config |= _labels(model, extra) | {'model_args': args, 'pretrained_cfg': record} | extra
    if config['num_classes'] != model.num_classes:
        raise ValueError(f'The network has {model.num_classes} classes; model_config says {config["num_classes"]}.')
    for key, value in [*args.items(), *config.items()]:
        try:
            json.dumps(value)
        except (TypeError, ValueError) as error:
            raise ValueError(f'JSON cannot hold {key}={value!r}, with which the network was built. Give its name in '
                             f'model_args, as in model_args=dict({key}=…).') from error
    return config


def _prepared(record: dict[str, Any], model: nn.Module, data: dict[str, Any]) -> dict[str, Any]:
    """The record with the preprocessing that is asked for. What it says of test images goes where `data` says the same
    of all images."""
    test = {key: data.pop(key) for key in ('test_input_size', 'test_crop_pct') if data.get(key) is not None}
    config = resolve_model_data_config(model, data, pretrained_cfg=record)
    sized, channels = data.get('input_size') or data.get('img_size'), config['input_size'][0]
    for key, given in (('test_input_size', sized), ('test_crop_pct', data.get('crop_pct'))):
        if given is not None or key in test:
            record.pop(key, None)
    if sized or 'test_input_size' in test:
        record.pop('test_pool_size', None)
    if config['input_size'] != tuple(record.get('input_size', ())):
        record.pop('pool_size', None)
    record |= config | test | {'num_classes': model.num_classes}
    return record | {key: (channels, *record[key][1:]) for key in SIZES if record.get(key)}


def _labels(model: nn.Module, extra: dict[str, Any]) -> dict[str, Any]:
    """The names of the classes: those given, else the network's own, unless they are ImageNet's, which are known."""
    own = getattr(model, 'labels', None)
    record: Mapping[str, Any] = getattr(model, 'pretrained_cfg')
    classes: int = getattr(model, 'num_classes')
    names = extra.pop('label_names', None) or (list(own) if own and own != labels_for(classes) else None)
    about = extra.pop('label_descriptions', None)
    if not about and names and list(record.get('label_names') or ()) == names:
        about = record.get('label_descriptions')
    if names and len(names) != classes:
        raise ValueError(f'There are {len(names)} label_names; the network has {classes} classes.')
    return {k: v for k, v in {'label_names': names, 'label_descriptions': about and dict(about)}.items() if v}
