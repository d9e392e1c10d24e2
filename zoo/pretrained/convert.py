"""Renames the parameters of checkpoints made with other libraries. Layouts are told apart by their keys."""
from __future__ import annotations

import functools
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TypeVar

from torch import nn

Value = TypeVar('Value')


@dataclass(frozen=True)
class Layout:
    """One library's names.

    Attributes:
        mark: a key that every checkpoint in this layout has, and none in another.
        flat: the start of the names of blocks that are numbered through all stages; it and the number become
            'blocks.<stage>.<index>.' before the rules are tried.
        rules: (start of a name, what it becomes), of which the first that fits is taken; `*` stands for a number.
    """

    name: str
    mark: str
    flat: str
    rules: tuple[tuple[str, str], ...]


LAYOUTS = (
    Layout('EfficientNet-PyTorch', mark='_conv_stem.weight', flat='_blocks.', rules=(
        ('_conv_stem.', 'conv_stem.'),
        ('_bn0.', 'bn1.'),
        ('_conv_head.', 'conv_head.'),
        ('_bn1.', 'bn2.'),
        ('_fc.', 'classifier.'),
        ('blocks.*.*._se_reduce.', 'blocks.*.*.se.conv_reduce.'),
        ('blocks.*.*._se_expand.', 'blocks.*.*.se.conv_expand.'),
        # the first stage does not expand
        ('blocks.0.*._depthwise_conv.', 'blocks.0.*.conv_dw.'),
        ('blocks.0.*._bn1.', 'blocks.0.*.bn1.'),
        ('blocks.0.*._project_conv.', 'blocks.0.*.conv_pw.'),
        ('blocks.0.*._bn2.', 'blocks.0.*.bn2.'),
        ('blocks.*.*._expand_conv.', 'blocks.*.*.conv_pw.'),
        ('blocks.*.*._bn0.', 'blocks.*.*.bn1.'),
        ('blocks.*.*._depthwise_conv.', 'blocks.*.*.conv_dw.'),
        ('blocks.*.*._bn1.', 'blocks.*.*.bn2.'),
        ('blocks.*.*._project_conv.', 'blocks.*.*.conv_pwl.'),
        ('blocks.*.*._bn2.', 'blocks.*.*.bn3.'),
    )),
)


def convert(state: Mapping[str, Value], model: nn.Module) -> dict[str, Value]:
    """The state dict under the names of `model`; one in no foreign layout as it is.

    What a layout has no rule for keeps its name, so that loading names it.
    """
    for layout in LAYOUTS:
        if layout.mark in state:
            blocks = _blocks(model.state_dict())
            return {_rename(key, layout, blocks): value for key, value in state.items()}
    return dict(state)


def _blocks(keys: Iterable[str]) -> list[str]:
    """The blocks of a network in order: 'blocks.0.0.', 'blocks.1.0.', 'blocks.1.1.' …"""
    return list(dict.fromkeys(found[0] for key in keys if (found := re.match(r'blocks\.\d+\.\d+\.', key))))


@functools.cache
def _pattern(start: str) -> re.Pattern[str]:
    return re.compile(re.escape(start).replace(r'\*', r'(\d+)'))


def _rename(key: str, layout: Layout, blocks: list[str]) -> str:
    flat = re.match(re.escape(layout.flat) + r'(\d+)\.', key)
    if flat and int(flat[1]) < len(blocks):
        key = blocks[int(flat[1])] + key[flat.end():]
    for start, becomes in layout.rules:
        if found := _pattern(start).match(key):
            numbers = iter(found.groups())
            return re.sub(r'\*', lambda _: next(numbers), becomes) + key[found.end():]
    return key
