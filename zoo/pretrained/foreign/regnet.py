"""The names that other libraries give the parameters of RegNet (arXiv:2003.13678), and the config.json of transformers."""
from __future__ import annotations

import re

from torch import Tensor

from .configs import ACTIVATIONS, Config, ConfigReader, Read, given_fields, one_of
from .layout import Described, State, headless
from .templates import BLUE_FIRST, Rule, TemplateLayout

# whether there is squeeze-and-excitation, and the channels of each stage
NETWORKS: dict[tuple[bool, tuple[int, ...]], str] = {
    (False, (24, 56, 152, 368)): 'regnetx_002', (False, (32, 64, 160, 384)): 'regnetx_004',
    (False, (32, 64, 160, 400)): 'regnetx_004_tv', (False, (48, 96, 240, 528)): 'regnetx_006',
    (False, (64, 128, 288, 672)): 'regnetx_008', (False, (72, 168, 408, 912)): 'regnetx_016',
    (False, (96, 192, 432, 1008)): 'regnetx_032', (False, (80, 240, 560, 1360)): 'regnetx_040',
    (False, (168, 392, 784, 1624)): 'regnetx_064', (False, (80, 240, 720, 1920)): 'regnetx_080',
    (False, (224, 448, 896, 2240)): 'regnetx_120', (False, (256, 512, 896, 2048)): 'regnetx_160',
    (False, (336, 672, 1344, 2520)): 'regnetx_320', (True, (24, 56, 152, 368)): 'regnety_002',
    (True, (48, 104, 208, 440)): 'regnety_004', (True, (48, 112, 256, 608)): 'regnety_006',
    (True, (64, 128, 320, 768)): 'regnety_008', (True, (64, 144, 320, 784)): 'regnety_008_tv',
    (True, (48, 120, 336, 888)): 'regnety_016', (True, (72, 216, 576, 1512)): 'regnety_032',
    (True, (128, 192, 512, 1088)): 'regnety_040', (True, (144, 288, 576, 1296)): 'regnety_064',
    (True, (168, 448, 896, 2016)): 'regnety_080', (True, (224, 448, 896, 2016)): 'regnety_080_tv',
    (True, (224, 448, 896, 2240)): 'regnety_120', (True, (224, 448, 1232, 3024)): 'regnety_160',
    (True, (232, 696, 1392, 3712)): 'regnety_320', (True, (328, 984, 1968, 4920)): 'regnety_640',
    (True, (528, 1056, 2904, 7392)): 'regnety_1280', (True, (746, 1492, 4103, 10444)): 'regnety_2560',
}
STAGES = 4
BLOCK = re.compile(r'(s\d\.b)(\d+)')
PART = re.compile(r'block\d-part\d+\.')                   # what VISSL puts around blocks that it spreads over processes


class RegNetLayout(TemplateLayout):
    """A layout of RegNets."""

    networks = NETWORKS

    def identify(self, state: State) -> Described:
        """See `Layout.identify`."""
        kernels = [state.get(f's{stage + 1}.b1.conv3.conv.weight') for stage in range(STAGES)]
        widths = tuple(len(kernel) for kernel in kernels if kernel is not None)
        return NETWORKS.get(('s1.b1.se.fc1.weight' in state, widths)), headless(state)


class CountedFrom0(RegNetLayout):
    """A layout whose blocks are counted from 0; ours are from 1."""

    def complete(self, ours: dict[str, Tensor]) -> dict[str, Tensor]:
        """Counts blocks from 1."""
        return {_counted(key, 1): value for key, value in ours.items()}

    def reduce(self, ours: dict[str, Tensor]) -> dict[str, Tensor]:
        """Counts blocks from 0."""
        return {_counted(key, -1): value for key, value in ours.items()}


def _counted(key: str, more: int) -> str:
    return BLOCK.sub(lambda match: f'{match[1]}{int(match[2]) + more}', key)


class Torchvision(CountedFrom0):
    """torchvision's."""

    name, marks = 'torchvision RegNet', ('stem.1.running_mean', 'trunk_output.block1.block1-0.f.a.0.weight')

    def __init__(self) -> None:
        rules = [Rule('stem.0', 'stem.conv'), Rule('stem.1', 'stem.bn'), Rule('fc', 'head.fc')]
        for stage in range(1, STAGES + 1):
            theirs, ours = f'trunk_output.block{stage}.block{stage}-{{i}}.', f's{stage}.b{{i}}.'
            rules += [Rule(f'{theirs}f.se.{layer}', f'{ours}se.{layer}') for layer in ('fc1', 'fc2')]
            for part, name in (('f.a', 'conv1'), ('f.b', 'conv2'), ('f.c', 'conv3'), ('proj', 'downsample')):
                rules += [Rule(f'{theirs}{part}.0', f'{ours}{name}.conv'), Rule(f'{theirs}{part}.1', f'{ours}{name}.bn')]
        self.rules = tuple(rules)


class Transformers(CountedFrom0):
    """That of transformers, of networks with squeeze-and-excitation, which is a layer of the row there, or without."""

    prefix, classifiers = 'regnet.', ('classifier',)

    def __init__(self, gated: bool) -> None:
        first = 'encoder.stages.0.layers.0.layer.'
        self.name = f'transformers RegNet, {"y" if gated else "x"}'
        self.networks = {shape: name for shape, name in NETWORKS.items() if shape[0] == gated}
        gate, last = f'{first}2.attention.0.weight', f'{first}{2 + gated}.convolution.weight'
        self.marks = ('embedder.embedder.normalization.running_mean', gate if gated else last)
        self.absent = () if gated else (gate, f'{first}3.convolution.weight')
        rules = [Rule('embedder.embedder.convolution', 'stem.conv'), Rule('embedder.embedder.normalization', 'stem.bn'),
                 Rule('classifier.1', 'head.fc')]
        for stage in range(STAGES):
            theirs, ours = f'encoder.stages.{stage}.layers.{{i}}.', f's{stage + 1}.b{{i}}.'
            if gated:
                rules += [Rule(f'{theirs}layer.2.attention.0', f'{ours}se.fc1'),
                          Rule(f'{theirs}layer.2.attention.2', f'{ours}se.fc2')]
            for part, name in (('layer.0', 'conv1'), ('layer.1', 'conv2'), (f'layer.{2 + gated}', 'conv3'),
                               ('shortcut', 'downsample')):
                rules += [Rule(f'{theirs}{part}.convolution', f'{ours}{name}.conv'),
                          Rule(f'{theirs}{part}.normalization', f'{ours}{name}.bn')]
        self.rules = tuple(rules)


class Pycls(RegNetLayout):
    """The authors' own, of pycls, whose images are BGR."""

    name = 'pycls RegNet'
    marks = ('stem.bn.running_mean', 's1.b1.proj.weight', 's1.b1.f.a_bn.weight')
    rules = (Rule('stem.conv', 'stem.conv', BLUE_FIRST), Rule('stem.bn', 'stem.bn'), Rule('head.fc', 'head.fc'), *(
        Rule(f's{stage}.b{{i}}.{theirs}', f's{stage}.b{{i}}.{ours}') for stage in range(1, STAGES + 1)
        for theirs, ours in (
            ('f.a', 'conv1.conv'), ('f.a_bn', 'conv1.bn'), ('f.b', 'conv2.conv'), ('f.b_bn', 'conv2.bn'),
            ('f.se.f_ex.0', 'se.fc1'), ('f.se.f_ex.2', 'se.fc2'), ('f.c', 'conv3.conv'), ('f.c_bn', 'conv3.bn'),
            ('proj', 'downsample.conv'), ('bn', 'downsample.bn'))))


class Classy(CountedFrom0):
    """ClassyVision's, as two libraries have it: VISSL, which SEER (arXiv:2103.01988) was trained with, of a trunk and
    heads, or of the trunk alone; and SWAG (arXiv:2201.08371). Heads of self-supervised training are left out.

    Args:
        stem, stage: names of the first convolution and of a stage, whose number among ours is {n}, and {m} one more.
        classifier: that of the classifier. prefix: of all else where there is one.
    """

    dropped = r'^heads\.\d+\.(projection_head|prototypes)'

    def __init__(self, library: str, stem: str, stage: str, classifier: str, prefix: str = '') -> None:
        self.name, self.prefix, self.classifiers = f'{library} RegNet', prefix, (classifier,)
        rules = [Rule(f'{stem}.0', 'stem.conv'), Rule(f'{stem}.1', 'stem.bn'), Rule(classifier, 'head.fc')]
        for number in range(1, STAGES + 1):
            theirs = f'{stage.format(n=number, m=number + 1)}.block{number}-{{i}}.'
            rules += [Rule(theirs + name, f's{number}.b{{i}}.{ours}') for name, ours in (
                ('f.a.0', 'conv1.conv'), ('f.a.1', 'conv1.bn'), ('f.b.0', 'conv2.conv'), ('f.b.1', 'conv2.bn'),
                ('f.se.excitation.0', 'se.fc1'), ('f.se.excitation.2', 'se.fc2'), ('f.c', 'conv3.conv'),
                ('f.final_bn', 'conv3.bn'), ('proj', 'downsample.conv'), ('bn', 'downsample.bn'))]
        self.rules = tuple(rules)
        self.marks = (f'{stem}.1.running_mean', f'{stage.format(n=1, m=2)}.block1-0.proj.weight')

    def _plain(self, key: str) -> str:
        return PART.sub('', super()._plain(key))


LAYOUTS = (Torchvision(), Transformers(True), Transformers(False), Pycls(),
           Classy('VISSL', '_feature_blocks.conv1.stem', '_feature_blocks.res{m}', 'heads.0.clf.0', 'trunk.'),
           Classy('SWAG', 'stem.stem', 'trunk_output.block{n}', 'head.fc'))

# --- config.json

_REGNET = dict(embedding_size=32, hidden_sizes=[128, 192, 512, 1088], depths=[2, 6, 12, 2], groups_width=64,
               layer_type='y', hidden_act='relu', downsample_in_first_stage=True, image_size=224)


def _regnet(config: Config) -> Read:
    given = given_fields(config, _REGNET)
    kind, widths = one_of(given, 'layer_type', {'x': 'x', 'y': 'y'}), tuple(given['hidden_sizes'])
    name = NETWORKS.get((kind == 'y', widths))
    if name is None or not given['downsample_in_first_stage']:
        raise ValueError(f'hidden_sizes of {list(widths)} and layer_type {given["layer_type"]!r} are of no RegNet here.')
    arguments = dict(stem_width=given['embedding_size'], group_size=given['groups_width'],
                     act_layer=one_of(given, 'hidden_act', ACTIVATIONS), size=given['image_size'])
    fields = dict(first_conv='stem.conv', classifier='head.fc', paper_ids='arXiv:2003.13678')
    return name, arguments, fields


CONFIGS = {'regnet': ConfigReader(_regnet, dict(size=dict(shortest_edge=224), crop_pct=224 / 256,
                                                default_to_square=False))}
