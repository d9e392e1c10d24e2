"""Several processes that train one network: DDP and FSDP2 under torchrun; one process is the case of a group of one."""
from __future__ import annotations

import contextlib
import copy
import os
from collections.abc import Callable, Iterator
from typing import Any

import torch
import torch.distributed as dist
from torch import nn

from .checkpoint import load_model, whole


class Processes:
    """This process among those that torchrun has started; alone without it.

    Attributes:
        rank: its number; 0 writes files and prints. count: how many there are. device: where it computes.
    """

    def __init__(self, device: torch.device) -> None:
        self.device, self.rank, self.count = device, 0, int(os.environ.get('WORLD_SIZE', '1'))
        self._control: Any = None
        if self.count > 1:
            if device.type == 'cuda':
                self.device = torch.device('cuda', int(os.environ['LOCAL_RANK']))
                torch.cuda.set_device(self.device)
            self._opened = not dist.is_initialized()
            if self._opened:
                dist.init_process_group('nccl' if device.type == 'cuda' else 'gloo')
            self.rank = dist.get_rank()
            self._control = dist.new_group(backend='gloo')       # words on the CPU do not wait for the accelerator

    @property
    def first(self) -> bool:
        """Whether this is the one that writes."""
        return self.rank == 0

    def close(self) -> None:
        """Leaves the group that this joined."""
        if self.count > 1 and self._opened and dist.is_initialized():
            dist.destroy_process_group()

    def gathered(self, value: Any) -> list[Any]:
        """The value of every process, in each."""
        if self.count == 1:
            return [value]
        found: list[Any] = [None] * self.count
        dist.all_gather_object(found, value, group=self._control)
        return found

    def any(self, flag: bool) -> bool:
        """Whether it holds in any process."""
        if self.count == 1:
            return flag
        found = torch.tensor(int(flag))
        dist.all_reduce(found, dist.ReduceOp.MAX, group=self._control)
        return bool(found)

    def mean(self, value: float) -> float:
        """The mean over the processes, in double precision."""
        total: float = sum(self.gathered(value))
        return total / self.count

    def guarded(self, what: Callable[[], Any]) -> Any:
        """The result of `what()`, which only the first process calls; an error there is an error in all."""
        result, error = None, None
        if self.first:
            try:
                result = what()
            except (OSError, ValueError, FloatingPointError) as caught:
                error = caught
        if self.any(error is not None):
            raise error or RuntimeError('The first process has failed; see its message.')
        return result


def share_out(model: nn.Module, processes: Processes, how: str) -> nn.Module:
    """The network as it runs in one of several processes: 'ddp' keeps all of it in each, 'fsdp' spreads the parameters.

    With 'fsdp' the network itself is changed. `average_buffers` is for the statistics, which each process has its own of.
    """
    if processes.count == 1:
        return model
    if how == 'fsdp':
        from torch.distributed.fsdp import fully_shard
        model.to(memory_format=torch.contiguous_format)      # which it asks of parameters; images may lie as they like
        for part in sharded_parts(model):
            fully_shard(part)
        fully_shard(model)
        return model
    devices = [processes.device.index] if processes.device.type == 'cuda' else None
    return nn.parallel.DistributedDataParallel(model, devices, broadcast_buffers=False)


def sharded_parts(model: nn.Module) -> list[nn.Module]:
    """The modules whose parameters FSDP gathers at once: those of the network's stages."""
    inner: Any = model if hasattr(model, 'feature_info') else model.model       # a network within a student
    parts = [inner.get_submodule(name) for names in inner.stage_names() for name in names]
    return [part for part in parts if any(p.requires_grad for p in part.parameters())]


@contextlib.contextmanager
def without_exchange(network: nn.Module, last: bool) -> Iterator[None]:
    """Gradients stay in their process unless this is the `last` batch before a step."""
    if isinstance(network, nn.parallel.DistributedDataParallel) and not last:
        with network.no_sync():
            yield
        return
    exchange = getattr(network, 'set_requires_gradient_sync', None)             # of FSDP
    if exchange:
        exchange(last)
    yield


def average_buffers(model: nn.Module, processes: Processes) -> None:
    """Running statistics become the mean of all processes'."""
    if processes.count == 1:
        return
    for buffer in model.buffers():
        if buffer.is_floating_point():
            dist.all_reduce(buffer)
            buffer /= processes.count


def whole_model(model: nn.Module, plain: nn.Module) -> nn.Module:
    """A network to evaluate: the model itself, or `plain` with its parameters where they are spread over processes."""
    if not any(hasattr(p, 'full_tensor') for p in model.parameters()):
        return model
    load_model(plain, whole(model.state_dict()))
    return plain


def plain_copy(model: nn.Module, processes: Processes, how: str) -> nn.Module:
    """What `whole_model` fills; a copy is only made where parameters will be spread."""
    return copy.deepcopy(model) if processes.count > 1 and how == 'fsdp' else model

