"""One step of the weights: forward and backward over its batches, the limit of gradients, the optimizer, the average."""
from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from .clip import clip_gradients
from .exact_norm import exact_batch_norm
from .inputs import Inputs
from .loader import Batch
from .parallel import without_exchange
from .recipe import Recipe


class LossNotFinite(RuntimeError):
    """The loss became NaN or infinite; the weights are those before the step."""


class Step:
    """One optimisation step, on the gradients of one or several batches.

    Args:
        network: what runs: the model, or what wraps it. model: the model, whose parameters are updated.
        objective: (network, images, targets) -> loss ().
        ema: the average that follows the model, or None.
        weight: what the gradients of a batch are multiplied by.
    """

    def __init__(self, recipe: Recipe, network: nn.Module, model: nn.Module, optimizer: torch.optim.Optimizer,
                 objective: Callable[[nn.Module, Tensor, Tensor], Tensor], inputs: Callable[[Batch, int], Any], ema: Any,
                 device: torch.device, weight: Callable[[Batch], float]) -> None:
        self.network, self.model, self.optimizer, self.objective = network, model, optimizer, objective
        self.inputs, self.ema, self.device, self.weight = inputs, ema, device, weight
        self.limit, self.limit_mode = recipe.optimizer.clip_grad, recipe.optimizer.clip_mode
        self.second_order = getattr(optimizer, 'is_second_order', False)
        self.dtype = getattr(torch, recipe.run.amp_dtype) if recipe.run.amp else None
        self.scaler = torch.amp.GradScaler(device.type, enabled=self.dtype is torch.float16)
        self.exact_norm = (device.type == 'cpu' and recipe.model.channels_last and not recipe.model.torchcompile and
                           not self.second_order)

    def __call__(self, batches: Sequence[Batch], epoch: int, update: int, last_good: Path | None) -> float:
        """Updates the weights; returns the mean loss of the batches.

        Raises:
            LossNotFinite: with the step, the images and the last checkpoint; no weight has changed.
        """
        losses = []
        for number, batch in enumerate(batches):
            images, targets = self.inputs(batch, epoch)
            with without_exchange(self.network, last=number == len(batches) - 1), self._norms():
                with self._mixed():
                    loss = self.objective(self.network, images, targets)
                value = _Later(loss.detach())
                self.scaler.scale(loss / len(batches) * self.weight(batch)).backward(create_graph=self.second_order)
            losses.append(value())                  # known as soon as the forward pass is done
            if not math.isfinite(losses[-1]):
                self.optimizer.zero_grad()
                raise LossNotFinite(
                    f'The loss is {losses[-1]} in step {update + 1}, epoch {epoch}; the weights have not moved. Images '
                    f'of the batch: {", ".join(batch.names)}. The last good checkpoint is {last_good or "none yet"}.')
        if self.limit is not None:
            self.scaler.unscale_(self.optimizer)
            clip_gradients(self.model, self.limit, self.limit_mode)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.optimizer.zero_grad()
        if self.ema:
            self.ema.update(self.model)
        return sum(losses) / len(losses)

    def _mixed(self) -> contextlib.AbstractContextManager[Any]:
        return torch.autocast(self.device.type, self.dtype) if self.dtype else contextlib.nullcontext()

    def _norms(self) -> contextlib.AbstractContextManager[Any]:
        return exact_batch_norm(self.model) if self.exact_norm else contextlib.nullcontext()


class _Later:
    """A number on its way from an accelerator: asking for it waits for what came before it, not for what came after."""

    def __init__(self, value: Tensor) -> None:
        self._value, self._there = value.float(), None
        if value.is_cuda:
            self._value = self._value.to('cpu', non_blocking=True)      # into pinned memory
            self._there = torch.cuda.Event()
            self._there.record()

    def __call__(self) -> float:
        if self._there:
            self._there.synchronize()
        return self._value.item()
