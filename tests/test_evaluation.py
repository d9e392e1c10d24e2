"""Evaluation: the fast path beside Pillow's, folded networks, metrics beside plain arithmetic, the loop."""
from __future__ import annotations

import copy
import importlib.util
import io
import json
import os
import pickle
import signal
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import randomize, relative_error
from PIL import Image, ImageOps
from torch import nn

import zoo
from zoo.data import ImageNetInfo
from zoo.evaluation import (
    EvaluationStopped, Metrics, Normalize, Preprocess, RealLabels, decoder_effect, evaluate, fold_batch_norm, prepare,
    read_valid_labels,
)
from zoo.evaluation.loading import default_workers, load_batches
from zoo.evaluation.preprocess import decode_fast, decode_scaled, jpeg_channels
from zoo.evaluation.runner import Forward

PHOTOS = Path(__file__).parent.parent / 'examples' / 'images'
CONFIG = dict(input_size=(3, 64, 64), interpolation='bicubic', crop_pct=0.875, crop_mode='center', mean=(0.5, 0.4, 0.3),
              std=(0.2, 0.3, 0.4))


class Source:
    """Images in memory, as an image source offers them."""

    task, num_classes, class_names, description = 'single', 10, None, 'memory'

    def __init__(self, images: list[bytes], targets: list) -> None:
        self.images, self.targets = images, targets

    def __len__(self) -> int:
        return len(self.images)

    def name(self, index: int) -> str:
        return f'image{index}'

    def encoded(self, index: int) -> bytes:
        return self.images[index]

    def target(self, index: int) -> object:
        return self.targets[index]

    def digest(self) -> str:
        return f'{len(self)} images'


class Stream:
    """The same one after the other."""

    task, num_classes, class_names, description = 'single', 10, None, 'stream'

    def __init__(self, source: Source, part: int = 0, parts: int = 1) -> None:
        self.source, self.part, self.parts = source, part, parts

    def shard(self, part: int, parts: int) -> Stream:
        return Stream(self.source, part, parts)

    def __iter__(self):
        for i in range(self.part, len(self.source), self.parts):
            yield self.source.name(i), self.source.encoded(i), self.source.target(i)


class Colours(nn.Module):
    """Ten outputs of the mean colour: (B, 3, H, W) -> (B, 10)."""

    num_classes = 10

    def __init__(self) -> None:
        super().__init__()
        self.pretrained_cfg = {'input_size': CONFIG['input_size']}
        self.fc = nn.Linear(3, 10)
        with torch.no_grad():
            self.fc.weight.normal_(generator=torch.Generator().manual_seed(0))
            self.fc.bias.zero_()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.fc(x.mean((2, 3)))


def jpeg(width: int = 90, height: int = 70, mode: str = 'RGB', seed: int = 0, **options: object) -> bytes:
    """A blurred random picture as a JPEG file."""
    channels = len(mode)
    noise = torch.randint(0, 256, (6, 8, channels), dtype=torch.uint8, generator=torch.Generator().manual_seed(seed))
    small = Image.fromarray((noise[..., 0] if channels == 1 else noise).numpy(), mode)
    file = io.BytesIO()
    small.resize((width, height), Image.Resampling.BICUBIC).save(file, 'JPEG', quality=90, **options)
    return file.getvalue()


def encoded(form: str, mode: str, size: tuple[int, int] = (90, 70)) -> bytes:
    file = io.BytesIO()
    Image.open(io.BytesIO(jpeg(*size))).convert(mode).save(file, form)
    return file.getvalue()


@pytest.fixture
def source() -> Source:
    return Source([jpeg(70 + i, 80 - i, seed=i) for i in range(11)], [i % 10 for i in range(11)])


# --- preprocessing

@pytest.mark.parametrize('size', [(90, 70), (70, 90), (64, 64), (500, 375), (375, 501), (1000, 80), (33, 47)])
@pytest.mark.parametrize('changes', [
    {}, {'crop_pct': 1.0}, {'crop_mode': 'squash'}, {'interpolation': 'bilinear'}, {'input_size': (3, 64, 48)},
    {'crop_mode': 'center_floor', 'crop_pct': 0.9}, {'crop_mode': 'squash_floor', 'crop_pct': 0.9},
], ids=str)
def test_the_fast_path_shows_what_pillow_shows(size: tuple[int, int], changes: dict) -> None:
    config, image = {**CONFIG, **changes}, jpeg(*size)
    fast, pillow = (Preprocess(config, decoder)(image) for decoder in ('fast', 'pillow'))
    assert fast.dtype == pillow.dtype == torch.uint8
    assert fast.shape == pillow.shape == config['input_size']
    gap = (fast.int() - pillow.int()).abs()
    assert gap.max() <= 3 and gap.float().mean() < 0.15


@pytest.mark.parametrize('size, eighths', [
    ((90, 70), 8), ((33, 47), 8), ((1001, 83), 8), ((147, 149), 4), ((500, 375), 2), ((375, 501), 2), ((1201, 333), 2),
    ((1001, 803), 1), ((302, 250), 3),
])
@pytest.mark.parametrize('changes', [
    {}, {'crop_pct': 1.0}, {'crop_mode': 'squash'}, {'interpolation': 'bilinear'}, {'crop_mode': 'center_floor'},
    {'input_size': (3, 64, 60)},
], ids=str)
def test_the_scaled_path_shows_nearly_what_the_fast_one_shows(size: tuple[int, int], eighths: int,
                                                              changes: dict) -> None:
    pytest.importorskip('simplejpeg')
    config, image = {**CONFIG, **changes}, jpeg(*size)
    fast, scaled = (Preprocess(config, decoder) for decoder in ('fast', 'scaled'))
    levels, whole, used = decode_scaled(image, scaled.resized_size)
    assert whole == size[::-1] and used == eighths
    assert levels.shape == (3, *(-(-side * used // 8) for side in whole))
    gap = (scaled(image).int() - fast(image).int()).abs()           # neighbouring pixels differ by up to 30
    assert gap.shape == config['input_size']
    assert gap.max() == 0 if used == 8 else gap.max() <= 8 and gap.float().mean() < 0.7


@pytest.mark.parametrize('size', [(1001, 803), (1003, 797), (999, 1500)])
@pytest.mark.parametrize('crop_mode', ['center', 'squash'])
def test_what_is_decoded_at_less_lies_where_the_whole_does(size: tuple[int, int], crop_mode: str) -> None:
    """On a ramp, a shift of a tenth of a pixel, or another scale, shows in the mean of the levels at each edge."""
    pytest.importorskip('simplejpeg')
    row, column = torch.arange(size[1])[:, None] / size[1], torch.arange(size[0]) / size[0]
    ramp = torch.stack([row.expand(size[::-1]), column.expand(size[::-1]), (row + column) / 2], dim=2)
    file = io.BytesIO()
    Image.fromarray((255 * ramp).round().to(torch.uint8).numpy()).save(file, 'JPEG', quality=98, subsampling=0)
    config = {**CONFIG, 'crop_mode': crop_mode, 'crop_pct': 1.0}
    fast, scaled = (Preprocess(config, decoder)(file.getvalue()).float() for decoder in ('fast', 'scaled'))
    for edge in (slice(0, 8), slice(-8, None)):                     # a pixel is about 4 levels
        assert (fast - scaled)[:, edge].mean((1, 2)).abs().max() < 0.4
        assert (fast - scaled)[:, :, edge].mean((1, 2)).abs().max() < 0.4


@pytest.mark.parametrize('options', [{'progressive': True}, {'subsampling': 2}, {'mode': 'L'}], ids=str)
def test_the_scaled_path_reads_every_jpeg_of_grey_or_colour(options: dict) -> None:
    pytest.importorskip('simplejpeg')
    image = jpeg(301, 299, **options)
    fast, scaled = (Preprocess(CONFIG, decoder)(image) for decoder in ('fast', 'scaled'))
    assert decode_scaled(image, Preprocess(CONFIG).resized_size)[2] == 2
    assert (scaled.int() - fast.int()).abs().float().mean() < 0.7


@pytest.mark.parametrize('decoder', ['fast', 'scaled'])
def test_without_simplejpeg_its_paths_name_the_extra(decoder: str, monkeypatch: pytest.MonkeyPatch) -> None:
    find = importlib.util.find_spec
    monkeypatch.setitem(sys.modules, 'simplejpeg', None)
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None if name == 'simplejpeg' else find(name))
    with pytest.raises(ImportError, match=r'zoo-image-models\[decode\]'):
        Preprocess(CONFIG, decoder)
    assert Preprocess(CONFIG, 'auto').decoder == Preprocess(CONFIG).decoder == 'pillow'


@pytest.mark.parametrize('size', [(340, 255), (255, 340), (254, 254)])
def test_the_fast_path_enlarges_by_a_hair(size: tuple[int, int]) -> None:
    config, image = {**CONFIG, 'input_size': (3, 224, 224)}, jpeg(*size)
    fast, pillow = (Preprocess(config, decoder)(image) for decoder in ('fast', 'pillow'))
    gap = (fast.int() - pillow.int()).abs()
    assert gap.max() <= 3 and gap.float().mean() < 0.15


def test_levels_and_normalisation_are_those_of_create_transform() -> None:
    image = jpeg()
    expected = zoo.data.create_transform(**CONFIG)(Image.open(io.BytesIO(image)))
    for channels_last in (False, True):
        normalize = Normalize(CONFIG['mean'], CONFIG['std'], channels_last=channels_last)
        levels = Preprocess(CONFIG, 'pillow')(image)[None]
        torch.testing.assert_close(normalize(levels)[0], expected, atol=1e-5, rtol=1e-5)
        assert normalize(levels).is_contiguous(memory_format=torch.channels_last) == channels_last


def test_normalise_serves_batches_of_any_size() -> None:
    normalize = Normalize((0.0,), (1.0,))
    for count in (4, 2, 4):
        levels = torch.full((count, 3, 5, 5), 51, dtype=torch.uint8)
        torch.testing.assert_close(normalize(levels), torch.full((count, 3, 5, 5), 0.2))


@pytest.mark.parametrize('image, channels', [
    (jpeg(), 3), (jpeg(mode='L'), 1), (jpeg(mode='CMYK'), 4), (jpeg(progressive=True), 3),
    (jpeg(comment=b'\xff' * 9), 3),
    (encoded('PNG', 'RGB'), None), (encoded('PNG', 'P'), None), (encoded('WEBP', 'RGB'), None), (b'\xff\xd8', None),
    (b'', None),
], ids=['colour', 'grey', 'cmyk', 'progressive', 'comment', 'png', 'palette', 'webp', 'head', 'empty'])
def test_jpeg_files_are_told_from_others(image: bytes, channels: int | None) -> None:
    assert jpeg_channels(image) == channels


@pytest.mark.parametrize('form, mode', [('PNG', 'P'), ('PNG', 'I;16'), ('PNG', 'RGBA'), ('PNG', 'LA'), ('WEBP', 'RGB'),
                                        ('JPEG', 'CMYK'), ('GIF', 'P'), ('PNG', 'RGB')])
def test_what_the_fast_decoder_does_not_serve_is_pillows_to_the_bit(form: str, mode: str) -> None:
    image = encoded(form, mode)
    assert decode_fast(image) is None
    assert torch.equal(Preprocess(CONFIG, 'fast')(image), Preprocess(CONFIG, 'pillow')(image))
    if importlib.util.find_spec('simplejpeg'):
        assert torch.equal(Preprocess(CONFIG, 'scaled')(image), Preprocess(CONFIG, 'pillow')(image))


def test_grey_jpeg_becomes_three_equal_channels() -> None:
    levels = Preprocess(CONFIG, 'fast')(jpeg(mode='L'))
    assert levels.shape == (3, 64, 64) and torch.equal(levels[0], levels[1]) and torch.equal(levels[0], levels[2])


@pytest.mark.parametrize('decoder', ['fast', 'scaled', 'pillow'])
@pytest.mark.parametrize('broken', [jpeg()[:300], jpeg()[:-400], b'', b'no image'],
                         ids=['head', 'cut', 'empty', 'text'])
def test_broken_files_are_refused_by_every_path(decoder: str, broken: bytes) -> None:
    if decoder == 'scaled':
        pytest.importorskip('simplejpeg')
    with pytest.raises(ValueError, match='not an image'):
        Preprocess(CONFIG, decoder)(broken)


@pytest.mark.parametrize('changes, word', [
    ({'interpolation': 'lanczos'}, 'lanczos'), ({'crop_mode': 'border'}, 'border'),
    ({'input_size': (1, 64, 64), 'mean': (0.5,), 'std': (0.5,)}, '1 channels'),
])
def test_settings_without_a_fast_path(changes: dict, word: str) -> None:
    config = {**CONFIG, **changes}
    assert Preprocess(config, 'auto').decoder == 'pillow'
    assert Preprocess(config)(jpeg()).shape == config['input_size']
    for decoder in ('fast', 'scaled'):
        with pytest.raises(ValueError, match=word):
            Preprocess(config, decoder)
    assert Preprocess(CONFIG, 'auto').decoder == 'fast'


def test_an_unknown_decoder_is_refused() -> None:
    with pytest.raises(ValueError, match="Did you mean 'pillow'"):
        Preprocess(CONFIG, 'pilow')


def test_the_fast_decoder_gives_pillows_pixels_and_no_warning() -> None:
    pytest.importorskip('simplejpeg')
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        for options in ({}, {'progressive': True}, {'mode': 'L'}, *({'subsampling': n} for n in range(3))):
            image = jpeg(91, 73, **options)
            expected = torch.from_numpy(np.array(Image.open(io.BytesIO(image)).convert('RGB'))).permute(2, 0, 1)
            assert torch.equal(decode_fast(image), expected)


@pytest.mark.parametrize('orientation', range(1, 9))
@pytest.mark.parametrize('decoder', ['pillow', 'fast', 'scaled', 'nvjpeg'])
def test_every_decoder_turns_images_as_exif_says(decoder: str, orientation: int) -> None:
    if decoder == 'scaled':
        pytest.importorskip('simplejpeg')
    tags = Image.Exif()
    tags[0x0112] = orientation
    image = jpeg(300, 200, exif=tags)
    upright = ImageOps.exif_transpose(Image.open(io.BytesIO(image)))
    expected = zoo.data.create_transform(**CONFIG, normalize=False)(upright)
    found = Preprocess(CONFIG, decoder, exif=True)(image)
    if decoder == 'nvjpeg' and orientation == 1:
        assert bytes(found.tolist()) == image
    else:
        assert (found.int() - expected.int()).abs().float().mean() < (0.8 if orientation == 1 else 1e-9)
    stored = Preprocess(CONFIG, 'pillow')(image)
    assert torch.equal(stored, expected) == (orientation == 1)


@pytest.mark.parametrize('channels', [1, 2, 4])
def test_evaluation_of_other_channels(channels: int) -> None:
    model = zoo.create_model('test_efficientnet', num_classes=10, in_chans=channels).eval()
    config = zoo.data.resolve_model_data_config(model, {'img_size': 64})
    source = Source([encoded('PNG', mode) for mode in ('L', 'RGB', 'RGBA', 'LA', 'P')], [0, 1, 2, 3, 4])
    assert evaluate(model, source, config, workers=0, progress=False).samples == 5
    with pytest.raises(ValueError, match='1, 2, 3 or 4 channels; for 5'):
        Preprocess({**config, 'input_size': (5, 64, 64)})


def test_preprocessing_goes_to_workers() -> None:
    image = jpeg()
    assert torch.equal(pickle.loads(pickle.dumps(Preprocess(CONFIG)))(image), Preprocess(CONFIG)(image))


# --- the network

@pytest.mark.parametrize('name', [
    'tf_efficientnet_lite0', 'efficientnet_b0', 'mixnet_s', 'mobilenetv4_conv_small', 'efficientformer_l1',
    'efficientformerv2_s0', 'fbnetv3_b', 'tf_efficientnet_cc_b0_4e'])
def test_a_prepared_network_gives_the_same_outputs(name: str) -> None:
    model = randomize(zoo.create_model(name)).eval()
    size = model.pretrained_cfg['input_size'] if model.img_size else (3, 96, 96)
    image = torch.randn(2, *size, generator=torch.Generator().manual_seed(3))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    ready = prepare(model, image_size=size)
    with torch.inference_mode():
        assert relative_error(ready(image), model(image)) < 1e-4
    assert count(ready) < count(model)
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


def count(model: nn.Module) -> int:
    return sum(isinstance(m, nn.BatchNorm2d) for m in model.modules())


def test_every_normalisation_of_lite0_is_folded() -> None:
    assert count(prepare(zoo.create_model('tf_efficientnet_lite0').eval(), image_size=(3, 64, 64))) == 0


def test_a_convolution_that_is_used_twice_is_left_alone() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return self.bn(self.conv(self.conv(x)))

    model = randomize(Twice()).eval()
    assert fold_batch_norm(model, torch.randn(1, 3, 8, 8)) == 0 and count(model) == 1


def test_folding_refuses_to_change_the_outputs() -> None:
    class Shared(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.bn = nn.Conv2d(3, 3, 1), nn.BatchNorm2d(3)

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            x = self.conv(x)
            return self.bn(x) + x

    model, image = randomize(Shared()).eval(), torch.randn(1, 3, 8, 8)
    with pytest.raises(RuntimeError, match='changed the outputs'):
        fold_batch_norm(copy.deepcopy(model), image)
    ready = prepare(model, image_size=(3, 8, 8))
    assert count(ready) == 1 and relative_error(ready(image), model(image)) < 1e-4


# --- metrics

def test_figures_for_one_class_an_image() -> None:
    generator = torch.Generator().manual_seed(0)
    outputs, truth = torch.randn(200, 8, generator=generator) * 2, torch.randint(0, 7, (200,), generator=generator)
    metrics = Metrics('single', 8)
    for part in range(0, 200, 30):
        batch = slice(part, part + 30)
        metrics.update(outputs[batch], metrics.targets(truth[batch].tolist()))
    found = metrics.compute()
    first = outputs.argmax(1)
    assert found['top1'] == pytest.approx(100 * (first == truth).float().mean().item(), abs=1e-3)
    five = (outputs.topk(5).indices == truth[:, None]).any(1)
    assert found['top5'] == pytest.approx(100 * five.float().mean().item(), abs=1e-3)
    by_class = {c: 100 * (first[truth == c] == c).float().mean().item() for c in range(7)}
    assert metrics.per_class() == pytest.approx(by_class, abs=1e-3)         # class 7 has no image
    assert found['class_mean'] == pytest.approx(sum(by_class.values()) / 7, abs=1e-3)
    sure, error = outputs.softmax(1).max(1).values, 0.0
    for low in range(15):
        inside = (sure > low / 15) & (sure <= (low + 1) / 15)
        if inside.any():
            right = (first == truth)[inside].float().mean()
            error += (inside.float().mean() * (sure[inside].mean() - right).abs()).item()
    assert found['ece'] == pytest.approx(100 * error, abs=1e-2)
    assert sum(number for *_, number in metrics.confusion()) == 200
    assert sum(number for row, column, number in metrics.confusion() if row == column) == (first == truth).sum()


@pytest.mark.parametrize('classes, valid, there', [(5, None, False), (6, None, True), (9, [0, 1, 2, 4, 8], False)])
def test_five_answers_are_only_measured_where_there_are_more_classes(classes: int, valid: list | None,
                                                                     there: bool) -> None:
    metrics = Metrics('single', classes, valid=valid)
    metrics.update(torch.randn(4, classes), metrics.targets([0, 1, 2, 4]))
    assert ('top5' in metrics.compute()) == there


def test_the_mean_loss_counts_every_image_once() -> None:
    outputs, truth = torch.randn(7, 4), [0, 1, 2, 3, 3, 2, 1]
    metrics = Metrics('single', 4, loss=torch.nn.functional.cross_entropy)
    for part in (slice(0, 5), slice(5, 7)):
        metrics.update(outputs[part], metrics.targets(truth[part]))
    expected = torch.nn.functional.cross_entropy(outputs, torch.tensor(truth)).item()
    assert metrics.compute()['loss'] == pytest.approx(expected, rel=1e-5)
    assert 'loss' not in Metrics('single', 4)._metrics


def test_only_outputs_that_count_are_compared() -> None:
    outputs = torch.tensor([[9.0, 1, 0, 2], [9.0, 0, 5, 1]])
    metrics = Metrics('single', 4, valid=[1, 3])
    metrics.update(outputs, metrics.targets([3, 1]))
    assert metrics.compute()['top1'] == 50 and metrics.confusion() == [(1, 3, 1), (3, 3, 1)]
    with pytest.raises(ValueError, match='Class 0'):
        metrics.targets([0])


def test_average_precision_for_several_labels() -> None:
    scores = torch.tensor([[3.0, 0, 1], [2.0, 1, 0], [1.0, 2, 2], [0.0, 3, 3]])
    truth = [[1.0, 0, 0], [0.0, 0, 0], [1.0, 1, 0], [0.0, 1, 0]]
    metrics = Metrics('multi', 3)
    metrics.update(scores, metrics.targets(truth))
    assert metrics.per_class() == pytest.approx({0: 100 * (1 + 2 / 3) / 2, 1: 100.0}, abs=1e-3)
    assert metrics.compute()['map'] == pytest.approx((100 * (1 + 2 / 3) / 2 + 100) / 2, abs=1e-3)


@pytest.mark.parametrize('truth', [[1.0, 2.0, 4.0, 3.0], [(1.0, 0.0), (2.0, 1.0), (4.0, 5.0), (3.0, 2.0)]],
                         ids=['one', 'two'])
def test_errors_of_regression(truth: list) -> None:
    target = torch.tensor(truth).reshape(4, -1)
    guess = target + torch.linspace(-1, 1, target.numel()).view_as(target)
    metrics = Metrics('regression', target.shape[1])
    for part in (slice(0, 3), slice(3, 4)):
        metrics.update(guess[part], metrics.targets(truth[part]))
    found = metrics.compute()
    assert found['mae'] == pytest.approx((guess - target).abs().mean().item())
    r2 = 1 - ((guess - target) ** 2).sum(0) / ((target - target.mean(0)) ** 2).sum(0)
    assert found['r2'] == pytest.approx(r2.mean().item(), abs=1e-5)


def test_an_unknown_task_and_targets_of_another_width() -> None:
    with pytest.raises(ValueError, match='single, multi, regression'):
        Metrics('detection', 3)
    metrics = Metrics('multi', 3)
    with pytest.raises(ValueError, match='2 values'):
        metrics.update(torch.zeros(1, 3), metrics.targets([[1.0, 0.0]]))


# --- labels

def test_imagenet_a_and_r_have_200_classes_each() -> None:
    ids = ImageNetInfo().label_names()
    a, r = (read_valid_labels(name, 1000) for name in ('imagenet-a', 'imagenet-r'))
    assert len(set(a)) == len(set(r)) == 200 and a == sorted(a) and r == sorted(r)
    assert [ids[i] for i in a[:2]] == ['n01498041', 'n01531178'] and ids[a[-1]] == 'n12267677'
    assert [ids[i] for i in r[:2]] == ['n01443537', 'n01484850'] and ids[r[-1]] == 'n12267677'


def test_valid_labels_from_a_file(tmp_path: Path) -> None:
    (tmp_path / 'valid.txt').write_text('7\n2\n\n')
    assert read_valid_labels(str(tmp_path / 'valid.txt'), 8) == [2, 7]
    with pytest.raises(ValueError, match='0 to 6'):
        read_valid_labels(str(tmp_path / 'valid.txt'), 7)
    with pytest.raises(ValueError, match="Did you mean .*'imagenet-a'"):
        read_valid_labels('imagenet-b', 1000)
    with pytest.raises(ValueError, match='1000'):
        read_valid_labels('imagenet-a', 10)
    with pytest.raises(FileNotFoundError):
        read_valid_labels(str(tmp_path / 'none.txt'), 8)


def test_real_labels_count_any_right_class_and_skip_images_of_none(tmp_path: Path) -> None:
    (tmp_path / 'real.json').write_text(json.dumps([[1, 3], [], [0]]))
    real = RealLabels(tmp_path / 'real.json')
    names = [f'val/ILSVRC2012_val_{n:08d}.JPEG' for n in (1, 2, 3)]
    metrics = Metrics('single', 6)
    metrics.update(torch.eye(6)[[3, 2, 5]], metrics.targets([1, 2, 0]), [real.of(name) for name in names])
    found = metrics.compute()
    assert found['top1'] == pytest.approx(33.3333, abs=1e-3) and found['real_top1'] == 50
    with pytest.raises(ValueError, match='cat.jpg'):
        real.of('cat.jpg')
    plain = Metrics('single', 6)
    plain.update(torch.eye(6), plain.targets([0, 1, 2, 3, 4, 5]))
    assert not {'real_top1', 'real_top5'} & plain.compute().keys()


# --- the loop

def expected_top1(source: Source, model: nn.Module) -> float:
    transform = zoo.data.create_transform(**CONFIG)
    images = torch.stack([transform(Image.open(io.BytesIO(source.encoded(i)))) for i in range(len(source))])
    with torch.inference_mode():
        return 100 * (model(images).argmax(1) == torch.tensor(source.targets)).float().mean().item()


@pytest.mark.parametrize('options', [
    dict(batch_size=4), dict(batch_size=1), dict(batch_size=64), dict(batch_size=4, workers=2),
    dict(batch_size=4, channels_last=False, fold=False), dict(batch_size=3, decoder='pillow'),
    dict(batch_size=4, amp_dtype=torch.bfloat16), dict(batch_size=4, dtype=torch.bfloat16),
], ids=str)
def test_every_image_counts_once(source: Source, options: dict) -> None:
    model = Colours()
    source.targets = labelled(source, model)
    found = evaluate(model, source, CONFIG, **{'workers': 0, 'progress': False, **options})
    assert found.samples == 11 and not found.unreadable
    assert found.metrics['top1'] == pytest.approx(expected_top1(source, model), abs=1e-3) == pytest.approx(
        100 * 8 / 11, abs=1e-3)


def labelled(source: Source, model: nn.Module) -> list[int]:
    """The model's own answers, but for three."""
    transform = zoo.data.create_transform(**CONFIG)
    with torch.inference_mode():
        answers = [model(transform(Image.open(io.BytesIO(image)))[None]).argmax().item() for image in source.images]
    return [(answer + (i % 4 == 1)) % 10 for i, answer in enumerate(answers)]


def test_a_stream_is_measured_like_a_source(source: Source) -> None:
    one = evaluate(Colours(), source, CONFIG, workers=0, progress=False, batch_size=4)
    other = evaluate(Colours(), Stream(source), CONFIG, workers=0, progress=False, batch_size=4)
    assert other.metrics == one.metrics and other.samples == 11


def test_unreadable_images_are_named_and_fail_above_the_limit(source: Source) -> None:
    source.images[3], source.images[7] = b'broken', source.images[7][:200]
    with pytest.raises(ValueError, match=r'more than the 0 allowed: image3 \('):
        evaluate(Colours(), source, CONFIG, workers=0, progress=False, batch_size=4)
    with pytest.raises(ValueError, match='2 images could not be read, more than the 1 allowed: image3 .*, image7 '):
        evaluate(Colours(), source, CONFIG, workers=0, progress=False, batch_size=4, max_unreadable=1)
    found = evaluate(Colours(), source, CONFIG, workers=0, progress=False, batch_size=4, max_unreadable=2)
    assert found.samples == 9 and [name for name, _ in found.unreadable] == ['image3', 'image7']


def test_no_readable_image_at_all_is_an_error() -> None:
    with pytest.raises(ValueError, match='no image'):
        evaluate(Colours(), Source([b'x'], [0]), CONFIG, workers=0, progress=False, max_unreadable=5)


def test_outputs_that_are_not_finite_are_an_error_that_names_images(source: Source) -> None:
    model = Colours()
    with torch.no_grad():
        model.fc.bias[3] = torch.nan
    with pytest.raises(RuntimeError, match='not finite, for 4 of 4 images of a batch: image0, image1'):
        evaluate(model, source, CONFIG, workers=0, progress=False, batch_size=4)


def test_a_network_without_a_head_is_refused(source: Source) -> None:
    model = Colours()
    model.fc = nn.Unflatten(1, (3, 1))
    with pytest.raises(ValueError, match='head'):
        evaluate(model, source, CONFIG, workers=0, progress=False, fold=False)


class Small(Colours):
    """Runs out of memory with more than three images."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if len(x) > 3:
            raise torch.OutOfMemoryError('CUDA out of memory.')
        return super().forward(x)


def test_the_batch_is_halved_where_memory_runs_out(source: Source, capsys: pytest.CaptureFixture[str]) -> None:
    found = evaluate(Small(), source, CONFIG, workers=0, progress=False, batch_size=8)
    assert found.batch_size == 2 and found.samples == 11
    assert found.metrics == evaluate(Colours(), source, CONFIG, workers=0, progress=False).metrics
    err = capsys.readouterr().err
    assert 'batch of 8; going on with 4' in err and 'batch of 4; going on with 2' in err


def test_other_errors_and_the_last_image_are_not_halved() -> None:
    def fail(text: str) -> Callable[[torch.Tensor], torch.Tensor]:
        def run(_: torch.Tensor) -> torch.Tensor:
            raise RuntimeError(text)
        return run

    for text in ('shapes do not fit', "DefaultCPUAllocator: can't allocate memory"):
        forward = Forward(fail(text), Normalize((0.0,), (1.0,)), torch.device('cpu'), 4)
        with pytest.raises(RuntimeError, match=text):
            forward(torch.zeros(4, 3, 8, 8, dtype=torch.uint8))


def test_the_last_batch_of_a_compiled_network_is_filled_up() -> None:
    shapes = []

    def model(x: torch.Tensor) -> torch.Tensor:
        shapes.append(len(x))
        return x.mean((2, 3))

    forward = Forward(model, Normalize((0.0,), (1.0,)), torch.device('cpu'), 4, pad=True)
    levels = torch.randint(0, 256, (2, 3, 8, 8), dtype=torch.uint8)
    torch.testing.assert_close(forward(levels), levels.float().mean((2, 3)) / 255)
    assert shapes == [4]


def test_a_cpu_is_given_few_large_images_at_once() -> None:
    shapes = []

    def model(x: torch.Tensor) -> torch.Tensor:
        shapes.append(len(x))
        return x.mean((2, 3))

    forward = Forward(model, Normalize((0.0,), (1.0,)), torch.device('cpu'), 6)
    small, large = (torch.randint(0, 256, (7, 3, side, side), dtype=torch.uint8) for side in (8, 300))
    for levels in (small, large):
        torch.testing.assert_close(forward(levels), levels.float().mean((2, 3)) / 255, atol=1e-4, rtol=0)
    assert shapes[:2] == [6, 1] and 1 <= max(shapes[2:]) < 6 and sum(shapes[2:]) == 7


def test_the_effect_of_the_decoder_is_measured(source: Source) -> None:
    effect = decoder_effect(Colours(), source, CONFIG, images=6, batch_size=4)
    assert effect['images'] == 6 and effect['changed'] == 0 and effect['top1_fast'] == effect['top1_pillow']
    assert 0 < effect['level'] < 0.2 and 0 < effect['logit_max'] < 0.05
    assert effect['logit_mean'] <= effect['logit_max'] and effect['logit_relative'] < 0.01
    with pytest.raises(ValueError, match='by number'):
        decoder_effect(Colours(), Stream(source), CONFIG)
    with pytest.raises(ValueError, match="Did you mean 'scaled'"):
        decoder_effect(Colours(), source, CONFIG, decoder='scale')


def test_the_effect_is_that_of_the_decoder_asked_for() -> None:
    pytest.importorskip('simplejpeg')
    source = Source([jpeg(300 + i, 290, seed=i) for i in range(3)], [0, 1, 2])
    fast, scaled = (decoder_effect(Colours(), source, CONFIG, decoder=decoder) for decoder in ('fast', 'scaled'))
    assert scaled['top1_scaled'] == scaled['top1_pillow'] and 'top1_fast' not in scaled
    assert 2 * fast['level'] < scaled['level'] < 0.7


DATA = Path(os.environ.get('ZOO_DATA', 'nowhere')) / 'imagenet-sample'


@pytest.mark.slow
@pytest.mark.skipif(not DATA.is_dir(), reason='ZOO_DATA names no folder with imagenet-sample/')
def test_on_photographs_the_fast_path_has_as_many_right_as_pillow() -> None:
    index = {synset: i for i, synset in enumerate(ImageNetInfo().label_names())}
    files = sorted(DATA.glob('*/*'))
    source = Source([file.read_bytes() for file in files], [index[file.parent.name] for file in files])
    model = zoo.create_model('tf_efficientnet_lite0.in1k', pretrained=True).eval()
    config = zoo.data.resolve_model_data_config(model)
    found = evaluate(model, source, config, decoder='fast', workers=0, progress=False)
    assert found.samples == 500 and found.decoder == 'fast'
    assert abs(5 * found.metrics['top1'] - 442) <= 1.01 and abs(5 * found.metrics['top5'] - 486) <= 1.01
    effect = decoder_effect(model, source, config, images=100)
    assert abs(effect['top1_fast'] - effect['top1_pillow']) <= 1 and effect['logit_relative'] < 0.01


SCRIPT = '''
import json, sys
import torch.distributed as dist
from test_evaluation import CONFIG, Colours, Source, jpeg
from zoo.evaluation import evaluate

dist.init_process_group('gloo')
source = Source([jpeg(70 + i, 80 - i, seed=i) for i in range(11)], [i % 10 for i in range(11)])
source.images[4] = b'broken'
if sys.argv[1] == 'one':
    source.images, source.targets = source.images[:1], source.targets[:1]
sys.stderr.isatty = lambda: True
found = evaluate(Colours(), source, CONFIG, workers=0, batch_size=4, max_unreadable=1)
if dist.get_rank() == 0:
    print(json.dumps([found.metrics, found.confusion, found.samples, found.unreadable]))
dist.destroy_process_group()
'''


@pytest.mark.slow
@pytest.mark.parametrize('images', ['all', 'one'])          # one: the second process has none
def test_two_processes_are_one_to_the_last_image(source: Source, images: str, tmp_path: Path) -> None:
    (tmp_path / 'script.py').write_text(SCRIPT)
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parent.parent)])
    done = subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2', 'script.py', images],
        cwd=tmp_path, env={**os.environ, 'PYTHONPATH': paths, 'OMP_NUM_THREADS': '1'}, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    metrics, confusion, samples, unreadable = json.loads(done.stdout.splitlines()[-1])
    count = 11 if images == 'all' else 1
    assert f'{count}/{count} [' in done.stderr and f'{count + 1}/{count}' not in done.stderr

    source.images[4] = b'broken'
    if images == 'one':
        source.images, source.targets = source.images[:1], source.targets[:1]
    alone = evaluate(Colours(), source, CONFIG, workers=0, progress=False, batch_size=4, max_unreadable=1)
    assert metrics == pytest.approx(alone.metrics, abs=1e-3)
    assert [tuple(row) for row in confusion] == alone.confusion
    assert samples == alone.samples == (10 if images == 'all' else 1)
    assert [tuple(one) for one in unreadable] == alone.unreadable


# --- stopping

def test_a_stopped_evaluation_has_no_figures(source: Source) -> None:
    asked = []

    def stop() -> bool:
        asked.append(len(asked))
        return len(asked) == 3

    with pytest.raises(EvaluationStopped, match='before its last image'):
        evaluate(Colours(), source, CONFIG, workers=0, progress=False, batch_size=4, stop=stop)
    assert len(asked) == 3
    assert evaluate(Colours(), source, CONFIG, workers=0, progress=False, stop=lambda: False).samples == 11


@pytest.mark.parametrize('number', [signal.SIGTERM, signal.SIGINT])
def test_workers_leave_signals_to_the_main_process(source: Source, number: int) -> None:
    found = []
    for batch in load_batches(Signalled(source, number), Preprocess(CONFIG), 4, workers=2):
        found += batch.names
    assert found == [f'image{i}' for i in range(11)]


class Signalled(Source):
    """Sends the process that reads the fifth image a signal."""

    def __init__(self, source: Source, number: int) -> None:
        super().__init__(source.images, source.targets)
        self.number = number

    def encoded(self, index: int) -> bytes:
        if index == 4:
            os.kill(os.getpid(), self.number)
        return super().encoded(index)


def test_there_is_no_bar_where_nobody_looks(source: Source, capsys: pytest.CaptureFixture[str],
                                            monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate(Colours(), source, CONFIG, workers=0)
    assert not capsys.readouterr().err
    monkeypatch.setattr(sys.stderr, 'isatty', lambda: True)
    evaluate(Colours(), source, CONFIG, workers=0)
    assert '11/11' in capsys.readouterr().err


def test_workers_by_default_are_what_the_machine_has(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, local, expected in [(1, 1, 1), (2, 1, 2), (64, 1, 4), (2, 4, 1), (8, 2, 4)]:
        monkeypatch.setattr(os, 'sched_getaffinity', lambda _, cores=cores: range(cores), raising=False)
        monkeypatch.setenv('LOCAL_WORLD_SIZE', str(local))
        assert default_workers() == expected
