"""The grouped convolution against XLA's, the resampling against its filter, and the networks as they start."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from jaxgan.networks.r3gan import (
    Block,
    GroupedConv,
    bilinear_downsample,
    bilinear_upsample,
    r3gan_discriminator,
    r3gan_generator,
)
from jaxgan.penalties import r1_penalty, r2_penalty

LATENTS = jax.random.normal(jax.random.key(0), (4, 6))


def close(ours, theirs, tolerance=1e-4):
    jax.tree.map(partial(np.testing.assert_allclose, rtol=tolerance, atol=tolerance), ours, theirs)


def test_the_grouped_layer_is_drop_in_for_flax():
    x = jax.random.normal(jax.random.key(1), (2, 5, 6, 8))
    ours, theirs = GroupedConv(12, 3, groups=4), nn.Conv(12, (3, 3), feature_group_count=4)
    variables = theirs.init(jax.random.key(2), x)
    jax.tree.map(np.testing.assert_array_equal, ours.init(jax.random.key(2), x), variables)
    close(ours.apply(variables, x), theirs.apply(variables, x))


def spread(lines):
    """A line doubled by the filter 1 3 3 1, over 4: new pixels between zeros, then the filter."""
    apart = np.zeros((2 * len(lines), *lines.shape[1:]))
    apart[::2] = lines
    padded = np.pad(apart, ((2, 1), *[(0, 0)] * (lines.ndim - 1)))  # the filter's middle lies right of a pixel
    return sum(weight * padded[start : start + len(apart)] for start, weight in enumerate((1, 3, 3, 1))) / 4


def test_bilinear_upsampling_is_the_filter_1_3_3_1():
    maps = np.random.default_rng(0).normal(size=(2, 4, 6, 3)).astype(np.float32)
    rows = spread(maps.transpose(1, 0, 2, 3)).transpose(1, 0, 2, 3)
    expected = spread(rows.transpose(2, 0, 1, 3)).transpose(1, 2, 0, 3)
    close(bilinear_upsample(maps), expected)
    # Away from the edges it is what image libraries call bilinear.
    inside = (slice(None), slice(1, -1), slice(1, -1))
    close(bilinear_upsample(maps)[inside], jax.image.resize(maps, (2, 8, 12, 3), "bilinear")[inside])


def test_bilinear_downsampling_is_its_transpose_and_keeps_a_constant():
    maps, larger = (jax.random.normal(jax.random.key(1), (2, *size, 3)) for size in ((4, 6), (8, 12)))
    assert bilinear_downsample(larger).shape == maps.shape
    np.testing.assert_allclose(
        jnp.sum(bilinear_upsample(maps) * larger), 4 * jnp.sum(maps * bilinear_downsample(larger)), rtol=1e-4
    )
    close(bilinear_downsample(jnp.ones((1, 8, 8, 1)))[:, 1:-1, 1:-1], jnp.ones((1, 2, 2, 1)))


def test_a_block_by_the_formula():
    maps = jax.random.normal(jax.random.key(1), (2, 4, 4, 6))
    block = Block(expansion=2, group_size=4, gain=0.5)
    params = block.init(jax.random.key(2), maps)["params"]
    np.testing.assert_array_equal(block.apply({"params": params}, maps), maps)  # it starts as the identity
    draw = lambda leaf: 0.3 * jax.random.normal(jax.random.key(leaf.size), leaf.shape)
    params = jax.tree.map(draw, params)
    assert params["layer_1"]["kernel"].shape == (3, 3, 4, 12) and "bias" not in params["layer_2"]

    leaky = lambda hidden: np.where(hidden > 0, hidden, 0.2 * hidden)
    hidden = leaky(
        np.asarray(maps) @ np.asarray(params["layer_0"]["kernel"])[0, 0] + np.asarray(params["layer_0"]["bias"])
    )
    grouped = nn.Conv(12, (3, 3), feature_group_count=3)
    hidden = leaky(grouped.apply({"params": params["layer_1"]}, hidden))
    expected = maps + hidden @ np.asarray(params["layer_2"]["kernel"])[0, 0]
    close(block.apply({"params": params}, maps), expected)


def test_the_scale_of_the_start():
    """Normal with standard deviation gain / sqrt(fan in), in blocks times sqrt(2 / 1.04) L^(-1/4) with L blocks."""
    params, _ = jax.jit(r3gan_generator(16, channels=3, width=32, blocks=3).init)(jax.random.key(1), LATENTS)
    inner = np.sqrt(2 / 1.04) * 9**-0.25
    for kernel, expected in (
        (params["block_0_0"]["layer_0"]["kernel"], inner / np.sqrt(32)),
        (params["block_2_2"]["layer_1"]["kernel"], inner / np.sqrt(9 * 16)),
        (params["base"]["kernel"], 1 / np.sqrt(6)),
        (params["basis"], 1.0),
    ):
        assert float(kernel.std()) == pytest.approx(expected, rel=0.15)
        assert abs(float(kernel.mean())) < 0.15 * expected
    assert float(jnp.abs(params["block_1_0"]["layer_2"]["kernel"]).max()) == 0.0


def test_a_generator_starts_as_its_basis_doubled_and_mixed():
    network = r3gan_generator(8, channels=2, width=(4, 2), group_size=4)
    params, state = network.init(jax.random.key(1), LATENTS)
    assert state == {} and not network.mixes_batch
    maps = params["basis"][None] * (LATENTS @ params["base"]["kernel"])[:, None, None]
    maps = bilinear_upsample(maps @ params["change_1"]["kernel"][0, 0])
    close(network.apply(params, state, LATENTS, train=True)[0], maps @ params["image"]["kernel"][0, 0])


def test_a_discriminator_starts_as_a_linear_function():
    network = r3gan_discriminator(8, width=(4, 2), group_size=4)
    images = jax.random.normal(jax.random.key(3), (3, 8, 8, 2))
    params, state = network.init(jax.random.key(1), images)
    assert state == {} and not network.mixes_batch
    maps = bilinear_downsample(images @ params["image"]["kernel"][0, 0]) @ params["change_1"]["kernel"][0, 0]
    expected = (maps * params["basis"][None]).sum((1, 2)) @ params["score"]["kernel"][:, 0]
    close(network.apply(params, state, images, train=True)[0], expected)


@pytest.mark.parametrize(("size", "width"), [(8, 8), (32, (32, 16, 16, 8)), (64, 8)])
def test_shapes(size, width):
    generator = r3gan_generator(size, channels=3, width=width, group_size=8)
    discriminator = r3gan_discriminator(size, width=width, group_size=8, blocks=2)
    g_params, state = jax.eval_shape(generator.init, jax.random.key(1), LATENTS)
    images, _ = jax.eval_shape(partial(generator.apply, train=True), g_params, state, LATENTS)
    assert images.shape == (4, size, size, 3)
    d_params, _ = jax.eval_shape(discriminator.init, jax.random.key(2), images)
    scores, _ = jax.eval_shape(partial(discriminator.apply, train=True), d_params, state, images)
    assert scores.shape == (4,)
    stages = size.bit_length() - 2
    assert len([name for name in g_params if name.startswith("block")]) == stages
    assert len([name for name in d_params if name.startswith("block")]) == 2 * stages


def test_both_penalties_reach_every_kernel():
    network = r3gan_discriminator(8, width=4, group_size=4)
    real, fake = (jax.random.normal(jax.random.key(seed), (2, 8, 8, 1)) for seed in (6, 7))
    params, state = network.init(jax.random.key(1), real)
    params = jax.tree.map(lambda leaf: leaf + 0.1, params)  # initially the last layers are 0: no gradient

    def penalty(params):
        critic = lambda images: network.apply(params, state, images, train=True)[0]
        return r1_penalty(critic, real) + r2_penalty(critic, real, fake)

    value, gradient = jax.jit(jax.value_and_grad(penalty))(params)
    assert value > 0 and jnp.isfinite(value)
    for path, leaf in jax.tree.leaves_with_path(gradient):
        assert jnp.isfinite(leaf).all()
        assert path[-1].key == "bias" or jnp.any(leaf != 0), jax.tree_util.keystr(path)


def test_bfloat16_computes_in_it_and_keeps_float32_parameters():
    for network, inputs in (
        (r3gan_generator(8, channels=1, width=8, dtype=jnp.bfloat16), LATENTS),
        (r3gan_discriminator(8, width=8, dtype=jnp.bfloat16), jnp.zeros((2, 8, 8, 1))),
    ):
        params, state = jax.eval_shape(network.init, jax.random.key(1), inputs)
        assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype(jnp.float32)}
        output, _ = jax.eval_shape(partial(network.apply, train=True), params, state, inputs)
        assert output.dtype == jnp.bfloat16


def test_numbers_that_do_not_fit():
    with pytest.raises(ValueError, match=r"8, 16, 32, ... pixels \(a power of 2\), not 48"):
        r3gan_generator(48, channels=1)
    with pytest.raises(ValueError, match="not 4"):
        r3gan_discriminator(4)
    with pytest.raises(ValueError, match=r"32 pixels need one width, or 4 \(at 4, 8, ... 32 pixels\), not 3"):
        r3gan_generator(32, channels=1, width=(64, 64, 64))
    with pytest.raises(ValueError, match="width 12 times expansion 2 is not a multiple of group_size=16"):
        r3gan_discriminator(8, width=(64, 12))
    with pytest.raises(ValueError, match="blocks=0"):
        r3gan_discriminator(8, blocks=0)
    with pytest.raises(ValueError, match="8 x 8, not"):
        r3gan_discriminator(8, width=8).init(jax.random.key(0), jnp.zeros((1, 16, 16, 1)))
