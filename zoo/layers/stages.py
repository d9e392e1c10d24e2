"""Networks described by how many blocks each stage has and how wide they are."""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

from torch import nn

M = TypeVar('M', bound=nn.Module)


def check_stages(depths: Sequence[int], embed_dims: Sequence[int], downsamples: Sequence[bool], *others: Sequence[Any],
                 num_vit: int) -> None:
    """Checks that blocks, channels, downsampling and what else is said of each stage fit each other.

    Raises:
        ValueError: they are of different numbers of stages, or a stage changes the width without downsampling, or there
            are less than no blocks of attention.
    """
    counts = [len(entries) for entries in (depths, embed_dims, downsamples, *others)]
    if len(set(counts)) > 1:
        raise ValueError(f'depths, embed_dims, downsamples and all else that is said of each stage have one entry a '
                         f'stage; they have {counts}.')
    for number in range(1, len(depths)):
        before, width = embed_dims[number - 1:number + 1]
        if width != before and not downsamples[number]:
            raise ValueError(f'Stage {number} cannot go from {before} to {width} channels without downsampling.')
    if num_vit < 0:
        raise ValueError(f'num_vit is a number of blocks, 0 or more, not {num_vit}.')


def same_stages(**options: Sequence[Any]) -> None:
    """Checks that options with one entry a stage are of as many stages.

    Raises:
        ValueError: they are not; the message has the number of each.
    """
    counts = {name: len(entries) for name, entries in options.items()}
    if len(set(counts.values())) > 1:
        said = ', '.join(f'{name} {count}' for name, count in counts.items())
        raise ValueError(f'{" and ".join(counts)} have one entry a stage each; they have: {said}.')


def children_of(module: nn.Module, kind: type[M]) -> list[M]:
    """The children of a module, such as the blocks of a stage, that are of one kind."""
    return [child for child in module.children() if isinstance(child, kind)]


def drop_path_rates(last: float, depth: int) -> list[float]:
    """Stochastic depth of `depth` blocks, growing linearly from 0 at the first to `last` at the last."""
    return [last * number / max(1, depth - 1) for number in range(depth)]
