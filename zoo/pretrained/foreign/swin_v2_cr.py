"""The names that timm first gave the parameters of Swin Transformer V2 as Christoph Reich wrote it (arXiv:2111.09883):
another one for the classifier, and before that temperatures in place of the logarithms of what they divide by."""
from __future__ import annotations

from collections.abc import Mapping

from .layout import Described, State, headless, staged_shape
from .templates import Reshape, Rule, TemplateLayout

# channels, blocks of each stage, heads of the first, a normalisation after each -> the architecture, of 224 pixels
# where the weights are the same at others
NETWORKS: Mapping[tuple[int, tuple[int, ...], int, bool], str] = {
    (96, (2, 2, 6, 2), 3, False): 'swinv2_cr_tiny_224', (96, (2, 2, 6, 2), 3, True): 'swinv2_cr_tiny_ns_224',
    (96, (2, 2, 18, 2), 3, False): 'swinv2_cr_small_224', (96, (2, 2, 18, 2), 3, True): 'swinv2_cr_small_ns_224',
    (128, (2, 2, 18, 2), 4, False): 'swinv2_cr_base_224', (128, (2, 2, 18, 2), 4, True): 'swinv2_cr_base_ns_224',
    (192, (2, 2, 18, 2), 6, False): 'swinv2_cr_large_224', (352, (2, 2, 18, 2), 8, False): 'swinv2_cr_huge_224',
    (352, (2, 2, 18, 2), 11, False): 'swinv2_cr_huge_384', (512, (2, 2, 42, 2), 16, False): 'swinv2_cr_giant_224',
}
LOGARITHM = Reshape(lambda value: value.reciprocal().log(), lambda value: value.exp().reciprocal())
BLOCK = 'stages.{i}.blocks.{j}.'


class OldLayout(TemplateLayout):
    """The first names. Temperatures are written, and logarithms read as well."""

    name, networks = 'old-timm SwinV2-CR', NETWORKS
    marks = ('stages.0.blocks.0.attn.meta_mlp.fc1.weight', 'head.weight|stages.0.blocks.0.attn.tau')
    rules = (
        Rule('head', 'head.fc'), Rule(f'{BLOCK}attn.tau', f'{BLOCK}attn.logit_scale', LOGARITHM),
        *(Rule(name, name) for name in (
            f'{BLOCK}attn.logit_scale', 'patch_embed.proj', 'patch_embed.norm', 'stages.{i}.downsample.norm',
            'stages.{i}.downsample.reduction', *(BLOCK + part for part in (
                'norm1', 'norm2', 'norm3', 'attn.qkv', 'attn.proj', 'attn.meta_mlp.fc1', 'attn.meta_mlp.fc2', 'mlp.fc1',
                'mlp.fc2')))))

    def identify(self, state: State) -> Described:
        """See `Layout.identify`."""
        shape, scale = staged_shape(state, 'stages'), state.get('stages.0.blocks.0.attn.logit_scale')
        if shape is None or scale is None:
            return None, {}
        normed = f'stages.0.blocks.{shape[1][0] - 1}.norm3.weight' in state
        return self.networks.get((*shape, scale.numel(), normed)), headless(state)


LAYOUTS = (OldLayout(),)
