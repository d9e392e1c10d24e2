"""Networks of convolutions and of self-attention over pixels: BotNet (arXiv:2101.11605), HaloNet (arXiv:2103.12731),
LambdaNetworks (arXiv:2102.08602). They are `ByobNet` with blocks of self-attention."""
from __future__ import annotations

from .byobnet import ByobNet

__all__ = ['ByobNet']
