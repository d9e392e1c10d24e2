"""Networks whose pooling, normalisation, hidden layer and classifier are one submodule, `head`."""
from __future__ import annotations

import torch
from torch import Tensor, nn

from ..contract import ImageModel
from ..layers.head import Head
from ..layers.pool import POOLS, SINGLE_POOLS


class HeadNet(ImageModel):
    """A network with a `Head`, which its parts name layer by layer.

    Attributes:
        head: what makes logits of what `forward_features` returns.
        head_init_scale: what a fresh classifier's weights are multiplied by.
    """

    head: Head
    head_init_scale = 1.0

    @property
    def pools(self) -> tuple[str, ...]:
        """Every kind; those whose width the hidden layer takes in, where there is one."""
        hidden = getattr(self.head.pre_logits, 'fc', None)
        if hidden is None:
            return POOLS
        return SINGLE_POOLS if hidden.in_features == self.pooled_channels else ('', 'catavgmax')

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        """The output of `forward_features` -> logits, or the embedding; see `ImageModel.forward_head`."""
        return self.head(x, pre_logits)

    @property
    def embedding_size(self) -> int:
        """The width of the embedding: of the hidden layer, where there is one."""
        hidden = getattr(self.head.pre_logits, 'fc', None)
        if hidden is None:
            return super().embedding_size
        width: int = hidden.out_features
        return width

    def init_head(self) -> None:
        """Draws the classifier anew, times `head_init_scale`."""
        super().init_head()
        if self.head_init_scale != 1 and isinstance(self.head.fc, nn.Linear):
            with torch.no_grad():
                self.head.fc.weight.mul_(self.head_init_scale)


class ConvClassifierNet(ImageModel):
    """A network whose classifier is a 1x1 convolution, of pooled maps."""

    def make_classifier(self, num_classes: int) -> nn.Module:
        """A convolution from the embedding to logits."""
        return nn.Conv2d(self.embedding_size, num_classes, 1)

    def classify(self, embedding: Tensor) -> Tensor:
        """An embedding (B, embedding_size) -> logits (B, num_classes)."""
        if not self.num_classes:
            return embedding
        logits: Tensor = super().classify(embedding[:, :, None, None])
        return logits.flatten(1)
