"""Statistics images are normalised by, and the defaults and names of preprocessing. Standard library only."""
from __future__ import annotations

from ..spec import HALF, IMAGENET_MEAN, IMAGENET_STD

# mean and standard deviation of the red, green and blue values, where black is 0 and white is 1
IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD = IMAGENET_MEAN, IMAGENET_STD
IMAGENET_INCEPTION_MEAN = IMAGENET_INCEPTION_STD = HALF
IMAGENET_DPN_MEAN = (124 / 255, 117 / 255, 104 / 255)
IMAGENET_DPN_STD = (1 / (0.0167 * 255),) * 3                   # dual path networks multiply levels by 0.0167
OPENAI_CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
OPENAI_CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

CROP_MODES = ('center', 'squash', 'border', 'border_corner', 'center_floor', 'squash_floor')
TRAIN_CROP_MODES = ('rrc', 'rkrc', 'rkrr')
INTERPOLATIONS = ('nearest', 'bilinear', 'bicubic', 'lanczos', 'box', 'hamming')
RANDOM = 'random'                                              # in training: bilinear or bicubic, drawn per image

DEFAULT_CROP_PCT = 0.875
DEFAULT_CROP_MODE = 'center'
DEFAULT_INTERPOLATION = 'bicubic'
DEFAULT_SIDES = (224, 224)
