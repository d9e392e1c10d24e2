"""How much memory there is, and what a process does with memory that it has freed."""
from __future__ import annotations

import ctypes
import os
import sys
from pathlib import Path

TRIM_THRESHOLD, MMAP_MAX = -1, -4           # M_TRIM_THRESHOLD and M_MMAP_MAX of malloc.h


def keep_freed_memory() -> bool:
    """Keeps what this process frees for what it asks for next, where the C library is GNU's (Linux).

    A network on a CPU frees the same large blocks in every step that it asks for in the next. By default each goes back
    to the kernel, which hands it out again page by page, filled with zeros: about a fifth of a step's time. What is
    computed stays the same. The most memory that is held at once hardly grows, but it is held until the process ends.

    Returns:
        Whether it is so from now on.
    """
    return sys.platform == 'linux' and set_malloc(TRIM_THRESHOLD, -1) and set_malloc(MMAP_MAX, 0)


def set_malloc(option: int, value: int) -> bool:
    """Sets an option of GNU's malloc for this process; False where there is none (musl)."""
    mallopt = getattr(ctypes.CDLL(None), 'mallopt', None)
    return bool(mallopt and mallopt(option, value))


def memory_size() -> int | None:
    """Bytes of memory that this process may have: the machine's, or less where its control group (Linux) says so; None
    where the system does not say."""
    if not hasattr(os, 'sysconf'):
        return None
    size = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    group = Path('/sys/fs/cgroup/memory.max')
    limit = group.read_text().strip() if group.is_file() else 'max'
    return size if limit == 'max' else min(size, int(limit))
