"""RDNet, arXiv:2403.19588: DenseNet revived with the blocks of ConvNeXt.

    image -> stem (patches of 4) -> dense_stages, groups of three blocks -> head: pool, norm, fc
    between groups: normalisation and a convolution to half the channels, with a stride of 2 where a stage begins
    block: 7x7 depthwise convolution, normalisation -> 1x1, GELU, 1x1 convolution -> gate -> joined as channels

Maps are those of the last group of each stage.
"""
from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor, nn

from ..contract import Parts
from ..layers.act import ActLayer, create_act
from ..layers.channel_attention import EffectiveSEModule
from ..layers.drop import DropPath
from ..layers.head import Head
from ..layers.init import init_he_inputs
from ..layers.norm import MAP_NORM, Norm, NormLayer
from ..layers.stages import drop_path_rates, same_stages
from ..spec import Feature, unknown
from .headnet import HeadNet

STEMS = ('patch', 'overlap', 'overlap_tiered')
BLOCKS = ('Block', 'BlockESE')


class RDNet(HeadNet):
    """RDNet, arXiv:2403.19588. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        growth_rates, num_blocks_list, block_type: of each group of blocks the channels that a block joins, the number of
            blocks, and 'Block' or with a gate 'BlockESE'.
        is_downsample_block: of each group whether its resolution is half of that before; None for the first.
        bottleneck_width_ratio: inner width of a block over that of what comes in. transition_compression_ratio: channels
            between groups over those of what comes in; of each rounded down to a multiple of 8.
        ls_init_value: initial factor of what blocks join; 0 for none.
        stem_type: 'patch', 'overlap', two 3x3 convolutions, or 'overlap_tiered', the first half as wide. patch_size: of the
            first.
        head_init_scale: what a fresh classifier's weights are multiplied by. head_norm_first: normalise before pooling.
        drop_rate: dropout before the classifier. drop_path_rate: stochastic depth at the last block.

    Raises:
        ValueError: options of groups that are of other numbers of groups, another stem or block.
    """

    parts = Parts(stem=('stem',), stages=(), head=('head.global_pool', 'head.norm'), classifier=('head.fc',))
    draw = staticmethod(init_he_inputs)

    def __init__(self, in_chans: int = 3, num_classes: int = 1000, global_pool: str = 'avg',
                 growth_rates: Sequence[int] = (64, 104, 128, 128, 128, 128, 224),
                 num_blocks_list: Sequence[int] = (3,) * 7,
                 block_type: Sequence[str] = ('Block',) * 2 + ('BlockESE',) * 5,
                 is_downsample_block: Sequence[bool | None] = (None, True, True, False, False, False, True),
                 bottleneck_width_ratio: float = 4.0, transition_compression_ratio: float = 0.5,
                 ls_init_value: float = 1e-6, stem_type: str = 'patch', patch_size: int = 4, num_init_features: int = 64,
                 head_init_scale: float = 1.0, head_norm_first: bool = False, conv_bias: bool = True,
                 act_layer: ActLayer = 'gelu', norm_layer: NormLayer = 'layernorm2d', norm_eps: float | None = None,
                 drop_rate: float = 0.0, drop_path_rate: float = 0.0) -> None:
        super().__init__()
        same_stages(growth_rates=growth_rates, num_blocks_list=num_blocks_list, block_type=block_type,
                    is_downsample_block=is_downsample_block)
        norm = Norm(MAP_NORM if norm_layer == 'layernorm2d' else norm_layer, eps=norm_eps)
        self.in_chans, self.head_init_scale = in_chans, head_init_scale
        self.stem = nn.Sequential(*stem_convs(stem_type, in_chans, num_init_features, patch_size, conv_bias),
                                  norm(num_init_features))
        reduction, ceil = (patch_size, 1) if stem_type == 'patch' else (4, 4)
        width, rates = num_init_features, iter(drop_path_rates(drop_path_rate, sum(num_blocks_list)))
        self.dense_stages, self.feature_info = nn.Sequential(), []
        stages: list[list[str]] = []
        for number, (growth, count, kind, halved) in enumerate(
                zip(growth_rates, num_blocks_list, block_type, is_downsample_block)):
            layers: list[nn.Module] = []
            if number:
                side, out = (2 if halved else 1), int(width * transition_compression_ratio) // 8 * 8
                layers = [norm(width), nn.Conv2d(width, out, side, side)]
                reduction, width = reduction * side, out
            if halved or not number:
                stages.append([])
            stage = DenseStage(count, width, [next(rates) for _ in range(count)], growth,
                               bottleneck_width_ratio=bottleneck_width_ratio, block_type=kind, ls_init_value=ls_init_value,
                               norm_layer=norm, act_layer=act_layer)
            width += count * growth
            self.dense_stages.append(nn.Sequential(*layers, stage))
            stages[-1].append(f'dense_stages.{number}')
            if number + 1 == len(growth_rates) or is_downsample_block[number + 1]:
                self.feature_info.append(Feature(num_chs=width, reduction=reduction, module=stages[-1][-1],
                                                 stage=len(stages), ceil_reduction=ceil))
        after = norm(width) if head_norm_first else None
        self.norm_pre = nn.Identity() if after is None else after
        self.parts = replace(self.parts, stages=tuple(map(tuple, stages)), norm='norm_pre' if after is not None else '')
        self.num_features = width
        self.head = Head(width, global_pool, norm=None if head_norm_first else norm(width), drop_rate=drop_rate)
        self.build_head(width, num_classes, global_pool, drop_rate)
        self.init_fresh()


def stem_convs(kind: str, in_chans: int, width: int, patch_size: int, bias: bool) -> list[nn.Module]:
    """The convolutions of the stem: (B, in_chans, H, W) -> (B, width, H / 4, W / 4).

    Raises:
        ValueError: another kind.
    """
    if kind not in STEMS:
        raise ValueError(unknown('stem_type', kind, STEMS))
    if kind == 'patch':
        return [nn.Conv2d(in_chans, width, patch_size, patch_size, bias=bias)]
    inner = width // 2 if kind == 'overlap_tiered' else width
    return [nn.Conv2d(in_chans, inner, 3, 2, 1, bias=bias), nn.Conv2d(inner, width, 3, 2, 1, bias=bias)]


class Block(nn.Module):
    """A block of ConvNeXt (arXiv:2201.03545, Figure 4) without its shortcut: (B, in_chs, H, W) -> (B, out_chs, H, W)."""

    gated = False

    def __init__(self, in_chs: int, inter_chs: int, out_chs: int, norm_layer: NormLayer = 'layernorm2d',
                 act_layer: ActLayer = 'gelu') -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(in_chs, in_chs, 7, 1, 3, groups=in_chs), Norm(norm_layer)(in_chs), nn.Conv2d(in_chs, inter_chs, 1),
            create_act(act_layer), nn.Conv2d(inter_chs, out_chs, 1),
            *([EffectiveSEModule(out_chs)] if self.gated else []))

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


class BlockESE(Block):
    """A `Block` with effective squeeze-and-excitation (arXiv:1911.06667) at its end."""

    gated = True


class DenseBlock(nn.Module):
    """A block and the factors of what it joins: maps (B, C, H, W) of `num_input_features` channels together ->
    (B, growth_rate, H, W).

    Args:
        block_type: 'Block' or 'BlockESE'. bottleneck_width_ratio, ls_init_value: see `RDNet`.

    Raises:
        ValueError: another block.
    """

    def __init__(self, num_input_features: int = 64, growth_rate: int = 64, bottleneck_width_ratio: float = 4.0,
                 drop_path_rate: float = 0.0, block_type: str = 'Block', ls_init_value: float = 1e-6,
                 norm_layer: NormLayer = MAP_NORM, act_layer: ActLayer = 'gelu') -> None:
        super().__init__()
        if block_type not in BLOCKS:
            raise ValueError(unknown('block_type', block_type, BLOCKS))
        inner = int(num_input_features * bottleneck_width_ratio / 8) * 8
        block = BlockESE if block_type == 'BlockESE' else Block
        self.ls_init_value = ls_init_value
        self.gamma = nn.Parameter(torch.empty(growth_rate)) if ls_init_value > 0 else None
        self.drop_path = DropPath(drop_path_rate) if drop_path_rate else nn.Identity()
        self.layers = block(num_input_features, inner, growth_rate, norm_layer, act_layer)
        self.reset_parameters()

    def reset_parameters(self) -> None:
        """Every factor at its initial value."""
        if self.gamma is not None:
            nn.init.constant_(self.gamma, self.ls_init_value)

    def forward(self, x: Sequence[Tensor]) -> Tensor:
        new: Tensor = self.layers(torch.cat([*x], 1))
        if self.gamma is not None:
            new = new * self.gamma.reshape(1, -1, 1, 1)
        return self.drop_path(new)


class DenseStage(nn.Module):
    """Blocks, each of which sees the maps of all before it: (B, num_input_features, H, W) -> with `growth_rate` more
    channels for each. Arguments as in `DenseBlock`."""

    def __init__(self, num_block: int, num_input_features: int, drop_path_rates: Sequence[float], growth_rate: int,
                 bottleneck_width_ratio: float = 4.0, block_type: str = 'Block', ls_init_value: float = 1e-6,
                 norm_layer: NormLayer = MAP_NORM, act_layer: ActLayer = 'gelu') -> None:
        super().__init__()
        for number in range(num_block):
            self.add_module(f'dense_block{number}', DenseBlock(
                num_input_features + number * growth_rate, growth_rate, bottleneck_width_ratio, drop_path_rates[number],
                block_type, ls_init_value, norm_layer, act_layer))

    def forward(self, x: Tensor) -> Tensor:
        maps = [x]
        for block in self.children():
            maps.append(block(maps))
        return torch.cat(maps, 1)
