"""NesT, nested hierarchical transformers, arXiv:2105.12723: attention inside blocks of a map that are aggregated.

    image -> patch_embed (4x4 patches) -> levels.0 -> levels.1 -> levels.2 -> norm -> pool -> head
    level: aggregation (not in the first) -> cut into blocks -> positions -> layers -> put together
    layer: norm -> attention inside each block -> added -> norm -> MLP -> added

Aggregation is a 3x3 convolution, a normalisation and max pooling of stride 2: four blocks become one of the same size, and
the last level is one block. Inside a level states are blocks of tokens (B, blocks, N, C), between levels they are maps with
the channels last, (B, H, W, C).
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..contract import ImageModel, Parts
from ..layers import attention_tokens
from ..layers.act import ActLayer, get_act_layer
from ..layers.conv import channels_first, conv2d, pad_same
from ..layers.drop import DropPath
from ..layers.init import draw_normal, init_transformer
from ..layers.mlp import Mlp
from ..layers.norm import LayerNorm, MakeNorm, Norm, NormLayer
from ..layers.patch_embed import PatchEmbed
from ..layers.positions import resample_abs_pos_embed
from ..layers.relative import differs
from ..layers.sizes import ImageSize, SizedLayer, pair_of
from ..layers.stages import drop_path_rates, same_stages
from ..layers.windows import cut_to, pad_to_windows, window_partition, window_reverse
from ..spec import Feature, Pair, Sizes, unknown

WEIGHT_INITS = ('', 'reset', 'skip')


class Nest(ImageModel):
    """NesT, arXiv:2105.12723. Images (B, in_chans, H, W) -> logits (B, num_classes).

    There are as many blocks whatever the image, and they are as large as it asks for. Images that patches do not divide,
    and maps that blocks do not divide, are padded with zeros at the bottom and right.

    Args:
        img_size: pixels a side, or (height, width), that positions are learnt for.
        num_levels: of the hierarchy; the first has 4 ** (num_levels - 1) blocks.
        embed_dims, num_heads, depths: channels, heads and layers of each level; one for all, or one a level.
        mlp_ratio: inner width of the MLPs over their width. qkv_bias: biases of queries, keys and values.
        drop_rate: dropout before the classifier. proj_drop_rate: in attention and MLPs. attn_drop_rate: of the attention
            weights. drop_path_rate: stochastic depth at the last layer, growing linearly from 0 at the first.
        pad_type: of the convolutions and of pooling between levels: '' alike on all sides, 'same' as TensorFlow does.
        weight_init: '' or 'reset' draws weights, 'skip' leaves the parameters undrawn.
        dynamic_img_size: take images of any size, with the positions resampled for each.

    Raises:
        ValueError: numbers that do not fit each other, an option outside what is allowed.
    """

    parts = Parts(stem=('patch_embed',), stages=('levels.*',), norm='norm', classifier=('head',))
    draw = staticmethod(partial(init_transformer, convs=True))
    row = 'transformer_encoder'
    img_size: Pair
    levels: nn.Sequential

    def __init__(self, img_size: ImageSize = 224, in_chans: int = 3, patch_size: int = 4, num_levels: int = 3,
                 embed_dims: int | Sequence[int] = (128, 256, 512), num_heads: int | Sequence[int] = (4, 8, 16),
                 depths: int | Sequence[int] = (2, 2, 20), num_classes: int = 1000, mlp_ratio: float = 4.0,
                 qkv_bias: bool = True, drop_rate: float = 0.0, proj_drop_rate: float = 0.0,
                 attn_drop_rate: float = 0.0, drop_path_rate: float = 0.5, norm_layer: NormLayer | None = None,
                 act_layer: ActLayer | None = None, pad_type: str = '', weight_init: str = '',
                 global_pool: str = 'avg', dynamic_img_size: bool = False) -> None:
        super().__init__()
        dims, heads, counts = (list(n) if isinstance(n, Sequence) else [n] * num_levels
                               for n in (embed_dims, num_heads, depths))
        same_stages(num_levels=range(num_levels), embed_dims=dims, num_heads=heads, depths=counts)
        if weight_init not in WEIGHT_INITS:
            raise ValueError(unknown('weight_init', weight_init, WEIGHT_INITS))
        norm, act = Norm(norm_layer or LayerNorm), get_act_layer(act_layer or nn.GELU)
        self.in_chans, self.num_features, self.embed_dim = in_chans, dims[-1], dims[-1]
        self.img_size, self.dynamic_img_size, self.num_levels = pair_of(img_size), dynamic_img_size, num_levels
        self.patch_embed = PatchEmbed(self.img_size, patch_size, in_chans, dims[0], output_fmt='NHWC',
                                      strict_img_size=not dynamic_img_size, dynamic_img_pad=True)
        self.patch_embed.pad_fitted = True
        rates = iter(drop_path_rates(drop_path_rate, sum(counts)))
        self.levels, self.feature_info = nn.Sequential(), []
        for number, (dim, depth) in enumerate(zip(dims, counts)):
            sides = 2 ** (num_levels - 1 - number)
            reduction = patch_size * 2 ** number                             # input pixels per pixel of the map
            block = parts_of(parts_of(self.img_size, (reduction, reduction)), (sides, sides))
            level = NestLevel(sides ** 2, block, block[0] * block[1], heads[number], depth, dim,
                              dims[number - 1] if number else None, mlp_ratio, qkv_bias, proj_drop_rate, attn_drop_rate,
                              [next(rates) for _ in range(depth)], norm, act, pad_type)
            level.patch, level.merged = self.patch_embed.patch_size, 2 ** number
            self.levels.append(level)
            self.feature_info.append(Feature(num_chs=dim, reduction=reduction, module=f'levels.{number}',
                                             stage=number + 1))
        self.norm = norm(dims[-1])
        self.build_head(dims[-1], num_classes, global_pool, drop_rate)
        if weight_init != 'skip':
            self.init_fresh()

    def maps_of(self, state: Tensor, step: int) -> list[Tensor]:
        """The map (B, C, H, W) of one with the channels last."""
        return [state.permute(0, 3, 1, 2)]

    def hidden_of(self, state: Tensor) -> Tensor:
        """The embedded patches, with the channels last."""
        return state

    def pre_head(self, state: Tensor) -> Tensor:
        """The last map, normalised, (B, C, H, W)."""
        return self.normalise(state).permute(0, 3, 1, 2)

    def fit_to(self, sizes: Sizes) -> None:
        """What `set_input_size` changes in the network."""
        super().fit_to(replace(sizes, img_size=sizes.img_size or self.img_size))
        for number, feature in enumerate(self.feature_info):
            feature['reduction'] = max(self.patch_embed.patch_size) * 2 ** number


def parts_of(size: Sequence[int], parts: Sequence[int]) -> Pair:
    """Rows and columns of each of so many parts of a map, or so many of them, the last ones not being whole."""
    return (size[0] + parts[0] - 1) // parts[0], (size[1] + parts[1] - 1) // parts[1]


class NestLevel(SizedLayer):
    """Aggregation of blocks, where the level begins with it, and layers of attention inside blocks: (B, H, W,
    prev_embed_dim) -> (B, H / 2, W / 2, embed_dim).

    Args:
        num_blocks: a square number. block_size: rows and columns of pixels of each. seq_length: their product.
        prev_embed_dim: channels that come in; None for the first level, which has no aggregation.
        drop_path: stochastic depth of each layer. Others as in `Nest`.

    Attributes:
        patch, merged: input pixels per patch, and patches per pixel of the map, a side; set by the network.
    """

    follows = ('img_size', 'patch_size', 'dynamic')
    undecayed = ('pos_embed',)
    patch: Pair = (4, 4)
    merged = 1

    def __init__(self, num_blocks: int, block_size: ImageSize, seq_length: int, num_heads: int, depth: int,
                 embed_dim: int, prev_embed_dim: int | None = None, mlp_ratio: float = 4.0, qkv_bias: bool = True,
                 proj_drop: float = 0.0, attn_drop: float = 0.0, drop_path: Sequence[float] | None = None,
                 norm_layer: MakeNorm = LayerNorm, act_layer: ActLayer = nn.GELU, pad_type: str = '') -> None:
        super().__init__()
        side = math.isqrt(num_blocks)
        self.sides, self.block_size = (side, side), pair_of(block_size, 'block_size')
        self.pos_embed = nn.Parameter(torch.empty(1, num_blocks, seq_length, embed_dim))
        self.pool = nn.Identity() if prev_embed_dim is None else ConvPool(prev_embed_dim, embed_dim, norm_layer,
                                                                          pad_type)
        self.transformer_encoder = nn.Sequential(*(TransformerLayer(
            embed_dim, num_heads, mlp_ratio, qkv_bias, proj_drop, attn_drop, rate, act_layer, norm_layer)
            for rate in drop_path or [0.0] * depth))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the positions."""
        draw_normal(self.pos_embed, 0.02)

    def fit(self, sizes: Sizes) -> None:
        """Other images or patches, with the positions resampled."""
        self.patch = sizes.patch_size or self.patch
        if sizes.img_size:
            old, self.block_size = self.block_size, self._block_of(sizes.img_size)
            if self.block_size != old:
                with torch.no_grad():
                    new = self._resampled(self.pos_embed, old, self.block_size)
                self.pos_embed = nn.Parameter(new, self.pos_embed.requires_grad)

    def _block_of(self, img_size: Pair) -> Pair:
        """Rows and columns of the blocks of an image of that size."""
        return parts_of(parts_of(img_size, (self.patch[0] * self.merged, self.patch[1] * self.merged)), self.sides)

    @torch.no_grad()
    def adapt_state(self, state: dict[str, Tensor], prefix: str, source: Sizes) -> None:
        """Resamples the positions at `prefix`: of the image that `source` gives, else of square blocks.

        Raises:
            ValueError: which size they are of cannot be told.
        """
        key = f'{prefix}pos_embed'
        if key not in state:
            return
        count = state[key].shape[2]
        old = self._block_of(source.img_size) if source.img_size else self.block_size
        if old[0] * old[1] != count:
            old = math.isqrt(count), math.isqrt(count)
        if old[0] * old[1] != count:
            raise ValueError(f'{key}: {count} positions are of no square block, and which size it had cannot be told. Say '
                             'it with pretrained_cfg_overlay=dict(input_size=(channels, height, width)).')
        state[key] = self._resampled(state[key], old, self.block_size)

    def _resampled(self, positions: Tensor, old: Pair, new: Pair) -> Tensor:
        """Positions (1, blocks, N, C) of blocks of `old` rows and columns for blocks of `new` ones.

        The authors have one size of blocks and give no method. Each block is interpolated by itself as DeiT
        (arXiv:2012.12877, section 5) does a whole image: nothing in a block sees another one's positions, so that they do
        not go on from one block to the next (arXiv:2311.05613, section 3).
        """
        if positions.is_meta:
            return positions.new_empty(1, positions.shape[1], new[0] * new[1], positions.shape[3])
        return resample_abs_pos_embed(positions[0], new, old, 0)[None]

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(x)
        size = x.shape[1:3]
        block = parts_of(size, self.sides)
        positions: Tensor = self.pos_embed
        if differs(block, self.block_size):
            positions = self._resampled(positions, self.block_size, block)
        x = pad_to_windows(x, self.sides)
        x = into_blocks(x, block) + positions
        x = self.transformer_encoder(x)
        return cut_to(from_blocks(x, block), size)


def blockify(x: Tensor, block_size: ImageSize) -> Tensor:
    """A map (B, H, W, C) -> its blocks (B, blocks, pixels, C), row by row; they divide it.

    Args:
        block_size: pixels a side, or (rows, columns).
    """
    return into_blocks(x, pair_of(block_size, 'block_size'))


def deblockify(x: Tensor, block_size: ImageSize) -> Tensor:
    """Blocks (B, blocks, pixels, C), as many rows as columns of them -> the map (B, H, W, C) that `blockify` cut them
    from."""
    return from_blocks(x, pair_of(block_size, 'block_size'))


def into_blocks(x: Tensor, block: Pair) -> Tensor:
    """`blockify`, whose sides may be symbolic here."""
    blocks = (x.shape[1] // block[0]) * (x.shape[2] // block[1])
    return window_partition(x, block).flatten(1, 2).unflatten(0, (-1, blocks))


def from_blocks(x: Tensor, block: Pair) -> Tensor:
    """`deblockify`, whose sides may be symbolic here."""
    side = math.isqrt(x.shape[1])
    return window_reverse(x.flatten(0, 1).unflatten(1, block), block, side * block[0], side * block[1])


class ConvPool(nn.Module):
    """Aggregation of blocks (section 3.1): (B, H, W, in_channels) -> (B, ceil(H / 2), ceil(W / 2), out_channels)."""

    def __init__(self, in_channels: int, out_channels: int, norm_layer: MakeNorm = LayerNorm,
                 pad_type: str = '') -> None:
        super().__init__()
        self.same = pad_type == 'same'
        self.conv = conv2d(in_channels, out_channels, 3, pad_type=pad_type, bias=True)
        self.norm = norm_layer(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(channels_first(x.permute(0, 3, 1, 2)))
        x = self.norm(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        if self.same:
            x = pad_same(x, (3, 3), (2, 2), (1, 1), -math.inf)
        return F.max_pool2d(x, 3, 2, 0 if self.same else 1).permute(0, 2, 3, 1)


class TransformerLayer(nn.Module):
    """Attention inside each block and an MLP, each a residual branch: (B, blocks, N, dim) -> the same."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0, qkv_bias: bool = False, proj_drop: float = 0.0,
                 attn_drop: float = 0.0, drop_path: float = 0.0, act_layer: ActLayer = nn.GELU,
                 norm_layer: MakeNorm = nn.LayerNorm) -> None:
        super().__init__()
        self.norm1 = norm_layer(dim)
        self.attn = Attention(dim, num_heads, qkv_bias, attn_drop, proj_drop)
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = norm_layer(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), act_layer=act_layer, drop=proj_drop)
        self.drop_path2 = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path1(self.attn(self.norm1(x)))
        return x + self.drop_path2(self.mlp(self.norm2(x)))


class Attention(attention_tokens.Attention):
    """`zoo.layers.attention_tokens.Attention` inside each block: (B, blocks, N, dim) -> the same. What goes into its last
    layer has the first channel of every head, then the second of every head, and so on: published weights are for that."""

    def __init__(self, dim: int, num_heads: int = 8, qkv_bias: bool = False, attn_drop: float = 0.0,
                 proj_drop: float = 0.0) -> None:
        super().__init__(dim, num_heads, qkv_bias=qkv_bias, attn_drop=attn_drop, proj_drop=proj_drop)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        shape = x.shape
        x = self.qkv(x.flatten(0, 1))
        q, k, v = x.unflatten(-1, (3, self.num_heads, self.head_dim)).permute(2, 0, 3, 1, 4)
        x = attention_tokens.attend(q, k, v, attn_mask, is_causal, self.attn_drop.p if self.training else 0.0,
                                    self.fused_attn)
        x = self.proj(x.permute(0, 2, 3, 1).flatten(2))
        return self.proj_drop(x).view(shape)
