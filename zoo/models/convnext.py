"""ConvNeXt, arXiv:2201.03545, and ConvNeXt V2, arXiv:2301.00808: a convolutional network with a transformer's shape.

    image -> stem (4x4 patches) -> stage 0 -> stage 1 -> stage 2 -> stage 3 -> pool -> norm -> fc
    block: depthwise 7x7 -> norm -> MLP (4 times as wide inside; V2: with global response normalisation) -> scale, added

Stages 1 to 3 begin with a normalisation and a 2x2 convolution of stride 2.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch
from torch import Tensor, nn

from ..blocks import round_channels
from ..contract import Parts
from ..layers.act import ActLayer, create_act
from ..layers.conv import conv2d
from ..layers.drop import DropPath
from ..layers.head import Head
from ..layers.init import init_transformer
from ..layers.mlp import GlobalResponseNormMlp, Mlp
from ..layers.norm import NORMS, MakeNorm, NormLayer
from ..layers.stages import drop_path_rates
from ..spec import Feature, unknown
from .headnet import HeadNet

STEMS = ('patch', 'overlap', 'overlap_tiered', 'overlap_act')


class ConvNeXt(HeadNet):
    """ConvNeXt, arXiv:2201.03545. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        output_stride: reduction of the last stage, 32, 16 or 8; strides beyond it become dilation.
        depths, dims: blocks and channels of each stage.
        kernel_sizes: of the depthwise convolutions, one or one a stage.
        ls_init_value: initial factor of every block's branch; None for none (V2).
        stem_type: 'patch'; or two 3x3 convolutions of stride 2, 'overlap', the first of half the width
            ('overlap_tiered'), or with an activation between them ('overlap_act').
        patch_size: of the stem's patches, in pixels.
        head_init_scale: factor of the fresh classifier.
        head_norm_first: normalise before pooling. head_hidden_size: width of a layer before the classifier.
        conv_mlp: MLPs are 1x1 convolutions on maps with the channels first: the same numbers, other shapes of weights.
        conv_bias: biases of the convolutions. use_grn: global response normalisation in the MLPs (V2).
        norm_layer: 'layernorm', 'rmsnorm' or 'simplenorm', or a class for maps. norm_eps: None for 1e-6.

    Raises:
        ValueError: numbers that do not fit each other, an option outside what is allowed.
    """

    parts = Parts(stem=('stem',), stages=('stages.*',), norm='norm_pre',
                  head=('head.global_pool', 'head.norm', 'head.pre_logits'), classifier=('head.fc',))
    draw = staticmethod(partial(init_transformer, convs=True))

    def __init__(self, in_chans: int = 3, num_classes: int = 1000, global_pool: str = 'avg', output_stride: int = 32,
                 depths: Sequence[int] = (3, 3, 9, 3), dims: Sequence[int] = (96, 192, 384, 768),
                 kernel_sizes: int | Sequence[int] = 7, ls_init_value: float | None = 1e-6, stem_type: str = 'patch',
                 patch_size: int = 4, head_init_scale: float = 1.0, head_norm_first: bool = False,
                 head_hidden_size: int | None = None, conv_mlp: bool = False, conv_bias: bool = True,
                 use_grn: bool = False, act_layer: ActLayer = 'gelu', norm_layer: NormLayer | None = None,
                 norm_eps: float | None = None, drop_rate: float = 0.0, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        kernels = [kernel_sizes] * len(depths) if isinstance(kernel_sizes, int) else list(kernel_sizes)
        if not len(depths) == len(dims) == len(kernels):
            raise ValueError('depths, dims and kernel_sizes have one entry a stage, not '
                             f'{len(depths)}, {len(dims)} and {len(kernels)}.')
        if output_stride not in (8, 16, 32):
            raise ValueError(f'output_stride is 8, 16 or 32, not {output_stride}.')
        norm, norm_last = norms(norm_layer, norm_eps)
        self.in_chans, self.num_features, self.head_init_scale = in_chans, dims[-1], head_init_scale

        self.stem, reduction = stem(stem_type, in_chans, dims[0], patch_size, conv_bias, norm, act_layer)
        up_to = 1 if stem_type == 'patch' else reduction
        self.stages, self.feature_info = nn.Sequential(), []
        rates, width, dilation = iter(drop_path_rates(drop_path_rate, sum(depths))), dims[0], 1
        for number, (depth, dim) in enumerate(zip(depths, dims)):
            stride = 2 if number or reduction == 2 else 1
            before = dilation
            if reduction * stride > output_stride:
                dilation, stride = dilation * stride, 1
            reduction *= stride
            self.stages.append(ConvNeXtStage(
                width, dim, kernels[number], stride, depth, (before, dilation), [next(rates) for _ in range(depth)],
                ls_init_value, conv_mlp, conv_bias, use_grn, act_layer, norm, norm_last))
            width = dim
            self.feature_info.append(Feature(num_chs=dim, reduction=reduction, module=f'stages.{number}',
                                             stage=number + 1, ceil_reduction=up_to))
        self.norm_pre = norm(width) if head_norm_first else nn.Identity()
        if not head_norm_first:
            self.parts = replace(self.parts, norm='')
        self.head = Head(width, global_pool, norm=None if head_norm_first else norm(width),
                         hidden_size=head_hidden_size, act_layer='gelu', drop_rate=drop_rate)
        self.build_head(width, num_classes, global_pool, drop_rate)
        self.init_fresh()

    def init_weights(self) -> None:
        super().init_weights()
        self.init_head()


def norms(norm_layer: NormLayer | None, eps: float | None) -> tuple[MakeNorm, MakeNorm]:
    """What makes normalisations of maps, and of maps with the channels last."""
    if norm_layer is None or isinstance(norm_layer, str):
        name = (norm_layer or 'layernorm').removesuffix('2d')
        if name not in ('layernorm', 'rmsnorm', 'simplenorm'):
            raise ValueError(unknown('norm_layer', norm_layer or '', ('layernorm', 'rmsnorm', 'simplenorm')))
        maps, last = (partial(NORMS[kind], eps=1e-6 if eps is None else eps) for kind in (f'{name}2d', name))
        return maps, last
    options = {} if eps is None else {'eps': eps}
    return partial(norm_layer, **options), partial(norm_layer, **options)


def stem(kind: str, in_chans: int, width: int, patch_size: int, bias: bool, norm: MakeNorm,
         act_layer: ActLayer) -> tuple[nn.Sequential, int]:
    """The layers before the stages, and their reduction: (B, in_chans, H, W) -> (B, width, H/4, W/4)."""
    if kind not in STEMS:
        raise ValueError(unknown('stem_type', kind, STEMS))
    if kind == 'patch':
        return nn.Sequential(nn.Conv2d(in_chans, width, patch_size, patch_size, bias=bias), norm(width)), patch_size
    inner = round_channels(width // 2) if 'tiered' in kind else width
    act = [create_act(act_layer)] if 'act' in kind else []
    return nn.Sequential(conv2d(in_chans, inner, 3, 2, bias=bias), *act, conv2d(inner, width, 3, 2, bias=bias),
                         norm(width)), 4


class ConvNeXtStage(nn.Module):
    """Downsampling, where the resolution or the width changes, and blocks: (B, in_chs, H, W) -> (B, out_chs, H/2, W/2).

    Args:
        dilation: of the downsampling, and of the blocks.
        norm_layer, norm_layer_cl: make normalisations of maps, and of maps with the channels last.
    """

    def __init__(self, in_chs: int, out_chs: int, kernel_size: int = 7, stride: int = 2, depth: int = 2,
                 dilation: tuple[int, int] = (1, 1), drop_path_rates: Sequence[float] | None = None,
                 ls_init_value: float | None = 1.0, conv_mlp: bool = False, conv_bias: bool = True,
                 use_grn: bool = False, act_layer: ActLayer = 'gelu', norm_layer: MakeNorm | None = None,
                 norm_layer_cl: MakeNorm | None = None) -> None:
        super().__init__()
        maps, last = norm_layer or norms(None, None)[0], norm_layer_cl or norms(None, None)[1]
        self.downsample: nn.Module = nn.Identity()
        if stride > 1 or in_chs != out_chs or dilation[0] != dilation[1]:
            kernel = 2 if stride > 1 or dilation[0] != dilation[1] else 1
            padded = 'same' if dilation[1] > 1 else 'valid'
            self.downsample = nn.Sequential(
                maps(in_chs), conv2d(in_chs, out_chs, kernel, stride, dilation[0], pad_type=padded, bias=conv_bias))
        rates = drop_path_rates or [0.0] * depth
        self.blocks = nn.Sequential(*(ConvNeXtBlock(
            out_chs, kernel_size=kernel_size, dilation=dilation[1], conv_mlp=conv_mlp, conv_bias=conv_bias,
            use_grn=use_grn, ls_init_value=ls_init_value, act_layer=act_layer,
            norm_layer=maps if conv_mlp else last, drop_path=rate) for rate in rates))

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks(self.downsample(x))


class ConvNeXtBlock(nn.Module):
    """A depthwise convolution and an MLP, a residual branch (Figure 4): (B, in_chs, H, W) -> (B, out_chs, H, W).

    Args:
        stride, out_chs: where they change the map, the shortcut pools and projects it.
        norm_layer: makes the normalisation, of maps for `conv_mlp`, else with the channels last.
    """

    def __init__(self, in_chs: int, out_chs: int | None = None, kernel_size: int = 7, stride: int = 1,
                 dilation: int = 1, mlp_ratio: float = 4, conv_mlp: bool = False, conv_bias: bool = True,
                 use_grn: bool = False, ls_init_value: float | None = 1e-6, act_layer: ActLayer = 'gelu',
                 norm_layer: MakeNorm | None = None, drop_path: float = 0.0) -> None:
        super().__init__()
        width = out_chs or in_chs
        make_norm = norm_layer or norms(None, None)[0 if conv_mlp else 1]
        mlp = GlobalResponseNormMlp if use_grn else Mlp
        self.use_conv_mlp = conv_mlp
        self.conv_dw = conv2d(in_chs, width, kernel_size, stride, dilation, groups=in_chs, bias=conv_bias)
        self.norm = make_norm(width)
        self.mlp = mlp(width, int(mlp_ratio * width), act_layer=act_layer, use_conv=conv_mlp)
        self.ls_init_value = ls_init_value
        self.gamma = None if ls_init_value is None else nn.Parameter(torch.empty(width))
        self.shortcut: nn.Module = nn.Identity()
        if in_chs != width or stride > 1:
            self.shortcut = nn.Sequential(nn.AvgPool2d(stride, ceil_mode=True),
                                          nn.Conv2d(in_chs, width, 1, bias=conv_bias))
        self.drop_path = DropPath(drop_path)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """The scale at its initial value."""
        if self.gamma is not None and self.ls_init_value is not None:
            nn.init.constant_(self.gamma, self.ls_init_value)

    def forward(self, x: Tensor) -> Tensor:
        branch = self.conv_dw(x)
        if self.use_conv_mlp:
            branch = self.norm(branch)
            branch = self.mlp(branch)
        else:
            branch = self.norm(branch.permute(0, 2, 3, 1))
            branch = self.mlp(branch).permute(0, 3, 1, 2)
        if self.gamma is not None:
            branch = branch * self.gamma.view(1, -1, 1, 1)
        return self.shortcut(x) + self.drop_path(branch)
