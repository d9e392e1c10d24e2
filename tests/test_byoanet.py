"""Self-attention over maps beside timm's: layers, blocks, options, and the sizes of images that timm's do not take."""
from __future__ import annotations

import pytest
import timm.models.byobnet as theirs_module
import torch
from timm.layers.bottleneck_attn import BottleneckAttn as TheirBottleneckAttn
from timm.layers.halo_attn import HaloAttn as TheirHaloAttn
from timm.layers.lambda_layer import LambdaLayer as TheirLambdaLayer

import zoo
from beside_timm import compare_options, on_meta
from conftest import randomize, relative_error
from structures import short
from zoo.export.graphs import capture
from zoo.layers.attention_map import BottleneckAttn, HaloAttn, LambdaLayer
from zoo.models.byobnet import SelfAttnBlock
from zoo.models.byobnet_layers import LayerFn

GRID = (16, 8)


@pytest.mark.parametrize('ours, theirs, options', [
    (BottleneckAttn, TheirBottleneckAttn, dict(feat_size=GRID)),
    (BottleneckAttn, TheirBottleneckAttn, dict(feat_size=GRID, stride=2, dim_head=16, scale_pos_embed=True, qkv_bias=True)),
    (BottleneckAttn, TheirBottleneckAttn, dict(feat_size=GRID, qk_ratio=0.5, dim_out=96, num_heads=2)),
    (HaloAttn, TheirHaloAttn, {}), (HaloAttn, TheirHaloAttn, dict(stride=2)),
    (HaloAttn, TheirHaloAttn, dict(stride=2, avg_down=True, qkv_bias=True)),
    (HaloAttn, TheirHaloAttn, dict(dim_out=128, dim_head=16, halo_size=2, block_size=4)),
    (HaloAttn, TheirHaloAttn, dict(scale_pos_embed=True, qk_ratio=0.33)),
    (LambdaLayer, TheirLambdaLayer, {}), (LambdaLayer, TheirLambdaLayer, dict(r=5, stride=2, qkv_bias=True, dim_head=8)),
    (LambdaLayer, TheirLambdaLayer, dict(r=None, feat_size=GRID)),
    (LambdaLayer, TheirLambdaLayer, dict(r=None, feat_size=GRID, stride=2, num_heads=2)),
], ids=lambda value: getattr(value, '__name__', str(value)))
def test_layers_are_timms(ours, theirs, options):
    peer = randomize(theirs(64, **options).double()).eval()
    layer = ours(64, **options).double().eval()
    layer.load_state_dict({key: value for key, value in peer.state_dict().items() if 'indices' not in key})
    x = torch.rand(2, 64, *GRID, dtype=torch.float64) - 0.5
    assert relative_error(layer(x), peer(x)) < 1e-5


@pytest.mark.parametrize('options', [{}, dict(stride=2), dict(extra_conv=True, group_size=8),
                                     dict(linear_out=True, bottle_in=True), dict(post_attn_na=False)], ids=str)
def test_a_block_is_built_as_timms(options):
    given = dict(in_chs=64, out_chs=96, feat_size=(8, 8), bottle_ratio=0.5) | options
    layers = theirs_module.LayerFn(self_attn=TheirBottleneckAttn)
    theirs = randomize(theirs_module.SelfAttnBlock(**given, layers=layers).double()).eval()
    ours = SelfAttnBlock(**given, layers=LayerFn(self_attn_layer='bottleneck')).double().eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(2, 64, 8, 8, dtype=torch.float64) - 0.5
    assert relative_error(ours(x.clone()), theirs(x.clone())) < 1e-5


@pytest.mark.in_turn
@pytest.mark.parametrize('name, options', [
    ('botnet26t_256', dict(img_size=128)), ('botnet26t_256', dict(img_size=(64, 128), num_classes=0)),
    ('botnet26t_256', dict(img_size=64, output_stride=16)), ('sebotnet33ts_256', dict(img_size=64, in_chans=1)),
    ('eca_botnext26ts_256', dict(img_size=64, self_attn_kwargs=dict(dim_head=8))),
    ('lambda_resnet26rpt_256', dict(img_size=64, global_pool='max')), ('lambda_resnet26t', dict(drop_path_rate=0.2)),
], ids=str)
def test_options_equal_timms(name, options):
    size = options.get('img_size', 64)
    blocks = short(name)['blocks'] if 'blocks' in short(name) else None
    compare_options(name, (size, size) if isinstance(size, int) else size, **options, **({'blocks': blocks} if blocks else {}))


@pytest.mark.parametrize('name', ['botnet26t_256', 'halonet26t', 'lambda_resnet26rpt_256', 'haloregnetz_b'])
@torch.no_grad()
def test_any_size_is_taken_and_maps_are_as_large_as_said(name):
    model = randomize(on_meta(name, num_classes=3).to_empty(device='cpu')).eval()
    for size in ((75, 90), (97, 64)):
        maps = model.forward_intermediates(torch.rand(1, 3, *size), intermediates_only=True)
        assert [m.shape[2:] for m in maps] == [tuple(-(-side // f['reduction']) for side in size) for f in model.feature_info]


@pytest.mark.parametrize('name', ['botnet26t_256', 'lambda_resnet26rpt_256'])
@torch.no_grad()
def test_positions_are_fitted_to_a_size_and_loaded_from_another(name):
    model, x = randomize(zoo.create_model(name, num_classes=3)).eval(), torch.rand(1, 3, 128, 96)
    state, logits = model.state_dict(), model(x)
    model.set_input_size((128, 96))
    assert model.img_size == (128, 96) and relative_error(model(x), logits) < 1e-5
    again = zoo.create_model(name, num_classes=3, img_size=(128, 96), pretrained=state).eval()
    assert relative_error(again(x), logits) < 1e-5


@torch.no_grad()
def test_attention_weights_of_blocks():
    model, x = zoo.create_model('halonet26t', num_classes=3).eval(), torch.rand(1, 3, 128, 128)
    weights = model.forward_attentions(x)
    assert [w.shape for w in weights][0] == (1, 8, 64, 144) and len(weights) == 3
    assert all(torch.allclose(w.sum(-1), torch.ones(()), atol=1e-5) for w in weights)
    model = zoo.create_model('botnet26t_256', num_classes=3).eval()
    assert [w.shape[1:] for w in model.forward_attentions(x)] == [(4, 64, 64), (4, 64, 64), (4, 16, 16)]


@pytest.mark.sweep
@pytest.mark.parametrize('name, size, other', [
    ('botnet26t_256', 256, (288, 200)), ('halonet26t', 288, (320, 352)), ('lambda_resnet26t', 128, (96, 150)),
])
@torch.no_grad()
def test_graphs_take_other_sizes(name, size, other):
    model, x = randomize(zoo.create_model(name, num_classes=3)).eval(), torch.rand(2, 3, *other)
    program = capture(model, torch.rand(2, 3, size, size), ('batch', 'height', 'width')).module()
    assert relative_error(program(x), model(x)) < 1e-5
    assert torch.equal(torch.compile(model, fullgraph=True, backend='eager')(x), model(x))


def test_what_makes_no_network_is_said():
    for options, error, words in (
            (dict(blocks=['bot_r1_s2_c64_w3']), ValueError, "takes no field 'w'"),
            (dict(blocks=['halo_r1_s2_c64_h3']), ValueError, 'Stage 0, block 0 .*3 heads do not divide it'),
            (dict(blocks=[theirs := zoo.models.byobnet.ByoBlockCfg('self_attn', 1, 64)]), ValueError,
             "self_attn_layer 'None'"),
            (dict(blocks=[theirs], self_attn_layer='hallo'), ValueError, "self_attn_layer 'hallo'.*halo")):
        with pytest.raises(error, match=words):
            on_meta('repvgg_a0', **options)
