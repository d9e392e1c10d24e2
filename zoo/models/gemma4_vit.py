"""The image encoder of Gemma 4:

    image -> patch_embed (16x16 patches, + positions) -> blocks.0 -> … -> pooler: tokens, of 3x3 patches
                                                           ^ rope: places of the patches

Blocks normalise before and after each branch, and queries, keys and values too; there is no normalisation at the end.
The larger network takes a mean from what the pooler gives, and scales it. A classifier pools the patches or the tokens.
"""
from __future__ import annotations

import logging
from dataclasses import replace
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..layers.act import ActLayer, get_act_layer
from ..layers.attention_tokens import attend, merge_heads
from ..layers.drop import DropPath
from ..layers.norm import RmsNorm
from ..layers.patch_embed import PatchEmbed
from ..layers.pool import CeilAvgPool2d
from ..layers.positions import resample_patch_embed
from ..layers.rotary import RotaryEmbeddingCat, apply_rot_embed, sines
from ..layers.sizes import ImageSize, pair_of
from ..layers.stages import drop_path_rates
from ..spec import Sizes, unknown, whole
from .encodernet import EncoderClassifier, EncoderNet, parts_of

INITS = ('', 'reset', 'skip')


class Gemma4VitEncoder(EncoderNet):
    """Gemma 4's image encoder. Images (B, in_chans, H, W), from 0 to 1, of any size -> tokens (B, N, embed_dim).

    Images that patches do not divide are padded with zeros at the bottom and right; where squares of patches do not
    divide a map, its border is repeated.

    Args:
        img_size: in pixels, a side or (height, width), of the images that preprocessing makes.
        patch_size: in pixels, a side or (height, width).
        global_pool: 'soft' for tokens; 'avg', 'max', 'avgmax' or 'catavgmax' over the patches; '' for the map.
        head_dim: width of each head. num_kv_heads: heads of keys and values, by default as many as of queries.
        intermediate_size: width of the hidden features of the gated MLPs.
        rope_theta: the ratio of the frequencies of the rotary embedding.
        position_embedding_size: how many rows, and columns, of patches have positions.
        pooling_kernel_size: how many patches a side make a token.
        standardize: take from the tokens a mean, and multiply them by a factor, a channel each, which weights have.
        use_clipped_linears: clip what goes into and comes out of linear layers, within bounds that weights have.
        proj_drop_rate, attn_drop_rate: dropout in attention. drop_path_rate: stochastic depth at the last block,
            growing linearly from 0 at the first.
        weight_init: '' or 'reset' draws weights normal, 'skip' as each layer draws itself.
        num_classes: 0, of an encoder.

    Raises:
        ValueError: numbers that do not fit each other, an option outside what is allowed, or classes.
    """

    parts = replace(EncoderNet.parts, stem=('patch_embed',), head=('pooling', 'pooler'))
    merging = 'soft'
    std_bias: Tensor | None
    std_scale: Tensor | None

    def __init__(self, img_size: ImageSize = 768, patch_size: ImageSize = 16, in_chans: int = 3,
                 global_pool: str = 'soft', embed_dim: int = 768, depth: int = 16, num_heads: int = 12,
                 head_dim: int = 64, num_kv_heads: int | None = None, intermediate_size: int = 3072,
                 norm_eps: float = 1e-6, rope_theta: float = 100.0, position_embedding_size: int = 10240,
                 pooling_kernel_size: int = 3, standardize: bool = False, use_clipped_linears: bool = False,
                 proj_drop_rate: float = 0.0, attn_drop_rate: float = 0.0, drop_path_rate: float = 0.0,
                 act_layer: ActLayer | None = None, weight_init: str = '', num_classes: int = 0) -> None:
        super().__init__()
        if weight_init not in INITS:
            raise ValueError(unknown('weight_init', weight_init, INITS))
        self.weight_init = weight_init
        self.in_chans, self.img_size = in_chans, pair_of(img_size)
        self.side = whole('pooling_kernel_size', pooling_kernel_size, 1)
        self.patch_embed = Gemma4PatchEmbed(patch_size, in_chans, embed_dim, position_embedding_size)
        self.rope = Gemma4RotaryEmbedding2D(head_dim, rope_theta)
        for name in ('std_bias', 'std_scale'):
            self.register_buffer(name, torch.empty(embed_dim) if standardize else None)
        self.build(embed_dim, [
            Gemma4Block(embed_dim, num_heads, head_dim, intermediate_size, num_kv_heads, norm_eps, attn_drop_rate,
                        proj_drop_rate, rate, act_layer, use_clipped_linears)
            for rate in drop_path_rates(drop_path_rate, depth)], num_classes, global_pool)

    def reset_parameters(self) -> None:
        """No mean, and no factor."""
        if self.std_bias is not None and self.std_scale is not None:
            nn.init.zeros_(self.std_bias)
            nn.init.ones_(self.std_scale)

    def init_weights(self) -> None:
        """Draws every parameter anew and resets every buffer, as `weight_init` says."""
        super().init_weights()
        drawn_by_themselves(self, self.weight_init)

    def make_merger(self) -> nn.Module:
        """What makes tokens of a map."""
        return Gemma4VisionPooler(self.embed_dim, self.side)

    def merged(self, x: Tensor) -> Tensor:
        """See `EncoderNet.merged`; tokens have their mean taken, and are scaled, where the network does that."""
        x = super().merged(x)
        if not self.merges or self.std_bias is None or self.std_scale is None:
            return x
        return (x - self.std_bias) * self.std_scale

    def set_clamp_enabled(self, enabled: bool = True) -> None:
        """Whether linear layers with bounds clip."""
        clip(self, enabled)


class Gemma4VitClassifier(EncoderClassifier):
    """A classifier on Gemma 4's image encoder: (B, in_chans, H, W), from 0 to 1, -> logits (B, num_classes).

    Args:
        global_pool: 'avg', 'max' or 'avgmax' over the patches, or over the tokens; or ''.
        encoder_pool: 'soft' to pool the tokens of the language model; '' to pool the patches.
        final_norm: normalise what was pooled.
        drop_rate: dropout before the classifier.
        all others as of `Gemma4VitEncoder`.

    Raises:
        ValueError: numbers that do not fit each other, an option outside what is allowed.
    """

    parts = parts_of(Gemma4VitEncoder.parts)
    unmerged_fmt = 'NLC'
    module_prefix = ''                                          # as published: feature_info has the encoder's own names

    def __init__(self, img_size: ImageSize = 768, patch_size: ImageSize = 16, in_chans: int = 3,
                 num_classes: int = 1000, global_pool: str = 'avg', encoder_pool: str = '', embed_dim: int = 768,
                 depth: int = 16, num_heads: int = 12, head_dim: int = 64, num_kv_heads: int | None = None,
                 intermediate_size: int = 3072, norm_eps: float = 1e-6, rope_theta: float = 100.0,
                 position_embedding_size: int = 10240, pooling_kernel_size: int = 3, standardize: bool = False,
                 use_clipped_linears: bool = False, final_norm: bool = True, drop_rate: float = 0.0,
                 proj_drop_rate: float = 0.0, attn_drop_rate: float = 0.0, drop_path_rate: float = 0.0,
                 act_layer: ActLayer | None = None, weight_init: str = '') -> None:
        super().__init__()
        self.weight_init = weight_init
        encoder = Gemma4VitEncoder(img_size, patch_size, in_chans, encoder_pool, embed_dim, depth, num_heads, head_dim,
                                   num_kv_heads, intermediate_size, norm_eps, rope_theta, position_embedding_size,
                                   pooling_kernel_size, standardize, use_clipped_linears, proj_drop_rate,
                                   attn_drop_rate, drop_path_rate, act_layer, weight_init)
        norm = partial(RmsNorm, eps=norm_eps, affine=False)
        self.build(encoder, num_classes, global_pool, norm if final_norm else None, drop_rate)

    def init_weights(self) -> None:
        """Draws every parameter anew and resets every buffer, as `weight_init` says."""
        super().init_weights()
        drawn_by_themselves(self, self.weight_init)

    def set_clamp_enabled(self, enabled: bool = True) -> None:
        """Whether linear layers with bounds clip."""
        clip(self, enabled)


def drawn_by_themselves(network: nn.Module, weight_init: str) -> None:
    """Linear layers as they draw themselves, with 'skip'."""
    for layer in network.modules():
        if weight_init == 'skip' and isinstance(layer, nn.Linear):
            layer.reset_parameters()


def clip(network: nn.Module, enabled: bool) -> None:
    """Switches the clipping of a network's linear layers."""
    for layer in network.modules():
        if isinstance(layer, Gemma4ClippableLinear):
            layer.clips = enabled


# --- embedding


class Gemma4PatchEmbed(PatchEmbed):
    """A linear map of each patch, whose pixels are from 0 to 1, and learned positions of its row and its column:
    (B, in_chans, H, W) -> (B, rows, columns, embed_dim).

    Args:
        position_embedding_size: how many rows, and columns, have positions.
    """

    undecayed = ('position_embedding_table',)

    def __init__(self, patch_size: ImageSize = 16, in_chans: int = 3, embed_dim: int = 768,
                 position_embedding_size: int = 10240) -> None:
        super().__init__(None, patch_size, in_chans, embed_dim, bias=False, output_fmt='NHWC', strict_img_size=False,
                         dynamic_img_pad=True)
        kernel = self.proj.weight
        del self.proj
        self.in_chans = in_chans
        self.input_proj = nn.Linear(kernel[0].numel(), embed_dim, bias=False)
        self.position_embedding_table = nn.Parameter(torch.empty(2, position_embedding_size, embed_dim))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Draws the positions."""
        nn.init.normal_(self.position_embedding_table, std=0.02)

    @property
    def kernel(self) -> Tensor:
        """The linear map as a kernel (embed_dim, in_chans, rows, columns)."""
        return self.input_proj.weight.unflatten(1, (self.in_chans, *self.patch_size))

    def fit(self, sizes: Sizes) -> None:
        """Other images, or patches with the linear map resampled."""
        if sizes.patch_size and sizes.patch_size != self.patch_size:
            with torch.no_grad():
                old = self.kernel
                new = old.new_empty(*old.shape[:2], *sizes.patch_size) if old.is_meta else \
                    resample_patch_embed(old, sizes.patch_size)
            self.input_proj.weight = nn.Parameter(new.flatten(1), self.input_proj.weight.requires_grad)
            self.input_proj.in_features, self.patch_size = new[0].numel(), sizes.patch_size
        super().fit(replace(sizes, patch_size=None))

    @torch.no_grad()
    def adapt_state(self, state: dict[str, Tensor], prefix: str, source: Sizes) -> None:
        """Fits the linear map at `prefix`, of square patches unless it is said otherwise, to the patches that the layer
        has; one of RGB to any number of channels, as other first layers are."""
        key, own = f'{prefix}input_proj.weight', self.patch_size[0] * self.patch_size[1]
        if key not in state or state[key].shape[1] == self.input_proj.in_features:
            return
        count = state[key].shape[1]
        if count == 3 * own:
            rgb, number = state[key].unflatten(1, (3, own)), self.in_chans
            repeated = rgb[:, torch.arange(number) % 3] * (3 / number)
            state[key] = rgb.sum(1) if number == 1 else repeated.flatten(1)
            logging.getLogger('zoo').info('%s: from 3 channels to %d', key, number)
        elif count % self.in_chans == 0:
            patch = source.patch_size or (round((count // self.in_chans) ** 0.5),) * 2
            if patch[0] * patch[1] * self.in_chans == count:
                kernel = state[key].unflatten(1, (self.in_chans, *patch))
                state[key] = resample_patch_embed(kernel, self.patch_size).flatten(1)

    def forward(self, x: Tensor) -> Tensor:
        x = F.conv2d(2 * self._fitting(x) - 1, self.kernel, stride=self.patch_size).permute(0, 2, 3, 1)
        rows, columns, most = x.shape[1], x.shape[2], self.position_embedding_table.shape[1]
        if isinstance(rows, int) and isinstance(columns, int) and max(rows, columns) > most:
            raise ValueError(f'An image of {rows}x{columns} patches: there are positions of {most} rows and columns.')
        of_columns, of_rows = self.position_embedding_table
        return x + of_columns[:columns] + of_rows[:rows].unsqueeze(1)


class Gemma4RotaryEmbedding2D(RotaryEmbeddingCat):
    """Rotary embedding of columns and of rows, each of one half of a head's features, inside which features of one half
    pair up with those of the other.

    Args:
        head_dim: features of a head, D.
        rope_theta: the ratio of the frequencies.
    """

    def __init__(self, head_dim: int, rope_theta: float = 100.0) -> None:
        super().__init__(head_dim, temperature=rope_theta, in_pixels=False, grid_indexing='xy', rotate_half=True)

    def sines_of(self, shape: Any, dtype: torch.dtype | None, device: torch.device | None) -> tuple[Tensor, Tensor]:
        """Sines and cosines (rows * columns, 2, D / 2) of a grid of patches; see `Rotary.sines_of`."""
        dtype = dtype or torch.float32
        angles = self.angles(shape, torch.promote_types(dtype, torch.float32), device)
        sin, cos = sines(angles.unflatten(1, (2, -1)), half=True)
        return sin.to(dtype), cos.to(dtype)


# --- blocks


class Gemma4Block(nn.Module):
    """Attention and a gated MLP, each a residual branch with a normalisation before and after it: tokens (B, N, dim) ->
    (B, N, dim).

    Args:
        drop_path: stochastic depth of both branches.
        all others as of `Gemma4VitEncoder`.
    """

    def __init__(self, dim: int, num_heads: int, head_dim: int, intermediate_size: int, num_kv_heads: int | None = None,
                 norm_eps: float = 1e-6, attn_drop: float = 0.0, proj_drop: float = 0.0, drop_path: float = 0.0,
                 act_layer: ActLayer | None = None, use_clipped_linears: bool = False) -> None:
        super().__init__()
        norm = partial(RmsNorm, dim, eps=norm_eps)
        self.norm1 = norm()
        self.attn = Gemma4Attention(dim, num_heads, head_dim, num_kv_heads, attn_drop, proj_drop, norm_eps,
                                    use_clipped_linears)
        self.norm2 = norm()
        self.norm3 = norm()
        self.mlp = Gemma4GatedMlp(dim, intermediate_size, act_layer, use_clipped_linears=use_clipped_linears)
        self.norm4 = norm()
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, rope: Tensor | None = None) -> Tensor:
        x = x + self.drop_path(self.norm2(self.attn(self.norm1(x), rope=rope)))
        return x + self.drop_path(self.norm4(self.mlp(self.norm3(x))))


class Gemma4Attention(nn.Module):
    """Multi-head self-attention of normalised queries, keys and values, whose scores are not scaled: tokens (B, N, dim)
    -> (B, N, dim).

    Args:
        num_kv_heads: heads of keys and values, each of which several heads of queries share (arXiv:2305.13245); by
            default as many.
        use_clipped_linears: see `Gemma4ClippableLinear`.

    Attributes:
        fused_attn: compute attention in one kernel.

    Raises:
        ValueError: heads of keys that do not divide those of queries.
    """

    def __init__(self, dim: int, num_heads: int = 12, head_dim: int = 64, num_kv_heads: int | None = None,
                 attn_drop: float = 0.0, proj_drop: float = 0.0, norm_eps: float = 1e-6,
                 use_clipped_linears: bool = False) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.num_kv_heads = num_heads, head_dim, num_kv_heads or num_heads
        if num_heads % self.num_kv_heads:
            raise ValueError(f'{num_heads} heads of queries cannot evenly share {num_kv_heads} heads of keys and '
                             'values.')
        linear = partial(Gemma4ClippableLinear, use_clipped=use_clipped_linears)
        self.q_proj = linear(dim, num_heads * head_dim)
        self.k_proj = linear(dim, self.num_kv_heads * head_dim)
        self.v_proj = linear(dim, self.num_kv_heads * head_dim)
        self.o_proj = linear(num_heads * head_dim, dim)
        self.q_norm, self.k_norm = RmsNorm(head_dim, norm_eps), RmsNorm(head_dim, norm_eps)
        self.v_norm = RmsNorm(head_dim, norm_eps, affine=False)
        self.attn_drop = nn.Dropout(attn_drop)
        self.proj_drop = nn.Dropout(proj_drop)
        self.fused_attn = True

    def forward(self, x: Tensor, rope: Tensor | None = None) -> Tensor:
        """Tokens (B, N, dim) -> (B, N, dim); `rope` is what `Gemma4RotaryEmbedding2D` gives (N, 2, head_dim)."""
        q, k, v = (norm(proj(x).unflatten(-1, (-1, self.head_dim)).transpose(1, 2)) for proj, norm in (
            (self.q_proj, self.q_norm), (self.k_proj, self.k_norm), (self.v_proj, self.v_norm)))
        q, k = turned(q, rope), turned(k, rope)
        if self.num_kv_heads != self.num_heads:
            k, v = (part.repeat_interleave(self.num_heads // self.num_kv_heads, dim=1) for part in (k, v))
        mixed = attend(q, k, v, None, False, self.attn_drop.p if self.training else 0.0, self.fused_attn, 1.0)
        return self.proj_drop(self.o_proj(merge_heads(mixed)))


def turned(x: Tensor, rope: Tensor | None) -> Tensor:
    """Queries or keys (B, heads, N, D), each half turned by its own axis."""
    if rope is None:
        return x
    sin, cos = rope.chunk(2, dim=-1)
    return apply_rot_embed(x.unflatten(-1, (2, -1)), sin, cos, half=True).flatten(-2)


class Gemma4GatedMlp(nn.Module):
    """A gated MLP (arXiv:2002.05202), of layers without biases: (…, in_features) -> (…, in_features).

    Args:
        act_layer: of the gate, by default GELU by its tanh.
        use_clipped_linears: see `Gemma4ClippableLinear`.
    """

    def __init__(self, in_features: int, hidden_features: int, act_layer: ActLayer | None = None, drop: float = 0.0,
                 use_clipped_linears: bool = False) -> None:
        super().__init__()
        self.gate_proj = Gemma4ClippableLinear(in_features, hidden_features, use_clipped_linears)
        self.up_proj = Gemma4ClippableLinear(in_features, hidden_features, use_clipped_linears)
        self.down_proj = Gemma4ClippableLinear(hidden_features, in_features, use_clipped_linears)
        self.act = get_act_layer(act_layer or 'gelu_tanh')()
        self.drop = nn.Dropout(drop)

    def forward(self, x: Tensor) -> Tensor:
        return self.down_proj(self.drop(self.act(self.gate_proj(x)) * self.up_proj(x)))


class Gemma4ClippableLinear(nn.Module):
    """A linear layer without a bias: (…, in_features) -> (…, out_features).

    Args:
        use_clipped: what goes in and what comes out lies within bounds, which weights have; none at first.

    Attributes:
        clips: whether it does so now.
    """

    input_min: Tensor
    input_max: Tensor
    output_min: Tensor
    output_max: Tensor

    def __init__(self, in_features: int, out_features: int, use_clipped: bool = False) -> None:
        super().__init__()
        self.linear = nn.Linear(in_features, out_features, bias=False)
        self.bounded = self.clips = use_clipped
        if use_clipped:
            for name in ('input_min', 'input_max', 'output_min', 'output_max'):
                self.register_buffer(name, torch.empty(()))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """No bounds."""
        for name, bound in self._buffers.items():
            if bound is not None:
                nn.init.constant_(bound, -torch.inf if name.endswith('min') else torch.inf)

    def forward(self, x: Tensor) -> Tensor:
        if not self.bounded or not self.clips:
            return self.linear(x)
        x = self.linear(within(x, self.input_min, self.input_max))
        return within(x, self.output_min, self.output_max)


def within(x: Tensor, least: Tensor, most: Tensor) -> Tensor:
    """What lies beyond a bound at the bound. An exported graph compares: of one bound after the other torch.onnx makes
    one node, and forgets that the one it leaves out is needed."""
    if torch.compiler.is_exporting():
        x = torch.where(x < least, least, x)
        return torch.where(x > most, most, x)
    return x.clamp(least, most)


class Gemma4VisionPooler(nn.Module):
    """The mean of each square of patches, times the root of the width: a map (B, H, W, hidden_size) -> tokens
    (B, squares, hidden_size), row by row. What is missing of the last squares repeats the border."""

    def __init__(self, hidden_size: int, pooling_kernel_size: int = 3) -> None:
        super().__init__()
        self.out_features = hidden_size
        self.pool = CeilAvgPool2d(pooling_kernel_size)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x.permute(0, 3, 1, 2)).flatten(2).transpose(1, 2) * self.out_features ** 0.5
