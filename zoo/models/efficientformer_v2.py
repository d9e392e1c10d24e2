"""EfficientFormerV2, arXiv:2212.08059: found by a search for small and fast networks at once.

    image -> stem (stride 4) -> stage 0 -> stage 1 -> stage 2 -> stage 3 -> norm -> pool -> head, head_dist

Against EfficientFormer, blocks mix pixels by a depthwise convolution inside their MLP; the last blocks of the last two
stages have attention before it, on maps, which stage 2 computes at half its resolution; and the last downsampling has
attention beside its convolution.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from torch import Tensor, nn
from torch.nn import functional as F

from ..contract import Parts
from ..layers.act import ActLayer, create_act
from ..layers.attention_bias import OffsetBias
from ..layers.conv import conv2d
from ..layers.drop import DropPath
from ..layers.norm import Norm, NormLayer
from ..layers.recording import ATTENTION
from ..layers.scale import LayerScale2d
from ..layers.sizes import ImageSize, pair_of
from ..layers.stages import check_stages, drop_path_rates
from ..spec import Feature
from .distilled import DistilledNet

Ratios = float | Sequence[float | Sequence[float]]


class EfficientFormerV2(DistilledNet):
    """EfficientFormerV2, arXiv:2212.08059. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        depths, embed_dims: blocks and channels of each stage.
        num_vit: how many blocks of a stage that has attention have it, its last ones.
        attention_strides: for each stage, how much coarser than its map its attention is; 0 for no attention.
        attention_downsamples: which stages' downsampling, where they have one, has attention beside its convolution.
        downsamples: which stages begin with a downsampling by 2; without one a stage keeps the width.
        mlp_ratios: inner width of the blocks' MLPs over their width: one number, one a stage, or one a block.
        norm_layer, norm_eps: every normalisation, those inside the attention too.
        img_size, dynamic_img_size, layer_scale_init_value, global_pool, distillation, drop_rate, proj_drop_rate,
            drop_path_rate: as in `zoo.models.efficientformer.EfficientFormer`.

    Raises:
        ValueError: numbers that do not fit each other, an option outside what is allowed.
    """

    parts = Parts(stem=('stem',), stages=('stages.*',), norm='norm', classifier=('head', 'head_dist'))

    def __init__(self, depths: Sequence[int], embed_dims: Sequence[int], *, num_vit: int = 2,
                 attention_strides: Sequence[int] = (0, 0, 2, 1),
                 attention_downsamples: Sequence[bool] = (False, False, False, True),
                 downsamples: Sequence[bool] = (False, True, True, True), mlp_ratios: Ratios = 4.0,
                 img_size: ImageSize = 224, dynamic_img_size: bool = False, act_layer: ActLayer = 'gelu',
                 norm_layer: NormLayer = 'batchnorm2d', norm_eps: float = 1e-5,
                 layer_scale_init_value: float | None = 1e-5, in_chans: int = 3, num_classes: int = 1000,
                 global_pool: str = 'avg', distillation: bool = True, drop_rate: float = 0.0,
                 proj_drop_rate: float = 0.0, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        check_stages(depths, embed_dims, downsamples, attention_strides, attention_downsamples, num_vit=num_vit)
        self.in_chans, self.num_features = in_chans, embed_dims[-1]
        if not distillation:
            self.parts = replace(self.parts, classifier=('head',))
        size, norm = pair_of(img_size), Norm(norm_layer, eps=norm_eps)
        ratios, rates = ratios_of_blocks(mlp_ratios, depths), iter(drop_path_rates(drop_path_rate, sum(depths)))

        self.stem = nn.Sequential()
        self.stem.conv1 = conv_norm(in_chans, embed_dims[0] // 2, norm, 3, stride=2, act_layer=act_layer)
        self.stem.conv2 = conv_norm(embed_dims[0] // 2, embed_dims[0], norm, 3, stride=2, act_layer=act_layer)
        self.stages, self.feature_info = nn.Sequential(), []
        width, reduction = embed_dims[0], 4
        for number, (depth, channels) in enumerate(zip(depths, embed_dims)):
            downsample: nn.Module = nn.Identity()
            if downsamples[number]:
                beside = AttentionDownsample(width, channels, reduction, size, norm, act_layer) \
                    if attention_downsamples[number] else None
                downsample, reduction = Downsample(width, channels, norm, beside), 2 * reduction
            stride, blocks = attention_strides[number], []
            for index in range(depth):
                mixer = None
                if stride and index >= depth - num_vit:
                    mixer = Attention(channels, reduction * stride, size, norm, act_layer, stride)
                blocks.append(Block(channels, mixer, mlp_ratio=ratios[number][index], norm=norm, act_layer=act_layer,
                                    scale=layer_scale_init_value, drop=proj_drop_rate, drop_path=next(rates)))
            self.stages.append(Stage(downsample, blocks))
            self.feature_info.append(Feature(num_chs=channels, reduction=reduction, module=f'stages.{number}',
                                             stage=number + 1))
            width = channels
        self.norm = norm(width)
        self.build_head(width, num_classes, global_pool, drop_rate)
        self.set_input_size(img_size, dynamic_img_size=dynamic_img_size)
        self.init_fresh()

    def hidden_modules(self) -> list[nn.Module]:
        """Of each stage its downsampling, where it has one, and the stage."""
        return [part for stage in self.stages for part in (stage.get_submodule('downsample'), stage)
                if not isinstance(part, nn.Identity)]


def ratios_of_blocks(ratios: Ratios, depths: Sequence[int]) -> list[list[float]]:
    """One MLP ratio a block, for each stage, of one number for all, one a stage, or one a block.

    Raises:
        ValueError: another number of them than there are stages, or blocks in a stage.
    """
    stages = list(ratios) if isinstance(ratios, Sequence) else [ratios] * len(depths)
    blocks = [list(r) if isinstance(r, Sequence) else [r] * depth for r, depth in zip(stages, depths)]
    if len(stages) != len(depths) or [len(b) for b in blocks] != list(depths):
        raise ValueError(f'mlp_ratios is one number, one a stage, or one a block, for stages of {tuple(depths)} '
                         f'blocks, not {ratios!r}.')
    return blocks


def conv_norm(in_width: int, width: int, norm: Norm, kernel: int = 1, *, stride: int = 1, depthwise: bool = False,
              act_layer: ActLayer | None = None) -> nn.Sequential:
    """Convolution, normalisation and, where one is named, activation."""
    layers = nn.Sequential()
    layers.conv = conv2d(in_width, width, kernel, stride, groups=in_width if depthwise else 1, bias=True)
    layers.bn, layers.act = norm.with_act(width, act_layer)
    return layers


class Stage(nn.Module):
    """Downsampling and blocks of one width: (B, C, H, W) -> (B, C', H', W')."""

    def __init__(self, downsample: nn.Module, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        x = self.downsample(x)
        for block in self.blocks:
            x = block(x)
        return x


class Downsample(nn.Module):
    """A convolution of stride 2 and, where there is any, attention beside it: (B, C, H, W) -> (B, C', H/2, W/2)."""

    def __init__(self, in_width: int, width: int, norm: Norm, attention: nn.Module | None) -> None:
        super().__init__()
        self.conv = conv_norm(in_width, width, norm, 3, stride=2)
        self.attn = attention

    def forward(self, x: Tensor) -> Tensor:
        return self.conv(x) if self.attn is None else self.conv(x) + self.attn(x)


class Block(nn.Module):
    """Attention, where there is any, and an MLP with a depthwise convolution inside, each a residual branch."""

    def __init__(self, width: int, token_mixer: nn.Module | None, *, mlp_ratio: float, norm: Norm, act_layer: ActLayer,
                 scale: float | None, drop: float, drop_path: float) -> None:
        super().__init__()
        inner = int(width * mlp_ratio)
        self.token_mixer = token_mixer
        if token_mixer is not None:
            self.ls1 = nn.Identity() if scale is None else LayerScale2d(width, scale)
        self.mlp = nn.Sequential()
        self.mlp.fc1 = conv_norm(width, inner, norm, act_layer=act_layer)
        self.mlp.mid = conv_norm(inner, inner, norm, 3, depthwise=True, act_layer=act_layer)
        self.mlp.drop1 = nn.Dropout(drop)
        self.mlp.fc2 = conv_norm(inner, width, norm)
        self.mlp.drop2 = nn.Dropout(drop)
        self.ls2 = nn.Identity() if scale is None else LayerScale2d(width, scale)
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        if self.token_mixer is not None:
            x = x + self.drop_path(self.ls1(self.token_mixer(x)))
        return x + self.drop_path(self.ls2(self.mlp(x)))


class Attention(OffsetBias):
    """Self-attention over the pixels of a map, at a `stride` coarser than it: (B, C, H, W) -> (B, C, H, W).

    Its heads talk to each other before and after the softmax (arXiv:2003.02436), and the values take in their
    neighbours' by a depthwise convolution beside the attention. They are `value_ratio` times as wide as the keys.
    """

    def __init__(self, width: int, reduction: int, img_size: tuple[int, int], norm: Norm, act_layer: ActLayer,
                 stride: int = 1, heads: int = 8, key_width: int = 32, value_ratio: int = 4) -> None:
        super().__init__(heads, reduction, img_size)
        keys, values = heads * key_width, heads * key_width * value_ratio
        self.stride, self.scale = stride, key_width ** -0.5
        if stride > 1:
            self.stride_conv = conv_norm(width, width, norm, 3, stride=stride, depthwise=True)
        self.q, self.k, self.v = (conv_norm(width, out, norm) for out in (keys, keys, values))
        self.v_local = conv_norm(values, values, norm, 3, depthwise=True)
        self.talking_head1, self.talking_head2 = nn.Conv2d(heads, heads, 1), nn.Conv2d(heads, heads, 1)
        self.act = create_act(act_layer)
        self.proj = conv_norm(values, width, norm)

    def forward(self, x: Tensor) -> Tensor:
        size = x.shape[-2:]
        if self.stride > 1:
            x = self.stride_conv(x)
        grid, v = x.shape[-2:], self.v(x)
        q, k = split_heads(self.q(x), self.heads), split_heads(self.k(x), self.heads)
        scores = q.transpose(-2, -1) @ k * self.scale + self.bias(grid, grid)
        attention = self.talking_head1(scores).softmax(-1)                          # (B, heads, N, N)
        ATTENTION.keep(attention)
        x = split_heads(v, self.heads) @ self.talking_head2(attention).transpose(-2, -1)         # (B, heads, D, N)
        x = x.flatten(1, 2).unflatten(-1, grid) + self.v_local(v)
        if self.stride > 1:
            x = F.interpolate(x, size, mode='bilinear')
        return self.proj(self.act(x))


class AttentionDownsample(OffsetBias):
    """Attention of every second pixel to all pixels: (B, C, H, W) -> (B, C', H/2, W/2)."""

    def __init__(self, in_width: int, width: int, reduction: int, img_size: tuple[int, int], norm: Norm,
                 act_layer: ActLayer, heads: int = 8, key_width: int = 16, value_ratio: int = 4) -> None:
        super().__init__(heads, reduction, img_size, query_stride=2)
        keys, values = heads * key_width, heads * key_width * value_ratio
        self.scale = key_width ** -0.5
        self.q = Query(in_width, keys, norm)
        self.k, self.v = conv_norm(in_width, keys, norm), conv_norm(in_width, values, norm)
        self.v_local = conv_norm(values, values, norm, 3, stride=2, depthwise=True)
        self.act = create_act(act_layer)
        self.proj = conv_norm(values, width, norm)

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.q(x), self.k(x), self.v(x)
        queries, keys = q.shape[-2:], x.shape[-2:]
        scores = split_heads(q, self.heads).transpose(-2, -1) @ split_heads(k, self.heads) * self.scale
        attention = (scores + self.bias(queries, keys)).softmax(-1)                 # (B, heads, N/4, N)
        x = split_heads(v, self.heads) @ attention.transpose(-2, -1)                # (B, heads, D, N/4)
        return self.proj(self.act(x.flatten(1, 2).unflatten(-1, queries) + self.v_local(v)))


class Query(nn.Module):
    """Queries of every second pixel: of the pixel itself and, by a depthwise convolution, of its surroundings."""

    def __init__(self, in_width: int, width: int, norm: Norm) -> None:
        super().__init__()
        self.local = conv2d(in_width, in_width, 3, 2, groups=in_width, bias=True)
        self.pool = nn.AvgPool2d(1, stride=2)
        self.proj = conv_norm(in_width, width, norm)

    def forward(self, x: Tensor) -> Tensor:
        return self.proj(self.local(x) + self.pool(x))


def split_heads(x: Tensor, heads: int) -> Tensor:
    """(B, C, H, W) -> (B, heads, C / heads, H W)."""
    return x.flatten(2).unflatten(1, (heads, -1))
