"""HieraDet, arXiv:2311.05613, section 5, the image encoder of SAM 2 (arXiv:2408.00714): Hiera for images of any size.

    image -> patch_embed (7x7, stride 4) -> positions -> blocks -> pool -> norm -> fc
    block: norm -> attention -> added -> norm -> MLP -> added

Attention looks into windows, but for a few blocks that look at the whole map. The first block of a stage pools: its
queries and its shortcut are the maxima of 2x2 pixels. States are maps with the channels last, (B, H, W, C).
"""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ..layers.act import ActLayer, get_act_layer
from ..layers.attention_tokens import attend, merge_heads
from ..layers.drop import DropPath
from ..layers.mlp import Mlp
from ..layers.norm import LayerNorm, MakeNorm, Norm, NormLayer
from ..layers.patch_embed import PatchEmbed
from ..layers.positions import absolute_win
from ..layers.scale import LayerScale
from ..layers.sizes import ImageSize, pair_of
from ..layers.windows import cut_to, pad_to_windows, window_partition, window_reverse
from .hieranet import HieraNet, places


class HieraDet(HieraNet):
    """HieraDet, arXiv:2311.05613, as in SAM 2 (arXiv:2408.00714). Images (B, in_chans, H, W) -> logits
    (B, num_classes).

    Args:
        patch_kernel, patch_stride, patch_padding: of the convolution that embeds patches. patch_size: in its place,
            patches of so many pixels that do not overlap.
        num_heads, embed_dim: heads and channels of the first stage; at each further one there are `head_mul` and
            `dim_mul` times as many.
        q_pool: how many stages pool, from the second on. q_stride: rows and columns of pixels that become one.
        stages: blocks of each stage.
        global_pos_size: rows and columns of the positions of the whole map, which are interpolated.
        window_spec: side of each stage's windows, in pixels of its map. global_att_blocks: numbers of the blocks whose
            attention looks at the whole map.
        init_values, weight_init, fix_init, head_init_scale, drop_rate, drop_path_rate: as in `Hiera`.

    Raises:
        ValueError: numbers that do not fit each other, an option outside what is allowed.
    """

    output_fmt = 'NHWC'

    def __init__(self, in_chans: int = 3, num_classes: int = 1000, global_pool: str = 'avg', embed_dim: int = 96,
                 num_heads: int = 1, patch_kernel: ImageSize = (7, 7), patch_stride: ImageSize = (4, 4),
                 patch_padding: ImageSize = (3, 3), patch_size: ImageSize | None = None, q_pool: int = 3,
                 q_stride: ImageSize = (2, 2), stages: Sequence[int] = (2, 3, 16, 3), dim_mul: float = 2.0,
                 head_mul: float = 2.0, global_pos_size: ImageSize = (7, 7),
                 window_spec: Sequence[int] = (8, 4, 14, 7), global_att_blocks: Sequence[int] = (12, 16, 20),
                 init_values: float | None = None, weight_init: str = '', fix_init: bool = True,
                 head_init_scale: float = 0.001, drop_rate: float = 0.0, drop_path_rate: float = 0.0,
                 norm_layer: NormLayer = LayerNorm, act_layer: ActLayer = nn.GELU) -> None:
        super().__init__()
        if len(window_spec) != len(stages):
            raise ValueError(f'window_spec has one entry a stage, not {len(window_spec)} for {len(stages)}.')
        norm, act, stride = Norm(norm_layer), get_act_layer(act_layer), pair_of(q_stride, 'q_stride')
        self.in_chans = in_chans
        self.patch_embed: nn.Module
        if patch_size is None:
            reduction = pair_of(patch_stride, 'patch_stride')[0]
            self.patch_embed = HieraPatchEmbed(patch_kernel, patch_stride, patch_padding, in_chans, embed_dim)
        else:
            reduction = pair_of(patch_size, 'patch_size')[0]
            self.patch_embed = PatchEmbed(None, patch_size, in_chans, embed_dim, output_fmt='NHWC',
                                          strict_img_size=False, dynamic_img_pad=True)
        self.pos_embed = nn.Parameter(torch.empty(1, embed_dim, *pair_of(global_pos_size, 'global_pos_size')))
        self.pos_embed_window = nn.Parameter(torch.empty(1, embed_dim, window_spec[0], window_spec[0]))
        plan = list(places(stages, embed_dim, num_heads, dim_mul, head_mul, q_pool, stride, drop_path_rate))
        self.blocks = nn.Sequential(*(MultiScaleBlock(
            place.dim, place.dim_out, place.heads, mlp_ratio=4.0, q_stride=stride if place.pools else None,
            norm_layer=norm, act_layer=act, window_size=0 if number in global_att_blocks else window_spec[place.stage],
            init_values=init_values, drop_path=place.drop_path) for number, place in enumerate(plan)))
        self.build(plan, reduction, norm, num_classes, global_pool, drop_rate, head_init_scale, weight_init, fix_init)
        for feature in self.feature_info:
            feature['ceil_reduction'] = reduction

    def run_stem(self, x: Tensor) -> Tensor:
        x = self.patch_embed(x)
        return x + absolute_win(self.pos_embed, self.pos_embed_window, x.shape[1:3])

    def hidden_of(self, state: Tensor) -> Tensor:
        """The embedded patches with positions, with the channels last."""
        return state


class HieraPatchEmbed(nn.Module):
    """A convolution with overlapping patches: (B, in_chans, H, W) -> (B, h, w, embed_dim).

    Args:
        kernel_size, stride, padding: of the convolution.
    """

    def __init__(self, kernel_size: ImageSize = (7, 7), stride: ImageSize = (4, 4), padding: ImageSize = (3, 3),
                 in_chans: int = 3, embed_dim: int = 768) -> None:
        super().__init__()
        self.proj = nn.Conv2d(in_chans, embed_dim, pair_of(kernel_size, 'kernel_size'), pair_of(stride, 'stride'),
                              padding=padding if isinstance(padding, int) else (padding[0], padding[1]))

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(x).permute(0, 2, 3, 1)


class MultiScaleBlock(nn.Module):
    """Attention and an MLP, each a residual branch: (B, H, W, dim) -> (B, H, W, dim_out), or with a stride
    (B, H // rows, W // columns, dim_out).

    Args:
        q_stride: rows and columns of pixels whose maximum is taken, of queries and of the shortcut; None for none.
        window_size: side of the windows that attention looks into, before pooling; 0 for the whole map. Maps that
            windows do not divide are padded with zeros at the bottom and right.
        init_values: initial factor of both branches; None for none. drop_path: stochastic depth of both.

    Raises:
        ValueError: windows that the stride does not divide.
    """

    def __init__(self, dim: int, dim_out: int, num_heads: int, mlp_ratio: float = 4.0,
                 q_stride: ImageSize | None = None, norm_layer: MakeNorm = LayerNorm, act_layer: ActLayer = nn.GELU,
                 window_size: int = 0, init_values: float | None = None, drop_path: float = 0.0) -> None:
        super().__init__()
        self.window_size, self.dim, self.dim_out = (window_size, window_size), dim, dim_out
        self.q_stride = (1, 1) if q_stride is None else pair_of(q_stride, 'q_stride')
        if any(window_size % side for side in self.q_stride):
            raise ValueError(f'Windows of {window_size}x{window_size} pixels, in a block that pools by '
                             f'{self.q_stride}: the stride divides them.')
        self.norm1 = norm_layer(dim)
        self.pool = nn.MaxPool2d(self.q_stride, self.q_stride) if q_stride is not None else None
        self.attn = MultiScaleAttention(dim, dim_out, num_heads, self.pool)
        self.ls1 = LayerScale(dim_out, init_values) if init_values is not None else nn.Identity()
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = norm_layer(dim_out)
        self.mlp = Mlp(dim_out, int(dim_out * mlp_ratio), act_layer=act_layer)
        self.ls2 = LayerScale(dim_out, init_values) if init_values is not None else nn.Identity()
        self.drop_path2 = DropPath(drop_path)
        self.proj = nn.Linear(dim, dim_out) if dim != dim_out else None

    def forward(self, x: Tensor) -> Tensor:
        x = self._mixed(x)
        return x + self.drop_path2(self.ls2(self.mlp(self.norm2(x))))

    def _mixed(self, x: Tensor) -> Tensor:
        """The shortcut and attention, added."""
        normed = self.norm1(x)
        x = pooled(x if self.proj is None else self.proj(normed), self.pool)
        return x + self.drop_path1(self.ls1(self._attend(normed, x.shape[1:3])))

    def _attend(self, x: Tensor, size: Sequence[int]) -> Tensor:
        """Attention in windows of a map, cut to the `size` that is wanted of the outcome."""
        if not self.window_size[0]:
            return self.attn(x)
        x = pad_to_windows(x, self.window_size)
        (rows, columns), (height, width) = self.q_stride, x.shape[1:3]
        x = self.attn(window_partition(x, self.window_size))
        window = (self.window_size[0] // rows, self.window_size[1] // columns)
        return cut_to(window_reverse(x, window, height // rows, width // columns), size)


class MultiScaleAttention(nn.Module):
    """Multi-head self-attention whose queries may be pooled (arXiv:2104.11227, section 3.1): (B, H, W, dim) ->
    (B, H', W', dim_out), as large as the queries.

    Args:
        q_pool: pools queries as maps (B, dim_out, H, W); None for none.

    Raises:
        ValueError: a width that the heads do not divide.
    """

    def __init__(self, dim: int, dim_out: int, num_heads: int, q_pool: nn.Module | None = None) -> None:
        super().__init__()
        if dim_out % num_heads:
            raise ValueError(f'Attention of width {dim_out}: {num_heads} heads do not divide it.')
        self.dim, self.dim_out, self.num_heads, self.q_pool = dim, dim_out, num_heads, q_pool
        self.scale, self.fused_attn = (dim_out // num_heads) ** -0.5, True
        self.qkv = nn.Linear(dim, 3 * dim_out)
        self.proj = nn.Linear(dim_out, dim_out)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).chunk(3, dim=-1)
        q = pooled(q, self.q_pool)
        size = q.shape[1:3]
        q, k, v = (part.flatten(1, 2).unflatten(-1, (self.num_heads, -1)).transpose(1, 2) for part in (q, k, v))
        x = merge_heads(attend(q, k, v, fused=self.fused_attn)).unflatten(1, size)
        return self.proj(x)


def pooled(x: Tensor, pool: nn.Module | None) -> Tensor:
    """A map with the channels last (B, H, W, C), pooled."""
    return x if pool is None else pool(x.permute(0, 3, 1, 2)).permute(0, 2, 3, 1)
