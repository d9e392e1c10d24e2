"""The names that other libraries give the image towers of CLIP (arXiv:2103.00020) and SigLIP (arXiv:2303.15343), and
the config.json of transformers. Texts are left out.

Which GELU a network of CLIP has, no tensor shows: OpenAI's have the quick one, which is what transformers means where
nothing else is said; open_clip's own have the exact one.
"""
from __future__ import annotations

from collections.abc import Collection

from torch import Tensor, nn

from ...spec import CLIP_MEAN, CLIP_STD, HALF
from .configs import Config, ConfigReader, Read, given_fields
from .layout import Described, Layout, State
from .templates import IN_BATCH, TOKEN, TRANSPOSED, Rule
from .vit import Networks, VitLayout, block_rules, named, record_fields, tower_arguments

QUICK: Networks = {
    (768, 12, 16): ('vit_base_patch16_clip_quickgelu_224', 224),
    (768, 12, 32): ('vit_base_patch32_clip_quickgelu_224', 224),
    (1024, 24, 14): ('vit_large_patch14_clip_quickgelu_224', 224),
    (1280, 32, 14): ('vit_huge_patch14_clip_quickgelu_224', 224),
    (1664, 48, 14): ('vit_gigantic_patch14_clip_quickgelu_224', 224),
}
EXACT: Networks = {
    (768, 12, 16): ('vit_base_patch16_clip_224', 224), (768, 12, 32): ('vit_base_patch32_clip_224', 224),
    (1024, 24, 14): ('vit_large_patch14_clip_224', 224), (1280, 32, 14): ('vit_huge_patch14_clip_224', 224),
    (1408, 40, 14): ('vit_giant_patch14_clip_224', 224), (1664, 48, 14): ('vit_gigantic_patch14_clip_224', 224),
}
SIGLIPS: Networks = {
    (768, 12, 16): ('vit_base_patch16_siglip_224', 224), (768, 12, 32): ('vit_base_patch32_siglip_256', 256),
    (1024, 24, 16): ('vit_large_patch16_siglip_256', 256), (1152, 27, 14): ('vit_so400m_patch14_siglip_224', 224),
    (1152, 27, 16): ('vit_so400m_patch16_siglip_256', 256), (1536, 40, 16): ('vit_giantopt_patch16_siglip_256', 256),
}
TEXTS = r'^(text_model|text_projection|logit_scale|logit_bias)\b|position_ids$'


class ClipLayout(VitLayout):
    """A layout of CLIP's towers, whose classifier is the projection into the space shared with texts, without a
    bias."""

    def complete(self, ours: dict[str, Tensor]) -> dict[str, Tensor]:
        """A bias of zeros."""
        if 'head.weight' in ours:
            ours['head.bias'] = ours['head.weight'].new_zeros(len(ours['head.weight']))
        return ours

    def reduce(self, ours: dict[str, Tensor]) -> dict[str, Tensor]:
        """Leaves out a bias of zeros; any other has no place."""
        if 'head.bias' in ours and (ours['head.bias'].is_meta or not ours['head.bias'].any()):
            del ours['head.bias']
        return ours

    def identify(self, state: State) -> Described:
        """See `Layout.identify`; the head's width is that of the shared space."""
        name, arguments = super().identify(state)
        return name, {**arguments, 'num_classes': len(state.get('head.weight', ()))}


class OpenClipLayout(ClipLayout):
    """The image tower in a model of open_clip."""

    starts = ('visual.',)


class TrunkLayout(Layout):
    """A network of timm in a model of open_clip: our names, and a projection as its head."""

    name = 'open_clip trunk'
    start = 'visual.trunk.'
    heads = (('visual.head.proj', ''), ('visual.head.mlp.fc1', 'head.pre_logits.fc'),
             ('visual.head.mlp.fc2', 'head.fc'))

    def recognises(self, keys: Collection[str]) -> bool:
        """Whether there is a trunk."""
        return any(key.startswith(self.start) for key in keys)

    def to_ours(self, state: State, model: nn.Module | None = None) -> dict[str, Tensor]:
        """See `Layout.to_ours`."""
        ours = {key.removeprefix(self.start): value for key, value in state.items() if key.startswith(self.start)}
        plain = 'head.fc' if any(key.startswith('head.norm') for key in ours) else 'head'
        for key, value in state.items():
            for theirs, name in self.heads:
                if key.startswith(f'{theirs}.'):
                    ours[f'{name or plain}{key.removeprefix(theirs)}'] = value
        for name in ('head.fc', 'head'):
            if f'{name}.weight' in ours and f'{name}.bias' not in ours:
                ours[f'{name}.bias'] = ours[f'{name}.weight'].new_zeros(len(ours[f'{name}.weight']))
        return ours

    def to_theirs(self, state: State) -> dict[str, Tensor]:
        """Refused: which network of timm the trunk is, open_clip's own configuration says.

        Raises:
            ValueError: always.
        """
        raise ValueError(f'The layout {self.name!r} is read, not written.')

    def describe(self, state: State) -> Described:
        """See `Layout.describe`: the width of the head alone."""
        return self.identify(self.to_ours(state))

    def identify(self, state: State) -> Described:
        """See `Layout.identify`."""
        head = state.get('head.fc.weight', state.get('head.weight', ()))
        return None, {'num_classes': len(head)}


def pool_rules(start: str, attention: str, fc1: str, fc2: str) -> tuple[Rule, ...]:
    """Rules of pooling by attention, whose names begin with `start`: one layer makes queries, keys and values."""
    pool = 'attn_pool.'
    return (Rule(f'{start}probe', f'{pool}latent'), Rule(f'{start}layernorm', f'{pool}norm'),
            *(Rule(f'{start}{attention}.in_proj_{kind}', (f'{pool}q.{kind}', f'{pool}kv.{kind}'), shares=(1, 2))
              for kind in ('weight', 'bias')),
            Rule(f'{start}{attention}.out_proj', f'{pool}proj'), Rule(start + fc1, f'{pool}mlp.fc1'),
            Rule(start + fc2, f'{pool}mlp.fc2'))


_SIDES = ('self_attn.q_proj', 'self_attn.k_proj', 'self_attn.v_proj')
_TOWER = (
    Rule('embeddings.position_embedding.weight', 'pos_embed', IN_BATCH),
    Rule('embeddings.patch_embedding', 'patch_embed.proj'), Rule('post_layernorm', 'norm'),
    *block_rules('encoder.layers.{i}.', norm1='layer_norm1', norm2='layer_norm2', attn__qkv=_SIDES,
                 attn__proj='self_attn.out_proj', mlp__fc1='mlp.fc1', mlp__fc2='mlp.fc2'))
OPEN_CLIP = (
    Rule('class_embedding', 'cls_token', TOKEN), Rule('positional_embedding', 'pos_embed', IN_BATCH),
    Rule('conv1', 'patch_embed.proj'), Rule('ln_pre', 'norm_pre'), Rule('ln_post', 'norm'),
    Rule('proj', 'head.weight', TRANSPOSED),
    *block_rules('transformer.resblocks.{i}.', norm1='ln_1', norm2='ln_2', attn__proj='attn.out_proj',
                 attn__qkv__weight='attn.in_proj_weight', attn__qkv__bias='attn.in_proj_bias', mlp__fc1='mlp.c_fc',
                 mlp__fc2='mlp.c_proj'))
LAYOUTS = (
    ClipLayout('transformers CLIP', ('embeddings.class_embedding', 'pre_layrnorm.weight'), (
        *_TOWER, Rule('embeddings.class_embedding', 'cls_token', TOKEN), Rule('pre_layrnorm', 'norm_pre'),
        Rule('visual_projection', 'head')), QUICK, (), 'vision_model.', ('visual_projection',), TEXTS,
        dict(norm_eps=1e-5)),
    OpenClipLayout('open_clip CLIP', ('class_embedding', 'ln_pre.weight', 'ln_post.weight'), OPEN_CLIP, EXACT,
                   ('attn_pool.probe',), implied=dict(norm_eps=1e-5)),
    VitLayout('transformers SigLIP', ('head.probe', 'embeddings.position_embedding.weight'), (
        *_TOWER, *pool_rules('head.', 'attention', 'mlp.fc1', 'mlp.fc2')),
        SIGLIPS, (), 'vision_model.', (), TEXTS, dict(act_layer='gelu_tanh')),
    TrunkLayout(),
)

# --- config.json

_CLIP = dict(hidden_size=768, num_hidden_layers=12, num_attention_heads=12, intermediate_size=3072,
             hidden_act='quick_gelu', layer_norm_eps=1e-5, image_size=224, patch_size=32, attention_dropout=0.0,
             projection_dim=512)
_SIGLIP = {**_CLIP, 'hidden_act': 'gelu_pytorch_tanh', 'layer_norm_eps': 1e-6, 'patch_size': 16}


def _clip(config: Config) -> Read:
    given = given_fields(config, _CLIP)
    alone = any(name == 'CLIPVisionModel' for name in config.get('architectures') or ())
    arguments = {**tower_arguments(given, given['intermediate_size']), 'attn_drop_rate': given['attention_dropout'],
                 'num_classes': 0 if alone else given['projection_dim']}
    return named(QUICK, given), arguments, record_fields('head', 'arXiv:2103.00020')


def _siglip(config: Config) -> Read:
    given = given_fields(config, _SIGLIP)
    arguments = {**tower_arguments(given, given['intermediate_size']), 'attn_drop_rate': given['attention_dropout'],
                 'num_classes': 0}
    return named(SIGLIPS, given), arguments, record_fields('head', 'arXiv:2303.15343')


_CLIP_IMAGES = dict(size=dict(shortest_edge=224), do_center_crop=True, default_to_square=False, image_mean=CLIP_MEAN,
                    image_std=CLIP_STD)
_SIGLIP_IMAGES = dict(image_mean=HALF, image_std=HALF)
CONFIGS = {
    'clip': ConfigReader(_clip, _CLIP_IMAGES), 'clip_vision_model': ConfigReader(_clip, _CLIP_IMAGES),
    'siglip': ConfigReader(_siglip, _SIGLIP_IMAGES), 'siglip_vision_model': ConfigReader(_siglip, _SIGLIP_IMAGES),
}
