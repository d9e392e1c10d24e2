"""What a run writes down: log.csv, TensorBoard, Weights & Biases, and a picture at its end."""
from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from pathlib import Path

from .recipe import Recipe

Row = dict[str, float | int | None]
LOG = 'log.csv'
TIMES = ('seconds', 'images_per_second')          # of a row, which differ where a run is done again
LOWER_IS_BETTER = ('mae', 'val_loss', 'train_loss', 'ece')


class Logs:
    """Where the rows of epochs and the figures of steps go.

    Args:
        folder: the run's. recipe: says what else is asked for.

    Raises:
        ImportError: TensorBoard or Weights & Biases is asked for and not installed.
    """

    def __init__(self, folder: Path, recipe: Recipe) -> None:
        self.folder, self._board, self._wandb = folder, None, None
        if recipe.run.tensorboard:
            try:
                from torch.utils.tensorboard import SummaryWriter
            except ImportError as error:
                raise ImportError("run.tensorboard needs tensorboard: pip install 'zoo-image-models[train]'.") from error
            self._board = SummaryWriter(str(folder))
        if recipe.run.log_wandb:
            try:
                import wandb
            except ImportError as error:
                raise ImportError('run.log_wandb needs wandb: pip install wandb.') from error
            self._wandb = wandb.init(dir=str(folder), name=folder.name, id=folder.name, resume='allow')

    def step(self, update: int, figures: dict[str, float]) -> None:
        """Figures of one step, for those who watch."""
        for name, value in figures.items():
            if self._board:
                self._board.add_scalar(f'step/{name}', value, update)
        if self._wandb:
            self._wandb.log({f'step/{name}': value for name, value in figures.items()} | {'update': update})

    def epoch(self, rows: Sequence[Row]) -> None:
        """All rows so far, of which the last is new: log.csv then holds these and no others."""
        write_rows(self.folder / LOG, rows)
        for name, value in rows[-1].items() if rows else ():
            if self._board and value is not None and name != 'epoch':
                self._board.add_scalar(f'epoch/{name}', value, rows[-1]['epoch'])
        if self._wandb and rows:
            self._wandb.log({f'epoch/{name}': value for name, value in rows[-1].items()})

    def close(self) -> None:
        """Ends what was opened."""
        if self._board:
            self._board.close()
        if self._wandb:
            self._wandb.finish()


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Rows as CSV, at once: whoever reads the file meanwhile sees the old one or the new one."""
    names = list(dict.fromkeys(name for row in rows for name in row))
    text = io.StringIO()
    writer = csv.DictWriter(text, names, lineterminator='\n')
    writer.writeheader()
    writer.writerows(rows)
    part = path.with_name(f'{path.name}.{os.getpid()}.part')
    try:
        part.write_text(text.getvalue())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def draw_curves(rows: Sequence[Row], path: Path) -> bool:
    """A picture of loss, learning rate and metrics over the epochs; false where matplotlib is not installed."""
    try:
        from matplotlib.backends.backend_agg import FigureCanvasAgg
        from matplotlib.figure import Figure
    except ImportError:
        return False
    metrics = [name for name in ('top1', 'top5', 'map', 'mae', 'AP', 'AP50', 'mIoU')
               if any(row.get(name) is not None for row in rows)]
    losses = [name for name in ('train_loss', 'val_loss') if any(row.get(name) is not None for row in rows)]
    panels = [('loss', losses), ('learning rate', ['lr']), *([('validation', metrics)] if metrics else [])]
    figure = Figure(figsize=(4.5 * len(panels), 3.2), layout='constrained')
    FigureCanvasAgg(figure)
    for axes, (title, names) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels):
        for name in names:
            points = [(row['epoch'], row[name]) for row in rows if row.get(name) is not None]
            axes.plot(*zip(*points), marker='o' if len(points) < 30 else None, markersize=3, label=name)
        axes.set_title(title)
        axes.set_xlabel('epoch')
        axes.grid(alpha=0.3)
        if len(names) > 1:
            axes.legend()
    figure.savefig(path, dpi=110)
    return True


def is_better(metric: str, value: float, than: float | None) -> bool:
    """Whether a value of a metric is an improvement; the first one is."""
    if than is None:
        return True
    return value < than if metric in LOWER_IS_BETTER else value > than
