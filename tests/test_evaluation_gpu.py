"""Decoding on a GPU, with libjpeg in nvjpeg's place; on a GPU, nvjpeg itself."""
from __future__ import annotations

import importlib
import io
import sys
from typing import Any

import pytest
import torch
from PIL import Image
from torch import Tensor

import zoo
from zoo.evaluation import Preprocess, evaluate
from zoo.evaluation import runner as running
from zoo.evaluation.gpu import Finish, decode_jpegs, resize_and_cut
from zoo.evaluation.loading import load_batches
from zoo.evaluation.preprocess import decode_fast, jpeg_channels

CONFIG = zoo.data.resolve_data_config({'input_size': (3, 48, 48), 'interpolation': 'bicubic', 'crop_pct': 0.875})
CPU = torch.device('cpu')


def picture(width: int, height: int, form: str = 'JPEG', mode: str = 'RGB') -> bytes:
    noise = torch.randint(0, 256, (height // 8 + 2, width // 8 + 2, 3), generator=torch.Generator().manual_seed(width))
    file = io.BytesIO()
    Image.fromarray(noise.to(torch.uint8).numpy()).resize((width, height)).convert(mode).save(file, form)
    return file.getvalue()


class Source:
    """Images in memory, all of class 0."""

    task, num_classes, class_names = 'single', 10, None

    def __init__(self, files: list[bytes]) -> None:
        self.files = files

    def __len__(self) -> int:
        return len(self.files)

    def name(self, index: int) -> str:
        return f'image{index}'

    def encoded(self, index: int) -> bytes:
        return self.files[index]

    def target(self, index: int) -> int:
        return 0


def libjpeg(files: list[Tensor]) -> list[Tensor]:
    found = [decode_fast(bytes(file.tolist())) for file in files]
    if any(one is None for one in found):
        raise RuntimeError('not a JPEG file that can be read')
    return found


def mixed_files() -> list[bytes]:
    """JPEG in colour and grey, a PNG, one cut short, one whose middle is broken, CMYK, and one with bytes behind its end."""
    whole = picture(90, 70)
    return [whole, picture(64, 100, mode='L'), picture(80, 60, 'PNG'), picture(120, 90)[:-400],
            b'\xff\xd8\xff\xe0' + b'no image' * 9 + b'\xff\xd9', picture(70, 70, mode='CMYK'), whole + b'\n\n']


def test_workers_hand_on_whole_jpeg_files_and_decode_the_rest() -> None:
    preprocess = Preprocess(CONFIG, 'nvjpeg')
    kinds = []
    for file in mixed_files():
        try:
            kinds.append(preprocess(file).ndim)
        except ValueError:
            kinds.append(0)
    assert kinds == [1, 1, 3, 0, 0, 3, 3]
    whole = picture(90, 70)
    assert bytes(preprocess(whole).tolist()) == whole


@pytest.mark.parametrize('size', [(90, 70), (70, 91), (48, 48), (500, 375), (33, 47)])
@pytest.mark.parametrize('changes', [{}, {'crop_mode': 'squash'}, {'interpolation': 'bilinear'},
                                     {'input_size': (3, 48, 32)}, {'crop_mode': 'center_floor', 'crop_pct': 0.9}], ids=str)
def test_levels_are_nearly_pillows(size: tuple[int, int], changes: dict[str, Any]) -> None:
    config, file = {**CONFIG, **changes}, picture(*size)
    preprocess = Preprocess(config, 'nvjpeg')
    levels = resize_and_cut(libjpeg([preprocess(file)])[0], preprocess)
    gap = (levels.int() - Preprocess(config, 'pillow')(file).int()).abs()
    assert levels.shape == config['input_size'] and levels.dtype == torch.uint8
    assert gap.max() <= 3 and gap.float().mean() < 0.3


def failing(files: list[Tensor]) -> list[Tensor]:
    """A decoder that fails on batches, and on grey files."""
    if len(files) > 1 or jpeg_channels(bytes(files[0].tolist())) == 1:
        raise RuntimeError('nvjpeg: not supported')
    return libjpeg(files)


@pytest.mark.parametrize('decode', [libjpeg, failing])
def test_every_image_of_a_batch_is_read_or_named(decode: Any) -> None:
    preprocess = Preprocess(CONFIG, 'nvjpeg')
    files = [picture(90, 70), picture(64, 100, mode='L'), picture(80, 60, 'PNG')]
    broken = torch.tensor(list(b'\xff\xd8 nothing \xff\xd9'), dtype=torch.uint8)
    mixed = [*map(preprocess, files), broken] if decode is failing else list(map(preprocess, files))

    def careful(given: list[Tensor]) -> list[Tensor]:
        return decode(given)

    levels, unreadable = Finish(preprocess, CPU, careful)(mixed)
    assert levels is not None and levels.shape == (3, 3, 48, 48)
    assert list(unreadable) == ([3] if decode is failing else []) and all('not an image' in why for why in unreadable.values())
    for level, file in zip(levels, files):
        assert (level.int() - Preprocess(CONFIG, 'pillow')(file).int()).abs().max() <= 2


def test_running_out_of_memory_is_no_broken_file() -> None:
    def full(files: list[Tensor]) -> list[Tensor]:
        raise torch.OutOfMemoryError('CUDA out of memory')

    preprocess = Preprocess(CONFIG, 'nvjpeg')
    with pytest.raises(torch.OutOfMemoryError):
        Finish(preprocess, CPU, full)([preprocess(picture(90, 70))])


@pytest.mark.parametrize('workers', [0, 2])
def test_an_evaluation_counts_every_image_once(workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    source, model = Source(mixed_files()), zoo.create_model('test_efficientnet', num_classes=10)
    plain = evaluate(model, source, CONFIG, workers=0, max_unreadable=2, progress=False)
    with pytest.raises(ValueError, match="decoder='nvjpeg' decodes on a CUDA device; the device is 'cpu'"):
        evaluate(model, source, CONFIG, decoder='nvjpeg', progress=False)

    preprocess = Preprocess(CONFIG, 'nvjpeg')
    finish, seen, unreadable = Finish(preprocess, CPU, libjpeg), [], []
    for batch in load_batches(source, preprocess, 3, workers):
        batch = running._finished(batch, finish)
        seen += batch.names
        unreadable += batch.unreadable
        assert batch.levels is None or batch.levels.shape == (len(batch.names), 3, 48, 48)
    assert seen == ['image0', 'image1', 'image2', 'image5', 'image6'] and plain.samples == len(seen)
    assert sorted(unreadable) == sorted(plain.unreadable)


def test_settings_that_only_pillow_serves_are_refused() -> None:
    with pytest.raises(ValueError, match="decoder='nvjpeg' does not serve interpolation 'lanczos'"):
        Preprocess({**CONFIG, 'interpolation': 'lanczos'}, 'nvjpeg')


@pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no CUDA device')
def test_nvjpeg_decodes_as_libjpeg_does() -> None:
    source, model = Source(mixed_files()), zoo.create_model('test_efficientnet', num_classes=10)
    preprocess = Preprocess(CONFIG, 'nvjpeg')
    files = [preprocess(picture(90, 70)), preprocess(picture(64, 100, mode='L'))]
    levels, unreadable = Finish(preprocess, torch.device('cuda'))(files)
    assert not unreadable and levels.device.type == 'cuda'
    expected, _ = Finish(preprocess, CPU, libjpeg)(files)
    assert (levels.cpu().int() - expected.int()).abs().float().mean() < 2
    found = evaluate(model, source, CONFIG, decoder='nvjpeg', device='cuda', max_unreadable=2, progress=False)
    assert found.samples == 5 and len(found.unreadable) == 2


@pytest.mark.parametrize('package', ['torchcodec', 'torchvision'])
@pytest.mark.filterwarnings('ignore:The image decoding and encoding capabilities of TorchVision')
def test_both_packages_with_nvjpeg_are_called_as_they_want(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip(package)
    if package == 'torchvision':
        monkeypatch.setitem(sys.modules, 'torchcodec.decoders', None)
    elif not hasattr(importlib.import_module('torchcodec.decoders'), 'decode_jpeg'):
        pytest.skip('this torchcodec decodes no images')
    files = [torch.frombuffer(bytearray(picture(90, 70, mode=mode)), dtype=torch.uint8) for mode in ('RGB', 'L')]
    for found, expected in zip(decode_jpegs(files, CPU), libjpeg(files), strict=True):
        assert torch.equal(found, expected)
