import contextlib
import errno
import json
import os
import pickle
import threading

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import small
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxgan import files
from jaxgan.checkpoints import digests, step_folders
from jaxgan.checkpoints.checkpoint import CheckpointError, Checkpoints, DamagedCheckpointError


def state_of(value):
    return {"w": jnp.full((3,), value, jnp.float32), "key": jax.random.key(value)}


def value_in(checkpoints, step):
    state = checkpoints.restore(step, state_of(0))
    assert jnp.array_equal(jax.random.key_data(state["key"]), jax.random.key_data(jax.random.key(int(state["w"][0]))))
    return int(state["w"][0])


@pytest.fixture
def file_size_limit():
    """Makes every write beyond 100 kB fail, as on a full disk; it holds for root as well."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    yield lambda limited: resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]) if limited else before)
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


def large_state():
    return {"w": jax.random.normal(jax.random.key(0), (100_000,))}  # random, so that compression does not help


def test_saves_and_restores_the_newest_by_default(tmp_path):
    with Checkpoints(tmp_path / "a" / "b") as checkpoints:
        for step in (1, 2):
            checkpoints.save(step, state_of(step))
        assert value_in(checkpoints, None) == 2
        assert value_in(checkpoints, 1) == 1


def test_reading_changes_nothing_on_the_disk(tmp_path):
    with Checkpoints(tmp_path / "none") as checkpoints:
        assert checkpoints.steps() == []
        assert checkpoints.latest_step() is None
        assert checkpoints.best_step() is None
        with pytest.raises(CheckpointError, match=r"no checkpoint in .*none"):
            checkpoints.restore(None, state_of(0))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("keep", "best", "mode", "metrics", "kept", "best_step"),
    [
        # Smallest is best: 5 at step 2 outlives the two newest.
        (2, "fid", "min", [9, 5, 7, 8, 8.5], [2, 4, 5], 2),
        (2, "fid", "max", [9, 5, 7, 8, 8.5], [1, 4, 5], 1),
        # The best is among the newest.
        (2, "fid", "min", [9, 8, 7, 6, 5], [4, 5], 5),
        (1, "fid", "min", [5, 6], [1, 2], 1),
        # Of equals the latest.
        (1, "fid", "min", [5, 5, 6], [2, 3], 2),
        # NaN, infinite and missing are never best.
        (1, "fid", "min", [np.nan, 3, np.nan, -np.inf, None], [2, 5], 2),
        (1, "fid", "max", [np.nan, 3, np.inf, None], [2, 4], 2),
        (2, "fid", "min", [np.nan, None, np.nan], [2, 3], None),
        # Another metric than the one that is written.
        (2, "kid", "min", [1, 2, 3], [2, 3], None),
        (2, None, "min", [1, 2, 3], [2, 3], None),
    ],
)
def test_keeps_the_newest_and_the_best(tmp_path, keep, best, mode, metrics, kept, best_step):
    with Checkpoints(tmp_path, keep=keep, best=best, best_mode=mode) as checkpoints:
        for step, fid in enumerate(metrics, 1):
            checkpoints.save(step, state_of(step), None if fid is None else {"fid": jnp.float32(fid), "other": 1})
        assert checkpoints.steps() == kept
        assert checkpoints.best_step() == best_step
    with Checkpoints(tmp_path, keep=keep, best=best, best_mode=mode) as checkpoints:  # as after a restart
        assert checkpoints.steps() == kept
        assert checkpoints.best_step() == best_step
        assert value_in(checkpoints, None) == kept[-1]


def test_best_survives_a_restart(tmp_path):
    for step, fid in ((1, 3.0), (2, 4.0), (3, 5.0)):
        with Checkpoints(tmp_path, keep=1, best="fid") as checkpoints:
            checkpoints.save(step, state_of(step), {"fid": fid})
    assert sorted(path.name for path in tmp_path.iterdir()) == ["1", "3"]


def test_resolve(tmp_path):
    with Checkpoints(tmp_path, keep=3, best="fid") as checkpoints:
        checkpoints.save(10, state_of(1), {"fid": 1.0})
        checkpoints.save(20, state_of(2), {"fid": 2.0})
        assert checkpoints.resolve("best") == 10
        assert checkpoints.resolve("last") == 20
        assert checkpoints.resolve(20) == checkpoints.resolve("20") == 20
        for wrong in (15, "15", "newest", -1, ""):
            with pytest.raises(CheckpointError, match=r"expected 'best', 'last' or a step; .* steps 10, 20"):
                checkpoints.resolve(wrong)
    with (
        Checkpoints(tmp_path, best="kid") as checkpoints,
        pytest.raises(CheckpointError, match=r"none has a finite 'kid'.*10, 20"),
    ):
        checkpoints.resolve("best")
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(CheckpointError, match="has no metric for it"):
        checkpoints.resolve("best")


def test_wrong_settings(tmp_path):
    with pytest.raises(ValueError, match="keep=0"):
        Checkpoints(tmp_path, keep=0)
    with pytest.raises(ValueError, match="'min' or 'max'"):
        Checkpoints(tmp_path, best_mode="least")  # pyright: ignore


def test_falling_back_never_skips_a_save(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(10, state_of(1))
        checkpoints.save(20, state_of(2))
    with Checkpoints(tmp_path) as checkpoints:
        assert value_in(checkpoints, 10) == 1
        for step in (15, 20):
            with pytest.raises(CheckpointError, match=f"step {step} cannot be saved in .*already holds step 20"):
                checkpoints.save(step, state_of(3))
        checkpoints.save(21, state_of(3))
        assert checkpoints.steps() == [20, 21]
        assert value_in(checkpoints, 20) == 2


def test_a_restore_names_every_difference(tmp_path):
    state = {
        "a": jnp.zeros(3),
        "b": {"c": jnp.zeros((2, 2), jnp.bfloat16), "d": jnp.zeros(1)},
        "key": jax.random.key(0),
    }
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
        like = {"a": jnp.zeros(4), "b": {"c": jnp.zeros((2, 2)), "e": jnp.zeros(1)}, "key": jax.random.PRNGKey(0)}
        with pytest.raises(CheckpointError) as error:
            checkpoints.restore(1, like)
        first, *lines = str(error.value).split("\n")
        assert first == f"step 1 in {tmp_path} does not fit the state it is restored into:"
        assert lines == [
            "  a: float32[3] in the checkpoint, float32[4] expected",
            "  b/c: bfloat16[2,2] in the checkpoint, float32[2,2] expected",
            "  b/d: in the checkpoint only",
            "  b/e: missing in the checkpoint",
        ]
        with pytest.raises(CheckpointError, match=r"key: key<fry>\[\] in the checkpoint, uint32\[2\] expected"):
            checkpoints.restore(1, {**state, "key": jax.random.PRNGKey(0)})
        with pytest.raises(CheckpointError, match=r"key: uint32\[2\] in the checkpoint, uint32\[4\] expected"):
            checkpoints.restore(1, {**state, "key": jax.random.key(0, impl="rbg")})
        with pytest.raises(CheckpointError, match="and 15 more"):
            checkpoints.restore(1, {str(number): jnp.zeros(1) for number in range(21)})


def test_restores_a_part(tmp_path):
    state = {"ema_params": {"w": jnp.arange(3.0)}, "rest": jnp.zeros(5)}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
        part = checkpoints.restore(1, {"ema_params": {"w": jnp.zeros(3)}}, parts=["ema_params"])
        np.testing.assert_array_equal(part["ema_params"]["w"], np.arange(3.0))
        assert list(part) == ["ema_params"]
        with pytest.raises(CheckpointError, match="rest: in the checkpoint only"):
            checkpoints.restore(1, {"ema_params": {"w": jnp.zeros(3)}}, parts=["ema_params", "rest"])
        with pytest.raises(CheckpointError, match="other: missing in the checkpoint"):
            checkpoints.restore(1, {"other": jnp.zeros(5)}, parts=["other"])


def test_empty_arrays_and_numbers(tmp_path):
    state = {"pool": jnp.zeros((0, 4)), "numpy": np.arange(3), "number": 2.5, "w": jnp.ones(2)}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
        restored = checkpoints.restore(1, state)
        jax.tree.map(np.testing.assert_array_equal, restored, state)
        assert all(isinstance(leaf, jax.Array) for leaf in jax.tree.leaves(restored))
        with pytest.raises(CheckpointError, match="arrays only, but name is 'x'"):
            checkpoints.save(2, {"name": "x"})
        with pytest.raises(CheckpointError, match="have the path a/b"):
            checkpoints.save(2, {"a": {"b": jnp.ones(1)}, "a/b": jnp.ones(1)})


def test_buffers_may_be_donated_at_once(tmp_path):
    step = jax.jit(lambda state: jax.tree.map(lambda x: x + 1, state), donate_argnums=0)
    state = {"w": jnp.zeros(100_000)}
    with Checkpoints(tmp_path, keep=5) as checkpoints:
        for number in range(5):
            checkpoints.save(number, state)
            state = step(state)
        for number in range(5):
            assert set(np.unique(checkpoints.restore(number, state)["w"])) == {number}


def test_a_donated_state_is_named(tmp_path):
    state = {"w": jnp.zeros(3)}
    jax.jit(lambda state: jax.tree.map(lambda x: x + 1, state), donate_argnums=0)(state)
    with Checkpoints(tmp_path) as checkpoints, pytest.raises(CheckpointError, match="w was donated"):
        checkpoints.save(5, state)


def test_restores_where_it_is_told_to(tmp_path):
    devices = jax.devices()
    mesh = NamedSharding(Mesh(np.array(devices[:2]), ("data",)), PartitionSpec())
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state_of(1))
        for like, sharding, expected in (
            (jax.eval_shape(lambda: state_of(0)), None, {devices[0]}),
            (jax.device_put(state_of(0), devices[3]), None, {devices[3]}),
            (jax.device_put(state_of(0), devices[3]), mesh, set(devices[:2])),
            (jax.device_put(state_of(0), mesh), None, set(devices[:2])),
        ):
            restored = checkpoints.restore(1, like, sharding=sharding)
            assert [leaf.sharding.device_set for leaf in jax.tree.leaves(restored)] == [expected] * 2


def test_leftovers_of_a_kill_are_no_steps_and_are_removed_by_the_next_save(tmp_path):
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state_of(1))
    leftover = tmp_path / "2.orbax-checkpoint-tmp"
    (leftover / "state.orbax-checkpoint-tmp").mkdir(parents=True)
    (leftover / "state.orbax-checkpoint-tmp" / "data").write_bytes(b"half")
    with Checkpoints(tmp_path) as checkpoints:
        assert checkpoints.steps() == [1]
        assert leftover.exists()  # it may be the save under way of a run that is only being looked at
        checkpoints.save(2, state_of(2))
        assert value_in(checkpoints, 2) == 2
        assert not list(tmp_path.glob("*tmp*"))


def test_a_full_disk(tmp_path, file_size_limit):
    """Two saves that fail in a row are an error; the old step stays, nothing half-written does, and it can go on."""
    state = large_state()
    with Checkpoints(tmp_path, keep=1) as checkpoints:
        checkpoints.save(1, state)
        checkpoints.wait()
        file_size_limit(True)
        checkpoints.save(2, state)
        with pytest.raises(CheckpointError, match=f"step 3 could not be saved in {tmp_path}: .*File too large"):
            checkpoints.save(3, state)
        assert [path.name for path in tmp_path.iterdir()] == ["1"]
        assert checkpoints.steps() == [1]
        file_size_limit(False)
        assert jnp.array_equal(checkpoints.restore(1, state)["w"], state["w"])
        checkpoints.save(4, state)
        assert checkpoints.steps() == [4]


def test_the_next_save_makes_up_for_one_that_failed(tmp_path, monkeypatch, capsys):
    fails = [OSError(errno.ENOSPC, "No space left on device")]

    def write_digests(*args, original=digests.digests):
        if fails:
            raise fails.pop()
        return original(*args)

    monkeypatch.setattr(digests, "digests", write_digests)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state_of(1))
        checkpoints.save(2, state_of(2))
        assert [path.name for path in tmp_path.iterdir()] == ["2"]  # already: this save was waited for
        assert value_in(checkpoints, None) == 2
    message = "[Errno 28] No space left on device; step 2 is saved\n"
    assert capsys.readouterr().err == f"warning: step 1 could not be saved in {tmp_path}: {message}"


def test_a_last_save_that_fails_surfaces_at_the_exit(tmp_path, file_size_limit):
    file_size_limit(True)
    with pytest.raises(CheckpointError, match="step 1 could not be saved"), Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, large_state())
    with pytest.raises(ZeroDivisionError) as error, Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, large_state())
        raise ZeroDivisionError
    assert "step 1 could not be saved" in error.value.__notes__[0]
    with pytest.raises(CheckpointError, match="step 1 could not be saved"), Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, large_state())
        raise SystemExit(0)


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    for folder in (tmp_path / "file", tmp_path / "file" / "sub"):
        with (
            pytest.raises(CheckpointError, match=f"step 1 could not be saved in {folder}"),
            Checkpoints(folder) as checkpoints,
        ):
            checkpoints.save(1, state_of(1))


def test_the_pending_save_finishes_if_the_body_raises(tmp_path):
    with pytest.raises(KeyboardInterrupt), Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, large_state())
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ["1"]


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
        with pytest.raises(DamagedCheckpointError, match="is nested deeper than any file"):
            value_in(checkpoints, 1)
