"""A training run: from a recipe to a folder with a trained network, which may be stopped at any moment and resumed."""
from __future__ import annotations

import copy
import time
from collections.abc import Iterable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

import torch
from tqdm import tqdm

from .. import __version__
from ..evaluation import EvaluationStopped
from ..evaluation.loading import default_workers
from ..evaluation.metrics import TOP
from .build import METRICS, OTHER_METRICS, build_optimizer, choose_device, learning_rate
from .checkpoint import load_model, load_optimizer, whole
from .clock import Clock
from .folder import RunFolder, as_record, read_last
from .inventory import check_images, list_images
from .loader import Batch, TrainLoader
from .lock import RunLock
from .logs import LOG, LOWER_IS_BETTER, Logs, Row, draw_curves, write_rows
from .parallel import Processes, average_buffers, plain_copy, share_out, whole_model
from .progress import TIME_IS_UP, Progress, Result, Stop
from .readable import Look, check_unreadable, look_at
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
        resume: resume the run that is in the folder from its last checkpoint.
        quiet: no bars and no lines.

    Attributes:
        task, sources, network, optimizer, schedule, objective, loader, inputs, step: its parts. progress: where it
            stands.
        metric: what the best is judged by.

    Raises:
        FileExistsError: the folder has a run already, and `resume` is false; or one that still goes on.
        FileNotFoundError: no run to resume, no data, no weights.
        ValueError: a recipe that cannot be followed, or is not the one that the run began with.
        ImportError: a package is missing that the recipe needs.
    """

    def __init__(self, recipe: Recipe, folder: str | Path | None = None, resume: bool = False,
                 quiet: bool = False) -> None:
        self.recipe, run = recipe, recipe.run
        self.clock = Clock(run.max_hours)
        self.processes = Processes(choose_device(recipe))
        if folder is not None:
            self.processes.guarded(RunLock(Path(folder)).check)
        saved = read_last(Path(folder), recipe, resume) if folder is not None else None
        self.device, self.quiet = self.processes.device, quiet or not self.processes.first
        seed_process(run.seed)

        self.task = task_of(recipe)
        try:
            self.sources = self.task.open_sources(saved['class_names'] if saved else None)
        except FileNotFoundError as error:
            moved = f' Where they have moved to: zoo train --resume {folder} PLACE.' if saved else ''
            raise FileNotFoundError(f'{error}{moved}') from error
        self.network = self.task.build_network(self.sources, self.device)
        self.model, self.config = self.network.model, self.network.config
        self.ema = self._average()
        self._plain = plain_copy(self.model, self.processes, run.distributed)       # to put spread parameters into
        self.objective = self.task.objective(self.network, self.sources, self.device)
        running = share_out(self.objective.student, self.processes, run.distributed)
        if recipe.model.torchcompile:
            compiled: Any = torch.compile(running)
            running = compiled

        self.workers = default_workers() if recipe.data.workers is None else recipe.data.workers
        images = self.task.images(self.sources, self.config)
        self.loader = TrainLoader(
            images, recipe.data.batch_size, self.workers, repeats=recipe.augment.aug_repeats,
            part=self.processes.rank, parts=self.processes.count, pin_memory=self.device.type == 'cuda')
        self.accumulate = run.grad_accum_steps
        self.updates = -(-self.loader.steps // self.accumulate)                     # steps of the weights an epoch
        images_a_step = recipe.data.batch_size * self.accumulate * self.processes.count
        if hasattr(self.sources.val, '__len__'):
            self.clock.validation_steps = len(self.sources.val) / images_a_step
        self.lr = learning_rate(recipe, images_a_step)
        self.optimizer = build_optimizer(recipe, self.model, self.objective.extra, self.lr, self.task.groups)
        self.metric = self._metric()
        self.schedule = Schedule(recipe.schedule, self.lr, self.updates, self.metric not in LOWER_IS_BETTER)
        self.inputs = self.task.inputs(self.sources, self.config, self.device)
        self.step = Step(recipe, running, self.model, self.optimizer, self.objective, self.inputs, self.ema,
                         self.device, self.task.weight)

        self.progress, self.stop = Progress(), Stop()
        self._named: set[str] = set()
        self.folder = RunFolder(Path(folder), self.metric) if folder is not None else None
        self._images = list_images(self.sources) if folder is not None and self.processes.first else []
        seed_process(seed_of(run.seed, self.processes.rank) % 2 ** 32)
        if saved:
            self._restore(saved)

    # --- the run

    def run(self) -> Result:
        """Trains to the last epoch, or to the step or the validation in which SIGTERM or SIGINT comes, or the last that
        the time allows.

        Raises:
            LossNotFinite: the loss is NaN or infinite.
            FileExistsError: another run is in the folder.
            OSError: a checkpoint cannot be written; the last good one is still there.
            ValueError: more unreadable images than the recipe allows.
        """
        folder = self.home
        try:
            self._begin()
            self._epochs()
            self._finish()
        finally:
            self.loader.end()
            folder.end()
        at = self.progress
        best, best_epoch = at.best or (None, None)
        return Result(folder.path, at.rows, self.metric, best, best_epoch, self.stop.signal)

    @property
    def home(self) -> RunFolder:
        """The folder that the run goes into.

        Raises:
            ValueError: it was made without one.
        """
        if self.folder is None:
            raise ValueError('This run was made without a folder, for a look at its parts; it cannot be trained.')
        return self.folder

    def look(self) -> Look:
        """Looks at the image files.

        Raises:
            ValueError: more of them cannot be read than the recipe allows.
        """
        look = look_at(self.sources)
        look.check(self.recipe.data.max_unreadable)
        return look

    def _epochs(self) -> None:
        at = self.progress
        with self.stop:
            while at.epoch < self.recipe.schedule.epochs:
                self._train_epoch()
                if self._stopping('validation'):
                    self._save()
                    break
                try:
                    metrics = self._validate()
                except EvaluationStopped:
                    self._stopping('validation')    # tells it to all processes; the trained epoch is saved already
                    break
                self._end_epoch(metrics)
                if at.epoch < self.recipe.schedule.epochs and self._stopping('step'):
                    break                                       # what has been done is written down

    def _train_epoch(self) -> None:
        at, run = self.progress, self.recipe.run
        self.network.training()
        began, before = time.perf_counter(), at.seconds
        self.clock.begin()
        with tqdm(total=self.updates, initial=at.update, unit='step', desc=f'epoch {at.epoch}', leave=False,
                  disable=self.quiet or None) as bar:
            for batches in self._groups(at.epoch, at.update):
                lr = self.schedule.apply(self.optimizer, at.updates)
                loss = self.step(batches, at.epoch, at.updates, self.home.last_good())
                self._count(batches, loss)
                at.seconds = before + time.perf_counter() - began
                self.clock.step()
                bar.update()
                bar.set_postfix_str(f'loss {loss:.4g}, lr {lr:.3g}, whole run {self._left()} left', refresh=False)
                if at.updates % run.log_interval == 0 and self._logs:
                    self._logs.step(at.updates, {'loss': loss, 'lr': lr})
                if at.update < self.updates and self._stopping('step'):
                    return
                if run.recovery_interval and at.update % run.recovery_interval == 0 and at.update < self.updates:
                    self._save()

    def _groups(self, epoch: int, update: int) -> Iterator[list[Batch]]:
        """The batches of each step of an epoch from step number `update` on; the last may have fewer."""
        batches = self.loader.batches(epoch, update * self.accumulate)
        while group := list(islice(batches, self.accumulate)):
            yield group

    def _count(self, batches: list[Batch], loss: float) -> None:
        at = self.progress
        at.update, at.updates, at.loss = at.update + 1, at.updates + 1, at.loss + self.processes.mean(loss)
        at.images += sum(len(batch.names) for batch in batches) * self.processes.count
        at.unreadable += [one for batch in batches for one in batch.unreadable]
        check_unreadable(at.unreadable, self.recipe.data.max_unreadable, 'training images')

    def _validate(self) -> dict[str, float] | None:
        """The metrics of the network, or of its average; None in an epoch without. The run is written first, so that
        nothing of the epoch is lost where validation fails or is stopped."""
        recipe, at = self.recipe, self.progress
        last = at.epoch + 1 == recipe.schedule.epochs
        for module in filter(None, (self.model, self.ema and self.ema.module)):
            average_buffers(module, self.processes)
        if self.sources.val is None or (at.epoch + 1) % recipe.run.val_interval and not last:
            return None
        with self.clock.timing('validation'):
            self._save()
            found = self.task.evaluate(
                self._used(), self.sources, self.config, self.objective, workers=self.workers, device=self.device,
                amp_dtype=self.step.dtype, channels_last=recipe.model.channels_last,
                max_unreadable=recipe.data.max_unreadable, progress=not self.quiet,
                stop=lambda: self.stop.signal or self.clock.is_up())
        return {'val_loss' if name == 'loss' else name: value for name, value in found.metrics.items()}

    def _end_epoch(self, metrics: dict[str, float] | None) -> None:
        """Writes down the epoch: the network if it is among the best, then the run, then the log."""
        at = self.progress
        at.unreadable = sorted(one for part in self.processes.gathered(at.unreadable) for one in part)
        check_unreadable(at.unreadable, self.recipe.data.max_unreadable, f'training images of epoch {at.epoch}')
        row: Row = {'epoch': at.epoch, 'updates': at.updates, 'train_loss': at.loss / self.updates,
                    'lr': self.schedule.apply(self.optimizer, at.updates - 1), **(metrics or {}),
                    'unreadable': len(at.unreadable), 'seconds': round(at.seconds, 2),
                    'images_per_second': round(at.images / max(at.seconds, 1e-9), 1)}
        at.rows.append(row)
        value = row.get(self.metric)
        if value is not None:
            self.schedule.observe(value)
            self._keep(value)
        kept, unreadable = [epoch for _, epoch in at.kept], at.unreadable
        at.next_epoch()
        self._save()
        if self._logs:
            self.home.keep_only(kept)
            self._logs.epoch(at.rows)
        if not self.quiet:
            figures = '  '.join(f'{name} {value:.5g}' for name, value in row.items() if value is not None)
            tqdm.write(f'{figures}  left {self._left()}')
            self._name_unreadable(unreadable)

    def _name_unreadable(self, unreadable: Iterable[tuple[str, str]]) -> None:
        """Names images in whose place others stand, each once."""
        for name, reason in unreadable:
            if name not in self._named:
                tqdm.write(f'unreadable: {name} ({reason})')
            self._named.add(name)

    def _keep(self, value: float) -> None:
        """Writes the network if it is the best so far, or among the best."""
        at, count = self.progress, self.recipe.run.checkpoint_hist
        sign = 1 if self.metric in LOWER_IS_BETTER else -1
        at.kept = sorted([*at.kept, (value, at.epoch)], key=lambda one: (sign * one[0], one[1]))[:count]
        names = [self.home.checkpoint(at.epoch)] if (value, at.epoch) in at.kept else []
        if self.home.better(value, at.best and at.best[0]):
            at.best = value, at.epoch
            names.append(self.home.best.name)
        if names:
            judged, scale = self._judged(), self.network.scale
            state = whole(judged.state_dict())
            state = scale.in_units(judged, state) if scale else state
            about = {'metric': value, 'metric_name': self.metric, 'epoch': at.epoch, 'zoo': __version__}
            for name in names:
                self.processes.guarded(lambda: self.home.write_weights(name, state, self.network.record, **about))

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
        other = [name for name in OTHER_METRICS[task] if name != 'top5' or self.sources.num_outputs > TOP]
        known = (METRICS[task], *other, 'train_loss')
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

    def _used(self) -> Any:
        """The network that is evaluated, with outputs in the targets' own units."""
        judged, scale = self._judged(), self.network.scale
        if scale is None:
            return judged
        used = copy.deepcopy(judged)
        used.load_state_dict(scale.in_units(judged, judged.state_dict()))
        return used

    # --- stop and resume

    def _begin(self) -> None:
        at = self.progress
        if at.updates and not self.quiet:
            tqdm.write(f'goes on {self._standing()}')
        look = self.processes.guarded(self.look)
        if look and not self.quiet:
            self._name_unreadable(one for found in look.unreadable.values() for one in found)
        self.processes.guarded(lambda: self.home.begin(self.recipe, self._images))
        self._logs = Logs(self.home.path, self.recipe) if self.processes.first else None
        found = self.home.found_best()
        if found and self.home.better(found[0], at.best and at.best[0]):
            at.best = found                         # of an epoch that was not written down before the run was killed
        if self._logs:
            self.home.keep_only([epoch for _, epoch in at.kept])

    def _standing(self) -> str:
        at, epochs = self.progress, self.recipe.schedule.epochs
        if at.epoch >= epochs:
            return f'from the end: all {epochs} epochs are done'
        return f'from epoch {at.epoch} of 0 to {epochs - 1}, after {at.update} of its {self.updates} steps'

    def _left(self) -> str:
        """How long the rest of the run will take."""
        return self.clock.left(self.updates * self.recipe.schedule.epochs - self.progress.updates)

    def _stopping(self, following: str) -> bool:
        """Whether any process has been asked to stop, or has no time for the following step or validation."""
        asked = self.stop.signal or (None if self.clock.fits(following) else TIME_IS_UP)
        asked = max(number or 0 for number in self.processes.gathered(asked))
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
            'class_names': self.sources.class_names, 'target_scale': self.network.record.get('target_scale'),
            'images': len(self.sources.train),
            'versions': {'zoo': __version__, 'torch': torch.__version__}}
        with self.clock.timing('saving'):
            self.processes.guarded(lambda: self.home.write_last(state, self.network.record))

    def _restore(self, state: dict[str, Any]) -> None:
        if len(state['random']) != self.processes.count:
            raise ValueError(f'The run had {len(state["random"])} processes, now there are {self.processes.count}; '
                             'resume it with as many.')
        self.processes.guarded(lambda: check_images(self.home.path, self._images))
        if state['images'] != len(self.sources.train):
            raise ValueError(f'The run had {state["images"]} training images, now there are '
                             f'{len(self.sources.train)}; it cannot be resumed with others.')
        if state.get('target_scale') is None and self.network.scale:
            raise ValueError('The run learned targets as they are: set data.scale_targets=false to resume it.')
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
        write_rows(self.home.path / LOG, self.progress.rows)
        self._logs.close()
        if self.progress.rows and not self.stop.signal:
            draw_curves(self.progress.rows, self.home.path / 'curves.png')
