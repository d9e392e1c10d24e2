"""Folders that the library transformers wrote: config.json and preprocessor_config.json of its EfficientNet and
EfficientFormer.

What its documentation says and its code does differ in places; the network built here does what the code does:

- Padding is that of TensorFlow for an even size, at every size: exact at odd sizes too, where pad_type='same' is not.
- `batch_norm_momentum` (0.99 in the published files) goes to PyTorch as it is, where Keras' 0.99 means 0.01: in
  training the running statistics are little more than the last batch's. bn_momentum=0.01 is what the paper trained
  with. Only its expansions keep PyTorch's 0.1; here all layers share one momentum.
- Its drop connect zeroes single elements; here stochastic depth drops whole images' branches, as the paper does, at the
  same rates. Evaluation does not differ.
- `include_top` divides by std a second time, after the first; the published std is the root of ImageNet's, so that the
  two are ImageNet's. NEAREST is Pillow's, which differs from that of torchvision's tensors on some pixels in twenty.
- Crops of an odd margin leave the extra pixel at the bottom and right (crop_mode 'center_floor').
- EfficientFormer's `layer_norm_eps` is 1e-12 in its files and 1e-5 in the paper's code and our networks by name:
  logits differ by 5e-5. Its stochastic depth does not divide `drop_path_rate` by the depth, and is not finite in
  training; here it grows linearly to that rate, as in the paper.
"""
from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from ...spec import HALF, IMAGENET_MEAN, IMAGENET_STD, PretrainedCfg, refuse

Config = Mapping[str, Any]

# names of activations there -> here
ACTIVATIONS = {'swish': 'silu', 'silu': 'silu', 'relu': 'relu', 'relu6': 'relu6', 'gelu': 'gelu', 'mish': 'mish',
               'sigmoid': 'sigmoid', 'tanh': 'tanh', 'leaky_relu': 'leaky_relu', 'linear': 'identity'}
STEM = 32                                                # channels of its first convolution, before scaling
POOLING = {'mean': 'avg', 'max': 'max'}
RESAMPLING = ('nearest', 'lanczos', 'bilinear', 'bicubic', 'box', 'hamming')          # Pillow's numbers

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
EFFICIENTFORMERS = {(3, 2, 6, 4): 'efficientformer_l1', (4, 4, 12, 6): 'efficientformer_l3',
                    (6, 6, 18, 8): 'efficientformer_l7'}
EFFICIENTFORMER = dict(
    image_size=224, depths=[3, 2, 6, 4], hidden_sizes=[48, 96, 224, 448], num_meta3d_blocks=1, mlp_expansion_ratio=4,
    pool_size=3, hidden_act='gelu', batch_norm_eps=1e-5, layer_norm_eps=1e-12, use_layer_scale=True,
    layer_scale_init_value=1e-5, hidden_dropout_prob=0.0, drop_path_rate=0.0, distillation=True)
# what no option here changes
FIXED = dict(num_attention_heads=8, key_dim=32, attention_ratio=4, downsample_patch_size=3, downsample_stride=2,
             downsample_pad=1)
PROCESSORS = {
    'efficientnet': dict(
        do_resize=True, size=dict(height=346, width=346), resample=0, do_center_crop=False,
        crop_size=dict(height=289, width=289), do_rescale=True, rescale_factor=1 / 255, rescale_offset=False,
        do_normalize=True, image_mean=HALF, image_std=HALF, include_top=True),
    'efficientformer': dict(
        do_resize=True, size=dict(height=224, width=224), resample=3, do_center_crop=True,
        crop_size=dict(height=224, width=224), do_rescale=True, rescale_factor=1 / 255, rescale_offset=False,
        do_normalize=True, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD, include_top=False),
}


def read_config(config: Config, processor: Config | None) -> tuple[PretrainedCfg, dict[str, Any]]:
    """The record of the weights and the arguments of the network, from the two files' contents.

    Args:
        processor: preprocessor_config.json; None where there is none: then images are resized to `image_size` and
            normalised as ImageNet.

    Raises:
        ValueError: another `model_type`; values that do not fit together, or that no network here has.
    """
    kind = config.get('model_type')
    if kind not in READERS:
        raise ValueError(refuse('model_type', str(kind), READERS))
    architecture, arguments, fields = READERS[kind](config)
    labels = _labels(config)
    channels, size = config.get('num_channels', 3), config.get('image_size', arguments.pop('size'))
    headless = any(name.endswith('Model') for name in config.get('architectures') or ())
    count = 0 if headless else len(labels)
    cfg = PretrainedCfg(architecture, num_classes=count, label_names=labels if count else None,
                        **{'input_size': (channels, size, size), 'crop_pct': 1.0, **fields})
    if processor is not None:
        cfg = cfg.replace(**preprocessing({**PROCESSORS[kind], **processor}, channels))
    return cfg, {**arguments, 'in_chans': channels, 'num_classes': count}


def preprocessing(processor: Config, channels: int = 3) -> dict[str, Any]:
    """Fields of `PretrainedCfg` with which our transform gives what an image processor of transformers gives.

    The processor computes v = level * rescale_factor, v - 1 under `rescale_offset`, (v - mean) / std, and under
    `include_top` v / std once more. Ours starts from level / 255, so that mean and std take up all of it.

    Raises:
        ValueError: steps that no transform here does.
    """
    scale = 255 * processor['rescale_factor'] if processor['do_rescale'] else 255.0
    offset = 1.0 if processor['do_rescale'] and processor['rescale_offset'] else 0.0
    mean, std = _channels(processor['image_mean'], channels), _channels(processor['image_std'], channels)
    shift, factor = [offset] * channels, [scale] * channels
    if processor['do_normalize']:
        shift, factor = [m + offset for m in mean], [scale / s for s in std]
    if processor['include_top']:
        factor = [f / s for f, s in zip(factor, std)]
    return {**_geometry(processor, channels), 'interpolation': _resampling(processor),
            'mean': tuple(s / scale for s in shift), 'std': tuple(1 / f for f in factor)}


def _geometry(processor: Config, channels: int) -> dict[str, Any]:
    """How the image is resized and cropped."""
    if not processor['do_resize']:
        raise ValueError('do_resize is false in preprocessor_config.json: images would keep their sizes, and no '
                         'transform here leaves them. Resize them beforehand, or set it.')
    size = processor['size']
    size = dict(height=size, width=size) if isinstance(size, int) else size
    crop = processor['crop_size'] if processor['do_center_crop'] else None
    crop = dict(height=crop, width=crop) if isinstance(crop, int) else crop
    if 'shortest_edge' in size:
        edge = size['shortest_edge']
        if crop is None or crop['height'] != crop['width']:
            raise ValueError(f'size in preprocessor_config.json is the shortest edge, {edge}, without a square crop: '
                             'the tensors would have no one size.')
        return dict(input_size=(channels, crop['height'], crop['width']), crop_mode='center_floor',
                    crop_pct=_fraction((crop['height'],), (edge,)))
    if not {'height', 'width'} <= set(size):
        raise ValueError(f'size in preprocessor_config.json has height and width, or shortest_edge; it is {size!r}.')
    sides = size['height'], size['width']
    cut = (crop['height'], crop['width']) if crop else sides
    halves = any((side - c) % 2 for side, c in zip(sides, cut))
    return dict(input_size=(channels, *cut), crop_mode='squash_floor' if halves else 'squash',
                crop_pct=_fraction(cut, sides))


def _fraction(cut: Sequence[int], sides: Sequence[int]) -> float:
    """The crop_pct that resizes to `sides` for an input of `cut`: floor(cut / crop_pct) has to be the sides.

    Raises:
        ValueError: there is none, as where only one side is cropped.
    """
    low, high = max(c / (s + 1) for c, s in zip(cut, sides)), min(c / s for c, s in zip(cut, sides))
    for fraction in (high, (low + high) / 2):
        if [math.floor(c / fraction) for c in cut] == list(sides):
            return fraction
    raise ValueError(f'A crop of {tuple(cut)} pixels out of an image resized to {tuple(sides)} is not one fraction of '
                     'both sides, which is what transforms here crop.')


def _resampling(processor: Config) -> str:
    number = processor['resample']
    if number not in range(len(RESAMPLING)):
        raise ValueError(f'resample in preprocessor_config.json is one of Pillow, 0 to {len(RESAMPLING) - 1}, '
                         f'not {number!r}.')
    return RESAMPLING[number]


def _channels(values: Any, channels: int) -> list[float]:
    found = [float(values)] if isinstance(values, (int, float)) else [float(value) for value in values]
    if len(found) not in (1, channels):
        raise ValueError(f'image_mean and image_std have one value a channel, {channels}; got {found}.')
    return found * channels if len(found) == 1 else found


def _labels(config: Config) -> tuple[str, ...]:
    """Names of the classes in their order; without any, transformers has two."""
    names = config.get('id2label')
    if not names:
        return tuple(f'LABEL_{i}' for i in range(config.get('num_labels', 2)))
    numbers = sorted(names, key=int)
    if [int(n) for n in numbers] != list(range(len(numbers))):
        raise ValueError(f'id2label numbers {len(numbers)} classes {numbers[0]} to {numbers[-1]}, with gaps.')
    return tuple(names[n] for n in numbers)


def _efficientnet(config: Config) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Architecture, arguments of zoo.models.efficientnet.EfficientNet, and the record's fields."""
    given = {**EFFICIENTNET, **{key: value for key, value in config.items() if value is not None}}
    width, depth, divisor = (given[f'{key}'] for key in ('width_coefficient', 'depth_coefficient', 'depth_divisor'))
    wide = _rounded(1280 * width, divisor)
    if given['hidden_dim'] != wide:
        raise ValueError(f'hidden_dim is {given["hidden_dim"]}, and width_coefficient={width} makes the last '
                         f'convolution {wide} channels wide: the two have to be equal.')
    arguments = dict(
        blocks=_blocks(given), width=width, depth=1.0, divisor=divisor, stem_size=STEM,
        head_size=wide, bn_eps=given['batch_norm_eps'], bn_momentum=given['batch_norm_momentum'], pad_type='even',
        symmetric_blocks=tuple(given['depthwise_padding']), act_layer=_one_of(given, 'hidden_act', ACTIVATIONS),
        global_pool=_one_of(given, 'pooling_type', POOLING), drop_rate=given['dropout_rate'],
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


def _one_of(given: Config, field: str, known: Mapping[str, str]) -> str:
    if given[field] not in known:
        raise ValueError(refuse(field, str(given[field]), known))
    return known[given[field]]


def _efficientformer(config: Config) -> tuple[str, dict[str, Any], dict[str, Any]]:
    """Architecture, arguments of zoo.models.efficientformer.EfficientFormer, and the record's fields."""
    given = {**EFFICIENTFORMER, **{key: value for key, value in config.items() if value is not None}}
    size, widths = given['image_size'], tuple(given['hidden_sizes'])
    fixed = {**FIXED, 'dim': widths[-1], 'resolution': math.ceil(size / 32), 'downsamples': [True] * len(widths)}
    for key, value in fixed.items():
        if key in config and given[key] != value:
            raise ValueError(f'{key} is {given[key]}; with the other fields, networks here have {value}.')
    if len(widths) != 4 or len(given['depths']) != 4:
        raise ValueError(f'depths and hidden_sizes have 4 stages each, not {len(given["depths"])} and {len(widths)}.')
    teacher = [name.endswith('WithTeacher') for name in config.get('architectures') or ()]
    distillation = any(teacher) if teacher else bool(given['distillation'])
    arguments = dict(
        depths=tuple(given['depths']), embed_dims=widths, num_vit=given['num_meta3d_blocks'],
        mlp_ratios=given['mlp_expansion_ratio'], pool_size=given['pool_size'], img_size=size,
        act_layer=_one_of(given, 'hidden_act', ACTIVATIONS), norm_eps=given['batch_norm_eps'],
        layer_norm_eps=given['layer_norm_eps'], distillation=distillation,
        layer_scale_init_value=given['layer_scale_init_value'] if given['use_layer_scale'] else None,
        proj_drop_rate=given['hidden_dropout_prob'], drop_path_rate=given['drop_path_rate'], size=size)
    fields = dict(first_conv='stem.conv1', classifier=('head', 'head_dist') if distillation else 'head',
                  fixed_input_size=True, paper_ids='arXiv:2206.01191')
    return EFFICIENTFORMERS.get(arguments['depths'], EFFICIENTFORMERS[3, 2, 6, 4]), arguments, fields


READERS = {'efficientnet': _efficientnet, 'efficientformer': _efficientformer}
