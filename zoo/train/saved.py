"""A trained network in one file that says itself which network it is, what its classes are and how images are prepared."""
from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..factory import create_model
from ..pretrained import read_record, read_state_dict, write_tensors

KEY = 'zoo.model'                           # of the file's metadata
AVERAGED, WEIGHTS = 'ema.module.', 'model.'        # where a whole run keeps them


def describe(model: nn.Module, name: str, arguments: Mapping[str, Any], task: str,
             class_names: list[str] | None, config: Mapping[str, Any]) -> dict[str, Any]:
    """The record that `load_trained` builds a network from.

    Args:
        name: as `zoo.create_model` takes it; arguments: what it was given beside.
        task: 'single', 'multi' or 'regression'.
        config: how images are prepared in evaluation, see `zoo.data.resolve_data_config`.
    """
    places = ('file', 'wheel', 'hf_hub_id', 'hf_hub_filename', 'url', 'label_names', 'label_descriptions',
              'test_input_size', 'test_crop_pct')
    record = {key: value for key, value in model.pretrained_cfg.items() if key not in places}
    record |= {**config, 'num_classes': model.num_classes, 'label_names': class_names}
    return {'name': name.partition('.')[0] if ':' not in name else model.pretrained_cfg['architecture'],
            'arguments': dict(arguments), 'task': task, 'pretrained_cfg': record}


def save_trained(path: str | Path, state: Mapping[str, Tensor], record: Mapping[str, Any], **about: Any) -> None:
    """Writes weights with their record.

    Args:
        about: more that is worth knowing of them, such as the epoch and the metrics.

    Raises:
        OSError: they cannot be written; the file that was there before still is.
    """
    write_tensors(path, state, {KEY: {**record, **about}})


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
    'regression' in `task`.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged, or training did not write it.
    """
    record = trained_record(path)
    if record is None:
        raise ValueError(f'{path} does not say which network its weights are of; name it, as zoo.create_model(…, '
                         'checkpoint_path=…) takes it.')
    state = read_state_dict(path)
    for prefix in (AVERAGED, WEIGHTS):
        if chosen := {k.removeprefix(prefix): v for k, v in state.items() if k.startswith(prefix)}:
            state = chosen
            break
    cfg = {key: tuple(value) if isinstance(value, list) else value for key, value in record['pretrained_cfg'].items()}
    model = create_model(record['name'], checkpoint_path=state, pretrained_cfg=cfg, **record['arguments'])
    model.task = record['task']
    return model.eval()
