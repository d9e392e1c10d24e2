"""Heads that published networks keep in a submodule `head`: pooling, normalisation, a hidden layer, a classifier."""
from __future__ import annotations

import torch
from torch import Tensor, nn

from .act import ActLayer, create_act
from .pool import GlobalPool


class Head(nn.Module):
    """Pooling, normalisation, hidden layer, dropout and classifier: maps (B, in_features, H, W) -> (B, num_classes), or
    as `layout` says maps with the channels last, or tokens, which `norm` then takes so.

    The network that it is part of puts `global_pool` and `fc` in (`ImageModel.reset_classifier`) and names them all in
    its parts.

    Args:
        norm: of the pooled vector, or without pooling of each pixel. Of a vector twice as wide ('catavgmax') each half
            is normalised by itself.
        hidden_size: width of a layer before the classifier, which `act_layer` follows; None for no such layer.
        use_conv: the classifier is a 1x1 convolution.
    """

    def __init__(self, in_features: int, global_pool: str = 'avg', layout: str = 'NCHW', norm: nn.Module | None = None,
                 hidden_size: int | None = None, act_layer: ActLayer = 'gelu', drop_rate: float = 0.0,
                 use_conv: bool = False) -> None:
        super().__init__()
        self.in_features, self.hidden_size, self.layout, self.use_conv = in_features, hidden_size, layout, use_conv
        self.global_pool = GlobalPool(global_pool, layout)
        self.norm = nn.Identity() if norm is None else norm
        self.pre_logits = nn.Sequential()
        if hidden_size:
            self.pre_logits.fc = nn.Linear(in_features * self.global_pool.feat_mult, hidden_size)
            self.pre_logits.act = create_act(act_layer)
        self.drop = nn.Dropout(drop_rate)
        self.fc: nn.Module = nn.Identity()

    def forward(self, x: Tensor, pre_logits: bool = False) -> Tensor:
        x = self.global_pool(x)
        pooled = bool(self.global_pool.pool_type)
        if pooled:
            x = self._normalise(x)
        else:
            x = self.norm(x)
        if not pooled and self.hidden_size and self.layout == 'NCHW':
            x = self.pre_logits(x.movedim(1, -1)).movedim(-1, 1)
        else:
            x = self.pre_logits(x)
        x = self.drop(x)
        return x if pre_logits else self.classify(x)

    def classify(self, embedding: Tensor) -> Tensor:
        """An embedding (B, C) -> logits (B, num_classes)."""
        if self.use_conv and isinstance(self.fc, nn.Conv2d):
            return self.fc(embedding[:, :, None, None]).flatten(1)
        return self.fc(embedding)

    def _normalise(self, x: Tensor) -> Tensor:
        """A pooled vector (B, C), each part as wide as the map by itself; of maps (B, C, H, W) as one of one pixel."""
        if isinstance(self.norm, nn.Identity):
            return x
        width = self.in_features
        parts = [x[:, start:start + width] for start in range(0, width * self.global_pool.feat_mult, width)]
        if self.layout == 'NCHW':
            parts = [part[:, :, None, None] for part in parts]
        return torch.cat([self.norm(part).flatten(1) for part in parts], dim=1)
