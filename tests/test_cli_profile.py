"""What a network costs, against fvcore and torch's counter run on real numbers."""
from __future__ import annotations

import logging

import pytest
import timm
import torch
from fvcore.nn import ActivationCountAnalysis
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

import zoo

# plain, conditional and mixed convolutions; attention of its own and fused; ours are held against these by name
PEERS = ['efficientnet_b0', 'efficientnet_cc_b0_4e', 'mixnet_s', 'tf_efficientnet_es', 'mobilenetv4_hybrid_medium',
         'efficientformer_l1', 'vit_tiny_patch16_224']


def counted(model: nn.Module, size: tuple[int, int, int]) -> tuple[float, float]:
    """Multiply-adds and activations by the two peers, from a real run. Not every PyTorch counts inside a CPU's fused
    attention, so that it is not fused here."""
    logging.getLogger('fvcore').setLevel(logging.ERROR)
    image = torch.zeros(1, *size)
    with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as flops:
        model.eval()(image)
    return flops.get_total_flops() / 2e9, ActivationCountAnalysis(model, image).unsupported_ops_warnings(False).total() / 1e6


@pytest.mark.in_turn
@pytest.mark.parametrize('name', PEERS)
def test_counts_equal_the_peers(name: str) -> None:
    model = timm.create_model(name)
    cost = zoo.profile(model)
    assert cost.input_size == model.pretrained_cfg['input_size']
    assert (cost.gmacs, cost.macts) == pytest.approx(counted(model, cost.input_size), rel=1e-12)
    assert cost.params == sum(p.numel() for p in model.parameters())


@pytest.mark.parametrize('name', ['efficientnet_b0', 'tf_efficientnet_b1', 'efficientnet_cc_b0_4e', 'mixnet_s'])
def test_our_networks_cost_what_the_peers_do(name: str) -> None:
    ours, theirs = zoo.profile(zoo.create_model(name)), zoo.profile(timm.create_model(name))
    assert ours == theirs


def test_the_model_is_left_as_it_was() -> None:
    model = zoo.create_model('mobilenetv2_035').train()
    model.bn1.eval()
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    zoo.profile(model, 64)
    assert model.training and not model.bn1.training
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert all(not p.is_meta for p in model.parameters())


def test_the_device_makes_no_difference() -> None:
    with torch.device('meta'):
        weightless = zoo.create_model('efficientnet_b0')
    assert zoo.profile(weightless) == zoo.profile(zoo.create_model('efficientnet_b0'))


def test_input_sizes() -> None:
    model = zoo.create_model('mobilenetv2_035', in_chans=1)
    side, full = zoo.profile(model, 96), zoo.profile(model, (1, 96, 96))
    assert side == full and side.input_size == (1, 96, 96)
    assert zoo.profile(model).input_size == (1, 224, 224)
    assert zoo.profile(model, 192).gmacs > 3.5 * side.gmacs
    plain = nn.Conv2d(3, 8, 3)
    with pytest.raises(ValueError, match='input size'):
        zoo.profile(plain)
    assert zoo.profile(plain, (3, 10, 10)).macts == 8 * 8 * 8 / 1e6
