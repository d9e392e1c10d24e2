"""Exported files called as the network is that they were made of."""
from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor, nn

from .sessions import KEY, SESSIONS, Session, open_session


class Exported(nn.Module):
    """A file that `zoo.export_model` wrote: images (B, C, H, W), prepared as its data config says -> logits, an
    embedding or a list of maps, as the network gives them. It computes on the CPU, and has no parameters.

    A file with its own preprocessing takes photographs, uint8 (B, H, W, C) of any size. What such a file gives are
    probabilities; their logarithms come back, of which softmax (sigmoid, where an image has several classes) makes the
    probabilities again.

    Attributes:
        path: the file.
        description: all that it says of itself.
        labels, num_classes, task, in_chans, img_size: as of the network.
        pretrained_cfg: the record that preprocessing is resolved from.
        format, precision: of the file.
        takes_photographs: whether preprocessing is part of it.
        cost: params, gmacs and macts of the network, counted for one image.
    """

    grad_checkpointing = False

    def __init__(self, path: Path, session: Session, description: Mapping[str, Any]) -> None:
        super().__init__()
        self.path, self.session, self.description = path, session, dict(description)
        config = {key: tuple(value) if isinstance(value, list) else value
                  for key, value in description['data_config'].items()}
        self.labels = tuple(description['labels']) if description['labels'] else None
        self.num_classes, self.task = description['num_classes'], description['task']
        self.format, self.precision = description['format'], description['precision']
        self.in_chans, self.what = config['input_size'][0], description['what']
        self.dynamic = tuple(description['input']['dynamic'])
        self.takes_photographs, self.cost = description['input']['preprocess'], dict(description['cost'])
        fixed = not self.takes_photographs and not {'height', 'width'} <= {*self.dynamic}
        self.img_size = config['input_size'][1:] if fixed else None
        self.pretrained_cfg = {**{key: description[key] for key in ('architecture', 'tag', 'num_classes')},
                               'license': description['licence'], **config}
        self._statistics = [torch.tensor(config[name]).view(-1, 1, 1) for name in ('mean', 'std')]

    def forward(self, images: Tensor) -> Tensor | list[Tensor]:
        """What the network gives for as many images as there are, whatever number the file takes at once."""
        images, device = images.cpu(), images.device
        found = self._run(self._as_the_file_takes(images))
        if self.description['outputs'] == ['probabilities']:
            found = [_logits(one, self.task) for one in found]
        found = [one.to(device) for one in found]
        return found if self.what == 'features' else found[0]

    def set_input_size(self, img_size: tuple[int, int] | int) -> None:
        """Raises ValueError for another size than that of a file with one size."""
        size = (img_size, img_size) if isinstance(img_size, int) else tuple(img_size)
        if self.img_size is not None and size != self.img_size:
            raise ValueError(f'{self.path} takes images of {self.img_size[0]} x {self.img_size[1]} pixels alone; '
                             'export it with --dynamic height,width, or with another --img-size.')

    def classifier(self) -> Exported:
        """Itself.

        Raises:
            ValueError: it gives no classes.
        """
        if self.what != 'logits':
            raise ValueError(f'{self.path} gives {self.what}, not classes.')
        return self

    def about(self) -> dict[str, str]:
        """What a row of results says of the file."""
        return {'file': str(self.path), 'format': self.format, 'precision': self.precision}

    def example(self, batch_size: int, img_size: tuple[int, int]) -> Tensor:
        """Random images as `forward` takes them, (height, width) in pixels."""
        if self.takes_photographs:
            return torch.randint(0, 256, (batch_size, *img_size, self.in_chans), dtype=torch.uint8)
        return torch.randn(batch_size, self.in_chans, *img_size)

    def _as_the_file_takes(self, images: Tensor) -> Tensor:
        about = self.description['input']
        if self.takes_photographs:
            return images if about['type'] == 'uint8' else images / 255
        if about['type'] == 'uint8':
            mean, std = self._statistics
            images = ((images.float() * std + mean) * 255).round().clamp(0, 255).to(torch.uint8)
        return images.permute(0, 2, 3, 1) if about['layout'] == 'NHWC' else images.float()

    def _run(self, images: Tensor) -> list[Tensor]:
        if 'batch' in self.dynamic:
            return self.session(images)
        count, pieces = self.description['input']['batch_size'], []
        for piece in images.split(count):
            whole = torch.cat([piece, piece[-1:].expand(count - len(piece), *piece.shape[1:])])
            pieces.append([one[:len(piece)] for one in self.session(whole)])
        return [torch.cat(parts) for parts in zip(*pieces)]

    def __deepcopy__(self, memo: dict[int, Any]) -> Exported:
        return self                                     # nothing of it is ever changed

    def extra_repr(self) -> str:
        return f'{str(self.path)!r}, {self.format}, {self.precision}'


def load_exported(path: str | Path, threads: int | None = None) -> Exported:
    """A file that `zoo.export_model` wrote, in its own runtime.

    Args:
        path: of an .onnx, .xml, .pt2, .tflite or .pte file, or an .mlpackage.
        threads: of the processor; by default as many as PyTorch uses.

    Raises:
        FileNotFoundError: no such file. ImportError: its runtime is not installed.
        ValueError: another suffix, a file that cannot be read, or that zoo did not write.
    """
    path = Path(path).expanduser()
    session = open_session(path, threads)
    text = session.metadata.get(KEY)
    if text is None:
        raise ValueError(f'{path} does not say what network it holds: zoo export did not write it.')
    description = json.loads(text)
    if description['task'] in ('detect', 'segment'):
        raise ValueError(f'{path} is a file to {description["task"]}; it is called as its runtime has it.')
    return Exported(path, session, description).eval()


def is_exported(name: str) -> bool:
    """Whether a model's name is that of a file to load so."""
    return Path(name).suffix in SESSIONS


def levels_of(image: Image.Image) -> Tensor:
    """A photograph as a file with its own preprocessing takes it: (H, W, C) in uint8."""
    levels = torch.from_numpy(np.array(image))
    return levels[..., None] if levels.ndim == 2 else levels


def _logits(probabilities: Tensor, task: str) -> Tensor:
    safe = probabilities.float().clamp_min(torch.finfo(torch.float32).tiny)
    return safe.logit(1e-7) if task == 'multi' else safe.log()
