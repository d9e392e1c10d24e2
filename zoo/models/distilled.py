"""Two classifiers: one learns the labels, the other a teacher's answers (DeiT, arXiv:2012.12877)."""
from __future__ import annotations

from typing import NamedTuple

from torch import Tensor, nn

from ..contract import ImageModel, Logits
from ..layers.init import init_transformer


class DistilledLogits(NamedTuple):
    """Logits (B, num_classes) of both classifiers, and their mean, which is the network's answer."""

    logits: Tensor
    class_logits: Tensor
    distillation_logits: Tensor


class DistilledNet(ImageModel):
    """A network with the classifier `head` and, where its parts name it, beside it `head_dist`, whose mean its logits
    are."""

    draw = staticmethod(init_transformer)
    distilled_training = False

    @property
    def distilled(self) -> bool:
        """Whether there is a second classifier."""
        return len(self.parts.classifier) > 1

    def embeddings(self, x: Tensor) -> tuple[Tensor, ...]:
        """The output of `forward_features` -> what each classifier takes in."""
        embedding = super().forward_head(x, pre_logits=True)
        return (embedding,) * len(self.parts.classifier)

    def forward_head(self, x: Tensor, pre_logits: bool = False) -> Logits:
        """The output of `forward_features` -> logits (B, num_classes), or with `pre_logits` the embedding that the
        classifiers take in (B, embedding_size), the mean of both where they differ; in training, after
        `set_distilled_training`, (class logits, distillation logits)."""
        found = self.embeddings(x)
        if pre_logits:
            return (found[0] + found[1]) / 2 if len(found) > 1 and found[0] is not found[1] else found[0]
        if not self.distilled:
            return self._run(self.parts.classifier, found[0])
        logits, class_logits, distillation_logits = self._classify_both(found)
        if self.distilled_training and self.training:
            return class_logits, distillation_logits
        return logits

    def forward_distilled(self, x: Tensor) -> DistilledLogits:
        """Images -> the logits of both classifiers and their mean, in training and evaluation alike.

        Raises:
            ValueError: the network has one classifier.
        """
        self._require_distillation()
        return self._classify_both(self.embeddings(self.forward_features(x)))

    def set_distilled_training(self, enable: bool = True) -> None:
        """In training, return both classifiers' logits, for a loss on each, in place of their mean.

        Raises:
            ValueError: the network has one classifier.
        """
        if enable:
            self._require_distillation()
        self.distilled_training = enable

    def _classify_both(self, embeddings: tuple[Tensor, ...]) -> DistilledLogits:
        heads: tuple[nn.Module, ...] = self.get_classifier()
        of_class, of_teacher = (head(embedding) for head, embedding in zip(heads, embeddings, strict=True))
        return DistilledLogits((of_class + of_teacher) / 2, of_class, of_teacher)

    def _require_distillation(self) -> None:
        if not self.distilled:
            raise ValueError('This network has no distillation head: build it with distillation=True.')
