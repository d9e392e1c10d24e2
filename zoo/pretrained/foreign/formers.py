"""The names that other libraries give the parameters of EfficientFormer (arXiv:2206.01191, arXiv:2212.08059)."""
from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from .layout import NamedLayout, Position, Shapes

Parts = tuple[tuple[str, str], ...]                      # (start of their name, start of ours)
STAGES, BLOCKS = 4, 64                                   # stages, and more blocks than any stage has


@dataclass(frozen=True)
class FormerLayout(NamedLayout):
    """The names of one library.

    Attributes:
        our_mark: a key that every network of ours that it suits has.
        places: number of convolutional blocks in the last stage -> (start of their names, of ours, what stands there).
            Of those that fit a name, the first counts.
        last: pattern of a key that every convolutional block of the last stage has once, under their names.
        The others are those of `NamedLayout`.
    """

    name: str
    mark: str
    our_mark: str
    places: Callable[[int], Iterator[tuple[str, str, Parts]]]
    known: Mapping[int, tuple[str, Mapping[str, Any]]]
    first_conv: str
    classifiers: tuple[str, ...]
    last: str = r'(?!)'
    prefix: str = ''
    dropped: str | None = None
    scale_dims: int = 0
    version: int = 1
    eps: float | None = None
    pads: tuple[str, ...] = ('',)
    linear: frozenset[str] = frozenset()

    def implied(self, keys: Collection[str]) -> dict[str, Any]:
        """Arguments that these names imply beside those of `known`: a lone classifier."""
        there = [any(f'{start}{name}.weight' in keys for start in ('', self.prefix)) for name in self.classifiers]
        return {'distillation': False} if there == [True, False] else {}

    def our_names(self, shapes: Shapes, places: list[Position] | None = None) -> dict[str, str]:
        """Keys of theirs -> of ours."""
        count = sum(bool(re.search(self.last, key)) for key in shapes)
        rules = list(self.places(count))
        return dict(self._rename(key.removeprefix(self.prefix), rules) for key in shapes)

    def their_names(self, keys: Iterable[str]) -> dict[str, str]:
        """Keys of ours -> of theirs.

        Raises:
            ValueError: this layout has no place for a tensor.
        """
        keys = list(keys)
        count = sum(bool(re.fullmatch(r'stages\.3\.blocks\.\d+\.mlp\.(norm1|fc1\.bn)\.weight', key)) for key in keys)
        rules = [(ours, theirs, tuple((b, a) for a, b in parts)) for theirs, ours, parts in self.places(count)]
        names = dict(self._rename(key, rules) for key in keys)
        strange = [key for key in keys if not any(key.startswith(rule[0]) for rule in rules)]
        if strange or self.our_mark not in keys:
            strange = strange or keys
            raise ValueError(f'The layout {self.name!r} has no place for {len(strange)} tensors: '
                             f'{", ".join(strange[:4])}{", …" if len(strange) > 4 else ""}.')
        return names

    @staticmethod
    def _rename(key: str, rules: list[tuple[str, str, Parts]]) -> tuple[str, str]:
        for start, becomes, parts in rules:
            if key.startswith(start):
                rest = key[len(start):]
                for part, new in parts:
                    if rest.startswith(part):
                        return key, becomes + new + rest[len(part):]
                return key, becomes + rest
        return key, key


def _numbers() -> Iterator[tuple[int, int]]:
    return ((stage, block) for stage in range(STAGES) for block in range(BLOCKS))


_SCALES = (('layer_scale_1', 'ls1.gamma'), ('layer_scale_2', 'ls2.gamma'))
_CONV_BLOCK = (*_SCALES, ('mlp.convolution1.', 'mlp.fc1.'), ('mlp.convolution2.', 'mlp.fc2.'),
               ('mlp.batchnorm_before.', 'mlp.norm1.'), ('mlp.batchnorm_after.', 'mlp.norm2.'))
_ATTENTION_BLOCK = (*_SCALES, ('layernorm1.', 'norm1.'), ('layernorm2.', 'norm2.'), ('mlp.linear_in.', 'mlp.fc1.'),
                    ('mlp.linear_out.', 'mlp.fc2.'), ('token_mixer.projection.', 'token_mixer.proj.'))


def _transformers(count: int) -> Iterator[tuple[str, str, Parts]]:
    yield 'patch_embed.', 'stem.', (('convolution1.', 'conv1.'), ('batchnorm_before.', 'norm1.'),
                                    ('convolution2.', 'conv2.'), ('batchnorm_after.', 'norm2.'))
    stages = 'encoder.intermediate_stages'                # of two kinds in turn: blocks, downsampling
    for i in range(1, STAGES):
        yield f'{stages}.{2 * i - 1}.', f'stages.{i}.downsample.', (('projection.', 'conv.'),)
    for i, j in _numbers():
        if i < STAGES - 1:
            yield f'{stages}.{2 * i}.meta4D_layers.blocks.{j}.', f'stages.{i}.blocks.{j}.', _CONV_BLOCK
        elif j < count:
            yield f'encoder.last_stage.meta4D_layers.blocks.{j}.', f'stages.{i}.blocks.{j}.', _CONV_BLOCK
        else:                                             # ours count the step that makes tokens of pixels
            yield (f'encoder.last_stage.meta3D_layers.blocks.{j - count}.', f'stages.{i}.blocks.{j + 1}.',
                   _ATTENTION_BLOCK)
    yield from (('layernorm.', 'norm.', ()), ('classifier.', 'head.', ()),
                ('distillation_classifier.', 'head_dist.', ()))


def _snap_v1(_: int) -> Iterator[tuple[str, str, Parts]]:
    yield 'patch_embed.', 'stem.', (('0.', 'conv1.'), ('1.', 'norm1.'), ('3.', 'conv2.'), ('4.', 'norm2.'))
    for i in range(1, STAGES):
        yield f'network.{2 * i - 1}.', f'stages.{i}.downsample.', (('proj.', 'conv.'),)
    for i, j in _numbers():
        yield f'network.{2 * i}.{j}.', f'stages.{i}.blocks.{j}.', _SCALES
    yield from (('norm.', 'norm.', ()), ('head.', 'head.', ()), ('dist_head.', 'head_dist.', ()))


_PAIR = (('0.', 'conv.'), ('1.', 'bn.'))


def _attention(start: str) -> Parts:
    """The parts of an attention at `start` in EfficientFormerV2."""
    proj = ((f'{start}proj.1.', f'{start}proj.conv.'), (f'{start}proj.2.', f'{start}proj.bn.'),
            (f'{start}q.local.0.', f'{start}q.local.'))
    return proj + tuple((f'{start}{step}.{theirs}', f'{start}{step}.{ours}')
                        for step in ('stride_conv', 'q', 'k', 'v', 'v_local', 'q.proj') for theirs, ours in _PAIR)


def _snap_v2(_: int) -> Iterator[tuple[str, str, Parts]]:
    yield 'patch_embed.', 'stem.', (('0.', 'conv1.conv.'), ('1.', 'conv1.bn.'), ('3.', 'conv2.conv.'),
                                    ('4.', 'conv2.bn.'))
    for i in range(1, STAGES):
        # one with attention has conv and bn, one without proj and norm
        own = (('conv.', 'conv.conv.'), ('bn.', 'conv.bn.')) if i == STAGES - 1 else (
            ('proj.', 'conv.conv.'), ('norm.', 'conv.bn.'))
        yield f'network.{2 * i - 1}.', f'stages.{i}.downsample.', (*own, *_attention('attn.'))
    convs = (('fc1', 'norm1'), ('mid', 'mid_norm'), ('fc2', 'norm2'))
    mlp = tuple(pair for conv, norm in convs for pair in (
        (f'mlp.{conv}.', f'mlp.{conv}.conv.'), (f'mlp.{norm}.', f'mlp.{conv}.bn.')))
    for i, j in _numbers():
        yield f'network.{2 * i}.{j}.', f'stages.{i}.blocks.{j}.', (*_SCALES, *mlp, *_attention('token_mixer.'))
    yield from (('norm.', 'norm.', ()), ('head.', 'head.', ()), ('dist_head.', 'head_dist.', ()))


_V1: dict[int, tuple[str, dict[str, Any]]] = {
    11_423_176: ('efficientformer_l1', {}),
    30_437_536: ('efficientformer_l3', {}),
    80_779_360: ('efficientformer_l7', {}),
}
LAYOUTS = (
    FormerLayout(
        'transformers EfficientFormer', mark='patch_embed.convolution1.weight', our_mark='stem.conv1.weight',
        prefix='efficientformer.', places=_transformers,
        last=r'last_stage\.meta4D_layers\.blocks\.\d+\.mlp\.batchnorm_before\.weight',
        first_conv='patch_embed.convolution1', classifiers=('classifier', 'distillation_classifier'),
        known={size: (name, dict(layer_norm_eps=1e-12)) for size, (name, _) in _V1.items()}),
    FormerLayout(
        'snap-research EfficientFormerV2', mark='network.0.0.mlp.mid_norm.weight', our_mark='stem.conv1.conv.weight',
        places=_snap_v2, first_conv='patch_embed.0', classifiers=('head', 'dist_head'), dropped='.attention_bias_idxs',
        scale_dims=2,
        known={
            3_295_120: ('efficientformerv2_s0', {}),
            5_806_024: ('efficientformerv2_s1', {}),
            12_253_456: ('efficientformerv2_s2', {}),
            25_748_152: ('efficientformerv2_l', {}),
        }),
    FormerLayout(
        'snap-research EfficientFormer', mark='network.0.0.mlp.norm1.weight', our_mark='stem.conv1.weight',
        places=_snap_v1, first_conv='patch_embed.0', classifiers=('head', 'dist_head'), known=_V1),
)
