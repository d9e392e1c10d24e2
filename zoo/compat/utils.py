"""timm.utils: what training scripts keep at hand, frozen normalisation, limits of gradients."""
from __future__ import annotations

import argparse
import ast
import copy
import os
import random
import re
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, distributed, nn
from torchvision.ops import FrozenBatchNorm2d

from ..layers.reparam import fuse_branches
from ..train.clip import adaptive_clip_grad, dispatch_clip_grad
from ..train.ema import ModelEma
from ..train.sync_bn import SyncBatchNormAct, convert_sync_batchnorm
from .norms import BatchNormAct2d, joined

__all__ = ['AverageMeter', 'ModelEmaV2', 'ParseKwargs', 'accuracy', 'adaptive_clip_grad', 'add_bool_arg',
           'convert_sync_batchnorm', 'dispatch_clip_grad', 'distribute_bn', 'freeze', 'freeze_batch_norm_2d',
           'get_outdir', 'get_state_dict', 'is_distributed_env', 'is_primary', 'natural_key', 'random_seed',
           'reduce_tensor', 'reparameterize_model', 'unfreeze', 'unfreeze_batch_norm_2d', 'unwrap_model',
           'world_info_from_env']

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
    frozen: Any = FrozenBatchNormAct2d(norm.num_features, norm.eps) if isinstance(norm, (BatchNormAct2d, SyncBatchNormAct)) else \
        FrozenBatchNorm2d(norm.num_features, norm.eps)
    for name in STATE:
        if (value := getattr(norm, name)) is not None:
            setattr(frozen, name, value.detach().clone())
    if isinstance(norm, (BatchNormAct2d, SyncBatchNormAct)):
        frozen.act = norm.act
    frozen.train(norm.training)
    module: nn.Module = frozen
    return module


@torch.no_grad()
def _thawed(frozen: nn.Module) -> nn.Module:
    weight = frozen.get_buffer('weight')
    eps: float = getattr(frozen, 'eps')
    norm = nn.BatchNorm2d(len(weight), eps, device=weight.device, dtype=weight.dtype)
    for name in STATE:
        getattr(norm, name).copy_(getattr(frozen, name))
    if isinstance(frozen, FrozenBatchNormAct2d):
        norm = joined(norm, frozen.act)
    return norm.train(frozen.training)


def freeze(root_module: nn.Module, submodules: str | Sequence[str] = (), include_bn_running_stats: bool = True) -> None:
    """Stops the training of a module's parameters, or of those of the `submodules` named, and with
    `include_bn_running_stats` replaces their batch normalisation as `freeze_batch_norm_2d` does.

    Raises:
        AttributeError: there is no such submodule.
    """
    _set_frozen(root_module, submodules, True, freeze_batch_norm_2d if include_bn_running_stats else None)


def unfreeze(root_module: nn.Module, submodules: str | Sequence[str] = (), include_bn_running_stats: bool = True) -> None:
    """Undoes `freeze`."""
    _set_frozen(root_module, submodules, False, unfreeze_batch_norm_2d if include_bn_running_stats else None)


def _set_frozen(root: nn.Module, paths: str | Sequence[str], frozen: bool,
                convert: Callable[[nn.Module], nn.Module] | None) -> None:
    names = [paths] if isinstance(paths, str) else list(paths) or [name for name, _ in root.named_children()]
    if convert and isinstance(root, (nn.BatchNorm2d, nn.SyncBatchNorm, FrozenBatchNorm2d)):
        raise TypeError('A normalisation itself cannot be replaced in place; freeze_batch_norm_2d returns what replaces it.')
    for name in names:
        parent, _, last = name.rpartition('.')
        if convert:
            setattr(root.get_submodule(parent), last, convert(root.get_submodule(name)))
        root.get_submodule(name).requires_grad_(not frozen)
    if not paths:
        root.requires_grad_(not frozen)


# --- training scripts

class AverageMeter:
    """A running mean: `val` is the last value, `sum` and `count` of all, `avg` their mean."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forgets all values."""
        self.val: float = 0
        self.avg: float = 0
        self.sum: float = 0
        self.count = 0

    def update(self, val: float, n: int = 1) -> None:
        """Takes a value that stands for `n`."""
        self.val = val
        self.sum += val * n
        self.count += n
        self.avg = self.sum / self.count


def accuracy(output: Tensor, target: Tensor, topk: Sequence[int] = (1,)) -> list[Tensor]:
    """The share, in percent, of images (B, C) whose class is among the k highest outputs, for each k; where there are
    fewer than k classes, among all."""
    ranks = output.topk(min(max(topk), output.shape[1])).indices == target.reshape(-1, 1)
    return [ranks[:, :k].any(1).float().mean() * 100 for k in topk]


class ModelEmaV2(ModelEma):
    """A moving average of a network, see `zoo.train.ModelEma`."""

    def __init__(self, model: nn.Module, decay: float = 0.9999, device: str | torch.device | None = None) -> None:
        super().__init__(model, decay, device=device)


class ParseKwargs(argparse.Action):
    """An argument of the form 'name=value name=value'; values are read as Python's literals, else kept as text."""

    def __call__(self, parser: argparse.ArgumentParser, namespace: argparse.Namespace, values: Any,
                 option_string: str | None = None) -> None:
        found = {}
        for word in values:
            name, _, text = word.partition('=')
            try:
                found[name] = ast.literal_eval(text)
            except (ValueError, SyntaxError):
                found[name] = text
        setattr(namespace, self.dest, found)


def add_bool_arg(parser: argparse.ArgumentParser, name: str, default: bool = False, help: str = '') -> None:
    """Adds `--name` and `--no-name`."""
    both, dest = parser.add_mutually_exclusive_group(required=False), name.replace('-', '_')
    both.add_argument(f'--{name}', dest=dest, action='store_true', help=help)
    both.add_argument(f'--no-{name}', dest=dest, action='store_false', help=help)
    parser.set_defaults(**{dest: default})


def natural_key(string_: str) -> list[int | str]:
    """A key for sorting under which digits count as numbers."""
    return [int(part) if part.isdigit() else part for part in re.split(r'(\d+)', string_.lower())]


def random_seed(seed: int = 42, rank: int = 0) -> None:
    """Seeds the generators of Python, NumPy and PyTorch, each process (`rank`) with another number."""
    import numpy
    torch.manual_seed(seed + rank)
    numpy.random.seed(seed + rank)
    random.seed(seed + rank)


def unwrap_model(model: Any) -> nn.Module:
    """The network inside an average or a wrapper such as `DistributedDataParallel`."""
    while True:
        inner = getattr(model, 'ema', None) or getattr(model, 'module', None)
        if not isinstance(inner, nn.Module):
            return model
        model = inner


def get_state_dict(model: Any, unwrap_fn: Callable[[Any], nn.Module] = unwrap_model) -> dict[str, Tensor]:
    """The state dict of the network inside."""
    return unwrap_fn(model).state_dict()


def get_outdir(path: str, *paths: str, inc: bool = False) -> str:
    """A folder, made if need be; with `inc`, one with a number behind its name where it is there already."""
    folder = Path(path, *paths)
    if inc and folder.exists():
        folder = next(numbered for count in range(1, 10000)
                      if not (numbered := folder.with_name(f'{folder.name}-{count}')).exists())
    folder.mkdir(parents=True, exist_ok=True)
    return str(folder)


# --- several processes

def world_info_from_env() -> tuple[int, int, int]:
    """(local rank, rank, number of processes) by the environment of torchrun, SLURM or MPI; (0, 0, 1) without."""
    def first(names: Iterable[str], default: int) -> int:
        return next((int(os.environ[name]) for name in names if name in os.environ), default)
    return (first(('LOCAL_RANK', 'MPI_LOCALRANKID', 'SLURM_LOCALID', 'OMPI_COMM_WORLD_LOCAL_RANK'), 0),
            first(('RANK', 'PMI_RANK', 'SLURM_PROCID', 'OMPI_COMM_WORLD_RANK'), 0),
            first(('WORLD_SIZE', 'PMI_SIZE', 'SLURM_NTASKS', 'OMPI_COMM_WORLD_SIZE'), 1))


def is_distributed_env() -> bool:
    """Whether the environment speaks of several processes."""
    return world_info_from_env()[2] > 1


def is_primary(args: Any, local: bool = False) -> bool:
    """Whether `args.rank` is that of the first process, with `local` of each machine (`args.local_rank`)."""
    rank: int = args.local_rank if local else args.rank
    return rank == 0


def reduce_tensor(tensor: Tensor, n: int) -> Tensor:
    """The sum of a tensor over all processes, divided by `n`."""
    total = tensor.clone()
    distributed.all_reduce(total)
    return total / n


def distribute_bn(model: nn.Module, world_size: int, reduce: bool = False) -> None:
    """Makes running statistics the same in all processes: their mean with `reduce`, else those of the first."""
    for name, buffer in unwrap_model(model).named_buffers():
        if name.endswith(('running_mean', 'running_var')):
            if reduce:
                distributed.all_reduce(buffer)
                buffer /= world_size
            else:
                distributed.broadcast(buffer, 0)


def reparameterize_model(model: nn.Module, inplace: bool = False) -> nn.Module:
    """The network, or a copy of it, with branches that are trained side by side folded, see `ImageModel.fuse`."""
    return fuse_branches(model if inplace else copy.deepcopy(model))
