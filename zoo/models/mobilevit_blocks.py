"""The blocks of MobileViT (arXiv:2110.02178, Figure 1b) and MobileViTv2 (arXiv:2206.02680): a convolution that mixes what is
near, then a transformer that mixes what is far.

The map is cut into patches. A pixel attends to those that have the same place in the other patches; what lies between,
the convolution has seen already. A map that is not of whole patches is resized, bilinearly, to the next that is.

Both map (B, in_chs, H, W) to (B, out_chs, H, W), `out_chs` by default as many as come in, and share these arguments:

    group_size: channels per group of the first convolution; None or 0 for one group. stride, dilation: of it.
    transformer_dim: width of the transformer, by default `bottle_ratio` times `in_chs`, rounded to a multiple of 8.
    transformer_depth: its layers. patch_size: side of a patch in pixels.
    attn_drop, drop: dropout of attention weights, and of what attention and MLP give. drop_path_rate: stochastic depth.
    layers: what the convolutions are made of. transformer_norm_layer: normalisation in the transformer and after it.
"""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..blocks import round_channels
from ..layers.act import ActLayer
from ..layers.conv import conv2d
from ..layers.drop import DropPath
from ..layers.mlp import Mlp
from ..layers.norm import GroupNorm1, MakeNorm, Norm, NormLayer
from ..layers.recording import ATTENTION
from ..layers.windows import missing
from ..spec import Pair, whole
from .byobnet_layers import LayerFn, num_groups
from .vision_transformer import Block


def whole_patches(size: Pair, patch_size: int) -> Pair:
    """Rows and columns of a map of so many, rounded up to whole patches."""
    down, right = missing(size, (patch_size, patch_size))
    return size[0] + down, size[1] + right


def resize(x: Tensor, size: Pair, align_corners: bool = False) -> Tensor:
    """A map (B, C, H, W) of another size, if it is not of that already; of sizes that are not known yet (an exported graph's)
    it is resized in any case, which changes nothing where they are equal."""
    if all(isinstance(side, int) for side in (*size, *x.shape[2:])) and (x.shape[2], x.shape[3]) == size:
        return x
    return F.interpolate(x, size, mode='bilinear', align_corners=align_corners)


def take_apart(x: Tensor, patch_size: int) -> Tensor:
    """A map (B, C, rows * side, columns * side) -> a view of its pixels (B, C, side, side, rows, columns), by their place in
    a patch, then by the patch's place."""
    return x.unflatten(3, (-1, patch_size)).unflatten(2, (-1, patch_size)).permute(0, 1, 3, 5, 2, 4)


def put_together(x: Tensor) -> Tensor:
    """The map (B, C, rows * side, columns * side) of pixels (B, C, side, side, rows, columns), see `take_apart`."""
    return contiguous(x.permute(0, 1, 4, 2, 5, 3)).flatten(4, 5).flatten(2, 3)


def contiguous(x: Tensor) -> Tensor:
    """A copy in the order of its dimensions, whatever their sizes: an exported graph takes others."""
    return x.clone(memory_format=torch.contiguous_format)


class MobileVitBlock(nn.Module):
    """A transformer (arXiv:2010.11929) among the pixels of the same place in each patch, and a convolution that fuses the
    result with what came in (MobileViT, section 3.1).

    Args:
        num_heads: of attention. no_fusion: leave the last convolution out.

    Raises:
        ValueError: a stride with fusion: what came in is larger then.
    """

    def __init__(self, in_chs: int, out_chs: int | None = None, kernel_size: int = 3, stride: int = 1,
                 bottle_ratio: float = 1.0, group_size: int | None = None, dilation: Pair = (1, 1), mlp_ratio: float = 2.0,
                 transformer_dim: int | None = None, transformer_depth: int = 2, patch_size: int = 8, num_heads: int = 4,
                 attn_drop: float = 0.0, drop: float = 0.0, no_fusion: bool = False, drop_path_rate: float = 0.0,
                 layers: LayerFn = LayerFn(), transformer_norm_layer: NormLayer = nn.LayerNorm) -> None:
        super().__init__()
        if stride != 1 and not no_fusion:
            raise ValueError(f'A block that fuses its output with its input has stride 1, not {stride}: leave the fusion '
                             'out (no_fusion=True), or halve the map in a block before it.')
        out_chs, dim = out_chs or in_chs, transformer_dim or round_channels(bottle_ratio * in_chs)
        norm = Norm(transformer_norm_layer)
        self.patch_size = whole('patch_size', patch_size, 1)
        self.conv_kxk = layers.conv(in_chs, in_chs, kernel_size, stride, dilation[0], num_groups(group_size, in_chs))
        self.conv_1x1 = conv2d(in_chs, dim, 1)
        self.transformer = nn.Sequential(*(
            Block(dim, num_heads, mlp_ratio, qkv_bias=True, attn_drop=attn_drop, proj_drop=drop, drop_path=drop_path_rate,
                  act_layer=layers.act_layer, norm_layer=norm) for _ in range(transformer_depth)))
        self.norm = norm(dim)
        self.conv_proj = layers.conv(dim, out_chs)
        self.conv_fusion = None if no_fusion else layers.conv(in_chs + out_chs, out_chs, kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        before, side = x, self.patch_size
        x = self.conv_kxk(x)
        x = self.conv_1x1(x)
        size = x.shape[2], x.shape[3]
        x = resize(x, whole_patches(size, side))
        x = contiguous(take_apart(x, side).permute(0, 2, 3, 4, 5, 1))
        grid = x.shape[3], x.shape[4]
        x = x.flatten(0, 2).flatten(1, 2)                                               # (B side side, patches, C)
        x = self.transformer(x)
        x = self.norm(x)
        x = x.unflatten(1, grid).unflatten(0, (-1, side, side))
        x = put_together(x.permute(0, 5, 1, 2, 3, 4))
        x = resize(x, size)
        x = self.conv_proj(x)
        if self.conv_fusion is None:
            return x
        return self.conv_fusion(torch.cat((before, x), 1))


class LinearSelfAttention(nn.Module):
    """Separable self-attention (MobileViTv2, section 3.1): the sum of all keys, weighted by a score of each pixel, times each
    pixel's value. It costs as many steps as there are pixels. Pixels (B, embed_dim, places, patches) -> the same, those of
    each place by themselves.

    Args:
        attn_drop: dropout of the scores. proj_drop: of what comes out. bias: of the layers.
    """

    def __init__(self, embed_dim: int, attn_drop: float = 0.0, proj_drop: float = 0.0, bias: bool = True) -> None:
        super().__init__()
        self.embed_dim = embed_dim
        self.qkv_proj = nn.Conv2d(embed_dim, 1 + 2 * embed_dim, 1, bias=bias)
        self.attn_drop = nn.Dropout(attn_drop)
        self.out_proj = nn.Conv2d(embed_dim, embed_dim, 1, bias=bias)
        self.out_drop = nn.Dropout(proj_drop)

    def forward(self, x: Tensor) -> Tensor:
        scores, keys, values = self.qkv_proj(x).split((1, self.embed_dim, self.embed_dim), 1)
        weights = scores.softmax(-1)
        ATTENTION.keep(weights)
        context = (keys * self.attn_drop(weights)).sum(-1, keepdim=True)
        return self.out_drop(self.out_proj(values.relu() * context))


class LinearTransformerBlock(nn.Module):
    """Separable self-attention and an MLP, each a residual branch after a normalisation: pixels
    (B, embed_dim, places, patches) -> the same.

    Args:
        drop: dropout of what attention gives, and of the MLP's hidden features. attn_drop: of attention's weights.
        drop_path: stochastic depth of both branches. norm_layer: makes normalisations, by default over all pixels.
    """

    def __init__(self, embed_dim: int, mlp_ratio: float = 2.0, drop: float = 0.0, attn_drop: float = 0.0,
                 drop_path: float = 0.0, act_layer: ActLayer = nn.SiLU, norm_layer: MakeNorm = GroupNorm1) -> None:
        super().__init__()
        self.norm1 = norm_layer(embed_dim)
        self.attn = LinearSelfAttention(embed_dim, attn_drop, drop)
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = norm_layer(embed_dim)
        self.mlp = Mlp(embed_dim, int(embed_dim * mlp_ratio), act_layer=act_layer, drop=(drop, 0.0), use_conv=True)
        self.drop_path2 = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path1(self.attn(self.norm1(x)))
        return x + self.drop_path2(self.mlp(self.norm2(x)))


class MobileVitV2Block(nn.Module):
    """A transformer with separable self-attention, and no fusion with what came in (MobileViTv2, section 3.3). A map that
    was resized to whole patches stays as large as that."""

    def __init__(self, in_chs: int, out_chs: int | None = None, kernel_size: int = 3, bottle_ratio: float = 1.0,
                 group_size: int | None = 1, dilation: Pair = (1, 1), mlp_ratio: float = 2.0,
                 transformer_dim: int | None = None, transformer_depth: int = 2, patch_size: int = 8, attn_drop: float = 0.0,
                 drop: float = 0.0, drop_path_rate: float = 0.0, layers: LayerFn = LayerFn(),
                 transformer_norm_layer: NormLayer = GroupNorm1, stride: int = 1) -> None:
        super().__init__()
        out_chs, dim = out_chs or in_chs, transformer_dim or round_channels(bottle_ratio * in_chs)
        norm = Norm(transformer_norm_layer)
        self.patch_size, self.stride = whole('patch_size', patch_size, 1), stride
        self.conv_kxk = layers.conv(in_chs, in_chs, kernel_size, stride, dilation[0], num_groups(group_size, in_chs))
        self.conv_1x1 = conv2d(in_chs, dim, 1)
        self.transformer = nn.Sequential(*(
            LinearTransformerBlock(dim, mlp_ratio, drop, attn_drop, drop_path_rate, layers.act_layer, norm)
            for _ in range(transformer_depth)))
        self.norm = norm(dim)
        self.conv_proj = layers.conv(dim, out_chs, act=False)

    def forward(self, x: Tensor) -> Tensor:
        side = self.patch_size
        x = resize(x, whole_patches((x.shape[2], x.shape[3]), side * self.stride), align_corners=True)
        x = self.conv_kxk(x)
        x = self.conv_1x1(x)
        x = contiguous(take_apart(x, side))
        grid = x.shape[4], x.shape[5]
        x = x.flatten(4, 5).flatten(2, 3)                                               # (B, C, places, patches)
        x = self.transformer(x)
        x = self.norm(x)
        x = put_together(x.unflatten(3, grid).unflatten(2, (side, side)))
        return self.conv_proj(x)
