"""The names that other libraries give the parameters of ConvNeXt (arXiv:2201.03545) and ConvNeXt V2 (arXiv:2301.00808),
and the config.json of transformers.

transformers normalises what was pooled with its `layer_norm_eps`, 1e-12 in its files, and all else with 1e-6; here, as
in the paper's code, the eps is 1e-6 throughout.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .configs import ACTIVATIONS, Config, ConfigReader, Read, given_fields, one_of
from .layout import Described, State, headless, staged_shape
from .templates import FLAT, Reshape, Rule, TemplateLayout

STAGES = 4
Networks = Mapping[tuple[int, tuple[int, ...]], str]
V1: Networks = {                                         # channels of the first stage, blocks of each
    (96, (3, 3, 9, 3)): 'convnext_tiny', (96, (3, 3, 27, 3)): 'convnext_small', (128, (3, 3, 27, 3)): 'convnext_base',
    (192, (3, 3, 27, 3)): 'convnext_large', (256, (3, 3, 27, 3)): 'convnext_xlarge',
}
V2: Networks = {
    (40, (2, 2, 6, 2)): 'convnextv2_atto', (48, (2, 2, 6, 2)): 'convnextv2_femto',
    (64, (2, 2, 6, 2)): 'convnextv2_pico',
    (80, (2, 2, 8, 2)): 'convnextv2_nano', (96, (3, 3, 9, 3)): 'convnextv2_tiny',
    (96, (3, 3, 27, 3)): 'convnextv2_small',
    (128, (3, 3, 27, 3)): 'convnextv2_base', (192, (3, 3, 27, 3)): 'convnextv2_large',
    (352, (3, 3, 27, 3)): 'convnextv2_huge',
}


class ConvNeXtLayout(TemplateLayout):
    """A layout of ConvNeXt."""

    def __init__(self, name: str, marks: tuple[str, ...], rules: tuple[Rule, ...], networks: Networks,
                 absent: tuple[str, ...] = (), prefix: str = '') -> None:
        self.name, self.marks, self.rules, self.absent, self.prefix = name, marks, rules, absent, prefix
        self.networks = networks

    def identify(self, state: State) -> Described:
        """See `Layout.identify`."""
        shape = staged_shape(state, 'stages', 'stem.0.weight')
        if shape is None:
            return None, {}
        return self.networks.get(shape), headless(state)


def _rules(stem: tuple[str, str], down: str, block: str, names: Mapping[str, str], norm: str, head: str, *more: Rule,
           ) -> tuple[Rule, ...]:
    """Rules of a whole network: `down` with {stage} and {part} (0 the normalisation, 1 the convolution), `block` with
    {i} and {stage}, `names` theirs -> ours in a block."""
    rules = [Rule(stem[0], 'stem.0'), Rule(stem[1], 'stem.1'), Rule(norm, 'head.norm'), Rule(head, 'head.fc')]
    for stage in range(STAGES):
        start = block.replace('{stage}', str(stage)).replace('{twice}', str(2 * stage + 1))
        ours = f'stages.{stage}.blocks.{{i}}.'
        rules += [Rule(start + theirs, ours + name) for theirs, name in names.items()]
        rules += [rule.inside(start, ours) for rule in more]
        for part in (0, 1) if stage else ():
            there = down.replace('{stage}', str(stage)).replace('{twice}', str(2 * stage)).replace('{part}', str(part))
            rules.append(Rule(there, f'stages.{stage}.downsample.{part}'))
    return tuple(rules)


def _transformers(*more: Rule) -> tuple[Rule, ...]:
    return _rules(('embeddings.patch_embeddings', 'embeddings.layernorm'),
                  'encoder.stages.{stage}.downsampling_layer.{part}', 'encoder.stages.{stage}.layers.{i}.', {
                      'dwconv': 'conv_dw', 'layernorm': 'norm', 'pwconv1': 'mlp.fc1', 'pwconv2': 'mlp.fc2'},
                  'layernorm', 'classifier', *more)


def _facebook(*more: Rule) -> tuple[Rule, ...]:
    return _rules(('downsample_layers.0.0', 'downsample_layers.0.1'), 'downsample_layers.{stage}.{part}',
                  'stages.{stage}.{i}.', {
                      'dwconv': 'conv_dw', 'norm': 'norm', 'pwconv1': 'mlp.fc1', 'pwconv2': 'mlp.fc2'},
                  'norm', 'head', *more)


_GRN = (Rule('grn.weight', 'mlp.grn.weight', FLAT), Rule('grn.bias', 'mlp.grn.bias', FLAT))
_OLD_GRN = (Rule('grn.gamma', 'mlp.grn.weight', FLAT), Rule('grn.beta', 'mlp.grn.bias', FLAT))
_SCALE, _FIRST, _THEIRS = 'layer_scale_parameter', 'encoder.stages.0.layers.0.', 'stages.0.0.'
LAYOUTS = (
    ConvNeXtLayout('torchvision ConvNeXt', ('features.1.0.layer_scale', 'features.1.0.block.0.weight'), _rules(
        ('features.0.0', 'features.0.1'), 'features.{twice}.{part}', 'features.{twice}.{i}.', {
            'block.0': 'conv_dw', 'block.2': 'norm', 'block.3': 'mlp.fc1', 'block.5': 'mlp.fc2'},
        'classifier.0', 'classifier.2', Rule('layer_scale', 'gamma', Reshape(
            lambda value: value.flatten(), lambda value: value[:, None, None]))), V1),
    ConvNeXtLayout('transformers ConvNeXt', (_FIRST + 'dwconv.weight', _FIRST + _SCALE),
                   _transformers(Rule(_SCALE, 'gamma')), V1, prefix='convnext.'),
    ConvNeXtLayout('transformers ConvNeXtV2', (_FIRST + 'dwconv.weight', _FIRST + 'grn.weight'), _transformers(*_GRN),
                   V2, prefix='convnextv2.'),
    ConvNeXtLayout('facebook ConvNeXt', (_THEIRS + 'dwconv.weight', _THEIRS + 'gamma'),
                   _facebook(Rule('gamma', 'gamma')), V1),
    ConvNeXtLayout('facebook ConvNeXtV2', (_THEIRS + 'dwconv.weight', _THEIRS + 'grn.gamma'), _facebook(*_OLD_GRN), V2),
)

# --- config.json

_CONVNEXT = dict(patch_size=4, hidden_sizes=[96, 192, 384, 768], depths=[3, 3, 9, 3], hidden_act='gelu',
                 drop_path_rate=0.0, layer_scale_init_value=1e-6, image_size=224)


def _read(config: Config, networks: Networks, default: str, own: Mapping[str, Any]) -> Read:
    given = given_fields(config, _CONVNEXT)
    widths, depths = tuple(given['hidden_sizes']), tuple(given['depths'])
    if len(widths) != len(depths):
        raise ValueError(f'depths and hidden_sizes have one entry a stage, not {len(depths)} and {len(widths)}.')
    scale = given['layer_scale_init_value']
    arguments = dict(
        patch_size=given['patch_size'], dims=widths, depths=depths, act_layer=one_of(given, 'hidden_act', ACTIVATIONS),
        drop_path_rate=given['drop_path_rate'], ls_init_value=scale if scale > 0 else None, size=given['image_size'],
        **own)
    fields = dict(first_conv='stem.0', classifier='head.fc', paper_ids='arXiv:2201.03545')
    return networks.get((widths[0], depths), default), arguments, fields


def _v1(config: Config) -> Read:
    return _read(config, V1, 'convnext_tiny', {})


def _v2(config: Config) -> Read:
    name, arguments, fields = _read({**config, 'layer_scale_init_value': 0}, V2, 'convnextv2_tiny', {'use_grn': True})
    return name, arguments, {**fields, 'paper_ids': 'arXiv:2301.00808'}


_IMAGES = dict(size=dict(shortest_edge=384), crop_pct=224 / 256, default_to_square=False)
CONFIGS = {'convnext': ConfigReader(_v1, _IMAGES), 'convnextv2': ConfigReader(_v2, _IMAGES)}
