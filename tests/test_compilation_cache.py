import subprocess
import sys
import types
from pathlib import Path

import jax
import pytest

from jaxgan.devices import compilation_cache
from jaxgan.devices.compilation_cache import cache_folder, keep_compiled_programs

ROOT = Path(__file__).parent.parent

# Prints the bits of what a compiled function gives, and whether it was compiled or found.
PROGRAM = """
import os
import jax, numpy as np
from jaxgan.devices.compilation_cache import keep_compiled_programs

print(keep_compiled_programs(), end=" ")
jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.0)
found = []
jax.monitoring.register_event_listener(lambda name, **_: found.append(name))
value = jax.jit(lambda x: jax.numpy.sin(x) @ x)(np.arange(9.0, dtype=np.float32).reshape(3, 3))
print(np.asarray(value).tobytes().hex(), "/jax/compilation_cache/cache_hits" in found)
"""


def run(folder, **variables):
    """Folder, bits and whether the program was found."""
    environment = {"PATH": "", "HOME": str(folder), "JAX_PLATFORMS": "cpu", **variables}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, cwd=ROOT, env=environment
    )
    return done.stdout.split()


@pytest.mark.slow
def test_the_next_process_finds_what_was_compiled(tmp_path):
    folder, bits, found = run(tmp_path)
    assert (folder, found) == (str(tmp_path / ".cache/jaxgan/compiled"), "False")
    assert run(tmp_path) == [folder, bits, "True"]
    for path in Path(folder).rglob("*"):
        if path.is_file():
            path.write_bytes(path.read_bytes()[:20])
    assert run(tmp_path)[1] == bits  # compiled anew


@pytest.mark.slow
def test_a_folder_that_cannot_be_does_no_harm(tmp_path):
    (tmp_path / "file").write_text("no folder")
    expected = run(tmp_path)[1]
    assert run(tmp_path, JAXGAN_CACHE=str(tmp_path / "file"))[1:] == [expected, "False"]


def test_without_a_home_folder_nothing_is_kept(monkeypatch):
    def no_home(path):
        raise RuntimeError("Could not determine home directory.")

    monkeypatch.delenv("JAXGAN_CACHE")
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    monkeypatch.setattr(
        compilation_cache, "jax", types.SimpleNamespace(config=types.SimpleNamespace(jax_compilation_cache_dir=None))
    )
    monkeypatch.setattr(Path, "expanduser", no_home)
    assert cache_folder() is None and keep_compiled_programs() is None


def test_what_the_user_has_said_stands(tmp_path, monkeypatch):
    assert cache_folder() != tmp_path
    before = jax.config.jax_compilation_cache_dir
    assert before is not None  # from conftest
    monkeypatch.delenv("JAX_COMPILATION_CACHE_DIR", raising=False)
    assert keep_compiled_programs() is None
    assert jax.config.jax_compilation_cache_dir == before
    assert run(tmp_path, JAX_COMPILATION_CACHE_DIR=str(tmp_path / "mine"))[0] == "None"
    assert list((tmp_path / "mine").iterdir())
