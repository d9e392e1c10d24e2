"""A trained network as fast as this machine runs it, with the same outputs."""
from __future__ import annotations

from .backends import BACKENDS, PRECISIONS, installed
from .network import Optimized, load_optimized
from .choice import Report, Trial, optimize

__all__ = ['BACKENDS', 'PRECISIONS', 'Optimized', 'Report', 'Trial', 'installed', 'load_optimized', 'optimize']
