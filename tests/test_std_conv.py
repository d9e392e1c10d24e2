"""Standardised kernels are computed once where weights stand still: by `fuse`, optimizing and export."""
from __future__ import annotations

from pathlib import Path

import pytest
import torch
from conftest import randomize, relative_error

import zoo
from zoo.contract import ImageModel
from zoo.layers import std_conv
from zoo.layers.reparam import Reparam
from zoo.optimizing.backends import Prepared
from zoo.pretrained.adapt import load_into
from zoo.spec import Misfit

SHORT = dict(
    resnetv2_50=dict(layers=(1, 1, 1, 1), channels=(128, 128, 256, 256), stem_chs=32),
    nfnet_l0=dict(depths=(1, 1, 1, 1), channels=(16, 32, 48, 64), stem_chs=16, group_size=8, num_features=64))
NETWORKS = dict(resnetv2_50_bit=('resnetv2_50x1_bit', SHORT['resnetv2_50']), nfnet=('nfnet_l0', SHORT['nfnet_l0']),
                padded=('dm_nfnet_f0', SHORT['nfnet_l0']))
IMAGE = torch.rand(2, 3, 64, 64, generator=torch.Generator().manual_seed(5))


@pytest.mark.parametrize('kind', ['StdConv2d', 'StdConv2dSame', 'ScaledStdConv2d', 'ScaledStdConv2dSame'])
@pytest.mark.parametrize('options', [{}, dict(stride=2, groups=2, bias=True), dict(dilation=2, bias=False)], ids=str)
@torch.no_grad()
def test_a_fused_layer_is_a_plain_convolution(kind: str, options: dict[str, int]) -> None:
    layer = randomize(getattr(std_conv, kind)(4, 6, 3, eps=1e-2, **options))
    x = torch.rand(2, 4, 9, 8)
    expected, names, biased = layer(x), [*layer.state_dict()], layer.bias is not None
    layer.reparameterize()
    layer.reparameterize()                                                          # a second time, nothing
    assert layer.is_fused and torch.equal(layer(x), expected)
    assert [*layer.state_dict()] == [f'reparam_conv.{name}' for name in ['weight', 'bias'][:1 + biased]]
    assert type(layer.reparam_conv) is torch.nn.Conv2d and 'weight' in names


@pytest.mark.parametrize('case', NETWORKS)
def test_fused_networks_give_the_same_and_their_weights_load(case: str) -> None:
    name, options = NETWORKS[case]
    model = randomize(zoo.create_model(name, num_classes=5, **options)).eval()
    given = {key: value.clone() for key, value in model.state_dict().items()}
    with torch.no_grad():
        logits = model(IMAGE)
        assert model.fuse() is model and relative_error(model(IMAGE), logits) < 1e-6
        fused = model.state_dict()
        layers = sum(isinstance(m, Reparam) for m in model.modules())
        assert sum(key.endswith('reparam_conv.weight') for key in fused) == layers
        again = zoo.create_model(name, num_classes=5, pretrained=fused, **options).eval()
        assert torch.equal(again(IMAGE), model(IMAGE))
    with pytest.raises(Misfit, match='unexpected'):                             # there is no way back
        load_into(again, given, zoo.get_pretrained_cfg(name).replace(num_classes=5))
    again.train()(IMAGE).square().sum().backward()                              # it trains as a plain network
    assert all(p.grad is not None for p in again.parameters() if p.requires_grad)
    again.init_weights()
    assert again.eval()(IMAGE).isfinite().all()


@torch.no_grad()
def test_normalisations_fold_into_what_was_standardised() -> None:
    model = randomize(zoo.create_model('resnetv2_50', conv_layer='std_conv2d', norm_layer='batchnorm2d', preact=False,
                                       num_classes=5, **SHORT['resnetv2_50'])).eval()
    ready = zoo.evaluation.prepare(model, image_size=(3, 64, 64))
    assert relative_error(ready(IMAGE), model(IMAGE)) < 1e-5
    assert not any(isinstance(m, torch.nn.BatchNorm2d) for m in ready.modules())
    assert not any(m.is_fused for m in model.modules() if isinstance(m, Reparam))              # it was a copy


def of_nfnet() -> ImageModel:
    name, options = NETWORKS['nfnet']
    return randomize(zoo.create_model(name, num_classes=5, **options)).eval()


@torch.no_grad()
def test_optimising_standardises_once() -> None:
    model = of_nfnet()
    ready = Prepared(model, IMAGE).folded
    assert relative_error(ready(IMAGE), model(IMAGE)) < 1e-5
    assert all(m.is_fused for m in ready.modules() if isinstance(m, Reparam))


@pytest.mark.sweep
def test_exporting_standardises_once(tmp_path: Path) -> None:
    import onnx
    zoo.export_model(of_nfnet(), tmp_path / 'model.onnx', img_size=64)
    kinds = {node.op_type for node in onnx.load(tmp_path / 'model.onnx').graph.node}
    assert 'Conv' in kinds and not kinds & {'GroupNormalization', 'LayerNormalization', 'InstanceNormalization'}
