"""Attention weights on request: layers hand over what they compute while somebody records."""
from __future__ import annotations

from collections.abc import Callable

from torch import Tensor


class Recorder:
    """Collects the weights of attention layers. Attention that is fused never has its weights; a layer asks `active`
    and computes them one by one then."""

    def __init__(self) -> None:
        self.weights: list[Tensor] | None = None

    @property
    def active(self) -> bool:
        """Whether weights are wanted."""
        return self.weights is not None

    def keep(self, weights: Tensor) -> None:
        """Takes one layer's softmax weights (B, heads, queries, keys), if they are wanted."""
        if self.weights is not None:
            self.weights.append(weights)

    def record(self, run: Callable[[], object]) -> list[Tensor]:
        """The weights of all attention layers that `run()` goes through, in order."""
        before, self.weights = self.weights, []
        try:
            run()
            return self.weights
        finally:
            self.weights = before


ATTENTION = Recorder()
