"""Writes safetensors files that are there whole or not at all, with a record in JSON beside the tensors."""
from __future__ import annotations

import json
import os
import re
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from .files import weights_file


def write_tensors(path: str | Path, tensors: Mapping[str, Tensor], records: Mapping[str, Any]) -> None:
    """Writes tensors and records. A file that is there already is replaced only once the new one is whole and on disk.

    Args:
        records: name -> anything that JSON holds; `read_record` reads it back.

    Raises:
        OSError: it cannot be written, for a full disk say; what was there before is still there.
    """
    path = Path(path).expanduser()
    metadata = {name: json.dumps(record) for name, record in records.items()}
    state = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in tensors.items()}
    folder = path.with_name(f'{path.name}.{os.getpid()}.part')     # save_file makes files of its own beside its target
    part = folder / path.name
    try:
        folder.mkdir()
        part.touch()
        mode = part.stat().st_mode                                 # what the system gives new files; save_file does not
        save_file(state, part, metadata=metadata)
        part.chmod(mode)
        with open(part, 'rb+') as file:
            os.fsync(file.fileno())
        part.replace(path)
        if os.name == 'posix':                                     # the name is on disk once its folder is
            handle = os.open(path.parent, os.O_RDONLY)
            os.fsync(handle)
            os.close(handle)
    except (SafetensorError, OSError) as error:
        number = re.search(r'os error (\d+)', str(error))
        code = error.errno if isinstance(error, OSError) else int(number[1]) if number else None
        raise OSError(code, f'{path} could not be written ({os.strerror(code) if code else error})') from error
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def read_record(path: str | Path, name: str) -> Any:
    """A record of a safetensors file, or of the one in a folder (see `weights_file`); None if it is no such file or has
    no such record.

    Raises:
        FileNotFoundError: no such file.
        ValueError: the file is damaged.
    """
    path = weights_file(path)
    with open(path, 'rb') as file:
        if file.read(9)[8:] != b'{':
            return None
    try:
        with safe_open(path, 'pt') as file:
            return json.loads((file.metadata() or {}).get(name, 'null'))
    except (SafetensorError, ValueError) as error:
        raise ValueError(f'{path} cannot be read: {error}') from error
