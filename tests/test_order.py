"""The order of the data: a permutation an epoch, a function of seed and update alone."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from jaxgan.data.order import batch_draws, batch_indices


def epoch_of(seed, epoch, size, batch_size):
    count = size // batch_size
    return np.concatenate([batch_indices(seed, epoch * count + i, size, batch_size) for i in range(count)])


@pytest.mark.parametrize(("size", "batch_size"), [(20, 4), (60_000, 128), (7, 7), (5, 1)])
def test_an_epoch_shows_no_example_twice(size, batch_size):
    for epoch in range(3):
        shown = epoch_of(1, epoch, size, batch_size)
        assert len(shown) == size // batch_size * batch_size
        assert len(np.unique(shown)) == len(shown)
        assert shown.min() >= 0 and shown.max() < size


def test_the_order_is_recorded():
    """A run that is resumed under another NumPy must go on in the same order. Recorded with NumPy 2.4.6 and 2.5.5."""
    assert batch_indices(0, 0, 10, 4).tolist() == [3, 7, 6, 4]
    assert batch_indices(0, 2, 10, 4).tolist() == [9, 4, 0, 8]
    assert batch_indices(7, 10**6, 60_000, 128)[:4].tolist() == [55007, 25820, 55892, 52380]


def test_epochs_and_seeds_differ():
    orders = {tuple(epoch_of(seed, epoch, 20, 4)) for seed in range(3) for epoch in range(3)}
    assert len(orders) == 9


def test_the_same_update_however_reached():
    sequence = [batch_indices(0, update, 100, 8).copy() for update in range(60)]
    for update in (59, 0, 30, 11, 12):
        np.testing.assert_array_equal(batch_indices(0, update, 100, 8), sequence[update])


def test_every_example_is_as_likely_to_be_left_out():
    """10 examples in batches of 4 leave 2 out of each epoch: over 2,000 epochs each of them about 400 times."""
    shown = np.bincount(np.concatenate([epoch_of(0, epoch, 10, 4) for epoch in range(2000)]), minlength=10)
    assert shown.sum() == 16_000
    np.testing.assert_allclose(2000 - shown, 400, atol=5 * np.sqrt(2000 * 0.2 * 0.8))


def test_the_cached_order_cannot_be_changed():
    with pytest.raises(ValueError, match="read-only"):
        batch_indices(0, 0, 10, 4)[0] = 1


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 0, 3, 8), "3 examples, fewer than one batch of 8"),
        ((0, 0, 0, 8), "0 examples"),
        ((0, 0, 3, 0), "batch_size=0"),
        ((0, -1, 3, 1), "not -1"),
        ((-1, 0, 3, 1), "seed=-1"),
        ((2**32, 0, 3, 1), "seed=4294967296"),
    ],
)
def test_refusals_name_the_numbers(arguments, message):
    with pytest.raises(ValueError, match=message):
        batch_indices(*arguments)


def test_draws_depend_on_seed_update_and_row_alone():
    draws = batch_draws(3, 7, 64)
    assert draws.shape == (64, 3) and draws.dtype == np.float32
    np.testing.assert_array_equal(batch_draws(3, 7, 16), draws[:16])  # part of a batch as in the whole
    others = [batch_draws(3, 8, 64), batch_draws(4, 7, 64), batch_draws(7, 3, 64)]
    assert len({one.tobytes() for one in [draws, *others]}) == 4
    many = np.concatenate([batch_draws(0, update, 256) for update in range(100)])
    np.testing.assert_allclose(many.mean(axis=0), 0.5, atol=5 / np.sqrt(12 * len(many)))
    np.testing.assert_allclose(np.corrcoef(many.T), np.eye(3), atol=5 / np.sqrt(len(many)))


def test_threads_draw_independently():
    with ThreadPoolExecutor(8) as threads:
        found = list(threads.map(lambda update: batch_draws(0, update, 1000), range(200)))
    np.testing.assert_array_equal(found, [batch_draws(0, update, 1000) for update in range(200)])


def test_the_draws_are_recorded():
    """A run that is resumed under another NumPy must go on with the same crops. Recorded with NumPy 2.4.6 and 2.5.5."""
    recorded = [[0.97764629, 0.37111059, 0.49965891], [0.62455970, 0.62239134, 0.09715060]]
    np.testing.assert_allclose(batch_draws(0, 0, 2), recorded, rtol=1e-6)
