"""The distortions of AutoAugment (arXiv:1805.09501, Table 6) and its successors, and what a level from 0 to 10 means
to each. They take and give Pillow images, grey or RGB.

A name that ends in 'Increasing' distorts more the higher the level, for which RandAugment (arXiv:1909.13719) needs
it; AutoAugment's own scales do not all do so.
"""
from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from functools import lru_cache
from typing import Any

from PIL import Image, ImageChops, ImageEnhance, ImageFilter, ImageOps, ImageStat

from ...spec import is_real, unknown

MAX_LEVEL = 10
MODES = ('L', 'RGB')
BLUR = (0.1, 2.0)                                  # radii in pixels, arXiv:2204.07118
FILTERS = (Image.Resampling.NEAREST, Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)    # of affine transforms
_RAMP = Image.frombytes('L', (256, 1), bytes(range(256)))


@dataclass(frozen=True)
class Settings:
    """What distortions depend on besides their level.

    Attributes:
        translate_const: pixels that TranslateX and TranslateY move an image at level 10.
        translate_pct: the fraction of a side that TranslateXRel and TranslateYRel move it.
        img_mean: the level of each channel, 0 to 255, where an image has been moved away; one is for all.
        interpolation: Pillow's filter of geometric distortions; of several, one is drawn each time.
        magnitude_std: standard deviation of levels; infinite draws them evenly between 0 and the level.
        magnitude_max: the highest level; None for 10.
    """

    translate_const: float = 250
    translate_pct: float = 0.45
    img_mean: int | Sequence[int] = (128, 128, 128)
    interpolation: int | Sequence[int] = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC)
    magnitude_std: float = 0.0
    magnitude_max: float | None = None

    @staticmethod
    def of(given: Mapping[str, Any] | None) -> Settings:
        """The settings in a mapping, and the defaults of those that are not in it.

        Raises:
            ValueError: an unknown name, a negative level, a filter that no affine transform has.
        """
        known = [f.name for f in fields(Settings)]
        for name, value in (given or {}).items():
            if name not in known:
                raise ValueError(unknown('hparams key', str(name), known))
            if name.startswith(('translate', 'magnitude')) and not (name == 'magnitude_max' and value is None):
                if not is_real(value) or not value >= 0:
                    raise ValueError(f'hparams: {name} is a number from 0 up; got {value!r}.')
        found = Settings(**(given or {}))
        for resample in _several(found.interpolation):
            if resample not in FILTERS:
                raise ValueError(f'hparams: interpolation is one or several of Pillow\'s NEAREST (0), BILINEAR (2) and '
                                 f'BICUBIC (3); got {found.interpolation!r}.')
        return found


def _several(value: Any) -> Sequence[Any]:
    return value if isinstance(value, Sequence) else (value,)


# --- levels: what the number from 0 to 10 is to a distortion

Level = Callable[[float, Settings], float]


def _signed(value: float) -> float:
    return -value if random.random() > 0.5 else value


def _rotate_level(level: float, settings: Settings) -> float:
    return _signed(level / MAX_LEVEL * 30)                                    # degrees


def _shear_level(level: float, settings: Settings) -> float:
    return _signed(level / MAX_LEVEL * 0.3)


def _pixels_level(level: float, settings: Settings) -> float:
    return _signed(level / MAX_LEVEL * settings.translate_const)


def _fraction_level(level: float, settings: Settings) -> float:
    return _signed(level / MAX_LEVEL * settings.translate_pct)


def _factor_level(level: float, settings: Settings) -> float:
    return level / MAX_LEVEL * 1.8 + 0.1                                      # 5 changes nothing


def _factor_increasing(level: float, settings: Settings) -> float:
    return max(0.1, 1 + _signed(level / MAX_LEVEL * 0.9))


def _bits_level(level: float, settings: Settings) -> float:
    return int(level / MAX_LEVEL * 4)


def _bits_increasing(level: float, settings: Settings) -> float:
    return 4 - int(level / MAX_LEVEL * 4)


def _bits_original(level: float, settings: Settings) -> float:
    return int(level / MAX_LEVEL * 4) + 4


def _threshold_level(level: float, settings: Settings) -> float:
    return min(256, int(level / MAX_LEVEL * 256))


def _threshold_increasing(level: float, settings: Settings) -> float:
    return 256 - _threshold_level(level, settings)


def _add_level(level: float, settings: Settings) -> float:
    return min(128, int(level / MAX_LEVEL * 110))


@dataclass(frozen=True)
class _Between:
    """A value from `low` to `high`."""

    low: float
    high: float

    def __call__(self, level: float, settings: Settings) -> float:
        return min(self.high, max(self.low, self.low + (self.high - self.low) * level / MAX_LEVEL))


# --- distortions: of an image, by a value

Distort = Callable[[Image.Image, float, Settings], Image.Image]


def _table(image: Image.Image, table: Sequence[int]) -> Image.Image:
    """Every level of every channel, looked up."""
    return image.point(list(table) * len(image.getbands()))


def _auto_contrast(image: Image.Image, value: float, settings: Settings) -> Image.Image:
    return ImageOps.autocontrast(image)


def _equalize(image: Image.Image, value: float, settings: Settings) -> Image.Image:
    return ImageOps.equalize(image)


def _invert(image: Image.Image, value: float, settings: Settings) -> Image.Image:
    return ImageChops.invert(image)


def _posterize(image: Image.Image, bits: float, settings: Settings) -> Image.Image:
    if bits >= 8:
        return image
    mask = 256 - 2 ** (8 - int(bits))
    return _table(image, [level & mask for level in range(256)])


def _solarize(image: Image.Image, threshold: float, settings: Settings) -> Image.Image:
    return _table(image, [level if level < threshold else 255 - level for level in range(256)])


def _solarize_add(image: Image.Image, added: float, settings: Settings) -> Image.Image:
    """Of AutoAugment's published code: the dark half of levels is raised."""
    return _table(image, [min(255, level + int(added)) if level < 128 else level for level in range(256)])


@lru_cache(1024)
def _blended(grey: int, factor: float) -> tuple[int, ...]:
    """Where levels go that move away from a grey by a factor, as Pillow blends images."""
    return tuple(Image.blend(Image.new('L', (256, 1), grey), _RAMP, factor).tobytes())


def _brightness(image: Image.Image, factor: float, settings: Settings) -> Image.Image:
    return _table(image, _blended(0, factor))


def _contrast(image: Image.Image, factor: float, settings: Settings) -> Image.Image:
    return _table(image, _blended(int(ImageStat.Stat(image.convert('L')).mean[0] + 0.5), factor))


def _color(image: Image.Image, factor: float, settings: Settings) -> Image.Image:
    return ImageEnhance.Color(image).enhance(factor)


def _desaturate(image: Image.Image, amount: float, settings: Settings) -> Image.Image:
    return ImageEnhance.Color(image).enhance(1 - min(1.0, max(0.0, amount)))


def _sharpness(image: Image.Image, factor: float, settings: Settings) -> Image.Image:
    return ImageEnhance.Sharpness(image).enhance(factor)


def _blur(image: Image.Image, radius: float, settings: Settings) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(radius))


def _blur_up_to(image: Image.Image, amount: float, settings: Settings) -> Image.Image:
    return _blur(image, random.uniform(BLUR[0], BLUR[1] * amount), settings)


def _geometry(settings: Settings, image: Image.Image) -> dict[str, Any]:
    """How a geometric distortion resamples, and what it leaves behind."""
    filters, fill = settings.interpolation, settings.img_mean
    levels = tuple(_several(fill))
    if image.mode == 'L':
        fill = round(sum(levels) / len(levels))
    else:
        fill = levels * 3 if len(levels) == 1 else levels
    return dict(resample=random.choice(filters) if isinstance(filters, Sequence) else filters, fillcolor=fill)


def _affine(image: Image.Image, matrix: tuple[float, ...], settings: Settings) -> Image.Image:
    return image.transform(image.size, Image.Transform.AFFINE, matrix, **_geometry(settings, image))


def _rotate(image: Image.Image, degrees: float, settings: Settings) -> Image.Image:
    return image.rotate(degrees, **_geometry(settings, image))


def _shear_x(image: Image.Image, factor: float, settings: Settings) -> Image.Image:
    return _affine(image, (1, factor, 0, 0, 1, 0), settings)


def _shear_y(image: Image.Image, factor: float, settings: Settings) -> Image.Image:
    return _affine(image, (1, 0, 0, factor, 1, 0), settings)


def _translate_x(image: Image.Image, pixels: float, settings: Settings) -> Image.Image:
    return _affine(image, (1, 0, pixels, 0, 1, 0), settings)


def _translate_y(image: Image.Image, pixels: float, settings: Settings) -> Image.Image:
    return _affine(image, (1, 0, 0, 0, 1, pixels), settings)


def _translate_x_rel(image: Image.Image, fraction: float, settings: Settings) -> Image.Image:
    return _translate_x(image, fraction * image.width, settings)


def _translate_y_rel(image: Image.Image, fraction: float, settings: Settings) -> Image.Image:
    return _translate_y(image, fraction * image.height, settings)


# what a level means to a distortion, None where it means nothing; and the distortion
OPERATIONS: dict[str, tuple[Level | None, Distort]] = {
    'AutoContrast': (None, _auto_contrast),
    'Equalize': (None, _equalize),
    'Invert': (None, _invert),
    'Rotate': (_rotate_level, _rotate),
    'Posterize': (_bits_level, _posterize),
    'PosterizeIncreasing': (_bits_increasing, _posterize),
    'PosterizeOriginal': (_bits_original, _posterize),
    'Solarize': (_threshold_level, _solarize),
    'SolarizeIncreasing': (_threshold_increasing, _solarize),
    'SolarizeAdd': (_add_level, _solarize_add),
    'Color': (_factor_level, _color),
    'ColorIncreasing': (_factor_increasing, _color),
    'Contrast': (_factor_level, _contrast),
    'ContrastIncreasing': (_factor_increasing, _contrast),
    'Brightness': (_factor_level, _brightness),
    'BrightnessIncreasing': (_factor_increasing, _brightness),
    'Sharpness': (_factor_level, _sharpness),
    'SharpnessIncreasing': (_factor_increasing, _sharpness),
    'ShearX': (_shear_level, _shear_x),
    'ShearY': (_shear_level, _shear_y),
    'TranslateX': (_pixels_level, _translate_x),
    'TranslateY': (_pixels_level, _translate_y),
    'TranslateXRel': (_fraction_level, _translate_x_rel),
    'TranslateYRel': (_fraction_level, _translate_y_rel),
    'Desaturate': (_Between(0.5, 1.0), _desaturate),
    'GaussianBlur': (_Between(*BLUR), _blur),
    'GaussianBlurRand': (_Between(0.0, 1.0), _blur_up_to),
}


class AugmentOp:
    """One distortion, applied with probability `prob` at the level `magnitude`, which may vary (`Settings`).

    Raises:
        ValueError: a name, a probability, a level or a setting that cannot be used.
    """

    def __init__(
        self, name: str, prob: float = 0.5, magnitude: float = MAX_LEVEL, hparams: Mapping[str, Any] | None = None,
    ) -> None:
        if name not in OPERATIONS:
            raise ValueError(unknown('Distortion', name, OPERATIONS))
        if not is_real(prob) or not 0 <= prob <= 1:
            raise ValueError(f'{name}: prob is a probability from 0 to 1; got {prob!r}.')
        if not is_real(magnitude) or not magnitude >= 0:
            raise ValueError(f'{name}: magnitude is a level from 0 to {MAX_LEVEL}; got {magnitude!r}.')
        self.name, self.prob, self.magnitude, self.settings = name, prob, magnitude, Settings.of(hparams)

    @property
    def magnitude_std(self) -> float:
        """Standard deviation of the level."""
        return self.settings.magnitude_std

    @property
    def magnitude_max(self) -> float | None:
        """The highest level; None for 10."""
        return self.settings.magnitude_max

    def __call__(self, image: Image.Image) -> Image.Image:
        if not isinstance(image, Image.Image) or image.mode not in MODES:
            got = getattr(image, 'mode', type(image).__name__)
            raise TypeError(f'{self.name} distorts a PIL.Image of mode {" or ".join(MODES)}; got {got}. '
                            'zoo.data.convert_image makes one of any other mode.')
        if self.prob < 1 and random.random() > self.prob:
            return image
        return self.distort(image, self.draw_level())

    def draw_level(self) -> float:
        """A level around or below `magnitude`, at most `magnitude_max`."""
        level, std = self.magnitude, self.magnitude_std
        if std == float('inf'):
            level = random.uniform(0, level)
        elif std > 0:
            level = random.gauss(level, std)
        return max(0.0, min(level, self.magnitude_max or MAX_LEVEL))

    def distort(self, image: Image.Image, level: float) -> Image.Image:
        """The image at exactly this level, in a direction that is drawn."""
        value_of, apply = OPERATIONS[self.name]
        return apply(image, value_of(level, self.settings) if value_of else level, self.settings)

    def __repr__(self) -> str:
        return f'AugmentOp({self.name!r}, prob={self.prob}, magnitude={self.magnitude}, mstd={self.magnitude_std})'
