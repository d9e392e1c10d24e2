"""A run that is killed, stopped, or runs out of disk goes on from its last checkpoint and ends as if nothing had been."""
from __future__ import annotations

import csv
import os
import random
import resource
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from PIL import Image

from zoo.pretrained import read_record, read_state_dict, write_tensors
from zoo.train.checkpoint import read_run
from zoo.train.logs import TIMES
from zoo.train.recipe import (
    AugmentPart, DataPart, EmaPart, ModelPart, OptimizerPart, Recipe, RunPart, SchedulePart,
)
from zoo.train.trainer import train

TINY = {'blocks': ['ds_r1_k3_s2_e1_c8', 'ir_r1_k3_s2_e2_c8_se0.25'], 'stem_size': 8, 'head_size': 16}
COLOURS = {'ants': (200, 60, 40), 'bees': (40, 90, 210)}


def make_images(root: Path, train: int = 10, val: int = 4) -> Path:
    drawn = random.Random(0)
    for split, count in (('train', train), ('val', val)):
        for name, colour in COLOURS.items():
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                image = Image.new('RGB', (24, 20), tuple(c + drawn.randint(-40, 40) for c in colour))
                image.paste(tuple(drawn.randint(0, 255) for _ in range(3)), (drawn.randint(0, 10), 4, 20, 12))
                image.save(root / split / name / f'{number}.png')
    return root


def recipe(images: Path, epochs: int = 3, **parts) -> Recipe:
    chosen = dict(
        model=dict(model='efficientnet_b0', model_kwargs=TINY, img_size=16, drop_path=0.2, drop=0.2),
        data=dict(data=str(images), batch_size=4, workers=0), schedule=dict(epochs=epochs, warmup_epochs=1),
        optimizer=dict(opt='adamw', lr=0.01), ema=dict(model_ema=True, model_ema_decay=0.8),
        run=dict(device='cpu', recovery_interval=2, seed=3))
    kinds = dict(model=ModelPart, data=DataPart, schedule=SchedulePart, optimizer=OptimizerPart, ema=EmaPart, run=RunPart,
                 augment=AugmentPart)
    for part, values in parts.items():
        chosen[part] = chosen.get(part, {}) | values
    return Recipe(**{part: kinds[part](**values) for part, values in chosen.items()})


@pytest.fixture(scope='module')
def images(tmp_path_factory) -> Path:
    return make_images(tmp_path_factory.mktemp('images'))


@pytest.fixture(scope='module')
def whole_run(images, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('whole') / 'run'
    train(recipe(images), folder, quiet=True)
    return folder


def rows(folder: Path) -> list[dict[str, str]]:
    with open(folder / 'log.csv', newline='') as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


def without_times(state: dict) -> dict:
    progress = {k: v for k, v in state['progress'].items() if k != 'seconds'}
    progress['rows'] = [{k: v for k, v in row.items() if k not in TIMES} for row in progress['rows']]
    return state | {'progress': progress}


def same(a, b) -> bool:
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def assert_same_run(folder: Path, other: Path) -> None:
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    assert same(without_times(read_run(folder / 'last.safetensors')), without_times(read_run(other / 'last.safetensors')))
    for name in (n for n in names if n.startswith(('model_best', 'checkpoint'))):
        assert same(read_state_dict(folder / name), read_state_dict(other / name)), name
        assert read_record(folder / name, 'zoo.model') == read_record(other / name, 'zoo.model')
    assert rows(folder) == rows(other)


def in_child(work, seconds: float | None = None) -> int:
    """Runs in a forked process, killed after so many seconds; its exit status, negative for a signal."""
    child = os.fork()
    if child == 0:
        status = 1
        try:
            sys.stdout = sys.stderr = open(os.devnull, 'w')
            work()
            status = 0
        finally:
            os._exit(status)
    if seconds is not None:
        time.sleep(seconds)
        os.kill(child, signal.SIGKILL)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_fifty_kills_leave_whole_files_and_the_same_end(images, whole_run, tmp_path):
    folder, kills, wait, killed = tmp_path / 'run', 50, random.Random(5), 0
    begun = time.perf_counter()
    assert in_child(lambda: train(recipe(images), tmp_path / 'timed', quiet=True)) == 0
    length = time.perf_counter() - begun
    best = None
    while killed < kills:
        resume = folder.exists() and any(folder.iterdir())
        status = in_child(lambda: train(recipe(images), folder, resume=resume, quiet=True), wait.uniform(0, length / 3))
        assert status in (-signal.SIGKILL, 0)
        killed += status != 0
        for path in folder.glob('*.safetensors'):
            assert read_state_dict(path)
        if (folder / 'model_best.safetensors').exists():
            now = read_record(folder / 'model_best.safetensors', 'zoo.model')['metric']
            assert best is None or now >= best
            best = now
        if status == 0 or killed % 13 == 0:                 # complete it, and compare; then begin a new one
            if resume or folder.exists():
                assert in_child(lambda: train(recipe(images), folder, resume=any(folder.iterdir()), quiet=True)) == 0
                assert_same_run(folder, whole_run)
            folder, best = tmp_path / f'run{killed}', None
    if folder.exists():
        train(recipe(images), folder, resume=any(folder.iterdir()), quiet=True)
        assert_same_run(folder, whole_run)
