"""EfficientFormer, arXiv:2206.01191: a MetaFormer at the speed of MobileNet.

    image -> stem (stride 4) -> stage 0 -> stage 1 -> stage 2 -> stage 3 -> norm -> pool -> head, head_dist

Stages 1 to 3 begin with a strided convolution. Blocks mix pixels by average pooling (the paper's MB4D, on maps), the
last blocks of stage 3 by self-attention (MB3D, on tokens).
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from ..contract import Parts
from ..layers.act import ActLayer, create_act
from ..layers.attention_bias import OffsetBias
from ..layers.conv import conv2d
from ..layers.drop import DropPath
from ..layers.norm import Norm, NormLayer
from ..layers.recording import ATTENTION
from ..layers.scale import LayerScale, LayerScale2d
from ..layers.sizes import ImageSize, pair_of
from ..layers.stages import check_stages, drop_path_rates
from ..spec import Feature
from .distilled import DistilledNet


class EfficientFormer(DistilledNet):
    """EfficientFormer, arXiv:2206.01191. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        depths, embed_dims: blocks and channels of each stage.
        num_vit: how many of the last stage's blocks, its last ones, are of self-attention; all where it has fewer.
        downsamples: which stages begin with a convolution of stride 2; without one a stage keeps the width.
        mlp_ratios: inner width of the blocks' MLPs over their width.
        pool_size: side of the pooling that mixes pixels, odd.
        img_size: pixels that the attention biases are learned for, see `set_input_size`; a side, or (height, width).
        dynamic_img_size: take images of any other size too, with the biases stretched to them.
        norm_layer, norm_eps: normalisation of maps. norm_layer_cl, layer_norm_eps: of tokens, a class.
        layer_scale_init_value: initial factor of every residual branch; None for none.
        global_pool: '', 'avg', 'max', 'avgmax' or 'catavgmax', over the tokens.
        distillation: have a second classifier, for a teacher's answers.
        drop_rate: dropout before the classifiers. proj_drop_rate: in the MLPs. drop_path_rate: stochastic depth at the
            last block, growing linearly from 0 at the first.

    Raises:
        ValueError: numbers that do not fit each other, an option outside what is allowed.
    """

    parts = Parts(stem=('stem',), stages=('stages.*',), norm='norm', classifier=('head', 'head_dist'))
    output_fmt = 'NLC'

    def __init__(self, depths: Sequence[int], embed_dims: Sequence[int], *, num_vit: int = 1,
                 downsamples: Sequence[bool] = (False, True, True, True), mlp_ratios: float = 4.0, pool_size: int = 3,
                 img_size: ImageSize = 224, dynamic_img_size: bool = False, act_layer: ActLayer = 'gelu',
                 norm_layer: NormLayer = 'batchnorm2d', norm_eps: float = 1e-5, norm_layer_cl: NormLayer = nn.LayerNorm,
                 layer_norm_eps: float = 1e-5, layer_scale_init_value: float | None = 1e-5, in_chans: int = 3,
                 num_classes: int = 1000, global_pool: str = 'avg', distillation: bool = True, drop_rate: float = 0.0,
                 proj_drop_rate: float = 0.0, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        check_stages(depths, embed_dims, downsamples, num_vit=num_vit)
        self.in_chans, self.num_features = in_chans, embed_dims[-1]
        if not distillation:
            self.parts = replace(self.parts, classifier=('head',))
        norm, token_norm = Norm(norm_layer, eps=norm_eps), Norm(norm_layer_cl, eps=layer_norm_eps)
        common: dict[str, Any] = dict(mlp_ratio=mlp_ratios, act_layer=act_layer, scale=layer_scale_init_value,
                                      drop=proj_drop_rate)
        rates = iter(drop_path_rates(drop_path_rate, sum(depths)))

        self.stem = stem(in_chans, embed_dims[0], norm)
        self.stages, self.feature_info = nn.Sequential(), []
        width, reduction = embed_dims[0], 4
        for number, (depth, channels, strided) in enumerate(zip(depths, embed_dims, downsamples)):
            reduction = 2 * reduction if strided else reduction
            attention = min(num_vit, depth) if number == len(depths) - 1 else 0
            blocks: list[nn.Module] = [MetaBlock4D(channels, pool_size, norm=norm, drop_path=next(rates), **common)
                                       for _ in range(depth - attention)]
            if attention:
                mixer = partial(Attention, reduction=reduction, img_size=pair_of(img_size))
                blocks += [Tokens(), *(MetaBlock3D(channels, mixer, norm=token_norm, drop_path=next(rates), **common)
                                       for _ in range(attention))]
            self.stages.append(Stage(downsample(width, channels, norm) if strided else nn.Identity(), blocks))
            self.feature_info.append(Feature(num_chs=channels, reduction=reduction, module=f'stages.{number}',
                                             stage=number + 1))
            width = channels
        self.norm = token_norm(width)
        self.build_head(width, num_classes, global_pool, drop_rate)
        self.set_input_size(img_size, dynamic_img_size=dynamic_img_size)
        self.init_fresh()

    def normalise(self, state: Tensor) -> Tensor:
        """The normalisation before the head, of a map."""
        state = self.norm(state.permute(0, 2, 3, 1))
        return state.permute(0, 3, 1, 2)

    def pre_head(self, state: Tensor) -> Tensor:
        """(B, C, H, W) -> tokens (B, H W, C), normalised."""
        return self.norm(state.flatten(2).transpose(1, 2))

    def hidden_modules(self) -> list[nn.Module]:
        """Of each stage its downsampling, where it has one, and the stage."""
        return [part for stage in self.stages for part in (stage.get_submodule('downsample'), stage)
                if not isinstance(part, nn.Identity)]


def stem(in_chans: int, width: int, norm: Norm) -> nn.Sequential:
    """Two convolutions of stride 2, always with ReLU: (B, in_chans, H, W) -> (B, width, H/4, W/4)."""
    layers = nn.Sequential()
    layers.conv1 = conv2d(in_chans, width // 2, 3, 2, bias=True)
    layers.norm1, layers.act1 = norm.with_act(width // 2, 'relu')
    layers.conv2 = conv2d(width // 2, width, 3, 2, bias=True)
    layers.norm2, layers.act2 = norm.with_act(width, 'relu')
    return layers


def downsample(in_width: int, width: int, norm: Norm) -> nn.Sequential:
    """(B, C, H, W) -> (B, width, H/2, W/2)."""
    layers = nn.Sequential()
    layers.conv = conv2d(in_width, width, 3, 2, bias=True)
    layers.norm = norm(width)
    return layers


class Stage(nn.Module):
    """Downsampling and blocks of one width: (B, C, H, W) -> (B, C', H', W')."""

    def __init__(self, downsample: nn.Module, blocks: Sequence[nn.Module]) -> None:
        super().__init__()
        self.downsample = downsample
        self.blocks = nn.Sequential(*blocks)

    def forward(self, x: Tensor) -> Tensor:
        x = self.downsample(x)
        grid = x.shape[-2:]
        for block in self.blocks:
            x = block(x, grid) if isinstance(block, MetaBlock3D) else block(x)
        return x if x.ndim == 4 else x.transpose(1, 2).unflatten(2, grid)


class Pooling(nn.Module):
    """The mean around each pixel, without the pixel itself, which the shortcut adds (PoolFormer, arXiv:2111.11418)."""

    def __init__(self, pool_size: int) -> None:
        super().__init__()
        if pool_size % 2 == 0:
            raise ValueError(f'pool_size is odd, for a pixel to be in the middle, not {pool_size}.')
        self.pool = nn.AvgPool2d(pool_size, stride=1, padding=pool_size // 2, count_include_pad=False)

    def forward(self, x: Tensor) -> Tensor:
        return self.pool(x) - x


class MetaBlock4D(nn.Module):
    """Pooling and a convolutional MLP on maps, each a residual branch: section 3.2, MB4D."""

    def __init__(self, width: int, pool_size: int, *, mlp_ratio: float, norm: Norm, act_layer: ActLayer,
                 scale: float | None, drop: float, drop_path: float) -> None:
        super().__init__()
        inner = int(width * mlp_ratio)
        self.token_mixer = Pooling(pool_size)
        self.mlp = nn.Sequential()
        self.mlp.fc1 = conv2d(width, inner, 1, bias=True)
        self.mlp.norm1, self.mlp.act = norm.with_act(inner, act_layer)
        self.mlp.drop1 = nn.Dropout(drop)
        self.mlp.fc2 = conv2d(inner, width, 1, bias=True)
        self.mlp.norm2 = norm(width)
        self.mlp.drop2 = nn.Dropout(drop)
        self.ls1, self.ls2 = (nn.Identity() if scale is None else LayerScale2d(width, scale) for _ in range(2))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor) -> Tensor:
        x = x + self.drop_path(self.ls1(self.token_mixer(x)))
        return x + self.drop_path(self.ls2(self.mlp(x)))


class Tokens(nn.Module):
    """The pixels of a map as a row of tokens: (B, C, H, W) -> (B, H W, C)."""

    def forward(self, x: Tensor) -> Tensor:
        return x.flatten(2).transpose(1, 2)


class MetaBlock3D(nn.Module):
    """Self-attention and an MLP on tokens, each a residual branch: section 3.2, MB3D."""

    def __init__(self, width: int, token_mixer: Callable[[int], nn.Module], *, mlp_ratio: float, norm: Norm,
                 act_layer: ActLayer, scale: float | None, drop: float, drop_path: float) -> None:
        super().__init__()
        inner = int(width * mlp_ratio)
        self.norm1 = norm(width)
        self.token_mixer = token_mixer(width)
        self.norm2 = norm(width)
        self.mlp = nn.Sequential()
        self.mlp.fc1 = nn.Linear(width, inner)
        self.mlp.act = create_act(act_layer)
        self.mlp.drop1 = nn.Dropout(drop)
        self.mlp.fc2 = nn.Linear(inner, width)
        self.mlp.drop2 = nn.Dropout(drop)
        self.ls1, self.ls2 = (nn.Identity() if scale is None else LayerScale(width, scale) for _ in range(2))
        self.drop_path = DropPath(drop_path)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        x = x + self.drop_path(self.ls1(self.token_mixer(self.norm1(x), grid)))
        return x + self.drop_path(self.ls2(self.mlp(self.norm2(x))))


class Attention(OffsetBias):
    """Multi-head self-attention with biases for the offsets between pixels: tokens (B, N, C) -> (B, N, C).

    The values are `value_ratio` times as wide as the keys.
    """

    def __init__(self, width: int, reduction: int, img_size: tuple[int, int], heads: int = 8, key_width: int = 32,
                 value_ratio: int = 4) -> None:
        super().__init__(heads, reduction, img_size, index_in_state=True)
        self.scale = key_width ** -0.5
        self.widths = (key_width, key_width, value_ratio * key_width)
        self.qkv = nn.Linear(width, heads * sum(self.widths))
        self.proj = nn.Linear(heads * value_ratio * key_width, width)

    def forward(self, x: Tensor, grid: tuple[int, int]) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (self.heads, -1)).transpose(1, 2).split(self.widths, dim=-1)
        attention = (q @ k.transpose(-2, -1) * self.scale + self.bias(grid, grid)).softmax(-1)     # (B, heads, N, N)
        ATTENTION.keep(attention)
        return self.proj((attention @ v).transpose(1, 2).flatten(2))
