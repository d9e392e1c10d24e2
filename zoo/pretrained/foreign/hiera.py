"""The names that other libraries give the parameters of Hiera (arXiv:2306.00989) and of SAM 2's image encoder
(arXiv:2408.00714), and the config.json of transformers' Hiera."""
from __future__ import annotations

import re
from collections.abc import Collection, Mapping

from torch import Tensor, nn

from .configs import Config, ConfigReader, Read, given_fields, only
from .layout import Described, State, headless
from .templates import Rule, TemplateLayout
from .vit import record_fields

Networks = Mapping[tuple[int, tuple[int, ...]], str]     # channels of the first stage, blocks of each
HIERA: Networks = {
    (96, (1, 2, 7, 2)): 'hiera_tiny_224', (96, (1, 2, 11, 2)): 'hiera_small_224', (96, (2, 3, 16, 3)): 'hiera_base_224',
    (112, (2, 3, 16, 3)): 'hiera_base_plus_224', (144, (2, 6, 36, 4)): 'hiera_large_224',
    (256, (2, 6, 36, 4)): 'hiera_huge_224',
}
SAM2: Networks = {
    (96, (1, 2, 7, 2)): 'sam2_hiera_tiny', (96, (1, 2, 11, 2)): 'sam2_hiera_small',
    (112, (2, 3, 16, 3)): 'sam2_hiera_base_plus', (144, (2, 6, 36, 4)): 'sam2_hiera_large',
}
NORM = 'head.norm'
NESTED = re.compile(r'encoder\.stages\.(\d+)\.layers\.(\d+)\.')
FLAT = re.compile(r'encoder\.blocks\.(\d+)\.')


class HieraLayout(TemplateLayout):
    """A layout of Hiera or HieraDet."""

    def __init__(self, name: str, networks: Networks, marks: tuple[str, ...], rules: tuple[Rule, ...],
                 dropped: str = r'(?!)', prefix: str = '') -> None:
        self.name, self.networks, self.marks, self.rules = name, networks, marks, rules
        self.dropped, self.prefix = dropped, prefix

    def identify(self, state: State) -> Described:
        """See `Layout.identify`."""
        kernel = state.get('patch_embed.proj.weight')
        if kernel is None:
            return None, {}
        name = self.networks.get((kernel.shape[0], depths_of(state)))
        return name, headless(state) if self.networks is HIERA else {}


class FacebookHiera(HieraLayout):
    """The original of Hiera, whose final normalisation has another name where there is no classifier."""

    absent = ('blocks.0.attn.pool_q.weight',)                               # MViTv2 has the other names, too

    def complete(self, ours: dict[str, Tensor]) -> dict[str, Tensor]:
        """Gives the normalisation its name."""
        return {key.replace('encoder_norm.', f'{NORM}.'): value for key, value in ours.items()}

    def reduce(self, ours: dict[str, Tensor]) -> dict[str, Tensor]:
        """Gives the normalisation the name that it has there."""
        if 'head.fc.weight' in ours:
            return ours
        return {key.replace(f'{NORM}.', 'encoder_norm.'): value for key, value in ours.items()}


class TransformersHiera(HieraLayout):
    """Hiera in transformers, whose blocks lie in stages; here they are numbered through."""

    def recognises(self, keys: Collection[str]) -> bool:
        """See `TemplateLayout.recognises`."""
        return super().recognises([NESTED.sub('encoder.blocks.0.', key) for key in keys])

    def to_ours(self, state: State, model: nn.Module | None = None) -> dict[str, Tensor]:
        """See `Layout.to_ours`."""
        found = {(int(match[1]), int(match[2])) for key in state if (match := NESTED.search(key))}
        numbers = {place: number for number, place in enumerate(sorted(found))}

        def flat(match: re.Match[str]) -> str:
            return f'encoder.blocks.{numbers[int(match[1]), int(match[2])]}.'

        return super().to_ours({NESTED.sub(flat, key): value for key, value in state.items()}, model)

    def to_theirs(self, state: State) -> dict[str, Tensor]:
        """See `Layout.to_theirs`."""
        places = [(stage, block) for stage, depth in enumerate(depths_of(state)) for block in range(depth)]

        def nested(match: re.Match[str]) -> str:
            stage, block = places[int(match[1])]
            return f'encoder.stages.{stage}.layers.{block}.'

        return {FLAT.sub(nested, key): value for key, value in super().to_theirs(state).items()}


class Sam2Layout(HieraLayout):
    """SAM 2's image encoder, alone or with all of the model around it, of which nothing else is taken. It has no final
    normalisation: here that is the identity."""

    starts = ('', 'image_encoder.trunk.', 'vision_encoder.backbone.', 'backbone.', 'trunk.')

    def complete(self, ours: dict[str, Tensor]) -> dict[str, Tensor]:
        """Adds the final normalisation."""
        bias = next((value for key, value in reversed(ours.items()) if key.endswith('mlp.fc2.bias')), None)
        if bias is None:
            return ours
        return ours | {f'{NORM}.weight': bias.new_ones(bias.shape), f'{NORM}.bias': bias.new_zeros(bias.shape)}

    def reduce(self, ours: dict[str, Tensor]) -> dict[str, Tensor]:
        """Leaves the final normalisation out where it changes nothing."""
        norm = [ours.get(f'{NORM}.{name}') for name in ('weight', 'bias')]
        if all(value is None or value.is_meta or bool(value.eq(1 - number).all()) for number, value in enumerate(norm)):
            return {key: value for key, value in ours.items() if not key.startswith(f'{NORM}.')}
        return ours


def depths_of(state: State) -> tuple[int, ...]:
    """The blocks of each stage of a state dict of ours: the first of a stage has a shortcut of its own."""
    numbers = {int(match[1]) for key in state if (match := re.match(r'blocks\.(\d+)\.', key))}
    starts = [0, *sorted(number for number in numbers if f'blocks.{number}.proj.weight' in state), len(numbers)]
    return tuple(end - start for start, end in zip(starts, starts[1:]))


def _rules(patches: str, positions: Mapping[str, str], block: str, names: tuple[str, ...], norm: str = '',
           head: str = '') -> tuple[Rule, ...]:
    """Rules of a whole network: `block` with {i}, `names` of a block's two normalisations and the layers of its MLP."""
    ours = ('norm1', 'norm2', 'mlp.fc1', 'mlp.fc2', 'attn.qkv', 'attn.proj', 'proj')
    rules = [Rule(patches, 'patch_embed.proj'), *(Rule(theirs, name) for theirs, name in positions.items())]
    rules += [Rule(block + theirs, f'blocks.{{i}}.{name}') for theirs, name in zip((*names, *ours[4:]), ours)]
    rules += [Rule(theirs, name) for theirs, name in ((norm, NORM), (head, 'head.fc')) if theirs]
    return tuple(rules)


_POSITIONS = {'pos_embed': 'pos_embed', 'pos_embed_window': 'pos_embed_window'}
LAYOUTS = (
    FacebookHiera('facebook Hiera', HIERA, ('blocks.0.attn.qkv.weight', 'head.projection.weight|encoder_norm.weight'), (
        *_rules('patch_embed.proj', {'pos_embed': 'pos_embed'}, 'blocks.{i}.', ('norm1', 'norm2', 'mlp.fc1', 'mlp.fc2'),
                'norm', 'head.projection'), Rule('encoder_norm', 'encoder_norm')),
        r'^(decoder|mask_token|multi_scale_fusion_heads)'),
    TransformersHiera('transformers Hiera', HIERA, ('embeddings.patch_embeddings.projection.weight',
                                                    'encoder.blocks.0.layernorm_before.weight'), _rules(
        'embeddings.patch_embeddings.projection', {'embeddings.position_embeddings': 'pos_embed'},
        'encoder.blocks.{i}.', ('layernorm_before', 'layernorm_after', 'mlp.fc1', 'mlp.fc2'), 'pooler.layernorm',
        'classifier'), r'^(decoder|multiscale_fusion)', prefix='hiera.'),
    Sam2Layout('facebook SAM2', SAM2, ('pos_embed_window', 'blocks.0.mlp.layers.0.weight'), _rules(
        'patch_embed.proj', _POSITIONS, 'blocks.{i}.', ('norm1', 'norm2', 'mlp.layers.0', 'mlp.layers.1'))),
    Sam2Layout('transformers SAM2', SAM2, ('pos_embed_window', 'blocks.0.layer_norm1.weight'), _rules(
        'patch_embed.projection', _POSITIONS, 'blocks.{i}.',
        ('layer_norm1', 'layer_norm2', 'mlp.proj_in', 'mlp.proj_out'))),
)

# --- config.json

_HIERA = dict(image_size=[224, 224], patch_size=[7, 7], patch_stride=[4, 4], patch_padding=[3, 3], embed_dim=96,
              mlp_ratio=4.0, depths=[2, 3, 16, 3], num_heads=[1, 2, 4, 8], embed_dim_multiplier=2.0, num_query_pool=3,
              query_stride=[2, 2], masked_unit_size=[8, 8], masked_unit_attention=[True, True, False, False],
              drop_path_rate=0.0, hidden_act='gelu', layer_norm_eps=1e-6)


def _hiera(config: Config) -> Read:
    given = given_fields(config, _HIERA)
    heads, size = given['num_heads'], given['image_size']
    side = size if isinstance(size, int) else size[0]
    only(given, hidden_act='gelu', layer_norm_eps=1e-6, image_size=side if isinstance(size, int) else [side, side],
         num_heads=[heads[0] * 2 ** stage for stage in range(len(heads))])
    depths = tuple(given['depths'])
    arguments = dict(
        img_size=side, embed_dim=given['embed_dim'], num_heads=heads[0], stages=depths, mlp_ratio=given['mlp_ratio'],
        dim_mul=given['embed_dim_multiplier'], q_pool=given['num_query_pool'], q_stride=tuple(given['query_stride']),
        mask_unit_size=tuple(given['masked_unit_size']), mask_unit_attn=tuple(given['masked_unit_attention']),
        patch_kernel=tuple(given['patch_size']), patch_stride=tuple(given['patch_stride']),
        patch_padding=tuple(given['patch_padding']), drop_path_rate=given['drop_path_rate'], size=side)
    name = HIERA.get((given['embed_dim'], depths), 'hiera_tiny_224')
    return name, arguments, record_fields('head.fc', 'arXiv:2306.00989')


CONFIGS = {'hiera': ConfigReader(_hiera)}
