"""A run that is stopped and started again ends as one that was not: state, data, average."""

import os
import signal

import jax
import jax.numpy as jnp
import numpy as np
import orbax.checkpoint as ocp
import pytest
import small

from jaxgan import optim
from jaxgan.algorithms.image_pool import create_pool, query_pool
from jaxgan.checkpoints.checkpoint import CheckpointError, Checkpoints
from jaxgan.data.pipeline import DeviceBatches
from jaxgan.runs.interruption import Stopped
from jaxgan.training.loop import fit


def ids(batches, steps):
    """Which examples each step sees, from a field that numbers them."""
    return [np.concatenate([batch["label"] for batch in batches(step)]).tolist() for step in steps]


def small_state():
    config = small.config("unused")
    return small.build(config).init(jax.random.key(0), small.batches(config)(0)[0])


def test_every_save_lands_and_a_used_folder_is_refused(tmp_path, monkeypatch):
    """apax-hub/apax#465: a relative folder was refused, but only at the first save."""
    monkeypatch.chdir(tmp_path)
    small.run(small.config("runs/x", num_steps=25, keep=9))
    with Checkpoints("runs/x/checkpoints") as checkpoints:
        assert checkpoints.steps() == [10, 20, 25]
        for step in checkpoints.steps():
            state = checkpoints.restore(step, jax.eval_shape(lambda: small_state()))
            assert int(state.step) == step
    with pytest.raises(ValueError, match="already holds a run, at step 25"):
        small.run(small.config("runs/x", num_steps=25, resume="never"))


def test_a_save_that_fails_ends_the_run(tmp_path, monkeypatch):
    """google/orbax#605: training went on after a save had failed."""

    def full(*_, **__):
        raise OSError("No space left on device")

    monkeypatch.setattr(ocp.CheckpointManager, "save", full)
    with pytest.raises(CheckpointError, match=r"step 10 could not be saved in .*No space left"):
        small.run(small.config(tmp_path))


def test_resume_brings_back_everything(tmp_path, capsys):
    """junyanz/pytorch-CycleGAN-and-pix2pix#1095: a resumed run began with the learning rate of the start."""
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
    assert "a num_steps above" in capsys.readouterr().out
    assert {path: path.read_bytes() for path in (tmp_path / "b").rglob("*") if path.is_file()} == before


def test_a_run_goes_on_with_other_devices(tmp_path):
    """google/orbax#648: a checkpoint could not be read on another number of devices."""
    one, _ = small.run(small.config(tmp_path / "one", num_steps=8))
    for first, second in ((4, 1), (1, 4)):
        folder = tmp_path / f"{first}-{second}"
        small.run(small.config(folder, num_steps=4, num_devices=first))
        state, _ = small.run(small.config(folder, num_steps=8, num_devices=second))
        for a, b in zip(jax.tree.leaves(state.ema_params), jax.tree.leaves(one.ema_params), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-5)  # steps of Adam amplify the order of a sum


@pytest.mark.parametrize("d_steps", [1, 2])
def test_batches_go_on_in_the_order(d_steps):
    """huggingface/accelerate#3996: a resumed run saw the first epoch's order again."""
    data = {"image": np.zeros((20, 4, 4, 1), np.uint8), "label": np.arange(20)}
    unbroken = ids(DeviceBatches(data, batch_size=4, seed=5, d_steps=d_steps), range(15))
    resumed = ids(DeviceBatches(data, batch_size=4, seed=5, d_steps=d_steps), range(7, 15))
    assert resumed == unbroken[7:]
    seen = np.array(unbroken).reshape(-1, 20)  # 5 batches an epoch
    np.testing.assert_array_equal(np.sort(seen), np.tile(np.arange(20), (3 * d_steps, 1)))
    assert len({tuple(epoch) for epoch in seen}) == 3 * d_steps


def test_a_resumed_run_reads_on_in_the_order(tmp_path):
    """huggingface/accelerate#3996: a resumed run saw the first epoch's order again."""
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


def test_pool_and_augmentation_go_on(tmp_path):
    """eps696/stylegan2ada#13: the strength of the augmentation began at 0 again."""
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
