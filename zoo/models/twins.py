"""Twins, arXiv:2104.13840: attention to a coarser map (Twins-PCPVT), or in turn with attention in windows (Twins-SVT).

    image -> for each stage: patches (4x4, then 2x2) -> block -> + depthwise convolution -> more blocks
          -> norm -> mean of the tokens -> head
    block: norm -> attention -> added -> norm -> MLP -> added

The depthwise convolution after each stage's first block, `pos_block`, tells positions (arXiv:2102.10882). Blocks see
tokens (B, H W, C) and the size of the map, (H, W); states between blocks are maps with the channels last, (B, H, W, C).
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from ..contract import ImageModel, Parts
from ..layers.act import ActLayer
from ..layers.attention_tokens import Attention, attend, merge_heads
from ..layers.conv import channels_first
from ..layers.drop import DropPath
from ..layers.init import init_pyramid
from ..layers.mlp import Mlp
from ..layers.norm import MakeNorm, Norm, NormLayer
from ..layers.sizes import ImageSize, SizedLayer, pair_of
from ..layers.spatial_reduction import SpatialReductionAttention
from ..layers.stages import drop_path_rates, same_stages
from ..layers.windows import each_window
from ..spec import Feature, Pair, Sizes

__all__ = ['Attention', 'Block', 'GlobalSubSampleAttn', 'LocallyGroupedAttn', 'PatchEmbed', 'PosConv', 'Twins']


class GlobalSubSampleAttn(SpatialReductionAttention):
    """Attention of all pixels to a coarser map: `SpatialReductionAttention`, with arguments in Twins' order."""

    def __init__(self, dim: int, num_heads: int = 8, attn_drop: float = 0.0, proj_drop: float = 0.0,
                 sr_ratio: int = 1) -> None:
        super().__init__(dim, num_heads, sr_ratio, attn_drop=attn_drop, proj_drop=proj_drop)


class LocallyGroupedAttn(SizedLayer):
    """Multi-head self-attention in windows, without biases of positions (section 3.2): tokens (B, H W, dim) of a map of
    `size`, (H, W) -> the same.

    Args:
        ws: pixels a side, or (rows, columns), of the windows.

    Raises:
        ValueError: a width that the heads do not divide.
    """

    follows = ('window_size',)

    def __init__(self, dim: int, num_heads: int = 8, attn_drop: float = 0.0, proj_drop: float = 0.0,
                 ws: ImageSize = 1) -> None:
        super().__init__()
        if dim % num_heads:
            raise ValueError(f'{num_heads} heads do not divide {dim} channels.')
        self.num_heads, self.window_size = num_heads, pair_of(ws, 'window_size')
        self.qkv = nn.Linear(dim, 3 * dim)
        self.attn_drop = nn.Dropout(attn_drop)
        self.proj = nn.Linear(dim, dim)
        self.proj_drop = nn.Dropout(proj_drop)

    def fit(self, sizes: Sizes) -> None:
        """Other windows."""
        self.window_size = sizes.window_size or self.window_size

    def adapt_state(self, state: dict[str, Tensor], prefix: str, source: Sizes) -> None:
        """Its parameters fit every window."""

    def forward(self, x: Tensor, size: Pair) -> Tensor:
        x = each_window(self._attend, x.unflatten(1, size), self.window_size)
        return self.proj_drop(x.flatten(1, 2))

    def _attend(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        return self.proj(merge_heads(attend(q, k, v, dropout=self.attn_drop.p if self.training else 0.0)))


class Block(nn.Module):
    """Attention and an MLP, each a residual branch: tokens (B, H W, dim) of a map of `size`, (H, W) -> the same.

    Args:
        sr_ratio: of the attention to a coarser map.
        ws: side of the windows that attention looks into; 1 for attention to a coarser map, None for attention among
            all tokens, without biases.
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 4.0, proj_drop: float = 0.0, attn_drop: float = 0.0,
                 drop_path: float = 0.0, act_layer: ActLayer = nn.GELU, norm_layer: MakeNorm = nn.LayerNorm,
                 sr_ratio: int = 1, ws: int | None = None) -> None:
        super().__init__()
        self.norm1 = norm_layer(dim)
        self.attn: nn.Module
        if ws is None:
            self.attn = Attention(dim, num_heads, attn_drop=attn_drop, proj_drop=proj_drop)
        elif ws == 1:
            self.attn = GlobalSubSampleAttn(dim, num_heads, attn_drop, proj_drop, sr_ratio)
        else:
            self.attn = LocallyGroupedAttn(dim, num_heads, attn_drop, proj_drop, ws)
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = norm_layer(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), act_layer=act_layer, drop=proj_drop)
        self.drop_path2 = DropPath(drop_path)

    def forward(self, x: Tensor, size: Pair) -> Tensor:
        x = x + self.drop_path1(self._attend(self.norm1(x), size))
        return x + self.drop_path2(self.mlp(self.norm2(x)))

    def _attend(self, x: Tensor, size: Pair) -> Tensor:
        return self.attn(x) if isinstance(self.attn, Attention) else self.attn(x, size)


class Twins(ImageModel):
    """Twins, arXiv:2104.13840. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        img_size: pixels that the network is meant for; it takes images of any size, and cuts off what patches do not
            divide.
        patch_size: side of the first stage's patches in pixels; those of later stages are 2x2.
        embed_dims, num_heads, depths: channels, heads and blocks of each stage. mlp_ratios: inner width of its MLPs
            over their width.
        sr_ratios: of each stage, side of the squares of pixels that are one pixel of the map of keys and values.
        wss: of each stage, side of the windows that every second block, from the first, looks into; None for no
            windows.
        drop_rate: dropout before the classifier. pos_drop_rate: of the patches. proj_drop_rate: in attention and MLPs.
            attn_drop_rate: of the attention weights. drop_path_rate: stochastic depth at the last block, growing
            linearly from 0 at the first.
        block_cls: what makes blocks; a class that takes what `Block` does.

    Raises:
        ValueError: numbers that do not fit each other.
    """

    parts = Parts(stem=('patch_embeds.0', 'pos_drops.0'), stages=(), norm='norm', classifier=('head',))
    draw = staticmethod(init_pyramid)
    output_fmt = 'NLC'

    def __init__(self, img_size: ImageSize = 224, patch_size: int = 4, in_chans: int = 3, num_classes: int = 1000,
                 global_pool: str = 'avg', embed_dims: Sequence[int] = (64, 128, 256, 512),
                 num_heads: Sequence[int] = (1, 2, 4, 8), mlp_ratios: Sequence[float] = (4, 4, 4, 4),
                 depths: Sequence[int] = (3, 4, 6, 3), sr_ratios: Sequence[int] = (8, 4, 2, 1),
                 wss: Sequence[int] | None = None, drop_rate: float = 0.0, pos_drop_rate: float = 0.0,
                 proj_drop_rate: float = 0.0, attn_drop_rate: float = 0.0, drop_path_rate: float = 0.0,
                 norm_layer: NormLayer = partial(nn.LayerNorm, eps=1e-6),
                 block_cls: Callable[..., nn.Module] = Block) -> None:
        super().__init__()
        windows = [1] * len(depths) if wss is None else list(wss)
        same_stages(depths=depths, embed_dims=embed_dims, num_heads=num_heads, mlp_ratios=mlp_ratios,
                    sr_ratios=sr_ratios, wss=windows)
        norm = Norm(norm_layer)
        self.in_chans, self.num_features, self.img_size = in_chans, embed_dims[-1], pair_of(img_size)
        self.patch_embeds, self.pos_drops = nn.ModuleList(), nn.ModuleList()
        self.blocks, self.pos_block, self.feature_info = nn.ModuleList(), nn.ModuleList(), []
        rates, before, steps = iter(drop_path_rates(drop_path_rate, sum(depths))), in_chans, []
        for number, (depth, dim) in enumerate(zip(depths, embed_dims)):
            self.patch_embeds.append(PatchEmbed(None, 2 if number else patch_size, before, dim))
            self.pos_drops.append(nn.Dropout(pos_drop_rate))
            self.blocks.append(nn.ModuleList(block_cls(
                dim=dim, num_heads=num_heads[number], mlp_ratio=mlp_ratios[number], proj_drop=proj_drop_rate,
                attn_drop=attn_drop_rate, drop_path=next(rates), norm_layer=norm, sr_ratio=sr_ratios[number],
                ws=1 if index % 2 else windows[number]) for index in range(depth)))
            self.pos_block.append(PosConv(dim, dim))
            entry = (f'patch_embeds.{number}', f'pos_drops.{number}') if number else ()
            steps.append((*entry, f'blocks.{number}.0', f'pos_block.{number}'))
            steps += [(f'blocks.{number}.{index}',) for index in range(1, depth)]
            self.feature_info.append(Feature(num_chs=dim, reduction=patch_size * 2 ** number, module=f'block.{number}',
                                             stage=len(steps), ceil_reduction=1))
            before = dim
        self.parts = replace(self.parts, stages=tuple(steps))
        self.norm = norm(before)
        self.build_head(before, num_classes, global_pool, drop_rate)
        self.init_fresh()

    def run_stem(self, x: Tensor) -> Tensor:
        return self._embed(self.parts.stem, x)

    def enter_stage(self, number: int, state: Tensor) -> Tensor:
        """The embedded patches, of a block that a stage begins with; those of the first stage are the stem's."""
        names = self.stage_names()[number]
        return self._embed(names[:2], state.permute(0, 3, 1, 2)) if len(names) == 4 else state

    def _embed(self, names: tuple[str, ...], x: Tensor) -> Tensor:
        embed, drop = map(self.get_submodule, names)
        x, size = embed(x)
        return drop(x).unflatten(1, size)

    def run_stage(self, number: int, state: Tensor) -> Tensor:
        """The map after a block, and after what tells positions where that follows it."""
        size = state.shape[1], state.shape[2]
        x = state.flatten(1, 2)
        for name in self.stage_names()[number][-2:]:
            x = self.get_submodule(name)(x, size)
        return x.unflatten(1, size)

    def maps_of(self, state: Tensor, step: int) -> list[Tensor]:
        return [state.permute(0, 3, 1, 2)]

    def hidden_of(self, state: Tensor) -> Tensor:
        """The embedded patches, as tokens."""
        return state.flatten(1, 2)

    def pre_head(self, state: Tensor) -> Tensor:
        """The last map, normalised, as tokens."""
        return self.normalise(state).flatten(1, 2)

    def fit_to(self, sizes: Sizes) -> None:
        """What `set_input_size` changes: the windows; the size of the images, which no parameter depends on."""
        super().fit_to(sizes)
        self.img_size = sizes.img_size or self.img_size

    def no_weight_decay(self) -> set[str]:
        """Those of `pos_block`."""
        return super().no_weight_decay() | {f'pos_block.{name}' for name, _ in self.pos_block.named_parameters()}


class PatchEmbed(nn.Module):
    """A linear map of each patch, normalised: a map (B, in_chans, H, W) -> tokens (B, h w, embed_dim), and (h, w).

    Args:
        img_size: side, or (H, W), of the maps that it is meant for; None for any. It takes them all.
    """

    def __init__(self, img_size: ImageSize | None = 224, patch_size: ImageSize = 16, in_chans: int = 3,
                 embed_dim: int = 768) -> None:
        super().__init__()
        self.img_size = None if img_size is None else pair_of(img_size)
        self.patch_size = pair_of(patch_size, 'patch_size')
        self.proj = nn.Conv2d(in_chans, embed_dim, self.patch_size, self.patch_size)
        self.norm = nn.LayerNorm(embed_dim)

    def forward(self, x: Tensor) -> tuple[Tensor, Pair]:
        x = self.proj(channels_first(x))
        size = x.shape[2], x.shape[3]
        return self.norm(x.flatten(2).transpose(1, 2)), size


class PosConv(nn.Module):
    """What a 3x3 depthwise convolution makes of the pixels around each, which tells where it lies (arXiv:2102.10882),
    added to it: tokens (B, H W, in_chans) of a map of `size`, (H, W) -> tokens (B, N, embed_dim).

    Args:
        stride: of the convolution; where it is not 1, nothing is added.
    """

    def __init__(self, in_chans: int, embed_dim: int = 768, stride: int = 1) -> None:
        super().__init__()
        self.stride = stride
        self.proj = nn.Sequential(nn.Conv2d(in_chans, embed_dim, 3, stride, 1, groups=embed_dim))

    def forward(self, x: Tensor, size: Pair) -> Tensor:
        x = channels_first(x.transpose(1, 2).unflatten(2, size))
        x = x + self.proj(x) if self.stride == 1 else self.proj(x)
        return x.flatten(2).transpose(1, 2)
