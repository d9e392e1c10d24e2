"""DaViT, arXiv:2204.03645: attention among pixels, in windows, and attention among channels, in groups, in turn.

    image -> stem (7x7, stride 4) -> stages.0 -> … -> stages.3 -> pool -> norm -> head.fc
    stage: norm and convolution, stride 2 (not in the first) -> pairs of a spatial block and a channel block
    block: + depthwise convolution -> norm -> attention -> added -> + depthwise convolution -> norm -> MLP -> added

The depthwise convolutions tell positions. Attention among channels sees the whole image: each channel of a group is a
token, and the pixels are its features. States are maps (B, C, H, W). Florence-2 (arXiv:2311.06242) uses these networks
with downsampling that overlaps and another scale of the attention among channels.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn

from ..contract import Parts
from ..layers.act import ActLayer
from ..layers.attention_tokens import Attention, attend
from ..layers.conv import channels_first, conv2d
from ..layers.drop import DropPath
from ..layers.head import Head
from ..layers.init import init_transformer
from ..layers.mlp import Mlp
from ..layers.norm import MAP_NORM, MakeNorm, Norm, NormLayer
from ..layers.sizes import ImageSize, SizedLayer, pair_of
from ..layers.stages import drop_path_rates, same_stages
from ..layers.windows import each_window, window_partition, window_reverse
from ..spec import Feature, Sizes, unknown
from .headnet import HeadNet

__all__ = ['ChannelAttention', 'ChannelAttentionV2', 'ChannelBlock', 'ConvPosEnc', 'DaVit', 'DaVitStage', 'Downsample',
           'SpatialBlock', 'Stem', 'WindowAttention', 'window_partition', 'window_reverse']

KINDS = ('spatial', 'channel')


class DaVit(HeadNet):
    """DaViT, arXiv:2204.03645. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        depths: pairs of blocks of each stage. embed_dims, num_heads: channels of each stage, and the heads, or groups of
            channels, that share them.
        window_size: pixels a side, or (rows, columns), of the windows of spatial blocks.
        mlp_ratio: inner width of the MLPs over their width. qkv_bias: biases of queries, keys and values.
        norm_layer, norm_layer_cl: normalisations of maps, and of maps with the channels last. norm_eps: of all.
        attn_types: the blocks that make a pair, 'spatial' or 'channel', in their order.
        ffn: blocks have MLPs.
        cpe_act: GELU after the depthwise convolutions that tell positions.
        down_kernel_size: of the convolutions between stages, of stride 2.
        channel_attn_v2: channel attention of Florence-2, see `ChannelAttentionV2`.
        named_blocks: blocks of a pair are named 'spatial_block' and 'channel_block', not numbered.
        drop_rate: dropout before the classifier. drop_path_rate: stochastic depth at the last pair, growing linearly from
            0 at the first.
        head_norm_first: normalise before pooling.

    Raises:
        ValueError: numbers that do not fit each other, an option outside what is allowed.
    """

    parts = Parts(stem=('stem',), stages=('stages.*',), norm='norm_pre',
                  head=('head.global_pool', 'head.norm', 'head.pre_logits'), classifier=('head.fc',))
    draw = staticmethod(init_transformer)

    def __init__(self, in_chans: int = 3, depths: Sequence[int] = (1, 1, 3, 1),
                 embed_dims: Sequence[int] = (96, 192, 384, 768), num_heads: Sequence[int] = (3, 6, 12, 24),
                 window_size: ImageSize = 7, mlp_ratio: float = 4, qkv_bias: bool = True,
                 norm_layer: NormLayer = 'layernorm2d', norm_layer_cl: NormLayer = 'layernorm', norm_eps: float = 1e-5,
                 attn_types: Sequence[str] = KINDS, ffn: bool = True, cpe_act: bool = False,
                 down_kernel_size: int = 2, channel_attn_v2: bool = False, named_blocks: bool = False,
                 drop_rate: float = 0.0, drop_path_rate: float = 0.0, num_classes: int = 1000, global_pool: str = 'avg',
                 head_norm_first: bool = False) -> None:
        super().__init__()
        same_stages(depths=depths, embed_dims=embed_dims, num_heads=num_heads)
        norm, last = Norm(norm_layer, eps=norm_eps), Norm(norm_layer_cl, eps=norm_eps)
        width = embed_dims[-1]
        self.in_chans, self.num_features = in_chans, width
        self.stem = Stem(in_chans, embed_dims[0], norm_layer=norm)
        rates = iter(drop_path_rates(drop_path_rate, sum(depths)))
        self.stages, self.feature_info = nn.Sequential(), []
        for number, (depth, dim) in enumerate(zip(depths, embed_dims)):
            self.stages.append(DaVitStage(
                embed_dims[max(0, number - 1)], dim, depth, number > 0, attn_types, num_heads[number], window_size,
                mlp_ratio, qkv_bias, [next(rates) for _ in range(depth)], norm, last, ffn, cpe_act, down_kernel_size,
                named_blocks, channel_attn_v2))
            self.feature_info.append(Feature(num_chs=dim, reduction=4 * 2 ** number, module=f'stages.{number}',
                                             stage=number + 1))
        self.norm_pre = norm(width) if head_norm_first else nn.Identity()
        if not head_norm_first:
            self.parts = replace(self.parts, norm='')
        self.head = Head(width, global_pool, norm=None if head_norm_first else norm(width), drop_rate=drop_rate)
        self.build_head(width, num_classes, global_pool, drop_rate)
        self.init_fresh()


class Stem(nn.Module):
    """A 7x7 convolution and normalisation: (B, in_chs, H, W) -> (B, out_chs, ceil(H / stride), ceil(W / stride))."""

    def __init__(self, in_chs: int = 3, out_chs: int = 96, stride: int = 4,
                 norm_layer: MakeNorm = MAP_NORM) -> None:
        super().__init__()
        self.conv = nn.Conv2d(in_chs, out_chs, 7, stride, 3)
        self.norm = norm_layer(out_chs)

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class Downsample(nn.Module):
    """Normalisation and a convolution of stride 2: (B, in_chs, H, W) -> (B, out_chs, ceil(H / 2), ceil(W / 2))."""

    def __init__(self, in_chs: int, out_chs: int, kernel_size: int = 3, norm_layer: MakeNorm = MAP_NORM) -> None:
        super().__init__()
        self.norm = norm_layer(in_chs)
        self.conv = conv2d(in_chs, out_chs, kernel_size, 2, pad_type='' if kernel_size % 2 else 'same', bias=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(channels_first(self.norm(x)))


class DaVitStage(nn.Module):
    """Downsampling, where the stage begins with it, and pairs of blocks: (B, in_chs, H, W) -> (B, out_chs, H/2, W/2).

    Args:
        drop_path_rates: of each pair. Others as in `DaVit` and the blocks.

    Raises:
        ValueError: a kind of block that is not known.
    """

    def __init__(self, in_chs: int, out_chs: int, depth: int = 1, downsample: bool = True,
                 attn_types: Sequence[str] = KINDS, num_heads: int = 3, window_size: ImageSize = 7,
                 mlp_ratio: float = 4.0, qkv_bias: bool = True, drop_path_rates: Sequence[float] = (0, 0),
                 norm_layer: MakeNorm = MAP_NORM, norm_layer_cl: MakeNorm = nn.LayerNorm, ffn: bool = True,
                 cpe_act: bool = False, down_kernel_size: int = 2, named_blocks: bool = False,
                 channel_attn_v2: bool = False) -> None:
        super().__init__()
        self.downsample = Downsample(in_chs, out_chs, down_kernel_size, norm_layer) if downsample else nn.Identity()
        self.blocks = nn.Sequential()
        for rate, _ in zip(drop_path_rates, range(depth), strict=True):
            pair = nn.Sequential()
            for number, kind in enumerate(attn_types):
                if kind not in KINDS:
                    raise ValueError(unknown('attn_types', kind, KINDS))
                block: nn.Module
                if kind == 'spatial':
                    block = SpatialBlock(out_chs, num_heads, window_size, mlp_ratio, qkv_bias, rate,
                                         norm_layer=norm_layer_cl, ffn=ffn, cpe_act=cpe_act)
                else:
                    block = ChannelBlock(out_chs, num_heads, mlp_ratio, qkv_bias, rate, norm_layer=norm_layer_cl,
                                         ffn=ffn, cpe_act=cpe_act, v2=channel_attn_v2)
                pair.add_module(f'{kind}_block' if named_blocks else str(number), block)
            self.blocks.append(pair)

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


class ConvPosEnc(nn.Module):
    """Adds to each pixel what a depthwise convolution makes of those around it, which tells where it lies
    (arXiv:2102.10882): (B, dim, H, W) -> the same.

    Args:
        k: side of the kernel. act: GELU after the convolution.
    """

    def __init__(self, dim: int, k: int = 3, act: bool = False) -> None:
        super().__init__()
        self.proj = nn.Conv2d(dim, dim, k, padding=k // 2, groups=dim)
        self.act = nn.GELU() if act else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = channels_first(x)
        return x + self.act(self.proj(x))


class DualBlock(nn.Module):
    """Base of both kinds of blocks: attention and an MLP, each a residual branch with `ConvPosEnc` before it:
    (B, dim, H, W) -> the same."""

    norm2: nn.Module | None
    mlp: nn.Module | None

    def build(self, dim: int, attn: nn.Module, mlp_ratio: float, drop_path: float, act_layer: ActLayer,
              norm_layer: MakeNorm, ffn: bool, cpe_act: bool) -> None:
        """Adds all parts, with `attn` for the attention; without `ffn` no MLP."""
        self.cpe1 = ConvPosEnc(dim, act=cpe_act)
        self.norm1 = norm_layer(dim)
        self.attn = attn
        self.drop_path1 = DropPath(drop_path)
        self.cpe2 = ConvPosEnc(dim, act=cpe_act)
        self.norm2 = norm_layer(dim) if ffn else None
        self.mlp = Mlp(dim, int(dim * mlp_ratio), act_layer=act_layer) if ffn else None
        self.drop_path2 = DropPath(drop_path)

    def mix(self, x: Tensor) -> Tensor:
        """The attention, of maps with the channels last (B, H, W, dim)."""
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        x = self.cpe1(x)
        branch = self.norm1(x.permute(0, 2, 3, 1))
        branch = self.mix(branch).permute(0, 3, 1, 2)
        x = x + self.drop_path1(branch)
        x = self.cpe2(x)
        if self.norm2 is None or self.mlp is None:
            return x
        branch = self.norm2(x.permute(0, 2, 3, 1))
        branch = self.mlp(branch).permute(0, 3, 1, 2)
        return x + self.drop_path2(branch)


class SpatialBlock(DualBlock, SizedLayer):
    """A block of attention in windows (section 3.1): (B, dim, H, W) -> the same.

    Args:
        window_size: pixels a side, or (rows, columns). ffn: with an MLP. cpe_act: see `ConvPosEnc`.
    """

    follows = ('window_size',)

    def __init__(self, dim: int, num_heads: int, window_size: ImageSize = 7, mlp_ratio: float = 4.0,
                 qkv_bias: bool = True, drop_path: float = 0.0, act_layer: ActLayer = nn.GELU,
                 norm_layer: MakeNorm = nn.LayerNorm, ffn: bool = True, cpe_act: bool = False) -> None:
        super().__init__()
        self.window_size = pair_of(window_size, 'window_size')
        self.build(dim, WindowAttention(dim, self.window_size, num_heads, qkv_bias), mlp_ratio, drop_path, act_layer,
                   norm_layer, ffn, cpe_act)

    def fit(self, sizes: Sizes) -> None:
        """Other windows."""
        self.window_size = sizes.window_size or self.window_size

    def adapt_state(self, state: dict[str, Tensor], prefix: str, source: Sizes) -> None:
        """Its parameters fit every window."""

    def mix(self, x: Tensor) -> Tensor:
        """Attention in windows, of maps (B, H, W, dim)."""
        return each_window(self.attn, x, self.window_size)


class WindowAttention(Attention):
    """Multi-head self-attention in windows, without biases of positions: (B windows, N, dim) -> the same."""

    def __init__(self, dim: int, window_size: ImageSize, num_heads: int, qkv_bias: bool = True) -> None:
        super().__init__(dim, num_heads, qkv_bias=qkv_bias)


class ChannelBlock(DualBlock):
    """A block of attention among channels (section 3.2): (B, dim, H, W) -> the same.

    Args:
        num_heads: groups of channels. ffn: with an MLP. cpe_act: see `ConvPosEnc`. v2: `ChannelAttentionV2`.
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0, qkv_bias: bool = False,
                 drop_path: float = 0.0, act_layer: ActLayer = nn.GELU, norm_layer: MakeNorm = nn.LayerNorm,
                 ffn: bool = True, cpe_act: bool = False, v2: bool = False) -> None:
        super().__init__()
        attention = ChannelAttentionV2 if v2 else ChannelAttention
        self.build(dim, attention(dim, num_heads, qkv_bias), mlp_ratio, drop_path, act_layer, norm_layer, ffn, cpe_act)

    def mix(self, x: Tensor) -> Tensor:
        """Attention among channels, of maps (B, H, W, dim)."""
        height, width = x.shape[1:3]
        return self.attn(x.flatten(1, 2)).unflatten(1, (height, width))


class ChannelAttention(nn.Module):
    """Self-attention among the channels of each group (equation 3): (B, N, dim) -> the same. As the authors' code has it,
    keys look at values and mix queries.

    Args:
        num_heads: groups of channels.

    Raises:
        ValueError: a width that the groups do not divide.
    """

    def __init__(self, dim: int, num_heads: int = 8, qkv_bias: bool = False) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f'{num_heads} groups do not divide {dim} channels.')
        self.num_heads, self.head_dim = num_heads, dim // num_heads
        self.qkv = nn.Linear(dim, 3 * dim, bias=qkv_bias)
        self.proj = nn.Linear(dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, self.head_dim)).permute(2, 0, 3, 4, 1)
        return self.proj(self.mix(q, k, v).permute(0, 3, 1, 2).flatten(2))

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Queries, keys and values (B, heads, dim / heads, N) -> the same."""
        return attend(k, v, q, scale=self.head_dim ** -0.5)


class ChannelAttentionV2(ChannelAttention):
    """`ChannelAttention` in which queries look at keys and mix values, as Florence-2 (arXiv:2311.06242) has it.

    Args:
        dynamic_scale: scores are divided by the root of the number of pixels, not of the channels of a group.
    """

    def __init__(self, dim: int, num_heads: int = 8, qkv_bias: bool = True, dynamic_scale: bool = True) -> None:
        super().__init__(dim, num_heads, qkv_bias)
        self.dynamic_scale = dynamic_scale

    def mix(self, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
        """Queries, keys and values (B, heads, dim / heads, N) -> the same."""
        return attend(q, k, v, scale=None if self.dynamic_scale else self.head_dim ** -0.5)
