"""MobileViT beside timm's: blocks, options, maps that are rounded up to whole patches, graphs, attention weights."""
from __future__ import annotations

import inspect

import pytest
import timm.models.mobilevit as theirs_module
import torch

import zoo
from beside_timm import check_compiled, check_exported, compare_options, on_meta
from conftest import randomize, relative_error
from zoo.blocks import parse, text
from zoo.layers.hybrid_embed import HybridEmbed
from zoo.models import mobilevit
from zoo.models.mobilevit import LinearTransformerBlock, MobileVitBlock, MobileVitV2Block
from zoo.spec import map_side

BOTTLE = 'bottle_r1_s2_c16_gs1_br2'
FEW = {'mobilevit_xxs': (BOTTLE, f'{BOTTLE} mobilevit_r1_s1_c24_d32_l1_ps2', f'{BOTTLE} mobilevit_r1_s1_c16_l2_ps2_h2'),
       'mobilevitv2_050': (BOTTLE, f'{BOTTLE} mobilevit2_r1_s1_c24_gs1_br0.5_l1_ps2', f'{BOTTLE} mobilevit2_r1_s1_c16_l2_ps2')}
OPTIONS = [
    dict(num_classes=0, global_pool='', in_chans=1), dict(output_stride=8, num_features=48), dict(drop_block_rate=0.1),
    dict(drop_rate=0.1, drop_path_rate=0.2), dict(act_layer='relu', norm_layer='layernorm2d', attn_layer='se'),
]


def few(name: str, **options) -> torch.nn.Module:
    return randomize(zoo.create_model(name, blocks=FEW[name], num_classes=3, **options)).eval()


@pytest.mark.in_turn
@pytest.mark.parametrize('name', FEW)
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_options_equal_timms(name, options):
    ours, theirs = compare_options(name, (50, 43), blocks=FEW[name], **options)
    for kind in ('DropPath', 'DropBlock2d'):
        rates = [[m.drop_prob for m in model.modules() if type(m).__name__ == kind and m.drop_prob] for model in (ours, theirs)]
        assert rates[0] == pytest.approx(rates[1])


@pytest.mark.in_turn
@pytest.mark.parametrize('name', ['MobileVitBlock', 'MobileVitV2Block'])
@pytest.mark.parametrize('options', [
    {}, dict(out_chs=24), dict(kernel_size=5), dict(group_size=8), dict(dilation=(2, 2)), dict(mlp_ratio=3.0),
    dict(bottle_ratio=0.5), dict(transformer_dim=20, num_heads=5), dict(transformer_depth=1), dict(patch_size=3),
    dict(no_fusion=True), dict(no_fusion=True, stride=2), dict(patch_size=1),
], ids=str)
def test_blocks_are_built_as_timms(name, options):
    made, known = getattr(mobilevit, name), inspect.signature(getattr(theirs_module, name)).parameters
    names = [key for key in known if key not in ('device', 'dtype', 'kwargs')]
    assert [*inspect.signature(made).parameters][:len(names)] == names
    given = dict(in_chs=16, patch_size=2) | {key: value for key, value in options.items() if key in known}
    theirs = randomize(getattr(theirs_module, name)(**given).double())
    ours = made(**given).double()
    ours.load_state_dict(theirs.state_dict())
    for size in ((12, 6), (11, 7)):
        x = torch.rand(2, 16, *size, dtype=torch.float64) - 0.5
        for mode in (True, False):
            assert relative_error(ours.train(mode)(x), theirs.train(mode)(x)) < 1e-5


def test_dropout_is_where_timms_is():
    given = dict(attn_drop=0.1, drop=0.2, drop_path_rate=0.3)
    for name in ('MobileVitBlock', 'MobileVitV2Block'):
        found = [sorted((path.replace('.drop1', '.drop'), getattr(m, 'p', None) or m.drop_prob)
                        for path, m in module(16, **given).named_modules()
                        if type(m).__name__ in ('Dropout', 'DropPath') and (getattr(m, 'p', 0) or getattr(m, 'drop_prob', 0)))
                 for module in (getattr(mobilevit, name), getattr(theirs_module, name))]
        assert found[0] == found[1] and len(found[0]) >= 10


@torch.no_grad()
def test_a_second_version_stays_as_large_as_its_whole_patches():
    model = zoo.create_model('mobilevitv2_050', blocks=FEW['mobilevitv2_050'], features_only=True).eval()
    assert [tuple(m.shape[2:]) for m in model(torch.rand(1, 3, 50, 70))] == [(25, 35), (13, 18), (8, 10), (4, 6)]
    assert model.feature_info.get('rounding') == ['ceil', 'ceil', 'ceil to patches of 2', 'ceil to patches of 2']
    assert model.feature_info.map_sizes((50, 70)) == [(25, 35), (13, 18), (8, 10), (4, 6)]


@torch.no_grad()
def test_maps_of_other_patches_are_as_large_as_said():
    blocks = ['mobilevit2_r1_s2_c16_l1_ps3', BOTTLE, 'mobilevit2_r2_s2_c16_l1_ps5 mobilevit_r1_s1_c16_l1_ps3', BOTTLE]
    model = zoo.create_model('mobilevitv2_050', blocks=blocks, features_only=True).eval()
    for size in ((33, 64), (50, 43), (97, 100), (1, 200)):
        assert [tuple(m.shape[2:]) for m in model(torch.rand(1, 3, *size))] == model.feature_info.map_sizes(size)
    assert map_side(100, 8, patches=((4, 3),)) == 14 and map_side(100, 4, patches=((4, 3),)) == 27


@torch.no_grad()
def test_patches_of_a_map_that_is_rounded_up_are_counted():
    backbone = zoo.create_model('mobilevitv2_050', blocks=FEW['mobilevitv2_050'], features_only=True)
    for options in ({}, dict(dynamic_img_pad=True)):
        embed = HybridEmbed(backbone, img_size=None, embed_dim=8, output_fmt='NHWC', **options)
        assert embed(torch.rand(1, 3, 50, 70)).shape[1:3] == embed.dynamic_feat_size((50, 70)) == (4, 6)


@pytest.mark.parametrize('name', FEW)
@torch.no_grad()
def test_graphs_take_other_sizes(name):
    model = randomize(zoo.create_model(name, blocks=[BOTTLE, FEW[name][1].split()[1]], num_classes=3)).eval()
    check_exported(model, torch.rand(2, 3, 48, 32), [(64, 96), (50, 43), (7, 35)], batch=3, one_window=True)


@pytest.mark.sweep
@pytest.mark.parametrize('name', FEW)
@torch.no_grad()
def test_compiled_and_in_onnx_it_takes_other_sizes(name, tmp_path):
    import onnxruntime
    model = few(name)
    check_compiled(model, torch.rand(2, 3, 50, 43))
    zoo.export_model(model, tmp_path / 'model.onnx', img_size=(96, 64), dynamic=('batch', 'height', 'width'))
    session = onnxruntime.InferenceSession(tmp_path / 'model.onnx')
    for size in ((96, 64), (75, 90)):
        x = torch.rand(3, 3, *size)
        assert relative_error(torch.from_numpy(session.run(None, {session.get_inputs()[0].name: x.numpy()})[0]), model(x)) < 1e-4


@torch.no_grad()
def test_attention_weights():
    image = torch.rand(2, 3, 64, 96)
    for name, shapes in (('mobilevit_xxs', [(8, 4, 24, 24)] + [(8, 2, 6, 6)] * 2),
                         ('mobilevitv2_050', [(2, 1, 4, 24)] + [(2, 1, 4, 6)] * 2)):
        weights = few(name).forward_attentions(image)
        assert [w.shape for w in weights] == shapes
        assert all(torch.allclose(w.sum(-1), torch.ones(())) for w in weights)


def test_a_block_of_the_second_version_takes_the_stride_of_its_stage():
    model = on_meta('mobilevitv2_050', blocks=[BOTTLE, 'mobilevit2_r1_s2_c16_l1_ps2'])
    assert [f['reduction'] for f in model.feature_info] == [2, 4, 8]
    assert model.forward_features(torch.rand(1, 3, 72, 64, device='meta')).shape[2:] == (10, 8)
    with pytest.raises(ValueError, match=r'Stage 1, block 0 \(mobilevit\): .* stride 1, not 2: .*no_fusion=True'):
        on_meta('mobilevitv2_050', blocks=[BOTTLE, 'mobilevit_r1_s2_c16_l1_ps2'])


def test_what_makes_no_network_is_said():
    for string in ('mobilevit_r1_s1_c96_d144_l2_ps2_h4', 'mobilevit2_r1_s1_c128_gs1_br0.5_l2_ps2', 'mobilevit_r1_k5_s1_c8'):
        assert text(parse(string)) == string
    for string, words in (('mobilevit2_r1_s1_c16_h4', "takes no field 'h'"), ('mobilevit_r1_s1_c16_p2', "takes no field 'p'"),
                          ('mobilevit_r1_s1_c16_d30', '4 heads do not divide it'), ('mobilevit_r1_s1_c16_l0', "'l0'")):
        with pytest.raises(ValueError, match=words):
            on_meta('mobilevit_xxs', blocks=[BOTTLE, string])
    with pytest.raises(ValueError, match='patch_size is a whole number, 1 or more, not 0'):
        MobileVitV2Block(16, patch_size=0)


def test_a_transformer_among_pixels_does_not_mix_their_places():
    x = torch.rand(1, 16, 4, 6)
    changed = x.clone()
    changed[:, :, 0] += 1
    block = randomize(LinearTransformerBlock(16, norm_layer=torch.nn.Identity)).eval()
    with torch.no_grad():
        assert (block(x) != block(changed)).any(1).any(-1).squeeze(0).tolist() == [True, False, False, False]
    block = MobileVitBlock(16, patch_size=2)
    assert block.transformer[0].norm1.eps == 1e-5
