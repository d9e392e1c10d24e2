"""A run that may take so long: where it ends, that it goes on as if it had not, and what it says of the time left."""
from __future__ import annotations

import dataclasses
import re
from pathlib import Path
from types import SimpleNamespace

import pytest

from train_runs import assert_same_run, tiny_recipe
from zoo.cli import main
from zoo.train import clock
from zoo.train.clock import Clock
from zoo.train.trainer import Trainer, train

STEP, VALIDATION, SAVING = 10, 25, 3                # seconds, of 3 epochs of 5 steps


@pytest.fixture
def time(monkeypatch):
    """A time of its own for clocks, which only tests move on: `time.now` in seconds."""
    own = SimpleNamespace(now=1000.0)
    own.perf_counter = lambda: own.now
    monkeypatch.setattr(clock, 'time', own)
    return own


@pytest.fixture(scope='module')
def whole_run(images, tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp('whole') / 'run'
    train(tiny_recipe(images, run=dict(recovery_interval=0)), folder, quiet=True)
    return folder


def test_what_fits(time):
    limited, free = Clock(hours=100 / 3600), Clock()
    for one in (limited, free):
        one.begin()
    assert limited.fits('step')                                         # of which nothing is known yet
    for seconds in (20, 10):
        time.now += seconds
        limited.step()
    assert limited.fits('validation')
    with limited.timing('validation'):
        time.now += 30
    with limited.timing('saving'):
        time.now += 5
    assert limited.fits('validation')                                   # 65 + 30 + 5 are just 100
    time.now += 1
    assert limited.fits('step') and not limited.fits('validation')
    time.now += 10
    assert not limited.fits('step') and free.fits('step')               # 76 + 20, the longest step, + 5
    assert limited.left(0) == '0:00:00' and limited.left(100) == '1:03:20'      # of 2 steps in 76 seconds


@pytest.mark.parametrize('limit, updates, validated', [
    (5, 1, 0), (45, 4, 0), (60, 5, 0), (99, 6, 1), (125, 9, 1), (150, 10, 1), (168, 10, 2), (1000, 15, 3),
    (75, 5, 0)])                                    # in a validation that takes longer than was thought
def test_a_run_ends_after_the_last_step_that_fits(limit, updates, validated, images, whole_run, time, tmp_path):
    recipe = tiny_recipe(images, run=dict(recovery_interval=0))
    limited = dataclasses.replace(recipe, run=dataclasses.replace(recipe.run, max_hours=limit / 3600))
    run = Trainer(limited, tmp_path / 'run', quiet=True)
    began = time.now

    class Timed(type(run.step)):
        def __call__(self, *given):
            time.now += STEP
            return super().__call__(*given)

    run.step.__class__ = Timed
    write, evaluate = run.folder.write_last, run.task.evaluate

    def slow_write(*given):
        time.now += SAVING
        write(*given)

    def slow_evaluate(*given, **options):
        time.now += VALIDATION
        return evaluate(*given, **options)

    run.folder.write_last = slow_write
    run.task.evaluate = slow_evaluate
    result = run.run()
    assert (run.progress.updates, len(result.rows)) == (updates, validated)
    assert result.status == (0 if updates == 15 else 142)
    if validated:                                   # before, nothing is known of a checkpoint, or at first of a step
        assert time.now - began <= limit
    if updates < 15:                                # and it goes on as if it had not been ended
        train(recipe, tmp_path / 'run', resume=True, quiet=True)
        assert_same_run(tmp_path / 'run', whole_run)


def test_the_command_says_why_it_ended_and_the_time_left(images, tmp_path, capsys):
    words = ['train', str(images), '--model', 'mobilenetv2_035', '--img-size', '32', '-b', '4', '-j', '0', '--device',
             'cpu', '--warmup-epochs', '0', '--epochs', '2', '--output', str(tmp_path), '--experiment', 'a']
    assert main([*words, '--max-hours', '1e-9']) == 142
    assert f'the time is up; go on with: zoo train --resume {tmp_path}/a' in capsys.readouterr().err
    assert main(['train', '--resume', str(tmp_path / 'a'), '--max-hours', '100']) == 0
    said = re.findall(r'left (\d+:\d\d:\d\d)\n', capsys.readouterr().out)
    assert len(said) == 2 and said[1] == '0:00:00'
    with pytest.raises(SystemExit):
        main([*words, '--max-hour', '1'])
    assert main([*words, '--max-hours', '0']) == 2
    assert 'run.max_hours is 0.0; it has to be above 0' in capsys.readouterr().err
