"""Published choices of distortions: the pairs that were searched for, and the sets that are drawn from. Data only.

A pair is written 'Name probability level, Name probability level'.
"""
from __future__ import annotations

from typing import TypeAlias

Policy: TypeAlias = list[list[tuple[str, float, float]]]
Choices: TypeAlias = list[str] | dict[str, float]


def _read(text: str) -> Policy:
    rows = [[step.split() for step in line.split(',')] for line in text.strip().splitlines()]
    return [[(name, float(prob), float(level)) for name, prob, level in row] for row in rows]


# arXiv:1805.09501, Table 9 (ImageNet)
ORIGINAL = _read('''
    PosterizeOriginal 0.4 8, Rotate 0.6 9
    Solarize 0.6 5, AutoContrast 0.6 5
    Equalize 0.8 8, Equalize 0.6 3
    PosterizeOriginal 0.6 7, PosterizeOriginal 0.6 6
    Equalize 0.4 7, Solarize 0.2 4
    Equalize 0.4 4, Rotate 0.8 8
    Solarize 0.6 3, Equalize 0.6 7
    PosterizeOriginal 0.8 5, Equalize 1.0 2
    Rotate 0.2 3, Solarize 0.6 8
    Equalize 0.6 8, PosterizeOriginal 0.4 6
    Rotate 0.8 8, Color 0.4 0
    Rotate 0.4 9, Equalize 0.6 2
    Equalize 0.0 7, Equalize 0.8 8
    Invert 0.6 4, Equalize 1.0 8
    Color 0.6 4, Contrast 1.0 8
    Rotate 0.8 8, Color 1.0 2
    Color 0.8 8, Solarize 0.8 7
    Sharpness 0.4 7, Invert 0.6 8
    ShearX 0.6 5, Equalize 1.0 9
    Color 0.4 0, Equalize 0.6 3
    Equalize 0.4 7, Solarize 0.2 4
    Solarize 0.6 5, AutoContrast 0.6 5
    Invert 0.6 4, Equalize 1.0 8
    Color 0.6 4, Contrast 1.0 8
    Equalize 0.8 8, Equalize 0.6 3
''')

# policy_v0 of the code that EfficientNet (arXiv:1905.11946) was published with: tensorflow/tpu,
# models/official/efficientnet/autoaugment.py
V0 = _read('''
    Equalize 0.8 1, ShearY 0.8 4
    Color 0.4 9, Equalize 0.6 3
    Color 0.4 1, Rotate 0.6 8
    Solarize 0.8 3, Equalize 0.4 7
    Solarize 0.4 2, Solarize 0.6 2
    Color 0.2 0, Equalize 0.8 8
    Equalize 0.4 8, SolarizeAdd 0.8 3
    ShearX 0.2 9, Rotate 0.6 8
    Color 0.6 1, Equalize 1.0 2
    Invert 0.4 9, Rotate 0.6 0
    Equalize 1.0 9, ShearY 0.6 3
    Color 0.4 7, Equalize 0.6 0
    Posterize 0.4 6, AutoContrast 0.4 7
    Solarize 0.6 8, Color 0.6 9
    Solarize 0.2 4, Rotate 0.8 9
    Rotate 1.0 7, TranslateYRel 0.8 9
    ShearX 0.0 0, Solarize 0.8 4
    ShearY 0.8 0, Color 0.6 4
    Color 1.0 0, Rotate 0.6 2
    Equalize 0.8 4, Equalize 0.0 8
    Equalize 1.0 4, AutoContrast 0.6 2
    ShearY 0.4 7, SolarizeAdd 0.6 7
    Posterize 0.8 2, Solarize 0.6 10
    Solarize 0.6 8, Equalize 0.6 1
    Color 0.8 6, Rotate 0.4 5
''')

# 3-Augment, arXiv:2204.07118, section 3: solarisation, greyscale or blur, one of them for every image
THREE = _read('''
    Solarize 1 5
    Desaturate 1 10
    GaussianBlurRand 1 10
''')


def _increasing(policy: Policy) -> Policy:
    """The policy with a posterisation that is stronger at a higher level, as in the research code."""
    return [[('PosterizeIncreasing' if name.startswith('Posterize') else name, prob, level)
             for name, prob, level in row] for row in policy]


POLICIES: dict[str, Policy] = {
    'original': ORIGINAL, 'originalr': _increasing(ORIGINAL), 'v0': V0, 'v0r': _increasing(V0), '3a': THREE,
}

# arXiv:1909.13719, section 3: what RandAugment draws from, and the same with distortions that grow with the level
RANDOM: Choices = [
    'AutoContrast', 'Equalize', 'Invert', 'Rotate', 'Posterize', 'Solarize', 'SolarizeAdd', 'Color', 'Contrast',
    'Brightness', 'Sharpness', 'ShearX', 'ShearY', 'TranslateXRel', 'TranslateYRel',
]
RANDOM_INCREASING: Choices = [
    name + 'Increasing' * (name in ('Posterize', 'Solarize', 'Color', 'Contrast', 'Brightness', 'Sharpness'))
    for name in RANDOM
]

# sets that a string names with `t`; those with numbers are drawn by them, without repetition
SETS: dict[str, Choices] = {
    'weights': {
        'Rotate': 3, 'ShearX': 2, 'ShearY': 2, 'TranslateXRel': 1, 'TranslateYRel': 1, 'ColorIncreasing': 0.25,
        'SharpnessIncreasing': 0.25, 'AutoContrast': 0.25, 'SolarizeIncreasing': 0.05, 'SolarizeAdd': 0.05,
        'ContrastIncreasing': 0.05, 'BrightnessIncreasing': 0.05, 'Equalize': 0.05, 'PosterizeIncreasing': 0.05,
        'Invert': 0.05,
    },
    '3a': ['SolarizeIncreasing', 'Desaturate', 'GaussianBlur'],
    '3aw': {
        'SolarizeIncreasing': 6, 'Desaturate': 6, 'GaussianBlur': 6, 'Rotate': 3, 'ShearX': 2, 'ShearY': 2,
        'PosterizeIncreasing': 1, 'AutoContrast': 1, 'ColorIncreasing': 1, 'SharpnessIncreasing': 1,
        'ContrastIncreasing': 1, 'BrightnessIncreasing': 1, 'Equalize': 1, 'Invert': 1,
    },
}

# arXiv:1912.02781, section 3 and its note on colour, contrast, brightness and sharpness, which overlap with ImageNet-C
AUGMIX: Choices = [
    'AutoContrast', 'ColorIncreasing', 'ContrastIncreasing', 'BrightnessIncreasing', 'SharpnessIncreasing',
    'Equalize', 'Rotate', 'PosterizeIncreasing', 'SolarizeIncreasing', 'ShearX', 'ShearY', 'TranslateXRel',
    'TranslateYRel',
]
