"""Known bugs of other projects in saving, restoring and resuming, by number, each with the right values."""

import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import optax
import orbax.checkpoint as ocp
import pytest
import small
from jax.sharding import NamedSharding, PartitionSpec

from jaxgan import optim
from jaxgan.algorithms.image_pool import create_pool, query_pool
from jaxgan.checkpoints.checkpoint import CheckpointError, Checkpoints
from jaxgan.data.pipeline import DeviceBatches
from jaxgan.devices.sharding import data_mesh, replicated
from jaxgan.runs.interruption import Stopped
from jaxgan.training.loop import fit


def ids(batches, steps):
    """Which examples each step sees, from a field that numbers them."""
    return [np.concatenate([batch["label"] for batch in batches(step)]).tolist() for step in steps]


def small_state():
    config = small.config("unused")
    return small.build(config).init(jax.random.key(0), small.batches(config)(0)[0])


def test_case_23_the_run_as_a_whole(tmp_path, monkeypatch):
    """A relative folder; every save lands, the last one too; a used folder is not run over."""
    monkeypatch.chdir(tmp_path)
    small.run(small.config("runs/x", num_steps=25, keep=9))
    with Checkpoints("runs/x/checkpoints") as checkpoints:
        assert checkpoints.steps() == [10, 20, 25]
        for step in checkpoints.steps():
            state = checkpoints.restore(step, jax.eval_shape(lambda: small_state()))
            assert int(state.step) == step
    with pytest.raises(ValueError, match="already holds a run, at step 25"):
        small.run(small.config("runs/x", num_steps=25, resume="never"))


def test_case_23_relative_folder_used_folder_last_save(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with Checkpoints("runs/x", keep=3) as checkpoints:
        for step in (10, 20, 25):
            checkpoints.save(step, {"step": jnp.int32(step)})
    monkeypatch.chdir("/")  # the folder was made absolute when it was given
    with Checkpoints(tmp_path / "runs/x", keep=3) as checkpoints:
        assert checkpoints.steps() == [10, 20, 25]
        for step in (10, 20, 25):
            assert checkpoints.restore(step, {"step": jnp.int32(0)})["step"] == step
        for step in (1, 10, 25):
            with pytest.raises(CheckpointError, match="already holds step 25"):
                checkpoints.save(step, {"step": jnp.int32(step)})


def test_case_23_a_failed_save_is_noticed(tmp_path):
    folder = tmp_path / "runs"
    with pytest.raises(CheckpointError, match="step 2 could not be saved in"), Checkpoints(folder) as checkpoints:
        checkpoints.save(1, {"w": jnp.ones(3)})
        checkpoints.wait()
        folder.rename(tmp_path / "moved")
        folder.write_text("in the way")
        checkpoints.save(2, {"w": jnp.ones(3)})


def test_case_23_a_save_that_fails_ends_the_run(tmp_path, monkeypatch):
    """A failed save was noticed much later or never."""

    def full(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr(ocp.CheckpointManager, "save", full)
    with pytest.raises(CheckpointError, match=r"step 10 could not be saved in .*No space left"):
        small.run(small.config(tmp_path))


def test_case_24_resume_brings_back_everything(tmp_path, capsys):
    """20 steps against 10, a stop and 10 more: 5 critic steps, averages, a rate that decays; bit for bit."""
    unbroken, _ = small.run(small.config(tmp_path / "a"))

    def stop(state):
        os.kill(os.getpid(), signal.SIGTERM)
        return {}

    with pytest.raises(Stopped):
        small.run(small.config(tmp_path / "b", evaluate_every=9), evaluate=stop)
    broken, _ = small.run(small.config(tmp_path / "b"))
    small.assert_same(broken, unbroken)
    assert float(optim.learning_rate_of(broken.generator.opt_state)) == pytest.approx(0.05 * 1e-2, rel=1e-5)

    with pytest.raises(ValueError, match="nothing to resume"):
        small.run(small.config(tmp_path / "empty", resume="must"))
    before = {path: path.read_bytes() for path in (tmp_path / "b").rglob("*") if path.is_file()}
    small.run(small.config(tmp_path / "b"))
    assert "nothing to do" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in (tmp_path / "b").rglob("*") if path.is_file()} == before


def test_case_25_structure_types_and_next_step(tmp_path):
    tx = optax.chain(optax.clip_by_global_norm(1.0), optax.adam(1e-2, b1=0.5), optax.ema(0.9))
    params = {0: jnp.ones((2, 3)), 10: jnp.linspace(-1, 1, 4, dtype=jnp.bfloat16), 2: {"w": jnp.ones(())}}
    state = {
        "params": params,
        "opt_state": tx.init(params),
        "key": jax.random.key(3),
        "keys": jax.random.split(jax.random.key(4, impl="rbg"), 3),
        "legacy_key": jax.random.PRNGKey(5),
        "ema_params": None,
        "model_state": {},
        "count": jnp.int32(7),
        "pool": (jnp.zeros((0, 2)), [jnp.array([True, False])]),
    }

    @jax.jit
    def step(state):
        noise = jax.random.normal(jax.random.fold_in(state["key"], state["count"]), ())
        grads = jax.tree.map(lambda p: p * noise.astype(p.dtype), state["params"])
        updates, opt_state = tx.update(grads, state["opt_state"], state["params"])
        params = optax.apply_updates(state["params"], updates)
        return {**state, "params": params, "opt_state": opt_state, "count": state["count"] + 1}

    state = step(state)
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, state)
    with Checkpoints(tmp_path) as checkpoints:
        for like in (state, jax.eval_shape(lambda: state)):
            restored = checkpoints.restore(1, like)
            small.assert_same(restored, state)
            assert [type(node) for node in restored["opt_state"]] == [type(node) for node in state["opt_state"]]
            small.assert_same(step(restored), step(state))


def test_case_28_a_run_goes_on_with_other_devices(tmp_path):
    """Saved on 4 devices, read on 1, and the other way; the same draws and data on any number."""
    one, _ = small.run(small.config(tmp_path / "one"))
    for first, second in ((4, 1), (1, 4), (2, 4)):
        folder = tmp_path / f"{first}-{second}"
        small.run(small.config(folder, num_steps=10, num_devices=first))
        state, _ = small.run(small.config(folder, num_devices=second))
        for a, b in zip(jax.tree.leaves(state.ema_params), jax.tree.leaves(one.ema_params), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)  # 20 Adam steps amplify the order of a sum


def test_case_28_any_number_of_devices_to_any_other(tmp_path):
    tx = optax.adam(0.1)

    def init():
        params = {"w": jnp.arange(4.0)}
        return {"params": params, "opt_state": tx.init(params), "key": jax.random.key(0)}

    def update(state, batch):
        grads = jax.grad(lambda params: jnp.mean((batch @ params["w"]) ** 2))(state["params"])
        updates, opt_state = tx.update(grads, state["opt_state"], state["params"])
        return {**state, "params": optax.apply_updates(state["params"], updates), "opt_state": opt_state}

    def train(state, num_devices, num_steps):
        everywhere = replicated(data_mesh(num_devices))
        step = jax.jit(update, out_shardings=everywhere)
        rows = NamedSharding(everywhere.mesh, PartitionSpec("data"))
        batch = jax.device_put(np.linspace(0, 1, 32, dtype=np.float32).reshape(8, 4), rows)
        for _ in range(num_steps):
            state = step(state, batch)
        return state

    def sample(state):
        return jax.random.normal(state["key"], (2, 4)) @ state["params"]["w"]

    unbroken = np.asarray(train(jax.device_put(init(), replicated(data_mesh(1))), 1, 4)["params"]["w"])
    abstract = jax.eval_shape(init)
    for written_on in (4, 2, 1):
        saved = train(jax.device_put(init(), replicated(data_mesh(written_on))), written_on, 2)
        with Checkpoints(tmp_path / str(written_on)) as checkpoints:
            checkpoints.save(2, saved)
        for read_on in (1, 2, 4):
            with Checkpoints(tmp_path / str(written_on)) as checkpoints:
                state = checkpoints.restore(2, abstract, sharding=replicated(data_mesh(read_on)))
            small.assert_same(state, saved)
            assert {leaf.sharding for leaf in jax.tree.leaves(state)} == {replicated(data_mesh(read_on))}
            trained = np.asarray(train(state, read_on, 2)["params"]["w"])
            np.testing.assert_allclose(trained, unbroken, rtol=1e-5, atol=1e-6)
        with Checkpoints(tmp_path / str(written_on)) as checkpoints:  # sampling says nothing about devices
            state = checkpoints.restore(None, abstract)
        assert {leaf.sharding.device_set == {jax.devices()[0]} for leaf in jax.tree.leaves(state)} == {True}
        assert np.array_equal(sample(state), sample(jax.device_put(saved, jax.devices()[0])))


def test_case_28_sharded_arrays_as_well(tmp_path):
    rows = {n: NamedSharding(data_mesh(n), PartitionSpec("data")) for n in (1, 2, 4)}
    saved = {"w": jax.device_put(np.arange(16.0, dtype=np.float32).reshape(8, 2), rows[4])}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, saved)
        for sharding in (rows[1], rows[2], rows[4], replicated(data_mesh(4))):
            state = checkpoints.restore(1, jax.eval_shape(lambda: saved), sharding=sharding)
            assert state["w"].sharding == sharding
            small.assert_same(state, saved)


@pytest.mark.parametrize("d_steps", [1, 2])
def test_case_29_resuming_goes_on_in_the_order(d_steps):
    """After a resume the shuffle began again at the first epoch, so some images came twice and others never."""
    data = {"image": np.zeros((20, 4, 4, 1), np.uint8), "label": np.arange(20)}
    unbroken = ids(DeviceBatches(data, batch_size=4, seed=5, d_steps=d_steps), range(15))
    resumed = ids(DeviceBatches(data, batch_size=4, seed=5, d_steps=d_steps), range(7, 15))
    assert resumed == unbroken[7:]
    seen = np.array(unbroken).reshape(-1, 20)  # 5 batches an epoch
    np.testing.assert_array_equal(np.sort(seen), np.tile(np.arange(20), (3 * d_steps, 1)))
    assert len({tuple(epoch) for epoch in seen}) == 3 * d_steps


def test_case_29_a_resumed_run_reads_on_in_the_order(tmp_path):
    """Stopped inside an epoch, the next steps see the examples the unbroken run would have seen."""
    config = small.config(tmp_path, num_steps=7)
    seen = []

    class Spy:
        def __init__(self, batches):
            self.batches, self.size, self.batch_size = batches, batches.size, batches.batch_size

        def __call__(self, step):
            seen.append(step)
            return self.batches(step)

    fit(small.build(config), Spy(small.batches(config)), config, draw=None)
    seen.clear()
    config = small.config(tmp_path, num_steps=15)
    fit(small.build(config), Spy(small.batches(config)), config, draw=None)
    assert seen[-8:] == [*range(7, 15)]  # before them the first steps, for shapes and for the picture


def test_case_29_pool_and_augmentation_go_on(tmp_path):
    """The pool was emptied and the strength of the augmentation fell back to 0."""
    images = jnp.arange(6 * 4.0).reshape(6, 2, 2, 1)
    _, pool = query_pool(create_pool(4, images), images[:2], jax.random.key(0))  # half full
    state = {"pools": {"a": pool}, "augment_state": {"augment_probability": jnp.float32(0.5)}}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(7, state)
    with Checkpoints(tmp_path) as checkpoints:
        restored = checkpoints.restore(None, jax.eval_shape(lambda: state))
    small.assert_same(restored, state)
    assert int(restored["pools"]["a"].count) == 2
    next_query = lambda pool: query_pool(pool, images[2:], jax.random.key(1))
    small.assert_same(next_query(restored["pools"]["a"]), next_query(pool))
