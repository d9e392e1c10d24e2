"""DeiT, arXiv:2012.12877: a vision transformer that learns from a teacher through a token of its own."""
from __future__ import annotations

from dataclasses import replace

from torch import Tensor

from .distilled import DistilledNet
from .vision_transformer import VisionTransformer

__all__ = ['VisionTransformer', 'VisionTransformerDistilled']


class VisionTransformerDistilled(DistilledNet, VisionTransformer):
    """DeiT with a distillation token, whose classifier `head_dist` learns a teacher's answers: section 3."""

    parts = replace(VisionTransformer.parts, classifier=('head', 'head_dist'))
    extra_tokens = {'dist_token': 1}

    @property
    def pools(self) -> tuple[str, ...]:
        """None, or the two tokens."""
        return '', 'token'

    def embeddings(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """The output of `forward_features` -> the class token and the distillation token, each (B, embed_dim); all tokens
        for both without pooling."""
        if not self.global_pool:
            return (self.fc_norm(x),) * 2
        return self.head_drop(self.fc_norm(x[:, 0])), self.head_drop(self.fc_norm(x[:, 1]))

