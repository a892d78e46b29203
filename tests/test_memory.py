import ctypes
import os
import subprocess
import sys
from glob import glob

import pytest

from jaxgan.devices.memory import fill_gaps, keep_freed_memory

PROGRAM = """
import ctypes, resource
from jaxgan.devices.memory import keep_freed_memory
done = keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(20):
    block = libc.malloc(2**26)
    ctypes.memset(block, 1, 2**26)
    libc.free(block)
print(done, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""

GAPS = """
import ctypes, jax
from jaxgan.devices.memory import fill_gaps, keep_freed_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
class Info(ctypes.Structure):  # struct mallinfo2 of malloc.h
    _fields_ = [(name, ctypes.c_size_t) for name in (*"abcdefgh", "fordblks", "keepcost")]
libc.mallinfo2.restype = Info
free_bytes = lambda: libc.mallinfo2().fordblks
before = fill_gaps()
keep_freed_memory()
first = fill_gaps()
blocks = [libc.malloc(2000 + 10 * number) for number in range(20_000)]
for block in blocks[::2]:
    libc.free(block)
idle = fill_gaps()
jax.jit(lambda x: x + 1)(1.0)
bytes = free_bytes()
print(before, first > 0, idle, fill_gaps(), fill_gaps(), bytes, free_bytes())
"""

TRIMMED = """
import ctypes
from pathlib import Path
from jaxgan.devices.memory import give_back, keep_freed_memory
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
resident = lambda: int(Path("/proc/self/statm").read_text().split()[1]) // 256  # MiB, in pages of 4 KiB
early = give_back()
keep_freed_memory()
blocks = [libc.malloc(2**26) for _ in range(5)]
for block in blocks:
    ctypes.memset(block, 1, 2**26)
for block in blocks[:4]:  # the last one holds the end of the heap
    libc.free(block)
before = resident()
print(early, give_back(), before - resident())
"""

needs_glibc = pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="no glibc")


def output_of(program, variables):
    command = [sys.executable, "-c", program]
    environment = variables | {"PYTHONPATH": "."}
    return subprocess.run(command, capture_output=True, text=True, check=True, env=environment).stdout.split()


@pytest.mark.slow
@needs_glibc
def test_freed_memory_is_used_again():
    """64 MiB taken 20 times: 16,384 pages of 4 KiB once, not 20 times; huge pages make fewer of them."""
    found = {}
    for name, variables in {"kept": {}, "left": {"MALLOC_ARENA_MAX": "4"}}.items():
        done, faults = output_of(PROGRAM, variables)
        found[name] = done, int(faults)
    assert (found["kept"][0], found["left"][0]) == ("True", "False")
    assert found["kept"][1] < found["left"][1] / 5


@pytest.mark.slow
@needs_glibc
def test_gaps_are_filled_once_after_a_compilation():
    """10,000 gaps of 2 to 200 KB: little is left of their gigabyte, and a second call has nothing to do."""
    before, first, idle, found, again, free, left = output_of(GAPS, {})
    assert (before, first, idle, again) == ("0", "True", "0", "0")
    assert int(found) >= 10_000 and int(free) >= 1e9
    assert int(left) < int(free) / 5


@pytest.mark.slow
@needs_glibc
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="no /proc")
def test_free_memory_is_given_back():
    """256 of 320 MiB, less what the system counts late."""
    early, done, returned = output_of(TRIMMED, {})
    assert (early, done) == ("False", "True")
    assert 240 <= int(returned) <= 260


def test_without_kept_memory_nothing_is_filled():
    assert fill_gaps() == 0


def test_the_users_settings_stay(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert keep_freed_memory() is False


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.delenv("MALLOC_ARENA_MAX")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert keep_freed_memory() is False


ALLOCATORS = [*glob("/usr/lib/*/libtcmalloc_minimal.so.?"), *glob("/usr/lib/*/libjemalloc.so.?")]


@pytest.mark.skipif(not ALLOCATORS, reason="neither tcmalloc nor jemalloc is installed")
def test_another_allocator_is_left_alone():
    """Of a preloaded tcmalloc or jemalloc nothing is set, and its heap is not searched for gaps."""
    code = "from jaxgan.devices.memory import *; print(keep_freed_memory(), is_kept(), fill_gaps())"
    environment = os.environ | {"LD_PRELOAD": ALLOCATORS[0]}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment)
    assert done.stdout == "False False 0\n"
