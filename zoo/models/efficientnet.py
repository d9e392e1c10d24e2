"""EfficientNet, arXiv:1905.11946, and every network that is a stem, stages of block strings and a wide convolution.

    image -> conv_stem (stride 2) -> blocks (7 stages, 4 of them halve the resolution) -> conv_head (1x1) -> pool
          -> classifier

MobileNetV1 and V2, MNASNet, FBNet-C, MixNet, TinyNet and EfficientNetV2 differ from it in their blocks alone.
"""
from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from typing import Any

from torch import nn

from ..layers.act import ActLayer
from ..layers.conv import conv2d
from ..layers.mbconv import Style
from ..layers.norm import Norm, NormLayer, norm_options
from ..layers.pool import AaLayer
from ..spec import whole
from .blocknet import BlockNet


class EfficientNet(BlockNet):
    """EfficientNet, arXiv:1905.11946. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        blocks: one text of block strings a stage, see zoo.blocks.
        width, depth: multipliers of channels and repeats (compound scaling); `depth` may be one number a stage.
        divisor, round_limit: channels are rounded to multiples of `divisor`, not below `round_limit` of their value.
        depth_rounding: 'ceil' or 'round', of a stage's scaled repeats.
        fix_first_last, fix_stem: keep the repeats of the first and last stage, the width of the stem, as they are.
        experts: multiplier of the experts of conditional convolutions.
        head_size: channels of the last convolution, not scaled; 0 leaves it out.
        norm_kwargs: further options of `norm_layer`.
        pad_type: '' pads convolutions alike on all sides, 'same' as TensorFlow does, 'even' as TensorFlow does where
            the size is even. symmetric_blocks: numbers of blocks, through all stages, that pad alike all the same.
        aa_layer: how to subsample in place of a stride: 'avg', 'blur', 'blurpc', or None.
        se_layer: gate inside the blocks: 'se' or 'gc'.
        group_size: channels per group of the blocks' spatial convolutions; 0 is what each block's kind says.
        output_stride: reduction of the last stage, 32, 16 or 8; strides beyond it become dilation.
        global_pool: '', 'avg', 'max', 'avgmax' or 'catavgmax'.
        drop_rate: dropout before the classifier. drop_path_rate: stochastic depth at the last block.

    Raises:
        ValueError: blocks that cannot be read or built, an option outside what is allowed.
    """

    parts = replace(BlockNet.parts, pre_head=('conv_head', 'bn2', 'act2'))
    conv_head: nn.Module

    def __init__(self, blocks: Sequence[str | Sequence[str]], *, width: float = 1.0,
                 depth: float | Sequence[float] = 1.0, divisor: int = 8, round_limit: float = 0.9,
                 depth_rounding: str = 'ceil', fix_first_last: bool = False, experts: int = 1, stem_size: int = 32,
                 stem_kernel_size: int = 3, fix_stem: bool = False, head_size: int = 1280, act_layer: ActLayer = 'relu',
                 norm_layer: NormLayer = 'batchnorm2d', norm_kwargs: Mapping[str, Any] | None = None,
                 bn_eps: float | None = None, bn_momentum: float | None = None, pad_type: str = '',
                 aa_layer: AaLayer | None = None, se_layer: str | Callable[..., nn.Module] = 'se', group_size: int = 0,
                 symmetric_blocks: Collection[int] = (),
                 output_stride: int = 32, in_chans: int = 3, num_classes: int = 1000, global_pool: str = 'avg',
                 drop_rate: float = 0.0, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        norm = Norm(norm_layer, **norm_options(bn_eps, bn_momentum, norm_kwargs))
        style = Style(act_layer=act_layer, norm=norm, pad_type=pad_type, aa_layer=aa_layer, se_layer=se_layer,
                      round_limit=round_limit, group_size=group_size)
        last = self.build_trunk(blocks, style, in_chans=in_chans, width=width, depth=depth, divisor=divisor,
                                depth_rounding=depth_rounding, fix_first_last=fix_first_last, experts=experts,
                                stem_size=stem_size, stem_kernel_size=stem_kernel_size, fix_stem=fix_stem,
                                output_stride=output_stride, drop_path_rate=drop_path_rate,
                                symmetric_blocks=symmetric_blocks)
        if whole('head_size', head_size, 0):
            self.conv_head = conv2d(last, head_size, 1)
            self.bn2, self.act2 = norm.with_act(head_size, act_layer)
        else:
            self.conv_head = self.bn2 = self.act2 = nn.Identity()
        self.num_features = head_size or last
        self.build_head(self.num_features, num_classes, global_pool, drop_rate)
        self.init_fresh()
