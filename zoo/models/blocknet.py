"""What all networks made of block strings share: a stem of stride 2 and stages of blocks."""
from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import Tensor, nn

from ..blocks import parse_stages, round_channels, scale
from ..contract import ImageModel, Parts
from ..layers.conv import conv2d
from ..layers.mbconv import Residual, Style, build_stages
from ..spec import Feature, whole


class BlockNet(ImageModel):
    """A network whose trunk is `conv_stem`, `bn1` and `blocks`; a subclass adds what follows them."""

    parts = Parts(stem=('conv_stem', 'bn1', 'act1'), stages=('blocks.*',))
    feature_location = 'bottleneck'

    def build_trunk(self, blocks: Sequence[str | Sequence[str]], style: Style, *, in_chans: int, width: float,
                    depth: float | Sequence[float], divisor: int, depth_rounding: str, fix_first_last: bool,
                    stem_size: int, stem_kernel_size: int, fix_stem: bool, output_stride: int, drop_path_rate: float,
                    experts: int = 1, symmetric_blocks: Collection[int] = ()) -> int:
        """Adds the stem and the stages, and describes their feature maps; returns the channels that come out.

        Raises:
            ValueError: blocks that cannot be read or built, or an `output_stride` other than 8, 16 or 32.
        """
        whole('stem_size', stem_size, 1)
        whole('divisor', divisor, 1)
        whole('stem_kernel_size', stem_kernel_size, 1, 127)
        if output_stride not in (8, 16, 32):
            raise ValueError(f'output_stride is 8, 16 or 32, not {output_stride}.')
        plan = scale(parse_stages(blocks), width, depth, divisor=divisor, round_limit=style.round_limit,
                     depth_rounding=depth_rounding, fix_first_last=fix_first_last, experts=experts)
        stem = stem_size if fix_stem else round_channels(stem_size * width, divisor, style.round_limit)
        self.in_chans = in_chans
        self.conv_stem = conv2d(in_chans, stem, stem_kernel_size, stride=2, pad_type=style.pad_type)
        self.bn1, self.act1 = style.norm.with_act(stem, style.act_layer)
        self.blocks, self.feature_info = build_stages(plan, stem, style, output_stride=output_stride,
                                                      drop_path_rate=drop_path_rate,
                                                      symmetric_blocks=symmetric_blocks)
        return plan[-1][-1].channels

    def hidden_modules(self) -> list[nn.Module]:
        """Every block."""
        return [block for stage in self.blocks for block in stage.children()]

    def set_feature_location(self, location: str) -> None:
        """Chooses where in a stage's last block its map is taken, see `ImageModel.set_feature_location`. The stem's map
        is what comes out of it, either way."""
        if location == 'expansion':
            self.feature_info = [self._inside(f) if f['stage'] else f for f in self.feature_info]
            self.feature_location = location
        else:
            super().set_feature_location(location)

    def run_stage(self, number: int, state: Tensor | tuple[Tensor, Tensor]) -> Tensor | tuple[Tensor, Tensor]:
        """The map after stage `number`; where its map is taken inside its last block, both."""
        x = state[0] if isinstance(state, tuple) else state
        if self.feature_location == 'expansion' and number + 1 in {f['stage'] for f in self.feature_info}:
            return _with_inner_map(self.blocks[number], x)
        return super().run_stage(number, x)

    def maps_of(self, state: Tensor | tuple[Tensor, Tensor], step: int) -> list[Tensor]:
        return [state[1] if isinstance(state, tuple) else state]

    def pre_head(self, state: Tensor | tuple[Tensor, Tensor]) -> Tensor:
        return super().pre_head(state[0] if isinstance(state, tuple) else state)

    def _inside(self, feature: Feature) -> Feature:
        """The inner map of a stage's last block."""
        stage = feature['stage'] - 1
        blocks = list(self.blocks[stage].children())
        last = blocks[-1]
        if not isinstance(last, Residual) or not last.inner_channels:
            raise ValueError(f"feature_location='expansion': the last block of stage {stage}, {type(last).__name__}, "
                             "expands no channels; its map is what comes out of it, 'bottleneck'.")
        module = f'blocks.{stage}.{len(blocks) - 1}.{last.inner_module}'
        return Feature(num_chs=last.inner_channels, reduction=feature['reduction'], module=module,
                       stage=feature['stage'], hook_type=last.inner_hook)


def _with_inner_map(stage: nn.Module, x: Tensor) -> tuple[Tensor, Tensor]:
    """What comes out of a stage, and the inner map of its last block."""
    inner: list[Tensor] = []
    *blocks, last = stage.children()
    for block in blocks:
        x = block(x)
    return last(x, inner), inner[0]
