"""Hiera, arXiv:2306.00989: a hierarchical vision transformer without the bells and whistles.

    image -> patch_embed (7x7, stride 4) -> positions -> unroll -> blocks -> pool -> norm -> fc
    block: norm -> attention -> added -> norm -> MLP -> added

Attention looks into mask units, which are windows that shrink with the map, in the first two stages, and at all tokens
after them. The first block of a stage pools: its queries and its shortcut are the maxima of 2x2 tokens.

Between the blocks tokens are kept in an order, that of `unroll`, in which neither units nor pooling move any of them.
"""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.act import ActLayer
from ..layers.attention_tokens import attend, merge_heads
from ..layers.drop import DropPath
from ..layers.mlp import Mlp
from ..layers.norm import LayerNorm, MakeNorm, Norm, NormLayer
from ..layers.positions import absolute_win, resample_windowed_pos_embed
from ..layers.scale import LayerScale
from ..layers.sizes import ImageSize, check_fitted, pair_of
from ..layers.windows import cut_to, missing
from ..spec import Pair, Sizes, between
from .hieranet import HieraNet, places

class Unrolled(NamedTuple):
    """The state between the blocks of Hiera.

    Attributes:
        x: tokens (B, N, C) in the order of `unroll`.
        size: height and width of the images; None where mask units were dropped.
    """

    x: Tensor
    size: Sequence[int] | None


class Hiera(HieraNet):
    """Hiera, arXiv:2306.00989. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Images that mask units do not divide are padded with zeros at the bottom and right.

    Args:
        img_size: pixels that positions are learnt for; see `set_input_size`.
        stages: blocks of each stage.
        num_heads, embed_dim: heads and channels of the first stage; at each further one there are `head_mul` and
            `dim_mul` times as many.
        q_pool: how many stages pool, from the second on. q_stride: rows and columns of tokens that become one.
        mask_unit_size: rows and columns of patches of a mask unit; powers of `q_stride`.
        mask_unit_attn: for each stage whether attention looks into mask units, or at all tokens.
        use_expand_proj: where the width changes, a linear layer widens the shortcut; else its mean and maximum over
            what is pooled are its two halves.
        patch_kernel, patch_stride, patch_padding: of the convolution that embeds patches.
        init_values: initial factor of every residual branch (arXiv:2103.17239); None for none.
        weight_init: '' draws weights as DeiT (arXiv:2012.12877), 'jax' as the original ViT, 'skip' leaves the
            parameters undrawn. fix_init: divide the last layers of the residual branches by sqrt(2 * number of the
            block). head_init_scale: factor of the fresh classifier.
        drop_rate: dropout before the classifier. patch_drop_rate: the share of mask units that is dropped in training.
            drop_path_rate: stochastic depth at the last block, growing linearly from 0 at the first.
        abs_win_pos_embed: positions inside a mask unit, and in the whole image, of `global_pos_size`, apart
            (arXiv:2311.05613).
        dynamic_img_size: take images of any size, with the positions resampled.

    Raises:
        ValueError: numbers that do not fit each other, an option outside what is allowed.
    """

    output_fmt = 'NLC'
    img_size: Pair

    def __init__(self, img_size: ImageSize = (224, 224), in_chans: int = 3, embed_dim: int = 96, num_heads: int = 1,
                 num_classes: int = 1000, global_pool: str = 'avg', stages: Sequence[int] = (2, 3, 16, 3),
                 q_pool: int = 3, q_stride: ImageSize = (2, 2), mask_unit_size: ImageSize = (8, 8),
                 mask_unit_attn: Sequence[bool] = (True, True, False, False), use_expand_proj: bool = True,
                 dim_mul: float = 2.0, head_mul: float = 2.0, patch_kernel: ImageSize = (7, 7),
                 patch_stride: ImageSize = (4, 4), patch_padding: Sequence[int] = (3, 3), mlp_ratio: float = 4.0,
                 drop_path_rate: float = 0.0, init_values: float | None = None, fix_init: bool = True,
                 weight_init: str = '', norm_layer: NormLayer = LayerNorm, drop_rate: float = 0.0,
                 patch_drop_rate: float = 0.0, head_init_scale: float = 0.001, abs_win_pos_embed: bool = False,
                 global_pos_size: ImageSize = (14, 14), dynamic_img_size: bool = False) -> None:
        super().__init__()
        if len(mask_unit_attn) < len(stages):
            raise ValueError(f'mask_unit_attn has one entry a stage, not {len(mask_unit_attn)} for {len(stages)}.')
        norm, self.in_chans = Norm(norm_layer), in_chans
        self.img_size, self.dynamic_img_size = pair_of(img_size), dynamic_img_size
        self.patch_drop_rate = between('patch_drop_rate', patch_drop_rate, 0, 1)
        self.q_stride, self.levels = pair_of(q_stride, 'q_stride'), len(stages) - 1
        self.mask_unit_size = pair_of(mask_unit_size, 'mask_unit_size')
        self.mask_levels = levels_of(self.mask_unit_size, self.q_stride, self.levels)
        self.patch_embed = PatchEmbed(in_chans, embed_dim, patch_kernel, patch_stride, patch_padding)
        self.patch_stride = pair_of(patch_stride, 'patch_stride')
        grid, self.abs_win_pos_embed = self.grid_of(self.img_size), abs_win_pos_embed
        if abs_win_pos_embed:
            self.pos_embed = nn.Parameter(torch.empty(1, embed_dim, *pair_of(global_pos_size, 'global_pos_size')))
            self.pos_embed_win = nn.Parameter(torch.empty(1, embed_dim, *self.mask_unit_size))
        else:
            self.pos_embed = nn.Parameter(torch.empty(1, math.prod(grid), embed_dim))

        plan = list(places(stages, embed_dim, num_heads, dim_mul, head_mul, q_pool, self.q_stride, drop_path_rate))
        self.q_pool_blocks = [number for number, place in enumerate(plan) if place.pools]
        self.blocks, inside, pooling = nn.Sequential(), math.prod(self.mask_unit_size), math.prod(self.q_stride)
        for place in plan:
            inside = inside // pooling if place.pools else inside
            if mask_unit_attn[place.stage] and not inside:
                raise ValueError(f'Mask units of {mask_unit_size} patches are pooled away where attention still looks '
                                 f'into them: mask_unit_attn={mask_unit_attn} with q_pool={q_pool}.')
            self.blocks.append(HieraBlock(
                place.dim, place.dim_out, place.heads, mlp_ratio, place.drop_path, init_values, norm,
                q_stride=pooling if place.pools else 1, window_size=inside, use_expand_proj=use_expand_proj,
                use_mask_unit_attn=mask_unit_attn[place.stage]))
        self.build(plan, self.patch_stride[0], norm, num_classes, global_pool, drop_rate, head_init_scale, weight_init,
                   fix_init)

    # --- the walk

    def units_of(self, size: Sequence[int]) -> Pair:
        """Rows and columns of the coarsest cells of the order of tokens, those begun counted, of an image (height,
        width): 32x32 pixels by default."""
        rows, columns = ((side + cell - 1) // cell for side, cell in zip(size, self._cell()))
        return rows, columns

    def grid_of(self, size: Sequence[int]) -> Pair:
        """Rows and columns of patches, in whole cells, of an image (height, width)."""
        rows, columns = (units * stride ** self.levels for units, stride in zip(self.units_of(size), self.q_stride))
        return rows, columns

    def _cell(self) -> Pair:
        rows, columns = (patch * stride ** self.levels for patch, stride in zip(self.patch_stride, self.q_stride))
        return rows, columns

    def run_stem(self, x: Tensor) -> Unrolled:
        kept = None
        if self.training and self.patch_drop_rate:
            cells = self._mask_grid(self.units_of(x.shape[2:]))
            count = cells[0] * cells[1]
            kept = torch.rand(x.shape[0], count, device=x.device).argsort(1)
            kept = kept[:, :int(count * (1 - self.patch_drop_rate))].sort(1).values
        return self._embed(x, kept)

    def _mask_grid(self, units: Pair) -> Pair:
        """Rows and columns of mask units."""
        level = self.levels - self.mask_levels
        rows, columns = (side * stride ** level for side, stride in zip(units, self.q_stride))
        return rows, columns

    def _embed(self, x: Tensor, kept: Tensor | None) -> Unrolled:
        """The state of images, of all their mask units or of those `kept` (B, K), which are numbered row by row."""
        size = x.shape[2:]
        if not self.dynamic_img_size:
            check_fitted(size, self.img_size)
        units, grid = self.units_of(size), self.grid_of(size)
        down, right = missing(size, self._cell())
        x = F.pad(x, (0, right, 0, down))
        cells = self._mask_grid(units)
        x = self.patch_embed(x, None if kept is None else mask_of(kept, cells))
        x = x + self._positions(grid)
        x = unroll(x.unflatten(1, grid), self.q_stride, self.levels)
        if kept is not None:                                    # mask units are numbered in the order of tokens here
            numbers = torch.arange(cells[0] * cells[1], device=x.device).view(1, *cells, 1)
            kept = unroll(numbers, self.q_stride, self.levels - self.mask_levels).flatten().argsort()[kept]
            x = x.unflatten(1, (-1, cells[0] * cells[1]))
            x = x.gather(2, kept.sort(1).values[:, None, :, None].expand(-1, x.shape[1], -1, x.shape[3])).flatten(1, 2)
        return Unrolled(x, size if kept is None else None)

    def _positions(self, grid: Pair) -> Tensor:
        """Positions (1, N, C) of a grid of patches, row by row."""
        if self.abs_win_pos_embed:
            return absolute_win(self.pos_embed, self.pos_embed_win, grid, antialias=True).flatten(1, 2)
        if not self.dynamic_img_size:
            return self.pos_embed
        return resample_windowed_pos_embed(self.pos_embed, grid, self.grid_of(self.img_size), self.mask_unit_size)

    def run_stage(self, number: int, state: Unrolled) -> Unrolled:
        return state._replace(x=self.blocks[number](state.x))

    def maps_of(self, state: Unrolled, step: int) -> list[Tensor]:
        if state.size is None:
            raise ValueError('Some mask units were dropped, and what is left makes no map: there are feature maps in '
                             'evaluation, and without a mask.')
        return [self.reroll(state.x, step, state.size)]

    def reroll(self, x: Tensor, step: int, size: Sequence[int]) -> Tensor:
        """Tokens (B, N, C) after a step of the walk, in the order of `unroll` -> their map (B, C, H, W).

        Args:
            size: (height, width) of the images.
        """
        pools = sum(number < step for number in self.q_pool_blocks)
        x = reroll(x, self.units_of(size), self.q_stride, self.levels - pools)
        strides = (patch * stride ** pools for patch, stride in zip(self.patch_stride, self.q_stride))
        rows, columns = ((side + stride - 1) // stride for side, stride in zip(size, strides))
        return cut_to(x, (rows, columns)).permute(0, 3, 1, 2)

    def hidden_of(self, state: Unrolled) -> Tensor:
        """All tokens (B, N, C)."""
        return state.x

    def pre_head(self, state: Unrolled) -> Tensor:
        return state.x

    def forward_features(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, in_chans, H, W) -> tokens (B, N, num_features), before pooling, in the order of `unroll`.

        Args:
            mask: which mask units, row by row, are looked at (B, units), as many of each image; the others are as if
                they were not there.

        Raises:
            ValueError: a mask of another shape, or of different numbers of units.
        """
        if mask is None:
            return super().forward_features(x)
        rows, columns = self._mask_grid(self.units_of(x.shape[2:]))
        if mask.shape != (x.shape[0], rows * columns) or mask.dtype != torch.bool or mask.sum(1).unique().numel() != 1:
            raise ValueError(f'mask is True for the mask units to look at, ({x.shape[0]}, {rows * columns}) here, as '
                             f'many of each image; this one is of {mask.dtype} and {tuple(mask.shape)}.')
        state = self._embed(x, mask.nonzero()[:, 1].view(x.shape[0], -1))
        for number in range(len(self.blocks)):
            state = self.advance(number, state)
        return self.pre_head(state)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """(B, in_chans, H, W) -> logits (B, num_classes); with a `mask` what `forward_features` returns, for pretraining."""
        features = self.forward_features(x, mask)
        return self.forward_head(features) if mask is None else features

    # --- sizes

    def fit_to(self, sizes: Sizes) -> None:
        """What `set_input_size` changes: positions are resampled (`resample_windowed_pos_embed`)."""
        super().fit_to(sizes)
        old, positions = self.grid_of(self.img_size), self.pos_embed
        self.img_size = sizes.img_size or self.img_size
        self.dynamic_img_size = self.dynamic_img_size if sizes.dynamic is None else sizes.dynamic
        new = self.grid_of(self.img_size)
        if self.abs_win_pos_embed or new == old:
            return
        with torch.no_grad():
            fitted = positions.new_empty(1, math.prod(new), positions.shape[-1]) if positions.is_meta else \
                resample_windowed_pos_embed(positions, new, old, self.mask_unit_size)
        self.pos_embed = nn.Parameter(fitted, positions.requires_grad)

    @torch.no_grad()
    def adapt_state(self, state: Mapping[str, Tensor], source: Sizes = Sizes()) -> dict[str, Tensor]:
        """See `ImageModel.adapt_state`."""
        state = super().adapt_state(state, source)
        positions = state.get('pos_embed')
        if positions is not None and positions.ndim == 3 and not self.abs_win_pos_embed:
            new = self.grid_of(self.img_size)
            old = self._grid_with(positions.shape[1], source)
            state['pos_embed'] = resample_windowed_pos_embed(positions, new, old, self.mask_unit_size)
        return state

    def _grid_with(self, count: int, source: Sizes) -> Pair:
        """The grid of so many positions.

        Raises:
            ValueError: they are of no square image, and not of the size that they are said to be of.
        """
        side = math.isqrt(count)
        for grid in (*(self.grid_of(size) for size in (source.img_size, self.img_size) if size), (side, side)):
            if math.prod(grid) == count and not any(n % unit for n, unit in zip(grid, self.mask_unit_size)):
                return grid
        raise ValueError(f'pos_embed: {count} positions are of no square image, and which size it had cannot be told. '
                         'Say it with pretrained_cfg_overlay=dict(input_size=(channels, height, width)).')


def levels_of(unit: Pair, stride: Pair, most: int) -> int:
    """How many times a mask unit can be pooled until it is one token.

    Raises:
        ValueError: it cannot, or in more steps than `most`, one fewer than there are stages.
    """
    for level in range(most + 1):
        if (stride[0] ** level, stride[1] ** level) == unit:
            return level
    allowed = ', '.join(str((stride[0] ** level, stride[1] ** level)) for level in range(most + 1))
    raise ValueError(f'mask_unit_size is a power of q_stride, one of {allowed}, not {unit}.')


# --- the order of tokens, and which of them are kept


def mask_of(kept: Tensor, cells: Pair) -> Tensor:
    """Numbers of mask units (B, K) -> a map of all of them, 1 for those (B, 1, rows, columns)."""
    return torch.zeros(kept.shape[0], cells[0] * cells[1], device=kept.device).scatter(1, kept, 1).view(-1, 1, *cells)


def unroll(x: Tensor, stride: Pair, levels: int) -> Tensor:
    """A map (B, H, W, C) -> tokens (B, H W, C): first the first of each group of `stride` rows and columns, then the
    second of each, and so on. Among them groups are ordered in the same way, as often as there are `levels`, and at
    last row by row. A maximum over a group is one over a dimension then, and groups of groups are windows."""
    rows, columns = stride
    x = x.unflatten(2, (-1, *[columns] * levels)).unflatten(1, (-1, *[rows] * levels))
    return x.permute(_order(levels)).flatten(1, -2)


def reroll(x: Tensor, units: Pair, stride: Pair, levels: int) -> Tensor:
    """Tokens (B, H W, C) in the order of `unroll` with so many levels -> the map (B, H, W, C).

    Args:
        units: rows and columns of the coarsest groups.
    """
    order = _order(levels)
    x = x.unflatten(1, (*stride * levels, *units)).permute([order.index(place) for place in range(len(order))])
    return x.flatten(2 + levels, 2 + 2 * levels).flatten(1, 1 + levels)


def _order(levels: int) -> list[int]:
    """Where those dimensions are that are wanted as batch, places in a group from fine to coarse, groups, channels, in
    a map (batch, rows, columns, channels) with rows, and columns, cut from coarse to fine."""
    rows, columns = 1, 2 + levels
    inside = [start + level for level in range(levels, 0, -1) for start in (rows, columns)]
    return [0, *inside, rows, columns, 3 + 2 * levels]


# --- layers


class PatchEmbed(nn.Module):
    """A convolution with overlapping patches: (B, dim_in, H, W) -> tokens (B, N, dim_out), row by row.

    Args:
        kernel, stride, padding: of the convolution.
        reshape: give tokens; else maps (B, dim_out, h, w).

    Raises:
        ValueError: they give no pixel for each stride.
    """

    def __init__(self, dim_in: int, dim_out: int, kernel: ImageSize, stride: ImageSize, padding: Sequence[int],
                 reshape: bool = True) -> None:
        super().__init__()
        kernels, strides = pair_of(kernel, 'patch_kernel'), pair_of(stride, 'patch_stride')
        paddings = (padding[0], padding[1])
        if not all(0 < k - 2 * p <= s for k, s, p in zip(kernels, strides, paddings)):
            raise ValueError(f'patch_kernel={kernel}, patch_stride={stride} and patch_padding={padding} give no patch '
                             'for each stride: the kernel is larger than its padding, by a stride at most.')
        self.proj = nn.Conv2d(dim_in, dim_out, kernels, strides, paddings)
        self.reshape = reshape

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """
        Args:
            mask: 1 where the image is looked at, 0 where it is black instead (B, 1, h, w), of any coarser size.
        """
        if mask is not None:
            x = x * F.interpolate(mask.to(x.dtype), x.shape[2:])
        x = self.proj(x)
        return x.flatten(2).transpose(1, 2) if self.reshape else x


class HieraBlock(nn.Module):
    """Attention and an MLP, each a residual branch: tokens (B, N, dim) -> (B, N / q_stride, dim_out).

    Args:
        init_values: initial factor of both branches; None for none. drop_path: stochastic depth of both.
        use_expand_proj: see `Hiera`. Others as of `MaskUnitAttention`.

    Raises:
        ValueError: without a linear layer, a width that does not double.
    """

    def __init__(self, dim: int, dim_out: int, heads: int, mlp_ratio: float = 4.0, drop_path: float = 0.0,
                 init_values: float | None = None, norm_layer: MakeNorm = nn.LayerNorm, act_layer: ActLayer = nn.GELU,
                 q_stride: int = 1, window_size: int = 0, use_expand_proj: bool = True,
                 use_mask_unit_attn: bool = False) -> None:
        super().__init__()
        self.dim, self.dim_out, self.q_stride = dim, dim_out, q_stride
        self.norm1 = norm_layer(dim)
        self.proj: nn.Module | None = None
        if dim != dim_out and use_expand_proj:
            self.proj = nn.Linear(dim, dim_out)
        elif dim != dim_out and dim_out != 2 * dim:
            raise ValueError('A shortcut without a linear layer (use_expand_proj=False) doubles its channels, which '
                             f'{dim_out} of {dim} are not.')
        self.attn = MaskUnitAttention(dim, dim_out, heads, q_stride, window_size, use_mask_unit_attn)
        self.ls1 = LayerScale(dim_out, init_values) if init_values is not None else nn.Identity()
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = norm_layer(dim_out)
        self.mlp = Mlp(dim_out, int(dim_out * mlp_ratio), act_layer=act_layer)
        self.ls2 = LayerScale(dim_out, init_values) if init_values is not None else nn.Identity()
        self.drop_path2 = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self._mixed(x)
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))

    def _mixed(self, x: Tensor) -> Tensor:
        """The shortcut and attention, added."""
        normed = self.norm1(x)
        if self.q_stride > 1 or self.dim != self.dim_out:
            x = self._shortcut(x if self.proj is None else self.proj(normed))
        return x + self.drop_path1(self.ls1(self.attn(normed)))

    def _shortcut(self, x: Tensor) -> Tensor:
        """Tokens (B, N, C), pooled and, where they are not wide enough, with their mean beside their maximum."""
        groups = x.unflatten(1, (self.q_stride, -1))
        largest = groups.amax(1)
        return largest if x.shape[-1] == self.dim_out else torch.cat([largest, groups.mean(1)], dim=-1)


class MaskUnitAttention(nn.Module):
    """Attention inside mask units, or of all tokens, whose queries may be pooled (section 3): tokens (B, N, dim) in the
    order of `unroll` -> (B, N / q_stride, dim_out).

    Args:
        q_stride: how many queries become one, their maximum. window_size: tokens of a mask unit after that.
        use_mask_unit_attn: look into mask units.

    Raises:
        ValueError: a width that the heads do not divide.
    """

    def __init__(self, dim: int, dim_out: int, heads: int, q_stride: int = 1, window_size: int = 0,
                 use_mask_unit_attn: bool = False) -> None:
        super().__init__()
        if dim_out % heads:
            raise ValueError(f'Attention of width {dim_out}: {heads} heads do not divide it.')
        self.dim, self.dim_out, self.heads, self.head_dim = dim, dim_out, heads, dim_out // heads
        self.q_stride, self.window_size, self.use_mask_unit_attn = q_stride, window_size, use_mask_unit_attn
        self.scale, self.fused_attn = self.head_dim ** -0.5, True
        self.qkv = nn.Linear(dim, 3 * dim_out)
        self.proj = nn.Linear(dim_out, dim_out)

    def forward(self, x: Tensor) -> Tensor:
        windows = x.shape[1] // (self.q_stride * self.window_size) if self.use_mask_unit_attn else 1
        x = self.qkv(x).unflatten(1, (-1, windows)).unflatten(-1, (3, self.heads, self.head_dim))
        q, k, v = x.permute(3, 0, 2, 4, 1, 5).flatten(1, 2)                         # (3, B windows, heads, tokens, D)
        if self.q_stride > 1:
            q = q.unflatten(2, (self.q_stride, -1)).amax(2)
        x = self.proj(merge_heads(attend(q, k, v, fused=self.fused_attn)))
        return x.unflatten(0, (-1, windows)).transpose(1, 2).flatten(1, 2)
