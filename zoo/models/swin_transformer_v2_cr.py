"""Swin Transformer V2, arXiv:2111.09883, as Christoph Reich wrote it from the paper before its authors' code was there.

    image -> patch_embed (4x4 patches) -> stages.0 -> … -> stages.3 -> pool -> head.fc
    block: attention in windows -> norm -> added -> MLP -> norm -> added; every second block's windows are shifted

Stages 1 to 3 begin by merging 2x2 pixels. Stages take and give maps (B, C, H, W), blocks maps with the channels last.
It differs from the authors' network in the small network that makes biases, which counts offsets in pixels and is not
held between bounds, in further normalisations, and in windows that are chosen from the image's size.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor, nn

from ..contract import ImageModel, Parts
from ..layers import patch_embed
from ..layers.attention_tokens import merge_heads
from ..layers.drop import DropPath
from ..layers.mlp import Mlp
from ..layers.norm import MakeNorm, Norm, NormLayer
from ..layers.recording import ATTENTION
from ..layers.relative import LogOffsets
from ..layers.shifted import ShiftedWindows, attend_by_cosine, in_windows
from ..layers.sizes import ImageSize
from ..spec import Pair
from . import swin_transformer
from .windownet import Windows, WindowNet, blocks_of, windows_by_ratio, windows_of_stages


class SwinTransformerV2Cr(WindowNet):
    """Swin Transformer V2, arXiv:2111.09883. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Images that patches and windows do not divide are padded with zeros at the bottom and right. In training the network
    that makes biases drops an eighth of its hidden features.

    Args:
        img_size: pixels that windows are chosen for: where a stage's map is no larger than the window, the window is
            the map. patch_size: side of the patches in pixels.
        window_size: pixels a side, or (rows, columns); or one of these a stage, in a list of as many as there are
            stages.
        window_ratio: in its place, how many windows a side of the patches' grid has; one number, or one a stage.
        always_partition: keep the window, and the shift, where the map is no larger.
        strict_img_size, dynamic_img_size: refuse images of another size than `img_size`, or take any.
        embed_dim: channels of the first stage; each stage has twice those of the one before.
        depths, num_heads: blocks and heads of each stage. mlp_ratio: inner width of the MLPs over their width.
        init_values: what a fresh branch's normalisation scales by, 0 for blocks that begin as the identity; None for 1.
        drop_rate: dropout before the classifier. proj_drop_rate: in attention and MLPs. attn_drop_rate: of the
            attention weights. drop_path_rate: stochastic depth at the last block, growing linearly from 0 at the first.
        extra_norm_period: normalise what comes out of every so-many-th block of a stage (appendix A1); 0 for none.
        extra_norm_stage: and what comes out of each stage, as it is always done after the last.
        sequential_attn: compute attention head by head, with less memory (section 3.4).
        weight_init: '' or 'reset' draws weights, 'skip' leaves the parameters undrawn.

    Raises:
        ValueError: numbers that do not fit each other, an option outside what is allowed.
    """

    parts = Parts(stem=('patch_embed',), stages=('stages.*',),
                  head=('head.global_pool', 'head.norm', 'head.pre_logits'), classifier=('head.fc',))
    output_fmt = 'NCHW'
    container = 'stages'

    def __init__(self, img_size: ImageSize = (224, 224), patch_size: int = 4, window_size: Windows | None = None,
                 window_ratio: int | Sequence[int] = 8, always_partition: bool = False, strict_img_size: bool = True,
                 dynamic_img_size: bool = False, in_chans: int = 3, num_classes: int = 1000, embed_dim: int = 96,
                 depths: Sequence[int] = (2, 2, 6, 2), num_heads: Sequence[int] = (3, 6, 12, 24),
                 mlp_ratio: float = 4.0, init_values: float | None = 0.0, drop_rate: float = 0.0,
                 proj_drop_rate: float = 0.0, attn_drop_rate: float = 0.0, drop_path_rate: float = 0.0,
                 norm_layer: NormLayer = nn.LayerNorm, extra_norm_period: int = 0, extra_norm_stage: bool = False,
                 sequential_attn: bool = False, global_pool: str = 'avg', weight_init: str = 'reset') -> None:
        super().__init__()
        norm, count = Norm(norm_layer), len(depths)
        self.init_values = init_values
        self.build_stem(PatchEmbed, img_size, patch_size, in_chans, embed_dim, norm,
                        dynamic_img_size or not strict_img_size)
        windows = windows_by_ratio(self.grid_of(None, None), window_ratio, count) if window_size is None else \
            windows_of_stages(window_size, count)

        def make(dim: int, out_dim: int, feat_size: Pair, *, depth: int, num_heads: int, downsample: bool,
                 drop_path: Sequence[float], window_size: Pair, normalised: bool) -> SwinTransformerV2CrStage:
            return SwinTransformerV2CrStage(
                dim, depth, downsample, num_heads, feat_size, window_size, always_partition, mlp_ratio, init_values,
                proj_drop_rate, attn_drop_rate, drop_path, norm, extra_norm_period, normalised, sequential_attn)

        self.build_stages(make, depths, num_heads, drop_path_rate, window_size=windows,
                          normalised=[extra_norm_stage] * (count - 1) + [True])
        self.build_end(num_classes, global_pool, drop_rate, weight_init)

    def init_weights(self) -> None:
        """Draws every parameter anew."""
        super().init_weights()
        for block in (block for stage in self.stages_there() for block in blocks_of(stage)):
            block.begin_branches(1.0 if self.init_values is None else self.init_values)

    def hidden_modules(self) -> list[nn.Module]:
        """The stages, whose maps have the channels first."""
        return ImageModel.hidden_modules(self)


class PatchMerging(swin_transformer.PatchMerging):
    """Each 2x2 pixels become one: (B, H, W, dim) -> (B, ceil(H / 2), ceil(W / 2), 2 dim)."""

    def __init__(self, dim: int, norm_layer: MakeNorm = nn.LayerNorm) -> None:
        super().__init__(dim, norm_layer=norm_layer)


class PatchEmbed(patch_embed.PatchEmbed):
    """A linear map of each patch, normalised: (B, in_chans, H, W) -> maps (B, embed_dim, h, w)."""

    def __init__(self, img_size: ImageSize | None = 224, patch_size: ImageSize = 16, in_chans: int = 3,
                 embed_dim: int = 768, norm_layer: Callable[[int], nn.Module] | None = None,
                 strict_img_size: bool = True, dynamic_img_pad: bool = False) -> None:
        super().__init__(img_size, patch_size, in_chans, embed_dim, norm_layer, output_fmt='NHWC',
                         strict_img_size=strict_img_size, dynamic_img_pad=dynamic_img_pad)

    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x).permute(0, 3, 1, 2)


class SwinTransformerV2CrStage(nn.Module):
    """Merging of patches, where the stage begins with it, and blocks: (B, embed_dim, H, W) -> the same, or with
    `downscale` (B, 2 embed_dim, H/2, W/2).

    Args:
        feat_size: rows and columns of the map that the blocks see.
        extra_norm_period, extra_norm_stage: normalise what comes out of every so-many-th block, and of the last.
            Others as in `SwinTransformerV2CrBlock`.
    """

    def __init__(self, embed_dim: int, depth: int, downscale: bool, num_heads: int, feat_size: ImageSize,
                 window_size: ImageSize, always_partition: bool = False, mlp_ratio: float = 4.0,
                 init_values: float | None = 0.0, proj_drop: float = 0.0, drop_attn: float = 0.0,
                 drop_path: float | Sequence[float] = 0.0, norm_layer: MakeNorm = nn.LayerNorm,
                 extra_norm_period: int = 0, extra_norm_stage: bool = False, sequential_attn: bool = False) -> None:
        super().__init__()
        rates = list(drop_path) if isinstance(drop_path, Sequence) else [drop_path] * depth
        width = 2 * embed_dim if downscale else embed_dim

        def normalised(number: int) -> bool:
            return bool(extra_norm_period) and number % extra_norm_period == 0 or extra_norm_stage and number == depth

        self.downsample = PatchMerging(embed_dim, norm_layer) if downscale else nn.Identity()
        self.blocks = nn.Sequential(*(SwinTransformerV2CrBlock(
            width, num_heads, feat_size, window_size, number % 2, always_partition, mlp_ratio, init_values, proj_drop,
            drop_attn, rates[number], normalised(number + 1), sequential_attn, norm_layer) for number in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x.permute(0, 2, 3, 1))).permute(0, 3, 1, 2)


class SwinTransformerV2CrBlock(ShiftedWindows):
    """Attention in windows and an MLP, each a residual branch with the normalisation at its end (section 3.2):
    (B, H, W, dim) -> (B, H, W, dim).

    Args:
        feat_size: rows and columns of the map that the window is chosen for.
        window_size: of the attention; the map itself where it is no larger, unless `always_partition`.
        shift_size: how far windows are shifted, where the map is larger than the window.
        init_values: what the branches' normalisations scale by at first; None for 1.
        extra_norm: normalise what comes out. sequential_attn: as in `WindowMultiHeadAttention`.
    """

    def __init__(self, dim: int, num_heads: int, feat_size: ImageSize, window_size: ImageSize,
                 shift_size: ImageSize = (0, 0), always_partition: bool = False, mlp_ratio: float = 4.0,
                 init_values: float | None = 0.0, proj_drop: float = 0.0, drop_attn: float = 0.0,
                 drop_path: float = 0.0, extra_norm: bool = False, sequential_attn: bool = False,
                 norm_layer: MakeNorm = nn.LayerNorm) -> None:
        super().__init__()
        self.build_windows(feat_size, window_size, shift_size, always_partition)
        self.attn = WindowMultiHeadAttention(dim, num_heads, self.window_size, drop_attn, proj_drop,
                                             sequential_attn=sequential_attn)
        self.norm1 = norm_layer(dim)
        self.drop_path1 = DropPath(drop_path)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), drop=proj_drop)
        self.norm2 = norm_layer(dim)
        self.drop_path2 = DropPath(drop_path)
        self.norm3 = norm_layer(dim) if extra_norm else nn.Identity()
        self.begin_branches(1.0 if init_values is None else init_values)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path1(self.norm1(self.attend(x)))
        x = x + self.drop_path2(self.norm2(self.mlp(x)))
        return self.norm3(x)


class WindowMultiHeadAttention(LogOffsets):
    """Multi-head self-attention in windows by the cosine of queries and keys, with biases that a small network makes of
    the logarithms of offsets (section 3.3): (B windows, N, dim) -> same.

    Args:
        window_size: rows and columns, N pixels in all.
        meta_hidden_dim: width of the network's hidden layer.
        sequential_attn: compute one head after the other, with less memory.
    """

    by_pairs = True

    def __init__(self, dim: int, num_heads: int, window_size: ImageSize, drop_attn: float = 0.0,
                 drop_proj: float = 0.0, meta_hidden_dim: int = 384, sequential_attn: bool = False) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f'{num_heads} heads do not divide {dim} channels.')
        self.num_heads, self.sequential_attn = num_heads, sequential_attn
        self.qkv = nn.Linear(dim, 3 * dim)
        self.attn_drop = nn.Dropout(drop_attn)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(drop_proj)
        self.meta_mlp = Mlp(2, meta_hidden_dim, num_heads, act_layer=nn.ReLU, drop=(0.125, 0.0))
        self.logit_scale = nn.Parameter(torch.empty(num_heads))
        self.reset_parameters()
        self.build_offsets(window_size, 'cr')

    def reset_parameters(self) -> None:
        """Temperatures of 0.1."""
        nn.init.constant_(self.logit_scale, math.log(10))

    def of_offsets(self, coordinates: Tensor) -> Tensor:
        """See `LogOffsets.of_offsets`."""
        return self.meta_mlp(coordinates)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        drop, bias = self.attn_drop.p if self.training else 0.0, self.bias()
        size = 1 if self.sequential_attn and not ATTENTION.active else self.num_heads
        parts = [attend_by_cosine(a, b, c, scale, in_windows(biases, mask, x.shape[0]), drop)
                 for a, b, c, scale, biases in zip(q.split(size, 1), k.split(size, 1), v.split(size, 1),
                                                   self.logit_scale.split(size), bias.split(size))]
        return self.proj_drop(self.proj(merge_heads(parts[0] if len(parts) == 1 else torch.cat(parts, dim=1))))
