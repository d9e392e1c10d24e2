"""The names that its authors give the parameters of MViTv2 (arXiv:2112.01526)."""
from __future__ import annotations

import re
from collections.abc import Iterator

from torch import Tensor

from .layout import Described, Position, State
from .templates import Rule, TemplateLayout

# channels of the first stage, blocks of each, whether there is a class token
NETWORKS: dict[tuple[int, tuple[int, ...], bool], str] = {
    (96, (1, 2, 5, 2), False): 'mvitv2_tiny', (96, (1, 2, 11, 2), False): 'mvitv2_small',
    (96, (1, 2, 11, 2), True): 'mvitv2_small_cls', (96, (2, 3, 16, 3), False): 'mvitv2_base',
    (96, (2, 3, 16, 3), True): 'mvitv2_base_cls', (144, (2, 6, 36, 4), False): 'mvitv2_large',
    (144, (2, 6, 36, 4), True): 'mvitv2_large_cls', (192, (4, 8, 60, 8), True): 'mvitv2_huge_cls',
}
OURS, THEIRS = re.compile(r'stages\.(\d+)\.blocks\.(\d+)\.'), re.compile(r'blocks\.(\d+)\.')
SHORTCUT = re.compile(r'\.shortcut_proj_(attn|mlp)\.')
PARTS = ('norm1', 'norm2', 'mlp.fc1', 'mlp.fc2', 'proj', 'attn.rel_pos_h', 'attn.rel_pos_w', 'attn.qkv', 'attn.proj',
         *(f'attn.{kind}_{name}' for kind in ('pool', 'norm') for name in 'qkv'))


class FacebookLayout(TemplateLayout):
    """The original, whose blocks are numbered through all stages; a stage begins where attention widens the tokens, or
    after an MLP that does. The shortcut's projection there has one name, whichever it is."""

    name, marks = 'facebook MViTv2', ('blocks.0.attn.pool_q.weight', 'blocks.0.attn.qkv.weight')
    rules = (Rule('patch_embed.proj', 'patch_embed.proj'), Rule('cls_token', 'cls_token'),
             Rule('pos_embed', 'pos_embed'), Rule('norm', 'norm'), Rule('head.projection', 'head.fc'),
             *(Rule(f'blocks.{{i}}.{part}', f'blocks.{{i}}.{part}') for part in PARTS))

    def complete(self, ours: dict[str, Tensor]) -> dict[str, Tensor]:
        """Numbers blocks in their stages."""
        places = dict(enumerate(_places(ours)))
        found = {}
        for key, value in ours.items():
            if match := THEIRS.match(key):
                number = int(match[1])
                stage, block = places[number]
                kind = 'attn' if _attention_widens(ours, number) else 'mlp'
                rest = re.sub(r'^proj\.', f'shortcut_proj_{kind}.', key[match.end():])
                key = f'stages.{stage}.blocks.{block}.{rest}'
            found[key] = value
        return found

    def reduce(self, ours: dict[str, Tensor]) -> dict[str, Tensor]:
        """Numbers blocks through all stages."""
        numbers = {place: number for number, place in enumerate(sorted(_ours(ours)))}

        def flat(match: re.Match[str]) -> str:
            return f'blocks.{numbers[int(match[1]), int(match[2])]}.'

        return {OURS.sub(flat, SHORTCUT.sub('.proj.', key)): value for key, value in ours.items()}

    def identify(self, state: State) -> Described:
        """See `Layout.identify`."""
        kernel = state.get('patch_embed.proj.weight')
        if kernel is None or 'stages.0.blocks.0.attn.pool_q.weight' not in state:
            return None, {}
        stages = [stage for stage, _ in sorted(_ours(state))]
        depths = tuple(stages.count(stage) for stage in dict.fromkeys(stages))
        name = NETWORKS.get((kernel.shape[0], depths, 'cls_token' in state))
        return name, {} if 'head.fc.weight' in state else {'num_classes': 0}


def _ours(state: State) -> set[Position]:
    """The places of all blocks of a state dict of ours."""
    return {(int(match[1]), int(match[2])) for key in state if (match := OURS.match(key))}


def _attention_widens(state: State, number: int) -> bool:
    """Whether the attention of a block gives more channels than it takes, in a state dict with blocks in a row."""
    rows, columns = state[f'blocks.{number}.attn.qkv.weight'].shape
    return rows != 3 * columns


def _places(state: State) -> Iterator[Position]:
    """The places of the blocks in a row."""
    stage = block = 0
    for number in range(len({match[1] for key in state if (match := THEIRS.match(key))})):
        widens = f'blocks.{number}.proj.weight' in state
        if widens and _attention_widens(state, number):
            stage, block = stage + 1, 0
        yield stage, block
        block += 1
        if widens and not _attention_widens(state, number):
            stage, block = stage + 1, 0


LAYOUTS = (FacebookLayout(),)
