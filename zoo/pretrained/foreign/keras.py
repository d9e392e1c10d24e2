"""What a layout of Keras is: names 'layer/weight' of tensors, in files that `zoo.pretrained.foreign.hdf5` reads. They are
read, not written.

Kernels there have their inputs before their outputs. What Keras computes otherwise goes, where that is exact, into the
tensors: biases before normalisation into its mean, an eps of 1.001e-5 into its variance, and the order of colours into
the first convolution. Everything else is an option of the network, which `describe` names.
"""
from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Callable, Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from .layout import Described, Layout, Settings, State

Weights = Mapping[str, Tensor]                                # of one layer: 'kernel', 'gamma' … -> tensor
Names = dict[str, str]                                        # layer -> our module
Rule = tuple[str, str | Callable[[re.Match[str]], str]]       # a layer's name -> our module, or what makes that

AUTOMATIC = {'conv': r'(?:conv2d|convolution2d)(?:_(\d+))?',
             'norm': r'(?:batch_normalization|batchnormalization)(?:_(\d+))?'}
LEAVES = {'kernel', 'bias', 'gamma', 'beta', 'moving_mean', 'moving_variance', 'depthwise_kernel', 'pointwise_kernel',
          'mean', 'variance', 'count'}


class KerasLayout(Layout):
    """Names of a network of keras.applications.

    Attributes:
        covers: the networks, in words.
        marks: layers that it has.
        rules: a layer's name -> our module's, '' for a layer that ours have no need of; the first that fits counts.
        head: our classifier. size: pixels a side that Keras' weights are for.
        norms: pattern of our convolutions -> the normalisation that follows, whose mean takes their biases.
        extra_eps: what is added to variances. bgr: colours are blue, green, red.
        arguments: of our network, beside its name. implied: those that the architecture by name has.
        images: how they are normalised. separable: our parts of a separable convolution.
    """

    covers: str
    marks: tuple[str, ...]
    rules: tuple[Rule, ...] = ()
    head: str
    size: int
    norms: tuple[tuple[str, str], ...] = ()
    extra_eps: float = 0.0
    bgr: str = ''
    arguments: Settings = {}
    implied: Settings = {}
    images: Settings
    separable: tuple[str, str] = ('conv1', 'pointwise')

    def recognises(self, keys: Collection[str]) -> bool:
        """Whether these are 'layer/weight', and all `marks` among the layers."""
        return all(map(_is_weight, keys)) and {key.partition('/')[0] for key in keys}.issuperset(self.marks)

    @abstractmethod
    def named(self, layers: Mapping[str, Weights]) -> str | None:
        """The architecture that layers are of."""

    def modules(self, layers: Mapping[str, Weights]) -> Names:
        """Our module of each layer that there is one for, but for the classifier."""
        found = {}
        for layer in layers:
            for pattern, name in self.rules:
                if match := re.fullmatch(pattern, layer):
                    found[layer] = match.expand(name) if isinstance(name, str) else name(match)
                    break
        return found

    def to_ours(self, state: State, model: nn.Module | None = None) -> dict[str, Tensor]:
        """See `Layout.to_ours`."""
        layers = layers_of(state)
        names = self.modules(layers)
        head = _classifier(layers, names)
        ours: dict[str, Tensor] = {}
        for layer, weights in layers.items():
            module = self.head if layer == head else names.get(layer)
            if module is None:
                ours |= {f'{layer}/{weight}': value for weight, value in weights.items()}
            elif module:
                ours |= {f'{module}.{key}': value for key, value in self.tensors(module, weights).items()}
        for key in [key for key in ours if key.endswith('.bias')]:
            module = key.removesuffix('.bias')
            after = [re.sub(pattern, norm, module) for pattern, norm in self.norms if re.fullmatch(pattern, module)]
            if after and (mean := f'{after[0]}.running_mean') in ours:
                ours[mean] = ours[mean] - ours.pop(key)
        if self.bgr in ours and ours[self.bgr].shape[1] == 3:
            ours[self.bgr] = ours[self.bgr].flip(1)
        return ours

    def tensors(self, module: str, weights: Weights) -> dict[str, Tensor]:
        """The parameters of our module that a layer's weights are."""
        found = {'bias': weights[name] for name in ('bias', 'beta') if name in weights}
        if 'moving_mean' in weights:
            found['weight'] = weights.get('gamma', torch.ones_like(weights['moving_mean']))
            found |= {'running_mean': weights['moving_mean'], 'running_var': weights['moving_variance'] + self.extra_eps}
        if 'depthwise_kernel' in weights:
            start = f'{self.separable[0]}.' if 'pointwise_kernel' in weights else ''
            found[f'{start}weight'] = depthwise(weights['depthwise_kernel'])
        if 'pointwise_kernel' in weights:
            found[f'{self.separable[1]}.weight'] = _kernel(weights['pointwise_kernel'])
        if 'kernel' in weights:
            found['weight'] = _kernel(weights['kernel'])
        return found

    def to_theirs(self, state: State) -> dict[str, Tensor]:
        """Refused, see the module.

        Raises:
            ValueError: always.
        """
        raise ValueError("Keras' layouts are read, not written.")

    def describe(self, state: State) -> Described:
        """See `Layout.describe`."""
        layers = layers_of(state)
        headless = {} if _classifier(layers, self.modules(layers)) else {'num_classes': 0}
        return self.named(layers), {**self.arguments, **headless}

    def identify(self, state: State) -> Described:
        """Nothing: there is no way to Keras."""
        return None, {}

    def differences(self, state: State, settings: Settings, model: str) -> list[str]:
        """See `Layout.differences`."""
        return self.differing({**self.implied, **self.describe(state)[1]}, settings, model)

    def data(self, state: State) -> dict[str, Any]:
        """See `Layout.data`."""
        side = (3, self.size, self.size)
        return {'input_size': side, 'test_input_size': None, 'crop_pct': 0.875, 'test_crop_pct': None, **self.images}


def layers_of(state: State) -> dict[str, dict[str, Tensor]]:
    """Layer -> weight -> tensor."""
    found: dict[str, dict[str, Tensor]] = {}
    for key, value in state.items():
        layer, _, weight = key.partition('/')
        found.setdefault(layer, {})[weight] = value
    return found


def _is_weight(key: str) -> bool:
    layer, slash, weight = key.partition('/')
    return bool(layer and slash) and (weight in LEAVES or weight.isdigit())


def _classifier(layers: Mapping[str, Weights], names: Names) -> str:
    """The one fully connected layer that is no other module, whatever it is called; '' where there is none or several."""
    dense = [layer for layer, weights in layers.items() if layer not in names and 'kernel' in weights
             and weights['kernel'].ndim == 2]
    return dense[0] if len(dense) == 1 else ''


def _kernel(value: Tensor) -> Tensor:
    """(…, inputs, outputs) -> (outputs, inputs, …)."""
    return (value.permute(3, 2, 0, 1) if value.ndim == 4 else value.t()).contiguous()


def depthwise(value: Tensor) -> Tensor:
    """(height, width, channels, 1) -> (channels, 1, height, width)."""
    return value.permute(2, 3, 0, 1).contiguous()


def automatic(layers: Mapping[str, Weights], kind: str, ours: Collection[str]) -> Names:
    """The layers that Keras called by itself, in the order in which they were made -> our modules in that order."""
    found = {layer: int(match[1] or 0) for layer in layers if (match := re.fullmatch(AUTOMATIC[kind], layer))}
    return dict(zip(sorted(found, key=lambda layer: found[layer]), ours))


def depths(layers: Mapping[str, Weights], pattern: str) -> tuple[int, ...]:
    """Blocks of each stage, of layers whose names have the numbers of both."""
    found = {(int(match[1]), int(match[2])) for layer in layers if (match := re.match(pattern, layer))}
    return tuple(sum(stage == number for stage, _ in found) for number in sorted({stage for stage, _ in found}))


def width(layers: Mapping[str, Weights], layer: str) -> int:
    """Channels that a layer gives."""
    return layers[layer]['kernel'].shape[-1] if layer in layers else 0
