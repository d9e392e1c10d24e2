"""What a run learns: the parts that differ between classes of images, boxes and masks. The trainer is the same."""
from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from ..evaluation import Metrics, evaluate
from ..profiling import profile
from .build import Network, Objective, build_network
from .groups import Group
from .inputs import Inputs, train_transform
from .loader import Batch, TrainImages
from .recipe import Recipe
from .sources import Sources, open_sources

Picture = tuple[Tensor, str]                # an image (C, H, W) in 0..1, and a line about it


class Task:
    """Classes of whole images, or numbers: the task of a recipe without `dense.task`.

    Attributes:
        groups: from a network to the groups of its optimizer; None for the usual ones.
    """

    groups: Callable[[nn.Module], list[Group]] | None = None

    def __init__(self, recipe: Recipe) -> None:
        self.recipe = recipe

    def open_sources(self, class_names: list[str] | None) -> Sources:
        """The images of both splits; `class_names` are those of a run that is resumed.

        Raises:
            FileNotFoundError, ValueError: see `zoo.train.sources.open_sources`.
        """
        return open_sources(self.recipe.data, class_names, self.recipe.model.num_classes)

    def build_network(self, sources: Sources, device: torch.device) -> Network:
        """The network with its first weights."""
        return build_network(self.recipe, sources, device)

    def objective(self, network: Network, sources: Sources, device: torch.device) -> Any:
        """(network, images, targets) -> loss (); with `student`, `extra` and a state as `Objective` has them."""
        return Objective(self.recipe, network, sources.task, device)

    def images(self, sources: Sources, config: dict[str, Any]) -> TrainImages:
        """The training images by their place in the run."""
        return TrainImages(sources.train, train_transform(self.recipe, config), self.recipe.run.seed,
                           config['input_size'][0], self.recipe.data.exif)

    def inputs(self, sources: Sources, config: dict[str, Any], device: torch.device) -> Callable[[Batch, int], Any]:
        """(batch, epoch) -> what the objective takes, on the device."""
        return Inputs(self.recipe, config, sources.task, sources.num_outputs, device)

    def check_metrics(self, sources: Sources) -> None:
        """Fails now if the validation images cannot be measured with: a package is missing."""
        Metrics(sources.task, sources.num_outputs)

    def evaluate(self, model: nn.Module, sources: Sources, config: dict[str, Any], objective: Any,
                 **options: Any) -> Any:
        """The network on the validation images: a record with `metrics`.

        Args:
            objective: the run's; its `validation` loss is measured, too.
            options: workers, device, amp_dtype, channels_last, max_unreadable, progress, stop: see
                `zoo.evaluation.evaluate`.
        """
        part = self.recipe.data
        return evaluate(model, sources.val, config, batch_size=part.validation_batch_size or part.batch_size,
                        exif=part.exif, loss=objective.validation, **options)

    def weight(self, batch: Batch) -> float:
        """What the loss of a batch is multiplied by before gradients are taken."""
        return 1.0

    def in_a_step(self, images: int) -> str:
        """In words, what a step is made of, where its batches have so many images."""
        return f'{images} images'

    def cost(self, model: nn.Module, config: dict[str, Any]) -> list[str]:
        """Lines on what an image costs, and on what the network takes in."""
        gmacs = profile(model, config['input_size']).gmacs
        return [f'multiply-adds  {gmacs:.3f} G an image', f'input          {"x".join(map(str, config["input_size"]))}']

    def pictures(self, batch: tuple[Tensor, Tensor], sources: Sources, config: dict[str, Any]) -> Iterator[Picture]:
        """A batch, as the network gets it but in colours one knows, with its targets in words.

        Copies of an image come one after the other.
        """
        images, targets = batch
        mean, std = (torch.tensor(config[name], device=images.device).view(-1, 1, 1) for name in ('mean', 'std'))
        for number, target in enumerate(targets):
            for copy in range(number, len(images), len(targets)):
                yield images[copy] * std + mean, described(sources, target)


def task_of(recipe: Recipe) -> Task:
    """The task of a recipe."""
    if recipe.data.naflex_loader:
        from .naflex import PackedTask
        return PackedTask(recipe)
    if recipe.dense.task is None:
        return Task(recipe)
    from .dense import DenseTask
    return DenseTask(recipe)


def name_of(sources: Sources, index: int) -> str:
    """The name of a class, or its number."""
    names = sources.class_names
    return str(names[index]) if names and index < len(names) else str(index)


def described(sources: Sources, target: Tensor) -> str:
    """A target in words: the class, the classes with their shares, or the numbers."""
    if sources.task == 'regression':
        return ', '.join(f'{value:.4g}' for value in target.flatten().tolist())
    if target.ndim == 0:
        return name_of(sources, int(target))
    if sources.task == 'multi':
        return ', '.join(name_of(sources, i) for i, on in enumerate(target.tolist()) if on) or 'none'
    shares, indices = target.sort(descending=True)
    # of smoothed targets each class has a little, which is not meant
    kept = [(s, i) for s, i in zip(shares.tolist(), indices.tolist()) if s > 2 * float(target.min()) + 0.01][:2]
    if len(kept) == 1:
        return name_of(sources, kept[0][1])
    return ' + '.join(f'{name_of(sources, i)} {s:.2f}' for s, i in kept)
