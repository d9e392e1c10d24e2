"""What Hiera and HieraDet share: blocks in a row, some of which widen and pool, how they are drawn, and the head."""
from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..contract import ImageModel, Parts
from ..layers.head import Head
from ..layers.init import draw_normal, init_transformer
from ..layers.norm import MakeNorm
from ..layers.stages import drop_path_rates
from ..spec import Feature, Pair, Sizes, unknown
from .vision_transformer import draw_layer

INITS = ('', 'jax', 'skip')


class Place(NamedTuple):
    """A block's place in the network.

    Attributes:
        stage: the stage whose attention it has, from 0: that of the block before it, so that a block that pools attends
            on the finer map.
        dim, dim_out, heads: channels that go in and come out, heads of its attention.
        pools: whether it pools. pooled: how many patches a side become one up to its end.
        ends: whether it is the last of its stage. drop_path: its stochastic depth.
    """

    stage: int
    dim: int
    dim_out: int
    heads: int
    pools: bool
    pooled: int
    ends: bool
    drop_path: float


def places(stages: Sequence[int], embed_dim: int, num_heads: int, dim_mul: float, head_mul: float, q_pool: int,
           q_stride: Pair, drop_path_rate: float) -> Iterator[Place]:
    """The places of all blocks, see `Hiera`.

    Raises:
        ValueError: more stages that pool than there are.
    """
    if not 0 <= q_pool < len(stages):
        raise ValueError(f'q_pool is how many of the {len(stages)} stages pool, the first never, not {q_pool}.')
    rates, dim, pooled = iter(drop_path_rates(drop_path_rate, sum(stages))), embed_dim, 1
    for stage, depth in enumerate(stages):
        for number in range(depth):
            first = stage > 0 and number == 0
            pools = first and stage <= q_pool
            dim_out, num_heads = (int(dim * dim_mul), int(num_heads * head_mul)) if first else (dim, num_heads)
            pooled *= q_stride[0] if pools else 1
            yield Place(stage - first, dim, dim_out, num_heads, pools, pooled, number == depth - 1, next(rates))
            dim = dim_out


class HieraNet(ImageModel):
    """Base of Hiera and HieraDet: blocks in a row, at the first of a stage of which the width changes, and a head.

    A subclass sets `pos_embed`, and `blocks` of the `places` that it is given, then calls `build`.
    """

    parts = Parts(stem=('patch_embed', 'pos_embed', 'pos_embed_win', 'pos_embed_window'), stages=('blocks.*',),
                  head=('head.global_pool', 'head.norm', 'head.pre_logits'), classifier=('head.fc',))
    draw = staticmethod(partial(init_transformer, convs=True))
    undecayed = ('pos_embed', 'pos_embed_win', 'pos_embed_window')
    blocks: nn.Sequential

    def build(self, plan: Sequence[Place], reduction: int, norm_layer: MakeNorm, num_classes: int, global_pool: str,
              drop_rate: float, head_init_scale: float, weight_init: str, fix_init: bool) -> None:
        """Adds the head and `feature_info`, a map at the end of each stage, and draws the weights.

        Args:
            plan: the blocks' places. reduction: pixels of the image a patch. Others as in `Hiera`.

        Raises:
            ValueError: another `weight_init`.
        """
        if weight_init not in INITS:
            raise ValueError(unknown('weight_init', weight_init, INITS))
        width = self.num_features = plan[-1].dim_out
        self.weight_init, self.fix_init, self.head_init_scale = weight_init, fix_init, head_init_scale
        self.feature_info = [Feature(num_chs=place.dim_out, reduction=reduction * place.pooled,
                                     module=f'blocks.{number}', stage=number + 1)
                             for number, place in enumerate(plan) if place.ends]
        self.head = Head(width, global_pool, self.output_fmt, norm_layer(width), drop_rate=drop_rate)
        self.build_head(width, num_classes, global_pool, drop_rate)
        self.reset_parameters()
        if weight_init != 'skip':
            self.init_fresh()

    def reset_parameters(self) -> None:
        """Draws the positions."""
        for name in self.undecayed:
            parameter = self._parameters.get(name)
            if parameter is not None:
                draw_normal(parameter, 0.02)

    def init_weights(self) -> None:
        super().init_weights()
        for name, layer in self.named_modules():
            draw_layer(layer, name, self.weight_init, self.num_classes)
        if self.fix_init:
            for number, block in enumerate(self.blocks, 1):
                for layer in (block.get_submodule('attn.proj'), block.get_submodule('mlp.fc2')):
                    if isinstance(layer, nn.Linear):
                        layer.weight.data.div_(math.sqrt(2 * number))
        self.init_head()

    def init_head(self) -> None:
        """Draws the classifier anew, times `head_init_scale`."""
        super().init_head()
        if isinstance(self.head.fc, nn.Linear):
            self.head.fc.weight.data.mul_(self.head_init_scale)

    @torch.no_grad()
    def adapt_state(self, state: Mapping[str, Tensor], source: Sizes = Sizes()) -> dict[str, Tensor]:
        """See `ImageModel.adapt_state`. Positions of other windows, or of a map in more or fewer steps, are
        interpolated."""
        state = super().adapt_state(state, source)
        for name in self.undecayed:
            own, found = self._parameters.get(name), state.get(name)
            if own is None or found is None or not own.ndim == found.ndim == 4:
                continue
            if own.shape[2:] != found.shape[2:]:
                image = F.interpolate(found.float(), own.shape[2:], mode='bicubic', antialias=True)
                state[name] = image.to(found.dtype)
        return state

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The output of `forward_features` -> logits, or the embedding; see `ImageModel.forward_head`."""
        return self.head(x, pre_logits)
