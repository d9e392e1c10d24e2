"""Layers that at least two models use."""
from __future__ import annotations

from .act import create_act, get_act_layer
from .attention import MultiHeadAttention2d, MultiQueryAttention2d
from .conv import CondConv2d, MixedConv2d, SameConv2d, conv2d, pad_same
from .drop import DropPath
from .init import init_tensorflow
from .mbconv import Style, build_stages
from .mlp import GlobalResponseNormMlp, Mlp
from .norm import EvoNorm2dS0, GlobalResponseNorm, GroupNorm, LayerNorm2d, Norm
from .patch_embed import PatchEmbed
from .pool import BlurPool2d, GlobalPool, create_aa
from .positions import resample_abs_pos_embed, resample_patch_embed
from .scale import LayerScale, LayerScale2d
from .squeeze import GlobalContext, SqueezeExcite

__all__ = ['BlurPool2d', 'CondConv2d', 'DropPath', 'EvoNorm2dS0', 'GlobalContext', 'GlobalPool', 'GlobalResponseNorm',
           'GlobalResponseNormMlp', 'GroupNorm', 'LayerNorm2d', 'LayerScale', 'LayerScale2d', 'MixedConv2d', 'Mlp',
           'MultiHeadAttention2d', 'MultiQueryAttention2d', 'Norm', 'PatchEmbed', 'SameConv2d', 'SqueezeExcite', 'Style',
           'build_stages', 'conv2d', 'create_aa', 'create_act', 'get_act_layer', 'init_tensorflow', 'pad_same',
           'resample_abs_pos_embed', 'resample_patch_embed']
