"""Patches of images of any aspect ratio as tokens with positions, NaViT (arXiv:2307.06304, section 2.1) and FlexiViT
(arXiv:2212.08013): whole images of one size, or packed patches of many.

Packed patches are a row of patches an image, as long as the longest, with their rows and columns in the image's grid and
which of them there are.
"""
from __future__ import annotations

import math
from collections.abc import Iterable
from functools import cached_property
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.init import draw_normal
from ..layers.norm import MakeNorm
from ..layers.positions import project_kernel, resample_patch_embed, resizing_inverse
from ..layers.sizes import ImageSize, SizedLayer, pair_of, patch_grid
from ..layers.windows import missing
from ..spec import Pair, Sizes, unknown

POSITIONS = ('learned', 'factorized', 'none', '')
MODES = ('bicubic', 'bilinear')
TOKENS = ('cls_token', 'reg_token')


class Places:
    """Where packed patches lie.

    Args:
        coord: row and column of each patch in its image's grid (B, N, 2).
        valid: which patches there are (B, N), by default all.

    Attributes:
        sizes: rows and columns of each image's grid (B, 2).
    """

    def __init__(self, coord: Tensor, valid: Tensor | None = None) -> None:
        self.valid = torch.ones_like(coord[..., 0], dtype=torch.bool) if valid is None else valid
        self.coord = coord.masked_fill(~self.valid.unsqueeze(-1), 0)
        self.sizes = self.coord.amax(1) + 1

    @cached_property
    def grids(self) -> tuple[list[Pair], Tensor]:
        """Rows and columns of the images' grids, each once, and the number of each patch (B, N) in all these grids, one
        after the other, row by row."""
        found, which = self.sizes.unique(dim=0, return_inverse=True)
        before = F.pad(found.prod(1).cumsum(0), (1, 0))[which]                  # patches of the grids before an image's
        numbers = before.unsqueeze(1) + self.coord[..., 0] * self.sizes[:, 1:] + self.coord[..., 1]
        return [(rows, columns) for rows, columns in found.tolist()], numbers


def batch_patchify(x: Tensor, patch_size: Pair, pad: bool = True, channels_last: bool = True) -> tuple[Tensor, Pair]:
    """Images (B, C, H, W) -> patches in a row each (B, rows * columns, pixels * C), and rows and columns of patches.

    Args:
        pad: pad the images, at the bottom and right, to whole patches.
        channels_last: pixels lie (rows, columns, channels), else (channels, rows, columns).

    Raises:
        ValueError: the images are of no whole number of patches.
    """
    size: Any = tuple(x.shape[-2:])
    if pad:
        down, right = missing(size, patch_size)
        x = F.pad(x, (0, right, 0, down))
    elif any(side % length for side, length in zip(size, patch_size)):
        raise ValueError(f'An image of {size[0]}x{size[1]} pixels is of no whole number of patches of {patch_size[0]}x'
                         f'{patch_size[1]}: build the network with dynamic_img_pad=True.')
    x = x.unflatten(3, (-1, patch_size[1])).unflatten(2, (-1, patch_size[0]))   # (B, C, rows, height, columns, width)
    grid = x.shape[2], x.shape[4]
    x = x.permute(0, 2, 4, 3, 5, 1) if channels_last else x.permute(0, 2, 4, 1, 3, 5)
    return x.flatten(3).flatten(1, 2), grid


class NaFlexEmbeds(SizedLayer):
    """Prefix tokens, and patches of images of any aspect ratio with positions: images (B, in_chans, H, W), or packed
    patches, -> tokens (B, prefix + N, embed_dim), and rows and columns of patches of the images.

    Args:
        patch_size: in pixels, a side or (height, width).
        proj_type: 'linear', or 'conv' or None for the same layer as a convolution.
        default_img_size: pixels that `pos_embed_grid_size=None` stands for.
        pos_embed, pos_embed_grid_size, pos_embed_interp_mode, pos_embed_ar_preserving, pos_embed_antialias,
            pos_embed_align_corners, pos_embed_use_grid_sample, dynamic_img_pad, enable_patch_interpolator: see
            `zoo.models.naflexvit_cfg.NaFlexVitCfg`.
        input_norm_layer: makes a normalisation of the pixels of each patch. proj_norm_layer: of the embedded patches; True
            for `norm_layer`.
        channels_last: how the pixels of a patch lie, see `batch_patchify`.

    Raises:
        ValueError: an option outside what is allowed, or positions without a size of their table.
    """

    follows: tuple[str, ...] = ('img_size', 'patch_size', 'dynamic')
    undecayed = (*TOKENS, 'pos_embed', 'pos_embed_y', 'pos_embed_x')
    cls_token: nn.Parameter | None
    reg_token: nn.Parameter | None
    pos_embed: nn.Parameter | None
    pos_embed_y: nn.Parameter | None
    pos_embed_x: nn.Parameter | None
    proj: nn.Linear | nn.Conv2d

    def __init__(self, patch_size: ImageSize = 16, in_chans: int = 3, embed_dim: int = 768, proj_type: str | None = None,
                 proj_bias: bool = True, class_token: bool = True, reg_tokens: int = 0, dynamic_img_pad: bool = False,
                 default_img_size: ImageSize | None = None, pos_embed: str = 'learned',
                 pos_embed_grid_size: Pair | None = (14, 14), pos_embed_interp_mode: str = 'bicubic',
                 pos_embed_ar_preserving: bool = False, pos_embed_antialias: bool = True,
                 pos_embed_align_corners: bool = False, pos_embed_use_grid_sample: bool = False,
                 input_norm_layer: MakeNorm | None = None, proj_norm_layer: bool | MakeNorm | None = None,
                 norm_layer: MakeNorm | None = None, pos_drop_rate: float = 0.0, enable_patch_interpolator: bool = False,
                 channels_last: bool = True) -> None:
        super().__init__()
        for what, got, known in (('embed_proj_type', proj_type or 'conv', ('linear', 'conv')),
                                 ('pos_embed', pos_embed, POSITIONS),
                                 ('pos_embed_interp_mode', pos_embed_interp_mode, MODES)):
            if got not in known:
                raise ValueError(unknown(what, got, known))
        self.patch_size, self.in_chans, self.embed_dim = pair_of(patch_size, 'patch_size'), in_chans, embed_dim
        self.default_img_size = None if default_img_size is None else pair_of(default_img_size)
        self.num_reg_tokens, self.has_class_token = reg_tokens, class_token
        self.num_prefix_tokens = reg_tokens + class_token
        self.channels_last, self.dynamic_img_pad = channels_last, dynamic_img_pad
        self.enable_patch_interpolator = enable_patch_interpolator
        self.interpolation: dict[str, Any] = dict(
            mode=pos_embed_interp_mode, antialias=pos_embed_antialias, align_corners=pos_embed_align_corners)
        self.ar_preserving, self.use_grid_sample = pos_embed_ar_preserving, pos_embed_use_grid_sample
        self.cls_token = nn.Parameter(torch.empty(1, 1, embed_dim)) if class_token else None
        self.reg_token = nn.Parameter(torch.empty(1, reg_tokens, embed_dim)) if reg_tokens else None
        for name, shape in self._tables(pos_embed, pos_embed_grid_size).items():
            setattr(self, name, None if shape is None else nn.Parameter(torch.empty(1, *shape, embed_dim)))
        pixels = in_chans * math.prod(self.patch_size)
        self.norm_input = input_norm_layer(pixels) if input_norm_layer else None
        if input_norm_layer and enable_patch_interpolator:
            raise ValueError('The pixels of each patch are normalised (input_norm_layer), so that patches keep their size: '
                             'no enable_patch_interpolator.')
        self.inverses: dict[Pair, Tensor] = {}
        self.proj = nn.Linear(pixels, embed_dim, bias=proj_bias) if proj_type == 'linear' else nn.Conv2d(
            in_chans, embed_dim, self.patch_size, self.patch_size, bias=proj_bias)
        norm = norm_layer if proj_norm_layer is True else proj_norm_layer
        self.norm = norm(embed_dim) if callable(norm) else nn.Identity()
        self.pos_drop = nn.Dropout(pos_drop_rate)
        self.reset_parameters()

    def _tables(self, kind: str, grid: Pair | None) -> dict[str, tuple[int, ...] | None]:
        """The shapes of the tables of positions, beside channels."""
        tables: dict[str, tuple[int, ...] | None] = dict.fromkeys(('pos_embed', 'pos_embed_y', 'pos_embed_x'))
        if kind in ('none', ''):
            return tables
        if grid is None and self.default_img_size is None:
            raise ValueError('Positions need pos_embed_grid_size, rows and columns, or img_size in pixels.')
        rows, columns = pair_of(grid, 'pos_embed_grid_size') if grid else self.dynamic_feat_size(self.default_img_size or (0, 0))
        return tables | (dict(pos_embed=(rows, columns)) if kind == 'learned' else
                         dict(pos_embed_y=(rows,), pos_embed_x=(columns,)))

    def reset_parameters(self) -> None:
        """Draws prefix tokens and positions."""
        for name in self.undecayed:
            parameter = self._parameters.get(name)
            if parameter is not None:
                draw_normal(parameter, 1e-6 if name in TOKENS else 0.02)

    # --- tokens

    def forward(self, x: Tensor, patch_coord: Tensor | None = None,
                patch_valid: Tensor | None = None) -> tuple[Tensor, Pair | None]:
        """Images (B, in_chans, H, W), or with `patch_coord` packed patches (see `embed_packed`)."""
        if patch_coord is None:
            return self.embed_images(x)
        return self.embed_packed(x, Places(patch_coord, patch_valid)), None

    def embed_images(self, x: Tensor) -> tuple[Tensor, Pair]:
        """Images (B, in_chans, H, W) -> tokens, and rows and columns of patches."""
        patches, grid = batch_patchify(x, self.patch_size, self.dynamic_img_pad, self.channels_last)
        positions = self.positions(grid)
        patches = self._projected(patches)
        return self._with_prefix(patches if positions is None else patches + positions), grid

    def embed_packed(self, x: Tensor, places: Places) -> Tensor:
        """Packed patches -> tokens.

        Args:
            x: patches (B, N, pixels * channels), or (B, N, rows, columns, channels) with `channels_last`, else
                (B, N, channels, rows, columns).

        Raises:
            ValueError: patches of another size than the network's.
        """
        kernel, patch = None, self.patch_size
        if x.ndim == 5:
            patch = (x.shape[2], x.shape[3]) if self.channels_last else (x.shape[3], x.shape[4])
            x = x.flatten(2)
        if patch != self.patch_size and self.enable_patch_interpolator:
            inverse = self._inverse(patch) if patch not in self.inverses else self.inverses[patch]
            kernel = self._as_matrix(project_kernel(self.kernel, inverse, patch))
        elif x.shape[-1] != self.in_chans * math.prod(self.patch_size):
            raise ValueError(
                f'Patches are of {self.patch_size[0]}x{self.patch_size[1]} pixels with {self.in_chans} channels, '
                f'{self.in_chans * math.prod(self.patch_size)} numbers, not of {x.shape[-1]}. A network built with '
                'enable_patch_interpolator=True takes patches (B, N, rows, columns, channels) of any size.')
        patches, positions = self._projected(x, kernel), self.packed_positions(places)
        return self._with_prefix(patches if positions is None else patches + positions)

    def _projected(self, patches: Tensor, kernel: Tensor | None = None) -> Tensor:
        """Pixels of patches (B, N, pixels * channels) -> (B, N, embed_dim), by another matrix than its own where one is
        given."""
        if self.norm_input is not None:
            patches = self.norm_input(patches)
        if kernel is None and isinstance(self.proj, nn.Conv2d):
            kernel = self._as_matrix(self.proj.weight)
        return self.norm(self.proj(patches) if kernel is None else F.linear(patches, kernel, self.proj.bias))

    def _with_prefix(self, patches: Tensor) -> Tensor:
        prefix = [token.expand(patches.shape[0], -1, -1) for token in (self.cls_token, self.reg_token)
                  if token is not None]
        return self.pos_drop(torch.cat([*prefix, patches], dim=1) if prefix else patches)

    # --- positions

    def positions(self, grid: Pair) -> Tensor | None:
        """Those of a grid of patches, row by row: (rows * columns, embed_dim)."""
        wanted = (max_of(*grid),) * 2 if self.ar_preserving else grid
        if self.pos_embed is not None:
            table: Tensor = self.pos_embed
            if not same(table.shape[1:3], grid):
                image = F.interpolate(table.float().permute(0, 3, 1, 2), wanted, **self.interpolation)
                table = image.permute(0, 2, 3, 1).to(table.dtype)
            if self.ar_preserving:          # chosen one by one: the strides of a part would hold a graph to one shape
                for axis, count in enumerate(grid, 1):
                    table = table.index_select(axis, torch.arange(count, device=table.device))
            return table[0].flatten(0, 1)
        if self.pos_embed_y is None or self.pos_embed_x is None:
            return None
        rows, columns = (along(table, length)[:count] for table, length, count in zip(
            (self.pos_embed_y, self.pos_embed_x), wanted, grid))
        return (rows.unsqueeze(1) + columns).flatten(0, 1)

    def packed_positions(self, places: Places) -> Tensor | None:
        """Those of packed patches (B, N, embed_dim), zero where there is none."""
        if self.pos_embed is None and self.pos_embed_y is None:
            return None
        if self.pos_embed is not None and not self.use_grid_sample:
            grids, numbers = places.grids
            found = torch.cat([table for grid in grids if (table := self.positions(grid)) is not None])[numbers]
        else:
            found = self._sampled(places)
        return found * places.valid.unsqueeze(-1)

    def _sampled(self, places: Places) -> Tensor:
        """Positions (B, N, embed_dim), each interpolated for its place in its image's grid."""
        sizes = places.sizes.amax(1, keepdim=True).expand(-1, 2) if self.ar_preserving else places.sizes
        corners = self.interpolation['align_corners'] and self.pos_embed is not None
        coord, sizes = places.coord.float(), sizes.unsqueeze(1)
        scaled = 2 * coord / (sizes - 1).clamp_min(1) - 1 if corners else (2 * coord + 1) / sizes - 1
        y, x = scaled.unbind(-1)
        if self.pos_embed is not None:
            return self._looked_up(self.pos_embed, x, y, self.interpolation['mode'], corners)
        columns, rows = (self._looked_up(table.unsqueeze(1), at, torch.zeros_like(at), 'bilinear', False)
                         for table, at in ((self.pos_embed_x, x), (self.pos_embed_y, y)) if table is not None)
        return rows + columns

    @staticmethod
    def _looked_up(table: Tensor, x: Tensor, y: Tensor, mode: str, align_corners: bool) -> Tensor:
        """A table (1, rows, columns, C) at places (B, N) from -1 to 1: (B, N, C)."""
        found = F.grid_sample(table.float().permute(0, 3, 1, 2), torch.stack([x, y], -1).unsqueeze(0), mode,
                              padding_mode='border', align_corners=align_corners)
        return found[0].permute(1, 2, 0).to(table.dtype)

    # --- sizes

    def prewarm_patch_interpolator(self, patch_sizes: Iterable[ImageSize]) -> None:
        """Computes what weights for patches of these sizes need, once for all passes.

        Raises:
            ValueError: the network was built without `enable_patch_interpolator`.
        """
        if not self.enable_patch_interpolator:
            raise ValueError('This network takes patches of one size: build it with enable_patch_interpolator=True.')
        for size in patch_sizes:
            patch = pair_of(size, 'patch_size')
            if patch != self.patch_size:
                self.inverses[patch] = self._inverse(patch)

    def _inverse(self, patch: Pair) -> Tensor:
        return resizing_inverse(self.patch_size, patch, device=self.proj.weight.device)

    @property
    def kernel(self) -> Tensor:
        """The weights of the layer as a kernel (embed_dim, in_chans, rows, columns)."""
        return self.proj.weight if self.proj.weight.ndim == 4 else self._as_kernel(
            self.proj.weight, self.in_chans, self.patch_size)

    def _as_kernel(self, matrix: Tensor, channels: int, patch: Pair) -> Tensor:
        if self.channels_last:
            return matrix.unflatten(1, (*patch, channels)).permute(0, 3, 1, 2)
        return matrix.unflatten(1, (channels, *patch))

    def _as_matrix(self, kernel: Tensor) -> Tensor:
        return (kernel.permute(0, 2, 3, 1) if self.channels_last else kernel).flatten(1)

    def feat_ratio(self, as_scalar: bool = True) -> int | Pair:
        """Pixels per patch: of the longer side of a patch, or (height, width)."""
        return max(self.patch_size) if as_scalar else self.patch_size

    def dynamic_feat_size(self, img_size: Pair) -> Pair:
        """Rows and columns of patches of an image (height, width)."""
        return patch_grid(img_size, self.patch_size, self.dynamic_img_pad)

    def fit(self, sizes: Sizes) -> None:
        """Patches of another size, with the weights resampled, or images padded to whole patches. Images are of any size
        as it is."""
        if sizes.patch_size and sizes.patch_size != self.patch_size:
            if self.norm_input is not None:
                raise ValueError('The pixels of each patch are normalised (input_norm_layer): patches keep their size.')
            weight, kernel = self.proj.weight, self.kernel
            with torch.no_grad():
                kernel = kernel.new_empty(*kernel.shape[:2], *sizes.patch_size) if kernel.is_meta else \
                    resample_patch_embed(kernel, sizes.patch_size)
            self.patch_size, self.inverses = sizes.patch_size, {}
            if isinstance(self.proj, nn.Conv2d):
                self.proj.kernel_size = self.proj.stride = sizes.patch_size
            else:
                kernel = self._as_matrix(kernel)
                self.proj.in_features = kernel.shape[1]
            self.proj.weight = nn.Parameter(kernel, weight.requires_grad)
        if sizes.dynamic:
            self.dynamic_img_pad = True

    @torch.no_grad()
    def adapt_state(self, state: dict[str, Tensor], prefix: str, source: Sizes) -> None:
        """Fits the weights at `prefix` to the layer: those of patches of another size, as a matrix or as a kernel, and
        positions of another grid, prefix tokens' among them, which are added to the tokens that they are of."""
        patch = self._adapt_weights(state, f'{prefix}proj.weight')
        tokens = [f'{prefix}{name}' for name in TOKENS if f'{prefix}{name}' in state]
        table, key = state.get(f'{prefix}pos_embed'), f'{prefix}pos_embed'
        if table is not None and table.ndim == 3:
            counts = [state[name].shape[1] for name in tokens]
            count, (rows, columns) = self._grid_of(table.shape[1], sum(counts), patch, source)
            if count:
                for name, own in zip(tokens, table[:, :count].split(counts, 1)):
                    state[name] = state[name] + own
            state[key] = table = table[:, count:].unflatten(1, (rows, columns))
        if table is not None and self.pos_embed is not None and table.shape != self.pos_embed.shape:
            image = F.interpolate(table.float().permute(0, 3, 1, 2), self.pos_embed.shape[1:3], mode='bicubic', antialias=True)
            state[key] = image.permute(0, 2, 3, 1).to(table.dtype)
        for name in ('pos_embed_y', 'pos_embed_x'):
            own, line = self._parameters.get(name), state.get(f'{prefix}{name}')
            if own is not None and line is not None and line.shape != own.shape:
                state[f'{prefix}{name}'] = along(line, own.shape[1]).unsqueeze(0)
        for name in TOKENS:
            if self._parameters.get(name) is None:
                state.pop(f'{prefix}{name}', None)

    def _adapt_weights(self, state: dict[str, Tensor], key: str) -> Pair:
        """Fits the weights at `key`; returns the size of the patches that they were for."""
        weight = state.get(key)
        if weight is None:
            return self.patch_size
        if weight.ndim == 2:
            found = self._shape_of(weight.shape[1])
            if found is None:
                return self.patch_size
            weight = self._as_kernel(weight, *found)
        patch = weight.shape[2], weight.shape[3]
        weight = resample_patch_embed(weight, self.patch_size)
        state[key] = weight if self.proj.weight.ndim == 4 else self._as_matrix(weight)
        return patch

    def _shape_of(self, numbers: int) -> tuple[int, Pair] | None:
        """Channels and size of patches of so many numbers: those of the layer, or squares, or of images with three
        channels."""
        for channels in (self.in_chans, 3):
            side = math.isqrt(numbers // channels)
            for patch in (self.patch_size, (side, side)):
                if channels * math.prod(patch) == numbers:
                    return channels, patch
        return None

    def _grid_of(self, count: int, tokens: int, patch: Pair, source: Sizes) -> tuple[int, Pair]:
        """Of so many positions in a row, how many are of prefix tokens, and the grid of the others: of the images that the
        weights are said to be for, of those that the layer expects, of its own table, or a square."""
        sizes = [size for size in (source.img_size, self.default_img_size) if size]
        grids = [(height // patch[0], width // patch[1]) for height, width in sizes]
        for rows, columns in (*grids, *([] if self.pos_embed is None else [self.pos_embed.shape[1:3]])):
            for prefix in (tokens, 0):
                if rows * columns + prefix == count:
                    return prefix, (rows, columns)
        for prefix in (tokens, 0):
            side = math.isqrt(count - prefix)
            if side ** 2 + prefix == count:
                return prefix, (side, side)
        raise ValueError(f'pos_embed: {count} positions are of no square image, and which size it had cannot be told. Say '
                         'it with pretrained_cfg_overlay=dict(input_size=(channels, height, width)).')


def same(first: Iterable[int], second: Iterable[int]) -> bool:
    """Whether two sizes are the same; a symbolic one is not compared."""
    return all(isinstance(b, int) and a == b for a, b in zip(first, second))


def max_of(first: int, second: int) -> int:
    """The larger of two sizes, symbolic ones among them."""
    return max(first, second) if isinstance(first, int) and isinstance(second, int) else torch.sym_max(first, second)


def along(table: Tensor, count: int) -> Tensor:
    """Positions along one axis (1, places, C), interpolated linearly for another number of places: (count, C)."""
    if same(table.shape[1:2], (count,)):
        return table[0]
    places = table.shape[1]
    at = ((torch.arange(count, device=table.device, dtype=torch.float32) + 0.5) * places / count - 0.5).clamp(0, places - 1)
    low = at.long()
    share = (at - low).unsqueeze(-1).to(table.dtype)
    return torch.lerp(table[0][low], table[0][(low + 1).clamp_max(places - 1)], share)
