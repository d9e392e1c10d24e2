"""A run that is killed, stopped, or runs out of disk goes on from its last checkpoint and ends as if nothing had been."""
from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from train_runs import assert_same_run, rows, same, state_of, stop_in, tiny_recipe

from zoo.pretrained import read_record, read_state_dict, write_tensors
from zoo.train import checkpoint, folder as folders, lock
from zoo.train.reading import write_recipe
from zoo.train.step import LossNotFinite
from zoo.train.trainer import Trainer, train

KILLS = 50
PROGRAM = '''
import sys, torch
torch.set_num_threads(1)
from zoo.train.reading import read_recipe
from zoo.train.trainer import train
print('ready', flush=True)
sys.exit(train(read_recipe(sys.argv[1]), sys.argv[2], resume=len(sys.argv) > 3, quiet=True).status)
'''


@pytest.fixture(scope='module')
def whole_run(images, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('whole') / 'run'
    train(tiny_recipe(images), folder, quiet=True)
    return folder


# Imports everything once and does no work itself, so that each run is a fork of a process without threads.
FORKS = '''
import os, signal, sys, time
import torch, torchmetrics, numpy
torch.set_num_threads(1)
import zoo.train.trainer, zoo.evaluation.runner
from zoo.train.reading import read_recipe
recipe = read_recipe(sys.argv[1])
zoo.train.trainer.draw_curves = lambda rows, path: path.touch()           # would be most of a run's time
for line in sys.stdin:
    seconds, resume, folder = line.rstrip().split(' ', 2)
    child = os.fork()
    if child == 0:
        status = 1
        try:
            zoo.train.trainer.train(recipe, folder, resume=resume == '1', quiet=True)
            status = 0
        finally:
            os._exit(status)
    time.sleep(float(seconds)) if seconds != 'none' else None
    if seconds != 'none':
        os.kill(child, signal.SIGKILL)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
'''


class Forks:
    """Runs of a recipe in processes of their own, killed after so many seconds if asked."""

    def __init__(self, recipe: Path) -> None:
        self.process = subprocess.Popen([sys.executable, '-c', FORKS, str(recipe)], stdin=subprocess.PIPE,
                                        stdout=subprocess.PIPE, text=True, env={**os.environ, 'OMP_NUM_THREADS': '1'})

    def run(self, folder: Path, seconds: float | str = 'none') -> int:
        """The exit status, negative for a signal."""
        print(seconds, int(has_run(folder)), folder, file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())


def has_run(folder: Path) -> bool:
    return any((folder / name).exists() for name in (folders.LAST, folders.BEST, folders.RECIPE))


@pytest.mark.slow
def test_fifty_kills_leave_whole_files_and_the_same_end(images, whole_run, tmp_path):
    drawn, killed, ends, resumed = random.Random(5), 0, 0, set()
    (tmp_path / 'recipe.yaml').write_text(write_recipe(tiny_recipe(images)))
    forks, folder, best = Forks(tmp_path / 'recipe.yaml'), tmp_path / 'run0', None
    forks.run(tmp_path / 'first')
    begun = time.perf_counter()
    assert forks.run(tmp_path / 'timed') == 0
    length = time.perf_counter() - begun
    while killed < KILLS:
        status = forks.run(folder, drawn.uniform(0.1, 1.0) * length)
        assert status in (-signal.SIGKILL, 0)
        killed += status != 0
        length *= 1.04 if status else 0.7                    # as it was measured, the machine may have been slower
        for path in folder.glob('*.safetensors'):
            assert read_state_dict(path)
        if (folder / folders.LAST).exists():
            progress = checkpoint.read_run(folder / folders.LAST)['progress']
            resumed.add((progress['epoch'], progress['update']))
        if (folder / folders.BEST).exists():
            now = read_record(folder / folders.BEST, 'zoo.model')['metric']
            assert best is None or now >= best
            best = now
        if status == 0 or killed == KILLS:                   # complete: compare, and begin another
            assert forks.run(folder) == 0
            assert_same_run(folder, whole_run)
            folder, best, ends = tmp_path / f'run{killed}', None, ends + 1
    forks.process.communicate()
    assert ends >= 2 and len(resumed) >= 5                   # there were kills at different places, and ends


@pytest.mark.in_turn
@pytest.mark.parametrize('parts', [
    dict(augment=dict(mixup=0.2, cutmix=1.0, reprob=0.5, aa='rand-m9-mstd0.5'), data=dict(workers=1)),
    dict(augment=dict(aug_splits=2, aa='augmix-m3'), loss=dict(loss='jsd'), run=dict(grad_accum_steps=2)),
    dict(optimizer=dict(opt='rmsproptf', layer_decay=0.7), schedule=dict(sched='plateau', patience_epochs=1),
         ema=dict(model_ema_warmup=True), augment=dict(aug_repeats=2)),
    dict(model=dict(channels_last=False), optimizer=dict(opt='sgd'), ema=dict(model_ema=False)),
], ids=['mixing', 'splits', 'plateau', 'plain'])
def test_what_is_stopped_anywhere_goes_on_bit_for_bit(images, tmp_path, parts):
    recipe = tiny_recipe(images, **parts)
    train(recipe, tmp_path / 'whole', quiet=True)
    trainer, updates = None, 3 if recipe.run.grad_accum_steps > 1 else 5
    for update in (1, 2, updates, 2 * updates - 1):         # within an epoch, at its end, in the next
        trainer = Trainer(recipe, tmp_path / 'run', resume=trainer is not None, quiet=True)
        stop_in(trainer, update)
        result = trainer.run()
        assert result.status == 143 and checkpoint.read_run(tmp_path / 'run' / 'last.safetensors')['progress'][
            'updates'] == update
    train(recipe, tmp_path / 'run', resume=True, quiet=True)
    assert_same_run(tmp_path / 'run', tmp_path / 'whole')


@pytest.mark.parametrize('number, status', [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_saves_and_ends(images, whole_run, tmp_path, number, status):
    recipe = tiny_recipe(images, run=dict(recovery_interval=0), schedule=dict(epochs=500))
    (tmp_path / 'recipe.yaml').write_text(write_recipe(recipe))
    command = [sys.executable, '-c', PROGRAM, str(tmp_path / 'recipe.yaml'), str(tmp_path / 'run')]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        while not (tmp_path / 'run' / 'log.csv').exists():
            assert process.poll() is None
            time.sleep(0.05)
        process.send_signal(number)
        assert process.wait(60) == status
    assert checkpoint.read_run(tmp_path / 'run' / 'last.safetensors')['progress']['updates'] > 0
    assert not list((tmp_path / 'run').glob('*.part'))


def test_a_full_disk_leaves_the_last_good_checkpoint(images, whole_run, tmp_path, monkeypatch):
    real, written = checkpoint.write_tensors, []

    def full(path, tensors, records):
        written.append(path.name)
        if len(written) > 2:
            monkeypatch.setattr('zoo.pretrained.write.save_file', _no_space)
        real(path, tensors, records)

    def _no_space(_, path, **__):
        path.write_bytes(b'half')
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(checkpoint, 'write_tensors', full)
    with pytest.raises(OSError, match=r'could not be written.*last good checkpoint is .*last\.safetensors') as caught:
        train(tiny_recipe(images), tmp_path / 'run', quiet=True)
    assert caught.value.errno == errno.ENOSPC
    assert not list((tmp_path / 'run').glob('*.part'))
    monkeypatch.undo()
    train(tiny_recipe(images), tmp_path / 'run', resume=True, quiet=True)
    assert_same_run(tmp_path / 'run', whole_run)


def test_a_file_limit_is_met_as_a_full_disk_is(tmp_path):
    """By the system itself, in a process that may write no more than 100 kB a file."""
    program = '''
import resource, signal, sys, torch
from zoo.pretrained import write_tensors
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
write_tensors(sys.argv[1], {'a': torch.zeros(10)}, {})
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
write_tensors(sys.argv[1], {'a': torch.zeros(100_000)}, {})
'''
    path = tmp_path / 'weights.safetensors'
    done = subprocess.run([sys.executable, '-c', program, str(path)], capture_output=True, text=True)
    assert done.returncode == 1 and 'could not be written (File too large)' in done.stderr
    assert [p.name for p in tmp_path.iterdir()] == [path.name] and len(read_state_dict(path)['a']) == 10


def test_a_loss_that_is_not_finite_stops_the_run(images, tmp_path):
    trainer = Trainer(tiny_recipe(images), tmp_path / 'run', quiet=True)
    objective, before, calls = trainer.objective, {}, []

    def bad(network, inputs, targets):
        calls.append(0)
        if len(calls) == 4:
            before.update({k: v.clone() for k, v in trainer.model.named_parameters()})
            return objective(network, inputs, targets) * float('nan')
        return objective(network, inputs, targets)

    trainer.step.objective = bad
    with pytest.raises(LossNotFinite, match=r'nan in step 4, epoch 0.*(ants|bees)/\d\.png.*last good checkpoint is '
                                            r'.*last\.safetensors'):
        trainer.run()
    assert all(torch.equal(before[k], v) for k, v in trainer.model.named_parameters())
    assert state_of(tmp_path / 'run')['progress']['updates'] == 2
    train(tiny_recipe(images), tmp_path / 'run', resume=True, quiet=True)


def test_weights_that_are_not_finite_are_never_written(images, tmp_path):
    trainer = Trainer(tiny_recipe(images), tmp_path / 'run', quiet=True)
    trainer._begin()
    trainer._save()
    good = (tmp_path / 'run' / 'last.safetensors').read_bytes()
    next(trainer.model.parameters()).data[0] = float('nan')
    with pytest.raises(FloatingPointError, match='conv_stem.weight'):
        trainer._save()
    assert (tmp_path / 'run' / 'last.safetensors').read_bytes() == good


def test_a_folder_has_one_run(images, whole_run, tmp_path):
    with pytest.raises(FileExistsError, match='has a run already'):
        train(tiny_recipe(images), whole_run, quiet=True)
    with pytest.raises(FileNotFoundError, match='no run to resume'):
        train(tiny_recipe(images), tmp_path / 'none', resume=True, quiet=True)
    with pytest.raises(ValueError, match=r'optimizer\.lr \(0\.01, now 0\.02\).*schedule\.epochs \(3, now 4\)'):
        train(tiny_recipe(images, optimizer=dict(lr=0.02), schedule=dict(epochs=4)), whole_run, resume=True)
    before = state_of(whole_run)
    free = tiny_recipe(images, run=dict(log_interval=7), data=dict(workers=1))
    result = train(free, whole_run, resume=True, quiet=True)                         # complete already
    assert len(result.rows) == 3 and same(before['model'], state_of(whole_run)['model'])
    train(tiny_recipe(images), whole_run, resume=True, quiet=True)


def test_the_best_is_never_replaced_by_a_worse_one(images, tmp_path, monkeypatch):
    values = iter([50.0, 75.0, 25.0])
    monkeypatch.setattr(Trainer, '_validate', lambda self: {'top1': next(values)})
    result = train(tiny_recipe(images, run=dict(checkpoint_hist=2)), tmp_path / 'run', quiet=True)
    assert (result.best, result.best_epoch) == (75.0, 1)
    assert read_record(tmp_path / 'run' / 'model_best.safetensors', 'zoo.model')['epoch'] == 1
    assert sorted(p.name for p in (tmp_path / 'run').glob('checkpoint*')) == [
        'checkpoint-0.safetensors', 'checkpoint-1.safetensors']
    assert [row['top1'] for row in rows(tmp_path / 'run')] == ['50.0', '75.0', '25.0']


def test_a_best_that_was_written_before_the_run_was_killed_counts(images, tmp_path, monkeypatch):
    folder, recipe = tmp_path / 'run', tiny_recipe(images)
    values = iter([50.0, 75.0])
    monkeypatch.setattr(Trainer, '_validate', lambda self: {'top1': next(values)})
    save = Trainer._save

    def killed(self: Trainer) -> None:
        if self.progress.epoch == 2:
            raise KeyboardInterrupt
        save(self)

    monkeypatch.setattr(Trainer, '_save', killed)
    with pytest.raises(KeyboardInterrupt):
        train(recipe, folder, quiet=True)                    # its second epoch is the best, but was not written down
    monkeypatch.setattr(Trainer, '_save', save)
    monkeypatch.setattr(Trainer, '_validate', lambda self: {'top1': 60.0})
    result = train(recipe, folder, resume=True, quiet=True)
    assert (result.best, result.best_epoch) == (75.0, 1)
    assert read_record(folder / 'model_best.safetensors', 'zoo.model')['metric'] == 75.0


def test_nested_states_are_written_and_read_as_they_were(tmp_path):
    state = {'a': [1, 2.5, None, 'x', True, (1, (2,))], 'b': {3: torch.arange(3), 'c': {}}, 'inf': float('inf'),
             'half': torch.ones(2, dtype=torch.bfloat16), 'scalar': torch.tensor(3)}
    checkpoint.write_run(tmp_path / 'run.safetensors', state, {})
    assert same(checkpoint.read_run(tmp_path / 'run.safetensors'), state)
    with pytest.raises(TypeError, match='no form'):
        checkpoint.write_run(tmp_path / 'run.safetensors', {'a': {1}}, {})
    write_tensors(tmp_path / 'other.safetensors', {'a': torch.ones(1)}, {})
    with pytest.raises(ValueError, match='holds no training run'):
        checkpoint.read_run(tmp_path / 'other.safetensors')


def test_a_bad_validation_image_costs_nothing_of_the_epoch(images, whole_run, tmp_path, monkeypatch):
    def failing(*_, **__):
        raise ValueError('1 images could not be read')

    monkeypatch.setattr('zoo.train.task.evaluate', failing)
    recipe = tiny_recipe(images, run=dict(recovery_interval=0))
    with pytest.raises(ValueError, match='could not be read'):
        train(recipe, tmp_path / 'run', quiet=True)
    progress = checkpoint.read_run(tmp_path / 'run' / 'last.safetensors')['progress']
    assert (progress['epoch'], progress['update'], progress['rows']) == (0, 5, [])
    monkeypatch.undo()
    train(recipe, tmp_path / 'run', resume=True, quiet=True)
    assert rows(tmp_path / 'run') == rows(whole_run)


# Says when validation has seen its first batch, and waits there, as it would with many images.
VALIDATING = '''
import time, zoo.evaluation.runner as runner
measure = runner._measure
def slow(*words):
    measure(*words)
    print('validating', flush=True)
    time.sleep(1)
runner._measure = slow
'''


@pytest.mark.slow
def test_a_signal_to_the_whole_group_in_validation_saves_and_ends(images, whole_run, tmp_path):
    recipe = tiny_recipe(images, data=dict(workers=2, validation_batch_size=1), run=dict(recovery_interval=0))
    (tmp_path / 'recipe.yaml').write_text(write_recipe(recipe))
    command = [sys.executable, '-c', VALIDATING + PROGRAM, str(tmp_path / 'recipe.yaml'), str(tmp_path / 'run')]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        assert any(line == 'validating\n' for line in process.stdout)
        os.killpg(process.pid, signal.SIGTERM)
        assert process.wait(60) == 143
    progress = checkpoint.read_run(tmp_path / 'run' / 'last.safetensors')['progress']
    assert (progress['epoch'], progress['update'], progress['rows']) == (0, 5, [])
    train(recipe, tmp_path / 'run', resume=True, quiet=True)
    for row, expected in zip(rows(tmp_path / 'run'), rows(whole_run), strict=True):
        assert all(float(row[key]) == pytest.approx(float(expected[key]), rel=1e-4) for key in row)  # batches of one


# the lock of a folder

HOLDER = '''
import sys
from pathlib import Path
from zoo.train.lock import RunLock
RunLock(Path(sys.argv[1])).take()
print('held', flush=True)
sys.stdin.read()
'''


def test_two_runs_do_not_share_a_folder(images, tmp_path):
    folder = tmp_path / 'run'
    folder.mkdir()
    part = folder / 'last.safetensors.1.part'
    part.touch()
    with subprocess.Popen([sys.executable, '-c', HOLDER, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
                          text=True) as holder:
        assert holder.stdout.readline() == 'held\n'
        for resume in (False, True):
            words = rf'in use: process {holder.pid} on \S+ has trained into it since 2'
            with pytest.raises(FileExistsError, match=words):
                train(tiny_recipe(images), folder, resume=resume, quiet=True)
        with pytest.raises(FileExistsError, match='in use'):
            folders.RunFolder(folder, 'top1').begin(tiny_recipe(images), [])
        assert part.exists()
        holder.kill()
    result = train(tiny_recipe(images, schedule=dict(epochs=2)), folder, quiet=True)    # what was left is taken over
    assert len(result.rows) == 2 and not part.exists() and not [*folder.glob('run.lock*')]


@pytest.mark.parametrize('text, free', [
    ('', True), ('{"host"', True), ('{"host": "elsewhere", "pid": 1, "began": "1", "since": "2026-01-01"}', False)])
def test_which_locks_are_taken_over(tmp_path, monkeypatch, text, free):
    monkeypatch.setattr(lock, 'PATIENCE', 0.0)
    (tmp_path / lock.LOCK).write_text(text)
    one = lock.RunLock(tmp_path)
    if free:
        one.take()
        with pytest.raises(FileExistsError, match=f'process {os.getpid()} '):
            lock.RunLock(tmp_path).take()
        one.release()
        assert not any(tmp_path.iterdir())
        return
    with pytest.raises(FileExistsError, match='elsewhere.*delete'):
        one.take()
    one.release()
    assert (tmp_path / lock.LOCK).read_text() == text


def test_a_failed_run_leaves_no_lock(images, tmp_path, monkeypatch):
    monkeypatch.setattr(Trainer, '_validate', lambda self: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        train(tiny_recipe(images), tmp_path / 'run', quiet=True)
    assert not (tmp_path / 'run' / lock.LOCK).exists()


# what a run goes on with

@pytest.fixture
def begun(images, tmp_path, monkeypatch) -> tuple[Path, Path]:
    """(images, folder) of a run that ended in its second epoch."""
    data, folder = shutil.copytree(images, tmp_path / 'data'), tmp_path / 'run'
    monkeypatch.setattr(Trainer, '_stopping', lambda self, following: self.progress.updates == 7)
    train(tiny_recipe(data), folder, quiet=True)
    monkeypatch.undo()
    return data, folder


@pytest.mark.parametrize('change, words', [
    (lambda data: (data / 'train/ants/3.png').unlink(), r'1 train images are gone \(ants/3\.png\)'),
    (lambda data: shutil.copy(data / 'val/ants/3.png', data / 'val/ants/9.png'), r'1 val images are new \(ants/9\.'),
    (lambda data: (data / 'train/bees/0.png').write_bytes(b'x'), r'1 train images are of another length \(bees/0\.'),
    (lambda data: (data / 'val/ants/3.png').rename(data / 'val/bees/8.png'), r'are gone \(ants/3\.png\).*new \(bees/8'),
])
def test_images_that_changed_are_named(begun, change, words):
    data, folder = begun
    change(data)
    with pytest.raises(ValueError, match=f'not those that the run began with: .*{words}'):
        train(tiny_recipe(data), folder, resume=True, quiet=True)


def test_images_may_move(begun, whole_run, capsys):
    data, folder = begun
    moved = data.rename(data.with_name('moved'))
    with pytest.raises(FileNotFoundError, match='zoo train --resume .*run PLACE'):
        train(tiny_recipe(data), folder, resume=True)
    train(tiny_recipe(moved), folder, resume=True)
    assert rows(folder) == rows(whole_run)
    assert 'goes on from epoch 1 of 0 to 2, after 2 of its 5 steps' in capsys.readouterr().out


@pytest.mark.parametrize('length', [0, 5, 2000, -1])
def test_a_damaged_checkpoint_names_the_newest_whole_one(begun, length):
    data, folder = begun
    last = folder / 'last.safetensors'
    last.write_bytes(last.read_bytes()[:length])
    with pytest.raises(ValueError, match=r'last\.safetensors.*damaged.*newest whole network is .*checkpoint-0'):
        train(tiny_recipe(data), folder, resume=True, quiet=True)
    for path in folder.glob('[cm]*.safetensors'):
        path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match='no other network in the folder'):
        train(tiny_recipe(data), folder, resume=True, quiet=True)
