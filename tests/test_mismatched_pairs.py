"""The mismatched pairs of a batch: whose image is shown with whose text."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from test_incomplete_batches import told_texts

from jaxgan.algorithms.text_gan import mismatched_pairs
from jaxgan.data.vocabulary import UNKNOWN, Vocabulary


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


def pairs(captions, meaning=None, draws=1000):
    """All pairs of rows that 1,000 draws give, and the share of rows that have a partner."""
    batch = {"text": jnp.asarray(Vocabulary.of(captions).encode(captions, max_len=4))}
    if meaning is not None:
        batch["meaning"] = jnp.asarray(meaning)
    keys = jax.random.split(jax.random.key(0), draws)
    rows, partners, share = jax.jit(jax.vmap(lambda key: mismatched_pairs(key, batch)))(keys)
    return np.asarray(rows).ravel(), np.asarray(partners).ravel(), float(share[0])


def test_two_images_never_clash():
    """paarthneekhara/text-to-image#4: a wrong pair was drawn blindly, and could be the right one."""
    rows, partners, share = pairs(["red flower", "blue flower"])
    assert (rows != partners).all() and share == 1


def test_equal_captions_are_never_wrong_for_each_other():
    captions = np.array(["red flower", "red flower", "blue flower"])
    rows, partners, share = pairs(captions.tolist())
    assert (captions[rows] != captions[partners]).all() and share == 1
    # Other words, other case: the same text.
    rows, partners, _ = pairs(["Red flower!", "red  flower", "blue flower"])
    assert (captions[rows] != captions[partners]).all()
    # Two words that the vocabulary does not hold look alike to the networks, whatever they mean.
    unknown = jnp.array([[UNKNOWN], [UNKNOWN], [5]])
    keys = jax.random.split(jax.random.key(0), 100)
    rows, partners, _ = jax.vmap(lambda key: mismatched_pairs(key, {"text": unknown, "meaning": jnp.arange(3)}))(keys)
    assert (unknown[rows, 0] != unknown[partners, 0]).all()


def test_another_caption_of_the_same_image_is_never_wrong():
    meaning = np.array([4, 4, 6, 6])
    rows, partners, share = pairs(["a rose", "a red flower", "a sky", "blue above"], meaning)
    assert (meaning[rows] != meaning[partners]).all() and share == 1


@pytest.mark.parametrize("texts", [[[2, 3]] * 4, [[2, 3]]], ids=["all captions equal", "one image"])
def test_where_nothing_is_wrong_the_term_is_left_out(texts):
    """No endless search, no NaN: the loss is that of the two remaining terms, and the metrics say so."""
    batch = {"image": jnp.ones((len(texts), 2)), "text": jnp.array(texts)}
    gan, plain = told_texts("non_saturating"), told_texts("non_saturating", mismatch_weight=0.0)
    state = plain.init(jax.random.key(0), batch)
    moved, metrics = gan.d_step(state, batch)
    expected, plain_metrics = plain.d_step(state, batch)
    assert float(metrics["mismatched_share"]) == 0
    assert float(metrics["d_loss"]) == pytest.approx(float(plain_metrics["d_loss"]))
    for one, other in zip(jax.tree.leaves(moved.discriminator), jax.tree.leaves(expected.discriminator), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
