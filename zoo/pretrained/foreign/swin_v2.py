"""The names that other libraries give the parameters of Swin Transformer V2 (arXiv:2111.09883), and the config.json of
transformers. All of them merge pixels at the end of a stage, ours at the start of the next."""
from __future__ import annotations

from typing import Any

from torch import Tensor

from ...spec import IMAGENET_MEAN, IMAGENET_STD
from .configs import Config, ConfigReader, Read, given_fields
from .layout import Described, State
from .swin import STAGES, SwinLayout, _same
from .templates import Rule

# channels of the first stage, blocks of each -> the architecture by its windows' side in the first stage, and the side
# of those that it was trained with; the first is meant where nothing says which
NETWORKS: dict[tuple[int, tuple[int, ...]], dict[tuple[int, int], str]] = {
    (96, (2, 2, 6, 2)): {(8, 8): 'swinv2_tiny_window8_256', (16, 16): 'swinv2_tiny_window16_256'},
    (96, (2, 2, 18, 2)): {(8, 8): 'swinv2_small_window8_256', (16, 16): 'swinv2_small_window16_256'},
    (128, (2, 2, 18, 2)): {(8, 8): 'swinv2_base_window8_256', (16, 16): 'swinv2_base_window16_256',
                           (12, 12): 'swinv2_base_window12_192', (16, 12): 'swinv2_base_window12to16_192to256',
                           (24, 12): 'swinv2_base_window12to24_192to384'},
    (192, (2, 2, 18, 2)): {(12, 12): 'swinv2_large_window12_192', (16, 12): 'swinv2_large_window12to16_192to256',
                           (24, 12): 'swinv2_large_window12to24_192to384'},
}
COORDINATES = 'layers.{}.blocks.0.attn.relative_coords_table'


class SwinV2Layout(SwinLayout):
    """A layout of Swin Transformer V2. Of the windows' size only Microsoft's checkpoints speak, by what they hold
    beside the weights."""

    def __init__(self, name: str, marks: tuple[str, ...], rules: tuple[Rule, ...], prefix: str = '') -> None:
        super().__init__(name, marks, rules, prefix=prefix)
        self.dropped = r'relative_position_index$|relative_coords_table$|attn_mask$'

    def identify(self, state: State) -> Described:
        """See `Layout.identify`."""
        return self._named(state, [])

    def describe(self, state: State) -> Described:
        """See `Layout.describe`."""
        tables = [state.get(COORDINATES.format(stage)) for stage in range(STAGES)]
        return self._named(self.to_ours(state), [windows_of(table) for table in tables if table is not None])

    def _named(self, state: State, windows: list[tuple[int, int]]) -> Described:
        kernel = state.get('patch_embed.proj.weight')
        if kernel is None:
            return None, {}
        depths = tuple(len({key.split('.')[3] for key in state if key.startswith(f'layers.{stage}.blocks.')})
                       for stage in range(STAGES))
        known = NETWORKS.get((kernel.shape[0], depths), {})
        arguments: dict[str, Any] = {} if 'head.fc.weight' in state else {'num_classes': 0}
        if windows and windows[0] not in known:
            used, trained = zip(*windows)
            arguments |= {'window_size': list(used), 'pretrained_window_sizes': trained}
        first = next(iter(known.values()), None)
        return (known.get(windows[0], first) if windows else first), arguments


def windows_of(coordinates: Tensor) -> tuple[int, int]:
    """The side of a square window, and of the one that it was trained with, from the logarithms of its offsets (1,
    2 side - 1, 2 side - 1, 2), of which the farthest is 1 where they are the same."""
    side = (coordinates.shape[1] + 1) // 2
    farthest = 8 ** coordinates.max().item() - 1                    # in eighths of the window it was trained with
    return side, round(1 + 8 * (side - 1) / farthest) if side > 1 else side


def _microsoft() -> tuple[Rule, ...]:
    rules = [*_same('', '', 'patch_embed.proj', 'patch_embed.norm', 'norm'), Rule('head', 'head.fc')]
    for stage in range(STAGES):
        start = f'layers.{stage}.blocks.{{i}}.'
        rules += _same(start, start, 'norm1', 'norm2', 'attn.qkv', 'attn.q_bias', 'attn.v_bias', 'attn.logit_scale',
                       'attn.cpb_mlp.0', 'attn.cpb_mlp.2', 'attn.proj', 'mlp.fc1', 'mlp.fc2')
        if stage:
            rules += _same(f'layers.{stage - 1}.downsample.', f'layers.{stage}.downsample.', 'norm', 'reduction')
    return tuple(rules)


def _transformers() -> tuple[Rule, ...]:
    rules = [Rule('embeddings.patch_embeddings.projection', 'patch_embed.proj'),
             Rule('embeddings.norm', 'patch_embed.norm'), Rule('layernorm', 'norm'), Rule('classifier', 'head.fc')]
    for stage in range(STAGES):
        theirs, ours = f'encoder.layers.{stage}.blocks.{{i}}.', f'layers.{stage}.blocks.{{i}}.'
        inner, attn = theirs + 'attention.self.', ours + 'attn.'
        rules += [
            Rule(inner + 'query.bias', attn + 'q_bias'), Rule(inner + 'value.bias', attn + 'v_bias'),
            Rule((inner + 'query', inner + 'key', inner + 'value'), attn + 'qkv'),
            Rule(inner + 'logit_scale', attn + 'logit_scale'),
            Rule(inner + 'continuous_position_bias_mlp.{j}', attn + 'cpb_mlp.{j}'),
            Rule(theirs + 'attention.output.dense', attn + 'proj'),
            Rule(theirs + 'layernorm_before', ours + 'norm1'), Rule(theirs + 'layernorm_after', ours + 'norm2'),
            Rule(theirs + 'intermediate.dense', ours + 'mlp.fc1'), Rule(theirs + 'output.dense', ours + 'mlp.fc2')]
        if stage:
            rules += _same(f'encoder.layers.{stage - 1}.downsample.', f'layers.{stage}.downsample.', 'norm',
                           'reduction')
    return tuple(rules)


LAYOUTS = (
    SwinV2Layout('microsoft SwinV2', ('layers.0.blocks.0.attn.cpb_mlp.0.weight',
                                      'layers.0.downsample.reduction.weight'), _microsoft()),
    SwinV2Layout('transformers Swinv2', (
        'encoder.layers.0.blocks.0.attention.self.continuous_position_bias_mlp.0.weight',
        'encoder.layers.0.downsample.reduction.weight'), _transformers(), 'swinv2.'),
)

# --- config.json

_SWINV2 = dict(image_size=224, patch_size=4, embed_dim=96, depths=[2, 2, 6, 2], num_heads=[3, 6, 12, 24], window_size=7,
               pretrained_window_sizes=[0, 0, 0, 0], mlp_ratio=4.0, qkv_bias=True, hidden_dropout_prob=0.0,
               attention_probs_dropout_prob=0.0, drop_path_rate=0.1, hidden_act='gelu', use_absolute_embeddings=False,
               layer_norm_eps=1e-5)


def _swinv2(config: Config) -> Read:
    given = given_fields(config, _SWINV2)
    for field, value in (('use_absolute_embeddings', False), ('hidden_act', 'gelu'), ('layer_norm_eps', 1e-5)):
        if given[field] != value:
            raise ValueError(f'{field} is {given[field]!r}; networks here have {value!r}.')
    depths, size, window = tuple(given['depths']), given['image_size'], given['window_size']
    trained = tuple(given['pretrained_window_sizes'])
    known = NETWORKS.get((given['embed_dim'], depths), {})
    arguments = dict(
        img_size=size, patch_size=given['patch_size'], embed_dim=given['embed_dim'], depths=depths,
        num_heads=tuple(given['num_heads']), window_size=window, pretrained_window_sizes=trained,
        mlp_ratio=given['mlp_ratio'], qkv_bias=given['qkv_bias'], proj_drop_rate=given['hidden_dropout_prob'],
        attn_drop_rate=given['attention_probs_dropout_prob'], drop_path_rate=given['drop_path_rate'], size=size)
    fields = dict(first_conv='patch_embed.proj', classifier='head.fc', fixed_input_size=True,
                  paper_ids='arXiv:2111.09883')
    name = known.get((window, trained[0] or window), next(iter(known.values()), 'swinv2_tiny_window8_256'))
    return name, arguments, fields


CONFIGS = {'swinv2': ConfigReader(_swinv2, dict(image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD))}
