"""What a training process asks of the C library's memory allocator."""

from __future__ import annotations

import ctypes
import os
from typing import Any

from jax import monitoring

_ARENA_MAX, _MMAP_MAX, _TRIM_THRESHOLD = -8, -4, -1  # of malloc.h
_VARIABLES = ("MALLOC_ARENA_MAX", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_")
_LARGE, _SMALL = 2**20, 2**10  # bytes; glibc finds a gap below 1 KiB at once, but keeps lists of larger ones


class _Kept:
    """Whether this process keeps what it frees, and whether it compiled anything since its gaps were filled."""

    libc: Any = None
    compiled = False


def keep_freed_memory() -> bool:
    """Has glibc keep what is freed, for the next step to use.

    XLA takes and frees the temporaries of every step on a CPU. By default glibc hands large blocks back to the system
    each time, which has to clear them anew, page by page: a fifth to a third of a step's time. Kept, they count as the
    process's memory until it ends, or until `give_back`. `fill_gaps` belongs to it.

    Returns:
      Whether it was done: not without glibc, nor where the user has set one of its variables.
    """
    if any(name in os.environ for name in _VARIABLES):
        return False
    try:
        libc = ctypes.CDLL(None)
        mallopt, libc.malloc.restype, libc.sbrk.restype = libc.mallopt, ctypes.c_void_p, ctypes.c_void_p
        libc.malloc.argtypes, libc.free.argtypes, libc.sbrk.argtypes = (
            [ctypes.c_size_t],
            [ctypes.c_void_p],
            [ctypes.c_ssize_t],
        )
    except (AttributeError, OSError, TypeError):  # musl, macOS; Windows
        return False
    # One arena, since what a thread frees in its own another cannot use.
    done = all([mallopt(_ARENA_MAX, 1), mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, -1)])
    if done and _Kept.libc is None:
        _Kept.libc, _Kept.compiled = libc, True
        monitoring.register_event_duration_secs_listener(_note_compilation)
    return done


def _note_compilation(event: str, duration_secs: float, **_: Any) -> None:
    _Kept.compiled |= event.endswith("backend_compile_duration")


def fill_gaps() -> int:
    """Takes the gaps between blocks in use out of circulation, if anything was compiled since the last time.

    A compilation leaves tens of thousands of free pieces of a few kilobytes behind. All threads search the one heap of
    `keep_freed_memory` for room, a thousand times a step, and would walk past these: up to two thirds of a step's time.
    They are taken here and never given back, their pages returned to the system first, so that they cost addresses
    rather than memory. Pieces of a megabyte and more stay.

    Returns:
      How many pieces were taken: 0 without `keep_freed_memory`.
    """
    if not _Kept.compiled or _Kept.libc is None:
        return 0
    _Kept.compiled = False
    libc = _Kept.libc
    libc.malloc_trim(0)  # all free pages go back, and the heap ends with its last block
    end = libc.sbrk(0)
    taken: dict[bool, list[int]] = {True: [], False: []}
    size = 2**27
    while size >= _SMALL:
        # Until none of this size is left, which one at the end of the heap tells.
        while (block := libc.malloc(size)) and block + size <= end:
            taken[size >= _LARGE].append(block)
        libc.free(block)
        size = size * 7 // 8
    for block in taken[True]:
        libc.free(block)
    libc.malloc_trim(0)
    return len(taken[False])


def give_back() -> bool:
    """Returns what is free at the moment to the system, after work that is none of a training step's.

    A picture, an evaluation or a checkpoint takes memory once in hundreds of steps. Kept, it would add up: each leaves
    its pieces elsewhere among those of the steps, which take new memory in place of them, 40 MiB in the first half
    hour. The next step has to take its own again, which costs it some tens of milliseconds.

    Returns:
      Whether it was done: not without `keep_freed_memory`, as without it glibc does so by itself.
    """
    if _Kept.libc is None:
        return False
    _Kept.libc.malloc_trim(0)
    return True
