"""Learning rates over a run: zoo's plan ends where it was asked to, and timm's names give timm's numbers."""
from __future__ import annotations

import itertools
import math
import warnings

import pytest
import torch
from torch import nn

from zoo.compat import scheduler as ours
from zoo.train import Schedule
from zoo.train.recipe import SchedulePart

theirs = pytest.importorskip('timm.scheduler')
CURVES = ('cosine', 'poly', 'tanh')


def schedule(lr=1.0, steps=4, higher=True, **part):
    return Schedule(SchedulePart(**{'warmup_epochs': 0, 'epochs': 12} | part), lr, steps, higher)


def optimizer(*scales, lr=1.0):
    return torch.optim.SGD([{'params': [nn.Parameter(torch.zeros(1))], **({'lr_scale': s} if s else {})}
                            for s in scales or (None,)], lr=lr)


# --- the plan

@pytest.mark.parametrize('sched', CURVES)
@pytest.mark.parametrize('updates', [False, True])
@pytest.mark.parametrize('prefix', [False, True])
@pytest.mark.parametrize('cycles', [1, 2])
def test_a_run_is_as_long_as_asked_for_and_ends_at_the_lowest_learning_rate(sched, updates, prefix, cycles):
    plan = schedule(sched=sched, sched_on_updates=updates, warmup_epochs=2, warmup_prefix=prefix, cooldown_epochs=3,
                    min_lr=0.01, warmup_lr=0.1, lr_cycle_limit=cycles)
    rates = [plan.lr(step) for step in range(plan.total_steps)]
    assert plan.total_steps == 48 and len(plan.plan()) == 12
    assert rates[0] == 0.1 and rates[35] == pytest.approx(0.01) and rates[36:] == [rates[35]] * 12 and plan.last == rates[-1]
    assert plan.plan() == rates[::4]
    assert all(r > 0.0101 for r in rates[8:35 if updates else 32]) or cycles == 2
    assert rates[8] == pytest.approx(1.0) if prefix else rates[8] < 1
    if not updates:
        assert all(len(set(rates[i:i + 4])) == 1 for i in range(0, 48, 4))


def test_a_cosine_in_numbers():
    assert schedule(epochs=5, sched='cosine', min_lr=0.2).plan() == pytest.approx(
        [0.2 + 0.4 * (1 + math.cos(math.pi * i / 4)) for i in range(5)])
    assert schedule(epochs=5, sched='cosine', lr_k_decay=2.0).plan() == pytest.approx(
        [0.5 * (1 + math.cos(math.pi * (i / 4) ** 2)) for i in range(5)])
    assert schedule(epochs=5, sched='poly', poly_power=2.0).plan() == pytest.approx([1, 9 / 16, 1 / 4, 1 / 16, 0])
    assert schedule(epochs=1, sched='cosine').plan() == [1.0]                  # one epoch has no way to go
    assert schedule(epochs=6, sched='cosine', lr_cycle_limit=2, lr_cycle_decay=0.5).plan() == pytest.approx(
        [1, 0.5, 0, 0.5, 0.25, 0])
    assert schedule(epochs=9, sched='cosine', lr_cycle_limit=2, lr_cycle_mul=2.0).plan()[3] == 0.5


def test_staircases():
    assert schedule(sched='step', decay_epochs=5, decay_rate=0.5).plan() == [1] * 5 + [0.5] * 5 + [0.25] * 2
    assert schedule(sched='step', decay_epochs=2.5, decay_rate=0.5, sched_on_updates=True).lr(9) == 1
    assert schedule(sched='step', decay_epochs=2.5, decay_rate=0.5, sched_on_updates=True).lr(10) == 0.5
    assert schedule(sched='step', decay_epochs=1, decay_rate=0.5, min_lr=0.2).plan()[2:] == [0.25] + [0.2] * 9
    assert schedule(sched='multistep', decay_milestones=(4, 8)).plan() == pytest.approx([1] * 4 + [0.1] * 4 + [0.01] * 4)
    assert schedule(sched='step', decay_epochs=5, decay_rate=0.5, warmup_epochs=3, warmup_prefix=True,
                    warmup_lr=0.25).plan() == [0.25, 0.5, 0.75] + [1] * 5 + [0.5] * 4
    assert schedule(sched='constant', warmup_epochs=2, warmup_lr=0.5, cooldown_epochs=1).plan() == [0.5, 0.75] + [1] * 10


def test_plateau_falls_when_the_metric_does_not_rise_and_goes_on_after_a_stop():
    metrics = [1, 2, 3, 3, 3, 3, float('nan'), 3, 3, 4, 4, 4]
    whole, rates = schedule(sched='plateau', patience_epochs=1, decay_rate=0.5, min_lr=0.2), []
    for epoch, metric in enumerate(metrics):
        rates.append(whole.lr(epoch * 4))
        whole.observe(metric)
    assert rates == [1, 1, 1, 1, 1, 0.5, 0.5, 0.25, 0.25, 0.2, 0.2, 0.2]
    stopped = schedule(sched='plateau', patience_epochs=1, decay_rate=0.5, min_lr=0.2)
    for metric in metrics[:6]:
        stopped.observe(metric)
    resumed = schedule(sched='plateau', patience_epochs=1, decay_rate=0.5, min_lr=0.2)
    resumed.load_state_dict(stopped.state_dict())
    for metric in metrics[6:]:
        resumed.observe(metric)
    assert resumed.state_dict() == whole.state_dict()
    falling = schedule(sched='plateau', patience_epochs=0, higher=False)
    for loss in (3, 2, 1):
        falling.observe(loss)
    assert falling.lr(12) == 1


def test_groups_keep_their_scale():
    one = optimizer(0.5, None, lr=0.7)
    one.param_groups[1]['base_lr'] = 0.1
    plan = schedule(lr=1.0, sched='cosine')
    assert plan.apply(one, 0) == 0.5
    assert [g['lr'] for g in one.param_groups] == [0.5, 0.1]
    plan.apply(one, 20)
    assert [g['lr'] for g in one.param_groups] == [plan.lr(20) * 0.5, plan.lr(20, 0.1)]


def test_what_cannot_be_planned_is_refused():
    for options, message in ((dict(sched='cosin'), "'cosin'.*'cosine'"), (dict(warmup_epochs=9, cooldown_epochs=3), 'none'),
                             (dict(sched='multistep', decay_milestones=(8, 4)), 'ascend'), (dict(epochs=0), 'at least one'),
                             (dict(lr_cycle_limit=13), '13 cycles'), (dict(sched='step', decay_epochs=0), 'above 0')):
        with pytest.raises(ValueError, match=message):
            schedule(**options)


# --- timm's

@pytest.mark.parametrize('sched', CURVES)
@pytest.mark.parametrize('prefix', [False, True])
def test_where_the_meaning_is_the_same_so_are_the_numbers_of_timm(sched, prefix):
    """timm's curve of n epochs is at its end in epoch n, ours of n + 1 epochs in its last."""
    ours_, other = schedule(epochs=13, sched=sched, min_lr=0.1, warmup_epochs=3, warmup_prefix=prefix), optimizer()
    timms, _ = theirs.create_scheduler_v2(other, sched, num_epochs=9 if prefix else 12, min_lr=0.1, warmup_epochs=3,
                                          warmup_prefix=prefix, decay_rate=0.5)
    for epoch, rate in enumerate(ours_.plan()):
        timms.step(epoch)
        # both ends of a tanh are not quite 1 and 0: timm leaves them, and aims its warm-up there
        assert rate == pytest.approx(other.param_groups[0]['lr'], abs=3e-3 if sched == 'tanh' else 1e-12), epoch


@pytest.mark.parametrize('prefix', [False, True])
def test_staircases_are_timms(prefix):
    for sched, mine, other in (('step', dict(decay_epochs=3), dict(decay_epochs=3)),
                               ('multistep', dict(decay_milestones=(4, 8)), dict(decay_milestones=[5, 9]))):
        target = optimizer()
        timms, _ = theirs.create_scheduler_v2(target, sched, num_epochs=12, warmup_epochs=2, warmup_prefix=prefix, **other)
        for epoch, rate in enumerate(schedule(sched=sched, warmup_epochs=2, warmup_prefix=prefix, **mine).plan()):
            timms.step(epoch)
            assert rate == pytest.approx(target.param_groups[0]['lr'])


OPTIONS = [dict(zip(('warmup_epochs', 'warmup_prefix', 'cooldown_epochs', 'min_lr', 'cycle_limit', 'cycle_mul', 'k_decay'),
                    values)) for values in itertools.product((0, 2), (False, True), (0, 2), (0.0, 0.1), (1, 2), (1.0, 2.0),
                                                             (1.0, 1.5))]


@pytest.mark.parametrize('updates', [0, 3])
@pytest.mark.parametrize('sched', [*CURVES, 'step', 'multistep'])
def test_schedulers_by_timms_name_are_timms(sched, updates):
    for options in OPTIONS:
        options = options | dict(sched=sched, num_epochs=7, decay_epochs=2, decay_milestones=[2, 5], decay_rate=0.6,
                                 step_on_epochs=not updates, updates_per_epoch=updates)
        seen = []
        for module in (ours, theirs):
            target = optimizer(None, 0.3, lr=0.8)
            made, epochs = module.create_scheduler_v2(target, **options)
            rates = [[g['lr'] for g in target.param_groups]]
            for t in range((epochs + 1) * max(1, updates)):
                made.step_update(t) if updates else made.step(t)
                made.step(t) if updates else made.step_update(t)                # the other one does nothing
                rates.append([g['lr'] for g in target.param_groups])
            seen.append((epochs, torch.tensor(rates, dtype=torch.float64)))
        assert seen[0][0] == seen[1][0], options
        torch.testing.assert_close(seen[0][1], seen[1][1], rtol=1e-12, atol=1e-15, msg=str(options))


def test_plateau_by_timms_name_is_timms():
    metrics = [5, 2, 3, 4, 4, 6, 6, 6, 6, 6, 7, 7, 7, 7, 7]
    seen = []
    for module in (ours, theirs):
        with warnings.catch_warnings():
            warnings.simplefilter('ignore', FutureWarning)
            made, _ = module.create_scheduler_v2(target := optimizer(0.5), 'plateau', warmup_epochs=3, patience_epochs=1,
                                                 decay_rate=0.5, min_lr=0.05, num_epochs=15)
        rates = []
        for epoch, metric in enumerate(metrics):
            made.step(epoch, metric)
            rates.append(target.param_groups[0]['lr'])
        seen.append(rates)
    assert seen[0] == pytest.approx(seen[1]) and min(seen[0]) < 0.2
    alone, _ = ours.create_scheduler_v2(target := optimizer(), 'plateau')
    alone.step(0, 1.0)
    assert target.param_groups[0]['lr'] == 1.0                      # timm's stays at warmup_lr without a warm-up


def test_a_scheduler_goes_on_after_a_stop():
    one, two = optimizer(), optimizer()
    first, _ = ours.create_scheduler_v2(one, 'cosine', num_epochs=9)
    second, _ = ours.create_scheduler_v2(two, 'cosine', num_epochs=5, min_lr=0.3)
    second.load_state_dict(first.state_dict())
    first.step(4), second.step(4)
    assert one.param_groups[0]['lr'] == two.param_groups[0]['lr']


def test_schedulers_say_what_they_do_not_know():
    for options, message in ((dict(sched='cosin'), "'cosin'.*'cosine'"), (dict(noise=0.1), 'noise'),
                             (dict(step_on_epochs=False), 'updates_per_epoch'),
                             (dict(sched='plateau', step_on_epochs=False, updates_per_epoch=3), 'epochs')):
        with pytest.raises(ValueError, match=message):
            ours.create_scheduler_v2(optimizer(), **options)
