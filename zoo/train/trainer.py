"""A training run: from a recipe to a folder with a trained network, which may be stopped at any moment and resumed."""
from __future__ import annotations

import time
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from .. import __version__
from .build import METRICS, OTHER_METRICS, build_optimizer, choose_device, learning_rate
from .checkpoint import load_model, load_optimizer, whole
from .folder import RunFolder, as_record, read_last
from .loader import Batch, TrainLoader
from .logs import LOG, LOWER_IS_BETTER, Logs, Row, draw_curves, write_rows
from .parallel import Processes, average_buffers, plain_copy, share_out, whole_model
from .progress import Progress, Result, Stop
from .recipe import Recipe
from .schedules import Schedule
from .seeds import random_state, seed_of, seed_process, set_random_state
from .step import Step
from .task import task_of


def train(recipe: Recipe, folder: str | Path, resume: bool = False, quiet: bool = False) -> Result:
    """Trains what a recipe describes into a folder; see `Trainer`."""
    trainer = Trainer(recipe, folder, resume, quiet)
    try:
        return trainer.run()
    finally:
        trainer.processes.close()


class Trainer:
    """A run, made ready: every part is there to be looked at, and nothing has been written.

    Args:
        folder: where the run goes; None for a look at its parts alone.
        resume: go on with the run that is in the folder, from its last checkpoint.
        quiet: no bars and no lines.

    Attributes:
        task, sources, network, optimizer, schedule, objective, loader, inputs, step: its parts. progress: where it
            stands.
        metric: what the best is judged by.

    Raises:
        FileExistsError: the folder has a run already, and `resume` is false.
        FileNotFoundError: no run to resume, no data, no weights.
        ValueError: a recipe that cannot be followed, or is not the one that the run began with.
        ImportError: a package is missing that the recipe needs.
    """

    def __init__(self, recipe: Recipe, folder: str | Path | None = None, resume: bool = False,
                 quiet: bool = False) -> None:
        self.recipe, run = recipe, recipe.run
        saved = read_last(Path(folder), recipe, resume) if folder is not None else None
        self.processes = Processes(choose_device(recipe))
        self.device, self.quiet = self.processes.device, quiet or not self.processes.first
        seed_process(run.seed)

        self.task = task_of(recipe)
        self.sources = self.task.open_sources(saved and saved['class_names'])
        self.network = self.task.build_network(self.sources, self.device)
        self.model, self.config = self.network.model, self.network.config
        self.ema = self._average()
        self._plain = plain_copy(self.model, self.processes, run.distributed)       # to put spread parameters into
        self.objective = self.task.objective(self.network, self.sources, self.device)
        running = share_out(self.objective.student, self.processes, run.distributed)
        running = torch.compile(running) if recipe.model.torchcompile else running

        images = self.task.images(self.sources, self.config)
        self.loader = TrainLoader(
            images, recipe.data.batch_size, recipe.data.workers, repeats=recipe.augment.aug_repeats,
            part=self.processes.rank, parts=self.processes.count, pin_memory=self.device.type == 'cuda')
        self.accumulate = run.grad_accum_steps
        self.updates = -(-self.loader.steps // self.accumulate)                     # steps of the weights an epoch
        self.lr = learning_rate(recipe, recipe.data.batch_size * self.accumulate * self.processes.count)
        self.optimizer = build_optimizer(recipe, self.model, self.objective.extra, self.lr, self.task.groups)
        self.metric = self._metric()
        self.schedule = Schedule(recipe.schedule, self.lr, self.updates, self.metric not in LOWER_IS_BETTER)
        self.inputs = self.task.inputs(self.sources, self.config, self.device)
        self.step = Step(recipe, running, self.model, self.optimizer, self.objective, self.inputs, self.ema,
                         self.device)

        self.progress, self.stop = Progress(), Stop()
        self.folder = RunFolder(Path(folder), self.metric) if folder is not None else None
        seed_process(seed_of(run.seed, self.processes.rank) % 2 ** 32)
        if saved:
            self._restore(saved)

    # --- the run

    def run(self) -> Result:
        """Trains to the last epoch, or to the step in which SIGTERM or SIGINT comes.

        Raises:
            LossNotFinite: the loss is NaN or infinite.
            OSError: a checkpoint cannot be written; the last good one is still there.
            ValueError: more unreadable images than the recipe allows.
        """
        if self.folder is None:
            raise ValueError('This run was made without a folder, for a look at its parts; it cannot be trained.')
        self._begin()
        at = self.progress
        with self.stop:
            while at.epoch < self.recipe.schedule.epochs:
                self._train_epoch()
                if self._stopping():
                    self._save()
                    break
                self._end_epoch(self._validate())
        self._finish()
        best, best_epoch = at.best or (None, None)
        return Result(self.folder.path, at.rows, self.metric, best, best_epoch, self.stop.signal)

    def _train_epoch(self) -> None:
        at, run = self.progress, self.recipe.run
        self.network.training()
        began, before = time.perf_counter(), at.seconds
        with tqdm(total=self.updates, initial=at.update, unit='step', desc=f'epoch {at.epoch}', leave=False,
                  disable=self.quiet) as bar:
            for batches in self._groups(at.epoch, at.update):
                lr = self.schedule.apply(self.optimizer, at.updates)
                loss = self.step(batches, at.epoch, at.updates, self.folder.last_good())
                self._count(batches, loss)
                at.seconds = before + time.perf_counter() - began
                bar.update()
                bar.set_postfix_str(f'loss {loss:.4g}, lr {lr:.3g}', refresh=False)
                if at.updates % run.log_interval == 0 and self._logs:
                    self._logs.step(at.updates, {'loss': loss, 'lr': lr})
                if self._stopping():
                    return
                if run.recovery_interval and at.update % run.recovery_interval == 0 and at.update < self.updates:
                    self._save()

    def _groups(self, epoch: int, update: int) -> Iterator[list[Batch]]:
        """The batches of each step of an epoch from step number `update` on; the last may have fewer."""
        batches = self.loader.batches(epoch, update * self.accumulate)
        while group := list(islice(batches, self.accumulate)):
            yield group

    def _count(self, batches: list[Batch], loss: float) -> None:
        at, limit = self.progress, self.recipe.data.max_unreadable
        at.update, at.updates, at.loss = at.update + 1, at.updates + 1, at.loss + self.processes.mean(loss)
        at.images += sum(len(batch.names) for batch in batches) * self.processes.count
        at.unreadable += [one for batch in batches for one in batch.unreadable]
        if len(at.unreadable) > limit:
            named = '; '.join(f'{name} ({reason})' for name, reason in at.unreadable[:5])
            raise ValueError(f'{len(at.unreadable)} training images could not be read, more than the {limit} that '
                             f'data.max_unreadable allows: {named}')

    def _validate(self) -> dict[str, float] | None:
        """The metrics of the network, or of its average; None in an epoch without."""
        recipe, at = self.recipe, self.progress
        last = at.epoch + 1 == recipe.schedule.epochs
        for module in filter(None, (self.model, self.ema and self.ema.module)):
            average_buffers(module, self.processes)
        if self.sources.val is None or (at.epoch + 1) % recipe.run.val_interval and not last:
            return None
        found = self.task.evaluate(
            self._judged(), self.sources, self.config, workers=recipe.data.workers, device=self.device,
            amp_dtype=self.step.dtype, channels_last=recipe.model.channels_last,
            max_unreadable=recipe.data.max_unreadable, progress=not self.quiet)
        return found.metrics

    def _end_epoch(self, metrics: dict[str, float] | None) -> None:
        """Writes down the epoch: the network if it is among the best, then the run, then the log."""
        at, limit = self.progress, self.recipe.data.max_unreadable
        at.unreadable = sorted(one for part in self.processes.gathered(at.unreadable) for one in part)
        if len(at.unreadable) > limit:
            raise ValueError(f'{len(at.unreadable)} training images could not be read in epoch {at.epoch}, more than '
                             f'the {limit} that data.max_unreadable allows.')
        row: Row = {'epoch': at.epoch, 'updates': at.updates, 'train_loss': at.loss / self.updates,
                    'lr': self.schedule.apply(self.optimizer, at.updates - 1), **(metrics or {}),
                    'unreadable': len(at.unreadable), 'seconds': round(at.seconds, 2),
                    'images_per_second': round(at.images / max(at.seconds, 1e-9), 1)}
        at.rows.append(row)
        if row.get(self.metric) is not None:
            self.schedule.observe(row[self.metric])
            self._keep(row[self.metric])
        kept = [epoch for _, epoch in at.kept]
        at.next_epoch()
        self._save()
        if self._logs:
            self.folder.keep_only(kept)
            self._logs.epoch(at.rows)
        if not self.quiet:
            tqdm.write('  '.join(f'{name} {value:.5g}' for name, value in row.items() if value is not None))

    def _keep(self, value: float) -> None:
        """Writes the network if it is the best so far, or among the best."""
        at, count = self.progress, self.recipe.run.checkpoint_hist
        sign = 1 if self.metric in LOWER_IS_BETTER else -1
        at.kept = sorted([*at.kept, (value, at.epoch)], key=lambda one: (sign * one[0], one[1]))[:count]
        names = [self.folder.checkpoint(at.epoch)] if (value, at.epoch) in at.kept else []
        if self.folder.better(value, at.best and at.best[0]):
            at.best = value, at.epoch
            names.append(self.folder.best.name)
        if names:
            state = whole(self._judged().state_dict())
            about = {'metric': value, 'metric_name': self.metric, 'epoch': at.epoch, 'zoo': __version__}
            for name in names:
                self.processes.guarded(lambda: self.folder.write_weights(name, state, self.network.record, **about))

    # --- parts

    def _metric(self) -> str:
        """What the best is judged by: the recipe's choice, else the task's usual one."""
        task, asked = self.sources.task, self.recipe.run.eval_metric
        if self.sources.val is None:
            if asked not in (None, 'train_loss'):
                raise ValueError(f"run.eval_metric is {asked!r}, and there are no validation images: it can be "
                                 "'train_loss'.")
            return 'train_loss'
        self.task.check_metrics(self.sources)
        known = (METRICS[task], *OTHER_METRICS[task], 'train_loss')
        if asked is not None and asked not in known:
            raise ValueError(f'run.eval_metric is one of {", ".join(known)} for the task {task!r}; got {asked!r}.')
        return asked or METRICS[task]

    def _average(self) -> Any:
        part = self.recipe.ema
        if not part.model_ema:
            return None
        from .ema import ModelEma
        ema = ModelEma(self.model, part.model_ema_decay, part.model_ema_warmup)
        if self.recipe.run.distributed == 'fsdp':
            share_out(ema.module, self.processes, 'fsdp')
        return ema

    def _judged(self) -> Any:
        """The network that is evaluated and kept: the average if there is one."""
        return whole_model(self.ema.module if self.ema else self.model, self._plain)

    # --- stop and resume

    def _begin(self) -> None:
        at = self.progress
        self.processes.guarded(lambda: self.folder.begin(self.recipe))
        self._logs = Logs(self.folder.path, self.recipe) if self.processes.first else None
        found = self.folder.found_best()
        if found and self.folder.better(found[0], at.best and at.best[0]):
            at.best = found                         # of an epoch that was not written down before the run was killed
        if self._logs:
            self.folder.keep_only([epoch for _, epoch in at.kept])

    def _stopping(self) -> bool:
        """Whether any process has been asked to stop."""
        asked = max(number or 0 for number in self.processes.gathered(self.stop.signal))
        self.stop.signal = self.stop.signal or asked or None
        return bool(asked)

    def _save(self) -> None:
        """The whole run, as of now. Distorted images need no generator: each has a seed of its own by its place."""
        if self.processes.count > 1:
            for module in filter(None, (self.model, self.ema and self.ema.module)):
                average_buffers(module, self.processes)
        state = {
            'model': whole(self.model.state_dict()), 'optimizer': whole(self.optimizer.state_dict()),
            'objective': self.objective.state_dict(),
            'ema': whole(self.ema.state_dict()) if self.ema else None, 'schedule': self.schedule.state_dict(),
            'scaler': self.step.scaler.state_dict(), 'progress': self.progress.state(),
            'random': self.processes.gathered(random_state(self.device)), 'recipe': as_record(self.recipe),
            'class_names': self.sources.class_names, 'images': len(self.sources.train),
            'versions': {'zoo': __version__, 'torch': torch.__version__}}
        self.processes.guarded(lambda: self.folder.write_last(state, self.network.record))

    def _restore(self, state: dict[str, Any]) -> None:
        if len(state['random']) != self.processes.count:
            raise ValueError(f'The run had {len(state["random"])} processes, now there are {self.processes.count}; '
                             'resume it with as many.')
        if state['images'] != len(self.sources.train):
            raise ValueError(f'The run had {state["images"]} training images, now there are '
                             f'{len(self.sources.train)}; it cannot go on with others.')
        load_model(self.model, state['model'])
        load_optimizer(self.optimizer, state['optimizer'])
        self.objective.load_state_dict(state['objective'])
        if self.ema:
            self.ema.steps = state['ema'].pop('steps')
            load_model(self.ema.module, {k.removeprefix('module.'): v for k, v in state['ema'].items()})
        self.schedule.load_state_dict(state['schedule'])
        self.step.scaler.load_state_dict(state['scaler'])
        self.progress = Progress(**state['progress'])
        set_random_state(state['random'][self.processes.rank], self.device)

    def _finish(self) -> None:
        if not self._logs:
            return
        write_rows(self.folder.path / LOG, self.progress.rows)
        self._logs.close()
        if self.progress.rows and not self.stop.signal:
            draw_curves(self.progress.rows, self.folder.path / 'curves.png')
