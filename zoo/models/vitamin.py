"""ViTamin, arXiv:2404.02132: two stages of MBConv with layer normalisation, then a vision transformer with gated MLPs.

    image -> stem -> stages of MBConv -> convolution of stride 2      (`patch_embed.backbone`, a token each pixel of its map)
          -> positions, blocks, norm, pool, head of a vision transformer
"""
from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from ..blocks import round_channels
from ..layers.act import ActLayer, create_act
from ..layers.conv import conv2d
from ..layers.drop import DropPath
from ..layers.glu import GeGluMlp
from ..layers.norm import MAP_NORM, Norm, NormLayer
from ..spec import Feature
from .coatnet import Downsample2d
from .maxxvit import Stem as MaxxVitStem
from .vision_transformer_hybrid import BACKBONES, HybridVisionTransformer

__all__ = ['GeGluMlp', 'MbConvLNBlock', 'MbConvStages', 'Stem', 'StridedConv', 'ViTamin']


class Stem(MaxxVitStem):
    """Two convolutions, the first of stride 2: (B, in_chs, H, W) -> (B, out_chs, H/2, W/2)."""

    def __init__(self, in_chs: int, out_chs: int, act_layer: ActLayer = 'gelu', norm_layer: NormLayer = 'layernorm2d',
                 norm_eps: float = 1e-6, bias: bool = True) -> None:
        super().__init__(in_chs, out_chs, bias=bias, act_layer=act_layer, norm_layer=norm_layer, norm_eps=norm_eps)


class MbConvLNBlock(nn.Module):
    """MBConv with one normalisation, at its beginning: (B, in_chs, H, W) -> (B, out_chs, H/s, W/s).

    Args:
        stride: s; with 2 the shortcut is pooled.
        expand_ratio: width between the convolutions, by that of what comes out.
    """

    def __init__(self, in_chs: int, out_chs: int, stride: int = 1, drop_path: float = 0.0, kernel_size: int = 3,
                 norm_layer: NormLayer = 'layernorm2d', norm_eps: float = 1e-6, act_layer: ActLayer = 'gelu',
                 expand_ratio: float = 4.0) -> None:
        super().__init__()
        mid = round_channels(out_chs * expand_ratio)
        self.shortcut: nn.Module = nn.Identity()
        if stride == 2:
            self.shortcut = Downsample2d(in_chs, out_chs, 'avg')
        elif in_chs != out_chs:
            self.shortcut = nn.Conv2d(in_chs, out_chs, 1)
        self.pre_norm, _ = Norm(norm_layer, eps=norm_eps).with_act(in_chs, None)
        self.conv1_1x1 = nn.Conv2d(in_chs, mid, 1)
        self.act1 = create_act(act_layer)
        self.conv2_kxk = conv2d(mid, mid, kernel_size, stride, groups=mid, bias=True)
        self.act2 = create_act(act_layer)
        self.conv3_1x1 = nn.Conv2d(mid, out_chs, 1)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = self.shortcut(x)
        x = self.pre_norm(x)
        x = self.conv1_1x1(x)
        x = self.act1(x)
        x = self.conv2_kxk(x)
        x = self.act2(x)
        x = self.conv3_1x1(x)
        return shortcut + self.drop_path(x)


class StridedConv(nn.Module):
    """A normalised map through one convolution: (B, in_chans, H, W) -> (B, embed_dim, H/stride, W/stride)."""

    def __init__(self, kernel_size: int = 3, stride: int = 2, padding: int = 1, in_chans: int = 3,
                 embed_dim: int = 768) -> None:
        super().__init__()
        self.norm = MAP_NORM(in_chans)
        self.proj = nn.Conv2d(in_chans, embed_dim, kernel_size, stride, padding)

    def forward(self, x: Tensor) -> Tensor:
        x = self.norm(x)
        return self.proj(x)


class MbConvStages(nn.Module):
    """What ViTamin has before its tokens: (B, in_chans, H, W) -> (B, embed_dim[-1], H/16, W/16).

    Args:
        embed_dim: channels of each stage of blocks, and of what comes out.
        depths: blocks of each stage.
        stem_width: channels of the stem.
    """

    def __init__(self, in_chans: int = 3, embed_dim: Sequence[int] = (64, 128, 384), depths: Sequence[int] = (2, 4),
                 stem_width: int = 64) -> None:
        super().__init__()
        self.stem = Stem(in_chans, stem_width)
        self.stages, width = nn.Sequential(), stem_width
        for dim, depth in zip(embed_dim[:-1], depths, strict=True):
            self.stages.append(nn.Sequential(*(
                MbConvLNBlock(dim if number else width, dim, 1 if number else 2) for number in range(depth))))
            width = dim
        self.pool = StridedConv(in_chans=width, embed_dim=embed_dim[-1])
        self.feature_info = [Feature(num_chs=embed_dim[-1], reduction=4 * 2 ** len(depths), module='pool', stage=0)]

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(self.stages(self.stem(x)))


class ViTamin(HybridVisionTransformer):
    """ViTamin, arXiv:2404.02132. Options are those of `HybridVisionTransformer`, among whose backbones is 'mbconv',
    `MbConvStages`."""

    backbones = BACKBONES | {'mbconv': MbConvStages}
