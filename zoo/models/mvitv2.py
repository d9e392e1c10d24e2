"""MViTv2, arXiv:2112.01526: attention among tokens that are pooled, with relative positions of rows and of columns.

    image -> patch_embed (7x7, stride 4) -> stages.0 -> … -> stages.3 -> norm -> mean of the patches -> head
    block: norm -> attention -> added -> norm -> MLP -> added

Queries, keys and values are pooled by strided convolutions. The first block of a stage pools its queries and its
shortcut, and so halves the map; keys and values are coarser still in the first stages. Blocks see tokens (B, prefix +
H W, C), after a class token where there is one, and the size of the map, (H, W).
"""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..contract import Parts
from ..layers.act import ActLayer
from ..layers.attention_tokens import attend, merge_heads
from ..layers.decomposed import DecomposedRelPos
from ..layers.drop import DropPath
from ..layers.init import draw_normal, init_transformer
from ..layers.mlp import Mlp
from ..layers.norm import MakeNorm, Norm
from ..layers.pool import FAST, POOLS
from ..layers.positions import resample_abs_pos_embed
from ..layers.sizes import ImageSize, pair_of
from ..layers.stages import drop_path_rates, same_stages
from ..layers.tokens import TokenPool, Tokens, pool_tokens
from ..spec import Feature, Pair, Sizes, unknown
from .mvitv2_cfg import MultiScaleVitCfg, kv_strides, per_stage
from .records import signature_of
from .tokennet import TokenStates

__all__ = ['MultiScaleAttention', 'MultiScaleAttentionPoolFirst', 'MultiScaleBlock', 'MultiScaleVit',
           'MultiScaleVitCfg', 'MultiScaleVitStage', 'PatchEmbed']

POOLS_OF_MAPS: dict[str, Callable[..., nn.Module]] = {'max': nn.MaxPool2d, 'avg': nn.AvgPool2d}
MODES = ('conv', 'conv_unshared', *POOLS_OF_MAPS)
ONE: Pair = (1, 1)


class MultiScaleVit(TokenStates):
    """MViTv2, arXiv:2112.01526. Images (B, in_chans, H, W) of any size -> logits (B, num_classes).

    Args:
        cfg: what it is built of; `options` replace some of its fields.
        img_size: pixels that positions are kept for; those of other images are interpolated.
        global_pool: 'token' for the class token, or how patches are pooled; by default the class token where there is
            one, else 'avg'.
        drop_rate: dropout before the classifier. drop_path_rate: stochastic depth at the last block, growing linearly
            from 0 at the first.

    Raises:
        ValueError: numbers that do not fit each other, an option outside what is allowed.
        TypeError: an option that `cfg` has no field for.
    """

    parts = Parts(stem=('patch_embed', 'cls_token', 'pos_embed'), stages=('stages.*',), norm='norm',
                  head=('pooling',), classifier=('head.fc',))
    draw = staticmethod(init_transformer)
    undecayed = ('cls_token', 'pos_embed')
    __signature__: ClassVar[Any]
    img_size: Pair
    cls_token: nn.Parameter | None
    pos_embed: nn.Parameter | None

    def __init__(self, cfg: MultiScaleVitCfg | None = None, img_size: ImageSize = (224, 224), in_chans: int = 3,
                 global_pool: str | None = None, num_classes: int = 1000, drop_path_rate: float = 0.0,
                 drop_rate: float = 0.0, **options: Any) -> None:
        super().__init__()
        cfg = replace(cfg or MultiScaleVitCfg(), **options)
        dims, heads = (per_stage(entries, len(cfg.depths)) for entries in (cfg.embed_dim, cfg.num_heads))
        strides = kv_strides(cfg)
        same_stages(depths=cfg.depths, embed_dim=dims, num_heads=heads, stride_q=cfg.stride_q, stride_kv=strides)
        norm = Norm(cfg.norm_layer, eps=cfg.norm_eps)
        self.in_chans, self.img_size, self.num_prefix_tokens = in_chans, pair_of(img_size), int(cfg.use_cls_token)
        self.patch_embed = PatchEmbed(in_chans, dims[0], cfg.patch_kernel, cfg.patch_stride, cfg.patch_padding)
        tokens = self.num_prefix_tokens + math.prod(self.grid_size)
        self.cls_token = nn.Parameter(torch.empty(1, 1, dims[0])) if cfg.use_cls_token else None
        self.pos_embed = nn.Parameter(torch.empty(1, tokens, dims[0])) if cfg.use_abs_pos else None
        rates, grid = iter(drop_path_rates(drop_path_rate, sum(cfg.depths))), self.grid_size
        width, reduction = dims[0], max(cfg.patch_stride)
        self.stages, self.feature_info = nn.ModuleList(), []
        for number, depth in enumerate(cfg.depths):
            dim_out = dims[number if cfg.expand_attn else min(number + 1, len(dims) - 1)]
            stride = cfg.stride_q[number]
            self.stages.append(MultiScaleVitStage(
                width, dim_out, depth, heads[number], grid, cfg.mlp_ratio, cfg.qkv_bias, cfg.kernel_qkv, cfg.kernel_qkv,
                stride, strides[number], cfg.mode, cfg.use_cls_token, cfg.expand_attn, cfg.pool_first, cfg.rel_pos_type,
                cfg.residual_pooling, norm, [next(rates) for _ in range(depth)], cfg.act_layer, cfg.pool_type))
            width, grid, reduction = dim_out, strided(grid, stride), reduction * max(stride)
            self.feature_info.append(Feature(num_chs=width, reduction=reduction, module=f'block.{number}',
                                             stage=number + 1))
        self.num_features = width
        self.norm = norm(width)
        self.head = nn.Sequential()
        default = 'token' if cfg.use_cls_token else 'avg'
        self.build_head(width, num_classes, default if global_pool is None else global_pool, drop_rate)
        self.init_fresh()

    def reset_parameters(self) -> None:
        """Draws the class token and the positions."""
        for parameter in (self.cls_token, self.pos_embed):
            if parameter is not None:
                draw_normal(parameter, 0.02)

    @property
    def grid_size(self) -> Pair:
        """Rows and columns of patches of the images that positions are kept for."""
        return self.patch_embed.grid_of(self.img_size)

    # --- the walk

    def run_stem(self, x: Tensor) -> Tokens:
        x, grid = self.patch_embed(x)
        if self.cls_token is not None:
            x = torch.cat([self.cls_token.expand(x.shape[0], -1, -1), x], dim=1)
        if self.pos_embed is not None:
            x = x + self._positions(self.pos_embed, grid, self.grid_size)
        return Tokens(x, grid)

    def _positions(self, positions: Tensor, grid: Pair, old: Pair) -> Tensor:
        """Positions of an `old` grid of patches for another one, interpolated linearly in both directions, as the
        authors' code (PySlowFast) does it."""
        return resample_abs_pos_embed(positions, grid, old, self.num_prefix_tokens, 'bilinear', antialias=False)

    def run_stage(self, number: int, state: Tokens) -> Tokens:
        x, grid = self.stages[number](state.x, state.grid)
        return Tokens(x, grid)

    # --- the head

    @property
    def pools(self) -> tuple[str, ...]:
        """Every kind without parameters; 'token' where there is a class token."""
        return (*POOLS, 'token') if self.num_prefix_tokens else POOLS

    def reset_pool(self, global_pool: str) -> None:
        global_pool = FAST.get(global_pool, global_pool)
        if global_pool not in self.pools:
            known = ', '.join(map(repr, self.pools))
            raise ValueError(f'The kinds of pooling of this network are {known}, not global_pool={global_pool!r}.')
        self.pooling = TokenPool(global_pool, self.num_prefix_tokens)

    # --- sizes

    def fit_to(self, sizes: Sizes) -> None:
        """What `set_input_size` changes: the positions, resampled for the size of the images."""
        super().fit_to(sizes)
        old, self.img_size = self.grid_size, sizes.img_size or self.img_size
        grid, positions = self.grid_size, self.pos_embed
        if positions is not None and grid != old:
            with torch.no_grad():
                fitted = self._positions(positions, grid, old) if not positions.is_meta else positions.new_empty(
                    1, self.num_prefix_tokens + math.prod(grid), positions.shape[2])
            self.pos_embed = nn.Parameter(fitted, positions.requires_grad)
        for module in self.modules():
            if isinstance(module, MultiScaleAttention):
                grid = module.fit_map(grid)

    @torch.no_grad()
    def adapt_state(self, state: Mapping[str, Tensor], source: Sizes = Sizes()) -> dict[str, Tensor]:
        """See `ImageModel.adapt_state`."""
        state = super().adapt_state(state, source)
        for name, module in self.named_modules():
            if isinstance(module, MultiScaleAttention):
                module.adapt_rel_pos(state, f'{name}.')
        if self.pos_embed is not None and 'pos_embed' in state:
            count = state['pos_embed'].shape[1] - self.num_prefix_tokens
            grids = [self.patch_embed.grid_of(size) for size in (source.img_size, self.img_size) if size]
            square = math.isqrt(count), math.isqrt(count)
            old = next((grid for grid in grids if math.prod(grid) == count), square)
            state['pos_embed'] = self._positions(state['pos_embed'], self.grid_size, old)
        return state


MultiScaleVit.__signature__ = signature_of(MultiScaleVit, MultiScaleVitCfg)


def strided(size: Sequence[int], stride: Pair) -> Pair:
    """Rows and columns of a map after pooling, those begun counted."""
    return -(-size[0] // stride[0]), -(-size[1] // stride[1])


class PatchEmbed(nn.Module):
    """A convolution with overlapping patches: (B, dim_in, H, W) -> tokens (B, h w, dim_out), and (h, w)."""

    def __init__(self, dim_in: int = 3, dim_out: int = 768, kernel: Pair = (7, 7), stride: Pair = (4, 4),
                 padding: Pair = (3, 3)) -> None:
        super().__init__()
        self.padding = padding
        self.proj = nn.Conv2d(dim_in, dim_out, kernel, stride, padding)

    def grid_of(self, size: Pair) -> Pair:
        """Rows and columns of patches of an image (height, width)."""
        rows, columns = ((side + 2 * padding - kernel) // stride + 1 for side, kernel, stride, padding in zip(
            size, self.proj.kernel_size, self.proj.stride, self.padding))
        return rows, columns

    def forward(self, x: Tensor) -> tuple[Tensor, Pair]:
        x = self.proj(x)
        size = x.shape[2], x.shape[3]
        return x.flatten(2).transpose(1, 2), size


class MultiScaleVitStage(nn.Module):
    """Blocks, the first of which pools by `stride_q`: tokens (B, N, dim) of a map of `feat_size`, (H, W) -> tokens
    (B, N', dim_out), and the size of their map.

    Args:
        feat_size: rows and columns of the map that relative positions are kept for.
        drop_path: of each block, or of all. Others as in `MultiScaleBlock`.
    """

    def __init__(self, dim: int, dim_out: int, depth: int, num_heads: int, feat_size: Pair, mlp_ratio: float = 4.0,
                 qkv_bias: bool = True, kernel_q: Pair = ONE, kernel_kv: Pair = ONE, stride_q: Pair = ONE,
                 stride_kv: Pair = ONE, mode: str = 'conv', has_cls_token: bool = True, expand_attn: bool = False,
                 pool_first: bool = False, rel_pos_type: str = 'spatial', residual_pooling: bool = True,
                 norm_layer: MakeNorm = nn.LayerNorm, drop_path: float | Sequence[float] = 0.0,
                 act_layer: ActLayer = nn.GELU, pool_type: str = 'max') -> None:
        super().__init__()
        rates = list(drop_path) if isinstance(drop_path, Sequence) else [drop_path] * depth
        widens, self.blocks = 0 if expand_attn else depth - 1, nn.Sequential()
        for number, rate in enumerate(rates):
            self.blocks.append(MultiScaleBlock(
                dim if number <= widens else dim_out, dim_out if number >= widens else dim, num_heads, feat_size,
                mlp_ratio, qkv_bias, rate, norm_layer, kernel_q, kernel_kv, ONE if number else stride_q, stride_kv,
                mode, has_cls_token, expand_attn, pool_first, rel_pos_type, residual_pooling, act_layer, pool_type))
            feat_size = feat_size if number else strided(feat_size, stride_q)

    def forward(self, x: Tensor, feat_size: Pair) -> tuple[Tensor, Pair]:
        for block in self.blocks:
            x, feat_size = block(x, feat_size)
        return x, feat_size


class MultiScaleBlock(nn.Module):
    """Attention and an MLP, each a residual branch: tokens (B, N, dim) of a map of `feat_size`, (H, W) -> tokens
    (B, N', dim_out), and the size of their map.

    Args:
        expand_attn: where the widths differ, attention gives the wider tokens, not the MLP.
        act_layer: of the MLP. pool_type: what pools the shortcut, 'max' or 'avg'. Others as in `MultiScaleAttention`.

    Raises:
        ValueError: an option outside what is allowed.
    """

    def __init__(self, dim: int, dim_out: int, num_heads: int, feat_size: Pair, mlp_ratio: float = 4.0,
                 qkv_bias: bool = True, drop_path: float = 0.0, norm_layer: MakeNorm = nn.LayerNorm,
                 kernel_q: Pair = ONE, kernel_kv: Pair = ONE, stride_q: Pair = ONE, stride_kv: Pair = ONE,
                 mode: str = 'conv', has_cls_token: bool = True, expand_attn: bool = False, pool_first: bool = False,
                 rel_pos_type: str = 'spatial', residual_pooling: bool = True, act_layer: ActLayer = nn.GELU,
                 pool_type: str = 'max') -> None:
        super().__init__()
        width = dim_out if expand_attn else dim
        self.prefix = int(has_cls_token)
        self.norm1 = norm_layer(dim)
        self.shortcut_proj_attn = nn.Linear(dim, width) if width != dim else None
        self.shortcut_pool_attn = shortcut_pool(pool_type, pair_of(stride_q, 'stride_q'))
        attention = MultiScaleAttentionPoolFirst if pool_first else MultiScaleAttention
        self.attn = attention(dim, width, feat_size, num_heads, qkv_bias, mode, kernel_q, kernel_kv, stride_q,
                              stride_kv, has_cls_token, rel_pos_type, residual_pooling, norm_layer)
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = norm_layer(width)
        self.shortcut_proj_mlp = nn.Linear(width, dim_out) if width != dim_out else None
        self.mlp = Mlp(width, int(width * mlp_ratio), dim_out, act_layer)
        self.drop_path2 = DropPath(drop_path)

    def forward(self, x: Tensor, feat_size: Pair) -> tuple[Tensor, Pair]:
        x, feat_size = self._mixed(x, feat_size)
        normed = self.norm2(x)
        x = x if self.shortcut_proj_mlp is None else self.shortcut_proj_mlp(normed)
        return x + self.drop_path2(self.mlp(normed)), feat_size

    def _mixed(self, x: Tensor, feat_size: Pair) -> tuple[Tensor, Pair]:
        """The shortcut and attention, added."""
        normed = self.norm1(x)
        x = x if self.shortcut_proj_attn is None else self.shortcut_proj_attn(normed)
        if self.shortcut_pool_attn is not None:
            x, _ = pool_tokens(self.shortcut_pool_attn, x, feat_size, self.prefix)
        normed, feat_size = self.attn(normed, feat_size)
        return x + self.drop_path1(normed), feat_size


def shortcut_pool(kind: str, stride: Pair) -> nn.Module | None:
    """What pools a shortcut, over one pixel more than the stride; None without a stride.

    Raises:
        ValueError: another kind, or a stride for which that makes no map as large as the queries'.
    """
    if kind not in POOLS_OF_MAPS:
        raise ValueError(unknown('pool_type', kind, POOLS_OF_MAPS))
    if any(side > 1 and side % 2 for side in stride):
        raise ValueError(f'stride_q is 1 or even, so that shortcuts lie on the maps of queries, not {stride}.')
    kernel = tuple(side + 1 if side > 1 else 1 for side in stride)
    return None if stride == ONE else POOLS_OF_MAPS[kind](kernel, stride, tuple(side // 2 for side in kernel))


class MultiScaleAttention(DecomposedRelPos):
    """Multi-head self-attention among tokens that are pooled (section 4.1): tokens (B, N, dim) of a map of `feat_size`,
    (H, W) -> tokens (B, N', dim_out), as many as queries, and the size of their map.

    Args:
        feat_size: rows and columns of the map that relative positions are kept for; they are interpolated for others.
        mode: what pools queries, keys and values, see `MultiScaleVitCfg`; neither a kernel nor a stride for no pooling.
            Convolutions are followed by a normalisation.
        has_cls_token: the first token is of no pixel: it is not pooled, and has no relative position.
        rel_pos_type: 'spatial', or '' for no relative positions.
        residual_pooling: add the queries to what attention gives.

    Raises:
        ValueError: a width that the heads do not divide, an even kernel, an option outside what is allowed.
    """

    rel_pos_std = 0.02

    def __init__(self, dim: int, dim_out: int, feat_size: Pair, num_heads: int = 8, qkv_bias: bool = True,
                 mode: str = 'conv', kernel_q: Pair = ONE, kernel_kv: Pair = ONE, stride_q: Pair = ONE,
                 stride_kv: Pair = ONE, has_cls_token: bool = True, rel_pos_type: str = 'spatial',
                 residual_pooling: bool = True, norm_layer: MakeNorm = nn.LayerNorm) -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(unknown('mode', mode, MODES))
        if rel_pos_type not in ('spatial', ''):
            raise ValueError(f"rel_pos_type is 'spatial', or '' for none, not {rel_pos_type!r}.")
        self.num_heads, self.prefix, self.residual_pooling = num_heads, int(has_cls_token), residual_pooling
        self.shared, self.fused_attn = mode != 'conv_unshared', True
        self.stride_q, self.stride_kv = pair_of(stride_q, 'stride_q'), pair_of(stride_kv, 'stride_kv')
        width = self.build_projections(dim, dim_out, qkv_bias)
        if width % num_heads or dim_out % num_heads:
            raise ValueError(f'Attention of width {dim_out} among {dim} channels: {num_heads} heads do not divide it.')
        width = width // num_heads if self.shared else width
        for name in ('q', 'k', 'v'):
            kernel, stride = (kernel_q, self.stride_q) if name == 'q' else (kernel_kv, self.stride_kv)
            pool, norm = pool_of(mode, width, pair_of(kernel, 'kernel_qkv'), stride, norm_layer)
            self.register_module(f'pool_{name}', pool)
            self.register_module(f'norm_{name}', norm)
        self.proj = nn.Linear(dim_out, dim_out)
        self.build_rel_pos(self._finer(feat_size) if rel_pos_type else None, dim_out // num_heads)

    def build_projections(self, dim: int, dim_out: int, bias: bool) -> int:
        """Adds the linear maps to queries, keys and values; returns the width of what is pooled."""
        self.qkv = nn.Linear(dim, 3 * dim_out, bias)
        return dim_out

    def _finer(self, size: Pair) -> Pair:
        """Rows and columns of the queries' or the keys' map of a map of `size`, whichever has more."""
        (rows, columns), (others, more) = strided(size, self.stride_q), strided(size, self.stride_kv)
        return max(rows, others), max(columns, more)

    def fit_map(self, size: Pair) -> Pair:
        """Resamples the relative positions for a map of `size`, (H, W); returns the size of the queries' map."""
        self.set_rel_pos_size(self._finer(size))
        return strided(size, self.stride_q)

    def forward(self, x: Tensor, feat_size: Pair) -> tuple[Tensor, Pair]:
        q, k, v, size, coarser = self.pooled(x, feat_size)
        first = self.prefix
        bias = self.rel_pos_bias(q[:, :, first:], size, coarser)
        bias = F.pad(bias, (first, 0, first, 0)) if bias is not None and first else bias
        x = attend(q, k, v, bias, fused=self.fused_attn)
        if self.residual_pooling:
            x = x + q
        return self.proj(merge_heads(x)), size

    def pooled(self, x: Tensor, size: Pair) -> tuple[Tensor, Tensor, Tensor, Pair, Pair]:
        """Queries, keys and values, (B, heads, N, D) each, of tokens (B, N, dim), and the sizes of the queries' and of
        the keys' map."""
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        q, finer = self.pool(q, 'q', size)
        k, coarser = self.pool(k, 'k', size)
        v, _ = self.pool(v, 'v', size)
        return q, k, v, finer, coarser

    def pool(self, x: Tensor, name: str, size: Pair) -> tuple[Tensor, Pair]:
        """What queries, keys or values are made of, (B, heads, N, D), pooled and normalised, and the size of their
        map."""
        pool, norm = self._modules[f'pool_{name}'], self._modules[f'norm_{name}']
        if pool is None:
            return x, size
        x = x.flatten(0, 1) if self.shared else merge_heads(x)
        x, size = pool_tokens(pool, x, size, self.prefix)
        if norm is not None:
            x = norm(x)
        return x.unflatten(0, (-1, self.num_heads)) if self.shared else self.split_heads(x), size

    def split_heads(self, x: Tensor) -> Tensor:
        """(B, N, heads D) -> (B, heads, N, D)."""
        return x.unflatten(-1, (self.num_heads, -1)).transpose(1, 2)


class MultiScaleAttentionPoolFirst(MultiScaleAttention):
    """`MultiScaleAttention` that pools before its linear maps to queries, keys and values."""

    def build_projections(self, dim: int, dim_out: int, bias: bool) -> int:
        """See `MultiScaleAttention.build_projections`."""
        self.q, self.k, self.v = (nn.Linear(dim, dim_out, bias) for _ in range(3))
        return dim

    def pooled(self, x: Tensor, size: Pair) -> tuple[Tensor, Tensor, Tensor, Pair, Pair]:
        """See `MultiScaleAttention.pooled`."""
        x = self.split_heads(x)
        (q, finer), (k, coarser), (v, _) = (self.pool(x, name, size) for name in ('q', 'k', 'v'))
        q, k, v = self.q(merge_heads(q)), self.k(merge_heads(k)), self.v(merge_heads(v))
        return self.split_heads(q), self.split_heads(k), self.split_heads(v), finer, coarser


def pool_of(mode: str, width: int, kernel: Pair, stride: Pair,
            norm_layer: MakeNorm) -> tuple[nn.Module | None, nn.Module | None]:
    """What pools maps of `width` channels, and the normalisation after it; None for neither.

    Raises:
        ValueError: an even kernel.
    """
    if kernel == ONE == stride:
        return None, None
    if not all(side % 2 for side in kernel):
        raise ValueError(f'kernel_qkv is odd, so that maps of keys lie on those of queries, not {kernel}.')
    padding = (kernel[0] // 2, kernel[1] // 2)
    if mode in POOLS_OF_MAPS:
        return POOLS_OF_MAPS[mode](kernel, stride, padding), None
    return nn.Conv2d(width, width, kernel, stride, padding, groups=width, bias=False), norm_layer(width)
