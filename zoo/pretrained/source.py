"""Which place a call names: a model of the catalog, a repository on the Hugging Face hub, or a local folder."""
from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..spec import PretrainedCfg, read_text, unknown
from . import hub
from .foreign import config_readers
from .foreign.configs import read_config

PREFIXES = {'hf-hub': 'hub', 'hf_hub': 'hub', 'local-dir': 'folder'}
PLACES = {'file', 'wheel', 'hf_hub_id', 'hf_hub_filename', 'url'}
BOOKKEEPING = {'custom_load', 'source', 'state_dict'}        # fields of timm's that say nothing about weights or images
_log = logging.getLogger('zoo')


@dataclass(frozen=True)
class Source:
    """`place` is, by `kind`: 'name' a model's name; 'hub' 'user/repository[@revision]'; 'folder' a path."""

    kind: str
    place: str


def parse(name: str) -> Source:
    """Reads 'hf-hub:user/repository[@revision]', 'local-dir:path', or a plain model name.

    Raises:
        ValueError: another prefix, or no place after it.
    """
    prefix, colon, place = name.partition(':')
    if not colon:
        return Source('name', name)
    if prefix not in PREFIXES:
        raise ValueError(unknown('Source', prefix, PREFIXES))
    kind = PREFIXES[prefix]
    if not place or kind == 'hub' and place.partition('@')[0].count('/') != 1:
        raise ValueError(f"{name!r} names no place; write 'hf-hub:user/repository' or 'local-dir:path'.")
    return Source(kind, place)


def model_config(name: str, cache_dir: str | Path | None = None) -> tuple[str, PretrainedCfg, dict[str, Any]]:
    """Reads the config.json of a hub repository or a folder: architecture, record of its weights, model arguments.

    What transformers wrote is read with its preprocessor_config.json, see `zoo.pretrained.foreign.configs`. The
    weights are those beside the config.json, whatever place the file itself names.

    Raises:
        FileNotFoundError: there is no config.json, or it cannot be reached.
        ValueError: a name without a place; a file that is not JSON, or in neither timm's nor transformers' layout, or
            whose values do not fit together.
    """
    source = parse(name)
    path = _path(source, 'config.json', cache_dir)
    config = _read(path)
    if 'architecture' in config:
        cfg = _record(config, path)
        arguments = {'in_chans': cfg.input_size[0], 'num_classes': cfg.num_classes, **config.get('model_args', {})}
    elif 'model_type' in config:
        try:
            cfg, arguments = read_config(config, _processor(source, cache_dir), config_readers())
        except ValueError as error:
            raise ValueError(f'{path}: {error}') from error
    else:
        raise ValueError(f"{path} is in no known layout: it has neither timm's 'architecture' nor transformers' "
                         "'model_type'.")
    place = {'hf_hub_id': source.place} if source.kind == 'hub' else {'file': source.place}
    return cfg.architecture, cfg.replace(**place), arguments


def _read(path: Path) -> Mapping[str, Any]:
    try:
        content = json.loads(read_text(path))
    except json.JSONDecodeError as error:
        raise ValueError(f'{path} is not JSON: {error}') from error
    if not isinstance(content, Mapping):
        raise ValueError(f'{path} holds no record, but {type(content).__name__}.')
    return content


def _processor(source: Source, cache_dir: str | Path | None) -> Mapping[str, Any] | None:
    """The preprocessor_config.json beside a config.json, if there is one."""
    try:
        path = _path(source, 'preprocessor_config.json', cache_dir)
    except FileNotFoundError as error:
        _log.warning('%s Images are taken to be resized to the size of the config and normalised as ImageNet.', error)
        return None
    return _read(path)


def _path(source: Source, name: str, cache_dir: str | Path | None) -> Path:
    if source.kind == 'hub':
        places = hub.places(source.place, (name,), cache_dir)
        return hub.first_of(places, f'{name} of {source.place}', f'hf-hub:{source.place}')[1]
    path = Path(source.place).expanduser() / name
    if not path.is_file():
        raise FileNotFoundError(f'There is no {path}.')
    return path


def _record(config: Mapping[str, Any], path: Path) -> PretrainedCfg:
    """The record that a config.json in timm's layout holds; older files have its fields on their top level."""
    nested = 'pretrained_cfg' in config
    fields = {**config['pretrained_cfg'], 'architecture': config['architecture']} if nested else dict(config)
    fields |= {k: config[k] for k in ('num_classes', 'label_names', 'label_descriptions') if k in config}
    known = {field.name for field in dataclasses.fields(PretrainedCfg)}
    if nested and (strange := fields.keys() - known - BOOKKEEPING):
        _log.warning('%s: fields without a meaning here: %s', path, ', '.join(sorted(strange)))
    if isinstance(names := fields.get('label_names'), Mapping):              # {'0': 'tench', …} or {'tench': 0, …}
        numbered = all(key.isdigit() for key in names)
        fields['label_names'] = ([names[k] for k in sorted(names, key=int)] if numbered else
                                 sorted(names, key=lambda name: names[name]))
    return PretrainedCfg(**{k: _frozen(v) for k, v in fields.items() if k in known - PLACES})


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
