"""The image encoder of DeepSeek-V4's models with vision:

    image -> patch_embed (14x14 patches) -> blocks.0 -> … -> norm -> aligner: tokens, of 3x3 patches
                                               ^ rope: places of the patches

There are no learned positions. Blocks normalise by the root of the mean square (arXiv:1910.07467), and have gated MLPs
(arXiv:2002.05202). A classifier pools the map, or the tokens.
"""
from __future__ import annotations

from dataclasses import replace
from functools import partial

from torch import Tensor, nn

from ..layers.act import ActLayer, get_act_layer
from ..layers.attention_rope import AttentionRope
from ..layers.drop import DropPath
from ..layers.glu import SwiGLUPacked
from ..layers.norm import MakeNorm, RmsNorm
from ..layers.sizes import ImageSize
from ..layers.stages import drop_path_rates
from ..spec import whole
from .encodernet import EncoderClassifier, EncoderNet, merge_patches, parts_of


class DeepseekVitEncoder(EncoderNet):
    """DeepSeek-V4's image encoder. Images (B, in_chans, H, W) -> tokens (B, N, out_features).

    Maps that squares of patches do not divide are padded with zeros at the bottom and right.

    Args:
        img_size: in pixels, a side or (height, width), of the images that preprocessing makes.
        patch_size: in pixels, a side or (height, width).
        out_features: width of the tokens, that of the language model.
        global_pool: 'align' for tokens; 'avg', 'max', 'avgmax' or 'catavgmax' over the patches; '' for the map.
        downsample_ratio: how many patches a side make a token.
        rope_temperature: the ratio of the frequencies of the rotary embedding.
        proj_drop_rate, attn_drop_rate: dropout in the blocks. drop_path_rate: stochastic depth at the last block,
            growing linearly from 0 at the first.
        dynamic_img_pad: pad images, at the bottom and right, to whole patches.
        num_classes: 0, of an encoder.

    Raises:
        ValueError: numbers that do not fit each other, another `global_pool`, or classes.
    """

    parts = replace(EncoderNet.parts, norm='norm', head=('pooling', 'aligner'))
    merging = 'align'

    def __init__(self, img_size: ImageSize = 546, patch_size: ImageSize = 14, in_chans: int = 3, out_features: int = 0,
                 global_pool: str = 'align', embed_dim: int = 1024, depth: int = 32, num_heads: int = 16,
                 mlp_ratio: float = 2.75, downsample_ratio: int = 3, rope_temperature: float = 10000.0,
                 norm_eps: float = 1e-6, proj_drop_rate: float = 0.0, attn_drop_rate: float = 0.0,
                 drop_path_rate: float = 0.0, dynamic_img_pad: bool = False, num_classes: int = 0) -> None:
        super().__init__()
        self.build_stem(img_size, patch_size, in_chans, embed_dim, num_heads, rope_temperature, dynamic_img_pad)
        self.side = whole('downsample_ratio', downsample_ratio, 1)
        norm = partial(RmsNorm, eps=norm_eps)
        self.norm = norm(embed_dim)
        self._aligner = partial(DeepseekVitAligner, embed_dim, downsample_ratio, out_features)
        self.build(embed_dim, [
            DeepseekVitBlock(embed_dim, num_heads, mlp_ratio, proj_drop_rate, attn_drop_rate, rate, norm)
            for rate in drop_path_rates(drop_path_rate, depth)], num_classes, global_pool)

    def make_merger(self) -> nn.Module:
        """What makes tokens of a map."""
        return self._aligner()


class DeepseekVitClassifier(EncoderClassifier):
    """A classifier on DeepSeek-V4's image encoder: (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        global_pool: 'avg', 'max' or 'avgmax' over the patches, or over the tokens; or ''.
        encoder_pool: 'align' to pool the tokens of the language model; '' to pool the map.
        final_norm: normalise what was pooled.
        drop_rate: dropout before the classifier.
        all others as of `DeepseekVitEncoder`.

    Raises:
        ValueError: numbers that do not fit each other, an option outside what is allowed.
    """

    parts = parts_of(DeepseekVitEncoder.parts)

    def __init__(self, img_size: ImageSize = 546, patch_size: ImageSize = 14, in_chans: int = 3,
                 num_classes: int = 1000, global_pool: str = 'avg', encoder_pool: str = '', out_features: int = 0,
                 embed_dim: int = 1024, depth: int = 32, num_heads: int = 16, mlp_ratio: float = 2.75,
                 downsample_ratio: int = 3, rope_temperature: float = 10000.0, norm_eps: float = 1e-6,
                 final_norm: bool = True, drop_rate: float = 0.0, proj_drop_rate: float = 0.0,
                 attn_drop_rate: float = 0.0, drop_path_rate: float = 0.0, dynamic_img_pad: bool = False) -> None:
        super().__init__()
        encoder = DeepseekVitEncoder(img_size, patch_size, in_chans, out_features, encoder_pool, embed_dim, depth,
                                     num_heads, mlp_ratio, downsample_ratio, rope_temperature, norm_eps, proj_drop_rate,
                                     attn_drop_rate, drop_path_rate, dynamic_img_pad)
        norm = partial(RmsNorm, eps=norm_eps, affine=False)
        self.build(encoder, num_classes, global_pool, norm if final_norm else None, drop_rate)


class DeepseekVitBlock(nn.Module):
    """Attention whose queries and keys are turned, and a gated MLP, each a residual branch after a normalisation:
    tokens (B, N, dim) -> (B, N, dim).

    Args:
        mlp_ratio: width of one half of the MLP's hidden features, times `dim`.
        drop_path: stochastic depth of both branches.
    """

    def __init__(self, dim: int, num_heads: int, mlp_ratio: float = 2.75, proj_drop: float = 0.0,
                 attn_drop: float = 0.0, drop_path: float = 0.0, norm_layer: MakeNorm = RmsNorm) -> None:
        super().__init__()
        self.norm1 = norm_layer(dim)
        self.attn = AttentionRope(dim, num_heads, num_prefix_tokens=0, attn_drop=attn_drop, proj_drop=proj_drop,
                                  rotate_half=True)
        self.drop_path1 = DropPath(drop_path)
        self.norm2 = norm_layer(dim)
        self.mlp = SwiGLUPacked(dim, 2 * int(dim * mlp_ratio), bias=False, drop=proj_drop)
        self.drop_path2 = DropPath(drop_path)

    def forward(self, x: Tensor, rope: Tensor | None = None) -> Tensor:
        x = x + self.drop_path1(self.attn(self.norm1(x), rope=rope))
        return x + self.drop_path2(self.mlp(self.norm2(x)))


class DeepseekVitAligner(nn.Module):
    """Squares of patches made tokens of a language model: a map (B, H, W, dim) -> (B, squares, out_features), row by
    row. Zeros fill up the last squares.

    Args:
        downsample_ratio: patches a side.
        out_features: width of the tokens, and of the layer before them.

    Raises:
        ValueError: no width.
    """

    def __init__(self, dim: int, downsample_ratio: int = 3, out_features: int = 0,
                 act_layer: ActLayer = nn.GELU) -> None:
        super().__init__()
        self.downsample_ratio, self.out_features = downsample_ratio, out_features
        self.fc1 = nn.Linear(dim * downsample_ratio ** 2, whole('out_features', out_features, 1))
        self.act = get_act_layer(act_layer)()
        self.fc2 = nn.Linear(out_features, out_features)

    def forward(self, x: Tensor) -> Tensor:
        squares = merge_patches(x, self.downsample_ratio)
        return self.fc2(self.act(self.fc1(squares.transpose(2, 3).flatten(2))))         # each channel of all patches
