"""Runs on packed patches (NaViT, arXiv:2307.06304; NaFlex, arXiv:2502.14786): batches of different lengths of sequences, of
as many images as a budget of patches holds."""
from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from ..data import NaFlexMixup
from ..data.patches import (
    NormalizePatches, PackedLevels, PatchFormat, cut_patches, join_patches, patch_format, size_of_sequence,
)
from ..profiling import profile
from .build import Network
from .inputs import Inputs, train_transform
from .loader import Batch, Order, Place, TrainImages, batch_of
from .recipe import AugmentPart, DataPart, Recipe
from .seeds import seed_of
from .sources import Sources
from .task import Picture, Task, described

SCHEDULE = -2               # in place of an epoch: the seed of the lengths of all batches


class Kind(NamedTuple):
    """What the images of a batch have in common: how many patches their sequences hold, and (height, width) of these."""

    length: int
    patch_size: tuple[int, int]


class PackedOrder(Order):
    """The places of every batch of one process, and the kind of each.

    The lengths of the batches are drawn once for all epochs, so that these have as many steps; their order, and the size
    of each one's patches, is drawn in each epoch, alike in all processes.

    Args:
        images_of: how many images of all processes a batch of each length has.
        patch_sizes, chances: those of a batch, and their probabilities.
        order: the arguments of `Order`.
    """

    def __init__(self, images_of: dict[int, int], patch_sizes: Sequence[tuple[int, int]], chances: Sequence[float],
                 *order: int) -> None:
        super().__init__(*order)
        self.images_of, self.patch_sizes, self.chances = images_of, patch_sizes, torch.tensor(chances)
        self.lengths: list[int] = []
        generator = torch.Generator().manual_seed(seed_of(self.seed, SCHEDULE))
        left = self.count
        while fitting := [length for length, images in images_of.items() if images <= left]:
            self.lengths.append(fitting[int(torch.randint(len(fitting), (), generator=generator))])
            left -= images_of[self.lengths[-1]]

    def __len__(self) -> int:
        return len(self.lengths) - self.start

    def __iter__(self) -> Iterator[list[Place]]:
        order, generator = self.images()
        begin = 0
        for number, index in enumerate(torch.randperm(len(self.lengths), generator=generator).tolist()):
            size = self.patch_sizes[int(torch.multinomial(self.chances, 1, generator=generator))]
            kind = Kind(self.lengths[index], size)
            end = begin + self.images_of[kind.length]
            if number >= self.start:
                yield self.places(order, begin, end, kind)
            begin = end


class PackedImages(TrainImages):
    """Distorted images as patches, as many as a sequence of their batch holds at most.

    Args:
        recipe, config: see `train_transform`. patch_size: the network's.
    """

    def __init__(self, recipe: Recipe, config: dict[str, Any], sources: Sources, patch_size: tuple[int, int]) -> None:
        super().__init__(sources.train, self.cut, recipe.run.seed, config['input_size'][0], recipe.data.exif)
        self.part = part = recipe.data
        self.patch_sizes = [(side, side) for side in part.naflex_patch_sizes or ()] or [patch_size]
        self.chances = part.naflex_patch_size_probs or (1 / len(self.patch_sizes),) * len(self.patch_sizes)
        self.transforms = {
            Kind(length, size): train_transform(recipe, config, naflex=True, patchify=True, patchify_flatten=False,
                                                patch_size=size, max_seq_len=length)
            for length in part.naflex_train_seq_lens for size in self.patch_sizes}

    def distort(self, opened: Any, index: int, kind: Kind) -> tuple[tuple[Any, ...], Any]:
        """An image -> its patches with the length of its sequence, and the target."""
        return ((self.transform(opened, kind), kind.length),), self.source.target(index)

    def cut(self, opened: Any, kind: Kind) -> Any:
        """An image, changed at random -> its patches."""
        return self.transforms[kind](opened)

    def collate(self, samples: list[Any]) -> Batch:
        """Samples of one kind as a batch."""
        packed = PackedLevels.of([patches for ((patches, _),), *_ in samples], samples[0][0][0][1])
        return batch_of(packed, samples)

    def order(self, batch_size: int, repeats: int, part: int, parts: int) -> PackedOrder:
        """The places of every batch of one of several processes."""
        images_of = {length: images_of_length(self.part, length) * parts for length in self.part.naflex_train_seq_lens}
        return PackedOrder(images_of, self.patch_sizes, self.chances, len(self.source), batch_size, self.seed, repeats, part,
                           parts)


def images_of_length(part: DataPart, length: int) -> int:
    """How many images a batch of sequences of this length has: the longest have `batch_size` images, the others as many as
    have no more patches together, at least one."""
    return max(part.batch_size * max(part.naflex_train_seq_lens) // length, 1)


class PackedInputs(Inputs):
    """A `Batch` -> (what `NormalizePatches` gives, targets), mixed and erased as the recipe says.

    Args:
        prepare: what makes the network's input of levels. The others: see `Inputs`.
    """

    def __init__(self, recipe: Recipe, config: dict[str, Any], task: str, outputs: int, device: torch.device,
                 prepare: NormalizePatches) -> None:
        super().__init__(recipe, config, task, outputs, device)
        self.prepare = prepare

    def __call__(self, batch: Batch, epoch: int) -> tuple[Any, Tensor]:
        if not isinstance(batch.levels, PackedLevels) or not isinstance(batch.targets, Tensor):
            raise TypeError('A batch of packed patches has these, and its targets, in tensors.')
        levels = batch.levels.to(self.device, non_blocking=True)
        patches, targets = self.prepare.normalize(levels), batch.targets.to(self.device, non_blocking=True)
        if self._mixes(epoch) or self.erasing:
            images = [join_patches(*one) for one in zip(patches, levels.grids())]
            if self._mixes(epoch):
                images, targets = self.mixup(images, targets)
            size = patches.shape[2], patches.shape[3]
            for row, image in zip(patches, images):
                cut, _ = cut_patches(self.erasing(image) if self.erasing else image, size)
                row[:len(cut)] = cut
        return self.prepare.finish(patches, levels), targets

    def _mixing(self, part: AugmentPart, **targets: Any) -> NaFlexMixup:
        return NaFlexMixup(mixup_alpha=part.mixup, cutmix_alpha=part.cutmix, switch_prob=part.mixup_switch_prob,
                           prob=part.mixup_prob, **targets)


class PackedTask(Task):
    """Classes of whole images, or numbers, learned from packed patches: the task of a recipe with
    `data.naflex_loader`."""

    taken: PatchFormat                          # by the network

    def build_network(self, sources: Sources, device: torch.device) -> Network:
        """The network with its first weights.

        Raises:
            ValueError, TypeError: see `zoo.train.build.build_network`; a network that takes images alone.
        """
        network = super().build_network(sources, device)
        self.taken = patch_format(network.model)
        sides = {(side, side) for side in self.recipe.data.naflex_patch_sizes or ()}
        if sides - {self.taken.size} and not self.taken.any_size:
            raise ValueError(f'The network takes patches of {self.taken.size[0]}x{self.taken.size[1]} alone; for those of '
                             'data.naflex_patch_sizes it needs model.model_kwargs.enable_patch_interpolator=true.')
        return network

    def images(self, sources: Sources, config: dict[str, Any]) -> PackedImages:
        """The training images by their place in the run."""
        return PackedImages(self.recipe, config, sources, self.taken.size)

    def inputs(self, sources: Sources, config: dict[str, Any], device: torch.device) -> PackedInputs:
        """(batch, epoch) -> what the objective takes, on the device. Patches of several sizes stay (B, N, P, P, C)."""
        prepare = NormalizePatches(config['mean'], config['std'], flatten=self.recipe.data.naflex_patch_sizes is None,
                                   channels_first=self.taken.channels_first)
        return PackedInputs(self.recipe, config, sources.task, sources.num_outputs, device, prepare)

    def evaluate(self, model: nn.Module, sources: Sources, config: dict[str, Any], objective: Any,
                 **options: Any) -> Any:
        """The network on the validation images, as patches of its own size; see `Task.evaluate`."""
        return super().evaluate(model, sources, config, objective, seq_len=self.recipe.data.naflex_max_seq_len, **options)

    def weight(self, batch: Batch) -> float:
        """The batch's images by `batch_size`, or its root, so that an image weighs the same whatever its batch."""
        share = len(batch.names) / self.recipe.data.batch_size
        return {'none': 1.0, 'sqrt': math.sqrt(share), 'linear': share}[self.recipe.loss.naflex_loss_scale]

    def in_a_step(self, images: int) -> str:
        """Images, and patches of each, for all lengths of sequences."""
        part = self.recipe.data
        several = images // part.batch_size
        return ', or '.join(f'{several * images_of_length(part, length)} images of {length} patches'
                            for length in part.naflex_train_seq_lens)

    def cost(self, model: nn.Module, config: dict[str, Any]) -> list[str]:
        """Lines on what an image costs in evaluation, and on what the network takes in."""
        length = self.recipe.data.naflex_max_seq_len
        gmacs = profile(model, size_of_sequence(config['input_size'][0], self.taken.size, length)).gmacs
        return [f'multiply-adds  {gmacs:.3f} G an image of {length} patches',
                f'input          patches of {"x".join(map(str, self.taken.size))}']

    def pictures(self, batch: tuple[Any, Tensor], sources: Sources, config: dict[str, Any]) -> Iterator[Picture]:
        """A batch, as the network gets it but in colours one knows, with its targets in words."""
        inputs, targets = batch
        patches, channels = inputs['patches'], config['input_size'][0]
        if patches.ndim == 3:
            first = self.taken.channels_first
            patches = patches.unflatten(2, (channels, *self.taken.size) if first else (*self.taken.size, channels))
        if self.taken.channels_first:
            patches = patches.permute(0, 1, 3, 4, 2)
        mean, std = (torch.tensor(config[name], device=patches.device).view(-1, 1, 1) for name in ('mean', 'std'))
        for one, coordinates, target in zip(patches, inputs['patch_coord'], targets):
            grid = (coordinates.amax(0) + 1).tolist()
            yield join_patches(one, grid) * std + mean, described(sources, target)
