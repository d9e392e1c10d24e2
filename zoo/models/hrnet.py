"""HRNet, arXiv:1908.07919: branches of several resolutions side by side, which exchange what they know again and again.

    image -> conv1 (stride 2) -> conv2 (stride 2) -> layer1 -> transition1 -> stage2 -> transition2 -> stage3
          -> transition3 -> stage4 -> incre_modules -> downsamp_modules -> final_layer -> pool -> classifier
    module of a stage: residual blocks in each branch, then every branch is the sum of all of them, resampled

Each transition adds a branch of half the last one's resolution and twice its width. For classification (Figure 4c) the
four branches are widened, and added up from the finest to the coarsest.
"""
from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Any, Literal

from torch import Tensor, nn
from torch.nn import functional as F

from ..contract import ImageModel, Parts, State
from ..layers.conv import conv2d
from ..layers.init import init_he
from ..layers.norm import Norm
from ..spec import Feature, unknown
from .resnet import BasicBlock, BlockClass, Bottleneck, ResNet, class_of, shortcut

NORM = Norm()
STEM_WIDTH = 64
HEAD_PLANES = (32, 64, 128, 256)             # of the bottlenecks that widen the four branches
HEAD_WIDTH = 2048


class HighResolutionNet(ImageModel):
    """HRNet, arXiv:1908.07919. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Sides need not be multiples of 32: a branch has ceil(side / reduction) pixels.

    Args:
        width: channels of the finest branch from stage 2 on; each other has twice as many as the one before it.
        num_modules: exchanges in stages 2, 3 and 4. num_blocks: of every branch between two of them, in stages 1 to 4.
        first_width: planes of stage 1's bottlenecks, which give four times as many channels.
        output_stride: of the coarsest branch; there is no other.
        head: 'classification'; a network of maps alone is a backbone, which `features_only=True` makes.
        stem_width: channels of the first convolution; the second gives 64.
        head_conv_bias: biases of the convolutions after the widened branches.
        feature_location: the feature maps are the branches widened, 'incre', or as they leave stage 4, ''.

    Raises:
        ValueError: not one number a stage, an option outside what is allowed.
    """

    parts = Parts(stem=('conv1', 'bn1', 'act1'),
                  stages=(('conv2', 'bn2', 'act2', 'layer1'), ('transition1', 'stage2'), ('transition2', 'stage3'),
                          ('transition3', 'stage4', 'incre_modules')),
                  pre_head=('downsamp_modules', 'final_layer'))
    draw = staticmethod(init_he)

    def __init__(self, width: int = 18, num_modules: Sequence[int] = (1, 4, 3),
                 num_blocks: Sequence[int] = (4, 4, 4, 4), first_width: int = 64, in_chans: int = 3,
                 num_classes: int = 1000, output_stride: Literal[32] = 32, global_pool: str = 'avg',
                 drop_rate: float = 0.0, head: Literal['classification'] = 'classification',
                 stem_width: int = STEM_WIDTH, head_conv_bias: bool = True, feature_location: str = 'incre') -> None:
        super().__init__()
        if len(num_modules) != 3 or len(num_blocks) != 4:
            raise ValueError('num_modules has one entry for each of stages 2 to 4, and num_blocks for each of stages 1 '
                             f'to 4, not {len(num_modules)} and {len(num_blocks)}.')
        if output_stride != 32:
            raise ValueError(f"output_stride is 32, the coarsest branch's, not {output_stride}; the finest has 4.")
        if head != 'classification':
            raise ValueError(f"head is 'classification', not {head!r}. Maps without it come from a backbone: "
                             "features_only=True, with feature_location='incre' or ''.")
        if feature_location not in ('incre', ''):
            raise ValueError(unknown('feature_location', feature_location, ('incre', '')))
        self.in_chans, self.num_features = in_chans, HEAD_WIDTH
        if not feature_location:
            self.parts = replace(self.parts, stages=(*self.parts.stages[:-1], ('transition3', 'stage4')),
                                 pre_head=('incre_modules', *self.parts.pre_head))

        self.conv1 = conv2d(in_chans, stem_width, 3, 2)
        self.bn1, self.act1 = NORM.with_act(stem_width, 'relu')
        self.conv2 = conv2d(stem_width, STEM_WIDTH, 3, 2)
        self.bn2, self.act2 = NORM.with_act(STEM_WIDTH, 'relu')
        self.layer1 = branch(Bottleneck, STEM_WIDTH, first_width, num_blocks[0])
        widths = [first_width * Bottleneck.expansion]
        for number, (count, depth) in enumerate(zip(num_modules, num_blocks[1:]), 2):
            before, widths = widths, [width * 2 ** n for n in range(number)]
            setattr(self, f'transition{number - 1}', Transition(before, widths))
            setattr(self, f'stage{number}', nn.Sequential(*(
                HighResolutionModule(number, BasicBlock, (depth,) * number, widths, widths) for _ in range(count))))

        widened = [planes * Bottleneck.expansion for planes in HEAD_PLANES]
        self.incre_modules = Branches(
            branch(Bottleneck, width, planes, 1) for width, planes in zip(widths, HEAD_PLANES))
        self.downsamp_modules = Descent(
            nn.Sequential(conv2d(fine, coarse, 3, 2, bias=head_conv_bias), *NORM.with_act(coarse, 'relu'))
            for fine, coarse in zip(widened, widened[1:]))
        self.final_layer = nn.Sequential(conv2d(widened[-1], HEAD_WIDTH, 1, bias=head_conv_bias),
                                         *NORM.with_act(HEAD_WIDTH, 'relu'))
        self.feature_info = [Feature(num_chs=stem_width, reduction=2, module='stem', stage=0)]
        self.feature_info += [
            Feature(num_chs=channels, reduction=4 * 2 ** n, module=f'stage{n + 1}', stage=4, part=n)
            for n, channels in enumerate(widened if feature_location else widths)]
        self.build_head(HEAD_WIDTH, num_classes, global_pool, drop_rate)
        self.init_fresh()

    def maps_of(self, state: State, step: int) -> list[Tensor]:
        return state if isinstance(state, list) else [state]

    def pre_head(self, state: State) -> Tensor:
        """What the head takes in; of a pruned network, the coarsest map there is."""
        state = super().pre_head(state)
        return [x for x in state if x is not None][-1] if isinstance(state, list) else state

    def keep_maps(self, chosen: Iterable[int]) -> list[int]:
        """Removes the last exchange's sums, and what widens them, that none of the maps `chosen` is made of."""
        chosen = sorted(chosen)
        parts = [feature['part'] for feature in map(self.feature_info.__getitem__, chosen) if 'part' in feature]
        if not parts:
            return super().keep_maps(chosen)
        *_, last = self.get_submodule('stage4')._modules
        for part in set(range(len(HEAD_PLANES))).difference(parts):
            self._drop([f'incre_modules.{part}'])
            self._set(f'stage4.{last}.fuse_layers.{part}', Exchange((), part))
        return sorted({0, *chosen})

    def hidden_modules(self) -> list[nn.Module]:
        """What widens the branches: the hidden states after the stem's are the maps of the four resolutions."""
        return list(self.incre_modules.children())


class Branches(nn.ModuleList):
    """A module for each branch: a list of maps (B, C, H, W) -> a list of maps; None where nothing needs the branch."""

    def forward(self, maps: Sequence[Any]) -> list[Any]:
        return [module(x) for module, x in zip(self, maps)]


class Transition(nn.ModuleList):
    """From the branches of one stage to those of the next: each in its new width, and new ones made of the coarsest.

    One map, or a list of maps from the finest to the coarsest -> a list of as many maps as `after` has widths.

    Args:
        before, after: channels of the branches.
    """

    def __init__(self, before: Sequence[int], after: Sequence[int]) -> None:
        super().__init__()
        for number, width in enumerate(after):
            if number < len(before):
                same = before[number] == width
                self.append(nn.Identity() if same else nn.Sequential(
                    conv2d(before[number], width, 3), *NORM.with_act(width, 'relu')))
            else:
                steps = number - len(before)
                self.append(strided([before[-1]] * (steps + 1) + [width], act_last=True))

    def forward(self, maps: Tensor | Sequence[Tensor]) -> list[Tensor]:
        given = maps if isinstance(maps, (list, tuple)) else [maps]
        return [module(given[min(number, len(given) - 1)]) for number, module in enumerate(self)]


class HighResolutionModule(nn.Module):
    """Residual blocks in each branch and then an exchange (arXiv:1908.07919, Figure 3): a list of maps from the finest
    to the coarsest, each half as large as the one before it, rounded up -> a list of such maps.

    Args:
        block_types: 'basic', 'bottleneck' or a class of blocks.
        num_blocks, num_in_chs, num_channels: of each branch: its blocks, the channels that go in, the blocks' `planes`.
        fuse_method: 'SUM': an exchange adds up.
        multi_scale_output: every branch goes on, else the finest alone.

    Raises:
        ValueError: not one number a branch, another `fuse_method`.
    """

    def __init__(self, num_branches: int, block_types: str | BlockClass, num_blocks: Sequence[int],
                 num_in_chs: Sequence[int], num_channels: Sequence[int], fuse_method: str = 'SUM',
                 multi_scale_output: bool = True) -> None:
        super().__init__()
        if not num_branches == len(num_blocks) == len(num_in_chs) == len(num_channels):
            raise ValueError(f'num_blocks, num_in_chs and num_channels have one entry for each of {num_branches} '
                             f'branches, not {len(num_blocks)}, {len(num_in_chs)} and {len(num_channels)}.')
        if fuse_method != 'SUM':
            raise ValueError(f"fuse_method is 'SUM', not {fuse_method!r}.")
        block = class_of(block_types, ResNet.blocks)
        widths = [planes * block.expansion for planes in num_channels]
        self.branches = Branches(branch(block, *given) for given in zip(num_in_chs, num_channels, num_blocks))
        self.fuse_layers = nn.ModuleList(
            Exchange(widths, target) for target in range(num_branches if multi_scale_output else 1))
        self.fuse_act = nn.ReLU(inplace=True)

    def forward(self, maps: Sequence[Tensor]) -> Sequence[Tensor | None]:
        maps = self.branches(maps)
        if len(maps) == 1:
            return maps
        sums = [exchange(maps) for exchange in self.fuse_layers]
        return [None if x is None else self.fuse_act(x) for x in sums]


class Exchange(nn.ModuleList):
    """All branches in the shape of one, the `target`, added up: a list of maps -> (B, C, H, W); None without layers.

    A coarser map is enlarged by two at a time, to the sides of the branches between: pixel n becomes 2n and 2n + 1,
    whichever sides are odd.

    Args:
        widths: channels of the branches.
    """

    def __init__(self, widths: Sequence[int], target: int) -> None:
        super().__init__(resampling(widths, source, target) for source in range(len(widths)))
        self.target = target

    def forward(self, maps: Sequence[Tensor]) -> Tensor | None:
        total = None
        for source, layer in enumerate(self):
            x = layer(maps[source])
            for finer in reversed(maps[self.target:source]):
                x = F.interpolate(x, size=finer.shape[-2:], mode='nearest')
            total = x if total is None else total + x
        return total


def branch(block: BlockClass, in_channels: int, planes: int, count: int) -> nn.Sequential:
    """Blocks of one resolution: (B, in_channels, H, W) -> (B, planes * block.expansion, H, W)."""
    width = planes * block.expansion
    down = shortcut(in_channels, width, 1, 1, 1, 1, NORM) if in_channels != width else None
    return nn.Sequential(block(in_channels, planes, downsample=down), *(block(width, planes) for _ in range(count - 1)))


def resampling(widths: Sequence[int], source: int, target: int) -> nn.Module:
    """What makes a branch's map fit another's, but for the enlargement after it of a coarser one."""
    if source == target:
        return nn.Identity()
    if source > target:
        return nn.Sequential(conv2d(widths[source], widths[target], 1), NORM(widths[target]))
    return strided([widths[source]] * (target - source) + [widths[target]], act_last=False)


def strided(widths: Sequence[int], act_last: bool) -> nn.Sequential:
    """3x3 convolutions of stride 2 from each width to the next, with activations between them and, with `act_last`,
    at the end: (B, widths[0], H, W) -> (B, widths[-1], H / 2^n, W / 2^n)."""
    last = len(widths) - 2
    return nn.Sequential(*(
        nn.Sequential(conv2d(before, after, 3, 2), NORM(after),
                      *([nn.ReLU(inplace=True)] if act_last or number < last else []))
        for number, (before, after) in enumerate(zip(widths, widths[1:]))))


class Descent(nn.ModuleList):
    """Layers that halve a map, each to the next coarser one, to which it is added: a list of maps -> the last sum."""

    def forward(self, maps: Sequence[Tensor]) -> Tensor:
        total = maps[0]
        for down, x in zip(self, maps[1:]):
            total = x + down(total)
        return total
