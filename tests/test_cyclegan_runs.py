"""Runs of a CycleGAN: stopped in the decay, without a pool, with an update left out."""

import functools

import jax
import jax.numpy as jnp
import pytest
import small
from test_cyclegan import noise, small_cyclegan

from jaxgan import optim
from jaxgan.training.loop import fit


class Images:
    """Batches of noise, one of which may be spoilt."""

    size, batch_size = 8, 2

    def __init__(self, spoilt=None):
        self.spoilt = spoilt

    def __call__(self, step):
        batch = {"a": noise(2 * step, number=2), "b": noise(2 * step + 1, number=2)}
        return (jax.tree.map(lambda images: images * jnp.nan, batch) if step == self.spoilt else batch,)


@functools.cache
def decaying(pool_size):
    rate = optim.linear_decay(1e-2, 10, constant_steps=4)
    return small_cyclegan(g_tx=optim.adam(rate), d_tx=optim.adam(rate), ema_decay=0.9, pool_size=pool_size)


def run(folder, num_steps, spoilt=None, pool_size=3, **changes):
    options = {"batch_size": 2, "log_every": 1, "checkpoint_every": 100, "num_devices": 1, **changes}
    return fit(
        decaying(pool_size),
        Images(spoilt),
        small.Config(workdir=str(folder), num_steps=num_steps, **options),
        draw=None,
    )


def test_a_stop_in_the_decay_changes_nothing_pools_included(tmp_path):
    whole, metrics = run(tmp_path / "whole", 10)
    run(tmp_path / "parts", 7)
    parts, resumed = run(tmp_path / "parts", 10)
    small.assert_same(whole, parts)
    assert int(whole.pools["a"].count) == 3 and float(jnp.abs(whole.pools["a"].images).min()) > 0
    # The last update is number 9 of 10, and 4 are constant: (10 - 9) / (10 - 4) of the rate.
    assert metrics["g_learning_rate"] == metrics["d_learning_rate"] == pytest.approx(1e-2 / 6)
    assert resumed["g_learning_rate"] == metrics["g_learning_rate"]


def test_a_run_without_a_pool_is_saved_and_resumed(tmp_path):
    run(tmp_path, 2, pool_size=0)
    state, _ = run(tmp_path, 3, pool_size=0)
    assert int(state.step) == 3 and state.pools["a"].images.shape == (0, 3, 2, 2)


def test_a_skipped_update_leaves_the_pools_alone(tmp_path):
    before, _ = run(tmp_path / "before", 3, on_nonfinite="skip")
    after, metrics = run(tmp_path / "after", 4, spoilt=3, on_nonfinite="skip", log_every=2)
    assert metrics["skipped"] == 1.0
    small.assert_same(before.pools, after.pools)
    small.assert_same(before.generator.params, after.generator.params)
    assert (int(after.step), int(after.discriminator.step)) == (4, 4)
