"""What is measured of a network's outputs, by torchmetrics; every image once, however many processes there are."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor

TASKS = ('single', 'multi', 'regression')
TOP = 5                     # answers of which one has to be right, where there are more classes
BINS = 15                   # of confidence, for the calibration error


class Metrics:
    """Metrics of one task, updated batch by batch.

    Args:
        task: 'single' measures top1, top5 (of more than five classes), the mean of the classes' accuracies and the
            expected calibration error, all in percent; 'multi' measures mAP in percent; 'regression' measures mae and
            r2.
        num_classes: how many outputs a network for classes has.
        valid: indices of the outputs that count, sorted; the others are left out. All by default.
        loss: (outputs, targets) of a batch -> their mean loss (), to be measured as 'loss'.

    Raises:
        ImportError: torchmetrics is not installed.
    """

    def __init__(self, task: str, num_classes: int, device: torch.device | str = 'cpu',
                 valid: Sequence[int] | None = None, loss: Callable[[Tensor, Tensor], Tensor] | None = None) -> None:
        try:
            import torchmetrics
        except ImportError as error:
            raise ImportError("Metrics need torchmetrics: pip install 'zoo-image-models[validate]'.") from error
        self.task, self._loss = task, loss
        self.classes = list(range(num_classes)) if valid is None else list(valid)
        self.device, self.seen, self.real_seen, self.hits = torch.device(device), 0, 0, 0.0
        self._valid = None if valid is None else torch.tensor(self.classes, device=device)
        self._position = {index: place for place, index in enumerate(self.classes)}
        metric = torchmetrics.classification
        # processes are put together in `gather`, also where one of them has seen nothing
        own: dict[str, Any] = {'sync_on_compute': False}
        classes = len(self.classes)
        fast: dict[str, Any] = {**own, 'validate_args': False}
        if task == 'single':
            self._metrics = {
                'top1': metric.MulticlassAccuracy(classes, average='micro', **fast),
                'top5': metric.MulticlassAccuracy(classes, top_k=min(TOP, classes), average='micro', **fast),
                'ece': metric.MulticlassCalibrationError(classes, n_bins=BINS, **fast),
                'confusion': metric.MulticlassConfusionMatrix(classes, **fast),
                'real_top1': metric.BinaryAccuracy(**fast),             # whether an answer is right
                'real_top5': metric.BinaryAccuracy(**fast),
            }
        elif task == 'multi':
            self._metrics = {'ap': metric.MultilabelAveragePrecision(classes, average='none', **fast)}
        elif task == 'regression':
            self._metrics = {'mae': torchmetrics.MeanAbsoluteError(**own), 'r2': torchmetrics.R2Score(**own)}
        else:
            raise ValueError(f'The task of labelled images is one of {", ".join(TASKS)}; got {task!r}.')
        if loss is not None:
            self._metrics['loss'] = torchmetrics.MeanMetric(**own)
        for one in self._metrics.values():
            one.to(device)

    def targets(self, given: Sequence[Any]) -> Tensor:
        """The targets of a batch as a tensor: places among the classes that count (B,), or (B, outputs).

        Raises:
            ValueError: a class that the network does not have or that does not count.
        """
        if self.task != 'single':
            return torch.tensor(given, device=self.device).reshape(len(given), -1)
        for index in given:
            if index not in self._position:
                raise ValueError(f'Class {index} of the data is not among the {len(self.classes)} outputs that count, '
                                 f'{self.classes[0]} to {self.classes[-1]}.')
        return torch.tensor([self._position[index] for index in given], device=self.device)

    def update(self, outputs: Tensor, targets: Tensor, real: Sequence[frozenset[int]] | None = None) -> None:
        """Takes in a batch.

        Args:
            outputs: (B, outputs) of the network, in floats.
            targets: what `targets` returns.
            real: ReaL labels of each image.

        Raises:
            ValueError: outputs and targets that do not belong together.
        """
        self.seen += len(outputs)
        if self.task == 'single':
            self._update_single(outputs.float(), targets, real)
            return
        if outputs.shape != targets.shape:
            raise ValueError(f'The targets have {targets.shape[1]} values an image, the network {outputs.shape[1]}.')
        self._update_loss(outputs.float(), targets)
        if self.task == 'multi':
            self._metrics['ap'].update(outputs.float().sigmoid(), targets.long())
            return
        self.hits += (outputs - targets).abs().mean(1).sum().item()
        for name in ('mae', 'r2'):
            flat = targets.shape[1] == 1
            self._metrics[name].update(*((t.float().flatten() if flat else t.float()) for t in (outputs, targets)))

    def _update_single(self, outputs: Tensor, targets: Tensor, real: Sequence[frozenset[int]] | None) -> None:
        if self._valid is not None:
            outputs = outputs[:, self._valid]
        self._update_loss(outputs, targets)
        probabilities = outputs.softmax(-1)
        best = outputs.topk(min(TOP, outputs.shape[1])).indices
        self.hits += (best[:, 0] == targets).sum().item()
        for name in ('top1', 'confusion'):
            self._metrics[name].update(best[:, 0], targets)
        self._metrics['top5'].update(outputs, targets)
        self._metrics['ece'].update(probabilities, targets)
        right = [[self.classes[place] in labels for place in row] for row, labels in zip(best.tolist(), real or ())
                 if labels]
        if right:
            hits = torch.tensor([(row[0], any(row)) for row in right], device=self.device).long()
            self.real_seen += len(right)
            for name, column in zip(('real_top1', 'real_top5'), hits.T):
                self._metrics[name].update(column, torch.ones_like(column))

    def _update_loss(self, outputs: Tensor, targets: Tensor) -> None:
        if self._loss is not None:
            self._metrics['loss'].update(self._loss(outputs, targets), len(outputs))

    @property
    def running(self) -> str:
        """How it stands so far in this process, in a few words."""
        if self.task == 'multi' or not self.seen:
            return ''
        share = self.hits / self.seen
        return f'top1 {100 * share:.2f} %' if self.task == 'single' else f'mae {share:.4g}'

    def gather(self) -> None:
        """Puts the processes of a distributed run together: afterwards each has seen all images."""
        states: list[Any] = [None] * dist.get_world_size()
        own = {name: {key: _moved(value, 'cpu') for key, value in one.metric_state.items()}
               for name, one in self._metrics.items() if one.update_called}
        dist.all_gather_object(states, (self.seen, self.real_seen, own))
        self.seen, self.real_seen = sum(state[0] for state in states), sum(state[1] for state in states)
        for rank, (_, _, metrics) in enumerate(states):
            for name, state in metrics.items() if rank != dist.get_rank() else ():
                self._metrics[name].merge_state({key: _moved(value, self.device) for key, value in state.items()})

    def compute(self) -> dict[str, float]:
        """The figures of all images taken in: percent, but for mae, r2 and the loss."""
        loss = {} if self._loss is None else {'loss': self._metrics['loss'].compute().item()}
        return self._figures() | loss

    def _figures(self) -> dict[str, float]:
        if self.task == 'regression':
            return {name: self._metrics[name].compute().item() for name in ('mae', 'r2')}
        if self.task == 'multi':
            known = self._by_class()
            return {'map': _percent(known[~known.isnan()].mean())}
        names = ['top1', 'top5', 'ece', *(['real_top1', 'real_top5'] if self.real_seen else [])]
        few = len(self.classes) <= TOP                          # of which one is always right
        found = {name: _percent(self._metrics[name].compute()) for name in names if not (few and name.endswith('top5'))}
        known = self._by_class()
        return {**found, 'class_mean': _percent(known[~known.isnan()].mean())}

    def per_class(self) -> dict[int, float]:
        """Index of a class -> its accuracy (its average precision where an image has several labels) in percent; only
        classes that there are images of."""
        if self.task == 'regression':
            return {}
        return {index: _percent(value) for index, value in zip(self.classes, self._by_class()) if not value.isnan()}

    def confusion(self) -> list[tuple[int, int, int]]:
        """(class, class that was answered, how many images), in the order of the classes; only where there are any."""
        if self.task != 'single':
            return []
        matrix = self._metrics['confusion'].compute()
        return [(self.classes[row], self.classes[column], int(matrix[row, column]))
                for row, column in matrix.nonzero().tolist()]

    def _by_class(self) -> Tensor:
        """A figure a class, from 0 to 1; NaN where there is no image of it."""
        if self.task == 'multi':
            metric = self._metrics['ap']
            there = torch.cat([t.long() for t in getattr(metric, 'target')]).sum(0) > 0
            return torch.where(there, metric.compute().nan_to_num(0.0), torch.nan)
        matrix = self._metrics['confusion'].compute().double()
        return matrix.diagonal() / matrix.sum(1)


def _moved(state: Tensor | list[Tensor], device: torch.device | str) -> Tensor | list[Tensor]:
    return [one.to(device) for one in state] if isinstance(state, list) else state.to(device)


def _percent(share: Tensor) -> float:
    return round(100 * share.item(), 4)             # as far as single precision goes
