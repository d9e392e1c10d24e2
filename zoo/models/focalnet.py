"""FocalNet, arXiv:2203.11926: each pixel is multiplied by what convolutions of growing reach gather around it.

    image -> stem (4x4 patches) -> layers.0 -> … -> layers.3 -> norm -> pool -> head.fc
    layer: 2x2 patches (not in the first) -> blocks
    block: norm -> focal modulation -> added -> norm -> MLP -> added

The largest networks have patches that overlap, normalise branches at their end and scale them (Swin V2, arXiv:2111.09883).
States are maps (B, C, H, W).
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..contract import Parts
from ..layers.act import ActLayer
from ..layers.drop import DropPath
from ..layers.head import Head
from ..layers.init import init_transformer
from ..layers.mlp import Mlp
from ..layers.norm import MAP_NORM, LayerNorm2d, MakeNorm, Norm, NormLayer
from ..layers.scale import LayerScale2d
from ..layers.stages import drop_path_rates, same_stages
from ..layers.windows import missing
from ..spec import Feature
from .headnet import HeadNet


class FocalNet(HeadNet):
    """FocalNet, arXiv:2203.11926. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        embed_dim: channels of the first stage; each stage has twice those of the one before.
        depths: blocks of each stage. mlp_ratio: inner width of the MLPs over their width.
        focal_levels, focal_windows: of each stage, how many convolutions gather, and the kernel of the first of them, see
            `FocalModulation`.
        use_overlap_down: patches overlap, see `Downsample`.
        use_post_norm: blocks normalise what comes out of their branches, not what goes in.
        use_post_norm_in_modulation, normalize_modulator: of the modulation, see `FocalModulation`.
        head_hidden_size: width of a layer before the classifier. head_init_scale: factor of the fresh classifier.
        layerscale_value: initial factor of every branch; None for none.
        drop_rate: dropout before the classifier. proj_drop_rate: in modulation and MLPs. drop_path_rate: stochastic depth
            at the last block, growing linearly from 0 at the first.

    Raises:
        ValueError: numbers that do not fit each other.
    """

    parts = Parts(stem=('stem',), stages=('layers.*',), norm='norm',
                  head=('head.global_pool', 'head.norm', 'head.pre_logits'), classifier=('head.fc',))
    draw = staticmethod(partial(init_transformer, convs=True))

    def __init__(self, in_chans: int = 3, num_classes: int = 1000, global_pool: str = 'avg', embed_dim: int = 96,
                 depths: Sequence[int] = (2, 2, 6, 2), mlp_ratio: float = 4.0, focal_levels: Sequence[int] = (2, 2, 2, 2),
                 focal_windows: Sequence[int] = (3, 3, 3, 3), use_overlap_down: bool = False,
                 use_post_norm: bool = False, use_post_norm_in_modulation: bool = False,
                 normalize_modulator: bool = False, head_hidden_size: int | None = None, head_init_scale: float = 1.0,
                 layerscale_value: float | None = None, drop_rate: float = 0.0, proj_drop_rate: float = 0.0,
                 drop_path_rate: float = 0.1, norm_layer: NormLayer = LayerNorm2d) -> None:
        super().__init__()
        same_stages(depths=depths, focal_levels=focal_levels, focal_windows=focal_windows)
        norm, width = Norm(norm_layer), embed_dim
        self.in_chans, self.embed_dim, self.head_init_scale = in_chans, embed_dim, head_init_scale
        self.stem = Downsample(in_chans, embed_dim, 4, use_overlap_down, norm)
        rates = iter(drop_path_rates(drop_path_rate, sum(depths)))
        self.layers, self.feature_info = nn.Sequential(), []
        for number, depth in enumerate(depths):
            before, width = width, embed_dim * 2 ** number
            self.layers.append(FocalNetStage(
                before, width, depth, mlp_ratio, number > 0, focal_levels[number], focal_windows[number],
                use_overlap_down, use_post_norm, use_post_norm_in_modulation, normalize_modulator, layerscale_value,
                proj_drop_rate, [next(rates) for _ in range(depth)], norm))
            reduction = 4 * 2 ** number
            self.feature_info.append(Feature(num_chs=width, reduction=reduction, module=f'layers.{number}',
                                             stage=number + 1, ceil_reduction=reduction if use_overlap_down else 1))
        self.num_features = width
        self.norm = nn.Identity() if head_hidden_size else norm(width)
        if head_hidden_size:
            self.parts = replace(self.parts, norm='')
        self.head = Head(width, global_pool, norm=norm(width) if head_hidden_size else None,
                         hidden_size=head_hidden_size, act_layer='tanh', drop_rate=drop_rate)
        self.build_head(width, num_classes, global_pool, drop_rate)
        self.init_fresh()

    def init_weights(self) -> None:
        super().init_weights()
        self.init_head()


class Downsample(nn.Module):
    """Patches, each a pixel, by a convolution, and normalisation: (B, in_chs, H, W) -> (B, out_chs, H / stride,
    W / stride).

    Args:
        overlap: patches of 7x7 pixels for stride 4, of 3x3 for stride 2; zeros fill up the last ones. Else patches of
            `stride`, and what is left is cut off.
        norm_layer: makes the normalisation; None for none.

    Raises:
        ValueError: patches that overlap, with another stride.
    """

    def __init__(self, in_chs: int, out_chs: int, stride: int = 4, overlap: bool = False,
                 norm_layer: MakeNorm | None = None) -> None:
        super().__init__()
        if overlap and stride not in (2, 4):
            raise ValueError(f'The stride of patches that overlap is 2 or 4, not {stride}.')
        kernel, padding = {2: (3, 1), 4: (7, 2)}[stride] if overlap else (stride, 0)
        self.filled = stride if overlap else 1
        self.proj = nn.Conv2d(in_chs, out_chs, kernel, stride, padding)
        self.norm = nn.Identity() if norm_layer is None else norm_layer(out_chs)

    def forward(self, x: Tensor) -> Tensor:
        if self.filled > 2:                                         # convolutions of stride 2 take in the last row as it is
            down, right = missing((x.shape[-2], x.shape[-1]), (self.filled, self.filled))
            x = F.pad(x, (0, right, 0, down))
        return self.norm(self.proj(x))


class FocalNetStage(nn.Module):
    """Patches, where the stage begins with them, and blocks: (B, dim, H, W) -> (B, out_dim, H/2, W/2).

    Args:
        drop_path: of each block, or of all. Others as in `FocalNetBlock`.
    """

    def __init__(self, dim: int, out_dim: int, depth: int, mlp_ratio: float = 4.0, downsample: bool = True,
                 focal_level: int = 1, focal_window: int = 1, use_overlap_down: bool = False,
                 use_post_norm: bool = False, use_post_norm_in_modulation: bool = False,
                 normalize_modulator: bool = False, layerscale_value: float | None = 1e-4, proj_drop: float = 0.0,
                 drop_path: float | Sequence[float] = 0.0, norm_layer: MakeNorm = MAP_NORM) -> None:
        super().__init__()
        rates = list(drop_path) if isinstance(drop_path, Sequence) else [drop_path] * depth
        self.downsample = Downsample(dim, out_dim, 2, use_overlap_down, norm_layer) if downsample else nn.Identity()
        self.blocks = nn.Sequential(*(FocalNetBlock(
            out_dim, mlp_ratio, focal_level, focal_window, use_post_norm, use_post_norm_in_modulation,
            normalize_modulator, layerscale_value, proj_drop, rate, norm_layer=norm_layer) for rate in rates))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


class FocalNetBlock(nn.Module):
    """Focal modulation and an MLP, each a residual branch: (B, dim, H, W) -> the same.

    Args:
        focal_level, focal_window, use_post_norm_in_modulation, normalize_modulator: see `FocalModulation`.
        use_post_norm: normalise what comes out of the branches, not what goes in.
        layerscale_value: initial factor of the branches; None for none.
    """

    def __init__(self, dim: int, mlp_ratio: float = 4.0, focal_level: int = 1, focal_window: int = 3,
                 use_post_norm: bool = False, use_post_norm_in_modulation: bool = False,
                 normalize_modulator: bool = False, layerscale_value: float | None = 1e-4, proj_drop: float = 0.0,
                 drop_path: float = 0.0, act_layer: ActLayer = nn.GELU, norm_layer: MakeNorm = MAP_NORM) -> None:
        super().__init__()
        first, last = (nn.Identity, norm_layer) if use_post_norm else (norm_layer, nn.Identity)

        def scale() -> nn.Module:
            return nn.Identity() if layerscale_value is None else LayerScale2d(dim, layerscale_value)

        self.norm1 = first(dim)
        self.modulation = FocalModulation(
            dim, focal_window, focal_level, use_post_norm=use_post_norm_in_modulation,
            normalize_modulator=normalize_modulator, proj_drop=proj_drop, norm_layer=norm_layer)
        self.norm1_post = last(dim)
        self.ls1 = scale()
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = first(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), act_layer=act_layer, drop=proj_drop, use_conv=True)
        self.norm2_post = last(dim)
        self.ls2 = scale()
        self.drop_path2 = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path1(self.ls1(self.norm1_post(self.modulation(self.norm1(x)))))
        return x + self.drop_path2(self.ls2(self.norm2_post(self.mlp(self.norm2(x)))))


class FocalModulation(nn.Module):
    """Focal modulation (equation 6): (B, dim, H, W) -> the same.

    Depthwise convolutions, each on what the one before gave, and at the end the mean of the whole map give contexts; a
    pixel's gates weigh them, and their sum, the modulator, is multiplied by the pixel's query.

    Args:
        focal_window: side of the first convolution's kernel. focal_factor: by how much each is larger than the one before.
        focal_level: how many convolutions.
        bias: of the layers that make query, context and gates, and the modulator.
        use_post_norm: normalise the product.
        normalize_modulator: the mean of the contexts, not their sum.
    """

    def __init__(self, dim: int, focal_window: int, focal_level: int, focal_factor: int = 2, bias: bool = True,
                 use_post_norm: bool = False, normalize_modulator: bool = False, proj_drop: float = 0.0,
                 norm_layer: MakeNorm = MAP_NORM) -> None:
        super().__init__()
        self.dim, self.focal_level, self.normalize_modulator = dim, focal_level, normalize_modulator
        self.f = nn.Conv2d(dim, 2 * dim + focal_level + 1, 1, bias=bias)
        self.h = nn.Conv2d(dim, dim, 1, bias=bias)
        self.act = nn.GELU()
        self.proj = nn.Conv2d(dim, dim, 1)
        self.proj_drop = nn.Dropout(proj_drop)
        self.focal_layers = nn.Sequential()
        for level in range(focal_level):
            kernel = focal_window + focal_factor * level
            self.focal_layers.append(nn.Sequential(
                nn.Conv2d(dim, dim, kernel, padding=kernel // 2, groups=dim, bias=False), nn.GELU()))
        self.norm = norm_layer(dim) if use_post_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        query, context, gates = self.f(x).split((self.dim, self.dim, self.focal_level + 1), dim=1)
        modulator: Tensor | None = None
        for number, layer in enumerate(self.focal_layers):
            context = layer(context)
            gate = gates[:, number:number + 1]
            modulator = context * gate if modulator is None else torch.addcmul(modulator, context, gate)
        context = self.act(context.mean((2, 3), keepdim=True))
        gate = gates[:, self.focal_level:]
        modulator = context * gate if modulator is None else torch.addcmul(modulator, context, gate)
        if self.normalize_modulator:
            modulator = modulator / (self.focal_level + 1)
        x = query * self.h(modulator)
        return self.proj_drop(self.proj(self.norm(x)))
