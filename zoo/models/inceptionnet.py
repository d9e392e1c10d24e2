"""What Inception's networks share: strided layers that do not pad, and so maps that leave out a margin of the image."""
from __future__ import annotations

from typing import ClassVar

from torch import Tensor

from ..contract import ImageModel
from ..layers.inception import at_least
from ..layers.init import init_he
from ..spec import Feature


class InceptionNet(ImageModel):
    """A network of stages that take no map smaller than their kernels: it gets a border of zeros.

    Attributes:
        sides: pixels a side that each stage needs.
    """

    draw = staticmethod(init_he)
    sides: ClassVar[tuple[int, ...]]

    def describe(self, *maps: tuple[int, str, int]) -> None:
        """Sets `feature_info`, of the channels of each map, the module that it comes out of, and its margin in pixels."""
        self.feature_info = [
            Feature(num_chs=width, reduction=2 ** (step + 1), module=module, stage=step, ceil_reduction=1, margin=margin)
            for step, (width, module, margin) in enumerate(maps)]

    def enter_stage(self, number: int, state: Tensor) -> Tensor:
        """The map that goes into stage `number`: not smaller than its kernels."""
        return at_least(state, self.sides[number])

    def run_stage(self, number: int, state: Tensor) -> Tensor:
        """The map after all layers of stage `number`."""
        x: Tensor = self._run(self.stage_names()[number], state)
        return x
