"""A network in the backend that was chosen for it, called as the network is."""
from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .. import __version__
from .backends import Backend, get_backend

PLAN = 'plan.json'
# of the network: what its outputs mean and how its images are prepared
RECORD = ('num_classes', 'num_features', 'in_chans', 'task', 'labels', 'pretrained_cfg', 'img_size')


class Optimized(nn.Module):
    """A network in a backend: images (B, C, H, W) -> what the network gives, in float32, without gradients.

    `zoo.data.resolve_model_data_config`, `labels`, `num_classes` and the like are the network's.

    Args:
        backend: what runs.
        precision: that it computes in.
        device: where images have to be.
        record: the network's attributes of `RECORD`, as far as it has them.
        report: what was tried, see `zoo.optimizing.Report`.
    """

    sized_for_a_batch = True                        # a batch of another size makes the backend begin anew

    def __init__(self, backend: Backend, precision: str, device: torch.device, record: Mapping[str, Any],
                 report: Any) -> None:
        super().__init__()
        self.backend, self.precision, self.device, self.report = backend, precision, device, report
        self.record = dict(record)
        for name, value in self.record.items():
            setattr(self, name, value)
        self.eval()

    def extra_repr(self) -> str:
        return ', '.join(filter(None, (self.backend.name, self.backend.variant, self.precision, str(self.device))))

    @torch.inference_mode()
    def forward(self, images: Tensor) -> Any:
        if images.device != self.device:
            raise ValueError(f'This network was optimized for {self.device}; the images are on {images.device}.')
        return self.backend(images)

    def train(self, mode: bool = True) -> Optimized:
        """Raises ValueError for True: the weights are frozen."""
        if mode:
            raise ValueError('An optimized network cannot be trained: its weights are frozen. Train the network, then '
                             'call zoo.optimize.')
        return super().train(False)

    @torch.inference_mode()
    def forward_features(self, images: Tensor) -> Tensor:
        """The features before pooling, by PyTorch's operators.

        Raises:
            RuntimeError: the backend has the network as a whole.
        """
        network = self._network('forward_features')
        return network.forward_features(images.to(self.backend.dtype)).float()

    @torch.inference_mode()
    def forward_head(self, features: Tensor, pre_logits: bool = False) -> Tensor:
        """Features -> outputs, see `forward_features`."""
        network = self._network('forward_head')
        return network.forward_head(features.to(self.backend.dtype), pre_logits=pre_logits).float()

    def _network(self, method: str) -> Any:
        if self.backend.network is None:
            raise RuntimeError(f'{self.backend.name} runs the network as a whole and has no {method}; '
                               "backend='eager' has.")
        return self.backend.network

    def save(self, folder: str | Path) -> Path:
        """Writes the outcome into a new folder, for `zoo.load_optimized`; returns the folder.

        Raises:
            FileExistsError: the folder has files already.
        """
        folder = Path(folder)
        if folder.is_dir() and any(folder.iterdir()):
            raise FileExistsError(f'The folder {str(folder)!r} is not empty.')
        folder.mkdir(parents=True, exist_ok=True)
        self.backend.save(folder)
        record = {name: dict(value) if isinstance(value, Mapping) else value for name, value in self.record.items()}
        plan = {'zoo': __version__, 'backend': self.backend.name, 'variant': self.backend.variant,
                'precision': self.precision, 'device': str(self.device), 'record': record,
                'report': self.report.to_dict()}
        (folder / PLAN).write_text(json.dumps(plan, indent=1, default=str), encoding='utf-8')     # last: with it the folder is whole
        return folder


def load_optimized(folder: str | Path) -> Optimized:
    """What `Optimized.save` wrote, without timing anything anew. The compiler's code is made when images come first.

    Raises:
        FileNotFoundError: the folder holds no optimized network.
        ImportError: what runs it is not installed.
    """
    from .choice import Report
    path = Path(folder, PLAN)
    if not path.is_file():
        raise FileNotFoundError(f'{str(folder)!r} holds no optimized network: there is no {PLAN} in it.')
    plan = json.loads(path.read_text(encoding='utf-8'))
    backend = get_backend(plan['backend']).restore(Path(folder), plan['precision'], plan['variant'])
    record = _with_tuples(plan['record'])
    if isinstance(record.get('pretrained_cfg'), dict):
        record['pretrained_cfg'] = _with_tuples(record['pretrained_cfg'])
    return Optimized(backend, plan['precision'], torch.device(plan['device']), record, Report.from_dict(plan['report']))


def _with_tuples(read: Mapping[str, Any]) -> dict[str, Any]:
    """JSON knows lists only."""
    return {name: tuple(value) if isinstance(value, list) else value for name, value in read.items()}


def record_of(model: nn.Module) -> dict[str, Any]:
    """What of a network its optimized form keeps."""
    return {name: getattr(model, name) for name in RECORD if hasattr(model, name)}
