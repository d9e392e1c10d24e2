"""The names that transformers gives the parameters of BEiT (arXiv:2106.08254, arXiv:2208.06366), and its config.json.
Microsoft's own checkpoints have our names, and an index beside each table, which loading leaves out."""
from __future__ import annotations

import math
from typing import Any

from torch import Tensor

from ...spec import HALF
from .configs import Config, ConfigReader, Read, given_fields, only
from .layout import Described, State, headless
from .templates import Rule, TemplateLayout
from .vit import block_rules, inner_ratio, record_fields, vit_shape

# width, blocks, side of the images in pixels -> the architecture
NETWORKS = {
    (768, 12, 224): 'beit_base_patch16_224', (768, 12, 384): 'beit_base_patch16_384',
    (1024, 24, 224): 'beit_large_patch16_224', (1024, 24, 384): 'beit_large_patch16_384',
    (1024, 24, 512): 'beit_large_patch16_512',
}
PATCH = 16
TABLE = 'relative_position_bias_table'


class BeitLayout(TemplateLayout):
    """The layout of transformers."""

    decisive = {'norm_eps': 1e-6, 'global_pool': 'avg'}

    def __init__(self) -> None:
        self.name, self.prefix = 'transformers BEiT', 'beit.'
        self.marks = ('embeddings.cls_token', 'encoder.layer.0.lambda_1|layers.0.lambda_1')
        self.rules, self.dropped = _rules(), r'relative_position_index$|mask_token$'
        self.networks = NETWORKS

    def reduce(self, ours: dict[str, Tensor]) -> dict[str, Tensor]:
        """Checks that queries have biases, without which there is no BEiT there."""
        if 'blocks.0.attn.q_bias' not in ours:
            raise ValueError(f'The layout {self.name!r} has no place for attention without biases (qkv_bias=False).')
        return ours

    def identify(self, state: State) -> Described:
        """See `Layout.identify`. The image size is stated where no architecture has it."""
        shape = vit_shape(state)
        if shape is None:
            return None, {}
        width, depth, patch = shape
        own, shared = state.get(f'blocks.0.attn.{TABLE}'), state.get(f'rel_pos_bias.{TABLE}')
        table = own if own is not None else shared
        side = None if table is None else (math.isqrt(len(table) - 3) + 1) // 2 * patch
        name = NETWORKS.get((width, depth, side or 0)) or NETWORKS.get((width, depth, 224))
        arguments: dict[str, Any] = dict(norm_eps=1e-12)
        if 'norm.weight' in state:
            arguments['global_pool'] = 'token'
        if name and side and not name.endswith(f'_{side}'):
            arguments['img_size'] = side
        if name and patch != PATCH:
            arguments['patch_size'] = patch
        for option, there in (('use_rel_pos_bias', own is not None), ('use_abs_pos_emb', 'pos_embed' in state),
                              ('use_shared_rel_pos_bias', shared is not None)):
            if there != (option == 'use_rel_pos_bias'):
                arguments[option] = there
        return name, arguments | headless(state, 'head')


def _rules() -> tuple[Rule, ...]:
    inner = 'attention.attention.'
    return (
        Rule('embeddings.cls_token', 'cls_token'), Rule('embeddings.position_embeddings', 'pos_embed'),
        Rule('embeddings.patch_embeddings.projection', 'patch_embed.proj'), Rule('layernorm', 'norm'),
        Rule('pooler.layernorm', 'fc_norm'), Rule('classifier', 'head'),
        Rule(f'encoder.relative_position_bias.{TABLE}', f'rel_pos_bias.{TABLE}'),
        *block_rules('encoder.layer.{i}.', norm1='layernorm_before', norm2='layernorm_after', gamma_1='lambda_1',
                     gamma_2='lambda_2', attn__q_bias=f'{inner}query.bias', attn__v_bias=f'{inner}value.bias',
                     attn__qkv__weight=tuple(f'{inner}{name}.weight' for name in ('query', 'key', 'value')),
                     attn__relative_position_bias_table=f'{inner}relative_position_bias.{TABLE}',
                     attn__proj='attention.output.dense', mlp__fc1='intermediate.dense', mlp__fc2='output.dense'),
        # of a network in memory, from version 5
        Rule(f'shared_position_bias.{TABLE}', f'rel_pos_bias.{TABLE}'),
        *block_rules('layers.{i}.', norm1='layernorm_before', norm2='layernorm_after', gamma_1='lambda_1',
                     gamma_2='lambda_2', attn__q_bias='attention.q_proj.bias', attn__v_bias='attention.v_proj.bias',
                     attn__qkv__weight=tuple(f'attention.{name}_proj.weight' for name in 'qkv'),
                     attn__relative_position_bias_table=f'relative_position_bias.{TABLE}',
                     attn__proj='attention.o_proj', mlp__fc1='mlp.fc1', mlp__fc2='mlp.fc2'))


LAYOUTS = (BeitLayout(),)

# --- config.json

_BEIT = dict(
    hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072, hidden_act='gelu',
    hidden_dropout_prob=0.0, attention_probs_dropout_prob=0.0, layer_norm_eps=1e-12, image_size=224, patch_size=16,
    use_absolute_position_embeddings=False, use_relative_position_bias=False, use_shared_relative_position_bias=False,
    layer_scale_init_value=0.1, drop_path_rate=0.1, use_mean_pooling=True)


def _beit(config: Config) -> Read:
    given = given_fields(config, _BEIT)
    only(given, hidden_act='gelu')
    width, size, depth = given['hidden_size'], given['image_size'], given['num_hidden_layers']
    arguments = dict(
        img_size=size, patch_size=given['patch_size'], embed_dim=width, depth=depth,
        num_heads=given['num_attention_heads'], mlp_ratio=inner_ratio(given['intermediate_size'], width),
        norm_eps=given['layer_norm_eps'], init_values=given['layer_scale_init_value'] or None,
        use_abs_pos_emb=given['use_absolute_position_embeddings'], use_rel_pos_bias=given['use_relative_position_bias'],
        use_shared_rel_pos_bias=given['use_shared_relative_position_bias'],
        global_pool='avg' if given['use_mean_pooling'] else 'token', pos_drop_rate=given['hidden_dropout_prob'],
        proj_drop_rate=given['hidden_dropout_prob'], attn_drop_rate=given['attention_probs_dropout_prob'],
        drop_path_rate=given['drop_path_rate'], size=size if isinstance(size, int) else size[0])
    name = NETWORKS.get((width, depth, arguments['size']), NETWORKS[768, 12, 224])
    return name, arguments, record_fields('head', 'arXiv:2106.08254')


CONFIGS = {'beit': ConfigReader(_beit, dict(size=dict(height=256, width=256), do_center_crop=True, image_mean=HALF,
                                            image_std=HALF))}
