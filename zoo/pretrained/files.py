"""Which file holds the weights, where a path names a file or a folder."""
from __future__ import annotations

from pathlib import Path

from ..spec import nearest
from .hub import INDEX

NAMES = ('model.safetensors', f'model.safetensors{INDEX}', 'pytorch_model.bin')     # in a published folder
BEST = 'model_best.safetensors'                                                     # in that of a training run


def weights_file(path: str | Path) -> Path:
    """A file, or the weights in a folder: those of a published model, or the best of a training run.

    Raises:
        FileNotFoundError: there is neither; of a file the message has the nearest beside it.
    """
    path = Path(path).expanduser()
    if path.is_file():
        return path
    if path.is_dir():
        for name in (*NAMES, BEST):
            if (path / name).is_file():
                return path / name
        raise FileNotFoundError(f'The folder {path} has none of {", ".join((*NAMES, BEST))}.')
    beside = [p.name for p in path.parent.iterdir()] if path.parent.is_dir() else []
    close = nearest(path.name, beside)
    raise FileNotFoundError(f'There is no file {path}.' + (f' Beside it: {", ".join(close)}.' if close else ''))
