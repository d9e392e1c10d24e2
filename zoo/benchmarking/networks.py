"""The same network from zoo and from other libraries."""
from __future__ import annotations

import importlib
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from .. import registry
from ..factory import create_model
from ..runtime import Exported, is_exported, load_exported
from ..spec import unknown

PEERS = ('timm', 'torchvision')
LIBRARIES = ('zoo', *PEERS)
PRECISIONS = {'fp32': torch.float32, 'bf16': torch.bfloat16, 'fp16': torch.float16}
IN_TORCHVISION = {
    **{f'efficientnet_b{n}': f'efficientnet_b{n}' for n in range(8)},
    **{f'tf_efficientnet_b{n}': f'efficientnet_b{n}' for n in range(8)},
    **{f'tf_efficientnetv2_{size}': f'efficientnet_v2_{size}' for size in 'sml'},
    'mobilenetv2_100': 'mobilenet_v2', 'mobilenetv3_large_100': 'mobilenet_v3_large',
    'tf_mobilenetv3_large_100': 'mobilenet_v3_large', 'mobilenetv3_small_100': 'mobilenet_v3_small',
    'tf_mobilenetv3_small_100': 'mobilenet_v3_small', 'mnasnet_100': 'mnasnet1_0', 'mnasnet_050': 'mnasnet0_5',
    'mnasnet_075': 'mnasnet0_75',
}


@dataclass(frozen=True)
class Setup:
    """What is measured: a network of a library, and how it runs. `img_size` is the side of square images in pixels."""

    library: str
    name: str
    img_size: int
    batch_size: int
    device: str = 'cpu'
    precision: str = 'fp32'
    channels_last: bool = False
    compiled: bool = False

    @property
    def dtype(self) -> torch.dtype:
        """What automatic mixed precision computes in; float32 for none."""
        return PRECISIONS[self.precision]

    def images(self, model: nn.Module | None = None) -> torch.Tensor:
        """A batch of random images (batch_size, 3, img_size, img_size) on the device; those of an exported file are as
        it takes them."""
        if isinstance(model, Exported):
            return model.example(self.batch_size, (self.img_size, self.img_size))
        images = torch.randn(self.batch_size, 3, self.img_size, self.img_size, device=self.device)
        return images.contiguous(memory_format=self.memory_format)

    @property
    def memory_format(self) -> torch.memory_format:
        """The layout of images and weights."""
        return torch.channels_last if self.channels_last else torch.contiguous_format


def create(library: str, name: str, img_size: int | None = None, checkpoint: str | None = None) -> nn.Module:
    """The network from its library, with random weights or those of a file that the library's own names fit; of a name
    that is a file's, that file.

    Raises:
        ValueError: the library does not have it.
        ImportError: the library is not installed.
    """
    if is_exported(name):
        return load_exported(name)
    cfg = registry.get_pretrained_cfg(name)
    sized: dict[str, Any] = {'img_size': img_size} if cfg and cfg.fixed_input_size and img_size not in (None, cfg.input_size[1]) else {}
    if library == 'zoo':
        return create_model(name, checkpoint_path=checkpoint, **sized)
    module = importlib.import_module(library)
    if library == 'timm':
        if not module.is_model(name):
            raise ValueError(f'timm has no model {name!r}.')
        return module.create_model(name, checkpoint_path=checkpoint or '', **sized)
    architecture = registry.get_arch_name(name)
    if architecture not in IN_TORCHVISION:
        raise ValueError('The same network in torchvision: ' + unknown('model', architecture, IN_TORCHVISION))
    model = importlib.import_module('torchvision.models').get_model(IN_TORCHVISION[architecture])
    if checkpoint:
        model.load_state_dict(torch.load(checkpoint, weights_only=True))
    return model


def same_network(name: str, library: str) -> None:
    """Checks that a library's network of that name is the one that zoo builds, by their numbers of parameters.

    Raises:
        ValueError: they differ, or the library does not have it.
    """
    with torch.device('meta'):
        counts = [sum(p.numel() for p in create(which, name).parameters()) for which in ('zoo', library)]
    if counts[0] != counts[1]:
        raise ValueError(f'{name} has {counts[0]} parameters in zoo and {counts[1]} in {library}: another network.')


def build(setup: Setup) -> nn.Module:
    """The network on its device, in its memory format, in evaluation mode, compiled where asked."""
    model = create(setup.library, setup.name, setup.img_size).eval()
    model = model.to(setup.device).to(memory_format=setup.memory_format)
    fast: Any = torch.compile(model) if setup.compiled else model
    return fast
