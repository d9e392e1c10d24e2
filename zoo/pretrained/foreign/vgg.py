"""torchvision's VGG (arXiv:1409.1556), whose last convolutions are fully connected layers."""
from __future__ import annotations

import re

from .layout import Described, State, headless
from .templates import POINTWISE, Reshape, Rule, TemplateLayout

SIDE = 7                                                # of the map that a fully connected layer takes in
OF_A_MAP = Reshape(lambda value: value.unflatten(1, (-1, SIDE, SIDE)) if value.ndim == 2 else value,
                   POINTWISE.back)
CONVOLUTION = re.compile(r'features\.\d+\.weight')


class Torchvision(TemplateLayout):
    """torchvision's."""

    name, marks = 'torchvision VGG', ('features.0.weight', 'classifier.0.weight', 'classifier.3.weight')
    networks = {8: 'vgg11', 10: 'vgg13', 13: 'vgg16', 16: 'vgg19'}                  # convolutions before the pooled map
    rules = (Rule('features.{i}', 'features.{i}'), Rule('classifier.0', 'pre_logits.fc1', OF_A_MAP),
             Rule('classifier.3', 'pre_logits.fc2', POINTWISE), Rule('classifier.6', 'head.fc'))

    def identify(self, state: State) -> Described:
        """See `Layout.identify`."""
        count = sum(1 for key, value in state.items() if CONVOLUTION.fullmatch(key) and value.ndim == 4)
        name = self.networks.get(count)
        norm = '_bn' if 'features.1.running_mean' in state else ''
        return (name and name + norm), headless(state)


LAYOUTS = (Torchvision(),)
