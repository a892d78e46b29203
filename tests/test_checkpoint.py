import errno

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.checkpoints import digests
from jaxgan.checkpoints.checkpoint import CheckpointError, Checkpoints


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
    with (
        Checkpoints(tmp_path) as checkpoints,
        pytest.raises(CheckpointError, match="not trained with --best SCORE"),
    ):
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
