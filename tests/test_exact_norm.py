"""Batch normalisation in channels_last on the CPU, against float64."""
from __future__ import annotations

import contextlib
import copy
from pathlib import Path

import pytest
import torch
from conftest import relative_error
from torch import nn
from torch.nn import functional as F
from train_runs import make_images, tiny_recipe

import zoo
from zoo.train import exact_batch_norm
from zoo.train.trainer import Trainer

FORMATS = {'contiguous': (torch.contiguous_format, contextlib.nullcontext),
           'channels_last': (torch.channels_last, contextlib.nullcontext),
           'exact': (torch.channels_last, exact_batch_norm)}


def after_a_pass(norm: nn.Module, x: torch.Tensor, grad: torch.Tensor, kind: str) -> dict[str, torch.Tensor]:
    """The output of a copy of the module, the gradients and the buffers that training leaves."""
    memory_format, context = FORMATS[kind]
    norm, x = copy.deepcopy(norm), x.clone(memory_format=memory_format).requires_grad_()
    with context(norm):
        y = norm(x)
        y.backward(grad)
    assert y.is_contiguous(memory_format=memory_format) and x.grad.is_contiguous(memory_format=memory_format)
    gradients = {name: parameter.grad for name, parameter in norm.named_parameters()}
    return {'y': y.detach(), 'x': x.grad, **gradients, **dict(norm.named_buffers())}


@pytest.mark.parametrize('options', [{}, {'momentum': None}, {'track_running_stats': False}, {'eps': 1e-3}], ids=str)
@pytest.mark.parametrize('shape', [(8, 16, 112, 112), (5, 24, 61, 47), (3, 7, 1, 900), (2, 8, 150, 8)])
def test_statistics_and_gradients_are_those_of_float64(shape: tuple[int, ...], options: dict) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(shape, generator=generator) * 2 + 1.5
    grad = torch.randn(shape, generator=generator) + 0.3
    norm = nn.BatchNorm2d(shape[1], **options)
    nn.init.uniform_(norm.weight, 0.5, 1.5)
    expected = after_a_pass(norm.double(), x.double(), grad.double(), 'contiguous')
    errors = {kind: {name: relative_error(value.double(), expected[name].double())
                     for name, value in after_a_pass(norm.float(), x, grad, kind).items()} for kind in FORMATS}
    for name in expected:
        assert errors['exact'][name] < 2e-7 + 4 * errors['contiguous'][name], (name, errors)
    if shape[2] == 112:                                            # what it is for
        assert errors['channels_last']['y'] > 5e-6 and errors['channels_last']['x'] > 5e-6


@pytest.mark.parametrize('kind', ['evaluation', 'contiguous', 'bfloat16', 'not affine', 'groups', 'few'])
def test_everything_else_runs_as_it_would(kind: str) -> None:
    norm = nn.GroupNorm(2, 8) if kind == 'groups' else nn.BatchNorm2d(8, affine=kind != 'not affine')
    norm.train(kind != 'evaluation')
    side = 6 if kind == 'few' else 32
    memory_format, _ = FORMATS['contiguous' if kind == 'contiguous' else 'exact']
    x = torch.randn(4, 8, side, side).contiguous(memory_format=memory_format)
    x = x.bfloat16() if kind == 'bfloat16' else x
    expected = norm(x)
    with exact_batch_norm(norm):
        assert torch.equal(norm(x), expected)
    assert 'forward' not in vars(norm)


def test_a_networks_gradients_are_as_exact_as_in_the_other_format() -> None:
    torch.manual_seed(0)
    model = zoo.create_model('mobilenetv2_035', num_classes=5)
    model.set_grad_checkpointing()                                 # the second pass forward is within, too
    images, targets = torch.rand(8, 3, 128, 128) * 2 - 1, torch.arange(8) % 5

    def gradients(kind: str, dtype: torch.dtype = torch.float32) -> torch.Tensor:
        memory_format, context = FORMATS[kind]
        network = copy.deepcopy(model).to(dtype=dtype, memory_format=memory_format)
        torch.manual_seed(1)
        with context(network):
            F.cross_entropy(network(images.to(dtype, memory_format=memory_format)), targets).backward()
        return torch.cat([p.grad.double().flatten() for p in network.parameters()])

    expected = gradients('contiguous', torch.float64)
    errors = {kind: relative_error(gradients(kind), expected) for kind in FORMATS}
    assert errors['exact'] < 2.5 * errors['contiguous'] < errors['channels_last'], errors


def test_training_in_either_format_leaves_the_same_statistics(tmp_path: Path) -> None:
    images = make_images(tmp_path / 'images')

    def variance(channels_last: bool) -> torch.Tensor:
        trainer = Trainer(tiny_recipe(images, model=dict(channels_last=channels_last, img_size=192, drop_path=0.0),
                                      data=dict(batch_size=20)), quiet=True)
        trainer.network.training()
        trainer.step([next(iter(trainer.loader.batches(0)))], 0, 0, None)
        return trainer.model.bn1.running_var.double()

    assert relative_error(variance(True), variance(False)) < 2e-7
