"""MobileViT (arXiv:2110.02178) and MobileViTv2 (arXiv:2206.02680): `ByobNet` with inverted bottlenecks, and from the third
stage on a transformer at the end of each (zoo/models/mobilevit_blocks.py)."""
from __future__ import annotations

from .byobnet import ByobNet
from .mobilevit_blocks import LinearSelfAttention, LinearTransformerBlock, MobileVitBlock, MobileVitV2Block

__all__ = ['ByobNet', 'LinearSelfAttention', 'LinearTransformerBlock', 'MobileVitBlock', 'MobileVitV2Block']
