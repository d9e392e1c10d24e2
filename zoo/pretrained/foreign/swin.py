"""The names that other libraries give the parameters of Swin Transformer (arXiv:2103.14030), and the config.json of
transformers. All of them merge pixels at the end of a stage, ours at the start of the next."""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import Tensor

from ...spec import HALF
from .configs import Config, ConfigReader, Read, given_fields, only
from .layout import Described, State, headless, staged_shape
from .templates import Rule, TemplateLayout
from .vit import record_fields

STAGES = 4
# channels of the first stage, blocks of each -> the architecture by its windows' side, in pixels of the first stage
NETWORKS: dict[tuple[int, tuple[int, ...]], dict[tuple[int, ...], str]] = {
    (96, (2, 2, 6, 2)): {(7, 7, 7, 7): 'swin_tiny_patch4_window7_224', (7, 7, 14, 7): 'swin_s3_tiny_224'},
    (96, (2, 2, 18, 2)): {(7, 7, 7, 7): 'swin_small_patch4_window7_224', (14, 14, 14, 7): 'swin_s3_small_224'},
    (96, (2, 2, 30, 2)): {(7, 7, 14, 7): 'swin_s3_base_224'},
    (128, (2, 2, 18, 2)): {(7, 7, 7, 7): 'swin_base_patch4_window7_224', (12,) * 4: 'swin_base_patch4_window12_384'},
    (192, (2, 2, 18, 2)): {(7, 7, 7, 7): 'swin_large_patch4_window7_224', (12,) * 4: 'swin_large_patch4_window12_384'},
}
TABLE = 'layers.{}.blocks.0.attn.relative_position_bias_table'
INDEX = 'relative_position_index'


class SwinLayout(TemplateLayout):
    """A layout of Swin Transformer.

    Attributes:
        indexed: a checkpoint has the index from pairs of pixels to entries of a table, which follows from the window.
    """

    def __init__(self, name: str, marks: tuple[str, ...], rules: tuple[Rule, ...], absent: tuple[str, ...] = (),
                 prefix: str = '', indexed: Callable[[Tensor], Tensor] | None = None) -> None:
        self.name, self.marks, self.rules, self.prefix, self.absent = name, marks, rules, prefix, absent
        self.dropped, self.indexed = rf'{INDEX}$|attn_mask$', indexed

    def to_theirs(self, state: State) -> dict[str, Tensor]:
        """See `Layout.to_theirs`; with the index, where the library has one."""
        theirs = super().to_theirs(state)
        if self.indexed:
            for key in [key for key in theirs if key.endswith('relative_position_bias_table')]:
                side = (math.isqrt(len(theirs[key])) + 1) // 2
                theirs[f'{key.rpartition(".")[0]}.{INDEX}'] = self.indexed(pairs(side))
        return theirs

    def identify(self, state: State) -> Described:
        """See `Layout.identify`. Windows of no architecture go by the name of the one with windows of 7 pixels."""
        shape = staged_shape(state, 'layers')
        if shape is None:
            return None, {}
        tables = [state.get(TABLE.format(stage)) for stage in range(STAGES)]
        windows = tuple((math.isqrt(len(table)) + 1) // 2 for table in tables if table is not None)
        known = NETWORKS.get(shape, {})
        arguments = headless(state)
        if known and windows not in known:
            arguments['window_size'] = windows[0] if len(set(windows)) == 1 else list(windows)
        return known.get(windows, next(iter(known.values()), None)), arguments


def pairs(side: int) -> Tensor:
    """Entries of the table for each pair of the pixels of a square window: (side ** 2, side ** 2)."""
    rows, columns = (grid.flatten() for grid in torch.meshgrid(torch.arange(side), torch.arange(side), indexing='ij'))
    down, right = (line[:, None] - line + side - 1 for line in (rows, columns))
    return down * (2 * side - 1) + right


def _same(start: str, ours: str, *names: str) -> list[Rule]:
    return [Rule(start + name, ours + name) for name in names]


def _torchvision() -> tuple[Rule, ...]:
    rules = [Rule('features.0.0', 'patch_embed.proj'), Rule('features.0.2', 'patch_embed.norm'), Rule('norm', 'norm'),
             Rule('head', 'head.fc')]
    for stage in range(STAGES):
        theirs, ours = f'features.{2 * stage + 1}.{{i}}.', f'layers.{stage}.blocks.{{i}}.'
        rules += _same(theirs, ours, 'norm1', 'norm2', 'attn.qkv', 'attn.proj', 'attn.relative_position_bias_table')
        rules += [Rule(theirs + 'mlp.0', ours + 'mlp.fc1'), Rule(theirs + 'mlp.3', ours + 'mlp.fc2')]
        if stage:
            rules += _same(f'features.{2 * stage}.', f'layers.{stage}.downsample.', 'norm', 'reduction')
    return tuple(rules)


def microsoft_rules(*attention: str) -> tuple[Rule, ...]:
    """Rules of Swin's authors, whose `attention` has parts with our names."""
    rules = [*_same('', '', 'patch_embed.proj', 'patch_embed.norm', 'norm'), Rule('head', 'head.fc')]
    for stage in range(STAGES):
        start = f'layers.{stage}.blocks.{{i}}.'
        rules += _same(start, start, 'norm1', 'norm2', 'mlp.fc1', 'mlp.fc2',
                       *(f'attn.{part}' for part in ('qkv', 'proj', *attention)))
        if stage:
            rules += _same(f'layers.{stage - 1}.downsample.', f'layers.{stage}.downsample.', 'norm', 'reduction')
    return tuple(rules)


def transformers_rules(*attention: Rule) -> tuple[Rule, ...]:
    """Rules of transformers, with those of the `attention` of a block."""
    block = (
        Rule('layernorm_before', 'norm1'), Rule('layernorm_after', 'norm2'), *attention,
        Rule('attention.output.dense', 'attn.proj'), Rule('intermediate.dense', 'mlp.fc1'),
        Rule('output.dense', 'mlp.fc2'),
        # of a network in memory, from version 5
        Rule('attention.o_proj', 'attn.proj'), *_same('', '', 'mlp.fc1', 'mlp.fc2'))
    rules = [Rule('embeddings.patch_embeddings.projection', 'patch_embed.proj'),
             Rule('embeddings.norm', 'patch_embed.norm'), Rule('layernorm', 'norm'), Rule('classifier', 'head.fc')]
    for stage in range(STAGES):
        rules += [rule.inside(f'encoder.layers.{stage}.blocks.{{i}}.', f'layers.{stage}.blocks.{{i}}.')
                  for rule in block]
        if stage:
            rules += _same(f'encoder.layers.{stage - 1}.downsample.', f'layers.{stage}.downsample.', 'norm',
                           'reduction')
    return tuple(rules)


_BIAS = 'relative_position_bias_table'
_TRANSFORMERS = transformers_rules(
    *(rule.inside('attention.self.', 'attn.') for rule in (Rule(('query', 'key', 'value'), 'qkv'), Rule(_BIAS, _BIAS))),
    # of a network in memory, from version 5
    *(rule.inside('attention.', 'attn.') for rule in (
        Rule(('q_proj', 'k_proj', 'v_proj'), 'qkv'), Rule(f'relative_position_bias.{_BIAS}', _BIAS),
        Rule(_BIAS, _BIAS))))
LAYOUTS = (
    SwinLayout('torchvision Swin', ('features.1.0.attn.relative_position_bias_table', 'features.2.reduction.weight',
                                    'features.2.norm.weight'), _torchvision(), ('features.1.0.attn.logit_scale',),
               indexed=Tensor.flatten),
    SwinLayout('microsoft Swin', ('layers.0.blocks.0.attn.relative_position_bias_table',
                                  'layers.0.downsample.reduction.weight', 'layers.0.downsample.norm.weight'),
               microsoft_rules('relative_position_bias_table'), indexed=Tensor.clone),
    SwinLayout('transformers Swin', ('encoder.layers.0.blocks.0.layernorm_before.weight',
                                     'encoder.layers.0.downsample.reduction.weight'), _TRANSFORMERS, prefix='swin.'),
)

# --- config.json

SWIN = dict(image_size=224, patch_size=4, embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=7,
            mlp_ratio=4.0, qkv_bias=True, hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0,
            drop_path_rate=0.1, hidden_act='gelu', use_absolute_embeddings=False, layer_norm_eps=1e-5)


def swin_arguments(given: Mapping[str, Any]) -> dict[str, Any]:
    """Arguments that the two versions of Swin have alike.

    Raises:
        ValueError: a field has a value that no network here has.
    """
    only(given, use_absolute_embeddings=False, hidden_act='gelu', layer_norm_eps=1e-5)
    return dict(
        img_size=given['image_size'], patch_size=given['patch_size'], embed_dim=given['embed_dim'],
        depths=tuple(given['depths']), num_heads=tuple(given['num_heads']), window_size=given['window_size'],
        mlp_ratio=given['mlp_ratio'], qkv_bias=given['qkv_bias'], proj_drop_rate=given['hidden_dropout_prob'],
        attn_drop_rate=given['attention_probs_dropout_prob'], drop_path_rate=given['drop_path_rate'],
        size=given['image_size'])


def _swin(config: Config) -> Read:
    given = given_fields(config, SWIN)
    known = NETWORKS.get((given['embed_dim'], tuple(given['depths'])), {})
    name = known.get((given['window_size'],) * STAGES, next(iter(known.values()), 'swin_tiny_patch4_window7_224'))
    return name, swin_arguments(given), record_fields('head.fc', 'arXiv:2103.14030')


CONFIGS = {'swin': ConfigReader(_swin, dict(resample=2, image_mean=HALF, image_std=HALF))}
