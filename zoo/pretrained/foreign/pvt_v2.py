"""The names that transformers and the authors give the parameters of Pyramid Vision Transformer V2 (arXiv:2106.13797),
and the config.json of transformers.

transformers normalises patches and coarser maps with its `layer_norm_eps`, 1e-6; here, as in the authors' code, with
1e-5, which makes logits that are 1e-5 to 1e-4 apart.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from .configs import Config, ConfigReader, Read, given_fields, only
from .layout import Described, State, headless, staged_shape
from .templates import Rule, TemplateLayout

# channels of the first stage, blocks of each, whether attention is of linear complexity -> the architecture
NETWORKS: Mapping[tuple[int, tuple[int, ...], bool], str] = {
    (32, (2, 2, 2, 2), False): 'pvt_v2_b0', (64, (2, 2, 2, 2), False): 'pvt_v2_b1',
    (64, (3, 4, 6, 3), False): 'pvt_v2_b2', (64, (3, 4, 6, 3), True): 'pvt_v2_b2_li',
    (64, (3, 4, 18, 3), False): 'pvt_v2_b3', (64, (3, 8, 27, 3), False): 'pvt_v2_b4',
    (64, (3, 6, 40, 3), False): 'pvt_v2_b5',
}
REDUCED = 'stages.3.blocks.0.attn.sr.weight'               # which only the linear have, in a stage that reduces nothing


class PvtLayout(TemplateLayout):
    """A layout of PVT v2."""

    networks = NETWORKS

    def __init__(self, name: str, mark: str, rules: tuple[Rule, ...], prefix: str = '') -> None:
        self.name, self.marks, self.rules, self.prefix = name, (mark,), rules, prefix

    def identify(self, state: State) -> Described:
        """See `Layout.identify`."""
        shape = staged_shape(state, 'stages')
        if shape is None:
            return None, {}
        name = self.networks.get((*shape, REDUCED in state))
        return name, headless(state, 'head') | ({'linear': True} if REDUCED in state and name is None else {})


def _blocks(theirs: str, ours: str, attention: str, **names: str) -> list[Rule]:
    """Rules of the blocks whose names begin with `theirs`: ours -> theirs, '.' written as '__'."""
    same = dict(attn__proj=f'{attention}.proj', mlp__dwconv='mlp.dwconv.dwconv')
    return [Rule(name, found.replace('__', '.')).inside(theirs, ours) for found, name in (names | same).items()]


def _transformers() -> tuple[Rule, ...]:
    stage, inner = 'encoder.layers.{i}.', 'attention.'
    rules = [Rule(f'{stage}layer_norm', 'stages.{i}.norm'), Rule('classifier', 'head')]
    for start, ours in (('encoder.layers.0.', 'patch_embed.'), (stage, 'stages.{i}.downsample.')):
        rules += [Rule(f'{start}patch_embedding.proj', f'{ours}proj'),
                  Rule(f'{start}patch_embedding.layer_norm', f'{ours}norm')]
    block, own = f'{stage}blocks.{{j}}.', 'stages.{i}.blocks.{j}.'
    rules += [Rule((f'{block}{inner}key', f'{block}{inner}value'), f'{own}attn.kv')]
    rules += _blocks(block, own, 'attention', norm1='layer_norm_1', norm2='layer_norm_2', attn__q=f'{inner}query',
                     attn__sr=f'{inner}spatial_reduction', attn__norm=f'{inner}layer_norm', mlp__fc1='mlp.dense1',
                     mlp__fc2='mlp.dense2')
    return tuple(rules)


def _authors() -> tuple[Rule, ...]:
    rules = [Rule('head', 'head')]
    for stage in range(4):
        patches = f'stages.{stage}.downsample' if stage else 'patch_embed'
        rules += [Rule(f'norm{stage + 1}', f'stages.{stage}.norm')]
        rules += [Rule(f'patch_embed{stage + 1}.{part}', f'{patches}.{part}') for part in ('proj', 'norm')]
        same = ('norm1', 'norm2', 'attn.q', 'attn.kv', 'attn.sr', 'attn.norm', 'mlp.fc1', 'mlp.fc2')
        rules += _blocks(f'block{stage + 1}.{{i}}.', f'stages.{stage}.blocks.{{i}}.', 'attn',
                         **{name.replace('.', '__'): name for name in same})
    return tuple(rules)


LAYOUTS = (
    PvtLayout('transformers PVTv2', 'encoder.layers.0.blocks.0.mlp.dwconv.dwconv.weight', _transformers(), 'pvt_v2.'),
    PvtLayout('whai362 PVTv2', 'block1.0.mlp.dwconv.dwconv.weight', _authors()),
)

# --- config.json

_PVT = dict(image_size=224, hidden_sizes=[32, 64, 160, 256], depths=[2, 2, 2, 2], num_attention_heads=[1, 2, 5, 8],
            sr_ratios=[8, 4, 2, 1], mlp_ratios=[8, 8, 4, 4], patch_sizes=[7, 3, 3, 3], strides=[4, 2, 2, 2],
            qkv_bias=True, linear_attention=False, hidden_act='gelu', layer_norm_eps=1e-6, hidden_dropout_prob=0.0,
            attention_probs_dropout_prob=0.0, drop_path_rate=0.0)


def _pvt(config: Config) -> Read:
    given = given_fields(config, _PVT)
    only(given, hidden_act='gelu', layer_norm_eps=1e-6, patch_sizes=[7, 3, 3, 3], strides=[4, 2, 2, 2])
    size = given['image_size']
    arguments: dict[str, Any] = {name: tuple(given[field]) for name, field in (
        ('embed_dims', 'hidden_sizes'), ('depths', 'depths'), ('num_heads', 'num_attention_heads'),
        ('sr_ratios', 'sr_ratios'), ('mlp_ratios', 'mlp_ratios'))}
    shape = arguments['embed_dims'][0], arguments['depths'], given['linear_attention']
    arguments |= dict(
        qkv_bias=given['qkv_bias'], linear=given['linear_attention'], proj_drop_rate=given['hidden_dropout_prob'],
        attn_drop_rate=given['attention_probs_dropout_prob'], drop_path_rate=given['drop_path_rate'],
        size=size if isinstance(size, int) else size[0])
    fields = dict(first_conv='patch_embed.proj', classifier='head', paper_ids='arXiv:2106.13797')
    return NETWORKS.get(shape, 'pvt_v2_b0'), arguments, fields


CONFIGS = {'pvt_v2': ConfigReader(_pvt)}
