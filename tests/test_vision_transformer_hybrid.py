"""Hybrid vision transformers beside timm's: options, any size of image, other sizes on loading, backbones of one's own."""
from __future__ import annotations

import timm
import timm.layers
import timm.models.vision_transformer_hybrid as theirs_module
import pytest
import torch
from beside_timm import check_compiled, check_exported, compare_options, on_meta, pair
from conftest import randomize, relative_error
from torch import nn

import zoo
from zoo.layers.hybrid_embed import HybridEmbed
from zoo.models.vision_transformer_hybrid import ConvStem

TINY, SMALL, MCI = 'vit_tiny_r_s16_p8_224', 'vit_small_r26_s32_224', 'vit_base_mci_224'
CUT = {TINY: dict(depth=2, img_size=64), SMALL: dict(depth=2, img_size=(96, 64)), MCI: dict(depth=2, img_size=(48, 64))}
OPTIONS = [
    dict(), dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(in_chans=5),
    dict(global_pool='avg'), dict(class_token=False, global_pool='avg'), dict(reg_tokens=2), dict(pre_norm=True),
    dict(init_values=0.1), dict(pos_embed='none'), dict(no_embed_class=True), dict(dynamic_img_size=True),
    dict(drop_path_rate=0.1, proj_drop_rate=0.1),
]


@pytest.mark.in_turn
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_options_equal_timms(options):
    compare_options(TINY, size=(64, 64), **CUT[TINY] | options)


@pytest.mark.parametrize('name', [SMALL, MCI])
def test_other_channels_equal_timms(name):
    compare_options(name, size=CUT[name]['img_size'], in_chans=4, num_classes=3, **CUT[name])


@pytest.mark.parametrize('name', CUT)
def test_any_size_of_image_makes_maps_of_the_size_that_is_said(name):
    model = randomize(zoo.create_model(name, num_classes=3, dynamic_img_size=True, dynamic_img_pad=True, **CUT[name])).eval()
    backbone = zoo.create_model(name, features_only=True, out_indices=(1, 0), pretrained=model.state_dict(), **CUT[name])
    for size in ((67, 101), (96, 64), (33, 70)):
        x = torch.rand(1, 3, *size)
        maps = backbone.eval()(x)
        assert [tuple(m.shape[2:]) for m in maps] == backbone.feature_info.map_sizes(size)
        assert tuple(maps[0].shape[2:]) == model.patch_embed.dynamic_feat_size(size)
        assert torch.equal(maps[0], model.forward_intermediates(x, [1], intermediates_only=True)[0])


@pytest.mark.parametrize('name', CUT)
def test_images_of_any_size_equal_timms_where_it_takes_them(name):
    ours, theirs = pair(name, torch.float64, num_classes=3, dynamic_img_size=True, **CUT[name])
    x = torch.rand(1, 3, 128, 96, dtype=torch.float64)
    assert relative_error(ours.eval()(x), theirs.eval()(x)) < 1e-5


def test_weights_load_at_another_size_as_in_timm():
    """Positions are resampled as DeiT's (arXiv:2012.12877, section 5) are."""
    first = randomize(timm.create_model(TINY, num_classes=3, **CUT[TINY]))
    theirs = timm.create_model(TINY, num_classes=3, **CUT[TINY] | dict(img_size=(128, 64))).eval()
    theirs.load_state_dict(theirs_module.checkpoint_filter_fn(first.state_dict(), theirs))
    ours = loaded(TINY, first, (128, 64)).eval()
    x = torch.rand(1, 3, 128, 64)
    assert relative_error(ours(x), theirs(x)) < 1e-5


def loaded(name: str, source: nn.Module, size: tuple[int, int]) -> nn.Module:
    """The network for images of another size, with weights of `source`."""
    before = CUT[name]['img_size']
    before = before if isinstance(before, tuple) else (before, before)
    return zoo.create_model(name, num_classes=3, pretrained=source.state_dict(), **CUT[name] | dict(img_size=size),
                            pretrained_cfg_overlay=dict(input_size=(3, *before))).eval()


@pytest.mark.parametrize('name', CUT)
def test_loading_at_a_size_and_changing_to_it_are_the_same(name):
    first = randomize(zoo.create_model(name, num_classes=3, **CUT[name])).eval()
    ours, x = loaded(name, first, (128, 64)), torch.rand(1, 3, 128, 64)
    first.set_input_size((128, 64))
    assert relative_error(first(x), ours(x)) < 1e-5


def test_patches_of_another_size():
    model = zoo.create_model(TINY, num_classes=3, **CUT[TINY])
    model.set_input_size(patch_size=4)
    assert model.patch_embed.proj.weight.shape[2:] == (4, 4) and model.feature_info[0]['reduction'] == 16
    assert model(torch.rand(1, 3, 64, 64)).shape == (1, 3) and model.pos_embed.shape[1] == 17
    with pytest.raises(ValueError, match='no patch_size'):
        on_meta(MCI).set_input_size(patch_size=2)


class Own(nn.Module):
    """A caller's backbone, which does not say what maps it makes."""

    def __init__(self) -> None:
        super().__init__()
        self.num_features, self.conv = 8, nn.Conv2d(3, 8, 5, 4)

    def forward(self, x):
        return [x, self.conv(x)]


@pytest.mark.parametrize('options', [dict(), dict(patch_size=2), dict(feature_ratio=4, feature_size=(9, 9)),
                                     dict(proj=False, embed_dim=8), dict(output_fmt='NHWC'), dict(flatten=False)], ids=str)
def test_a_backbone_of_ones_own_is_embedded_as_timms(options):
    given = dict(img_size=36, embed_dim=12) | options
    ours, theirs = HybridEmbed(Own(), **given), timm.layers.HybridEmbed(Own(), **given)
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(2, 3, 36, 36)
    assert relative_error(ours(x), theirs(x)) < 1e-6
    assert (ours.grid_size, ours.num_patches) == (theirs.grid_size, theirs.num_patches)


def test_the_convolutional_stem_is_timms():
    for options in (dict(), dict(depth=2, channels=(8, 12), kernel_size=(5, 3), stride=(2, 1)), dict(padding=(0, 1, 'same')),
                    dict(act_layer=nn.GELU, channels=16)):
        ours, theirs = ConvStem(**options), theirs_module.ConvStem(**options)
        ours.load_state_dict(randomize(theirs).state_dict())
        x = torch.rand(2, 3, 37, 64)
        assert relative_error(ours.eval()(x), theirs.eval()(x)) < 1e-5
    with pytest.raises(ValueError, match='3 convolutions .* 2 of channels'):
        ConvStem(channels=(8, 16))


def test_attention_maps_and_prefix_tokens():
    model = randomize(zoo.create_model(SMALL, num_classes=3, **CUT[SMALL])).eval()
    x = torch.rand(1, 3, 96, 64)
    assert [a.shape for a in model.forward_attentions(x)] == [(1, 6, 7, 7)] * 2
    (features, prefix), = model.forward_intermediates(x, 1, return_prefix_tokens=True, intermediates_only=True)
    assert features.shape == (1, 384, 3, 2) and prefix.shape == (1, 1, 384)


@pytest.mark.sweep
@pytest.mark.parametrize('name', CUT)
def test_compiles_and_exports_with_any_height_and_width(name):
    model = randomize(zoo.create_model(name, num_classes=3, dynamic_img_size=True, dynamic_img_pad=True, **CUT[name])).eval()
    x = torch.rand(2, 3, 64, 96)
    check_compiled(model, x)
    check_exported(model, x, ((227, 301), (75, 90)))


def test_what_does_not_fit_is_said():
    with pytest.raises(ValueError, match="backbone 'resnetv3' is not known.*'resnetv2'"):
        on_meta(SMALL, embed_layer=dict(backbone='resnetv3', args={}))
    with pytest.raises(TypeError, match='for hybrid networks'):
        on_meta('vit_tiny_patch16_224', embed_layer=dict(backbone='resnet', args={}))
    with pytest.raises(ValueError, match='Without a projection'):
        on_meta(MCI, embed_dim=96)
    with pytest.raises(ValueError, match='fitted to images of 224x224'):
        on_meta(SMALL)(torch.empty(1, 3, 64, 64, device='meta'))
