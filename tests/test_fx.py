"""torch.fx and TorchScript, over the structures of the registry."""
from __future__ import annotations

import pytest
import torch
from torch.fx import symbolic_trace
from torchvision.models.feature_extraction import create_feature_extractor

from beside_timm import on_meta
from structures import STRUCTURES, classes, in_turn, short, takes
from test_export import network
from test_features import give_weights

ANY_SIZE = [name for name in STRUCTURES if not takes(name, 'img_size')]             # what needs no size can be traced
FITTED = [name for name in STRUCTURES if name not in ANY_SIZE]


def images(*size: int) -> torch.Tensor:
    return torch.rand(size, generator=torch.Generator().manual_seed(3)) * 2 - 1


@pytest.mark.parametrize('name', in_turn(ANY_SIZE))
@torch.inference_mode()
def test_traces_and_torchvisions_extractor_give_the_networks_own_logits_and_maps(name):
    model, x = give_weights(on_meta(name, **short(name))), images(1, 3, 33, 48)
    assert torch.equal(symbolic_trace(model)(x), model(x))
    there = dict(model.named_modules())                          # a branch's map may come out of no submodule
    nodes = {f['module']: str(i) for i, f in enumerate(model.feature_info) if f['module'] in there and 'part' not in f}
    if nodes:
        maps, expected = create_feature_extractor(model, nodes)(x), model.forward_intermediates(x, intermediates_only=True)
        for number, one in enumerate(expected):
            found = maps.get(str(number), one)
            assert torch.equal(found if found.shape == one.shape else found.permute(0, 3, 1, 2), one)   # channels last
    backbone = on_meta(name, features_only=True, out_indices=(1, 0), **short(name)).eval()
    assert len(symbolic_trace(backbone)(x.to('meta'))) == 2


@pytest.mark.parametrize('name', ['tf_efficientnet_lite0', 'mobilenetv3_small_050', 'efficientnet_cc_b0_4e'])
def test_a_traced_network_trains_with_stochastic_depth(name):
    model = network(name, drop_path_rate=0.5).train()
    traced, x = symbolic_trace(model), images(4, 3, 64, 64)
    results = []
    for module in (traced, model):
        torch.manual_seed(0)
        results.append(module(x))
    assert torch.equal(*results)
    results[0].square().mean().backward()
    assert model.conv_stem.weight.grad.abs().sum() > 0


@pytest.mark.parametrize('name', [ANY_SIZE[0], FITTED[0]])
def test_script_says_what_to_use_and_a_trace_is_the_network(name):
    model, x = network(name), images(1, 3, 64, 64)
    for module in (model, on_meta(name, features_only=True)):
        with pytest.raises(NotImplementedError, match=r'torch.export.export\(model, \(images,\)\)'):
            torch.jit.script(module)
    with torch.inference_mode():
        assert torch.equal(torch.jit.trace(model, x)(x), model(x))


@pytest.mark.parametrize('name', in_turn([*STRUCTURES]))
def test_no_image_and_no_pixels(name):
    model = on_meta(name, **classes(name, 5), **short(name)).to_empty(device='cpu').eval()
    model.set_input_size(32)
    for module in model.modules():
        if hasattr(module, 'reset_constants'):
            module.reset_constants()
    assert model(torch.empty(0, 3, 32, 32)).shape == (0, *model(torch.zeros(1, 3, 32, 32)).shape[1:])
    for size in ((0, 0), (0, 64), (64, 0)):
        with pytest.raises(ValueError, match='An image without pixels'):
            model(torch.empty(1, 3, *size))
