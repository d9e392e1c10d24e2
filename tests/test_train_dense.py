"""Detectors and segmenters trained by a recipe: the run and its files, going on with it, the command, what is refused."""
from __future__ import annotations

import csv
import json
import os
import random
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from train_runs import assert_same_run, rows, same, tiny_recipe

from zoo import dense
from zoo.cli import main
from zoo.dense.evaluation import find_unreadable
from zoo.pretrained import read_record
from zoo.train import load_trained, read_recipe
from zoo.train.recipe import DataPart, DensePart, EmaPart, ModelPart, OptimizerPart, Recipe, RunPart, SchedulePart
from zoo.train.reading import write_recipe
from zoo.train.trainer import Trainer, train

SIDE = 48
COLOURS = {'ant': (220, 40, 40), 'bee': (40, 60, 220)}
BODY = {'blocks': ['ds_r1_k3_s2_e1_c8', 'ir_r1_k3_s2_e2_c8', 'ir_r1_k3_s2_e2_c16', 'ir_r1_k3_s2_e2_c16'], 'stem_size': 8,
        'norm_layer': 'groupnorm', 'norm_kwargs': {'num_groups': 4}}
CHOSEN = {
    'detect': dict(head_kwargs={'min_size': SIDE, 'max_size': 2 * SIDE, 'pyramid_channels': 64, 'score_thresh': 0.01}),
    'segment': dict(classes=('ground', 'ant', 'bee'), crop=(32, 32), image_folder='images/{split}',
                    annotation_folder='masks/{split}'),
}
METRICS = {'detect': ['AP', 'AP50', 'AP75'], 'segment': ['mIoU', 'pixel_accuracy']}


def make_squares(root: Path, train: int = 10, val: int = 4) -> dict[str, Path]:
    """Red and blue squares on grey: boxes in root/<split>.csv, masks in root/masks/<split>, images in root/images."""
    drawn = random.Random(0)
    for split, count in (('train', train), ('val', val)):
        for folder in ('images', 'masks'):
            (root / folder / split).mkdir(parents=True)
        lines = ['image,xmin,ymin,xmax,ymax,class']
        for number in range(count):
            image, mask = Image.new('RGB', (SIDE, SIDE), (120, 120, 120)), np.zeros((SIDE, SIDE), np.uint8)
            for label, name in enumerate(COLOURS, 1):
                side = drawn.randint(14, 20)
                x, y = drawn.randint(0, SIDE - side), (label - 1) * 24 + drawn.randint(0, 24 - min(side, 24))
                bottom = min(y + side, SIDE)
                image.paste(COLOURS[name], (x, y, x + side, bottom))
                mask[y:bottom, x:x + side] = label
                lines.append(f'images/{split}/{number}.png,{x},{y},{x + side},{bottom},{name}')
            image.save(root / 'images' / split / f'{number}.png')
            Image.fromarray(mask).save(root / 'masks' / split / f'{number}.png')
        (root / f'{split}.csv').write_text('\n'.join(lines))
    return {'detect': root, 'segment': root}


def recipe_for(task: str, data: Path, **parts: dict) -> Recipe:
    """Two epochs of three steps, with something of everything that a checkpoint has to hold."""
    chosen = dict(
        model=dict(model='efficientnet_b0', model_kwargs=BODY, drop_path=0.1),
        data=dict(data=str(data), batch_size=3, workers=0), dense=dict(task=task, backbone_lr=0.5, **CHOSEN[task]),
        schedule=dict(epochs=2, warmup_epochs=0.5), optimizer=dict(opt='adamw', lr=2e-3, clip_grad=5.0),
        ema=dict(model_ema=True, model_ema_decay=0.8), run=dict(device='cpu', recovery_interval=2, seed=3))
    kinds = dict(model=ModelPart, data=DataPart, dense=DensePart, schedule=SchedulePart, optimizer=OptimizerPart,
                 ema=EmaPart, run=RunPart)
    for part, values in parts.items():
        chosen[part] = chosen.get(part, {}) | values
    return Recipe(**{part: kinds[part](**values) for part, values in chosen.items()})


@pytest.fixture(scope='module')
def squares(tmp_path_factory) -> Path:
    root = tmp_path_factory.mktemp('squares')
    make_squares(root)
    return root


@pytest.fixture(scope='module', params=['detect', 'segment'])
def done(request, squares, tmp_path_factory) -> tuple[str, Recipe, Path]:
    """A task, its recipe, and the folder of a whole run."""
    folder, recipe = tmp_path_factory.mktemp(request.param) / 'run', recipe_for(request.param, squares)
    train(recipe, folder, quiet=True)
    return request.param, recipe, folder


def test_a_run_leaves_what_others_leave(done):
    task, recipe, folder = done
    assert {path.name for path in folder.iterdir()} >= {
        'recipe.yaml', 'log.csv', 'curves.png', 'last.safetensors', 'model_best.safetensors'}
    found = rows(folder)
    assert [row['updates'] for row in found] == ['3', '6']
    assert all(0 <= float(row[name]) <= 1 for row in found for name in METRICS[task])
    best = read_record(folder / 'model_best.safetensors', 'zoo.model')
    assert best['metric_name'] == METRICS[task][0] and best['metric'] == max(float(row[METRICS[task][0]]) for row in found)
    assert read_recipe(folder / 'recipe.yaml') == recipe


def test_what_a_run_leaves_is_a_network_of_zoo_dense(done):
    task, _, folder = done
    model = dense.load(folder / 'model_best.safetensors')
    again = load_trained(folder / 'model_best.safetensors')
    assert model.config['task'] == task and same(dict(model.state_dict()), dict(again.state_dict()))
    last = load_trained(folder / 'last.safetensors')                       # its average
    assert last.classes == model.classes and not last.training
