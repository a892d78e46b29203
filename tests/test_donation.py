"""The state is donated to each step: its buffers are gone afterwards."""

import jax
import numpy as np
import pytest
import small

from jaxgan.checkpoints.checkpoint import Checkpoints


def test_no_buffer_is_donated_twice_or_read_afterwards(tmp_path):
    """liesel-devs/liesel#272: one buffer, found twice in the state, was donated twice."""
    config = small.config(tmp_path / "run", num_steps=3, sample_every=1, evaluate_every=1, checkpoint_every=1, keep=9)
    evaluate = lambda state: {"mean": float(state.ema_params["Dense_0"]["kernel"].mean())}
    state, _ = small.run(config, evaluate=evaluate, draw=lambda outputs: np.zeros((2, 2, 3), np.uint8))
    with Checkpoints(tmp_path / "run/checkpoints") as checkpoints:
        assert checkpoints.steps() == [1, 2, 3]
        small.assert_same(checkpoints.restore(3, state), state)
    gan = small.build(config)
    jax.jit(gan.train_step, donate_argnums=0)(state, small.batches(config)(3))
    with pytest.raises(RuntimeError, match="deleted"):
        np.asarray(state.generator.params["Dense_0"]["kernel"])


def test_donation_under_nan_debugging(tmp_path):
    with jax.debug_nans(True):
        state, _ = small.run(small.config(tmp_path, num_steps=2))
    assert int(state.step) == 2
