"""Batch normalisation in channels_last on the CPU, as exact as it is in the other memory format.

PyTorch's kernel for channels_last adds up the values of a channel one after the other in float32, forwards and
backwards; that for contiguous maps adds in float64. Of 32 images of 112 x 112 pixels that leaves an error of 7e-5 in
the normalised map where the other has 5e-8, and it grows through the normalisations of a network to some per cent of
its gradients. Here the same kernel adds up each column of pixels by itself, whose sums are short, and float64 adds up
those.
"""
from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.autograd.function import once_differentiable
from torch.nn import functional as F
from torch.nn.modules.batchnorm import _BatchNorm

FEW = 2048                  # values of a channel that float32 adds up well enough


@contextmanager
def exact_batch_norm(model: nn.Module) -> Iterator[None]:
    """Within it, a step of training by `model` is exact: each BatchNorm2d whose float32 map lies in channels_last on
    the CPU and has more than `FEW` values of a channel. The modules stay what they are, and all else runs as it would.
    Backwards belongs into it, too, since checkpointed stages run forwards again there; it cannot be differentiated
    twice."""
    norms = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d) and type(m).forward is _BatchNorm.forward]
    for norm in norms:
        setattr(norm, 'forward', partial(_forward, norm))
    try:
        yield
    finally:
        for norm in norms:
            del norm.forward


def _forward(norm: nn.BatchNorm2d, x: Tensor) -> Tensor:
    if not norm.training or norm.weight is None or not _is_inexact(x):
        return _BatchNorm.forward(norm, x)
    momentum = norm.momentum
    if norm.running_mean is not None and norm.num_batches_tracked is not None:
        norm.num_batches_tracked.add_(1)
        if momentum is None:                                       # the mean of all batches
            momentum = 1 / norm.num_batches_tracked.item()
    return _Exact.apply(x, norm.running_mean, norm.running_var, norm.weight, norm.bias, momentum, norm.eps)


def _is_inexact(x: Tensor) -> bool:
    """Whether the kernel is the one that adds up in float32, and so much that it matters."""
    return (x.device.type == 'cpu' and x.dtype == torch.float32 and x.ndim == 4 and not x.is_contiguous() and
            x.is_contiguous(memory_format=torch.channels_last) and x.numel() > FEW * x.shape[1])


class _Exact(torch.autograd.Function):

    @staticmethod
    def forward(ctx: Any, x: Tensor, running_mean: Tensor | None, running_var: Tensor | None, weight: Tensor,
                bias: Tensor, momentum: float | None, eps: float) -> Tensor:
        """(B, C, H, W) -> (B, C, H, W); the running statistics move."""
        columns, count = x.shape[3], x.numel() // x.shape[1]
        means, variances = (each.double().view(columns, -1)
                            for each in torch.batch_norm_update_stats(_rows(x), None, None, 0.0))
        mean = means.mean(0)
        var = variances.mean(0) + (means - mean).square().mean(0)
        if running_mean is not None and running_var is not None and momentum is not None:
            running_mean.lerp_(mean.float(), momentum)
            running_var.lerp_((var * (count / (count - 1))).float(), momentum)
        ctx.save_for_backward(x, weight, mean, (var + eps).rsqrt())
        return F.batch_norm(x, mean.float(), var.float(), weight, bias, eps=eps)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor | None, ...]:
        """The gradients of the map, the weight and the bias."""
        x, weight, mean, inv_std = ctx.saved_tensors
        columns, count = x.shape[3], x.numel() // x.shape[1]
        x_rows, grad_rows = _rows(x), _rows(grad.contiguous(memory_format=torch.channels_last))
        sums = torch.ops.aten.native_batch_norm_backward(
            grad_rows, x_rows, None, None, None, mean.float().repeat(columns), inv_std.float().repeat(columns), True,
            0.0, [False, True, True])
        grad_weight, grad_bias = (each.double().view(columns, -1).sum(0) for each in sums[1:])
        # weight * inv_std * (grad - mean(grad) - normalised x * mean(grad * normalised x)), as factors of grad, x and 1
        of_grad = weight * inv_std
        of_x = -of_grad * inv_std * grad_weight / count
        rest = -of_grad * grad_bias / count - of_x * mean
        factors = (each.float().repeat(columns) for each in (rest, of_x, of_grad))
        result = torch.addcmul(next(factors), x_rows, next(factors)).addcmul_(grad_rows, next(factors))
        return (result.view(x.permute(0, 2, 3, 1).shape).permute(0, 3, 1, 2), None, None, grad_weight.float(),
                grad_bias.float(), None, None)


def _rows(x: Tensor) -> Tensor:
    """A map (B, C, H, W) in channels_last as its memory lies, a row of pixels after the other: (B * H, W * C)."""
    return x.permute(0, 2, 3, 1).flatten(2).flatten(0, 1)
