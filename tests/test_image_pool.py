import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxgan.algorithms.image_pool import create_pool, query_pool


def numbered(start, stop, dtype=jnp.float32):
    """Images of one pixel that hold their number."""
    return jnp.arange(start, stop).reshape(-1, 1, 1, 1).astype(dtype)


def ids(images):
    return np.asarray(images).ravel().astype(int).tolist()


def draws(key, count, size):
    """What `query_pool` draws for each image of a batch: whether it would be traded, and for which."""
    trade_key, place_key = jax.random.split(key)
    trades, places = jax.random.bernoulli(trade_key, 0.5, (count,)), jax.random.randint(place_key, (count,), 0, size)
    return np.asarray(trades), np.asarray(places)


def by_the_reference(stored, images, size, trades, places):
    """One image after the other, on a list, as one would write it without jit."""
    shown = []
    for image, trade, place in zip(images, trades, places, strict=True):
        if len(stored) < size:
            stored.append(image)
            shown.append(image)
        elif trade:
            shown.append(stored[place])
            stored[place] = image
        else:
            shown.append(image)
    return shown


@pytest.mark.parametrize(("size", "batch"), [(1, 1), (3, 1), (5, 4), (3, 8)])
def test_equal_to_a_list_that_meets_the_same_draws(size, batch):
    pool, stored, query = create_pool(size, numbered(0, batch)), [], jax.jit(query_pool)
    traded = 0
    for step in range(24):
        key = jax.random.key(step)
        images = numbered(1 + step * batch, 1 + (step + 1) * batch)
        shown, pool = query(pool, images, key)
        expected = by_the_reference(stored, ids(images), size, *draws(key, batch, size))
        assert ids(shown) == expected
        assert ids(pool.images)[: len(stored)] == stored
        assert int(pool.count) == len(stored)
        traded += expected != ids(images)
    assert traded > 2


def test_while_it_fills_the_images_come_back_as_they_are():
    images = jax.random.normal(jax.random.key(0), (4, 2, 3, 3))
    pool = create_pool(6, images)
    assert pool.images.shape == (6, 2, 3, 3) and int(pool.count) == 0
    shown, pool = query_pool(pool, images, jax.random.key(1))
    np.testing.assert_array_equal(shown, images)
    np.testing.assert_array_equal(pool.images[:4], images)
    assert int(pool.count) == 4


def test_a_full_pool_trades_one_image_in_two_for_any_of_the_stored():
    size, count = 10, 20_000
    _, pool = query_pool(create_pool(size, numbered(0, 1)), numbered(0, size), jax.random.key(0))
    shown, pool = jax.jit(query_pool)(pool, numbered(size, size + count), jax.random.key(1))
    age = np.arange(size, size + count) - np.asarray(ids(shown))
    assert abs((age > 0).mean() - 0.5) < 5 * np.sqrt(0.25 / count)
    # One of `size` places goes with probability 1/2 at each query, so a stored image waits 2 * size queries on average
    # (deviation about the same), and no longer the later it came.
    assert abs(age[age > 0].mean() - 2 * size) < 5 * 2 * size / np.sqrt(count / 2)
    assert int(pool.count) == size
    # Every image that is gone was shown at most twice: when it was new, or as it left, never when it stayed new.
    assert np.unique(ids(shown), return_counts=True)[1].max() <= 2


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16])
def test_what_comes_out_is_what_went_in_bit_for_bit(dtype):
    images = jax.random.normal(jax.random.key(0), (64, 2, 2, 1)).astype(dtype)
    shown, pool = query_pool(create_pool(4, images), images, jax.random.key(1))
    assert shown.dtype == pool.images.dtype == dtype
    known = {image.tobytes() for image in np.asarray(images)}
    assert {image.tobytes() for image in np.asarray(shown)} <= known
    assert {image.tobytes() for image in np.asarray(pool.images)} <= known


def test_a_pool_of_size_zero_hands_every_image_on():
    images = numbered(0, 5)
    pool = create_pool(0, images)
    shown, after = query_pool(pool, images, jax.random.key(0))
    assert ids(shown) == ids(images)
    assert after.images.shape == (0, 1, 1, 1) and int(after.count) == 0


def test_a_negative_size_is_refused():
    with pytest.raises(ValueError, match="pool size -1: 0 or more expected"):
        create_pool(-1, numbered(0, 1))
