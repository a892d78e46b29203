"""DF-GAN's networks and its gradient penalty, against recorded outputs of PyTorch, and as parts of a text GAN."""

import zlib

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxgan import make_text_gan
from jaxgan.losses import LOSSES
from jaxgan.networks.df_gan import FusionBlock, df_gan_discriminator, df_gan_generator
from jaxgan.networks.freezing import freeze_stages
from jaxgan.penalties import matching_aware_gradient_penalty
from jaxgan.types import AugmentedCritic

# Recorded with torch 2.13.0 (CPU) on 2026-11-30 by record_df_gan_reference.py.
RECORDED = {
    "generator": [
        -0.032114, 0.285534, 0.0585554, 0.591083, 0.641242, 0.241608, -0.308575, -0.176928, 0.0561864, 0.00317926,
        0.232306, 0.516675, 0.580254, -0.0400468,
    ],
    "features": [
        0.0374945, 0.2226, 0.596362, 0.53072, 0.582894, 0.541407, 0.526172, 0.489856, 0.586467, 0.54839, 0.547966,
        0.535943, 0.554903, 0.548771,
    ],
    "scores": [
        -3.19299, 3.19299, -2.54022, -4.23551, -2.80325,
    ],
    "penalty's gradient": [
        0.00169041, 0.0170121, 0.00208419, 0.0157733, 0.038877, -0.0115577, 0.0212861, 1.91399e-05, 0.0143264,
        -0.000679316, -0.0103295, -0.00754253, 0.00977611, 0.044708,
    ],
}  # fmt: skip
RECORDED_PENALTY = 65.9647

SIZE, WIDTH, LATENT, TEXT = 32, 4, 5, 6


def inputs(seed, *shape):
    return np.random.default_rng(seed).uniform(-1, 1, shape).astype(np.float32)


LATENTS, TEXTS, IMAGES = inputs(0, 3, LATENT), inputs(1, 3, TEXT), inputs(2, 3, SIZE, SIZE, 3)
GENERATOR, DISCRIMINATOR = df_gan_generator(SIZE, channels=3, width=WIDTH), df_gan_discriminator(SIZE, width=WIDTH)


def weights(path, leaf):
    """The weight of this name, drawn as in the recording."""
    name = "/".join(part.key for part in path)
    return (0.2 * np.random.default_rng(zlib.crc32(name.encode())).standard_normal(leaf.shape)).astype(np.float32)


def drawn(network, *given):
    shapes = jax.eval_shape(lambda: network.init(jax.random.key(0), *given)[0])
    return jax.tree.map_with_path(weights, shapes)


def numbers(output):
    output = np.asarray(output, np.float64)
    return [output.mean(), np.abs(output).mean(), *output.ravel()[:: max(output.size // 12, 1)][:12]]


def test_the_generator_equals_the_same_network_in_pytorch():
    params = drawn(GENERATOR, LATENTS, TEXTS)
    images, _ = jax.jit(lambda params: GENERATOR.apply(params, {}, LATENTS, TEXTS, train=True))(params)
    np.testing.assert_allclose(numbers(images), RECORDED["generator"], atol=1e-4)


def test_scores_and_penalty_equal_those_in_pytorch():
    body = drawn(DISCRIMINATOR.features, IMAGES)
    head = drawn(DISCRIMINATOR.head, jnp.zeros((3, 4, 4, 8 * WIDTH)), TEXTS)

    def score(body, images, texts):
        maps, _ = DISCRIMINATOR.features.apply(body, {}, images, train=True)
        return DISCRIMINATOR.head.apply(head, {}, maps, texts, train=True)[0], maps

    def penalty(body):
        return matching_aware_gradient_penalty(lambda pair: score(body, *pair)[0], (IMAGES, TEXTS))

    both = jax.jit(lambda body: (*score(body, IMAGES, TEXTS), *jax.value_and_grad(penalty)(body)))
    scores, maps, value, gradient = both(body)
    np.testing.assert_allclose(numbers(maps), RECORDED["features"], atol=1e-4)
    np.testing.assert_allclose(numbers(scores), RECORDED["scores"], atol=1e-4)
    assert float(value) == pytest.approx(RECORDED_PENALTY, rel=1e-4)
    found = numbers(gradient["block_0"]["layer_0"]["kernel"])
    np.testing.assert_allclose(found, RECORDED["penalty's gradient"], rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("size", "channels"), [(32, 8), (64, 8), (256, 8)])
def test_sizes_and_widths(size, channels):
    """Three blocks at 32 pixels, six at 256; the first and the last have 8 and 1 times the width."""
    generator, discriminator = df_gan_generator(size, channels=1, width=2), df_gan_discriminator(size, width=2)
    image = jnp.zeros((2, size, size, 1))

    def shapes():
        params, _ = generator.init(jax.random.key(0), LATENTS[:2], TEXTS[:2])
        drawn, _ = generator.apply(params, {}, LATENTS[:2], TEXTS[:2], train=False)
        body, _ = discriminator.features.init(jax.random.key(0), image)
        return params, drawn, body, discriminator.features.apply(body, {}, image, train=False)[0]

    params, drawn, body, maps = jax.eval_shape(shapes)
    assert drawn.shape == image.shape and maps.shape == (2, 4, 4, 2 * channels)
    blocks = int(np.log2(size)) - 2
    assert len([name for name in params if name.startswith("block")]) == blocks == len(discriminator.features.stages)
    assert sorted(sum(discriminator.features.stages, ())) == sorted(body)
    with pytest.raises(ValueError, match=r"DF-GAN has no networks for 48 pixels: there are 32, 64, 128, 256"):
        df_gan_generator(48, channels=1)


def test_a_new_block_ignores_its_text():
    """Scales start at 1 and offsets at 0; other kernels are uniform up to 1 / sqrt(fan in)."""
    block, maps = FusionBlock(), IMAGES[:, :4, :4]
    params = block.init(jax.random.key(0), maps, TEXTS)
    np.testing.assert_allclose(block.apply(params, maps, TEXTS), np.where(maps > 0, maps, 0.04 * maps), rtol=1e-6)
    kernel = params["params"]["affine_0"]["scale_0"]["kernel"]
    assert 0.8 / np.sqrt(TEXT) < np.abs(kernel).max() <= 1 / np.sqrt(TEXT)


def test_what_the_penalty_refuses():
    critic = lambda pair: pair[0][:, 0] + pair[1][:, 0]
    for real, power, message in (
        (TEXTS, 6.0, "must be a pair"),
        ((TEXTS, TEXTS, TEXTS), 6.0, "must be a pair"),
        ((TEXTS, TEXTS), 1.0, "power=1.0"),
        ((TEXTS, TEXTS), np.nan, "power=nan"),
    ):
        with pytest.raises(ValueError, match=message):
            matching_aware_gradient_penalty(critic, real, power=power)
    with pytest.raises(ValueError, match="needs the texts of make_text_gan"):
        matching_aware_gradient_penalty(AugmentedCritic(critic, critic), TEXTS)


@pytest.mark.slow
def test_a_text_gan_of_these_parts():
    """The penalty reaches image and text, and frozen stages stay."""
    optimizers = {"g_tx": optax.sgd(0.01), "d_tx": optax.sgd(0.01)}
    gan = make_text_gan(
        GENERATOR,
        DISCRIMINATOR._replace(features=freeze_stages(DISCRIMINATOR.features, 1)),
        encoder=None,
        loss=LOSSES["hinge"],
        latent_dim=LATENT,
        penalty=matching_aware_gradient_penalty,
        penalty_weight=2.0,
        **optimizers,
    )
    batch = {"image": IMAGES, "text": TEXTS}
    state = gan.init(jax.random.key(0), batch)
    moved, metrics = gan.d_step(state, batch)
    d, before = moved.discriminator.params, state.discriminator.params

    def critic(pair):
        maps, _ = DISCRIMINATOR.features.apply(before["features"], {}, pair[0], train=True)
        return DISCRIMINATOR.head.apply(before["head"], {}, maps, pair[1], train=True)[0]

    expected = jax.jit(lambda: matching_aware_gradient_penalty(critic, (IMAGES, TEXTS)))()
    assert float(metrics["penalty"]) == pytest.approx(float(expected), rel=1e-4)
    np.testing.assert_array_equal(d["features"]["layer_0"]["kernel"], before["features"]["layer_0"]["kernel"])
    assert not np.array_equal(d["head"]["joint"]["kernel"], before["head"]["joint"]["kernel"])
