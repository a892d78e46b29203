"""Single steps of a GAN with one weight: averages, spectral norm and augmentation by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small
from flax import linen as nn

from jaxgan.algorithms.gan import make_gan
from jaxgan.losses import LOSSES
from jaxgan.networks.layers import SpectralDense
from jaxgan.networks.linen import from_linen
from jaxgan.types import Network


def constant_generator(start):
    """A generator with one weight, which is also its output."""
    return Network(
        init=lambda key, latents: ({"w": jnp.full((), start)}, {}),
        apply=lambda params, model_state, latents, *, train, key=None: (
            jnp.broadcast_to(params["w"], (len(latents), 2)),
            model_state,
        ),
        mixes_batch=False,
    )


def mean_critic():
    return Network(
        init=lambda key, samples: ({"unused": jnp.zeros(())}, {}),
        apply=lambda params, model_state, samples, *, train, key=None: (
            samples.reshape(len(samples), -1).mean(axis=1) + 0.0 * params["unused"],
            model_state,
        ),
        mixes_batch=False,
    )


def averaged(start, g_tx, updates):
    gan = make_gan(
        constant_generator(start), mean_critic(), loss=LOSSES["wasserstein"], g_tx=g_tx, d_tx=optax.sgd(0.0),
        latent_dim=1, ema_decay=0.999,
    )  # fmt: skip
    batch = {"image": jnp.zeros((4, 2))}
    state = gan.init(jax.random.key(0), batch)
    for _ in range(updates):
        state, _ = gan.g_step(state, batch)
    return state


@pytest.mark.parametrize("updates", [0, 1, 100])
def test_an_average_of_constant_weights_is_that_constant(updates):
    """tensorflow/tensorflow#2825: averages began at 0 and stayed near it for long."""
    assert float(averaged(1.0, optax.sgd(0.0), updates).ema_params["w"]) == 1.0


def test_an_average_starts_as_a_copy():
    """tensorflow/tensorflow#2825: averages began at 0 and stayed near it for long."""
    # The loss's gradient is -1, so one step of rate 1 takes the weight from 0 to 1.
    state = averaged(0.0, optax.sgd(1.0), 1)
    assert float(state.generator.params["w"]) == 1.0
    assert float(state.ema_params["w"]) == pytest.approx(0.001, rel=1e-4)


def test_a_training_step_takes_one_power_step(tmp_path):
    """google-deepmind/dm-haiku#71: it was unclear that the vector is kept, and when it moves."""

    class Score(nn.Module):
        @nn.compact
        def __call__(self, points, *, train):
            return SpectralDense(2, use_bias=False, name="layer")(points).sum(axis=1)

    gan = make_gan(
        constant_generator(1.0), from_linen(Score()), loss=LOSSES["wasserstein"], g_tx=optax.sgd(0.0),
        d_tx=optax.sgd(0.0), latent_dim=1,
    )  # fmt: skip
    batch = {"image": jnp.eye(2)}
    state = gan.init(jax.random.key(0), batch)
    kernel = {"layer": {"kernel": jnp.diag(jnp.array([3.0, 1.0]))}}
    u = np.full(2, 0.5**0.5)
    model_state = {"spectral": {"layer": {"u": jnp.asarray(u, jnp.float32)}}}
    state = state.replace(discriminator=state.discriminator.replace(params=kernel, model_state=model_state))
    for _ in range(20):
        state, metrics = gan.train_step(state, (batch,))
        u = u * [9.0, 1.0]  # W^T W u
        u = u / np.linalg.norm(u)
        largest = 3.0 / np.linalg.norm(u * [3.0, 1.0])  # singular value of what the real points met
        assert float(metrics["real_score"]) == pytest.approx(largest * (3 + 1) / 3 / 2, rel=1e-4)
        np.testing.assert_allclose(state.discriminator.model_state["spectral"]["layer"]["u"], u, atol=1e-6)
    assert largest == pytest.approx(1.0)
    # Sampling and scoring leave the vectors as they are.
    network = from_linen(Score())
    _, after = network.apply(kernel, state.discriminator.model_state, batch["image"], train=True)
    small.assert_same(after, state.discriminator.model_state)


@pytest.mark.parametrize(
    ("augment", "d_loss", "g_loss", "slope"),
    [(lambda x, key: 0.5 * x, 0.5, -0.5, -0.5), (None, 1.0, -1.0, -1.0)],
)
def test_augmentation_is_on_real_on_fake_and_in_the_generators_step(augment, d_loss, g_loss, slope):
    """mit-han-lab/data-efficient-gans#84: the augmentation leaked into generated images."""
    gan = make_gan(
        constant_generator(1.0), mean_critic(), loss=LOSSES["wasserstein"], g_tx=optax.sgd(1.0), d_tx=optax.sgd(0.0),
        latent_dim=1, augment=augment,
    )  # fmt: skip
    batch = {"image": jnp.zeros((4, 2))}
    state = gan.init(jax.random.key(0), batch)
    _, metrics = gan.d_step(state, batch)
    assert float(metrics["d_loss"]) == pytest.approx(d_loss)
    moved, metrics = gan.g_step(state, batch)
    assert float(metrics["g_loss"]) == pytest.approx(g_loss)
    assert float(moved.generator.params["w"] - 1.0) == pytest.approx(-slope)
    samples = gan.sample(state, {"latents": jnp.zeros((4, 1))})["samples"]
    np.testing.assert_array_equal(samples, 1.0)  # what is shown and scored is not augmented


def test_real_and_fake_are_augmented_by_draws_of_their_own():
    """Where both drew the same, the wasserstein loss of an additive augmentation would be zero."""
    gan = make_gan(
        constant_generator(0.0), mean_critic(), loss=LOSSES["wasserstein"], g_tx=optax.sgd(0.0), d_tx=optax.sgd(0.0),
        latent_dim=1, augment=lambda x, key: x + jax.random.normal(key, x.shape),
    )  # fmt: skip
    batch = {"image": jnp.zeros((4, 2))}
    _, metrics = gan.d_step(gan.init(jax.random.key(0), batch), batch)
    assert abs(float(metrics["d_loss"])) > 0.01


def test_every_step_augments_by_draws_of_its_own():
    """Nothing is learned here, so steps of one key would have one loss."""
    gan = make_gan(
        constant_generator(0.0), mean_critic(), loss=LOSSES["wasserstein"], g_tx=optax.sgd(0.0), d_tx=optax.sgd(0.0),
        latent_dim=1, augment=lambda x, key: x + jax.random.normal(key, x.shape),
    )  # fmt: skip
    batch, found = {"image": jnp.zeros((4, 2))}, []
    state = gan.init(jax.random.key(0), batch)
    for _ in range(3):
        state, metrics = gan.train_step(state, (batch,))
        found += [float(metrics["d_loss"]), float(metrics["g_loss"])]
    assert len(set(found)) == 6
