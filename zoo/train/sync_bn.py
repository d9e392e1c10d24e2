"""Batch normalisation with the statistics of all processes."""
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, distributed, nn
from torch.distributed.nn.functional import all_reduce
from torch.nn.modules.batchnorm import _BatchNorm

KEPT = ('weight', 'bias', 'running_mean', 'running_var', 'num_batches_tracked')


class SyncBatchNormAct(nn.SyncBatchNorm):
    """SyncBatchNorm and what came after the normalisation within the module it replaces: its submodules in order."""

    def forward(self, x: Tensor) -> Tensor:
        x = super().forward(x)
        for after in self.children():
            x = after(x)
        return x


class CpuSyncBatchNorm(_BatchNorm):
    """SyncBatchNorm for processes on CPUs, where torch's cannot be trained (and DistributedDataParallel refuses every
    subclass of it); then its submodules in order."""

    process_group: Any = None

    def forward(self, x: Tensor) -> Tensor:
        x = self._shared(x) if self.training and distributed.is_initialized() else super().forward(x)
        for after in self.children():
            x = after(x)
        return x

    def _shared(self, x: Tensor) -> Tensor:
        dims, shape = [0, *range(2, x.ndim)], [1, -1] + [1] * (x.ndim - 2)
        group = self.process_group or distributed.group.WORLD
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        sums = all_reduce(torch.cat([wide.sum(dims), wide.new_tensor([x.numel() / x.shape[1]])]), group=group)
        count = sums[-1].detach()
        mean = sums[:-1] / count
        var = all_reduce((wide - mean.view(shape)).square().sum(dims), group=group) / count
        if self.track_running_stats:
            self._track(mean.detach(), (var * count / (count - 1)).detach())
        out = (wide - mean.view(shape)) * torch.rsqrt(var + self.eps).view(shape)
        if self.affine:
            out = out * self.weight.view(shape) + self.bias.view(shape)
        return out.to(x.dtype)

    def _track(self, mean: Tensor, var: Tensor) -> None:
        count, running_mean, running_var = self.num_batches_tracked, self.running_mean, self.running_var
        if count is None or running_mean is None or running_var is None:
            return
        count.add_(1)
        weight = 1 / count.item() if self.momentum is None else self.momentum
        running_mean.lerp_(mean.to(running_mean.dtype), weight)
        running_var.lerp_(var.to(running_var.dtype), weight)

    def _check_input_dim(self, x: Tensor) -> None:
        if x.ndim < 2:
            raise ValueError(f'Batch normalisation takes (B, C, ...), not {tuple(x.shape)}.')


def convert_sync_batchnorm(module: nn.Module, process_group: Any = None, device_type: str | None = None) -> nn.Module:
    """Replaces each batch normalisation of a module by SyncBatchNorm, in place, with the same parameters, buffers and
    their names, so that what it computes in evaluation stays the same; returns the module, or what replaces it.

    torch's own converter leaves out what a subclass does besides: the activations of timm's EfficientNet. Here a
    subclass with submodules, which it runs after the normalisation, keeps them.

    Args:
        process_group: the processes that share statistics; None for all.
        device_type: 'cpu' makes `CpuSyncBatchNorm`, for processes on CPUs; otherwise they are torch's SyncBatchNorm.

    Raises:
        TypeError: a subclass with a `forward` of its own and no submodules: what it does would be lost.
    """
    if isinstance(module, (nn.SyncBatchNorm, CpuSyncBatchNorm)):
        return module
    if isinstance(module, _BatchNorm):
        return _converted(module, process_group, device_type)
    for name, child in module.named_children():
        converted = convert_sync_batchnorm(child, process_group, device_type)
        if converted is not child:
            setattr(module, name, converted)
    return module


def _converted(norm: _BatchNorm, process_group: Any, device_type: str | None) -> nn.Module:
    children = dict(norm.named_children())
    plain = type(norm).forward is _BatchNorm.forward
    if not plain and not children:
        raise TypeError(f'{type(norm).__name__} computes something of its own, which SyncBatchNorm does not.')
    cls = CpuSyncBatchNorm if device_type == 'cpu' else nn.SyncBatchNorm if plain else SyncBatchNormAct
    with torch.device('meta'):
        sync = cls(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
    sync.process_group = process_group
    for name in KEPT:
        place = sync._parameters if name in sync._parameters else sync._buffers
        place[name] = getattr(norm, name)
    for name, child in children.items():
        sync.add_module(name, child)
    return sync.train(norm.training)
