"""The names that Keras gives the layers of keras.applications: see `zoo.pretrained.foreign.keras`."""
from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from ...spec import HALF, IMAGENET_MEAN, IMAGENET_STD
from .keras import AUTOMATIC, KerasLayout, Names, Weights, automatic, depths, depthwise, layers_of, width
from .layout import Settings, State

COLOURS = dict(mean=(123.68 / 255, 116.779 / 255, 103.939 / 255), std=(1 / 255,) * 3)      # the mean alone is subtracted
Depths = Mapping[tuple[int, ...], int]                        # blocks of each stage -> what the network is called by
EXTRA_EPS = 1.001e-5 - 1e-5                                   # theirs less ours

# --- ResNet: the stride lies in the first convolution of a bottleneck, and convolutions have biases

BLOCK = r'conv(\d)_block(\d+)_'
LAYERS: Depths = {(3, 4, 6, 3): 50, (3, 4, 23, 3): 101, (3, 8, 36, 3): 152}
STEM = 64


def _resnet_module(match: re.Match[str]) -> str:
    stage, block, number, kind = int(match[1]) - 1, int(match[2]) - 1, int(match[3]), match[4]
    inner = f'{kind}{number}' if number else f'downsample.{int(kind == "bn")}'
    return f'layer{stage}.{block}.{inner}'


class KerasResNet(KerasLayout):
    """ResNet."""

    covers = 'ResNet-50, 101 and 152'
    name, marks = 'Keras ResNet', ('conv1_conv', 'conv1_bn', 'conv2_block1_0_bn', 'conv2_block1_3_bn')
    rules = ((r'conv1_(conv|bn)', r'\g<1>1'), (BLOCK + r'(\d)_(conv|bn)', _resnet_module))
    norms = ((r'(layer\d\.\d+\.)?conv(\d)', r'\1bn\2'), (r'(.*\.downsample\.)0', r'\g<1>1'))
    head, size, extra_eps, bgr, images = 'fc', 224, EXTRA_EPS, 'conv1.weight', COLOURS
    arguments = {'block_args': {'stride_first': True}}
    decisive = {'block_args': {}}

    def named(self, layers: Mapping[str, Weights]) -> str | None:
        """See `KerasLayout.named`."""
        depth = LAYERS.get(depths(layers, BLOCK))
        return f'resnet{depth}' if depth and width(layers, 'conv2_block1_1_conv') == STEM else None


class KerasResNetV2(KerasLayout):
    """ResNet V2: the stride lies in the last block of a stage, and max pooling counts the zeros around the map."""

    covers = 'their V2'
    name, marks = 'Keras ResNetV2', ('conv1_conv', 'conv2_block1_preact_bn', 'post_bn')
    rules = (('conv1_conv', 'stem.conv'), ('post_bn', 'norm'),
             (BLOCK + 'preact_bn', lambda match: f'{_block_v2(match)}.norm1'),
             (BLOCK + '0_conv', lambda match: f'{_block_v2(match)}.downsample.conv'),
             (BLOCK + r'(\d)_conv', lambda match: f'{_block_v2(match)}.conv{match[3]}'),
             (BLOCK + r'(\d)_bn', lambda match: f'{_block_v2(match)}.norm{int(match[3]) + 1}'))
    head, size, extra_eps, images = 'head.fc', 224, EXTRA_EPS, dict(mean=HALF, std=HALF)
    arguments = {'stem_type': 'fixed', 'stride_last': True, 'conv_bias': True}
    decisive = {'stem_type': '', 'stride_last': False, 'conv_bias': False}

    def named(self, layers: Mapping[str, Weights]) -> str | None:
        """See `KerasLayout.named`."""
        depth = LAYERS.get(depths(layers, BLOCK))
        return f'resnetv2_{depth}' if depth and width(layers, 'conv2_block1_1_conv') == STEM else None


def _block_v2(match: re.Match[str]) -> str:
    return f'stages.{int(match[1]) - 2}.blocks.{int(match[2]) - 1}'


# --- DenseNet

class KerasDenseNet(KerasLayout):
    """DenseNet."""

    covers = 'DenseNet-121, 169 and 201'
    name, marks = 'Keras DenseNet', ('conv1_conv', 'conv2_block1_0_bn', 'conv2_block1_1_bn', 'pool2_bn', 'bn')
    rules = (('conv1_conv', 'features.conv0'), ('conv1_bn', 'features.norm0'),
             (BLOCK + '0_bn', lambda match: f'{_dense_layer(match)}.norm1'),
             (BLOCK + '1_bn', lambda match: f'{_dense_layer(match)}.norm2'),
             (BLOCK + r'(\d)_conv', lambda match: f'{_dense_layer(match)}.conv{match[3]}'),
             (r'pool(\d)_(bn|conv)', lambda match: f'features.transition{int(match[1]) - 1}.{_norm_or_conv(match[2])}'),
             ('bn', 'features.norm5'))
    head, size, extra_eps, images = 'classifier', 224, EXTRA_EPS, dict(mean=IMAGENET_MEAN, std=IMAGENET_STD)
    known: Depths = {(6, 12, 24, 16): 121, (6, 12, 32, 32): 169, (6, 12, 48, 32): 201}

    def named(self, layers: Mapping[str, Weights]) -> str | None:
        """See `KerasLayout.named`."""
        depth = self.known.get(depths(layers, BLOCK))
        return f'densenet{depth}' if depth else None


def _dense_layer(match: re.Match[str]) -> str:
    return f'features.denseblock{int(match[1]) - 1}.denselayer{match[2]}'


def _norm_or_conv(kind: str) -> str:
    return 'norm' if kind == 'bn' else kind


# --- VGG

SIDE = 7                                                      # pixels that are left of an image

class KerasVGG(KerasLayout):
    """VGG. Its first fully connected layer takes in pixels, and here is a convolution."""

    covers = 'VGG-16 and 19'
    name, marks = 'Keras VGG', ('block1_conv1', 'block1_conv2', 'block5_conv3')
    head, size, bgr, images = 'head.fc', 224, 'features.0.weight', COLOURS
    places = {'fc1': 'pre_logits.fc1', 'fc2': 'pre_logits.fc2'}
    known: Mapping[tuple[int, ...], str] = {(2, 2, 3, 3, 3): 'vgg16', (2, 2, 4, 4, 4): 'vgg19'}

    def named(self, layers: Mapping[str, Weights]) -> str | None:
        """See `KerasLayout.named`."""
        return self.known.get(depths(layers, r'block(\d)_conv(\d)'))

    def modules(self, layers: Mapping[str, Weights]) -> Names:
        """See `KerasLayout.modules`: two modules a convolution, and one a block."""
        found = {layer: place for layer, place in self.places.items() if layer in layers}
        index = 0
        for block, depth in enumerate(depths(layers, r'block(\d)_conv(\d)'), start=1):
            for number in range(1, depth + 1):
                found[f'block{block}_conv{number}'] = f'features.{index}'
                index += 2
            index += 1
        return found

    def tensors(self, module: str, weights: Weights) -> dict[str, Tensor]:
        """See `KerasLayout.tensors`."""
        found = super().tensors(module, weights)
        side = {'pre_logits.fc1': SIDE, 'pre_logits.fc2': 1}.get(module)
        if side and found['weight'].shape[1] % side ** 2 == 0:
            found['weight'] = found['weight'].unflatten(1, (side, side, -1)).permute(0, 3, 1, 2).contiguous()
        return found


# --- Xception: four convolutions in shortcuts, which Keras called by itself

class KerasXception(KerasLayout):
    """Xception."""

    covers = 'Xception'
    name, marks = 'Keras Xception', ('block1_conv1', 'block2_sepconv1', 'block14_sepconv2')
    rules = ((r'block1_conv(\d)', r'conv\g<1>'), (r'block1_conv(\d)_bn', r'bn\g<1>'),
             (r'block14_sepconv(\d)', lambda match: f'conv{int(match[1]) + 2}'),
             (r'block14_sepconv(\d)_bn', lambda match: f'bn{int(match[1]) + 2}'),
             (r'block(\d+)_sepconv(\d)', lambda match: _separable(match, 0)),
             (r'block(\d+)_sepconv(\d)_bn', lambda match: _separable(match, 1)))
    head, size, images = 'fc', 299, dict(mean=HALF, std=HALF)
    arguments = {'norm_eps': 1e-3, 'pad_type': 'same'}
    decisive = {'norm_eps': 1e-5, 'pad_type': ''}
    shortcuts = (1, 2, 3, 12)

    def named(self, layers: Mapping[str, Weights]) -> str | None:
        """See `KerasLayout.named`."""
        return 'legacy_xception'

    def modules(self, layers: Mapping[str, Weights]) -> Names:
        """See `KerasLayout.modules`."""
        return {**super().modules(layers), **automatic(layers, 'conv', [f'block{block}.skip' for block in self.shortcuts]),
                **automatic(layers, 'norm', [f'block{block}.skipbn' for block in self.shortcuts])}


def _separable(match: re.Match[str], after: int) -> str:
    """Our blocks are counted from 1, and all but the first begin with an activation."""
    block = int(match[1]) - 1
    return f'block{block}.rep.{3 * (int(match[2]) - 1) + (block > 1) + after}'


# --- Inception: all layers, or most, are called by Keras itself

def _inception_v3() -> tuple[str, ...]:
    """Convolutions of Inception-v3, in the order in which Keras makes them."""
    double = ['branch3x3dbl_1', 'branch3x3dbl_2', 'branch3x3dbl_3']
    a = ['branch1x1', 'branch5x5_1', 'branch5x5_2', *double, 'branch_pool']
    c = ['branch1x1', *(f'branch7x7_{number}' for number in range(1, 4)),
         *(f'branch7x7dbl_{number}' for number in range(1, 6)), 'branch_pool']
    e = ['branch1x1', 'branch3x3_1', 'branch3x3_2a', 'branch3x3_2b', *double[:2], 'branch3x3dbl_3a', 'branch3x3dbl_3b',
         'branch_pool']
    halved = ['branch3x3_1', 'branch3x3_2', *(f'branch7x7x3_{number}' for number in range(1, 5))]
    stages = {'5b': a, '5c': a, '5d': a, '6a': ['branch3x3', *double], '6b': c, '6c': c, '6d': c, '6e': c, '7a': halved,
              '7b': e, '7c': e}
    return ('Conv2d_1a_3x3', 'Conv2d_2a_3x3', 'Conv2d_2b_3x3', 'Conv2d_3b_1x1', 'Conv2d_4a_3x3',
            *(f'Mixed_{stage}.{row}' for stage, rows in stages.items() for row in rows))


def _inception_resnet_v2() -> tuple[str, ...]:
    """Convolutions of Inception-ResNet-v2 that Keras called by itself, in the order in which it makes them."""
    def rows(start: str, *lengths: int) -> list[str]:
        return [f'{start}.branch{row}' + (f'.{number}' if length > 1 else '')
                for row, length in enumerate(lengths) for number in range(length)]

    stem = ('conv2d_1a', 'conv2d_2a', 'conv2d_2b', 'conv2d_3b', 'conv2d_4a')
    return (*stem, *rows('mixed_5b', 1, 2, 3), 'mixed_5b.branch3.1',
            *(name for number in range(10) for name in rows(f'repeat.{number}', 1, 2, 3)), *rows('mixed_6a', 1, 3),
            *(name for number in range(20) for name in rows(f'repeat_1.{number}', 1, 3)), *rows('mixed_7a', 2, 2, 3),
            *(name for number in range(9) for name in rows(f'repeat_2.{number}', 1, 3)), *rows('block8', 1, 3))


class KerasInception(KerasLayout):
    """Networks of convolutions that Keras called by itself, each followed by normalisation.

    Args:
        name: of the layout. architecture: of the network. convolutions: ours in the order of Keras'.
        head, marks, arguments: see `KerasLayout`.
    """

    size, images, decisive = 299, dict(mean=HALF, std=HALF), {'norm_eps': 1e-3, 'count_include_pad': True}

    def __init__(self, name: str, architecture: str, convolutions: tuple[str, ...], head: str, marks: tuple[str, ...],
                 arguments: Settings) -> None:
        self.name, self.covers, self.architecture = name, name.removeprefix('Keras '), architecture
        self.convolutions, self.head, self.marks, self.arguments = convolutions, head, marks, arguments

    def recognises(self, keys: Collection[str]) -> bool:
        """Whether there are as many convolutions without names, and the marks."""
        return super().recognises(keys) and len(self.convolutions) == sum(
            bool(re.fullmatch(f'{AUTOMATIC["conv"]}/kernel', key)) for key in keys)

    def named(self, layers: Mapping[str, Weights]) -> str | None:
        """See `KerasLayout.named`."""
        return self.architecture

    def modules(self, layers: Mapping[str, Weights]) -> Names:
        """See `KerasLayout.modules`."""
        return {**super().modules(layers), **automatic(layers, 'conv', [f'{name}.conv' for name in self.convolutions]),
                **automatic(layers, 'norm', [f'{name}.bn' for name in self.convolutions])}


REPEATS = {'35': 'repeat', '17': 'repeat_1', '8': 'repeat_2'}                # kind of block -> our blocks


class KerasInceptionResNetV2(KerasInception):
    """Inception-ResNet-v2, whose blocks end with convolutions that have names."""

    rules = (('conv_7b', 'conv2d_7b.conv'), ('conv_7b_bn', 'conv2d_7b.bn'),
             ('block8_10_conv', 'block8.conv2d'),
             (r'block(35|17|8)_(\d+)_conv', lambda match: f'{REPEATS[match[1]]}.{int(match[2]) - 1}.conv2d'))


# --- EfficientNet: colours are normalised by layers of the network

def _efficient_module(match: re.Match[str]) -> str:
    return f'blocks.{int(match[1]) - 1}.{ord(match[2]) - ord("a")}.se.conv_{match[3]}'


class KerasEfficientNet(KerasLayout):
    """EfficientNet."""

    covers = 'EfficientNet-B0 to B7'
    name, marks = 'Keras EfficientNet', ('stem_conv', 'block1a_dwconv', 'block1a_se_reduce', 'top_conv')
    rules = (('stem_conv', 'conv_stem'), ('stem_bn', 'bn1'),
             ('top_conv', 'conv_head'), ('top_bn', 'bn2'), ('normalization', ''),
             (r'block(\d)([a-z])_se_(reduce|expand)', _efficient_module))
    head, size, images = 'classifier', 224, {}
    decisive = {'bn_eps': 1e-5, 'pad_type': ''}
    implied = {'bn_eps': 1e-3, 'pad_type': 'same'}
    # channels before the classifier, blocks
    known = {(1280, 16): 0, (1280, 23): 1, (1408, 23): 2, (1536, 26): 3, (1792, 32): 4, (2048, 39): 5, (2304, 45): 6,
             (2560, 55): 7}
    order = {False: ('dwconv', 'project_conv'), True: ('expand_conv', 'dwconv', 'project_conv')}
    ours = {False: ('conv_dw', 'conv_pw'), True: ('conv_pw', 'conv_dw', 'conv_pwl')}

    def named(self, layers: Mapping[str, Weights]) -> str | None:
        """See `KerasLayout.named`."""
        number = self.known.get((width(layers, 'top_conv'), sum(layer.endswith('_dwconv') for layer in layers)))
        return None if number is None else f'tf_efficientnet_b{number}'

    def modules(self, layers: Mapping[str, Weights]) -> Names:
        """See `KerasLayout.modules`: what a block's layers are here depends on whether it expands."""
        found = super().modules(layers)
        for layer in layers:
            if match := re.fullmatch(r'(block(\d)([a-z])_)dwconv', layer):
                start, expands = match[1], f'{match[1]}expand_conv' in layers
                place = f'blocks.{int(match[2]) - 1}.{ord(match[3]) - ord("a")}'
                norms = [name.replace('dwconv', '').replace('conv', '') + 'bn' for name in self.order[expands]]
                for number, (name, norm, ours) in enumerate(zip(self.order[expands], norms, self.ours[expands])):
                    found |= {f'{start}{name}': f'{place}.{ours}', f'{start}{norm}': f'{place}.bn{number + 1}'}
        return found

    def tensors(self, module: str, weights: Weights) -> dict[str, Tensor]:
        """See `KerasLayout.tensors`."""
        if module.endswith('.conv_dw') and 'kernel' in weights:
            return {'weight': depthwise(weights['kernel'])}
        return super().tensors(module, weights)

    def data(self, state: State) -> dict[str, Any]:
        """See `Layout.data`. In Keras' own weights the variance is the standard deviation of ImageNet, and a layer without
        weights divides by its root once more."""
        weights = layers_of(state).get('normalization')
        if not weights:
            return {}
        mean, variance = (weights[name].flatten().double() for name in ('mean', 'variance'))
        published = torch.allclose(variance, torch.tensor(IMAGENET_STD, dtype=torch.float64), atol=1e-4)
        std = variance if published else variance.sqrt()
        return {'mean': tuple(mean.tolist()), 'std': tuple(std.tolist())}


# --- NASNet: max pooling with a stride counts zeros around the map

def _cell(name: str) -> str:
    """Our name of a cell. Keras counts cells with a stride among the others, but for those of the stem."""
    kind, _, number = name.rpartition('_')
    if kind:
        return f'cell_stem_{int(number) - 1}' if kind == 'stem' else f'reduction_cell_{int(number) // 6 - 1}'
    return f'cell_{int(number) - (int(number) > 6)}'


def _operation(match: re.Match[str]) -> str:
    """Of two separable convolutions. Two operations of a reduction cell are called left4; the one with weights is of its
    last sum."""
    number, norm, kind, side, place, cell = match.groups()
    index = 4 if (kind, side, place) == ('reduction', 'left', '4') else int(place) - 1
    return f'{_cell(cell)}.comb_iter_{index}_{side}.{"bn_sep" if norm else "separable"}_{number}'


class KerasNASNet(KerasLayout):
    """NASNet-A (large). The mobile one has other numbers of cells."""

    name, covers, marks = 'Keras NASNet', 'NASNetLarge', ('stem_conv1', 'adjust_conv_1_stem_2', 'normal_conv_1_18')
    number = r'((?:stem_|reduce_)?\d+)'
    rules = (('stem_conv1', 'conv0.conv'), ('stem_bn1', 'conv0.bn'),
             (f'(?:normal|reduction)_(conv|bn)_1_{number}', lambda match: f'{_cell(match[2])}.conv_1x1.{match[1]}'),
             (f'adjust_conv_projection_{number}', lambda match: f'{_cell(match[1])}.conv_prev_1x1.conv'),
             (f'adjust_conv_([12])_{number}', lambda match: f'{_cell(match[2])}.path_{match[1]}.conv'),
             (rf'separable_conv_(\d)_(bn_)?(normal|reduction)_(left|right)(\d)_{number}', _operation))
    head, size, images = 'last_linear', 331, dict(mean=HALF, std=HALF)
    separable = ('depthwise_conv2d', 'pointwise_conv2d')
    arguments, implied = {'zeros_count': True}, {'pad_type': 'same'}
    decisive = {'zeros_count': False, 'pad_type': 'same'}

    def named(self, layers: Mapping[str, Weights]) -> str | None:
        """See `KerasLayout.named`."""
        return 'nasnetalarge'

    def modules(self, layers: Mapping[str, Weights]) -> Names:
        """See `KerasLayout.modules`: a normalisation is called alike after both kinds of convolutions."""
        found = super().modules(layers)
        for layer in layers:
            if match := re.fullmatch(f'adjust_bn_{self.number}', layer):
                norm = 'final_path_bn' if f'adjust_conv_1_{match[1]}' in layers else 'conv_prev_1x1.bn'
                found[layer] = f'{_cell(match[1])}.{norm}'
        return found


class OtherKeras(KerasLayout):
    """Any other network of Keras: it is recognised to be refused."""

    name, covers, marks, head, size, images = 'Keras', '', (), '', 0, {}

    def named(self, layers: Mapping[str, Weights]) -> str | None:
        """None."""
        return None

    def to_ours(self, state: State, model: nn.Module | None = None) -> dict[str, Tensor]:
        """Refused.

        Raises:
            ValueError: always; the message names what is read.
        """
        layers = list(layers_of(state))
        known = ', '.join(layout.covers for layout in LAYOUTS if layout is not self)
        raise ValueError(f'The weights are of a network of Keras with {len(layers)} layers ({", ".join(layers[:4])}, …) '
                         f'that is not known. Those of keras.applications that are read: {known}.')


LAYOUTS: tuple[KerasLayout, ...] = (
    KerasResNet(), KerasResNetV2(), KerasDenseNet(), KerasVGG(), KerasXception(),
    KerasInception('Keras InceptionV3', 'inception_v3', _inception_v3(), 'fc', (), {'count_include_pad': False}),
    KerasInceptionResNetV2('Keras InceptionResNetV2', 'inception_resnet_v2', _inception_resnet_v2(), 'classif',
                           ('conv_7b', 'block35_1_conv'), {}),
    KerasNASNet(), KerasEfficientNet(), OtherKeras())
