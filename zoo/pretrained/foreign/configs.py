"""Folders that the library transformers wrote: config.json and preprocessor_config.json, of whatever family.

A family's own reading lies in its module, as a `ConfigReader`. Of preprocessing, the network built here does what the
code of transformers does:

- `include_top` divides by std a second time, after the first; the published std of EfficientNet is the root of
  ImageNet's, so that the two are ImageNet's. NEAREST is Pillow's, which differs from that of torchvision's tensors on
  some pixels in twenty.
- Crops of an odd margin leave the extra pixel at the bottom and right (crop_mode 'center_floor').
- Padding is of the mean colour, as a whole level; transformers pads what is normalised, with zeros.
- `crop_pct`, which only ConvNeXt's processor has, goes with images below 384 pixels; larger ones are squashed whole.
"""
from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from ...spec import IMAGENET_MEAN, IMAGENET_STD, PretrainedCfg, unknown

Config = Mapping[str, Any]
Read = tuple[str, dict[str, Any], dict[str, Any]]

# names of activations there -> here
ACTIVATIONS = {'swish': 'silu', 'silu': 'silu', 'relu': 'relu', 'relu6': 'relu6', 'gelu': 'gelu', 'mish': 'mish',
               'sigmoid': 'sigmoid', 'tanh': 'tanh', 'leaky_relu': 'leaky_relu', 'linear': 'identity',
               'gelu_pytorch_tanh': 'gelu_tanh', 'gelu_new': 'gelu_tanh', 'quick_gelu': 'quick_gelu'}
RESAMPLING = ('nearest', 'lanczos', 'bilinear', 'bicubic', 'box', 'hamming')          # Pillow's numbers
WHOLE = 384                                              # from this side on ConvNeXt's processor crops nothing
PROCESSOR = dict(
    do_resize=True, size=dict(height=224, width=224), resample=3, do_center_crop=False,
    crop_size=dict(height=224, width=224), do_rescale=True, rescale_factor=1 / 255, rescale_offset=False,
    do_normalize=True, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD, include_top=False, default_to_square=True,
    do_pad=False, pad_size=None, do_flip_channel_order=False)


@dataclass(frozen=True)
class ConfigReader:
    """How the config.json of one `model_type` is read.

    Attributes:
        read: its content -> the architecture, arguments of its class, and fields of the record. Among the arguments
            'size' is the side of its images in pixels, and 'num_classes' the width of a head without labels.
        processor: what absent fields of its preprocessor_config.json mean, where that differs from `PROCESSOR`.
        blue_first: its networks take blue, green, red, and their layout turns the first convolution around.
    """

    read: Callable[[Config], Read]
    processor: Config = field(default_factory=dict)
    blue_first: bool = False


def read_config(config: Config, processor: Config | None, readers: Mapping[str, ConfigReader],
                ) -> tuple[PretrainedCfg, dict[str, Any]]:
    """The record of the weights and the arguments of the network, from the two files' contents.

    Args:
        processor: preprocessor_config.json; None where there is none: then images are resized to `image_size` and
            normalised as ImageNet.
        readers: by `model_type`.

    Raises:
        ValueError: another `model_type`; values that do not fit together, or that no network here has.
    """
    kind = str(config.get('model_type'))
    if kind not in readers:
        raise ValueError(unknown('model_type', kind, readers))
    inner = vision_part(config)
    architecture, arguments, fields = readers[kind].read(inner)
    labels = _labels(config)
    channels, size = inner.get('num_channels') or 3, arguments.pop('size')
    headless = any(name.endswith(('Model', 'Backbone')) for name in config.get('architectures') or ())
    count = arguments.pop('num_classes', 0 if headless else len(labels))
    cfg = PretrainedCfg(architecture, num_classes=count, label_names=labels if count == len(labels) else None,
                        **{'input_size': (channels, size, size), 'crop_pct': 1.0, **fields})
    if processor is not None:
        steps = {**PROCESSOR, **readers[kind].processor, **processor}
        if steps['do_flip_channel_order'] != readers[kind].blue_first:
            raise ValueError(f'do_flip_channel_order in preprocessor_config.json is {steps["do_flip_channel_order"]}; a '
                             f'network of model_type {kind!r} is read as one of {readers[kind].blue_first}.')
        cfg = cfg.replace(**preprocessing(steps, channels))
    if fields.get('fixed_input_size') and cfg.input_size[1:] != (size, size) and 'img_size' in arguments:
        arguments['dynamic_img_size'] = True             # its positions are resampled for the processor's images
    return cfg, {**arguments, 'in_chans': channels, 'num_classes': count}


def vision_part(config: Config) -> Config:
    """The fields of the network that sees, where a config is of one that reads as well."""
    inner = config.get('vision_config')
    if inner is None:
        return config
    outer = {key: config[key] for key in ('projection_dim', 'architectures') if key in config}
    return {**inner, **outer}


def given_fields(config: Config, defaults: Config) -> dict[str, Any]:
    """The fields of a config, with what absent ones mean."""
    return {**defaults, **{key: value for key, value in config.items() if value is not None}}


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
    return {**_geometry(_as_crop(processor), channels), 'interpolation': _resampling(processor),
            'mean': tuple(s / scale for s in shift), 'std': tuple(1 / f for f in factor)}


def _as_crop(processor: Config) -> Config:
    """ConvNeXt's kind of processor, which has a `crop_pct`, in the fields of the others."""
    if processor.get('crop_pct') is None:
        return processor
    size = processor['size']
    side = size if isinstance(size, int) else size.get('shortest_edge', size.get('height'))
    if side >= WHOLE:
        return {**processor, 'size': dict(height=side, width=side), 'do_center_crop': False}
    return {**processor, 'size': dict(shortest_edge=int(side / processor['crop_pct'])), 'do_center_crop': True,
            'crop_size': dict(height=side, width=side)}


def _geometry(processor: Config, channels: int) -> dict[str, Any]:
    """How the image is resized and cropped."""
    if not processor['do_resize']:
        raise ValueError('do_resize is false in preprocessor_config.json: images would keep their sizes, and no '
                         'transform here leaves them. Resize them beforehand, or set it.')
    size = processor['size']
    if isinstance(size, int):
        size = dict(height=size, width=size) if processor['default_to_square'] else dict(shortest_edge=size)
    if 'longest_edge' in size:
        edge, padded = size['longest_edge'], processor['pad_size'] if processor['do_pad'] else None
        if padded != dict(height=edge, width=edge):
            raise ValueError(f'size in preprocessor_config.json is the longest edge, {edge}, and images are padded to '
                             f'{padded}; here they are padded to a square of that edge.')
        return dict(input_size=(channels, edge, edge), crop_mode='border_corner', crop_pct=1.0)
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
        raise ValueError(f'size in preprocessor_config.json has height and width, shortest_edge or '
                         f'longest_edge; it is {size!r}.')
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


def one_of(given: Config, field: str, known: Mapping[str, str]) -> str:
    """The word here for the one in a field of a config.

    Raises:
        ValueError: it is not known.
    """
    if given[field] not in known:
        raise ValueError(unknown(field, str(given[field]), known))
    return known[given[field]]


def only(given: Config, **values: Any) -> None:
    """Checks fields of a config that networks here have one value of.

    Raises:
        ValueError: another value.
    """
    for field, value in values.items():
        if given[field] != value:
            raise ValueError(f'{field} is {given[field]!r}; networks here have {value!r}.')
