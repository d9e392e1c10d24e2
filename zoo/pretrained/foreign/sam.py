"""The names that Meta and transformers give the parameters of SAM's image encoder (arXiv:2304.02643), alone or with all
of the model around it, and the config.json of transformers.

Both normalise in the blocks with eps 1e-6, the networks of these names here and in timm with 1e-5, which makes maps
that are 1e-5 apart: `norm_eps` says so, and weights load without it too.
"""
from __future__ import annotations

from typing import Any

from .configs import Config, ConfigReader, Read, given_fields
from .layout import Described, State
from .templates import Rule, TemplateLayout
from .vit import block_rules, record_fields, tower_arguments, vit_shape

NETWORKS = {                                                # width, blocks, side of the patches -> the architecture
    (768, 12, 16): 'samvit_base_patch16', (1024, 24, 16): 'samvit_large_patch16',
    (1280, 32, 16): 'samvit_huge_patch16',
}
SIDE, NECK = 1024, 256                                      # of images in pixels; channels of the map that it ends with


class SamLayout(TemplateLayout):
    """A layout of SAM's image encoder."""

    networks = NETWORKS

    def __init__(self, name: str, start: str, patches: str, mark: str, neck: tuple[str, ...], **block: str) -> None:
        self.name, self.starts, self.marks = name, (start, ''), (mark, f'{neck[0]}.weight')
        self.rules = (
            Rule('pos_embed', 'pos_embed'), Rule(patches, 'patch_embed.proj'),
            *(Rule(theirs, f'neck.{number}') for number, theirs in enumerate(neck)), *block_rules(
                f'{mark.partition(".")[0]}.{{i}}.', **block, attn__qkv='attn.qkv', attn__proj='attn.proj',
                attn__rel_pos_h='attn.rel_pos_h', attn__rel_pos_w='attn.rel_pos_w', mlp__fc1='mlp.lin1',
                mlp__fc2='mlp.lin2'))

    def identify(self, state: State) -> Described:
        """See `Layout.identify`. The image's size is stated where it is not SAM's, as the neck's width is."""
        shape = vit_shape(state)
        if shape is None:
            return None, {}
        arguments: dict[str, Any] = dict(norm_eps=1e-6)
        positions, neck = state.get('pos_embed'), state.get('neck.0.weight')
        if positions is None:
            arguments['use_abs_pos'] = False
        elif (size := (positions.shape[1] * shape[2], positions.shape[2] * shape[2])) != (SIDE, SIDE):
            arguments['img_size'] = size
        if neck is not None and len(neck) != NECK:
            arguments['neck_chans'] = len(neck)
        if 'blocks.0.attn.rel_pos_h' not in state:
            arguments['use_rel_pos'] = False
        return self.networks.get(shape), arguments


LAYOUTS = (
    SamLayout('facebook SAM', 'image_encoder.', 'patch_embed.proj', 'blocks.0.mlp.lin1.weight',
              ('neck.0', 'neck.1', 'neck.2', 'neck.3'), norm1='norm1', norm2='norm2'),
    SamLayout('transformers SAM', 'vision_encoder.', 'patch_embed.projection', 'layers.0.mlp.lin1.weight',
              ('neck.conv1', 'neck.layer_norm1', 'neck.conv2', 'neck.layer_norm2'), norm1='layer_norm1',
              norm2='layer_norm2'),
)

# --- config.json

_SAM = dict(hidden_size=768, output_channels=256, num_hidden_layers=12, num_attention_heads=12, image_size=1024,
            patch_size=16, hidden_act='gelu', layer_norm_eps=1e-6, attention_dropout=0.0, qkv_bias=True, mlp_ratio=4.0,
            use_abs_pos=True, use_rel_pos=True, window_size=14, global_attn_indexes=[2, 5, 8, 11])


def _sam(config: Config) -> Read:
    given = given_fields(config, _SAM)
    width, depth = given['hidden_size'], given['num_hidden_layers']
    arguments = tower_arguments(given, given.get('mlp_dim', int(width * given['mlp_ratio'])))
    arguments |= dict(
        qkv_bias=given['qkv_bias'], attn_drop_rate=given['attention_dropout'], use_abs_pos=given['use_abs_pos'],
        use_rel_pos=given['use_rel_pos'], window_size=given['window_size'], neck_chans=given['output_channels'],
        global_attn_indexes=tuple(given['global_attn_indexes']), num_classes=0)
    name = NETWORKS.get((width, depth, given['patch_size']), 'samvit_base_patch16')
    return name, arguments, record_fields('head.fc', 'arXiv:2304.02643') | dict(fixed_input_size=False)


_IMAGES = dict(size=dict(longest_edge=SIDE), pad_size=dict(height=SIDE, width=SIDE), do_pad=True, resample=2)
CONFIGS = {'sam': ConfigReader(_sam, _IMAGES), 'sam_vision_model': ConfigReader(_sam, _IMAGES)}
