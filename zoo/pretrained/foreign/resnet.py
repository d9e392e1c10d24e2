"""The names that other libraries give the parameters of ResNet (arXiv:1512.03385), ResNeXt (arXiv:1611.05431), Wide
ResNet (arXiv:1605.07146) and ResNet-D (arXiv:1812.01187), and the config.json of transformers."""
from __future__ import annotations

from collections.abc import Collection

from .configs import ACTIVATIONS, Config, ConfigReader, Read, given_fields, one_of, only
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

DEEP = {depths: f'{name}d' for (kind, depths), name in DEPTHS.items() if kind == 'bottleneck'}
DETECTORS = ('', 'model.backbone.model.', 'backbone.model.')       # a backbone alone, or in a detector of transformers


def identify(state: State) -> Described:
    """The network of this many elements, with the stem of the paper."""
    name = NETWORKS.get(count_elements(state, OUTSIDE)) if 'conv1.weight' in state else None
    return name, {'num_classes': 0} if name and 'fc.weight' not in state else {}


def _stage_rules(stage: int, convolutions: int, shortcut: str, place: int) -> list[Rule]:
    """Those of transformers for the blocks of a stage, counted from 0, whose shortcut convolves at `place`."""
    theirs, ours = f'encoder.stages.{stage}.layers.{{i}}.', f'layer{stage + 1}.{{i}}.'
    names = [(f'layer.{number}', f'conv{number + 1}', f'bn{number + 1}') for number in range(convolutions)]
    names.append((shortcut, f'downsample.{place}', f'downsample.{place + 1}'))
    return [rule for name, conv, norm in names for rule in (
        Rule(f'{theirs}{name}.convolution', ours + conv), Rule(f'{theirs}{name}.normalization', ours + norm))]


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
            rules += _stage_rules(stage, convolutions, 'shortcut', 0)
        self.rules = tuple(rules)

    def identify(self, state: State) -> Described:
        """See `Layout.identify`."""
        return identify(state)


class DetectorLayout(TemplateLayout):
    """That of the backbone of RT-DETR (arXiv:2304.08069) in transformers, by itself or in a detector, of which nothing
    else is taken: a ResNet-D, with three convolutions as its stem and shortcuts that pool."""

    name, starts = 'transformers RT-DETR ResNet', DETECTORS
    marks = ('embedder.embedder.2.convolution.weight', 'encoder.stages.0.layers.0.layer.2.convolution.weight')
    networks = DEEP
    rules = (*(Rule(f'embedder.embedder.{number}.{theirs}', ours) for number, names in enumerate(
        (('conv1.0', 'conv1.1'), ('conv1.3', 'conv1.4'), ('conv1.6', 'bn1')))
        for theirs, ours in zip(('convolution', 'normalization'), names)), *(
        rule for stage in range(STAGES) for rule in _stage_rules(stage, 3, 'shortcut.1' if stage else 'shortcut', 1)))

    def identify(self, state: State) -> Described:
        """See `Layout.identify`."""
        kernels = [state.get(f'layer{stage + 1}.0.conv2.weight') for stage in range(STAGES)]
        widths = [tuple(kernel.shape[:2]) for kernel in kernels if kernel is not None]
        plain = widths == [(64 * 2 ** stage,) * 2 for stage in range(STAGES)]
        depths = tuple(sum(key.startswith(f'layer{stage + 1}.') and key.endswith('.conv3.weight') for key in state)
                       for stage in range(STAGES))
        return (DEEP[depths], {'num_classes': 0}) if plain and depths in DEEP else (None, {})


LAYOUTS = (Torchvision(), ResNetLayout('basic', 2), ResNetLayout('bottleneck', 3), DetectorLayout())

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


def _detector(config: Config) -> Read:
    given = given_fields(config, _RESNET)
    only(given, layer_type='bottleneck', downsample_in_first_stage=False, downsample_in_bottleneck=False)
    depths = tuple(given['depths'])
    arguments = dict(layers=depths, channels=tuple(width // 4 for width in given['hidden_sizes']), num_classes=0,
                     stem_width=given['embedding_size'] // 2, size=given['image_size'],
                     act_layer=one_of(given, 'hidden_act', ACTIVATIONS))
    fields = dict(first_conv='conv1.0', classifier='fc', paper_ids='arXiv:1812.01187')
    return DEEP.get(depths, 'resnet50d'), arguments, fields


CONFIGS = {'resnet': ConfigReader(_resnet, dict(size=dict(shortest_edge=224), crop_pct=224 / 256,
                                                default_to_square=False)),
           'rt_detr_resnet': ConfigReader(_detector)}
