"""HardCoRe-NAS, arXiv:2102.11646: networks searched under a hard limit of latency, in the space of MobileNetV3."""
from __future__ import annotations

from .mobilenetv3 import MobileNetV3


class HardCoReNAS(MobileNetV3):
    """HardCoRe-NAS, arXiv:2102.11646: MobileNetV3's layers around blocks of its own."""
