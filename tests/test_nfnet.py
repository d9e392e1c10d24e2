"""NFNet beside timm's: every option, the variance each block expects, its layers, fresh weights."""
from __future__ import annotations

from functools import partial

import pytest
import timm.layers
import timm.models.nfnet as theirs_module
import torch
from beside_timm import compare_options, of_timm, on_meta
from conftest import randomize, relative_error
from torch import nn

import zoo
from zoo.layers import std_conv
from zoo.layers.channel_attention import SEModule
from zoo.models import nfnet

SMALL = dict(depths=(1, 2, 2, 1), channels=(16, 24, 32, 48), group_size=4, stem_chs=32, num_features=40)
OPTIONS = [
    {}, dict(num_classes=0), dict(num_classes=0, global_pool=''), dict(in_chans=1), dict(in_chans=5),
    dict(global_pool='max'), dict(global_pool='catavgmax'), dict(output_stride=8), dict(output_stride=16),
    dict(alpha=0.5), *(dict(stem_type=kind) for kind in nfnet.STEMS), dict(stem_type='3x3', output_stride=8),
    dict(stem_chs=None),
    dict(group_size=None), dict(attn_layer=None), dict(attn_layer='eca', attn_kwargs={}), dict(attn_gain=1.5),
    dict(width_factor=1.7, ch_div=4), dict(bottle_ratio=0.5), dict(num_features=0), dict(extra_conv=False),
    dict(reg=True), dict(reg=True, bottle_ratio=2.25, attn_layer='eca', attn_kwargs={}),
    dict(reg=True, attn_layer=None),
    dict(gamma_in_act=True), dict(gamma_in_act=True, same_padding=True, skipinit=True, act_layer='gelu', reg=True),
    dict(gamma_in_act=True, stem_type='7x7_pool', act_layer='tanh', num_features=0),
    dict(same_padding=True, output_stride=8),
    dict(std_conv_eps=0.1), dict(skipinit=True), dict(zero_init_fc=True), dict(act_layer='leaky_relu'),
    dict(drop_rate=0.1, drop_path_rate=0.2),
]


@pytest.mark.parametrize('options', OPTIONS, ids=str)
def test_options_equal_timms(options):
    ours, theirs = compare_options('test_nfnet', **SMALL | options)
    rates = [[getattr(block.drop_path, 'drop_prob', 0) for stage in m.stages for block in stage]
             for m in (ours, theirs)]
    assert rates[0] == pytest.approx(rates[1])
    image = torch.rand(1, options.get('in_chans', 3), 93, 70, dtype=torch.float64)
    maps = [m.eval().forward_intermediates(image, intermediates_only=True) for m in (ours, theirs)]
    assert all(relative_error(a, b) < 1e-5 for a, b in zip(*maps, strict=True))


@pytest.mark.parametrize('name', ['dm_nfnet_f6', 'nfnet_f7', 'eca_nfnet_l3', 'nf_regnet_b5', 'nf_resnet101'])
def test_every_block_of_a_deep_network_expects_the_variance_that_timms_does(name):
    with torch.device('meta'):
        theirs = of_timm(name)
    found = [[block.beta for stage in m.stages for block in stage] for m in (on_meta(name), theirs)]
    assert found[0] == pytest.approx(found[1]) and len(found[0]) > 20


@pytest.mark.parametrize('kind', ['ScaledStdConv2d', 'ScaledStdConv2dSame'])
@pytest.mark.parametrize('options', [{}, dict(stride=2), dict(groups=2, bias=False, gamma=1.7), dict(
    dilation=2, eps=1e-2, gain_init=0.5)], ids=str)
def test_scaled_convolutions_equal_timms(kind, options):
    ours, theirs = (getattr(module, kind)(4, 6, 3, **options).double() for module in (std_conv, timm.layers))
    assert torch.equal(ours.gain, theirs.gain)
    ours.load_state_dict(randomize(theirs).state_dict())
    x = torch.rand(2, 4, 11, 10, dtype=torch.float64)
    outputs = [layer(x) for layer in (ours, theirs)]
    assert relative_error(*outputs) < 1e-6
    for output in outputs:
        output.square().sum().backward()
    for name, parameter in ours.named_parameters():
        assert relative_error(parameter.grad, dict(theirs.named_parameters())[name].grad) < 1e-6, name


@pytest.mark.parametrize('options', [
    {}, dict(reg=False), dict(out_chs=48, stride=2), dict(out_chs=48, dilation=4, first_dilation=2, extra_conv=True),
    dict(group_size=4), dict(group_size=6, ch_div=3, bottle_ratio=0.6), dict(alpha=0.3, beta=0.7, skipinit=True),
], ids=str)
def test_blocks_are_built_as_timms(options):
    given = dict(act_layer=nn.SiLU, attn_layer=timm.layers.SEModule) | options
    ours, theirs = (module.NormFreeBlock(32, **given).double() for module in (nfnet, theirs_module))
    ours.load_state_dict(randomize(theirs).state_dict())
    x = torch.rand(2, 32, 11, 9, dtype=torch.float64) - 0.5
    before = x.clone()
    assert relative_error(ours(x), theirs(x)) < 1e-5 and torch.equal(x, before)


def test_scaled_activations_equal_timms():
    x = torch.randn(2, 3, 4, 4)
    for name in ('gelu', 'silu'):
        ours, theirs = (module.act_with_gamma(name, 1.7)(inplace=False) for module in (nfnet, theirs_module))
        assert torch.allclose(ours(x), theirs(x))
    assert nfnet.GAMMAS.items() <= theirs_module._nonlin_gamma.items()


@pytest.mark.parametrize('options', [{}, dict(skipinit=True)], ids=str)
def test_a_fresh_block_gives_its_shortcut(options):
    model = zoo.create_model('test_nfnet', **SMALL | options).eval()
    x = torch.rand(1, 24, 5, 5)
    with torch.no_grad():
        assert torch.equal(model.stages[1][1](x), x)
        for parameter in model.parameters():
            parameter.fill_(1.0)
        model.init_weights()
        assert torch.equal(model.stages[1][1](x), x)
        assert model.stages[1][1].conv1.gain.eq(1).all()
        assert model.head.fc.weight.std().item() == pytest.approx(0.01, rel=0.1)


def test_a_fresh_classifier_may_be_zero():
    model = zoo.create_model('test_nfnet', zero_init_fc=True, **SMALL)
    assert model.head.fc.weight.eq(0).all()
    model.reset_classifier(3)
    assert model.head.fc.weight.eq(0).all() and model.head.fc.weight.shape == (3, 40)


def test_a_record_makes_the_network_as_its_fields_do():
    cfg = nfnet.NfCfg(depths=(1, 1), channels=(16, 32), act_layer='relu')
    model = nfnet.NormFreeNet(cfg, num_classes=3, alpha=0.3)
    assert model.stages[1][0].alpha == 0.3 and isinstance(model.stages[0][0].act1, nn.ReLU)
    assert [feature['reduction'] for feature in model.feature_info] == [2, 4, 8]
    assert model(torch.rand(1, 3, 32, 32)).shape == (1, 3)


@pytest.mark.parametrize('options, words', [
    (dict(act_layer='mish'), "act_layer 'mish'"), (dict(act_layer=nn.ReLU), 'act_layer .*ReLU'),
    (dict(stem_type='deep_quad_pool'), "stem_type 'deep_quad_pool'.*'deep_quad'"),
    (dict(depths=(1, 1)), 'depths 2, channels 4'),
    (dict(group_size=64), 'Groups of 64 channels are larger than a block that has 8'),
    (dict(output_stride=4), 'output_stride is 8, 16 or 32, not 4'), (dict(attn_layer='sse'), "attn_layer 'sse'"),
], ids=str)
def test_what_makes_no_such_network_is_said(options, words):
    with pytest.raises(ValueError, match=words):
        zoo.create_model('test_nfnet', **SMALL | options)


def test_gates_of_the_callers_own():
    model = zoo.create_model('test_nfnet', attn_layer=partial(SEModule, rd_ratio=0.5), attn_kwargs=None, **SMALL)
    assert model.stages[0][0].attn_last.fc1.out_channels == 8
