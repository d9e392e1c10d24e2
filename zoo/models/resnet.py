"""ResNet, arXiv:1512.03385, and the networks that are it with other stems, shortcuts, groups and gates.

    image -> conv1, bn1, act1 (stride 2) -> maxpool (stride 2) -> layer1 -> layer2 -> layer3 -> layer4 -> pool -> fc
    block: convolutions with normalisation, the last without activation -> added to the shortcut -> activation

layer2 to layer4 halve the resolution in their first block. ResNeXt (arXiv:1611.05431) groups the middle convolution,
Wide ResNet (arXiv:1605.07146) widens it, SENet (arXiv:1709.01507) and ECA-Net (arXiv:1910.03151) gate the branch; the
deep stem and the pooling shortcut are ResNet-C and -D (arXiv:1812.01187), ResNet-RS (arXiv:2103.07579) has both.
"""
from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, ClassVar, Protocol

from torch import Tensor, nn

from ..contract import ImageModel, Parts
from ..layers.act import ActLayer, create_act
from ..layers.channel_attention import AttnLayer, create_attn
from ..layers.conv import conv2d
from ..layers.drop import DropBlock2d, DropPath
from ..layers.init import init_he, zero_weight
from ..layers.norm import Norm, NormLayer
from ..layers.pool import AaLayer, CeilAvgPool2d, create_aa, pool_shortcut
from ..layers.stages import drop_path_rates
from ..spec import Feature, unknown

STEMS = ('', 'deep', 'deep_tiered')
SQUARES = {2: (5, 0.25), 3: (3, 1.0)}            # DropBlock: stage -> side in pixels, factor of how many


class BasicBlock(nn.Module):
    """Two 3x3 convolutions (arXiv:1512.03385, Figure 5, left):
    (B, inplanes, H, W) -> (B, planes, H / stride, W / stride).

    Args:
        downsample: the shortcut, where the map changes its shape; None for the input itself.
        cardinality, base_width: 1 and 64: only a bottleneck has groups and another width.
        reduce_first: divisor of the first convolution's width.
        dilation, first_dilation: of the second and the first convolution; None is `dilation`.
        attn_layer, attn_kwargs: the gate at the end of the branch, see `create_attn`.
        aa_layer: filter in place of the stride, see `create_aa`.
        drop_block: makes what drops squares of the maps. drop_path: what drops the branch.

    Raises:
        ValueError: groups or another base width.
    """

    expansion: ClassVar[int] = 1

    def __init__(self, inplanes: int, planes: int, stride: int = 1, downsample: nn.Module | None = None,
                 cardinality: int = 1, base_width: int = 64, reduce_first: int = 1, dilation: int = 1,
                 first_dilation: int | None = None, act_layer: ActLayer = 'relu', norm_layer: NormLayer = 'batchnorm2d',
                 attn_layer: AttnLayer = None, aa_layer: AaLayer | None = None,
                 drop_block: Callable[[], nn.Module] | None = None, drop_path: nn.Module | None = None,
                 attn_kwargs: Mapping[str, Any] | None = None) -> None:
        super().__init__()
        if cardinality != 1 or base_width != 64:
            raise ValueError('A basic block has one group (cardinality 1) and the base width 64, not '
                             f'{cardinality} and {base_width}; a bottleneck takes others.')
        norm, first = Norm(norm_layer), first_dilation or dilation
        inner = planes // reduce_first
        filtered = aa_layer is not None and (stride == 2 or first != dilation)
        self.conv1 = conv2d(inplanes, inner, 3, 1 if filtered else stride, first)
        self.bn1, self.act1 = norm.with_act(inner, act_layer)
        self.drop_block = drop_block() if drop_block else nn.Identity()
        self.aa = create_aa(aa_layer, inner, stride, dilated=True) if filtered else nn.Identity()
        self.conv2 = conv2d(inner, planes, 3, dilation=dilation)
        self.bn2, _ = norm.with_act(planes, None)
        self.se = create_attn(attn_layer, planes, **attn_kwargs or {})
        self.drop_path = drop_path or nn.Identity()
        self.act2 = create_act(act_layer)
        self.downsample = downsample
        self.stride, self.dilation = stride, dilation

    def zero_init_last(self) -> None:
        """Makes the branch zero at first, so that the block begins as its shortcut."""
        zero_weight(self.bn2)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.conv1(x)
        x = self.aa(self.act1(self.drop_block(self.bn1(x))))
        x = self.conv2(x)
        x = self.bn2(x)
        x = self.drop_path(self.se(x))
        x += shortcut if self.downsample is None else self.downsample(shortcut)
        return self.act2(x)


class Bottleneck(nn.Module):
    """1x1, 3x3 and 1x1 convolutions (arXiv:1512.03385, Figure 5, right), the stride in the 3x3 one:
    (B, inplanes, H, W) -> (B, 4 planes, H / stride, W / stride).

    Args:
        downsample, aa_layer, attn_layer, attn_kwargs, drop_block, drop_path: as in `BasicBlock`.
        cardinality, base_width: groups of the middle convolution, and channels a group where `planes` is 64.
        reduce_first: divisor of the first convolution's width.
        dilation, first_dilation: `first_dilation` is that of the middle convolution; None is `dilation`.
        widths: channels of the three convolutions in place of those, of a pruned network.
        stride_first: the stride is in the first 1x1 convolution, as the paper has it.

    Raises:
        ValueError: `stride_first` with a filter in place of the stride.
    """

    expansion: ClassVar[int] = 4

    def __init__(self, inplanes: int, planes: int, stride: int = 1, downsample: nn.Module | None = None,
                 cardinality: int = 1, base_width: int = 64, reduce_first: int = 1, dilation: int = 1,
                 first_dilation: int | None = None, act_layer: ActLayer = 'relu', norm_layer: NormLayer = 'batchnorm2d',
                 attn_layer: AttnLayer = None, aa_layer: AaLayer | None = None,
                 drop_block: Callable[[], nn.Module] | None = None, drop_path: nn.Module | None = None,
                 attn_kwargs: Mapping[str, Any] | None = None,
                 widths: Sequence[int] | None = None, stride_first: bool = False) -> None:
        super().__init__()
        if stride_first and aa_layer is not None:
            raise ValueError('aa_layer filters in place of the stride of the 3x3 convolution, and stride_first=True has it '
                             'in the one before.')
        norm, spatial = Norm(norm_layer), first_dilation or dilation
        middle = planes * base_width // 64 * cardinality
        first, middle, out = widths or (middle // reduce_first, middle, planes * self.expansion)
        filtered = aa_layer is not None and (stride == 2 or spatial != dilation)
        self.conv1 = conv2d(inplanes, first, 1, stride if stride_first else 1)
        self.bn1, self.act1 = norm.with_act(first, act_layer)
        self.conv2 = conv2d(first, middle, 3, 1 if filtered or stride_first else stride, spatial, cardinality)
        self.bn2, self.act2 = norm.with_act(middle, act_layer)
        self.drop_block = drop_block() if drop_block else nn.Identity()
        self.aa = create_aa(aa_layer, middle, stride, dilated=True) if filtered else nn.Identity()
        self.conv3 = conv2d(middle, out, 1)
        self.bn3, _ = norm.with_act(out, None)
        self.se = create_attn(attn_layer, out, **attn_kwargs or {})
        self.drop_path = drop_path or nn.Identity()
        self.act3 = create_act(act_layer)
        self.downsample = downsample
        self.stride, self.dilation = stride, dilation

    def zero_init_last(self) -> None:
        """Makes the branch zero at first, so that the block begins as its shortcut."""
        zero_weight(self.bn3)

    def forward(self, x: Tensor) -> Tensor:
        shortcut = x
        x = self.conv1(x)
        x = self.act1(self.bn1(x))
        x = self.conv2(x)
        x = self.aa(self.act2(self.drop_block(self.bn2(x))))
        x = self.conv3(x)
        x = self.bn3(x)
        x = self.drop_path(self.se(x))
        x += shortcut if self.downsample is None else self.downsample(shortcut)
        return self.act3(x)


class BlockClass(Protocol):
    """A class of blocks, which takes what `Bottleneck` does."""

    expansion: int

    def __call__(self, *args: Any, **options: Any) -> nn.Module: ...


def class_of(block: str | BlockClass, known: Mapping[str, BlockClass]) -> BlockClass:
    """The class of blocks for its name; a class comes back as it is.

    Raises:
        ValueError: a name that is not known.
    """
    if not isinstance(block, str):
        return block
    if block not in known:
        raise ValueError(unknown('block', block, known))
    return known[block]


def without(kind: str, **options: object) -> None:
    """Checks that a kind of block was given none of the options that it does not have.

    Raises:
        ValueError: it was.
    """
    given = [name for name, value in options.items() if value]
    if given:
        raise ValueError(f'{kind} blocks have no {" and no ".join(given)}.')


class ResNet(ImageModel):
    """ResNet, arXiv:1512.03385. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        block: 'basic', 'bottleneck' or a class that takes what `Bottleneck` does; one, or one a stage.
        layers: blocks of each of the four stages. channels: their `planes`; a bottleneck gives four times as many.
        output_stride: reduction of the last stage, 32, 16 or 8; strides beyond it become dilation.
        cardinality, base_width, block_reduce_first: of the blocks, see `Bottleneck`.
        stem_type: '' for one 7x7 convolution of 64 channels; 'deep' for three 3x3 ones of `stem_width`, `stem_width`
            and twice as many channels, the first of three quarters in 'deep_tiered'.
        replace_stem_pool: a convolution of stride 2 in place of the stem's max pooling.
        down_kernel_size: of the convolutions in shortcuts of stride 2.
        avg_down: shortcuts pool and then project, in place of a convolution with a stride.
        norm_layer: 'batchnorm2d', 'groupnorm', 'evonorms0' ..., or a class.
        aa_layer: filter in place of strides, 'avg', 'blur', 'blurpc' or a class; None for none.
        drop_path_rate: stochastic depth at the last block. drop_block_rate: DropBlock in the last two stages.
        zero_init_last: a fresh block begins as its shortcut.
        block_args: further arguments of the blocks, such as attn_layer and attn_kwargs; one mapping, or one a stage.
        widths: of a pruned network, each stage's output channels, and the channels of the first and the middle
            convolution of each of its blocks, of which `layers` may use fewer.

    Raises:
        ValueError: numbers that do not fit each other, an option outside what is allowed.
    """

    parts = Parts(stem=('conv1', 'bn1', 'act1'), stages=(('maxpool', 'layer1'), 'layer2', 'layer3', 'layer4'),
                  classifier=('fc',))
    draw = staticmethod(init_he)
    blocks: ClassVar[Mapping[str, BlockClass]] = {'basic': BasicBlock, 'bottleneck': Bottleneck}

    def __init__(self, block: str | BlockClass | Sequence[str | BlockClass], layers: Sequence[int],
                 num_classes: int = 1000, in_chans: int = 3, output_stride: int = 32, global_pool: str = 'avg',
                 cardinality: int = 1, base_width: int = 64, stem_width: int = 64, stem_type: str = '',
                 replace_stem_pool: bool = False, block_reduce_first: int = 1, down_kernel_size: int = 1,
                 avg_down: bool = False, channels: Sequence[int] = (64, 128, 256, 512), act_layer: ActLayer = 'relu',
                 norm_layer: NormLayer = 'batchnorm2d', aa_layer: AaLayer | None = None, drop_rate: float = 0.0,
                 drop_path_rate: float = 0.0, drop_block_rate: float = 0.0, zero_init_last: bool = True,
                 block_args: Mapping[str, Any] | Sequence[Mapping[str, Any]] | None = None,
                 widths: Sequence[Sequence[Any]] | None = None) -> None:
        super().__init__()
        makers, options = [class_of(kind, self.blocks) for kind in _by_stage(block)], _by_stage(block_args or {})
        if not len(layers) == len(channels) == len(makers) == len(options) == 4 == len(widths or range(4)):
            counts = [len(layers), len(channels), len(makers), len(options), len(widths or range(4))]
            raise ValueError('layers and channels, and what of block, block_args and widths is given by stage, have '
                             f'four entries; they have {counts}.')
        if output_stride not in (8, 16, 32):
            raise ValueError(f'output_stride is 8, 16 or 32, not {output_stride}.')
        self.in_chans, self.zero_init_last = in_chans, zero_init_last
        if avg_down and down_kernel_size != 1:
            raise ValueError('Shortcuts that pool (avg_down) project with kernel 1: '
                             f'down_kernel_size={down_kernel_size} is for the others.')
        norm = Norm(norm_layer)
        self.conv1, width = stem(stem_type, in_chans, stem_width, norm, act_layer)
        self.bn1, self.act1 = norm.with_act(width, act_layer)
        self.feature_info = [Feature(num_chs=width, reduction=2, module='act1', stage=0)]
        self.maxpool = stem_pool(width, replace_stem_pool, aa_layer, norm, act_layer)

        shared: dict[str, Any] = dict(cardinality=cardinality, base_width=base_width, reduce_first=block_reduce_first,
                                      act_layer=act_layer, norm_layer=norm_layer, aa_layer=aa_layer)
        rates, reduction, dilation = iter(drop_path_rates(drop_path_rate, sum(layers))), 4, 1
        for number, (make, count, planes) in enumerate(zip(makers, layers, channels)):
            stride, before = 2 if number else 1, dilation
            if reduction * stride > output_stride:
                stride, dilation = 1, dilation * stride
            reduction *= stride
            out, *inner = widths[number] if widths else (planes * make.expansion,)
            if widths and len(inner) < count:
                raise ValueError(f'widths of layer{number + 1} are of {len(inner)} blocks, fewer than its {count}.')
            stage, given = nn.Sequential(), shared | options[number]
            if drop_block_rate and number in SQUARES:
                given['drop_block'] = partial(DropBlock2d, drop_block_rate, *SQUARES[number])
            for index, rate in zip(range(count), rates):
                if widths:
                    given['widths'] = (*inner[index], out)
                down = None
                if index == 0 and (stride > 1 or width != out):
                    down = (pooled_shortcut(width, out, stride, dilation, norm) if avg_down else
                            shortcut(width, out, down_kernel_size, stride, dilation, before, norm))
                stage.append(make(width, planes, 1 if index else stride, down, dilation=dilation,
                                  first_dilation=dilation if index else before,
                                  drop_path=DropPath(rate) if rate else None, **given))
                width = out
            setattr(self, f'layer{number + 1}', stage)
            self.feature_info.append(Feature(num_chs=width, reduction=reduction, module=f'layer{number + 1}',
                                             stage=number + 1))
        self.num_features = width
        self.build_head(width, num_classes, global_pool, drop_rate)
        self.init_fresh()

    def hidden_of(self, state: Tensor) -> Tensor:
        """What goes into the first stage, of the state after the stem: hidden states begin behind the max pooling."""
        return self.maxpool(state)

    def init_weights(self) -> None:
        super().init_weights()
        if self.zero_init_last:
            for names in self.stage_names():
                for block in self.get_submodule(names[-1]).children():
                    getattr(block, 'zero_init_last')()


def stem(kind: str, in_chans: int, stem_width: int, norm: Norm, act_layer: ActLayer) -> tuple[nn.Module, int]:
    """The first convolution, or three with normalisation between them, and the channels that come out:
    (B, in_chans, H, W) -> (B, channels, H/2, W/2)."""
    if kind not in STEMS:
        raise ValueError(unknown('stem_type', kind, STEMS))
    if not kind:
        return conv2d(in_chans, 64, 7, 2), 64
    first = stem_width // 4 * 3 if kind == 'deep_tiered' else stem_width
    return nn.Sequential(conv2d(in_chans, first, 3, 2), *norm.with_act(first, act_layer),
                         conv2d(first, stem_width, 3), *norm.with_act(stem_width, act_layer),
                         conv2d(stem_width, 2 * stem_width, 3)), 2 * stem_width


def stem_pool(channels: int, replaced: bool, aa_layer: AaLayer | None, norm: Norm, act_layer: ActLayer) -> nn.Module:
    """Max pooling, or where it is `replaced` a convolution, each with the filter in place of its stride:
    (B, C, H, W) -> (B, C, H/2, W/2). Where the filter averages, it pools by itself."""
    aa = create_aa(aa_layer, channels, 2)
    stride, filters = (2, []) if isinstance(aa, nn.Identity) else (1, [aa])
    if replaced:
        return nn.Sequential(conv2d(channels, channels, 3, stride), *filters, *norm.with_act(channels, act_layer))
    if isinstance(aa, CeilAvgPool2d):
        return aa
    pool = nn.MaxPool2d(3, stride, padding=1)
    return nn.Sequential(pool, *filters) if filters else pool


def shortcut(in_channels: int, out_channels: int, kernel_size: int, stride: int, dilation: int, first_dilation: int,
             norm: Norm) -> nn.Sequential:
    """A convolution, with kernel 1 where nothing is subsampled (arXiv:1512.03385, section 3.3, option B)."""
    if stride == 1 and dilation == 1:
        kernel_size = 1
    spread = first_dilation if kernel_size > 1 else 1
    return nn.Sequential(conv2d(in_channels, out_channels, kernel_size, stride, spread),
                         norm.with_act(out_channels, None)[0])


def pooled_shortcut(in_channels: int, out_channels: int, stride: int, dilation: int, norm: Norm) -> nn.Sequential:
    """Average pooling and a 1x1 convolution (ResNet-D, arXiv:1812.01187, Figure 2c)."""
    return nn.Sequential(pool_shortcut(stride, dilation), conv2d(in_channels, out_channels, 1),
                         norm.with_act(out_channels, None)[0])


def _by_stage(given: Any) -> list[Any]:
    return list(given) if isinstance(given, Sequence) and not isinstance(given, str) else [given] * 4
