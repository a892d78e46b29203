import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan import latents


def test_truncated_normal():
    key = jax.random.key(0)
    plain = latents.truncated_normal(key, 4000, 3)
    np.testing.assert_allclose([plain.mean(), plain.std()], [0, 1], atol=0.03)
    cut = latents.truncated_normal(key, 4000, 3, truncation=0.5)
    assert float(jnp.abs(cut).max()) <= 0.5
    # The variance of N(0, 1) within [-a, a]: 1 - 2 a phi(a) / (Phi(a) - Phi(-a)), at a = 0.5.
    assert float(cut.var()) == pytest.approx(1 - 2 * 0.5 * 0.3520653 / 0.3829249, rel=0.03)
    with pytest.raises(ValueError, match="truncation=0"):
        latents.truncated_normal(key, 1, 3, truncation=0.0)


def test_slerp_is_an_even_turn():
    a, b = np.array([1.0, 0.0, 0.0]), np.array([0.0, 3.0, 0.0])
    for t in (0.0, 0.25, 0.5, 1.0):
        expected = (1 + 2 * t) * np.array([np.cos(t * np.pi / 2), np.sin(t * np.pi / 2), 0.0])
        np.testing.assert_allclose(latents.slerp(a, b, t), expected, atol=1e-6)


def test_slerp_of_parallel_opposite_and_zero_vectors_is_finite():
    a = jnp.array([[1.0, 2.0], [1.0, 2.0], [0.0, 0.0]])
    b = jnp.array([[2.0, 4.0], [-1.0, -2.0], [1.0, 0.0]])
    path = latents.slerp(a, b, jnp.array([0.5, 0.5, 0.5]))
    assert bool(jnp.isfinite(path).all())
    np.testing.assert_allclose(path[0], [1.5, 3.0], rtol=1e-5)
    gradients = jax.grad(lambda a: latents.slerp(a, b, jnp.full(3, 0.3)).sum())(a + 0.1)
    assert bool(jnp.isfinite(gradients).all())


def test_walk_passes_every_corner_and_comes_back():
    corners = jax.random.normal(jax.random.key(1), (3, 5))
    path = latents.walk(corners, 4)
    assert path.shape == (12, 5)
    np.testing.assert_allclose(path[::4], corners, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(path[9], latents.slerp(corners[2], corners[0], 0.25), rtol=1e-4, atol=1e-5)
