"""The folder of a run: `last` to go on from, `model_best` and the best checkpoints to use, each there whole or not at all."""
from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from .checkpoint import check_finite, read_run, write_run
from .inventory import IMAGES, Entry, write_images
from .lock import RunLock
from .logs import is_better
from .recipe import Recipe
from .saved import KEY, save_trained, trained_record

LAST, BEST, RECIPE = 'last.safetensors', 'model_best.safetensors', 'recipe.yaml'
# keys of a recipe that a run may be resumed with another value of: none of them changes its outcome
FREE = {'workers', 'validation_batch_size', 'max_unreadable', 'device', 'output', 'experiment', 'log_interval',
        'recovery_interval', 'checkpoint_hist', 'max_hours', 'tensorboard', 'log_wandb'}
PLACES = {'data', 'val_data'}               # which are free, too, where the images are known by name


class RunFolder:
    """The files of one run.

    Args:
        path: the folder.
        metric: what the best is judged by.
    """

    def __init__(self, path: Path, metric: str) -> None:
        self.path, self.metric, self._lock = path, metric, RunLock(path)

    @property
    def last(self) -> Path:
        """The whole run, as of its last checkpoint."""
        return self.path / LAST

    @property
    def best(self) -> Path:
        """The best network so far."""
        return self.path / BEST

    def last_good(self) -> Path | None:
        """The checkpoint a run would go on from, if there is one."""
        return self.last if self.last.is_file() else None

    def begin(self, recipe: Recipe, images: Sequence[Entry]) -> None:
        """Makes the folder and takes its lock, writes recipe and list of images into it, and throws away what a run
        that was killed left half-written.

        Raises:
            FileExistsError: another run is in it.
        """
        from .reading import write_recipe
        self.path.mkdir(parents=True, exist_ok=True)
        self._lock.take()
        for part in self.path.glob('*.part'):
            shutil.rmtree(part) if part.is_dir() else part.unlink()
        write_images(self.path, images)
        (self.path / RECIPE).write_text(write_recipe(recipe), encoding='utf-8')

    def end(self) -> None:
        """Leaves the folder to others."""
        self._lock.release()

    def write_last(self, state: Mapping[str, Any], record: Mapping[str, Any]) -> None:
        """The whole run.

        Raises:
            OSError: it cannot be written; the last good one is still there.
        """
        try:
            write_run(self.last, state, {KEY: record})
        except OSError as error:
            raise self._full(error) from error

    def write_weights(self, name: str, state: Mapping[str, Tensor], record: Mapping[str, Any], **about: Any) -> None:
        """A network to use.

        Raises:
            OSError: it cannot be written; the file that was there before still is.
            FloatingPointError: a weight is not finite.
        """
        check_finite(state, self.path / name)
        try:
            save_trained(self.path / name, state, record, **about)
        except OSError as error:
            raise self._full(error) from error

    def found_best(self) -> tuple[float, int] | None:
        """(metric, epoch) of the best network in the folder, whatever became of the run after it."""
        record = trained_record(self.best) if self.best.is_file() else None
        return (record['metric'], record['epoch']) if record else None

    def better(self, value: float, than: float | None) -> bool:
        """Whether a value of the metric is an improvement."""
        return is_better(self.metric, value, than)

    def checkpoint(self, epoch: int) -> str:
        """The name of an epoch's file."""
        return f'checkpoint-{epoch}.safetensors'

    def keep_only(self, epochs: list[int]) -> None:
        """Deletes the files of other epochs."""
        names = {self.checkpoint(epoch) for epoch in epochs}
        for path in self.path.glob('checkpoint-*.safetensors'):
            if path.name not in names:
                path.unlink()

    def _full(self, error: OSError) -> OSError:
        good = self.last_good()
        words = f'The last good checkpoint is {good}; make room and resume.' if good else 'There is no checkpoint yet.'
        return OSError(error.errno, f'{error.strerror or error}. {words}')


def read_last(path: Path, recipe: Recipe, resume: bool) -> dict[str, Any] | None:
    """The state that a run in this folder goes on from; None to begin.

    Raises:
        FileExistsError: the folder has a run, and it is not to be resumed.
        FileNotFoundError: there is no run to resume.
        ValueError: the run is one of another recipe; the message names the keys. The checkpoint is damaged.
    """
    files = [name for name in (LAST, BEST, RECIPE) if (path / name).exists()]
    if not resume:
        if files:
            raise FileExistsError(f'{path} has a run already ({", ".join(files)}). Resume it, or choose another folder.')
        return None
    if not files:
        raise FileNotFoundError(f'There is no run to resume in {path}.')
    if LAST not in files:
        return None                                             # stopped before its first checkpoint
    try:
        state = read_run(path / LAST)
    except ValueError as error:
        raise ValueError(f'{error} A run cannot go on from a damaged checkpoint. {_instead(path)}') from error
    free = PLACES if (path / IMAGES).is_file() else set()
    changed = [f'{key} ({old!r}, now {new!r})' for key, old, new in differences(state['recipe'], as_record(recipe))
               if key.partition('.')[2] not in free]
    if changed:
        raise ValueError(f'{path} is a run of another recipe: {"; ".join(changed)}. A run is resumed as it began; only '
                         f'{", ".join(sorted(FREE))} may change. For other training, begin a new run, with these '
                         'weights as model.initial_checkpoint if you like.')
    return state


def _instead(path: Path) -> str:
    """What can be done without `last`: the newest network in the folder that is whole."""
    whole = []
    for file in sorted([*path.glob('checkpoint-*.safetensors'), *path.glob(BEST)]):
        try:
            record = trained_record(file)
            if record is not None:
                whole.append((record['epoch'], file))
        except (ValueError, TypeError):                         # damaged as well, or not of a run
            continue
    if not whole:
        return 'There is no other network in the folder; begin anew.'
    epoch, newest = max(whole, key=lambda one: one[0])
    return f'The newest whole network is {newest}, of epoch {epoch}: begin a new run from it (--initial-checkpoint).'


def as_record(recipe: Recipe) -> dict[str, Any]:
    """A recipe as JSON gives it back."""
    return json.loads(json.dumps(dataclasses.asdict(recipe)))


def differences(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[tuple[str, Any, Any]]:
    """(section.key, old, new) of what two recipes differ in, but for what makes no difference."""
    found = []
    for section in new:
        for key, value in new[section].items():
            before = old.get(section, {}).get(key, value)            # an older version had no such key
            if key not in FREE and before != value:
                found.append((f'{section}.{key}', before, value))
    return found
