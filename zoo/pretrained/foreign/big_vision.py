"""The names that Google's own code gives the parameters of vision transformers, in `.npz` files: those of the paper
and of AugReg (arXiv:2106.10270), and big_vision's, SigLIP (arXiv:2303.15343) among them.

Kernels there have their inputs first and keep the heads apart. They were trained with the approximation of GELU by
tanh; the networks by name have the exact one (act_layer='gelu_tanh' changes it), as timm has. A layer `pre_logits` is
left out.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Collection

import torch
from torch import Tensor, nn

from .clip import SIGLIPS
from .layout import State
from .templates import Reshape, Rule
from .vit import VITS, Networks, VitLayout


def _read_only(into: Callable[[Tensor], Tensor]) -> Reshape:
    return Reshape(into, lambda value: value)


def _stacked(count: int) -> Reshape:
    """`count` kernels (width, heads, features), the one under the other -> (count * heads * features, width)."""
    return _read_only(lambda value: torch.cat([part.flatten(1).t() for part in value.chunk(count)]))


_LINEAR = _read_only(lambda value: value.t().contiguous())
_OUT = _read_only(lambda value: value.flatten(0, 1).t().contiguous())                    # (heads, features, width)
_CONV = _read_only(lambda value: value.permute(3, 2, 0, 1).contiguous())
_FLAT = _read_only(Tensor.flatten)


def _linear(theirs: str, ours: str, kernel: Reshape = _LINEAR) -> list[Rule]:
    return [Rule(f'{theirs}.kernel', f'{ours}.weight', kernel), Rule(f'{theirs}.bias', f'{ours}.bias')]


def _norm(theirs: str, ours: str) -> list[Rule]:
    return [Rule(f'{theirs}.scale', f'{ours}.weight'), Rule(f'{theirs}.bias', f'{ours}.bias')]


def _projections(start: str, names: str, ours: str) -> list[Rule]:
    """Queries, keys and values, or some of them, in one layer of ours."""
    parts = names.split()
    return [Rule(tuple(f'{start}.{name}.kernel' for name in parts), f'{ours}.weight', _stacked(len(parts))),
            Rule(tuple(f'{start}.{name}.bias' for name in parts), f'{ours}.bias', _FLAT)]


def _blocks(start: str, attention: str, second_norm: str, mlp: str) -> list[Rule]:
    ours = 'blocks.{i}.'
    return [*_norm(f'{start}.LayerNorm_0', ours + 'norm1'), *_norm(f'{start}.{second_norm}', ours + 'norm2'),
            *_projections(f'{start}.{attention}', 'query key value', ours + 'attn.qkv'),
            *_linear(f'{start}.{attention}.out', ours + 'attn.proj', _OUT),
            *_linear(f'{start}.{mlp}.Dense_0', ours + 'mlp.fc1'), *_linear(f'{start}.{mlp}.Dense_1', ours + 'mlp.fc2')]


_POOL, _BLOCK = 'MAPHead_0', 'Transformer.encoderblock_{i}'
_RULES = (
    Rule('cls', 'cls_token'), Rule('pos_embedding', 'pos_embed'),
    Rule('Transformer.posembed_input.pos_embedding', 'pos_embed'), *_linear('embedding', 'patch_embed.proj', _CONV),
    *_norm('Transformer.encoder_norm', 'norm'),
    *_linear('head', 'head'),
    *_blocks(_BLOCK, 'MultiHeadDotProductAttention_1', 'LayerNorm_2', 'MlpBlock_3'),
    *_blocks(_BLOCK, 'MultiHeadDotProductAttention_0', 'LayerNorm_1', 'MlpBlock_0'),
    Rule(f'{_POOL}.probe', 'attn_pool.latent'), *_norm(f'{_POOL}.LayerNorm_0', 'attn_pool.norm'),
    *_projections(f'{_POOL}.MultiHeadDotProductAttention_0', 'query', 'attn_pool.q'),
    *_projections(f'{_POOL}.MultiHeadDotProductAttention_0', 'key value', 'attn_pool.kv'),
    *_linear(f'{_POOL}.MultiHeadDotProductAttention_0.out', 'attn_pool.proj', _OUT),
    *_linear(f'{_POOL}.MlpBlock_0.Dense_0', 'attn_pool.mlp.fc1'),
    *_linear(f'{_POOL}.MlpBlock_0.Dense_1', 'attn_pool.mlp.fc2'))


class BigVisionLayout(VitLayout):
    """Google's names; in its files their parts stand between slashes. Read, not written: how many heads there are,
    which its kernels show, no tensor of ours does."""

    def recognises(self, keys: Collection[str]) -> bool:
        """Whether there are the patches' embedding and an encoder."""
        plain = {self._plain(key) for key in keys}
        return 'embedding.kernel' in plain and any(key.startswith('Transformer.encoderblock') for key in plain)

    def to_ours(self, state: State, model: nn.Module | None = None) -> dict[str, Tensor]:
        """See `Layout.to_ours`. Blocks that are stacked in one tensor each are taken apart."""
        apart: dict[str, Tensor] = {}
        for key, value in state.items():
            if '/encoderblock/' in key:
                apart |= {key.replace('/encoderblock/', f'/encoderblock_{number}/'): part
                          for number, part in enumerate(value.unbind())}
            else:
                apart[key] = value
        return super().to_ours(apart, model)

    def to_theirs(self, state: State) -> dict[str, Tensor]:
        """Refused, see the class.

        Raises:
            ValueError: always.
        """
        raise ValueError(f'The layout {self.name!r} is read, not written.')

    def candidates(self, state: State) -> Networks:
        """Towers that pool by attention are SigLIP's."""
        return SIGLIPS if 'attn_pool.latent' in state else self.networks

    def _plain(self, key: str) -> str:
        return re.sub(r'^(opt/target/)?(params/)?(img/)?', '', key).replace('/', '.')


LAYOUTS = (BigVisionLayout('google ViT', (), _RULES, VITS, dropped=r'^(pre_logits|txt)\.|^[tb]$|^opt\.|^extra\.'),)
