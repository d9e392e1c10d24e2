"""Measuring what a network costs to run: time, memory, training steps, loading, beside the same network elsewhere."""
from __future__ import annotations

from .memory import peak_memory
from .networks import LIBRARIES, PRECISIONS, Setup, build, same_network
from .timing import Timing, in_turn, ratio
from .work import inference, loading, training

__all__ = ['LIBRARIES', 'PRECISIONS', 'Setup', 'Timing', 'build', 'in_turn', 'inference', 'loading', 'peak_memory',
           'ratio', 'same_network', 'training']
