"""Two classifiers on one embedding: one learns the labels, the other a teacher's answers (DeiT, arXiv:2012.12877)."""
from __future__ import annotations

import copy
from typing import NamedTuple

from torch import Tensor, nn

from .init_transformer import init_transformer


class DistilledLogits(NamedTuple):
    """Logits (B, num_classes) of both classifiers, and their mean, which is the network's answer."""

    logits: Tensor
    class_logits: Tensor
    distillation_logits: Tensor


class DistillationHeads(nn.Module):
    """Mixed into an ImageModel: the classifier `head` and, where `distillation` is set, beside it `head_dist`.

    The logits are the mean of both. Set `distillation` before `build_head` is called.
    """

    classifier_name = 'head'
    distillation: bool
    distilled_training = False

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Tensor | tuple[Tensor, Tensor]:
        """The output of `forward_features` -> logits (B, num_classes), or with `pre_logits` the embedding that the
        classifiers take in (B, embedding_size); in training, after `set_distilled_training`, (class logits,
        distillation logits)."""
        embedding = super().forward_head(x, pre_logits=True)
        if pre_logits:
            return embedding
        if not self.distillation:
            return self.head(embedding)
        logits, class_logits, distillation_logits = self._classify(embedding)
        if self.distilled_training and self.training:
            return class_logits, distillation_logits
        return logits

    def forward_distilled(self, x: Tensor) -> DistilledLogits:
        """Images -> the logits of both classifiers and their mean, in training and evaluation alike.

        Raises:
            ValueError: the network has one classifier.
        """
        self._require_distillation()
        return self._classify(self.forward_head(self.forward_features(x), pre_logits=True))

    def set_distilled_training(self, enable: bool = True) -> None:
        """In training, return both classifiers' logits, for a loss on each, in place of their mean.

        Raises:
            ValueError: the network has one classifier.
        """
        if enable:
            self._require_distillation()
        self.distilled_training = enable

    def get_classifier(self) -> nn.Module | tuple[nn.Module, nn.Module]:
        """Both last layers, or the one there is: nn.Linear, or nn.Identity without classes."""
        return (self.head, self.head_dist) if self.distillation else self.head

    def reset_classifier(self, num_classes: int, global_pool: str | None = None) -> None:
        """Makes new classifiers, and pooling where `global_pool` names one.

        Raises:
            ValueError: classes without pooling, or an unknown kind of pooling.
        """
        super().reset_classifier(num_classes, global_pool)
        if self.distillation:
            self.head_dist = copy.deepcopy(self.head)
            self.init_head()

    def init_head(self) -> None:
        """Draws the classifiers anew: truncated normal with deviation 0.02, bias zero."""
        for name in ('head', 'head_dist'):
            if name in self._modules:                   # `head_dist` is made after `head` was drawn
                init_transformer(self._modules[name])

    def _classify(self, embedding: Tensor) -> DistilledLogits:
        class_logits, distillation_logits = self.head(embedding), self.head_dist(embedding)
        return DistilledLogits((class_logits + distillation_logits) / 2, class_logits, distillation_logits)

    def _require_distillation(self) -> None:
        if not self.distillation:
            raise ValueError('This network has no distillation head: build it with distillation=True.')
