"""Samplers for several processes, under timm's names."""
from __future__ import annotations

from collections.abc import Iterator, Sized

from torch import distributed
from torch.utils.data import Sampler

from ..data.augment.sampling import RepeatAugSampler

__all__ = ['OrderedDistributedSampler', 'RepeatAugSampler']


class OrderedDistributedSampler(Sampler[int]):
    """Every `num_replicas`-th index of a data set, from `rank` on; the first ones again at the end, so that all
    processes have as many. Both are by default those of `torch.distributed`.

    Raises:
        ValueError: a `rank` outside the replicas.
    """

    def __init__(self, dataset: Sized, num_replicas: int | None = None, rank: int | None = None) -> None:
        self.dataset = dataset
        self.num_replicas = distributed.get_world_size() if num_replicas is None else num_replicas
        self.rank = distributed.get_rank() if rank is None else rank
        if not 0 <= self.rank < self.num_replicas:
            raise ValueError(f'rank is 0 to {self.num_replicas - 1}, not {self.rank}.')
        self.num_samples = -(-len(dataset) // self.num_replicas)
        self.total_size = self.num_samples * self.num_replicas

    def __iter__(self) -> Iterator[int]:
        return (i % len(self.dataset) for i in range(self.rank, self.total_size, self.num_replicas))

    def __len__(self) -> int:
        return self.num_samples
