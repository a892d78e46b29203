"""Resampling against NumPy, and together with a convolution against the same one after the other."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from jaxgan.networks.resampling import average_pool, pooled_conv, upsample, upsampled_conv

MAPS = jax.random.normal(jax.random.key(1), (2, 4, 6, 3))
KERNEL = jax.random.normal(jax.random.key(2), (3, 3, 3, 5)) / 5


def repeated(maps):
    return np.asarray(maps).repeat(2, axis=1).repeat(2, axis=2)


def pooled(maps):
    maps = np.asarray(maps)
    return (maps[:, ::2, ::2] + maps[:, 1::2, ::2] + maps[:, ::2, 1::2] + maps[:, 1::2, 1::2]) / 4


def plain_conv(maps, kernel):
    return lax.conv_general_dilated(maps, kernel, (1, 1), "SAME", dimension_numbers=("NHWC", "HWIO", "NHWC"))


def test_resampling_and_its_gradients():
    np.testing.assert_array_equal(upsample(MAPS), repeated(MAPS))
    np.testing.assert_allclose(average_pool(MAPS), pooled(MAPS), rtol=1e-5, atol=1e-6)
    # Each is the other's transpose, up to the 4 pixels that a mean is over.
    weights = jax.random.normal(jax.random.key(3), (2, 8, 12, 3))
    gradient = jax.grad(lambda maps: jnp.sum(weights * upsample(maps)))(MAPS)
    np.testing.assert_allclose(gradient, 4 * pooled(weights), rtol=1e-5, atol=1e-5)
    gradient = jax.grad(lambda maps: jnp.sum(MAPS * average_pool(maps)))(weights)
    np.testing.assert_allclose(gradient, repeated(MAPS) / 4, rtol=1e-5, atol=1e-6)


def of_repeated(maps, kernel):
    return plain_conv(jnp.repeat(jnp.repeat(maps, 2, axis=1), 2, axis=2), kernel)


def to_pooled(maps, kernel):
    sums = lax.reduce_window(plain_conv(maps, kernel), 0.0, lax.add, (1, 2, 2, 1), (1, 2, 2, 1), "VALID")
    return sums / 4


@pytest.mark.parametrize(("function", "reference"), [(upsampled_conv, of_repeated), (pooled_conv, to_pooled)])
def test_with_a_convolution_as_one_after_the_other(function, reference):
    """Value, gradient, and the gradient of a gradient penalty, edges included."""
    close = lambda found, expected: jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), found, expected
    )
    close(function(MAPS, KERNEL), reference(MAPS, KERNEL))

    def derivatives(function):
        loss = lambda maps, kernel: jnp.sum(jnp.sin(function(maps, kernel)))
        slope = lambda maps, kernel: jnp.sum(jax.grad(loss)(maps, kernel) ** 2)
        return [jax.grad(one, argnums=(0, 1))(MAPS, KERNEL) for one in (loss, slope)]

    close(jax.jit(lambda: derivatives(function))(), jax.jit(lambda: derivatives(reference))())


@pytest.mark.parametrize("function", [upsampled_conv, pooled_conv])
def test_four_products_a_pixel_on_a_cpu_and_the_plain_order_elsewhere(function):
    lowered = {
        platform: jax.jit(function).trace(MAPS, KERNEL).lower(lowering_platforms=(platform,)).as_text()
        for platform in ("cpu", "cuda")
    }
    kernels = {platform: text.count("tensor<3x3x3x5xf32>) -> tensor<") for platform, text in lowered.items()}
    assert kernels["cpu"] == 0 < kernels["cuda"]


def test_what_does_not_fit_is_named():
    for function in (upsampled_conv, pooled_conv):
        with pytest.raises(ValueError, match=r"a kernel \[3, 3, I, O\] expected, not \(5, 5, 3, 5\)"):
            function(MAPS, jnp.ones((5, 5, 3, 5)))
    with pytest.raises(ValueError, match="even height and width expected"):
        pooled_conv(MAPS[:, 1:], KERNEL)
