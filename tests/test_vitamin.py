"""ViTamin beside timm's: options, blocks, any size of image, other sizes on loading, weights as open_clip writes them."""
from __future__ import annotations

import timm.models.vitamin as theirs_module
import pytest
import torch
from beside_timm import check_compiled, check_exported, compare_options, drawn_alike, of_timm, on_meta, pair
from conftest import randomize, relative_error
from timm.models.vitamin import VitCfg
from torch import nn

import zoo
import zoo.models.vitamin as ours_module

SMALL, XLARGE = 'vitamin_small_224', 'vitamin_xlarge_256'                               # XL has no positions
CUT = dict(depth=2, embed_dim=32, num_heads=2, img_size=(48, 64))
STAGES = dict(embed_dim=(8, 16, 32), depths=(1, 2), stem_width=8)
OPTIONS = [
    dict(), dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(global_pool='max'),
    dict(class_token=True, global_pool='token'), dict(reg_tokens=2), dict(init_values=0.1), dict(pos_embed='none'),
    dict(fc_norm=False), dict(qkv_bias=False), dict(qk_norm=True), dict(proj_bias=False), dict(scale_mlp_norm=True),
    dict(mlp_ratio=1.5), dict(norm_layer='rmsnorm', scale_mlp_norm=True), dict(act_layer='relu'),
    dict(dynamic_img_size=True), dict(drop_rate=0.1, pos_drop_rate=0.1, drop_path_rate=0.1, proj_drop_rate=0.1),
]


NARROW = CUT | dict(embed_layer=dict(backbone='mbconv', proj=False, args=STAGES))


@pytest.fixture(autouse=True)
def narrow_timms(monkeypatch: pytest.MonkeyPatch) -> None:
    """timm's functions take no other channels of the stages: they are made with those of `STAGES`."""
    monkeypatch.setattr(theirs_module, 'VitCfg', lambda **_: VitCfg(**STAGES))


@pytest.fixture
def model() -> nn.Module:
    return randomize(zoo.create_model(SMALL, **NARROW | dict(num_classes=3, dynamic_img_size=True))).eval()


@pytest.mark.in_turn
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_options_equal_timms(options):
    compare_options(SMALL, size=(48, 64), timms=CUT | options, **NARROW | options)


def test_dropout_in_the_gated_mlp_is_timms():
    options = dict(num_classes=3, proj_drop_rate=0.4)
    ours, theirs = pair(SMALL, torch.float64, CUT | options, **NARROW | options)
    x = torch.rand(2, 3, 48, 64, dtype=torch.float64)
    assert relative_error(*(drawn_alike(model.train(), x) for model in (ours, theirs))) < 1e-5


@pytest.mark.in_turn
@pytest.mark.parametrize(('name', 'options'), [
    ('Stem', dict()), ('Stem', dict(bias=False, norm_eps=1e-2)), ('Stem', dict(norm_layer='batchnorm2d', act_layer='relu')),
    ('MbConvLNBlock', dict()), ('MbConvLNBlock', dict(stride=2)), ('MbConvLNBlock', dict(kernel_size=5, expand_ratio=1.1)),
    ('MbConvLNBlock', dict(norm_layer='batchnorm2d', act_layer='relu')), ('MbConvLNBlock', dict(norm_eps=1e-2)),
    ('StridedConv', dict()), ('StridedConv', dict(kernel_size=5, stride=3, padding=2)),
    ('GeGluMlp', dict()), ('GeGluMlp', dict(norm_layer='rmsnorm')), ('GeGluMlp', dict(bias=False, act_layer='relu')),
], ids=str)
def test_parts_are_timms(name, options):
    channels = dict(GeGluMlp=('in_features', 'hidden_features'), StridedConv=('in_chans', 'embed_dim'))
    given = dict(zip(channels.get(name, ('in_chs', 'out_chs')), (9, 10))) | options
    ours, theirs = (getattr(module, name)(**given) for module in (ours_module, theirs_module))
    ours.load_state_dict(randomize(theirs).state_dict())
    x = torch.rand(2, 7, 9) if name == 'GeGluMlp' else torch.rand(2, 9, 13, 10)
    assert relative_error(ours.eval()(x), theirs.eval()(x)) < 1e-5


@pytest.mark.parametrize('size', [(67, 101), (96, 64), (33, 70)])
def test_any_size_of_image_makes_maps_of_the_size_that_is_said(model, size):
    backbone = zoo.create_model(SMALL, features_only=True, out_indices=(1, 0), pretrained=model.state_dict(), **NARROW)
    x = torch.rand(1, 3, *size)
    maps = backbone.eval()(x)
    assert [tuple(m.shape[2:]) for m in maps] == backbone.feature_info.map_sizes(size)
    assert torch.equal(maps[0], model.forward_intermediates(x, [1], intermediates_only=True)[0])


def test_images_of_any_size_equal_timms():
    options = dict(num_classes=3, dynamic_img_size=True)
    ours, theirs = pair(SMALL, torch.float64, CUT | options, **NARROW | options)
    x = torch.rand(1, 3, 77, 98, dtype=torch.float64)
    assert relative_error(ours.eval()(x), theirs.eval()(x)) < 1e-5


def test_weights_load_at_another_size_as_in_timm():
    """Positions are resampled as DeiT's (arXiv:2012.12877, section 5) are."""
    before, after = dict(num_classes=3, img_size=64), dict(num_classes=3, img_size=(128, 64))
    state = randomize(of_timm(SMALL, **CUT | before)).state_dict()
    theirs = of_timm(SMALL, **CUT | after).eval()
    theirs.load_state_dict(theirs_module.checkpoint_filter_fn(dict(state), theirs))
    x = torch.rand(1, 3, 128, 64)
    ours = zoo.create_model(SMALL, pretrained=state, **NARROW | after).eval()
    changed = zoo.create_model(SMALL, pretrained=state, **NARROW | before).eval()
    changed.set_input_size((128, 64))
    for model in (ours, changed):
        assert relative_error(model(x), theirs(x)) < 1e-5


@pytest.mark.parametrize('classes', [0, 12])
def test_weights_of_a_whole_clip_are_those_of_its_tower(classes):
    """open_clip writes both towers into one file, in which the classifier is a projection."""
    tower = randomize(zoo.create_model(SMALL, **NARROW | dict(num_classes=0))).eval()
    state = {f'visual.trunk.{key}': value for key, value in tower.state_dict().items()}
    state |= {'logit_scale': torch.ones(()), 'text.positional_embedding': torch.rand(8, 32),
              'text.ln_final.weight': torch.ones(32), 'text.text_projection': torch.randn(32, 12),
              'visual.head.proj.weight': torch.randn(12, 32)}
    model = zoo.create_model(SMALL, pretrained=state, **NARROW | dict(num_classes=classes)).eval()
    x = torch.rand(1, 3, 48, 64)
    expected = tower(x) @ state['visual.head.proj.weight'].T if classes else tower(x)
    assert relative_error(model(x), expected) < 1e-5


def test_the_record_of_each_name_is_its_own():
    """timm 1.0.31 gives XL for 336 pixels the record, and so the weights, of that for 256."""
    for name in zoo.list_models('vitamin*'):
        size = int(name.rpartition('_')[2])
        model = on_meta(name, depth=1)
        assert model.pretrained_cfg['input_size'] == (3, size, size) and model.img_size == (size, size), name
        assert model.pretrained_cfg['architecture'] == name


def test_attention_maps_are_of_the_tokens(model):
    x = torch.rand(1, 3, 48, 64)
    assert [a.shape for a in model.forward_attentions(x)] == [(1, 2, 12, 12)] * 2
    model = randomize(zoo.create_model(SMALL, **NARROW | dict(reg_tokens=2))).eval()
    (features, prefix), = model.forward_intermediates(x, 1, return_prefix_tokens=True, intermediates_only=True)
    assert features.shape == (1, 32, 3, 4) and prefix.shape == (1, 2, 32)


def test_fresh_convolutions_keep_the_variance():
    """Depthwise ones too: normal with variance 2 / fan-out of a group."""
    block = zoo.create_model(SMALL, depth=1).patch_embed.backbone.stages[1][1]
    for conv, fan_out in ((block.conv1_1x1, 512), (block.conv2_kxk, 9), (block.conv3_1x1, 128)):
        assert conv.weight.std().item() == pytest.approx((2 / fan_out) ** 0.5, rel=0.1)
        assert not conv.bias.any()


@pytest.mark.sweep
@pytest.mark.parametrize('name', [SMALL, XLARGE])
def test_compiles_and_exports_with_any_height_and_width(name):
    model = randomize(zoo.create_model(name, **NARROW | dict(num_classes=3, dynamic_img_size=True, depth=1))).eval()
    x = torch.rand(2, 3, 64, 96)
    check_compiled(model, x)
    check_exported(model, x, ((227, 301), (75, 90)))


def test_what_does_not_fit_is_said():
    with pytest.raises(ValueError, match='no patch_size'):
        on_meta(SMALL).set_input_size(patch_size=2)
    with pytest.raises(ValueError, match='Without a projection'):
        on_meta(SMALL, embed_dim=96)
    with pytest.raises(ValueError, match='fitted to images of 224x224'):
        on_meta(SMALL)(torch.empty(1, 3, 64, 64, device='meta'))
    with pytest.raises(ValueError, match="backbone 'mbcnv' is not known.*'mbconv'"):
        on_meta(SMALL, embed_layer=dict(backbone='mbcnv', args={}))
