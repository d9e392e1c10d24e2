"""Block strings: the field's one-line notation for the blocks of a convolutional network, read strictly and scaled.

The notation is MNASNet's (arXiv:1807.11626) as EfficientNet's and MobileNet's published code grew it. A network is a
tuple of stages; a stage is one text of block strings separated by spaces (or a sequence of them); a block string is a
kind and fields joined by underscores: 'ir_r2_k5_s2_e6_c40_se0.25' is two inverted residuals with 5x5 depthwise
kernels, the first with stride 2, six times as wide inside, 40 channels out, squeeze-and-excitation at a quarter.

kind   block                                               source
ds     depthwise separable convolution                     MobileNetV1, arXiv:1704.04861
dsa    ds with an activation after the projection          MobileNetV1
ir     inverted residual                                   MobileNetV2, arXiv:1801.04381
er     edge residual: full convolution, then projection    EfficientNet-EdgeTPU; Fused-MBConv, arXiv:2104.00298
cn     convolution, normalisation, activation              -
uir    universal inverted residual                         MobileNetV4, arXiv:2404.10518
mha    multi-head self-attention                           MobileNetV4
mqa    multi-query self-attention                          MobileNetV4

kind   block of zoo/models/byobnet.py                      source
basic  two 3x3 convolutions                                ResNet, arXiv:1512.03385
bottle 1x1, 3x3 and 1x1 convolution                        ResNet
dark   1x1, then 3x3 convolution                           DarkNet, arXiv:1804.02767
edge   3x3, then 1x1 convolution                           EfficientNet-EdgeTPU
rep    3x3, 1x1 and no convolution side by side            RepVGG, arXiv:2101.03697
one    several convolutions side by side                   MobileOne, arXiv:2206.04040
bot    bottle with attention of all pixels to all          BotNet, arXiv:2101.11605
halo   bottle with attention in blocks with a margin       HaloNet, arXiv:2103.12731
lambda bottle with a lambda layer                          LambdaNetworks, arXiv:2102.08602
mobilevit   convolution, transformer, convolution         MobileViT, arXiv:2110.02178
mobilevit2  the same with separable self-attention        MobileViTv2, arXiv:2206.02680

field  meaning (units: channels, pixels, counts)
r      repeats; the first takes the stride                 k   kernel, several with dots mix sizes: k3.5.7
s      stride                                              e   expansion: inner width over input width
c      output channels                                     m   inner width itself, in place of e
se     squeeze ratio, of the input width                   rd  squeezed width itself, in place of se
n      activation: nre relu, nr6 relu6, nhs hard_swish,    cc  experts of conditional convolution
       nsw swish, nmi mish                                 gs  channels per group (absent: depthwise in ds and ir)
a      kernel of the expansion; of the first depthwise     p   kernel of the projection; of the last depthwise
       convolution in uir                                      convolution in uir
d      ds: space-to-depth first; mha, mqa: key width;      h   heads
       mobilevit, mobilevit2: width of the transformer
v      stride of keys and values                           fc  input width that e counts from
br  bottle ratio: inner width over output width            nb  convolutions side by side in one
at  gate over the channels, by its name: atse, ateca       w   side of halo's blocks; of lambda's neighbourhood
o   margin around halo's blocks                            l   layers of mobilevit's transformer
ps  side of mobilevit's patches
noskip, skip   without, with the shortcut
"""
from __future__ import annotations

import dataclasses
import math
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

from .spec import unknown

ACTIVATIONS = {'re': 'relu', 'r6': 'relu6', 'hs': 'hard_swish', 'sw': 'swish', 'mi': 'mish'}

# field -> (attribute of Block, how its value is read, the most that it may be: more than any network has)
FIELDS: dict[str, tuple[str, str, int]] = {
    'r': ('repeats', 'count', 999), 'k': ('kernel', 'kernels', 127), 's': ('stride', 'stride', 2),
    'e': ('expand', 'ratio', 100), 'm': ('mid_channels', 'count', 99_999), 'c': ('channels', 'count', 99_999),
    'se': ('se_ratio', 'ratio', 100), 'rd': ('se_channels', 'count', 99_999), 'n': ('act', 'act', 0),
    'cc': ('experts', 'count', 99), 'gs': ('group_size', 'count', 99_999), 'a': ('first_kernel', 'kernels', 127),
    'p': ('last_kernel', 'kernels', 127), 'd': ('dim', 'count', 9999), 'h': ('heads', 'count', 999),
    'v': ('kv_stride', 'count', 99), 'fc': ('expand_from', 'count', 99_999),
    'br': ('bottle_ratio', 'ratio', 100), 'nb': ('branches', 'count', 99), 'at': ('attn', 'word', 0),
    'w': ('window', 'count', 999), 'o': ('margin', 'count', 999), 'l': ('layers', 'count', 999),
    'ps': ('patch', 'count', 999),
}
MOST_BLOCKS, MOST_CHANNELS, MOST_KERNELS = 1999, 999_999, 9     # of a network, a scaled block, a mixed convolution

# kind -> (fields it must have, fields it may have); '|' where one of two will do
BLOCK_KINDS: dict[str, tuple[str, str]] = {
    'ds': ('r k s c', 'e se rd n gs p d noskip skip'),
    'dsa': ('r k s c', 'e se rd n gs p d noskip skip'),
    'ir': ('r k s e|m c', 'se rd n cc gs a p noskip skip'),
    'er': ('r k s e|m c', 'se rd n gs p fc noskip skip'),
    'cn': ('r k s c', 'e n gs noskip skip'),
    'uir': ('r k s e|m c', 'se rd n gs a p noskip skip'),
    'mha': ('r h d c', 'k s n v noskip skip'),
    'mqa': ('r h d c', 'k s n v noskip skip'),
    'basic': ('r s c', 'k gs br at'),
    'bottle': ('r s c', 'k gs br at'),
    'dark': ('r s c', 'k gs br at'),
    'edge': ('r s c', 'k gs br at'),
    'rep': ('r s c', 'k gs at'),
    'one': ('r s c', 'k gs nb at'),
    'bot': ('r s c', 'br h'),
    'halo': ('r s c', 'br h w o'),
    'lambda': ('r s c', 'br h w'),
    'mobilevit': ('r s c', 'k gs br d l ps h'),
    'mobilevit2': ('r s c', 'k gs br d l ps'),
}


@dataclass(frozen=True)
class Block:
    """One block string. Attributes are the fields' meanings, see the module's table."""

    kind: str
    channels: int
    repeats: int = 1
    kernel: tuple[int, ...] = (3,)
    stride: int = 1
    expand: float = 1.0
    mid_channels: int = 0
    se_ratio: float = 0.0
    se_channels: int = 0
    act: str = ''
    experts: int = 0
    group_size: int = 0
    first_kernel: tuple[int, ...] = ()
    last_kernel: tuple[int, ...] = ()
    dim: int = 0
    heads: int = 0
    kv_stride: int = 1
    expand_from: int = 0
    bottle_ratio: float = 1.0
    branches: int = 1
    attn: str = ''
    window: int = 0
    margin: int = 0
    layers: int = 0
    patch: int = 0
    skip: bool | None = None                     # None: a shortcut wherever the shapes allow one
    # the fields as they were written, so that text() gives them back in their order and spelling
    written: tuple[tuple[str, str], ...] = field(default=(), compare=False, repr=False)

    @property
    def space_to_depth(self) -> bool:
        """Whether the block halves the resolution first and quadruples the channels."""
        return self.kind in ('ds', 'dsa') and self.dim > 0

    def replace(self, **changes: Any) -> Block:
        """A copy with some attributes changed."""
        return dataclasses.replace(self, **changes)


def parse(text: str) -> Block:
    """Reads one block string.

    Raises:
        ValueError: an unknown kind or field, one that the kind lacks or does not take, one given twice, or a bad
            number; the message names the string and the field.
    """
    def fail(problem: str) -> ValueError:
        return ValueError(f'Block string {_short(text)!r}: {problem}')

    kind, *tokens = text.split('_')
    if kind not in BLOCK_KINDS:
        raise fail(unknown('kind', kind, BLOCK_KINDS))
    required, optional = (group.split() for group in BLOCK_KINDS[kind])
    allowed = [name for group in required for name in group.split('|')] + optional
    values: dict[str, Any] = {}
    written = []
    for token in tokens:
        name, number = _split(token)
        if name not in allowed:
            known = name in FIELDS or name in ('skip', 'noskip')
            raise fail(f"a '{kind}' block takes no field {name!r} (in {token!r}); it takes {' '.join(allowed)}" if known
                       else unknown('field', token, allowed))
        attribute, reader, most = ('skip', name, 0) if name in ('skip', 'noskip') else FIELDS[name]
        if attribute in values:
            raise fail(f'field {token!r} sets {attribute.replace("_", " ")} a second time')
        try:
            values[attribute] = _read(number, reader, most)
        except ValueError as error:
            raise fail(f'field {_short(token)!r}: {error}') from None
        written.append((attribute, token))
    for group in required:
        if not any(FIELDS[name][0] in values for name in group.split('|')):
            raise fail(f"a '{kind}' block needs the field {group!r} ({_describe(group)})")
    if 'expand' in values and 'mid_channels' in values:
        raise fail("fields 'e' and 'm' both give the inner width; give one")
    for attribute in ('kernel', 'first_kernel', 'last_kernel'):
        if 0 in values.get(attribute, ()) and kind != 'uir':
            raise fail(f"a kernel of 0 (no convolution) is for 'uir' blocks only, not for '{kind}'")
    if kind in ('ds', 'dsa', 'cn') and values.get('expand', 1.0) != 1.0:
        raise fail(f"field e{_number(values['expand'])}: a '{kind}' block does not expand, e can only be 1")
    return Block(kind=kind, written=tuple(written), **values)


def text(block: Block) -> str:
    """Writes a block as a string: `text(parse(s)) == s`. Attributes changed since stand where they stood."""
    letters = {attribute: (name, reader) for name, (attribute, reader, _) in FIELDS.items()}
    spelled = dict(block.written)
    unset = {f.name: f.default for f in dataclasses.fields(Block)}
    tokens = [block.kind]
    for attribute in [*spelled, *(a for a in letters if a not in spelled), *(() if 'skip' in spelled else ('skip',))]:
        value = getattr(block, attribute)
        if attribute in spelled and value == _read(*_written_value(spelled[attribute])):
            tokens.append(spelled[attribute])
        elif attribute == 'skip':
            tokens += [] if value is None else ['skip' if value else 'noskip']
        elif value != unset[attribute] or letters[attribute][0] in BLOCK_KINDS[block.kind][0].split():
            name, reader = letters[attribute]
            tokens.append(name + _write(value, reader))
    return '_'.join(tokens)


def parse_stages(stages: Sequence[str | Sequence[str]]) -> tuple[tuple[Block, ...], ...]:
    """Reads a network: one entry a stage, each a text of block strings separated by spaces or a sequence of them.

    Raises:
        ValueError: no stage, an empty stage, or a bad block string (see `parse`); the message names the stage.
        TypeError: an entry that is no text.
    """
    if isinstance(stages, str) or not isinstance(stages, Iterable):
        raise TypeError(f'Blocks are a list of stages, each a text of block strings, not {stages!r}.')
    network = []
    for number, stage in enumerate(stages):
        strings = stage.split() if isinstance(stage, str) else list(stage)
        if not strings:
            raise ValueError(f'Stage {number} has no block.')
        for string in strings:
            if not isinstance(string, str):
                raise TypeError(f"Stage {number}: a block string is a text such as 'ir_r1_k3_s2_e6_c24', "
                                f'not {string!r}.')
        try:
            network.append(tuple(parse(string) for string in strings))
        except ValueError as error:
            raise ValueError(f'Stage {number}: {error}') from None
    if not network:
        raise ValueError('A network needs at least one stage of block strings.')
    return tuple(network)


def round_channels(channels: float, divisor: int = 8, limit: float = 0.9) -> int:
    """The multiple of `divisor` nearest to `channels`, at least one, and one higher where rounding went below
    `limit` times `channels` (MobileNetV2's published code)."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < limit * channels else rounded


def scale_width(block: Block, width: float, divisor: int = 8, limit: float = 0.9) -> Block:
    """The block with its channels multiplied by `width` and rounded (EfficientNet, arXiv:1905.11946, section 3.3)."""
    def scaled(channels: int) -> int:
        if not channels * width <= MOST_CHANNELS:
            raise ValueError(f'{channels} channels times {width:g} are more than any network has, which is '
                             f'{MOST_CHANNELS} at most.')
        return round_channels(channels * width, divisor, limit) if channels else 0
    return block.replace(channels=scaled(block.channels), expand_from=scaled(block.expand_from))


def scale_depth(stage: Sequence[Block], depth: float, rounding: str = 'ceil') -> tuple[Block, ...]:
    """A stage with its repeats multiplied by `depth`, unrolled into blocks that repeat once.

    The sum of repeats is scaled and rounded up ('ceil') or to the nearest ('round', at least one), then shared among
    the blocks from the last to the first, so that a first block that changes the resolution is repeated last.
    """
    if rounding not in ('ceil', 'round'):
        raise ValueError(unknown('Depth rounding', rounding, ('ceil', 'round')))
    left = sum(block.repeats for block in stage)
    if not 0 < depth <= MOST_BLOCKS / left:
        raise ValueError(f'{left} blocks times {depth:g} are more than any network has, which is {MOST_BLOCKS} at most.'
                         if depth > 0 else f'A depth multiplier is positive, not {depth}.')
    total = max(1, round(left * depth)) if rounding == 'round' else math.ceil(left * depth)
    unrolled: list[Block] = []
    for block in reversed(stage):
        count = max(1, round(block.repeats / left * total))
        left, total = left - block.repeats, total - count
        unrolled[:0] = [block.replace(repeats=1, stride=block.stride if i == 0 else 1) for i in range(count)]
    return tuple(unrolled)


def scale(stages: Sequence[Sequence[Block]], width: float = 1.0, depth: float | Sequence[float] = 1.0, *,
          divisor: int = 8, round_limit: float = 0.9, depth_rounding: str = 'ceil',
          fix_first_last: bool = False, experts: int = 1) -> tuple[tuple[Block, ...], ...]:
    """Compound scaling: every block's channels by `width`, every stage's repeats by `depth` (one number, or one a
    stage), the experts of conditional convolutions by `experts`. `fix_first_last` keeps the repeats of the first and
    the last stage, as EfficientNet-Lite does."""
    if not width > 0 or (isinstance(depth, (int, float)) and not depth > 0):
        raise ValueError(f'Width and depth multipliers are positive, not {width} and {depth}.')
    depths = list(depth) if isinstance(depth, Sequence) else [depth] * len(stages)
    if len(depths) != len(stages):
        raise ValueError(f'{len(depths)} depth multipliers for {len(stages)} stages; give one number or one a stage.')
    if fix_first_last:
        depths[0] = depths[-1] = 1.0
    plan, count = [], 0
    for number, (stage, d) in enumerate(zip(stages, depths)):
        try:
            plan.append([scale_width(block, width, divisor, round_limit).replace(experts=block.experts * experts)
                         for block in scale_depth(stage, d, depth_rounding)])
        except ValueError as error:
            raise ValueError(f'Stage {number}: {error}') from None
        count += len(plan[-1])
        if count > MOST_BLOCKS:
            raise ValueError(f'Stages 0 to {number} have {count} blocks, more than any network: {MOST_BLOCKS} at most.')
    return _carry_space_to_depth(plan)


def _carry_space_to_depth(plan: Sequence[Sequence[Block]]) -> tuple[tuple[Block, ...], ...]:
    """Lets a space-to-depth block stand for the next stride: from it on, blocks have four times the channels, and the
    next block with a stride takes it off and counts its inner width from a quarter (EfficientNet-X)."""
    carried, active = [], False
    for stage in plan:
        blocks = []
        for block in stage:
            if active and block.stride > 1:
                block, active = block.replace(stride=1, expand=block.expand / 4), False
            elif active:
                block = block.replace(channels=4 * block.channels, dim=0 if block.space_to_depth else block.dim)
            elif block.space_to_depth:
                block, active = block.replace(channels=4 * block.channels), True
            blocks.append(block)
        carried.append(tuple(blocks))
    return tuple(carried)


def compound(phi: float, alpha: float = 1.2, beta: float = 1.1, gamma: float = 1.15,
             size: int = 224) -> tuple[float, float, int]:
    """Width multiplier, depth multiplier and resolution for a compound coefficient (arXiv:1905.11946, equation 3).

    depth = alpha^phi, width = beta^phi, resolution = size * gamma^phi rounded to a multiple of 8 pixels. The published
    B1 to B7 round these by hand (B4: 1.4, 1.8, 380 pixels, beside 1.46, 2.07, 392 for phi = 4).
    """
    return beta ** phi, alpha ** phi, round_channels(size * gamma ** phi, 8, 0.0)


def _split(token: str) -> tuple[str, str]:
    if token in ('skip', 'noskip'):
        return token, ''
    names = [name for name in FIELDS if token.startswith(name)]
    name = max(names, key=len, default='')
    return (name, token[len(name):]) if name else (token, '')


def _written_value(token: str) -> tuple[str, str]:
    name, number = _split(token)
    return number, name if name in ('skip', 'noskip') else FIELDS[name][1]


def _read(number: str, reader: str, most: float = math.inf) -> Any:
    if reader in ('skip', 'noskip'):
        return reader == 'skip'
    if reader == 'act':
        if number not in ACTIVATIONS:
            raise ValueError(unknown('activation', number, ACTIVATIONS))
        return ACTIVATIONS[number]
    if reader == 'word':
        if not re.fullmatch('[a-z]+', number):
            raise ValueError(f'{_short(number)!r} is no word')
        return number
    if reader == 'kernels':
        if not re.fullmatch(r'\d+(\.\d+)*', number):
            raise ValueError(f'{number!r} is no list of kernel sizes such as 3 or 3.5.7')
        sizes = tuple(_within(size, int, most) for size in number.split('.'))
        if len(sizes) > MOST_KERNELS:
            raise ValueError(f'{len(sizes)} kernel sizes are more than any network mixes, which is {MOST_KERNELS} at '
                             'most')
        if even := [size for size in sizes if size and size % 2 == 0]:
            raise ValueError(f'a kernel of {even[0]} has no pixel in its middle; sizes are odd')
        return sizes
    if reader == 'stride' and number not in ('1', '2'):
        raise ValueError(f'{number!r} is no stride: 1 or 2')
    if not re.fullmatch(r'\d+(\.\d+)?' if reader == 'ratio' else r'\d+', number) or float(number) == 0:
        raise ValueError(f'{number!r} is no positive {"number" if reader == "ratio" else "whole number"}')
    return _within(number, float if reader == 'ratio' else int, most)


def _within(number: str, kind: Callable[[str], float], most: float) -> Any:
    if float(number) > most:
        raise ValueError(f'{_short(number)} is more than any network has, which is {most} at most')
    return kind(number)


def _short(text: str) -> str:
    return text if len(text) <= 40 else f'{text[:30]}… ({len(text)} characters)'


def _write(value: Any, reader: str) -> str:
    if reader == 'act':
        return next(short for short, name in ACTIVATIONS.items() if name == value)
    if reader == 'word':
        return str(value)
    return '.'.join(map(str, value)) if reader == 'kernels' else _number(value)


def _number(value: float) -> str:
    return f'{value:g}'


def _describe(group: str) -> str:
    return ' or '.join(FIELDS[name][0].replace('_', ' ') for name in group.split('|'))
