"""The names that transformers and Microsoft give the parameters of FocalNet (arXiv:2203.11926), and the config.json of
transformers.

- Whether blocks normalise what goes in or what comes out, no name there says. All that is published normalises what
  comes out where it has factors of the branches; other weights go by the network that they are loaded into.
- transformers fills up images of odd sizes with zeros, and here as in Microsoft's code what is over is cut off.
"""
from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from ...spec import CLIP_MEAN, CLIP_STD
from .configs import Config, ConfigReader, Read, given_fields, only
from .layout import Described, State, headless, staged_shape
from .templates import AS_IT_IS, POINTWISE, Rule, TemplateLayout

# channels of the first stage, blocks of each, convolutions that gather -> the architecture, kernel of the first of them
NETWORKS: Mapping[tuple[int, tuple[int, ...], int], tuple[str, int]] = {
    (96, (2, 2, 6, 2), 2): ('focalnet_tiny_srf', 3), (96, (2, 2, 6, 2), 3): ('focalnet_tiny_lrf', 3),
    (96, (2, 2, 18, 2), 2): ('focalnet_small_srf', 3), (96, (2, 2, 18, 2), 3): ('focalnet_small_lrf', 3),
    (128, (2, 2, 18, 2), 2): ('focalnet_base_srf', 3), (128, (2, 2, 18, 2), 3): ('focalnet_base_lrf', 3),
    (192, (2, 2, 18, 2), 3): ('focalnet_large_fl3', 5), (192, (2, 2, 18, 2), 4): ('focalnet_large_fl4', 3),
    (256, (2, 2, 18, 2), 3): ('focalnet_xlarge_fl3', 5), (256, (2, 2, 18, 2), 4): ('focalnet_xlarge_fl4', 3),
    (352, (2, 2, 18, 2), 3): ('focalnet_huge_fl3', 3), (352, (2, 2, 18, 2), 4): ('focalnet_huge_fl4', 3),
}
STAGES = 4
FIRST = 'layers.0.blocks.0.modulation.focal_layers.'
POST = re.compile(r'\.(norm[12])\.')


class FocalLayout(TemplateLayout):
    """A layout of FocalNet."""

    networks = NETWORKS

    def __init__(self, name: str, marks: tuple[str, ...], rules: tuple[Rule, ...], prefix: str = '') -> None:
        self.name, self.marks, self.rules, self.prefix = name, marks, rules, prefix

    def to_ours(self, state: State, model: nn.Module | None = None) -> dict[str, Tensor]:
        """See `Layout.to_ours`. Normalisations are at the end of the branches where those of `model` are."""
        ours = super().to_ours(state, model)
        names, sign = (ours, '.ls1.gamma') if model is None else (model.state_dict(), '.norm1_post.weight')
        if not any(key.endswith(sign) for key in names):
            return ours
        return {POST.sub(r'.\1_post.', key): value for key, value in ours.items()}

    def identify(self, state: State) -> Described:
        """See `Layout.identify`."""
        shape = staged_shape(state, 'layers', 'stem.proj.weight')
        kernels = [state[key].shape[-1] for key in state if key.startswith(FIRST)]
        if shape is None or not kernels:
            return None, {}
        name, window = self.networks.get((*shape, len(kernels))) or (None, kernels[0])
        windows = {} if window == kernels[0] else {'focal_windows': (kernels[0],) * len(shape[1])}
        return name, headless(state) | windows


def _rules(patches: tuple[str, str], stage: str, block: str, names: Mapping[str, str], norm: str, head: str,
           projection: str) -> tuple[Rule, ...]:
    """Rules of a whole network: `stage` and `block` with {stage}, `names` in a block, ours -> theirs."""
    rules = [Rule(patches[0], 'stem.proj'), Rule(patches[1], 'stem.norm'), Rule(norm, 'norm'), Rule(head, 'head.fc')]
    same = {name: name for name in ('mlp.fc1', 'mlp.fc2', 'norm1', 'norm2', 'modulation.focal_layers.{j}.0')}
    ends = {'norm1_post': 'norm1', 'norm2_post': 'norm2', 'ls1.gamma': 'gamma_1', 'ls2.gamma': 'gamma_2'}
    linear = ('mlp.fc1', 'mlp.fc2', 'modulation.f', 'modulation.proj')
    for number in range(STAGES):
        start = block.replace('{stage}', str(number))
        rules += [Rule(theirs, ours, POINTWISE if ours in linear else AS_IT_IS).inside(
                      start, f'layers.{number}.blocks.{{i}}.') for ours, theirs in {**same, **names, **ends}.items()]
        if number:
            down = f'{stage.replace("{stage}", str(number - 1))}downsample.'
            rules += [Rule(down + projection, f'layers.{number}.downsample.proj'),
                      Rule(f'{down}norm', f'layers.{number}.downsample.norm')]
    return tuple(rules)


_OWN = {f'modulation.{name}': f'modulation.{name}' for name in ('f', 'h', 'proj')}
_THEIRS = {'modulation.f': 'modulation.projection_in', 'modulation.h': 'modulation.projection_context',
           'modulation.proj': 'modulation.projection_out', 'modulation.norm': 'modulation.layernorm'}
LAYOUTS = (
    FocalLayout('transformers FocalNet', ('encoder.stages.0.layers.0.modulation.projection_in.weight',), _rules(
        ('embeddings.patch_embeddings.projection', 'embeddings.norm'), 'encoder.stages.{stage}.',
        'encoder.stages.{stage}.layers.{i}.', _THEIRS, 'layernorm', 'classifier', 'projection'), 'focalnet.'),
    FocalLayout('microsoft FocalNet', ('patch_embed.proj.weight', 'layers.0.blocks.0.modulation.f.weight'), _rules(
        ('patch_embed.proj', 'patch_embed.norm'), 'layers.{stage}.', 'layers.{stage}.blocks.{i}.',
        _OWN | {'modulation.norm': 'modulation.ln'}, 'norm', 'head', 'proj')),
)

# --- config.json

_FOCALNET = dict(image_size=224, patch_size=4, embed_dim=96, depths=[2, 2, 6, 2], focal_levels=[2, 2, 2, 2],
                 focal_windows=[3, 3, 3, 3], use_conv_embed=False, hidden_act='gelu', mlp_ratio=4.0,
                 hidden_dropout_prob=0.0, drop_path_rate=0.1, use_layerscale=False, layerscale_value=1e-4,
                 use_post_layernorm=False, use_post_layernorm_in_modulation=False, normalize_modulator=False,
                 layer_norm_eps=1e-5)


def _focalnet(config: Config) -> Read:
    given = given_fields(config, _FOCALNET)
    only(given, hidden_act='gelu', layer_norm_eps=1e-5, patch_size=4)
    depths, levels = tuple(given['depths']), tuple(given['focal_levels'])
    arguments = dict(
        embed_dim=given['embed_dim'], depths=depths, focal_levels=levels, focal_windows=tuple(given['focal_windows']),
        mlp_ratio=given['mlp_ratio'], use_overlap_down=given['use_conv_embed'],
        use_post_norm=given['use_post_layernorm'], normalize_modulator=given['normalize_modulator'],
        use_post_norm_in_modulation=given['use_post_layernorm_in_modulation'],
        layerscale_value=given['layerscale_value'] if given['use_layerscale'] else None,
        proj_drop_rate=given['hidden_dropout_prob'], drop_path_rate=given['drop_path_rate'], size=given['image_size'])
    fields = dict(first_conv='stem.proj', classifier='head.fc', paper_ids='arXiv:2203.11926')
    name, _ = NETWORKS.get((given['embed_dim'], depths, levels[0]), ('focalnet_tiny_srf', 3))
    return name, arguments, fields


CONFIGS = {'focalnet': ConfigReader(_focalnet, dict(
    size=dict(shortest_edge=224), do_center_crop=True, default_to_square=False, image_mean=CLIP_MEAN,
    image_std=CLIP_STD))}
