"""Inception's networks beside timm's: every option, images smaller than their kernels, sizes of maps."""
from __future__ import annotations

import pytest
import torch
from beside_timm import compare_options
from conftest import relative_error

import zoo

NAMES = ['inception_v3', 'inception_v4', 'inception_resnet_v2']
OPTIONS = [{}, dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(global_pool='catavgmax'), dict(drop_rate=0.1),
           dict(act_layer='silu', norm_eps=1e-5)]


@pytest.mark.in_turn
@pytest.mark.parametrize('name', NAMES)
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_options_equal_timms(name, options):
    ours, theirs = compare_options(name, size=(97, 111), **options)
    image = torch.rand(1, options.get('in_chans', 3), 93, 110, dtype=torch.float64)
    maps = [m.eval().forward_intermediates(image, intermediates_only=True) for m in (ours, theirs)]
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(*maps, strict=True))


@pytest.mark.parametrize('name', NAMES)
@torch.inference_mode()
def test_small_images_give_maps_of_a_pixel_at_least(name):
    model = zoo.create_model(name, features_only=True).eval()
    for size in ((299, 200), (75, 74), (33, 48), (20, 150)):
        assert [m.shape[2:] for m in model(torch.rand(1, 3, *size))] == model.feature_info.map_sizes(size)
    assert model.feature_info.get_dicts()[4]['rounding'] == 'floor of 43 pixels less'


@pytest.mark.parametrize('name', ['inception_v4', 'inception_resnet_v2'])
def test_another_output_stride_is_said(name):
    with pytest.raises(ValueError, match='output_stride is 32, since .* not 16'):
        zoo.create_model(name, output_stride=16)


def test_the_auxiliary_classifier_of_published_weights_is_left_out(tmp_path):
    state = zoo.create_model('inception_v3').state_dict()
    torch.save(state | {'AuxLogits.fc.weight': torch.rand(1000, 768)}, tmp_path / 'published.pth')
    model = zoo.create_model('inception_v3', checkpoint_path=tmp_path / 'published.pth')
    assert all(torch.equal(a, b) for a, b in zip(model.state_dict().values(), state.values(), strict=True))


def test_the_border_of_inception_v3_need_not_count():
    """As in Keras, see test_foreign_keras.py; inside, and before the first average, nothing else changes."""
    counted = zoo.create_model('inception_v3', features_only=True, out_indices=(1, 2)).eval()
    model = zoo.create_model('inception_v3', features_only=True, out_indices=(1, 2), count_include_pad=False).eval()
    model.load_state_dict(counted.state_dict())
    with torch.no_grad():
        (first, second), (same, other) = counted(image := torch.rand(1, 3, 219, 203)), model(image)
    assert torch.equal(first, same) and not torch.allclose(second[..., 0, :], other[..., 0, :])
    assert torch.allclose(second[..., 9:-9, 9:-9], other[..., 9:-9, 9:-9], atol=1e-6) and second.shape[-1] > 19
