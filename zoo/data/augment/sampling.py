"""Repeated augmentation (arXiv:1901.09335, arXiv:1902.05509): an image several times in an epoch, distorted anew."""
from __future__ import annotations

import math
from collections.abc import Iterator, Sized

import torch
from torch.utils.data import Sampler


class RepeatAugSampler(Sampler[int]):
    """Draws each image `num_repeats` times in a row, its copies for different processes, until an epoch is full.

    An epoch is about as long as without repeats, so that it holds each image with a chance of 1 / num_repeats. The
    order depends on the seed and the epoch alone; `set_epoch` has to be called before each.

    Args:
        dataset: what is drawn from; only its length matters.
        num_replicas, rank: processes and which of them this is; as torch.distributed says, else one.
        num_repeats: times; between two whole numbers, some images one time more than others.
        selected_round: an epoch of all processes is cut to a multiple of it; 0 for not at all. Data sets that are
            smaller stay whole.
        selected_ratio: the dataset's length by that of a process's epoch; 0 for `num_replicas`.
        seed: other orders.

    Raises:
        ValueError: a value that cannot be used.
    """

    def __init__(
        self,
        dataset: Sized,
        num_replicas: int | None = None,
        rank: int | None = None,
        shuffle: bool = True,
        num_repeats: float = 3,
        selected_round: int = 256,
        selected_ratio: float = 0,
        seed: int = 0,
    ) -> None:
        group = torch.distributed.is_available() and torch.distributed.is_initialized()
        if num_replicas is None:
            num_replicas = torch.distributed.get_world_size() if group else 1
        if rank is None:
            rank = torch.distributed.get_rank() if group else 0
        if not 0 <= rank < num_replicas:
            raise ValueError(f'rank is from 0 to num_replicas - 1 = {num_replicas - 1}; got {rank}.')
        if not num_repeats >= 1 or selected_round < 0 or selected_ratio < 0:
            raise ValueError('num_repeats is at least 1, selected_round and selected_ratio at least 0; got '
                             f'{num_repeats}, {selected_round}, {selected_ratio}.')
        self.dataset, self.num_replicas, self.rank, self.shuffle = dataset, num_replicas, rank, shuffle
        self.num_repeats, self.seed, self.epoch, self.start = num_repeats, seed, 0, 0
        count = len(dataset)
        self.num_samples = math.ceil(count * num_repeats / num_replicas)
        self.total_size = self.num_samples * num_replicas
        ratio = selected_ratio or num_replicas
        if 0 < selected_round < count:
            self.num_selected_samples = int(count // selected_round * selected_round / ratio)
        else:
            self.num_selected_samples = math.ceil(count / ratio)
        if self.num_selected_samples > self.num_samples:
            raise ValueError(f'selected_ratio={selected_ratio} takes {self.num_selected_samples} images of the '
                             f'{self.num_samples} of a process; it is at least {num_replicas / num_repeats:g}.')

    def order(self) -> list[int]:
        """The images of this process in this epoch."""
        count = len(self.dataset)
        if self.shuffle:
            generator = torch.Generator().manual_seed(self.seed + self.epoch)
            images = torch.randperm(count, generator=generator).tolist()
        else:
            images = list(range(count))
        repeated = [images[int(place / self.num_repeats)] for place in range(math.ceil(count * self.num_repeats))]
        repeated += repeated[:self.total_size - len(repeated)]
        return repeated[self.rank:self.total_size:self.num_replicas][:self.num_selected_samples]

    def __iter__(self) -> Iterator[int]:
        start, self.start = self.start, 0
        return iter(self.order()[start:])

    def __len__(self) -> int:
        return self.num_selected_samples

    def set_epoch(self, epoch: int, start: int = 0) -> None:
        """The epoch that is iterated over next, once from the image `start` on: to go on where a run was stopped."""
        self.epoch, self.start = epoch, start
