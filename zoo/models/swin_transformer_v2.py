"""Swin Transformer V2, arXiv:2111.09883: windows that shift, attention by the cosine, branches normalised at their end.

    image -> patch_embed (4x4 patches) -> layers.0 -> … -> layers.3 -> norm -> pool -> head.fc
    block: attention in windows -> norm -> added -> MLP -> norm -> added; every second block's windows are shifted

Stages 1 to 3 begin by merging 2x2 pixels. States are maps with the channels last, (B, H, W, C). A small network makes
the biases of the logarithms of offsets, so that no weight depends on the size of windows.
"""
from __future__ import annotations

import math
from collections.abc import Sequence
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..contract import Parts
from ..layers.act import ActLayer, get_act_layer
from ..layers.attention_tokens import merge_heads
from ..layers.drop import DropPath
from ..layers.mlp import Mlp
from ..layers.norm import MakeNorm, Norm, NormLayer
from ..layers.patch_embed import PatchEmbed
from ..layers.relative import LogOffsets
from ..layers.shifted import ShiftedWindows, attend_by_cosine, in_windows, merge_pixels
from ..layers.sizes import ImageSize, pair_of
from ..spec import Pair
from .windownet import Windows, WindowNet, blocks_of, windows_of_stages


class SwinTransformerV2(WindowNet):
    """Swin Transformer V2, arXiv:2111.09883. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Images that patches and windows do not divide are padded with zeros at the bottom and right.

    Args:
        img_size: pixels that windows are chosen for: where a stage's map is no larger than the window, the window is
            the map. patch_size: side of the patches in pixels.
        embed_dim: channels of the first stage; each stage has twice those of the one before.
        depths, num_heads: blocks and heads of each stage.
        window_size: pixels a side, or (rows, columns); or one of these a stage, in a list of as many as there are
            stages.
        always_partition: keep the window, and the shift, where the map is no larger.
        strict_img_size, dynamic_img_size: refuse images of another size than `img_size`, or take any.
        mlp_ratio: inner width of the MLPs over their width. qkv_bias: biases of queries and values; keys have none.
        drop_rate: dropout before the classifier. proj_drop_rate: in attention and MLPs. attn_drop_rate: of the
            attention weights. drop_path_rate: stochastic depth at the last block, growing linearly from 0 at the first.
        pretrained_window_sizes: windows that each stage's weights were trained with, where others are used now: offsets
            go on being counted in these (section 3.3). One for all, or one a stage; 0 for those that are used.

    Raises:
        ValueError: numbers that do not fit each other, an option outside what is allowed.
    """

    parts = Parts(stem=('patch_embed',), stages=('layers.*',), norm='norm',
                  head=('head.global_pool', 'head.norm', 'head.pre_logits'), classifier=('head.fc',))

    def __init__(self, img_size: ImageSize = 224, patch_size: int = 4, in_chans: int = 3, num_classes: int = 1000,
                 global_pool: str = 'avg', embed_dim: int = 96, depths: Sequence[int] = (2, 2, 6, 2),
                 num_heads: Sequence[int] = (3, 6, 12, 24), window_size: Windows = 7, always_partition: bool = False,
                 strict_img_size: bool = True, dynamic_img_size: bool = False, mlp_ratio: float = 4.0,
                 qkv_bias: bool = True, drop_rate: float = 0.0, proj_drop_rate: float = 0.0,
                 attn_drop_rate: float = 0.0, drop_path_rate: float = 0.1, act_layer: ActLayer = 'gelu',
                 norm_layer: NormLayer = nn.LayerNorm, pretrained_window_sizes: Windows = 0) -> None:
        super().__init__()
        norm, stages = Norm(norm_layer), len(depths)
        self.build_stem(partial(PatchEmbed, output_fmt='NHWC'), img_size, patch_size, in_chans, embed_dim, norm,
                        dynamic_img_size or not strict_img_size)
        make = partial(SwinTransformerV2Stage, always_partition=always_partition, mlp_ratio=mlp_ratio,
                       qkv_bias=qkv_bias, proj_drop=proj_drop_rate, attn_drop=attn_drop_rate, act_layer=act_layer,
                       norm_layer=norm)
        self.build_stages(make, depths, num_heads, drop_path_rate, window_size=windows_of_stages(window_size, stages),
                          pretrained_window_size=trained_windows(pretrained_window_sizes, stages))
        self.norm = norm(self.num_features)
        self.build_end(num_classes, global_pool, drop_rate)

    def init_weights(self) -> None:
        """Draws every parameter anew; blocks begin as the identity, as the authors' do."""
        super().init_weights()
        for stage in self.stages_there():
            for block in blocks_of(stage):
                block.begin_branches(0.0)


def trained_windows(window_size: Windows, stages: int) -> list[Pair]:
    """(rows, columns) of the windows that each stage was trained with; (0, 0) where they are those that it has."""
    given = [window_size] * stages if isinstance(window_size, int) else list(window_size)
    if len(given) != stages:
        raise ValueError(f'pretrained_window_sizes has one entry a stage, which are {stages}, not {window_size!r}.')
    return [trained_window(size) for size in given]


def trained_window(size: ImageSize) -> Pair:
    """(rows, columns), or (0, 0) for none."""
    return (0, 0) if size in (0, (0, 0), [0, 0]) else pair_of(size, 'pretrained_window_size')


class SwinTransformerV2Stage(nn.Module):
    """Merging of patches, where the stage begins with it, and blocks: (B, H, W, dim) -> (B, H/2, W/2, out_dim).

    Args:
        input_resolution: rows and columns of the map that the blocks see. Others as in `SwinTransformerV2Block`.
    """

    def __init__(self, dim: int, out_dim: int, input_resolution: ImageSize, depth: int, num_heads: int,
                 window_size: ImageSize, always_partition: bool = False, downsample: bool = False,
                 mlp_ratio: float = 4.0, qkv_bias: bool = True, proj_drop: float = 0.0, attn_drop: float = 0.0,
                 drop_path: float | Sequence[float] = 0.0, act_layer: ActLayer = 'gelu',
                 norm_layer: MakeNorm = nn.LayerNorm, pretrained_window_size: ImageSize = 0) -> None:
        super().__init__()
        rates = list(drop_path) if isinstance(drop_path, Sequence) else [drop_path] * depth
        shift = tuple(side // 2 for side in pair_of(window_size, 'window_size'))
        self.downsample = PatchMerging(dim, out_dim, norm_layer) if downsample else nn.Identity()
        self.blocks = nn.Sequential(*(SwinTransformerV2Block(
            out_dim, input_resolution, num_heads, window_size, shift if number % 2 else 0, always_partition, mlp_ratio,
            qkv_bias, proj_drop, attn_drop, rates[number], act_layer, norm_layer, pretrained_window_size)
            for number in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


class PatchMerging(nn.Module):
    """Each 2x2 pixels become one: (B, H, W, dim) -> (B, ceil(H / 2), ceil(W / 2), out_dim), normalised at the end."""

    def __init__(self, dim: int, out_dim: int | None = None, norm_layer: MakeNorm = nn.LayerNorm) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * dim, out_dim or 2 * dim, bias=False)
        self.norm = norm_layer(out_dim or 2 * dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.reduction(merge_pixels(x)))


class SwinTransformerV2Block(ShiftedWindows):
    """Attention in windows and an MLP, each a residual branch with the normalisation at its end (section 3.2):
    (B, H, W, dim) -> (B, H, W, dim).

    Args:
        input_resolution: rows and columns of the map that the window is chosen for.
        window_size: of the attention; the map itself where it is no larger, unless `always_partition`.
        shift_size: how far windows are shifted, where the map is larger than the window.
        pretrained_window_size: as in `WindowAttention`.
    """

    def __init__(self, dim: int, input_resolution: ImageSize, num_heads: int, window_size: ImageSize = 7,
                 shift_size: ImageSize = 0, always_partition: bool = False, mlp_ratio: float = 4.0,
                 qkv_bias: bool = True, proj_drop: float = 0.0, attn_drop: float = 0.0, drop_path: float = 0.0,
                 act_layer: ActLayer = 'gelu', norm_layer: MakeNorm = nn.LayerNorm,
                 pretrained_window_size: ImageSize = 0) -> None:
        super().__init__()
        self.build_windows(input_resolution, window_size, shift_size, always_partition)
        self.attn = WindowAttention(dim, self.window_size, num_heads, qkv_bias, attn_drop=attn_drop,
                                    proj_drop=proj_drop, pretrained_window_size=pretrained_window_size)
        self.norm1 = norm_layer(dim)
        self.drop_path1 = DropPath(drop_path)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), act_layer=act_layer, drop=proj_drop)
        self.norm2 = norm_layer(dim)
        self.drop_path2 = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path1(self.norm1(self.attend(x)))
        return x + self.drop_path2(self.norm2(self.mlp(x)))


class WindowAttention(LogOffsets):
    """Multi-head self-attention in windows by the cosine of queries and keys, with biases that a small network makes of
    the logarithms of offsets (section 3.3): (B windows, N, dim) -> same.

    Args:
        window_size: rows and columns, N pixels in all. qkv_bias: of queries and values.
        qkv_bias_separate: add the biases by themselves, rather than in the linear layer.
        pretrained_window_size: the window in whose offsets the network counts; 0 for its own.
    """

    undecayed = ('logit_scale', 'cpb_mlp.0.weight', 'cpb_mlp.0.bias', 'cpb_mlp.2.weight')
    q_bias: nn.Parameter | None
    k_bias: Tensor | None
    v_bias: nn.Parameter | None

    def __init__(self, dim: int, window_size: ImageSize, num_heads: int, qkv_bias: bool = True,
                 qkv_bias_separate: bool = False, attn_drop: float = 0.0, proj_drop: float = 0.0,
                 pretrained_window_size: ImageSize = (0, 0)) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f'{num_heads} heads do not divide {dim} channels.')
        self.dim, self.num_heads, self.qkv_bias_separate = dim, num_heads, qkv_bias_separate
        self.logit_scale = nn.Parameter(torch.empty(num_heads, 1, 1))
        self.cpb_mlp = nn.Sequential(nn.Linear(2, 512), nn.ReLU(), nn.Linear(512, num_heads, bias=False))
        self.qkv = nn.Linear(dim, 3 * dim, bias=False)
        for name in ('q_bias', 'v_bias'):
            self.register_parameter(name, nn.Parameter(torch.empty(dim)) if qkv_bias else None)
        self.register_buffer('k_bias', torch.empty(dim) if qkv_bias else None, persistent=False)
        self.attn_drop = nn.Dropout(attn_drop)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)
        self.reset_parameters()
        self.build_offsets(window_size, 'swin', trained_window(pretrained_window_size))

    def reset_parameters(self) -> None:
        """Temperatures of 0.1 (section 3.3), and no biases."""
        nn.init.constant_(self.logit_scale, math.log(10))
        for bias in (self.q_bias, self.v_bias):
            if bias is not None:
                nn.init.zeros_(bias)

    def reset_constants(self) -> None:
        """Fills the biases of keys, which are zero, and the coordinates; no checkpoint holds them."""
        super().reset_constants()
        if self.k_bias is not None:
            nn.init.zeros_(self.k_bias)

    def of_offsets(self, coordinates: Tensor) -> Tensor:
        """See `LogOffsets.of_offsets`."""
        return self.cpb_mlp(coordinates)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        biases = [bias for bias in (self.q_bias, self.k_bias, self.v_bias) if bias is not None]
        if biases and not self.qkv_bias_separate:
            qkv = F.linear(x, self.qkv.weight, torch.cat(biases))
        else:
            qkv = self.qkv(x) + torch.cat(biases) if biases else self.qkv(x)
        q, k, v = qkv.unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        drop = self.attn_drop.p if self.training else 0.0
        x = attend_by_cosine(q, k, v, self.logit_scale, in_windows(self.bias(), mask, x.shape[0]), drop)
        return self.proj_drop(self.proj(merge_heads(x)))
