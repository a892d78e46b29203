"""What a checkpoint gives back: any state, any part of it, on any devices."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small
from jax.sharding import Mesh, NamedSharding, PartitionSpec
from test_checkpoint import state_of

from jaxgan.checkpoints.checkpoint import CheckpointError, Checkpoints
from jaxgan.devices.sharding import data_mesh, replicated


def test_a_relative_folder_and_the_last_save(tmp_path, monkeypatch):
    """apax-hub/apax#465: a relative folder was refused, but only at the first save."""
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


def test_a_failed_save_is_noticed(tmp_path):
    """google/orbax#605: training went on after a save had failed."""
    folder = tmp_path / "runs"
    with pytest.raises(CheckpointError, match="step 2 could not be saved in"), Checkpoints(folder) as checkpoints:
        checkpoints.save(1, {"w": jnp.ones(3)})
        checkpoints.wait()
        folder.rename(tmp_path / "moved")
        folder.write_text("in the way")
        checkpoints.save(2, {"w": jnp.ones(3)})


def test_structure_types_and_next_step(tmp_path):
    """google/flax#1550: an optimizer's state came back as other types, and the next step failed."""
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


def test_any_number_of_devices_to_any_other(tmp_path):
    """google/orbax#648: a checkpoint could not be read on another number of devices."""
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


def test_sharded_arrays_as_well(tmp_path):
    rows = {n: NamedSharding(data_mesh(n), PartitionSpec("data")) for n in (1, 2, 4)}
    saved = {"w": jax.device_put(np.arange(16.0, dtype=np.float32).reshape(8, 2), rows[4])}
    with Checkpoints(tmp_path) as checkpoints:
        checkpoints.save(1, saved)
        for sharding in (rows[1], rows[2], rows[4], replicated(data_mesh(4))):
            state = checkpoints.restore(1, jax.eval_shape(lambda: saved), sharding=sharding)
            assert state["w"].sharding == sharding
            small.assert_same(state, saved)


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
