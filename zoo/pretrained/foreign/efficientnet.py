"""The config.json of transformers' EfficientNet and MobileNetV2.

What EfficientNet's documentation says and its code does differ in places; the network built here does what the code does:

- Padding is that of TensorFlow for an even size, at every size: exact at odd sizes too, where pad_type='same' is not.
- `batch_norm_momentum` (0.99 in the published files) goes to PyTorch as it is, where Keras' 0.99 means 0.01: in
  training the running statistics are little more than the last batch's. bn_momentum=0.01 is what the paper trained
  with. Only its expansions keep PyTorch's 0.1; here all layers share one momentum.
- Its drop connect zeroes single elements; here stochastic depth drops whole images' branches, as the paper does, at the
  same rates. Evaluation does not differ.
"""
from __future__ import annotations

import math

from ...spec import HALF
from .configs import ACTIVATIONS, Config, ConfigReader, Read, given_fields, one_of, only

STEM = 32                                                # channels of its first convolution, before scaling
POOLING = {'mean': 'avg', 'max': 'max'}
# width and depth coefficient -> the network of the same shapes
EFFICIENTNETS = {
    (1.0, 1.0): 'tf_efficientnet_b0', (1.0, 1.1): 'tf_efficientnet_b1', (1.1, 1.2): 'tf_efficientnet_b2',
    (1.2, 1.4): 'tf_efficientnet_b3', (1.4, 1.8): 'tf_efficientnet_b4', (1.6, 2.2): 'tf_efficientnet_b5',
    (1.8, 2.6): 'tf_efficientnet_b6', (2.0, 3.1): 'tf_efficientnet_b7',
}
# what an absent field means
EFFICIENTNET = dict(
    num_channels=3, image_size=600, width_coefficient=2.0, depth_coefficient=3.1, depth_divisor=8,
    kernel_sizes=[3, 3, 5, 3, 5, 5, 3], in_channels=[32, 16, 24, 40, 80, 112, 192],
    out_channels=[16, 24, 40, 80, 112, 192, 320], depthwise_padding=[], strides=[1, 2, 2, 2, 1, 2, 1],
    num_block_repeats=[1, 2, 2, 3, 3, 4, 1], expand_ratios=[1, 6, 6, 6, 6, 6, 6], squeeze_expansion_ratio=0.25,
    hidden_act='swish', hidden_dim=2560, pooling_type='mean', batch_norm_eps=1e-3, batch_norm_momentum=0.99,
    dropout_rate=0.5, drop_connect_rate=0.2)


def _efficientnet(config: Config) -> Read:
    """Architecture, arguments of zoo.models.efficientnet.EfficientNet, and the record's fields."""
    given = given_fields(config, EFFICIENTNET)
    width, depth, divisor = (given[f'{key}'] for key in ('width_coefficient', 'depth_coefficient', 'depth_divisor'))
    wide = _rounded(1280 * width, divisor)
    if given['hidden_dim'] != wide:
        raise ValueError(f'hidden_dim is {given["hidden_dim"]}, and width_coefficient={width} makes the last '
                         f'convolution {wide} channels wide: the two have to be equal.')
    arguments = dict(
        blocks=_blocks(given), width=width, depth=1.0, divisor=divisor, stem_size=STEM,
        head_size=wide, bn_eps=given['batch_norm_eps'], bn_momentum=given['batch_norm_momentum'], pad_type='even',
        symmetric_blocks=tuple(given['depthwise_padding']), act_layer=one_of(given, 'hidden_act', ACTIVATIONS),
        global_pool=one_of(given, 'pooling_type', POOLING), drop_rate=given['dropout_rate'],
        drop_path_rate=given['drop_connect_rate'], size=given['image_size'])
    fields = dict(first_conv='conv_stem', classifier='classifier', paper_ids='arXiv:1905.11946')
    return EFFICIENTNETS.get((width, depth), EFFICIENTNETS[1.0, 1.0]), arguments, fields


def _blocks(given: Config) -> tuple[str, ...]:
    """The stages as block strings, their depth scaled. The first block of a stage has no shortcut there, whatever its
    shapes are."""
    columns = ('kernel_sizes', 'in_channels', 'out_channels', 'strides', 'num_block_repeats', 'expand_ratios')
    lengths = {name: len(given[name]) for name in columns}
    if len(set(lengths.values())) != 1:
        raise ValueError('The lists of stages differ in length: '
                         + ', '.join(f'{name} {length}' for name, length in lengths.items()) + '.')
    stages, ratio = [], given['squeeze_expansion_ratio']
    for number, (kernel, wide_in, wide_out, stride, repeats, expand) in enumerate(zip(*(given[c] for c in columns))):
        before = given['out_channels'][number - 1] if number else STEM
        if wide_in != before:
            raise ValueError(f'Stage {number} takes in {wide_in} channels (in_channels), and what comes before it '
                             f'gives {before}.')
        if stride not in (1, 2) or kernel % 2 == 0:
            raise ValueError(f'Stage {number}: strides are 1 or 2 and kernels odd, not {stride} and {kernel}.')
        for channels in (wide_in, wide_out):
            squeezed = _rounded(channels * given['width_coefficient'], given['depth_divisor']) * ratio
            if squeezed != int(squeezed):
                raise ValueError(f'squeeze_expansion_ratio={ratio} squeezes stage {number} to {squeezed:g} channels, '
                                 'which is no whole number.')
        common = f'k{kernel}_e{expand}_c{wide_out}' + (f'_se{ratio}' if ratio else '')
        kind, count = 'ds' if expand == 1 else 'ir', math.ceil(given['depth_coefficient'] * repeats)
        rest = f' {kind}_r{count - 1}_s1_{common}' if count > 1 else ''
        stages.append(f'{kind}_r1_s{stride}_{common}_noskip{rest}')
    return tuple(stages)


def _rounded(channels: float, divisor: int) -> int:
    """To a multiple of `divisor`, not below nine tenths."""
    rounded = max(divisor, int(channels + divisor / 2) // divisor * divisor)
    return rounded + divisor if rounded < 0.9 * channels else rounded


MOBILENET_V2 = dict(
    image_size=224, depth_multiplier=1.0, depth_divisible_by=8, min_depth=8, expand_ratio=6, output_stride=32,
    first_layer_is_expansion=True, finegrained_output=True, hidden_act='relu6', tf_padding=True,
    classifier_dropout_prob=0.8, layer_norm_eps=1e-3)
MOBILENETS_V2 = {0.35: 'mobilenetv2_035', 0.5: 'mobilenetv2_050', 0.75: 'mobilenetv2_075', 1.4: 'mobilenetv2_140'}


def _mobilenet_v2(config: Config) -> Read:
    given = given_fields(config, MOBILENET_V2)
    only(given, depth_divisible_by=8, min_depth=8, expand_ratio=6, output_stride=32, first_layer_is_expansion=True)
    width = given['depth_multiplier']
    arguments = dict(
        width=width, head_size=1280 if given['finegrained_output'] and width < 1 else _rounded(1280 * width, 8),
        bn_eps=given['layer_norm_eps'], pad_type='same' if given['tf_padding'] else '',
        act_layer=one_of(given, 'hidden_act', ACTIVATIONS), drop_rate=given['classifier_dropout_prob'],
        size=given['image_size'])
    fields = dict(first_conv='conv_stem', classifier='classifier', paper_ids='arXiv:1801.04381')
    return MOBILENETS_V2.get(width, 'mobilenetv2_100'), arguments, fields


CONFIGS = {'mobilenet_v2': ConfigReader(_mobilenet_v2, dict(
    size=dict(shortest_edge=256), resample=2, do_center_crop=True, default_to_square=False, image_mean=HALF,
    image_std=HALF)), 'efficientnet': ConfigReader(_efficientnet, dict(
    size=dict(height=346, width=346), resample=0, crop_size=dict(height=289, width=289), image_mean=HALF,
    image_std=HALF,
    include_top=True))}
