"""`zoo train`: its options, the recipes in configs/, a dry run, a run, and going on with one."""
from __future__ import annotations

import argparse
import math
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import get_args, get_origin

import pytest
import torch
import yaml
from PIL import Image

import zoo
from zoo.cli import _parser, main
from zoo.cli.absent_flags import ABSENT
from zoo.cli.train import sources_of
from zoo.train.reading import SECTION_OF, TYPES, build_recipe, read_recipe
from zoo.train.recipe import Recipe
from zoo.train.shipped import list_recipes

ROOT = Path(__file__).parent.parent
CONFIGS = sorted((ROOT / 'configs').rglob('*.yaml'))
HEADER = ('command:', 'hardware:', 'hours:', 'expected:', 'source:')
COLOURS = {'blue': (40, 60, 200), 'green': (50, 180, 60), 'red': (200, 50, 60)}


@pytest.fixture(scope='module')
def photos(tmp_path_factory):
    """A folder with train/ and val/: 24 and 6 images of three colours."""
    root = tmp_path_factory.mktemp('photos')
    for split, count in (('train', 8), ('val', 2)):
        for name, colour in COLOURS.items():
            folder = root / split / name
            folder.mkdir(parents=True)
            for number in range(count):
                shade = tuple(min(255, channel + 5 * number) for channel in colour)
                Image.new('RGB', (40, 36), shade).save(folder / f'{number}.jpg')
    return root


def parsed(*words: str) -> argparse.Namespace:
    parser, _ = _parser(['train'])
    args, rest = parser.parse_known_args(['train', *words])
    args.left_over(args, rest)
    return args


def recipe_of(*words: str) -> Recipe:
    return build_recipe(sources_of(parsed(*words)))


def tiny(photos: Path, *words: str) -> list[str]:
    return ['train', str(photos), '--model', 'mobilenetv2_035', '--img-size', '32', '-b', '8', '-j', '0',
            '--device', 'cpu', '--warmup-epochs', '0', *words]


# options

def test_every_key_is_an_option_with_its_description():
    parser, _ = _parser(['train'])
    options = next(a for a in parser._actions if a.dest == 'command').choices['train']._option_string_actions
    for key in SECTION_OF:
        option = options[f'--{key.replace("_", "-")}']
        assert option.help and not option.help.startswith('default'), f'{key} is not described in zoo/train/recipe.py'


def test_options_words_and_file_in_any_order(tmp_path):
    path = tmp_path / 'a.yaml'
    path.write_text('schedule: {epochs: 30}\noptimizer: {lr: 0.1}\nrun: {amp: true}')
    expected = read_recipe(path, ['schedule.epochs=40', 'model=x', 'data=photos', 'scale=[0.1, 1]', 'amp=false',
                                  'color_jitter=0.1', 'opt_betas=[0.8, 0.9]', 'model.model_kwargs.a=1',
                                  'model.model_kwargs.b=c', 'std=null'])
    words = ['--epochs', '40', 'photos', '--scale', '0.1', '1', str(path), '--no-amp', 'model=x', '--color-jitter', '0.1',
             '--opt-betas', '0.8', '0.9', '--model-kwargs', 'a=1', 'b=c', '--std', 'none']
    assert recipe_of(*words) == expected


@pytest.mark.parametrize('words, section, key, value', [
    (['--bce-loss'], 'loss', 'loss', 'bce'),
    (['--jsd-loss', '--aug-splits', '3'], 'loss', 'loss', 'jsd'),
    (['--jsd-loss', '--aug-splits', '3'], 'loss', 'loss', 'jsd'),
    (['--jsd', '--aug-splits', '3'], 'loss', 'loss', 'jsd'),
    (['--model-ema'], 'ema', 'model_ema', True),
    (['--no-channels-last'], 'model', 'channels_last', False),
    (['--no-aug'], 'augment', 'no_aug', True),
    (['-b', '7'], 'data', 'batch_size', 7),
    (['-vb', '7'], 'data', 'validation_batch_size', 7),
    (['-j', '3'], 'data', 'workers', 3),
    (['--dr', '0.5', '--sched', 'step'], 'schedule', 'decay_rate', 0.5),
    (['--dataset', 'torchvision/cifar10'], 'data', 'data', 'torchvision/cifar10'),
    (['--experiment', '12'], 'run', 'experiment', '12'),
    (['--experiment', ''], 'run', 'experiment', None),
    (['--aa', 'none'], 'augment', 'aa', None),
    (['--mean', '0.5'], 'data', 'mean', (0.5,)),
    (['--color-jitter', '0.1', '0.2', '0.3'], 'augment', 'color_jitter', (0.1, 0.2, 0.3)),
    (['--cutmix-minmax', '0.2', '0.8'], 'augment', 'cutmix_minmax', (0.2, 0.8)),
    (['--decay-milestones', '10', '20', '--sched', 'multistep'], 'schedule', 'decay_milestones', (10.0, 20.0)),
])
def test_one_option(words, section, key, value):
    assert getattr(getattr(recipe_of(*words), section), key) == value


@pytest.mark.parametrize('words, expected', [
    (['--drop-paths', '0.1'], ['--drop-paths', '--drop-path']),
    (['--lr-noise', '0.4', '0.9'], ['no option --lr-noise', 'not disturbed']),
    (['--split-bn'], ['--sync-bn']),
    (['--input-size', '3', '224', '224'], ['--img-size']),
    (['--opt-kwargs', 'x'], ['KEY=VALUE']),
])
def test_options_that_are_refused(words, expected, capsys):
    with pytest.raises(SystemExit) as caught:
        main(['train', *words])
    assert caught.value.code == 2
    text = capsys.readouterr().err
    for word in expected:
        assert word in text


def test_what_is_said_of_absent_options_is_true():
    assert not [name for name in ABSENT if name.removeprefix('--').replace('-', '_') in SECTION_OF]


@pytest.mark.parametrize('words, expected', [
    ([], 'Name the network'),
    (['--model', 'mobilenetv2_035'], 'Name the images'),
    (['a.yaml', 'b.yaml'], 'one recipe'),
    (['no.yaml'], "no recipe 'no.yaml'"),
    (['--resume', 'no/run'], "no run 'no/run'"),
    (['--resume', 'tests', '--model', 'x', '--dry-run'], 'recipe.yaml'),
    (['--epochs', '3', 'epochs=4'], 'given twice'),
    (['--lr', 'fast'], "the text 'fast'"),
    (['photos', '--model', 'mobilenetv2_035'], 'photos'),
])
def test_errors_are_one_line(words, expected, capsys):
    assert main(['train', *words]) == 2
    text = capsys.readouterr().err
    assert expected in text and text.count('\n') == 1


# recipes

def name_of(path: Path) -> str:
    return path.relative_to(ROOT / 'configs').with_suffix('').as_posix()


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_a_recipe_goes_by_its_name_from_anywhere(path, tmp_path, monkeypatch):
    expected = recipe_of(str(path), 'photos')
    monkeypatch.chdir(tmp_path)
    assert recipe_of(name_of(path), 'photos') == recipe_of('photos', '-c', name_of(path)) == expected
    assert read_recipe(name_of(path), ['data.data=photos']) == expected


def test_the_list_of_recipes(capsys):
    assert main(['train', '--list']) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == list_recipes() == sorted(map(name_of, CONFIGS))
    assert all(len(line.split()) > 3 and '#' not in line for line in lines)


@pytest.mark.parametrize('words', [['folder/finetun', 'PHOTOS'], ['PHOTOS', 'configs/folder/finetune'], ['finetune'],
                                   ['configs/folder/finetune.yaml', 'PHOTOS'], ['PHOTOS', '-c', 'folder/finetuning']])
def test_a_recipe_that_is_not_there(words, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / 'PHOTOS').mkdir()
    assert main(['train', *words]) == 2
    text = capsys.readouterr().err
    assert "'folder/finetune'" in text and text.count('\n') == 1


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_recipe_in_configs(path):
    lines = path.read_text(encoding='utf-8').splitlines()
    header = [line for line in lines[:lines.index(next(line for line in lines if not line.startswith('#')))]]
    for field in HEADER:
        said = [line.removeprefix('#').strip() for line in header if line.removeprefix('#').strip().startswith(field)]
        assert len(said) == 1 and len(said[0]) > len(field) + 3, f'{path}: the header has no {field}'
    assert any(f'zoo train {name_of(path)} ' in line for line in header), 'the command names the recipe'
    recipe = read_recipe(path)
    part = recipe.model
    with torch.device('meta'):
        given = dict(drop_rate=part.drop, drop_path_rate=part.drop_path, bn_momentum=part.bn_momentum, bn_eps=part.bn_eps)
        model = zoo.create_model(part.model, **{k: v for k, v in given.items() if v is not None}, **part.model_kwargs)
    assert model.num_classes == 1000
    assert not part.pretrained or zoo.get_pretrained_cfg(part.model).has_weights


@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_recipe_of_configs_can_be_followed(path):
    from zoo.data import create_transform
    from zoo.train.optim import get_optimizer_class
    from zoo.train.schedules import Schedule
    recipe = read_recipe(path)
    part = recipe.schedule
    schedule = Schedule(part, recipe.optimizer.lr, steps_per_epoch=7)
    steps_down = math.floor((part.epochs - 1) / part.decay_epochs)
    last = recipe.optimizer.lr * part.decay_rate ** steps_down if part.sched == 'step' else part.min_lr
    assert math.isclose(schedule.last, last, rel_tol=1e-9, abs_tol=1e-12)
    assert max(schedule.lr(step) for step in range(schedule.total_steps)) <= recipe.optimizer.lr
    assert get_optimizer_class(recipe.optimizer.opt)
    augment = recipe.augment
    create_transform(input_size=(3, 64, 64), is_training=True, auto_augment=augment.aa, scale=augment.scale,
                     interpolation=augment.train_interpolation, color_jitter=augment.color_jitter, hflip=augment.hflip)


def test_timms_published_command_is_the_recipe():
    # huggingface.co/docs/timm/training_script, "EfficientNet-B0 with RandAugment"
    command = ('--model efficientnet_b0 -b 384 --sched step --epochs 450 --decay-epochs 2.4 --decay-rate .97 '
               '--opt rmsproptf --opt-eps .001 -j 8 --warmup-lr 1e-6 --weight-decay 1e-5 --drop 0.2 --drop-path 0.2 '
               '--model-ema --model-ema-decay 0.9999 --aa rand-m9-mstd0.5 --remode pixel --reprob 0.2 --amp --lr .048')
    defaults_of_the_time = ['--warmup-epochs', '3', '--amp-dtype', 'float16', '--ratio', '0.75', '1.3333333333']
    recipe = read_recipe(ROOT / 'configs/imagenet/efficientnet_b0_ra2.yaml')
    assert recipe_of(*command.split(), *defaults_of_the_time) == recipe


def test_commands_of_the_readme():
    commands = re.findall(r'`((?:torchrun [^`]*)?zoo train [^`]*)`', (ROOT / 'README.md').read_text())
    assert len(commands) > 2
    for command in set(commands) - {'zoo train RECIPE DATA', 'zoo train --list'}:
        words = shlex.split(command.partition('zoo train')[2].replace('PHOTOS', 'photos'))
        resumed = '--resume' in words
        if not resumed and '…' not in words:
            assert recipe_of(*words).model.model


# runs

def test_a_dry_run(photos, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    sheet = tmp_path / 'sheet.png'
    words = tiny(photos, '--dry-run', '--dry-run-sheet', str(sheet), '--epochs', '4', '--lr', '0.01', '--min-lr', '0.002',
                 '--cutmix', '1')
    assert main(words) == 0
    text = capsys.readouterr().out
    assert 'epochs: 4  # schedule.epochs=4' in text and '0.40 M' in text and '3x32x32' in text
    for name in COLOURS:
        assert f'{name} ' in text
    rows = [line.split() for line in text.splitlines()]
    assert ['blue', '8', '2'] in rows and ['train', '24', 'images'] in rows and ['val', '6', 'images'] in rows
    assert ['steps', '12,', '3', 'an', 'epoch,', 'of', '8', 'images'] in rows
    assert ['epoch', '0', 'lr', '0.01'] in rows and ['last', 'step', 'lr', '0.002'] in rows
    losses = [float(row[3]) for row in rows if row[:1] == ['step']]
    assert len(losses) == 2 and all(math.isfinite(loss) for loss in losses)
    recipe = yaml.safe_load(text.partition('recipe\n')[2].partition('\nnetwork\n')[0])
    assert recipe['schedule']['min_lr'] == 0.002 and set(recipe) == set(TYPES)
    with Image.open(sheet) as picture:
        assert picture.width > 400 and picture.height > 100
        colours = {picture.getpixel((x, 60)) for x in range(0, picture.width, 7)}
    assert any(b > r + 60 and b > g + 60 for r, g, b in colours) and any(r > b + 60 and r > g + 60 for r, g, b in colours)
    assert [p.name for p in tmp_path.iterdir()] == ['sheet.png']


def test_a_dry_run_names_files_that_cannot_be_read(photos, tmp_path, capsys):
    data = shutil.copytree(photos, tmp_path / 'data')
    for place in ('train/red/2.jpg', 'val/blue/0.jpg'):
        (data / place).write_bytes((data / place).read_bytes()[:-200])
    words = tiny(data, '--dry-run', '--dry-run-sheet', str(tmp_path / 'sheet.png'), '--epochs', '1')
    assert main(words) == 2
    out, err = capsys.readouterr()
    assert '30 of 30 files looked at, 2 of which cannot be read' in out
    assert 'train  red/2.jpg (' in out and 'val  blue/0.jpg (' in out and 'red/2.jpg' in err
    assert main([*words, '--max-unreadable', '1']) == 0


def test_what_an_override_leaves_idle_is_said(photos, tmp_path, capsys):
    recipe = tmp_path / 'some.yaml'
    recipe.write_text('schedule:\n  warmup_epochs: 5\n  warmup_lr: 1e-4\n'
                      'ema:\n  model_ema: true\n  model_ema_decay: 0.9\n')
    words = tiny(photos, str(recipe), '--epochs', '1', '--no-model-ema', '--output', str(tmp_path), '--experiment', 'a')
    said = [f'{recipe}:3: schedule.warmup_lr, which needs schedule.warmup_epochs',
            f'{recipe}:6: ema.model_ema_decay, which needs ema.model_ema: true']
    assert main([*words, '--dry-run', '--dry-run-sheet', str(tmp_path / 'sheet.png')]) == 0
    text = capsys.readouterr().out
    assert text.partition('\nidle\n')[2].splitlines()[:2] == [f'  {line}' for line in said]
    assert '  warmup_lr: 1.0e-05\n' in text                       # the default, from no file
    assert main(words) == 0
    text = capsys.readouterr().out
    assert all(f'  idle: {line}\n' in text for line in said)
    assert main(['train', '--resume', str(tmp_path / 'a')]) == 0


def test_train_and_go_on(photos, tmp_path, capsys):
    words = tiny(photos, '--epochs', '2', '--output', str(tmp_path), '--experiment', 'first', '--lr', '0.01')
    assert main(words) == 0
    folder = tmp_path / 'first'
    assert f'{folder}/model_best.safetensors' in capsys.readouterr().out
    written = read_recipe(folder / 'recipe.yaml')
    assert written.schedule.epochs == 2 and written.data.data == str(photos) and written.run.experiment == 'first'
    assert main(['train', '--resume', str(folder), '--dry-run']) == 2
    assert 'how a run begins' in capsys.readouterr().err
    assert main(words) == 2                                     # it is there already
    assert 'has a run already' in capsys.readouterr().err
    assert main(['train', '--resume', str(folder)]) == 0        # which is complete
    assert main(['train', '--resume', str(folder / 'last.safetensors'), '--lr', '0.02']) == 2
    assert 'optimizer.lr' in capsys.readouterr().err


KINDS = {key: (TYPES[section][key], *get_args(TYPES[section][key])) for key, section in SECTION_OF.items()}
LISTS = {key: next((get_args(kind) for kind in kinds if get_origin(kind) is tuple), ()) for key, kinds in KINDS.items()}
NEEDS = {'opt_betas': ['--opt', 'adamw'], 'decay_milestones': ['--sched', 'multistep']}
# lists of runs that these photographs, or this network, are not for -> what else their recipe says
ELSEWHERE = {key: {'dense.task': 'segment', 'dense.classes': '[a, b]', 'dense.crop': '[64, 64]'} if section == 'dense' else
             {'data.naflex_loader': 'true', 'data.naflex_patch_sizes': '[8, 16]'}
             for key, section in SECTION_OF.items() if LISTS[key] and (section == 'dense' or key.startswith('naflex'))}


@pytest.mark.in_turn
@pytest.mark.parametrize('key', [key for key, items in LISTS.items() if items and key not in ELSEWHERE])
def test_lists_of_another_length_are_refused(key, photos, tmp_path, capsys):
    """Each list of a recipe, with from none to five numbers: it trains, or the error names the key."""
    option, done = f'--{key.replace("_", "-")}', []
    for count in range(6):
        values = [f'{0.2 + 0.05 * number:.2f}' for number in range(count)]
        words = tiny(photos, *NEEDS.get(key, []), '--epochs', '2', option, *values)
        try:
            status = main([*words, '--dry-run', '--dry-run-sheet', str(tmp_path / 'sheet.png')])
        except SystemExit as stop:
            status = stop.code
        text = capsys.readouterr().err
        done.append(status)
        assert status == 0 and not text or status == 2 and text.count('\n') == 1 and (
            option in text or key.removeprefix('opt_') in text or 'belongs to no option' in text), text
    assert done[0] == 2 and 0 in done


@pytest.mark.parametrize('key', ELSEWHERE)
def test_lists_of_another_length_are_refused_of_boxes_masks_and_patches(key):
    chances = key == 'naflex_patch_size_probs'
    written = {str: 'abcde', int: range(8, 13), float: (0.5,) * 5 if chances else (0.5, 0.6, 0.7, 0.8, 0.9)}[LISTS[key][0]]
    name, done = f'{SECTION_OF[key]}.{key}', []
    for count in range(6):
        try:
            chosen = ELSEWHERE[key] | {name: f'[{", ".join(map(str, written[:count]))}]'}
            read_recipe(None, [f'{other}={value}' for other, value in chosen.items()])
            done.append(True)
        except ValueError as error:
            assert f'{name} is ' in str(error)
            done.append(False)
    assert not done[0] and True in done


@pytest.mark.parametrize('key', [key for key, items in LISTS.items() if items])
@pytest.mark.parametrize('value', ['[0.3, x]', '[[0.1], 0.2]', '{a: 1}', 'text', '[]', 'true'])
def test_lists_of_other_values_are_refused(key, value):
    with pytest.raises(ValueError, match=f'{SECTION_OF[key]}.{key} is .*; it takes (a number or )?a list'):
        read_recipe(None, [f'{key}={value}'])


def test_the_folder_of_a_run_stands_for_its_best_network(photos, tmp_path, capsys):
    from zoo.pretrained import read_state_dict
    from zoo.train import load_trained
    run = tmp_path / 'run'
    assert main(tiny(photos, '--epochs', '1', '--output', str(tmp_path), '--experiment', 'run', '--lr', '1e-4')) == 0
    best = run / 'model_best.safetensors'
    state = load_trained(run).state_dict()
    assert all(torch.equal(state[key], value) for key, value in read_state_dict(best).items())
    image = str(photos / 'val' / 'red' / '0.jpg')
    for command in (['predict', image, '--device', 'cpu'],
                    ['validate', str(photos), '--split', 'val', '--no-fold', '-j', '0']):
        found = []
        for place in (run, best):
            capsys.readouterr()
            assert main([*command, '--checkpoint', str(place)]) == 0
            found.append(re.sub(r' +[\d.]+\n', '\n', capsys.readouterr().out))         # without images a second
        assert found[0] == found[1]
    words = tiny(photos, '--epochs', '1', '--dry-run', '--dry-run-sheet', str(tmp_path / 'sheet.png'))
    assert main([*words, '--initial-checkpoint', str(run)]) == 0
    assert main([*words, '--kd-model-name', 'mobilenetv2_035', '--kd-checkpoint', str(run)]) == 0
    capsys.readouterr()
    best.unlink()
    assert main(['predict', image, '--checkpoint', str(run)]) == 2
    assert 'model_best.safetensors' in capsys.readouterr().err


def test_a_run_without_a_name_gets_one(photos, tmp_path):
    assert main(tiny(photos, '--epochs', '1', '--output', str(tmp_path))) == 0
    names = [path.name for path in tmp_path.iterdir()]
    assert len(names) == 1 and names[0].endswith('-mobilenetv2_035')


def test_the_script_is_the_command(photos, tmp_path):
    done = subprocess.run([sys.executable, 'train.py', '--help'], cwd=ROOT, capture_output=True, text=True,
                          env={**os.environ, 'PYTHONPATH': str(ROOT)})
    assert done.returncode == 0 and '--model-ema-decay' in done.stdout


def test_what_the_network_does_not_take(photos, tmp_path, capsys):
    assert main(tiny(photos, '--epochs', '1', '--output', str(tmp_path), 'model_kwargs.act_layr=relu')) == 2
    assert 'act_layer' in capsys.readouterr().err
    assert not any(tmp_path.iterdir())


def test_several_labels(tmp_path, capsys):
    rows = ['image,labels,split']
    for number in range(12):
        Image.new('RGB', (40, 40), (20 * number, 90, 120)).save(tmp_path / f'{number}.jpg')
        rows.append(f'{number}.jpg,{["RBC;WBC", "RBC", ""][number % 3]},{"val" if number > 8 else "train"}')
    (tmp_path / 'cells.csv').write_text('\n'.join(rows))
    words = ['train', str(ROOT / 'configs/folder/multilabel.yaml'), f'{tmp_path}/cells.csv?task=multi', '--model',
             'mobilenetv2_035', '--no-pretrained', '--img-size', '32', '-b', '4', '-j', '0', '--dry-run',
             '--dry-run-sheet', str(tmp_path / 'sheet.png'), '--device', 'cpu']
    assert main(words) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ['RBC', '6', '2'] in rows and ['WBC', '3', '1'] in rows and ['best', 'by', 'map'] in rows


def test_images_that_are_not_split(photos, tmp_path, capsys):
    folder = photos / 'train'
    words = ['--epochs', '1', '--dry-run', '--dry-run-sheet', str(tmp_path / 'sheet.png')]
    assert main(tiny(folder, *words)) == 2
    assert 'data.train_split=none data.hold_out=0.2' in capsys.readouterr().err
    assert main(tiny(folder, *words, 'train_split=none', 'hold_out=0.2')) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert ['blue', '6', '2'] in rows and ['red', '6', '2'] in rows


def test_no_validation_images(photos, tmp_path, capsys):
    """A folder with train/ alone, and a table of training rows alone, are told of data.hold_out, which works."""
    shutil.copytree(photos / 'train', tmp_path / 'only' / 'train')
    names = [f'{colour}/{number}.jpg' for colour in COLOURS for number in range(8)]
    (tmp_path / 'rows.csv').write_text('\n'.join(['image,label', *(f'{n},{n.partition("/")[0]}' for n in names)]))
    (tmp_path / 'split.csv').write_text('\n'.join(
        ['image,label,split', *(f'{n},{n.partition("/")[0]},train' for n in names)]))
    words = ['--epochs', '1', '--dry-run', '--dry-run-sheet', str(tmp_path / 'sheet.png')]
    root = f'?root={tmp_path}/only/train'
    for place, more in ((f'{tmp_path}/only', []), (f'{tmp_path}/rows.csv{root}', ['train_split=none']),
                        (f'{tmp_path}/split.csv{root}', [])):
        assert main(tiny(place, *words, *more)) == 2
        text = capsys.readouterr().err
        assert 'data.hold_out=0.2; to train without any: data.val_split=none' in text
        assert 'leave the split out' not in text
        for change, val in (('hold_out=0.2', '6 images'), ('val_split=none', 'none')):
            assert main(tiny(place, *words, *more, change)) == 0
            assert f'val  {val}' in capsys.readouterr().out


def test_what_is_held_out_depends_on_names_alone(photos):
    from zoo.data import create_dataset
    from zoo.train.holdout import hold_out
    source = create_dataset(photos / 'train', class_map='folders')
    train, val = hold_out(source, 0.3)
    names = [{part.name(i) for i in range(len(part))} for part in (train, val)]
    assert len(train) == 18 and len(val) == 6 and not names[0] & names[1]
    assert all(part.target(i) == source.class_names.index(part.name(i).partition('/')[0])
               for part in (train, val) for i in range(len(part)))
    assert all(val.encoded(i) == (photos / 'train' / val.name(i)).read_bytes() for i in range(len(val)))
    again = {val.name(i) for val in [hold_out(source, 0.3)[1]] for i in range(len(val))}
    assert again == names[1] and val.class_names == source.class_names and val.num_classes == 3


def test_a_sheet_names_what_is_mixed(photos, tmp_path):
    from zoo.train.task import described
    from zoo.train.trainer import Trainer
    base = ['model=mobilenetv2_035', f'data.data={photos}', 'img_size=32', 'batch_size=8', 'workers=0', 'device=cpu']
    trainer = Trainer(read_recipe(None, [*base, 'cutmix_minmax=[0.6, 0.7]']), quiet=True)
    batch = next(iter(trainer.loader.batches(0)))
    _, targets = trainer.inputs(batch, 0)
    names = [name.partition('/')[0] for name in batch.names]
    for own, other, target in zip(names, reversed(names), targets):
        text = described(trainer.sources, target)
        assert text == own if own == other else own in text and other in text and ' + ' in text
    plain = Trainer(read_recipe(None, base), quiet=True)
    assert described(plain.sources, plain.inputs(batch, 0)[1][0]) == names[0]


@pytest.mark.slow
def test_two_processes(photos, tmp_path):
    words = [word for word in tiny(photos, '--epochs', '1', '--output', str(tmp_path)) if word != 'train']
    done = subprocess.run(
        [sys.executable, '-m', 'torch.distributed.run', '--nproc-per-node', '2', '--standalone', 'train.py', *words],
        cwd=ROOT, capture_output=True, text=True, timeout=120,
        env={**os.environ, 'PYTHONPATH': str(ROOT), 'OMP_NUM_THREADS': '1'})
    assert done.returncode == 0, done.stderr
    assert done.stdout.count('model_best.safetensors') == 1 and len(list(tmp_path.iterdir())) == 1


def test_an_initial_checkpoint_of_other_classes_gets_a_new_head_and_a_teacher_is_refused(photos, tmp_path, capsys):
    torch.save(zoo.create_model('mobilenetv2_035', num_classes=5).state_dict(), tmp_path / 't.pth')
    once = ['--epochs', '1', '--output', str(tmp_path / 'runs')]
    assert main(tiny(photos, '--initial-checkpoint', str(tmp_path / 't.pth'), '--dry-run', *once)) == 0
    capsys.readouterr()
    teacher = ['--kd-model-name', 'mobilenetv2_035', '--kd-checkpoint', str(tmp_path / 't.pth')]
    assert main(tiny(photos, *teacher, *once)) == 2
    assert 'The teacher: ' in (said := capsys.readouterr().err) and 'has 5 classes, and the network 3' in said


@pytest.mark.parametrize('channels', [1, 2, 4])
def test_grey_images_train_a_network_of_any_channels(channels: int, tmp_path: Path,
                                                     capsys: pytest.CaptureFixture[str]) -> None:
    for split, count in (('train', 4), ('val', 2)):
        for name, level in (('dark', 40), ('light', 200)):
            (tmp_path / 'photos' / split / name).mkdir(parents=True)
            for number in range(count):
                image = Image.new('L', (40, 48), level + number)
                image.save(tmp_path / 'photos' / split / name / f'{number}.png')
    photos = str(tmp_path / 'photos')
    assert main(['train', photos, '--model', 'test_efficientnet', '--in-chans', str(channels), '--img-size', '32', '-b',
                 '2', '-j', '0', '--epochs', '1', '--warmup-epochs', '0', '--device', 'cpu', '--exif', '--output',
                 str(tmp_path), '--experiment', 'run']) == 0
    best = str(tmp_path / 'run' / 'model_best.safetensors')
    words = ['validate', photos, '--split', 'val', '--checkpoint', best, '-j', '0', '--device', 'cpu', '--exif']
    assert main(words) == 0
    assert 'zoo: 4 images in' in capsys.readouterr().err
    assert main(['predict', photos, '--checkpoint', best, '--device', 'cpu']) == 0
    assert 'light' in capsys.readouterr().out
