"""`EfficientNet` built from the arguments that timm's takes, for programs that subclass it."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from torch import nn

from ..blocks import parse, parse_stages, scale_depth, text
from ..models import efficientnet
from .layers import make_divisible
from .norms import joined

__all__ = ['EfficientNet', 'decode_arch_def', 'round_channels']


def round_channels(channels: float, multiplier: float = 1.0, divisor: int = 8, channel_min: int | None = None,
                   round_limit: float = 0.9) -> int:
    """`channels` times `multiplier`, to the nearest multiple of `divisor`; without a multiplier as they are."""
    return make_divisible(channels * multiplier, divisor, channel_min, round_limit) if multiplier else int(channels)


def decode_arch_def(arch_def: Sequence[Sequence[str]], depth_multiplier: float | Sequence[float] = 1.0,
                    depth_trunc: str = 'ceil', experts_multiplier: int = 1, fix_first_last: bool = False,
                    ) -> list[list[str]]:
    """Stages of block strings with their repeats scaled: block strings that repeat once.

    Args:
        depth_multiplier: one number, or one a stage. depth_trunc: 'ceil' or 'round', of a stage's scaled repeats.
        experts_multiplier: of the experts of conditional convolutions.
        fix_first_last: keep the repeats of the first and the last stage.

    Raises:
        ValueError: block strings that cannot be read, multipliers for another number of stages.
    """
    stages = parse_stages(arch_def)
    depths = list(depth_multiplier) if isinstance(depth_multiplier, Sequence) else [depth_multiplier] * len(stages)
    if len(depths) != len(stages):
        raise ValueError(f'{len(depths)} depth multipliers for {len(stages)} stages; give one number or one a stage.')
    if fix_first_last:
        depths[0] = depths[-1] = 1.0
    return [[text(block.replace(experts=block.experts * experts_multiplier))
             for block in scale_depth(stage, depth, depth_trunc)] for stage, depth in zip(stages, depths)]


class EfficientNet(efficientnet.EfficientNet):
    """EfficientNet whose `bn1` and `bn2` hold their activations, so that a subclass may call its layers one by one.

    Args:
        block_args: stages of block strings, as `decode_arch_def` gives them.
        num_features: channels of the last convolution; 0 leaves it out.
        round_chs_fn: from the channels of a block string, or of the stem, to those of the network.
        stem_size, fix_stem: channels of the stem, and whether they are kept as they are.
        options: other arguments of `zoo.models.efficientnet.EfficientNet` that have the same name there: in_chans,
            num_classes, act_layer, pad_type, output_stride, drop_rate, drop_path_rate, ….
    """

    def __init__(self, block_args: Sequence[Sequence[str]], num_classes: int = 1000, num_features: int = 1280,
                 in_chans: int = 3, stem_size: int = 32, fix_stem: bool = False,
                 round_chs_fn: Callable[[int], int] = round_channels, **options: Any) -> None:
        stages = [[parse(string) for string in stage] for stage in block_args]
        blocks = [[text(block.replace(channels=round_chs_fn(block.channels))) for block in stage] for stage in stages]
        super().__init__(blocks, divisor=1, stem_size=stem_size if fix_stem else round_chs_fn(stem_size),
                         head_size=num_features, num_classes=num_classes, in_chans=in_chans, **options)
        self.bn1, self.act1 = _joined(self.bn1, self.act1)
        self.bn2, self.act2 = _joined(self.bn2, self.act2)


def _joined(norm: nn.Module, act: nn.Module) -> tuple[nn.Module, nn.Module]:
    return (joined(norm, act), nn.Identity()) if isinstance(norm, nn.BatchNorm2d) else (norm, act)
