"""Training steps in parts of a batch, or with activations computed again, against those on the whole batch."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import small
from flax import linen as nn

from experiments import gan as gan_experiment
from jaxgan import from_linen, make_cyclegan, make_gan, make_text_gan
from jaxgan.algorithms.microbatches import in_microbatches
from jaxgan.augment import named_augmentation
from jaxgan.losses import LOSSES
from jaxgan.networks.dcgan import dcgan_discriminator, dcgan_generator
from jaxgan.networks.layers import SpectralDense
from jaxgan.networks.mlp import mlp_generator
from jaxgan.penalties import gradient_penalty, r1_penalty
from jaxgan.types import TextDiscriminator

IMAGES = {"image": jax.random.uniform(jax.random.key(1), (8, 8, 8, 1), minval=-1.0)}
OPTIMIZERS = {"g_tx": optax.sgd(0.1), "d_tx": optax.sgd(0.1)}  # no division by small gradients, as Adam has


class Drawn(nn.Module):
    @nn.compact
    def __call__(self, latents, *texts, train):
        hidden = nn.Dense(8 * 8)(nn.relu(nn.Dense(8)(jnp.concatenate([latents, *texts], 1))))
        return jnp.tanh(hidden.reshape(-1, 8, 8, 1))


class Translated(nn.Module):
    @nn.compact
    def __call__(self, images, *, train):
        return jnp.tanh(nn.Dense(1)(nn.relu(nn.Dense(4)(images))))


class Scored(nn.Module):
    @nn.compact
    def __call__(self, images, *texts, train):
        hidden = jnp.concatenate([images.reshape(len(images), -1), *texts], 1)
        return nn.Dense(1)(nn.leaky_relu(nn.Dense(8)(hidden)))[:, 0]


def assert_equal_steps(make, batch, *, d_steps=1):
    """One step of the GANs for 1 and for 4 parts, from equal states: metrics, weights and model state."""
    whole, parts = make(1), make(4)
    state = whole.init(jax.random.key(0), batch)
    expected, metrics = whole.train_step(state, (batch,) * d_steps)
    found, others = parts.train_step(state, (batch,) * d_steps)
    moved = [jax.tree.leaves((one.generator.params, one.discriminator.params)) for one in (state, expected)]
    assert any(not np.array_equal(a, b) for a, b in zip(*moved, strict=True))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6), others, metrics)
    for part in ("generator", "discriminator"):
        for a, b in zip(*(jax.tree.leaves(getattr(one, part)) for one in (found, expected)), strict=True):
            np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6)
    return parts, found


@pytest.mark.parametrize(
    ("loss", "options"),
    [
        ("wasserstein", {"penalty": gradient_penalty, "penalty_weight": 10.0, "d_steps": 2}),
        ("relativistic_average", {"penalty": r1_penalty}),
        ("non_saturating", {"augment": named_augmentation("color,translation"), "g_batch_multiple": 2}),
    ],
)
def test_a_gan(loss, options):
    make = lambda parts: make_gan(
        from_linen(Drawn()),
        from_linen(Scored()),
        loss=LOSSES[loss],
        latent_dim=3,
        microbatches=parts,
        **OPTIMIZERS,
        **options,
    )
    gan, state = assert_equal_steps(make, IMAGES, d_steps=options.get("d_steps", 1))
    assert gan.sample(state, {"latents": jnp.zeros((5, 3))})["samples"].shape == (5, 8, 8, 1)  # of any number


def test_the_power_step_of_a_spectral_norm():
    class Critic(nn.Module):
        @nn.compact
        def __call__(self, inputs, *, train):
            return SpectralDense(1)(nn.relu(SpectralDense(8)(inputs)))[:, 0]

    make = lambda parts: small.small_gan("hinge", discriminator=from_linen(Critic()), microbatches=parts, **OPTIMIZERS)
    assert_equal_steps(make, small.POINTS)


@pytest.mark.slow
def test_a_text_gan():
    class Flat(nn.Module):
        @nn.compact
        def __call__(self, images, *, train):
            return nn.Dense(8)(images.reshape(len(images), -1))

    batch = {**IMAGES, "text": jax.random.normal(jax.random.key(2), (8, 3))}
    networks = from_linen(Drawn()), TextDiscriminator(from_linen(Flat()), from_linen(Scored()))
    make = lambda parts: make_text_gan(
        *networks, loss=LOSSES["non_saturating"], latent_dim=3, microbatches=parts, encoder=None, **OPTIMIZERS
    )
    assert_equal_steps(make, batch)


@pytest.mark.slow
def test_a_cyclegan():
    generator, discriminator = lambda: from_linen(Translated()), lambda: from_linen(Scored())
    make = lambda parts: make_cyclegan(
        {"a_to_b": generator(), "b_to_a": generator()},
        {"a": discriminator(), "b": discriminator()},
        loss=LOSSES["least_squares"],
        microbatches=parts,
        **OPTIMIZERS,
    )
    assert_equal_steps(make, {"a": IMAGES["image"], "b": -IMAGES["image"]})


def test_a_step_needs_less_memory():
    def temporary(parts):
        networks = (
            dcgan_generator(32, channels=1, width=8, norm="layer"),
            dcgan_discriminator(32, width=8, norm="layer"),
        )
        gan = make_gan(*networks, loss=LOSSES["hinge"], latent_dim=3, microbatches=parts, **OPTIMIZERS)
        batch = {"image": jax.ShapeDtypeStruct((64, 32, 32, 1), jnp.float32)}
        state = jax.eval_shape(gan.init, jax.random.key(0), batch)
        return gan.train_step.lower(state, (batch,)).compile().memory_analysis().temp_size_in_bytes

    assert temporary(8) < 0.5 * temporary(1)


def test_remat_keeps_no_activations_between_the_passes():
    """What a backward pass is given: weights, inputs and the power vectors, and no activations."""
    network = dcgan_discriminator(32, width=8, norm="batch")
    images = jnp.zeros((64, 32, 32, 1))
    params, state = network.init(jax.random.key(0), images)

    def kept(network):
        apply = lambda params: network.apply(params, state, images, train=True, key=jax.random.key(1))[0]
        return sum(array.nbytes for array in jax.tree.leaves(jax.vjp(apply, params)[1]))

    given = sum(array.nbytes for array in jax.tree.leaves((params, state, images)))
    key = 64  # bytes, more than a random key takes
    assert kept(in_microbatches(network, 1, remat=True)) <= given + key < 0.5 * kept(network)


def test_a_step_with_remat():
    """Dropout, power vectors and batch statistics are those of the first pass, under a penalty, too."""

    class Generator(nn.Module):
        @nn.compact
        def __call__(self, latents, *, train):
            return nn.Dense(2)(nn.BatchNorm(use_running_average=not train)(nn.Dense(8)(latents)))

    class Critic(nn.Module):
        @nn.compact
        def __call__(self, inputs, *, train):
            hidden = nn.Dropout(0.5, deterministic=not train)(nn.relu(SpectralDense(8)(inputs)))
            return SpectralDense(1)(hidden)[:, 0]

    make = lambda parts: small.small_gan(
        "hinge",
        from_linen(Generator()),
        from_linen(Critic()),
        penalty=r1_penalty,
        remat=parts > 1,
        **OPTIMIZERS,
    )
    assert_equal_steps(make, small.POINTS)


def test_what_cannot_be_split_is_refused(tmp_path):
    with pytest.raises(ValueError, match="microbatches=2: batch norm mixes its batch"):
        in_microbatches(dcgan_generator(32, channels=1), 2)
    with pytest.raises(ValueError, match="microbatches=0: at least 1"):
        in_microbatches(mlp_generator(features=2), 0)
    gan = small.small_gan(microbatches=3)
    with pytest.raises(ValueError, match="microbatches=3 does not divide a batch of 8"):
        gan.init(jax.random.key(0), small.POINTS)
    with pytest.raises(ValueError, match="microbatches=3 does not divide batch_size=32"):
        gan_experiment.Config(microbatches=3, workdir=str(tmp_path / "run"))
    network = mlp_generator(features=2)
    assert in_microbatches(network, 1) is network
