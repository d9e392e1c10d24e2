"""Measuring a network on labelled images: fast preprocessing, the loop over the images, and the metrics."""
from __future__ import annotations

from ..lazy import lazy_names

_PUBLIC = {
    'effect': ('decoder_effect',),
    'labels': ('RealLabels', 'read_valid_labels'),
    'metrics': ('Metrics',),
    'network': ('fold_batch_norm', 'prepare'),
    'preprocess': ('DECODERS', 'Normalize', 'Preprocess'),
    'runner': ('Evaluation', 'EvaluationStopped', 'at_once', 'evaluate'),
}
__all__, __getattr__, __dir__ = lazy_names(__name__, _PUBLIC)
