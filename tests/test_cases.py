"""Bugs that others met in public GAN code, by number: each must give the right value here."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.losses import (
    LOSSES,
    least_squares_discriminator_loss,
    least_squares_generator_loss,
    minimax_discriminator_loss,
    minimax_generator_loss,
    non_saturating_generator_loss,
    relativistic_discriminator_loss,
    wasserstein_discriminator_loss,
    wasserstein_generator_loss,
)
from jaxgan.penalties import dragan_penalty, gradient_penalty, r1_penalty, r2_penalty


def test_case_9_penalty_norm_runs_over_all_axes_of_one_sample():
    """The norm in the penalty was taken over one axis only, or over the whole batch at once."""
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
            "dragan": dragan_penalty(total, real, key),
            "r1": r1_penalty(total, real),
            "r2": r2_penalty(total, fake),
        }

    values = penalties()
    # (sqrt(192) - 1)^2; wrong: 3.343 (height only), 0.536 (channels only), 2962.1 (whole batch).
    np.testing.assert_allclose(values["total"], 165.287, atol=1e-3)
    np.testing.assert_allclose(values["dragan"], 165.287, atol=1e-3)
    # A length has slope 1 everywhere; wrong: .65 or .78 (one axis), 9.0 (whole batch).
    assert values["length"] < 1e-6
    np.testing.assert_allclose([values["r1"], values["r2"]], 192.0 / 2.0, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_case_10_flat_critic_has_a_finite_penalty_gradient(dtype):
    """A zero gradient made the square root have no slope, so the critic turned NaN; half precision made it worse."""
    real, fake = jnp.asarray(np.random.default_rng(0).normal(size=(2, 16, 8, 8, 3)), jnp.float32)

    def penalty(weights):
        def critic(images):
            return jnp.sum(weights.astype(dtype)[None] * images.astype(dtype), axis=(1, 2, 3))

        return gradient_penalty(critic, real, fake, jax.random.key(0))

    value, gradient = jax.jit(jax.value_and_grad(penalty))(jnp.zeros((8, 8, 3)))
    assert value.dtype == jnp.float32
    np.testing.assert_allclose(value, 1.0, atol=3e-6)
    assert not np.any(gradient)  # NaN in every entry with a plain root


def test_case_12_wasserstein_signs():
    """Users could not tell which sign was minimised, and took a negative loss for a bug."""
    real, fake = jnp.array([1.0, 2.0, 3.0]), jnp.array([0.5, 1.5])
    loss = LOSSES["wasserstein"]
    assert float(wasserstein_discriminator_loss(real, fake)) == float(loss.discriminator(real, fake)) == -1.0
    assert float(wasserstein_generator_loss(fake)) == float(loss.generator(real, fake)) == -1.0
    assert {name: float(value) for name, value in loss.estimate(real, fake).items()} == {"wasserstein_estimate": 1.0}

    # One step on each side, with critic D(x) = w x and generator G(z) = z + b.
    data, latents = real, fake

    def real_and_fake_scores(w, b):
        return w * data, w * (latents + b)

    w, b = 1.0, 0.0
    stepped_w = w - 0.1 * jax.grad(lambda w: loss.discriminator(*real_and_fake_scores(w, b)))(w)
    before, after = (loss.estimate(*real_and_fake_scores(w, b))["wasserstein_estimate"] for w in (w, stepped_w))
    assert after > before
    stepped_b = b - 0.1 * jax.grad(lambda b: loss.generator(*real_and_fake_scores(w, b)))(b)
    assert jnp.mean(real_and_fake_scores(w, stepped_b)[1]) > jnp.mean(real_and_fake_scores(w, b)[1])


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_case_13_losses_take_raw_scores(dtype):
    """Cross-entropy was fed probabilities or overflowed, LSGAN scores were squashed, halves and shapes were unclear."""
    zero, low, high = (jnp.full((4,), score, dtype) for score in (0.0, -100.0, 100.0))
    np.testing.assert_allclose(minimax_discriminator_loss(zero, zero), 2.0 * np.log(2.0), rtol=1e-6)
    np.testing.assert_allclose(non_saturating_generator_loss(zero), np.log(2.0), rtol=1e-6)

    # As wrong as can be: 100 for each class, and a slope of 1 (a quarter for each of four samples).
    np.testing.assert_allclose(minimax_discriminator_loss(low, high), 200.0, rtol=1e-6)
    real_slope, fake_slope = jax.grad(minimax_discriminator_loss, argnums=(0, 1))(low, high)
    np.testing.assert_array_equal(np.float32(real_slope), np.full(4, -0.25))
    np.testing.assert_array_equal(np.float32(fake_slope), np.full(4, 0.25))
    sure = jnp.asarray(-20.0, dtype)
    np.testing.assert_allclose(np.float32(jax.grad(non_saturating_generator_loss)(sure)), -1.0, rtol=1e-6)
    np.testing.assert_allclose(np.float32(jax.grad(minimax_generator_loss)(sure)), -np.exp(-20.0), rtol=1e-2)

    half = jnp.full((4,), 0.5, dtype)  # no factor 1/2 in our least squares
    assert float(least_squares_discriminator_loss(half, half)) == 0.5
    assert float(least_squares_generator_loss(half)) == 0.25
    beyond = jnp.asarray([3.9], dtype)
    expected = (float(beyond[0]) - 1.0) ** 2  # 8.41 in float32: no sigmoid
    np.testing.assert_allclose(least_squares_discriminator_loss(beyond, jnp.zeros(1)), expected, rtol=1e-6)
    np.testing.assert_allclose(expected, 8.41, rtol=1e-2)

    # [[0], [1]] against [0, 1] is refused where broadcasting would make four pairs of it (0.5).
    column, row = jnp.array([[0.0], [1.0]], dtype), jnp.array([0.0, 1.0], dtype)
    with pytest.raises(AssertionError):
        least_squares_generator_loss(column, target=row)  # pyright: ignore[reportArgumentType]
    with pytest.raises(AssertionError):
        relativistic_discriminator_loss(column, row)
