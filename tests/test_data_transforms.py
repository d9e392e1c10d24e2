"""Evaluation transforms: timm's tensors, bit for bit."""
from __future__ import annotations

import inspect
import itertools
import multiprocessing
import os
import pickle
import types
from pathlib import Path

import numpy as np
import pytest
import timm.data
import torch
from PIL import Image
from torchvision import transforms as T

import zoo.data
from zoo.data import create_transform, resolve_model_data_config
from zoo.data.constants import INTERPOLATIONS

SHAPES = [(50, 70), (70, 51), (33, 33), (5, 9), (97, 31), (24, 24), (31, 200), (1, 1)]
SIZES = [24, (24, 24), (21, 30), (3, 37, 20), [3, 25, 25]]
CROP_MODES = ['center', 'squash', 'border', None, '']


def noise(height, width):
    rng = np.random.default_rng(height * 1000 + width)
    return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))


IMAGES = [noise(*shape) for shape in SHAPES]


@pytest.mark.parametrize('crop_mode', CROP_MODES)
@pytest.mark.parametrize('size', SIZES, ids=str)
def test_sizes_and_crops(size, crop_mode):
    for crop_pct, interpolation in itertools.product([None, 0.5, 0.875, 0.9, 0.95, 1], ['bilinear', 'bicubic']):
        settings = dict(input_size=size, crop_mode=crop_mode, crop_pct=crop_pct, interpolation=interpolation)
        ours, theirs = create_transform(**settings), timm.data.create_transform(**settings)
        for image in IMAGES:
            assert torch.equal(ours(image), theirs(image)), (settings, image.size)


@pytest.mark.parametrize('crop_mode', CROP_MODES[:3])
@pytest.mark.parametrize('interpolation', INTERPOLATIONS)
def test_interpolations(interpolation, crop_mode):
    for size in (24, (37, 20)):
        settings = dict(input_size=size, crop_mode=crop_mode, interpolation=interpolation, crop_pct=0.93)
        ours, theirs = create_transform(**settings), timm.data.create_transform(**settings)
        for image in IMAGES:
            assert torch.equal(ours(image), theirs(image)), image.size


@pytest.mark.parametrize('extra', [
    dict(normalize=False), dict(use_prefetcher=True), dict(use_prefetcher=True, normalize=False),
    dict(mean=(0.1, 0.5, 0.9), std=(0.3, 0.2, 0.1)), dict(mean=[0.5, 0.5, 0.5], std=[0.5]),
    dict(mean=np.array([0.5, 0.25, 0.125]), std=np.array([0.5, 0.25, 0.125])), dict(crop_border_pixels=2),
    dict(hflip=1.0, color_jitter=0.9, auto_augment='rand-m9', re_prob=0.5, no_aug=True),     # for training only
])
def test_other_arguments(extra):
    for size, crop_mode in itertools.product((24, (20, 30)), CROP_MODES[:3]):
        settings = dict(input_size=size, crop_mode=crop_mode, **extra)
        ours, theirs = create_transform(**settings), timm.data.create_transform(**settings)
        for image in IMAGES[:7]:
            expected = theirs(image)
            found = ours(image)
            assert found.dtype == expected.dtype and torch.equal(found, expected), (settings, image.size)


def test_defaults():
    assert torch.equal(create_transform()(IMAGES[0]), timm.data.create_transform()(IMAGES[0]))


def test_signature_is_timms():
    ours, theirs = (inspect.signature(f.create_transform).parameters for f in (zoo.data, timm.data))
    assert [(p.name, p.default) for p in ours.values()] == [(p.name, p.default) for p in theirs.values()]


def test_tensors():
    for image, size in itertools.product(IMAGES[:4], (24, (21, 30))):
        levels = torch.from_numpy(np.array(image)).permute(2, 0, 1)
        settings = dict(input_size=size, crop_pct=0.9)
        expected = timm.data.create_transform(**settings)(levels / 255)
        assert torch.equal(create_transform(**settings)(levels / 255), expected)
        assert torch.equal(create_transform(**settings)(torch.stack([levels / 255] * 2))[1], expected)
        # timm's takes no levels; resizing rounds them once more
        assert (create_transform(**settings)(levels) - expected).abs().max() < 0.6 / 255 / 0.224
        raw = dict(settings, normalize=False)
        assert torch.equal(create_transform(**raw)(levels), timm.data.create_transform(**raw)(levels))


def test_tensors_are_padded_with_the_mean():
    settings = dict(input_size=24, crop_mode='border', mean=(0.2, 0.4, 0.8), std=(1.0, 1.0, 1.0))
    levels = torch.zeros(3, 10, 30)
    found = create_transform(**settings)(levels)
    image = create_transform(**settings)(Image.new('RGB', (30, 10)))
    assert found[:, 0].abs().max() < 1e-6 and found[0, 12].max() == pytest.approx(-0.2)
    assert (found - image).abs().max() < 0.5 / 255 + 1e-6


def test_a_corner_is_padded_at_the_bottom_and_right():
    settings = dict(input_size=24, crop_pct=1.0, mean=0.5, normalize=False)
    for size in ((10, 31), (31, 10)):
        image = Image.effect_noise(size, 50)
        found = create_transform(crop_mode='border_corner', **settings)(image)
        middle = create_transform(crop_mode='border', **settings)(image)
        assert found.shape == middle.shape and (middle[:, :8, :8] == 128).any()
        dim = 1 if size[0] > size[1] else 2
        assert torch.equal(found, middle.roll(-8, dim)) and (found.movedim(dim, 0)[8:] == 128).all()


def test_grey_is_padded_with_the_mean():
    tall = Image.new('L', (10, 30))
    found = create_transform((1, 24, 24), crop_mode='border', mean=0.5, normalize=False)(tall)
    assert found.shape == (1, 24, 24) and found[0, 0, 0] == 128
    found = create_transform(24, crop_mode='border', mean=(0.2, 0.4, 0.6), normalize=False)(tall)
    assert found.shape == (1, 24, 24) and found[0, 0, 0] == 102


def test_statistics_of_colour_serve_grey_by_their_average():
    image = IMAGES[0].convert('L')
    found = create_transform((1, 24, 24), mean=(0.2, 0.4, 0.6), std=(0.1, 0.2, 0.3))(image)
    expected = create_transform((1, 24, 24), mean=(0.2 + 0.4 + 0.6) / 3, std=(0.1 + 0.2 + 0.3) / 3)(image)
    assert torch.equal(found, expected)


def test_very_long_images_keep_a_pixel():
    assert create_transform(24, crop_mode='border')(Image.new('RGB', (2000, 1))).shape == (3, 24, 24)


def test_a_models_transform():
    cfg = dict(input_size=(3, 40, 48), crop_pct=0.9, crop_mode='squash', mean=(0.5,) * 3, std=(0.5,) * 3)
    model = types.SimpleNamespace(pretrained_cfg=cfg)
    theirs = timm.data.create_transform(**timm.data.resolve_model_data_config(model), is_training=False)
    ours = create_transform(**resolve_model_data_config(model), is_training=False)
    assert torch.equal(ours(IMAGES[0]), theirs(IMAGES[0]))


@pytest.mark.parametrize('settings, message', [
    (dict(input_size=0), 'input_size is a positive integer'),
    (dict(input_size=24.5), 'input_size is a positive integer'),
    (dict(input_size=(24,)), r'input_size is \(height, width\)'),
    (dict(input_size=(3, 4, 5, 6)), r'input_size is \(height, width\)'),
    (dict(input_size=(3, 24, -1)), r'input_size is \(channels, height, width\)'),
    (dict(interpolation='cubic'), "Did you mean 'bicubic'"),
    (dict(interpolation=''), 'interpolation'),
    (dict(interpolation='random'), 'is for training'),
    (dict(crop_mode='centre'), "Did you mean 'center'"),
    (dict(crop_pct=0), 'crop_pct is a positive fraction'),
    (dict(crop_pct=-1), 'crop_pct is a positive fraction'),
    (dict(crop_pct=1.01), 'at most 1, such as 0.875; got 1.01'),
    (dict(crop_border_pixels=-2), 'crop_border_pixels is a number of pixels'),
    (dict(mean=(0.5, 0.5)), 'mean has one value for all channels'),
    (dict(std=(0.5, 0.5)), 'std has one value for all channels'),
    (dict(input_size=(3, 24, 24), mean=(0.5,) * 4), 'each of 3; got 4'),
    (dict(std=0), 'std is divided by'),
    (dict(separate=True), 'separate=True'),
    (dict(tf_preprocessing=True), 'tf_preprocessing is not available'),
    (dict(patch_size=(14, 14)), r'patch_size=\(14, 14\) is read only with naflex or patchify'),
    (dict(max_seq_len=100, patchify=True), 'max_seq_len=100 is read only with naflex'),
    (dict(patchify_flatten=False), 'patchify_flatten=False is read only with patchify'),
    (dict(patchify_channels_last=False, naflex=True), 'patchify_channels_last=False is read only with patchify'),
    (dict(naflex=True, patch_size=0), 'patch_size is'),
    (dict(naflex=True, is_training=True, train_crop_mode='rkrc'), "train_crop_mode is 'rrc' with naflex"),
])
def test_arguments_that_cannot_be_used(settings, message):
    with pytest.raises(ValueError, match=message):
        create_transform(**settings)


def test_images_that_cannot_be_used():
    transform = create_transform((3, 24, 24), crop_border_pixels=5)
    with pytest.raises(TypeError, match='got ndarray'):
        transform(np.zeros((30, 30, 3), np.uint8))
    with pytest.raises(ValueError, match='C = 3'):
        transform(torch.zeros(1, 30, 30))
    with pytest.raises(ValueError, match='C = 3'):
        transform(torch.zeros(3, 30))
    with pytest.raises(ValueError, match='leaves nothing of 10 x 30'):
        transform(Image.new('RGB', (30, 10)))
    with pytest.raises(ValueError, match='for 6 give a tensor'):
        create_transform((6, 24, 24), mean=0.5, std=0.5)(IMAGES[0])
    assert create_transform((6, 24, 24), mean=0.5, std=0.5)(torch.zeros(6, 30, 30)).shape == (6, 24, 24)


@pytest.mark.parametrize('settings', [
    dict(crop_mode=mode, input_size=size, crop_border_pixels=1) for mode in CROP_MODES[:3] for size in (24, (20, 30))
] + [dict(input_size=24, is_training=True, train_crop_mode=mode, interpolation='random', vflip=0.1, grayscale_prob=0.1,
          gaussian_blur_prob=0.1, color_jitter_prob=0.5) for mode in ('rrc', 'rkrc', 'rkrr')])
def test_pickles_and_prints(settings):
    transform = create_transform(**settings)
    assert isinstance(transform, T.Compose) and isinstance(transform.transforms, list)
    copy = pickle.loads(pickle.dumps(transform))
    assert repr(copy) == repr(transform) and ' at 0x' not in repr(transform)
    for step in ('ToChannels(channels=3)', 'Crop', 'ToTensor', 'Normalize(mean=tensor([0.4850'):
        assert step in repr(transform)
    if not settings.get('is_training'):
        assert torch.equal(copy(IMAGES[0]), transform(IMAGES[0]))


def test_runs_in_other_processes():
    transform = create_transform(24, crop_mode='border')
    with multiprocessing.get_context('spawn').Pool(1) as pool:
        assert torch.equal(pool.apply(transform, (IMAGES[0],)), transform(IMAGES[0]))


def test_unknown_names_are_refused():
    with pytest.raises(AttributeError, match="Did you mean 'create_transform'"):
        zoo.data.create_transforms


def real_images():
    files = sorted(Path(os.environ['ZOO_DATA'], 'imagenet-sample').glob('*/*.JPEG'))
    assert len(files) == 500
    shapes = {}
    for file in files:                      # one of each mode and shape, and every grey one
        with Image.open(file) as image:
            shapes.setdefault((image.mode, image.size if image.mode == 'RGB' else file), file)
    return list(shapes.values())[::5]


@pytest.mark.skipif('ZOO_DATA' not in os.environ, reason='ZOO_DATA names the folder of real images; it is not set')
@pytest.mark.parametrize('settings', [
    dict(input_size=(3, 224, 224), interpolation='bicubic'),
    dict(input_size=(3, 320, 320), interpolation='bicubic', crop_pct=1.0, crop_mode='squash'),
    dict(input_size=(3, 260, 200), interpolation='bilinear', crop_pct=0.95, crop_mode='border'),
    dict(input_size=(3, 200, 260), interpolation='bilinear', crop_pct=0.9),
], ids=str)
def test_real_images(settings):
    ours, theirs = create_transform(**settings), timm.data.create_transform(**settings)
    files = real_images()
    assert len(files) > 20
    for file in files:
        with Image.open(file) as image:
            assert torch.equal(ours(image), theirs(image.convert('RGB'))), file
