import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from jaxgan import files
from jaxgan.runs.lock import NAME, Lock, refuse_held

HOLDS = """
import sys, types
sys.modules["jaxgan"] = types.ModuleType("jaxgan")  # without jax, which takes seconds
sys.modules["jaxgan"].__path__ = ["jaxgan"]
from jaxgan.runs.lock import Lock
Lock(sys.argv[1]).__enter__()
print("held", flush=True)
input()
"""


@pytest.fixture
def other(tmp_path):
    """Another process that holds the lock."""
    command = [sys.executable, "-c", HOLDS, str(tmp_path)]
    root = Path(__file__).parent.parent
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=root) as process:
        assert process.stdout and process.stdout.readline() == "held\n"
        yield process
        process.kill()


def test_a_process_that_holds_it_is_named_and_its_death_frees_it(tmp_path, other):
    for attempt in (refuse_held, lambda folder: Lock(folder).__enter__()):
        with pytest.raises(ValueError, match=rf"in use by process {other.pid} on .* since \d{{4}}-.*-c "):
            attempt(tmp_path)
    other.send_signal(signal.SIGKILL)
    other.wait()
    refuse_held(tmp_path)
    with Lock(tmp_path):
        assert f"process {os.getpid()} " in (tmp_path / NAME).read_text()


def test_it_keeps_out_others_in_the_same_process(tmp_path):
    with Lock(tmp_path):
        for _ in range(2):  # to try does not free it
            with pytest.raises(ValueError, match=f"process {os.getpid()}"):
                Lock(tmp_path).__enter__()
    with Lock(tmp_path):
        pass


def test_nothing_is_left_of_one_that_nothing_came_of(tmp_path):
    with contextlib.suppress(RuntimeError), Lock(tmp_path / "a/b"):
        raise RuntimeError
    assert list(tmp_path.iterdir()) == []
    with Lock(tmp_path / "a/b"):
        (tmp_path / "a/b/file").write_text("")
    assert os.listdir(tmp_path / "a/b") == ["file"]
    refuse_held(tmp_path / "a/b")
    refuse_held(tmp_path / "absent")


def test_it_knows_whether_its_folder_is_there(tmp_path):
    (tmp_path / "run").mkdir()
    with Lock(tmp_path / "run") as lock:
        lock.check()
        (tmp_path / "run").rename(tmp_path / "moved")
        for _ in range(2):
            with pytest.raises(ValueError, match="moved, deleted or replaced"):
                lock.check()
            (tmp_path / "run").mkdir(exist_ok=True)
        (tmp_path / "run").rmdir()
        (tmp_path / "run").symlink_to("moved")
        lock.check()
        (tmp_path / "run").unlink()
    assert os.listdir(tmp_path / "moved") == []


def test_a_lock_file_that_is_removed_is_made_again_unless_somebody_came_first(tmp_path):
    with Lock(tmp_path) as lock:
        (tmp_path / NAME).unlink()
        lock.check()
        with pytest.raises(ValueError, match="in use"):
            refuse_held(tmp_path)
        (tmp_path / NAME).unlink()
        with Lock(tmp_path), pytest.raises(ValueError, match="in use"):
            lock.check()


def test_where_nothing_can_be_locked_this_is_said(tmp_path, monkeypatch, capsys):
    def flock(*_):
        raise OSError(38, "Function not implemented")

    monkeypatch.setattr("fcntl.flock", flock)
    with Lock(tmp_path), Lock(tmp_path):
        assert "warning: the file system of" in capsys.readouterr().err


def test_what_a_lock_file_says_is_shown_on_one_line(tmp_path):
    with Lock(tmp_path):
        files.write(tmp_path / "text", "process\x1b[2J\nerror: none")
        (tmp_path / NAME).write_bytes((tmp_path / "text").read_bytes())
        with pytest.raises(ValueError, match=r"in use by process\?\[2J\?error: none: wait"):
            refuse_held(tmp_path)


def test_a_link_is_not_locked(tmp_path):
    (tmp_path / "theirs").write_text("theirs")
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / NAME).symlink_to(tmp_path / "theirs")
    with pytest.raises(OSError, match="is a link"):
        Lock(tmp_path / "run").__enter__()
    assert (tmp_path / "theirs").read_text() == "theirs"
