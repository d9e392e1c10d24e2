"""torchvision's DenseNet (arXiv:1608.06993), whose names are ours."""
from __future__ import annotations

from .layout import Described, SameNames, State, headless

NETWORKS: dict[tuple[int, tuple[int, ...]], str] = {    # channels that a layer adds, layers of each block
    (32, (6, 12, 24, 16)): 'densenet121', (48, (6, 12, 36, 24)): 'densenet161', (32, (6, 12, 32, 32)): 'densenet169',
    (32, (6, 12, 48, 32)): 'densenet201',
}


class Torchvision(SameNames):
    """torchvision's."""

    name, networks = 'torchvision DenseNet', NETWORKS
    marks = ('features.conv0.weight', 'features.norm0.weight', 'features.denseblock1.denselayer1.norm1.weight')

    def identify(self, state: State) -> Described:
        """See `Layout.identify`. A deeper stem is of no network there."""
        first = state.get('features.denseblock1.denselayer1.conv2.weight')
        if first is None or 'features.conv1.weight' in state:
            return None, {}
        layers = [key.split('.')[1] for key in state if key.endswith('.conv2.weight')]
        counts = tuple(layers.count(f'denseblock{block}') for block in range(1, 5))
        return NETWORKS.get((len(first), counts)), headless(state, 'classifier')


LAYOUTS = (Torchvision(),)
