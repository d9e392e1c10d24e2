"""The names that other libraries give the parameters of BiT (arXiv:1912.11370), and the config.json of transformers.

Google's own are those of `.npz` files: kernels there have their inputs first, and blocks are counted from 1.
"""
from __future__ import annotations

import re

from torch import Tensor

from ...spec import CLIP_MEAN, CLIP_STD
from .configs import ACTIVATIONS, Config, ConfigReader, Read, given_fields, one_of, only
from .layout import Described, State, headless
from .templates import POINTWISE, Reshape, Rule, TemplateLayout

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
        return identify(state)

    def _plain(self, key: str) -> str:
        return re.sub(_UNIT, _counted_from_0, re.sub('^resnet/', '', key).replace('/', '.'))


class TransformersLayout(TemplateLayout):
    """That of transformers: of networks that normalise before they convolve, or after, as hybrid vision transformers do."""

    name, prefix, classifiers = 'transformers BiT', 'bit.', ('classifier',)
    marks = ('embedder.convolution.weight', *(f'encoder.stages.0.layers.0.{name}1.weight' for name in ('conv', 'norm')))
    absent = ('encoder.stages.0.layers.0.norm1.running_mean',)
    networks = {name: name for name in NETWORKS}
    rules = (
        Rule('embedder.convolution', 'stem.conv'), Rule('embedder.norm', 'stem.norm'), Rule('norm', 'norm'),
        Rule('classifier.1', 'head.fc', POINTWISE), *(
            Rule(f'encoder.stages.{{i}}.layers.{{j}}.{name}', _BLOCK + name) for name in (
                'conv1', 'conv2', 'conv3', 'norm1', 'norm2', 'norm3', 'downsample.conv', 'downsample.norm')))

    def identify(self, state: State) -> Described:
        """See `Layout.identify`."""
        if 'stem.norm.weight' in state:
            return None, {}
        return identify(state)


def identify(state: State) -> Described:
    """The BiT of these widths and depths."""
    stem, counts = state.get('stem.conv.weight'), [0, 0, 0, 0]
    for key in state:
        if match := re.match(r'stages\.([0-3])\.blocks\.(\d+)\.', key):
            counts[int(match[1])] = max(counts[int(match[1])], int(match[2]) + 1)
    width = 0 if stem is None else stem.shape[0] // STEM_WIDTH
    name = f'resnetv2_{DEPTHS.get((counts[0], counts[1], counts[2], counts[3]))}x{width}_bit'
    return (name, headless(state)) if name in NETWORKS else (None, {})


def _counted_from_0(match: re.Match[str]) -> str:
    return f'stages.{int(match[1]) - 1}.blocks.{int(match[2]) - 1}.'


def _counted_from_1(match: re.Match[str]) -> str:
    return f'block{int(match[1]) + 1}.unit{int(match[2]) + 1:02d}.'


LAYOUTS = (BitLayout(), TransformersLayout())

# --- config.json

_BIT = dict(embedding_size=64, hidden_sizes=[256, 512, 1024, 2048], depths=[3, 4, 6, 3], layer_type='preactivation',
            hidden_act='relu', global_padding=None, num_groups=32, embedding_dynamic_padding=False, output_stride=32,
            width_factor=1, image_size=224)
_KINDS = {                                                    # layer_type, with the padding that it is published with
    ('preactivation', None, False): {},
    ('bottleneck', 'SAME', True): dict(preact=False, stem_type='same', conv_layer='std_conv2d_same'),
}


def _bit(config: Config) -> Read:
    given = given_fields(config, _BIT)
    padding = given['global_padding'] and given['global_padding'].upper()
    kind = given['layer_type'], padding, given['embedding_dynamic_padding']
    if kind not in _KINDS:
        raise ValueError('layer_type, global_padding and embedding_dynamic_padding are '
                         f'{", ".join(map(repr, kind))}; networks here have one of '
                         f'{"; ".join(", ".join(map(repr, known)) for known in _KINDS)}.')
    only(given, num_groups=32, output_stride=32)
    depths = tuple(given['depths'])
    arguments = dict(
        layers=depths, channels=tuple(width * given['width_factor'] for width in given['hidden_sizes']), width_factor=1,
        stem_chs=given['embedding_size'], act_layer=one_of(given, 'hidden_act', ACTIVATIONS), size=given['image_size'],
        **_KINDS[kind])
    name = f'resnetv2_{DEPTHS.get(depths, 50)}x1_bit'
    return name, arguments, dict(first_conv='stem.conv', classifier='head.fc', paper_ids='arXiv:1912.11370')


CONFIGS = {'bit': ConfigReader(_bit, dict(size=dict(shortest_edge=224), do_center_crop=True, default_to_square=False,
                                          image_mean=CLIP_MEAN, image_std=CLIP_STD))}
