"""Augmentation: timm's pixels for the same draws, timm's distributions where draws come in another order."""
from __future__ import annotations

import pickle
import random
from collections import Counter

import numpy as np
import pytest
import timm.data
import timm.data.auto_augment as theirs
import torch
from PIL import Image, ImageOps
from timm.data.distributed_sampler import RepeatAugSampler as TheirSampler
from timm.data.random_erasing import RandomErasing as TheirErasing
from torch.utils.data import DataLoader

import zoo
from zoo.data import augment as ours
from zoo.data import create_transform
from zoo.data.augment import mixing
from zoo.data.augment.ops import OPERATIONS

LEVELS = (0, 1, 2.5, 4, 5, 7, 9, 9.63, 10, 14)
STRINGS = ('rand', 'rand-m9-mstd0.5', 'rand-m9-n3-mstd0.5-inc1', 'rand-m15-mmax20-p0.3', 'rand-m5-mstd101', 'rand-inc0',
           'rand-m9-tweights', 'rand-m6-t3a-n1', 'rand-t3aw-mstd1', 'original', 'originalr', 'v0', 'v0r', '3a',
           'original-mstd0.5', 'v0r-mstd1', '3a-mstd0.5', 'augmix', 'augmix-m5-w4-d2-a0.5-b1-mstd1', 'augmix-m3-b0')


def picture(height=30, width=41, seed=0):
    """Noise on a gradient, not using all levels."""
    noise = np.random.default_rng(seed).integers(0, 60, (height, width, 3))
    ramp = np.linspace(20, 180, width)[None, :, None] + np.array([0, 10, 5])
    return Image.fromarray((noise + ramp).clip(0, 250).astype(np.uint8))


def seed(value=0):
    random.seed(value)
    torch.manual_seed(value)


def both(our, their, value):
    """What two calls give that draw the same."""
    seed(value)
    found = our()
    seed(value)
    return found, their()


def same(found, expected):
    return found.mode == expected.mode and found.tobytes() == expected.tobytes()


def make(module, text, hparams=None):
    maker = {'rand': 'rand_augment_transform', 'augmix': 'augment_and_mix_transform'}.get(text.partition('-')[0])
    return getattr(module, maker or 'auto_augment_transform')(text, dict(hparams or dict(translate_const=10)))


@pytest.fixture
def no_bits(monkeypatch):
    """Pillow's posterisation to no bits at all, black, which it gave until 13 and timm asks for."""
    posterize = ImageOps.posterize
    monkeypatch.setattr(ImageOps, 'posterize', lambda image, bits: posterize(image, bits) if bits >= 1 else
                        Image.new(image.mode, image.size))


# --- distortions

def test_every_distortion_of_timm_is_there():
    assert set(OPERATIONS) == set(theirs.NAME_TO_OP)


@pytest.mark.parametrize('name', OPERATIONS)
def test_a_distortion_at_a_level_has_timms_pixels(name, no_bits):
    changed = 0
    for hparams in (dict(translate_const=10), dict(translate_const=7, translate_pct=0.3, img_mean=(124, 116, 104),
                                                   interpolation=Image.Resampling.BICUBIC)):
        for level in LEVELS:
            settings = dict(hparams, magnitude_max=14)
            pair = [module.AugmentOp(name, 1.0, level, settings) for module in (ours, theirs)]
            for attempt in range(4):                                     # both signs, both filters
                image = picture(seed=attempt)
                found, expected = both(lambda: pair[0](image), lambda: pair[1](image), attempt)
                assert same(found, expected), (name, level, hparams, attempt)
                changed += not same(found, image)
    assert changed > 20


@pytest.mark.parametrize('name', OPERATIONS)
def test_grey_images(name):
    image, op = picture().convert('L'), ours.AugmentOp(name, 1.0, 6, dict(img_mean=(120, 130, 141)))
    seed()
    found = op(image)
    assert found.mode == 'L' and found.size == image.size
    their = theirs.AugmentOp(name, 1.0, 6, dict(translate_const=10))
    if name.startswith(('Shear', 'Translate', 'Rotate')):
        assert 130 in [color for _, color in found.getcolors(256)]
        with pytest.raises(TypeError):
            their(image)
    else:
        seed()
        assert same(found, their(image))


@pytest.mark.parametrize('hparams', [
    dict(), dict(magnitude_std=0.5), dict(magnitude_std=4), dict(magnitude_std=float('inf')), dict(magnitude_max=5),
    dict(magnitude_std=3.0, magnitude_max=20)], ids=str)
@pytest.mark.parametrize('magnitude', [0, 9, 12])
def test_levels_are_drawn_as_timms(hparams, magnitude):
    pair = [module.AugmentOp('Color', 0.7, magnitude, hparams) for module in (ours, theirs)]
    image = picture()
    found, expected = both(*([(lambda op=op: [op(image).tobytes() for _ in range(60)]) for op in pair]), 3)
    assert found == expected
    assert len(set(found)) > 2 or not hparams.get('magnitude_std') or magnitude != 9


def test_the_mean_of_one_number_is_every_channels():
    moved = ours.AugmentOp('TranslateX', 1.0, 10, dict(translate_const=200, img_mean=77))(picture())
    assert set(moved.tobytes()) == {77}


# --- strings

def described(op):
    return op.name, op.prob, op.magnitude, op.magnitude_std, op.magnitude_max


@pytest.mark.parametrize('text', STRINGS)
def test_a_string_means_what_it_means_to_timm(text):
    found, expected = make(ours, text), make(theirs, text)
    assert type(found).__name__ == type(expected).__name__ == type(ours.create_augment(text)).__name__
    if hasattr(found, 'policy'):
        assert [[described(op) for op in row] for row in found.policy] == \
               [[described(op) for op in row] for row in expected.policy]
        return
    assert [described(op) for op in found.ops] == [described(op) for op in expected.ops]
    for name in ('num_layers', 'alpha', 'width', 'depth', 'blended'):
        assert getattr(found, name, None) == getattr(expected, name, None)
    weights = getattr(expected, 'choice_weights', None)
    assert (weights is None) == (getattr(found, 'choice_weights', None) is None)
    if weights is not None:
        assert np.array(found.choice_weights) / sum(found.choice_weights) == pytest.approx(weights)


@pytest.mark.parametrize('text, message', [
    ('rand-m9-x3', "'rand-m9-x3': the key of 'x3' is not known"),
    ('rand-m9-msdt0.5', "'rand-m9-msdt0.5': the key of 'msdt0.5' is not known. Did you mean 'mstd'"),
    ('rand-m9-w0', "the key of 'w0'"),
    ('rand-m7.5', "'rand-m7.5': m is a whole number from 0 up; got 'm7.5'"),
    ('rand-mhigh', "m is a whole number from 0 up; got 'mhigh'"),
    ('rand-n0', 'n is a whole number from 1 up'),
    ('rand-p2', 'p is a number from 0 to 1'),
    ('rand-m9-mstd', 'mstd is a number from 0 up'),
    ('rand-m9-mstdx', "mstd is a number from 0 up; got 'mstdx'"),
    ('rand-inc2', 'inc is 0 or 1'),
    ('rand-t3b', 't is one of weights, 3a, 3aw; got .t3b'),
    ('rand-m9-', "the key of ''"),
    ('rand-m9-m5', 'm is there twice'),
    ('rand-m9-mstd-1', 'mstd is a number'),
    ('rand-tweights-n16', 'drawn twice'),
    ('original-m3', "'original-m3': the key of 'm3'"),
    ('v0-mstd0.3-x', "the key of 'x'"),
    ('augmix-m3-n2', "'augmix-m3-n2': the key of 'n2'"),
    ('augmix-a0', 'a is a number above 0'),
    ('augmix-w0', 'w is a whole number from 1 up'),
    ('orignal', "Did you mean 'original'"),
    ('3ar', "Did you mean '3a'"),
    ('randm9', "Did you mean 'rand'"),
    ('', 'augmentation'),
    (9, 'is named by a string'),
])
def test_strings_that_mean_nothing(text, message):
    with pytest.raises(ValueError, match=message):
        ours.create_augment(text)


@pytest.mark.parametrize('call, message', [
    (lambda: ours.AugmentOp('Rotat'), "Did you mean 'Rotate'"),
    (lambda: ours.AugmentOp('Rotate', prob=1.5), 'prob is a probability'),
    (lambda: ours.AugmentOp('Rotate', magnitude=-1), 'magnitude is a level'),
    (lambda: ours.AugmentOp('Rotate', hparams=dict(translate_const=-1)), 'translate_const is a number'),
    (lambda: ours.AugmentOp('Rotate', hparams=dict(translate_cons=1)), "Did you mean 'translate_const'"),
    (lambda: ours.AugmentOp('Rotate', hparams=dict(interpolation=1)), 'NEAREST'),
    (lambda: ours.rand_augment_transform('original'), "the first word is 'rand'"),
    (lambda: ours.rand_augment_transform('rand', transforms=['Rotates']), "Did you mean 'Rotate'"),
    (lambda: ours.rand_augment_transform('rand', transforms='3b'), "Set '3b' is not known"),
    (lambda: ours.auto_augment_policy('v1'), "Did you mean 'v0"),
])
def test_arguments_that_cannot_be_used(call, message):
    with pytest.raises(ValueError, match=message):
        call()


@pytest.mark.parametrize('image', [torch.zeros(3, 8, 8), picture().convert('RGBA'), None], ids=lambda i: str(type(i)))
def test_images_that_cannot_be_distorted(image):
    with pytest.raises(TypeError, match='distorts a PIL.Image of mode L or RGB; got'):
        ours.create_augment('3a')(image)


# --- what is drawn

@pytest.mark.parametrize('text', ['original-mstd0.5', 'originalr', 'v0', 'v0r-mstd2', '3a'])
def test_auto_augment_has_timms_pixels(text, no_bits):
    hparams = dict(translate_const=10, img_mean=(124, 116, 104))
    pair, image = [make(module, text, hparams) for module in (ours, theirs)], picture()
    for attempt in range(40):
        assert same(*both(lambda: pair[0](image), lambda: pair[1](image), attempt))


def drawn(module, count, **settings):
    """How often each sequence of distortions is drawn."""
    record = []
    ops = [lambda image, name=name: record.append(name) or image for name in 'abcd']
    transform = module.RandAugment(ops, **settings)
    seed(1)
    np.random.seed(1)
    found = Counter()
    for _ in range(count):
        record.clear()
        transform(None)
        found[''.join(record)] += 1
    return found


@pytest.mark.parametrize('settings', [
    dict(num_layers=2), dict(num_layers=3), dict(num_layers=2, choice_weights=np.array([0.5, 0.3, 0.15, 0.05])),
    dict(num_layers=1, choice_weights=[0.7, 0.3, 0, 0])], ids=str)
def test_rand_augment_draws_as_often_as_timm(settings):
    count = 6000
    found, expected = drawn(ours, count, **settings), drawn(theirs, count, **settings)
    for name in {*found, *expected}:
        spread = (found[name] + expected[name] + 2) ** 0.5
        assert abs(found[name] - expected[name]) < 5 * spread, name
    assert settings.get('choice_weights') is None or all(len(set(name)) == len(name) for name in found)


def test_rand_augment_has_timms_pixels_for_the_same_choice(monkeypatch, no_bits):
    image, chosen = picture(), (3, 12)
    pair = [make(module, 'rand-m9-mstd0.5-inc1-p0.9', dict(translate_const=10)) for module in (ours, theirs)]
    monkeypatch.setattr(np.random, 'choice', lambda ops, *_, **__: [ops[i] for i in chosen])
    monkeypatch.setattr(ours.RandAugment, 'draw', lambda self: [self.ops[i] for i in chosen])
    for attempt in range(20):
        chosen = (attempt % 15, (attempt * 7 + 3) % 15)
        assert same(*both(lambda: pair[0](image), lambda: pair[1](image), attempt))


@pytest.mark.parametrize('blended', [False, True])
def test_augmix_mixes_as_timm(blended, monkeypatch):
    image, copies = picture(), [picture(seed=s) for s in (1, 2, 3)]
    generator = np.random.default_rng(0)
    for _ in range(10):
        weights, share = generator.dirichlet([1.0] * 3).astype(np.float32), np.float32(generator.random())
        monkeypatch.setattr(np.random, 'dirichlet', lambda alpha: weights)
        monkeypatch.setattr(np.random, 'beta', lambda a, b: share)
        rest = iter(copies)
        expected = theirs.AugMixAugment([lambda _: next(rest)], depth=1, blended=blended)(image)
        found = ours.AugMixAugment([], blended=blended).mix(image, copies, weights.tolist(), float(share))
        difference = np.abs(np.asarray(found).astype(int) - np.asarray(expected))
        assert difference.max() <= 1 and (difference > 0).mean() < 0.001    # weights are rounded to 32 bits in timm
        assert not same(found, image)


def test_augmix_draws_as_timm():
    """The mean image of a distortion to white, which is a share of it, and how many distortions there were."""
    black = Image.new('L', (1, 1))
    rows = []
    for module in (ours, theirs):
        calls = []
        white = lambda image: calls.append(1) or image.point(lambda level: 255)
        stay = lambda image: calls.append(1) or image
        transform = module.AugMixAugment([white, stay, stay])
        seed()
        np.random.seed(0)
        shares = np.array([transform(black).getpixel((0, 0)) / 255 for _ in range(4000)])
        rows.append((shares.mean(), shares.std(), len(calls) / 4000))
    assert np.array(rows[0]) == pytest.approx(np.array(rows[1]), abs=0.02, rel=0.02)
    assert rows[0][2] == pytest.approx(6, abs=0.1)


# --- erasing

@pytest.mark.parametrize('settings', [
    dict(), dict(mode='rand'), dict(mode='pixel'), dict(max_count=4), dict(min_count=2, max_count=5, mode='pixel'),
    dict(min_area=0.5, max_area=0.9, max_aspect=2.0), dict(probability=1.0, mode='rand', min_aspect=0.5),
    dict(num_splits=2, mode='pixel'), dict(num_splits=3, probability=1.0)], ids=str)
@pytest.mark.parametrize('shape', [(3, 20, 30), (7, 1, 16, 9)])
def test_erasing_is_timms(settings, shape):
    pair = ours.RandomErasing(**settings), TheirErasing(**settings, device='cpu')
    for attempt in range(15):
        images = torch.full(shape, 7.0)
        found, expected = both(lambda: pair[0](images), lambda: pair[1](torch.full(shape, 7.0)), attempt)
        assert found is images and torch.equal(found, expected)


def test_what_erasing_refuses():
    for settings, message in ((dict(mode='pixels'), "Did you mean 'pixel'"), (dict(probability=2), 'from 0 to 1'),
                              (dict(min_area=0.5, max_area=0.1), 'Areas'), (dict(min_count=0), 'Counts'),
                              (dict(min_count=3, max_count=2), 'Counts'), (dict(min_aspect=0), 'Aspects'),
                              (dict(num_splits=-1), 'num_splits')):
        with pytest.raises(ValueError, match=message):
            ours.RandomErasing(**settings)
    for images in (torch.zeros(3, 8, 8, dtype=torch.uint8), torch.zeros(8, 8), picture()):
        with pytest.raises(TypeError, match='normalised tensor'):
            ours.RandomErasing()(images)


# --- mixing

MIXES = [dict(), dict(mixup_alpha=0, cutmix_alpha=1.0), dict(mixup_alpha=0.2, cutmix_alpha=1.0, switch_prob=0.6),
         dict(mixup_alpha=0, cutmix_minmax=(0.2, 0.8)), dict(mixup_alpha=0.0, cutmix_alpha=1.0, correct_lam=False),
         dict(mixup_alpha=0.8, cutmix_alpha=1.0, label_smoothing=0.0)]


@pytest.mark.parametrize('settings', MIXES, ids=str)
@pytest.mark.parametrize('mode', mixing.MODES)
def test_mixing_by_the_same_shares_and_boxes_is_timms(settings, mode, monkeypatch):
    images, classes = torch.randn(8, 3, 14, 20), torch.randint(5, (8,))
    for attempt in range(8):
        theirs_mixer = timm.data.Mixup(**settings, mode=mode, num_classes=5)
        betas = np.random.default_rng(attempt).beta(1, 1, 8)
        chance = 0.9 * (attempt % 2)                 # always the same, since the two ask in another order
        boxes = np.random.default_rng(attempt)
        with monkeypatch.context() as patch:
            patch.setattr(np.random, 'rand', lambda *shape: np.full(shape, chance) if shape else chance)
            patch.setattr(np.random, 'randint', lambda low, high, size=None: boxes.integers(low, high))
            patch.setattr(np.random, 'beta', lambda a, b, size=None: betas[:size] if size else betas[0])
            expected = theirs_mixer(images.clone(), classes)
        boxes = np.random.default_rng(attempt)
        with monkeypatch.context() as patch:
            patch.setattr(mixing, '_uniform', lambda count: torch.full((count,), chance, dtype=torch.float64))
            patch.setattr(mixing, '_integer', lambda low, high: int(boxes.integers(low, high)))
            patch.setattr(mixing, '_beta', lambda alpha, count: torch.from_numpy(betas[:count]))
            found = ours.Mixup(**settings, mode=mode, num_classes=5)(images.clone(), classes)
        assert torch.allclose(found[0], expected[0], atol=1e-6) and torch.allclose(found[1], expected[1], atol=1e-6)
        assert not torch.equal(found[0], images)


@pytest.mark.in_turn
@pytest.mark.parametrize('settings', [
    *MIXES[:5], dict(prob=0.4), dict(mixup_alpha=0.3, cutmix_alpha=0.5, prob=0.7)], ids=str)
@pytest.mark.parametrize('mode', mixing.MODES)
def test_shares_and_boxes_are_distributed_as_timms(settings, mode):
    rounds, rows = {'batch': 800, 'pair': 400, 'elem': 200}[mode], []
    for library in (ours, timm.data):
        mixer = library.Mixup(**settings, mode=mode, num_classes=4, label_smoothing=0.0)
        seed()
        np.random.seed(0)
        kept, extent = [], []
        for _ in range(rounds):
            images, targets = mixer(torch.arange(4.0)[:, None, None, None].repeat(1, 1, 10, 12), torch.arange(4))
            kept += [targets[0, 0].item(), targets[1, 1].item()][:1 if mode == 'batch' else 2]
            extent += [(images[0] != 0).sum().item()]
        rows.append((np.array(kept), np.array(extent)))
    for found, expected in zip(*rows):
        found, expected = np.sort(found.round(9)), np.sort(expected.round(9))
        points = np.concatenate([found, expected])
        below = [np.searchsorted(part, points, side='right') / len(part) for part in (found, expected)]
        # two samples of one distribution differ by more once in ten thousand times (Kolmogorov-Smirnov)
        assert np.abs(below[0] - below[1]).max() < 2.23 * (2 / len(found)) ** 0.5


@pytest.mark.parametrize('smoothing', [0.0, 0.1])
def test_targets_of_several_classes(smoothing, monkeypatch):
    images, targets = torch.randn(6, 1, 8, 8), (torch.rand(6, 5) > 0.5).float()
    monkeypatch.setattr(mixing, '_beta', lambda alpha, count: torch.full((count,), 0.3, dtype=torch.float64))
    monkeypatch.setattr(np.random, 'beta', lambda a, b: 0.3)
    settings = dict(num_classes=5, multi_label=True, label_smoothing=smoothing)
    found = ours.Mixup(**settings)(images.clone(), targets)[1]
    assert torch.allclose(found, timm.data.Mixup(**settings)(images.clone(), targets)[1], atol=1e-6)
    soft = ours.Mixup(num_classes=5, label_smoothing=smoothing)(images.clone(), targets.softmax(1))[1]
    assert torch.allclose(soft.sum(1), torch.ones(6))


@pytest.mark.parametrize('mode', mixing.MODES)
@pytest.mark.parametrize('count', [1, 2, 5])
def test_odd_batches(mode, count):
    images, classes = torch.randn(count, 3, 8, 8), torch.arange(count)
    seed()
    mixer = ours.Mixup(cutmix_alpha=1.0, mode=mode, num_classes=5, label_smoothing=0.0)
    for _ in range(5):
        mixed, targets = mixer(images.clone(), classes)
        assert torch.allclose(targets.sum(1), torch.ones(count))
        if count % 2:
            middle = count // 2
            assert targets[middle, middle] == 1 and torch.allclose(mixed[middle], images[middle], atol=1e-6)


def test_mixing_can_be_switched_off():
    mixer, images, classes = ours.Mixup(num_classes=5), torch.randn(4, 3, 8, 8), torch.arange(4)
    mixer.mixup_enabled = False
    found, targets = mixer(images.clone(), classes)
    assert torch.equal(found, images) and torch.allclose(targets, torch.eye(5)[:4] * 0.9 + 0.02)


@pytest.mark.parametrize('call, message', [
    (lambda: ours.Mixup(mixup_alpha=0), 'one is above 0'),
    (lambda: ours.Mixup(mixup_alpha=-1, cutmix_alpha=1), 'none below'),
    (lambda: ours.Mixup(mode='element'), "Did you mean 'elem'"),
    (lambda: ours.Mixup(prob=1.5), 'prob is from 0 to 1'),
    (lambda: ours.Mixup(cutmix_minmax=(0.8, 0.2)), 'cutmix_minmax is'),
    (lambda: ours.Mixup()(torch.zeros(2, 3, 8, 8, dtype=torch.uint8), torch.zeros(2).long()), 'float images'),
    (lambda: ours.Mixup()(torch.zeros(2, 3, 8, 8), torch.zeros(3).long()), 'B targets'),
    (lambda: ours.Mixup()(torch.zeros(2, 3, 8, 8), torch.zeros(2)), r'classes \(B,\) or numbers'),
    (lambda: ours.Mixup(num_classes=4)(torch.zeros(2, 3, 8, 8), torch.zeros(2, 5)), r'numbers \(B, 4\); got'),
    (lambda: ours.Mixup(multi_label=True)(torch.zeros(2, 3, 8, 8), torch.zeros(2).long()), 'Targets are numbers'),
])
def test_what_mixing_refuses(call, message):
    with pytest.raises(ValueError, match=message):
        call()


# --- repeated augmentation

@pytest.mark.parametrize('settings', [
    dict(), dict(num_repeats=2, selected_round=4), dict(selected_ratio=2), dict(num_repeats=3, selected_round=0),
    dict(num_repeats=1), dict(num_repeats=1.5, selected_round=4), dict(num_repeats=2.3), dict(shuffle=False),
    dict(selected_ratio=3, selected_round=0)], ids=str)
@pytest.mark.parametrize('count', [1, 10, 300, 521])
def test_repeats_are_timms(settings, count):
    for replicas in (1, 2, 4):
        for rank in range(replicas):
            pair = [kind(range(count), replicas, rank, **settings) for kind in (ours.RepeatAugSampler, TheirSampler)
                    if count > 1 or replicas < 4]
            for epoch in (0, 3):
                for sampler in pair:
                    sampler.set_epoch(epoch)
                assert not pair or list(pair[0]) == list(pair[1])
                assert not pair or len(pair[0]) == len(pair[1]) == len(list(pair[0]))


def test_repeats_go_on_where_they_stopped():
    sampler = ours.RepeatAugSampler(range(20), 2, 1, selected_round=4)
    sampler.set_epoch(5)
    whole = list(sampler)
    sampler.set_epoch(5, start=4)
    assert list(sampler) == whole[4:] and list(sampler) == whole
    other = ours.RepeatAugSampler(range(20), 2, 1, selected_round=4, seed=1)
    other.set_epoch(5)
    assert list(other) != whole


def test_what_repeats_refuse():
    for settings, message in ((dict(num_replicas=2, rank=2), 'rank is from 0'), (dict(num_repeats=0.5), 'num_repeats'),
                              (dict(num_replicas=8, rank=0, selected_ratio=1), 'it is at least 2.66')):
        with pytest.raises(ValueError, match=message):
            ours.RepeatAugSampler(range(100), **settings)


# --- in transforms

def steps(transform):
    return [type(step).__name__ for step in transform.transforms]


@pytest.mark.parametrize('settings', [
    dict(auto_augment='original'), dict(auto_augment='v0', mean=(0.1, 0.2, 0.3), interpolation='bicubic'),
    dict(auto_augment='3a', color_jitter=0.3), dict(auto_augment='3a', color_jitter_prob=0.5), dict(re_prob=0.6),
    dict(auto_augment='3a-mstd1', color_jitter=None, re_prob=0.5, re_mode='pixel', re_count=3),
    dict(auto_augment='v0r-mstd0.5', interpolation='random', grayscale_prob=0.3, gaussian_blur_prob=0.3),
    dict(auto_augment='original', re_prob=0.5, use_prefetcher=True), dict(auto_augment='')], ids=str)
def test_a_transform_distorts_as_timms(settings, no_bits):
    pair = [make(24, is_training=True, separate=True, **settings)
            for make in (create_transform, timm.data.create_transform)]
    image = picture()
    for attempt in range(12):
        found, expected = both(*(lambda parts=parts: parts[2](parts[1](image)) for parts in pair), attempt)
        assert torch.equal(found, expected)


@pytest.mark.parametrize('settings', [
    dict(auto_augment='rand-m9-mstd0.5-inc1'), dict(auto_augment='rand-m9-t3a'),
    dict(auto_augment='rand-t3aw', mean=0.25),
    dict(auto_augment='augmix-m3', input_size=(3, 20, 30)), dict(auto_augment='rand', interpolation='nearest'),
    dict(auto_augment='rand-m9', color_jitter_prob=0.5), dict(auto_augment='rand-m9', interpolation='random')], ids=str)
def test_settings_of_drawn_distortions_are_timms(settings):
    settings = {'input_size': 50, 'is_training': True, 'mean': (0.485, 0.456, 0.406), **settings}
    found = create_transform(separate=True, **settings)[1]
    if isinstance(settings['mean'], float):
        settings['mean'] = (settings['mean'],) * 3
    expected = timm.data.create_transform(separate=True, **settings)[1]
    assert steps(found) == steps(expected)
    for our, their in zip(found.transforms[0].ops, expected.transforms[0].ops, strict=True):
        assert described(our) == described(their)
        assert our.settings.interpolation == their.kwargs['resample']
        assert set(np.atleast_1d(our.settings.img_mean)) == set(their.kwargs['fillcolor'])
        assert our.settings.translate_const == their.hparams['translate_const']
        assert our.settings.translate_pct == their.hparams.get('translate_pct', 0.45)


def test_filters_that_geometry_lacks_are_bicubic():
    transform = create_transform(24, is_training=True, interpolation='lanczos', auto_augment='rand-m9-n2-p1')
    assert {op.settings.interpolation for op in transform.transforms[3].ops} == {Image.Resampling.BICUBIC}
    seed()
    for _ in range(20):
        transform(picture())


def test_grey_networks():
    settings = dict(mean=0.5, std=0.5, auto_augment='rand-p1-n4', re_prob=1.0)
    transform = create_transform((1, 24, 24), is_training=True, **settings)
    seed()
    for _ in range(30):
        assert transform(picture()).shape == (1, 24, 24)


def test_a_split_is_one_crop_clean_and_distorted():
    settings = dict(input_size=24, is_training=True, auto_augment='augmix-m3', re_prob=1.0)
    parts = create_transform(**settings, separate=True)
    seed()
    clean, *rest = ours.SplitTransform(parts, 3, erase_clean=False)(picture())
    assert len(rest) == 2 and clean.shape == rest[0].shape == (3, 24, 24) and not torch.equal(*rest)
    assert (clean == 0).sum() == 0 and all((part == 0).sum() > 10 for part in rest)
    seed()
    assert torch.equal(clean, create_transform(**{**settings, 're_prob': 0.0}, separate=True)[2](parts[0](picture())))
    seed()
    assert (ours.SplitTransform(parts)(picture())[0] == 0).sum() > 10
    for bad in (dict(parts=parts[:2]), dict(parts=parts, num_splits=1)):
        with pytest.raises(ValueError, match='three parts|at least 2'):
            ours.SplitTransform(**bad)


class Seeded(torch.utils.data.Dataset):
    """Samples drawn from generators that are seeded by their index."""

    def __init__(self, transform):
        self.transform = transform

    def __len__(self):
        return 12

    def __getitem__(self, index):
        seed(index)
        return self.transform(picture())


@pytest.mark.parametrize('text', ['rand-m9-mstd0.5-n3-p0.9', 'rand-t3aw', 'augmix-m3', 'v0', '3a'])
def test_seeding_two_generators_repeats_a_sample_in_any_process(text):
    data = Seeded(create_transform(24, is_training=True, auto_augment=text, re_prob=0.5, re_mode='pixel',
                                   interpolation='random', gaussian_blur_prob=0.3))
    np.random.seed(0)
    before = np.random.get_state()[1].copy()
    here = torch.stack([data[i] for i in range(12)])
    assert (np.random.get_state()[1] == before).all()
    np.random.seed(1)
    assert torch.equal(here, torch.stack([data[i] for i in range(12)]))
    assert torch.equal(here, torch.cat(list(DataLoader(data, 4, num_workers=2, multiprocessing_context='fork'))))
    assert torch.equal(here[3], pickle.loads(pickle.dumps(data))[3])
    assert len({sample.numpy().tobytes() for sample in here}) == 12


def test_mixing_is_repeated_by_seeding_torch():
    mixer, images = ours.Mixup(cutmix_alpha=1.0, mode='elem', num_classes=5), torch.randn(5, 1, 8, 8)
    runs = []
    for attempt in range(2):
        np.random.seed(attempt)
        random.seed(attempt)
        torch.manual_seed(7)
        runs.append(mixer(images.clone(), torch.arange(5))[0])
    assert torch.equal(*runs)


# --- names

@pytest.mark.parametrize('path, names', [
    ('data', 'AutoAugment RandAugment Mixup auto_augment_policy auto_augment_transform rand_augment_ops '
             'rand_augment_transform'),
    ('data.auto_augment', 'AugMixAugment AugmentOp AutoAugment RandAugment augment_and_mix_transform augmix_ops '
                          'auto_augment_policy auto_augment_transform rand_augment_choices rand_augment_ops '
                          'rand_augment_transform'),
    ('data.mixup', 'Mixup'), ('data.random_erasing', 'RandomErasing'),
    ('data.distributed_sampler', 'OrderedDistributedSampler RepeatAugSampler')])
def test_timms_names(path, names):
    import importlib
    real = importlib.import_module(f'timm.{path}')
    assert all(hasattr(real, name) for name in names.split())
    with zoo.compat.install_as_timm():
        module = importlib.import_module(f'timm.{path}')
        for name in names.split():
            assert getattr(module, name).__module__.startswith('zoo.')
