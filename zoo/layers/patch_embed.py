"""Images cut into patches, a token each."""
from __future__ import annotations

from collections.abc import Callable
from typing import Any, Literal, overload

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..spec import Pair, Sizes, unknown
from .positions import resample_patch_embed
from .sizes import ImageSize, SizedLayer, check_fitted, pair_of, patch_grid
from .windows import missing

FORMATS = ('NCHW', 'NHWC', 'NLC', 'NCL')


class PatchEmbed(SizedLayer):
    """A linear map of each patch (ViT, arXiv:2010.11929, equation 1): (B, in_chans, H, W) -> tokens (B, N, embed_dim).

    Args:
        img_size: pixels that the network is fitted to; None for any.
        flatten: give tokens; else maps (B, embed_dim, h, w).
        output_fmt: 'NCHW', 'NHWC', 'NLC' or 'NCL', in place of `flatten`.
        strict_img_size: refuse images of another size than `img_size`.
        dynamic_img_pad: pad images, at the bottom and right, to whole patches.

    Attributes:
        grid_size, num_patches: rows and columns of patches of the images that it is fitted to, and their product.
    """

    follows: tuple[str, ...] = ('img_size', 'patch_size', 'dynamic')
    pad_fitted = False                # whether images of `img_size`, too, are padded; positions have none for the rest

    def __init__(self, img_size: ImageSize | None = 224, patch_size: ImageSize = 16, in_chans: int = 3,
                 embed_dim: int = 768, norm_layer: Callable[[int], nn.Module] | None = None, flatten: bool = True,
                 output_fmt: str | None = None, bias: bool = True, strict_img_size: bool = True,
                 dynamic_img_pad: bool = False) -> None:
        super().__init__()
        if output_fmt is not None and output_fmt not in FORMATS:
            raise ValueError(unknown('output_fmt', output_fmt, FORMATS))
        self.patch_size = pair_of(patch_size, 'patch_size')
        self.img_size = None if img_size is None else pair_of(img_size)
        self.output_fmt = output_fmt or ('NLC' if flatten else 'NCHW')
        self.flatten = self.output_fmt == 'NLC'
        self.strict_img_size, self.dynamic_img_pad = strict_img_size, dynamic_img_pad
        self.proj = nn.Conv2d(in_chans, embed_dim, self.patch_size, self.patch_size, bias=bias)
        self.norm = norm_layer(embed_dim) if norm_layer else nn.Identity()

    @property
    def grid_size(self) -> Pair | None:
        """Rows and columns of whole patches of the images that it is fitted to."""
        return None if self.img_size is None else self.grid_of(self.img_size, self.patch_size)

    def grid_of(self, img_size: Pair, patch_size: Pair) -> Pair:
        """Rows and columns of whole patches, in pixels (height, width), of images (height, width)."""
        return img_size[0] // patch_size[0], img_size[1] // patch_size[1]

    @property
    def num_patches(self) -> int | None:
        """Patches of the images that it is fitted to."""
        return None if self.grid_size is None else self.grid_size[0] * self.grid_size[1]

    @overload
    def feat_ratio(self, as_scalar: Literal[True] = True) -> int:
        """Pixels per patch, of the longer side of a patch."""

    @overload
    def feat_ratio(self, as_scalar: bool) -> int | Pair:
        """Pixels per patch, as `as_scalar` says."""

    def feat_ratio(self, as_scalar: bool = True) -> int | Pair:
        """Pixels per patch: of the longer side of a patch, or (height, width)."""
        return max(self.patch_pixels) if as_scalar else self.patch_pixels

    @property
    def patch_pixels(self) -> Pair:
        """(height, width) of a patch in pixels of the image."""
        return self.patch_size

    def dynamic_feat_size(self, img_size: Pair) -> Pair:
        """Rows and columns of patches of an image (height, width)."""
        return patch_grid(img_size, self.patch_size, self.dynamic_img_pad)

    def fit(self, sizes: Sizes) -> None:
        """Other images, patches with the kernel resampled, or any images, then padded to whole patches."""
        self.img_size = sizes.img_size or self.img_size
        if sizes.patch_size and sizes.patch_size != self.patch_size:
            with torch.no_grad():
                kernel = self.proj.weight
                new = resample_patch_embed(kernel, sizes.patch_size) if not kernel.is_meta else \
                    kernel.new_empty(*kernel.shape[:2], *sizes.patch_size)
            self.proj.weight = nn.Parameter(new, kernel.requires_grad)
            self.proj.kernel_size = self.proj.stride = self.patch_size = sizes.patch_size
        if sizes.dynamic is not None:
            self.strict_img_size, self.dynamic_img_pad = not sizes.dynamic, sizes.dynamic or self.dynamic_img_pad

    @torch.no_grad()
    def adapt_state(self, state: dict[str, Tensor], prefix: str, source: Sizes) -> None:
        """Resamples the kernel at `prefix` for the patches that the layer has; one that is stored as a matrix, of
        patches in a row, becomes a kernel."""
        key, wanted = f'{prefix}proj.weight', self.proj.weight.shape
        if key not in state:
            return
        if state[key].ndim == 2 and state[key].shape[1] == wanted[1:].numel():
            state[key] = state[key].unflatten(1, wanted[1:])
        if state[key].ndim == 4 and state[key].shape[2:] != wanted[2:]:
            state[key] = resample_patch_embed(state[key], wanted[2:])

    def forward(self, x: Tensor) -> Tensor:
        x = self.proj(self._fitting(x))
        if self.output_fmt != 'NCHW':
            x = x.flatten(2) if self.output_fmt == 'NCL' else x.permute(0, 2, 3, 1)
            x = x.flatten(1, 2) if self.output_fmt == 'NLC' else x
        return self.norm(x)

    def _fitting(self, x: Tensor) -> Tensor:
        """The image, padded to whole patches where that is asked for.

        Raises:
            ValueError: it is of another size than the network is fitted to, or of no whole number of patches.
        """
        self._check_size(x)
        return self._whole(x, self.img_size, self.patch_size)

    def _whole(self, x: Tensor, fitted: Pair | None, patch: Pair, what: str = 'An image') -> Tensor:
        """An image or map, padded to whole patches where that is asked for and it is not of the size that is `fitted`.

        Raises:
            ValueError: it is of no whole number of patches.
        """
        size: Any = tuple(x.shape[-2:])
        rest = fitted is not None and any(s % p for s, p in zip(fitted, patch))
        if rest and not self.pad_fitted and isinstance(size[0], int) and size == fitted:
            return x
        if self.dynamic_img_pad:
            down, right = missing(size, patch)
            return F.pad(x, (0, right, 0, down))
        if not self.strict_img_size and any(side % length for side, length in zip(size, patch)):
            raise ValueError(f'{what} of {size[0]}x{size[1]} pixels is of no whole number of patches of '
                             f'{patch[0]}x{patch[1]}: build the network with dynamic_img_pad=True.')
        return x

    def _check_size(self, x: Tensor) -> None:
        """Refuses images of another size than the network is fitted to."""
        size: Any = tuple(x.shape[-2:])
        if self.strict_img_size and self.img_size is not None:
            check_fitted(size, self.img_size)
