"""Checkpoints of other libraries: recognised by content, converted both ways, and refused where they would mislead."""
from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torchvision.models as tv
from conftest import randomize
from torch import nn

import timm
import zoo
from zoo.pretrained.foreign import layouts
from zoo.pretrained.foreign.layout import OUTSIDE, NamedLayout


def on_meta(name: str, **options: Any) -> nn.Module:
    with torch.device('meta'):
        return zoo.create_model(name, **options)


def theirs(name: str, **options: Any) -> nn.Module:
    """A network of torchvision with random weights and statistics."""
    with torch.device('meta'):
        model = getattr(tv, name)(num_classes=5, **options)
    return randomize(model.to_empty(device='cpu')).eval()


def largest_difference(ours: nn.Module, peer: nn.Module) -> float:
    worst = 0.0
    for size in ((64, 64), (75, 98)):                                        # odd sizes: padding shows
        image = torch.rand(2, 3, *size, generator=torch.Generator().manual_seed(1)) * 2 - 1
        with torch.no_grad():
            worst = max(worst, (ours.eval()(image) - peer(image)).abs().max().item())
            assert peer(image).std() > 0.01
    return worst


TORCHVISION = {
    'efficientnet_b0': 'efficientnet_b0', 'efficientnet_b2': 'efficientnet_b2', 'efficientnet_b5': 'efficientnet_b5',
    'efficientnet_v2_s': 'efficientnetv2_s', 'mobilenet_v2': 'mobilenetv2_100',
    'mobilenet_v3_large': 'mobilenetv3_large_100', 'mobilenet_v3_small': 'mobilenetv3_small_100',
    'mnasnet0_5': 'mnasnet_050', 'mnasnet0_75': 'mnasnet_075', 'mnasnet1_0': 'mnasnet_100', 'mnasnet1_3': 'mnasnet_100',
}
TORCHVISION_LARGE = {f'efficientnet_b{i}': f'efficientnet_b{i}' for i in (1, 3, 4, 6, 7)} | {
    'efficientnet_v2_m': 'efficientnetv2_m', 'efficientnet_v2_l': 'efficientnetv2_l'}


@pytest.mark.in_turn
@pytest.mark.parametrize('name', [*TORCHVISION, *(pytest.param(n, marks=pytest.mark.slow) for n in TORCHVISION_LARGE)])
def test_torchvisions_networks_convert_both_ways(name: str, tmp_path: Path) -> None:
    peer = theirs(name)
    torch.save(peer.state_dict(), tmp_path / 'weights.pth')
    found = zoo.convert(tmp_path / 'weights.pth')
    assert found.architecture == (TORCHVISION | TORCHVISION_LARGE)[name] and found.source.startswith('torchvision ')
    ours = zoo.create_model(found.architecture, pretrained=found.state, num_classes=5, **found.arguments)
    assert largest_difference(ours, peer) <= 1e-5
    norms = [{(m.eps, round(m.momentum, 6)) for m in model.modules() if isinstance(m, nn.BatchNorm2d)}
             for model in (ours, peer)]
    assert norms[0] == norms[1]
    direct = zoo.create_model(found.architecture, checkpoint_path=tmp_path / 'weights.pth', num_classes=5,
                              **found.arguments)
    assert largest_difference(direct, peer) <= 1e-5

    randomize(ours, seed=3)
    back = zoo.convert(ours.state_dict(), 'torchvision')
    assert back.architecture == found.architecture and back.target == found.source
    peer.load_state_dict(back.state)
    assert largest_difference(ours, peer) <= 1e-5


@pytest.mark.parametrize('name, options, target', [
    ('mobilenet_v2', dict(width_mult=0.35), 'mobilenetv2_035'),
    ('mobilenet_v2', dict(width_mult=1.4), 'mobilenetv2_140')])
def test_other_widths_load_where_there_is_a_network_of_that_shape(name: str, options: dict, target: str) -> None:
    peer = theirs(name, **options)
    found = zoo.convert(peer.state_dict())
    assert found.architecture is None
    ours = zoo.create_model(target, pretrained=found.state, num_classes=5, **found.arguments)
    assert largest_difference(ours, peer) <= 1e-5


def layout(name: str) -> Any:
    return next(each for each in layouts() if each.name == name)


@pytest.mark.in_turn
@pytest.mark.parametrize('name', [each.name for each in layouts() if isinstance(each, NamedLayout)])
def test_the_sizes_of_known_networks_are_theirs(name: str) -> None:
    for size, (architecture, arguments) in layout(name).known.items():
        with torch.device('meta'):
            ours = zoo.is_model(architecture)
            model = zoo.create_model(architecture, **arguments) if ours else timm.create_model(architecture)
        state = model.state_dict()
        assert size == sum(value.numel() for key, value in state.items()
                           if value.is_floating_point() and key.rpartition('.')[0] not in OUTSIDE), architecture


@pytest.mark.parametrize('target', ['transformers', 'EfficientNet-PyTorch'])
@pytest.mark.parametrize('name', ['tf_efficientnet_b0', 'tf_efficientnet_b1'])
def test_there_and_back(name: str, target: str) -> None:
    state = randomize(zoo.create_model(name)).state_dict()
    there = zoo.convert(state, target)
    back = zoo.convert(there.state)
    assert (back.source, back.architecture) == (there.target, name)
    assert back.state.keys() == state.keys() and all(torch.equal(back.state[key], state[key]) for key in state)
    plain = {key.removeprefix('efficientnet.'): value for key, value in there.state.items()}
    assert zoo.convert(plain).state.keys() == state.keys()
    shuffled = dict(sorted(there.state.items(), key=lambda item: item[0][::-1]))    # files need not keep the order
    assert zoo.convert(shuffled).state.keys() == state.keys()
    across = zoo.convert(there.state, 'transformers' if target != 'transformers' else 'EfficientNet-PyTorch')
    assert zoo.convert(across.state).state.keys() == state.keys()


def test_our_own_layout_stays_as_it_is() -> None:
    state = zoo.create_model('test_efficientnet').state_dict()
    found = zoo.convert(state)
    assert (found.source, found.target, found.architecture, found.arguments) == ('zoo', 'zoo', None, {})
    assert found.state.keys() == state.keys()


B0, PYTORCH = 'efficientnet_b0', 'EfficientNet-PyTorch'
MISLEADING = {
    'transformers': (f'tf_{B0}', 'transformers', B0, {}, [f"'tf_{B0}'", 'eps 0.001']),
    'lukemelas': (f'tf_{B0}', PYTORCH, B0, {}, [f"create_model('tf_{B0}')"]),
    'eps alone': (f'tf_{B0}', PYTORCH, B0, dict(bn_eps=1e-3), ["pad_type='same'"]),
    'lite': ('tf_efficientnet_lite0', PYTORCH, 'efficientnet_lite0', {}, ["'tf_efficientnet_lite0'"]),
    'torchvision': ('efficientnet_b5', 'torchvision', 'efficientnet_b5', {}, ["'efficientnet_b5', bn_eps=0.001"]),
    'torchvision, padding': (B0, 'torchvision', f'tf_{B0}', {}, [f"create_model('{B0}')"]),
    'torchvision MobileNetV3': ('mobilenetv3_small_100', 'torchvision', 'mobilenetv3_small_100', {}, ['bn_eps=0.001']),
}


@pytest.mark.parametrize('case', MISLEADING)
def test_what_would_load_and_mislead_is_refused(case: str) -> None:
    name, target, loaded, options, words = MISLEADING[case]
    state = zoo.convert(zoo.create_model(name).state_dict(), target).state
    with pytest.raises(ValueError) as caught:
        zoo.create_model(loaded, pretrained=state, **options)
    for word in words:
        assert word in str(caught.value)


def test_settings_that_match_are_accepted() -> None:
    peer = randomize(timm.create_model('tf_efficientnet_b0', num_classes=5)).eval()
    state = zoo.convert(peer.state_dict(), 'EfficientNet-PyTorch').state
    for options in (dict(model_name='tf_efficientnet_b0'),
                    dict(model_name='efficientnet_b0', bn_eps=1e-3, pad_type='same')):
        ours = zoo.create_model(pretrained=state, num_classes=5, **options)
        assert largest_difference(ours, peer) <= 1e-5


def test_a_checkpoint_of_another_size_is_named() -> None:
    state = zoo.convert(zoo.create_model('tf_efficientnet_b1').state_dict(), 'EfficientNet-PyTorch').state
    with pytest.raises(ValueError, match='EfficientNet-PyTorch, of tf_efficientnet_b1'):
        zoo.create_model('tf_efficientnet_b0', pretrained=state)


@pytest.mark.parametrize('name, target, word', [
    ('test_efficientnet', 'transformer', "'transformers'"), ('mobilenetv4_conv_small_035', 'torchvision', 'no place'),
    ('efficientnet_lite0', 'torchvision', 'Several layouts'), ('efficientnet_es', 'transformers', 'no place')])
def test_what_has_no_place_in_a_layout_is_refused(name: str, target: str, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        zoo.convert(on_meta(name).state_dict(), target)


def test_what_is_no_checkpoint_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match='state dict'):
        zoo.convert({'epoch': 3})
    with pytest.raises(FileNotFoundError):
        zoo.convert(tmp_path / 'nothing.pth')


@pytest.mark.parametrize('name', ['efficientformer_l1', 'efficientformer_l3'])
def test_efficientformers_original_layout_is_the_one_that_timm_reads(name: str) -> None:
    peer = randomize(timm.create_model(name))
    state = peer.state_dict()
    there = zoo.convert(state, 'snap-research')
    assert there.target == 'snap-research EfficientFormer' and there.architecture == name
    theirs_back = timm.models.efficientformer.checkpoint_filter_fn(dict(there.state), peer)
    back = zoo.convert(there.state)
    assert back.architecture == name and back.source == there.target
    for found in (theirs_back, back.state):
        assert found.keys() == state.keys() and all(torch.equal(found[key], state[key]) for key in state)


@pytest.mark.parametrize('name', ['efficientformerv2_s0', 'efficientformerv2_l'])
def test_efficientformer_v2_there_and_back(name: str) -> None:
    state = randomize(timm.create_model(name)).state_dict()
    there = zoo.convert(state, 'snap-research')
    for key in ('patch_embed.3.weight', 'network.0.0.mlp.mid_norm.running_var', 'network.3.proj.weight',
                'network.5.attn.q.local.0.bias', 'network.5.attn.q.proj.1.weight', 'network.5.attn.proj.2.bias',
                'network.5.conv.weight', 'network.5.bn.bias', 'dist_head.weight'):
        assert key in there.state
    last = max(int(key.split('.')[2]) for key in there.state if key.startswith('network.6.'))
    for key in ('token_mixer.q.0.weight', 'token_mixer.v_local.1.bias', 'token_mixer.proj.1.weight',
                'token_mixer.talking_head2.weight', 'token_mixer.attention_biases', 'mlp.norm1.weight'):
        assert f'network.6.{last}.{key}' in there.state
    assert there.state[f'network.6.{last}.layer_scale_1'].shape[1:] == (1, 1)
    offsets = torch.zeros(49, 49, dtype=torch.long)                           # which ours work out themselves
    back = zoo.convert({**there.state, f'network.6.{last}.token_mixer.attention_bias_idxs': offsets})
    assert (back.architecture, back.source) == (name, 'snap-research EfficientFormerV2')
    assert back.state.keys() == state.keys() and all(torch.equal(back.state[key], state[key]) for key in state)
