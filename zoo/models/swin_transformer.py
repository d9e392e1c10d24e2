"""Swin Transformer, arXiv:2103.14030: attention inside windows that shift from one block to the next.

    image -> patch_embed (4x4 patches) -> layers.0 -> … -> layers.3 -> norm -> pool -> head.fc
    block: norm -> attention in windows -> added -> norm -> MLP -> added; every second block's windows are shifted

Stages 1 to 3 begin by merging 2x2 pixels. States are maps with the channels last, (B, H, W, C).
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn

from ..contract import Parts
from ..layers.act import ActLayer
from ..layers.attention_tokens import attend, merge_heads
from ..layers.drop import DropPath
from ..layers.mlp import Mlp
from ..layers.norm import MakeNorm, Norm, NormLayer
from ..layers.patch_embed import PatchEmbed
from ..layers.relative import RelPosTable, get_relative_position_index
from ..layers.shifted import ShiftedWindows, in_windows, merge_pixels
from ..layers.sizes import ImageSize, pair_of
from ..layers.windows import window_partition, window_reverse
from ..spec import Pair
from .windownet import Windows, WindowNet, windows_of_stages


class SwinTransformer(WindowNet):
    """Swin Transformer, arXiv:2103.14030. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Images that patches and windows do not divide are padded with zeros at the bottom and right.

    Args:
        img_size: pixels that windows are chosen for: where a stage's map is no larger than the window, the window is the
            map. patch_size: side of the patches in pixels.
        embed_dim: channels of the first stage; each stage has twice those of the one before.
        depths, num_heads: blocks and heads of each stage. head_dim: channels per head, by default all shared by them.
        window_size: pixels a side, or (rows, columns); or one of these a stage, in a list of as many as there are stages.
        always_partition: keep the window, and the shift, where the map is no larger.
        strict_img_size, dynamic_img_size: refuse images of another size than `img_size`, or take any.
        mlp_ratio: inner width of the MLPs over their width. qkv_bias: biases of queries, keys and values.
        drop_rate: dropout before the classifier. proj_drop_rate: in attention and MLPs. attn_drop_rate: of the attention
            weights. drop_path_rate: stochastic depth at the last block, growing linearly from 0 at the first.
        embed_layer: what makes patches. weight_init: '' or 'reset' draws weights, 'skip' leaves
            the parameters undrawn.

    Raises:
        ValueError: numbers that do not fit each other, an option outside what is allowed.
    """

    parts = Parts(stem=('patch_embed',), stages=('layers.*',), norm='norm',
                  head=('head.global_pool', 'head.norm', 'head.pre_logits'), classifier=('head.fc',))

    def __init__(self, img_size: ImageSize = 224, patch_size: int = 4, in_chans: int = 3, num_classes: int = 1000,
                 global_pool: str = 'avg', embed_dim: int = 96, depths: Sequence[int] = (2, 2, 6, 2),
                 num_heads: Sequence[int] = (3, 6, 12, 24), head_dim: int | None = None, window_size: Windows = 7,
                 always_partition: bool = False, strict_img_size: bool = True, dynamic_img_size: bool = False,
                 mlp_ratio: float = 4.0, qkv_bias: bool = True, drop_rate: float = 0.0, proj_drop_rate: float = 0.0,
                 attn_drop_rate: float = 0.0, drop_path_rate: float = 0.1,
                 embed_layer: Callable[..., PatchEmbed] = PatchEmbed, norm_layer: NormLayer = nn.LayerNorm,
                 weight_init: str = '') -> None:
        super().__init__()
        norm = Norm(norm_layer)
        self.build_stem(partial(embed_layer, output_fmt='NHWC'), img_size, patch_size, in_chans, embed_dim, norm,
                        dynamic_img_size or not strict_img_size)
        make = partial(SwinTransformerStage, always_partition=always_partition, mlp_ratio=mlp_ratio, qkv_bias=qkv_bias,
                       proj_drop=proj_drop_rate, attn_drop=attn_drop_rate, norm_layer=norm)
        self.build_stages(make, depths, num_heads, drop_path_rate, head_dim=[head_dim] * len(depths),
                          window_size=windows_of_stages(window_size, len(depths)))
        self.norm = norm(self.num_features)
        self.build_end(num_classes, global_pool, drop_rate, weight_init)


class SwinTransformerStage(nn.Module):
    """Merging of patches, where the stage begins with it, and blocks: (B, H, W, dim) -> (B, H/2, W/2, out_dim).

    Args:
        input_resolution: rows and columns of the map that the blocks see. Others as in `SwinTransformerBlock`.
    """

    def __init__(self, dim: int, out_dim: int, input_resolution: Pair, depth: int, downsample: bool = True,
                 num_heads: int = 4, head_dim: int | None = None, window_size: ImageSize = 7,
                 always_partition: bool = False, mlp_ratio: float = 4.0, qkv_bias: bool = True, proj_drop: float = 0.0,
                 attn_drop: float = 0.0, drop_path: float | Sequence[float] = 0.0,
                 norm_layer: MakeNorm = nn.LayerNorm) -> None:
        super().__init__()
        rates = list(drop_path) if isinstance(drop_path, Sequence) else [drop_path] * depth
        shift = tuple(side // 2 for side in pair_of(window_size, 'window_size'))
        self.downsample = PatchMerging(dim, out_dim, norm_layer) if downsample else nn.Identity()
        self.blocks = nn.Sequential(*(SwinTransformerBlock(
            out_dim, input_resolution, num_heads, head_dim, window_size, shift if number % 2 else 0, always_partition,
            mlp_ratio=mlp_ratio, qkv_bias=qkv_bias, proj_drop=proj_drop, attn_drop=attn_drop, drop_path=rates[number],
            norm_layer=norm_layer) for number in range(depth)))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


class PatchMerging(nn.Module):
    """Each 2x2 pixels become one (section 3.1): (B, H, W, dim) -> (B, ceil(H / 2), ceil(W / 2), out_dim)."""

    def __init__(self, dim: int, out_dim: int | None = None, norm_layer: MakeNorm = nn.LayerNorm) -> None:
        super().__init__()
        self.norm = norm_layer(4 * dim)
        self.reduction = nn.Linear(4 * dim, out_dim or 2 * dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.reduction(self.norm(merge_pixels(x)))


class SwinTransformerBlock(ShiftedWindows):
    """Attention in windows and an MLP, each a residual branch (equation 3): (B, H, W, dim) -> (B, H, W, dim).

    Args:
        input_resolution: rows and columns of the map that the window is chosen for.
        window_size: of the attention; the map itself where it is no larger, unless `always_partition`.
        shift_size: how far windows are shifted, where the map is larger than the window.
    """

    def __init__(self, dim: int, input_resolution: ImageSize, num_heads: int = 4, head_dim: int | None = None,
                 window_size: ImageSize = 7, shift_size: ImageSize = 0, always_partition: bool = False,
                 mlp_ratio: float = 4.0, qkv_bias: bool = True, proj_drop: float = 0.0, attn_drop: float = 0.0,
                 drop_path: float = 0.0, act_layer: ActLayer = nn.GELU, norm_layer: MakeNorm = nn.LayerNorm) -> None:
        super().__init__()
        self.build_windows(input_resolution, window_size, shift_size, always_partition)
        self.norm1 = norm_layer(dim)
        self.attn = WindowAttention(dim, num_heads, head_dim, self.window_size, qkv_bias, attn_drop, proj_drop)
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = norm_layer(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), act_layer=act_layer, drop=proj_drop)
        self.drop_path2 = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path1(self.attend(self.norm1(x)))
        return x + self.drop_path2(self.mlp(self.norm2(x)))



class WindowAttention(RelPosTable):
    """Multi-head self-attention in windows with relative position biases (equation 4): (B windows, N, dim) -> same.

    Args:
        window_size: rows and columns, N pixels in all. head_dim: channels per head, by default dim / num_heads.
    """

    def __init__(self, dim: int, num_heads: int, head_dim: int | None = None, window_size: ImageSize = 7,
                 qkv_bias: bool = True, attn_drop: float = 0.0, proj_drop: float = 0.0) -> None:
        super().__init__()
        if head_dim is None and dim % num_heads:
            raise ValueError(f'{num_heads} heads do not divide {dim} channels.')
        inner = (head_dim or dim // num_heads) * num_heads
        self.scale = (inner // num_heads) ** -0.5
        self.build_table(window_size, num_heads)
        self.qkv = nn.Linear(dim, 3 * inner, bias=qkv_bias)
        self.attn_drop = nn.Dropout(attn_drop)
        self.proj = nn.Linear(inner, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        bias = in_windows(self.bias(), mask, x.shape[0])
        drop = self.attn_drop.p if self.training else 0.0
        x = attend(q, k, v, bias.to(q.dtype), dropout=drop)
        return self.proj_drop(self.proj(merge_heads(x)))
