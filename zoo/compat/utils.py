"""timm.utils: freezing batch normalisation and converting it; limits of gradients."""
from __future__ import annotations

import sys
from collections.abc import Callable

import torch
from torch import nn
from torchvision.ops import FrozenBatchNorm2d

from ..train.clip import adaptive_clip_grad, dispatch_clip_grad
from ..train.sync_bn import SyncBatchNormAct, convert_sync_batchnorm
from .efficientnet import BatchNormAct2d

__all__ = ['adaptive_clip_grad', 'convert_sync_batchnorm', 'dispatch_clip_grad', 'freeze_batch_norm_2d',
           'unfreeze_batch_norm_2d']

model = sys.modules[__name__]              # timm.utils.model, which programs also reach as an attribute
STATE = ('weight', 'bias', 'running_mean', 'running_var')


class FrozenBatchNormAct2d(FrozenBatchNorm2d):
    """Frozen batch normalisation and the activation after it, what a frozen `BatchNormAct2d` becomes."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.act(super().forward(x))


def freeze_batch_norm_2d(module: nn.Module) -> nn.Module:
    """Replaces each BatchNorm2d and SyncBatchNorm of a module by torchvision's FrozenBatchNorm2d, in place; returns
    the module, or where it is one itself, what replaces it."""
    return _replace(module, (nn.BatchNorm2d, nn.SyncBatchNorm), _frozen)


def unfreeze_batch_norm_2d(module: nn.Module) -> nn.Module:
    """Replaces each FrozenBatchNorm2d of a module by a BatchNorm2d, in place; returns it as `freeze_batch_norm_2d`."""
    return _replace(module, (FrozenBatchNorm2d,), _thawed)


def _replace(module: nn.Module, kinds: tuple[type[nn.Module], ...],
             make: Callable[[nn.Module], nn.Module]) -> nn.Module:
    if isinstance(module, kinds):
        return make(module)
    for name, child in module.named_children():
        setattr(module, name, _replace(child, kinds, make))
    return module


@torch.no_grad()
def _frozen(norm: nn.Module) -> nn.Module:
    frozen = FrozenBatchNormAct2d(norm.num_features, norm.eps) if isinstance(norm, (BatchNormAct2d, SyncBatchNormAct)) else \
        FrozenBatchNorm2d(norm.num_features, norm.eps)
    for name in STATE:
        if (value := getattr(norm, name)) is not None:
            setattr(frozen, name, value.detach().clone())
    if isinstance(norm, (BatchNormAct2d, SyncBatchNormAct)):
        frozen.act = norm.act
    return frozen.train(norm.training)


@torch.no_grad()
def _thawed(frozen: nn.Module) -> nn.Module:
    norm = nn.BatchNorm2d(len(frozen.weight), frozen.eps, device=frozen.weight.device, dtype=frozen.weight.dtype)
    for name in STATE:
        getattr(norm, name).copy_(getattr(frozen, name))
    if isinstance(frozen, FrozenBatchNormAct2d):
        norm = BatchNormAct2d(norm, frozen.act)
    return norm.train(frozen.training)
