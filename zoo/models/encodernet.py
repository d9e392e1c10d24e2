"""What the image encoders of language models share, and the classifiers made of them.

An encoder gives a map, or what a language model takes in: tokens, each merged of a square of patches. A classifier has
an encoder in a submodule of that name, and pools its map or its merged tokens.
"""
from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from ..contract import ImageModel, Parts
from ..layers.init import init_transformer
from ..layers.norm import MakeNorm
from ..layers.patch_embed import PatchEmbed
from ..layers.pool import FAST, POOLS, SINGLE_POOLS, GlobalPool
from ..layers.rotary import RotaryEmbeddingCat
from ..layers.sizes import ImageSize, pair_of
from ..layers.tokens import Tokens
from ..layers.windows import missing, pad_to_windows, window_partition
from ..spec import Feature, Pair, Sizes, unknown


def merge_patches(x: Tensor, side: int) -> Tensor:
    """A map (B, H, W, C) -> its squares (B, squares, side ** 2, C), row by row, as are the pixels inside; zeros fill up
    the last ones."""
    down, right = missing(x.shape[1:3], (side, side))
    count = (x.shape[1] + down) // side * ((x.shape[2] + right) // side)
    squares = window_partition(pad_to_windows(x, (side, side)), (side, side))
    return squares.view(x.shape[0], count, side * side, x.shape[3])


class EncoderNet(ImageModel):
    """Base of the encoders: images of any size -> tokens of a language model, a pooled vector, or the map.

    A subclass calls `build_stem` and `build`, and says by `make_merger` what merges patches.

    Attributes:
        merging: what `global_pool` calls that.
        side: how many patches a side are merged.
    """

    parts = Parts(stem=('patch_embed', 'pos_embed', 'rope'), stages=('blocks.*',), head=('pooling', 'merger'),
                  classifier=())
    draw = staticmethod(init_transformer)
    default_out_indices = 3
    output_fmt = 'NHWC'
    merging: ClassVar[str] = 'merge'
    side: int
    img_size: Pair
    patch_embed: PatchEmbed
    rope: RotaryEmbeddingCat
    blocks: nn.Sequential

    def build_stem(self, img_size: ImageSize, patch_size: ImageSize, in_chans: int, embed_dim: int, num_heads: int,
                   rope_temperature: float, pad: bool = True) -> None:
        """Adds what makes patches of images, padded to whole ones where `pad` says so, and the embedding of their
        places."""
        self.in_chans, self.img_size = in_chans, pair_of(img_size)
        self.patch_embed = PatchEmbed(self.img_size, patch_size, in_chans, embed_dim, output_fmt='NHWC',
                                      strict_img_size=False, dynamic_img_pad=pad)
        self.patch_embed.pad_fitted = pad
        self.rope = RotaryEmbeddingCat(embed_dim // num_heads, temperature=rope_temperature, in_pixels=False,
                                       rotate_half=True)

    def build(self, embed_dim: int, blocks: Sequence[nn.Module], num_classes: int, global_pool: str) -> None:
        """Adds the blocks and what follows them, describes their maps, and draws the weights.

        Raises:
            ValueError: another `global_pool`, or classes.
        """
        self.num_features = self.embed_dim = embed_dim
        self.blocks = nn.Sequential(*blocks)
        self.feature_info = [Feature(num_chs=embed_dim, reduction=self.patch_embed.feat_ratio(),
                                     module=f'blocks.{number}', stage=number + 1) for number in range(len(blocks))]
        self._set(self.parts.head[1], nn.Identity())
        self.build_head(embed_dim, num_classes, global_pool)
        self.init_fresh()

    def make_merger(self) -> nn.Module:
        """What makes tokens (B, N, out_features) of a map (B, H, W, C), a layer with that attribute."""
        raise NotImplementedError

    def merged(self, x: Tensor) -> Tensor:
        """A map (B, H, W, C) -> tokens (B, N, out_features), or where nothing merges patches the map as it is."""
        return self.merger_layer(x)

    @property
    def merger_layer(self) -> nn.Module:
        """What merges patches; nn.Identity where nothing does."""
        return self.get_submodule(self.parts.head[1])

    @property
    def merges(self) -> bool:
        """Whether patches are merged."""
        return not isinstance(self.merger_layer, nn.Identity)

    # --- the walk

    def run_stem(self, x: Tensor) -> Tokens:
        patches = self.patch_embed(x)
        grid = patches.shape[1], patches.shape[2]
        tokens = self.placed(patches.flatten(1, 2), grid)
        return Tokens(tokens, grid, rope=self.rope.get_embed(grid, tokens.dtype, tokens.device))

    def placed(self, tokens: Tensor, grid: Pair) -> Tensor:
        """The tokens of a grid of patches, with positions where the network has them."""
        return tokens

    def run_stage(self, number: int, state: Tokens) -> Tokens:
        block = self.get_submodule(self.stage_names()[number][0])
        return state._replace(x=block(state.x, rope=state.rope))

    def maps_of(self, state: Tokens, step: int) -> list[Tensor]:
        return [as_map(state).permute(0, 3, 1, 2)]

    def hidden_of(self, state: Tokens) -> Tensor:
        """The embedded patches (B, N, C)."""
        return state.x

    def normalise(self, state: Tokens) -> Tokens:
        return state._replace(x=self._run((self.parts.norm,), state.x)) if self.parts.norm else state

    def pre_head(self, state: Tokens) -> Tensor:
        return as_map(self.normalise(state))

    # --- the head

    @property
    def pools(self) -> tuple[str, ...]:
        """`POOLS`, and what merges patches."""
        return *POOLS, self.merging

    @property
    def global_pool(self) -> str:
        """What becomes of the map."""
        return self.merging if self.merges else self.pool_layer.pool_type

    def reset_pool(self, global_pool: str) -> None:
        kind = FAST.get(global_pool, global_pool)
        if kind not in self.pools:
            raise ValueError(unknown('global_pool', global_pool, self.pools))
        self.pooling = GlobalPool('' if kind == self.merging else kind, self.output_fmt)
        if kind != self.merging:
            self._drop(self.parts.head[1:])
        elif not self.merges:
            merger = self.settled(self.make_merger())
            self.draw(merger)
            self._set(self.parts.head[1], merger)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The output of `forward_features` -> what the encoder gives; there are no logits."""
        return self.merged(self.pool_layer(x))

    @property
    def embedding_size(self) -> int:
        """The width of what comes out: of merged tokens, where patches are merged."""
        if not self.merges:
            return super().embedding_size
        width: Any = self.merger_layer.out_features
        return int(width)

    # --- sizes

    def fit_to(self, sizes: Sizes) -> None:
        """What `set_input_size` changes in the network."""
        super().fit_to(sizes)
        for feature in self.feature_info:
            feature['reduction'] = self.patch_embed.feat_ratio()

    @torch.no_grad()
    def adapt_state(self, state: Mapping[str, Tensor], source: Sizes = Sizes()) -> dict[str, Tensor]:
        """See `ImageModel.adapt_state`. What merges patches is left out where nothing does."""
        state = super().adapt_state(state, source)
        if self.merges:
            return state
        return {key: value for key, value in state.items() if not key.startswith(f'{self.parts.head[1]}.')}


class EncoderClassifier(ImageModel):
    """Base of the classifiers: an encoder's map, or its merged tokens, -> pooled -> normalised -> logits.

    A subclass calls `build`; its parts are those that `parts_of` makes of its encoder's.

    Attributes:
        unmerged_fmt: how `forward_features` lays out what it returns where patches are not merged.
        module_prefix: what stands before the encoder's own names in `feature_info`.
    """

    unmerged_fmt: ClassVar[str] = 'NHWC'
    module_prefix: ClassVar[str] = 'encoder.'
    default_out_indices = 3
    draw = staticmethod(init_transformer)
    encoder: EncoderNet

    def build(self, encoder: EncoderNet, num_classes: int, global_pool: str, norm: MakeNorm | None,
              drop_rate: float) -> None:
        """Adds the encoder and the head, and draws the weights.

        Args:
            norm: makes the normalisation of what was pooled; None for none.

        Raises:
            ValueError: the encoder pools its map, or an option outside what is allowed.
        """
        if encoder.global_pool not in ('', encoder.merging):
            raise ValueError(unknown('encoder_pool', encoder.global_pool, ('', encoder.merging)))
        self.encoder = encoder
        self.in_chans, self.embed_dim = encoder.in_chans, encoder.embed_dim
        self.img_size, self.dynamic_img_size = encoder.img_size, encoder.dynamic_img_size
        self.feature_info = [Feature(num_chs=found['num_chs'], reduction=found['reduction'], stage=found['stage'],
                                     module=f'{self.module_prefix}{found["module"]}') for found in encoder.feature_info]
        self.num_features = encoder.embedding_size
        self.output_fmt = 'NLC' if encoder.merges else self.unmerged_fmt
        self.norm = norm(self.num_features) if norm else nn.Identity()
        self.build_head(self.num_features, num_classes, global_pool, drop_rate)
        self.init_fresh()

    # --- the walk

    def run_stem(self, x: Tensor) -> Tokens:
        return self.encoder.run_stem(x)

    def run_stage(self, number: int, state: Tokens) -> Tokens:
        return self.encoder.run_stage(number, state)

    def maps_of(self, state: Tokens, step: int) -> list[Tensor]:
        return self.encoder.maps_of(state, step)

    def hidden_of(self, state: Tokens) -> Tensor:
        """The embedded patches (B, N, C)."""
        return state.x

    def normalise(self, state: Tokens) -> Tokens:
        return self.encoder.normalise(state)

    def pre_head(self, state: Tokens) -> Tensor:
        x = self.encoder.merged(self.encoder.pre_head(state))
        return x.flatten(1, 2) if self.output_fmt == 'NLC' and not self.encoder.merges else x

    def forward_map(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """See `ImageModel.forward_map`; merged tokens are a map of fewer pixels."""
        state, _ = self.walk(x)
        features, side = self.pre_head(state), self.encoder.side if self.encoder.merges else 1
        if self.output_fmt == 'NHWC':
            return features, features.permute(0, 3, 1, 2)
        _, rows, columns, _ = as_map(state).shape
        grid = (rows + side - 1) // side, (columns + side - 1) // side
        return features, features.transpose(1, 2).unflatten(2, grid)

    # --- the head

    @property
    def pools(self) -> tuple[str, ...]:
        """Those that keep the width, which the normalisation is of."""
        return SINGLE_POOLS

    @property
    def global_pool(self) -> str:
        """How the map, or the merged tokens, are pooled."""
        return self.pool_layer.pool_type

    def reset_pool(self, global_pool: str) -> None:
        kind = FAST.get(global_pool, global_pool)
        if kind not in self.pools:
            raise ValueError(unknown('global_pool', global_pool, self.pools))
        self.pooling = GlobalPool(kind, self.output_fmt)

    def drop_head(self) -> None:
        """Removes pooling and all that follows it; patches are not merged any more."""
        self.output_fmt = self.unmerged_fmt
        super().drop_head()

    # --- sizes

    def fit_to(self, sizes: Sizes) -> None:
        """What `set_input_size` changes in the network."""
        self.encoder.fit_to(sizes)
        self.img_size, self.dynamic_img_size = self.encoder.img_size, self.encoder.dynamic_img_size
        for feature in self.feature_info:
            feature['reduction'] = self.encoder.patch_embed.feat_ratio()

    def adapt_state(self, state: Mapping[str, Tensor], source: Sizes = Sizes()) -> dict[str, Tensor]:
        """See `ImageModel.adapt_state`, of its encoder."""
        prefix = 'encoder.'
        inside = {key.removeprefix(prefix): value for key, value in state.items() if key.startswith(prefix)}
        adapted = self.encoder.adapt_state(inside, source)
        return {key: value for key, value in state.items() if not key.startswith(prefix)} | {
            f'{prefix}{key}': value for key, value in adapted.items()}


def parts_of(encoder: Parts) -> Parts:
    """The parts of a classifier with an encoder that has those."""
    stages = tuple(f'encoder.{stage}' for stage in encoder.stages if isinstance(stage, str))
    return Parts(stem=tuple(f'encoder.{name}' for name in encoder.stem), stages=stages,
                 norm=f'encoder.{encoder.norm}' if encoder.norm else '', pre_head=(f'encoder.{encoder.head[1]}',),
                 head=('pooling', 'norm'), classifier=('head',))


def as_map(state: Tokens) -> Tensor:
    """The patches of a state as a map (B, H, W, C).

    Raises:
        ValueError: the state has no grid.
    """
    if state.grid is None:
        raise ValueError('Tokens without a grid are no map.')
    return state.x.unflatten(1, state.grid)
