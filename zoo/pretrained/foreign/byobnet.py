"""The names that the authors of CLIP's ResNets (arXiv:2103.00020), RepVGG (arXiv:2101.03697) and MobileOne
(arXiv:2206.04040) give their parameters; open_clip has CLIP's names. Texts are left out.

RepVGG and MobileOne as they are after training, with one convolution for each block, are in it too: the network is fused
when such weights are loaded.
"""
from __future__ import annotations

import re
from collections.abc import Mapping

from torch import Tensor, nn

from .layout import Described, State, count_elements, headless
from .templates import Rule, TemplateLayout

Depths = tuple[int, ...]
STAGES = 4
CLIPS: Mapping[tuple[int, Depths], str] = {                     # channels of the stem, blocks of each stage
    (64, (3, 4, 6, 3)): 'resnet50_clip', (64, (3, 4, 23, 3)): 'resnet101_clip', (80, (4, 6, 10, 6)): 'resnet50x4_clip',
    (96, (6, 8, 18, 8)): 'resnet50x16_clip', (128, (3, 15, 36, 10)): 'resnet50x64_clip',
}


def _depths(state: State) -> Depths:
    """Blocks of each stage of a state dict of ours."""
    found = {(int(match[1]), int(match[2])) for key in state if (match := re.match(r'stages\.(\d+)\.(\d+)\.', key))}
    return tuple(sum(stage == number for stage, _ in found) for number in range(len({stage for stage, _ in found})))


class ClipResNetLayout(TemplateLayout):
    """CLIP's ResNets, whose classifier is the projection into the space shared with texts."""

    name = 'open_clip CLIP ResNet'
    marks = ('bn3.weight', 'layer1.0.downsample.0.weight', 'layer1.0.bn3.weight')
    absent = ('fc.weight', 'maxpool.weight')
    starts = ('visual.', '')

    def __init__(self) -> None:
        rules = [rule for number in (1, 2, 3) for rule in (
            Rule(f'conv{number}', f'stem.conv{number}.conv'), Rule(f'bn{number}', f'stem.conv{number}.bn'))]
        inside = [rule for number, ours in ((1, 'conv1_1x1'), (2, 'conv2_kxk'), (3, 'conv3_1x1')) for rule in (
            Rule(f'conv{number}', f'{ours}.conv'), Rule(f'bn{number}', f'{ours}.bn'))]
        inside += [Rule('downsample.0', 'shortcut.conv.conv'), Rule('downsample.1', 'shortcut.conv.bn')]
        rules += [rule.inside(f'layer{stage + 1}.{{i}}.', f'stages.{stage}.{{i}}.')
                  for stage in range(STAGES) for rule in inside]
        rules += [Rule(f'attnpool.{theirs}', f'head.{ours}') for theirs, ours in (
            ('positional_embedding', 'pos_embed'), ('q_proj', 'q'), ('k_proj', 'k'), ('v_proj', 'v'), ('c_proj', 'proj'))]
        self.rules = tuple(rules)

    def to_ours(self, state: State, model: nn.Module | None = None) -> dict[str, Tensor]:
        """See `Layout.to_ours`; for a network that does not pool by attention, without what does."""
        ours = super().to_ours(state, model)
        if model is None or any(name == 'head.q' for name, _ in model.named_modules()):
            return ours
        return {key: value for key, value in ours.items() if not key.startswith('head.')}

    def identify(self, state: State) -> Described:
        """See `Layout.identify`."""
        stem = state.get('stem.conv3.conv.weight')
        name = None if stem is None else CLIPS.get((len(stem), _depths(state)))
        if 'head.proj.weight' in state:
            return name, {'num_classes': len(state['head.proj.weight'])}
        return name and f'{name}_gap', {'num_classes': 0}


class SideBySideLayout(TemplateLayout):
    """A network of convolutions side by side, or fused, in its authors' names.

    Args:
        mark, fused: a convolution of a block with its branches, and of a fused one.
        branches: the parts of a block, theirs -> ours.
        networks: elements of all tensors but the classifier, with branches or fused -> the architecture.
    """

    def __init__(self, name: str, mark: str, fused: str, branches: Mapping[str, str], networks: Mapping[int, str]) -> None:
        self.name, self.marks, self.networks = name, (f'stage0.{mark}.weight|stage0.{fused}.weight',), networks
        inside = [Rule(theirs, ours) for theirs, ours in {**branches, fused: 'reparam_conv'}.items()]
        self.rules = (*(rule.inside('stage0.', 'stem.') for rule in inside),
                      *(rule.inside(f'stage{stage + 1}.{{i}}.', f'stages.{stage}.{{i}}.')
                        for stage in range(STAGES) for rule in inside), Rule('linear', 'head.fc'))

    def identify(self, state: State) -> Described:
        """See `Layout.identify`."""
        return self.networks.get(count_elements(state, ('head.fc',))), headless(state)


LAYOUTS = (
    ClipResNetLayout(),
    SideBySideLayout('megvii RepVGG', 'rbr_dense.conv', 'rbr_reparam', {
        'rbr_dense.conv': 'conv_kxk.conv', 'rbr_dense.bn': 'conv_kxk.bn', 'rbr_1x1.conv': 'conv_1x1.conv',
        'rbr_1x1.bn': 'conv_1x1.bn', 'rbr_identity': 'identity', 'se.down': 'attn.fc1', 'se.up': 'attn.fc2',
    }, {
        7_851_616: 'repvgg_a0', 7_028_384: 'repvgg_a0', 12_841_088: 'repvgg_a1', 11_508_864: 'repvgg_a1',
        26_844_160: 'repvgg_a2', 24_090_944: 'repvgg_a2', 14_572_160: 'repvgg_b0', 13_058_048: 'repvgg_b0',
        55_434_112: 'repvgg_b1', 49_780_480: 'repvgg_b1', 37_985_152: 'repvgg_b1g4', 34_076_416: 'repvgg_b1g4',
        86_546_432: 'repvgg_b2', 77_754_112: 'repvgg_b2', 59_282_432: 'repvgg_b2g4', 53_216_512: 'repvgg_b2g4',
        120_624_256: 'repvgg_b3', 108_399_872: 'repvgg_b3', 81_364_096: 'repvgg_b3g4', 73_065_728: 'repvgg_b3g4',
        130_908_812: 'repvgg_d2se', 117_826_572: 'repvgg_d2se',
    }),
    SideBySideLayout('apple MobileOne', 'rbr_scale.conv', 'reparam_conv', {
        'rbr_conv.{j}.conv': 'conv_kxk.{j}.conv', 'rbr_conv.{j}.bn': 'conv_kxk.{j}.bn',
        'rbr_scale.conv': 'conv_scale.conv', 'rbr_scale.bn': 'conv_scale.bn', 'rbr_skip': 'identity',
        'se.reduce': 'attn.fc1', 'se.expand': 'attn.fc2',
    }, {
        4_356_464: 'mobileone_s0', 1_053_504: 'mobileone_s0', 3_612_544: 'mobileone_s1', 3_483_840: 'mobileone_s1',
        5_922_688: 'mobileone_s2', 5_759_168: 'mobileone_s2', 8_226_304: 'mobileone_s3', 8_029_312: 'mobileone_s3',
        13_029_992: 'mobileone_s4', 12_789_352: 'mobileone_s4',
    }),
)
