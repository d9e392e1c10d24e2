"""Which files are images: one rule for every reader and command."""
from __future__ import annotations

import os
import tarfile
import warnings
from pathlib import Path

import pytest
import timm.data
from PIL import Image
from torchvision.datasets import ImageFolder
from torchvision.datasets.folder import IMG_EXTENSIONS

import zoo.data
from zoo.cli import main
from zoo.cli.images import find_images
from zoo.data.files import PICTURES, PassedOver, image_suffixes, is_image, walk_images
from zoo.dense.files import images_by_stem

TAKEN = ['a.JPG', 'b.png', 'c.pgm', 'd.jfif', 'e.jpe', 'f.mpo', 'g.jp2', 'deep/er/h.tif', 'i.avif']
OTHERS = ['notes.txt', 'Thumbs.db', '.DS_Store', '.b.png', '._a.jpg', 'k.heic', 'l.HEIC', 'm.dng', '.hidden/n.png']


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """Two class folders, the second a link; in the first all kinds of files, and a link to the folder above."""
    for name in (*TAKEN, *OTHERS):
        path = tmp_path / 'photos' / 'cat' / name
        path.parent.mkdir(parents=True, exist_ok=True)
        known = Image.registered_extensions().get(path.suffix.lower(), 'PNG')
        Image.new('L' if path.suffix == '.pgm' else 'RGB', (8, 8)).save(path, known)
    (tmp_path / 'elsewhere').mkdir()
    Image.new('RGB', (8, 8)).save(tmp_path / 'elsewhere' / 'z.png')
    (tmp_path / 'photos' / 'dog').symlink_to(tmp_path / 'elsewhere', target_is_directory=True)
    (tmp_path / 'photos' / 'cat' / 'around').symlink_to(tmp_path / 'photos', target_is_directory=True)
    return tmp_path / 'photos'


def expected() -> list[str]:
    return sorted(name for name in TAKEN if name != 'i.avif' or '.avif' in image_suffixes())


def test_suffixes_are_those_of_the_peers_and_what_pillow_opens() -> None:
    from timm.data.readers.img_extensions import get_img_extensions
    assert {*IMG_EXTENSIONS, *get_img_extensions()} <= {*image_suffixes()} <= {*PICTURES}
    assert {'.gif', '.jfif', '.jpe', '.mpo', '.pgm'} < {*image_suffixes()} and '.dng' not in image_suffixes()
    assert is_image('A.JPEG') and not is_image('._a.jpeg') and not is_image('jpeg') and not is_image('.jpeg')


def test_a_suffix_that_pillow_learns_to_open_is_an_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(Image.EXTENSION, '.heic', 'PNG')
    image_suffixes.cache_clear()
    assert is_image('a.HEIC')
    monkeypatch.undo()
    image_suffixes.cache_clear()
    assert not is_image('a.heic') or '.heic' in Image.registered_extensions()


def test_one_walk_for_every_reader(photos: Path) -> None:
    passed = PassedOver()
    names = walk_images(photos, passed)
    assert names == sorted([*(f'cat/{name}' for name in expected()), 'dog/z.png'])
    with pytest.warns(UserWarning) as caught:
        passed.say(photos)
    (text,) = [str(one.message) for one in caught]
    for part in ('2 hidden (._a.jpg, .b.png)', '1 links to a folder that they lie in (around)',
                 '2 .heic, which Pillow does not open here (k.heic, l.HEIC)', '1 .dng, which'):
        assert part in text
    assert 'notes' not in text and 'DS_Store' not in text
    with pytest.warns(UserWarning, match=r'passed over .*2 hidden \(\._a\.jpg, \.b\.png\)'):
        source = zoo.data.create_dataset(str(photos), class_map='sorted')
    assert [source.name(i) for i in range(len(source))] == names
    with pytest.warns(UserWarning, match=r'passed over .*2 hidden \(\._a\.jpg, \.b\.png\)'):
        assert find_images([str(photos)]) == [photos / name for name in names]


def test_readers_of_one_folder_and_of_archives_have_the_same_rule(photos: Path, tmp_path: Path) -> None:
    with pytest.warns(UserWarning, match=r'passed over .*2 hidden \(\._a\.jpg, \.b\.png\)'):
        stems = images_by_stem(photos / 'cat')
    assert sorted(path.name for path in stems.values()) == [name for name in expected() if '/' not in name]
    (photos / 'cat' / 'around').unlink()
    with tarfile.open(tmp_path / 'photos.tar', 'w') as tar:
        tar.add(photos, 'photos', filter=lambda member: None if member.issym() else member)
    with pytest.warns(UserWarning, match=r'passed over .*2 hidden \(\._a\.jpg, \.b\.png\)'):
        source = zoo.data.create_dataset(str(tmp_path / 'photos.tar'), class_map='sorted')
    names = [source.name(i) for i in range(len(source))]
    assert sorted(names) == [f'cat/{name}' for name in expected()]


def test_nothing_is_said_where_nothing_is_passed_over(photos: Path) -> None:
    for name in ('.b.png', '._a.jpg', 'k.heic', 'l.HEIC', 'm.dng', 'around'):
        (photos / 'cat' / name).unlink()
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        assert len(zoo.data.create_dataset(str(photos), class_map='sorted')) == len(expected()) + 1


def test_what_the_peers_take_is_taken_but_for_hidden_files(photos: Path) -> None:
    (photos / 'cat' / 'around').unlink()
    ours = {name for name in walk_images(photos, PassedOver())}
    torchvisions = {os.path.relpath(path, photos) for path, _ in ImageFolder(str(photos)).samples}
    timms = {name for name in timm.data.create_dataset('', str(photos)).filenames()}
    for theirs in (torchvisions, timms):
        assert {name for name in theirs if not any(part.startswith('.') for part in name.split('/'))} <= ours


def test_a_command_says_once_what_it_passes_over(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(['predict', str(photos), '--device', 'cpu', '--topk', '1']) == 0
    out, err = capsys.readouterr()
    assert err.count('passed over') == 1 and err.count('\n') == 1 and '2 hidden (._a.jpg, .b.png)' in err
    assert len(out.splitlines()) == 2 + len(expected()) and 'around' not in out
