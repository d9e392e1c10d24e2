"""timm.loss: its losses that zoo has."""
from __future__ import annotations

import sys

from ..train.losses import (AsymmetricLossMultiLabel, AsymmetricLossSingleLabel, BinaryCrossEntropy, JsdCrossEntropy,
                            LabelSmoothingCrossEntropy, SoftTargetCrossEntropy)

__all__ = ['AsymmetricLossMultiLabel', 'AsymmetricLossSingleLabel', 'BinaryCrossEntropy', 'JsdCrossEntropy',
           'LabelSmoothingCrossEntropy', 'SoftTargetCrossEntropy']

asymmetric_loss = binary_cross_entropy = cross_entropy = jsd = sys.modules[__name__]      # its modules, as attributes
