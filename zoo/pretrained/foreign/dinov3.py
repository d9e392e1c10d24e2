"""The names that transformers and the authors give the parameters of DINOv3 (arXiv:2508.10104), and transformers'
config.json.

- Queries and values have biases or not, which makes two networks here, with `_qkvb` and without.
- Images of 224 pixels are what the processor gives; the networks here take any size.
"""
from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from .configs import ACTIVATIONS, Config, ConfigReader, Read, given_fields, one_of
from .layout import Described, State, headless
from .templates import Rule
from .vit import Networks, VitLayout, block_rules, record_fields, tower_arguments, vit_shape

Kind = tuple[bool, bool]                                    # gated MLPs; biases of queries and values

NETWORKS: dict[Kind, Networks] = {
    (False, False): {
        (384, 12, 16): ('vit_small_patch16_dinov3', 256), (768, 12, 16): ('vit_base_patch16_dinov3', 256),
        (1024, 24, 16): ('vit_large_patch16_dinov3', 256)},
    (False, True): {
        (192, 12, 16): ('vit_tiny_patch16_dinov3_qkvb', 256), (384, 12, 16): ('vit_small_patch16_dinov3_qkvb', 256),
        (768, 12, 16): ('vit_base_patch16_dinov3_qkvb', 256), (1024, 24, 16): ('vit_large_patch16_dinov3_qkvb', 256)},
    (True, False): {
        (384, 12, 16): ('vit_small_plus_patch16_dinov3', 256), (1280, 32, 16): ('vit_huge_plus_patch16_dinov3', 256),
        (4096, 40, 16): ('vit_7b_patch16_dinov3', 256)},
    (True, True): {
        (384, 12, 16): ('vit_small_plus_patch16_dinov3_qkvb', 256),
        (1280, 32, 16): ('vit_huge_plus_patch16_dinov3_qkvb', 256)},
}


class DinoV3Layout(VitLayout):
    """A layout of DINOv3."""

    decisive = {'norm_eps': 1e-5}

    def to_theirs(self, state: State) -> dict[str, Tensor]:
        """See `Layout.to_theirs`."""
        return super(VitLayout, self).to_theirs(state)

    def identify(self, state: State) -> Described:
        """See `Layout.identify`."""
        shape = vit_shape(state)
        name, _ = (self.candidates(state).get(shape) if shape else None) or (None, 0)
        return name, headless(state, 'head')


class OriginalV3Layout(DinoV3Layout):
    """A layout of DINOv3's authors: keys have a bias that a mask makes zero, and the checkpoint holds that mask, a token
    that only their training uses and the periods of the rotary embedding."""

    def complete(self, ours: dict[str, Tensor]) -> dict[str, Tensor]:
        """Leaves out the bias of keys."""
        return {key: value for key, value in ours.items() if not key.endswith('attn.k_bias')}

    def reduce(self, ours: dict[str, Tensor]) -> dict[str, Tensor]:
        """Adds what their networks have and ours compute."""
        if 'cls_token' not in ours or 'blocks.0.attn.qkv.weight' not in ours:
            return ours
        like = ours['cls_token']
        width = like.shape[-1]
        for key in [key for key in ours if key.endswith('attn.q_bias')]:
            start = key.removesuffix('q_bias')
            ours[f'{start}k_bias'] = torch.zeros_like(ours[key])
            ours[f'{start}qkv.bias_mask'] = torch.cat([torch.ones_like(ours[key]), torch.zeros_like(ours[key]),
                                                       torch.ones_like(ours[key])])
        bands = (128 if width == 4096 else 64) // 4                         # of a head
        ours['rope_embed.periods'] = 100.0 ** (torch.arange(bands, device=like.device) / bands)
        ours['mask_token'] = like.new_zeros(1, width)
        return ours


def _marks(kind: Kind, gate: str, bias: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a checkpoint of one kind has, and has not."""
    marks = tuple(mark for mark, there in zip((gate, bias), kind) if there)
    return marks, tuple(part for mark, there in zip((gate, bias), kind) if not there for part in mark.split('|'))


def _name(kind: Kind) -> str:
    gated, biased = kind
    return f'DINOv3{" gated" * gated}{" with biases" * biased}'


def _of_transformers(kind: Kind) -> DinoV3Layout:
    start = ('layer.{i}.', 'model.layer.{i}.')              # in its files; and of a network in memory, from version 5
    rules = [Rule('embeddings.cls_token', 'cls_token'), Rule('embeddings.register_tokens', 'reg_token'),
             Rule('embeddings.patch_embeddings', 'patch_embed.proj'), Rule('norm', 'norm')]
    for prefix in start:
        rules += block_rules(
            prefix, attn__q_bias='attention.q_proj.bias', attn__v_bias='attention.v_proj.bias', norm1='norm1',
            norm2='norm2', gamma_1='layer_scale1.lambda1', gamma_2='layer_scale2.lambda1',
            attn__qkv=('attention.q_proj', 'attention.k_proj', 'attention.v_proj'), attn__proj='attention.o_proj',
            **(dict(mlp__fc1_g='mlp.gate_proj', mlp__fc1_x='mlp.up_proj') if kind[0] else dict(mlp__fc1='mlp.up_proj')),
            mlp__fc2='mlp.down_proj')

    def either(name: str) -> str:
        return '|'.join(prefix.format(i=0) + name for prefix in start)

    marks, absent = _marks(kind, either('mlp.gate_proj.weight'), either('attention.q_proj.bias'))
    return DinoV3Layout(f'transformers {_name(kind)}', (
        'embeddings.cls_token', 'embeddings.patch_embeddings.weight', either('layer_scale1.lambda1'), *marks),
        tuple(rules), NETWORKS[kind], absent, dropped=r'mask_token$')


def _original(kind: Kind) -> OriginalV3Layout:
    mlp = (('mlp.w1', 'mlp.fc1_g'), ('mlp.w2', 'mlp.fc1_x'), ('mlp.w3', 'mlp.fc2')) if kind[0] else (
        ('mlp.fc1', 'mlp.fc1'), ('mlp.fc2', 'mlp.fc2'))
    same = ('norm1', 'norm2', 'attn.proj')
    blocks = [('ls1.gamma', 'gamma_1'), ('ls2.gamma', 'gamma_2'), *zip(same, same), *mlp,
              ('attn.qkv.bias_mask', 'attn.qkv.bias_mask'), ('attn.qkv.weight', 'attn.qkv.weight')]
    rules = [Rule(word, word) for word in ('cls_token', 'mask_token', 'rope_embed.periods', 'patch_embed.proj', 'norm')]
    rules += [Rule('storage_tokens', 'reg_token'),
              Rule('blocks.{i}.attn.qkv.bias', tuple(f'blocks.{{i}}.attn.{part}_bias' for part in 'qkv'))]
    rules += [Rule('blocks.{i}.' + theirs, 'blocks.{i}.' + ours) for theirs, ours in blocks]
    marks, absent = _marks(kind, 'blocks.0.mlp.w1.weight', 'blocks.0.attn.qkv.bias')
    return OriginalV3Layout(
        f'facebook {_name(kind)}', ('storage_tokens', 'blocks.0.ls1.gamma', *marks), tuple(rules), NETWORKS[kind],
        absent, dropped=r'^mask_token$|bias_mask$|^rope_embed\.periods$|^((local_)?cls_norm|projectors)\.')


LAYOUTS = (*map(_of_transformers, NETWORKS), *map(_original, NETWORKS))

# --- config.json

_FIELDS = dict(
    hidden_size=384, num_hidden_layers=12, num_attention_heads=6, intermediate_size=1536, hidden_act='gelu',
    attention_dropout=0.0, layer_norm_eps=1e-5, image_size=224, patch_size=16, rope_theta=100.0, query_bias=True,
    key_bias=False, value_bias=True, proj_bias=True, mlp_bias=True, layerscale_value=1.0, drop_path_rate=0.0,
    use_gated_mlp=False, num_register_tokens=0, pos_embed_shift=None, pos_embed_jitter=None, pos_embed_rescale=2.0)


def _dinov3(config: Config) -> Read:
    given = given_fields(config, _FIELDS)
    gated = given['use_gated_mlp']
    if given['key_bias'] or given['query_bias'] != given['value_bias']:
        raise ValueError('The keys of DINOv3 have no bias here, and queries and values both or neither: query_bias is '
                         f'{given["query_bias"]}, key_bias {given["key_bias"]}, value_bias {given["value_bias"]}.')
    if not (given['proj_bias'] and given['mlp_bias']):
        raise ValueError('The linear layers of DINOv3 have biases here: proj_bias is '
                         f'{given["proj_bias"]}, mlp_bias {given["mlp_bias"]}.')
    wanted = 'silu' if gated else 'gelu'
    if one_of(given, 'hidden_act', ACTIVATIONS) != wanted:
        raise ValueError(f'hidden_act of this DINOv3 is {wanted!r} here, not {given["hidden_act"]!r}.')
    networks = NETWORKS[gated, given['query_bias']]
    shape = given['hidden_size'], given['num_hidden_layers'], given['patch_size']
    arguments: dict[str, Any] = {key: value for key, value in tower_arguments(given, given['intermediate_size']).items()
                                 if key != 'act_layer'}
    arguments |= dict(
        qkv_bias=given['query_bias'], init_values=given['layerscale_value'], attn_drop_rate=given['attention_dropout'],
        drop_path_rate=given['drop_path_rate'], num_reg_tokens=given['num_register_tokens'], global_pool='token',
        rope_temperature=given['rope_theta'], rope_shift_coords=given['pos_embed_shift'], num_classes=0,
        rope_jitter_coords=given['pos_embed_jitter'], rope_rescale_coords=given['pos_embed_rescale'],
        **(dict(swiglu_mlp=True, swiglu_align_to=1) if gated else {}))
    name, _ = networks.get(shape, networks[384, 12, 16])
    return name, arguments, record_fields('head', 'arXiv:2508.10104') | dict(fixed_input_size=False)


CONFIGS = {'dinov3_vit': ConfigReader(_dinov3, dict(resample=2))}
