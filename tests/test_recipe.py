"""Recipes: what is read, what is refused, what is written."""
from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Literal, get_args, get_origin

import pytest
import yaml

from zoo.train.reading import SECTION_OF, TYPES, build_recipe, idle_sources, read_recipe, read_sources, write_recipe
from zoo.train.recipe import Recipe
from zoo.train.rules import check_recipe


CONFIGS = sorted((Path(__file__).parent.parent / 'configs').rglob('*.yaml'))


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / 'recipe.yaml'
    path.write_text(text)
    return path


def refused(tmp_path: Path, text: str, *overrides: str) -> str:
    with pytest.raises(ValueError) as caught:
        read_recipe(written(tmp_path, text), overrides)
    return str(caught.value)


def test_every_key_stands_in_one_section_only():
    assert len(SECTION_OF) == sum(len(keys) for keys in TYPES.values())


def test_values_and_types(tmp_path):
    recipe = read_recipe(written(tmp_path, '''
# a comment
model: {model: efficientnet_b0, pretrained: yes, model_kwargs: {act_layer: relu, pad: [1, 2]}}
optimizer:
  lr: 1e-3
  weight_decay: 2E+1
  opt_betas: [0, 0.5]
augment:
  color_jitter: [0.1, .2, 3]
  scale: [0.5, 1]
  hflip: 0
schedule:
  epochs: 12
run:
  experiment: 2024-01-01
  amp: off
ema:
'''))
    assert recipe.model.pretrained is True and recipe.run.amp is False
    assert recipe.model.model_kwargs == {'act_layer': 'relu', 'pad': [1, 2]}
    assert recipe.optimizer.lr == 0.001 and recipe.optimizer.weight_decay == 20.0
    assert recipe.optimizer.opt_betas == (0.0, 0.5) and type(recipe.optimizer.opt_betas[0]) is float
    assert recipe.augment.color_jitter == (0.1, 0.2, 3.0) and recipe.augment.scale == (0.5, 1.0)
    assert type(recipe.augment.hflip) is float
    assert recipe.run.experiment == '2024-01-01'
    assert recipe.ema == Recipe().ema


def test_an_empty_file_is_the_defaults(tmp_path):
    assert read_recipe(written(tmp_path, '# nothing\n')) == read_recipe(None) == Recipe()


@pytest.mark.parametrize('text, words', [
    ('optimiser: {lr: 1}', ["recipe.yaml:1", "'optimiser'", "'optimizer'"]),
    ('lr: 0.1', ["recipe.yaml:1", "'lr'", "'optimizer'"]),
    ('model: efficientnet_b0', ["recipe.yaml:1", "'model' is a section", 'model.model']),
    ('model:\n  modell: x', ['recipe.yaml:2', "'modell'", 'model.model']),
    ('schedule:\n  warmup_epoch: 5', ['recipe.yaml:2', 'schedule.warmup_epochs']),
    ('optimizer:\n  opt: sgd\n  epochs: 5', ['recipe.yaml:3', "'epochs'", "'schedule'", "not 'optimizer'"]),
    ('schedule:\n  epochs: 1e1', ['recipe.yaml:2', 'schedule.epochs is 10.0', 'a whole number']),
    ('schedule:\n  epochs: ten', ["schedule.epochs is the text 'ten'", 'a whole number']),
    ('schedule:\n  epochs: null', ['schedule.epochs is null', 'a whole number']),
    ('model:\n  model: no', ['model.model is false', 'quote it', 'a text']),
    ('model:\n  pretrained: 1', ['model.pretrained is 1', 'true or false']),
    ('augment:\n  scale: [1, 2, 3]', ['augment.scale', 'a list of 2 numbers']),
    ('augment:\n  scale: 1', ['augment.scale', 'a list of 2 numbers']),
    ('augment:\n  mixup_mode: bach', ["augment.mixup_mode 'bach'", "'batch'"]),
    ('optimizer:\n  lr: .inf', ['optimizer.lr', 'a number or nothing']),
    ('optimizer:\n  lr: "0.1"', ["the text '0.1'", 'a number']),
    ('optimizer:\n  lr: 1\n  lr: 1', ['recipe.yaml:3', "'lr'", 'twice', 'line 2']),
    ('run: {amp: true}\nrun: {amp: true}', ['recipe.yaml:2', "'run'", 'twice']),
    ('model:\n  model_kwargs: [1]', ['model.model_kwargs', 'keys and values']),
    ('model: !!python/object:os.system {}', ['recipe.yaml:1', 'os.system']),
    ('model: !here {}', ['recipe.yaml:1', '!here']),
    ('model: {model_kwargs: &a {b: *a}}', ['recipe.yaml:1', 'reference']),
    ('model: {', ['recipe.yaml', 'not YAML']),
    ('- model', ['sections']),
])
def test_what_is_refused_by_form(tmp_path, text, words):
    message = refused(tmp_path, text)
    for word in words:
        assert word in message, message


@pytest.mark.parametrize('change, words', [
    ('lr=-1', ['optimizer.lr is -1.0', 'above 0']),
    ('epochs=0', ['schedule.epochs is 0', 'at least 1']),
    ('batch_size=0', ['at least 1']),
    ('workers=-1', ['at least 0']),
    ('reprob=1.5', ['from 0 to 1']),
    ('opt_betas=[0.9, 1.0]', ['from 0 to below 1']),
    ('smoothing=1', ['from 0 to below 1']),
    ('scale=[0.9, 0.1]', ['rise']),
    ('epochs=5', ['schedule.epochs is 5', 'warm-up (5)', 'schedule.warmup_epochs']),
    ('aug_splits=1', ['at least 2']),
    ('loss=jsd', ['augment.aug_splits']),
    ('mixup_prob=0.5', ['augment.mixup_prob is 0.5', 'nothing reads', 'augment.mixup or augment.cutmix']),
    ('decay_rate=0.5', ['schedule.decay_rate is 0.5', 'schedule.sched: step']),
    ('kd_temperature=2', ['distill.kd_model_name']),
    ('model_ema_decay=0.9', ['ema.model_ema']),
    ('kd_hard=false', ['nothing reads', 'distill.kd_model_name']),
])
def test_what_is_refused_by_meaning(change, words):
    with pytest.raises(ValueError) as caught:
        read_recipe(None, [change])
    for word in [change, *words]:
        assert word in str(caught.value)


@pytest.mark.parametrize('changes', [
    ['pretrained=true', 'initial_checkpoint=x.pth'], ['no_aug=true', 'mixup=0.1'], ['aug_splits=2', 'cutmix=1'],
    ['lr=0.1', 'min_lr=0.2'], ['lr=0.1', 'lr_base=0.2'],
])
def test_what_is_refused_together(changes):
    for change in changes[:1]:
        read_recipe(None, [change])
    with pytest.raises(ValueError):
        read_recipe(None, changes)


def test_overrides(tmp_path):
    path = written(tmp_path, 'schedule: {epochs: 30}\nmodel: {model_kwargs: {a: 1}}')
    recipe = read_recipe(path, ['schedule.epochs=40', 'batch_size=8', 'optimizer.lr=1e-2', 'augment.scale=[0.2, 1]',
                                'model.model_kwargs.b=[1, x]', 'experiment=12', 'data.data=a=b: {c} #d', 'aa=none',
                                'augment.color_jitter=null'])
    assert recipe.schedule.epochs == 40 and recipe.data.batch_size == 8 and recipe.optimizer.lr == 0.01
    assert recipe.augment.scale == (0.2, 1.0) and recipe.model.model_kwargs == {'a': 1, 'b': [1, 'x']}
    assert recipe.run.experiment == '12' and recipe.data.data == 'a=b: {c} #d'
    assert recipe.augment.aa is None and recipe.augment.color_jitter is None


@pytest.mark.parametrize('change, words', [
    ('schedule.epoch=3', ['schedule.epochs']),
    ('schedul.epochs=3', ["'schedul'", "'schedule'"]),
    ('optimizer.epochs=3', ["'schedule'"]),
    ('epochss=3', ['schedule.epochs']),
    ('schedule.epochs.x=3', ['no entries']),
    ('schedule.epochs', ['section.key=value']),
    ('optimizer.lr={', ['YAML']),
])
def test_overrides_that_are_refused(change, words):
    with pytest.raises(ValueError) as caught:
        read_recipe(None, [change])
    for word in words:
        assert word in str(caught.value)


def test_a_key_is_changed_once():
    with pytest.raises(ValueError, match=r'twice: epochs=6 and schedule.epochs=7'):
        read_recipe(None, ['epochs=6', 'schedule.epochs=7'])
    assert read_recipe(None, ['epochs=6', 'schedule.epochs=6']).schedule.epochs == 6


def test_sources_say_where_a_value_is_from(tmp_path):
    path = written(tmp_path, 'schedule:\n  epochs: 30\n  sched: step')
    sources = read_sources(path, ['epochs=40'])
    assert sources['schedule.epochs'].where == 'epochs=40' and sources['schedule.sched'].where == f'{path}:3'


def switches() -> list[str]:
    """Changes that turn each key of a recipe off, or to another of its words, or on where that is one word."""
    found = []
    for key, section in SECTION_OF.items():
        kinds = (TYPES[section][key], *get_args(TYPES[section][key]))
        words = [word for kind in kinds if get_origin(kind) is Literal for word in get_args(kind)]
        words += ['true', 'false'] if bool in kinds else ['0'] if {int, float} & set(kinds) else []
        found += [f'{section}.{key}={word}' for word in (*words, *(['none'] if type(None) in kinds else []))]
    return found + ['model.initial_checkpoint=x.pth', 'data.hold_out=0.2', 'data.val_data=x']


@pytest.mark.in_turn
@pytest.mark.parametrize('path', CONFIGS, ids=lambda p: p.stem)
def test_an_override_of_a_recipe_in_configs_wins(path):
    left = 0
    for change in switches():
        try:
            sources = read_sources(path, [change])
            recipe = build_recipe(sources)
        except ValueError as error:         # of the override, or of two values that the caller has to choose between
            assert str(error).startswith(change) or 'nothing reads' not in str(error) and 'only one' not in str(error)
            continue
        idle = idle_sources(sources)
        left += len(idle)
        for name, source in sources.items():
            section, key = name.split('.')
            assert getattr(getattr(recipe, section), key) == (
                getattr(getattr(Recipe(), section), key) if name in idle else source.value)
        assert change.partition('=')[0] not in idle
    assert left


@pytest.mark.parametrize('text, change, idle', [
    ('schedule: {warmup_lr: 1e-3, warmup_prefix: true}', 'warmup_epochs=0',
     {'schedule.warmup_lr': 'needs schedule.warmup_epochs', 'schedule.warmup_prefix': 'needs schedule.warmup_epochs'}),
    ('augment: {mixup: 0.2, cutmix: 1, mixup_prob: 0.5, mixup_switch_prob: 0.3}', 'mixup=0',
     {'augment.mixup_switch_prob': 'needs both augment.mixup and augment.cutmix'}),
    ('augment: {mixup: 0.2, mixup_prob: 0.5, aa: v0}', 'no_aug=true',
     {'augment.mixup': 'does not go with augment.no_aug', 'augment.aa': 'does not go with augment.no_aug',
      'augment.mixup_prob': 'needs augment.mixup or augment.cutmix'}),
    ('model: {pretrained: true}', 'initial_checkpoint=x.pth',
     {'model.pretrained': 'does not go with model.initial_checkpoint'}),
    ('data: {val_split: test, val_data: x}', 'hold_out=0.1',
     {'data.val_split': 'does not go with data.hold_out', 'data.val_data': 'does not go with data.hold_out'}),
])
def test_what_an_override_leaves_idle(tmp_path, text, change, idle):
    sources = read_sources(written(tmp_path, text), [change])
    assert idle_sources(sources) == idle
    recipe = build_recipe(sources)
    check_recipe(recipe)
    assert read_recipe(written(tmp_path, write_recipe(recipe))) == recipe


@pytest.mark.parametrize('text, changes, key', [
    ('augment: {mixup_prob: 0.5}', ['lr=0.1'], 'augment.mixup_prob'),               # the file's own mistake
    ('augment: {mixup: 0.2}', ['mixup=0', 'mixup_prob=0.5'], 'augment.mixup_prob'),  # the caller's own
    ('schedule: {sched: cosine}', ['decay_rate=0.5'], 'schedule.decay_rate'),
    ('augment: {no_aug: true, aa: v0}', ['lr=0.1'], 'augment.no_aug'),
    ('', ['no_aug=true', 'aa=v0'], 'augment.no_aug'),
])
def test_an_idle_key_that_no_override_made_so_is_refused(tmp_path, text, changes, key):
    assert key in refused(tmp_path, text, *changes)


def test_a_missing_file():
    with pytest.raises(FileNotFoundError, match='no/recipe.yaml'):
        read_recipe('no/recipe.yaml')


AWKWARD = ['', 'no', 'null', '1e-3', '12', '-.5', '~', 'a: b', ' x ', '# y', '"', "it's", '[1]', 'ä', '2024-01-01', '0x1F',
           '1_000', '=', 'line\nbreak', '.inf', 'On', 'x' * 300, '010', '1:30']


@pytest.mark.parametrize('text', AWKWARD)
def test_what_is_written_is_read_again(tmp_path, text):
    recipe = Recipe()
    recipe = dataclasses.replace(
        recipe, run=dataclasses.replace(recipe.run, experiment=text),
        model=dataclasses.replace(recipe.model, model_kwargs={text: [text, 1, None, 0.5, True, {'deep': 1e-20}]}),
        optimizer=dataclasses.replace(recipe.optimizer, lr=1e-3, opt_betas=(0.6, 0.999), weight_decay=1 / 3))
    path = written(tmp_path, write_recipe(recipe))
    assert read_recipe(path) == recipe
    plain = yaml.safe_load(path.read_text())                     # and by others
    assert plain['run']['experiment'] == text and plain['optimizer']['lr'] == 1e-3


def test_a_record_is_checked_as_a_file_is():
    with pytest.raises(ValueError, match='schedule.epochs is 0; it has to be at least 1'):
        check_recipe(dataclasses.replace(Recipe(), schedule=dataclasses.replace(Recipe().schedule, epochs=0)))
