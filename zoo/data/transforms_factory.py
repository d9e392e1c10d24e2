"""The steps from an image as it was opened to the tensor a network takes, in evaluation and in training."""
from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

import torch
from PIL import Image
from torchvision import transforms as T
from torchvision.transforms import InterpolationMode, v2

from ..spec import is_integral, is_real, unknown
from .augment import RandomErasing, create_augment
from .config import check_settings, per_channel, sizes, values
from .constants import (
    DEFAULT_CROP_MODE, DEFAULT_CROP_PCT, IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD, RANDOM, TRAIN_CROP_MODES,
)
from .patches import Patchify, RandomResizedCropToSequence, ResizeToSequence, patch_pair
from .transforms import (
    CornerPad, CropOrPad, FloorCrop, RandomCropResize, RandomKeepRatio, ResizeKeepRatio, ToChannels, ToTensor,
    TrimBorder,
)

# what is in the signature because callers pass it along, and has to have this value: there is nothing behind it
UNSERVED = dict(tf_preprocessing=False)
# options and their defaults that are read only beside one of some others
SEQUENCE_OPTIONS: dict[tuple[str, ...], dict[str, Any]] = {
    ('naflex',): {'max_seq_len': 576}, ('naflex', 'patchify'): {'patch_size': 16},
    ('patchify',): {'patchify_channels_last': True, 'patchify_flatten': True}}
BLUR_KERNEL = 23


def create_transform(
    input_size: int | Sequence[int] = 224,
    is_training: bool = False,
    no_aug: bool = False,
    train_crop_mode: str | None = None,
    scale: tuple[float, float] | None = None,
    ratio: tuple[float, float] | None = None,
    hflip: float = 0.5,
    vflip: float = 0.0,
    color_jitter: float | Sequence[float] | None = 0.4,
    color_jitter_prob: float | None = None,
    grayscale_prob: float = 0.0,
    gaussian_blur_prob: float = 0.0,
    auto_augment: str | None = None,
    interpolation: str = 'bilinear',
    mean: float | Sequence[float] = IMAGENET_DEFAULT_MEAN,
    std: float | Sequence[float] = IMAGENET_DEFAULT_STD,
    re_prob: float = 0.0,
    re_mode: str = 'const',
    re_count: int = 1,
    re_num_splits: int = 0,
    crop_pct: float | None = None,
    crop_mode: str | None = None,
    crop_border_pixels: int | None = None,
    tf_preprocessing: bool = False,
    use_prefetcher: bool = False,
    normalize: bool = True,
    separate: bool = False,
    naflex: bool = False,
    patch_size: int | tuple[int, int] = 16,
    max_seq_len: int = 576,
    patchify: bool = False,
    patchify_channels_last: bool = True,
    patchify_flatten: bool = True,
) -> T.Compose | tuple[T.Compose, T.Compose, T.Compose]:
    """The transform from an image, as it was opened, to the tensor a network takes.

    `create_transform(**zoo.data.resolve_model_data_config(model))` is the one a model was measured with.

    What comes in may be a `PIL.Image` of any mode or a tensor (C, H, W), float in 0..1 or integer. A Pillow image is
    first made 8-bit grey, grey with alpha, RGB or RGBA by `zoo.data.convert_image`, for 1, 2, 3 or 4 channels. The
    channels are those of an `input_size` of three, else as many as `mean` and `std` have values; if that does not tell,
    grey images stay grey and all others become RGB. So palette, CMYK, YCbCr and grey images give what they give after
    `.convert('RGB')`, transparency is dropped, and 16-bit grey is scaled, not clipped. EXIF orientation is not
    applied: `zoo.data.load_image(file, exif=True)` does that.

    What comes out is (C, height, width): normalised float32, or uint8 levels if `normalize` is false or
    `use_prefetcher` leaves that to a loader. The result is a torchvision `Compose`: its steps are in `.transforms`.

    Evaluation (the default) resizes to input_size / crop_pct, rounded down, and cuts out the middle. Training crops,
    flips and distorts at random; its arguments have no effect in evaluation, nor those of evaluation in training.

    Args:
        input_size: pixels of a square side, (height, width), or (channels, height, width).
        no_aug: in training, only resize to the input size, a pair of sides without keeping the aspect, and cut.
        train_crop_mode: 'rrc' takes a random part (the default); 'rkrc' resizes to cover the input size, at random
            somewhat larger and stretched, and takes the middle; 'rkrr' then takes any part.
        scale, ratio: the range of the part's area, as a fraction of the image's, and of its aspect. For 'rrc' (0.08,
            1) and (3/4, 4/3), for the others (0.8, 1) and (0.9, 1/0.9).
        hflip, vflip, color_jitter_prob, grayscale_prob, gaussian_blur_prob: probabilities.
        color_jitter: largest relative change of brightness, contrast and saturation: one number, or three, or four
            with the change of hue, of which 0.5 is half the circle. None for none.
        interpolation: nearest, bilinear, bicubic, lanczos, box or hamming. In training also random: bilinear or
            bicubic, drawn for each image.
        mean, std: per channel, or one for all; those of RGB serve any number of channels, see
            `zoo.data.config.per_channel`.
        crop_pct: the fraction of the resized side that is kept, at most 1; 0.875 if None.
        crop_mode: center resizes until the image covers the size; squash does not keep the aspect; border resizes
            until the image fits in and pads with `mean`, on all sides. center if None. center_floor and squash_floor
            round half a pixel of margin down, as image processors of transformers do, and border_corner pads at the
            bottom and right alone, as SAM's does; the others round it to even.
        crop_border_pixels: in evaluation, cut off on each side before all else.
        separate: in training, three transforms in a tuple: crop and flip, distort, make a tensor;
            `SplitTransform` makes of them one that gives a clean image and distorted ones.
        auto_augment: 'rand-m9-mstd0.5', 'augmix-m3', 'original', 'v0', '3a' ...: distortions, as `zoo.data.augment`
            reads them, in place of `color_jitter`; 3-Augment ('3a', or 'rand-' with 't3a') has that as well. What they
            uncover is filled with `mean`. They have filters for nearest, bilinear and bicubic: any other
            `interpolation` is bicubic to them, random is drawn each time. They need a Pillow image, grey or RGB.
        re_prob, re_mode, re_count: of random erasing (`RandomErasing`): its probability; 'const', 'rand' or 'pixel';
            the largest number of rectangles. It follows normalising, so `use_prefetcher` leaves it to the loader.
        re_num_splits: handed to `RandomErasing`, which heeds it in batches.
        naflex: keep the aspect of images, and resize them, in training parts of them, to the largest grid of patches
            that a sequence holds: `input_size` and `crop_pct` are without effect then, and the whole of an image is
            evaluated. `ratio` is that of a part's aspect to the image's.
        patch_size, max_seq_len: height and width of a patch, and how many of them are a sequence, with `naflex`.
        patchify: what comes out is the patches of the image, see `zoo.data.Patchify`, of any transform.
        patchify_channels_last, patchify_flatten: see there.
        tf_preprocessing: there is nothing behind it; it has to be left at its default.

    Raises:
        ValueError: a value that cannot be used, or an argument that is not available.
    """
    given = dict(locals())
    _refuse_unserved(given, UNSERVED)
    for needed, names in SEQUENCE_OPTIONS.items():
        if not any(given[name] for name in needed):
            for name, default in names.items():
                if given[name] != default:
                    raise ValueError(f'{name}={given[name]!r} is read only with {" or ".join(needed)}.')
    crop_pct = DEFAULT_CROP_PCT if crop_pct is None else crop_pct
    crop_mode = crop_mode or DEFAULT_CROP_MODE
    check_settings(interpolation, crop_mode, crop_pct, values(std, 'std'))
    size = _size(input_size)
    channels = _channels(input_size, mean, std, normalize and not use_prefetcher)
    start: list[Callable[..., Any]] = [ToChannels(channels)]
    end: list[Callable[..., Any]]
    if use_prefetcher or not normalize:
        end = [ToTensor(floats=False)]
    else:
        end = [ToTensor(), T.Normalize(*(torch.tensor(per_channel(v, channels, name) if channels else values(v, name))
                                         for name, v in (('mean', mean), ('std', std))))]
    cut = [Patchify(patch_pair(patch_size), patchify_flatten, patchify_channels_last)] if patchify else []
    sequence = (patch_pair(patch_size), max_seq_len) if naflex else None
    if not is_training:
        if separate:
            raise ValueError('separate=True splits a transform for training; is_training is False.')
        middle = _evaluation_steps(size, interpolation, values(mean, 'mean'), crop_pct, crop_mode, crop_border_pixels,
                                   sequence)
        return T.Compose([*start, *middle, *end, *cut])

    erase = _erasing(re_prob, re_mode, re_count, re_num_splits)
    if no_aug:
        if separate:
            raise ValueError('separate=True splits off the distortions; no_aug=True has none.')
        name = 'bilinear' if interpolation == RANDOM else interpolation
        whole = [ResizeToSequence(*sequence, name)] if sequence else [T.Resize(size, InterpolationMode(name)),
                                                                      T.CenterCrop(size)]
        return T.Compose([*start, *whole, *end, *cut])
    first = [*_random_crop(_pair(size), train_crop_mode or 'rrc', scale, ratio, interpolation, sequence),
             *_sometimes(hflip, 'hflip', T.RandomHorizontalFlip), *_sometimes(vflip, 'vflip', T.RandomVerticalFlip)]
    auto = _auto_augment(auto_augment, _pair(size), interpolation, channels, values(mean, 'mean'))
    jitter = not auto_augment or '3a' in auto_augment
    second = [*auto, *(_color_jitter(color_jitter, color_jitter_prob) if jitter else ()),
              *_sometimes(grayscale_prob, 'grayscale_prob', T.RandomGrayscale),
              *_sometimes(gaussian_blur_prob, 'gaussian_blur_prob',
                          lambda p: T.RandomApply([T.GaussianBlur(BLUR_KERNEL)], p))]
    if erase and not use_prefetcher:
        if not normalize:
            raise ValueError(f're_prob={re_prob} erases from normalised images; normalize is False.')
        end += erase
    if separate:
        return T.Compose([*start, *first]), T.Compose(second), T.Compose([*end, *cut])
    return T.Compose([*start, *first, *second, *end, *cut])


def _refuse_unserved(given: dict[str, Any], unserved: dict[str, Any]) -> None:
    for name, default in unserved.items():
        if given[name] != default and (given[name] or default):
            raise ValueError(f'{name}={given[name]!r}: {name} is not available; leave it at {default!r}.')


def _size(input_size: int | Sequence[int]) -> int | tuple[int, ...]:
    """The side of a square, or height and width."""
    if is_integral(input_size) and input_size > 0:
        return int(input_size)
    if isinstance(input_size, Sequence) and len(input_size) == 3:
        return sizes(input_size, 3, 'input_size')[1:]
    if isinstance(input_size, Sequence):
        return sizes(input_size, 2, 'input_size')
    raise ValueError(f'input_size is a positive integer, (height, width) or (channels, height, width); '
                     f'got {input_size!r}.')


def _pair(size: int | tuple[int, ...]) -> tuple[int, int]:
    return (size, size) if isinstance(size, int) else (size[0], size[1])


def _channels(
    input_size: int | Sequence[int], mean: float | Sequence[float], std: float | Sequence[float], normalize: bool,
) -> int | None:
    """How many channels the tensor is to have; None where that is up to the image."""
    if isinstance(input_size, Sequence) and len(input_size) == 3:
        return input_size[0]
    count = max(len(values(mean, 'mean')), len(values(std, 'std'))) if normalize else 1
    return count if count > 1 else None


def _evaluation_steps(
    size: int | tuple[int, ...], interpolation: str, mean: tuple[float, ...], crop_pct: float, crop_mode: str,
    crop_border_pixels: int | None, sequence: tuple[tuple[int, int], int] | None,
) -> list[Callable[..., Any]]:
    """Resize and cut; for a sequence of patches, only resize."""
    if interpolation == RANDOM:
        raise ValueError("interpolation='random' is for training; evaluation needs one, such as 'bicubic'.")
    height, width = (math.floor(side / crop_pct) for side in _pair(size))
    border = crop_border_pixels or 0
    if not is_integral(border) or border < 0:
        raise ValueError(f'crop_border_pixels is a number of pixels; got {crop_border_pixels!r}.')
    trim = [TrimBorder(int(border))] if border else []
    if sequence:
        return [*trim, ResizeToSequence(*sequence, interpolation)]
    mode = InterpolationMode(interpolation)
    crop_mode, _, where = crop_mode.partition('_')
    cut = FloorCrop(_pair(size), fill=(0.0,)) if where else T.CenterCrop(_pair(size))
    if crop_mode == 'squash':
        return [*trim, T.Resize((height, width), mode), cut]
    if crop_mode == 'border':
        pad = (CornerPad if where else CropOrPad)(_pair(size), fill=mean)
        return [*trim, ResizeKeepRatio((height, width), interpolation, inside=True), pad]
    if height == width:
        return [*trim, T.Resize(height, mode), cut]
    return [*trim, ResizeKeepRatio((height, width), interpolation), cut]


def _random_crop(
    size: tuple[int, int], crop_mode: str, scale: tuple[float, float] | None, ratio: tuple[float, float] | None,
    interpolation: str, sequence: tuple[tuple[int, int], int] | None,
) -> list[Callable[..., Any]]:
    """The steps of training that take a part of the image."""
    if crop_mode not in TRAIN_CROP_MODES:
        raise ValueError(unknown('train_crop_mode', crop_mode, TRAIN_CROP_MODES))
    defaults = ((0.08, 1.0), (3 / 4, 4 / 3)) if crop_mode == 'rrc' else ((0.8, 1.0), (0.9, 1 / 0.9))
    scale, ratio = _range(scale, defaults[0], 'scale'), _range(ratio, defaults[1], 'ratio')
    names = ('bilinear', 'bicubic') if interpolation == RANDOM else (interpolation,)
    if sequence:
        if crop_mode != 'rrc':
            raise ValueError(f"train_crop_mode is 'rrc' with naflex; got {crop_mode!r}.")
        return [_any_of([RandomResizedCropToSequence(*sequence, scale, ratio, name) for name in names])]
    if crop_mode == 'rrc':
        return [_any_of([RandomCropResize(size, name, scale, ratio) for name in names])]
    return [_any_of([RandomKeepRatio(size, name, scale=scale, ratio=ratio) for name in names]),
            CropOrPad(size, random=crop_mode == 'rkrr')]


def _any_of(steps: list[Callable[..., Any]]) -> Callable[..., Any]:
    """The step that is one of several, drawn for each image."""
    return steps[0] if len(steps) == 1 else v2.RandomChoice(steps)


def _range(given: Sequence[float] | None, default: tuple[float, float], name: str) -> tuple[float, float]:
    found = default if given is None else values(given, name)
    if len(found) != 2 or not 0 < found[0] <= found[1]:
        raise ValueError(f'{name} is a range (low, high) of positive numbers, such as {default}; got {given!r}.')
    return found[0], found[1]


def _sometimes(
    probability: float, name: str, step: Callable[[float], Callable[..., Any]],
) -> list[Callable[..., Any]]:
    """The step that acts with `probability`; none at all for zero."""
    if not is_real(probability) or not 0 <= probability <= 1:
        raise ValueError(f'{name} is a probability from 0 to 1; got {probability!r}.')
    return [step(probability)] if probability else []


def _erasing(probability: float, mode: str, count: int, splits: int) -> list[RandomErasing]:
    """The step that erases rectangles; none at all for a probability of zero."""
    step = RandomErasing(probability, mode=mode, max_count=count, num_splits=splits)
    return [step] if probability else []


def _auto_augment(
    text: str | None, size: tuple[int, int], interpolation: str, channels: int | None, mean: tuple[float, ...],
) -> list[Callable[..., Any]]:
    """The step that a string names, its settings those of timm for images of this size."""
    if not text:
        return []
    if channels not in (None, 1, 3):
        raise ValueError(f'auto_augment distorts images of 1 or 3 channels; the image has {channels}.')
    hparams: dict[str, Any] = dict(translate_const=int(min(size) * 0.45),
                                   img_mean=tuple(min(255, round(255 * level)) for level in mean))
    if interpolation != RANDOM:
        name = interpolation.upper() if interpolation in ('nearest', 'bilinear') else 'BICUBIC'
        hparams['interpolation'] = Image.Resampling[name]
    if str(text).startswith('augmix'):
        hparams['translate_pct'] = 0.3
    return [create_augment(text, hparams)]


def _color_jitter(strength: float | Sequence[float] | None, probability: float | None) -> list[Callable[..., Any]]:
    """The step that changes brightness, contrast, saturation and perhaps hue."""
    if not strength:
        return []
    found = values(strength, 'color_jitter')
    if len(found) not in (1, 3, 4):
        raise ValueError('color_jitter is one number, three (brightness, contrast, saturation) or four (hue); '
                         f'got {len(found)}: {found}.')
    jitter = T.ColorJitter(*(found * 3 if len(found) == 1 else found))
    if probability is None:
        return [jitter]
    return _sometimes(probability, 'color_jitter_prob', lambda p: T.RandomApply([jitter], p))
