"""The names that other libraries give the parameters of ResNet (arXiv:1512.03385), ResNeXt (arXiv:1611.05431) and Wide
ResNet (arXiv:1605.07146), and the config.json of transformers."""
from __future__ import annotations

from collections.abc import Collection

from .configs import ACTIVATIONS, Config, ConfigReader, Read, given_fields, one_of
from .layout import Described, SameNames, State, count_elements
from .templates import Rule, TemplateLayout

STAGES = 4
OUTSIDE = ('conv1', 'fc')
# elements of all tensors but the first convolution and the classifier
NETWORKS = {
    11_176_704: 'resnet18', 21_292_288: 'resnet34', 23_551_744: 'resnet50', 42_596_096: 'resnet101',
    58_285_824: 'resnet152', 23_038_720: 'resnext50_32x4d', 86_935_808: 'resnext101_32x8d',
    81_599_744: 'resnext101_64x4d', 66_893_056: 'wide_resnet50_2', 124_966_144: 'wide_resnet101_2',
}
DEPTHS = {('basic', (2, 2, 2, 2)): 'resnet18', ('basic', (3, 4, 6, 3)): 'resnet34',
          ('bottleneck', (3, 4, 6, 3)): 'resnet50', ('bottleneck', (3, 4, 23, 3)): 'resnet101',
          ('bottleneck', (3, 8, 36, 3)): 'resnet152'}


def identify(state: State) -> Described:
    """The network of this many elements, with the stem of the paper."""
    name = NETWORKS.get(count_elements(state, OUTSIDE)) if 'conv1.weight' in state else None
    return name, {'num_classes': 0} if name and 'fc.weight' not in state else {}


class Torchvision(SameNames):
    """torchvision's, whose names are ours."""

    name = 'torchvision ResNet'
    marks = ('conv1.weight', 'bn1.weight', 'layer1.0.conv1.weight', 'layer1.0.bn1.weight')

    def recognises(self, keys: Collection[str]) -> bool:
        """Whether these are names of its ResNet, and of no relative with more in a block."""
        extra = ('layer1.0.se.', 'layer1.0.downsample.2.', 'layer1.0.conv2.1', 'layer1.0.attn')
        return super().recognises(keys) and not any(key.startswith(extra) for key in keys)

    def identify(self, state: State) -> Described:
        """See `Layout.identify`."""
        return identify(state)


class ResNetLayout(TemplateLayout):
    """A layout of transformers, for one kind of block."""

    prefix, classifiers = 'resnet.', ('classifier',)

    def __init__(self, kind: str, convolutions: int) -> None:
        last, first = f'encoder.stages.0.layers.0.layer.{convolutions - 1}', 'embedder.embedder'
        self.name = f'transformers ResNet, {kind}'
        self.marks = (f'{first}.convolution.weight', f'{last}.convolution.weight')
        self.absent = (f'encoder.stages.0.layers.0.layer.{convolutions}.convolution.weight',)
        rules = [Rule(f'{first}.convolution', 'conv1'), Rule(f'{first}.normalization', 'bn1'),
                 Rule('classifier.1', 'fc')]
        for stage in range(STAGES):
            theirs, ours = f'encoder.stages.{stage}.layers.{{i}}.', f'layer{stage + 1}.{{i}}.'
            for number in range(convolutions):
                rules += [Rule(f'{theirs}layer.{number}.convolution', f'{ours}conv{number + 1}'),
                          Rule(f'{theirs}layer.{number}.normalization', f'{ours}bn{number + 1}')]
            rules += [Rule(f'{theirs}shortcut.convolution', f'{ours}downsample.0'),
                      Rule(f'{theirs}shortcut.normalization', f'{ours}downsample.1')]
        self.rules = tuple(rules)

    def identify(self, state: State) -> Described:
        """See `Layout.identify`."""
        return identify(state)


LAYOUTS = (Torchvision(), ResNetLayout('basic', 2), ResNetLayout('bottleneck', 3))

# --- config.json

_RESNET = dict(embedding_size=64, hidden_sizes=[256, 512, 1024, 2048], depths=[3, 4, 6, 3], layer_type='bottleneck',
               hidden_act='relu', downsample_in_first_stage=False, downsample_in_bottleneck=False, image_size=224)
_EXPANSION = {'bottleneck': 4, 'basic': 1}


def _resnet(config: Config) -> Read:
    given = given_fields(config, _RESNET)
    if given['downsample_in_first_stage']:
        raise ValueError('downsample_in_first_stage is true; networks here have a stride from the second stage on.')
    if given['embedding_size'] != 64:
        raise ValueError(f'embedding_size is {given["embedding_size"]}; networks here have 64.')
    kind = one_of(given, 'layer_type', {name: name for name in _EXPANSION})
    widths, depths = tuple(given['hidden_sizes']), tuple(given['depths'])
    arguments = dict(block=kind, layers=depths, channels=tuple(width // _EXPANSION[kind] for width in widths),
                     act_layer=one_of(given, 'hidden_act', ACTIVATIONS), size=given['image_size'])
    if given['downsample_in_bottleneck'] and kind == 'bottleneck':
        arguments['block_args'] = {'stride_first': True}
    fields = dict(first_conv='conv1', classifier='fc', paper_ids='arXiv:1512.03385')
    return DEPTHS.get((kind, depths), 'resnet50'), arguments, fields


CONFIGS = {'resnet': ConfigReader(_resnet, dict(size=dict(shortest_edge=224), crop_pct=224 / 256,
                                                default_to_square=False))}
