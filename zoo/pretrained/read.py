"""Reads weights from files that cannot execute anything: safetensors, PyTorch's own with tensors only, NumPy's of
arrays only, Keras'."""
from __future__ import annotations

import argparse
import os
import re
import zipfile
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor

from .files import weights_file
from .foreign.hdf5 import SIGNATURE, in_archive, read_keras
from .foreign.pickles import way_to_tensors
from .hub import INDEX, shards

TENSORS_AT_ONCE = 80
AVERAGED = ('state_dict_ema', 'model_ema', 'ema_state')   # where training programs keep averaged weights
WRAPPERS = ('classy_state_dict', 'base_model', 'state_dict', 'model', 'model_state', 'module', 'weights')
PARTS = ('trunk', 'heads')                              # of a network, a state dict each, as ClassyVision and VISSL save it
PREFIXES = ('module.', '_orig_mod.', 'model.')          # of DataParallel, torch.compile, Lightning


def read_state_dict(path: str | Path, use_ema: bool = True) -> dict[str, Tensor]:
    """The state dict in a file, whatever its name ends in; every tensor has memory of its own.

    Args:
        path: safetensors, a list of safetensors shards (`….safetensors.index.json`), what torch.save wrote, or what
            numpy.savez did (`.npz`) or Keras (`.h5`, `.keras`); or a folder with such a file, see `weights_file`.
        use_ema: of a training checkpoint take the averaged weights, if it has them.

    Raises:
        FileNotFoundError: there is none.
        ValueError: the file is damaged, is no file of weights, or holds more than tensors and plain values.
    """
    path = weights_file(path)
    if path.name.endswith(INDEX):
        return {k: v for name in shards(path) for k, v in read_state_dict(path.parent / name).items()}
    with open(path, 'rb') as file:
        start = file.read(64)
    if start[8:9] == b'{':
        return unwrap(_read_safetensors(path), use_ema, path)
    if start.startswith(SIGNATURE) or start[:2] == b'PK' and in_archive(path):
        return read_keras(path, _damaged)
    if start[:2] == b'PK' and _is_numpy(path):
        return unwrap(_read_numpy(path), use_ema, path)
    if start[:2] == b'PK' or start[:1] == b'\x80':
        return own(unwrap(_read_torch(path), use_ema, path))
    what = 'is a pointer of Git LFS, whose file was not downloaded' if b'git-lfs' in start else f'starts {start[:16]!r}'
    raise ValueError(f'{path} is neither a safetensors nor a PyTorch file, nor one of NumPy or Keras: it {what}.')


def own(state: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Copies of tensors, each contiguous and with memory of its own."""
    return {k: v.detach().clone(memory_format=torch.contiguous_format) for k, v in state.items()}


def unwrap(content: Any, use_ema: bool = True, origin: str | Path = 'the state dict given') -> dict[str, Tensor]:
    """The state dict inside what a training program saved, without the prefixes of wrapping modules.

    Raises:
        ValueError: there is none.
    """
    found = content
    while isinstance(found, Mapping):
        names = [n for n in (AVERAGED if use_ema else ()) + WRAPPERS if isinstance(found.get(n), Mapping)]
        if not names:
            break
        found = found[names[0]]
    if isinstance(found, Mapping) and isinstance(found.get(PARTS[0]), Mapping):
        found = {f'{part}.{key}': value for part in PARTS for key, value in (found.get(part) or {}).items()}
    if not isinstance(found, Mapping) or not found or not all(isinstance(v, Tensor) for v in found.values()):
        keys = f'; it has {", ".join(map(str, list(content)[:8]))}' if isinstance(content, Mapping) else ''
        raise ValueError(f'There is no state dict in {origin}{keys}.')
    state = dict(found)
    while prefix := next((p for p in PREFIXES if all(k.startswith(p) for k in state)), ''):
        state = {k.removeprefix(prefix): v for k, v in state.items()}
    return state


def _read_safetensors(path: Path) -> dict[str, Tensor]:
    """Copies of a safetensors file's tensors.

    The library maps the file; a network must not change, or crash, when its file is overwritten later. It is opened
    anew for every few tensors, so that what was copied is no longer mapped: the peak is the weights and little more.
    Threads share the copying, most of which is the system handing out memory.
    """
    def copies(names: list[str]) -> dict[str, Tensor]:
        with safe_open(path, 'pt') as file:
            return {name: file.get_tensor(name).clone() for name in names}

    try:
        with safe_open(path, 'pt') as file:
            names = list(file.keys())
        parts = [names[start:start + TENSORS_AT_ONCE] for start in range(0, len(names), TENSORS_AT_ONCE)]
        with ThreadPoolExecutor(min(4, os.cpu_count() or 1)) as pool:
            return {name: tensor for part in pool.map(copies, parts) for name, tensor in part.items()}
    except (SafetensorError, OSError) as error:
        raise ValueError(_damaged(path, str(error))) from error


def _read_torch(path: Path) -> Any:
    """What torch.save wrote. A zip file is mapped: of a training checkpoint only what is copied comes into memory."""
    zipped = zipfile.is_zipfile(path)
    try:
        with torch.serialization.safe_globals([argparse.Namespace]):     # plain values: the options timm trained with
            return torch.load(path, map_location='cpu', weights_only=True, mmap=zipped)
    except Exception as error:                                 # whatever a damaged file makes the unpickler trip over
        text = str(error)
        if 'weights_only' not in text:
            raise ValueError(_damaged(path, text.partition('. ')[0])) from error
        culprit = re.search(r'GLOBAL ([\w.]+)', text)
        what = culprit[1] if culprit else 'a TorchScript program' if 'TorchScript' in text else 'Python objects'
        raise ValueError(
            f'{path} holds more than tensors and plain values: {what}. Reading that could execute code, so it is '
            'refused. If you trust its source, save its tensors alone once: '
            f'{way_to_tensors(path, AVERAGED + WRAPPERS)}') from error


def _is_numpy(path: Path) -> bool:
    """Whether a zip file is one of NumPy's arrays."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as file:
        names = file.namelist()
    return bool(names) and all(name.endswith('.npy') for name in names)


def _read_numpy(path: Path) -> dict[str, Tensor]:
    """Arrays of numbers; what has no number type but two bytes is bfloat16, which NumPy does not know."""
    try:
        with np.load(path, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        return {name: torch.from_numpy(array.view(np.int16)).view(torch.bfloat16) if array.dtype.str[1:] == 'V2'
                else torch.from_numpy(array) for name, array in arrays.items()}
    except (ValueError, TypeError, OSError, zipfile.BadZipFile) as error:
        if 'allow_pickle' in str(error):
            raise ValueError(f'{path} holds Python objects beside arrays. Reading them could execute code, so it is '
                             'refused.') from error
        raise ValueError(_damaged(path, str(error).partition('. ')[0])) from error


def _damaged(path: Path, why: str) -> str:
    """An error's text; for a file of the Hugging Face cache with the command that replaces it."""
    text = f'{path} is damaged: {why}.'
    if cached := re.search(r'models--([^/]+)/snapshots/[^/]+/(.+)$', path.as_posix()):
        return f'{text} Fetch it again: hf download {cached[1].replace("--", "/")} {cached[2]} --force-download'
    return f'{text} If it was downloaded, delete it and download it again.'
