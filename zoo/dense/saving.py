"""One file for a detector or a segmenter: safetensors, with all that is needed to build it again."""
from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from torch import Tensor, nn

from ..pretrained import read_record, read_state_dict, write_tensors
from .detector import create_detector
from .segmenter import create_segmenter

KEY = 'zoo.dense'                                         # of the file's metadata
_MAKERS: dict[str, Callable[..., nn.Module]] = {'detect': create_detector, 'segment': create_segmenter}


def save(model: nn.Module, path: str | Path) -> None:
    """Writes a detector or a segmenter that was created by name; `load` builds it again. A file that is there already
    is replaced only once the new one is whole.

    Raises:
        ValueError: the model was not made by `create_detector` or `create_segmenter`, or on a backbone without a name.
    """
    config = getattr(model, 'config', None)
    if not isinstance(config, dict) or config.get('task') not in _MAKERS:
        raise ValueError(f'{type(model).__name__} was not made by create_detector or create_segmenter.')
    if not isinstance(config['backbone'], str):
        raise ValueError('The model was made on a backbone without a name, which a file cannot describe; '
                         'save its state_dict() instead.')
    write_tensors(path, model.state_dict(), {KEY: config})


def load(path: str | Path) -> nn.Module:
    """A detector or a segmenter as `save` wrote it, in evaluation mode, with its classes.

    Raises:
        FileNotFoundError: no such file.
        ValueError: a file that `save` did not write, or that is damaged.
    """
    config = read_config(Path(path).expanduser())
    if config is None:
        raise ValueError(f'{path} holds no detector or segmenter that zoo.dense.save wrote.')
    return build(config, read_state_dict(path))


def build(config: Mapping[str, Any], state: Mapping[str, Tensor]) -> nn.Module:
    """A detector or a segmenter, in evaluation mode, of its `config` and its state dict."""
    options = dict(config)
    model = _MAKERS[options.pop('task')](**options)
    model.load_state_dict(state)
    return model.eval()


def read_config(path: Path) -> dict[str, Any] | None:
    """What a file says of the detector or segmenter in it; None where it says nothing.

    Raises:
        FileNotFoundError: no such file. ValueError: the file is damaged.
    """
    config = read_record(path, KEY)
    return config if config and config.get('task') in _MAKERS else None
