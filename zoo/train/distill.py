"""Learning from a teacher: its softened logits, its last maps, or by a classifier of its own.

`create_distillation` gives a `Distillation`. The loop trains `distillation.student`, which is the network itself or,
to learn maps, a wrapper around it; it is what DistributedDataParallel wraps. Evaluated and saved is the network; the
wrapper's projection is in `distillation.state_dict()`.
"""
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from ..spec import Misfit
from .recipe import DistillPart

Loss = Callable[[Tensor, Tensor], Tensor]


class FeatureStudent(nn.Module):
    """A network that in training returns (logits, last maps as wide as the teacher's).

    The maps are those of `forward_map`, through a 1x1 convolution where the teacher has other channels.
    """

    def __init__(self, model: nn.Module, channels: int) -> None:
        super().__init__()
        self.model = model
        width: int = getattr(model, 'num_features')
        self.projection = nn.Identity() if width == channels else nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor | tuple[Tensor, Tensor]:
        model: Any = self.model
        if not self.training:
            logits: Tensor = model(x)
            return logits
        features, last = model.forward_map(x)
        return model.forward_head(features), self.projection(last)


class Distillation:
    """A teacher, and the loss of learning from it: task_weight * task loss + weight * distance to the teacher.

    - 'logit' (arXiv:1503.02531): Kullback-Leibler divergence from the teacher's softened probabilities to the
      student's, times the temperature's square, so that gradients keep their size.
    - 'feature': squared distance of the last maps' directions at each place; see `map_distance`.
    - 'token' (arXiv:2012.12877, equations 2 and 3; EfficientFormer, arXiv:2206.01191): the network's second classifier
      learns the teacher's first class (`hard`) or its softened probabilities, as in 'logit'; the first classifier
      learns the targets.

    The teacher is frozen and in evaluation mode. Images come to it as they come to the student, but with its own
    normalisation of channels.

    Attributes:
        student: the module to train.

    Args:
        model: the network, unwrapped.
        teacher: a network of as many classes ('feature': of any).
        student_norm, teacher_norm: (mean, std) of the channels that images were, and are to be, normalised with.

    Raises:
        ValueError: other numbers of classes; 'token' and a network without a second classifier; an unknown kind.
    """

    def __init__(self, model: nn.Module, teacher: nn.Module, part: DistillPart,
                 student_norm: tuple[Sequence[float], Sequence[float]] | None = None,
                 teacher_norm: tuple[Sequence[float], Sequence[float]] | None = None) -> None:
        kind = part.kd_distill_type
        if kind not in ('logit', 'feature', 'token'):
            raise ValueError(f"kd_distill_type is 'logit', 'feature' or 'token', not {kind!r}.")
        if kind != 'feature' and teacher.num_classes != model.num_classes:
            raise ValueError(f'The teacher {part.kd_model_name} has {teacher.num_classes} classes and the network '
                             f"{model.num_classes}; with other classes only kd_distill_type='feature' can be learned.")
        if kind == 'token':
            enable = getattr(model, 'set_distilled_training', None)
            if enable is None:
                raise ValueError(f"kd_distill_type='token' needs a network with a distillation head, such as "
                                 f'EfficientFormer; {type(model).__name__} has none.')
            enable(True)
        self.part = part
        self.teacher = teacher.eval().requires_grad_(False)
        self.student = FeatureStudent(model, getattr(teacher, 'num_features')) if kind == 'feature' else model
        self.change = None
        if student_norm and teacher_norm and [*map(tuple, student_norm)] != [*map(tuple, teacher_norm)]:
            mean, std, their_mean, their_std = (torch.tensor(values).view(-1, 1, 1) for values in
                                                (*student_norm, *teacher_norm))
            self.change = std / their_std, (mean - their_mean) / their_std

    def to(self, device: torch.device | str, memory_format: torch.memory_format | None = None) -> Distillation:
        """Moves the teacher, and the student, to a device."""
        for module in (self.teacher, self.student):
            module.to(device)
            if memory_format is not None:
                module.to(memory_format=memory_format)
        return self

    def extra_parameters(self) -> list[nn.Parameter]:
        """What is trained beside the network: the projection of its maps, for a group of the optimizer."""
        return list(self.student.projection.parameters()) if isinstance(self.student, FeatureStudent) else []

    def state_dict(self) -> dict[str, Tensor]:
        """The projection's weights."""
        return self.student.projection.state_dict() if isinstance(self.student, FeatureStudent) else {}

    def load_state_dict(self, state: dict[str, Tensor]) -> None:
        """Takes over what `state_dict` gave."""
        if isinstance(self.student, FeatureStudent):
            self.student.projection.load_state_dict(state)

    def loss(self, output: Tensor | tuple[Tensor, Tensor], images: Tensor, target: Tensor,
             task_loss: Loss) -> tuple[Tensor, Tensor]:
        """Of what the student returned for images (B, C, H, W): (the loss, logits (B, classes) to measure)."""
        part = self.part
        logits, theirs = output if isinstance(output, tuple) else (output, output)
        answer = self.ask(images)
        if part.kd_distill_type == 'feature':
            distance = map_distance(theirs, answer)
        elif part.kd_distill_type == 'token' and part.kd_hard:
            distance = F.cross_entropy(theirs, answer.argmax(1))
        else:
            distance = softened_divergence(theirs, answer, part.kd_temperature)
        total = part.task_loss_weight * task_loss(logits, target) + part.distill_loss_weight * distance
        return total, (logits + theirs) / 2 if part.kd_distill_type == 'token' else logits

    @torch.no_grad()
    def ask(self, images: Tensor) -> Tensor:
        """The teacher's logits (B, classes) for images normalised for the student, or with 'feature' its last maps."""
        if self.change is not None:
            scale, shift = (x.to(images.device, images.dtype) for x in self.change)
            images = images * scale + shift
        feature = self.part.kd_distill_type == 'feature'
        answer: Tensor = getattr(self.teacher, 'forward_map')(images)[1] if feature else self.teacher(images)
        return answer


def create_distillation(model: nn.Module, part: DistillPart,
                        student_norm: tuple[Sequence[float], Sequence[float]] | None = None) -> Distillation:
    """A recipe's teacher, built with its weights, for a network.

    Args:
        model: the network, unwrapped.
        student_norm: (mean, std) of the channels that its images are normalised with; None: the teacher gets the images
            as they are.

    Raises:
        ValueError: the recipe has no teacher, or one that there are no weights for; or as `Distillation`.
    """
    from ..data.config import resolve_model_data_config
    from ..factory import create_model
    if part.kd_model_name is None:
        raise ValueError('The recipe has no teacher: set distill.kd_model_name.')
    if part.kd_checkpoint:
        classes = 0 if part.kd_distill_type == 'feature' else model.num_classes         # of maps, any will do
        try:
            teacher = create_model(part.kd_model_name, checkpoint_path=part.kd_checkpoint, in_chans=model.in_chans,
                                   num_classes=classes)
        except Misfit as error:
            raise ValueError(f'The teacher: {error.problem}') from error
    else:
        teacher = create_model(part.kd_model_name, pretrained=True)
    config = resolve_model_data_config(teacher)
    return Distillation(model, teacher, part, student_norm, (config['mean'], config['std']) if student_norm else None)


def softened_divergence(logits: Tensor, answer: Tensor, temperature: float = 1.0) -> Tensor:
    """Kullback-Leibler divergence from the softmax of a teacher's `answer` to that of `logits`, both (B, C) and over
    the temperature, times its square; a mean over images (arXiv:1503.02531, section 2)."""
    ours, theirs = ((x / temperature).log_softmax(1) for x in (logits, answer))
    return F.kl_div(ours, theirs, reduction='batchmean', log_target=True) * temperature ** 2


def map_distance(ours: Tensor, theirs: Tensor) -> Tensor:
    """Of maps (B, C, H, W) and (B, C, H', W'): the squared distance of the features' directions, between 0 and 4, mean
    over images and places; the larger map is averaged to the smaller's size."""
    height, width = (min(a, b) for a, b in zip(ours.shape[2:], theirs.shape[2:]))
    size = height, width
    ours, theirs = (x if tuple(x.shape[2:]) == size else F.adaptive_avg_pool2d(x, size) for x in (ours, theirs))
    return (F.normalize(ours, dim=1) - F.normalize(theirs, dim=1)).square().sum(1).mean()
