"""What a network of `ByobNet` is built of: records, and block strings that are read as such."""
from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any

from torch import nn

from ..blocks import Block, parse_stages
from ..layers.act import ActLayer
from ..layers.channel_attention import AttnLayer
from ..layers.norm import NormLayer
from ..layers.pool import AaLayer
from ..spec import unknown

Kwargs = Mapping[str, Any]
SELF_ATTENTIONS = {'bot': 'bottleneck', 'halo': 'halo', 'lambda': 'lambda'}         # block strings -> layers
TRANSFORMER = {'dim': 'transformer_dim', 'layers': 'transformer_depth', 'patch': 'patch_size', 'heads': 'num_heads'}
# kind of block string -> its fields that are options of the block's class
OPTIONS = {'one': {'branches': 'num_conv_branches'}, 'mobilevit': TRANSFORMER, 'mobilevit2': TRANSFORMER}
GroupSize = int | Callable[[int, int], int] | None


@dataclass
class ByoBlockCfg:
    """Blocks of one kind, of a stage or a part of one.

    Attributes:
        type: the kind, 'basic', 'bottle', 'dark', 'edge', 'rep', 'one', 'self_attn', 'mobilevit', 'mobilevit2', or a
            class of blocks.
        d: how many. c: channels that come out. s: stride of the stage, which its first block takes.
        gs: channels per group of the grouped convolution, 0 for one group; or what makes that of the channels and the
            block's number in the stage.
        br: bottle ratio, inner width over the width that comes out.
        attn_layer, attn_kwargs, self_attn_layer, self_attn_kwargs, block_kwargs: those of the network, see
            `ByoModelCfg`, where they are None.
    """

    type: str | type[nn.Module]
    d: int
    c: float
    s: int = 2
    gs: GroupSize = None
    br: float = 1.0
    attn_layer: AttnLayer = None
    attn_kwargs: Kwargs | None = None
    self_attn_layer: AttnLayer = None
    self_attn_kwargs: Kwargs | None = None
    block_kwargs: Kwargs | None = None


Stage = str | ByoBlockCfg | Sequence[str] | Sequence[ByoBlockCfg]


@dataclass
class ByoModelCfg:
    """A network of `ByobNet`.

    Attributes:
        blocks: one entry a stage: a text of block strings separated by spaces, see zoo/blocks.py, or records.
        downsample: the shortcut where the map changes its shape: a convolution ('conv1x1'), pooling and a convolution
            ('avg'), or none ('').
        stem_type: '3x3' or '', '7x7', 'tiered', 'deep', 'quad', 'quad2', 'rep', 'one', see `create_byob_stem`.
        stem_pool: pooling after the stem's convolutions, 'maxpool', 'max2', 'avg2', 'avg', or none ('').
        stem_chs: channels that come out of the stem, or a number for each of its convolutions.
        width_factor: factor of all channels.
        num_features: channels of a convolution before the pooling; 0 for no such convolution.
        zero_init_last: a fresh block begins as its shortcut.
        norm_kwargs: options of `norm_layer`.
        aa_layer: filter in place of the stride of the stages' convolutions, see `create_aa`.
        head_type: 'classifier'; 'mlp' with normalisation and a hidden layer; 'attn_abs' or 'attn_rot', pooling by
            attention with learned or with rotary positions.
        head_hidden_size: width of the hidden layer of 'mlp', None for none; of attention, None for that of the map.
        attn_layer, attn_kwargs: the gate of the blocks, see `create_attn`, and its options.
        self_attn_layer, self_attn_kwargs: the layer of blocks of self-attention, 'bottleneck', 'halo', 'lambda' or a
            class, and its options.
        block_kwargs: options of the blocks' classes, for those that have them.
    """

    blocks: Sequence[Stage] = ('basic_r2_k3_s2_c64', 'basic_r2_k3_s2_c128', 'basic_r2_k3_s2_c256', 'basic_r2_k3_s2_c512')
    downsample: str = 'conv1x1'
    stem_type: str = '3x3'
    stem_pool: str | None = 'maxpool'
    stem_chs: int | Sequence[int] = 32
    width_factor: float = 1.0
    num_features: int = 0
    zero_init_last: bool = True
    act_layer: ActLayer = 'relu'
    norm_layer: NormLayer = 'batchnorm'
    norm_kwargs: Kwargs = field(default_factory=dict)
    aa_layer: AaLayer | None = ''
    head_hidden_size: int | None = None
    head_type: str = 'classifier'
    attn_layer: AttnLayer = None
    attn_kwargs: Kwargs = field(default_factory=dict)
    self_attn_layer: AttnLayer = None
    self_attn_kwargs: Kwargs = field(default_factory=dict)
    block_kwargs: Kwargs = field(default_factory=dict)


def with_options(cfg: ByoModelCfg, **options: Any) -> ByoModelCfg:
    """A record with some of its fields changed.

    Raises:
        TypeError: there is no such field.
    """
    known = [one.name for one in fields(cfg)]
    for name in options:
        if name not in known:
            raise TypeError('ByobNet: ' + unknown('option', name, known))
    return replace(cfg, **options)


def stages_of(blocks: Sequence[Stage], kinds: Iterable[str], block_kwargs: Kwargs,
              self_attn_kwargs: Kwargs = {}) -> list[list[ByoBlockCfg]]:
    """The blocks of each stage, one record a block, the stage's stride in the first.

    Args:
        kinds: of blocks that strings may name, beside those of self-attention.
        block_kwargs, self_attn_kwargs: options that those of block strings are added to.

    Raises:
        ValueError: no blocks, a block string that cannot be read, or one with a stride that is not the first of its
            stage. TypeError: an entry that is neither text nor record.
    """
    if isinstance(blocks, str) or not blocks:
        raise ValueError(f'blocks have one entry a stage, and at least one, not {blocks!r}.')
    found = []
    for number, stage in enumerate(blocks):
        entries: list[Any] = list(stage) if isinstance(stage, Sequence) and not isinstance(stage, str) else [stage]
        if all(isinstance(entry, str) for entry in entries):
            try:
                found.append(_read(parse_stages([entries[0] if len(entries) == 1 else entries])[0],
                                   [*kinds, *SELF_ATTENTIONS], block_kwargs, self_attn_kwargs))
            except ValueError as error:
                raise ValueError(f'Stage {number}: {str(error).removeprefix("Stage 0: ")}') from None
        elif all(isinstance(entry, ByoBlockCfg) for entry in entries):
            found.append(expand_blocks_cfg(entries))
        else:
            raise TypeError(f'Stage {number} is block strings, such as "bottle_r2_s2_c256", or records ByoBlockCfg, not '
                            f'{stage!r}.')
    return found


def expand_blocks_cfg(stage_blocks_cfg: ByoBlockCfg | Sequence[Any]) -> list[ByoBlockCfg]:
    """The records of a stage, one a block."""
    entries = [stage_blocks_cfg] if isinstance(stage_blocks_cfg, ByoBlockCfg) else stage_blocks_cfg
    return [replace(entry, d=1) for entry in entries for _ in range(entry.d)]


def interleave_blocks(types: tuple[str, str], d: int, every: int | list[int] = 1, first: bool = False,
                      **kwargs: Any) -> tuple[ByoBlockCfg, ...]:
    """Records of a stage of `d` blocks of two kinds in turn.

    Args:
        types: the two kinds. every: numbers of the blocks of the second; a number n for every n-th, the first n blocks
            before it being of the other kind, or with `first` n - 1 after it.
        kwargs: fields of all records.
    """
    if isinstance(every, int):
        every = list(range(0 if first else every, d, every + 1)) or [d - 1]
    return tuple(ByoBlockCfg(type=types[number in every], d=1, **kwargs) for number in range(d))


def _read(stage: Sequence[Block], kinds: Iterable[str], block_kwargs: Kwargs,
          self_attn_kwargs: Kwargs) -> list[ByoBlockCfg]:
    """Block strings as records."""
    found: list[ByoBlockCfg] = []
    for block in stage:
        if block.kind not in kinds:
            raise ValueError(unknown('kind of block', block.kind, kinds))
        if found and block.stride > 1:
            raise ValueError(f"a '{block.kind}' block has stride {block.stride} and is not the first of its stage, which "
                             'alone can have one')
        given: dict[str, Any] = {} if block.kernel == (3,) else {'kernel_size': block.kernel[0]}
        if len(block.kernel) > 1:
            raise ValueError(f"a '{block.kind}' block has one kernel, not {len(block.kernel)} sizes side by side")
        kind, attention = block.kind, _attention(block)
        changes: dict[str, Any] = {}
        if kind in SELF_ATTENTIONS:
            kind, changes = 'self_attn', dict(self_attn_layer=SELF_ATTENTIONS[kind],
                                              self_attn_kwargs={**self_attn_kwargs, **attention})
        given |= {option: getattr(block, name) for name, option in OPTIONS.get(block.kind, {}).items()
                  if getattr(block, name)}
        for _ in range(block.repeats):
            found.append(ByoBlockCfg(kind, 1, block.channels, found[0].s if found else block.stride,
                                     block.group_size, block.bottle_ratio, attn_layer=block.attn or None,
                                     block_kwargs={**block_kwargs, **given} if given else None, **changes))
    return found


def _attention(block: Block) -> dict[str, Any]:
    """Options of a block string's layer of self-attention."""
    given = {'num_heads': block.heads, 'halo_size': block.margin, 'block_size' if block.kind == 'halo' else 'r': block.window}
    return {name: value for name, value in given.items() if value} | (
        {'r': None} if block.kind == 'lambda' and not block.window else {})
