"""Images as packed patches: grids, pixels, coordinates and batches are timm's."""
from __future__ import annotations

import io
import math
import random

import pytest
import torch
from PIL import Image
from test_data_transforms import IMAGES

from zoo.data import Patchify, RandomResizedCropToSequence, ResizeToSequence, create_transform, pack_patches
from zoo.data.patches import NormalizePatches, PackedLevels, cut_patches, grid_for, join_patches, patch_format
from zoo.evaluation.preprocess import PatchPreprocess

LENGTHS = (1, 16, 49, 128, 256, 576, 729, 784, 1024, 2048)
# near ties, where one more row or column is a hair away; needles; images that the largest scale does not fill a sequence with
ODD = [((2699, 3067), 16, 576), ((3644, 3001), 32, 256), ((904, 3857), 8, 1024), ((2000, 10), 16, 64), ((1, 3), 16, 256),
       ((1, 1), 32, 1024), ((5000, 4), 14, 49)]


def test_grids_are_timms():
    timm = pytest.importorskip('timm.data.naflex_transforms')
    drawn = random.Random(0)
    cases = [((drawn.randint(1, 3000), drawn.randint(1, 3000)), drawn.choice((8, 14, 16, (16, 8), 32)),
              drawn.choice(LENGTHS)) for _ in range(400)]
    for (height, width), patch, length in cases + ODD:
        pair = patch if isinstance(patch, tuple) else (patch, patch)
        rows, columns = grid_for(height, width, pair, length)
        assert rows * columns <= length
        assert timm.get_image_size_for_seq((height, width), patch, length)[1] == (rows * pair[0], columns * pair[1])
    with pytest.raises(ValueError, match='max_seq_len is 0'):
        grid_for(2, 2, (1, 1), 0)


@pytest.mark.parametrize('options', [{}, dict(patch_size=(8, 16), max_seq_len=30), dict(interpolation='bicubic'),
                                     dict(is_training=True, no_aug=True), dict(crop_border_pixels=2),
                                     dict(use_prefetcher=True)], ids=str)
@pytest.mark.parametrize('patchify', [False, True])
def test_evaluation_is_timms(options, patchify):
    timm = pytest.importorskip('timm.data')
    options = dict(input_size=32, naflex=True, patch_size=8, max_seq_len=24, patchify=patchify) | options
    ours, theirs = create_transform(**options), timm.create_transform(**options)
    for image in (image.convert('RGB') for image in IMAGES if min(image.size) > 5):
        found, expected = ours(image), theirs(image)
        for name in expected if patchify else ('image',):
            a, b = (found[name], expected[name]) if patchify else (found, expected)
            assert a.dtype == b.dtype and a.shape == b.shape and torch.allclose(a, b, atol=1e-6), name


@pytest.mark.parametrize('options', [{}, dict(flatten_patches=False), dict(channels_last=False),
                                     dict(flatten_patches=False, channels_last=False)], ids=str)
def test_patches_are_timms(options):
    timm = pytest.importorskip('timm.data.naflex_transforms')
    for shape, patch in (((3, 8, 12), 4), ((1, 7, 5), 2), ((4, 9, 9), (3, 2)), ((3, 2, 2), 5)):
        image = torch.rand(shape, generator=torch.Generator().manual_seed(0))
        for levels in (image, (image * 255).byte()):
            ours, theirs = Patchify(patch, **options)(levels), timm.Patchify(patch, **options)(levels)
            assert ours.keys() == theirs.keys()
            for name, expected in theirs.items():
                assert ours[name].dtype == expected.dtype and torch.equal(ours[name], expected), name
        patches, grid = cut_patches(image, (4, 4))
        whole = join_patches(torch.cat([patches, patches]), grid)
        assert torch.equal(whole[:, :shape[1], :shape[2]], image)
    assert Patchify(4)(Image.new('RGB', (8, 8), 'white'))['patches'].max() == 1


def test_batches_are_timms():
    timm = pytest.importorskip('timm.data.naflex_dataset')
    transform = create_transform(32, naflex=True, patch_size=8, max_seq_len=20, patchify=True)
    samples = [transform(image.convert('RGB')) for image in IMAGES[:4]]
    for length in (20, 32):
        ours = pack_patches(samples, length)
        theirs, _ = timm.NaFlexCollator(length)([(sample, 0) for sample in samples])
        assert set(theirs) - set(ours) == {'seq_len'}
        for name, found in ours.items():
            assert found.dtype == theirs[name].dtype and torch.equal(found, theirs[name]), name
    with pytest.raises(ValueError, match='more than the 3 of a sequence'):
        pack_patches(samples, 3)


def test_parts_of_training_are_drawn_as_timms():
    timm = pytest.importorskip('timm.data.naflex_transforms')
    image = Image.new('RGB', (400, 300))
    figures = []
    for draw in (timm_part(timm, image), our_part(image)):
        torch.manual_seed(0)
        random.seed(0)
        parts = torch.tensor([draw() for _ in range(3000)], dtype=torch.float64)
        area, aspect = parts[:, 0] * parts[:, 1] / 120000, (parts[:, 1] / parts[:, 0] * 300 / 400).log()
        figures.append(torch.stack([area.mean(), area.std(), aspect.mean(), aspect.std(), aspect.min(), aspect.max()]))
    assert torch.allclose(*figures, atol=0.02)


def timm_part(timm, image):
    return lambda: timm.RandomResizedCropToSequence.get_params(image, (0.08, 1.0), (0.75, 4 / 3), max_seq_len=64)[0][2:]


def our_part(image):
    from zoo.data.transforms import random_part
    return lambda: random_part(300, 400, (0.08, 1.0), (1.0, 16 / 9))[2:]


def test_training_fills_sequences_with_parts_of_the_images_own_aspect():
    step = RandomResizedCropToSequence(8, 40, ratio=(0.8, 1.25))
    for size in ((300, 40), (40, 300), (64, 64)):
        image = Image.new('RGB', size)
        for found in (step(image), step(torch.rand(3, *size[::-1]))):
            height, width = found.shape[-2:] if isinstance(found, torch.Tensor) else found.size[::-1]
            assert height % 8 == width % 8 == 0 and 20 <= height * width // 64 <= 40
            assert abs(math.log(width / height * size[1] / size[0])) < 0.8
    whole = RandomResizedCropToSequence(8, 40, scale=(1.5, 1.5))(IMAGES[0].convert('RGB'))
    assert whole.size == ResizeToSequence(8, 40)(IMAGES[0].convert('RGB')).size        # no part fits: all of it
    training = create_transform(32, is_training=True, naflex=True, patch_size=8, max_seq_len=40, patchify=True,
                                interpolation='random', re_prob=0.5, auto_augment='rand-m9')
    assert 20 <= len(training(IMAGES[0].convert('RGB'))['patches']) <= 40
    crop, _, end = create_transform(32, is_training=True, naflex=True, separate=True, patchify=True)
    assert end(crop(IMAGES[0].convert('RGB')))['patches'].shape[1] == 16 * 16 * 3


def test_levels_are_normalised_on_their_way_to_a_network():
    mean, std = (0.3, 0.4, 0.5), (0.2, 0.25, 0.3)
    levels = [create_transform(32, naflex=True, patch_size=8, max_seq_len=20, patchify=True, patchify_flatten=False,
                               normalize=False)(image.convert('RGB')) for image in IMAGES[:3]]
    whole = [create_transform(32, naflex=True, patch_size=8, max_seq_len=20, patchify=True, mean=mean, std=std)(
        image.convert('RGB')) for image in IMAGES[:3]]
    packed, expected = PackedLevels.of(levels, 20), pack_patches(whole, 20)
    assert len(packed) == 3 and packed.shape == (3, 3, 20, 64) and packed.patches.dtype == torch.uint8
    assert packed.grids() == [list(grid_for(*image.size[::-1], (8, 8), 20)) for image in IMAGES[:3]]
    found = NormalizePatches(mean, std)(packed)
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[name], expected[name], atol=1e-5) for name in found)
    piece = NormalizePatches(mean, std, torch.float16, flatten=False)(packed[1:].to('cpu'))['patches']
    assert piece.dtype == torch.float16 and torch.allclose(piece.flatten(2).float(), found['patches'][1:], atol=2e-3)


def test_a_network_of_images_alone_is_refused():
    with pytest.raises(ValueError, match='Linear takes images, not packed patches'):
        patch_format(torch.nn.Linear(2, 2))


class Listed(torch.utils.data.Dataset):
    """Images with their numbers, for timm's loader, which sets the transform."""

    transform = None

    def __len__(self):
        return len(IMAGES)

    def __getitem__(self, number):
        return self.transform(IMAGES[number].convert('RGB')), number


def test_what_evaluation_gives_a_network_is_what_timms_loader_does():
    timm = pytest.importorskip('timm.data.naflex_loader')
    statistics = dict(mean=(0.3, 0.4, 0.5), std=(0.2, 0.25, 0.3), interpolation='bicubic')
    loader = timm.create_naflex_loader(Listed(), patch_size=8, max_seq_len=20, batch_size=3, num_workers=0, pin_memory=False,
                                       use_prefetcher=False, device='cpu', persistent_workers=False, **statistics)
    preprocess = PatchPreprocess(dict(input_size=(3, 32, 32), crop_pct=0.9, crop_mode='center', **statistics), (8, 8), 20)
    normalize = NormalizePatches(statistics['mean'], statistics['std'])
    for theirs, numbers in loader:
        files = [io.BytesIO() for _ in numbers]
        for number, file in zip(numbers.tolist(), files):
            IMAGES[number].save(file, 'PNG')
        ours = normalize(preprocess.batch([preprocess(file.getvalue()) for file in files]))
        assert all(torch.allclose(ours[name].float(), theirs[name].float(), atol=1e-5) for name in ours)
