"""Damaged checkpoints are named, passed over and never read; what is no checkpoint is left alone."""

import contextlib
import json
import os
import pickle
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
from test_checkpoint import state_of, value_in

from jaxgan import files
from jaxgan.checkpoints import digests, step_folders
from jaxgan.checkpoints.checkpoint import CheckpointError, Checkpoints, DamagedCheckpointError


def two_steps(folder, **options):
    with Checkpoints(folder, **options) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, state_of(step), {"fid": step})


def test_every_flipped_byte_is_found(tmp_path, capsys):
    """In each file a step consists of: where it changes what is restored, or might, the step is not restored."""
    two_steps(tmp_path)
    files = [path for path in (tmp_path / "2").rglob("*") if path.is_file()]
    assert len(files) > 10
    harmless = set()
    for path in files:
        content = path.read_bytes()
        middle = len(content) // 2
        path.write_bytes(content[:middle] + bytes([content[middle] ^ 1]) + content[middle + 1 :])
        with Checkpoints(tmp_path) as checkpoints:
            if value_in(checkpoints, None) == 2:
                harmless.add(str(path.relative_to(tmp_path / "2")))
            else:
                warned = capsys.readouterr().err
                assert warned.startswith(f"warning: step 2 in {tmp_path} is damaged: ")
                assert warned.endswith("; falling back to step 1\n")
                assert path.name in warned
                assert checkpoints.latest_step() == 1
        path.write_bytes(content)
    assert harmless <= {"_CHECKPOINT_METADATA", "commit_success.txt"}  # times, and a sentence


@pytest.mark.parametrize("damage", ["cut short", "emptied", "deleted", "all emptied"])
def test_damage_is_named_and_a_run_goes_on_from_the_step_before(tmp_path, capsys, damage):
    two_steps(tmp_path)
    manifest = tmp_path / "2" / "state" / "manifest.ocdbt"
    if damage == "cut short":
        manifest.write_bytes(manifest.read_bytes()[:-9])
    elif damage == "deleted":
        manifest.unlink()
    else:
        for path in [manifest] if damage == "emptied" else (tmp_path / "2").rglob("*"):
            if path.is_file():
                path.write_bytes(b"")
    complaint = {"deleted": "manifest.ocdbt is missing", "all emptied": "digests.json cannot be read"}
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(DamagedCheckpointError, match=rf"step 2 in {tmp_path} is damaged: .*json|manifest"):
            checkpoints.restore(2, state_of(0))
        assert checkpoints.latest_step() == 2
        assert value_in(checkpoints, None) == 1
        assert complaint.get(damage, "manifest.ocdbt does not match digests.json") in capsys.readouterr().err
        assert checkpoints.steps() == [1]
        assert (tmp_path / "2").exists()
        checkpoints.save(2, state_of(7))
        assert value_in(checkpoints, None) == 7
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps() == [1, 2]
        assert value_in(checkpoints, 2) == 7
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2", "2.damaged"]


def test_damage_done_while_a_run_goes_on(tmp_path):
    with Checkpoints(tmp_path, keep=2) as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, state_of(step))
        checkpoints.wait()
        (tmp_path / "2/state/_METADATA").unlink()
        assert value_in(checkpoints, None) == 1
        checkpoints.save(2, state_of(7))
        checkpoints.save(3, state_of(8))
        assert checkpoints.steps() == [2, 3]
        assert value_in(checkpoints, 2) == 7


def test_only_damaged_steps(tmp_path):
    two_steps(tmp_path)
    (tmp_path / "2/state/_METADATA").unlink()
    (tmp_path / "1/metrics/metrics").write_text("{}")
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(DamagedCheckpointError) as error:
        checkpoints.restore(None, state_of(0))
    assert str(error.value).split("\n") == [
        f"none of the checkpoints in {tmp_path} can be read:",
        f"  step 2 in {tmp_path} is damaged: state/_METADATA is missing",
        f"  step 1 in {tmp_path} is damaged: metrics/metrics does not match digests.json",
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "2"]


def test_a_misfit_is_no_damage(tmp_path):
    """Another architecture is refused at the newest step, not looked for in older ones."""
    two_steps(tmp_path)
    with Checkpoints(tmp_path) as checkpoints:
        with pytest.raises(CheckpointError, match=r"step 2 .*\n  w: float32\[3\] in the checkpoint") as error:
            checkpoints.restore(None, {**state_of(0), "w": jnp.zeros(4)})
        assert not isinstance(error.value, DamagedCheckpointError)
        assert checkpoints.steps() == [1, 2]


def test_a_changed_metric_makes_no_step_the_best(tmp_path):
    two_steps(tmp_path, best="fid")
    (tmp_path / "1/metrics/metrics").write_text('{"fid": 0.5}')
    with Checkpoints(tmp_path, best="fid") as checkpoints:
        assert checkpoints.best_step() == 2


def test_strays_beside_the_steps(tmp_path, capsys):
    two_steps(tmp_path)
    (tmp_path / "2/state/.DS_Store").write_text("")
    for name in ("notes.txt", "30", ".nfs0001"):
        (tmp_path / name).write_text("")
    for name in ("40", "old", "-1", "007", "1.damaged", "2 (copy)"):
        (tmp_path / name).mkdir()
    before = {path.name for path in tmp_path.iterdir()}
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        assert value_in(checkpoints, None) == 2
        assert "step 40" in capsys.readouterr().err  # an empty folder of that name could have been a step
        checkpoints.save(3, state_of(3))
        assert value_in(checkpoints, None) == 3
    assert {path.name for path in tmp_path.iterdir()} == before - {"1", "2", "40"} | {"3", "40.damaged"}


def test_a_step_without_digests_is_read_with_a_warning(tmp_path, capsys):
    two_steps(tmp_path)
    (tmp_path / "2" / "digests.json").unlink()
    with Checkpoints(tmp_path) as checkpoints:
        assert value_in(checkpoints, None) == 2
    assert f"step 2 in {tmp_path} has no digests.json" in capsys.readouterr().err


def test_digests_are_those_of_b2sum(tmp_path):
    """RFC 7693: the digest of the three bytes "abc" begins with ba80a53f981c4d0d."""
    (tmp_path / "abc").write_bytes(b"abc")
    assert digests.digests(tmp_path)["abc"].startswith("ba80a53f981c4d0d")


def test_a_checkpoint_is_data(tmp_path):
    """No file of a step is a pickle, and one that is put there is not run but found."""
    two_steps(tmp_path)
    for path in (tmp_path / "2").rglob("*"):
        if path.is_file():
            assert not path.read_bytes().startswith(b"\x80")
    trap = pickle.dumps(Trap(tmp_path / "sprung"))
    for name in ("state/_METADATA", "metrics/metrics", "digests.json", "_CHECKPOINT_METADATA"):
        path = tmp_path / "2" / name
        content = path.read_bytes()
        path.write_bytes(trap)
        with Checkpoints(tmp_path, best="fid") as checkpoints, contextlib.suppress(CheckpointError):
            checkpoints.restore(2, state_of(0))
        path.write_bytes(content)
    assert not (tmp_path / "sprung").exists()


class Trap:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (type(self.path).touch, (self.path,))


def test_the_digests_are_made_in_the_background(tmp_path, monkeypatch):
    threads = []
    original = digests.digests
    monkeypatch.setattr(digests, "digests", lambda *args: threads.append(threading.current_thread()) or original(*args))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state_of(1))
    assert len(threads) == 1
    assert threads[0] is not threading.main_thread()


@pytest.mark.parametrize("name", ["birds [v2]", "a\\b", "**", "new\nline", "gs:", "\udcff"])
def test_a_folder_of_any_name_is_written_and_read(tmp_path, name):
    """Orbax globs the path: the arrays of `[v2]` were never put together, and `**` could not be saved."""
    (tmp_path / "birds v").mkdir()  # what the pattern would have found
    folder = tmp_path / name / "checkpoints"
    with Checkpoints(folder, best="fid") as checkpoints:
        checkpoints.save(1, state_of(1), {"fid": 1.0})
    with Checkpoints(folder, best="fid") as checkpoints:
        assert value_in(checkpoints, checkpoints.resolve("best")) == 1
        assert checkpoints.folder == folder
        with pytest.raises(CheckpointError) as error:
            checkpoints.save(1, state_of(1))
        assert str(folder) in str(error.value)
    assert [path.name for path in folder.iterdir()] == ["1"]


def test_what_cannot_be_read_again_is_not_certified(tmp_path, monkeypatch):
    monkeypatch.setattr(step_folders, "stored_arrays", lambda folder: {"key"})
    with (
        pytest.raises(CheckpointError, match=r"step 1 could not be saved in .*did not write w"),
        Checkpoints(tmp_path) as c,
    ):
        c.save(1, state_of(1))
    assert list(tmp_path.iterdir()) == []


def renamed(folder, names):
    """Folders get other names, all at once."""
    for old in names:
        (folder / old).rename(folder / f"{old} aside")
    for old, new in names.items():
        (folder / f"{old} aside").rename(folder / new)


def test_a_step_under_another_number_is_damaged(tmp_path, capsys):
    two_steps(tmp_path, best="fid")
    renamed(tmp_path, {"1": "1000000"})
    with Checkpoints(tmp_path, best="fid") as checkpoints:
        assert value_in(checkpoints, None) == 2
        assert "step 1000000 in" in (said := capsys.readouterr().err) and "it was written as step 1; falling" in said
        assert checkpoints.best_step() == 2
    renamed(tmp_path, {"1000000": "1"})
    renamed(tmp_path, {"1": "2", "2": "1"})
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(DamagedCheckpointError, match="none of the checkpoints"):
        checkpoints.restore(None, state_of(0))


def test_digests_of_before_they_held_the_step(tmp_path):
    """Then a state that counts its steps tells."""
    state = small.build(small.config(".")).init(jax.random.key(0), small.batches(small.config("."))(0)[0])
    moved = state.replace(generator=state.generator.replace(step=jnp.int32(3)))
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(3, moved)
    record = digests.read(tmp_path / "3")
    (tmp_path / "3" / digests.NAME).write_text(json.dumps(record["files"]))
    with Checkpoints(tmp_path) as checkpoints:
        assert int(checkpoints.restore(None, state).step) == 3
    renamed(tmp_path, {"3": "4"})
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(DamagedCheckpointError, match="it holds step 3"):
        checkpoints.restore(None, state)


def test_metrics_that_come_later(tmp_path):
    with Checkpoints(tmp_path, keep=1, best="fid") as checkpoints:
        checkpoints.save(1, state_of(1), {"fid": 2.0})
        checkpoints.save(2, state_of(2), {"owed": 1.0})
        assert (checkpoints.best_step(), checkpoints.metrics(2)) == (1, {"owed": 1.0})
        checkpoints.replace_metrics(2, {"fid": 1.0, "kid": np.nan})
        assert (checkpoints.best_step(), checkpoints.metrics(2)) == (2, {"fid": 1.0})
        checkpoints.save(3, state_of(3), {"fid": 3.0})
        assert checkpoints.steps() == [2, 3]
    with Checkpoints(tmp_path, best="fid") as checkpoints:
        assert (checkpoints.best_step(), value_in(checkpoints, 2)) == (2, 2)


@pytest.mark.parametrize("number", [1, 2, 3])
def test_a_kill_while_metrics_are_replaced_damages_nothing(tmp_path, monkeypatch, number, capsys):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state_of(1), {"fid": 2.0})
        checkpoints.wait()
        writes, original = [], files.write

        def write(*arguments, **options):
            writes.append(arguments)
            if len(writes) == number:
                raise KeyboardInterrupt
            original(*arguments, **options)

        monkeypatch.setattr(files, "write", write)
        with pytest.raises(KeyboardInterrupt):
            checkpoints.replace_metrics(1, {"fid": 1.0})
    with Checkpoints(tmp_path) as checkpoints:
        assert value_in(checkpoints, None) == 1
        assert checkpoints.metrics(1) == {"fid": 1.0 if number == 3 else 2.0}
    assert capsys.readouterr().err == ""


def test_links_in_the_folder_are_not_followed(tmp_path):
    folder, theirs = tmp_path / "checkpoints", tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "a").write_text("theirs")
    two_steps(folder)
    for name in ("2.damaged", "9.orbax-checkpoint-tmp"):
        (folder / name).symlink_to(theirs)
    (folder / "2/state/_METADATA").unlink()
    with Checkpoints(folder, keep=1) as checkpoints:
        assert value_in(checkpoints, None) == 1
        checkpoints.save(3, state_of(3))
    assert sorted(path.name for path in folder.iterdir()) == ["2.damaged", "3"]
    assert not (folder / "2.damaged").is_symlink()
    assert (theirs / "a").read_text() == "theirs"


DESCRIPTIONS = (
    "_CHECKPOINT_METADATA", "state/_METADATA", "state/manifest.ocdbt", "state/_sharding",
    "state/array_metadatas/process_0", "metrics/metrics", "digests.json",
)  # fmt: skip


@pytest.mark.parametrize("digested", [True, False])
def test_what_is_no_regular_file_is_not_opened(tmp_path, capsys, digested):
    """A pipe would be waited for, a device never ends, and a link leads to what others may change."""
    two_steps(tmp_path, best="fid")
    if not digested:
        (tmp_path / "2" / digests.NAME).unlink()
    for name in DESCRIPTIONS if digested else DESCRIPTIONS[:-1]:
        path, aside = tmp_path / "2" / name, tmp_path / "aside"
        path.rename(aside)
        for put in (os.mkfifo, lambda path: path.symlink_to("/dev/zero"), lambda path, to=aside: path.symlink_to(to)):
            put(path)
            with Checkpoints(tmp_path, best="fid") as checkpoints:
                with pytest.raises(DamagedCheckpointError, match=f"step 2 .* {name} is not a regular file"):
                    checkpoints.arrays(2)
                assert checkpoints.metrics(2) == {}
                assert value_in(checkpoints, None) == 1
            assert f"{name} is not a regular file; falling back to step 1" in capsys.readouterr().err
            path.unlink()
        aside.rename(path)
    with Checkpoints(tmp_path) as checkpoints:
        assert value_in(checkpoints, None) == 2


def test_a_step_that_is_no_folder(tmp_path, capsys):
    two_steps(tmp_path / "run")
    (tmp_path / "run" / "2").rename(tmp_path / "elsewhere")
    (tmp_path / "run" / "2").symlink_to(tmp_path / "elsewhere")
    os.mkfifo(tmp_path / "run" / "3")
    with Checkpoints(tmp_path / "run") as checkpoints:
        assert value_in(checkpoints, None) == 1
        assert "2 is not a regular file; falling back to step 1" in capsys.readouterr().err
        checkpoints.save(2, state_of(2))
        checkpoints.save(3, state_of(3))
        assert value_in(checkpoints, None) == 3
    assert (tmp_path / "elsewhere" / "state").exists() and (tmp_path / "run" / "2.damaged").is_symlink()


@pytest.mark.parametrize("content", ["[" * 100_000, '{"fid": 1.0, "fid": 0.0}', '{"fid": NaN}', "[]", '{"fid": {}}'])
def test_metrics_that_are_none_stop_nothing(tmp_path, content):
    two_steps(tmp_path, best="fid")
    (tmp_path / "2" / digests.NAME).unlink()
    (tmp_path / "2" / "metrics" / "metrics").write_text(content)
    with Checkpoints(tmp_path, best="fid") as checkpoints:
        assert (checkpoints.metrics(2), checkpoints.best_step()) == ({}, 1)
        assert value_in(checkpoints, None) in (1, 2)


def test_what_describes_a_step_is_of_bounded_size(tmp_path, capsys):
    two_steps(tmp_path)
    (tmp_path / "2" / digests.NAME).unlink()
    os.truncate(tmp_path / "2" / "state" / "_METADATA", digests.MOST + 1)
    deep = tmp_path / "1" / "/".join("d" * 30)
    with Checkpoints(tmp_path) as checkpoints:
        assert value_in(checkpoints, None) == 1
        assert "state/_METADATA is larger than 67,108,864 bytes; falling back" in capsys.readouterr().err
        deep.mkdir(parents=True)
        with pytest.raises(DamagedCheckpointError, match="nested deeper than any file"):
            value_in(checkpoints, 1)
