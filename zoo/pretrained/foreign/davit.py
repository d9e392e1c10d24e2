"""The names that Florence-2 (arXiv:2311.06242) gives the parameters of its image encoder, a DaViT (arXiv:2204.03645), in
the checkpoint of the whole."""
from __future__ import annotations

import torch
from torch import Tensor

from .layout import Described, State, headless
from .templates import Rule, TemplateLayout

STAGES = 4
NETWORKS = {128: 'davit_base_fl', 256: 'davit_huge_fl'}                   # channels of the first stage -> architecture
NORM = ('head.norm.weight', 'head.norm.bias')


class FlorenceLayout(TemplateLayout):
    """The image encoder in a checkpoint of Florence-2; what else there is, the text's half among it, is left out. The
    encoder has no normalisation after pooling: ours is the identity, as it is fresh."""

    name, starts = 'microsoft Florence-2', ('', 'vision_tower.')
    marks = ('convs.0.proj.weight', 'blocks.0.0.spatial_block.window_attn.fn.qkv.weight')

    def __init__(self) -> None:
        self.rules = _rules()

    def complete(self, ours: dict[str, Tensor]) -> dict[str, Tensor]:
        """Adds the normalisation after pooling."""
        scale = next((value for key, value in reversed(ours.items()) if key.endswith('norm2.weight')), None)
        return ours if scale is None else ours | dict(zip(NORM, (torch.ones_like(scale), torch.zeros_like(scale))))

    def reduce(self, ours: dict[str, Tensor]) -> dict[str, Tensor]:
        """Removes it.

        Raises:
            ValueError: it is not the identity.
        """
        scale, shift = (ours.pop(key, None) for key in NORM)
        if scale is not None and (scale != 1).any() or shift is not None and shift.any():
            raise ValueError(f'The layout {self.name!r} has no place for the normalisation after pooling, head.norm.')
        return ours

    def identify(self, state: State) -> Described:
        """See `Layout.identify`."""
        kernel = state.get('stem.conv.weight')
        if kernel is None or 'stages.0.blocks.0.spatial_block.norm1.weight' not in state:
            return None, {}
        return NETWORKS.get(kernel.shape[0]), headless(state)


def _rules() -> tuple[Rule, ...]:
    rules = [Rule('convs.0.proj', 'stem.conv'), Rule('convs.0.norm', 'stem.norm')]
    for stage in range(STAGES):
        if stage:
            rules += [Rule(f'convs.{stage}.proj', f'stages.{stage}.downsample.conv'),
                      Rule(f'convs.{stage}.norm', f'stages.{stage}.downsample.norm')]
        for kind, attention in (('spatial', 'window_attn'), ('channel', 'channel_attn')):
            pairs = (('conv1.fn.dw', 'cpe1.proj'), (f'{attention}.norm', 'norm1'), (f'{attention}.fn.qkv', 'attn.qkv'),
                     (f'{attention}.fn.proj', 'attn.proj'), ('conv2.fn.dw', 'cpe2.proj'), ('ffn.norm', 'norm2'),
                     ('ffn.fn.net.fc1', 'mlp.fc1'), ('ffn.fn.net.fc2', 'mlp.fc2'))
            rules += [Rule(theirs, ours).inside(f'blocks.{stage}.{{i}}.{kind}_block.',
                                                f'stages.{stage}.blocks.{{i}}.{kind}_block.') for theirs, ours in pairs]
    return tuple(rules)


LAYOUTS = (FlorenceLayout(),)
