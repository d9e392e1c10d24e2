"""Pyramid Vision Transformer V2, arXiv:2106.13797: attention whose keys and values come from a coarser map.

    image -> patch_embed (7x7, stride 4) -> stages.0 -> … -> stages.3 -> pool -> head
    stage: 3x3 convolution, stride 2 (not in the first) -> blocks -> norm
    block: norm -> attention -> added -> norm -> MLP with a depthwise convolution -> added

There are no position embeddings: overlapping patches and the convolutions with their zeros around the map tell positions.
Blocks see tokens (B, H W, C) and the size of the map, (H, W); states between stages are maps (B, C, H, W).
"""
from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ..contract import ImageModel, Parts
from ..layers.act import ActLayer, get_act_layer
from ..layers.conv import channels_first
from ..layers.drop import DropPath
from ..layers.init import init_pyramid
from ..layers.norm import LayerNorm, MakeNorm, Norm, NormLayer
from ..layers.sizes import ImageSize, pair_of
from ..layers.spatial_reduction import SpatialReductionAttention as Attention
from ..layers.stages import drop_path_rates, same_stages
from ..spec import Feature, Pair

__all__ = ['Attention', 'Block', 'MlpWithDepthwiseConv', 'OverlapPatchEmbed', 'PyramidVisionTransformerStage',
           'PyramidVisionTransformerV2']


class PyramidVisionTransformerV2(ImageModel):
    """Pyramid Vision Transformer V2, arXiv:2106.13797. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        depths, embed_dims, num_heads: blocks, channels and heads of each stage.
        sr_ratios: of each stage, side of the squares of pixels that are one pixel of the map of keys and values.
        mlp_ratios: of each stage, inner width of the MLPs over their width.
        qkv_bias: biases of queries, keys and values.
        linear: that map is a mean over 7x7 parts, however large the image is (section 3.3).
        drop_rate: dropout before the classifier. proj_drop_rate: in attention and MLPs. attn_drop_rate: of the attention
            weights. drop_path_rate: stochastic depth at the last block, growing linearly from 0 at the first.

    Raises:
        ValueError: numbers that do not fit each other.
    """

    parts = Parts(stem=('patch_embed',), stages=('stages.*',), classifier=('head',))
    draw = staticmethod(init_pyramid)

    def __init__(self, in_chans: int = 3, num_classes: int = 1000, global_pool: str = 'avg',
                 depths: Sequence[int] = (3, 4, 6, 3), embed_dims: Sequence[int] = (64, 128, 256, 512),
                 num_heads: Sequence[int] = (1, 2, 4, 8), sr_ratios: Sequence[int] = (8, 4, 2, 1),
                 mlp_ratios: Sequence[float] = (8.0, 8.0, 4.0, 4.0), qkv_bias: bool = True, linear: bool = False,
                 drop_rate: float = 0.0, proj_drop_rate: float = 0.0, attn_drop_rate: float = 0.0,
                 drop_path_rate: float = 0.0, norm_layer: NormLayer = LayerNorm) -> None:
        super().__init__()
        same_stages(depths=depths, embed_dims=embed_dims, num_heads=num_heads, sr_ratios=sr_ratios,
                    mlp_ratios=mlp_ratios)
        self.in_chans, self.num_features = in_chans, embed_dims[-1]
        self.patch_embed = OverlapPatchEmbed(in_chans=in_chans, embed_dim=embed_dims[0])
        rates = iter(drop_path_rates(drop_path_rate, sum(depths)))
        self.stages, self.feature_info = nn.Sequential(), []
        for number, (depth, dim) in enumerate(zip(depths, embed_dims)):
            self.stages.append(PyramidVisionTransformerStage(
                embed_dims[max(0, number - 1)], dim, depth, number > 0, num_heads[number], sr_ratios[number], linear,
                mlp_ratios[number], qkv_bias, proj_drop_rate, attn_drop_rate, [next(rates) for _ in range(depth)],
                Norm(norm_layer)))
            self.feature_info.append(Feature(num_chs=dim, reduction=4 * 2 ** number, module=f'stages.{number}',
                                             stage=number + 1))
        self.build_head(embed_dims[-1], num_classes, global_pool, drop_rate)
        self.init_fresh()

    def hidden_of(self, state: Tensor) -> Tensor:
        """The embedded patches, as a map."""
        return state.permute(0, 3, 1, 2)


class PyramidVisionTransformerStage(nn.Module):
    """Downsampling, where the stage begins with it, blocks, normalisation: (B, dim, H, W) -> (B, dim_out, H/2, W/2).
    Without downsampling the map comes with the channels last.

    Args:
        drop_path: of each block, or of all. Others as in `Block`.
    """

    def __init__(self, dim: int, dim_out: int, depth: int, downsample: bool = True, num_heads: int = 8,
                 sr_ratio: int = 1, linear_attn: bool = False, mlp_ratio: float = 4.0, qkv_bias: bool = True,
                 proj_drop: float = 0.0, attn_drop: float = 0.0, drop_path: float | Sequence[float] = 0.0,
                 norm_layer: MakeNorm = LayerNorm) -> None:
        super().__init__()
        rates = list(drop_path) if isinstance(drop_path, Sequence) else [drop_path] * depth
        self.downsample = OverlapPatchEmbed(3, 2, dim, dim_out) if downsample else nn.Identity()
        self.blocks = nn.Sequential(*(Block(
            dim_out, num_heads, mlp_ratio, sr_ratio, linear_attn, qkv_bias, proj_drop, attn_drop, rate,
            norm_layer=norm_layer) for rate in rates))
        self.norm = norm_layer(dim_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.downsample(x)
        size = x.shape[1], x.shape[2]
        x = x.flatten(1, 2)
        for block in self.blocks:
            x = block(x, size)
        x = self.norm(x)
        return x.unflatten(1, size).permute(0, 3, 1, 2)


class OverlapPatchEmbed(nn.Module):
    """Patches that overlap, by a convolution, normalised (section 3.1): (B, in_chans, H, W) -> (B, ceil(H / stride),
    ceil(W / stride), embed_dim)."""

    def __init__(self, patch_size: ImageSize = 7, stride: int = 4, in_chans: int = 3, embed_dim: int = 768) -> None:
        super().__init__()
        rows, columns = self.patch_size = pair_of(patch_size, 'patch_size')
        self.proj = nn.Conv2d(in_chans, embed_dim, self.patch_size, stride, (rows // 2, columns // 2))
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.proj(channels_first(x)).permute(0, 2, 3, 1))


class Block(nn.Module):
    """Attention and an MLP, each a residual branch: tokens (B, H W, dim) of a map of `feat_size`, (H, W) -> the same.

    Args:
        sr_ratio, linear_attn: of the attention, see `SpatialReductionAttention`.
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0, sr_ratio: int = 1, linear_attn: bool = False,
                 qkv_bias: bool = False, proj_drop: float = 0.0, attn_drop: float = 0.0, drop_path: float = 0.0,
                 act_layer: ActLayer = nn.GELU, norm_layer: MakeNorm = LayerNorm) -> None:
        super().__init__()
        self.norm1 = norm_layer(dim)
        self.attn = Attention(dim, num_heads, sr_ratio, linear_attn, qkv_bias, attn_drop, proj_drop)
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = norm_layer(dim)
        self.mlp = MlpWithDepthwiseConv(dim, int(dim * mlp_ratio), act_layer=act_layer, drop=proj_drop,
                                        extra_relu=linear_attn)
        self.drop_path2 = DropPath(drop_path)

    def forward(self, x: Tensor, feat_size: Pair) -> Tensor:
        x = x + self.drop_path1(self.attn(self.norm1(x), feat_size))
        return x + self.drop_path2(self.mlp(self.norm2(x), feat_size))


class MlpWithDepthwiseConv(nn.Module):
    """An MLP with a 3x3 depthwise convolution before its activation (section 3.2): tokens (B, H W, in_features) of a map of
    `feat_size`, (H, W) -> (B, H W, out_features).

    Args:
        hidden_features, out_features: by default as many as come in.
        extra_relu: ReLU before the convolution, as networks with linear attention have it.
    """

    def __init__(self, in_features: int, hidden_features: int | None = None, out_features: int | None = None,
                 act_layer: ActLayer = nn.GELU, drop: float = 0.0, extra_relu: bool = False) -> None:
        super().__init__()
        hidden = hidden_features or in_features
        self.fc1 = nn.Linear(in_features, hidden)
        self.relu = nn.ReLU() if extra_relu else nn.Identity()
        self.dwconv = nn.Conv2d(hidden, hidden, 3, padding=1, groups=hidden)
        self.act = get_act_layer(act_layer)()
        self.fc2 = nn.Linear(hidden, out_features or in_features)
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor, feat_size: Pair) -> Tensor:
        x = self.relu(self.fc1(x))
        x = self.dwconv(channels_first(x.transpose(1, 2).unflatten(2, feat_size)))
        x = self.act(x.flatten(2).transpose(1, 2))
        x = self.fc2(self.drop(x))
        return self.drop(x)
