"""Attention in windows that shift from one block to the next: what the blocks of every Swin Transformer share."""
from __future__ import annotations

import math
from typing import Any, Protocol

from torch import Tensor, nn
from torch.nn import functional as F

from ..spec import Pair, Sizes
from .attention_tokens import attend
from .sizes import ImageSize, SizedLayer, map_size, pair_of
from .windows import missing, pad_to_windows, shift_mask, window_partition, window_reverse


class WindowedAttention(Protocol):
    """Attention in windows: (B windows, N, dim), and a mask (windows, N, N) that is added to the scores ->
    (B windows, N, dim)."""

    def __call__(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """The attention."""

    def set_window_size(self, window_size: ImageSize) -> None:
        """Other windows, with what depends on them resampled."""

    def adapt_table(self, state: dict[str, Tensor], prefix: str, old_window: Pair | None) -> None:
        """The same in a state dict, at `prefix`, that may be of other windows."""


class ShiftedWindows(SizedLayer):
    """Base of blocks whose attention, `attn`, looks into windows, in every second block shifted by half (Swin,
    arXiv:2103.14030, section 3.2).

    Attributes:
        input_resolution: rows and columns of the map that the window is chosen for.
        target_window_size: of the attention; the map itself where it is no larger, unless `always_partition`.
        shifted: whether windows are shifted where the map is larger.
        patch, merged: input pixels per patch, and patches per pixel of the map, a side; set by the network.
    """

    follows = ('img_size', 'patch_size', 'window_size')
    attn: nn.Module
    norm1: nn.Module
    norm2: nn.Module

    def build_windows(self, input_resolution: ImageSize, window_size: ImageSize, shift_size: ImageSize,
                      always_partition: bool) -> None:
        """Sets which windows there are; the attention is made for `window_size` afterwards."""
        self.target_window_size, self.always_partition = pair_of(window_size, 'window_size'), always_partition
        self.shifted = bool(shift_size) if isinstance(shift_size, int) else any(shift_size)
        self.patch = self.merged = 1
        self.input_resolution = pair_of(input_resolution, 'input_resolution')

    @property
    def window_size(self) -> Pair:
        """Rows and columns of the windows."""
        return self._window_of(self.input_resolution)

    def _window_of(self, resolution: Pair) -> Pair:
        if self.always_partition:
            return self.target_window_size
        rows, columns = (min(side, window) for side, window in zip(resolution, self.target_window_size))
        return rows, columns

    @property
    def shift_size(self) -> Pair:
        """Rows and columns that windows are shifted by."""
        sides = zip(self.input_resolution, self.target_window_size)
        rows, columns = (window // 2 if self.shifted and (self.always_partition or side > window) else 0
                         for side, window in sides)
        return rows, columns

    def begin_branches(self, weight: float) -> None:
        """Of a block whose branches end with normalisations: sets what these scale by, zero for the identity."""
        for norm in (self.norm1, self.norm2):
            for name, parameter in norm.named_parameters():
                nn.init.constant_(parameter, 0.0 if name == 'bias' else weight)

    @property
    def attention(self) -> WindowedAttention:
        """`attn` as what it is."""
        layer: Any = self.attn
        attention: WindowedAttention = layer
        return attention

    def fit(self, sizes: Sizes) -> None:
        """Other images or patches: windows as in a network built for them."""
        self.patch = sizes.patch_size[0] if sizes.patch_size else self.patch
        if sizes.img_size:
            self.input_resolution = map_size(sizes.img_size, self.patch * self.merged)
        self.attention.set_window_size(self.window_size)

    def adapt_state(self, state: dict[str, Tensor], prefix: str, source: Sizes) -> None:
        """Fits what the attention has at `prefix` to the windows that the block has."""
        old = None
        if source.img_size and not self.always_partition:
            old = self._window_of(map_size(source.img_size, self.patch * self.merged))
        self.attention.adapt_table(state, f'{prefix}attn.', old)

    def attend(self, x: Tensor) -> Tensor:
        """The attention in the windows of a map (B, H, W, dim), which is padded to whole ones."""
        window, shift = self.window_size, self.shift_size
        down, right = missing(x.shape[1:3], window)
        padded = x.shape[1] + down, x.shape[2] + right
        mask = shift_mask(padded, window, shift, x) if any(shift) else None
        x = self.attention(self._windows(x), mask)
        x = F.pad(window_reverse(x.unflatten(1, window), window, *padded), (0, 0, 0, -right, 0, -down))
        return x.roll(shift, (1, 2)) if any(shift) else x

    def _windows(self, x: Tensor) -> Tensor:
        """The windows (B windows, N, dim) of a map; the shifted map is let go of before the attention runs."""
        if any(self.shift_size):
            x = x.roll((-self.shift_size[0], -self.shift_size[1]), (1, 2))
        return window_partition(pad_to_windows(x, self.window_size), self.window_size).flatten(1, 2)


def merge_pixels(x: Tensor) -> Tensor:
    """The channels of each 2x2 pixels, column by column, in one: (B, H, W, C) -> (B, ceil(H / 2), ceil(W / 2), 4 C)."""
    x = pad_to_windows(x, (2, 2))
    batch, height, width, channels = x.shape
    x = x.view(batch, height // 2, 2, width // 2, 2, channels).permute(0, 1, 3, 4, 2, 5)
    return x.contiguous().view(batch, height // 2, width // 2, 4 * channels)


def in_windows(bias: Tensor, mask: Tensor | None, windows: int) -> Tensor:
    """What to add to the scores in so many windows of all images: biases (heads, N, N), and the mask (windows of an
    image, N, N) where they are shifted. (windows, heads, N, N)."""
    if mask is None:
        return bias.expand(windows, -1, -1, -1)
    return (bias + mask[:, None]).expand(windows // mask.shape[0], -1, -1, -1, -1).flatten(0, 1)


def attend_by_cosine(q: Tensor, k: Tensor, v: Tensor, logit_scale: Tensor, bias: Tensor,
                     dropout: float = 0.0) -> Tensor:
    """Scaled cosine attention (Swin V2, arXiv:2111.09883, equation 3): queries, keys and values (B, heads, N, D) -> (B,
    heads, N, D).

    Args:
        logit_scale: the logarithm of one over each head's temperature (heads), which is held above 0.01.
        bias: added to the scores (B, heads, N, N). dropout: of the weights.
    """
    scale = logit_scale.clamp(max=math.log(100.0)).exp() * math.sqrt(q.shape[-1])       # which `attend` divides by
    q = F.normalize(q, dim=-1) * scale.view(-1, 1, 1)
    return attend(q.to(v.dtype), F.normalize(k, dim=-1).to(v.dtype), v, bias.to(v.dtype), dropout=dropout)
