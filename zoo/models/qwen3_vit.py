"""The image encoder of Qwen3-VL, arXiv:2511.21631 (section 2), and of Qwen 3.5:

    image -> patch_embed (16x16 patches) -> + pos_embed, interpolated -> blocks.0 -> … -> merger: tokens, of 2x2 patches
                                                                          ^ rope: places of the patches

Blocks are those of a vision transformer with rotary embedding (zoo/models/eva.py). A classifier pools the map, or the
tokens.
"""
from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.act import ActLayer, get_act_layer
from ..layers.init import draw_normal
from ..layers.norm import LayerNorm, MakeNorm
from ..layers.sizes import ImageSize
from ..layers.stages import drop_path_rates
from ..spec import Pair, Sizes, whole
from .encodernet import EncoderClassifier, EncoderNet, merge_patches, parts_of
from .eva import EvaBlock


class Qwen3VitEncoder(EncoderNet):
    """Qwen3-VL's image encoder, arXiv:2511.21631: images (B, in_chans, H, W) -> tokens (B, N, out_features).

    Images that patches do not divide are padded with zeros at the bottom and right, as are maps that squares of patches
    do not divide.

    Args:
        img_size: in pixels, a side or (height, width), of the images that preprocessing makes.
        patch_size: in pixels, a side or (height, width).
        out_features: width of the tokens, that of the language model; 0 for that of all the patches of a token.
        global_pool: 'merge' for tokens; 'avg', 'max', 'avgmax' or 'catavgmax' over the patches; '' for the map.
        merge_size: how many patches a side make a token.
        pos_embed_grid_size: side of the grid of learned positions, which are interpolated for each image's.
        rope_temperature: the ratio of the frequencies of the rotary embedding.
        proj_drop_rate, attn_drop_rate: dropout in the blocks. drop_path_rate: stochastic depth at the last block,
            growing linearly from 0 at the first.
        num_classes: 0, of an encoder.

    Raises:
        ValueError: numbers that do not fit each other, another `global_pool`, or classes.
    """

    undecayed = ('pos_embed',)

    def __init__(self, img_size: ImageSize = 768, patch_size: ImageSize = 16, in_chans: int = 3, out_features: int = 0,
                 global_pool: str = 'merge', embed_dim: int = 1152, depth: int = 27, num_heads: int = 16,
                 mlp_ratio: float = 4304 / 1152, merge_size: int = 2, pos_embed_grid_size: int = 48,
                 rope_temperature: float = 10000.0, norm_eps: float = 1e-6, act_layer: ActLayer | None = None,
                 proj_drop_rate: float = 0.0, attn_drop_rate: float = 0.0, drop_path_rate: float = 0.0,
                 num_classes: int = 0) -> None:
        super().__init__()
        self.build_stem(img_size, patch_size, in_chans, embed_dim, num_heads, rope_temperature)
        self.side = whole('merge_size', merge_size, 1)
        count = whole('pos_embed_grid_size', pos_embed_grid_size, 1) ** 2
        self.pos_embed = nn.Parameter(torch.empty(1, count, embed_dim))
        norm = partial(LayerNorm, eps=norm_eps)
        self._merger = partial(Qwen3VitPatchMerger, embed_dim, merge_size, whole('out_features', out_features, 0), norm)
        self.build(embed_dim, [
            EvaBlock(embed_dim, num_heads, mlp_ratio=mlp_ratio, num_prefix_tokens=0, attn_type='rope', rotate_half=True,
                     proj_drop=proj_drop_rate, attn_drop=attn_drop_rate, drop_path=rate,
                     act_layer=act_layer or 'gelu_tanh', norm_layer=norm)
            for rate in drop_path_rates(drop_path_rate, depth)], num_classes, global_pool)

    def reset_parameters(self) -> None:
        """Draws the positions."""
        draw_normal(self.pos_embed, 0.02)

    def make_merger(self) -> nn.Module:
        """What makes tokens of a map."""
        return self._merger()

    def placed(self, tokens: Tensor, grid: Pair) -> Tensor:
        """The tokens of a grid of patches, with positions."""
        return tokens + resample(self.pos_embed, grid)

    @torch.no_grad()
    def adapt_state(self, state: Mapping[str, Tensor], source: Sizes = Sizes()) -> dict[str, Tensor]:
        """See `EncoderNet.adapt_state`. Positions of another grid are interpolated as those of an image are."""
        state = super().adapt_state(state, source)
        if 'pos_embed' in state:
            side = grid_side(self.pos_embed)
            state['pos_embed'] = resample(state['pos_embed'], (side, side))
        return state


class Qwen3VitClassifier(EncoderClassifier):
    """A classifier on Qwen3-VL's image encoder: (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        global_pool: 'avg', 'max' or 'avgmax' over the patches, or over the tokens; or ''.
        encoder_pool: 'merge' to pool the tokens of the language model; '' to pool the map.
        final_norm: normalise what was pooled.
        drop_rate: dropout before the classifier.
        all others as of `Qwen3VitEncoder`.

    Raises:
        ValueError: numbers that do not fit each other, an option outside what is allowed.
    """

    parts = parts_of(Qwen3VitEncoder.parts)

    def __init__(self, img_size: ImageSize = 768, patch_size: ImageSize = 16, in_chans: int = 3,
                 num_classes: int = 1000, global_pool: str = 'avg', encoder_pool: str = '', out_features: int = 0,
                 embed_dim: int = 1152, depth: int = 27, num_heads: int = 16, mlp_ratio: float = 4304 / 1152,
                 merge_size: int = 2, pos_embed_grid_size: int = 48, rope_temperature: float = 10000.0,
                 norm_eps: float = 1e-6, act_layer: ActLayer | None = None, final_norm: bool = True,
                 drop_rate: float = 0.0, proj_drop_rate: float = 0.0, attn_drop_rate: float = 0.0,
                 drop_path_rate: float = 0.0) -> None:
        super().__init__()
        encoder = Qwen3VitEncoder(img_size, patch_size, in_chans, out_features, encoder_pool, embed_dim, depth,
                                  num_heads, mlp_ratio, merge_size, pos_embed_grid_size, rope_temperature, norm_eps,
                                  act_layer, proj_drop_rate, attn_drop_rate, drop_path_rate)
        norm = partial(LayerNorm, eps=norm_eps, affine=False)
        self.build(encoder, num_classes, global_pool, norm if final_norm else None, drop_rate)


class Qwen3VitPatchMerger(nn.Module):
    """Squares of patches made tokens of a language model (Qwen2-VL, arXiv:2409.12191, section 2.1): a map (B, H, W,
    dim) -> (B, squares, out_features), row by row. Zeros fill up the last squares.

    Args:
        merge_size: patches a side.
        out_features: 0 for as many as the patches of a square have together, without a last layer.
        norm_layer: of each patch.
    """

    def __init__(self, dim: int, merge_size: int = 2, out_features: int = 0, norm_layer: MakeNorm = LayerNorm,
                 act_layer: ActLayer = nn.GELU) -> None:
        super().__init__()
        hidden = dim * merge_size ** 2
        self.merge_size, self.out_features = merge_size, out_features or hidden
        self.norm = norm_layer(dim)
        self.fc1 = nn.Linear(hidden, hidden)
        self.act = get_act_layer(act_layer)()
        self.fc2 = nn.Linear(hidden, out_features) if out_features else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = merge_patches(self.norm(x), self.merge_size).flatten(2)
        return self.fc2(self.act(self.fc1(x)))


def resample(positions: Tensor, grid: Pair) -> Tensor:
    """Positions (1, side ** 2, C) of a square grid for another one: interpolated linearly, with the corners in the
    corners (arXiv:2511.21631)."""
    side = grid_side(positions)
    if all(isinstance(length, int) for length in grid) and tuple(grid) == (side, side):    # symbols are not
        return positions
    image = positions.unflatten(1, (side, side)).permute(0, 3, 1, 2)
    image = F.interpolate(image, grid, mode='bilinear', align_corners=True)
    return image.permute(0, 2, 3, 1).flatten(1, 2)


def grid_side(positions: Tensor) -> int:
    """How many rows the square grid of positions (1, side ** 2, C) has.

    Raises:
        ValueError: they are of no square.
    """
    side = round(positions.shape[1] ** 0.5)
    if side ** 2 != positions.shape[1]:
        raise ValueError(f'pos_embed: {positions.shape[1]} positions are of no square grid.')
    return side
