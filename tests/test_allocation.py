import ctypes
import subprocess
import sys

import pytest

from jaxgan.allocation import keep_freed_memory

PROGRAM = """
import ctypes, resource
from jaxgan.allocation import keep_freed_memory
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


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "gnu_get_libc_version"), reason="no glibc")
def test_freed_memory_is_used_again():
    """64 MiB taken 20 times: 16,384 pages of 4 KiB once, not 20 times; huge pages make fewer of them."""
    found = {}
    for name, variables in {"kept": {}, "left": {"MALLOC_ARENA_MAX": "4"}}.items():
        command = [sys.executable, "-c", PROGRAM]
        done, faults = subprocess.run(
            command, capture_output=True, text=True, check=True, env=variables | {"PYTHONPATH": "."}
        ).stdout.split()
        found[name] = done, int(faults)
    assert (found["kept"][0], found["left"][0]) == ("True", "False")
    assert found["kept"][1] < found["left"][1] / 5


def test_the_users_settings_stay(monkeypatch):
    monkeypatch.setenv("MALLOC_TRIM_THRESHOLD_", "131072")
    assert keep_freed_memory() is False


def test_another_c_library_is_left_alone(monkeypatch):
    monkeypatch.delenv("MALLOC_ARENA_MAX")
    monkeypatch.setattr(ctypes, "CDLL", lambda name: object())
    assert keep_freed_memory() is False
