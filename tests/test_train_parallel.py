"""Several processes train as one with a larger batch would."""
from __future__ import annotations

import csv
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from train_runs import TINY, tiny_recipe

import zoo
from zoo.pretrained import read_state_dict
from zoo.train import load_trained
from zoo.train.checkpoint import read_run
from zoo.train.reading import write_recipe
from zoo.train.trainer import Trainer, train

PROGRAM = '''
import sys, torch
torch.set_num_threads(1)
from zoo.train.reading import read_recipe
from zoo.train.trainer import train
train(read_recipe(sys.argv[1]), sys.argv[2], resume=len(sys.argv) > 3, quiet=True)
'''
# nothing that a process draws for itself: no dropped paths, no mixing
STILL = dict(model=dict(drop=0.0, drop_path=0.0), optimizer=dict(opt='momentum', lr=0.05),
             run=dict(recovery_interval=0), schedule=dict(epochs=3, warmup_epochs=0))
GROUPS = TINY | {'norm_layer': 'groupnorm', 'norm_kwargs': {'num_groups': 4}}


def with_parts(images: Path, **parts: dict):
    return tiny_recipe(images, **{name: STILL.get(name, {}) | parts.get(name, {}) for name in {*STILL, *parts}})


def in_two_processes(tmp_path: Path, recipe, *more: str) -> None:
    (tmp_path / 'program.py').write_text(PROGRAM)
    (tmp_path / 'recipe.yaml').write_text(write_recipe(recipe))
    with socket.socket() as free:
        free.bind(('127.0.0.1', 0))
        port = free.getsockname()[1]
    command = [sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node=2', f'--master-port={port}',
               str(tmp_path / 'program.py'), str(tmp_path / 'recipe.yaml'), str(tmp_path / 'two'), *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=200)
    assert done.returncode == 0, done.stderr[-3000:]


def losses(folder: Path) -> list[tuple[float, float]]:
    with open(folder / 'log.csv', newline='') as file:
        return [(float(row['train_loss']), float(row['top1'])) for row in csv.DictReader(file)]


@pytest.mark.slow
@pytest.mark.parametrize('how, model', [('ddp', dict(sync_bn=True)), ('ddp', dict(model_kwargs=GROUPS)),
                                        ('fsdp', dict(model_kwargs=GROUPS))], ids=['ddp-sync', 'ddp', 'fsdp'])
def test_two_processes_have_the_loss_curve_of_one(images, tmp_path, how, model):
    train(with_parts(images, model=model), tmp_path / 'one', quiet=True)
    in_two_processes(tmp_path, with_parts(images, model=model, data=dict(batch_size=2), run=dict(distributed=how)))
    for (loss, top1), (other, other_top1) in zip(losses(tmp_path / 'one'), losses(tmp_path / 'two'), strict=True):
        assert abs(loss - other) < 1e-5 and top1 == other_top1
    one, two = (read_run(tmp_path / name / 'last.safetensors') for name in ('one', 'two'))
    for part in ('model', 'ema'):
        for key, value in one[part].items():
            assert key == 'steps' or torch.allclose(value, two[part][key], rtol=1e-5, atol=1e-5), key
    # whole tensors, which one process takes
    load_trained(tmp_path / 'two' / 'model_best.safetensors')
    zoo.create_model('efficientnet_b0', num_classes=2, **(TINY | model.get('model_kwargs', {}))).load_state_dict(
        read_state_dict(tmp_path / 'two' / 'model_best.safetensors'))
    momentum = {n: s['momentum_buffer'] for n, s in two['optimizer']['state'].items()}
    assert all((s['momentum_buffer'] - momentum[n]).abs().max() < 1e-4 for n, s in one['optimizer']['state'].items())


@pytest.mark.slow
def test_spread_parameters_go_on(images, tmp_path):
    recipe = with_parts(images, model=dict(model_kwargs=GROUPS), data=dict(batch_size=2),
                        run=dict(distributed='fsdp', recovery_interval=2))
    in_two_processes(tmp_path, recipe)
    whole = read_run(tmp_path / 'two' / 'last.safetensors')
    (tmp_path / 'two').rename(tmp_path / 'first')
    stopping = PROGRAM.replace('train(read', 'from zoo.train import trainer, step\n'
                               'calls = []\nreal = step.Step.__call__\n'
                               'def stop(self, *a):\n    calls.append(0)\n    if len(calls) == 8: raise SystemExit(1)\n'
                               '    return real(self, *a)\nif len(sys.argv) == 3: step.Step.__call__ = stop\ntrain(read')
    (tmp_path / 'stopping.py').write_text(stopping)
    command = [sys.executable, '-m', 'torch.distributed.run', '--standalone', '--nproc-per-node=2',
               str(tmp_path / 'stopping.py'), str(tmp_path / 'recipe.yaml'), str(tmp_path / 'two')]
    assert subprocess.run(command, capture_output=True, timeout=200).returncode
    assert read_run(tmp_path / 'two' / 'last.safetensors')['progress']['updates'] == 7
    in_two_processes(tmp_path, recipe, 'resume')
    again = read_run(tmp_path / 'two' / 'last.safetensors')
    for key, value in whole['model'].items():
        assert (value - again['model'][key]).abs().max() < 1e-6, key
    with pytest.raises(ValueError, match='2 processes, now there are 1'):
        Trainer(recipe, tmp_path / 'two', resume=True, quiet=True)
