"""timm.loss: its losses that zoo has."""
from __future__ import annotations

from ..train.losses import (AsymmetricLossMultiLabel, AsymmetricLossSingleLabel, BinaryCrossEntropy, JsdCrossEntropy,
                            LabelSmoothingCrossEntropy, SoftTargetCrossEntropy)

__all__ = ['AsymmetricLossMultiLabel', 'AsymmetricLossSingleLabel', 'BinaryCrossEntropy', 'JsdCrossEntropy',
           'LabelSmoothingCrossEntropy', 'SoftTargetCrossEntropy']

