"""The names that other libraries give the parameters of vision transformers (arXiv:2010.11929), DeiT
(arXiv:2012.12877) and DINOv2 (arXiv:2304.07193), and the config.json of transformers.

- The positions of DINOv2 are of 518 pixels, and its processor gives images of 224: such a network takes any size
  (dynamic_img_size), its positions resampled with antialiasing, which transformers does without.
- transformers' classifier of DINOv2 takes in the class token beside the mean of the patches; no network here pools so:
  load it with num_classes=0.
"""
from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from ...spec import HALF
from .configs import ACTIVATIONS, Config, ConfigReader, Read, given_fields, one_of
from .layout import Described, Settings, State, headless
from .templates import Rule, TemplateLayout

Networks = Mapping[tuple[int, int, int], tuple[str, int]]
PREFIX = ('cls_token', 'dist_token', 'reg_token')

VITS: Networks = {
    (192, 12, 16): ('vit_tiny_patch16_224', 224), (384, 12, 8): ('vit_small_patch8_224', 224),
    (384, 12, 16): ('vit_small_patch16_224', 224), (384, 12, 32): ('vit_small_patch32_224', 224),
    (768, 12, 8): ('vit_base_patch8_224', 224), (768, 12, 16): ('vit_base_patch16_224', 224),
    (768, 12, 32): ('vit_base_patch32_224', 224), (1024, 24, 14): ('vit_large_patch14_224', 224),
    (1024, 24, 16): ('vit_large_patch16_224', 224), (1024, 24, 32): ('vit_large_patch32_224', 224),
    (1280, 32, 14): ('vit_huge_patch14_224', 224),
}
DEITS: Networks = {
    (192, 12, 16): ('deit_tiny_patch16_224', 224), (384, 12, 16): ('deit_small_patch16_224', 224),
    (768, 12, 16): ('deit_base_patch16_224', 224),
}
DISTILLED: Networks = {
    (192, 12, 16): ('deit_tiny_distilled_patch16_224', 224), (384, 12, 16): ('deit_small_distilled_patch16_224', 224),
    (768, 12, 16): ('deit_base_distilled_patch16_224', 224),
}
DINOS: Networks = {
    (384, 12, 14): ('vit_small_patch14_dinov2', 518), (768, 12, 14): ('vit_base_patch14_dinov2', 518),
    (1024, 24, 14): ('vit_large_patch14_dinov2', 518),
}
REGISTERS: Networks = {
    (384, 12, 14): ('vit_small_patch14_reg4_dinov2', 518), (768, 12, 14): ('vit_base_patch14_reg4_dinov2', 518),
    (1024, 24, 14): ('vit_large_patch14_reg4_dinov2', 518),
}
GIANT: Networks = {(1536, 40, 14): ('vit_giant_patch14_dinov2', 518)}
GIANT_REGISTERS: Networks = {(1536, 40, 14): ('vit_giant_patch14_reg4_dinov2', 518)}


class VitLayout(TemplateLayout):
    """A layout of vision transformers.

    Attributes:
        networks: (width, depth, side of the patches) -> the architecture, and the image size of its positions.
        implied: arguments that the library implies.
        registers: prefix tokens have no positions of their own, but the class token.
        gated: its MLPs are gated, the two halves of what is multiplied in one layer.
    """

    decisive = {'norm_eps': 1e-6, 'act_layer': 'gelu'}

    def __init__(self, name: str, marks: tuple[str, ...], rules: tuple[Rule, ...], networks: Networks,
                 absent: tuple[str, ...] = (), prefix: str = '', classifiers: tuple[str, ...] = (),
                 dropped: str = r'(?!)', implied: Settings | None = None, registers: bool = False,
                 gated: bool = False) -> None:
        self.name, self.marks, self.absent, self.rules = name, marks, absent, rules
        self.prefix, self.classifiers, self.dropped = prefix, classifiers, dropped
        self.networks, self.implied, self.registers, self.gated = networks, implied or {}, registers, gated

    def to_theirs(self, state: State) -> dict[str, Tensor]:
        """See `Layout.to_theirs`."""
        check_gates(state, self.gated, self.name)
        return super().to_theirs(state)

    def complete(self, ours: dict[str, Tensor]) -> dict[str, Tensor]:
        """The position of the class token goes into the token, where it alone has one."""
        if self.registers and 'reg_token' in ours and {'cls_token', 'pos_embed'} <= ours.keys():
            ours['cls_token'] = ours['cls_token'] + ours['pos_embed'][:, :1]
            ours['pos_embed'] = ours['pos_embed'][:, 1:].contiguous()
        return ours

    def reduce(self, ours: dict[str, Tensor]) -> dict[str, Tensor]:
        """A class token whose position is zero."""
        if self.registers and {'cls_token', 'pos_embed'} <= ours.keys():
            ours['pos_embed'] = torch.cat([torch.zeros_like(ours['cls_token']), ours['pos_embed']], 1)
        return ours

    def candidates(self, state: State) -> Networks:
        """The networks that a state dict of ours may be of."""
        return self.networks

    def identify(self, state: State) -> Described:
        """See `Layout.identify`. The image size is stated where it is not that of the architecture."""
        shape = vit_shape(state)
        name, size = (self.candidates(state).get(shape) if shape else None) or (None, 0)
        arguments: dict[str, Any] = dict(self.implied)
        side = image_side(state, embedded=not self.registers)
        if side and side != size:
            arguments['img_size'] = side
        if 'blocks.0.attn.qkv.weight' in state and 'blocks.0.attn.qkv.bias' not in state:
            arguments['qkv_bias'] = False
        return name, arguments | headless(state, 'head')


class OriginalLayout(VitLayout):
    """A layout of DINOv2's authors, whose checkpoints have a token for masks that only their training uses."""

    def reduce(self, ours: dict[str, Tensor]) -> dict[str, Tensor]:
        """Adds such a token, of zeros."""
        if 'cls_token' in ours:
            ours['mask_token'] = ours['cls_token'].new_zeros(1, ours['cls_token'].shape[-1])
        return super().reduce(ours)


def check_gates(state: State, gated: bool, layout: str) -> None:
    """Raises ValueError where the MLPs of a state dict of ours are gated and the layout's are not, or the other way
    about: the names are the same, and shapes tell."""
    wide, narrow = (state.get(f'blocks.0.mlp.{name}.weight') for name in ('fc1', 'fc2'))
    if wide is not None and narrow is not None and (wide.shape[0] != narrow.shape[1]) != gated:
        raise ValueError(f'The layout {layout!r} has no place for MLPs that are {"not " * gated}gated.')


def vit_shape(state: State) -> tuple[int, int, int] | None:
    """Width, depth and side of the patches of a state dict of ours."""
    kernel = state.get('patch_embed.proj.weight')
    numbers = {key.split('.')[1] for key in state if key.startswith('blocks.')}
    return None if kernel is None or kernel.ndim != 4 else (kernel.shape[0], len(numbers), kernel.shape[-1])


def image_side(state: State, embedded: bool = True) -> int | None:
    """The side in pixels of the square images that positions are of; None where they are of no square.

    Args:
        embedded: prefix tokens have positions.
    """
    shape, positions = vit_shape(state), state.get('pos_embed')
    if shape is None or positions is None:
        return None
    prefix = sum(state[name].shape[1] for name in PREFIX if name in state) if embedded else 0
    count = positions.shape[-2] - prefix
    side = math.isqrt(max(count, 0))
    return side * shape[2] if side * side == count else None


def block_rules(start: str, **names: str | tuple[str, ...]) -> tuple[Rule, ...]:
    """Rules of a block whose names begin with `start`: ours -> theirs, '.' written as '__'."""
    return tuple(Rule(tuple(start + part for part in theirs) if isinstance(theirs, tuple) else start + theirs,
                      'blocks.{i}.' + ours.replace('__', '.')) for ours, theirs in names.items())


_QKV = ('attention.attention.query', 'attention.attention.key', 'attention.attention.value')
_LIVE = ('attention.q_proj', 'attention.k_proj', 'attention.v_proj')
_EMBEDDINGS = (
    Rule('embeddings.cls_token', 'cls_token'), Rule('embeddings.position_embeddings', 'pos_embed'),
    Rule('embeddings.patch_embeddings.projection', 'patch_embed.proj'), Rule('layernorm', 'norm'),
    Rule('classifier', 'head'))
_VIT_RULES = (
    *_EMBEDDINGS,
    *block_rules('encoder.layer.{i}.', norm1='layernorm_before', norm2='layernorm_after', attn__qkv=_QKV,
                 attn__proj='attention.output.dense', mlp__fc1='intermediate.dense', mlp__fc2='output.dense'),
    # of a network in memory, from version 5
    *block_rules('layers.{i}.', norm1='layernorm_before', norm2='layernorm_after', attn__qkv=_LIVE,
                 attn__proj='attention.o_proj', mlp__fc1='mlp.fc1', mlp__fc2='mlp.fc2'))
_DISTILLED_RULES = (Rule('embeddings.distillation_token', 'dist_token'), Rule('cls_classifier', 'head'),
                    Rule('distillation_classifier', 'head_dist'), *(rule for rule in _VIT_RULES if rule.ours != 'head'))
_DINO_BLOCK = dict(norm1='norm1', norm2='norm2', ls1__gamma='layer_scale1.lambda1', ls2__gamma='layer_scale2.lambda1')
_DINO_RULES = (
    *_EMBEDDINGS, Rule('embeddings.register_tokens', 'reg_token'),
    *block_rules('encoder.layer.{i}.', **_DINO_BLOCK, attn__qkv=_QKV, attn__proj='attention.output.dense'),
    *block_rules('encoder.layer.{i}.', attn__qkv=_LIVE, attn__proj='attention.o_proj'))
_PLAIN_MLP = block_rules('encoder.layer.{i}.', mlp__fc1='mlp.fc1', mlp__fc2='mlp.fc2')
_GATED_MLP = (*block_rules('encoder.layer.{i}.', mlp__fc1='mlp.weights_in', mlp__fc2='mlp.weights_out'),
              *block_rules('encoder.layer.{i}.', mlp__fc1=('mlp.gate_proj', 'mlp.up_proj'), mlp__fc2='mlp.down_proj'))
_GATED = 'encoder.layer.0.mlp.weights_in.weight|encoder.layer.0.mlp.gate_proj.weight'
_DINO_MARKS = ('embeddings.cls_token', 'encoder.layer.0.norm1.weight', 'encoder.layer.0.layer_scale1.lambda1')
_NORMS = 'encoder.layer.0.layernorm_before.weight|layers.0.layernorm_before.weight'
_TINY_EPS = dict(norm_eps=1e-12)


def _dino(gated: bool, registers: bool) -> VitLayout:
    """DINOv2 of transformers."""
    gates, token = tuple(_GATED.split('|')), 'embeddings.register_tokens'
    return VitLayout(
        f'transformers {_dino_name(gated, registers)}', (*_DINO_MARKS, *[_GATED] * gated, *[token] * registers),
        (*_DINO_RULES, *(_GATED_MLP if gated else _PLAIN_MLP)), _DINO_NETWORKS[gated, registers],
        (*gates * (not gated), *[token] * (not registers)), 'dinov2_with_registers.' if registers else 'dinov2.',
        ('classifier',), r'mask_token$', registers=registers, gated=gated)


def _original(gated: bool, registers: bool) -> VitLayout:
    """DINOv2 as its authors publish it: our names but for a few."""
    same = ('norm1', 'norm2', 'attn.qkv', 'attn.proj', 'ls1.gamma', 'ls2.gamma')
    mlp = (('mlp.w12', 'mlp.fc1'), ('mlp.w3', 'mlp.fc2')) if gated else (('mlp.fc1', 'mlp.fc1'), ('mlp.fc2', 'mlp.fc2'))
    rules = [Rule(word, word) for word in ('cls_token', 'pos_embed', 'patch_embed.proj', 'norm', 'mask_token')]
    rules += [Rule('blocks.{i}.' + theirs, 'blocks.{i}.' + ours) for theirs, ours in (*zip(same, same), *mlp)]
    token, gate = 'register_tokens', 'blocks.0.mlp.w12.weight'
    return OriginalLayout(
        f'facebook {_dino_name(gated, registers)}', ('mask_token', 'blocks.0.ls1.gamma', *[gate] * gated,
                                                     *[token] * registers),
        (Rule(token, 'reg_token'), *rules), _DINO_NETWORKS[gated, registers],
        ('storage_tokens', *[gate] * (not gated), *[token] * (not registers)), dropped='^mask_token$',
        registers=registers, gated=gated)


def _dino_name(gated: bool, registers: bool) -> str:
    return f'DINOv2{" giant" * gated}{" with registers" * registers}'


_KINDS = tuple((gated, registers) for gated in (False, True) for registers in (False, True))
_DINO_NETWORKS = dict(zip(_KINDS, (DINOS, REGISTERS, GIANT, GIANT_REGISTERS)))
LAYOUTS = (
    VitLayout('transformers ViT', ('embeddings.cls_token', _NORMS), _VIT_RULES, VITS,
              ('embeddings.distillation_token', 'encoder.layer.0.lambda_1', 'layers.0.lambda_1'), 'vit.',
              ('classifier',), r'^pooler\.|mask_token$', _TINY_EPS),
    VitLayout('transformers DeiT', ('embeddings.distillation_token', _NORMS, 'distillation_classifier.weight'),
              _DISTILLED_RULES, DISTILLED, (), 'deit.', ('cls_classifier', 'distillation_classifier'),
              r'^pooler\.|mask_token$', _TINY_EPS),
    VitLayout('transformers DeiT without teacher', ('embeddings.distillation_token', _NORMS),
              (Rule('embeddings.distillation_token', 'reg_token'), *_VIT_RULES), DEITS,
              ('distillation_classifier.weight',), 'deit.', ('classifier',), r'^pooler\.|mask_token$',
              _TINY_EPS | dict(reg_tokens=1)),
    *(_dino(*kind) for kind in _KINDS), *(_original(*kind) for kind in _KINDS),
    VitLayout('torchvision ViT', ('class_token', 'conv_proj.weight', 'encoder.pos_embedding'), (
        Rule('class_token', 'cls_token'), Rule('encoder.pos_embedding', 'pos_embed'),
        Rule('conv_proj', 'patch_embed.proj'), Rule('encoder.ln', 'norm'), Rule('heads.head', 'head'),
        *block_rules('encoder.layers.encoder_layer_{i}.', norm1='ln_1', norm2='ln_2',
                     attn__proj='self_attention.out_proj', attn__qkv__weight='self_attention.in_proj_weight',
                     attn__qkv__bias='self_attention.in_proj_bias', mlp__fc1='mlp.0', mlp__fc2='mlp.3'),
        *block_rules('encoder.layers.encoder_layer_{i}.', mlp__fc1='mlp.linear_1', mlp__fc2='mlp.linear_2')), VITS),
)

# --- config.json

_VIT = dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072, hidden_act='gelu',
            hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, layer_norm_eps=1e-12, image_size=224,
            patch_size=16, qkv_bias=True)
_DINO = {**_VIT, 'layer_norm_eps': 1e-6, 'mlp_ratio': 4, 'drop_path_rate': 0.0, 'layerscale_value': 1.0,
         'use_swiglu_ffn': False, 'num_register_tokens': 4}


def inner_ratio(inner: int, width: int) -> float:
    """The mlp_ratio that makes an MLP of `width` channels `inner` wide inside."""
    ratio = inner / width
    return ratio if int(width * ratio) == inner else (inner + 0.5) / width


def tower_arguments(given: Mapping[str, Any], inner: int, act_layer: str | None = None) -> dict[str, Any]:
    """Arguments of zoo.models.vision_transformer.VisionTransformer that all kinds of config have."""
    width, size = given['hidden_size'], given['image_size']
    if width % given['num_attention_heads']:
        raise ValueError(f'num_attention_heads is {given["num_attention_heads"]}, and does not divide hidden_size '
                         f'{width}.')
    return dict(img_size=size, patch_size=given['patch_size'], embed_dim=width, depth=given['num_hidden_layers'],
                num_heads=given['num_attention_heads'], mlp_ratio=inner_ratio(inner, width),
                act_layer=act_layer or one_of(given, 'hidden_act', ACTIVATIONS), norm_eps=given['layer_norm_eps'],
                size=size if isinstance(size, int) else size[0])


def record_fields(classifier: str | tuple[str, ...], paper: str) -> dict[str, Any]:
    """Fields of the record that vision transformers share."""
    return dict(first_conv='patch_embed.proj', classifier=classifier, fixed_input_size=True, paper_ids=paper)


def named(networks: Networks, given: Mapping[str, Any], default: tuple[int, int, int] = (768, 12, 16)) -> str:
    """The network of the config's shape, or the one whose class and record it shares."""
    shape = given['hidden_size'], given['num_hidden_layers'], given['patch_size']
    return networks.get(shape, networks[default])[0]


def _dropouts(given: Mapping[str, Any]) -> dict[str, Any]:
    return dict(pos_drop_rate=given['hidden_dropout_prob'], proj_drop_rate=given['hidden_dropout_prob'],
                attn_drop_rate=given['attention_probs_dropout_prob'], qkv_bias=given['qkv_bias'])


def _vit(config: Config) -> Read:
    given = given_fields(config, _VIT)
    arguments = {**tower_arguments(given, given['intermediate_size']), **_dropouts(given)}
    return named(VITS, given), arguments, record_fields('head', 'arXiv:2010.11929')


def _deit(config: Config) -> Read:
    """With a teacher's classifier the network of the paper; without, the token is there and no logits come of it."""
    given = given_fields(config, _VIT)
    teacher = any(name.endswith('WithTeacher') for name in config.get('architectures') or ())
    arguments = {**tower_arguments(given, given['intermediate_size']), **_dropouts(given)}
    if teacher:
        return named(DISTILLED, given), arguments, record_fields(('head', 'head_dist'), 'arXiv:2012.12877')
    return named(DEITS, given), {**arguments, 'reg_tokens': 1}, record_fields('head', 'arXiv:2012.12877')


def _dinov2(config: Config) -> Read:
    given = given_fields(config, _DINO)
    width, registers = given['hidden_size'], 'num_register_tokens' in config or config['model_type'] != 'dinov2'
    inner, gated = int(width * given['mlp_ratio']), given['use_swiglu_ffn']
    if gated:
        inner = 2 * ((inner * 2 // 3 + 7) // 8 * 8)
    arguments = {
        **tower_arguments(given, inner, 'silu' if gated else None), **_dropouts(given),
        'init_values': given['layerscale_value'], 'drop_path_rate': given['drop_path_rate'],
        'mlp_layer': 'swiglu_packed' if gated else 'mlp',
        **(dict(reg_tokens=given['num_register_tokens'], no_embed_class=True) if registers else {})}
    networks = {**REGISTERS, **GIANT_REGISTERS} if registers else {**DINOS, **GIANT}
    return named(networks, given, (768, 12, 14)), arguments, record_fields('head', 'arXiv:2304.07193')


_CROPPED = dict(size=dict(shortest_edge=256), do_center_crop=True, default_to_square=False)
CONFIGS = {
    'vit': ConfigReader(_vit, dict(resample=2, image_mean=HALF, image_std=HALF)),
    'deit': ConfigReader(_deit, dict(size=dict(height=256, width=256), do_center_crop=True)),
    'dinov2': ConfigReader(_dinov2, _CROPPED),
    'dinov2_with_registers': ConfigReader(_dinov2, _CROPPED),
}
