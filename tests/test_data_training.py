"""Training transforms: timm's tensors where nothing is drawn, timm's distributions where something is."""
from __future__ import annotations

import random

import numpy as np
import pytest
import timm.data
import torch
from PIL import Image
from torchvision import transforms as T

from zoo.data import create_transform

PLAIN = dict(is_training=True, hflip=0.0, color_jitter=None, normalize=False)
DRAWS = 1500
# two samples of one distribution differ by more once in a million times (Kolmogorov-Smirnov)
LIMIT = 2.69 * (2 / DRAWS) ** 0.5


def coordinates(height, width):
    """An image whose red is the column and whose green is the row."""
    y, x = np.mgrid[0:height, 0:width]
    return Image.fromarray(np.stack([x, y, 0 * x], -1).astype(np.uint8))


def noise(height=40, width=50):
    return Image.fromarray(np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8))


def seed(value=0):
    random.seed(value)
    torch.manual_seed(value)


def drawn(make, image, **settings):
    """Where the edges of the result come from in the image, and how large a part it is: one row per quantity."""
    seed()
    transform = make(interpolation='nearest', **{**PLAIN, **settings})
    rows = []
    for _ in range(DRAWS):
        out = transform(image).to(torch.int16)
        left, right = out[0, 0, 0].item(), out[0, 0, -1].item()
        top, bottom = out[1, 0, 0].item(), out[1, -1, 0].item()
        wide, high = abs(right - left) + 1, abs(bottom - top) + 1
        rows.append((left, right, top, bottom, wide, high, wide * high, wide / high))
    return np.array(rows).T


def distance(a, b):
    """The largest difference of two empirical distribution functions."""
    points = np.concatenate([a, b])
    below = [np.searchsorted(np.sort(sample), points, side='right') / len(sample) for sample in (a, b)]
    return np.abs(below[0] - below[1]).max()


def furthest(a, b):
    return max(distance(x, y) for x, y in zip(a, b, strict=True))


@pytest.mark.in_turn
@pytest.mark.parametrize('mode', ['rrc', 'rkrc', 'rkrr'])
@pytest.mark.parametrize('shape, settings', [
    ((80, 110), dict()), ((120, 50), dict(scale=(0.3, 0.5))), ((80, 110), dict(ratio=(0.4, 2.5))),
    ((120, 50), dict(scale=(0.5, 2.0), ratio=(0.5, 1.0))), ((80, 110), dict(input_size=(3, 20, 40))),
    ((120, 50), dict(hflip=0.5, vflip=0.25)),
], ids=str)
def test_what_is_cut_out_is_distributed_as_timms(shape, settings, mode):
    settings = {'input_size': 32, 'train_crop_mode': mode, **settings}
    image = coordinates(*shape)
    expected = drawn(timm.data.create_transform, image, **settings)
    assert furthest(drawn(create_transform, image, **settings), expected) < LIMIT


def test_another_distribution_is_told_apart():
    image = coordinates(80, 110)
    for mode in ('rrc', 'rkrc', 'rkrr'):
        settings = dict(input_size=32, train_crop_mode=mode)
        narrow = drawn(create_transform, image, scale=(0.5, 0.6), **settings)
        assert furthest(narrow, drawn(timm.data.create_transform, image, **settings)) > LIMIT
    middle = drawn(create_transform, image, input_size=32, train_crop_mode='rkrc')
    assert furthest(middle, drawn(create_transform, image, input_size=32, train_crop_mode='rkrr')) > LIMIT


@pytest.mark.parametrize('settings', [
    dict(), dict(color_jitter=0.2), dict(color_jitter=(0.1, 0.2, 0.3)), dict(color_jitter=[0.1, 0.2, 0.3, 0.4]),
    dict(color_jitter=None), dict(color_jitter=0), dict(color_jitter_prob=0.5), dict(grayscale_prob=0.5),
    dict(gaussian_blur_prob=0.5), dict(color_jitter_prob=0.8, grayscale_prob=0.2, gaussian_blur_prob=0.5),
    dict(normalize=False), dict(use_prefetcher=True), dict(mean=(0.1, 0.2, 0.3), std=(0.4,)),
], ids=str)
def test_distortions_are_timms(settings):
    image = noise()
    ours = create_transform(24, is_training=True, separate=True, **settings)
    theirs = timm.data.create_transform(24, is_training=True, separate=True, **settings)
    assert len(ours) == len(theirs) == 3
    for attempt in range(20):
        seed(attempt)
        expected = theirs[2](theirs[1](image))
        seed(attempt)
        found = ours[2](ours[1](image))
        assert found.dtype == expected.dtype and torch.equal(found, expected)


def test_the_three_parts_make_the_whole():
    settings = dict(input_size=24, is_training=True, grayscale_prob=0.5, gaussian_blur_prob=0.5, vflip=0.5)
    whole, parts = create_transform(**settings), create_transform(**settings, separate=True)
    assert whole.transforms[-1].mean.tolist() == pytest.approx([0.485, 0.456, 0.406])
    seed()
    expected = whole(noise())
    seed()
    assert torch.equal(T.Compose(parts)(noise()), expected)


@pytest.mark.parametrize('size', [24, (24, 24), (20, 30), (3, 31, 22)])
@pytest.mark.parametrize('settings', [dict(), dict(normalize=False), dict(interpolation='random'),
                                      dict(interpolation='bicubic', color_jitter=0.9, vflip=1.0)], ids=str)
def test_no_aug_is_timms(size, settings):
    settings = dict(input_size=size, is_training=True, no_aug=True, **settings)
    for shape in ((40, 50), (51, 38), (10, 90)):
        assert torch.equal(create_transform(**settings)(noise(*shape)),
                           timm.data.create_transform(**settings)(noise(*shape)))


@pytest.mark.parametrize('mode', ['rrc', 'rkrc', 'rkrr'])
def test_random_interpolation_is_one_of_two(mode):
    # nothing else is drawn: the whole image of a square, as it is
    settings = dict(PLAIN, input_size=24, train_crop_mode=mode, scale=(1.0, 1.0), ratio=(1.0, 1.0))
    image = noise(40, 40)
    seed()
    one = {i: create_transform(**settings, interpolation=i)(image) for i in ('bilinear', 'bicubic')}
    transform = create_transform(**settings, interpolation='random')
    names = []
    for _ in range(200):
        out = transform(image)
        names += [name for name, expected in one.items() if torch.equal(out, expected)]
    assert len(names) == 200
    assert 60 < names.count('bicubic') < 140


def test_seeding_torch_repeats_everything():
    settings = dict(input_size=24, is_training=True, interpolation='random', grayscale_prob=0.3, vflip=0.5)
    for mode in ('rrc', 'rkrc', 'rkrr'):
        transform = create_transform(**settings, train_crop_mode=mode)
        runs = []
        for _ in range(2):
            torch.manual_seed(3)
            runs.append(torch.stack([transform(noise()) for _ in range(10)]))
        assert torch.equal(*runs) and not torch.equal(runs[0][0], runs[0][1])


@pytest.mark.parametrize('mode', ['rkrc', 'rkrr'])
def test_what_is_missing_is_reflected_as_timms(mode):
    # every second image is shrunk to a third, so that the padding goes around it more than once
    settings = dict(PLAIN, input_size=12, train_crop_mode=mode, scale=(9.0, 9.0), ratio=(1.0, 1.0))
    seed()
    found, expected = ({transform(noise(16, 20)).numpy().tobytes() for _ in range(50 if mode == 'rkrc' else 3000)}
                       for transform in (create_transform(**settings), timm.data.create_transform(**settings)))
    assert found == expected
    assert len(found) == (2 if mode == 'rkrc' else 4 + 6 * 8)     # reflections of 4 x 5 repeat after 6 x 8


@pytest.mark.parametrize('image', [noise().convert('L'), noise().convert('RGBA'), noise().convert('P')],
                         ids=lambda i: i.mode)
def test_any_mode(image):
    settings = dict(input_size=(3, 24, 24), is_training=True, grayscale_prob=0.5, gaussian_blur_prob=0.5)
    seed()
    expected = create_transform(**settings)(image.convert('RGB'))
    seed()
    assert torch.equal(create_transform(**settings)(image), expected)
    grey = create_transform((1, 24, 24), is_training=True, mean=0.5, std=0.5, grayscale_prob=0.5)
    assert grey(image).shape == (1, 24, 24)


@pytest.mark.parametrize('settings, message', [
    (dict(auto_augment='rand-m9-sd0.5'), "'rand-m9-sd0.5': the key of 'sd0.5' is not known. Known: inc, m, mmax"),
    (dict(auto_augment='v0', mean=(0.5,) * 4, std=(0.5,) * 4), 'images of 1 or 3 channels'),
    (dict(re_prob=1.5), 'probability is from 0 to 1'),
    (dict(re_prob=0.25, normalize=False), 'normalize is False'),
    (dict(train_crop_mode='rkr'), "Did you mean 'rkr[cr]'"),
    (dict(scale=0.5), 'scale is a range'),
    (dict(scale=(1.0, 0.5)), 'scale is a range'),
    (dict(ratio=(0.0, 1.0)), 'ratio is a range'),
    (dict(hflip=1.5), 'hflip is a probability'),
    (dict(vflip=-0.5), 'vflip is a probability'),
    (dict(grayscale_prob='often'), 'grayscale_prob is a probability'),
    (dict(gaussian_blur_prob=2), 'gaussian_blur_prob is a probability'),
    (dict(color_jitter_prob=2), 'color_jitter_prob is a probability'),
    (dict(color_jitter=(0.1, 0.2)), 'color_jitter is one number'),
    (dict(interpolation='cubic'), "Did you mean 'bicubic'"),
    (dict(no_aug=True, separate=True), 'no_aug=True has none'),
    (dict(tf_preprocessing=True), 'tf_preprocessing is not available'),
])
def test_arguments_that_cannot_be_used(settings, message):
    with pytest.raises(ValueError, match=message):
        create_transform(24, is_training=True, **settings)
