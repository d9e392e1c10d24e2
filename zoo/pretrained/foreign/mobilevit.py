"""The names that transformers gives the parameters of MobileViT (arXiv:2110.02178) and MobileViTv2 (arXiv:2206.02680), and
its config.json.

Networks there take images whose channels are blue, green, red, which their processor turns around; here red comes first, and
the first convolution is turned around in place of the images. Maps that are not of whole patches are resized here, as the
authors' code does; in transformers' MobileViTv2 they are not, which makes other logits at such sizes.
"""
from __future__ import annotations

from collections.abc import Mapping

from .configs import ACTIVATIONS, Config, ConfigReader, Read, given_fields, one_of, only
from .layout import Described, State, headless
from .templates import AS_IT_IS, BLUE_FIRST, Reshape, Rule, TemplateLayout

# what is normalised last in a network -> its name: channels of MobileViT's last convolution, of MobileViTv2's last stage
FIRST: Mapping[int, str] = {320: 'mobilevit_xxs', 384: 'mobilevit_xs', 640: 'mobilevit_s'}
SECOND: Mapping[int, str] = {round(5.12 * percent): f'mobilevitv2_{percent:03}' for percent in range(50, 201, 25)}
BOTTLENECK = {'expand_1x1': 'conv1_1x1', 'conv_3x3': 'conv2_kxk', 'reduce_1x1': 'conv3_1x1'}
BLOCK = {'conv_kxk': 'conv_kxk', 'conv_projection': 'conv_proj', 'fusion': 'conv_fusion'}
ATTENTION = 'attention.attention.'
LAYER = (Rule(tuple(f'{ATTENTION}{name}' for name in ('query', 'key', 'value')), 'attn.qkv'),
         Rule('attention.output.dense', 'attn.proj'), Rule('intermediate.dense', 'mlp.fc1'), Rule('output.dense', 'mlp.fc2'))
LINEAR_LAYER = tuple(Rule(f'{theirs}.convolution', ours) for theirs, ours in (
    ('attention.qkv_proj', 'attn.qkv_proj'), ('attention.out_proj', 'attn.out_proj'), ('ffn.conv1', 'mlp.fc1'),
    ('ffn.conv2', 'mlp.fc2')))
STAGES, PLAIN = 5, 2                                     # all stages, and those of bottlenecks alone


class MobileViTLayout(TemplateLayout):
    """A layout of one of the two versions.

    Args:
        layer: rules of a layer of its transformers. mark: a convolution, or a linear layer, of one.
    """

    def __init__(self, version: str, prefix: str, mark: str, layer: tuple[Rule, ...], networks: Mapping[int, str]) -> None:
        self.name, self.prefix, self.networks = f'transformers MobileViT{version}', prefix, networks
        self.marks = ('conv_stem.convolution.weight', f'encoder.layer.2.transformer.layer.0.{mark}.weight')
        rules = [*_conv_norm('conv_stem', 'stem', BLUE_FIRST), *_conv_norm('conv_1x1_exp', 'final_conv'),
                 Rule('classifier', 'head.fc')]
        inside = [*layer, Rule('layernorm_before', 'norm1'), Rule('layernorm_after', 'norm2')]
        block = [rule for theirs, ours in BLOCK.items() for rule in _conv_norm(theirs, ours)]
        block += [Rule('conv_1x1.convolution', 'conv_1x1'), Rule('layernorm', 'norm'),
                  *(rule.inside('transformer.layer.{i}.', 'transformer.{i}.') for rule in inside)]
        bottleneck = [rule for theirs, ours in BOTTLENECK.items() for rule in _conv_norm(theirs, ours)]
        for stage in range(STAGES):
            theirs, ours = f'encoder.layer.{stage}.', f'stages.{stage}.'
            if stage < PLAIN:
                rules += [rule.inside(f'{theirs}layer.{{i}}.', f'{ours}{{i}}.') for rule in bottleneck]
            else:
                rules += [rule.inside(f'{theirs}downsampling_layer.', f'{ours}0.') for rule in bottleneck]
                rules += [rule.inside(theirs, f'{ours}1.') for rule in block]
        self.rules = tuple(rules)

    def identify(self, state: State) -> Described:
        """See `Layout.identify`."""
        last = state.get('final_conv.bn.weight', state.get(f'stages.{STAGES - 1}.1.conv_proj.bn.weight'))
        return None if last is None else self.networks.get(len(last)), headless(state)


def _conv_norm(theirs: str, ours: str, shape: Reshape = AS_IT_IS) -> tuple[Rule, Rule]:
    return (Rule(f'{theirs}.convolution', f'{ours}.conv', shape), Rule(f'{theirs}.normalization', f'{ours}.bn'))


LAYOUTS = (MobileViTLayout('', 'mobilevit.', 'intermediate.dense', LAYER, FIRST),
           MobileViTLayout('V2', 'mobilevitv2.', 'ffn.conv1.convolution', LINEAR_LAYER, SECOND))

# --- config.json

_FIXED = dict(patch_size=2, conv_kernel_size=3, output_stride=32, layer_norm_eps=1e-5)
_FIRST = _FIXED | dict(
    image_size=256, hidden_sizes=[144, 192, 240], neck_hidden_sizes=[16, 32, 64, 96, 128, 160, 640], expand_ratio=4.0,
    num_attention_heads=4, mlp_ratio=2.0, qkv_bias=True, hidden_act='silu', hidden_dropout_prob=0.1,
    attention_probs_dropout_prob=0.0, classifier_dropout_prob=0.1)
_SECOND = _FIXED | dict(
    image_size=256, width_multiplier=1.0, n_attn_blocks=[2, 4, 3], base_attn_unit_dims=[128, 192, 256], expand_ratio=2.0,
    ffn_multiplier=2, hidden_act='swish', ffn_dropout=0.0, attn_dropout=0.0, classifier_dropout_prob=0.1)
# channels of the stem, the stages and the last convolution -> widths of the transformers, and of the bottlenecks inside
_WIDTHS = {(16, 16, 24, 48, 64, 80, 320): ([64, 80, 96], 2), (16, 32, 48, 64, 80, 96, 384): ([96, 120, 144], 4),
           (16, 32, 64, 96, 128, 160, 640): ([144, 192, 240], 4)}
_RECORD = dict(first_conv='stem.conv', classifier='head.fc', mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))


def _version1(config: Config) -> Read:
    given = given_fields(config, _FIRST)
    only(given, **_FIXED, qkv_bias=True)
    necks = tuple(given['neck_hidden_sizes'])
    if _WIDTHS.get(necks) != (given['hidden_sizes'], given['expand_ratio']):
        raise ValueError(f'neck_hidden_sizes of {list(necks)}, hidden_sizes of {given["hidden_sizes"]} and expand_ratio '
                         f'{given["expand_ratio"]} are of no MobileViT here.')
    options = dict(num_heads=given['num_attention_heads'], mlp_ratio=given['mlp_ratio'], drop=given['hidden_dropout_prob'],
                   attn_drop=given['attention_probs_dropout_prob'])
    return FIRST[necks[-1]], _arguments(given, options), {**_RECORD, 'paper_ids': 'arXiv:2110.02178'}


def _version2(config: Config) -> Read:
    given = given_fields(config, _SECOND)
    only(given, **_FIXED, **{name: _SECOND[name] for name in (
        'n_attn_blocks', 'base_attn_unit_dims', 'expand_ratio', 'ffn_dropout')})
    name = SECOND.get(round(512 * given['width_multiplier']))
    if name is None:
        raise ValueError(f'A MobileViTv2 with width_multiplier {given["width_multiplier"]} is not here: '
                         f'{", ".join(SECOND.values())}.')
    options = dict(mlp_ratio=given['ffn_multiplier'], attn_drop=given['attn_dropout'])
    return name, _arguments(given, options), {**_RECORD, 'paper_ids': 'arXiv:2206.02680'}


def _arguments(given: Config, options: dict[str, object]) -> dict[str, object]:
    """Arguments of the network; `options` are those of its blocks with a transformer."""
    return dict(act_layer=one_of(given, 'hidden_act', ACTIVATIONS), drop_rate=given['classifier_dropout_prob'],
                block_kwargs=dict(bottle_in=True, linear_out=True, **options), size=given['image_size'])


_PROCESSOR = dict(size=dict(shortest_edge=224), crop_size=dict(height=256, width=256), do_center_crop=True,
                  do_normalize=False, default_to_square=False, do_flip_channel_order=True)
CONFIGS = {'mobilevit': ConfigReader(_version1, _PROCESSOR, blue_first=True),
           'mobilevitv2': ConfigReader(_version2, _PROCESSOR, blue_first=True)}
