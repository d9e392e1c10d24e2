"""A trained network in one file that says itself which network it is, what its classes are and how images are prepared."""
from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..factory import create_model
from ..pretrained import read_record, read_state_dict, write_tensors
from .targets import TargetScale

KEY = 'zoo.model'                           # of the file's metadata
DENSE = 'zoo.dense'                         # where `zoo.dense.load` looks for a detector or segmenter
AVERAGED, WEIGHTS = 'ema.module.', 'model.'        # where a whole run keeps them


def describe(model: nn.Module, name: str, arguments: Mapping[str, Any], task: str,
             class_names: list[str] | None, config: Mapping[str, Any],
             scale: TargetScale | None = None) -> dict[str, Any]:
    """The record that `load_trained` builds a network from.

    Args:
        name: as `zoo.create_model` takes it; arguments: what it was given beside.
        task: 'single', 'multi' or 'regression'.
        config: how images are prepared in evaluation, see `zoo.data.resolve_data_config`.
        scale: that of the targets in training. A whole run holds weights for scaled ones; files to use hold weights for
            the targets' own units.
    """
    places = ('file', 'wheel', 'hf_hub_id', 'hf_hub_filename', 'url', 'label_names', 'label_descriptions',
              'test_input_size', 'test_crop_pct')
    published: Mapping[str, Any] = getattr(model, 'pretrained_cfg')
    record = {key: value for key, value in published.items() if key not in places}
    record |= {**config, 'num_classes': model.num_classes, 'label_names': class_names}
    return {'name': name.partition('.')[0] if ':' not in name else published['architecture'],
            'arguments': dict(arguments), 'task': task, 'pretrained_cfg': record,
            **({'target_scale': dataclasses.asdict(scale)} if scale else {})}


def save_trained(path: str | Path, state: Mapping[str, Tensor], record: Mapping[str, Any], **about: Any) -> None:
    """Writes weights with their record.

    Args:
        about: more that is worth knowing of them, such as the epoch and the metrics.

    Raises:
        OSError: they cannot be written; the file that was there before still is.
    """
    dense = {DENSE: record['dense']} if 'dense' in record else {}
    write_tensors(path, state, {KEY: {**record, **about}, **dense})


def trained_record(path: str | Path) -> dict[str, Any] | None:
    """What a file says of the network whose weights it holds; None where it says nothing.

    Raises:
        FileNotFoundError: no such file. ValueError: the file is damaged.
    """
    return read_record(path, KEY)


def load_trained(path: str | Path) -> nn.Module:
    """The network in a file that training wrote, in evaluation mode: model_best, checkpoint-…, or the whole run in last,
    whose averaged weights are taken if it has them.

    The network has the classes' names in `labels`, the preprocessing in `pretrained_cfg`, and 'single', 'multi' or
    'regression' in `task`; numbers come in the units of the data they were learned from. A detector or segmenter is
    built as `zoo.dense.load` does.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or training did not write it.
    """
    record = trained_record(path)
    if record is None:
        raise ValueError(f'{path} does not say which network its weights are of; name it, as zoo.create_model(…, '
                         'checkpoint_path=…) takes it.')
    state, scale = read_state_dict(path), None
    for prefix in (AVERAGED, WEIGHTS):
        if chosen := {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}:
            state, scale = chosen, TargetScale.read(record)
            break
    if 'dense' in record:
        from ..dense.saving import build
        return build(record['dense'], state)
    cfg = {key: tuple(value) if isinstance(value, list) else value for key, value in record['pretrained_cfg'].items()}
    model = create_model(record['name'], checkpoint_path=state, pretrained_cfg=cfg, **record['arguments'])
    if scale:
        model.load_state_dict(scale.in_units(model, model.state_dict()))
    model.task = record['task']
    return model.eval()
