"""The mismatched pairs of a batch: whose image is shown with whose text."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxgan.algorithms.text_gan import mismatched_pairs


def test_mismatched_pairs_are_uniform_over_what_differs():
    batch = {"text": jnp.array([[2], [3], [4], [5], [6]]), "meaning": jnp.array([0, 0, 1, 2, 3])}
    draw = jax.jit(jax.vmap(lambda key: mismatched_pairs(key, batch)))
    rows, partners, share = map(np.asarray, draw(jax.random.split(jax.random.key(0), 3000)))
    np.testing.assert_array_equal(rows, np.broadcast_to(np.arange(5), rows.shape))
    assert (share == 1).all()
    counts = np.array([np.bincount(column, minlength=5) for column in partners.T]) / 3000
    third, quarter = [1 / 3] * 3, [1 / 4] * 4
    expected = [
        [0, 0, *third],
        [0, 0, *third],
        [*quarter[:2], 0, *quarter[2:]],
        [*quarter[:3], 0, quarter[3]],
        [*quarter, 0],
    ]
    np.testing.assert_allclose(counts, expected, atol=0.04)


def test_a_row_without_a_partner_lends_its_place():
    # The last row shares its text with the first and its meaning with the second.
    batch = {"text": jnp.array([[2], [3], [2]]), "meaning": jnp.array([0, 1, 1])}
    draw = jax.jit(jax.vmap(lambda key: mismatched_pairs(key, batch)))
    rows, partners, share = map(np.asarray, draw(jax.random.split(jax.random.key(0), 200)))
    np.testing.assert_allclose(share, 2 / 3)
    assert {tuple(pair) for pair in np.stack([rows, partners], axis=2).reshape(-1, 2).tolist()} == {(0, 1), (1, 0)}
    assert set(rows[:, 2]) == {0, 1}
