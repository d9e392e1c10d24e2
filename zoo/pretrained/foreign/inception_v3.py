"""torchvision's Inception-v3 (arXiv:1512.00567), whose names are ours, and its GoogLeNet (arXiv:1409.4842), which has no
counterpart here."""
from __future__ import annotations

from typing import NoReturn

from torch import Tensor, nn

from .layout import Described, SameNames, State, count_elements, headless

AUXILIARY = 'AuxLogits.'                                # a second classifier half-way, for training
OUTSIDE = ('Conv2d_1a_3x3.conv', 'fc')


class Torchvision(SameNames):
    """torchvision's. Its auxiliary classifier is left out, and what is written is for `aux_logits=False`."""

    name = 'torchvision Inception-v3'
    networks = {21_819_136: 'inception_v3'}             # elements of all tensors but the first convolution and classifiers
    marks = ('Conv2d_1a_3x3.conv.weight', 'Mixed_5b.branch1x1.conv.weight', 'Mixed_7c.branch3x3_2a.conv.weight')

    def to_ours(self, state: State, model: nn.Module | None = None) -> dict[str, Tensor]:
        """See `Layout.to_ours`."""
        return {key: value for key, value in state.items() if not key.startswith(AUXILIARY)}

    def identify(self, state: State) -> Described:
        """See `Layout.identify`."""
        return self.networks.get(count_elements(self.to_ours(state), OUTSIDE)), headless(state, 'fc')


class GoogLeNet(SameNames):
    """torchvision's, which can be recognised, and no more."""

    name, marks = 'torchvision GoogLeNet', ('inception3a.branch2.0.conv.weight', 'inception5b.branch4.1.conv.weight')

    def to_ours(self, state: State, model: nn.Module | None = None) -> NoReturn:
        """There is no such network.

        Raises:
            ValueError: always.
        """
        raise ValueError('The checkpoint is of GoogLeNet, in the layout of torchvision. zoo, as timm, has no such network; '
                         "the nearest is 'inception_v3', which these weights are not for.")

    def identify(self, state: State) -> Described:
        """See `Layout.identify`."""
        return None, {}


LAYOUTS = (Torchvision(), GoogLeNet())
