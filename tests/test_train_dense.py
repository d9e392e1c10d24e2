"""Detectors and segmenters trained by a recipe: the run, its files, going on with it, the command, what is refused."""
from __future__ import annotations

import csv
import json
import os
import random
import signal
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from test_train_parallel import in_two_processes
from train_runs import assert_same_run, rows, same, stop_in

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
BODY = {'blocks': ['ds_r1_k3_s2_e1_c8', 'ir_r1_k3_s2_e2_c8', 'ir_r1_k3_s2_e2_c16', 'ir_r1_k3_s2_e2_c16'],
        'stem_size': 8, 'norm_layer': 'groupnorm', 'norm_kwargs': {'num_groups': 4}}
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


def recipe_for(task: str, root: Path, **parts: dict) -> Recipe:
    """Two epochs of three steps, with something of everything that a checkpoint has to hold."""
    chosen = dict(
        model=dict(model='efficientnet_b0', model_kwargs=BODY, drop_path=0.1),
        data=dict(data=str(root), batch_size=3, workers=0), dense=dict(task=task, backbone_lr=0.5, **CHOSEN[task]),
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
    assert best['metric_name'] == METRICS[task][0]
    assert best['metric'] == max(float(row[METRICS[task][0]]) for row in found)
    assert read_recipe(folder / 'recipe.yaml') == recipe


def test_what_a_run_leaves_is_a_network_of_zoo_dense(done):
    task, _, folder = done
    model = dense.load(folder / 'model_best.safetensors')
    again = load_trained(folder / 'model_best.safetensors')
    assert model.config['task'] == task and same(dict(model.state_dict()), dict(again.state_dict()))
    last = load_trained(folder / 'last.safetensors')                       # its average
    assert last.classes == model.classes and not last.training


@pytest.mark.in_turn
@pytest.mark.parametrize('parts', [
    dict(), dict(data=dict(workers=1), run=dict(grad_accum_steps=2, recovery_interval=0)),
], ids=['plain', 'accumulated'])
def test_what_is_stopped_anywhere_goes_on_bit_for_bit(done, squares, tmp_path, parts):
    task, _, _ = done
    recipe = recipe_for(task, squares, **parts)
    train(recipe, tmp_path / 'whole', quiet=True)
    trainer = None
    for update in (1, 2, 3):                                # within an epoch, at or near its end, in the next
        trainer = Trainer(recipe, tmp_path / 'run', resume=trainer is not None, quiet=True)
        stop_in(trainer, update)
        assert trainer.run().status == 143 and trainer.progress.updates == update
    train(recipe, tmp_path / 'run', resume=True, quiet=True)
    assert_same_run(tmp_path / 'run', tmp_path / 'whole')


@pytest.mark.slow
@pytest.mark.parametrize('task', CHOSEN)
def test_two_processes_measure_every_image_once(task, squares, tmp_path):
    in_two_processes(tmp_path, recipe_for(task, squares, data=dict(batch_size=2), schedule=dict(epochs=1)))
    (row,) = rows(tmp_path / 'two')
    model = load_trained(tmp_path / 'two' / 'model_best.safetensors')
    data = Trainer(recipe_for(task, squares), quiet=True).sources.val.data
    found = dense.evaluate(model, data, progress=False)
    assert found.samples == 4 and found.metrics == pytest.approx({name: float(row[name]) for name in METRICS[task]})


def test_images_depend_on_their_place_alone(squares):
    for task in CHOSEN:
        drawn = []
        for workers in (0, 2):
            loader = Trainer(recipe_for(task, squares, data=dict(workers=workers)), quiet=True).loader
            drawn.append([(batch.names, batch.levels, batch.targets) for batch in loader.batches(1)])
        assert len(drawn[0]) == 3 and same(*drawn)


def test_the_backbone_has_its_own_learning_rate_and_frozen_stages(squares):
    trainer = Trainer(recipe_for('detect', squares, model=dict(freeze=2)), quiet=True)
    scales = {id(p): group['lr_scale'] for group in trainer.optimizer.param_groups for p in group['params']}
    body = trainer.model.backbone.body
    frozen = [name for name, p in body.named_parameters() if not p.requires_grad]
    assert frozen and all(name.startswith(('conv_stem', 'bn1', 'blocks.0')) for name in frozen)
    inside = {id(p) for p in body.parameters()}
    assert {scales[key] for key in scales if key in inside} == {0.5}
    assert {scales[key] for key in scales if key not in inside} == {1.0}
    with pytest.raises(ValueError, match='model.freeze is 0 to 5 stages of this backbone; got 9'):
        Trainer(recipe_for('detect', squares, model=dict(freeze=9)), quiet=True)


def test_validation_images_are_held_out(squares):
    for task in CHOSEN:
        sources = Trainer(recipe_for(task, squares, data=dict(hold_out=0.2)), quiet=True).sources
        names = [{source.name(i) for i in range(len(source))} for source in sources[:2]]
        assert [len(part) for part in names] == [8, 2] and not names[0] & names[1]


@pytest.mark.parametrize('task', CHOSEN)
def test_unreadable_files_are_named_before_the_first_step(task, tmp_path):
    make_squares(tmp_path, train=7)
    images = tmp_path / 'images'
    for file in (images / 'train' / '3.png', images / 'val' / '1.png'):
        file.write_bytes(file.read_bytes()[:-40])
    recipe = recipe_for(task, tmp_path, data=dict(max_unreadable=0))
    with pytest.raises(ValueError, match=r'1 training images could not be read, .*max_unreadable.*: .*train.3\.png'):
        train(recipe, tmp_path / 'strict', quiet=True)
    assert not (tmp_path / 'strict').exists()
    result = train(recipe_for(task, tmp_path, data=dict(max_unreadable=1)), tmp_path / 'run', quiet=True)
    assert [row['unreadable'] for row in result.rows] == [1, 1]


def test_whole_and_broken_files_are_told_apart(tmp_path):
    levels = np.random.default_rng(0).integers(0, 256, (40, 60, 3), dtype=np.uint8)
    for name in ('a.png', 'b.jpg', 'c.bmp', 'd.gif', 'e.webp', 'f.tif'):
        Image.fromarray(levels).save(tmp_path / name)
    (tmp_path / 'g.jpg').write_bytes((tmp_path / 'b.jpg').read_bytes() + b'\0' * 500)     # with something behind it
    whole = sorted(tmp_path.iterdir())
    for path in whole:
        (tmp_path / f'cut-{path.name}').write_bytes(path.read_bytes()[:300])
    (tmp_path / 'no.jpg').write_bytes(b'no image')
    (tmp_path / 'empty.png').touch()
    found = {Path(file).name for file, reason in find_unreadable(sorted(tmp_path.iterdir())) if reason}
    assert found == {'no.jpg', 'empty.png'} | {f'cut-{path.name}' for path in whole}


@pytest.mark.parametrize('task, parts, words', [
    ('detect', dict(dense=dict(head='fcs')), "'fcos'"),
    ('detect', dict(dense=dict(head_kwargs={'min_siz': 3})), "'min_size'"),
    ('detect', dict(data=dict(train_split='trian')), "'train'"),
    ('detect', dict(data=dict(data='train.csv')), "no column 'split' .*data.train_split=none data.hold"),
    ('detect', dict(data=dict(data='coco/all.json')), 'all.json is one split itself. .*data.val_data.*data.hold_out'),
    ('detect', dict(dense=dict(classes=('ant', 'be'))), "Class 'bee' is not known"),
    ('detect', dict(run=dict(eval_metric='mIoU')), 'AP, AP50, AP75, train_loss'),
    ('segment', dict(dense=dict(crop=None), data=dict(train_split='odd')), 'different sizes .* dense.crop'),
    ('segment', dict(dense=dict(classes=('ground', 'ant'))), 'the mask has 2'),
    ('segment', dict(dense=dict(image_folder=None)), 'JPEGImages'),
])
def test_mistakes_are_named(squares, tmp_path, task, parts, words):
    if not (squares / 'images' / 'odd').exists():
        for folder in ('images', 'masks'):
            (squares / folder / 'odd').mkdir()
            for number in range(4):
                Image.new('RGB' if folder == 'images' else 'L', (40 + number, 40)).save(
                    squares / folder / 'odd' / f'{number}.png')
    (squares / 'coco').mkdir(exist_ok=True)
    (squares / 'coco' / 'all.json').write_text(json.dumps({
        'images': [{'id': i, 'file_name': f'images/train/{i}.png', 'height': SIDE, 'width': SIDE} for i in range(4)],
        'annotations': [{'id': 0, 'image_id': 0, 'category_id': 1, 'bbox': [1, 2, 20, 20]}],
        'categories': [{'id': 1, 'name': 'ant'}]}))
    if 'data' in parts.get('data', {}):
        parts = {'data': parts['data'] | {'data': str(squares / parts['data']['data'])}}
    with pytest.raises((ValueError, TypeError, FileNotFoundError), match=words):
        train(recipe_for(task, squares, **parts), tmp_path / 'run', quiet=True)


def test_validation_without_a_box_is_refused(squares, tmp_path):
    make_squares(tmp_path, val=2)
    (tmp_path / 'val.csv').write_text('image,xmin,ymin,xmax,ymax,class\nimages/val/0.png,,,,,\n')
    with pytest.raises(ValueError, match='no box in the validation images'):
        Trainer(recipe_for('detect', tmp_path), quiet=True)


@pytest.mark.parametrize('change, words', [
    ('dense.head=fcos', 'dense.head is fcos, which nothing reads: it needs dense.task'),
    ('dense.task=segment', 'name the classes in dense.classes'),
    ('dense.task=segmant', "Did you mean 'segment'"),
    ('dense.task=detect dense.ignore_index=3', 'ignore_index is 3, which nothing reads: it needs dense.task: segment'),
    ('dense.task=detect dense.fit=[3,4]', 'fit is .*it needs dense.crop'),
    ('dense.task=detect mixup=0.2', 'mixup is 0.2, which nothing reads: it needs a network for whole images'),
    ('dense.task=detect run.distributed=fsdp', "use 'ddp'"),
    ('dense.task=detect dense.crop=[0,5]', 'it has to be at least 1'),
    ('dense.task=detect dense.classes=[1,2]', 'a list of texts'),
])
def test_keys_that_nothing_reads_are_refused(change, words):
    with pytest.raises(ValueError, match=words):
        read_recipe(None, change.split())


# the command

def command(done: tuple[str, Recipe, Path], tmp_path: Path, *words: str) -> list[str]:
    (tmp_path / 'recipe.yaml').write_text(write_recipe(done[1]))
    return ['train', str(tmp_path / 'recipe.yaml'), '--output', str(tmp_path), '--experiment', 'run', *words]


def test_the_command_from_a_dry_run_to_a_picture(done, squares, tmp_path, capsys):
    task, recipe, folder = done
    assert main(command(done, tmp_path, '--dry-run')) == 0
    text = capsys.readouterr().out
    assert 'train  10 images' in text and f'best by    {METRICS[task][0]}' in text and 'step 1  loss' in text
    assert Image.open(tmp_path / 'augmented.png').width > 300
    assert main(command(done, tmp_path)) == 0
    assert rows(tmp_path / 'run') == rows(folder)
    assert main(command(done, tmp_path)) == 2 and 'has a run already' in capsys.readouterr().err
    verb = [task, str(squares / 'images' / 'val'), '--checkpoint', str(tmp_path / 'run' / 'model_best.safetensors'),
            '--output', str(tmp_path / 'drawn'), '--device', 'cpu', '--json']
    assert main(verb) == 0 and len(capsys.readouterr().out.splitlines()) == 4
    assert main(['predict', *verb[1:4], '--device', 'cpu']) == 2 and f'is for `zoo {task}`' in capsys.readouterr().err


def test_validate_has_the_figure_of_training(done, squares, tmp_path, capsys):
    task, _, folder = done
    best = read_record(folder / 'model_best.safetensors', 'zoo.model')
    words = ['validate', str(squares), '--split', 'val', '--device', 'cpu', '-j', '0']
    checkpoint = ['--checkpoint', str(folder / 'model_best.safetensors')]
    table = tmp_path / 'table.csv'
    assert main([*words, *checkpoint, '--results-file', str(table)]) == 0
    assert ('AP50 of ant' if task == 'detect' else 'IoU of ground') in capsys.readouterr().out
    with open(table, newline='') as file:
        (row,) = csv.DictReader(file)
    assert float(row[best['metric_name']]) == pytest.approx(best['metric'], abs=1e-9) and row['samples'] == '4'
    assert row['command'].startswith('zoo validate') and '--model' not in row['command']

    # a file that does not say how data lie
    dense.save(load_trained(folder / 'model_best.safetensors'), tmp_path / 'saved.safetensors')
    layout = ['--image-folder', 'images/{split}', '--annotation-folder', 'masks/{split}'] if task == 'segment' else []
    assert main([*words, '--checkpoint', str(tmp_path / 'saved.safetensors'), *layout, '--results-format', 'json']) == 0
    (found,) = json.loads(capsys.readouterr().out)
    assert found[best['metric_name']] == pytest.approx(best['metric'], abs=1e-9)

    assert main([*words, *checkpoint, '--crop-pct', '0.5']) == 2 and '--crop-pct' in capsys.readouterr().err
    assert main([*words, '--model', 'efficientnet_b0', '--pretrained', '--list-folder', 'x']) == 2
    assert 'only for a --checkpoint with a detector' in capsys.readouterr().err


def test_validate_counts_what_it_cannot_read(done, tmp_path, capsys):
    task, _, folder = done
    make_squares(tmp_path)
    file = tmp_path / 'images' / 'val' / '2.png'
    file.write_bytes(file.read_bytes()[:-30])
    words = ['validate', str(tmp_path), '--split', 'val', '--device', 'cpu', '-j', '0', '--checkpoint',
             str(folder / 'model_best.safetensors')]
    assert main(words) == 2 and '2.png' in capsys.readouterr().err
    assert main([*words, '--max-unreadable', '1']) == 0 and 'not counted: ' in capsys.readouterr().err


def test_validate_ends_at_a_signal(done, squares, monkeypatch, capsys):
    _, _, folder = done

    def signalled(*given, **options):
        os.kill(os.getpid(), signal.SIGTERM)
        return dense.evaluate(*given, **options)

    monkeypatch.setattr('zoo.cli.validate_dense.evaluate', signalled)
    words = ['validate', str(squares), '--split', 'val', '--device', 'cpu', '-j', '0', '--checkpoint', str(folder)]
    assert main(words) == 143
    assert 'stopped, and not measured' in capsys.readouterr().err
