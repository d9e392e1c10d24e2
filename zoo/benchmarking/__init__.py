"""Measuring what a network costs to run: time, memory, training steps, loading, beside the same network elsewhere."""
from __future__ import annotations

from .memory import peak_memory
from .networks import LIBRARIES, PRECISIONS, Setup, build, same_network
from .quiet import Watch, load_average, noise
from .timing import Timing, in_blocks, in_turn, ratio
from .work import inference, loading, training

__all__ = ['LIBRARIES', 'PRECISIONS', 'Setup', 'Timing', 'Watch', 'build', 'in_blocks', 'in_turn', 'inference', 'load_average',
           'loading', 'noise', 'peak_memory', 'ratio', 'same_network', 'training']
