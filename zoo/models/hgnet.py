"""PP-HGNet and PP-HGNetV2 of PaddleClas: networks for GPUs, of blocks that join what all their convolutions give.

    image -> stem (stride 4) -> stages.0 -> stages.1 -> stages.2 -> stages.3 -> head: pool, last_conv, fc
    block: 3x3 convolutions in a row -> the block's input and all their maps as channels -> aggregation
          -> added to the input, but for the first block of a stage

From the second stage on, a depthwise convolution halves the resolution first. V1 aggregates by a 1x1 convolution and a gate
('ese': VoVNetV2, arXiv:1911.06667), V2 by two 1x1 convolutions; its last stages have light blocks, whose convolutions are a
1x1 and a depthwise one, and its small networks learn a factor and a bias after each activation (`use_lab`). It is the
backbone of RT-DETR (arXiv:2304.08069) and D-FINE (arXiv:2410.13842).
"""
from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..contract import ImageModel, Parts
from ..layers.conv import conv2d
from ..layers.drop import DropPath
from ..layers.init import init_conv_net
from ..layers.pool import POOLS, SINGLE_POOLS, GlobalPool
from ..layers.stages import drop_path_rates, same_stages
from ..spec import Feature, unknown

STEMS = {'v1': 3, 'v2': 2}                                     # the widths of a stem that can be chosen
AGGREGATIONS = {'v1': 'ese', 'v2': 'se'}


class HighPerfGpuNet(ImageModel):
    """PP-HGNet. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        stem_type: 'v1', three convolutions and pooling, or 'v2', of two branches. stem_chs: channels of the convolutions of
            the first; of the first and the last of the second.
        mid_chs, out_chs: channels of the convolutions of each stage, and of what comes out of it.
        block_num: blocks of each stage. layer_num: convolutions of each of its blocks.
        light_block: for each stage, whether its convolutions are a 1x1 and a depthwise one. kernel_size: of its
            convolutions.
        head_hidden_size: channels of a convolution after the pooling; None for no such convolution.
        drop_path_rate: stochastic depth at the last block. use_lab: a learned factor and bias after each activation.

    Raises:
        ValueError: options of stages that are of other numbers of stages, another stem.
    """

    draw = staticmethod(init_conv_net)
    parts = Parts(stem=('stem',), stages=('stages.*',), head=('head.global_pool', 'head.last_conv'),
                  classifier=('head.fc',))
    head: ClassifierHead

    def __init__(self, stem_type: str = 'v2', stem_chs: Sequence[int] = (16, 16), mid_chs: Sequence[int] = (16, 32, 64, 128),
                 out_chs: Sequence[int] = (64, 256, 512, 1024), block_num: Sequence[int] = (1, 1, 2, 1),
                 layer_num: Sequence[int] = (3, 3, 3, 3), light_block: Sequence[bool] = (False, False, True, True),
                 kernel_size: Sequence[int] = (3, 3, 5, 5), in_chans: int = 3, num_classes: int = 1000,
                 global_pool: str = 'avg', head_hidden_size: int | None = 2048, drop_rate: float = 0.0,
                 drop_path_rate: float = 0.0, use_lab: bool = False) -> None:
        super().__init__()
        if stem_type not in STEMS:
            raise ValueError(unknown('stem_type', stem_type, STEMS))
        if len(stem_chs) != STEMS[stem_type]:
            raise ValueError(f'The stem {stem_type!r} has {STEMS[stem_type]} stem_chs, not {list(stem_chs)}.')
        same_stages(mid_chs=mid_chs, out_chs=out_chs, block_num=block_num, layer_num=layer_num, light_block=light_block,
                    kernel_size=kernel_size)
        self.in_chans = in_chans
        self.stem: nn.Module = StemV1([in_chans, *stem_chs]) if stem_type == 'v1' else \
            StemV2(in_chans, stem_chs[0], stem_chs[1], use_lab)
        width, rates = stem_chs[-1], iter(drop_path_rates(drop_path_rate, sum(block_num)))
        self.stages, self.feature_info = nn.Sequential(), []
        for number, (inner, out, blocks, layers, light, kernel) in enumerate(
                zip(mid_chs, out_chs, block_num, layer_num, light_block, kernel_size)):
            self.stages.append(HighPerfGpuStage(
                width, inner, out, blocks, layers, number > 0, 2, light, kernel, use_lab, AGGREGATIONS[stem_type],
                [next(rates) for _ in range(blocks)]))
            self.feature_info.append(Feature(num_chs=out, reduction=4 * 2 ** number, module=f'stages.{number}',
                                             stage=number + 1))
            width = out
        self.num_features = width
        self.head = ClassifierHead(width, global_pool, drop_rate, head_hidden_size, use_lab)
        self.build_head(width, num_classes, global_pool, drop_rate)
        self.init_fresh()

    @property
    def pools(self) -> tuple[str, ...]:
        """Every kind; those whose width the last convolution takes in, where there is one."""
        conv = self.head.hidden_conv
        if conv is None:
            return POOLS
        return SINGLE_POOLS if conv.in_channels == self.pooled_channels else ('', 'catavgmax')

    @property
    def embedding_size(self) -> int:
        """The width of the embedding: of the last convolution, where there is one."""
        conv = self.head.hidden_conv
        return super().embedding_size if conv is None else conv.out_channels

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The output of `forward_features` -> logits, or the embedding; see `ImageModel.forward_head`."""
        return self.head(x, pre_logits)


class LearnableAffineBlock(nn.Module):
    """One learned factor and one learned bias for all of a map."""

    def __init__(self, scale_value: float = 1.0, bias_value: float = 0.0) -> None:
        super().__init__()
        self.values = scale_value, bias_value
        self.scale, self.bias = nn.Parameter(torch.empty(1)), nn.Parameter(torch.empty(1))
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The initial values."""
        nn.init.constant_(self.scale, self.values[0])
        nn.init.constant_(self.bias, self.values[1])

    def forward(self, x: Tensor) -> Tensor:
        return self.scale * x + self.bias


class ConvBNAct(nn.Module):
    """A convolution, batch normalisation and ReLU: (B, in_chs, H, W) -> (B, out_chs, ceil(H / stride), ceil(W / stride)).

    Args:
        padding: see `zoo.layers.conv.padding_for`. use_act: with ReLU, and with `use_lab` a learned affine map after it.
    """

    def __init__(self, in_chs: int, out_chs: int, kernel_size: int, stride: int = 1, groups: int = 1, padding: str = '',
                 use_act: bool = True, use_lab: bool = False) -> None:
        super().__init__()
        self.conv = conv2d(in_chs, out_chs, kernel_size, stride, groups=groups, pad_type=padding)
        self.bn = nn.BatchNorm2d(out_chs)
        self.act = nn.ReLU(inplace=True) if use_act else nn.Identity()
        self.lab = LearnableAffineBlock() if use_act and use_lab else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        x = self.conv(x)
        x = self.act(self.bn(x))
        return self.lab(x)


class LightConvBNAct(nn.Module):
    """A 1x1 convolution without and a depthwise one with activation: (B, in_chs, H, W) -> (B, out_chs, H, W)."""

    def __init__(self, in_chs: int, out_chs: int, kernel_size: int, groups: int = 1, use_lab: bool = False) -> None:
        super().__init__()
        self.conv1 = ConvBNAct(in_chs, out_chs, 1, groups=groups, use_act=False, use_lab=use_lab)
        self.conv2 = ConvBNAct(out_chs, out_chs, kernel_size, groups=out_chs, use_lab=use_lab)

    def forward(self, x: Tensor) -> Tensor:
        return self.conv2(self.conv1(x))


class EseModule(nn.Module):
    """Effective squeeze-and-excitation (arXiv:1911.06667, section 2.3), with a sigmoid; keeps the shape (B, chs, H, W)."""

    def __init__(self, chs: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(chs, chs, 1)
        self.sigmoid = nn.Sigmoid()

    def forward(self, x: Tensor) -> Tensor:
        return x * self.sigmoid(self.conv(x.mean((2, 3), keepdim=True)))


class StemV1(nn.Module):
    """3x3 convolutions from `stem_chs[0]` channels on, the first with stride 2, and max pooling:
    (B, stem_chs[0], H, W) -> (B, stem_chs[-1], ceil(H / 4), ceil(W / 4))."""

    def __init__(self, stem_chs: Sequence[int]) -> None:
        super().__init__()
        self.stem = nn.Sequential(*(ConvBNAct(width, out, 3, 1 if number else 2)
                                    for number, (width, out) in enumerate(zip(stem_chs, stem_chs[1:]))))
        self.pool = nn.MaxPool2d(3, 2, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        return self.pool(x)


class StemV2(nn.Module):
    """A 3x3 convolution, pooling beside two 2x2 convolutions, and a 3x3 and a 1x1 convolution of both:
    (B, in_chs, H, W) -> (B, out_chs, ceil(H / 4), ceil(W / 4)). 2x2 pixels begin with the one they stand for."""

    def __init__(self, in_chs: int, mid_chs: int, out_chs: int, use_lab: bool = False) -> None:
        super().__init__()
        self.stem1 = ConvBNAct(in_chs, mid_chs, 3, 2, use_lab=use_lab)
        self.stem2a = ConvBNAct(mid_chs, mid_chs // 2, 2, padding='valid', use_lab=use_lab)
        self.stem2b = ConvBNAct(mid_chs // 2, mid_chs, 2, padding='valid', use_lab=use_lab)
        self.stem3 = ConvBNAct(2 * mid_chs, mid_chs, 3, 2, use_lab=use_lab)
        self.stem4 = ConvBNAct(mid_chs, out_chs, 1, use_lab=use_lab)
        self.pool = nn.MaxPool2d(2, 1)

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem1(x)
        x = F.pad(x, (0, 1, 0, 1))
        convolved = self.stem2a(x)
        convolved = self.stem2b(F.pad(convolved, (0, 1, 0, 1)))
        x = torch.cat([self.pool(x), convolved], 1)
        del convolved
        x = self.stem3(x)
        return self.stem4(x)


class HighPerfGpuBlock(nn.Module):
    """Convolutions in a row, of all of whose maps one is made: (B, in_chs, H, W) -> (B, out_chs, H, W).

    Args:
        mid_chs: channels of each of the `layer_num` convolutions.
        residual: add the input to what comes out. light_block: see `HighPerfGpuNet`.
        agg: how one map is made, 'ese', a 1x1 convolution and a gate, or 'se', two 1x1 convolutions.
        drop_path: rate of stochastic depth.
    """

    def __init__(self, in_chs: int, mid_chs: int, out_chs: int, layer_num: int, kernel_size: int = 3,
                 residual: bool = False, light_block: bool = False, use_lab: bool = False, agg: str = 'ese',
                 drop_path: float = 0.0) -> None:
        super().__init__()
        if agg not in AGGREGATIONS.values():
            raise ValueError(unknown('agg', agg, AGGREGATIONS.values()))
        self.residual = residual
        conv = LightConvBNAct if light_block else ConvBNAct
        self.layers = nn.ModuleList(conv(mid_chs if number else in_chs, mid_chs, kernel_size, use_lab=use_lab)
                                    for number in range(layer_num))
        joined = in_chs + layer_num * mid_chs
        if agg == 'se':
            self.aggregation = nn.Sequential(ConvBNAct(joined, out_chs // 2, 1, use_lab=use_lab),
                                             ConvBNAct(out_chs // 2, out_chs, 1, use_lab=use_lab))
        else:
            self.aggregation = nn.Sequential(ConvBNAct(joined, out_chs, 1, use_lab=use_lab), EseModule(out_chs))
        self.drop_path = DropPath(drop_path) if drop_path else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        shortcut, maps = x, [x]
        for layer in self.layers:
            x = layer(x)
            maps.append(x)
        x = torch.cat(maps, 1)
        del maps
        x = self.aggregation(x)
        return self.drop_path(x) + shortcut if self.residual else x


class HighPerfGpuStage(nn.Module):
    """A depthwise convolution with a stride, and blocks: (B, in_chs, H, W) -> (B, out_chs, H / stride, W / stride).

    Args:
        downsample: begin with that convolution. drop_path: rates of stochastic depth, one a block. Others as in
            `HighPerfGpuBlock`.
    """

    def __init__(self, in_chs: int, mid_chs: int, out_chs: int, block_num: int, layer_num: int, downsample: bool = True,
                 stride: int = 2, light_block: bool = False, kernel_size: int = 3, use_lab: bool = False, agg: str = 'ese',
                 drop_path: Sequence[float] = ()) -> None:
        super().__init__()
        self.downsample = ConvBNAct(in_chs, in_chs, 3, stride, in_chs, use_act=False, use_lab=use_lab) if downsample \
            else nn.Identity()
        self.blocks = nn.Sequential(*(
            HighPerfGpuBlock(out_chs if number else in_chs, mid_chs, out_chs, layer_num, kernel_size, number > 0,
                             light_block, use_lab, agg, drop_path[number] if drop_path else 0.0)
            for number in range(block_num)))

    def forward(self, x: Tensor) -> Tensor:
        x = self.downsample(x)
        return self.blocks(x)


class ClassifierHead(nn.Module):
    """Pooling, a 1x1 convolution with ReLU, dropout and classifier: (B, in_features, H, W) -> (B, num_classes). The
    network that it is part of puts `global_pool` and `fc` in.

    Args:
        hidden_size: channels of the convolution; None for none.
    """

    def __init__(self, in_features: int, global_pool: str = 'avg', drop_rate: float = 0.0,
                 hidden_size: int | None = 2048, use_lab: bool = False) -> None:
        super().__init__()
        self.global_pool = GlobalPool(global_pool)
        self.last_conv: nn.Module = nn.Identity()
        if hidden_size:
            lab = [LearnableAffineBlock()] if use_lab else []
            self.last_conv = nn.Sequential(conv2d(in_features * self.global_pool.feat_mult, hidden_size, 1),
                                           nn.ReLU(inplace=True), *lab)
        self.dropout = nn.Dropout(drop_rate)
        self.fc: nn.Module = nn.Identity()

    @property
    def hidden_conv(self) -> nn.Conv2d | None:
        """The convolution, where there is one."""
        return next((layer for layer in self.last_conv.children() if isinstance(layer, nn.Conv2d)), None)

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.global_pool(x)
        if self.global_pool.pool_type:
            x = self.last_conv(x[:, :, None, None]).flatten(1)
        else:
            x = self.last_conv(x)
        x = self.dropout(x)
        return x if pre_logits else self.fc(x)
