"""`timm.data.create_dataset` on zoo, beside timm's own."""
from __future__ import annotations

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

import zoo

SPLITS = ('train', 'val')
CLASSES = ('2', '10', 'a')


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Three classes whose natural order is not that of their letters, in two splits."""
    for split in SPLITS:
        for place, name in enumerate(CLASSES):
            (tmp_path / split / name).mkdir(parents=True)
            for number in (1, 2, 10):
                colour = (80 * place, 20 * number, 200 if split == 'val' else 0)
                Image.new('RGB', (6, 5), colour).save(tmp_path / split / name / f'{number}.png')
    return tmp_path


@pytest.fixture
def timm() -> Iterator[Any]:
    """zoo as timm."""
    with zoo.compat.install_as_timm():
        import timm
        yield timm


def both(timm: Any, *args: Any, **options: Any) -> tuple[Any, Any]:
    zoo.compat.uninstall_as_timm()
    real = pytest.importorskip('timm.data')
    theirs = real.create_dataset(*args, **options)
    return timm.data.create_dataset(*args, **options), theirs


def pixels(item: tuple[Any, int]) -> tuple[bytes, str, int]:
    image, target = item
    return image.tobytes(), image.mode, target


@pytest.mark.parametrize('call', [
    lambda root: (('', str(root)), {}),
    lambda root: (('', str(root), 'train'), {}),
    lambda root: (('', str(root)), {'split': 'train'}),
    lambda root: ((), {'name': '', 'root': str(root), 'split': 'validation', 'is_training': True, 'batch_size': 8}),
    lambda root: (('folder',), {'root': str(root / 'val'), 'split': 'anything', 'input_img_mode': 'L'}),
    lambda root: (('ImageFolder', str(root)), {'class_map': {'2': 7, '10': 8, 'a': 9}, 'search_split': True}),
])
def test_folders_are_timms(folder: Path, timm: Any, call: Any) -> None:
    args, options = call(folder)
    ours, theirs = both(timm, *args, **options)
    assert len(ours) == len(theirs) == 9
    assert [pixels(ours[i]) for i in range(9)] == [pixels(theirs[i]) for i in range(9)]
    assert ours.filenames() == theirs.filenames() and ours.filename(4, basename=True) == theirs.filename(4, basename=True)
    assert ours.filenames(absolute=True) == theirs.filenames(absolute=True)
    if 'class_map' not in options:
        assert ours.reader.class_to_idx == theirs.reader.class_to_idx == {'2': 0, '10': 1, 'a': 2}


def test_transforms_may_be_given_or_set(folder: Path, timm: Any) -> None:
    from timm.data import ImageDataset, create_dataset
    dataset = create_dataset('', root=str(folder), split='val', transform=lambda image: image.size)
    assert isinstance(dataset, ImageDataset) and dataset[0] == ((6, 5), 0)
    dataset.transform, dataset.target_transform = None, lambda target: target + 100
    assert dataset[0][0].mode == 'RGB' and dataset[8][1] == 102
    files = create_dataset('', root=str(folder), split='val', load_bytes=True)
    assert files[0][0] == (folder / 'val' / '2' / '1.png').read_bytes()


def test_zoos_own_function_is_another(folder: Path, timm: Any) -> None:
    source = zoo.data.create_dataset(str(folder), 'val', class_map='folders')
    assert source.task == 'single' and source.class_names == ['10', '2', 'a'] and source.encoded(0)[:4] == b'\x89PNG'
    with pytest.raises(TypeError, match='positional'):
        zoo.data.create_dataset('', str(folder), 'val')


def test_torchvision_by_timms_name(tmp_path: Path, timm: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    import torchvision.datasets

    class Small:
        classes = ['cat', 'dog']

        def __init__(self, root: str, train: bool) -> None:
            assert root == str(tmp_path)
            self.targets = [0, 1, 1] if train else [1]

        def __len__(self) -> int:
            return len(self.targets)

        def __getitem__(self, index: int) -> tuple[Image.Image, int]:
            return Image.new('RGB', (4, 4), (index, 0, 0)), self.targets[index]

    monkeypatch.setattr(torchvision.datasets, 'CIFAR10', Small)
    dataset = timm.data.create_dataset('torch/cifar10', root=str(tmp_path), split='train', class_map='numbers')
    assert len(dataset) == 3 and [target for _, target in dataset] == [0, 1, 1]
    assert dataset[2][0].getpixel((0, 0)) == (2, 0, 0)
    with pytest.raises(ValueError, match='no absolute path'):
        dataset.filename(0, absolute=True)


def test_shards_by_timms_name(tmp_path: Path, timm: Any) -> None:
    with tarfile.open(tmp_path / 'train-0.tar', 'w') as archive:
        for number in range(3):
            image = io.BytesIO()
            Image.new('RGB', (4, 4), (number, 0, 0)).save(image, 'PNG')
            for suffix, content in (('png', image.getvalue()), ('cls', str(number).encode())):
                member = tarfile.TarInfo(f'{number}.{suffix}')
                member.size = len(content)
                archive.addfile(member, io.BytesIO(content))
    stream = timm.data.create_dataset('wds/', root=str(tmp_path), split='train-{0..0}.tar')
    assert [(image.getpixel((0, 0))[0], target) for image, target in stream] == [(0, 0), (1, 1), (2, 2)]
    for option in ({'is_training': True}, {'num_samples': 5}, {'repeats': 2}):
        with pytest.raises(ValueError, match=f'{next(iter(option))}=.*is read in order'):
            timm.data.create_dataset('wds/', root=str(tmp_path), split='train-{0..0}.tar', **option)


@pytest.mark.parametrize('args, options, message', [
    (('tfds/mnist', '.'), {'is_training': False}, "Data set of timm 'tfds/mnist' is not known"),
    (('',), {'split': 'train', 'is_training': False}, 'root= is the folder of the images'),
    (('wds/',), {'is_training': False}, 'root= is the folder of the shards'),
    (('', '.'), {'trust_remote_code': True}, 'runs no code'),
    (('', '.'), {'transforms': None, 'seed': 1}, "option 'transforms'"),
])
def test_what_is_not_served_is_an_error(args: tuple[str, ...], options: dict[str, Any], message: str, timm: Any) -> None:
    with pytest.raises(ValueError, match=message):
        timm.data.create_dataset(*args, **options)


def test_a_split_that_is_not_there_is_an_error(folder: Path, timm: Any) -> None:
    with pytest.raises(ValueError, match="there is no split 'test'; there are: train, val"):
        timm.data.create_dataset('', str(folder), 'test')
