"""What a training process asks of the C library's memory allocator."""

from __future__ import annotations

import ctypes
import os

_ARENA_MAX, _MMAP_MAX, _TRIM_THRESHOLD = -8, -4, -1  # of malloc.h
_VARIABLES = ("MALLOC_ARENA_MAX", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_")


def keep_freed_memory() -> bool:
    """Has glibc keep what is freed, for the next step to use.

    XLA takes and frees the temporaries of every step on a CPU. By default glibc hands large blocks back to the system
    each time, which has to clear them anew, page by page: a fifth to a third of a step's time. Kept, they count as the
    process's memory until it ends.

    Returns:
      Whether it was done: not without glibc, nor where the user has set one of its variables.
    """
    if any(name in os.environ for name in _VARIABLES):
        return False
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):  # musl, macOS; Windows
        return False
    # One arena, since what a thread frees in its own another cannot use.
    return all([mallopt(_ARENA_MAX, 1), mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, -1)])
