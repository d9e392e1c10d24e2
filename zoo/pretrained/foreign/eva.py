"""The names that BAAI gives the parameters of EVA-02 (arXiv:2303.11331) and of the image towers of EVA-CLIP
(arXiv:2303.15389). EVA's (arXiv:2211.07636) are ours but where they stand in a CLIP.

The angles of the rotary embedding, which their checkpoints hold beside the weights, follow from the image's size and
are left out: there, load what is converted with strict=False.
"""
from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from torch import Tensor

from .layout import Described, State
from .templates import Rule, TemplateLayout
from .vit import block_rules, check_gates, image_side, vit_shape

# width, blocks, side of the patches and of the images -> the architecture
Networks = Mapping[tuple[int, int, int, int], str]

PLAIN_TOWERS: Networks = {
    (1408, 40, 14, 224): 'eva_giant_patch14_clip_224', (1792, 64, 14, 224): 'eva02_enormous_patch14_clip_224',
}
TOWERS: Networks = {
    (768, 12, 16, 224): 'eva02_base_patch16_clip_224', (1024, 24, 14, 224): 'eva02_large_patch14_clip_224',
    (1024, 24, 14, 336): 'eva02_large_patch14_clip_336',
}
SMALL: Networks = {
    (192, 12, 14, 224): 'eva02_tiny_patch14_224', (192, 12, 14, 336): 'eva02_tiny_patch14_336',
    (384, 12, 14, 224): 'eva02_small_patch14_224', (384, 12, 14, 336): 'eva02_small_patch14_336',
}
LARGE: Networks = {
    (768, 12, 14, 224): 'eva02_base_patch14_224', (768, 12, 14, 448): 'eva02_base_patch14_448',
    (1024, 24, 14, 224): 'eva02_large_patch14_224', (1024, 24, 14, 448): 'eva02_large_patch14_448',
}
SAME = ('norm1', 'norm2', 'attn.proj')
FUSED = {name: name for name in ('attn.q_bias', 'attn.v_bias', 'attn.qkv.weight')}
SPLIT = {f'attn.{part}_proj.weight': f'attn.{part}_proj.weight' for part in 'qkv'} | {
    f'attn.{part}_proj.bias': f'attn.{part}_bias' for part in 'qv'}
NORMED = {'mlp.fc1_g': 'mlp.w1', 'mlp.fc1_x': 'mlp.w2', 'mlp.norm': 'mlp.ffn_ln', 'mlp.fc2': 'mlp.w3'}
INNER = {'attn.norm': 'attn.inner_attn_ln'}


class EvaLayout(TemplateLayout):
    """A layout of EVA; of checkpoints of masked image modelling, the token for masks and what predicts are left out."""

    dropped = r'^lm_head\.|rope\.freqs_(cos|sin)$'

    def __init__(self, name: str, marks: tuple[str, ...], networks: Networks, names: Mapping[str, str],
                 absent: tuple[str, ...] = (), starts: tuple[str, ...] = ('',), gated: bool = False) -> None:
        outside = ('cls_token', 'pos_embed', 'patch_embed.proj', 'norm', 'head', *['fc_norm'] * ('' == starts[0]))
        self.name, self.marks, self.absent, self.starts = name, marks, absent, starts
        self.networks, self.gated = networks, gated
        self.rules = (*(Rule(word, word) for word in outside), *block_rules(
            'blocks.{i}.', **{ours.replace('.', '__'): theirs for ours, theirs in names.items()},
            **{word.replace('.', '__'): word for word in SAME}))

    def to_theirs(self, state: State) -> dict[str, Tensor]:
        """See `Layout.to_theirs`."""
        check_gates(state, self.gated, self.name)
        return super().to_theirs(state)

    def complete(self, ours: dict[str, Tensor]) -> dict[str, Tensor]:
        """The last normalisation of masked image modelling becomes the one after pooling, as it is in timm."""
        if ours.pop('mask_token', None) is None:
            return ours
        return {key.replace('norm.', 'fc_norm.') if key.startswith('norm.') else key: value
                for key, value in ours.items()}

    def identify(self, state: State) -> Described:
        """See `Layout.identify`. The image size is stated where no architecture has it."""
        shape, side = vit_shape(state), image_side(state)
        if shape is None:
            return None, {}
        alike = {size: name for (*found, size), name in self.networks.items() if tuple(found) == shape}
        name = alike.get(side or 0, next(iter(alike.values()), None))
        tower = self.starts[0] != ''
        arguments: dict[str, Any] = {} if side in alike or side is None else {'img_size': side}
        if 'norm.weight' in state and not tower:
            arguments['global_pool'] = 'token'
        if tower or 'head.weight' not in state:
            arguments['num_classes'] = len(state.get('head.weight', ()))
        return name, arguments


_GATED, _INNER, _SPLIT = (f'blocks.0.{name}.weight' for name in ('mlp.w1', 'attn.inner_attn_ln', 'attn.q_proj'))
LAYOUTS = (
    EvaLayout('BAAI EVA-CLIP', ('cls_token', 'blocks.0.attn.q_bias', 'blocks.0.mlp.fc1.weight'), PLAIN_TOWERS,
              FUSED | {'mlp.fc1': 'mlp.fc1', 'mlp.fc2': 'mlp.fc2'}, starts=('visual.',)),
    EvaLayout('BAAI EVA-02-CLIP', (_GATED, _INNER, _SPLIT), TOWERS, SPLIT | NORMED | INNER, starts=('visual.', '')),
    EvaLayout('BAAI EVA-02 small', ('blocks.0.attn.q_bias', 'blocks.0.mlp.w12.weight'), SMALL,
              FUSED | {'mlp.fc1': 'mlp.w12', 'mlp.fc2': 'mlp.w3'}, gated=True),
    EvaLayout('BAAI EVA-02', (_GATED, _SPLIT), LARGE, SPLIT | NORMED, (_INNER,)),
)
