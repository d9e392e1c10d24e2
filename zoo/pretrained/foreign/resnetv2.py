"""The names that Google's own code gives the parameters of BiT (arXiv:1912.11370), in `.npz` files. Kernels there have
their inputs first, and blocks are counted from 1."""
from __future__ import annotations

import re

from torch import Tensor

from .layout import Described, State, headless
from .templates import Reshape, Rule, TemplateLayout

_CONV = Reshape(lambda value: value.permute(3, 2, 0, 1).contiguous(), lambda value: value.permute(2, 3, 1, 0).contiguous())
_UNIT = r'block(\d+)\.unit(\d+)\.'
DEPTHS = {(3, 4, 6, 3): 50, (3, 4, 23, 3): 101, (3, 8, 36, 3): 152}
NETWORKS = ('resnetv2_50x1_bit', 'resnetv2_50x3_bit', 'resnetv2_101x1_bit', 'resnetv2_101x3_bit', 'resnetv2_152x2_bit',
            'resnetv2_152x4_bit')
STEM_WIDTH = 64


def _norm(theirs: str, ours: str) -> list[Rule]:
    return [Rule(f'{theirs}.gamma', f'{ours}.weight'), Rule(f'{theirs}.beta', f'{ours}.bias')]


_BLOCK = 'stages.{i}.blocks.{j}.'
_RULES = (
    Rule('root_block.standardized_conv2d.kernel', 'stem.conv.weight', _CONV), *_norm('group_norm', 'norm'),
    Rule('head.conv2d.kernel', 'head.fc.weight', _CONV), Rule('head.conv2d.bias', 'head.fc.bias'),
    *(rule.inside(_BLOCK, _BLOCK) for number, letter in enumerate('abc', 1) for rule in (
        Rule(f'{letter}.standardized_conv2d.kernel', f'conv{number}.weight', _CONV),
        *_norm(f'{letter}.group_norm', f'norm{number}'))),
    Rule('a.proj.standardized_conv2d.kernel', 'downsample.conv.weight', _CONV).inside(_BLOCK, _BLOCK))


class BitLayout(TemplateLayout):
    """Google's names; in its files their parts stand between slashes."""

    name = 'google BiT'
    marks = ('root_block.standardized_conv2d.kernel', 'stages.0.blocks.0.a.standardized_conv2d.kernel')
    rules = _RULES

    def to_theirs(self, state: State) -> dict[str, Tensor]:
        """See `Layout.to_theirs`."""
        theirs = super().to_theirs(state)
        return {'resnet/' + re.sub(r'stages\.(\d+)\.blocks\.(\d+)\.', _counted_from_1, key).replace('.', '/'): value
                for key, value in theirs.items()}

    def identify(self, state: State) -> Described:
        """See `Layout.identify`."""
        stem, counts = state.get('stem.conv.weight'), [0, 0, 0, 0]
        for key in state:
            if match := re.match(r'stages\.([0-3])\.blocks\.(\d+)\.', key):
                counts[int(match[1])] = max(counts[int(match[1])], int(match[2]) + 1)
        width = 0 if stem is None else stem.shape[0] // STEM_WIDTH
        name = f'resnetv2_{DEPTHS.get((counts[0], counts[1], counts[2], counts[3]))}x{width}_bit'
        if name not in NETWORKS:
            return None, {}
        return name, headless(state)

    def _plain(self, key: str) -> str:
        return re.sub(_UNIT, _counted_from_0, re.sub('^resnet/', '', key).replace('/', '.'))


def _counted_from_0(match: re.Match[str]) -> str:
    return f'stages.{int(match[1]) - 1}.blocks.{int(match[2]) - 1}.'


def _counted_from_1(match: re.Match[str]) -> str:
    return f'block{int(match[1]) + 1}.unit{int(match[2]) + 1:02d}.'


LAYOUTS = (BitLayout(),)
