"""ResNet V2, arXiv:1603.05027: residual networks whose blocks normalise before they convolve. BiT (arXiv:1912.11370) is
one with group normalisation and weight standardisation.

    image -> stem.conv (stride 2) -> stem.pool (stride 2) -> stages.0 -> … -> stages.3 -> norm, act -> pool -> head.fc
    block: (normalisation, activation, convolution) two or three times -> added to the shortcut

stages.1 to stages.3 halve the resolution in their first block, whose shortcut projects what comes out of the first
activation; with `stride_last`, stages.0 to stages.2 do it in their last. With `preact=False` blocks are those of ResNet
(arXiv:1512.03385), as in the hybrid vision transformers of arXiv:2010.11929.
"""
from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from torch import Tensor, nn

from ..blocks import round_channels
from ..contract import Parts
from ..layers.act import ActLayer, create_act
from ..layers.drop import DropPath
from ..layers.head import Head
from ..layers.init import init_he, zero_weight
from ..layers.norm import Norm, NormLayer
from ..layers.pool import SameMaxPool2d, pool_shortcut
from ..layers.stages import drop_path_rates
from ..layers.std_conv import ConvLayer, get_conv_layer
from ..spec import Feature, unknown
from .headnet import HeadNet

STEMS = ('', 'fixed', 'same', 'deep', 'deep_fixed', 'deep_same', 'tiered', 'tiered_fixed', 'tiered_same')


class DownsampleConv(nn.Module):
    """A shortcut that projects by a 1x1 convolution (arXiv:1512.03385, section 3.3, option B):
    (B, in_chs, H, W) -> (B, out_chs, H / stride, W / stride).

    Args:
        dilation, first_dilation: what `DownsampleAvg` takes; kernels of one pixel are the same at any.
        preact: what comes in is normalised, and what goes out is not.
    """

    def __init__(self, in_chs: int, out_chs: int, stride: int = 1, dilation: int = 1, first_dilation: int | None = None,
                 preact: bool = True, conv_layer: ConvLayer = 'std_conv2d', norm_layer: NormLayer = 'groupnorm') -> None:
        super().__init__()
        self.conv = get_conv_layer(conv_layer)(in_chs, out_chs, 1, stride=stride)
        self.norm = nn.Identity() if preact else Norm(norm_layer).with_act(out_chs, None)[0]

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(x))


class DownsampleAvg(nn.Module):
    """A shortcut that pools and projects (ResNet-D, arXiv:1812.01187, Figure 2c); see `DownsampleConv`."""

    def __init__(self, in_chs: int, out_chs: int, stride: int = 1, dilation: int = 1, first_dilation: int | None = None,
                 preact: bool = True, conv_layer: ConvLayer = 'std_conv2d', norm_layer: NormLayer = 'groupnorm') -> None:
        super().__init__()
        self.pool = pool_shortcut(stride, dilation)
        self.conv = get_conv_layer(conv_layer)(in_chs, out_chs, 1, stride=1)
        self.norm = nn.Identity() if preact else Norm(norm_layer).with_act(out_chs, None)[0]

    def forward(self, x: Tensor) -> Tensor:
        return self.norm(self.conv(self.pool(x)))


Downsample = type[DownsampleConv] | type[DownsampleAvg]


class PreActBasic(nn.Module):
    """Two 3x3 convolutions, each after a normalisation and an activation (arXiv:1603.05027, Figure 4e):
    (B, in_chs, H, W) -> (B, out_chs, H / stride, W / stride).

    Args:
        out_chs: by default `in_chs`. bottle_ratio: channels between the convolutions over `out_chs`.
        dilation, first_dilation: of the second and the first convolution; None is `dilation`.
        proj_layer: makes the shortcut where the map changes its shape; None for the input itself.
        drop_path_rate: of stochastic depth.
    """

    def __init__(self, in_chs: int, out_chs: int | None = None, bottle_ratio: float = 1.0, stride: int = 1,
                 dilation: int = 1, first_dilation: int | None = None, groups: int = 1, act_layer: ActLayer = 'relu',
                 conv_layer: ConvLayer = 'std_conv2d', norm_layer: NormLayer = 'groupnorm',
                 proj_layer: Downsample | None = None, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        norm, conv, first = Norm(norm_layer), get_conv_layer(conv_layer), first_dilation or dilation
        out = out_chs or in_chs
        middle = round_channels(out * bottle_ratio)
        self.downsample: nn.Module | None = None
        if proj_layer and (stride != 1 or first != dilation or in_chs != out):
            self.downsample = proj_layer(in_chs, out, stride, dilation, first, True, conv_layer, norm_layer)
        self.norm1, self.act1 = norm.with_act(in_chs, act_layer)
        self.conv1 = conv(in_chs, middle, 3, stride=stride, dilation=first, groups=groups)
        self.norm2, self.act2 = norm.with_act(middle, act_layer)
        self.conv2 = conv(middle, out, 3, dilation=dilation, groups=groups)
        self.drop_path = DropPath(drop_path_rate) if drop_path_rate else nn.Identity()

    def zero_init_last(self) -> None:
        """Makes the branch zero at first, so that the block begins as its shortcut."""
        zero_weight(self.conv2)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.act1(self.norm1(x))
        if self.downsample is not None:
            shortcut = self.downsample(x)
        x = self.conv1(x)
        x = self.act2(self.norm2(x))
        x = self.drop_path(self.conv2(x))
        x += shortcut
        return x


class PreActBottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, each after a normalisation and an activation (arXiv:1603.05027, appendix), the stride
    in the 3x3 one: (B, in_chs, H, W) -> (B, out_chs, H / stride, W / stride).

    Args:
        out_chs, bottle_ratio, proj_layer, drop_path_rate: as in `PreActBasic`.
        dilation, first_dilation: `first_dilation` is that of the 3x3 convolution; None is `dilation`. Where there is a
            stride and no `proj_layer`, the shortcut is the first of each `stride` rows and columns.
        conv_bias: the last convolution, and the shortcut's, have a bias.
    """

    def __init__(self, in_chs: int, out_chs: int | None = None, bottle_ratio: float = 0.25, stride: int = 1,
                 dilation: int = 1, first_dilation: int | None = None, groups: int = 1, act_layer: ActLayer = 'relu',
                 conv_layer: ConvLayer = 'std_conv2d', norm_layer: NormLayer = 'groupnorm',
                 proj_layer: Downsample | None = None, drop_path_rate: float = 0.0, conv_bias: bool = False) -> None:
        super().__init__()
        norm, conv, first = Norm(norm_layer), get_conv_layer(conv_layer), first_dilation or dilation
        last = partial(conv, bias=True) if conv_bias else conv
        out = out_chs or in_chs
        middle = round_channels(out * bottle_ratio)
        self.downsample: nn.Module | None = None
        if proj_layer:
            self.downsample = proj_layer(in_chs, out, stride, dilation, first, True, last, norm_layer)
        self.subsample: nn.Module | None = None if proj_layer or stride == 1 else nn.MaxPool2d(1, stride)
        self.norm1, self.act1 = norm.with_act(in_chs, act_layer)
        self.conv1 = conv(in_chs, middle, 1)
        self.norm2, self.act2 = norm.with_act(middle, act_layer)
        self.conv2 = conv(middle, middle, 3, stride=stride, dilation=first, groups=groups)
        self.norm3, self.act3 = norm.with_act(middle, act_layer)
        self.conv3 = last(middle, out, 1)
        self.drop_path = DropPath(drop_path_rate) if drop_path_rate else nn.Identity()

    def zero_init_last(self) -> None:
        """Makes the branch zero at first, so that the block begins as its shortcut."""
        zero_weight(self.conv3)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x if self.subsample is None else self.subsample(x)
        x = self.act1(self.norm1(x))
        if self.downsample is not None:
            shortcut = self.downsample(x)
        x = self.conv1(x)
        x = self.act2(self.norm2(x))
        x = self.conv2(x)
        x = self.act3(self.norm3(x))
        x = self.drop_path(self.conv3(x))
        x += shortcut
        return x


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions, each before a normalisation (arXiv:1512.03385, Figure 5, right); otherwise as
    `PreActBottleneck`."""

    def __init__(self, in_chs: int, out_chs: int | None = None, bottle_ratio: float = 0.25, stride: int = 1,
                 dilation: int = 1, first_dilation: int | None = None, groups: int = 1, act_layer: ActLayer = 'relu',
                 conv_layer: ConvLayer = 'std_conv2d', norm_layer: NormLayer = 'groupnorm',
                 proj_layer: Downsample | None = None, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        norm, conv, first = Norm(norm_layer), get_conv_layer(conv_layer), first_dilation or dilation
        out = out_chs or in_chs
        middle = round_channels(out * bottle_ratio)
        self.downsample: nn.Module | None = None
        if proj_layer:
            self.downsample = proj_layer(in_chs, out, stride, dilation, first, False, conv_layer, norm_layer)
        self.conv1 = conv(in_chs, middle, 1)
        self.norm1, self.act1 = norm.with_act(middle, act_layer)
        self.conv2 = conv(middle, middle, 3, stride=stride, dilation=first, groups=groups)
        self.norm2, self.act2 = norm.with_act(middle, act_layer)
        self.conv3 = conv(middle, out, 1)
        self.norm3, _ = norm.with_act(out, None)
        self.drop_path = DropPath(drop_path_rate) if drop_path_rate else nn.Identity()
        self.act3 = create_act(act_layer)

    def zero_init_last(self) -> None:
        """Makes the branch zero at first, so that the block begins as its shortcut."""
        zero_weight(self.norm3)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.conv1(x)
        x = self.act1(self.norm1(x))
        x = self.conv2(x)
        x = self.act2(self.norm2(x))
        x = self.conv3(x)
        x = self.drop_path(self.norm3(x))
        x += shortcut if self.downsample is None else self.downsample(shortcut)
        return self.act3(x)


class ResNetStage(nn.Module):
    """`depth` blocks, the first with the stride and a shortcut of its own:
    (B, in_chs, H, W) -> (B, out_chs, H / stride, W / stride).

    Args:
        stride_last: the last block has the stride; all have the same dilation.
        avg_down: the shortcut pools and then projects, in place of a convolution with a stride.
        block_dpr: rates of stochastic depth, one a block. block_fn: makes the blocks. block_kwargs: more for them.
    """

    def __init__(self, in_chs: int, out_chs: int, stride: int, dilation: int, depth: int, bottle_ratio: float = 0.25,
                 groups: int = 1, avg_down: bool = False, block_dpr: Sequence[float] | None = None,
                 block_fn: Callable[..., nn.Module] = PreActBottleneck, act_layer: ActLayer = 'relu',
                 conv_layer: ConvLayer = 'std_conv2d', norm_layer: NormLayer = 'groupnorm',
                 stride_last: bool = False, **block_kwargs: Any) -> None:
        super().__init__()
        first = dilation if stride_last else 1 if dilation in (1, 2) else 2
        strided = depth - 1 if stride_last else 0
        self.blocks = nn.Sequential()
        for number in range(depth):
            self.blocks.append(block_fn(
                in_chs if number == 0 else out_chs, out_chs, bottle_ratio=bottle_ratio,
                stride=stride if number == strided else 1, dilation=dilation, first_dilation=dilation if number else first, groups=groups, act_layer=act_layer,
                conv_layer=conv_layer, norm_layer=norm_layer, drop_path_rate=block_dpr[number] if block_dpr else 0.0,
                proj_layer=None if number else DownsampleAvg if avg_down else DownsampleConv, **block_kwargs))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(x)


def is_stem_deep(stem_type: str) -> bool:
    """Whether a stem has three convolutions."""
    return stem_type.startswith(('deep', 'tiered'))


def create_resnetv2_stem(in_chs: int, out_chs: int = 64, stem_type: str = '', preact: bool = True,
                         conv_layer: ConvLayer = 'std_conv2d', norm_layer: NormLayer = 'groupnorm',
                         act_layer: ActLayer = 'relu', conv_eps: float | None = None, conv_bias: bool = False) -> Stem:
    """What comes before the stages: (B, in_chs, H, W) -> (B, out_chs, H/4, W/4).

    Args:
        stem_type: one 7x7 convolution, or with 'deep' three 3x3 ones, the first two of half the channels, the first
            of three eighths with 'tiered'. How the map is pooled comes after: 'fixed' pads with zeros, as the pooling
            of BiT does, 'same' as TensorFlow, and without a word nothing that is padded counts.
        preact: leave it to the first block to normalise.
        conv_eps: eps of weight standardisation; None is the layer's own.
        conv_bias: the last convolution has a bias.

    Raises:
        ValueError: another `stem_type`.
    """
    if stem_type not in STEMS:
        raise ValueError(unknown('stem_type', stem_type, STEMS))
    norm, conv = Norm(norm_layer), get_conv_layer(conv_layer, conv_eps)
    last = partial(conv, bias=True) if conv_bias else conv
    stem: OrderedDict[str, nn.Module] = OrderedDict()
    if is_stem_deep(stem_type):
        middle = out_chs // 2
        first = 3 * out_chs // 8 if 'tiered' in stem_type else middle
        stem['conv1'] = conv(in_chs, first, 3, stride=2)
        stem['norm1'], stem['act1'] = norm.with_act(first, act_layer)
        stem['conv2'] = conv(first, middle, 3, stride=1)
        stem['norm2'], stem['act2'] = norm.with_act(middle, act_layer)
        stem['conv3'] = last(middle, out_chs, 3, stride=1)
    else:
        stem['conv'] = last(in_chs, out_chs, 7, stride=2)
    if not preact:
        number = '3' if is_stem_deep(stem_type) else ''
        stem[f'norm{number}'], stem[f'act{number}'] = norm.with_act(out_chs, act_layer)
    if 'fixed' in stem_type:
        stem['pad'] = nn.ConstantPad2d(1, 0.0)
        stem['pool'] = nn.MaxPool2d(3, 2)
    else:
        stem['pool'] = SameMaxPool2d(3, 2) if 'same' in stem_type else nn.MaxPool2d(3, 2, padding=1)
    return Stem(stem, out_chs)


class Stem(nn.Sequential):
    """What comes before the stages, by itself a backbone of one map."""

    def __init__(self, layers: OrderedDict[str, nn.Module], width: int) -> None:
        super().__init__(layers)
        self.feature_info = [Feature(num_chs=width, reduction=4, module='pool', stage=0)]


class ResNetV2(HeadNet):
    """ResNet V2, arXiv:1603.05027. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        layers: blocks of each stage. channels: what comes out of each; times `width_factor`, as `stem_chs` is.
        output_stride: reduction of the last stage, 32, 16 or 8; strides beyond it become dilation.
        stem_type: of the stem, see `create_resnetv2_stem`.
        avg_down: shortcuts pool and then project, in place of a convolution with a stride.
        preact: blocks normalise before they convolve. basic: blocks of two 3x3 convolutions.
        bottle_ratio: channels inside a block over those that come out.
        norm_layer: 'groupnorm', 'batchnorm2d', 'evonorms0', 'frntlu' ..., or a class.
        conv_layer: 'std_conv2d', with weight standardisation (arXiv:1903.10520), 'std_conv2d_same', which pads as
            TensorFlow does, too, 'conv2d', or a class. conv_eps: eps of weight standardisation; None is the layer's own.
        drop_path_rate: stochastic depth at the last block.
        zero_init_last: a fresh block begins as its shortcut.
        stride_last: the last block of each stage but the last has the stride, as in TensorFlow-Slim and Keras; maps are
            of half the resolution.
        conv_bias: convolutions that no normalisation follows have a bias, as in Keras.

    Raises:
        ValueError: numbers that do not fit each other, an option outside what is allowed.
    """

    parts = Parts(stem=(), stages=(), norm='norm', head=('head.global_pool',), classifier=('head.fc',))
    draw = staticmethod(init_he)

    def __init__(self, layers: Sequence[int], channels: Sequence[int] = (256, 512, 1024, 2048), num_classes: int = 1000,
                 in_chans: int = 3, global_pool: str = 'avg', output_stride: int = 32, width_factor: int = 1,
                 stem_chs: int = 64, stem_type: str = '', avg_down: bool = False, preact: bool = True,
                 basic: bool = False, bottle_ratio: float = 0.25, act_layer: ActLayer = 'relu',
                 norm_layer: NormLayer = 'groupnorm', conv_layer: ConvLayer = 'std_conv2d',
                 conv_eps: float | None = None, drop_rate: float = 0.0, drop_path_rate: float = 0.0,
                 zero_init_last: bool = False, stride_last: bool = False, conv_bias: bool = False) -> None:
        super().__init__()
        if not 0 < len(layers) <= len(channels):
            raise ValueError(f'layers and channels have one entry a stage, not {len(layers)} and {len(channels)}.')
        if output_stride not in (8, 16, 32):
            raise ValueError(f'output_stride is 8, 16 or 32, not {output_stride}.')
        if basic and not preact:
            raise ValueError('Blocks of two convolutions (basic=True) normalise before them: preact=False is for others.')
        if (stride_last or conv_bias) and (basic or not preact):
            raise ValueError('stride_last and conv_bias are for blocks of three convolutions that normalise before them '
                             '(basic=False, preact=True).')
        self.in_chans, self.zero_init_last = in_chans, zero_init_last
        conv = get_conv_layer(conv_layer, conv_eps)
        width = round_channels(stem_chs * width_factor)
        self.stem = create_resnetv2_stem(in_chans, width, stem_type, preact, conv, norm_layer, act_layer,
                                         conv_bias=conv_bias)
        before = [name for name in self.stem._modules if name not in ('pad', 'pool')]
        pooling = [f'stem.{name}' for name in self.stem._modules if name not in before]
        self.parts = replace(self.parts, stem=tuple(f'stem.{name}' for name in before), stages=(
            (*pooling, 'stages.0'), *(f'stages.{number}' for number in range(1, len(layers)))))
        self.feature_info = [Feature(num_chs=width, reduction=2, module=f'stem.{before[-1]}', stage=0)]

        self.stages = nn.Sequential()
        rates, reduction, dilation = iter(drop_path_rates(drop_path_rate, sum(layers))), 4, 1
        for number, (depth, planes) in enumerate(zip(layers, channels)):
            strided = number + 1 < len(layers) if stride_last else number > 0
            stride, first, out = 2 if strided else 1, dilation, round_channels(planes * width_factor)
            if reduction * stride > output_stride:
                stride, dilation = 1, dilation * stride
            reduction *= stride
            self.stages.append(ResNetStage(
                width, out, stride, first if stride_last else dilation, depth, bottle_ratio, avg_down=avg_down,
                act_layer=act_layer, block_dpr=[next(rates) for _ in range(depth)], conv_layer=conv, norm_layer=norm_layer,
                block_fn=Bottleneck if not preact else PreActBasic if basic else PreActBottleneck,
                stride_last=stride_last, **{'conv_bias': True} if conv_bias else {}))
            width = out
            self.feature_info.append(Feature(num_chs=width, reduction=reduction, module=f'stages.{number}',
                                             stage=number + 1))
        self.norm, self.act = Norm(norm_layer).with_act(width, act_layer) if preact else (nn.Identity(), nn.Identity())
        self.num_features = width
        self.head = Head(width, global_pool, drop_rate=drop_rate, use_conv=True)
        self.build_head(width, num_classes, global_pool, drop_rate)
        self.init_fresh()

    def normalise(self, state: Tensor) -> Tensor:
        """The final normalisation and its activation, of a map that has its channels."""
        return state if isinstance(self.norm, nn.Identity) else self.act(self.norm(state))

    def hidden_of(self, state: Tensor) -> Tensor:
        """What goes into the first stage, of the state after the stem: hidden states begin behind the max pooling."""
        return self.enter_stage(0, state)

    def make_classifier(self, num_classes: int) -> nn.Module:
        """A 1x1 convolution from the embedding, a map of one pixel, to logits."""
        return nn.Conv2d(self.embedding_size, num_classes, 1)

    def classify(self, embedding: Tensor) -> Tensor:
        """An embedding (B, embedding_size) -> logits (B, num_classes)."""
        return self.head.classify(embedding)

    def init_weights(self) -> None:
        super().init_weights()
        self.init_head()
        if self.zero_init_last:
            for stage in self.stages.children():
                for block in stage.get_submodule('blocks').children():
                    getattr(block, 'zero_init_last')()

    def init_head(self) -> None:
        """Draws the classifier anew, normal with deviation 0.01."""
        super().init_head()
        if isinstance(self.head.fc, nn.Conv2d):
            nn.init.normal_(self.head.fc.weight, std=0.01)
