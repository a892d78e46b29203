from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxgan.networks.dcgan import DCGANDiscriminator, DCGANGenerator, dcgan_discriminator, dcgan_generator

LATENTS = jax.random.normal(jax.random.key(0), (2, 5))


@pytest.mark.parametrize(("size", "channels"), [(32, 1), (64, 3), (128, 2)])
def test_shapes_at_every_size(size, channels):
    generator, discriminator = dcgan_generator(size, channels=channels, width=2), dcgan_discriminator(size, width=2)

    def scores():
        params, state = generator.init(jax.random.key(1), LATENTS)
        images, _ = generator.apply(params, state, LATENTS, train=True)
        d_params, d_state = discriminator.init(jax.random.key(2), images)
        return images, discriminator.apply(d_params, d_state, images, train=True)[0]

    images, scores = jax.eval_shape(scores)
    assert images.shape == (2, size, size, channels)
    assert scores.shape == (2,)


def test_equal_to_the_same_networks_of_flax_layers():
    """The same parameters, drawn the same, and the same results."""
    flax_transpose = partial(nn.ConvTranspose, transpose_kernel=True)
    ours, theirs = DCGANGenerator(32, 3, 4), DCGANGenerator(32, 3, 4, conv_transpose=flax_transpose)
    variables = ours.init(jax.random.key(1), LATENTS, train=False)
    jax.tree.map(np.testing.assert_array_equal, variables, theirs.init(jax.random.key(1), LATENTS, train=False))
    images, _ = ours.apply(variables, LATENTS, train=True, mutable=["batch_stats"])
    expected, _ = theirs.apply(variables, LATENTS, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(images, expected, rtol=1e-3, atol=1e-5)

    ours, theirs = DCGANDiscriminator(32, 4, "layer"), DCGANDiscriminator(32, 4, "layer", conv=nn.Conv)
    variables = ours.init(jax.random.key(2), images, train=False)
    expected = theirs.apply(variables, images, train=True)
    np.testing.assert_allclose(ours.apply(variables, images, train=True), expected, rtol=1e-3, atol=1e-5)


def test_initialisers_and_what_has_a_norm():
    params, state = jax.jit(dcgan_generator(64, channels=3, width=16).init)(jax.random.key(1), LATENTS)
    kernel = params["layer_1"]["kernel"]
    assert float(kernel.std()) == pytest.approx(0.02, rel=0.05)
    assert abs(float(kernel.mean())) < 0.001
    assert "bias" not in params["layer_0"] and "bias" in params["layer_4"]
    assert state["batch_stats"].keys() == {"norm_0", "norm_1", "norm_2", "norm_3"}
    init = dcgan_discriminator(64, width=4).init
    params, state = jax.eval_shape(init, jax.random.key(1), jnp.zeros((1, 64, 64, 3)))
    assert state["batch_stats"].keys() == {"norm_1", "norm_2", "norm_3"}
    assert params["layer_0"]["kernel"].shape == (4, 4, 3, 4)


def test_statistics_change_only_in_training_and_say_so():
    generator = dcgan_generator(32, channels=1, width=2)
    params, state = generator.init(jax.random.key(1), LATENTS)
    _, after = generator.apply(params, state, LATENTS, train=True)
    _, same = generator.apply(params, state, LATENTS, train=False)
    assert any(not jnp.array_equal(a, b) for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True))
    jax.tree.map(np.testing.assert_array_equal, same, state)
    assert generator.mixes_batch
    assert dcgan_discriminator(32).mixes_batch
    assert not dcgan_discriminator(32, norm="layer").mixes_batch
    assert not dcgan_discriminator(32, norm="none").mixes_batch


def test_bfloat16_computes_in_it_and_keeps_float32_parameters():
    network = dcgan_discriminator(32, width=2, dtype=jnp.bfloat16)
    params, state = network.init(jax.random.key(1), jnp.zeros((2, 32, 32, 1)))
    assert {leaf.dtype for leaf in jax.tree.leaves((params, state))} == {jnp.dtype(jnp.float32)}
    assert network.apply(params, state, jnp.zeros((2, 32, 32, 1)), train=True)[0].dtype == jnp.bfloat16


def test_unknown_sizes_and_norms_are_refused():
    with pytest.raises(ValueError, match="48 pixels: there are 32, 64, 128"):
        dcgan_generator(48, channels=1)
    with pytest.raises(ValueError, match="'group': there are batch, instance, layer, none"):
        dcgan_discriminator(32, norm="group")
    network = dcgan_discriminator(64, width=2)
    with pytest.raises(ValueError, match="64 x 64, not"):
        network.init(jax.random.key(0), jnp.zeros((1, 32, 32, 1)))
