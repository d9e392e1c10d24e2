"""Reads weights from what Keras writes: HDF5 files of Keras 1 to 3, of weights or of whole models, and the archives of
Keras 3 that hold one. Nothing but arrays is looked at."""
from __future__ import annotations

import io
import re
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SIGNATURE = b'\x89HDF\r\n\x1a\n'
ARCHIVED = 'model.weights.h5'                                 # the file inside a `.keras` archive
CLASSES = {                                                   # of Keras 3 -> its weights, in their order
    'conv2d': ('kernel', 'bias'), 'dense': ('kernel', 'bias'), 'depthwise_conv2d': ('depthwise_kernel', 'bias'),
    'separable_conv2d': ('depthwise_kernel', 'pointwise_kernel', 'bias'),
    'batch_normalization': ('gamma', 'beta', 'moving_mean', 'moving_variance'),
    'normalization': ('mean', 'variance', 'count')}
FIRST = {'W': 'kernel', 'b': 'bias', 'running_mean': 'moving_mean', 'running_std': 'moving_variance'}     # of Keras 1
_FIRST = re.compile(r'.*?_(W|b|gamma|beta|running_mean|running_std|depthwise_kernel|pointwise_kernel)(_\d+)?')
_LAYER = re.compile(r'(?:.*/)?(conv1/conv|conv1/bn|[^/]+)/([^/]+)')     # DenseNet has two layers called with a slash


def in_archive(path: Path) -> bool:
    """Whether a zip file is one of Keras 3."""
    return zipfile.is_zipfile(path) and ARCHIVED in zipfile.ZipFile(path).namelist()


def read_keras(path: Path, damaged: Callable[[Path, str], str]) -> dict[str, Tensor]:
    """'layer/weight' -> tensor, in the shapes that Keras has; without what optimizers keep.

    Args:
        damaged: a path and what is wrong with it -> the error's text.

    Raises:
        ImportError: there is no h5py.
        ValueError: the file is damaged, holds no layers of Keras, or does not say what they are called.
    """
    try:
        import h5py
    except ImportError as error:
        raise ImportError(f"{path} is of Keras, and read with h5py: pip install 'zoo-image-models[keras]'.") from error
    try:
        content: Any = io.BytesIO(zipfile.ZipFile(path).read(ARCHIVED)) if zipfile.is_zipfile(path) else path
        with h5py.File(content, 'r') as file:
            return _tensors(file, path)
    except (OSError, KeyError, TypeError, zipfile.BadZipFile) as error:
        raise ValueError(damaged(path, str(error).strip('"').partition('. ')[0])) from error


def _tensors(file: Any, path: Path) -> dict[str, Tensor]:
    """The weights of an open file."""
    whole = file['model_weights'] if 'model_weights' in file else file
    if _attribute(whole, 'layer_names') is not None:
        weights = _by_layer(whole)
    elif 'layers' in file:
        weights = _by_class(file['layers'], path)
    else:
        raise ValueError(f'{path} is an HDF5 file, but holds no weights of Keras: at its top are '
                         f'{", ".join(list(file)[:6]) or "no names"}.')
    found: dict[str, Tensor] = {}
    for name, array in weights:
        if name in found:
            raise ValueError(f'{path} has two layers with a weight {name!r}: it is of several networks at once.')
        found[name] = torch.from_numpy(array[...])
    return found


def _by_layer(group: Any) -> Iterator[tuple[str, Any]]:
    """The weights of a file that lists its layers, whether they are layers or networks of layers."""
    for layer in _attribute(group, 'layer_names') or []:
        names = _attribute(group[layer], 'weight_names') or []
        found = [_LAYER.fullmatch(name.partition(':')[0]) for name in names]
        single = len({match[1] for match in found if match}) < 2
        for name, match in zip(names, found):
            first = _FIRST.fullmatch(name.partition(':')[0])
            weight = match[2] if match else FIRST.get(first[1], first[1]) if first else name
            place = layer if single or not match else match[1]
            yield f'{place.replace("/", "_")}/{weight}', group[layer][name]


def _by_class(group: Any, path: Path) -> Iterator[tuple[str, Any]]:
    """The weights of a file of Keras 3, which numbers layers by class, and keeps their names beside them."""
    for kind, content in group.items():
        if 'layers' in content:
            yield from _by_class(content['layers'], path)
        own = content.get('vars')
        if not own:
            continue
        if 'name' not in own.attrs:
            raise ValueError(f"{path} does not say what its layers are called, as Keras 3 did not at first. Write it anew "
                             "with a later one, or the whole model: model.save('model.h5').")
        names = CLASSES.get(re.sub(r'_\d+$', '', kind), ())
        if names[:1] == ('gamma',) and len(own) == 3:          # normalisation that does not scale
            names = names[1:]
        for number in sorted(own, key=int):
            weight = names[int(number)] if int(number) < len(names) else number
            yield f'{own.attrs["name"].replace("/", "_")}/{weight}', own[number]


def _attribute(group: Any, name: str) -> list[str] | None:
    """A list of texts beside a group; a long one is kept in parts, 'name0', 'name1' …"""
    parts = [name] if name in group.attrs else sorted((key for key in group.attrs if re.fullmatch(rf'{name}\d+', key)),
                                                      key=lambda key: int(key.removeprefix(name)))
    if not parts:
        return None
    texts = [text for part in parts for text in group.attrs[part]]
    return [text.decode() if isinstance(text, bytes) else str(text) for text in texts]
