"""The names that Meta gives the parameters of Perception Encoder (arXiv:2504.13181), which are those of open_clip with
pooling by attention, or with no pooling and no normalisation before it where it is for language models or maps."""
from __future__ import annotations

from .clip import OPEN_CLIP, ClipLayout, pool_rules
from .vit import Networks, block_rules

CORE: Networks = {
    (192, 12, 16): ('vit_pe_core_tiny_patch16_384', 384), (384, 12, 16): ('vit_pe_core_small_patch16_384', 384),
    (768, 12, 16): ('vit_pe_core_base_patch16_224', 224), (1024, 24, 14): ('vit_pe_core_large_patch14_336', 336),
    (1536, 50, 14): ('vit_pe_core_gigantic_patch14_448', 448),
}
DENSE: Networks = {
    (192, 12, 16): ('vit_pe_spatial_tiny_patch16_512', 512), (384, 12, 16): ('vit_pe_spatial_small_patch16_512', 512),
    (768, 12, 16): ('vit_pe_spatial_base_patch16_512', 512), (1024, 23, 14): ('vit_pe_lang_large_patch14_448', 448),
    (1024, 24, 14): ('vit_pe_spatial_large_patch14_448', 448),
    (1536, 47, 14): ('vit_pe_lang_gigantic_patch14_448', 448),
    (1536, 50, 14): ('vit_pe_spatial_gigantic_patch14_448', 448),
}


class CoreLayout(ClipLayout):
    """The image tower of a model for images and texts, with it or alone."""

    starts = ('visual.', '')


class DenseLayout(ClipLayout):
    """An encoder for language models or dense prediction."""

    starts = ('', 'visual.')


_RULES = (*OPEN_CLIP, *block_rules('transformer.resblocks.{i}.', gamma_1='ls_1.gamma', gamma_2='ls_2.gamma'))
_MARKS = ('conv1.weight', 'ln_pre.weight', 'transformer.resblocks.0.attn.in_proj_weight')
LAYOUTS = (
    CoreLayout('facebook PE core', (*_MARKS, 'attn_pool.probe'),
               (*_RULES, *pool_rules('attn_pool.', 'attn', 'mlp.c_fc', 'mlp.c_proj')), CORE),
    DenseLayout('facebook PE lang and spatial', _MARKS, _RULES, DENSE, ('attn_pool.probe', 'ln_post.weight')),
)
