"""Images of every mode, as files hold them, become what the network was trained on."""
from __future__ import annotations

import io
import itertools
import warnings

import numpy as np
import pytest
import timm.data
from PIL import Image, ImageCms, ImageOps

from zoo.data import convert_image, create_transform, load_image
from zoo.data.images import MODES

ORIENTATION = 0x0112


def colours(height=45, width=60):
    """A smooth picture with some noise, in RGB."""
    rng = np.random.default_rng(0)
    y, x = np.mgrid[0:height, 0:width]
    planes = np.stack([255 * y / height, 255 * x / width, 128 + 100 * np.sin((x + y) / 7)], -1)
    return Image.fromarray((planes + rng.uniform(-20, 20, planes.shape)).clip(0, 255).astype(np.uint8))


def grey16():
    """A 16-bit ramp over all levels."""
    return Image.fromarray(np.linspace(0, 65535, 45 * 60).astype(np.uint16).reshape(45, 60))


def palette(alpha):
    image = colours().convert('P', palette=Image.Palette.ADAPTIVE, colors=64)
    image.info['transparency'] = bytes(range(0, 256, 4)) if alpha == 'bytes' else 3
    return image


def alpha(mode):
    image = colours().convert(mode)
    image.putalpha(Image.fromarray(np.arange(45 * 60, dtype=np.uint8).reshape(45, 60)))
    return image


def rotated(orientation):
    image = colours()
    image.getexif()[ORIENTATION] = orientation
    return image


# what is saved -> the format, the mode Pillow opens it in
FILES = {
    'grey jpeg': (lambda: colours().convert('L'), 'JPEG', 'L'),
    'jpeg': (colours, 'JPEG', 'RGB'),
    'cmyk jpeg': (lambda: colours().convert('CMYK'), 'JPEG', 'CMYK'),
    'png': (colours, 'PNG', 'RGB'),
    'grey png': (lambda: colours().convert('L'), 'PNG', 'L'),
    'bits png': (lambda: colours().convert('1'), 'PNG', '1'),
    'grey alpha png': (lambda: alpha('LA'), 'PNG', 'LA'),
    'alpha png': (lambda: alpha('RGBA'), 'PNG', 'RGBA'),
    'palette png': (lambda: colours().convert('P'), 'PNG', 'P'),
    'palette with transparent colour png': (lambda: palette('index'), 'PNG', 'P'),
    'palette with alpha png': (lambda: palette('bytes'), 'PNG', 'P'),
    'gif': (lambda: colours().convert('P'), 'GIF', 'P'),
    'webp': (colours, 'WEBP', 'RGB'),
    'bmp': (colours, 'BMP', 'RGB'),
    'cmyk tiff': (lambda: colours().convert('CMYK'), 'TIFF', 'CMYK'),
    'ycbcr tiff': (lambda: colours().convert('YCbCr'), 'TIFF', 'YCbCr'),
    'float tiff': (lambda: colours().convert('F'), 'TIFF', 'F'),
    'dark 16-bit tiff': (lambda: colours().convert('L').convert('I;16'), 'TIFF', 'I;16'),
    'dark 32-bit tiff': (lambda: colours().convert('L').convert('I'), 'TIFF', 'I'),
}
MADE = {                                     # modes that no file opens in, or that Pillow cannot save
    'HSV': lambda: colours().convert('HSV'), 'RGBX': lambda: colours().convert('RGBX'),
    'PA': lambda: colours().convert('P').convert('PA'), 'I;16L': lambda: colours().convert('I;16').convert('I;16L'),
    'I;16B': lambda: colours().convert('I;16').convert('I;16B'),
}


def opened(name):
    """The image of FILES, from its file."""
    make, kind, mode = FILES[name]
    file = io.BytesIO()
    make().save(file, kind)
    image = Image.open(file)
    assert image.mode == mode
    return image


def same(a, b):
    return a.dtype == b.dtype and np.array_equal(np.asarray(a), np.asarray(b))


@pytest.mark.parametrize('name', [*FILES, *MADE])
@pytest.mark.filterwarnings('ignore:Palette images with Transparency')
def test_any_mode_gives_what_timm_gives_for_rgb(name):
    image = opened(name) if name in FILES else MADE[name]()
    rgb = image.convert('RGB')
    for crop_mode, interpolation in itertools.product(('center', 'squash', 'border'), ('bilinear', 'bicubic')):
        settings = dict(input_size=(3, 24, 32), crop_mode=crop_mode, interpolation=interpolation, crop_pct=0.9)
        expected = timm.data.create_transform(**settings)(rgb)
        assert same(create_transform(**settings)(image), expected)
        settings['normalize'] = False
        assert same(create_transform(**settings)(image), timm.data.create_transform(**settings)(rgb))


@pytest.mark.parametrize('name', [*FILES, *MADE])
@pytest.mark.filterwarnings('ignore:Palette images with Transparency')
def test_any_mode_gives_what_timm_gives_for_grey(name):
    image = opened(name) if name in FILES else MADE[name]()
    settings = dict(input_size=(1, 24, 32), mean=(0.4,), std=(0.2,))
    expected = timm.data.create_transform(**settings)(image.convert('L'))
    assert same(create_transform(**settings)(image), expected)


def test_transparency_warns_nobody():
    with warnings.catch_warnings():
        warnings.simplefilter('error')
        create_transform(24)(opened('palette with alpha png'))
        create_transform(24)(opened('palette with transparent colour png'))


@pytest.mark.parametrize('save', ['PNG', 'TIFF', 'PPM'])
def test_sixteen_bits_are_scaled(save, tmp_path):
    ramp = grey16()
    file = tmp_path / 'ramp'
    ramp.save(file, save)
    levels = np.asarray(ramp).astype(np.float64) / 257
    found = np.asarray(load_image(file))
    assert found.shape == (45, 60, 3) and found.min() == 0 and found.max() == 255
    assert np.abs(found - levels[..., None]).max() <= 0.5
    with Image.open(file) as image:
        assert image.mode in ('I', 'I;16')
        tensor = create_transform((45, 60), crop_pct=1.0, normalize=False)(image)
    assert np.array_equal(tensor.numpy(), found.transpose(2, 0, 1)[:1])


def test_integers_beyond_sixteen_bits_are_clipped():
    image = Image.fromarray(np.array([[-5, 0, 257, 65535, 70000, 2**31 - 1]], np.int32))
    assert np.asarray(convert_image(image, 'L')).tolist() == [[0, 0, 1, 255, 255, 255]]


def test_lab(tmp_path):
    picture = colours()
    lab = ImageCms.profileToProfile(picture, ImageCms.createProfile('sRGB'), ImageCms.createProfile('LAB'),
                                    outputMode='LAB')
    lab.save(tmp_path / 'lab.tiff')
    found = np.asarray(load_image(tmp_path / 'lab.tiff')).astype(int)
    assert np.abs(found - np.asarray(picture)).mean() < 2


def test_premultiplied():
    picture = alpha('RGBA')
    assert same_pixels(convert_image(picture.convert('RGBa'), 'RGB'), picture.convert('RGBa').convert('RGBA'))
    grey = alpha('LA')
    assert same_pixels(convert_image(grey.convert('La'), 'RGB'), grey.convert('La').convert('LA').convert('RGBA'))


def same_pixels(a, b):
    return np.array_equal(np.asarray(a), np.asarray(b)[..., :3])


def test_one_value_leaves_grey_grey_and_makes_the_rest_rgb():
    transform = create_transform(24, mean=0.5, std=0.5)
    theirs = timm.data.create_transform(24, mean=(0.5,), std=(0.5,))
    for mode, channels in [('L', 1), ('LA', 1), ('1', 1), ('F', 1), ('I;16', 1), ('RGB', 3), ('RGBA', 3), ('P', 3)]:
        image = colours().convert(mode)
        assert same(transform(image), theirs(image.convert('L' if channels == 1 else 'RGB'))), mode


def test_four_channels():
    image = alpha('RGBA')
    settings = dict(input_size=(4, 24, 24), mean=(0.5,) * 4, std=(0.5,) * 4)
    assert same(create_transform(**settings)(image), timm.data.create_transform(**settings)(image))
    assert create_transform(**settings)(colours()).shape == (4, 24, 24)


@pytest.mark.parametrize('orientation', range(1, 9))
def test_exif_orientation_is_applied_on_request(orientation, tmp_path):
    picture = rotated(orientation)
    picture.save(tmp_path / 'image.png', exif=picture.getexif())
    with Image.open(tmp_path / 'image.png') as image:
        assert image.getexif()[ORIENTATION] == orientation
        upright = ImageOps.exif_transpose(image)
        expected = timm.data.create_transform((24, 32))(image)
        assert same(create_transform((24, 32))(image), expected)
    assert np.array_equal(load_image(tmp_path / 'image.png'), picture)
    assert np.array_equal(load_image(tmp_path / 'image.png', exif=True), upright)


def test_loading_is_converting(tmp_path):
    for name in ('cmyk jpeg', 'palette png', 'grey alpha png', 'float tiff'):
        make, kind, _ = FILES[name]
        make().save(tmp_path / name, kind)
        expected = Image.open(tmp_path / name).convert('RGB')
        for source in (tmp_path / name, str(tmp_path / name), io.BytesIO((tmp_path / name).read_bytes())):
            image = load_image(source)
            assert image.mode == 'RGB' and np.array_equal(image, expected)


def test_a_broken_exif_block_turns_nothing(tmp_path):
    colours().save(tmp_path / 'image.png', exif=b'Exif\x00\x00no block of tags')
    assert np.array_equal(load_image(tmp_path / 'image.png', exif=True), colours())


@pytest.mark.parametrize('white, largest', [(1, 1), (1, 0.5), (255, 254.9), (65535, 65535), (65535, 300)])
def test_floats_have_white_where_their_levels_say(white, largest, tmp_path):
    ramp = np.linspace(0, largest, 45 * 60, dtype=np.float32).reshape(45, 60)
    file = tmp_path / 'floats.tiff'
    Image.fromarray(ramp).save(file)
    found = np.asarray(load_image(file))[..., 0].astype(float)
    assert np.abs(found - ramp / white * 255).max() <= (1 if white == 255 else 0.501)


def test_floats_that_are_no_numbers_are_black():
    levels = np.array([[np.nan, np.inf, 0.5, 1.0, -3.0]], np.float32)
    assert np.asarray(convert_image(Image.fromarray(levels), 'L')).tolist() == [[0, 0, 128, 255, 0]]


@pytest.mark.parametrize('name', [*FILES, *MADE])
@pytest.mark.parametrize('channels', [1, 2, 3, 4])
def test_a_file_is_read_for_a_network_of_any_channels(name, channels, tmp_path):
    if name in MADE:
        assert convert_image(MADE[name](), MODES[channels]).mode == MODES[channels]
        return
    make, kind, mode = FILES[name]
    make().save(tmp_path / 'image', kind)
    found = np.asarray(load_image(tmp_path / 'image', channels=channels)).reshape(45, 60, channels)
    colour = np.asarray(load_image(tmp_path / 'image', channels=1 if channels < 3 else 3)).reshape(45, 60, -1)
    assert np.array_equal(found[..., :colour.shape[-1]], colour)
    if channels in (2, 4):                              # the last is the file's transparency, if it has any
        seen = set(found[..., -1].flatten().tolist())
        assert len(seen) > 1 if 'alpha' in name or 'transparent' in name else seen == {255}


def test_files_have_no_more_than_four_channels(tmp_path):
    colours().save(tmp_path / 'a.png')
    with pytest.raises(ValueError, match='1, 2, 3 or 4 channels; for 5 make tensors'):
        load_image(tmp_path / 'a.png', channels=5)


@pytest.mark.filterwarnings('ignore')
@pytest.mark.parametrize('kind', ['JPEG', 'PNG', 'GIF', 'WEBP', 'BMP', 'TIFF'])
def test_broken_files_are_named(kind, tmp_path):
    whole = io.BytesIO()
    colours(200, 200).save(whole, kind)
    whole = whole.getvalue()
    file = tmp_path / 'broken.image'
    for content in (b'', b'not an image', whole[:20], whole[:len(whole) // 2]):
        file.write_bytes(content)
        with pytest.raises(ValueError, match='broken.image: not an image that can be read'):
            load_image(file)
        with pytest.raises(ValueError, match='^not an image that can be read') as caught:
            load_image(io.BytesIO(content))
        assert 'BytesIO' not in str(caught.value)


@pytest.mark.filterwarnings('ignore')
def test_damaged_bytes_raise_nothing_else(tmp_path):
    rng = np.random.default_rng(1)
    file = tmp_path / 'damaged.image'
    refused = 0
    for name in ('jpeg', 'png', 'gif', 'float tiff', 'cmyk jpeg', 'palette with alpha png'):
        make, kind, _ = FILES[name]
        make().save(file, kind)
        whole = np.frombuffer(file.read_bytes(), np.uint8)
        for _ in range(30):
            damaged = whole.copy()
            damaged[rng.integers(0, len(whole), 10)] = rng.integers(0, 256, 10)
            damaged[rng.integers(4, 40)] ^= 0xff
            file.write_bytes(damaged.tobytes())
            try:
                assert load_image(file).mode == 'RGB'
            except ValueError as error:
                assert 'damaged.image' in str(error)
                refused += 1
    assert refused


def test_missing_files_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match='absent.png'):
        load_image(tmp_path / 'absent.png')
    with pytest.raises(IsADirectoryError):
        load_image(tmp_path)
