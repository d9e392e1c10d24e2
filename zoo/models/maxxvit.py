"""MaxViT, arXiv:2204.01697: convolution, attention in windows of neighbours, attention in windows that lie all over the
map. The same network of other blocks is CoAtNet, arXiv:2106.04803 (zoo/models/coatnet.py).

    image -> stem (two 3x3 convolutions) -> stages.0 -> … -> stages.3 -> norm -> pool -> head.fc
    block: MBConv -> attention in windows -> MLP -> attention in a grid -> MLP

Every stage's first block halves the map.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..contract import Parts
from ..layers.act import ActLayer
from ..layers.conv import conv2d
from ..layers.drop import DropPath
from ..layers.head import Head
from ..layers.init import draw_anew, draw_normal, fans, init_tensorflow, init_transformer, xavier_uniform
from ..layers.mlp import Mlp
from ..layers.norm import Norm, NormLayer
from ..layers.scale import LayerScale, LayerScale2d
from ..layers.sizes import ImageSize, map_size, pair_of
from ..layers.stages import drop_path_rates
from ..layers.windows import grid_partition, grid_reverse, missing, pad_to_windows, window_partition, window_reverse
from ..spec import Feature, Pair, Sizes, unknown
from .coatnet import (
    OTHER_SIZES, Attention2d, AttentionCl, ConvNeXtBlock, Downsample2d, MbConvBlock, SizedAttention, TransformerBlock2d,
    get_rel_pos_cls,
)
from .headnet import HeadNet
from .maxxvit_cfg import OPTIONS, MaxxVitCfg, MaxxVitConvCfg, MaxxVitTransformerCfg, with_options
from .records import signature_of

__all__ = [
    'Attention2d', 'AttentionCl', 'ConvNeXtBlock', 'Downsample2d', 'MaxxVit', 'MaxxVitBlock', 'MaxxVitCfg',
    'MaxxVitConvCfg', 'MaxxVitStage', 'MaxxVitTransformerCfg', 'MbConvBlock', 'ParallelMaxxVitBlock',
    'ParallelPartitionAttention', 'PartitionAttention2d', 'PartitionAttentionCl', 'Stem', 'TransformerBlock2d',
    'get_rel_pos_cls', 'grid_partition', 'window_partition',
]

BLOCKS = ('C', 'T', 'M', 'PM')
PARTITIONS = {'block': (window_partition, window_reverse), 'grid': (grid_partition, grid_reverse)}


class MaxxVit(HeadNet):
    """CoAtNet, MaxViT and networks between them. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        cfg: what it is built of; `options` replace some of it, see `with_options`.
        img_size: pixels that windows, and CoAtNet's biases, are fitted to.
        dynamic_img_size: take images of any size: maps are padded to whole windows with zeros at the bottom and right,
            and CoAtNet's biases resampled for each. Else maps that the windows divide.
        drop_rate: dropout before the classifier. drop_path_rate: stochastic depth at the last block, growing linearly
            from 0 at the first.

    Raises:
        ValueError: numbers that do not fit each other, an option outside what is allowed.
        TypeError: an option that `cfg` has no field for.
    """

    parts = Parts(stem=('stem',), stages=('stages.*',), norm='norm',
                  head=('head.global_pool', 'head.norm', 'head.pre_logits'), classifier=('head.fc',))
    __signature__: ClassVar[Any]

    def __init__(self, cfg: MaxxVitCfg | None = None, img_size: ImageSize = 224, in_chans: int = 3,
                 num_classes: int = 1000, global_pool: str = 'avg', drop_rate: float = 0.0, drop_path_rate: float = 0.0,
                 dynamic_img_size: bool = False, **options: Any) -> None:
        super().__init__()
        cfg, size = with_options(cfg or MaxxVitCfg(), **options), pair_of(img_size)
        if not len(cfg.embed_dim) == len(cfg.depths) == len(cfg.block_type):
            raise ValueError('embed_dim, depths and block_type have one entry a stage, not '
                             f'{len(cfg.embed_dim)}, {len(cfg.depths)} and {len(cfg.block_type)}.')
        if cfg.weight_init not in DRAWS:
            raise ValueError(unknown('weight_init', cfg.weight_init, DRAWS))
        conv, transformer = cfg.conv_cfg, fitted(cfg.transformer_cfg, size)
        self.in_chans, self.num_features, self.embed_dim = in_chans, cfg.embed_dim[-1], cfg.embed_dim[-1]
        self.weight_init = cfg.weight_init

        self.stem = Stem(in_chans, cfg.stem_width, padding=conv.padding, bias=cfg.stem_bias, act_layer=conv.act_layer,
                         norm_layer=conv.norm_layer, norm_eps=conv.norm_eps)
        width = self.stem.out_chs
        self.feature_info = [Feature(num_chs=width, reduction=2, module='stem', stage=0)]
        rates = iter(drop_path_rates(drop_path_rate, sum(cfg.depths)))
        self.stages = nn.Sequential()
        for number, (dim, depth, kinds) in enumerate(zip(cfg.embed_dim, cfg.depths, cfg.block_type)):
            reduction = 4 * 2 ** number
            stage = MaxxVitStage(width, dim, 2, depth, map_size(size, reduction), kinds, transformer, conv,
                                 [next(rates) for _ in range(depth)])
            for block in stage.blocks:
                if isinstance(block, TransformerBlock2d):
                    block.reduction = reduction
            self.stages.append(stage)
            self.feature_info.append(Feature(num_chs=dim, reduction=reduction, module=f'stages.{number}',
                                             stage=number + 1))
            width = dim
        sized = [layer for _, layer in self._sized() if isinstance(layer, SizedAttention)]
        if sized:
            self.img_size, self.dynamic_img_size = size, dynamic_img_size
        for layer in sized:
            layer.dynamic_img_size = dynamic_img_size

        norm = Norm(transformer.norm_layer, eps=transformer.norm_eps)(width)
        hidden = cfg.head_hidden_size
        self.norm = nn.Identity() if hidden else norm
        if hidden:
            self.parts = replace(self.parts, norm='')
        self.head = Head(width, global_pool, norm=norm if hidden else None, hidden_size=hidden, act_layer='tanh',
                         drop_rate=drop_rate)
        self.build_head(width, num_classes, global_pool, drop_rate)
        self.init_fresh()

    def init_weights(self) -> None:
        DRAWS[self.weight_init](self)

    def init_head(self) -> None:
        """Draws the classifier anew."""
        DRAWS[self.weight_init](self.head.fc)


MaxxVit.__signature__ = signature_of(MaxxVit, [(name, one) for name, (_, one) in OPTIONS.items()])


def fitted(cfg: MaxxVitTransformerCfg, size: Pair) -> MaxxVitTransformerCfg:
    """With windows for images of that size, where none are given; where they are, they follow no image, and the ratio
    is 0."""
    if cfg.window_size is None and cfg.grid_size is None:
        window = window_of(size, cfg.partition_ratio)
        return replace(cfg, window_size=window, grid_size=window)
    return replace(cfg, window_size=cfg.window_size or cfg.grid_size, grid_size=cfg.grid_size or cfg.window_size,
                   partition_ratio=0)


def window_of(size: Pair, ratio: int) -> Pair:
    """Rows and columns of windows for images of that size, of so many pixels of the image a side per pixel."""
    return max(1, size[0] // ratio), max(1, size[1] // ratio)


# --- fresh weights


def _draw_by_widths(module: nn.Module) -> None:
    init_tensorflow(module)
    for part in module.modules():
        if isinstance(part, SizedAttention):
            draw_anew(part, xavier_uniform, xavier_uniform)


def _xavier_normal(layer: nn.Conv2d | nn.Linear) -> None:
    draw_normal(layer.weight, math.sqrt(2 / sum(fans(layer.weight))))


DRAWS: dict[str, Callable[[nn.Module], None]] = {
    'vit_eff': _draw_by_widths, 'normal': partial(init_transformer, convs=True),
    'trunc_normal': partial(init_transformer, convs=True),
    'xavier_normal': partial(draw_anew, conv=_xavier_normal, linear=_xavier_normal), '': draw_anew,
}


# --- stages and blocks


class Stem(nn.Module):
    """Two convolutions, the first of stride 2: (B, in_chs, H, W) -> (B, out_chs, H/2, W/2).

    Args:
        out_chs: channels of both, one number or two.
    """

    def __init__(self, in_chs: int, out_chs: int | Sequence[int], kernel_size: int = 3, padding: str = '',
                 bias: bool = False, act_layer: ActLayer = 'gelu', norm_layer: NormLayer = 'batchnorm2d',
                 norm_eps: float | None = 1e-5) -> None:
        super().__init__()
        first, self.out_chs = (out_chs, out_chs) if isinstance(out_chs, int) else out_chs
        self.conv1 = conv2d(in_chs, first, kernel_size, 2, pad_type=padding, bias=bias)
        self.norm1, self.act1 = Norm(norm_layer, eps=norm_eps).with_act(first, act_layer)
        self.conv2 = conv2d(first, self.out_chs, kernel_size, pad_type=padding, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv1(x)
        x = self.norm1(x)
        return self.conv2(self.act1(x))


class MaxxVitStage(nn.Module):
    """Blocks, the first with the stride: (B, in_chs, H, W) -> (B, out_chs, H/stride, W/stride).

    Args:
        feat_size: rows and columns of the map that comes out.
        block_types: a kind for all blocks, or one each, the last of which repeats; see `MaxxVitCfg.block_type`.
        drop_path: stochastic depth, of all or of each block.

    Raises:
        ValueError: another kind.
    """

    def __init__(self, in_chs: int, out_chs: int, stride: int = 2, depth: int = 4, feat_size: Pair = (14, 14),
                 block_types: str | Sequence[str] = 'C',
                 transformer_cfg: MaxxVitTransformerCfg = MaxxVitTransformerCfg(),
                 conv_cfg: MaxxVitConvCfg = MaxxVitConvCfg(), drop_path: float | Sequence[float] = 0.0) -> None:
        super().__init__()
        kinds = [block_types] if isinstance(block_types, str) else list(block_types)
        kinds = (kinds + kinds[-1:] * depth)[:depth]
        rates = [drop_path] * depth if isinstance(drop_path, (int, float)) else drop_path
        self.blocks = nn.Sequential()
        for number, kind in enumerate(kinds):
            shape = (out_chs if number else in_chs, out_chs, 1 if number else stride)
            if kind == 'C':
                self.blocks.append(conv_block(conv_cfg)(*shape, cfg=conv_cfg, drop_path=rates[number]))
            elif kind == 'T':
                self.blocks.append(TransformerBlock2d(*shape, get_rel_pos_cls(transformer_cfg, feat_size),
                                                      transformer_cfg, rates[number]))
            elif kind in ('M', 'PM'):
                block = MaxxVitBlock if kind == 'M' else ParallelMaxxVitBlock
                self.blocks.append(block(*shape, conv_cfg=conv_cfg, transformer_cfg=transformer_cfg,
                                         drop_path=rates[number]))
            else:
                raise ValueError(unknown('block_type', kind, BLOCKS))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


def conv_block(cfg: MaxxVitConvCfg) -> Callable[..., nn.Module]:
    """The class of blocks of convolutions, of (in_chs, out_chs, stride)."""
    if cfg.block_type == 'mbconv':
        return MbConvBlock

    def convnext(in_chs: int, out_chs: int, stride: int, **options: Any) -> ConvNeXtBlock:
        return ConvNeXtBlock(in_chs, out_chs, stride=stride, **options)

    return convnext


class MaxxVitBlock(nn.Module):
    """Convolution, attention in windows, attention in a grid (Figure 2): (B, dim, H, W) -> (B, dim_out, H/s, W/s)."""

    def __init__(self, dim: int, dim_out: int, stride: int = 1, conv_cfg: MaxxVitConvCfg = MaxxVitConvCfg(),
                 transformer_cfg: MaxxVitTransformerCfg = MaxxVitTransformerCfg(), drop_path: float = 0.0) -> None:
        super().__init__()
        self.nchw_attn = transformer_cfg.use_nchw_attn
        partition = PartitionAttention2d if self.nchw_attn else PartitionAttentionCl
        self.conv = conv_block(conv_cfg)(dim, dim_out, stride, cfg=conv_cfg, drop_path=drop_path)
        self.attn_block = None if transformer_cfg.no_block_attn else partition(
            dim_out, 'block', transformer_cfg, drop_path)
        self.attn_grid = partition(dim_out, 'grid', transformer_cfg, drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = x if self.nchw_attn else x.permute(0, 2, 3, 1)
        if self.attn_block is not None:
            x = self.attn_block(x)
        x = self.attn_grid(x)
        return x if self.nchw_attn else x.permute(0, 3, 1, 2)


class ParallelMaxxVitBlock(nn.Module):
    """Convolutions, then attention in windows beside attention in a grid: (B, dim, H, W) -> (B, dim_out, H/s, W/s).

    Args:
        num_conv: blocks of convolutions.
    """

    def __init__(self, dim: int, dim_out: int, stride: int = 1, num_conv: int = 2,
                 conv_cfg: MaxxVitConvCfg = MaxxVitConvCfg(),
                 transformer_cfg: MaxxVitTransformerCfg = MaxxVitTransformerCfg(), drop_path: float = 0.0) -> None:
        super().__init__()
        make = partial(conv_block(conv_cfg), cfg=conv_cfg, drop_path=drop_path)
        convs = [make(dim, dim_out, stride), *(make(dim_out, dim_out, 1) for _ in range(num_conv - 1))]
        self.conv = nn.Sequential(*convs) if num_conv > 1 else convs[0]
        self.attn = ParallelPartitionAttention(dim_out, transformer_cfg, drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = self.attn(x.permute(0, 2, 3, 1))
        return x.permute(0, 3, 1, 2)


# --- attention in parts of a map


class Partitioned(SizedAttention):
    """Base of attention in windows and grids with the MLP that follows it.

    Attributes:
        window_size, grid_size: rows and columns of windows of neighbours, and of those of pixels far apart.
        partition_ratio: pixels of the image a side per pixel of a window; 0 where windows follow no image.

    Raises:
        ValueError: the record does not say how large windows are.
    """

    follows = ('img_size', 'window_size', 'dynamic')

    def __init__(self, dim: int, cfg: MaxxVitTransformerCfg, drop_path: float, attentions: dict[str, nn.Module],
                 channels_first: bool = False) -> None:
        super().__init__()
        if cfg.window_size is None or cfg.grid_size is None:
            raise ValueError('Attention in windows needs window_size and grid_size, (rows, columns) each.')
        self.window_size, self.grid_size = pair_of(cfg.window_size, 'window_size'), pair_of(cfg.grid_size, 'grid_size')
        self.partition_ratio = cfg.partition_ratio
        norm = Norm(cfg.norm_layer if channels_first else cfg.norm_layer_cl, eps=cfg.norm_eps)
        scale = partial(LayerScale2d if channels_first else LayerScale, dim, cfg.init_values) if cfg.init_values \
            else nn.Identity
        self.norm1 = norm(dim)
        for name, attention in attentions.items():
            self.add_module(name, attention)
        self.ls1 = scale()
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = norm(dim)
        self.mlp = Mlp(dim, int(dim * cfg.expand_ratio), act_layer=cfg.act_layer, use_conv=channels_first,
                       drop=(cfg.proj_drop, 0.0 if channels_first else cfg.proj_drop))
        self.ls2 = scale()
        self.drop_path2 = DropPath(drop_path)

    def window_for(self, sizes: Sizes) -> Pair | None:
        """Those that are asked for, or that follow from the image."""
        if sizes.window_size or not (sizes.img_size and self.partition_ratio):
            return sizes.window_size
        return window_of(sizes.img_size, self.partition_ratio)

    def fit(self, sizes: Sizes) -> None:
        super().fit(sizes)
        self.grid_size = self.window_for(sizes) or self.grid_size

    def attend(self, x: Tensor, attention: Callable[[Tensor], Tensor], kind: str) -> Tensor:
        """Attention in 'block' or 'grid' windows of a map (B, H, W, C)."""
        (cut, join), window = PARTITIONS[kind], self.window_size if kind == 'block' else self.grid_size
        down, right = missing(x.shape[1:3], window)
        if self.dynamic_img_size:
            x = pad_to_windows(x, window)
        elif any(isinstance(rest, int) and rest for rest in (down, right)):
            raise ValueError(f'Attention here is in windows of {window[0]}x{window[1]} pixels, which do not divide '
                             f"this image's map of {x.shape[1]}x{x.shape[2]}. {OTHER_SIZES}")
        height, width = x.shape[1:3]
        x = attention(cut(x, window))
        x = join(x, window, height, width)
        return F.pad(x, (0, 0, 0, -right, 0, -down)) if self.dynamic_img_size else x

    def mix(self, x: Tensor) -> Tensor:
        """What attention makes of the normalised map."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        branch = self.norm1(x)
        branch = self.mix(branch)
        x = x + self.drop_path1(self.ls1(branch))
        branch = self.norm2(x)
        branch = self.mlp(branch)
        return x + self.drop_path2(self.ls2(branch))


def attention_in(attention: type[Attention2d] | type[AttentionCl], dim: int, dim_out: int, cfg: MaxxVitTransformerCfg,
                 kind: str) -> nn.Module:
    """Attention in 'block' or 'grid' windows."""
    window = cfg.window_size if kind == 'block' else cfg.grid_size
    return attention(dim, dim_out, cfg.dim_head, cfg.attn_bias, cfg.expand_first, cfg.head_first,
                     get_rel_pos_cls(cfg, window) if window else None, cfg.attn_drop, cfg.proj_drop)


class PartitionAttentionCl(Partitioned):
    """Attention in windows and an MLP (section 3.2): (B, H, W, dim) -> the same.

    Args:
        partition_type: 'block', windows of neighbours, or 'grid', of pixels all over the map.
    """

    attn: nn.Module

    def __init__(self, dim: int, partition_type: str = 'block', cfg: MaxxVitTransformerCfg = MaxxVitTransformerCfg(),
                 drop_path: float = 0.0) -> None:
        super().__init__(dim, cfg, drop_path, {'attn': attention_in(AttentionCl, dim, dim, cfg, partition_type)})
        self.partition_type = partition_type

    def mix(self, x: Tensor) -> Tensor:
        """See `Partitioned.mix`."""
        return self.attend(x, self.attn, self.partition_type)


class PartitionAttention2d(Partitioned):
    """`PartitionAttentionCl` of maps with the channels first, by 1x1 convolutions: (B, dim, H, W) -> the same."""

    attn: nn.Module

    def __init__(self, dim: int, partition_type: str = 'block', cfg: MaxxVitTransformerCfg = MaxxVitTransformerCfg(),
                 drop_path: float = 0.0) -> None:
        super().__init__(dim, cfg, drop_path, {'attn': attention_in(Attention2d, dim, dim, cfg, partition_type)}, True)
        self.partition_type = partition_type

    def mix(self, x: Tensor) -> Tensor:
        """See `Partitioned.mix`."""
        return self.attend(x.permute(0, 2, 3, 1), self._in_windows, self.partition_type).permute(0, 3, 1, 2)

    def _in_windows(self, x: Tensor) -> Tensor:
        return self.attn(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class ParallelPartitionAttention(Partitioned):
    """Attention in windows beside attention in a grid, half of the channels from each, and an MLP: (B, H, W, dim) ->
    the same."""

    attn_block: nn.Module
    attn_grid: nn.Module

    def __init__(self, dim: int, cfg: MaxxVitTransformerCfg = MaxxVitTransformerCfg(), drop_path: float = 0.0) -> None:
        super().__init__(dim, cfg, drop_path, {
            f'attn_{kind}': attention_in(AttentionCl, dim, dim // 2, cfg, kind) for kind in PARTITIONS})

    def mix(self, x: Tensor) -> Tensor:
        """See `Partitioned.mix`."""
        return torch.cat([self.attend(x, self.attn_block, 'block'), self.attend(x, self.attn_grid, 'grid')], dim=-1)
