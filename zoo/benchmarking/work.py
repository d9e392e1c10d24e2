"""The work that is timed, as functions without arguments."""
from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import torch
from torch import nn
from torch.nn import functional as F

from .networks import Setup, build, create


def inference(setup: Setup, model: nn.Module | None = None) -> Callable[[], torch.Tensor]:
    """One batch of images through the network in evaluation mode; gives the logits."""
    model = (model or build(setup)).eval()
    images = setup.images(model)

    def run() -> torch.Tensor:
        with torch.inference_mode(), _mixed(setup):
            return model(images)

    return run


def training(setup: Setup, model: nn.Module | None = None) -> Callable[[], torch.Tensor]:
    """One step of training on one batch: forward, cross-entropy, backward, SGD with momentum; gives the loss."""
    model = (model or build(setup)).train()
    images = setup.images(model)
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-4, momentum=0.9)
    scaler = torch.amp.GradScaler(torch.device(setup.device).type, enabled=setup.precision == 'fp16')
    targets = torch.arange(setup.batch_size, device=setup.device)

    def run() -> torch.Tensor:
        with _mixed(setup):
            logits = model(images)
            logits = logits[0] if isinstance(logits, tuple) else logits        # distilled ones train two heads
            loss = F.cross_entropy(logits, targets % logits.shape[1])
        optimizer.zero_grad()
        scaler.scale(loss).backward()
        scaler.step(optimizer)
        scaler.update()
        return loss.detach()

    return run


def loading(setup: Setup, folder: Path) -> Callable[[], nn.Module]:
    """The network with the weights of a file in `folder`, which this writes with random ones, on the device."""
    state = create(setup.library, setup.name, setup.img_size).state_dict()
    if setup.library == 'torchvision':
        path = folder / 'torchvision.pth'
        torch.save(state, path)
    else:
        from safetensors.torch import save_file
        path = folder / f'{setup.library}.safetensors'
        save_file(state, path)

    def run() -> nn.Module:
        return create(setup.library, setup.name, setup.img_size, str(path)).to(setup.device)

    return run


def _mixed(setup: Setup) -> torch.autocast:
    mixed = setup.precision != 'fp32'
    return torch.autocast(torch.device(setup.device).type, setup.dtype if mixed else None, enabled=mixed)
