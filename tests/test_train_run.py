"""What a run trains on, what its steps do, and the network it leaves."""
from __future__ import annotations

import io
import json
import multiprocessing
import shutil
import sys
from pathlib import Path

import pytest
import torch
from PIL import Image
from train_runs import TINY, make_discs, rows, same, state_of, stop_in, tiny_recipe

import zoo
from zoo.cli import main
from zoo.data import create_dataset
from zoo.train import load_trained
from zoo.train.inputs import Inputs
from zoo.train.loader import Batch, TrainImages, TrainLoader
from zoo.train.readable import Look, look_at
from zoo.train.sources import open_sources
from zoo.train.targets import TargetScale
from zoo.train.trainer import Trainer, train

STILL = dict(model=dict(drop=0.0, drop_path=0.0, model_kwargs=TINY | {
    'norm_layer': 'groupnorm', 'norm_kwargs': {'num_groups': 4}}), optimizer=dict(opt='momentum', lr=0.05))


@pytest.fixture(scope='module')
def run(images, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('runs') / 'run'
    train(tiny_recipe(images), folder, quiet=True)
    return folder


def loader(images: Path, workers: int = 0, batch_size: int = 4, **options) -> TrainLoader:
    def transform(image: Image.Image) -> torch.Tensor:
        return torch.randint(0, 255, (3, 2, 2), dtype=torch.uint8)
    source = create_dataset(images, 'train', class_map='folders')
    return TrainLoader(TrainImages(source, transform, seed=1), batch_size, workers, **options)


def drawn(found: TrainLoader, epoch: int, start: int = 0) -> list[tuple[list[str], torch.Tensor]]:
    return [(batch.names, batch.levels) for batch in found.batches(epoch, start)]


def test_an_image_depends_on_its_place_alone(images):
    whole = drawn(loader(images), 3)
    assert len(whole) == 5 and len({name for names, _ in whole for name in names}) == 20
    assert same(drawn(loader(images, workers=2), 3), whole)
    assert same(drawn(loader(images), 3, start=2), whole[2:])
    again = loader(images, workers=1)
    drawn(again, 0)
    assert same(drawn(again, 3), whole) and not same(drawn(again, 4), whole)
    state = torch.get_rng_state()
    drawn(loader(images), 1)
    assert torch.equal(torch.get_rng_state(), state)


def test_processes_share_the_batches_of_one(images):
    whole = drawn(loader(images, batch_size=4), 2)
    parts = [drawn(loader(images, batch_size=2, part=part, parts=2), 2) for part in (0, 1)]
    for (names, levels), (first, one), (second, two) in zip(whole, *parts, strict=True):
        assert names[0::2] == first and names[1::2] == second
        assert torch.equal(levels[0::2], one) and torch.equal(levels[1::2], two)


def test_repeats_come_in_a_row(images):
    names = [name for names, _ in drawn(loader(images, batch_size=5, repeats=2), 0) for name in names]
    assert len(names) == 20 and names[0::2] == names[1::2] and len(set(names)) == 10


@pytest.mark.parametrize('update', [2, 99])
def test_a_run_leaves_no_process_behind(images, tmp_path, update):
    recipe = tiny_recipe(images, data=dict(workers=1), schedule=dict(epochs=1, warmup_epochs=0))
    trainer = Trainer(recipe, tmp_path / 'run', quiet=True)
    stop_in(trainer, update)
    before = {*multiprocessing.active_children()}
    assert trainer.run().status == (143 if update == 2 else 0)
    assert {*multiprocessing.active_children()} <= before
    assert len(list(trainer.loader.batches(1))) == 5                   # it can be read all the same


def test_a_set_smaller_than_a_batch_is_refused(images):
    with pytest.raises(ValueError, match='20 training images, fewer than one batch'):
        loader(images, batch_size=21)
    with pytest.raises(ValueError, match='11 x 2 processes'):
        loader(images, batch_size=11, parts=2)


def test_classes_of_validation_go_by_name(images, tmp_path):
    shutil.copytree(images, tmp_path / 'some')
    shutil.rmtree(tmp_path / 'some' / 'val' / 'ants')
    part = tiny_recipe(tmp_path / 'some').data
    found = open_sources(part)
    assert found.class_names == ['ants', 'bees'] and {found.val.target(i) for i in range(len(found.val))} == {1}
    (tmp_path / 'some' / 'val' / 'bees').rename(tmp_path / 'some' / 'val' / 'wasps')
    with pytest.raises(ValueError, match="wasps"):
        open_sources(part)
    (tmp_path / 'some' / 'val' / 'wasps').rename(tmp_path / 'some' / 'val' / 'bees')
    shutil.copytree(images / 'train' / 'ants', tmp_path / 'some' / 'train' / 'aardvarks')
    assert {open_sources(part, ['ants', 'bees', 'aardvarks']).val.target(0)} == {1}       # as a run saved them


@pytest.mark.parametrize('task, targets, outputs, metric', [
    ('multi', ('red,blue', '1,0', '0,1'), 2, 'map'), ('regression', ('level', '0.3', '0.7'), 1, 'mae')])
def test_several_classes_and_numbers(images, tmp_path, capsys, task, targets, outputs, metric):
    lines = [f'file,split,{targets[0]}']
    for path in sorted(images.rglob('*.png')):
        name = path.relative_to(images).as_posix()
        lines.append(f'{name},{name.partition("/")[0]},{targets[1 + ("bees" in name)]}')
    table = tmp_path / 'table.csv'
    table.write_text('\n'.join(lines))
    recipe = tiny_recipe(f'{table}?task={task}&target={targets[0]}&root={images}', schedule=dict(epochs=2))
    result = train(recipe, tmp_path / 'run', quiet=True)
    assert result.rows[-1]['val_loss'] > 0
    assert result.metric == metric and len(result.rows) == 2 and result.best is not None
    model = load_trained(tmp_path / 'run' / 'model_best.safetensors')
    assert (model.task, model.num_classes) == (task, outputs)
    assert main(['predict', '--checkpoint', str(tmp_path / 'run' / 'model_best.safetensors'), '--json',
                 str(images / 'val' / 'ants' / '0.png')]) == 0
    found, = json.loads(capsys.readouterr().out)['predictions'][:1]
    assert ('value' in found) == (task == 'regression') and ('class' in found) == (task == 'multi')


def test_numbers_of_any_size_are_learned_and_predicted_in_their_units(tmp_path, capsys):
    spec, folder = make_discs(tmp_path / 'discs'), tmp_path / 'run'
    recipe = tiny_recipe(spec, model=dict(img_size=32, drop=0.0, drop_path=0.0), augment=dict(no_aug=True),
                         schedule=dict(epochs=8), ema=dict(model_ema=False), run=dict(checkpoint_hist=8))
    train(recipe, folder, quiet=True)
    row = rows(folder)[-1]
    assert float(row['r2']) > 0.5                       # about 0 where the targets are learned as they are
    images = [tmp_path / 'discs' / f'val{number}.png' for number in range(24)]
    truth = [line.split(',') for line in (tmp_path / 'discs' / 'discs.csv').read_text().splitlines()[1:]]
    radii = [float(radius) for _, split, radius in truth if split == 'val']
    for name in ('checkpoint-7.safetensors', 'last.safetensors'):
        assert main(['predict', '--checkpoint', str(folder / name), '--json', *map(str, images)]) == 0
        found = [json.loads(line)['predictions'] for line in capsys.readouterr().out.splitlines()]
        errors = [abs(one['value'] - radius) for (one,), radius in zip(found, radii, strict=True)]
        assert sum(errors) / 24 == pytest.approx(float(row['mae']), rel=1e-3)
    scale = zoo.train.trained_record(folder / 'checkpoint-7.safetensors')['target_scale']
    known = [float(radius) for _, split, radius in truth if split == 'train']
    assert scale['mean'] == pytest.approx([sum(known) / 48])
    deviation = scale['std'][0]
    assert float(row['val_loss']) == pytest.approx(sum(e ** 2 for e in errors) / 24 / deviation ** 2, rel=1e-3)
    assert main(['predict', '--checkpoint', str(folder / 'last.safetensors'), str(images[0])]) == 0
    head, line = capsys.readouterr().out.splitlines()
    assert head.split() == ['file', 'value'] and float(line.split()[1]) == pytest.approx(found[0][0]['value'], rel=1e-3)
    with pytest.raises(ValueError, match='data.scale_targets=false'):
        TargetScale((0.0,), (1.0,)).check(Headless())


class Headless(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.head = torch.nn.Linear(3, 1, bias=False)

    def get_classifier(self) -> torch.nn.Module:
        return self.head


def test_the_validation_loss_is_that_of_the_data_without_smoothing(images, tmp_path):
    recipe = tiny_recipe(images, run=dict(eval_metric='val_loss', checkpoint_hist=3), loss=dict(smoothing=0.3))
    result = train(recipe, tmp_path / 'run', quiet=True)
    losses = [row['val_loss'] for row in result.rows]
    assert (result.best, result.best_epoch) == (min(losses), losses.index(min(losses)))
    source = open_sources(recipe.data).val
    for epoch, loss in enumerate(losses):
        model = load_trained(tmp_path / 'run' / f'checkpoint-{epoch}.safetensors')
        transform = zoo.data.create_transform(**zoo.data.resolve_model_data_config(model))
        inputs = torch.stack([transform(zoo.data.load_image(images / 'val' / source.name(i)))
                              for i in range(len(source))])
        targets = torch.tensor([source.target(i) for i in range(len(source))])
        with torch.inference_mode():
            assert torch.nn.functional.cross_entropy(model(inputs), targets).item() == pytest.approx(loss, rel=1e-3)
    assert all('top5' not in row for row in result.rows)        # of two classes, one of five answers is always right


def test_images_that_cannot_be_read_are_counted_and_replaced(images, tmp_path, capsys):
    data = shutil.copytree(images, tmp_path / 'data')
    (data / 'train' / 'ants' / '3.png').write_bytes(b'nothing')
    with pytest.raises(ValueError, match=r'1 training images could not be read.*max_unreadable.*ants/3\.png'):
        train(tiny_recipe(data), tmp_path / 'strict', quiet=True)
    assert not (tmp_path / 'strict').exists()                       # found before anything began
    recipe = tiny_recipe(data, data=dict(max_unreadable=1))
    train(recipe, tmp_path / 'run')
    assert [row['unreadable'] for row in rows(tmp_path / 'run')] == ['1'] * 3
    assert capsys.readouterr().out.count('unreadable: ants/3.png (') == 1


def test_an_image_that_breaks_while_training_is_named(images, tmp_path, monkeypatch, capsys):
    data = shutil.copytree(images, tmp_path / 'data')
    monkeypatch.setattr('zoo.train.trainer.look_at', lambda sources: Look({'train': [], 'val': []}, 0, 24))
    (data / 'train' / 'ants' / '3.png').write_bytes(b'nothing')
    with pytest.raises(ValueError, match=r'1 training images could not be read.*max_unreadable.*ants/3\.png'):
        train(tiny_recipe(data), tmp_path / 'strict', quiet=True)
    train(tiny_recipe(data, data=dict(max_unreadable=1)), tmp_path / 'run')
    assert capsys.readouterr().out.count('unreadable: ants/3.png (') == 1


def noise(form: str, **options) -> bytes:
    file = io.BytesIO()
    Image.frombytes('RGB', (60, 50), bytes(range(250)) * 36).save(file, form, **options)
    return file.getvalue()


@pytest.mark.parametrize('content, good', [
    (noise('JPEG'), True), (noise('JPEG') + b'more' * 50, True), (noise('PNG'), True), (noise('WEBP'), True),
    (b'', False), (b'nothing', False), (noise('JPEG')[:-300], False), (noise('PNG')[:-300], False),
    (noise('JPEG')[:30], False), (noise('BMP')[:20], False)])
def test_a_look_finds_what_training_cannot_read(images, tmp_path, content, good):
    data = shutil.copytree(images, tmp_path / 'data')
    for place in ('train/ants/3.png', 'val/bees/1.png'):
        (data / place).write_bytes(content)
    look = look_at(open_sources(tiny_recipe(data).data))
    assert (look.seen, look.total) == (28, 28)
    assert [[name for name, _ in look.unreadable[split]] for split in ('train', 'val')] == (
        [[], []] if good else [['ants/3.png'], ['bees/1.png']])
    if not good:
        with pytest.raises(ValueError, match=r'1 validation images could not be read.*bees/1\.png'):
            look._replace(unreadable=look.unreadable | {'train': []}).check(0)


def test_a_look_takes_no_longer_than_it_may(images):
    look = look_at(open_sources(tiny_recipe(images).data), seconds=-1)
    assert (look.seen, look.total) == (0, 28) and look.lines[0].startswith('0 of 28 files looked at')


def test_accumulated_batches_are_one_large_one(images, tmp_path):
    one, parts = tiny_recipe(images, **STILL), tiny_recipe(images, **STILL, data=dict(batch_size=2),
                                                          run=dict(grad_accum_steps=2))
    for name, recipe in (('one', one), ('parts', parts)):
        train(recipe, tmp_path / name, quiet=True)
    for a, b in zip(rows(tmp_path / 'one'), rows(tmp_path / 'parts'), strict=True):
        assert abs(float(a['train_loss']) - float(b['train_loss'])) < 1e-5 and a['updates'] == b['updates']
    weights = [state_of(tmp_path / name)['model'] for name in ('one', 'parts')]
    assert all((weights[0][k] - weights[1][k]).abs().max() < 1e-5 for k in weights[0])


def test_the_last_step_takes_what_batches_are_left(images):
    trainer = Trainer(tiny_recipe(images, run=dict(grad_accum_steps=3)))
    assert trainer.updates == 2 and [len(group) for group in trainer._groups(0, 0)] == [3, 2]


def test_frozen_stages_stay_as_they_are(images, tmp_path):
    recipe = tiny_recipe(images, model=dict(freeze=2, drop_path=None), ema=dict(model_ema=False))
    before = {k: v.clone() for k, v in Trainer(recipe).model.state_dict().items()}
    train(recipe, tmp_path / 'run', quiet=True)
    after = state_of(tmp_path / 'run')['model']
    still = {key for key in before if torch.equal(before[key], after[key])}
    frozen = {key for key in before if key.startswith(('conv_stem', 'bn1', 'blocks.0'))}
    assert frozen <= still and 'classifier.weight' not in still and 'blocks.1.0.bn1.running_mean' not in still
    with pytest.raises(ValueError, match='model.freeze is 0 to'):
        Trainer(tiny_recipe(images, model=dict(freeze=9)))


def test_the_classifier_begins_as_asked(images):
    usual = Trainer(tiny_recipe(images)).model.get_classifier()
    even = Trainer(tiny_recipe(images, model=dict(head_init_scale=0.01, head_init_bias=-2.0))).model.get_classifier()
    assert torch.equal(even.weight, usual.weight * 0.01) and usual.weight.abs().max() > 0
    assert (even.bias == -2).all() and (usual.bias == 0).all()


@pytest.mark.parametrize('task, kind, once', [
    ('single', None, True), ('single', 'bce', True), ('single', 'asymmetric', False), ('single', 'focal', False),
    ('multi', None, False)])
def test_mixed_targets_are_smoothed_once(images, task, kind, once):
    recipe = tiny_recipe(images, augment=dict(mixup=1.0), loss=dict(loss=kind, smoothing=0.2))
    inputs = Inputs(recipe, Trainer(recipe).config, task, 2, torch.device('cpu'))
    targets = torch.tensor([0, 0]) if task == 'single' else torch.tensor([[1.0, 0.0], [1.0, 0.0]])
    _, mixed = inputs(Batch(torch.zeros(2, 3, 16, 16, dtype=torch.uint8), targets, ['a', 'b'], []), 0)
    assert torch.allclose(mixed, torch.tensor([[0.9, 0.1] if once else [1.0, 0.0]] * 2))


def test_the_folder_is_enough(images, run, capsys):
    best = run / 'model_best.safetensors'
    model = load_trained(best)
    assert model.labels == ('ants', 'bees') and model.pretrained_cfg['input_size'] == (3, 16, 16)
    assert zoo.data.resolve_model_data_config(model) == Trainer(tiny_recipe(images)).config
    assert main(['predict', '--checkpoint', str(best), '--json', str(images / 'val' / 'ants')]) == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert len(lines) == 4 and {one['class'] for one in lines[0]['predictions']} == {'ants', 'bees'}
    assert main(['validate', str(images), '--split', 'val', '--checkpoint', str(best), '--results-format', 'json',
                 '-j', '0', '--device', 'cpu']) == 0
    found = json.loads(capsys.readouterr().out)
    found = found[0] if isinstance(found, list) else found
    assert any(abs(float(value) - max(float(row['top1']) for row in rows(run))) < 1e-3
               for key, value in found.items() if key.endswith('top1'))
    same_weights = load_trained(run / 'checkpoint-0.safetensors')
    assert same_weights.num_classes == 2
    averaged = {k.removeprefix('module.'): v for k, v in state_of(run)['ema'].items() if k != 'steps'}
    assert same(dict(load_trained(run / 'last.safetensors').state_dict()), averaged)
    with pytest.raises(ValueError, match='does not say which network'):
        zoo.pretrained.write_tensors(run.parent / 'bare.safetensors', model.state_dict(), {})
        load_trained(run.parent / 'bare.safetensors')


def test_a_run_writes_what_it_did(run):
    assert {'last.safetensors', 'model_best.safetensors', 'recipe.yaml', 'log.csv', 'curves.png'} <= {
        path.name for path in run.iterdir()}
    assert Image.open(run / 'curves.png').size[0] > 300
    assert [row['epoch'] for row in rows(run)] == ['0', '1', '2'] and float(rows(run)[-1]['lr']) == 0.0


@pytest.mark.parametrize('parts, words', [
    (dict(run=dict(eval_metric='top5')), 'run.eval_metric is one of top1, val_loss, ece'),
    (dict(run=dict(eval_metric='map')), "run.eval_metric is one of top1"),
    (dict(data=dict(val_split=None), run=dict(eval_metric='top1')), "can be 'train_loss'"),
    (dict(model=dict(num_classes=1)), 'model.num_classes is 1, and the data has 2'),
    (dict(model=dict(model_kwargs=TINY | {'drop_rate': 0.1})), 'drop_rate, which other keys'),
    (dict(run=dict(device='nowhere')), "device 'nowhere' cannot be used"),
])
def test_a_recipe_that_cannot_be_followed(images, parts, words):
    with pytest.raises(ValueError, match=words):
        Trainer(tiny_recipe(images, **parts))


def test_without_validation_the_loss_is_what_the_best_is_judged_by(images, tmp_path):
    result = train(tiny_recipe(images, data=dict(val_split=None)), tmp_path / 'run', quiet=True)
    losses = [float(row['train_loss']) for row in rows(tmp_path / 'run')]
    assert result.metric == 'train_loss' and result.best == min(losses)


@pytest.mark.parametrize('key, module, words', [
    ('tensorboard', 'torch.utils.tensorboard', r'zoo-image-models\[train\]'), ('log_wandb', 'wandb', 'pip install wandb')])
def test_logs_that_are_not_installed_are_named(images, tmp_path, monkeypatch, key, module, words):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=words):
        train(tiny_recipe(images, run={key: True}), tmp_path / 'run', quiet=True)


def test_tensorboard_has_what_the_log_has(images, tmp_path):
    accumulator = pytest.importorskip('tensorboard.backend.event_processing.event_accumulator')
    train(tiny_recipe(images, run=dict(tensorboard=True, log_interval=2)), tmp_path / 'run', quiet=True)
    found = accumulator.EventAccumulator(str(next((tmp_path / 'run').rglob('events.*')).parent)).Reload()
    logged = {tag: [event.value for event in found.Scalars(tag)] for tag in found.Tags()['scalars']}
    written = [float(row['train_loss']) for row in rows(tmp_path / 'run')]
    tag, = [tag for tag in logged if tag.endswith('train_loss')]
    assert logged[tag] == pytest.approx(written, rel=1e-5)
    assert any(len(values) == 7 for values in logged.values())                  # 15 steps, every second one


@pytest.mark.in_turn
@pytest.mark.parametrize('kind, hard', [('logit', True), ('feature', True), ('token', True), ('token', False)])
def test_a_teacher_is_learned_from(images, tmp_path, kind, hard):
    """With no weight on the task, the student's answers come nearer to the teacher's."""
    teacher = zoo.create_model('mobilenetv2_035', num_classes=2)
    with torch.no_grad():
        teacher.classifier.weight.mul_(20)
    torch.save(teacher.state_dict(), tmp_path / 'teacher.pth')
    network = dict(model='efficientformerv2_s0', model_kwargs={'depths': (1, 1, 1, 1), 'embed_dims': (8, 16, 16, 24),
                                                               'num_vit': 1, 'mlp_ratios': 2}, img_size=32, drop_path=0.0, drop=0.0)
    network = dict(model=network if kind == 'token' else dict(drop=0.0, drop_path=0.0))
    given = dict(kd_model_name='mobilenetv2_035', kd_checkpoint=str(tmp_path / 'teacher.pth'), kd_distill_type=kind,
                 task_loss_weight=0.0) | (dict(kd_hard=hard) if kind == 'token' else {})
    recipe = tiny_recipe(images, **network, distill=given, ema=dict(model_ema=False), augment=dict(no_aug=True),
                         optimizer=dict(lr=0.003), schedule=dict(epochs=12, warmup_epochs=1))
    trainer = Trainer(recipe, tmp_path / 'run', quiet=True)
    losses = [row['train_loss'] for row in trainer.run().rows]
    assert losses[-1] < 0.85 * losses[0]
    after = trainer.objective.distillation.teacher.state_dict()
    assert all(torch.equal(value, teacher.state_dict()[name]) for name, value in after.items())
    assert load_trained(tmp_path / 'run' / 'last.safetensors').num_classes == 2


@pytest.mark.sweep
def test_a_compiled_network_trains_and_is_saved_plain(images, tmp_path):
    plain, compiled = (tiny_recipe(images, schedule=dict(epochs=1, warmup_epochs=0),
                                   model=dict(drop=0.0, drop_path=0.0, torchcompile=on)) for on in (False, True))
    first, second = (train(recipe, tmp_path / str(number), quiet=True).rows
                     for number, recipe in enumerate((plain, compiled)))
    assert second[0]['train_loss'] == pytest.approx(first[0]['train_loss'], rel=1e-3)
    assert load_trained(tmp_path / '1' / 'model_best.safetensors').labels == ('ants', 'bees')
