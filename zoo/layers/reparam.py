"""Structural reparametrisation (RepVGG, arXiv:2101.03697, section 3.3): branches that are trained side by side are one
convolution afterwards."""
from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Kernel = tuple[Tensor, Tensor]                              # (out, in / groups, k, k) and its bias (out,), in float64


class Reparam(nn.Module, abc.ABC):
    """Base of layers whose branches can become one; `ImageModel.fuse`, export and optimizing go through all of a
    network's.

    Attributes:
        fused_names: parameters that the layer has when it is fused, and only then.
    """

    fused_names: tuple[str, ...] = ('reparam_conv.weight',)

    @property
    @abc.abstractmethod
    def is_fused(self) -> bool:
        """Whether the branches are one already."""

    @abc.abstractmethod
    def reparameterize(self) -> None:
        """Puts one layer in the place of the branches: the same outputs in evaluation. Nothing is done a second time.

        Raises:
            ValueError: a branch that cannot be folded.
        """


def fuse_branches(model: nn.Module, strict: bool = True) -> nn.Module:
    """Folds the branches of all of a network's layers that have some, in place; returns the network.

    Args:
        strict: False leaves those that cannot be folded as they are.

    Raises:
        ValueError: some cannot be folded.
    """
    for module in list(model.modules()):
        if isinstance(module, Reparam):
            try:
                module.reparameterize()
            except ValueError:
                if strict:
                    raise
    return model


def fuse_as(model: nn.Module, state: Mapping[str, Tensor]) -> None:
    """Fuses those layers of a network that a state dict has fused, so that it loads."""
    for path, module in list(model.named_modules()):
        if isinstance(module, Reparam) and any(f'{path}.{name}'.lstrip('.') in state for name in module.fused_names):
            module.reparameterize()


@torch.no_grad()
def folded(weight: Tensor, norm: nn.Module) -> Kernel:
    """The kernel and the bias of a convolution without bias and the batch normalisation after it, as one.

    Raises:
        ValueError: another normalisation, which depends on the image.
    """
    if not isinstance(norm, nn.BatchNorm2d) or norm.running_var is None or norm.running_mean is None:
        raise ValueError(f'Only batch normalisation of running statistics folds into a convolution, not '
                         f'{type(norm).__name__}.')
    gain = (norm.running_var.double() + norm.eps).rsqrt()
    if norm.weight is not None:
        gain = gain * norm.weight.double()
    bias = -norm.running_mean.double() * gain
    if norm.bias is not None:
        bias = bias + norm.bias.double()
    return weight.double() * gain[:, None, None, None], bias


def identity_kernel(channels: int, groups: int, size: int, like: Tensor) -> Tensor:
    """The kernel (channels, channels / groups, size, size) of a convolution that changes nothing."""
    inside = channels // groups
    kernel = torch.zeros(channels, inside, size, size, dtype=torch.float64, device=like.device)
    numbers = torch.arange(channels, device=like.device)
    kernel[numbers, numbers % inside, size // 2, size // 2] = 1
    return kernel


@torch.no_grad()
def summed(branches: Iterable[Kernel], conv: nn.Conv2d) -> nn.Conv2d:
    """A convolution with the stride, padding and groups of `conv`, and as kernel the sum of the branches', smaller ones
    filled up with zeros around them."""
    size, device = conv.kernel_size[0], conv.weight.device
    padding: Any = conv.padding
    made = nn.Conv2d(conv.in_channels, conv.out_channels, size, conv.stride[0], padding, conv.dilation[0], conv.groups,
                     device=device, dtype=conv.weight.dtype)
    if device.type == 'meta':
        return made
    kernels, biases = zip(*((F.pad(kernel, [(size - kernel.shape[-1]) // 2] * 4), bias) for kernel, bias in branches))
    made.weight.copy_(torch.stack(kernels).sum(0))
    assert made.bias is not None
    made.bias.copy_(torch.stack(biases).sum(0))
    return made
