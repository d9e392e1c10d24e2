"""Which place a call names: a model of the catalog, a repository on the Hugging Face hub, or a local folder."""
from __future__ import annotations

import dataclasses
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..spec import PretrainedCfg, refuse
from . import hub

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
        raise ValueError(refuse('Source', prefix, PREFIXES))
    kind = PREFIXES[prefix]
    if not place or kind == 'hub' and place.partition('@')[0].count('/') != 1:
        raise ValueError(f"{name!r} names no place; write 'hf-hub:user/repository' or 'local-dir:path'.")
    return Source(kind, place)


def model_config(name: str, cache_dir: str | Path | None = None) -> tuple[str, PretrainedCfg, dict[str, Any]]:
    """Reads the config.json of a hub repository or a folder: architecture, record of its weights, model arguments.

    The weights are those beside the config.json, whatever place the file itself names.

    Raises:
        FileNotFoundError: there is no config.json, or it cannot be reached.
        ValueError: a name without a place, or a file that is not JSON or not in timm's layout.
    """
    source = parse(name)
    path = _config_path(source, cache_dir)
    try:
        config = json.loads(path.read_text(encoding='utf-8'))
    except ValueError as error:
        raise ValueError(f'{path} is not JSON: {error}') from error
    if not isinstance(config, Mapping) or 'architecture' not in config:
        # The one place where the layouts of other libraries are told apart.
        raise ValueError(f"{path} is not in timm's layout: it names no 'architecture'"
                         + (f", but a model_type {config['model_type']!r}." if 'model_type' in config else '.'))
    cfg = _record(config, path)
    if source.kind == 'hub':
        cfg = cfg.replace(hf_hub_id=source.place)
    else:
        cfg = cfg.replace(file=source.place)
    return cfg.architecture, cfg, {'in_chans': cfg.input_size[0], 'num_classes': cfg.num_classes,
                                   **config.get('model_args', {})}


def _config_path(source: Source, cache_dir: str | Path | None) -> Path:
    if source.kind == 'hub':
        places = hub.places(source.place, ('config.json',), cache_dir)
        return hub.first_of(places, f'config.json of {source.place}', f'hf-hub:{source.place}')[1]
    path = Path(source.place).expanduser() / 'config.json'
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
        fields['label_names'] = [names[k] for k in sorted(names, key=int)] if numbered else sorted(names, key=names.get)
    return PretrainedCfg(**{k: _frozen(v) for k, v in fields.items() if k in known - PLACES})


def _frozen(value: Any) -> Any:
    return tuple(map(_frozen, value)) if isinstance(value, list) else value
