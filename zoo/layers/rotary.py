"""Rotary position embedding (RoFormer, arXiv:2104.09864): pairs of features of queries and keys are turned by angles
that grow with the token's place, so that their product depends on how far apart they are.

An embedding is the sine and the cosine of each feature's angle, of the patches of a grid row by row. How features pair
up is a matter of layout: neighbours (interleaved), or a feature of the first half with one of the second (`rotate_half`).
"""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..spec import unknown
from .places import GRIDS, Jitter, centred, freq_bands, pixel_freq_bands, places

# --- rotation


def rotate_pairs(x: Tensor, half: bool = False) -> Tensor:
    """A quarter of a turn of each pair of features (a, b) -> (-b, a), of neighbours or with `half` of halves."""
    if half:
        a, b = x.chunk(2, dim=-1)
        return torch.cat([-b, a], dim=-1)
    a, b = x.unflatten(-1, (-1, 2)).unbind(-1)
    return torch.stack([-b, a], dim=-1).flatten(-2)


def apply_rot_embed(x: Tensor, sin_emb: Tensor, cos_emb: Tensor, half: bool = False) -> Tensor:
    """Queries or keys (…, N, D), turned: sines and cosines are (…, N, D), of the layout that `half` says."""
    return (x * cos_emb + rotate_pairs(x, half) * sin_emb).to(x.dtype)


def apply_rot_embed_list(x: Sequence[Tensor], sin_emb: Tensor, cos_emb: Tensor, half: bool = False) -> list[Tensor]:
    """`apply_rot_embed` of several tensors; of one, a list of one."""
    return [apply_rot_embed(part, sin_emb, cos_emb, half) for part in ([x] if isinstance(x, Tensor) else x)]


def apply_rot_embed_cat(x: Tensor, emb: Tensor, half: bool = False) -> Tensor:
    """Queries or keys (…, N, D), turned by an embedding (…, N, 2 D): sines, then cosines."""
    sin, cos = emb.chunk(2, dim=-1)
    return apply_rot_embed(x, sin, cos, half)


def sines(angles: Tensor, half: bool = False) -> tuple[Tensor, Tensor]:
    """Angles (…, D / 2) of pairs of features -> the sines and cosines (…, D) of features, laid out as `half` says."""
    if half:
        return torch.cat([angles.sin()] * 2, -1), torch.cat([angles.cos()] * 2, -1)
    sin, cos = (torch.stack([part, part], -1).flatten(-2) for part in (angles.sin(), angles.cos()))
    return sin, cos


# --- embeddings


class Rotary(nn.Module):
    """Base of the embeddings of a grid of patches; what a subclass says is `angles`.

    Attributes:
        feat_shape: rows and columns of patches where a call says nothing else.
        rotate_half: the layout.
        by_block: whether there is one for each block of a network, and each head; these are its first dimensions.
    """

    rotate_half = False
    by_block = False

    def __init__(self, feat_shape: Sequence[int] | None, grid_indexing: str, shift_coords: float | None,
                 jitter_coords: float | None, rescale_coords: float | None) -> None:
        super().__init__()
        if grid_indexing not in GRIDS:
            raise ValueError(unknown('grid_indexing', grid_indexing, GRIDS))
        self.grid_indexing = grid_indexing
        self.jitter = Jitter(shift_coords, jitter_coords, rescale_coords)
        self.update_feat_shape(feat_shape)

    def update_feat_shape(self, feat_shape: Sequence[int] | None) -> None:
        """Sets `feat_shape`."""
        self.feat_shape = None if feat_shape is None else tuple(feat_shape)

    def angles(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device | None) -> Tensor:
        """The angles (…, rows * columns, D / 2) of pairs of features, in a grid of patches."""
        raise NotImplementedError

    def sines_of(self, shape: Sequence[int] | None, dtype: torch.dtype | None,
                 device: torch.device | None) -> tuple[Tensor, Tensor]:
        """Sines and cosines (…, rows * columns, D) of a grid of patches.

        Args:
            shape: rows and columns, by default `feat_shape`.
            dtype: of the result, by default float32, which it is computed in at least: half precision cannot count far
                enough.

        Raises:
            ValueError: no rows and columns.
        """
        shape = self.feat_shape if shape is None else shape
        if shape is None or len(shape) != 2:
            raise ValueError(f'A rotary embedding is of rows and columns of patches, not of {shape}: give shape, or '
                             'feat_shape when it is made.')
        dtype = dtype or torch.float32
        wide = torch.promote_types(dtype, torch.float32)
        sin, cos = sines(self.angles(shape, wide, device).to(wide), self.rotate_half)
        return sin.to(dtype), cos.to(dtype)

    def forward(self, x: Tensor) -> Tensor:
        """A map of queries or keys (…, D, rows, columns), turned."""
        sin, cos = self.sines_of(x.shape[-2:], x.dtype, x.device)
        turned = apply_rot_embed(x.flatten(-2).transpose(-2, -1), sin, cos, self.rotate_half)
        return turned.transpose(-2, -1).unflatten(-1, x.shape[-2:])


class Joined(Rotary):
    """Base of those whose sines and cosines come in one tensor."""

    def get_embed(self, shape: Sequence[int] | None = None, dtype: torch.dtype | None = None,
                  device: torch.device | None = None) -> Tensor:
        """The embedding of a grid of patches: (…, rows * columns, 2 D), sines, then cosines; see `Rotary.sines_of`."""
        return torch.cat(self.sines_of(shape, dtype, device), -1)

    def get_batch_embeds(self, shapes: Sequence[Sequence[int]], seq_len: int | None = None,
                         dtype: torch.dtype | None = None, device: torch.device | None = None) -> list[Tensor] | Tensor:
        """The embeddings of grids of several shapes, one an image: a list, or with `seq_len` one tensor
        (B, …, seq_len, 2 D), filled up with zeros.

        Raises:
            ValueError: a grid has more patches than `seq_len`.
        """
        embeds = [self.get_embed(shape, dtype, device) for shape in shapes]
        if seq_len is None:
            return embeds
        longest = max(embed.shape[-2] for embed in embeds)
        if longest > seq_len:
            raise ValueError(f'A grid has {longest} patches, more than seq_len={seq_len}.')
        return torch.stack([F.pad(embed, (0, 0, 0, seq_len - embed.shape[-2])) for embed in embeds])


class Axial(Rotary):
    """Rotary embedding of places along both axes (EVA-02, arXiv:2303.11331): half of the features turn with the row,
    the others with the column.

    Args:
        dim: features of a head, D.
        max_res: the highest frequency, for `in_pixels`. temperature: the ratio of frequencies, for places that are
            counted.
        in_pixels: places are from -1 to 1, not counted. linear_bands: see `pixel_freq_bands`.
        grid_type: 'pixel' or 'index' in place of `in_pixels`; or 'centered', places as in `centred`, of which
            `normalize_coords` says what is 1: each axis, the longer ('max') or the shorter ('min').
        feat_shape: see `Rotary`. ref_feat_shape: the grid that places are of, whatever grid there is.
        grid_offset: added to counted places. grid_indexing: 'xy' to have columns first.
        rotate_half: see `sines`. shift_coords, jitter_coords, rescale_coords: see `Jitter`.

    Attributes:
        bands: frequencies (D / 4,) of a caller's own.

    Raises:
        ValueError: features that four do not divide, another word for a kind of grid.
    """

    bands: Tensor | None = None

    def __init__(self, dim: int, max_res: int = 224, temperature: float = 10000, in_pixels: bool = True,
                 linear_bands: bool = False, feat_shape: Sequence[int] | None = None,
                 ref_feat_shape: Sequence[int] | None = None, grid_offset: float = 0.0, grid_indexing: str = 'ij',
                 rotate_half: bool = False, grid_type: str | None = None, normalize_coords: str = 'separate',
                 shift_coords: float | None = None, jitter_coords: float | None = None,
                 rescale_coords: float | None = None) -> None:
        super().__init__(feat_shape, grid_indexing, shift_coords, jitter_coords, rescale_coords)
        kind = grid_type or ('pixel' if in_pixels else 'index')
        if kind not in ('pixel', 'index', 'centered'):
            raise ValueError(unknown('grid_type', kind, ('pixel', 'index', 'centered')))
        self.dim, self.grid_type, self.rotate_half = quarters(dim), kind, rotate_half
        self.in_pixels, self.max_res, self.linear_bands = in_pixels, max_res, linear_bands
        self.temperature = temperature
        self.ref_feat_shape = None if ref_feat_shape is None else tuple(ref_feat_shape)
        self.grid_offset, self.normalize_coords = grid_offset, normalize_coords

    def angles(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device | None) -> Tensor:
        """See `Rotary.angles`."""
        if self.grid_type == 'pixel':
            axes = [torch.linspace(-1.0, 1.0, count, dtype=dtype, device=device) for count in shape]
        elif self.grid_type == 'index':
            axes = [torch.arange(count, dtype=dtype, device=device) + self.grid_offset for count in shape]
        else:
            axes = centred(shape, self.normalize_coords, self.grid_offset, dtype, device)
        if self.ref_feat_shape is not None:
            axes = [axis / count * of for axis, count, of in zip(axes, shape, self.ref_feat_shape)]
        coords = places(axes, self.grid_indexing)
        if self.training:
            coords = self.jitter(coords)
        return (coords.unsqueeze(-1) * self.frequencies(device)).flatten(1)

    def frequencies(self, device: torch.device | None) -> Tensor:
        """Those of each axis (D / 4,)."""
        if self.bands is not None:
            return self.bands.to(device)
        if self.in_pixels:
            return pixel_freq_bands(self.dim // 4, float(self.max_res), self.linear_bands, device)
        return freq_bands(self.dim // 4, self.temperature, step=1, device=device)


class RotaryEmbeddingCat(Joined, Axial):
    """`Axial`, with sines and cosines in one tensor."""


class RotaryEmbedding(Axial):
    """`Axial`, with sines and cosines apart."""

    def __init__(self, dim: int, max_res: int = 224, temperature: float = 10000, in_pixels: bool = True,
                 linear_bands: bool = False, feat_shape: Sequence[int] | None = None,
                 ref_feat_shape: Sequence[int] | None = None, grid_offset: float = 0.0, grid_indexing: str = 'ij',
                 grid_type: str | None = None, normalize_coords: str = 'separate', shift_coords: float | None = None,
                 jitter_coords: float | None = None, rescale_coords: float | None = None,
                 rotate_half: bool = False) -> None:
        super().__init__(dim, max_res, temperature, in_pixels, linear_bands, feat_shape, ref_feat_shape, grid_offset,
                         grid_indexing, rotate_half, grid_type, normalize_coords, shift_coords, jitter_coords,
                         rescale_coords)

    def get_embed(self, shape: Sequence[int] | None = None, dtype: torch.dtype | None = None,
                  device: torch.device | None = None) -> tuple[Tensor, Tensor]:
        """Sines and cosines, each (rows * columns, D); see `Rotary.sines_of`."""
        return self.sines_of(shape, dtype, device)


class RotaryEmbeddingDinoV3(Joined):
    """Rotary embedding of places from -1 to 1, in turns of periods (DINOv3, arXiv:2508.10104, section 3.2).

    Args:
        dim: features of a head, D.
        temperature: the ratio of periods, from 1 on; or `min_period` and `max_period` in its place.
        normalize_coords: what is 1, each axis ('separate'), the longer ('max') or the shorter ('min').
        feat_shape, grid_offset, grid_indexing, rotate_half, shift_coords, jitter_coords, rescale_coords: see
            `Axial`.

    Raises:
        ValueError: features that four do not divide, or periods said twice or not at all.
    """

    def __init__(self, dim: int, temperature: float | None = 100.0, min_period: float | None = None,
                 max_period: float | None = None, feat_shape: Sequence[int] | None = None,
                 normalize_coords: str = 'separate', grid_offset: float = 0.0, grid_indexing: str = 'ij',
                 rotate_half: bool = True, shift_coords: float | None = None, jitter_coords: float | None = None,
                 rescale_coords: float | None = None) -> None:
        super().__init__(feat_shape, grid_indexing, shift_coords, jitter_coords, rescale_coords)
        count = quarters(dim) // 4
        if temperature is not None and min_period is None and max_period is None:
            self.first, self.ratio, self.steps = 1.0, temperature, count
        elif temperature is None and min_period is not None and max_period is not None:
            self.first, self.ratio, self.steps = min_period, max_period / min_period, max(1, count - 1)
        else:
            raise ValueError('Periods are said by temperature, or with temperature=None by min_period and max_period.')
        self.dim = dim
        self.normalize_coords, self.grid_offset, self.rotate_half = normalize_coords, grid_offset, rotate_half

    def angles(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device | None) -> Tensor:
        """See `Rotary.angles`."""
        coords = places(centred(shape, self.normalize_coords, self.grid_offset, dtype, device), self.grid_indexing)
        if self.training:
            coords = self.jitter(coords)
        number = torch.arange(self.dim // 4, dtype=dtype, device=device)
        periods = self.first * self.ratio ** (number / self.steps)
        return (2 * math.pi * coords.unsqueeze(-1) / periods).flatten(1)


class RotaryEmbeddingMixed(Joined):
    """Rotary embedding with learned frequencies along both axes, of each head of each block (RoPE-ViT,
    arXiv:2403.13298, section 3.2): embeddings are (depth, heads, rows * columns, 2 D).

    Args:
        dim: features of all heads; depth: number of blocks.
        temperature: the ratio of frequencies before they are learned, with a random direction a head.
        feat_shape, grid_indexing, shift_coords, jitter_coords, rescale_coords: see `Axial`.

    Raises:
        ValueError: features of a head that four do not divide.
    """

    undecayed = ('freqs',)
    by_block = True

    def __init__(self, dim: int, depth: int, num_heads: int, temperature: float = 10.0,
                 feat_shape: Sequence[int] | None = None, grid_indexing: str = 'xy', shift_coords: float | None = None,
                 jitter_coords: float | None = None, rescale_coords: float | None = None) -> None:
        super().__init__(feat_shape, grid_indexing, shift_coords, jitter_coords, rescale_coords)
        self.dim, self.depth, self.num_heads, self.temperature = dim, depth, num_heads, temperature
        self.freqs = nn.Parameter(torch.empty(2, depth, num_heads, 2 * (quarters(dim // num_heads) // 4)))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Frequencies as of two axes, that of each head turned at random."""
        with torch.no_grad():
            bands = freq_bands(self.freqs.shape[-1] // 2, self.temperature, step=1, device=self.freqs.device)
            turn = 2 * math.pi * torch.rand(self.depth, self.num_heads, 1, device=self.freqs.device)
            quarter = turn + math.pi / 2
            self.freqs[0] = torch.cat([bands * turn.cos(), bands * quarter.cos()], -1)
            self.freqs[1] = torch.cat([bands * turn.sin(), bands * quarter.sin()], -1)

    def angles(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device | None) -> Tensor:
        """See `Rotary.angles`."""
        axes = [torch.arange(count, dtype=dtype, device=self.freqs.device) for count in shape]
        coords = places(axes, self.grid_indexing)
        if self.training:
            coords = self.jitter(coords)
        x, y = coords.T.unsqueeze(-1)
        first, second = self.freqs.to(dtype).unsqueeze(-2)
        return x * first + y * second


class RotaryEmbeddingMRope(Joined):
    """Rotary embedding of time, row and column (Qwen2-VL, arXiv:2409.12191, section 2.1), which take turns among the
    frequencies from the highest on (Qwen3-VL, arXiv:2511.21631); of an image, whose time is 0.

    Args:
        dim: features of a head, D. mrope_section: how many pairs of features time, row and column have at most.
        temperature: the ratio of frequencies.
        grid_indexing: 'ij'. shift_coords, jitter_coords, rescale_coords: see `Axial`.

    Raises:
        ValueError: sections that are not as many as pairs, or another `grid_indexing`.
    """

    rotate_half = True

    def __init__(self, dim: int, mrope_section: Sequence[int] = (8, 12, 12), temperature: float = 10000.0,
                 grid_indexing: str = 'ij', shift_coords: float | None = None, jitter_coords: float | None = None,
                 rescale_coords: float | None = None) -> None:
        super().__init__(None, grid_indexing, shift_coords, jitter_coords, rescale_coords)
        if grid_indexing != 'ij':
            raise ValueError(f"Of time, row and column there is grid_indexing='ij' alone, not {grid_indexing!r}.")
        if len(mrope_section) != 3 or 2 * sum(mrope_section) != dim:
            raise ValueError(f'mrope_section has the pairs of features of time, row and column, {dim // 2} together, '
                             f'not {tuple(mrope_section)}.')
        self.dim, self.mrope_section, self.temperature = dim, tuple(mrope_section), temperature

    def angles(self, shape: Sequence[int], dtype: torch.dtype, device: torch.device | None) -> Tensor:
        """See `Rotary.angles`."""
        coords = places([torch.arange(count, dtype=dtype, device=device) for count in shape], self.grid_indexing)
        if self.training:
            coords = self.jitter(coords)
        bands = freq_bands(self.dim // 2, self.temperature, step=1, device=device)
        number = torch.arange(len(bands), device=device)
        axis = torch.stack([(number % 3 == which) & (number < 3 * self.mrope_section[which]) for which in (1, 2)])
        return coords @ (axis * bands).to(dtype)


def quarters(dim: int) -> int:
    """Features of a head, which two axes share in pairs.

    Raises:
        ValueError: four do not divide them.
    """
    if dim % 4:
        raise ValueError(f'A head of {dim} features: two axes share them in pairs, and 4 does not divide them.')
    return dim


def build_rotary_pos_embed(feat_shape: Sequence[int], bands: Tensor | None = None, dim: int = 64,
                           device: torch.device | None = None, dtype: torch.dtype = torch.float32,
                           **options: Any) -> tuple[Tensor, Tensor]:
    """Sines and cosines (rows * columns, dim) of a grid of patches.

    Args:
        bands: the frequencies, in place of those that `dim` and the options imply; a quarter of the features.
        options: those of `RotaryEmbedding`.
    """
    rope = RotaryEmbedding(dim if bands is None else 4 * len(bands), **options)
    rope.bands = bands
    return rope.get_embed(feat_shape, dtype, device)


ROPES: dict[str, Callable[..., Any]] = {
    'base': RotaryEmbedding, 'cat': RotaryEmbeddingCat, 'dinov3': RotaryEmbeddingDinoV3, 'mixed': RotaryEmbeddingMixed,
    'mrope': RotaryEmbeddingMRope}


def create_rope_embed(rope_type: str = 'cat', dim: int = 768, num_heads: int = 12, **kwargs: Any) -> Any:
    """A rotary embedding, one of `ROPES`, by the name of its kind, for attention of `dim` features.

    Raises:
        ValueError: a name that is not known, or a layout that the kind does not have.
    """
    if rope_type not in ROPES:
        raise ValueError(unknown('rope_type', rope_type, ROPES))
    layout = {'mixed': False, 'mrope': True}.get(rope_type)
    if layout is not None and kwargs.pop('rotate_half', layout) != layout:
        raise ValueError(f'rope_type={rope_type!r} needs rotate_half={layout}, its layout.')
    if rope_type == 'mixed':
        return RotaryEmbeddingMixed(dim, num_heads=num_heads, **kwargs)
    return ROPES[rope_type](dim // num_heads, **kwargs)


def of_kept(embed: Tensor, kept: Tensor) -> Tensor:
    """The part of an embedding that is of the patches kept of each image, by their numbers (B, N'): of one (N, 2 D) it
    is (B, 1, N', 2 D), of one with blocks and heads (depth, heads, N, 2 D) it is (depth, B, heads, N', 2 D)."""
    return embed[kept].unsqueeze(1) if embed.ndim == 2 else embed[:, :, kept].transpose(1, 2)
