"""What training makes small: losses for one class an image, for several, and for numbers.

All take logits (B, C), and compute in single precision where these are of half. Targets are classes (B,) or, from mixing
of images, from several labels an image or from a teacher, probabilities (B, C).
"""
from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..spec import unknown
from .recipe import LossPart


def one_hot(target: Tensor, classes: int, dtype: torch.dtype, smoothing: float = 0.0) -> Tensor:
    """Classes (B,) -> (B, classes): 1 - smoothing, shared with `smoothing` / classes by all. What has two dimensions is
    returned as it is.

    Raises:
        ValueError: targets of another shape.
    """
    if target.ndim == 1 and not target.is_floating_point():
        return F.one_hot(target.long(), classes).to(dtype) * (1 - smoothing) + smoothing / classes
    if target.ndim != 2 or target.shape[1] != classes:
        raise ValueError(f'Targets for {classes} classes are whole numbers (B,) or probabilities (B, {classes}), not '
                         f'{target.dtype} {tuple(target.shape)}.')
    return target.to(dtype)


class CrossEntropy(nn.Module):
    """Cross entropy of a softmax. Classes are smoothed (arXiv:1512.00567, section 7); probabilities are taken as they
    are: who mixes images smooths their targets."""

    def __init__(self, smoothing: float = 0.0) -> None:
        super().__init__()
        self.smoothing = smoothing

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        logits = _wide(logits)
        if target.ndim == 1 and not target.is_floating_point():
            return F.cross_entropy(logits, target.long(), label_smoothing=self.smoothing)
        return F.cross_entropy(logits, one_hot(target, logits.shape[1], logits.dtype))


class LabelSmoothingCrossEntropy(CrossEntropy):
    """Cross entropy of a softmax against classes, smoothed."""

    def __init__(self, smoothing: float = 0.1) -> None:
        if not 0 <= smoothing < 1:
            raise ValueError(f'Smoothing is from 0 to below 1, not {smoothing}.')
        super().__init__(smoothing)


class SoftTargetCrossEntropy(CrossEntropy):
    """Cross entropy of a softmax against probabilities (B, C)."""

    def __init__(self) -> None:
        super().__init__()


class BinaryCrossEntropy(nn.Module):
    """Cross entropy of a sigmoid a class (for one class an image: arXiv:2110.00476, section 3).

    Args:
        smoothing: of classes, shared by all as in `one_hot`.
        target_threshold: targets above it are 1, the others 0.
        weight: (C,) of each class. pos_weight: of positive targets, one number or (C,).
        reduction: 'mean', 'sum' or 'none'. sum_classes: sum over classes, mean over images.
        smooth_dense: probabilities (B, C) are smoothed too: each is a yes or no of its own, so halfway to 1/2.
    """

    weight: Tensor | None
    pos_weight: Tensor | None

    def __init__(self, smoothing: float = 0.1, target_threshold: float | None = None, weight: Tensor | None = None,
                 reduction: str = 'mean', sum_classes: bool = False, pos_weight: Tensor | float | None = None,
                 smooth_dense: bool = False) -> None:
        super().__init__()
        if not 0 <= smoothing < 1:
            raise ValueError(f'Smoothing is from 0 to below 1, not {smoothing}.')
        self.smoothing, self.target_threshold, self.smooth_dense = smoothing, target_threshold, smooth_dense
        self.reduction, self.sum_classes = _reduction(reduction), sum_classes
        self.register_buffer('weight', weight)
        self.register_buffer('pos_weight', None if pos_weight is None else torch.as_tensor(pos_weight))

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        logits = _wide(logits)
        dense = target.ndim == 2
        target = one_hot(target, logits.shape[1], logits.dtype, self.smoothing)
        if dense and self.smooth_dense:
            target = target * (1 - self.smoothing) + self.smoothing / 2
        if self.target_threshold is not None:
            target = (target > self.target_threshold).to(logits.dtype)
        reduction = 'none' if self.sum_classes else self.reduction
        loss = F.binary_cross_entropy_with_logits(logits, target, self.weight, reduction=reduction,
                                                  pos_weight=self.pos_weight)
        return loss.sum(-1).mean() if self.sum_classes else loss


class JsdCrossEntropy(nn.Module):
    """Cross entropy of clean images, and the Jensen-Shannon divergence between the answers to them and to their
    distorted copies (AugMix, arXiv:1912.02781, equation 2).

    A batch is `num_splits` parts of the same images in the same order, the clean ones first.
    """

    def __init__(self, num_splits: int = 3, alpha: float = 12.0, smoothing: float = 0.1) -> None:
        super().__init__()
        if num_splits < 2:
            raise ValueError(f'The divergence compares at least 2 parts of a batch (aug_splits), not {num_splits}.')
        self.num_splits, self.alpha = num_splits, alpha
        self.cross_entropy = CrossEntropy(smoothing)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        logits = _wide(logits)
        if len(logits) % self.num_splits:
            raise ValueError(f'A batch of {len(logits)} has no {self.num_splits} equal parts.')
        count = len(logits) // self.num_splits
        loss: Tensor = self.cross_entropy(logits[:count], target[:count])
        probabilities = [part.softmax(1) for part in logits.split(count)]
        mixture = torch.stack(probabilities).mean(0).clamp(1e-7, 1).log()
        divergences = [F.kl_div(mixture, p, reduction='batchmean') for p in probabilities]
        return loss + self.alpha * sum(divergences) / self.num_splits


class AsymmetricLossMultiLabel(nn.Module):
    """Asymmetric loss for several labels an image, arXiv:2009.14119, equation 7: easy negatives count less.

    Args:
        gamma_neg, gamma_pos: exponents of focusing. clip: probabilities of negatives are lowered by it.
        smoothing: each label is a yes or no of its own: halfway to 1/2.
        reduction: 'batchmean' (sum over classes, mean over images), 'mean', 'sum' or 'none'.
    """

    def __init__(self, gamma_neg: float = 4.0, gamma_pos: float = 1.0, clip: float | None = 0.05, eps: float = 1e-8,
                 smoothing: float = 0.0, reduction: str = 'batchmean') -> None:
        super().__init__()
        self.gamma_neg, self.gamma_pos, self.clip, self.eps, self.smoothing = gamma_neg, gamma_pos, clip, eps, smoothing
        self.reduction = _reduction(reduction, 'batchmean')

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        logits = _wide(logits)
        target = one_hot(target, logits.shape[1], logits.dtype)
        if self.smoothing:
            target = target * (1 - self.smoothing) + self.smoothing / 2
        positive = logits.sigmoid()
        negative = 1 - positive
        if self.clip:
            negative = (negative + self.clip).clamp(max=1)
        loss = target * positive.clamp(min=self.eps).log() + (1 - target) * negative.clamp(min=self.eps).log()
        if self.gamma_neg or self.gamma_pos:
            right = positive * target + negative * (1 - target)
            loss = loss * (1 - right) ** (self.gamma_pos * target + self.gamma_neg * (1 - target))
        return _reduced(-loss, self.reduction)


class AsymmetricLossSingleLabel(nn.Module):
    """The asymmetric loss of arXiv:2009.14119 over a softmax, for one class an image; `eps` is the smoothing."""

    def __init__(self, gamma_pos: float = 1.0, gamma_neg: float = 4.0, eps: float = 0.1, reduction: str = 'mean') -> None:
        super().__init__()
        self.gamma_pos, self.gamma_neg, self.eps, self.reduction = gamma_pos, gamma_neg, eps, _reduction(reduction)

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        logits = _wide(logits)
        hard = one_hot(target, logits.shape[1], logits.dtype)
        log_probabilities = logits.log_softmax(-1)
        probabilities = log_probabilities.exp()
        right = probabilities * hard + (1 - probabilities) * (1 - hard)
        weight = (1 - right) ** (self.gamma_pos * hard + self.gamma_neg * (1 - hard))
        smooth = hard * (1 - self.eps) + self.eps / logits.shape[1]
        return _reduced(-(smooth * weight * log_probabilities).sum(-1), self.reduction)


class FocalLoss(nn.Module):
    """Focal loss of a sigmoid a class, arXiv:1708.02002, equation 5, over the number of positives (section 4).

    Args:
        alpha: weight of positives, 1 - alpha that of negatives; below 0: no weights. gamma: exponent of focusing.
        reduction: 'positives' (sum over the number of positives), 'mean', 'sum' or 'none'.
    """

    def __init__(self, alpha: float = 0.25, gamma: float = 2.0, smoothing: float = 0.0,
                 reduction: str = 'positives') -> None:
        super().__init__()
        self.alpha, self.gamma, self.smoothing = alpha, gamma, smoothing
        self.reduction = _reduction(reduction, 'positives')

    def forward(self, logits: Tensor, target: Tensor) -> Tensor:
        logits = _wide(logits)
        hard = one_hot(target, logits.shape[1], logits.dtype)
        target = hard * (1 - self.smoothing) + self.smoothing / 2
        probabilities = logits.sigmoid()
        wrong = probabilities * (1 - target) + (1 - probabilities) * target
        loss = F.binary_cross_entropy_with_logits(logits, target, reduction='none') * wrong ** self.gamma
        if self.alpha >= 0:
            loss = loss * (self.alpha * target + (1 - self.alpha) * (1 - target))
        return loss.sum() / hard.sum().clamp(min=1) if self.reduction == 'positives' else _reduced(loss, self.reduction)


class NumbersLoss(nn.Module):
    """Mean squared ('mse') or absolute ('l1') error of numbers: outputs (B, C) or (B, 1), targets (B, C) or (B,)."""

    def __init__(self, kind: str) -> None:
        super().__init__()
        self.error = {'mse': F.mse_loss, 'l1': F.l1_loss}[kind]

    def forward(self, outputs: Tensor, target: Tensor) -> Tensor:
        if target.ndim == 1 and outputs.shape[1:] == (1,):
            target = target.unsqueeze(1)
        if outputs.shape != target.shape:
            raise ValueError(f'Outputs {tuple(outputs.shape)} and targets {tuple(target.shape)} differ in shape.')
        return self.error(outputs, target.to(outputs.dtype))


LOSSES = {'single': ('ce', 'bce', 'jsd', 'asymmetric', 'focal'), 'multi': ('bce', 'asymmetric', 'focal'),
          'regression': ('mse', 'l1')}           # task -> its losses, the usual one first


def create_loss(part: LossPart, task: str = 'single', num_splits: int = 0) -> nn.Module:
    """A recipe's loss: (logits, targets) -> one number.

    Args:
        task: 'single' (one class an image), 'multi' (several) or 'regression', as a data set's `task`.
        num_splits: parts of a batch (`augment.aug_splits`), for 'jsd'.

    Raises:
        ValueError: an unknown loss or task, a loss for another task, 'jsd' without parts.
    """
    if task not in LOSSES:
        raise ValueError(unknown('Task', task, LOSSES))
    kind = part.loss or LOSSES[task][0]
    if kind not in LOSSES[task]:
        everything = {name for names in LOSSES.values() for name in names}
        if kind not in everything:
            raise ValueError(unknown('Loss', kind, everything))
        raise ValueError(f'Loss {kind!r} does not fit the task {task!r}; it has {", ".join(LOSSES[task])}.')
    smoothing, multi = part.smoothing, task == 'multi'
    if kind == 'ce':
        return LabelSmoothingCrossEntropy(smoothing)
    if kind == 'bce':
        return BinaryCrossEntropy(smoothing, part.bce_target_thresh, sum_classes=part.bce_sum,
                                  pos_weight=part.bce_pos_weight, smooth_dense=multi)
    if kind == 'jsd':
        return JsdCrossEntropy(num_splits, part.jsd_alpha, smoothing)
    if kind == 'asymmetric':
        if multi:
            return AsymmetricLossMultiLabel(part.gamma_neg, part.gamma_pos, part.asymmetric_clip, smoothing=smoothing)
        return AsymmetricLossSingleLabel(part.gamma_pos, part.gamma_neg, smoothing)
    if kind == 'focal':
        return FocalLoss(part.focal_alpha, part.focal_gamma, smoothing)
    return NumbersLoss(kind)


def create_validation_loss(part: LossPart, task: str) -> nn.Module:
    """The loss that a validation reports: that of numbers as in training; of classes the plain cross entropy of one an
    image or several, so that runs with different losses, smoothing and mixing can be compared."""
    if task == 'regression':
        return create_loss(part, task)
    return CrossEntropy() if task == 'single' else BinaryCrossEntropy(0.0, smooth_dense=True)


def _wide(logits: Tensor) -> Tensor:
    return logits.float() if logits.dtype in (torch.float16, torch.bfloat16) else logits


def _reduction(name: str, *more: str) -> str:
    if name not in (*more, 'mean', 'sum', 'none'):
        raise ValueError(unknown('Reduction', name, (*more, 'mean', 'sum', 'none')))
    return name


def _reduced(loss: Tensor, reduction: str) -> Tensor:
    if reduction == 'none':
        return loss
    if reduction == 'batchmean':
        return loss.sum() / len(loss)
    return loss.mean() if reduction == 'mean' else loss.sum()
