"""Layers that at least two models use; each module is imported when it is first used."""
from __future__ import annotations

from ..lazy import lazy_names

_PUBLIC = {
    'act': ('create_act', 'get_act_layer'),
    'attention': ('MultiHeadAttention2d', 'MultiQueryAttention2d'),
    'conv': ('CondConv2d', 'MixedConv2d', 'SameConv2d', 'conv2d', 'pad_same'),
    'drop': ('DropPath',),
    'init': ('init_tensorflow',),
    'mbconv': ('Style', 'build_stages'),
    'mlp': ('GlobalResponseNormMlp', 'Mlp'),
    'norm': ('EvoNorm2dS0', 'GlobalResponseNorm', 'GroupNorm', 'LayerNorm2d', 'Norm'),
    'patch_embed': ('PatchEmbed',),
    'pool': ('BlurPool2d', 'GlobalPool', 'create_aa'),
    'positions': ('resample_abs_pos_embed', 'resample_patch_embed'),
    'scale': ('LayerScale', 'LayerScale2d'),
    'squeeze': ('GlobalContext', 'SqueezeExcite'),
}
__all__, __getattr__, __dir__ = lazy_names(__name__, _PUBLIC)
