"""What a decoder changes, measured: the outputs for the same images by it and by Pillow."""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor
from torch import nn

from ..spec import unknown
from .loading import load_batches
from .network import prepare
from .preprocess import Normalize, Preprocess
from .runner import Forward

COMPARED = ('fast', 'scaled')


def decoder_effect(model: nn.Module, source: Any, config: Mapping[str, Any], images: int = 100, batch_size: int = 50,
                   workers: int = 0, device: torch.device | str = 'cpu', decoder: str = 'fast',
                   exif: bool = False) -> dict[str, float]:
    """How the outputs of a network for classes differ between the fast or the scaled path and Pillow's, over images
    spread evenly over a source.

    Returns:
        images: how many were compared; those that cannot be read are left out. level: the mean difference of a level,
        of 255. logit_mean, logit_max: of a logit. logit_relative: the norm of the differences over the norm of
        Pillow's. changed: how many images got another first class. top1_DECODER, top1_pillow: how many were right.

    Raises:
        ValueError: settings without that path; another decoder; a stream, or a task without classes.
        ImportError: without simplejpeg.
    """
    if decoder not in COMPARED:
        raise ValueError(unknown('decoder', decoder, COMPARED))
    if source.task != 'single' or not hasattr(source, 'encoded'):
        raise ValueError('The effect of the decoder is measured on images by number with one class each.')
    network, chosen = prepare(model, device, image_size=config['input_size']), _Some(source, images)
    forward = Forward(network, Normalize(config['mean'], config['std'], channels_last=True), torch.device(device),
                      batch_size)
    logits: dict[str, list[Tensor]] = {decoder: [], 'pillow': []}
    truth: list[int] = []
    level = 0.0
    loaders = [load_batches(chosen, Preprocess(config, name, exif), batch_size, workers) for name in logits]
    for own, pillow in zip(*loaders):
        if own.levels is not None:                      # what another path cannot read, it leaves to Pillow's
            truth += own.targets
            level += (own.levels.float() - pillow.levels.float()).abs().mean().item() * len(own.names)
            logits[decoder].append(forward(own.levels).cpu())
            logits['pillow'].append(forward(pillow.levels).cpu())
    if not truth:
        raise ValueError('None of the images can be read.')
    own, pillow = torch.cat(logits[decoder]), torch.cat(logits['pillow'])
    first = {name: found.argmax(1) for name, found in ((decoder, own), ('pillow', pillow))}
    right = {name: (found == torch.tensor(truth)).sum().item() for name, found in first.items()}
    gap = (own - pillow).abs()
    return {'images': len(truth), 'level': level / len(truth),
            'logit_mean': gap.mean().item(), 'logit_max': gap.max().item(),
            'logit_relative': ((own - pillow).norm() / pillow.norm()).item(),
            'changed': (first[decoder] != first['pillow']).sum().item(),
            f'top1_{decoder}': right[decoder], 'top1_pillow': right['pillow']}


class _Some:
    """So many images of a source, spread evenly."""

    def __init__(self, source: Any, count: int) -> None:
        self.source = source
        step = max(len(source) / count, 1)
        self.numbers = [int(step * i) for i in range(min(count, len(source)))]

    def __len__(self) -> int:
        return len(self.numbers)

    def name(self, index: int) -> str:
        """The name of an image."""
        return self.source.name(self.numbers[index])

    def encoded(self, index: int) -> bytes:
        """Its file."""
        return self.source.encoded(self.numbers[index])

    def target(self, index: int) -> Any:
        """Its class."""
        return self.source.target(self.numbers[index])
