"""Global Context ViT, arXiv:2206.09959: attention in windows, in every second block with queries made of the whole image.

    image -> stem (stride 4) -> stages.0 -> … -> stages.3 -> pool -> head.fc
    stage: downsampling (not in the first) -> global queries -> blocks -> norm (in the last alone)
    block: norm -> attention in windows -> added -> norm -> MLP -> added

The pixels of a window look at each other in one block; in the next, queries that all windows share look at them. A stage
makes these of its first map, which convolutions and pooling bring to the size of a window. Inside a stage maps have their
channels last, (B, H, W, C), between stages first, (B, C, H, W).
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import partial

from torch import Tensor, nn
from torch.nn import functional as F

from ..contract import Parts
from ..layers.act import ActLayer, create_act
from ..layers.attention_tokens import attend, merge_heads
from ..layers.channel_attention import AttnLayer, create_attn
from ..layers.conv import channels_first
from ..layers.drop import DropPath
from ..layers.head import Head
from ..layers.init import draw_anew, init_transformer, xavier_uniform
from ..layers.mlp import Mlp
from ..layers.norm import LayerNorm2d, MakeNorm, Norm, NormLayer
from ..layers.relative import RelPosBias, differs, resize_rel_pos_bias_table, table_size
from ..layers.scale import LayerScale
from ..layers.sizes import ImageSize, check_fitted, map_size, pair_of
from ..layers.stages import children_of, drop_path_rates, same_stages
from ..layers.windows import each_window, window_partition
from ..layers.windows import window_reverse as reverse
from ..spec import Feature, Pair, Sizes, unknown
from .coatnet import SizedAttention
from .headnet import HeadNet
from .windownet import Windows, windows_of_stages

DRAWS: dict[str, Callable[[nn.Module], None]] = {
    '': init_transformer, 'vit': partial(draw_anew, linear=xavier_uniform),
}
REDUCTIONS = ('conv', 'max', 'avg')


class GlobalContextVit(HeadNet):
    """Global Context ViT, arXiv:2206.09959. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Maps that windows do not divide are padded with zeros at the bottom and right.

    Args:
        img_size: pixels a side, or (height, width), that windows are chosen for.
        window_ratio: pixels of the image per pixel of a window, a side; one number, or one a stage.
        window_size: in its place pixels a side, or (rows, columns); or one of these a stage, in a list of as many as
            there are stages.
        embed_dim: channels of the first stage; each stage has twice those of the one before.
        depths, num_heads: blocks and heads of each stage.
        mlp_ratio: inner width of the MLPs over their width. qkv_bias: biases of queries, keys and values.
        layer_scale: initial value of learned factors a channel on the residual branches; None for none.
        drop_rate: dropout before the classifier. proj_drop_rate: in attention and MLPs. attn_drop_rate: of the attention
            weights. drop_path_rate: stochastic depth at the last block, growing linearly from 0 at the first.
        act_layer: of the stem and the MLPs; the convolutions of the stages have GELU, as timm's have whatever is given.
        weight_init: '' draws linear layers narrowly, 'vit' by their widths; 'skip' leaves the parameters undrawn.
        norm_layer, norm_layer_cl: normalisations of maps, and of maps with the channels last. norm_eps: of all.
        dynamic_img_size: take images of any size, with the same windows.

    Raises:
        ValueError: numbers that do not fit each other, an option outside what is allowed.
    """

    parts = Parts(stem=('stem',), stages=('stages.*',), head=('head.global_pool', 'head.norm', 'head.pre_logits'),
                  classifier=('head.fc',))
    img_size: Pair

    def __init__(self, in_chans: int = 3, num_classes: int = 1000, global_pool: str = 'avg', img_size: ImageSize = 224,
                 window_ratio: int | Sequence[int] = (32, 32, 16, 32), window_size: Windows | None = None,
                 embed_dim: int = 64, depths: Sequence[int] = (3, 4, 19, 5), num_heads: Sequence[int] = (2, 4, 8, 16),
                 mlp_ratio: float = 3.0, qkv_bias: bool = True, layer_scale: float | None = None, drop_rate: float = 0.0,
                 proj_drop_rate: float = 0.0, attn_drop_rate: float = 0.0, drop_path_rate: float = 0.0,
                 weight_init: str = '', act_layer: ActLayer = 'gelu', norm_layer: NormLayer = 'layernorm2d',
                 norm_layer_cl: NormLayer = 'layernorm', norm_eps: float = 1e-5,
                 dynamic_img_size: bool = False) -> None:
        super().__init__()
        count = len(depths)
        ratios = [window_ratio] * count if isinstance(window_ratio, int) else list(window_ratio)
        same_stages(depths=depths, num_heads=num_heads, window_ratio=ratios)
        if weight_init not in (*DRAWS, 'skip'):
            raise ValueError(unknown('weight_init', weight_init, (*DRAWS, 'skip')))
        self.img_size, self.dynamic_img_size = pair_of(img_size), dynamic_img_size
        windows = windows_of_stages(window_size, count) if window_size is not None else [
            map_size(self.img_size, ratio) for ratio in ratios]
        norm, last = Norm(norm_layer, eps=norm_eps), Norm(norm_layer_cl, eps=norm_eps)
        self.in_chans, self.num_features = in_chans, embed_dim * 2 ** (count - 1)
        self.weight_init = '' if weight_init == 'skip' else weight_init
        self.stem = Stem(in_chans, embed_dim, act_layer, norm)
        rates = iter(drop_path_rates(drop_path_rate, sum(depths)))
        self.stages, self.feature_info = nn.Sequential(), []
        for number, depth in enumerate(depths):
            width, reduction = embed_dim * 2 ** number, 4 * 2 ** number
            stage = GlobalContextVitStage(
                width // 2 if number else width, depth, num_heads[number], map_size(self.img_size, reduction),
                windows[number], number > 0, False, number == count - 1, mlp_ratio, qkv_bias, layer_scale,
                proj_drop_rate, attn_drop_rate, [next(rates) for _ in range(depth)], act_layer, norm, last,
                None if window_size is not None else halvings(ratios[number], reduction))
            for block in children_of(stage.blocks, GlobalContextVitBlock):
                block.window_ratio = max(ratios[number], reduction) if window_size is None else 0
            self.stages.append(stage)
            self.feature_info.append(Feature(num_chs=width, reduction=reduction, module=f'stages.{number}',
                                             stage=number + 1))
        self.head = Head(self.num_features, global_pool, drop_rate=drop_rate)
        self.build_head(self.num_features, num_classes, global_pool, drop_rate)
        if weight_init != 'skip':
            self.init_fresh()

    def init_weights(self) -> None:
        DRAWS[self.weight_init](self)

    def init_head(self) -> None:
        """Draws the classifier anew."""
        DRAWS[self.weight_init](self.head.fc)

    def run_stem(self, x: Tensor) -> Tensor:
        """Images (B, in_chans, H, W) -> a map (B, embed_dim, ceil(H / 4), ceil(W / 4))."""
        if not self.dynamic_img_size:
            check_fitted(x.shape[-2:], self.img_size)
        return super().run_stem(x)


def halvings(more: float, fewer: float) -> int:
    """How often `more` pixels a side are halved until they are no more than `fewer`, where they are that in the end."""
    return int(math.log2(max(1, more / fewer)))


# --- convolutions


class MbConvBlock(nn.Module):
    """Depthwise convolution, gate and pointwise convolution, with a shortcut where the width stays:
    (B, in_chs, H, W) -> (B, out_chs, H, W).

    Args:
        expand_ratio: inner width over `in_chs`. attn_layer: the gate. bias: of the convolutions.
    """

    def __init__(self, in_chs: int, out_chs: int | None = None, expand_ratio: float = 1.0,
                 attn_layer: AttnLayer = 'se', bias: bool = False, act_layer: ActLayer = 'gelu') -> None:
        super().__init__()
        out_chs, inner = out_chs or in_chs, int(expand_ratio * in_chs)
        options = dict(rd_ratio=0.25, bias=False, act_layer=act_layer) if attn_layer == 'se' else {}
        self.has_skip = in_chs == out_chs
        self.conv_dw = nn.Conv2d(in_chs, inner, 3, padding=1, groups=in_chs, bias=bias)
        self.act = create_act(act_layer)
        self.se = create_attn(attn_layer, inner, **options)
        self.conv_pw = nn.Conv2d(inner, out_chs, 1, bias=bias)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.conv_dw(x)
        branch = self.act(branch)
        branch = self.se(branch)
        branch = self.conv_pw(branch)
        return x + branch if self.has_skip else branch


def create_reduction(kind: str, dim: int, dim_out: int) -> nn.Module:
    """What halves a map (B, dim, H, W), rounding up.

    Raises:
        ValueError: an unknown kind, or another width than a pooling keeps.
    """
    if kind not in REDUCTIONS:
        raise ValueError(unknown('reduction', kind, REDUCTIONS))
    if kind == 'conv':
        return nn.Conv2d(dim, dim_out, 3, 2, 1, bias=False)
    if dim != dim_out:
        raise ValueError(f"reduction={kind!r} keeps {dim} channels and cannot make {dim_out} of them; 'conv' can.")
    return nn.MaxPool2d(3, 2, 1) if kind == 'max' else nn.AvgPool2d(2, ceil_mode=True)


class Downsample2d(nn.Module):
    """A convolutional block and what halves its map, between normalisations: (B, dim, H, W) -> (B, dim_out, ceil(H / 2),
    ceil(W / 2)).

    Args:
        reduction: 'conv', 'max' or 'avg'.
    """

    def __init__(self, dim: int, dim_out: int | None = None, reduction: str = 'conv', act_layer: ActLayer = 'gelu',
                 norm_layer: MakeNorm = partial(LayerNorm2d, eps=1e-6)) -> None:
        super().__init__()
        dim_out = dim_out or dim
        self.norm1 = norm_layer(dim)
        self.conv_block = MbConvBlock(dim, act_layer=act_layer)
        self.reduction = create_reduction(reduction, dim, dim_out)
        self.norm2 = norm_layer(dim_out)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm1(x)
        x = self.conv_block(x)
        x = self.reduction(x)
        return self.norm2(x)


class FeatureBlock(nn.Module):
    """Makes of a map what its stage's windows are asked: (B, dim, H, W) -> (B, dim, H / 2^levels, W / 2^levels), rounded
    up. The paper calls it the generator of global queries.

    Args:
        levels: convolutional blocks, each followed by pooling; 0 for one without it.
        reduction: how maps are halved, 'max' or 'avg'.
    """

    def __init__(self, dim: int, levels: int = 0, reduction: str = 'max', act_layer: ActLayer = 'gelu') -> None:
        super().__init__()
        self.blocks = nn.Sequential()
        for number in range(1, max(1, levels) + 1):
            self.blocks.add_module(f'conv{number}', MbConvBlock(dim, act_layer=act_layer))
            if levels:
                kind = 'max' if reduction == 'conv' else reduction
                self.blocks.add_module(f'pool{number}', create_reduction(kind, dim, dim))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


class Stem(nn.Module):
    """A 3x3 convolution of stride 2 and downsampling: (B, in_chs, H, W) -> (B, out_chs, ceil(H / 4), ceil(W / 4))."""

    def __init__(self, in_chs: int = 3, out_chs: int = 96, act_layer: ActLayer = 'gelu',
                 norm_layer: MakeNorm = partial(LayerNorm2d, eps=1e-6)) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(in_chs, out_chs, 3, 2, 1)
        self.down = Downsample2d(out_chs, act_layer=act_layer, norm_layer=norm_layer)

    def forward(self, x: Tensor) -> Tensor:
        return self.down(self.conv1(x))


# --- stages and blocks


class GlobalContextVitStage(nn.Module):
    """Downsampling, where the stage begins with it, global queries and blocks, of which the first, the third and so on
    look inside their windows alone: (B, dim, H, W) -> with downsampling (B, 2 dim, ceil(H / 2), ceil(W / 2)), else the
    same.

    Args:
        feat_size: rows and columns of the map that the blocks see. window_size: of their windows.
        global_norm, stage_norm: normalise the queries, and what comes out.
        drop_path: stochastic depth of each block, or of all. act_layer: of the MLPs.
        levels: how often the map is halved for the queries; by default until it is about a window.
    """

    def __init__(self, dim: int, depth: int, num_heads: int, feat_size: Pair, window_size: ImageSize,
                 downsample: bool = True, global_norm: bool = False, stage_norm: bool = False, mlp_ratio: float = 4.0,
                 qkv_bias: bool = True, layer_scale: float | None = None, proj_drop: float = 0.0,
                 attn_drop: float = 0.0, drop_path: float | Sequence[float] = 0.0, act_layer: ActLayer = 'gelu',
                 norm_layer: MakeNorm = partial(LayerNorm2d, eps=1e-6), norm_layer_cl: MakeNorm = nn.LayerNorm,
                 levels: int | None = None) -> None:
        super().__init__()
        width, window = 2 * dim if downsample else dim, pair_of(window_size, 'window_size')
        levels = halvings(min(feat_size), min(window)) if levels is None else levels
        rates = list(drop_path) if isinstance(drop_path, Sequence) else [drop_path] * depth
        self.downsample = Downsample2d(dim, width, norm_layer=norm_layer) if downsample else nn.Identity()
        self.global_block = FeatureBlock(width, levels)
        self.global_norm = norm_layer_cl(width) if global_norm else nn.Identity()
        self.blocks = nn.Sequential(*(GlobalContextVitBlock(
            width, feat_size, num_heads, window, mlp_ratio, bool(number % 2), qkv_bias, layer_scale, proj_drop,
            attn_drop, rates[number], act_layer=act_layer, norm_layer=norm_layer_cl) for number in range(depth)))
        self.norm = norm_layer_cl(width) if stage_norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.downsample(x)
        queries = self.global_block(x).permute(0, 2, 3, 1)
        queries = self.global_norm(queries)
        x = x.permute(0, 2, 3, 1)
        for block in self.blocks:
            x = block(x, queries)
        return channels_first(self.norm(x).permute(0, 3, 1, 2))


class GlobalContextVitBlock(SizedAttention):
    """Attention in windows and an MLP, each a residual branch: a map (B, H, W, dim) and, with `use_global`, queries
    (B, rows, columns, dim) -> the same.

    Queries of another size than a window are interpolated, bicubic, as the authors' detectors do.

    Args:
        feat_size: rows and columns of the map, which the window is not larger than.
        window_size: pixels a side, or (rows, columns).
        layer_scale: initial value of learned factors a channel on the branches; None for none.
        attn_layer: makes the attention, of what `WindowAttentionGlobal` takes.

    Attributes:
        window_ratio: pixels of the image per pixel of the window, a side; 0 where it follows no image. Set by the network.
    """

    follows = ('img_size', 'window_size', 'dynamic')
    window_ratio = 0

    def __init__(self, dim: int, feat_size: Pair, num_heads: int, window_size: ImageSize = 7, mlp_ratio: float = 4.0,
                 use_global: bool = True, qkv_bias: bool = True, layer_scale: float | None = None,
                 proj_drop: float = 0.0, attn_drop: float = 0.0, drop_path: float = 0.0,
                 attn_layer: Callable[..., nn.Module] | None = None, act_layer: ActLayer = nn.GELU,
                 norm_layer: MakeNorm = nn.LayerNorm) -> None:
        super().__init__()
        rows, columns = map(min, zip(pair_of(window_size, 'window_size'), feat_size))
        self.window_size = rows, columns
        self.norm1 = norm_layer(dim)
        self.attn = (attn_layer or WindowAttentionGlobal)(
            dim, num_heads=num_heads, window_size=self.window_size, use_global=use_global, qkv_bias=qkv_bias,
            attn_drop=attn_drop, proj_drop=proj_drop)
        self.ls1 = LayerScale(dim, layer_scale) if layer_scale is not None else nn.Identity()
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = norm_layer(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), act_layer=act_layer, drop=proj_drop)
        self.ls2 = LayerScale(dim, layer_scale) if layer_scale is not None else nn.Identity()
        self.drop_path2 = DropPath(drop_path)
        self.use_global = use_global

    def window_for(self, sizes: Sizes) -> Pair | None:
        """Those that are asked for, or that follow from the image."""
        if sizes.window_size or not (sizes.img_size and self.window_ratio):
            return sizes.window_size
        return map_size(sizes.img_size, self.window_ratio)

    def forward(self, x: Tensor, q_global: Tensor | None = None) -> Tensor:
        if self.use_global and q_global is not None and differs(q_global.shape[1:3], self.window_size):
            q_global = F.interpolate(q_global.permute(0, 3, 1, 2), self.window_size, mode='bicubic').permute(0, 2, 3, 1)
        branch = self.norm1(x)
        branch = each_window(partial(self.attn, q_global=q_global), branch, self.window_size)
        x = x + self.drop_path1(self.ls1(branch))
        branch = self.norm2(x)
        branch = self.mlp(branch)
        return x + self.drop_path2(self.ls2(branch))


class RelPosBiasBicubic(RelPosBias):
    """`RelPosBias` whose table is interpolated for other windows as an image, bicubic, as the authors' detectors do."""

    def resize(self, table: Tensor, window: Pair, shape: Sequence[int], old: Pair | None) -> Tensor:
        """A table of the window `old` for another one."""
        return resize_rel_pos_bias_table(table, window, shape, old, bicubic)


def bicubic(table: Tensor, old: Pair, new: Pair) -> Tensor:
    """A table (offsets, heads) of a window for another one, interpolated as an image."""
    image = table.float().t().unflatten(1, table_size(old))[None]
    image = F.interpolate(image, table_size(new), mode='bicubic')
    return image[0].flatten(1).t().to(table.dtype)


class WindowAttentionGlobal(nn.Module):
    """Multi-head attention in windows with biases by relative position: (B windows, N, dim) -> the same.

    Args:
        use_global: queries come from outside, (B, rows, columns, dim) for all windows of an image, and the
            windows' pixels make keys and values alone.

    Raises:
        ValueError: a width that the heads do not divide.
    """

    def __init__(self, dim: int, num_heads: int, window_size: ImageSize, use_global: bool = True,
                 qkv_bias: bool = True, attn_drop: float = 0.0, proj_drop: float = 0.0) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f'Attention of width {dim}: {num_heads} heads do not divide it.')
        self.num_heads, self.head_dim, self.use_global = num_heads, dim // num_heads, use_global
        self.fused_attn = True
        self.rel_pos = RelPosBiasBicubic(window_size, num_heads)
        self.qkv = nn.Linear(dim, (2 if use_global else 3) * dim, bias=qkv_bias)
        self.attn_drop = nn.Dropout(attn_drop)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def forward(self, x: Tensor, q_global: Tensor | None = None) -> Tensor:
        mixed = self.mix(x, q_global)
        return self.proj_drop(self.proj(merge_heads(mixed)))

    def mix(self, x: Tensor, q_global: Tensor | None) -> Tensor:
        """What attention makes of the windows: (B windows, heads, N, dim / heads).

        Raises:
            ValueError: no queries where they come from outside.
        """
        found = self.qkv(x).unflatten(-1, (-1, self.num_heads, self.head_dim)).permute(2, 0, 3, 1, 4)
        if not self.use_global:
            q, k, v = found
        elif q_global is None:
            raise ValueError('use_global=True: this attention takes its queries from outside, as q_global.')
        else:
            k, v = found
            q = q_global.flatten(1, 2).unflatten(-1, (self.num_heads, self.head_dim)).transpose(1, 2)
            images = q.shape[0]
            if not isinstance(images, int) or images:               # of no image there are no windows to share them
                q = q[:, None].expand(-1, x.shape[0] // images, -1, -1, -1).flatten(0, 1)
        bias = self.rel_pos.get_bias().to(q.dtype).expand(q.shape[0], -1, -1, -1)
        return attend(q, k, v, bias, dropout=self.attn_drop.p if self.training else 0.0, fused=self.fused_attn)


def window_reverse(windows: Tensor, window_size: Pair, img_size: Sequence[int]) -> Tensor:
    """Windows (B * windows, rows, columns, C) -> the map (B, H, W, C) that `window_partition` cut them from.

    Args:
        img_size: rows and columns of the map.
    """
    return reverse(windows, window_size, img_size[0], img_size[1])


__all__ = ['Downsample2d', 'FeatureBlock', 'GlobalContextVit', 'GlobalContextVitBlock', 'GlobalContextVitStage',
           'MbConvBlock', 'Stem', 'WindowAttentionGlobal', 'window_partition', 'window_reverse']
