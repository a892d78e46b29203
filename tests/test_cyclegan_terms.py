"""The sizes a CycleGAN takes, its identity term, and its critics under a clip or a penalty."""

import jax
import jax.numpy as jnp
import optax
import pytest

from jaxgan import optim
from jaxgan.algorithms.cyclegan import make_cyclegan
from jaxgan.losses import LOSSES, cycle_consistency_loss
from jaxgan.networks.image_to_image import residual_generator, unet_generator
from jaxgan.networks.patchgan import patch_discriminator
from jaxgan.penalties import gradient_penalty
from jaxgan.types import Network


def cyclegan(generator, discriminator, loss="least_squares", **changes):
    options = {"g_tx": optax.sgd(0.01), "d_tx": optax.sgd(0.01), **changes}
    generators = generator if isinstance(generator, dict) else {"a_to_b": generator, "b_to_a": generator}
    return make_cyclegan(generators, {"a": discriminator, "b": discriminator}, loss=LOSSES[loss], **options)


def shapes_of_a_step(gan, batch):
    """State, metrics and outputs after an update, nothing computed; what does not fit fails here as it does in use."""

    def steps(key, batch):
        state, metrics = gan.train_step(gan.init(key, batch), (batch,))
        return metrics, gan.sample(state, batch)

    return jax.eval_shape(steps, jax.random.key(0), batch)


def pair(size, channels=(3, 3)):
    return {name: jnp.zeros((1, *size, count)) for name, count in zip("ab", channels, strict=True)}


@pytest.mark.parametrize(
    "generator", [residual_generator(channels=3, width=2, blocks=1), unet_generator(channels=3, width=2, levels=4)]
)
def test_a_step_and_a_translation_at_a_size_that_four_does_not_divide(generator, size=(17, 33)):
    """junyanz/pytorch-CycleGAN-and-pix2pix#237: sizes that 4 does not divide came back as others."""
    _, outputs = shapes_of_a_step(cyclegan(generator, patch_discriminator(width=2, layers=2)), pair(size))
    assert {output.shape for output in outputs.values()} == {(1, *size, 3)}


def test_what_is_too_small_is_refused_before_the_first_step():
    gan = cyclegan(unet_generator(channels=3, width=2, levels=6), patch_discriminator(width=2))
    with pytest.raises(ValueError, match="not 17 x 33: 33 x 33 is the nearest size"):
        gan.init(jax.random.key(0), pair((17, 33)))
    gan = cyclegan(residual_generator(channels=3, width=2), patch_discriminator(width=2))
    with pytest.raises(ValueError, match="at least 24 x 24, not 17 x 33; layers=2 would fit"):
        gan.init(jax.random.key(0), pair((17, 33)))


def test_unequal_sizes_do_not_broadcast():
    with pytest.raises(AssertionError, match="different shapes"):
        cycle_consistency_loss(jnp.zeros((2, 1, 4, 3)), jnp.zeros((2, 4, 4, 3)))


def adding(value, channels=None):
    """Adds a number; its gradient is there, and nothing is learned."""

    def apply(params, model_state, images, *, train, key=None):
        images = images if channels is None else jnp.repeat(images[..., :1], channels, axis=-1)
        return images + params["value"], model_state

    return Network(lambda key, images: ({"value": jnp.float32(value)}, {}), apply)


def linear_critic(start):
    """`[w_0, w_1, ...] * rows of pixels`, `[B, W]`."""

    def apply(params, model_state, images, *, train, key=None):
        return jnp.einsum("bhwc,h->bw", images, params["rows"]), model_state

    return Network(lambda key, images: ({"rows": jnp.full(images.shape[1], start)}, {}), apply)


STUBS = {"a_to_b": adding(1.0), "b_to_a": adding(-2.0)}


def test_each_identity_term_meets_the_domain_its_generator_leads_to():
    """LynnHo/CycleGAN-Tensorflow-2#19: the identity term was fed images of the other domain."""
    gan = cyclegan(STUBS, linear_critic(0.1), cycle_weight=10.0, identity_weight=0.5)
    batch = {"a": jax.random.normal(jax.random.key(1), (2, 4, 4, 3)), "b": jnp.ones((2, 4, 4, 3))}
    _, metrics = gan.g_step(gan.init(jax.random.key(0), batch), batch)
    weighted = {name: 10 * float(metrics[name]) for name in ("cycle_a", "cycle_b")}
    weighted |= {name: 10 * 0.5 * float(metrics[name]) for name in ("identity_a", "identity_b")}
    expected = {"cycle_a": 10.0, "cycle_b": 10.0, "identity_a": 10.0, "identity_b": 5.0}
    assert weighted == pytest.approx(expected, rel=1e-5)
    assert float(metrics["cycle_loss"]) == pytest.approx(20.0, rel=1e-5)
    assert float(metrics["identity_loss"]) == pytest.approx(15.0, rel=1e-5)


def test_different_channels_are_refused_with_the_identity_term_and_train_without():
    """junyanz/pytorch-CycleGAN-and-pix2pix#1093: domains of other channels crashed deep in a convolution."""
    generators = {"a_to_b": adding(1.0, channels=3), "b_to_a": adding(-2.0, channels=1)}
    batch = pair((4, 4), (1, 3))
    with pytest.raises(ValueError, match="a has 1 channels and b has 3: give identity_weight=0"):
        cyclegan(generators, linear_critic(0.1)).init(jax.random.key(0), batch)
    metrics, outputs = shapes_of_a_step(cyclegan(generators, linear_critic(0.1), identity_weight=0.0), batch)
    assert "identity_a" not in metrics and "a_identity" not in outputs
    assert (outputs["a_to_b"].shape, outputs["b_to_a"].shape) == ((1, 4, 4, 3), (1, 4, 4, 1))

    real = {"a_to_b": residual_generator(channels=3, width=2, blocks=1), "b_to_a": unet_generator(channels=1, levels=2)}
    gan = cyclegan(real, patch_discriminator(width=2, layers=1), identity_weight=0.0)
    assert shapes_of_a_step(gan, pair((8, 8), (1, 3)))[1]["a_to_b_to_a"].shape == (1, 8, 8, 1)


BATCH = {name: jax.random.normal(jax.random.key(seed), (4, 4, 4, 1)) for name, seed in (("a", 1), ("b", 2))}


def penalised(weight):
    return {"penalty": lambda critic, real, fake, key: weight * gradient_penalty(critic, real, fake, key)}


def test_a_clipped_critic_keeps_its_limit():
    d_tx = optax.chain(optim.rmsprop(5e-3), optim.clip_weights(0.01))
    gan = cyclegan(STUBS, linear_critic(0.5), "wasserstein", d_tx=d_tx)
    state = gan.init(jax.random.key(0), BATCH)
    for _ in range(2):
        state, metrics = gan.d_step(state, BATCH)
        assert max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(state.discriminator.params)) <= 0.010001
    assert {"wasserstein_estimate_a", "wasserstein_estimate_b"} <= metrics.keys()


def test_a_penalty_is_logged_and_moves_both_critics():
    """junyanz/pytorch-CycleGAN-and-pix2pix#1163: wgan-gp was offered, but trained without its penalty."""

    def moved(weight):
        gan = cyclegan(STUBS, linear_critic(0.5), "wasserstein", **penalised(weight))
        state, metrics = gan.d_step(gan.init(jax.random.key(0), BATCH), BATCH)
        assert (min(float(metrics["penalty_a"]), float(metrics["penalty_b"])) > 0) == (weight > 0)
        return state.discriminator.params

    without, weighted = moved(0.0), moved(10.0)
    for domain in "ab":
        assert float(jnp.abs(without[domain]["rows"] - weighted[domain]["rows"]).max()) > 1e-3


def test_what_a_penalty_cannot_go_with_is_refused():
    mixed = patch_discriminator(width=2, layers=1, norm="batch")
    with pytest.raises(ValueError, match="mixes its batch"):
        cyclegan(STUBS, mixed, "wasserstein", **penalised(10.0))
    for norm in ("instance", "layer", "none"):
        cyclegan(STUBS, patch_discriminator(width=2, layers=1, norm=norm), "wasserstein", **penalised(10.0))
