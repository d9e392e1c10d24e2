"""Self-attention over the pixels of a map, in place of a convolution: maps (B, dim, H, W) -> (B, dim_out, ceil(H / stride),
ceil(W / stride))."""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..blocks import round_channels
from ..spec import Pair, Sizes
from .attention_tokens import attend, merge_heads
from .conv import channels_first, copy_in_exports
from .decomposed import offset_products, resize_offsets, table_lengths
from .init import draw_normal
from .pool import CeilAvgPool2d
from .sizes import ImageSize, SizedLayer, map_size, pair_of
from .windows import cut_to, missing, window_partition, window_reverse


class PosEmbedRel(nn.Module):
    """What queries make of the offsets, between rows and between columns, to the keys (arXiv:1904.09925, section 3; BotNet,
    arXiv:2101.11605, Figure 4): a learned vector for each offset.

    Args:
        keys: rows and columns of keys that the vectors are for.
    """

    undecayed = ('height_rel', 'width_rel')

    def __init__(self, keys: Pair, dim_head: int) -> None:
        super().__init__()
        self.keys = keys
        rows, columns = table_lengths(keys)
        self.height_rel = nn.Parameter(torch.empty(rows, dim_head))
        self.width_rel = nn.Parameter(torch.empty(columns, dim_head))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Normal with variance 1 / features of a head."""
        for table in (self.height_rel, self.width_rel):
            nn.init.normal_(table, std=table.shape[1] ** -0.5)

    def forward(self, q: Tensor, queries: Sequence[int], keys: Sequence[int]) -> Tensor:
        """Queries (B, heads, rows * columns, dim) of the first rows and columns -> (B, heads, queries, keys), to add to the
        scores."""
        q = q.unflatten(2, (queries[0], queries[1]))                                    # (B, heads, rows, columns, dim)
        rows = offset_products(q.transpose(2, 3), offset_vectors(self.height_rel, queries[0], keys[0])).transpose(2, 3)
        columns = offset_products(q, offset_vectors(self.width_rel, queries[1], keys[1]))
        return copy_in_exports(rows.unsqueeze(-1) + columns.unsqueeze(-2)).flatten(-2).flatten(-3, -2)


def offset_vectors(table: Tensor, queries: int, keys: int) -> Tensor:
    """The vectors (queries, keys, dim) of a table (2 keys - 1, dim) over the offsets from queries to keys; one for another
    number of keys is resampled."""
    table = resize_offsets(table, 2 * keys - 1)
    offsets = torch.arange(keys, device=table.device) - torch.arange(queries, device=table.device)[:, None]
    return table[offsets + keys - 1]


def head_widths(dim: int, dim_out: int | None, num_heads: int, dim_head: int | None, qk_ratio: float) -> tuple[int, int, int]:
    """Channels that come out, and those of each head of queries and keys, and of values.

    Raises:
        ValueError: the heads do not divide them.
    """
    dim_out = dim_out or dim
    if dim_out % num_heads:
        raise ValueError(f'Attention of width {dim_out}: {num_heads} heads do not divide it.')
    return dim_out, dim_head or round_channels(dim_out * qk_ratio) // num_heads, dim_out // num_heads


class BottleneckAttn(SizedLayer):
    """Attention of all pixels to all (BotNet, arXiv:2101.11605, Figure 4).

    Args:
        feat_size: rows and columns of the map that positions are fitted to; they are resampled for another.
        stride: pools what comes out. dim_head: features of a head of queries and keys, by default `qk_ratio` of what comes
            out, shared by the heads. scale_pos_embed: positions are scaled as the other scores are.

    Attributes:
        reduction: pixels of the image a side per pixel of the map, where it is part of a network.
    """

    reduction = 32

    def __init__(self, dim: int, dim_out: int | None = None, feat_size: ImageSize = 8, stride: int = 1,
                 num_heads: int = 4, dim_head: int | None = None, qk_ratio: float = 1.0, qkv_bias: bool = False,
                 scale_pos_embed: bool = False) -> None:
        super().__init__()
        self.dim_out, self.dim_qk, self.dim_v = head_widths(dim, dim_out, num_heads, dim_head, qk_ratio)
        self.num_heads, self.scale, self.scale_pos_embed = num_heads, self.dim_qk ** -0.5, scale_pos_embed
        self.widths = (num_heads * self.dim_qk, num_heads * self.dim_qk, self.dim_out)
        self.qkv = nn.Conv2d(dim, sum(self.widths), 1, bias=qkv_bias)
        self.pos_embed = PosEmbedRel(pair_of(feat_size, 'feat_size'), self.dim_qk)
        self.pool = CeilAvgPool2d(2) if stride == 2 else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        grid = (x.shape[2], x.shape[3])
        q, k, v = (part.flatten(2).unflatten(1, (self.num_heads, -1)).transpose(2, 3)
                   for part in self.qkv(x).split(self.widths, 1))                       # (B, heads, pixels, dim)
        places = self.pos_embed(q, grid, grid)
        x = attend(q, k, v, places * self.scale if self.scale_pos_embed else places, scale=self.scale)
        return self.pool(x.transpose(2, 3).flatten(1, 2).unflatten(2, grid))

    @torch.no_grad()
    def fit(self, sizes: Sizes) -> None:
        if sizes.img_size is None:
            return
        place = self.pos_embed
        place.keys = map_size(sizes.img_size, self.reduction)
        for name, length in zip(place.undecayed, table_lengths(place.keys)):
            setattr(place, name, nn.Parameter(resize_offsets(getattr(place, name), length)))

    def adapt_state(self, state: dict[str, Tensor], prefix: str, source: Sizes) -> None:
        for name, length in zip(self.pos_embed.undecayed, table_lengths(self.pos_embed.keys)):
            key = f'{prefix}pos_embed.{name}'
            if key in state:
                state[key] = resize_offsets(state[key], length)


class HaloAttn(nn.Module):
    """Attention of the pixels of a block to those of the block and of a margin around it (HaloNet, arXiv:2103.12731, section
    2.2). Zeros lie around the map, and fill up its last blocks.

    Args:
        block_size, halo_size: sides of a block, and of the margin, in pixels.
        stride: of the queries; where it does not divide the block, or with `avg_down`, what comes out is pooled.
        dim_head, qk_ratio, scale_pos_embed: as in `BottleneckAttn`.
    """

    def __init__(self, dim: int, dim_out: int | None = None, stride: int = 1, num_heads: int = 8,
                 dim_head: int | None = None, block_size: int = 8, halo_size: int = 3, qk_ratio: float = 1.0,
                 qkv_bias: bool = False, avg_down: bool = False, scale_pos_embed: bool = False) -> None:
        super().__init__()
        self.dim_out, self.dim_qk, self.dim_v = head_widths(dim, dim_out, num_heads, dim_head, qk_ratio)
        self.num_heads, self.scale, self.scale_pos_embed = num_heads, self.dim_qk ** -0.5, scale_pos_embed
        pooled = stride > 1 and (avg_down or block_size % stride != 0)
        self.block_size, self.halo_size, self.win_size = block_size, halo_size, block_size + 2 * halo_size
        self.stride = 1 if pooled else stride
        self.q = nn.Conv2d(dim, num_heads * self.dim_qk, 1, self.stride, bias=qkv_bias)
        self.kv = nn.Conv2d(dim, num_heads * self.dim_qk + self.dim_out, 1, bias=qkv_bias)
        self.pos_embed = PosEmbedRel((self.win_size, self.win_size), self.dim_qk)
        self.pool = CeilAvgPool2d(2) if pooled else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        block, side = self.block_size, self.block_size // self.stride
        size = [(length + self.stride - 1) // self.stride for length in (x.shape[2], x.shape[3])]
        down, right = missing(x.shape[2:], (block, block))
        x = F.pad(x, (0, right, 0, down))
        q = self.q(x).permute(0, 2, 3, 1)
        height, width = q.shape[1], q.shape[2]
        q = window_partition(q, (side, side)).flatten(1, 2).unflatten(2, (self.num_heads, -1)).transpose(1, 2)
        kv = F.pad(self.kv(x), (self.halo_size,) * 4)
        for dim, blocks in ((2, height // side), (3, width // side)):                   # each block with its margin
            starts = torch.arange(blocks, device=x.device)[:, None] * block
            kv = kv.index_select(dim, (starts + torch.arange(self.win_size, device=x.device)).flatten())
        kv = window_partition(kv.permute(0, 2, 3, 1), (self.win_size, self.win_size)).flatten(1, 2)
        kv = kv.unflatten(2, (self.num_heads, -1)).transpose(1, 2)                      # (B * blocks, heads, pixels, dim)
        k, v = kv.split((self.dim_qk, self.dim_v), -1)
        places = self.pos_embed(q, (side, side), (self.win_size, self.win_size))
        x = attend(q, k, v, places * self.scale if self.scale_pos_embed else places, scale=self.scale)
        x = window_reverse(merge_heads(x).unflatten(1, (side, side)), (side, side), height, width)
        return self.pool(channels_first(cut_to(x, size).permute(0, 3, 1, 2)))


class LambdaLayer(SizedLayer):
    """A linear map for each pixel, made of all pixels and of where they lie (LambdaNetworks, arXiv:2102.08602, section 3).

    Args:
        r: side of the neighbourhood that positions are of, by a convolution; None for those of the whole map, of
            `feat_size`, which are resampled for another.
        stride: pools what comes out. dim_head: features of a query. qk_ratio: in its place where it is 0.
    """

    reduction = 32
    pos_emb: nn.Parameter | None

    def __init__(self, dim: int, dim_out: int | None = None, feat_size: ImageSize = 16, stride: int = 1, num_heads: int = 4,
                 dim_head: int = 16, r: int | None = 9, qk_ratio: float = 1.0, qkv_bias: bool = False) -> None:
        super().__init__()
        dim_out, self.dim_qk, self.dim_v = head_widths(dim, dim_out, num_heads, dim_head or None, qk_ratio)
        self.num_heads, self.r = num_heads, r
        self.qkv = nn.Conv2d(dim, num_heads * self.dim_qk + self.dim_qk + self.dim_v, 1, bias=qkv_bias)
        self.norm_q, self.norm_v = nn.BatchNorm2d(num_heads * self.dim_qk), nn.BatchNorm2d(self.dim_v)
        self.feat_size = pair_of(feat_size, 'feat_size')
        if r:
            self.conv_lambda = nn.Conv3d(1, self.dim_qk, (r, r, 1), padding=(r // 2, r // 2, 0))
            self.pos_emb, self.follows = None, ()
        else:
            self.pos_emb = nn.Parameter(torch.empty(*table_lengths(self.feat_size), self.dim_qk))
        self.pool = CeilAvgPool2d(2) if stride == 2 else nn.Identity()
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Positions with deviation 0.02."""
        if self.pos_emb is not None:
            draw_normal(self.pos_emb, 0.02)

    def forward(self, x: Tensor) -> Tensor:
        grid = (x.shape[2], x.shape[3])
        q, k, v = self.qkv(x).split((self.num_heads * self.dim_qk, self.dim_qk, self.dim_v), 1)
        q = self.norm_q(q).flatten(2).unflatten(1, (self.num_heads, -1))                # (B, heads, dim, pixels)
        v = self.norm_v(v)
        content = k.flatten(2).softmax(-1) @ v.flatten(2).transpose(1, 2)               # (B, dim, values)
        out = torch.einsum('bhkm,bkv->bhvm', q, content)
        if self.pos_emb is None:
            places = self.conv_lambda(v.permute(0, 2, 3, 1).unsqueeze(1)).flatten(2, 3)  # (B, dim, pixels, values)
            out = out + torch.einsum('bhkm,bkmv->bhvm', q, places)
        else:
            table = _resized(self.pos_emb, grid)
            lines = [torch.arange(side, device=x.device) for side in grid]
            rows, columns = (line - line[:, None] + side - 1 for line, side in zip(lines, grid))
            vectors = table[rows[:, None, :, None], columns[None, :, None]].flatten(2, 3).flatten(0, 1)
            out = out + torch.einsum('bhkm,mnk,bvn->bhvm', q, vectors, v.flatten(2))
        return self.pool(out.flatten(1, 2).unflatten(2, grid))

    @torch.no_grad()
    def fit(self, sizes: Sizes) -> None:
        if sizes.img_size is not None and self.pos_emb is not None:
            self.feat_size = map_size(sizes.img_size, self.reduction)
            self.pos_emb = nn.Parameter(_resized(self.pos_emb, self.feat_size))

    def adapt_state(self, state: dict[str, Tensor], prefix: str, source: Sizes) -> None:
        key = f'{prefix}pos_emb'
        if key in state and self.pos_emb is not None:
            state[key] = _resized(state[key], self.feat_size)


def _resized(table: Tensor, size: Sequence[int]) -> Tensor:
    """A table (rows, columns, dim) over the offsets in a map, for one of another size, interpolated linearly."""
    rows, columns = table_lengths(size)
    if isinstance(rows, int) and isinstance(columns, int) and (rows, columns) == tuple(table.shape[:2]):
        return table
    image = F.interpolate(table.float().permute(2, 0, 1)[None], (rows, columns), mode='bilinear')[0]
    return image.permute(1, 2, 0).to(table.dtype)


SELF_ATTENTIONS: dict[str, type[nn.Module]] = {'bottleneck': BottleneckAttn, 'halo': HaloAttn, 'lambda': LambdaLayer}
