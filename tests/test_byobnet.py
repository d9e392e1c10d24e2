"""ByobNet beside timm's: options, blocks, stems and heads; branches that become one convolution; networks as text."""
from __future__ import annotations

import inspect

import pytest
import timm.layers
import timm.models.byobnet as theirs_module
import torch
from torch.fx import symbolic_trace

import zoo
from beside_timm import compare_options, on_meta
from conftest import randomize, relative_error
from structures import short
from zoo.blocks import parse, text
from zoo.export.graphs import capture
from zoo.layers.drop import DropBlock2d
from zoo.layers.reparam import Reparam
from zoo.models import byobnet
from zoo.models.byobnet import ByobNet, ByoBlockCfg, ByoModelCfg
from zoo.models.byobnet_blocks import BLOCKS
from zoo.models.byobnet_cfg import SELF_ATTENTIONS
from zoo.models.byobnet_layers import LayerFn
from zoo.pretrained.adapt import load_into
from zoo.spec import Misfit

OPTIONS = [
    dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(in_chans=5), dict(global_pool='max'),
    dict(global_pool='catavgmax'), dict(output_stride=8), dict(output_stride=16), dict(output_stride=8, downsample='conv1x1'),
    dict(downsample='conv1x1'), dict(downsample=''), dict(num_features=48), dict(act_layer='silu'), dict(attn_layer=None),
    dict(attn_layer='eca', attn_kwargs={}), dict(attn_layer='gc', attn_kwargs={}), dict(width_factor=2.0, num_features=40),
    dict(drop_rate=0.1, drop_path_rate=0.2), dict(drop_block_rate=0.1), dict(norm_layer='layernorm2d', downsample='conv1x1'),
    dict(block_kwargs=dict(linear_out=True)), dict(stem_type='7x7'), dict(stem_type='tiered'), dict(stem_type='deep'),
    dict(stem_type='quad'), dict(stem_type='quad2'), dict(stem_type='rep'), dict(stem_type='one'), dict(stem_chs=(8, 12)),
    dict(stem_type='tiered', stem_pool='maxpool'), dict(stem_pool='max2'), dict(stem_pool='avg'), dict(stem_pool='avg2'),
    dict(stem_type='quad2', stem_pool='maxpool'), dict(aa_layer='avg'), dict(aa_layer='avg', downsample='conv1x1'),
    dict(head_type='mlp'), dict(head_type='mlp', head_hidden_size=24), dict(head_type='mlp', num_classes=0),
    dict(head_type='attn_abs', img_size=96), dict(head_type='attn_rot', img_size=224),
    dict(head_type='attn_abs', head_hidden_size=128, img_size=64), dict(head_type='attn_abs', num_classes=0, img_size=64),
]
EVEN = {'stem_pool', 'aa_layer'}                              # timm's lose the last row where these see an odd size


@pytest.mark.in_turn
@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_options_equal_timms(options):
    ours, theirs = compare_options('test_byobnet', (96, 64) if EVEN & {*options} else (72, 65), **options)
    for kind in ('DropPath', 'DropBlock2d'):
        rates = [[m.drop_prob for m in model.modules() if type(m).__name__ == kind] for model in (ours, theirs)]
        assert rates[0] == pytest.approx(rates[1])


@pytest.mark.in_turn
@pytest.mark.parametrize('name, options', [
    ('repvgg_a0', dict(output_stride=8)), ('repvgg_a0', dict(drop_path_rate=0.2)), ('mobileone_s0', dict(act_layer='silu')),
    ('resnet61q', dict(output_stride=16)), ('gernet_s', dict(output_stride=8)), ('resnext26ts', dict(drop_path_rate=0.2)),
], ids=str)
def test_options_of_other_blocks_equal_timms(name, options):
    compare_options(name, num_classes=3, **options, **{k: v for k, v in short(name).items() if k == 'blocks'})


def test_dilated_convolutions_side_by_side_are_dilated():                              # in timm's MobileOne they are not
    model = on_meta('mobileone_s0', output_stride=8)
    kernels = [m for m in model.modules() if isinstance(m, torch.nn.Conv2d) and m.kernel_size == (3, 3)]
    assert kernels[-1].dilation == (4, 4) or kernels[-1].dilation == (2, 2)


@pytest.mark.in_turn
@pytest.mark.parametrize('name', ['BasicBlock', 'BottleneckBlock', 'DarkBlock', 'EdgeBlock', 'RepVggBlock', 'MobileOneBlock'])
@pytest.mark.parametrize('options', [
    {}, dict(stride=2), dict(stride=2, downsample='conv1x1'), dict(out_chs=32), dict(group_size=8, out_chs=64),
    dict(bottle_ratio=0.5),
    dict(attn_last=True), dict(attn_last=False), dict(linear_out=True), dict(kernel_size=5), dict(extra_conv=True),
    dict(dilation=(2, 2), out_chs=32), dict(num_conv_branches=3), dict(bottle_in=True),
], ids=str)
def test_blocks_are_built_as_timms(name, options):
    made, known = getattr(byobnet, name), inspect.signature(getattr(theirs_module, name)).parameters
    assert [*inspect.signature(made).parameters] == [key for key in known if key not in ('device', 'dtype')]
    if not {*options} <= {*known} or 'bottle_ratio' in options and issubclass(made, Reparam):
        pytest.skip('no such option')
    if 'dilation' in options and name == 'MobileOneBlock':
        pytest.skip("timm's is not dilated")
    given = dict(in_chs=32, out_chs=48) | options
    se = theirs_module.LayerFn(attn=theirs_module.partial(theirs_module.get_attn('se'), rd_ratio=0.25))
    theirs = randomize(getattr(theirs_module, name)(**given, layers=se).double()).eval()
    ours = made(**given, layers=LayerFn(attn_layer='se', attn_kwargs=dict(rd_ratio=0.25))).double().eval()
    ours.load_state_dict(theirs.state_dict())
    x = torch.rand(2, 32, 11, 9, dtype=torch.float64) - 0.5
    assert relative_error(ours(x.clone()), theirs(x.clone())) < 1e-5


def test_drop_block_is_where_timms_is():
    for name in ('BasicBlock', 'BottleneckBlock', 'DarkBlock', 'EdgeBlock', 'RepVggBlock'):
        ours = getattr(byobnet, name)(32, 32, drop_block=DropBlock2d)
        theirs = getattr(theirs_module, name)(32, 32, layers=theirs_module.LayerFn(), drop_block=timm.layers.DropBlock2d)
        places = [[path.replace('.bn.drop', '.drop') for path, m in block.named_modules() if 'DropBlock' in type(m).__name__]
                  for block in (ours, theirs)]
        assert places[0] == places[1] and places[0]


# --- fused


@pytest.mark.in_turn
@pytest.mark.parametrize('name', ['repvgg_a0', 'repvgg_b1g4', 'repvgg_d2se', 'mobileone_s0', 'mobileone_s4'])
@torch.no_grad()
def test_fused_branches_give_the_same_outputs(name):
    model = randomize(zoo.create_model(name, num_classes=10, **short(name))).double().eval()
    x = torch.rand(2, 3, 65, 48, dtype=torch.float64)
    logits, maps = model(x), model.forward_intermediates(x, intermediates_only=True)
    size = sum(p.numel() for p in model.parameters())
    assert model.fuse() is model
    fused = model.state_dict()
    assert all(not m.is_fused or m.reparam_conv.bias is not None for m in model.modules() if isinstance(m, Reparam))
    assert all(m.is_fused for m in model.modules() if isinstance(m, Reparam))
    assert sum(p.numel() for p in model.parameters()) < size and not any('identity' in key for key in fused)
    assert relative_error(model(x), logits) < 1e-8
    assert all(relative_error(a, b) < 1e-8 for a, b in zip(model.forward_intermediates(x, intermediates_only=True), maps))
    assert model.fuse().state_dict().keys() == fused.keys()                                   # a second time, nothing


@torch.no_grad()
def test_fused_logits_are_within_rounding_of_the_others():
    for name in ('repvgg_a1', 'mobileone_s1'):
        model, x = zoo.create_model(name).eval(), torch.rand(2, 3, 96, 96)
        logits = model(x)
        assert relative_error(model.fuse()(x), logits) < 1e-5


@torch.no_grad()
def test_a_fused_state_dict_is_timms_and_loads_into_any_network(tmp_path):
    model, x = randomize(zoo.create_model('mobileone_s0', num_classes=4)).eval(), torch.rand(1, 3, 64, 64)
    twin = zoo.create_model('mobileone_s0', num_classes=4).fuse()
    fused = model.fuse().state_dict()
    twin.load_state_dict(fused)
    assert torch.equal(twin.eval()(x), model(x))
    theirs = theirs_module.mobileone_s0(num_classes=4)
    for module in theirs.modules():
        if hasattr(module, 'reparameterize'):
            module.reparameterize()
    theirs.load_state_dict(fused)
    assert relative_error(theirs.eval()(x), model(x)) < 1e-5
    for source in (fused, tmp_path / 'fused.pth'):
        torch.save(fused, tmp_path / 'fused.pth')
        assert torch.equal(zoo.create_model('mobileone_s0', num_classes=4, pretrained=source).eval()(x), model(x))
    backbone = zoo.create_model('mobileone_s0', features_only=True, pretrained=fused).eval()
    assert torch.equal(backbone(x)[-1], model.forward_features(x))
    state = zoo.create_model('mobileone_s0', num_classes=4).state_dict()
    with pytest.raises(Misfit, match='unexpected'):                             # there is no way back
        load_into(twin, state, zoo.get_pretrained_cfg('mobileone_s0').replace(num_classes=4))


def test_a_block_is_one_convolution_from_the_start():
    for made in (byobnet.RepVggBlock, byobnet.MobileOneBlock):
        block = made(8, 8, inference_mode=True)
        assert block.is_fused and block(torch.rand(1, 8, 5, 5)).shape == (1, 8, 5, 5)
        assert [*block.state_dict()] == ['reparam_conv.weight', 'reparam_conv.bias']


def test_what_cannot_be_folded_is_said_and_stays():
    model = zoo.create_model('repvgg_a0', norm_layer='layernorm2d', num_classes=2).eval()
    with pytest.raises(ValueError, match='Only batch normalisation .* not LayerNorm2d'):
        model.fuse()
    with pytest.raises(ValueError, match='aa_layer'):
        zoo.create_model('repvgg_a0', aa_layer='avg').fuse()
    x = torch.rand(1, 3, 64, 64)
    with torch.no_grad():
        assert zoo.evaluation.prepare(model, image_size=(3, 64, 64))(x).shape == (1, 2)
    model = zoo.create_model('test_byobnet')
    assert model.fuse() is model                                                   # nothing to fold


@pytest.mark.sweep
@torch.no_grad()
def test_optimising_and_exporting_fuse_a_copy(tmp_path):
    blocks = ['rep_r2_s2_c16', 'one_r1_s2_c16_gs1_nb2 one_r1_k1_s1_c24']
    model, x = randomize(zoo.create_model('mobileone_s1', num_classes=3, blocks=blocks)).eval(), torch.rand(1, 3, 64, 64)
    logits = model(x)
    quick = zoo.optimize(model, x, backend='eager')
    assert relative_error(quick(x), logits) < 1e-3
    zoo.export_model(model, tmp_path / 'model.onnx', img_size=64)
    import onnx
    kinds = [node.op_type for node in onnx.load(tmp_path / 'model.onnx').graph.node]
    blocks = [m for m in model.modules() if isinstance(m, Reparam)]
    assert kinds.count('Conv') == len(blocks) and not any(m.is_fused for m in blocks)


def test_timms_function_fuses_a_copy():
    from zoo.compat.utils import reparameterize_model
    model = zoo.create_model('repvgg_a0', num_classes=2, **short('repvgg_a0'))
    assert 'stem.reparam_conv.weight' in reparameterize_model(model).state_dict()
    assert 'stem.reparam_conv.weight' not in model.state_dict()
    assert reparameterize_model(model, inplace=True) is model and 'stem.reparam_conv.weight' in model.state_dict()


def test_an_optimizer_trains_a_fused_network():
    model = zoo.create_model('repvgg_a0', num_classes=2).fuse().train()
    model(torch.rand(2, 3, 64, 64)).square().sum().backward()
    assert all(p.grad is not None for p in model.parameters())


# --- networks as text


def test_a_network_of_text_is_that_of_records(tmp_path):
    blocks = ['edge_r1_s2_c32_br0.5', 'dark_r2_k5_s2_c64_br0.5_atse', 'one_r1_s2_c64_gs1_nb2 rep_r1_s1_c64']
    path = tmp_path / 'net.yaml'
    path.write_text('model: byobnet.ByobNet\nblocks:\n' + ''.join(f'  - {stage}\n' for stage in blocks)
                    + 'stem_chs: 16\nstem_pool: ""\nnum_classes: 7\ndownsample: avg\n')
    ours = zoo.build_model(path)
    records = [ByoBlockCfg('edge', 1, 32, br=0.5, gs=0),
               ByoBlockCfg('dark', 2, 64, br=0.5, gs=0, attn_layer='se', block_kwargs=dict(kernel_size=5)),
               [ByoBlockCfg('one', 1, 64, gs=1, block_kwargs=dict(num_conv_branches=2)), ByoBlockCfg('rep', 1, 64, gs=0)]]
    cfg = ByoModelCfg(blocks=records, stem_chs=16, stem_pool='', downsample='avg')
    same = ByobNet(cfg, num_classes=7)
    same.load_state_dict(ours.state_dict())
    of_timm = [[theirs_module.ByoBlockCfg(**vars(one)) for one in (r if isinstance(r, list) else [r])] for r in records]
    theirs = theirs_module.ByobNet(theirs_module.ByoModelCfg(blocks=of_timm, stem_chs=16, stem_pool='', downsample='avg'),
                                   num_classes=7)
    theirs.load_state_dict(ours.state_dict())
    x = torch.rand(2, 3, 64, 64)
    for model in (ours, same, theirs):
        model.eval()
    assert torch.equal(ours(x), same(x)) and relative_error(ours(x), theirs(x)) < 1e-5
    assert zoo.build_model(path, features_only=True)(x)[-1].shape == (2, 64, 4, 4)


@pytest.mark.parametrize('string', ['bottle_r3_s2_c512_br0.25_gs32', 'basic_r2_k5_s1_c64', 'one_r1_k1_s1_c48_nb4_atse',
                                    'rep_r1_s2_c64_gs16', 'dark_r1_s2_c64_br0.5', 'edge_r1_s1_c32_atgca'])
def test_block_strings_are_written_back(string):
    assert text(parse(string)) == string


@pytest.mark.parametrize(('options', 'error', 'words'), [
    (dict(blocks=['bottle_r1_s2_c64', 'ir_r1_k3_s2_e4_c64']), ValueError, "Stage 1: kind of block 'ir'"),
    (dict(blocks=['bottle_r1_s2_c64 bottle_r1_s2_c64']), ValueError, 'Stage 0: .* not the first of its stage'),
    (dict(blocks=['bottle_r1_s2_c64_e4']), ValueError, "takes no field 'e'"),
    (dict(blocks=['bottle_r1_s2_c64_at5']), ValueError, "'5' is no word"),
    (dict(blocks=['bottle_r1_s2_c64_atsee']), ValueError, "attn_layer 'see'.*se"),
    (dict(blocks=['bottle_r1_k3.5_s2_c64']), ValueError, 'one kernel, not 2 sizes'),
    (dict(blocks=['bottle_r1_s2_c64_gs48']), ValueError, 'Stage 0, block 0 .*64 channels do not split into groups of 48'),
    (dict(blocks=[]), ValueError, 'at least one'), (dict(blocks=[3]), TypeError, 'Stage 0 is block strings'),
    (dict(stem_type='3x5'), ValueError, "stem_type '3x5'"), (dict(stem_pool='avg3'), ValueError, "stem_pool 'avg3'"),
    (dict(head_type='linear'), ValueError, "head_type 'linear'"), (dict(downsample='max'), ValueError, "downsample 'max'"),
    (dict(block_kwargs=dict(inference_mode=True)), TypeError, 'none of the blocks takes inference_mode'),
    (dict(output_stride=4), ValueError, '8, 16 or 32, not 4'), (dict(stem_width=3), TypeError, 'stem_width'),
])
def test_what_makes_no_network_is_said(options, error, words):
    with pytest.raises(error, match=words):
        on_meta('test_byobnet', **options)


def test_kinds_of_one_notation_are_for_one_network():
    with pytest.raises(ValueError, match=r'Stage 0, block 0 \(rep\): such blocks are of other networks'):
        zoo.build_model(['rep_r1_s2_c16'])
    assert {*BLOCKS, *SELF_ATTENTIONS} - {'self_attn'} <= {*zoo.blocks.BLOCK_KINDS}
    with pytest.raises(ValueError, match='repvgg_a0 is not made of block strings, whose'):
        zoo.scale_model('repvgg_a0', 1.0)


# --- CLIP


@torch.no_grad()
def test_pooling_by_attention_takes_any_size_and_is_fitted_to_one():
    model = randomize(on_meta('resnet50_clip', num_classes=5).to_empty(device='cpu')).eval()
    assert model.pool_layer.ref_feat_size == (7, 7) and model.img_size == (224, 224)
    x = torch.rand(1, 3, 160, 96)
    logits = model(x)
    model.set_input_size((160, 96))
    assert model.head.pos_embed.shape == (1 + 5 * 3, 2048) and relative_error(model(x), logits) < 1e-5
    again = zoo.create_model('resnet50_clip', num_classes=5, img_size=(160, 96),
                             pretrained={k: v for k, v in model.state_dict().items()})
    assert torch.equal(again.eval()(x), model(x))
    assert model.forward_head(model.forward_features(x), pre_logits=True).shape == (1, 2048)
    with pytest.raises(ValueError, match="pools by attention: global_pool 'avg'"):
        model.reset_classifier(3, 'avg')
    model.reset_classifier(0, '')
    assert torch.equal(model(x), model.forward_features(x))


def test_odd_sizes_where_timms_fails():
    x = torch.rand(1, 3, 75, 90)
    with torch.no_grad(), pytest.raises(RuntimeError):
        theirs_module.resnet50_clip_gap().eval()(x)
    model = zoo.create_model('resnet50_clip_gap', features_only=True, blocks=['bottle_r1_s1_c64', 'bottle_r1_s2_c64'])
    assert [m.shape[2:] for m in model(x)] == [(38, 45), (19, 23), (10, 12)]


@pytest.mark.sweep
@pytest.mark.parametrize('name, size, other', [
    ('repvgg_a0', 64, (96, 75)), ('test_byobnet', 64, (96, 75)), ('resnext26ts', 64, (96, 75)),
    ('resnet50_clip', 224, (96, 75)),
    pytest.param('bat_resnext26ts', 264, (288, 300), marks=pytest.mark.slow),                 # from several blocks a side on
])
@torch.no_grad()
def test_graphs_take_other_sizes(name, size, other):
    model, x = randomize(zoo.create_model(name, num_classes=3)).eval(), torch.rand(2, 3, *other)
    program = capture(model, torch.rand(2, 3, size, size), ('batch', 'height', 'width')).module()
    assert relative_error(program(x), model(x)) < 1e-5
    assert torch.equal(torch.compile(model, fullgraph=True, backend='eager')(x), model(x))


@pytest.mark.parametrize('name', ['repvgg_a0', 'test_byobnet', 'resnet61q', 'bat_resnext26ts'])
@torch.no_grad()
def test_networks_are_traced(name):
    model, x = randomize(zoo.create_model(name, num_classes=3, **short(name))).eval(), torch.rand(1, 3, 65, 96)
    assert torch.equal(symbolic_trace(model)(x), model(x))
