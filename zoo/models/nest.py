"""NesT, nested hierarchical transformers, arXiv:2105.12723: attention inside blocks of a map that are aggregated.

    image -> patch_embed (4x4 patches) -> levels.0 -> levels.1 -> levels.2 -> norm -> pool -> head
    level: positions -> layers of attention inside each block and an MLP

Levels 1 and 2 begin with a 3x3 convolution, a normalisation and max pooling of stride 2, so that four blocks become one of
the same size; the last level has one block. States are maps with the channels last, (B, H, W, C).
"""
from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..contract import ImageModel, Parts
from ..layers.act import ActLayer, get_act_layer
from ..layers import attention_tokens
from ..layers.conv import conv2d, pad_same
from ..layers.drop import DropPath
from ..layers.init import init_transformer
from ..layers.mlp import Mlp
from ..layers.norm import LayerNorm, MakeNorm, Norm, NormLayer
from ..layers.patch_embed import PatchEmbed
from ..layers.positions import resample_abs_pos_embed
from ..layers.sizes import ImageSize, SizedLayer, pair_of
from ..layers.stages import children_of, drop_path_rates
from ..layers.windows import window_partition, window_reverse
from ..spec import Feature, Pair, Sizes


class Nest(ImageModel):
    """NesT, arXiv:2105.12723. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        img_size: pixels a side, or (height, width), which patches and blocks divide.
        num_levels: of the hierarchy; the first has 4 ** (num_levels - 1) blocks.
        embed_dims, num_heads, depths: channels, heads and layers of each level; one, or one a level.
        drop_rate: dropout before the classifier. proj_drop_rate: in attention and MLPs. attn_drop_rate: of the attention
            weights. drop_path_rate: stochastic depth at the last layer, growing linearly from 0 at the first.
        pad_type: of the convolutions and of pooling between levels: '' alike on all sides, 'same' as TensorFlow does.
        weight_init: '' or 'reset' draws weights, 'skip' leaves the parameters undrawn.

    Raises:
        ValueError: numbers that do not fit each other, an option outside what is allowed.
    """

    parts = Parts(stem=('patch_embed',), stages=('levels.*',), norm='norm', classifier=('head',))
    draw = staticmethod(init_transformer)
    dynamic_img_size = False
    img_size: Pair
    levels: nn.Sequential

    def __init__(self, img_size: ImageSize = 224, in_chans: int = 3, patch_size: int = 4, num_levels: int = 3,
                 embed_dims: int | Sequence[int] = (128, 256, 512), num_heads: int | Sequence[int] = (4, 8, 16),
                 depths: int | Sequence[int] = (2, 2, 20), num_classes: int = 1000, mlp_ratio: float = 4.0,
                 qkv_bias: bool = True, drop_rate: float = 0.0, proj_drop_rate: float = 0.0,
                 attn_drop_rate: float = 0.0, drop_path_rate: float = 0.5, norm_layer: NormLayer | None = None,
                 act_layer: ActLayer | None = None, pad_type: str = '', weight_init: str = '',
                 global_pool: str = 'avg') -> None:
        super().__init__()
        dims, heads, counts = (list(n) if isinstance(n, Sequence) else [n] * num_levels
                               for n in (embed_dims, num_heads, depths))
        if not len(dims) == len(heads) == len(counts) == num_levels:
            raise ValueError(f'embed_dims, num_heads and depths have one entry a level, not {len(dims)}, {len(heads)} '
                             f'and {len(counts)} for {num_levels}.')
        if weight_init not in ('', 'skip', 'reset'):
            raise ValueError(f"weight_init is '', 'reset' or 'skip', not {weight_init!r}.")
        norm, act = Norm(norm_layer or LayerNorm), get_act_layer(act_layer or nn.GELU)
        self.in_chans, self.num_features, self.img_size = in_chans, dims[-1], pair_of(img_size)
        self.num_levels, self.embed_dim = num_levels, dims[-1]
        self.patch_embed = PatchEmbed(self.img_size, patch_size, in_chans, dims[0], output_fmt='NHWC')
        block = block_of(self.img_size, self.patch_embed.patch_size, num_levels)
        rates = iter(drop_path_rates(drop_path_rate, sum(counts)))
        self.levels, self.feature_info = nn.Sequential(), []
        for number, (dim, depth) in enumerate(zip(dims, counts)):
            self.levels.append(NestLevel(
                4 ** (num_levels - 1 - number), block, heads[number], depth, dim,
                dims[number - 1] if number else None, mlp_ratio, qkv_bias, proj_drop_rate, attn_drop_rate,
                [next(rates) for _ in range(depth)], norm, act, pad_type))
            for level in children_of(self.levels, NestLevel)[-1:]:
                level.patch, level.levels = self.patch_embed.patch_size, num_levels
            self.feature_info.append(Feature(num_chs=dim, reduction=patch_size * 2 ** number,
                                             module=f'levels.{number}', stage=number + 1))
        self.norm = norm(dims[-1])
        self.build_head(dims[-1], num_classes, global_pool, drop_rate)
        if weight_init != 'skip':
            self.init_fresh()

    def maps_of(self, state: Tensor, step: int) -> list[Tensor]:
        return [state.permute(0, 3, 1, 2)]

    def hidden_of(self, state: Tensor) -> Tensor:
        """The embedded patches, with the channels last."""
        return state

    def pre_head(self, state: Tensor) -> Tensor:
        return self.normalise(state).permute(0, 3, 1, 2)

    def fit_to(self, sizes: Sizes) -> None:
        """What `set_input_size` changes in the network.

        Raises:
            ValueError: an image that patches and blocks do not divide, or images of any size, which blocks are not of.
        """
        if sizes.dynamic:
            raise ValueError('Blocks of this network are parts of images of one size: dynamic_img_size is False.')
        size, patch = sizes.img_size or self.img_size, sizes.patch_size or self.patch_embed.patch_size
        block_of(size, patch, self.num_levels)
        super().fit_to(Sizes(size, patch, sizes.window_size, sizes.dynamic))
        for number, feature in enumerate(self.feature_info):
            feature['reduction'] = max(patch) * 2 ** number


def block_of(size: Pair, patch: Pair, levels: int) -> Pair:
    """Rows and columns of patches of each block of the first level.

    Raises:
        ValueError: an image that blocks do not divide.
    """
    parts = 2 ** (levels - 1)
    if any(side % (step * parts) for side, step in zip(size, patch)):
        raise ValueError(f'An image of {size[0]}x{size[1]} pixels is not of {parts}x{parts} blocks of whole patches of '
                         f'{patch[0]}x{patch[1]}: its sides are multiples of {patch[0] * parts} and {patch[1] * parts}.')
    return size[0] // patch[0] // parts, size[1] // patch[1] // parts


class NestLevel(SizedLayer):
    """Aggregation of blocks, where the level begins with it, positions and layers: (B, H, W, prev_embed_dim) ->
    (B, H / 2, W / 2, embed_dim).

    Args:
        num_blocks: a square number. block_size: rows and columns of pixels of each.
        prev_embed_dim: channels that come in; None for the first level, which has no aggregation.

    Attributes:
        patch, levels: pixels per patch, and levels of the network; set by it.
    """

    follows = ('img_size', 'patch_size')
    undecayed = ('pos_embed',)
    patch: Pair = (4, 4)
    levels = 3

    def __init__(self, num_blocks: int, block_size: Pair, num_heads: int, depth: int, embed_dim: int,
                 prev_embed_dim: int | None = None, mlp_ratio: float = 4.0, qkv_bias: bool = True,
                 proj_drop: float = 0.0, attn_drop: float = 0.0, drop_path: Sequence[float] = (),
                 norm_layer: MakeNorm = LayerNorm, act_layer: ActLayer = nn.GELU, pad_type: str = '') -> None:
        super().__init__()
        self.num_blocks, self.block_size = num_blocks, block_size
        self.pos_embed = nn.Parameter(torch.empty(1, num_blocks, block_size[0] * block_size[1], embed_dim))
        self.pool = nn.Identity() if prev_embed_dim is None else ConvPool(prev_embed_dim, embed_dim, norm_layer, pad_type)
        rates = list(drop_path) or [0.0] * depth
        self.transformer_encoder = nn.Sequential(*(TransformerLayer(
            embed_dim, num_heads, mlp_ratio, qkv_bias, proj_drop, attn_drop, rate, act_layer, norm_layer)
            for rate in rates))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the positions."""
        nn.init.trunc_normal_(self.pos_embed, std=0.02)

    def fit(self, sizes: Sizes) -> None:
        """Other images or patches, with the positions resampled."""
        self.patch = sizes.patch_size or self.patch
        if sizes.img_size:
            self.block_size, old = block_of(sizes.img_size, self.patch, self.levels), self.block_size
            if self.block_size != old:
                with torch.no_grad():
                    self.pos_embed = nn.Parameter(self._resampled(self.pos_embed, old), self.pos_embed.requires_grad)

    @torch.no_grad()
    def adapt_state(self, state: dict[str, Tensor], prefix: str, source: Sizes) -> None:
        """Resamples the positions at `prefix`: of the image that `source` gives, else of square blocks.

        Raises:
            ValueError: which size they are of cannot be told.
        """
        key = f'{prefix}pos_embed'
        if key not in state or state[key].shape == self.pos_embed.shape:
            return
        count = state[key].shape[2]
        old = (math.isqrt(count),) * 2
        if source.img_size:
            rows, columns = (side // step // 2 ** (self.levels - 1) for side, step in zip(source.img_size, self.patch))
            old = (rows, columns) if rows * columns == count else old
        if old[0] * old[1] != count:
            raise ValueError(f'{key}: {count} positions are of no square block, and which size it had cannot be told. Say it '
                             'with pretrained_cfg_overlay=dict(input_size=(channels, height, width)).')
        state[key] = self._resampled(state[key], (old[0], old[1]))

    def _resampled(self, positions: Tensor, old: Pair) -> Tensor:
        """Positions (1, blocks, pixels, C) of blocks of `old` rows and columns for those of today, as an image of all
        blocks' (DeiT, arXiv:2012.12877, section 5); the authors of NesT give no method."""
        side = math.isqrt(self.num_blocks)
        rows, columns = self.block_size
        if positions.is_meta:
            return positions.new_empty(1, self.num_blocks, rows * columns, positions.shape[-1])
        whole = window_reverse(positions[0].unflatten(1, old), old, side * old[0], side * old[1])
        whole = resample_abs_pos_embed(whole.flatten(1, 2), (side * rows, side * columns), whole.shape[1:3], 0)
        return window_partition(whole.unflatten(1, (side * rows, side * columns)), self.block_size).flatten(1, 2)[None]

    def forward(self, x: Tensor) -> Tensor:
        x = self.pool(x)
        height, width = x.shape[1:3]
        x = window_partition(x, self.block_size).flatten(1, 2).unflatten(0, (-1, self.num_blocks)) + self.pos_embed
        x = self.transformer_encoder(x.flatten(0, 1))
        return window_reverse(x.unflatten(1, self.block_size), self.block_size, height, width)


class ConvPool(nn.Module):
    """Aggregation of blocks (section 3.1): (B, H, W, in_channels) -> (B, H / 2, W / 2, out_channels)."""

    def __init__(self, in_channels: int, out_channels: int, norm_layer: MakeNorm = LayerNorm, pad_type: str = '') -> None:
        super().__init__()
        self.same = pad_type == 'same'
        self.conv = conv2d(in_channels, out_channels, 3, pad_type=pad_type, bias=True)
        self.norm = norm_layer(out_channels)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(self.conv(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
        x = F.max_pool2d(pad_same(x, (3, 3), (2, 2), (1, 1), -math.inf), 3, 2) if self.same else F.max_pool2d(x, 3, 2, 1)
        return x.permute(0, 2, 3, 1)


class TransformerLayer(nn.Module):
    """Attention inside each block and an MLP, each a residual branch: (B blocks, N, dim) -> same."""

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0, qkv_bias: bool = False, proj_drop: float = 0.0,
                 attn_drop: float = 0.0, drop_path: float = 0.0, act_layer: ActLayer = nn.GELU,
                 norm_layer: MakeNorm = LayerNorm) -> None:
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
    """`zoo.layers.attention_tokens.Attention` of one block's pixels: (B blocks, N, dim) -> same. Published weights of the last
    layer take the first channel of every head, then the second of every head, and so on."""

    def __init__(self, dim: int, num_heads: int = 8, qkv_bias: bool = False, attn_drop: float = 0.0,
                 proj_drop: float = 0.0) -> None:
        super().__init__(dim, num_heads, qkv_bias=qkv_bias, attn_drop=attn_drop, proj_drop=proj_drop)

    def forward(self, x: Tensor, attn_mask: Tensor | None = None, is_causal: bool = False) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, self.head_dim)).permute(2, 0, 3, 1, 4)
        mixed = attention_tokens.attend(q, k, v, attn_mask, is_causal, self.attn_drop.p if self.training else 0.0,
                                        self.fused_attn)
        return self.proj_drop(self.proj(mixed.permute(0, 2, 3, 1).flatten(2)))
