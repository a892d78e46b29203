import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.networks.layers import Norm

IMAGES = 3.0 + 2.0 * jax.random.normal(jax.random.key(0), (4, 5, 6, 3))


def test_batch_norm_by_the_formula_and_its_running_statistics():
    variables = Norm("batch").init(jax.random.key(1), IMAGES, train=False)
    output, updated = Norm("batch").apply(variables, IMAGES, train=True, mutable=["batch_stats"])
    x = np.asarray(IMAGES, np.float64)
    scale = np.asarray(variables["params"]["BatchNorm_0"]["scale"])
    expected = (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5) * scale
    np.testing.assert_allclose(output, expected, rtol=1e-4, atol=1e-4)
    statistics = updated["batch_stats"]["BatchNorm_0"]
    np.testing.assert_allclose(statistics["mean"], 0.1 * x.mean((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(statistics["var"], 0.9 + 0.1 * x.var((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(Norm("batch").apply(variables, IMAGES, train=False), x * scale, rtol=1e-4)


def test_layer_norm_is_over_the_whole_sample_with_one_scale_a_channel():
    variables = Norm("layer").init(jax.random.key(1), IMAGES, train=False)
    assert variables["params"]["LayerNorm_0"]["scale"].shape == (3,)
    x = np.asarray(IMAGES, np.float64)
    axes = (1, 2, 3)
    expected = (x - x.mean(axes, keepdims=True)) / np.sqrt(x.var(axes, keepdims=True) + 1e-5)
    np.testing.assert_allclose(Norm("layer").apply(variables, IMAGES, train=True), expected, rtol=1e-3, atol=1e-4)


def test_no_norm_has_no_parameters():
    assert Norm("none").init(jax.random.key(1), IMAGES, train=False) == {}
    np.testing.assert_array_equal(Norm("none").apply({}, IMAGES, train=True), IMAGES)


def test_scale_starts_as_dcgan_has_it():
    wide = jnp.zeros((1, 1, 1, 4096))
    scale = Norm("batch").init(jax.random.key(2), wide, train=False)["params"]["BatchNorm_0"]["scale"]
    assert float(scale.mean()) == pytest.approx(1.0, abs=0.002)
    assert float(scale.std()) == pytest.approx(0.02, rel=0.05)


def test_an_unknown_norm_is_named_with_the_valid_ones():
    with pytest.raises(ValueError, match="'group': there are batch, layer, none"):
        Norm("group").init(jax.random.key(0), IMAGES, train=False)
