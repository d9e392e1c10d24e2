"""Swin Transformer, arXiv:2103.14030: attention inside windows that shift from one block to the next.

    image -> patch_embed (4x4 patches) -> layers.0 -> … -> layers.3 -> norm -> pool -> head.fc
    block: norm -> attention in windows -> added -> norm -> MLP -> added; every second block's windows are shifted

Stages 1 to 3 begin by merging 2x2 pixels. States are maps with the channels last, (B, H, W, C).
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from ..contract import ImageModel, Parts
from ..layers.act import ActLayer
from ..layers.attention_tokens import attend, merge_heads
from ..layers.drop import DropPath
from ..layers.head import Head
from ..layers.init import init_transformer
from ..layers.mlp import Mlp
from ..layers.norm import MakeNorm, Norm, NormLayer
from ..layers.patch_embed import PatchEmbed
from ..layers.relative import RelPosTable, get_relative_position_index
from ..layers.sizes import ImageSize, SizedLayer, map_size, pair_of
from ..layers.stages import children_of, drop_path_rates
from ..layers.windows import missing, pad_to_windows, shift_mask, window_partition, window_reverse
from ..spec import Feature, Pair, Sizes

__all__ = ['PatchMerging', 'SwinTransformer', 'SwinTransformerBlock', 'SwinTransformerStage', 'WindowAttention',
           'get_relative_position_index', 'window_partition', 'window_reverse']

Windows = ImageSize | Sequence[ImageSize]


class SwinTransformer(ImageModel):
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
    draw = staticmethod(init_transformer)
    output_fmt = 'NHWC'
    img_size: Pair
    layers: nn.Sequential

    def __init__(self, img_size: ImageSize = 224, patch_size: int = 4, in_chans: int = 3, num_classes: int = 1000,
                 global_pool: str = 'avg', embed_dim: int = 96, depths: Sequence[int] = (2, 2, 6, 2),
                 num_heads: Sequence[int] = (3, 6, 12, 24), head_dim: int | None = None, window_size: Windows = 7,
                 always_partition: bool = False, strict_img_size: bool = True, dynamic_img_size: bool = False,
                 mlp_ratio: float = 4.0, qkv_bias: bool = True, drop_rate: float = 0.0, proj_drop_rate: float = 0.0,
                 attn_drop_rate: float = 0.0, drop_path_rate: float = 0.1,
                 embed_layer: Callable[..., PatchEmbed] = PatchEmbed, norm_layer: NormLayer = nn.LayerNorm,
                 weight_init: str = '') -> None:
        super().__init__()
        if len(num_heads) != len(depths):
            raise ValueError(f'depths and num_heads have one entry a stage, not {len(depths)} and {len(num_heads)}.')
        if weight_init not in ('', 'skip', 'reset'):
            raise ValueError(f"weight_init is '', 'reset' or 'skip', not {weight_init!r}.")
        norm, size = Norm(norm_layer), pair_of(img_size)
        dims = [embed_dim * 2 ** number for number in range(len(depths))]
        windows = windows_of_stages(window_size, len(depths))
        self.in_chans, self.num_features, self.embed_dim = in_chans, dims[-1], embed_dim
        self.img_size, self.dynamic_img_size = size, dynamic_img_size or not strict_img_size

        self.patch_embed = embed_layer(img_size=size, patch_size=patch_size, in_chans=in_chans, embed_dim=embed_dim,
                                       norm_layer=norm, output_fmt='NHWC', strict_img_size=not self.dynamic_img_size,
                                       dynamic_img_pad=True)
        self.patch_embed.pad_fitted = True
        rates = iter(drop_path_rates(drop_path_rate, sum(depths)))
        self.layers, self.feature_info = nn.Sequential(), []
        for number, (depth, dim) in enumerate(zip(depths, dims)):
            reduction = patch_size * 2 ** number                     # input pixels per pixel of the map
            stage = SwinTransformerStage(
                dims[max(0, number - 1)], dim, map_size(size, reduction), depth, downsample=number > 0,
                num_heads=num_heads[number], head_dim=head_dim, window_size=windows[number],
                always_partition=always_partition, mlp_ratio=mlp_ratio, qkv_bias=qkv_bias, proj_drop=proj_drop_rate,
                attn_drop=attn_drop_rate, drop_path=[next(rates) for _ in range(depth)], norm_layer=norm)
            for block in children_of(stage.blocks, SwinTransformerBlock):
                block.patch, block.merged = patch_size, 2 ** number
            self.layers.append(stage)
            self.feature_info.append(Feature(num_chs=dim, reduction=reduction, module=f'layers.{number}',
                                             stage=number + 1))
        self.norm = norm(dims[-1])
        self.head = Head(dims[-1], global_pool, 'NHWC', drop_rate=drop_rate)
        self.build_head(dims[-1], num_classes, global_pool, drop_rate)
        if weight_init != 'skip':
            self.init_fresh()

    def hidden_of(self, state: Tensor) -> Tensor:
        """The embedded patches, with the channels last."""
        return state

    def hidden_modules(self) -> list[nn.Module]:
        """What merges pixels for each stage but the first, and the last stage."""
        return [*(stage.get_submodule('downsample') for stage in self.layers[1:]), self.layers[-1]]

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The output of `forward_features` -> logits, or the embedding; see `ImageModel.forward_head`."""
        return self.head(x, pre_logits)

    def set_input_size(self, img_size: ImageSize | None = None, patch_size: ImageSize | None = None,
                       window_size: Windows | None = None, window_ratio: int | Sequence[int] | None = None,
                       always_partition: bool | None = None, *, dynamic_img_size: bool | None = None) -> None:
        """Fits the network to other sizes, see `ImageModel.set_input_size`. Where no windows are given, they grow with the
        grid of patches.

        Args:
            window_size: as in the constructor. window_ratio: in its place, how many windows a side of the patches' grid
                has; one number, or one a stage.
            always_partition: as in the constructor.
        """
        blocks = self._blocks()
        if always_partition is not None:
            for block in (block for stage in blocks for block in stage):
                block.always_partition = always_partition
        if window_ratio is not None and window_size is None:
            grid = self._grid(img_size, patch_size)
            ratios = [window_ratio] * len(blocks) if isinstance(window_ratio, int) else window_ratio
            window_size = [(grid[0] // ratio, grid[1] // ratio) for ratio in ratios]
        if window_size is None and (img_size is not None or patch_size is not None):
            window_size = self._grown_windows(img_size, patch_size)
        if window_size is not None:
            for stage, window in zip(blocks, windows_of_stages(window_size, len(blocks))):
                for block in stage:
                    block.target_window_size = window
        if patch_size is not None and len(set(pair_of(patch_size, 'patch_size'))) > 1:
            raise ValueError(f'patch_size of this network is the side of a square, not {patch_size!r}.')
        super().set_input_size(img_size, patch_size, dynamic_img_size=dynamic_img_size)
        if patch_size is not None:
            factor = self.patch_embed.patch_size[0]
            self.feature_info = [feature | {'reduction': factor * 2 ** number}
                                 for number, feature in enumerate(self.feature_info)]

    def _grid(self, img_size: ImageSize | None, patch_size: ImageSize | None) -> Pair:
        """Rows and columns of patches; of the sizes that it has where they are None."""
        patch = self.patch_embed.patch_size if patch_size is None else pair_of(patch_size, 'patch_size')
        return map_size(self.img_size if img_size is None else pair_of(img_size), patch[0])

    def _grown_windows(self, img_size: ImageSize | None, patch_size: ImageSize | None) -> list[Pair]:
        """Windows for other images or patches: as many a side of the patches' grid as there are now."""
        old, new = self._grid(None, None), self._grid(img_size, patch_size)
        windows = []
        for first, *_ in self._blocks():
            rows, columns = (max(1, n // max(1, o // side)) for o, n, side in zip(old, new, first.target_window_size))
            windows.append((rows, columns))
        return windows

    def _blocks(self) -> list[list[SwinTransformerBlock]]:
        """The blocks of each stage."""
        return [children_of(stage.get_submodule('blocks'), SwinTransformerBlock) for stage in self.layers]

    def fit_to(self, sizes: Sizes) -> None:
        """What `set_input_size` changes: every block's window is chosen anew."""
        super().fit_to(replace(sizes, img_size=sizes.img_size or self.img_size))


def windows_of_stages(window_size: Windows, stages: int) -> list[Pair]:
    """(rows, columns) of each stage's windows, of one for all or one a stage."""
    one_each = not isinstance(window_size, int) and len(window_size) == stages and (
        stages != 2 or not all(isinstance(n, int) for n in window_size))
    sizes: Any = window_size if one_each else [window_size] * stages
    return [pair_of(size, 'window_size') for size in sizes]


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
        x = pad_to_windows(x, (2, 2))
        batch, height, width, channels = x.shape
        x = x.view(batch, height // 2, 2, width // 2, 2, channels).permute(0, 1, 3, 4, 2, 5)     # column by column
        return self.reduction(self.norm(x.contiguous().view(batch, height // 2, width // 2, 4 * channels)))


class SwinTransformerBlock(SizedLayer):
    """Attention in windows and an MLP, each a residual branch (equation 3): (B, H, W, dim) -> (B, H, W, dim).

    Args:
        input_resolution: rows and columns of the map that the window is chosen for.
        window_size: of the attention; the map itself where it is no larger, unless `always_partition`.
        shift_size: how far windows are shifted, where the map is larger than the window.

    Attributes:
        patch, merged: input pixels per patch, and patches per pixel of the map, a side; set by the network.
    """

    follows = ('img_size', 'patch_size', 'window_size')

    def __init__(self, dim: int, input_resolution: ImageSize, num_heads: int = 4, head_dim: int | None = None,
                 window_size: ImageSize = 7, shift_size: ImageSize = 0, always_partition: bool = False,
                 mlp_ratio: float = 4.0, qkv_bias: bool = True, proj_drop: float = 0.0, attn_drop: float = 0.0,
                 drop_path: float = 0.0, act_layer: ActLayer = nn.GELU, norm_layer: MakeNorm = nn.LayerNorm) -> None:
        super().__init__()
        self.target_window_size, self.shifted = pair_of(window_size, 'window_size'), bool(shift_size)
        self.always_partition = always_partition
        self.patch = self.merged = 1
        self.input_resolution = pair_of(input_resolution, 'input_resolution')
        self.norm1 = norm_layer(dim)
        self.attn = WindowAttention(dim, num_heads, head_dim, self.window_size, qkv_bias, attn_drop, proj_drop)
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = norm_layer(dim)
        self.mlp = Mlp(dim, int(dim * mlp_ratio), act_layer=act_layer, drop=proj_drop)
        self.drop_path2 = DropPath(drop_path)

    @property
    def window_size(self) -> Pair:
        """Rows and columns of the windows."""
        if self.always_partition:
            return self.target_window_size
        rows, columns = (min(side, window) for side, window in zip(self.input_resolution, self.target_window_size))
        return rows, columns

    @property
    def shift_size(self) -> Pair:
        """Rows and columns that windows are shifted by."""
        sides = zip(self.input_resolution, self.target_window_size)
        rows, columns = (window // 2 if self.shifted and (self.always_partition or side > window) else 0
                         for side, window in sides)
        return rows, columns

    def fit(self, sizes: Sizes) -> None:
        """Other images or patches: windows as in a network built for them, the attention's table resampled."""
        self.patch = sizes.patch_size[0] if sizes.patch_size else self.patch
        if sizes.img_size:
            self.input_resolution = map_size(sizes.img_size, self.patch * self.merged)
        self.attn.set_window_size(self.window_size)

    def adapt_state(self, state: dict[str, Tensor], prefix: str, source: Sizes) -> None:
        """Resamples the attention's table at `prefix` for the windows that the block has."""
        old: Pair | None = None
        if source.img_size and not self.always_partition:
            sides = zip(map_size(source.img_size, self.patch * self.merged), self.target_window_size)
            rows, columns = (min(side, window) for side, window in sides)
            old = rows, columns
        self.attn.adapt_table(state, f'{prefix}attn.', old)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path1(self._attend(self.norm1(x)))
        return x + self.drop_path2(self.mlp(self.norm2(x)))

    def _attend(self, x: Tensor) -> Tensor:
        window, shift = self.window_size, self.shift_size
        down, right = missing(x.shape[1:3], window)
        if any(shift):
            x = x.roll((-shift[0], -shift[1]), (1, 2))
        x = pad_to_windows(x, window)
        padded = x.shape[1:3]
        mask = shift_mask(padded, window, shift, x) if any(shift) else None
        x = self.attn(window_partition(x, window).flatten(1, 2), mask)
        x = F.pad(window_reverse(x.unflatten(1, window), window, *padded), (0, 0, 0, -right, 0, -down))
        return x.roll(shift, (1, 2)) if any(shift) else x


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
        bias = self.bias()
        if mask is not None:
            windows = mask.shape[0]
            bias = (bias + mask[:, None]).expand(x.shape[0] // windows, -1, -1, -1, -1).flatten(0, 1)
        drop = self.attn_drop.p if self.training else 0.0
        x = attend(q, k, v, bias.to(q.dtype).expand(x.shape[0], -1, -1, -1), dropout=drop)
        return self.proj_drop(self.proj(merge_heads(x)))
