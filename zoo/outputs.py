"""Everything a network computes on the way to its logits, and a loss, in one record."""
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn import functional as F

from .contract import ImageModel
from .layers.recording import ATTENTION


@dataclass(frozen=True)
class Outputs:
    """What one pass gives, under the names of the library transformers; None is what was not asked for or is not there.

    Attributes:
        logits: of a network with a distillation head, the mean of `cls_logits` and `distillation_logits`.
        last_hidden_state: what the head takes in: maps (B, num_features, h, w), or tokens (B, N, num_features), which
            maps with the channels last are as well. transformers' CLIP gives them before the final normalisation.
        pooler_output: what the classifier, or the first of several, takes in (B, num_features), in training after
            dropout. transformers' ViT and DeiT put a further layer there, whose weights no network here has.
        hidden_states: in ResNet what goes into the first stage and then every stage's output, 5 maps. In EfficientNet
            the stem's output and then every block's, 17 maps for B0 to 56 for B7. In EfficientFormer the stem's, the
            first stage's, and of each later stage the downsampling's and the stage's, 8 in all, in V1 the last as
            tokens. In vision transformers the embedded tokens and then every block's; in Swin the patches, what comes
            of every merging, and the last stage's.
        attentions: softmax weights (B, heads, queries, keys), one of each block with attention; in Swin, where
            transformers gives those of each stage's last block, (B windows, heads, queries, keys).
    """

    logits: Tensor
    last_hidden_state: Tensor
    pooler_output: Tensor | None = None
    loss: Tensor | None = None
    cls_logits: Tensor | None = None
    distillation_logits: Tensor | None = None
    hidden_states: tuple[Tensor, ...] | None = None
    attentions: tuple[Tensor, ...] | None = None


def forward_outputs(model: ImageModel, images: Tensor, labels: Tensor | None = None,
                    output_hidden_states: bool = False, output_attentions: bool = False) -> Outputs:
    """Runs a network once and returns what it computed.

    Args:
        images: (B, in_chans, H, W).
        labels: as in `classification_loss`.

    Raises:
        ValueError: labels for a network without a classifier, or attentions of one that has none.
    """
    if labels is not None and not model.num_classes:
        raise ValueError('A loss needs logits, and this network has no classifier (num_classes=0).')
    states: list[Tensor] = []
    features: list[Tensor] = []

    def run() -> None:
        features.append(_run_and_keep(model, images, states))

    attentions = ATTENTION.record(run)
    if output_attentions and not attentions:
        raise ValueError(f'{type(model).__name__} has no attention whose weights could be given.')
    last = features[0]
    if last.ndim == 3 and states[-1].ndim == 4:
        states[-1] = states[-1].flatten(2).transpose(1, 2)
    if model.output_fmt == 'NHWC':
        states = [state.flatten(1, 2) for state in states]
    heads, embeddings = model.get_classifier(), model.embeddings(last)
    several = tuple(head(embedding) for head, embedding in zip(heads, embeddings)) if isinstance(heads, tuple) else ()
    logits = sum(several) / len(several) if several else heads(embeddings[0])
    return Outputs(
        logits=logits, last_hidden_state=last.flatten(1, 2) if model.output_fmt == 'NHWC' else last,
        pooler_output=embeddings[0],
        loss=None if labels is None else classification_loss(logits, labels),
        cls_logits=several[0] if several else None, distillation_logits=several[1] if several else None,
        hidden_states=tuple(states) if output_hidden_states else None,
        attentions=tuple(attentions) if output_attentions else None)


def _run_and_keep(model: ImageModel, images: Tensor, states: list[Tensor]) -> Tensor:
    """What the head takes in; the hidden states on the way are added to the list."""
    def keep(module: nn.Module, inputs: Any, output: Tensor | tuple[Tensor, Any]) -> None:
        states.append(output[0] if isinstance(output, tuple) else output)       # some give the size of their map, too

    handles = [module.register_forward_hook(keep) for module in model.hidden_modules()]
    try:
        state, kept = model.walk(images, wanted=(0,))
    finally:
        for handle in handles:
            handle.remove()
    states.insert(0, model.hidden_of(kept[0]))
    return model.pre_head(state)


def classification_loss(logits: Tensor, labels: Tensor) -> Tensor:
    """The mean loss that suits the labels, for logits (B, classes).

    One class: squared error to labels (B,). Integers (B,): cross-entropy, without those that are -100. Floating point
    (B, classes): binary cross-entropy of each class by itself.

    Raises:
        ValueError: labels of another shape.
    """
    classes = logits.shape[-1]
    several = classes > 1 and labels.is_floating_point()
    expected = logits.shape if several else logits.shape[:1]
    given = labels.squeeze(-1) if classes == 1 and labels.ndim == 2 else labels
    if given.shape != expected:
        raise ValueError(f'Labels of {classes} classes in {labels.dtype} have the shape {tuple(expected)}, '
                         f'not {tuple(labels.shape)}.')
    if classes == 1:
        return F.mse_loss(logits.squeeze(-1), given.to(logits.dtype))
    return F.binary_cross_entropy_with_logits(logits, labels) if several else F.cross_entropy(logits, labels)
