"""The names that other libraries give the parameters of networks made of block strings.

One record a layout. A block is a row of steps, each a convolution with its normalisation, and perhaps a gate before the
last; what a step is called in a layout follows from its role and its place in the row. Both directions come from that.
"""
from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from .layout import NamedLayout, Position, Settings, Shapes

# kind of block -> its steps: role, convolution and normalisation under our names
STEPS = {
    'ds': ('depthwise conv_dw bn1', 'gate se.conv_reduce se.conv_expand', 'project conv_pw bn2'),
    'ir': ('expand conv_pw bn1', 'depthwise conv_dw bn2', 'gate se.conv_reduce se.conv_expand', 'project conv_pwl bn3'),
    'er': ('expand conv_exp bn1', 'project conv_pwl bn2'),
    'cn': ('project conv bn1',),
}


@dataclass(frozen=True)
class BlockLayout(NamedLayout):
    """The names of one library for one kind of network.

    Attributes:
        mark: a key that every checkpoint in this layout has, and none in another.
        ends: modules outside the blocks, (theirs, ours); {after} is the number after their last block's, {last} the
            number of our last stage. Blocks of ours that are among them have no number there.
        block: the start of a block's names, by {flat}, its number through all stages, or {stage} and {index}; the first
            of these numbers is `first`.
        step: (role, place in the row) -> the two modules of a step.
        kinds: of blocks that it has, see STEPS.
        The others are those of `NamedLayout`.
    """

    name: str
    mark: str
    ends: tuple[tuple[str, str], ...]
    block: str
    first: int
    step: Callable[[str, int], str]
    known: Mapping[int, tuple[str, Settings]]
    eps: float | None = 1e-5
    pads: tuple[str, ...] = ('',)
    kinds: tuple[str, ...] = ('ds', 'ir')
    prefix: str = ''
    linear: frozenset[str] = frozenset()
    dropped: str | None = None
    scale_dims: int = 0
    version: int = 1

    @property
    def first_conv(self) -> str:
        """The first convolution, under their name."""
        return next(theirs for theirs, ours in self.ends if ours == 'conv_stem')

    @property
    def classifiers(self) -> tuple[str, ...]:
        """The classifier, under their name."""
        return tuple(theirs for theirs, ours in self.ends if ours == 'classifier')

    def implied(self, keys: Collection[str]) -> dict[str, Any]:
        """Arguments that these names imply beside those of `known`."""
        return {}

    def our_names(self, shapes: Shapes, places: list[Position] | None = None) -> dict[str, str]:
        """Modules of theirs -> of ours, for a checkpoint with tensors of these shapes.

        Args:
            places: the stage and index of our blocks, in order. Where they are not known, a stage ends where width,
                kernel or expansion change.
        """
        modules = {self._plain(key).rpartition('.')[0]: self._plain(key) for key in shapes}
        blocks = self._foreign_blocks(shapes)
        flat = '{flat}' in self.block
        places = places and [place for place in places if place not in self._outside]
        if flat and (places is None or len(places) < len(blocks)):
            stages = _stages([_signature(kind, start, shapes) for start, kind, _ in blocks])
            places = [(stage + len(self._outside), index) for stage, index in stages]
        names: dict[str, str] = {}
        described = []
        for number, (start, kind, gated) in enumerate(blocks):
            place = places[number] if flat and places is not None else self._place(start)
            described.append((place, kind, gated))
            names |= {start.removeprefix(self.prefix) + theirs: _ours(place) + ours
                      for theirs, ours in self._pairs(kind, gated)}
        last = max((place[0] for place, _, _ in described), default=-1) + 1
        ends = dict(self._ends(len(blocks), last, last))
        return {theirs: ours for theirs, ours in (ends | names).items() if theirs in modules}

    def their_names(self, keys: Iterable[str]) -> dict[str, str]:
        """Modules of ours -> of theirs, for a network with these keys.

        Raises:
            ValueError: this layout has no place for a module.
        """
        modules = list(dict.fromkeys(key.rpartition('.')[0] for key in keys))
        stages = [int(found[1]) for m in modules if (found := re.match(r'blocks\.(\d+)\.', m))]
        last = max(stages, default=0)
        claimed = {ours.format(last=last) for _, ours in self.ends}
        inside: dict[Position, set[str]] = {}
        for module in modules:
            if (found := re.match(r'blocks\.(\d+)\.(\d+)\.(.+)', module)) and module not in claimed:
                inside.setdefault((int(found[1]), int(found[2])), set()).add(found[3])
        names: dict[str, str] = {}
        for flat, (place, steps) in enumerate(sorted(inside.items())):
            start = self.block.format(flat=flat + self.first, stage=place[0] + self.first, index=place[1])
            kind = _our_kind(steps)
            pairs = self._pairs(kind, 'se.conv_reduce' in steps) if kind in self.kinds else ()
            names |= {_ours(place) + ours: start + theirs for theirs, ours in pairs}
        stage_count = max((stage for stage, _ in inside), default=-1) + 1
        names |= {ours: theirs for theirs, ours in self._ends(len(inside), stage_count, last)}
        if strange := [module for module in modules if module not in names]:
            raise ValueError(f'The layout {self.name!r} has no place for {len(strange)} modules: '
                             f'{", ".join(strange[:4])}{", …" if len(strange) > 4 else ""}.')
        return {module: names[module] for module in modules}

    @property
    def _outside(self) -> set[Position]:
        """Our blocks that are among `ends`."""
        found = (re.match(r'blocks\.(\d+)\.(\d+)\.', ours) for _, ours in self.ends)
        return {(int(match[1]), int(match[2])) for match in found if match}

    def _plain(self, key: str) -> str:
        return key.removeprefix(self.prefix)

    def _pairs(self, kind: str, gated: bool) -> list[tuple[str, str]]:
        """(theirs, ours) of the modules of one block."""
        steps = [step.split() for step in STEPS[kind] if gated or not step.startswith('gate')]
        return [pair for number, (role, *ours) in enumerate(steps)
                for pair in zip(self.step(role, number).split(), ours)]

    def _ends(self, blocks: int, stages: int, last: int) -> list[tuple[str, str]]:
        after = self.first + (blocks if '{flat}' in self.block else stages)
        return [(theirs.format(after=after), ours.format(last=last)) for theirs, ours in self.ends]

    def _foreign_blocks(self, shapes: Shapes) -> list[tuple[str, str, bool]]:
        """Start of the names, kind, and whether there is a gate, of every block in order."""
        numbers = re.escape(self.block).replace(r'\{flat\}', r'(\d+)').replace(r'\{stage\}', r'(\d+)')
        pattern = re.compile(f'(?:{re.escape(self.prefix)})?' + numbers.replace(r'\{index\}', r'(\d+)'))
        found: dict[tuple[int, ...], tuple[str, set[str]]] = {}
        for key in shapes:
            if match := pattern.match(key):
                start, steps = found.setdefault(tuple(map(int, match.groups())), (match[0], set()))
                steps.add(key[match.end():].rpartition('.')[0])
        kinds = [(start, *self._kind(start, steps, shapes)) for _, (start, steps) in sorted(found.items())]
        return [(start, kind, gated) for start, kind, gated in kinds if kind]

    def _kind(self, start: str, steps: set[str], shapes: Shapes) -> tuple[str, bool]:
        for kind in self.kinds:
            for gated in (True, False):
                names = [theirs for theirs, _ in self._pairs(kind, gated)]
                if set(names) != steps:
                    continue
                shape = shapes.get(f'{start}{names[0]}.weight', (0, 0))
                if (shape[1] == 1) == (kind == 'ds'):          # depthwise first, or fused: the names do not say
                    return kind, gated
        return '', False

    def _place(self, start: str) -> Position:
        stage, index = map(int, re.findall(r'\d+', start)[:2])
        return stage - self.first, index


def _ours(place: Position) -> str:
    return f'blocks.{place[0]}.{place[1]}.'


def _our_kind(steps: set[str]) -> str:
    """The kind of one of our blocks, by its modules; '' where no layout has it."""
    for kind, rows in STEPS.items():
        names = {name for row in rows for name in row.split()[1:]}
        if steps in (names, names - {'se.conv_reduce', 'se.conv_expand'}):
            return kind
    return ''


def _signature(kind: str, start: str, shapes: Shapes) -> tuple[Any, ...]:
    """What the blocks of a stage have in common: kind, kernel and width."""
    inside = [shape for key, shape in shapes.items() if key.startswith(start) and len(shape) == 4]
    norms = [shape[0] for key, shape in shapes.items() if key.startswith(start) and key.endswith('running_mean')]
    return kind, max((shape[2] for shape in inside), default=0), min(norms, default=0)


def _stages(signatures: list[tuple[Any, ...]]) -> list[Position]:
    places: list[Position] = []
    for number, signature in enumerate(signatures):
        if number and signature == signatures[number - 1]:
            places.append((places[-1][0], places[-1][1] + 1))
        else:
            places.append((places[-1][0] + 1 if places else 0, 0))
    return places


def _named(**roles: str) -> Callable[[str, int], str]:
    return lambda role, _: roles[role]


def _sequence(role: str, number: int) -> str:
    return f'block.{number}.fc1 block.{number}.fc2' if role == 'gate' else f'block.{number}.0 block.{number}.1'


def _mobilenet_v2(role: str, number: int) -> str:
    return f'conv.{number} conv.{number + 1}' if role == 'project' else f'conv.{number}.0 conv.{number}.1'


def _mnasnet(_: str, number: int) -> str:
    return f'layers.{3 * number} layers.{3 * number + 1}'        # every third is an activation


# depthwise_padding of google/efficientnet-b0 … b7, which no tensor shows
_EVEN = [dict(pad_type='even', symmetric_blocks=blocks)
         for blocks in ((), (16,), (5, 8, 16), (5, 18), (6,), (13, 27), (31,), (18,))]
_STEM = (('features.0.0', 'conv_stem'), ('features.0.1', 'bn1'))
_HEAD = (('features.{after}.0', 'conv_head'), ('features.{after}.1', 'bn2'), ('classifier.1', 'classifier'))
_GOOGLE = dict(bn_eps=1e-3, pad_type='same')
_V3, _MNASNET = dict(bn_eps=1e-3, bn_momentum=0.01), dict(bn_momentum=3e-4)

LAYOUTS = (
    BlockLayout(
        'transformers EfficientNet', mark='embeddings.convolution.weight', prefix='efficientnet.',
        ends=(('embeddings.convolution', 'conv_stem'), ('embeddings.batchnorm', 'bn1'),
              ('encoder.top_conv', 'conv_head'), ('encoder.top_bn', 'bn2'), ('classifier', 'classifier')),
        block='encoder.blocks.{flat}.', first=0,
        step=_named(expand='expansion.expand_conv expansion.expand_bn',
                    depthwise='depthwise_conv.depthwise_conv depthwise_conv.depthwise_norm',
                    gate='squeeze_excite.reduce squeeze_excite.expand',
                    project='projection.project_conv projection.project_bn'),
        eps=1e-3, pads=('even', 'same'), known={
            4_048_700: ('tf_efficientnet_b0', _EVEN[0]),
            6_574_368: ('tf_efficientnet_b1', _EVEN[1]),
            7_767_698: ('tf_efficientnet_b2', _EVEN[2]),
            10_782_448: ('tf_efficientnet_b3', _EVEN[3]),
            17_672_520: ('tf_efficientnet_b4', _EVEN[4]),
            28_512_224: ('tf_efficientnet_b5', _EVEN[5]),
            40_958_624: ('tf_efficientnet_b6', _EVEN[6]),
            64_095_952: ('tf_efficientnet_b7', _EVEN[7]),
        }),
    BlockLayout(
        'transformers MobileNetV2', mark='conv_stem.first_conv.convolution.weight', prefix='mobilenet_v2.',
        ends=tuple((f'{theirs}.{kind}', name) for theirs, names in (
            ('conv_stem.first_conv', ('conv_stem', 'bn1')), ('conv_stem.conv_3x3', ('blocks.0.0.conv_dw', 'blocks.0.0.bn1')),
            ('conv_stem.reduce_1x1', ('blocks.0.0.conv_pw', 'blocks.0.0.bn2')), ('conv_1x1', ('conv_head', 'bn2')))
            for kind, name in zip(('convolution', 'normalization'), names)) + (('classifier', 'classifier'),),
        block='layer.{flat}.', first=0, kinds=('ir',),
        step=_named(gate='', expand='expand_1x1.convolution expand_1x1.normalization',
                    depthwise='conv_3x3.convolution conv_3x3.normalization',
                    project='reduce_1x1.convolution reduce_1x1.normalization'),
        eps=1e-3, pads=('same',), known={
            409_776: ('mobilenetv2_035', _GOOGLE),
            705_792: ('mobilenetv2_050', _GOOGLE),
            1_381_416: ('mobilenetv2_075', _GOOGLE),
            2_257_120: ('mobilenetv2_100', _GOOGLE),
            4_362_416: ('mobilenetv2_140', _GOOGLE),
        }),
    BlockLayout(
        'EfficientNet-PyTorch', mark='_conv_stem.weight',
        ends=(('_conv_stem', 'conv_stem'), ('_bn0', 'bn1'), ('_conv_head', 'conv_head'), ('_bn1', 'bn2'),
              ('_fc', 'classifier')),
        block='_blocks.{flat}.', first=0,
        step=_named(expand='_expand_conv _bn0', depthwise='_depthwise_conv _bn1', gate='_se_reduce _se_expand',
                    project='_project_conv _bn2'),
        eps=1e-3, pads=('same',), known={
            4_048_700: ('tf_efficientnet_b0', {}),
            6_574_368: ('tf_efficientnet_b1', {}),
            7_767_698: ('tf_efficientnet_b2', {}),
            10_782_448: ('tf_efficientnet_b3', {}),
            17_672_520: ('tf_efficientnet_b4', {}),
            28_512_224: ('tf_efficientnet_b5', {}),
            40_958_624: ('tf_efficientnet_b6', {}),
            64_095_952: ('tf_efficientnet_b7', {}),
            84_974_230: ('tf_efficientnet_b8', {}),
            475_891_324: ('tf_efficientnet_l2', {}),
            3_412_160: ('tf_efficientnet_lite0', {}),
            4_188_480: ('tf_efficientnet_lite1', {}),
            4_868_304: ('tf_efficientnet_lite2', {}),
            6_991_904: ('tf_efficientnet_lite3', {}),
            11_837_072: ('tf_efficientnet_lite4', {}),
        }),
    BlockLayout(
        'torchvision EfficientNet', mark='features.1.0.block.0.0.weight', ends=(*_STEM, *_HEAD),
        block='features.{stage}.{index}.', first=1, step=_sequence, eps=None, kinds=tuple(STEPS), known={
            4_048_700: ('efficientnet_b0', {}),
            6_574_368: ('efficientnet_b1', {}),
            7_767_698: ('efficientnet_b2', {}),
            10_782_448: ('efficientnet_b3', {}),
            17_672_520: ('efficientnet_b4', {}),
            28_512_224: ('efficientnet_b5', dict(bn_eps=1e-3, bn_momentum=0.01)),
            40_958_624: ('efficientnet_b6', dict(bn_eps=1e-3, bn_momentum=0.01)),
            64_095_952: ('efficientnet_b7', dict(bn_eps=1e-3, bn_momentum=0.01)),
            20_330_712: ('efficientnetv2_s', dict(bn_eps=1e-3)),
            53_149_740: ('efficientnetv2_m', dict(bn_eps=1e-3)),
            117_745_984: ('efficientnetv2_l', dict(bn_eps=1e-3)),
        }),
    BlockLayout(
        'torchvision MobileNetV2', mark='features.1.conv.0.0.weight', ends=(*_STEM, *_HEAD),
        block='features.{flat}.', first=1, step=_mobilenet_v2, known={2_257_120: ('mobilenetv2_100', {})}),
    BlockLayout(
        'torchvision MobileNetV3', mark='features.1.block.0.0.weight',
        ends=(*_STEM, ('features.{after}.0', 'blocks.{last}.0.conv'), ('features.{after}.1', 'blocks.{last}.0.bn1'),
              ('classifier.0', 'conv_head'), ('classifier.3', 'classifier')),
        block='features.{flat}.', first=1, step=_sequence, eps=1e-3, linear=frozenset(['conv_head']),
        known={4_226_000: ('mobilenetv3_large_100', _V3), 1_529_536: ('mobilenetv3_small_100', _V3)}),
    BlockLayout(
        'torchvision MNASNet', mark='layers.8.0.layers.0.weight',
        ends=(('layers.0', 'conv_stem'), ('layers.1', 'bn1'),
              ('layers.3', 'blocks.0.0.conv_dw'), ('layers.4', 'blocks.0.0.bn1'),
              ('layers.6', 'blocks.0.0.conv_pw'), ('layers.7', 'blocks.0.0.bn2'),
              ('layers.14', 'conv_head'), ('layers.15', 'bn2'), ('classifier.1', 'classifier')),
        block='layers.{stage}.{index}.', first=7, step=_mnasnet, version=2, known={
            957_704: ('mnasnet_050', _MNASNET),
            1_918_368: ('mnasnet_075', _MNASNET),
            3_139_368: ('mnasnet_100', _MNASNET),
            5_048_992: ('mnasnet_100', dict(width=1.3, bn_momentum=3e-4)),
        }),
)
