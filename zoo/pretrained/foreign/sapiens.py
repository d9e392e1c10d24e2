"""The names that Meta gives the parameters of Sapiens 2 (arXiv:2604.21681). A token for masks and the periods of the
rotary embedding, which follow from the width, are left out."""
from __future__ import annotations

from .layout import Described, State, headless
from .templates import Rule, TemplateLayout
from .vit import block_rules, vit_shape


class SapiensLayout(TemplateLayout):
    """The layout of the authors."""

    name = 'facebook Sapiens2'
    marks = ('storage_tokens', 'blocks.0.attn.wq.weight', 'blocks.0.ffn.w12.weight')
    dropped = r'^mask_token$|rope'
    networks = {                                            # width, blocks, side of the patches -> the architecture
        (768, 12, 16): 'vit_base_patch16_sapiens2', (1024, 24, 16): 'vit_large_patch16_sapiens2',
        (1280, 32, 16): 'vit_huge_patch16_sapiens2', (1536, 40, 16): 'vit_giant_patch16_sapiens2',
        (2432, 56, 16): 'vit_5b_patch16_sapiens2',
    }
    rules = (
        Rule('cls_token', 'cls_token'), Rule('storage_tokens', 'reg_token'), Rule('ln1', 'norm'),
        Rule('patch_embed.projection', 'patch_embed.proj'),
        *block_rules('blocks.{i}.', norm1='ln1', norm2='ln2', gamma_1='attn.gamma.weight', attn__q_proj='attn.wq',
                     attn__k_proj='attn.wk', attn__v_proj='attn.wv', attn__proj='attn.proj', attn__q_norm='attn.q_norm',
                     attn__k_norm='attn.k_norm', mlp__fc1='ffn.w12', mlp__fc2='ffn.w3'))

    def identify(self, state: State) -> Described:
        """See `Layout.identify`."""
        shape = vit_shape(state)
        return (self.networks.get(shape) if shape else None), headless(state, 'head')


LAYOUTS = (SapiensLayout(),)
