"""Files of weights: every kind is read to the same tensors, nothing in them is executed, damage is named."""
from __future__ import annotations

import argparse
import json
import os
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from zoo.pretrained import locate, read_state_dict
from zoo.spec import PretrainedCfg


def tensors() -> dict[str, torch.Tensor]:
    torch.manual_seed(0)
    return {
        'conv.weight': torch.randn(8, 3, 3, 3),
        'half': torch.randn(5).half(),
        'brain': torch.randn(2, 3).bfloat16(),
        'count': torch.tensor(7),
        'flags': torch.tensor([True, False]),
        'none': torch.empty(0, 4),
    }


def write(path: Path, state: dict[str, torch.Tensor], kind: str) -> Path:
    if kind == 'safetensors':
        safetensors.torch.save_file(state, path)
    else:
        torch.save(state, path, _use_new_zipfile_serialization=kind == 'zip')
    return path


def same(ours: dict[str, torch.Tensor], expected: dict[str, torch.Tensor]) -> bool:
    return ours.keys() == expected.keys() and all(
        ours[k].dtype == v.dtype and ours[k].shape == v.shape and torch.equal(ours[k], v) for k, v in expected.items())


@pytest.mark.parametrize('kind', ['safetensors', 'zip', 'legacy'])
def test_reads_by_content_into_memory_of_its_own(kind: str, tmp_path: Path) -> None:
    path = write(tmp_path / 'weights.unknown', tensors(), kind)
    state = read_state_dict(path)
    assert same(state, tensors())
    storages = {v.untyped_storage().data_ptr(): v.untyped_storage().nbytes() for v in state.values() if v.numel()}
    assert list(storages.values()) == [v.nbytes for v in state.values() if v.numel()]
    path.write_bytes(b'\0' * path.stat().st_size)              # a mapped file would show through
    os.truncate(path, 0)
    assert same(state, tensors())
    state['conv.weight'].add_(1)


@pytest.mark.parametrize('kind', ['safetensors', 'zip'])
def test_views_of_a_larger_tensor_are_cut_out(kind: str, tmp_path: Path) -> None:
    whole = torch.arange(600.).view(20, 30)
    state = {'row': whole[3], 'turned': whole[:5].t()}
    if kind == 'safetensors':
        state = {k: v.contiguous() for k, v in state.items()}
    read = read_state_dict(write(tmp_path / 'x', state, kind))
    assert same(read, {'row': whole[3], 'turned': whole[:5].t()})
    assert all(v.is_contiguous() and v.untyped_storage().nbytes() == v.nbytes for v in read.values())


def test_shards_are_put_together(tmp_path: Path) -> None:
    state, names = tensors(), {}
    for number, (key, value) in enumerate(state.items()):
        names[key] = f'model-{number}.safetensors'
        safetensors.torch.save_file({key: value}, tmp_path / names[key])
    index = tmp_path / 'model.safetensors.index.json'
    index.write_text(json.dumps({'weight_map': names}))
    assert same(read_state_dict(index), state)
    found = locate(PretrainedCfg(architecture='net'), tmp_path)
    assert found.path == index


@pytest.mark.parametrize('wrap', [
    lambda s: {'state_dict': s, 'epoch': 3, 'optimizer': {'state': {0: torch.zeros(1)}}},
    lambda s: {'model': s, 'args': argparse.Namespace(lr=0.1, name='x')},
    lambda s: {'model': {'state_dict': s}},
    lambda s: {'module.' + k: v for k, v in s.items()},
    lambda s: {'state_dict': {'_orig_mod.module.' + k: v for k, v in s.items()}},
    lambda s: {'state_dict': {'model.' + k: v for k, v in s.items()}},
    lambda s: {k: torch.nn.Parameter(v, False) for k, v in s.items()},
])
def test_finds_the_state_dict_in_what_programs_save(wrap: Any, tmp_path: Path) -> None:
    torch.save(wrap(tensors()), tmp_path / 'checkpoint.pth.tar')
    assert same(read_state_dict(tmp_path / 'checkpoint.pth.tar'), tensors())


@pytest.mark.parametrize('key', ['state_dict_ema', 'model_ema'])
def test_takes_averaged_weights_unless_told_otherwise(key: str, tmp_path: Path) -> None:
    averaged = {k: v + 1 if v.is_floating_point() else v for k, v in tensors().items()}
    torch.save({'state_dict': tensors(), key: averaged}, tmp_path / 'x.pth')
    assert same(read_state_dict(tmp_path / 'x.pth'), averaged)
    assert same(read_state_dict(tmp_path / 'x.pth', use_ema=False), tensors())


def test_a_prefix_that_not_all_keys_have_stays(tmp_path: Path) -> None:
    state = {'model.weight': torch.zeros(1), 'head.weight': torch.ones(1)}
    assert same(read_state_dict(write(tmp_path / 'x', state, 'zip')), state)


class Payload:
    """Writes a file when it is unpickled."""

    def __init__(self, target: Path) -> None:
        self.target = target

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.target),)


@pytest.mark.parametrize('kind', ['zip', 'legacy'])
def test_refuses_files_that_could_execute_code(kind: str, tmp_path: Path) -> None:
    target, path = tmp_path / 'executed', tmp_path / 'evil.pth'
    write(path, {'state_dict': tensors(), 'extra': Payload(target)}, kind)
    with pytest.raises(ValueError, match='could execute code') as caught:
        read_state_dict(path)
    assert 'mkdir' in str(caught.value) and str(path) in str(caught.value) and 'torch.save' in str(caught.value)
    assert not target.exists()
    torch.load(path, weights_only=False)
    assert target.exists(), 'the file would have run code'


def test_refuses_a_whole_module(tmp_path: Path) -> None:
    torch.save(torch.nn.Linear(2, 2), tmp_path / 'module.pth')
    with pytest.raises(ValueError, match=r'torch\.nn\.modules\.linear\.Linear.*could execute code'):
        read_state_dict(tmp_path / 'module.pth')


class Odd:
    """Something that is no tensor."""


def saved(kind: str) -> Any:
    """What training programs write, whose tensors cannot be read without executing something."""
    network = torch.nn.Sequential(torch.nn.Linear(2, 2))
    state = dict(network.state_dict())
    return {'module': network, 'state_dict': {'state_dict': state, 'odd': Odd()},
            'whole': {'odd': Odd(), 'model': network},
            'both': {'model': state, 'state_dict_ema': network.state_dict(), 'odd': Odd()},
            'bare': {**state, 'odd': Odd()}}[kind]


@pytest.mark.parametrize('layout', ['zip', 'legacy'])
@pytest.mark.parametrize('kind', ['module', 'state_dict', 'whole', 'both', 'bare'])
def test_what_is_advised_for_a_file_that_is_refused_works(kind: str, layout: str, tmp_path: Path) -> None:
    content = saved(kind)
    path = write(tmp_path / 'odd.pth', content, layout)
    with pytest.raises(ValueError, match='If you trust its source, save its tensors alone once: ') as caught:
        read_state_dict(path)
    for share in (0.1, 0.4, 0.7):
        (tmp_path / 'cut.pth').write_bytes(path.read_bytes()[:int(path.stat().st_size * share)])
        with pytest.raises(ValueError, match='damaged|could execute code'):
            read_state_dict(tmp_path / 'cut.pth')
    code = str(caught.value).partition('alone once: ')[2].rpartition(' run ')[2]
    exec(code, {'torch': torch, 'FILE': path, 'NEW_FILE': tmp_path / 'tensors.pth'})
    found = read_state_dict(tmp_path / 'tensors.pth')
    assert {key.removeprefix('0.') for key in found} == {'weight', 'bias'}


def test_a_torchscript_file_is_advised_to_be_read_as_one(tmp_path: Path) -> None:
    network = torch.nn.Linear(2, 2)
    torch.jit.save(torch.jit.trace(network, torch.zeros(1, 2)), tmp_path / 'script.pt')
    with pytest.raises(ValueError, match='a TorchScript program') as caught:
        read_state_dict(tmp_path / 'script.pt')
    code = str(caught.value).partition('alone once: ')[2]
    exec(code, {'torch': torch, 'FILE': tmp_path / 'script.pt', 'NEW_FILE': tmp_path / 'tensors.pth'})
    assert same(read_state_dict(tmp_path / 'tensors.pth'), network.state_dict())


@pytest.mark.parametrize('kind', ['safetensors', 'zip', 'legacy'])
@pytest.mark.parametrize('share', [0.05, 0.5, 0.99])
def test_a_truncated_file_is_named(kind: str, share: float, tmp_path: Path) -> None:
    state = {'a.weight': torch.randn(100, 10), 'b.weight': torch.randn(50)}
    path = write(tmp_path / 'cut.pth', state, kind)
    os.truncate(path, int(path.stat().st_size * share))
    with pytest.raises(ValueError, match='damaged') as caught:
        read_state_dict(path)
    assert str(path) in str(caught.value)


@pytest.mark.parametrize('content, word', [
    (b'version https://git-lfs.github.com/spec/v1\noid sha256:0', 'Git LFS'),
    (b'<!DOCTYPE html><html>', 'html'),
    (b'', 'neither'),
    (b'\x10\0\0\0\0\0\0\0{"a": {"dtype"}}', 'damaged'),
    (b'\xff' * 8 + b'{', 'damaged'),
    (b'\x3d\0\0\0\0\0\0\0{"a":{"dtype":"F32","shape":[1000000000],"data_offsets":[0,4]}}', 'damaged'),
    (b'\x38\0\0\0\0\0\0\0{"a":{"dtype":"F99","shape":[1],"data_offsets":[0,4]}}   1234', 'F99'),
])
def test_other_content_is_named(content: bytes, word: str, tmp_path: Path) -> None:
    path = tmp_path / 'model.safetensors'
    path.write_bytes(content)
    with pytest.raises(ValueError, match=word) as caught:
        read_state_dict(path)
    assert str(path) in str(caught.value)


def test_a_file_without_a_state_dict_says_what_it_has(tmp_path: Path) -> None:
    torch.save({'epoch': 3, 'loss': 0.1}, tmp_path / 'x.pth')
    with pytest.raises(ValueError, match='no state dict in .*x.pth.*epoch, loss'):
        read_state_dict(tmp_path / 'x.pth')


def test_a_missing_file_names_the_nearest(tmp_path: Path) -> None:
    write(tmp_path / 'last.safetensors', tensors(), 'safetensors')
    with pytest.raises(FileNotFoundError, match=r'last\.safetensor\..*last\.safetensors'):
        locate(PretrainedCfg(architecture='net'), tmp_path / 'last.safetensor')
    with pytest.raises(FileNotFoundError, match='model.safetensors'):
        locate(PretrainedCfg(architecture='net'), tmp_path)
