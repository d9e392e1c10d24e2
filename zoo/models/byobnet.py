"""Networks of few kinds of blocks, put together by a list: ResNet's relatives, GENet (arXiv:2006.14090), RepVGG
(arXiv:2101.03697), MobileOne (arXiv:2206.04040), RegNetZ (arXiv:2103.06877), CLIP's ResNets (arXiv:2103.00020).

    image -> stem -> stages.0 -> … -> final_conv -> head: pool, fc
    stage: blocks, the first with the stage's stride (zoo/models/byobnet_blocks.py)

`blocks` says what the stages are, one text of block strings a stage (zoo/blocks.py): 'bottle_r3_s2_c512_br0.25_gs32' is
three bottlenecks of 512 channels, a quarter as wide inside, with 32 channels a group.
"""
from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any, ClassVar

from torch import Tensor, nn

from ..blocks import round_channels
from ..contract import Parts
from ..layers.attention_map import BottleneckAttn, LambdaLayer
from ..layers.attention_pool_map import POOLS, AttentionPool2d, RotAttentionPool2d
from ..layers.conv import conv2d
from ..layers.drop import DropBlock2d
from ..layers.head import Head
from ..layers.init import init_conv_net
from ..layers.norm import Norm
from ..layers.pool import CeilAvgPool2d
from ..layers.sizes import ImageSize, map_size, pair_of
from ..layers.stages import drop_path_rates
from ..spec import Feature, Pair, unknown
from .byobnet_blocks import (
    BLOCKS, BasicBlock, BottleneckBlock, DarkBlock, EdgeBlock, MobileOneBlock, RepVggBlock, Residual, SelfAttnBlock,
    block_class, create_block, options_for,
)
from .byobnet_cfg import (
    ByoBlockCfg, ByoModelCfg, Kwargs, expand_blocks_cfg, interleave_blocks, stages_of, with_options,
)
from .byobnet_layers import DownsampleAvg, LayerFn, create_shortcut, num_groups
from .headnet import HeadNet
from .mobilevit_blocks import MobileVitV2Block
from .records import signature_of

__all__ = [
    'BasicBlock', 'BottleneckBlock', 'ByoBlockCfg', 'ByoModelCfg', 'ByobNet', 'DarkBlock', 'DownsampleAvg', 'EdgeBlock',
    'LayerFn', 'MobileOneBlock', 'RepVggBlock', 'SelfAttnBlock', 'Stem', 'create_block', 'create_byob_stem', 'create_shortcut',
    'expand_blocks_cfg', 'interleave_blocks', 'num_groups',
]

HEADS = ('classifier', 'mlp', 'attn_abs', 'attn_rot')
# stem -> channels of its convolutions over those that come out, how many of them have an activation
DEEP_STEMS: dict[str, tuple[tuple[float, ...], int]] = {
    'deep': ((1, 1, 1), 3), 'tiered': ((3 / 8, 1 / 2, 1), 3), 'quad': ((1 / 8, 1 / 4, 1 / 2, 1), 4),
    'quad2': ((1 / 8, 1 / 4, 1 / 2, 1), 2),
}
STEMS = ('', '3x3', '7x7', *DEEP_STEMS, 'rep', 'one')
STEM_POOLS: dict[str, Callable[[], nn.Module]] = {
    'max': partial(nn.MaxPool2d, 3, 2, padding=1), 'maxpool': partial(nn.MaxPool2d, 3, 2, padding=1),
    'max2': partial(nn.MaxPool2d, 2, ceil_mode=True), 'avg2': partial(CeilAvgPool2d, 2),
    'avg': partial(nn.AvgPool2d, 3, 2, padding=1, count_include_pad=False),
}
SQUARE = (5, 0.25)                   # DropBlock in the last stage but one: side in pixels, factor of how many


class Stem(nn.Sequential):
    """Several convolutions, the first with stride 2, and what halves the map again, pooling or the last convolution:
    (B, in_chs, H, W) -> (B, out_chs, ceil(H / 4), ceil(W / 4)).

    Args:
        out_chs: channels that come out, or a number for each convolution.
        stride: of all, 2 or 4. pool: what pools, see `STEM_POOLS`; '' for a convolution's stride.
        num_rep: how many convolutions. num_act: how many of them, the last ones, have normalisation and activation.
        chs_decay: how much narrower each convolution is than the one after it, from the last to the first.

    Attributes:
        convs, pooled: names of the submodules up to the map of half the size, and of those after it.
        inner_chs: channels of that map.
    """

    def __init__(self, in_chs: int, out_chs: int | Sequence[int], kernel_size: int = 3, stride: int = 4,
                 pool: str | None = 'maxpool', num_rep: int = 3, num_act: int | None = None, chs_decay: float = 0.5,
                 layers: LayerFn = LayerFn()) -> None:
        super().__init__()
        if stride not in (2, 4):
            raise ValueError(f'The stride of a stem is 2 or 4, not {stride}.')
        widths = ([round(out_chs * chs_decay ** (num_rep - 1 - number)) for number in range(num_rep)]
                  if isinstance(out_chs, int) else list(out_chs))
        strides = [2] + [1] * (len(widths) - 1)
        if stride == 4 and not pool and len(widths) > 1:
            strides[-1] = 2
        bare = len(widths) - (len(widths) if num_act is None else num_act)
        before = in_chs
        for number, (width, step) in enumerate(zip(widths, strides)):
            self.add_module(f'conv{number + 1}', conv2d(before, width, kernel_size, step) if number < bare else
                            layers.conv(before, width, kernel_size, step))
            before = width
        if pool:
            if pool not in STEM_POOLS:
                raise ValueError(unknown('stem_pool', pool, STEM_POOLS))
            self.add_module('pool', STEM_POOLS[pool]())
        names = [*self._modules]
        split = len(names) - (bool(pool) or strides[-1] == 2 and len(widths) > 1)
        self.convs, self.pooled = names[:split], names[split:]
        self.inner_chs, self.out_chs = widths[split - 1], before


def create_byob_stem(in_chs: int, out_chs: int | Sequence[int], stem_type: str = '', pool_type: str | None = '',
                     layers: LayerFn = LayerFn()) -> nn.Module:
    """What comes before the stages.

    Args:
        stem_type: one convolution, of 3x3 ('3x3', '') or 7x7 pixels; three of 3x3, as wide as the last ('deep') or 3/8,
            1/2 and 1 times as wide ('tiered'); four, each twice as wide as the one before ('quad'), the first two bare
            ('quad2'); a block of RepVGG or MobileOne ('rep', 'one').
        pool_type: pooling after it, see `STEM_POOLS`.

    Raises:
        ValueError: another kind.
    """
    if stem_type not in STEMS:
        raise ValueError(unknown('stem_type', stem_type, STEMS))
    if not isinstance(out_chs, int):
        return Stem(in_chs, out_chs, pool=pool_type, layers=layers)
    if stem_type in DEEP_STEMS:
        shares, active = DEEP_STEMS[stem_type]
        return Stem(in_chs, [int(out_chs * share) for share in shares], num_act=active, pool=pool_type, layers=layers)
    if stem_type in ('rep', 'one'):
        if pool_type not in (None, '', 'maxpool'):           # what is said of stems where nothing is
            raise ValueError(f'A stem {stem_type!r} is not followed by pooling: stem_pool={pool_type!r}.')
        return create_block(stem_type, in_chs=in_chs, out_chs=out_chs, stride=2, layers=layers)
    kernel_size = 7 if stem_type == '7x7' else 3
    if pool_type:
        return Stem(in_chs, [out_chs], kernel_size, pool=pool_type, layers=layers)
    return layers.conv(in_chs, out_chs, kernel_size, 2)


class ByobNet(HeadNet):
    """A network of blocks that a list names. Images (B, in_chans, H, W) -> logits (B, num_classes).

    Args:
        cfg: what it is built of; `options` replace some of it, see `ByoModelCfg`.
        global_pool: by default the mean of all pixels, or 'token' where `head_type` is attention.
        output_stride: reduction of the last stage, 32, 16 or 8; strides beyond it become dilation.
        img_size: pixels that positions are fitted to, where the network has some.
        drop_block_rate, drop_block_size: DropBlock in the last two stages, and the side of its squares in the last.
        drop_path_rate: stochastic depth at the last block.

    Raises:
        ValueError: blocks that cannot be read or built, an option outside what is allowed.
        TypeError: an option that neither `cfg` nor any of the blocks has.
    """

    parts = Parts(stem=('stem',), stages=('stages.*',), head=('head.global_pool', 'head.pre_logits'),
                  classifier=('head.fc',))
    draw = staticmethod(init_conv_net)
    __signature__: ClassVar[Any]

    def __init__(self, cfg: ByoModelCfg | None = None, num_classes: int = 1000, in_chans: int = 3,
                 global_pool: str | None = None, output_stride: int = 32, img_size: ImageSize | None = None,
                 drop_rate: float = 0.0, drop_block_rate: float = 0.0, drop_block_size: int = 3,
                 drop_path_rate: float = 0.0, **options: Any) -> None:
        super().__init__()
        if output_stride not in (8, 16, 32):
            raise ValueError(f'output_stride is 8, 16 or 32, not {output_stride}.')
        cfg = with_options(cfg or ByoModelCfg(), **options)
        if cfg.head_type not in HEADS:
            raise ValueError(unknown('head_type', cfg.head_type, HEADS))
        self.in_chans, self.zero_init_last = in_chans, cfg.zero_init_last
        layers = LayerFn(cfg.act_layer, Norm(cfg.norm_layer, **cfg.norm_kwargs), cfg.aa_layer, cfg.attn_layer,
                         cfg.attn_kwargs, cfg.self_attn_layer, cfg.self_attn_kwargs)
        width = self._build_stem(cfg, in_chans, replace(layers, aa_layer=None))
        width, reduction = self._build_stages(cfg, layers, width, output_stride, drop_path_rate, drop_block_rate,
                                              drop_block_size, pair_of(224 if img_size is None else img_size))
        features = round(cfg.num_features * cfg.width_factor)
        self.final_conv: nn.Module = layers.conv(width, features) if features else nn.Identity()
        self.num_features = features or width
        self.feature_info[-1]['num_chs'], self.feature_info[-1]['module'] = self.num_features, 'final_conv'
        self._build_head(cfg, layers, num_classes, global_pool, reduction, img_size, drop_rate)
        self.init_fresh()

    def _build_stem(self, cfg: ByoModelCfg, in_chans: int, layers: LayerFn) -> int:
        """Adds the stem and describes its maps; returns the channels that come out."""
        scaled: Any = ([round(width * cfg.width_factor) for width in cfg.stem_chs] if not isinstance(cfg.stem_chs, int)
                       else round(cfg.stem_chs * cfg.width_factor))
        self.stem = create_byob_stem(in_chans, scaled, cfg.stem_type, cfg.stem_pool, layers)
        width: int = scaled if isinstance(scaled, int) else scaled[-1]
        if isinstance(self.stem, Stem):
            maps = [(self.stem.inner_chs, 2, f'stem.{self.stem.convs[-1]}')]
            maps += [(width, 4, f'stem.{name}') for name in self.stem.pooled]
        else:
            maps = [(width, 2, 'stem')]
        self.feature_info = [Feature(num_chs=chs, reduction=reduction, module=name, stage=0)
                             for chs, reduction, name in maps]
        return width

    def _build_stages(self, cfg: ByoModelCfg, layers: LayerFn, width: int, output_stride: int, drop_path_rate: float,
                      drop_block_rate: float, drop_block_size: int, size: Pair) -> tuple[int, int]:
        """Adds the stages and describes their maps, of each the last before a stride; returns the channels and the
        reduction that come out."""
        plan = stages_of(cfg.blocks, BLOCKS, cfg.block_kwargs, cfg.self_attn_kwargs)
        unknown_to_all = {*cfg.block_kwargs}.difference(*(
            options_for(block.type, cfg.block_kwargs) for stage in plan for block in stage))
        if unknown_to_all:
            raise TypeError(f'block_kwargs: none of the blocks takes {", ".join(sorted(unknown_to_all))}.')
        squares = {len(plan) - 2: SQUARE, len(plan) - 1: (drop_block_size, 1.0)} if drop_block_rate else {}
        rates = iter(drop_path_rates(drop_path_rate, sum(map(len, plan))))
        reduction, dilation, last = self.feature_info[-1]['reduction'], 1, self.feature_info.pop()
        patches: tuple[Pair, ...] = ()
        self.stages = nn.Sequential()
        for number, stage in enumerate(plan):
            stride = stage[0].s
            if stride != 1:
                self.feature_info.append(last)
            if reduction >= output_stride and stride > 1:
                stride, dilation = 1, dilation * stride
            before, reduction = reduction, reduction * stride
            first, built = 1 if dilation in (1, 2) else 2, nn.Sequential()
            drop = partial(DropBlock2d, drop_block_rate, *squares[number]) if number in squares else None
            for index, block in enumerate(stage):
                out = round_channels(block.c * cfg.width_factor)
                group_size = block.gs(out, index) if callable(block.gs) else block.gs
                given = dict(options_of(block, cfg.block_kwargs))
                shared: dict[str, Any] = dict(downsample=cfg.downsample, drop_block=drop)   # not of all kinds
                given |= {name: shared[name] for name in options_for(block.type, shared)}
                if options_for(block.type, ['feat_size']):
                    given['feat_size'] = map_size(size, reduction if index else before)
                try:
                    built.append(create_block(block.type, in_chs=width, out_chs=out, stride=1 if index else stride,
                                              dilation=(first, dilation), group_size=group_size, bottle_ratio=block.br,
                                              layers=of_block(block, layers), drop_path_rate=next(rates), **given))
                except ValueError as error:
                    raise ValueError(f'Stage {number}, block {index} ({block.type}): {error}') from error
                for layer in built[-1].modules():
                    if isinstance(layer, (BottleneckAttn, LambdaLayer)) and layer.follows:
                        strided = stride if given.get('extra_conv') and not index else 1
                        layer.reduction, self.img_size = (reduction if index else before) * strided, size
                if isinstance(built[-1], MobileVitV2Block):
                    patches += ((reduction, built[-1].patch_size),)
                width, first = out, dilation
            self.stages.append(built)
            last = Feature(num_chs=width, reduction=reduction, module=f'stages.{number}', stage=number + 1)
            if patches:
                last['patches'] = patches
        self.feature_info.append(last)
        *names, final = (f'stages.{number}' for number in range(len(plan)))
        self.parts = replace(self.parts, stages=(*names, (final, 'final_conv')))
        # two maps of the stem, where the first stage halves its smaller one
        for part, feature in enumerate(stem_maps := [f for f in self.feature_info if f['stage'] == 0]):
            if len(stem_maps) > 1:
                feature['part'] = part
        self.stem_maps = len(stem_maps)
        return width, reduction

    def _build_head(self, cfg: ByoModelCfg, layers: LayerFn, num_classes: int, global_pool: str | None, reduction: int,
                    img_size: ImageSize | None, drop_rate: float) -> None:
        """Adds the head."""
        width = self.num_features
        if cfg.head_type in ('attn_abs', 'attn_rot'):
            size = pair_of(224 if img_size is None else img_size)
            given: dict[str, Any] = dict(embed_dim=cfg.head_hidden_size, out_features=0, qkv_separate=True,
                                         drop_rate=drop_rate)
            grid, attended = map_size(size, reduction), ['q', 'k', 'v']
            pool: RotAttentionPool2d = RotAttentionPool2d(width, ref_feat_size=grid, **given)
            if cfg.head_type == 'attn_abs':
                pool = AttentionPool2d(width, feat_size=grid, **given)
                pool.reduction = reduction
                self.img_size = size
                attended.append('pos_embed')
            self.head = pool                                                    # type: ignore[assignment]
            self.parts = replace(self.parts, head=tuple(f'head.{name}' for name in attended), classifier=('head.proj',))
        else:
            mlp = cfg.head_type == 'mlp'
            self.head = Head(width, global_pool or 'avg', norm=layers.norm(width) if mlp else None,
                             hidden_size=cfg.head_hidden_size if mlp else None, act_layer=cfg.act_layer,
                             drop_rate=drop_rate)
            if mlp:
                self.parts = replace(self.parts, head=('head.global_pool', 'head.norm', 'head.pre_logits'))
        default = 'token' if isinstance(self.head, RotAttentionPool2d) else 'avg'
        self.build_head(width, num_classes, default if global_pool is None else global_pool, drop_rate)

    # --- the walk

    def run_stem(self, x: Tensor) -> Any:
        """The stem's map of half the size; where its smaller map is one of the network's as well, both."""
        if not isinstance(self.stem, Stem):
            return self.stem(x)
        x = self._run((f'stem.{name}' for name in self.stem.convs), x)
        return (x, self._finish_stem(x)) if self.stem_maps > 1 else x

    def enter_stage(self, number: int, state: Any) -> Tensor:
        """What goes into a stage: into the first, what comes out of the stem."""
        if number:
            return state
        return state[1] if isinstance(state, tuple) else self._finish_stem(state)

    def _finish_stem(self, x: Tensor) -> Tensor:
        return self._run((f'stem.{name}' for name in self.stem.pooled), x) if isinstance(self.stem, Stem) else x

    def run_stage(self, number: int, state: Tensor) -> Tensor:
        """The map after a stage; after the last, that of `final_conv`."""
        return self._run(self.stage_names()[number], state)

    def maps_of(self, state: Any, step: int) -> list[Tensor]:
        return [*state] if isinstance(state, tuple) else [state]

    def keep_maps(self, chosen: Iterable[int]) -> list[int]:
        """Removes what follows the stem's first map, where that is all that is left; see `ImageModel.keep_maps`."""
        left = super().keep_maps(chosen)
        if isinstance(self.stem, Stem) and len(left) == 1:
            self._drop(f'stem.{name}' for name in self.stem.pooled)
            self.stem_maps, self.stem.pooled = 1, []
        return left

    # --- the head

    @property
    def pools(self) -> tuple[str, ...]:
        """The kinds of pooling that `reset_classifier` takes."""
        return POOLS if isinstance(self.head, RotAttentionPool2d) else super().pools

    @property
    def pool_layer(self) -> Any:
        """What pools."""
        return self.head if isinstance(self.head, RotAttentionPool2d) else super().pool_layer

    def reset_pool(self, global_pool: str) -> None:
        if not isinstance(self.head, RotAttentionPool2d):
            super().reset_pool(global_pool)
        elif global_pool in POOLS:
            self.head.set_pool(global_pool)
        else:
            raise ValueError('The head of this network pools by attention: '
                             + unknown('global_pool', global_pool, POOLS))

    @property
    def embedding_size(self) -> int:
        """The width of the embedding."""
        return self.head.embed_dim if isinstance(self.head, RotAttentionPool2d) else super().embedding_size

    def drop_head(self) -> None:
        """Removes pooling and all that follows it."""
        if isinstance(self.head, RotAttentionPool2d):
            self.head = Head(self.num_features, '')
            self.parts = replace(self.parts, head=('head.global_pool',), classifier=('head.fc',))
        super().drop_head()

    def init_weights(self) -> None:
        super().init_weights()
        if isinstance(self.head, RotAttentionPool2d):
            self.head.reset_parameters()
        for block in self.modules():
            if self.zero_init_last and isinstance(block, Residual):
                block.zero_init_last()


def of_block(block: ByoBlockCfg, layers: LayerFn) -> LayerFn:
    """What a block's layers are made of: the network's, with its own gate and attention where it says so."""
    changes: dict[str, Any] = {}
    for name in ('attn', 'self_attn'):
        layer, kwargs = getattr(block, f'{name}_layer'), getattr(block, f'{name}_kwargs')
        if layer is not None:
            changes[f'{name}_layer'] = layer
        if kwargs is not None:
            changes[f'{name}_kwargs'] = kwargs
    return replace(layers, **changes)


def options_of(block: ByoBlockCfg, shared: Kwargs) -> Kwargs:
    """The options of a block's class: its own, or those of the network that it takes."""
    if block.block_kwargs is not None:
        own = {name: value for name, value in block.block_kwargs.items() if name not in shared}
        return own | {name: block.block_kwargs[name] for name in options_for(block.type, block.block_kwargs)}
    return {name: shared[name] for name in options_for(block_class(block.type), shared)}


ByobNet.__signature__ = signature_of(ByobNet, ByoModelCfg)
