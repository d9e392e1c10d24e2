"""Random erasing (arXiv:1708.04896)."""
from __future__ import annotations

import math
import random

import torch

from ...spec import is_real, unknown

MODES = ('const', 'rand', 'pixel')
ATTEMPTS = 10                          # a rectangle that does not fit is drawn again


class RandomErasing:
    """Erases rectangles of a normalised image (C, H, W), or of each image of a batch (B, C, H, W), in place.

    Places come from Python's `random`, noise from torch's generator of `device`.

    Args:
        probability: that an image is erased at all.
        min_area, max_area: fractions of the image; of several rectangles, all together.
        min_aspect, max_aspect: height by width; without `max_aspect` 1 / min_aspect.
        mode: what is put there: 'const' zero, the mean; 'rand' one normally distributed colour; 'pixel' normal noise.
        min_count, max_count: how many rectangles; without `max_count` exactly `min_count`.
        num_splits: of a batch of so many parts, the first is left alone. Single images are not concerned.
        device: where noise is drawn; it is moved to where the image is.

    Raises:
        ValueError: a value that cannot be used.
    """

    def __init__(
        self,
        probability: float = 0.5,
        min_area: float = 0.02,
        max_area: float = 1 / 3,
        min_aspect: float = 0.3,
        max_aspect: float | None = None,
        mode: str = 'const',
        min_count: int = 1,
        max_count: int | None = None,
        num_splits: int = 0,
        device: str | torch.device = 'cpu',
    ) -> None:
        max_count = max_count or min_count
        max_aspect = max_aspect or (1 / min_aspect if min_aspect > 0 else 0)
        if not is_real(probability) or not 0 <= probability <= 1:
            raise ValueError(f'probability is from 0 to 1; got {probability!r}.')
        if not 0 < min_area <= max_area <= 1:
            raise ValueError(f'Areas are fractions, 0 < min_area <= max_area <= 1; got {min_area}, {max_area}.')
        if not 0 < min_aspect <= max_aspect:
            raise ValueError(f'Aspects are 0 < min_aspect <= max_aspect; got {min_aspect}, {max_aspect}.')
        if mode not in MODES:
            raise ValueError(unknown('Erasing mode', str(mode), MODES))
        if not 1 <= min_count <= max_count:
            raise ValueError(f'Counts are 1 <= min_count <= max_count; got {min_count}, {max_count}.')
        if num_splits < 0:
            raise ValueError(f'num_splits is how many parts a batch has; got {num_splits}.')
        self.probability, self.mode, self.num_splits, self.device = probability, mode, num_splits, torch.device(device)
        self.areas, self.counts = (min_area, max_area), (min_count, max_count)
        self.log_aspects = math.log(min_aspect), math.log(max_aspect)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        if not isinstance(images, torch.Tensor) or images.ndim not in (3, 4) or not images.is_floating_point():
            got = f'{images.dtype} {tuple(images.shape)}' if isinstance(images, torch.Tensor) else type(images).__name__
            raise TypeError(f'Random erasing takes a normalised tensor (C, H, W) or (B, C, H, W); got {got}.')
        if images.ndim == 3:
            self._erase(images)
            return images
        first = len(images) // self.num_splits if self.num_splits > 1 else 0
        for image in images[first:]:
            self._erase(image)
        return images

    def _erase(self, image: torch.Tensor) -> None:
        if random.random() > self.probability:
            return
        low, high = self.counts
        count = low if low == high else random.randint(low, high)
        height, width = image.shape[-2:]
        for _ in range(count):
            box = self._box(height, width, count)
            if box:
                self._fill(image[:, box[0], box[1]])

    def _box(self, height: int, width: int, count: int) -> tuple[slice, slice] | None:
        for _ in range(ATTEMPTS):
            area = random.uniform(*self.areas) * height * width / count
            aspect = math.exp(random.uniform(*self.log_aspects))
            high, wide = round(math.sqrt(area * aspect)), round(math.sqrt(area / aspect))
            if high < height and wide < width:
                top, left = random.randint(0, height - high), random.randint(0, width - wide)
                return slice(top, top + high), slice(left, left + wide)
        return None

    def _fill(self, part: torch.Tensor) -> None:
        if self.mode == 'const':
            part.zero_()
            return
        shape = part.shape if self.mode == 'pixel' else (len(part), 1, 1)
        part.copy_(torch.randn(shape, dtype=part.dtype, device=self.device))

    def __repr__(self) -> str:
        splits = f', num_splits={self.num_splits}' if self.num_splits else ''
        return (f'RandomErasing(probability={self.probability}, mode={self.mode!r}, min_count={self.counts[0]}, '
                f'max_count={self.counts[1]}{splits})')
