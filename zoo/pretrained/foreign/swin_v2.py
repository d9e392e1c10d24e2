"""The names that other libraries give the parameters of Swin Transformer V2 (arXiv:2111.09883), and the config.json of
transformers. All of them merge pixels at the end of a stage, ours at the start of the next."""
from __future__ import annotations

from torch import Tensor

from ...spec import IMAGENET_MEAN, IMAGENET_STD
from .configs import Config, ConfigReader, Read, given_fields
from .layout import Described, State, headless, staged_shape
from .swin import STAGES, SWIN, SwinLayout, microsoft_rules, swin_arguments, transformers_rules
from .templates import Rule
from .vit import record_fields

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
        shape = staged_shape(state, 'layers')
        if shape is None:
            return None, {}
        known = NETWORKS.get(shape, {})
        arguments = headless(state)
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


_TRANSFORMERS = transformers_rules(*(rule.inside('attention.self.', 'attn.') for rule in (
    Rule('query.bias', 'q_bias'), Rule('value.bias', 'v_bias'), Rule(('query', 'key', 'value'), 'qkv'),
    Rule('logit_scale', 'logit_scale'), Rule('continuous_position_bias_mlp.{j}', 'cpb_mlp.{j}'))))
LAYOUTS = (
    SwinV2Layout('microsoft SwinV2', ('layers.0.blocks.0.attn.cpb_mlp.0.weight',
                                      'layers.0.downsample.reduction.weight'), microsoft_rules(
        'q_bias', 'v_bias', 'logit_scale', 'cpb_mlp.0', 'cpb_mlp.2')),
    SwinV2Layout('transformers Swinv2', (
        'encoder.layers.0.blocks.0.attention.self.continuous_position_bias_mlp.0.weight',
        'encoder.layers.0.downsample.reduction.weight'), _TRANSFORMERS, 'swinv2.'),
)

# --- config.json

_SWINV2 = {**SWIN, 'pretrained_window_sizes': [0, 0, 0, 0]}


def _swinv2(config: Config) -> Read:
    given = given_fields(config, _SWINV2)
    window, trained = given['window_size'], tuple(given['pretrained_window_sizes'])
    known = NETWORKS.get((given['embed_dim'], tuple(given['depths'])), {})
    name = known.get((window, trained[0] or window), next(iter(known.values()), 'swinv2_tiny_window8_256'))
    return name, swin_arguments(given) | dict(pretrained_window_sizes=trained), record_fields(
        'head.fc', 'arXiv:2111.09883')


CONFIGS = {'swinv2': ConfigReader(_swinv2, dict(image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD))}
