"""The norm in a penalty: over a whole sample, and with a gradient where it is 0."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.penalties import dragan_penalty, gradient_penalty, r1_penalty, r2_penalty


def test_the_norm_runs_over_all_axes_of_one_sample():
    """caogang/wgan-gp#27: the norm was taken over one axis only."""
    rng = np.random.default_rng(0)
    real, fake = jnp.asarray(rng.normal(size=(2, 16, 8, 8, 3)), jnp.float32)
    key = jax.random.key(0)

    def total(images):
        return jnp.sum(images, axis=(1, 2, 3))

    def length(images):
        return jnp.sqrt(jnp.sum(images**2, axis=(1, 2, 3)))

    @jax.jit
    def penalties():
        return {
            "total": gradient_penalty(total, real, fake, key),
            "length": gradient_penalty(length, real, fake, key),
            "dragan": dragan_penalty(total, real, None, key),
            "r1": r1_penalty(total, real),
            "r2": r2_penalty(total, real, fake),
        }

    values = penalties()
    # (sqrt(192) - 1)^2; wrong: 3.343 (height only), 0.536 (channels only), 2962.1 (whole batch).
    np.testing.assert_allclose(values["total"], 165.287, atol=1e-3)
    np.testing.assert_allclose(values["dragan"], 165.287, atol=1e-3)
    # A length has slope 1 everywhere; wrong: .65 or .78 (one axis), 9.0 (whole batch).
    assert values["length"] < 1e-6
    np.testing.assert_allclose([values["r1"], values["r2"]], 192.0 / 2.0, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_a_flat_critic_has_a_finite_gradient(dtype):
    """keras-team/keras-io#910: the root of a gradient of 0 made the critic NaN."""
    real, fake = jnp.asarray(np.random.default_rng(0).normal(size=(2, 16, 8, 8, 3)), jnp.float32)

    def penalty(weights):
        def critic(images):
            return jnp.sum(weights.astype(dtype)[None] * images.astype(dtype), axis=(1, 2, 3))

        return gradient_penalty(critic, real, fake, jax.random.key(0))

    value, gradient = jax.jit(jax.value_and_grad(penalty))(jnp.zeros((8, 8, 3)))
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, 1.0, atol=3e-6)
    assert not np.any(gradient)  # NaN in every entry with a plain root
