"""Settings of glibc's memory allocator that make training on a CPU faster."""

from __future__ import annotations

import ctypes
import os
from typing import Any

from jax import monitoring

_ARENA_MAX, _MMAP_MAX, _TRIM_THRESHOLD = -8, -4, -1  # of malloc.h
_VARIABLES = ("MALLOC_ARENA_MAX", "MALLOC_MMAP_MAX_", "MALLOC_TRIM_THRESHOLD_")
_LARGE, _SMALL = 2**20, 2**10  # bytes; glibc finds a gap below 1 KiB at once, but searches lists of larger ones


class _Kept:
    """Whether this process keeps freed memory, and whether it compiled anything since the last `fill_gaps`."""

    libc: Any = None
    compiled = False


def keep_freed_memory() -> bool:
    """Makes glibc keep freed memory for the next step instead of returning it to the system.

    On a CPU, XLA allocates and frees the temporaries of every step. By default glibc returns large blocks to the system
    each time, and the system clears their pages again: a fifth to a third of the time of a step. Kept memory counts as
    memory of the process until it ends or calls `give_back`. Call `fill_gaps` after compilations.

    Returns:
      Whether the setting was made: not without glibc, not beside another allocator that was preloaded (tcmalloc,
      jemalloc), and not if the user has set one of glibc's own variables.
    """
    if any(name in os.environ for name in _VARIABLES):
        return False
    try:
        libc = ctypes.CDLL(None)
        if _address(libc.malloc) != _address(ctypes.CDLL("libc.so.6").malloc):
            return False
        mallopt, libc.malloc.restype, libc.sbrk.restype = libc.mallopt, ctypes.c_void_p, ctypes.c_void_p
        libc.malloc.argtypes, libc.free.argtypes, libc.sbrk.argtypes = (
            [ctypes.c_size_t],
            [ctypes.c_void_p],
            [ctypes.c_ssize_t],
        )
    except (AttributeError, OSError, TypeError):  # musl, macOS; Windows
        return False
    # One arena, because memory that a thread frees in its own arena is not available to other threads.
    done = all([mallopt(_ARENA_MAX, 1), mallopt(_MMAP_MAX, 0), mallopt(_TRIM_THRESHOLD, -1)])
    if done and _Kept.libc is None:
        _Kept.libc, _Kept.compiled = libc, True
        monitoring.register_event_duration_secs_listener(_note_compilation)
    return done


def is_kept() -> bool:
    """Whether `keep_freed_memory` has changed the allocator of this process."""
    return _Kept.libc is not None


def _address(function: Any) -> int | None:
    return ctypes.cast(function, ctypes.c_void_p).value


def _note_compilation(event: str, duration_secs: float, **_: Any) -> None:
    _Kept.compiled |= event.endswith("backend_compile_duration")


def fill_gaps() -> int:
    """Allocates the small gaps in the heap for good, if anything was compiled since the last call.

    A compilation leaves tens of thousands of free chunks of a few kilobytes. With `keep_freed_memory`, all threads
    search one heap, a thousand times a step, and would walk past these chunks: up to two thirds of the time of a step.
    This function allocates them and never frees them. Their pages are returned to the system first, so they cost
    addresses and not memory. Free chunks of a megabyte and more stay free.

    Returns:
      The number of chunks allocated: 0 without `keep_freed_memory`.
    """
    if not _Kept.compiled or _Kept.libc is None:
        return 0
    _Kept.compiled = False
    libc = _Kept.libc
    libc.malloc_trim(0)  # returns all free pages; the heap now ends with its last block in use
    end = libc.sbrk(0)
    taken: dict[bool, list[int]] = {True: [], False: []}
    size = 2**27
    while size >= _SMALL:
        # Until no chunk of this size is left: then malloc extends the heap beyond its old end.
        while (block := libc.malloc(size)) and block + size <= end:
            taken[size >= _LARGE].append(block)
        libc.free(block)
        size = size * 7 // 8
    for block in taken[True]:
        libc.free(block)
    libc.malloc_trim(0)
    return len(taken[False])


def give_back() -> bool:
    """Returns free memory to the system. Call it after work other than training steps.

    Sample images, evaluations and checkpoints allocate memory once in hundreds of steps. If glibc kept all of it, the
    heap would fragment and grow, by 40 MiB in the first half hour. The next step has to allocate its memory again,
    which takes some tens of milliseconds.

    Returns:
      Whether memory was returned: not without `keep_freed_memory`, when glibc does so by itself.
    """
    if _Kept.libc is None:
        return False
    _Kept.libc.malloc_trim(0)
    return True
