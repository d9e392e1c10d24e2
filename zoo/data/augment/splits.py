"""The same image clean and distorted, for losses that compare the network's answers (AugMix, arXiv:1912.02781)."""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torchvision import transforms as T

from .erasing import RandomErasing


class SplitTransform:
    """An image -> (clean, distorted, distorted again, ...): `num_splits` tensors of the same crop.

    Args:
        parts: the three of `create_transform(..., separate=True)`: crop, distort, make a tensor.
        erase_clean: random erasing of the clean one as well.

    Raises:
        ValueError: less than two splits, or not three parts.
    """

    def __init__(self, parts: Sequence[Callable[..., Any]], num_splits: int = 2, erase_clean: bool = True) -> None:
        if len(parts) != 3:
            raise ValueError(f'There are three parts, of create_transform(..., separate=True); got {len(parts)}.')
        if num_splits < 2:
            raise ValueError(f'num_splits is at least 2, a clean image and a distorted one; got {num_splits}.')
        self.crop, self.distort, self.finish = parts
        self.num_splits, self.clean = num_splits, self.finish
        if not erase_clean:
            steps = getattr(self.finish, 'transforms')
            self.clean = T.Compose([step for step in steps if not isinstance(step, RandomErasing)])

    def __call__(self, image: Any) -> tuple[torch.Tensor, ...]:
        image = self.crop(image)
        return (self.clean(image), *(self.finish(self.distort(image)) for _ in range(self.num_splits - 1)))
