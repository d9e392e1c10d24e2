"""What vision transformers share: an image's patches as tokens with positions, tokens before them, and pooling."""
from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..contract import ImageModel, Logits, Parts
from ..layers.attention_tokens import masked
from ..layers.init import draw_normal, init_transformer
from ..layers.patch_embed import PatchEmbed
from ..layers.pool import FAST
from ..layers.positions import resample_abs_pos_embed
from ..layers.rotary import Joined, of_kept
from ..layers.tokens import ATTENTION_POOLS, TOKEN_POOLS, PatchDropout, Tokens, TokenPool
from ..spec import Pair, Sizes, unknown

PREFIX = ('cls_token', 'dist_token', 'reg_token')               # in the order in which they stand


class TokenStates(ImageModel):
    """A network whose state is `Tokens`: patches of a grid, after prefix tokens."""

    output_fmt = 'NLC'
    norm: nn.Module

    def maps_of(self, state: Tokens, step: int) -> list[Tensor]:
        if state.grid is None:
            raise ValueError('Some patches were dropped (patch_drop_rate), and what is left makes no map: there are '
                             'feature maps in evaluation.')
        return [state.x[:, self.num_prefix_tokens:].transpose(1, 2).unflatten(2, state.grid)]

    def prefix_of(self, state: Tokens) -> Tensor:
        return state.x[:, :self.num_prefix_tokens]

    def hidden_of(self, state: Tokens) -> Tensor:
        """All tokens (B, N, C)."""
        return state.x

    def normalise(self, state: Tokens) -> Tokens:
        return state._replace(x=self.norm(state.x))

    def pre_head(self, state: Tokens) -> Tensor:
        return self.norm(state.x)


class TokenNet(TokenStates):
    """Base of networks whose state is `Tokens`: patches, with learned positions, after prefix tokens of their own.

    A subclass sets `patch_embed`, then calls `build_tokens`; its `blocks` take tokens, and the state's mask.

    Attributes:
        no_embed_class: prefix tokens have no positions.
        pooling: pools tokens, as far as that has no parameters.
        attn_pool: pools them where `global_pool` is 'map' or 'prr'; else None.
        attention_pools: what makes it, of those kinds that the network has.
        norm_after_pool: whether the final normalisation is of what was pooled; None where the kind of pooling says it, as
            the `normed_pools` do.
        rope: makes the rotary embedding of a grid of patches, which `rotation` gives; of networks that have one.
    """

    parts = Parts(stem=('patch_embed', *PREFIX, 'pos_embed', 'norm_pre'), stages=('blocks.*',), norm='norm',
                  head=('pooling', 'attn_pool', 'fc_norm'), classifier=('head',))
    draw = staticmethod(init_transformer)
    default_out_indices = 3
    undecayed: ClassVar[tuple[str, ...]] = (*PREFIX, 'pos_embed')
    patch_embed: PatchEmbed
    pos_embed: nn.Parameter | None
    pooling: TokenPool
    attn_pool: nn.Module | None
    norm_pre: nn.Module
    blocks: nn.Sequential
    fc_norm: nn.Module
    has_class_token: bool
    pool_include_prefix = False
    norm_after_pool: bool | None = None
    normed_pools: ClassVar[tuple[str, ...]] = ('avg', 'max', 'avgmax')
    rope: Joined | None
    attention_pools: Mapping[str, partial[Any]] = MappingProxyType({})

    def build_tokens(self, width: int, counts: Mapping[str, int], pos_embed: str, no_embed_class: bool,
                     pos_drop_rate: float, patch_drop_rate: float) -> None:
        """Adds prefix tokens, so many of each of `PREFIX`, positions ('learn', or 'none' or '') and dropout.

        Raises:
            ValueError: another word for positions.
        """
        if pos_embed not in ('learn', 'none', ''):
            raise ValueError(unknown('pos_embed', pos_embed, ('learn', 'none', '')))
        for name in PREFIX:
            count = counts.get(name, 0)
            if count or name in counts:
                setattr(self, name, nn.Parameter(torch.empty(1, count, width)) if count else None)
        self.num_prefix_tokens, self.has_class_token = sum(counts.values()), bool(counts.get('cls_token'))
        self.no_embed_class = no_embed_class
        positions = math.prod(self.patch_grid) + self.embedded_prefix
        self.pos_embed = nn.Parameter(torch.empty(1, positions, width)) if pos_embed == 'learn' else None
        self.pos_drop = nn.Dropout(pos_drop_rate)
        self.patch_drop = PatchDropout(patch_drop_rate, self.num_prefix_tokens) if patch_drop_rate else nn.Identity()

    @property
    def patch_grid(self) -> Pair:
        """Rows and columns of patches of the images that the network is fitted to.

        Raises:
            ValueError: its layer of patches is fitted to none.
        """
        grid = self.patch_embed.grid_size
        if grid is None:
            raise ValueError(f'{type(self.patch_embed).__name__} is fitted to no size of images, which positions need.')
        return grid

    @property
    def embedded_prefix(self) -> int:
        """How many prefix tokens have positions."""
        return 0 if self.no_embed_class else self.num_prefix_tokens

    def reset_parameters(self) -> None:
        """Draws prefix tokens and positions."""
        for name, std in (*((name, 1e-6) for name in PREFIX), ('pos_embed', 0.02)):
            parameter = self._parameters.get(name)
            if parameter is not None:
                draw_normal(parameter, std)

    # --- the walk

    def run_stem(self, x: Tensor) -> Tokens:
        patches, grid = self._patches(x)
        prefix = [token.expand(x.shape[0], -1, -1) for name in PREFIX
                  if (token := self._parameters.get(name)) is not None]
        positions = self._positions(grid)
        if positions is None:
            tokens = torch.cat([*prefix, patches], dim=1) if prefix else patches
        elif self.embedded_prefix:
            tokens = torch.cat([*prefix, patches], dim=1) + positions
        else:
            tokens = torch.cat([*prefix, patches + positions], dim=1)
        tokens, kept = self.pos_drop(tokens), None
        if isinstance(self.patch_drop, PatchDropout) and (kept := self.patch_drop.choose(tokens)) is not None:
            tokens = self.patch_drop.keep(tokens, kept)
        return Tokens(self.norm_pre(tokens), None if kept is not None else grid, rope=self.rotation(tokens, grid, kept))

    def rotation(self, tokens: Tensor, grid: Pair, kept: Tensor | None) -> Tensor | None:
        """The rotary embedding of an image's patches, where the network has one; `kept` are the numbers (B, N') of those
        that were not dropped. Of each head of each block where it is learned."""
        rope: Joined | None = getattr(self, 'rope', None)
        if rope is None:
            return None
        embed = rope.get_embed(grid, tokens.dtype, tokens.device)
        return embed if kept is None else of_kept(embed, kept)

    def _patches(self, x: Tensor) -> tuple[Tensor, Pair]:
        """Tokens (B, rows * columns, C) of the image's patches, and rows and columns."""
        patches = self.patch_embed(x)
        if patches.ndim == 3:
            return patches, self.patch_grid
        return patches.flatten(1, 2), (patches.shape[1], patches.shape[2])

    def _positions(self, grid: Pair) -> Tensor | None:
        """The positions of a grid of patches, resampled where they are of another."""
        if self.pos_embed is None or not self.dynamic_img_size:
            return self.pos_embed
        return resample_abs_pos_embed(self.pos_embed, grid, self.patch_grid, self.embedded_prefix)

    def run_stage(self, number: int, state: Tokens) -> Tokens:
        block = self.get_submodule(self.stage_names()[number][0])
        given = {}
        if state.rope is not None and (rope := self.rope) is not None:
            given['rope'] = state.rope[number] if rope.by_block else state.rope
        return state._replace(x=block(state.x, attn_mask=state.attn_mask, is_causal=state.is_causal, **given))

    # --- the head

    @property
    def pools(self) -> tuple[str, ...]:
        """Those of `TOKEN_POOLS` that go with its class token and its normalisation."""
        without = {*ATTENTION_POOLS} - {*self.attention_pools}
        without |= set() if self.has_class_token else {'token'}
        without |= {'catavgmax'} if self.norm_after_pool else set()
        return tuple(kind for kind in TOKEN_POOLS if kind not in without)

    def build_head(self, width: int, num_classes: int, global_pool: str, drop_rate: float = 0.0) -> None:
        """Adds pooling, dropout and classifiers for tokens of `width` channels."""
        self.register_module('attn_pool', None)
        self.head_drop = nn.Dropout(drop_rate)
        super().build_head(width, num_classes, global_pool, drop_rate)

    def reset_pool(self, global_pool: str) -> None:
        global_pool = FAST.get(global_pool, global_pool)
        if global_pool == 'token' and not self.has_class_token:
            raise ValueError("global_pool='token' pools the class token, and this network has none (class_token=False): "
                             "'avg' pools the patches.")
        after = self.norm_after_pool
        after = global_pool in self.normed_pools if after is None else after
        if after and global_pool == 'catavgmax':
            raise ValueError("global_pool='catavgmax' doubles the width, which fc_norm=True cannot normalise.")
        if global_pool not in self.pools:
            known = [repr(kind) for kind in self.pools]
            raise ValueError(f'{type(self).__name__} has {" or ".join([", ".join(known[:-1]), known[-1]])} pooling, '
                             f'not {global_pool!r}.')
        prefix = self.pool_include_prefix or global_pool == 'prr'               # 'prr' gives what the class token finds
        self.pooling = TokenPool(global_pool, self.num_prefix_tokens, prefix)
        norm = self.fc_norm if isinstance(self.norm, nn.Identity) else self.norm
        self.norm, self.fc_norm = (nn.Identity(), norm) if after else (norm, nn.Identity())
        make = self.attention_pools.get(global_pool)
        if make is None:
            self.attn_pool = None
        elif type(self.attn_pool) is not make.func:
            self.attn_pool = self.settled(make())
            self.draw(self.attn_pool)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Logits:
        x = self.head_drop(self.fc_norm(self.pool(x)))
        return x if pre_logits else self.classify(x)

    @property
    def global_pool(self) -> str:
        """How tokens are pooled."""
        return self.pooling.pool_type

    def pool(self, x: Tensor, pool_type: str | None = None) -> Tensor:
        """Tokens (B, N, C) -> (B, C), as the network does or, without parameters, as `pool_type` says."""
        if pool_type is not None and pool_type != self.global_pool:
            return TokenPool(pool_type, self.num_prefix_tokens, self.pool_include_prefix)(x)
        x = self.pooling(x)
        return x if self.attn_pool is None else self.attn_pool(x)

    def drop_head(self) -> None:
        """Removes pooling and all that follows it."""
        self.fc_norm = nn.Identity()
        super().drop_head()

    # --- sizes

    def fit_to(self, sizes: Sizes) -> None:
        """What `set_input_size` changes in the network."""
        old = self.patch_grid
        super().fit_to(sizes)
        if sizes.dynamic is not None:
            self.patch_embed.output_fmt = 'NHWC' if sizes.dynamic else 'NLC'
        for feature in self.feature_info:
            feature['reduction'] = self.patch_embed.feat_ratio()
        new, positions = self.patch_grid, self.pos_embed
        if positions is not None and new != old:
            with torch.no_grad():
                fitted = positions.new_empty(1, self.embedded_prefix + math.prod(new), positions.shape[-1]) \
                    if positions.is_meta else resample_abs_pos_embed(positions, new, old, self.embedded_prefix)
            self.pos_embed = nn.Parameter(fitted, positions.requires_grad)

    @torch.no_grad()
    def adapt_state(self, state: Mapping[str, Tensor], source: Sizes = Sizes()) -> dict[str, Tensor]:
        """See `ImageModel.adapt_state`. Beyond sizes it fits what pooling and prefix tokens were chosen: the final
        normalisation goes where this network has it, a token that it does not have is left out, registers that the
        weights do not have are drawn, and positions are those of its own tokens."""
        state = dict(state)
        for name, other in (('norm', 'fc_norm'), ('fc_norm', 'norm')):
            if any(True for _ in getattr(self, name).parameters()) and not any(
                    True for _ in getattr(self, other).parameters()):
                for key in [key for key in state if key.startswith(f'{other}.')]:
                    state.setdefault(f'{name}.{key.removeprefix(f"{other}.")}', state.pop(key))
        if self.attn_pool is None:
            state = {key: value for key, value in state.items() if not key.startswith('attn_pool.')}
        self._adapt_positions(state, source)
        return super().adapt_state(state, source)

    def _adapt_positions(self, state: dict[str, Tensor], source: Sizes) -> None:
        """Fits positions and prefix tokens of a state dict, in place."""
        tokens = {name: state[name] for name in PREFIX if name in state}
        wanted = {name: token for name in PREFIX if (token := self._parameters.get(name)) is not None}
        if 'pos_embed' in state and self.pos_embed is not None:
            positions = state['pos_embed']
            positions = positions if positions.ndim == 3 else positions.unsqueeze(0)
            prefix, grid = self._grid_of(positions.shape[1], sum(t.shape[1] for t in tokens.values()), state, source)
            own = dict(zip(tokens, positions[:, :prefix].split([t.shape[1] for t in tokens.values()], 1))) if prefix else {}
            patches = resample_abs_pos_embed(positions[:, prefix:], self.patch_grid, grid, 0)
            if not self.embedded_prefix:                        # a token with its position is a token
                state |= {name: tokens[name] + own[name] for name in own}
                state['pos_embed'] = patches
            else:
                state['pos_embed'] = torch.cat([
                    *(own.get(name, torch.zeros(token.shape, dtype=patches.dtype)) for name, token in wanted.items()),
                    patches], dim=1)
        for name in tokens:
            if name not in wanted:
                del state[name]
        if 'reg_token' in wanted and 'reg_token' not in state and 'blocks.0.norm1.weight' in state:
            logging.getLogger('zoo').info('reg_token: drawn, the weights have none')
            state['reg_token'] = torch.randn(wanted['reg_token'].shape) * 1e-6

    def _grid_of(self, count: int, tokens: int, state: Mapping[str, Tensor], source: Sizes) -> tuple[int, Pair]:
        """Of so many positions, how many are of prefix tokens, and the grid of the others.

        Raises:
            ValueError: they are of no square, and not of the size that they are said to be of.
        """
        patch = self._patch_of(state)
        for size in (source.img_size, self.img_size):
            for prefix in {tokens: 0, 0: 0}:
                grid = self.patch_embed.grid_of(size, patch) if size else (0, 0)
                if math.prod(grid) + prefix == count:
                    return prefix, grid
        for prefix in {tokens: 0, 0: 0}:
            side = math.isqrt(count - prefix)
            if side ** 2 + prefix == count:
                return prefix, (side, side)
        raise ValueError(f'pos_embed: {count} positions, with those of {tokens} prefix tokens or without, are of no '
                         'square image, and which size it had cannot be told. Say it with pretrained_cfg_overlay='
                         'dict(input_size=(channels, height, width)).')

    def _patch_of(self, state: Mapping[str, Tensor]) -> Pair:
        """Rows and columns of pixels of the patches in a state dict; this network's where it does not say."""
        kernel = state.get('patch_embed.proj.weight')
        if kernel is None or kernel.ndim != 4:
            return self.patch_embed.patch_size
        return kernel.shape[2], kernel.shape[3]


class MaskedTokenNet(TokenNet):
    """`TokenNet` whose callers may say what attention looks at."""

    def forward_features(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        """(B, in_chans, H, W) -> tokens (B, prefix + patches, num_features), before pooling.

        Args:
            attn_mask, is_causal: what attention may look at, see `zoo.layers.attention_tokens.attend`.
        """
        if attn_mask is None and not is_causal:
            return self.pre_head(self.walk(x)[0])
        state = self.run_stem(x)
        if state.attn_mask is not None:
            attn_mask = masked(state.attn_mask, attn_mask)
        state = state._replace(attn_mask=attn_mask, is_causal=is_causal)
        for number in range(len(self.stage_names())):
            state = self.advance(number, state)
        return self.pre_head(state)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Logits:
        return self.forward_head(self.forward_features(x, attn_mask, is_causal))
