"""Tiny runs that the tests of training share: a network of a few hundred weights on twenty small images."""
from __future__ import annotations

import csv
import random
import signal
from pathlib import Path

import torch
from PIL import Image, ImageDraw

from zoo.pretrained import read_record, read_state_dict
from zoo.train.checkpoint import read_run
from zoo.train.logs import TIMES
from zoo.train.recipe import (
    AugmentPart, DataPart, DistillPart, EmaPart, LossPart, ModelPart, OptimizerPart, Recipe, RunPart, SchedulePart,
)
from zoo.train.trainer import Trainer

TINY = {'blocks': ['ds_r1_k3_s2_e1_c8', 'ir_r1_k3_s2_e2_c8_se0.25'], 'stem_size': 8, 'head_size': 16}
COLOURS = {'ants': (200, 60, 40), 'bees': (40, 90, 210)}
PARTS = dict(model=ModelPart, data=DataPart, schedule=SchedulePart, optimizer=OptimizerPart, ema=EmaPart, run=RunPart,
             augment=AugmentPart, loss=LossPart, distill=DistillPart)


def make_images(root: Path, train: int = 10, val: int = 4) -> Path:
    """Red and blue images: root/train/ants/0.png, …"""
    drawn = random.Random(0)
    for split, count in (('train', train), ('val', val)):
        for name, colour in COLOURS.items():
            (root / split / name).mkdir(parents=True)
            for number in range(count):
                image = Image.new('RGB', (24, 20), tuple(c + drawn.randint(-40, 40) for c in colour))
                image.paste(tuple(drawn.randint(0, 255) for _ in range(3)), (drawn.randint(0, 10), 4, 20, 12))
                image.save(root / split / name / f'{number}.png')
    return root


def make_discs(root: Path, train: int = 48, val: int = 24) -> str:
    """Discs of 2 to 28 pixels' radius, which is their target: the text that names the data set."""
    drawn, lines = random.Random(1), ['file,split,radius']
    root.mkdir()
    for split, count in (('train', train), ('val', val)):
        for number in range(count):
            radius = drawn.uniform(2, 28)
            x, y = drawn.uniform(28, 36), drawn.uniform(28, 36)
            image = Image.new('RGB', (64, 64), (30, 30, 30))
            ImageDraw.Draw(image).ellipse((x - radius, y - radius, x + radius, y + radius), fill=(230, 220, 200))
            image.save(root / f'{split}{number}.png')
            lines.append(f'{split}{number}.png,{split},{radius:.3f}')
    (root / 'discs.csv').write_text('\n'.join(lines))
    return f'{root}/discs.csv?task=regression&target=radius'


def tiny_recipe(images: Path | str, **parts: dict) -> Recipe:
    """A recipe of 3 epochs of 5 steps, with something of everything that a checkpoint has to hold."""
    chosen: dict[str, dict] = dict(
        model=dict(model='efficientnet_b0', model_kwargs=TINY, img_size=16, drop_path=0.2, drop=0.2),
        data=dict(data=str(images), batch_size=4, workers=0), schedule=dict(epochs=3, warmup_epochs=1),
        optimizer=dict(opt='adamw', lr=0.01), ema=dict(model_ema=True, model_ema_decay=0.8),
        run=dict(device='cpu', recovery_interval=2, seed=3))
    for part, values in parts.items():
        chosen[part] = chosen.get(part, {}) | values
    return Recipe(**{part: PARTS[part](**values) for part, values in chosen.items()})


def rows(folder: Path) -> list[dict[str, str]]:
    """log.csv without times."""
    with open(folder / 'log.csv', newline='') as file:
        return [{k: v for k, v in row.items() if k not in TIMES} for row in csv.DictReader(file)]


def same(a: object, b: object) -> bool:
    """Equal to the last bit, however nested."""
    if isinstance(a, torch.Tensor):
        return a.dtype == b.dtype and torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(same(a[k], b[k]) for k in a)
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(map(same, a, b))
    return a == b


def state_of(folder: Path) -> dict:
    """The whole run in a folder, without times."""
    state = read_run(folder / 'last.safetensors')
    progress = {k: v for k, v in state['progress'].items() if k != 'seconds'}
    progress['rows'] = [{k: v for k, v in row.items() if k not in TIMES} for row in progress['rows']]
    return state | {'progress': progress}


def stop_in(trainer: Trainer, update: int) -> None:
    """Asks a run to stop in this one of its steps, counted from 1, as SIGTERM does; the signal itself, which ends a
    process of tests where it is not met, is sent to processes of their own."""
    step = trainer.step

    class Stopped(type(step)):
        def __call__(self, batches, epoch, number, last):
            if number + 1 == update:
                trainer.stop.signal = signal.SIGTERM
            return super().__call__(batches, epoch, number, last)

    step.__class__ = Stopped


def assert_same_run(folder: Path, other: Path) -> None:
    """The same files, with the same weights, optimizer, average, generators, best and log."""
    names = sorted(path.name for path in folder.iterdir())
    assert names == sorted(path.name for path in other.iterdir())
    assert same(state_of(folder), state_of(other))
    for name in (n for n in names if n.startswith(('model_best', 'checkpoint'))):
        assert same(read_state_dict(folder / name), read_state_dict(other / name)), name
        assert read_record(folder / name, 'zoo.model') == read_record(other / name, 'zoo.model')
    assert rows(folder) == rows(other)
